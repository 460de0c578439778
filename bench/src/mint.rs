//! The peer: cdk-mintd, a Cashu mint, under the same load as the bank.
//!
//! It is built from its registry by `--peers` and runs as its authors ship it: SQLite, and invoices that a fake wallet
//! pays. Its swaps (NUT-03) are made beforehand by a small program of its own workspace, `bench/peers/cashu-swaps`, so
//! that Naulon does not depend on it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cpu::Usage;
use crate::load;
use crate::server;

/// The peer, and in which version.
pub const NAME: &str = "cdk-mintd 0.18.3";
const VERSION: &str = "0.18.3";
/// What it says when its database is held by another of its own requests.
const BUSY: &[u8] = b"database is locked";
/// For trials only: everybody knows it.
const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
/// How long it may take to start.
const STARTING: Duration = Duration::from_secs(30);
/// How long is waited between two looks at whether it has started.
const LOOK: Duration = Duration::from_millis(50);

/// The peer's programs.
pub struct Programs {
    mintd: PathBuf,
    swaps: PathBuf,
}

impl Programs {
    /// Builds what is not built yet, under `target/peers`. The first time takes some ten minutes.
    pub fn build() -> Result<Programs> {
        let house = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = house.parent().context("bench stands in the workspace")?.join("target/peers");
        let mintd = root.join("bin/cdk-mintd");
        if !mintd.exists() {
            eprintln!("building {NAME}; this happens once and takes some minutes");
            let features = ["--no-default-features", "--features", "fakewallet,sqlite", "--locked", "--quiet"];
            let mut install = cargo();
            install.args(["install", "cdk-mintd", "--version", VERSION]).args(features).arg("--root").arg(&root);
            run(install.arg("--target-dir").arg(root.join("build")))?;
        }
        let manifest = house.join("peers/cashu-swaps/Cargo.toml");
        let mut build = cargo();
        build.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(manifest);
        run(build.arg("--target-dir").arg(root.join("swaps")))?;
        Ok(Programs { mintd, swaps: root.join("swaps/release/cashu-swaps") })
    }

    /// Starts a new mint in the folder.
    pub fn start(&self, folder: &Path) -> Result<Mint> {
        let port = server::free_port_number()?;
        let settings = folder.join("settings.toml");
        std::fs::write(folder.join("words"), WORDS)?;
        std::fs::write(&settings, settings_of(port, &folder.join("words")))?;
        let mintd = |arguments: &[&str]| {
            let mut command = Command::new(&self.mintd);
            command.arg("--work-dir").arg(folder).args(arguments).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let file = settings.to_str().context("the folder's name is text")?;
        run(&mut mintd(&["config", "init", "--new-mint", "--file", file]))?;
        let child = mintd(&[]).spawn().with_context(|| self.mintd.display().to_string())?;
        let mint = Mint { address: ([127, 0, 0, 1], port).into(), child, swaps: self.swaps.clone() };
        mint.wait()?;
        Ok(mint)
    }
}

/// A running mint. It ends when this is dropped.
pub struct Mint {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    swaps: PathBuf,
}

impl Mint {
    /// So many swap requests of so many proofs each, as they go over a connection.
    pub fn swaps(&self, proofs: usize, count: usize) -> Result<Vec<Vec<u8>>> {
        let mut command = Command::new(&self.swaps);
        command.arg(format!("http://{}", self.address)).args([proofs.to_string(), count.to_string()]);
        let output = command.stderr(Stdio::inherit()).output().with_context(|| self.swaps.display().to_string())?;
        ensure!(output.status.success(), "the mint's swaps could not be made");
        let bodies = output.stdout.split(|byte| *byte == b'\n').filter(|body| !body.is_empty());
        let requests: Vec<_> = bodies.map(|body| load::post("/v1/swap", body)).collect();
        ensure!(requests.len() == count, "{} swaps of {count} were made", requests.len());
        Ok(requests)
    }

    /// Whether it says that another swap held its database, which happens to it under load. Nothing was swapped then.
    pub fn is_busy(_status: u16, body: &[u8]) -> bool {
        body.windows(BUSY.len()).any(|words| words == BUSY)
    }

    /// What its threads have used so far.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }

    fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        while load::send(self.address, vec![load::get("/v1/keys")], || Ok(())).is_err() {
            ensure!(begun.elapsed() < STARTING, "{NAME} did not start");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Mint {
    fn drop(&mut self) {
        // Nothing that it has is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings_of(port: u16, words: &Path) -> String {
    format!(
        "[info]\nurl = \"http://127.0.0.1:{port}/\"\nlisten_host = \"127.0.0.1\"\nlisten_port = {port}\n\
         mnemonic = \"file:{}\"\n\n[info.logging]\noutput = \"stderr\"\nconsole_level = \"error\"\n\n\
         [info.http_cache]\nbackend = \"memory\"\nttl = 1\ntti = 1\n\n\
         [database]\nengine = \"sqlite\"\n\n[payment_backend]\nbackend = \"fakewallet\"\n\n\
         [fake_wallet]\nfee_percent = 0.0\nreserve_fee_min = 0\nmin_delay_time = 0\nmax_delay_time = 0\n",
        words.display()
    )
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| program.clone())?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}
