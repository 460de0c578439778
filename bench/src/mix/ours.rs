//! Ours: a bank, a directory, three mixes and a client, each a process of the program as people run it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::Network;

/// What locks everybody's keys, which live for minutes.
const PASSPHRASE: &[u8] = b"for trials only\n";
/// What comes into the payer's account, and how much of it is withdrawn as tokens.
const FUNDS: [&str; 2] = ["20", "15"];
/// The mixes of a path.
const MIXES: usize = 3;

/// A running network. It ends when this is dropped.
pub struct Mixes {
    socks: SocketAddr,
    children: Vec<Child>,
    _folder: TempDir,
}

impl Mixes {
    /// Builds the program if it is not built yet, and starts everybody. Every mix is paid for every block by tokens.
    pub fn start() -> Result<Mixes> {
        let town = Town { program: build()?, folder: tempfile::Builder::new().prefix("naulon-mixes-").tempdir()? };
        town.make()?;
        let mut children = Vec::new();
        for role in ["log", "bank", "directory"] {
            children.push(town.serve(&[role, "serve"])?.0);
        }
        for number in 1..=MIXES {
            children.push(town.serve(&["mix", "serve", "--dir", &format!("mix{number}")])?.0);
        }
        let account = town.run(&["wallet", "open-account"])?;
        let account = account["account"].as_str().context("an account")?;
        let [credit, tokens] = FUNDS;
        town.run(&["bank", "credit", account, credit, "--reference", "bench"])?;
        town.run(&["wallet", "withdraw", tokens])?;
        let (proxy, ready) = town.serve(&["proxy", "--directory", "directory", "--listen", "127.0.0.1:0"])?;
        children.push(proxy);
        let socks = ready["address"].as_str().context("the client's door")?.parse()?;
        Ok(Mixes { socks, children, _folder: town.folder })
    }
}

impl Network for Mixes {
    fn name(&self) -> &'static str {
        "naulon"
    }

    fn socks(&self) -> SocketAddr {
        self.socks
    }

    fn processes(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }
}

impl Drop for Mixes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Nothing that it has is needed any more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A folder with everybody in it, and the program that makes them.
struct Town {
    program: PathBuf,
    folder: TempDir,
}

impl Town {
    fn make(&self) -> Result<()> {
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/brand-keys");
        let keys = keys.to_str().context("the folder's name is text")?;
        let here = ["--listen", "127.0.0.1:0"];
        let all: [&[&str]; 6] = [
            &["log", "init"],
            &["bank", "init", "--denominations", "0.10,0.20,0.50,1,2,5", "--brand-keys", keys, "--log", "log"],
            &["log", "trust-bank", "bank"],
            &["shop", "init", "--bank", "bank", "--log", "log"],
            &["wallet", "init", "--bank", "bank", "--log", "log", "--shop", "shop"],
            &["directory", "init", "--party", "bank"],
        ];
        for words in all {
            let listens = words[1] == "init" && words[0] != "wallet";
            self.run(&[words, if listens { &here } else { &[] }].concat())?;
        }
        for number in 1..=MIXES {
            let (dir, name) = (format!("mix{number}"), format!("mix {number}"));
            let init = ["mix", "init", "--dir", &dir, "--name", &name, "--bank", "bank", "--directory", "directory"];
            let exit: &[&str] = if number == MIXES { &["--exit", "1-65535", "--exit-private"] } else { &[] };
            self.run(&[&init[..], &here, exit].concat())?;
        }
        self.run(&["directory", "allow", "mix1", "mix2", "mix3"]).map(drop)
    }

    fn start(&self, words: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path()).args(words).args(["--json", "--passphrase-fd", "0"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().with_context(|| self.program.display().to_string())?;
        // One that needs no passphrase may have ended without reading it.
        let _ = child.stdin.take().context("an input")?.write_all(PASSPHRASE);
        Ok(child)
    }

    /// Runs a command to its end; what it said last.
    fn run(&self, words: &[&str]) -> Result<Value> {
        let output = self.start(words)?.wait_with_output()?;
        ensure!(output.status.success(), "naulon {} ended with {}", words.join(" "), output.status);
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default())
    }

    /// Starts a server; what it said when it was ready.
    fn serve(&self, words: &[&str]) -> Result<(Child, Value)> {
        let mut child = self.start(words)?;
        let mut output = BufReader::new(child.stdout.take().context("an output")?);
        let ready = first_line(&mut output).with_context(|| format!("naulon {} does not start", words.join(" ")))?;
        // It says nothing more, and must not wait for somebody who reads it.
        child.stdout = Some(output.into_inner());
        Ok((child, ready))
    }
}

fn first_line(output: &mut BufReader<ChildStdout>) -> Result<Value> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// The program, built in the one profile, where this one stands.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["build", "--release", "--quiet", "--package", "naulon"]).status()?;
    ensure!(status.success(), "naulon could not be built");
    let own = std::env::current_exe()?;
    Ok(own.parent().context("a folder")?.join("naulon"))
}
