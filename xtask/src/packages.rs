//! The Debian packages that the build and the tests need, beyond the Rust toolchain.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// A command that must be there, and the package that has it.
const NEEDED: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("make", "make"),
    ("perl", "perl"),
    ("openssl", "openssl"),
    ("initdb", "postgresql"),
    ("setpriv", "util-linux"),
    ("softhsm2-util", "softhsm2"),
    ("faketime", "faketime"),
    ("microsocks", "microsocks"),
    // Programs that load pages through the mixes.
    ("curl", "curl"),
    ("chromium", "chromium"),
    // Stock clients from npm.
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// The same for the search of the fuzz targets.
const NEEDED_BY_FUZZ: &[(&str, &str)] = &[("g++", "g++")];

/// The same for a bank over PostgreSQL in the bench.
const NEEDED_BY_POSTGRES: &[(&str, &str)] = &[("initdb", "postgresql"), ("setpriv", "util-linux")];

/// The same for programs that ours are measured beside.
const NEEDED_BY_PEERS: &[(&str, &str)] = &[("protoc", "protobuf-compiler"), ("tor", "tor")];

/// Where Debian keeps the commands of PostgreSQL's versions, each in a folder `bin` of its own: not on the path.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Installs what is missing; `apt-get update` once first.
pub fn install_missing() -> Result<()> {
    let mut missing: Vec<&str> =
        NEEDED.iter().filter(|(command, _)| !is_here(command)).map(|(_, package)| *package).collect();
    if !has_venv() {
        missing.extend(["python3", "python3-venv"]);
    }
    install(missing)
}

/// Installs what libFuzzer is built with, where it is missing.
pub fn install_for_fuzz() -> Result<()> {
    install_missing_of(NEEDED_BY_FUZZ)
}

/// Installs what the peers of the bench are built with, where it is missing.
pub fn install_for_peers() -> Result<()> {
    install_missing_of(NEEDED_BY_PEERS)
}

/// Installs PostgreSQL for the bench, where it is missing.
pub fn install_for_postgres() -> Result<()> {
    install_missing_of(NEEDED_BY_POSTGRES)
}

fn install_missing_of(needed: &'static [(&'static str, &'static str)]) -> Result<()> {
    install(needed.iter().filter(|(command, _)| !is_here(command)).map(|(_, package)| *package).collect())
}

fn install(missing: Vec<&str>) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("== installing {}", missing.join(", "));
    apt(&["update"])?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(missing);
    apt(&arguments)
}

fn is_here(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(postgresql()).map(|folder| folder.join(command)).any(|file| file.is_file())
}

/// Whether stock clients from PyPI can be installed into a folder of their own.
fn has_venv() -> bool {
    let python = Command::new("python3").args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
    python.is_ok_and(|status| status.success())
}

fn postgresql() -> Vec<PathBuf> {
    let versions = Path::new(POSTGRESQL).read_dir().into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).collect()
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments).status()?;
    if status.success() { Ok(()) } else { bail!("apt-get {} ended with {status}; it needs root", arguments.join(" ")) }
}
