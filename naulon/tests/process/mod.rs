//! Real processes: servers that say when they are ready and are ended by their id, and commands of a wallet.

// Each test file uses what it needs of this.
#![allow(dead_code)]

pub mod certificate;
pub mod npm;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The passphrase of everything in tests.
pub const PASSPHRASE: &str = "horse battery staple\n";

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The last line of JSON.
    pub json: Value,
    /// All lines of JSON.
    pub lines: Vec<Value>,
    /// Standard error.
    pub error: String,
}

/// A folder with all parties in it.
pub struct House {
    /// The folder.
    pub dir: tempfile::TempDir,
    /// What all programs find in their environment, beside nothing.
    pub environment: Vec<(&'static str, PathBuf)>,
    /// Further arguments of `bank init`.
    pub bank: Vec<String>,
}

/// A server that runs.
pub struct Server {
    child: Child,
    /// What it said when it was ready.
    pub ready: Value,
}

impl House {
    /// An empty one.
    pub fn new() -> Self {
        House { dir: tempfile::tempdir().expect("a folder"), environment: Vec::new(), bank: Vec::new() }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Bank, log, shop and wallet, all on free ports, known to one another, none of them running.
    pub fn furnished() -> Self {
        House::new().furnish()
    }

    /// Bank, log, shop and wallet for an empty one.
    pub fn furnish(self) -> Self {
        self.furnish_with(&[])
    }

    /// The same, with these options for each server.
    pub fn furnish_with(self, options: &[&str]) -> Self {
        let house = self;
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/brand-keys");
        let keys = keys.to_str().expect("a path");
        house.done(&[&["log", "init", "--listen", "127.0.0.1:0"], options].concat());
        let denominations = "0.10,0.20,0.50,1,2,5,10,20";
        let bank = ["--denominations", denominations, "--brand-keys", keys, "--log", "log", "--listen", "127.0.0.1:0"];
        let more: Vec<&str> = house.bank.iter().map(String::as_str).collect();
        house.done(&[&["bank", "init"], &bank[..], &more, options].concat());
        house.done(&["log", "trust-bank", "bank"]);
        let shop = ["shop", "init", "--bank", "bank", "--log", "log", "--listen", "127.0.0.1:0"];
        house.done(&[&shop[..], options].concat());
        house.done(&["wallet", "init", "--bank", "bank", "--log", "log", "--shop", "shop"]);
        house
    }

    /// A command in the folder, with the passphrase on standard input.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_naulon"));
        command.current_dir(self.dir.path()).env_clear().envs(self.environment.iter().cloned()).args(args).args([
            "--json",
            "--passphrase-fd",
            "0",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a command.
    pub fn start(&self, args: &[&str]) -> Child {
        House::started(self.command(args))
    }

    fn started(mut command: Command) -> Child {
        let mut child = command.spawn().expect("starts");
        let mut input = child.stdin.take().expect("standard input");
        // A command that needs no passphrase may have ended without reading it.
        let _ = input.write_all(PASSPHRASE.as_bytes());
        child
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        House::said(self.start(args))
    }

    fn said(child: Child) -> Said {
        let output = child.wait_with_output().expect("ends");
        let text = String::from_utf8(output.stdout).expect("text");
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let json = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        Said { code: output.status.code(), json, lines, error: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Runs a command that must succeed.
    pub fn done(&self, args: &[&str]) -> Value {
        let said = self.run(args);
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.error);
        said.json
    }

    /// Starts a server and waits until it is ready.
    pub fn serve(&self, role: &str) -> Server {
        self.serve_by(&[role, "serve"])
    }

    /// Starts a server by this command and waits until it is ready.
    pub fn serve_by(&self, command: &[&str]) -> Server {
        House::ready(self.command(command))
    }

    /// Starts a server under a limit on the size of every file that it writes, in KiB: what is beyond it fails to be
    /// written, as on a full disk.
    pub fn serve_limited(&self, role: &str, kib: u32) -> Server {
        House::ready(self.limited(&[role, "serve"], kib))
    }

    /// The same for a command that ends.
    pub fn run_limited(&self, args: &[&str], kib: u32) -> Said {
        House::said(House::started(self.limited(args, kib)))
    }

    fn limited(&self, args: &[&str], kib: u32) -> Command {
        let plain = self.command(args);
        let mut limited = Command::new("bash");
        limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"")]);
        limited.arg(plain.get_program()).args(plain.get_args()).current_dir(self.dir.path());
        limited
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        limited
    }

    fn ready(command: Command) -> Server {
        let shown = format!("{command:?}");
        let mut child = House::started(command);
        let mut lines = BufReader::new(child.stdout.take().expect("standard output"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("reads");
        let Ok(ready) = serde_json::from_str(&line) else {
            let mut error = String::new();
            let _ = child.stderr.take().expect("standard error").read_to_string(&mut error);
            unreachable!("{shown} does not start: {error}");
        };
        Server { child, ready }
    }

    /// Starts bank, log and shop.
    pub fn open(&self) -> [Server; 3] {
        ["log", "bank", "shop"].map(|role| self.serve(role))
    }
}

impl Server {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it says on standard error until it ends, and its exit code.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let _ = self.child.stderr.take().expect("standard error").read_to_string(&mut said);
        (self.child.wait().expect("ends").code(), said)
    }

    /// Waits until it has ended, as it does after a signal.
    pub fn wait(&mut self) {
        self.child.wait().expect("ends");
    }

    /// Asks it to stop, and says with which code it ended.
    pub fn stop(mut self) -> Option<i32> {
        signal("-TERM", self.id());
        self.child.wait().expect("ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process by its id.
pub fn signal(name: &str, id: u32) {
    let sent = Command::new("kill").args([name, &id.to_string()]).status().expect("runs");
    assert!(sent.success());
}
