//! The peer: a private network of Debian's `tor`, on loopback alone.
//!
//! Three directory authorities that are relays too, three more relays, one client. It is tuned in nothing but what lets
//! a network of its own start within a minute and use loopback addresses (`TestingTorNetwork`).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{Network, download};
use crate::server;

/// The peer.
pub const NAME: &str = "Debian's tor";
/// Who vote on which relays there are.
const AUTHORITIES: usize = 3;
/// Relays, the authorities among them.
const RELAYS: usize = 6;
/// How long the network may take to start.
const STARTING: Duration = Duration::from_secs(180);
/// How long is waited between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(500);
/// What locks the authorities' identity keys, which live for minutes.
const PASSPHRASE: &[u8] = b"for trials only\n";
/// How long an authority's certificate is good: the shortest there is.
const MONTHS: &str = "1";
/// Fast votes; loopback addresses; every relay an exit and a guard.
const SETTINGS: &str = "\
TestingTorNetwork 1
TestingV3AuthInitialVotingInterval 5
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 300
V3AuthVoteDelay 5
V3AuthDistDelay 5
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingMinExitFlagThreshold 0
AssumeReachable 1
PathsNeededToBuildCircuits 0.67
RunAsDaemon 0
ShutdownWaitLength 0
";
/// What a relay is beyond that.
const RELAY: &str = "\
ExitRelay 1
ExitPolicy accept *:*
ExitPolicyRejectPrivate 0
SocksPort 0
ContactInfo bench@localhost
";

/// A running network. It ends when this is dropped.
pub struct Tor {
    socks: SocketAddr,
    /// Each by the name of its folder.
    children: Vec<(String, Child)>,
    folder: TempDir,
}

impl Tor {
    /// Starts it and waits until it carries something to the target.
    pub fn start(target: SocketAddr) -> Result<Tor> {
        let folder = tempfile::Builder::new().prefix("naulon-tor-").tempdir()?;
        let ports = server::free_port_numbers(2 * RELAYS + 1)?;
        let relays = ports.chunks_exact(2).enumerate().map(|(number, ports)| Relay::new(folder.path(), number, ports));
        let relays = relays.collect::<Result<Vec<_>>>()?;
        let mut settings = SETTINGS.to_owned();
        writeln!(settings, "__OwningControllerProcess {}", std::process::id())?;
        for relay in relays.iter().take(AUTHORITIES) {
            writeln!(settings, "{}", relay.as_authority()?)?;
        }
        let socks = SocketAddr::from(([127, 0, 0, 1], *ports.last().context("the client's port")?));
        let client = folder.path().join("client");
        fs::create_dir(&client)?;
        let mut tor = Tor { socks, children: Vec::new(), folder };
        for (number, relay) in relays.iter().enumerate() {
            let voting =
                if number < AUTHORITIES { "AuthoritativeDirectory 1\nV3AuthoritativeDirectory 1\n" } else { "" };
            let own = format!("{settings}{RELAY}{voting}{}", relay.ports());
            tor.children.push((relay.name.clone(), spawn(&relay.folder, &own)?));
        }
        let own = format!("{settings}SocksPort {socks}\nUseEntryGuards 0\n");
        tor.children.push(("client".to_owned(), spawn(&client, &own)?));
        tor.wait(target)?;
        Ok(tor)
    }

    fn wait(&mut self, target: SocketAddr) -> Result<()> {
        let begun = Instant::now();
        while download::open(self.socks, target).is_err() {
            for (name, child) in &mut self.children {
                let Some(status) = child.try_wait()? else { continue };
                let said = fs::read_to_string(self.folder.path().join(&*name).join("output.log")).unwrap_or_default();
                bail!("{NAME}: {name} ended with {status}: {}", warnings(&said));
            }
            ensure!(begun.elapsed() < STARTING, "{NAME} did not start");
            std::thread::sleep(LOOK);
        }
        eprintln!("{NAME} carries something after {:.0} s", begun.elapsed().as_secs_f64());
        Ok(())
    }
}

