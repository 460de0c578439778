//! Counts what passed and what failed, and closes like a test runner.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Result;

/// What has passed and failed so far.
#[derive(Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Runs one check.
    pub fn step(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        eprintln!("== {name}");
        let started = Instant::now();
        match check() {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                self.failed += 1;
                self.failures.push(name.to_owned());
            }
        }
        eprintln!("== {name}: {} s", started.elapsed().as_secs());
    }

    /// Runs `cargo test`, shows its output, and adds up its closing lines.
    pub fn cargo_test(&mut self, mut command: Command) {
        let (mut passed, mut failed) = (0, 0);
        self.step("cargo test", || {
            let mut child = command.stdout(Stdio::piped()).spawn()?;
            let output = child.stdout.take();
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let line = line?;
                println!("{line}");
                if let Some((p, f)) = closing_line(&line) {
                    passed += p;
                    failed += f;
                }
            }
            let status = child.wait()?;
            anyhow::ensure!(status.success(), "it ended with {status}");
            anyhow::ensure!(passed > 0, "no test ran");
            Ok(())
        });
        // The step itself counts as one more: what does not build fails without a single test.
        self.passed += passed;
        self.failed += failed;
    }

    /// Prints the closing line.
    pub fn close(self) -> ExitCode {
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The counts in `test result: ok. 10 passed; 0 failed; …`.
fn closing_line(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?;
    let counts = rest.split_once(". ")?.1;
    let mut parts = counts.split("; ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_read() {
        let ok = "test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(closing_line(ok), Some((10, 0)));
        let bad = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(closing_line(bad), Some((3, 2)));
        assert_eq!(closing_line("test a ... ok"), None);
    }
}
