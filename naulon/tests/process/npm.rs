//! Stock clients from npm, in a folder of their own below the target folder, by the versions of the lock file.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The oldest Node.js that the clients run on.
const OLDEST: u32 = 20;
/// npm's package of Node.js for machines whose own is older.
const NODE: &str = "node@20.19.5";

/// Installed clients, and the Node.js that runs them.
pub struct Npm {
    folder: PathBuf,
    node: PathBuf,
}

impl Npm {
    /// The clients. They are installed once.
    pub fn installed() -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stock/npm");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stock-npm");
        std::fs::create_dir_all(&folder).expect("a folder");
        // Tests in two processes may come here at the same time.
        let lock = std::fs::File::create(folder.join("lock")).expect("creates");
        lock.lock().expect("locks");
        let lock_file = std::fs::read(scripts.join("package-lock.json")).expect("reads");
        if std::fs::read(folder.join("made-of")).is_ok_and(|made_of| made_of == lock_file) {
            copy_scripts(&scripts, &folder);
            return Npm { node: node_in(&folder), folder };
        }
        copy_scripts(&scripts, &folder);
        npm(&folder, &["ci", "--ignore-scripts"]);
        if major_version("node") < Some(OLDEST) {
            npm(&folder, &["install", "--no-save", "--no-package-lock", NODE]);
        }
        std::fs::write(folder.join("made-of"), lock_file).expect("writes");
        Npm { node: node_in(&folder), folder }
    }

    /// A script of `tests/stock/npm` with these arguments.
    pub fn script(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(self.folder.join(name)).args(args).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The last line of JSON that a script prints, which must succeed.
pub fn said(output: std::io::Result<Output>) -> Value {
    let output = output.expect("node runs; `cargo xtask test` installs what is missing");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}

fn copy_scripts(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("reads") {
        let path = entry.expect("reads").path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copies");
        }
    }
}

fn npm(folder: &Path, args: &[&str]) {
    let mut command = Command::new("npm");
    command.args(args).args(["--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder);
    let output = command.output().expect("npm is installed; `cargo xtask test` installs what is missing");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn node_in(folder: &Path) -> PathBuf {
    let own = folder.join("node_modules/node/bin/node");
    if own.is_file() { own } else { PathBuf::from("node") }
}

fn major_version(node: &str) -> Option<u32> {
    let output = Command::new(node).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}