impl Network for Tor {
    fn name(&self) -> &'static str {
        "tor"
    }

    fn socks(&self) -> SocketAddr {
        self.socks
    }

    fn processes(&self) -> Vec<u32> {
        self.children.iter().map(|(_, child)| child.id()).collect()
    }
}

impl Drop for Tor {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // Nothing that it has is needed any more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A relay that is set up and not yet started.
struct Relay {
    name: String,
    folder: PathBuf,
    onion_port: u16,
    directory_port: u16,
}

impl Relay {
    fn new(network: &Path, number: usize, ports: &[u16]) -> Result<Relay> {
        let &[onion_port, directory_port] = ports else { bail!("two ports") };
        let name = format!("relay{number}");
        let folder = network.join(&name);
        fs::create_dir_all(folder.join("keys"))?;
        let relay = Relay { name, folder, onion_port, directory_port };
        if number < AUTHORITIES {
            relay.certify()?;
        }
        Ok(relay)
    }

    fn ports(&self) -> String {
        let Relay { name, onion_port, directory_port, .. } = self;
        format!(
            "Nickname {name}\nAddress 127.0.0.1\nORPort 127.0.0.1:{onion_port}\nDirPort 127.0.0.1:{directory_port}\n"
        )
    }

    /// Makes an authority's identity key, and a certificate for the key that it votes with.
    fn certify(&self) -> Result<()> {
        let mut command = Command::new("tor-gencert");
        command.current_dir(self.folder.join("keys")).args(["--create-identity-key", "--passphrase-fd", "0"]);
        command.args(["-m", MONTHS, "-a", &format!("127.0.0.1:{}", self.directory_port)]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context("tor-gencert, which Debian's package tor has")?;
        child.stdin.take().context("an input")?.write_all(PASSPHRASE)?;
        ensure!(child.wait()?.success(), "tor-gencert failed");
        Ok(())
    }

    /// The line by which everybody knows this authority.
    fn as_authority(&self) -> Result<String> {
        let certificate = fs::read_to_string(self.folder.join("keys/authority_certificate"))?;
        let voter = certificate.lines().find_map(|line| line.strip_prefix("fingerprint ")).context("a fingerprint")?;
        let settings = format!("{SETTINGS}{RELAY}{}DirAuthority nobody 127.0.0.1:1 {}\n", self.ports(), "F".repeat(40));
        let output = tor(&self.folder, &settings)?.args(["--list-fingerprint", "--quiet"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let Some(own) = text.lines().last().and_then(|line| line.strip_prefix(self.name.as_str())) else {
            bail!("tor tells no fingerprint: {text}");
        };
        let Relay { name, onion_port, directory_port, .. } = self;
        Ok(format!("DirAuthority {name} orport={onion_port} v3ident={voter} 127.0.0.1:{directory_port} {own}"))
    }
}

/// What a program of theirs complained about last.
fn warnings(said: &str) -> String {
    let complaints: Vec<&str> = said.lines().rev().filter(|line| line.contains("[warn]")).take(3).collect();
    complaints.join("; ")
}

/// The program with these settings, in the folder.
fn tor(folder: &Path, settings: &str) -> Result<Command> {
    fs::write(folder.join("torrc"), settings)?;
    let mut command = Command::new("tor");
    command.current_dir(folder).args(["-f", "torrc", "--defaults-torrc", "/dev/null", "--DataDirectory"]).arg(folder);
    command.stdin(Stdio::null());
    Ok(command)
}

fn spawn(folder: &Path, settings: &str) -> Result<Child> {
    let output = File::create(folder.join("output.log"))?;
    let mut command = tor(folder, settings)?;
    command.stdout(output.try_clone()?).stderr(output);
    command.spawn().context("tor, which Debian's package tor has")
}
