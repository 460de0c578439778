//! The search of the fuzz targets: libFuzzer, on the stable compiler.
//!
//! What the search finds interesting is kept in `target/fuzz/corpus`; what of it reaches something new beyond the
//! committed corpus is added to `fuzz/corpus`, where `cargo test -p naulon-fuzz` replays it. Bytes that make a target
//! panic are left in `target/fuzz/found`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{cargo, packages, run};

/// Seconds a target, if nobody says otherwise.
const SECONDS: u64 = 60;
/// Inputs that are kept of each target, the shortest first: enough to begin where the last search ended, and little enough
/// to be replayed in every test.
const MAX_KEPT: usize = 96;
/// The longest input in bytes: long enough for a request with several tokens.
const MAX_LEN: u32 = 16 * 1024;
/// Counters on every edge, and what is compared with what: by these libFuzzer finds its way.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    target: Option<String>,
    seconds: u64,
}

impl Wanted {
    /// Of the words after `fuzz`.
    pub fn of(words: &[&str]) -> Option<Wanted> {
        let mut wanted = Wanted { target: None, seconds: SECONDS };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--seconds" => wanted.seconds = words.next()?.parse().ok().filter(|seconds| *seconds > 0)?,
                target if !target.starts_with('-') && wanted.target.is_none() => {
                    wanted.target = Some(target.to_owned())
                }
                _ => return None,
            }
        }
        Some(wanted)
    }
}

/// Searches one target after the other.
pub fn search(wanted: &Wanted) -> Result<ExitCode> {
    packages::install_for_fuzz()?;
    let room = Room::prepare()?;
    let targets = match &wanted.target {
        Some(target) if room.kept(target).is_dir() => vec![target.clone()],
        Some(target) => bail!("there is no target {target}; the folders in fuzz/corpus have their names"),
        None => room.targets()?,
    };
    let mut found = Vec::new();
    for target in &targets {
        println!("== fuzz {target}");
        if !room.search(target, wanted.seconds)? {
            found.push(target.as_str());
        }
    }
    if found.is_empty() {
        println!("nothing found in {} targets, {} s each", targets.len(), wanted.seconds);
        return Ok(ExitCode::SUCCESS);
    }
    println!("found something: {}; the bytes are in {}", found.join(", "), room.found().display());
    println!("see it again: cargo run --release -p naulon-fuzz -- run TARGET FILE");
    Ok(ExitCode::FAILURE)
}

/// The folders, and the program that searches.
struct Room {
    house: PathBuf,
    target: PathBuf,
    engine: PathBuf,
}

impl Room {
    fn prepare() -> Result<Room> {
        let house = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?.to_owned();
        let target = house.join("target/fuzz");
        let triple = triple()?;
        println!("== building the engine");
        // With its target named, build scripts and macros are not instrumented.
        let mut build = cargo(&["build", "--release", "--target", &triple, "--manifest-path"]);
        build.arg(house.join("fuzz/engine/Cargo.toml")).arg("--target-dir").arg(&target);
        run(build.env("RUSTFLAGS", COVERAGE))?;
        let mut seeds = cargo(&["run", "--release", "--quiet", "-p", "naulon-fuzz", "--", "seeds"]);
        seeds.arg(target.join("seeds"));
        run(seeds.current_dir(&house))?;
        let engine = target.join(triple).join("release/naulon-fuzz-engine");
        let room = Room { house, target, engine };
        fs::create_dir_all(room.found())?;
        Ok(room)
    }

    fn targets(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.house.join("fuzz/corpus"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// The committed corpus.
    fn kept(&self, target: &str) -> PathBuf {
        self.house.join("fuzz/corpus").join(target)
    }

    fn found(&self) -> PathBuf {
        self.target.join("found")
    }

    /// Whether the target stood everything.
    fn search(&self, target: &str, seconds: u64) -> Result<bool> {
        let working = self.target.join("corpus").join(target);
        fs::create_dir_all(&working)?;
        let mut engine = self.engine(target);
        engine.args([&format!("-max_total_time={seconds}"), "-print_final_stats=1", "-verbosity=1"]);
        engine.arg(format!("-artifact_prefix={}/{target}-", self.found().display()));
        engine.arg(&working).arg(self.kept(target)).arg(self.target.join("seeds").join(target));
        if !engine.status()?.success() {
            return Ok(false);
        }
        let mut merge = self.engine(target);
        run(merge.arg("-merge=1").arg(self.kept(target)).arg(&working))?;
        keep_shortest(&self.kept(target))?;
        Ok(true)
    }

    fn engine(&self, target: &str) -> Command {
        let mut engine = Command::new(&self.engine);
        engine.env("NAULON_FUZZ_TARGET", target).current_dir(&self.target);
        engine.args([&format!("-max_len={MAX_LEN}"), "-timeout=60", "-rss_limit_mb=4096"]);
        engine
    }
}

fn keep_shortest(corpus: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(corpus)? {
        let entry = entry?;
        files.push((entry.metadata()?.len(), entry.path()));
    }
    files.sort();
    for (_, path) in files.iter().skip(MAX_KEPT) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc tells its host")?;
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let wanted = |target: Option<&str>, seconds| Some(Wanted { target: target.map(str::to_owned), seconds });
        assert_eq!(Wanted::of(&[]), wanted(None, SECONDS));
        assert_eq!(Wanted::of(&["--seconds", "5", "joint"]), wanted(Some("joint"), 5));
        for bad in [&["--seconds"][..], &["--seconds", "0"], &["a", "b"], &["--json"]] {
            assert_eq!(Wanted::of(bad), None, "{bad:?}");
        }
    }
}
