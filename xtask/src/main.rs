//! Every check of the project by one command.
//!
//! `cargo xtask test [AREA]` runs everything, or one area; `bench`, `sim`, `game` pass their arguments on to the programs of
//! those names, built with the one profile that everything uses.

#![allow(clippy::print_stdout)] // A program prints.

mod fuzz;
mod house;
mod packages;
mod tally;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use tally::Tally;

const USAGE: &str = "\
cargo xtask test [AREA]                           every check, or one area: exchange, purchase, mix, house
cargo xtask sim NAME --runs N --seed S [--json]   the simulator: purchase, mix
cargo xtask game NAME [--trials N] [--seed S]     privacy games: withdrawal, brand-key, restore, mix (and --json)
cargo xtask bench [AREA] [--postgres] [--peers] [--json]
                                                  figures as ratios measured in one run: exchange, purchase, scale, mix
cargo xtask fuzz [TARGET] [--seconds N]           looks for bytes that a parser or a list of operations cannot stand";

/// How many seeded runs of the simulator belong to the test command.
const SIM_RUNS: &str = "50000";
/// The same of paid mixes.
const MIX_RUNS: &str = "600";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test(None),
        ["test", area] => test(Some(area)),
        ["sim", rest @ ..] => program("naulon-sim", rest),
        ["game", rest @ ..] => program_of("naulon-sim", "naulon-game", rest),
        ["bench", rest @ ..] => bench(rest),
        ["fuzz", rest @ ..] => match fuzz::Wanted::of(rest) {
            Some(wanted) => fuzz::search(&wanted),
            None => return usage(),
        },
        _ => return usage(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Figures; what a peer is built with is installed first.
fn bench(arguments: &[&str]) -> Result<ExitCode> {
    if arguments.contains(&"--peers") {
        packages::install_for_peers()?;
    }
    if arguments.contains(&"--postgres") {
        packages::install_for_postgres()?;
    }
    program("naulon-bench", arguments)
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// An area's packages: those whose tests show what the area promises.
fn packages_of(area: &str) -> Result<&'static [&'static str]> {
    match area {
        "exchange" => Ok(&[
            "naulon-money",
            "naulon-statement",
            "naulon-blind",
            "naulon-exchange",
            "naulon-durable",
            "naulon-bank",
        ]),
        "purchase" => Ok(&[
            "naulon-tlog",
            "naulon-purchase",
            "naulon-wire",
            "naulon-log",
            "naulon-shop",
            "naulon-wallet",
            "naulon-sim",
            "naulon",
        ]),
        "mix" => Ok(&[
            "naulon-tick",
            "naulon-onion",
            "naulon-meter",
            "naulon-stream",
            "naulon-mix",
            "naulon-directory",
            "naulon-proxy",
            "naulon-purse",
            "naulon-sim",
            "naulon",
        ]),
        "house" => Ok(&[]),
        other => bail!("there is no area {other}; there are exchange, purchase, mix and house"),
    }
}

fn test(area: Option<&str>) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let packages = area.map(packages_of).transpose()?;
    packages::install_missing()?;
    if packages.is_none_or(<[_]>::is_empty) {
        tally.step("house: imports go downwards only", house::check);
        tally.step("fmt", || run(cargo(&["fmt", "--all", "--check"])));
        tally.step("clippy", || {
            run(cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        });
        tally.step("docs", || {
            run(cargo(&["doc", "--release", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
        });
    }
    match packages {
        None => tally.cargo_test(cargo(&["test", "--release", "--workspace", "--no-fail-fast"])),
        Some([]) => {}
        Some(packages) => {
            let mut command = cargo(&["test", "--release", "--no-fail-fast"]);
            for package in packages {
                command.args(["--package", package]);
            }
            tally.cargo_test(command);
        }
    }
    if area.is_none_or(|area| area == "purchase") {
        tally.step("sim purchase", || {
            let arguments = ["purchase", "--runs", SIM_RUNS, "--seed", "1", "--json"];
            program("naulon-sim", &arguments).and_then(|code| match code {
                ExitCode::SUCCESS => Ok(()),
                _ => bail!("the simulator found a violation"),
            })
        });
    }
    if area.is_none_or(|area| area == "mix") {
        tally.step("sim mix", || {
            let arguments = ["mix", "--runs", MIX_RUNS, "--seed", "1", "--json"];
            program("naulon-sim", &arguments).and_then(|code| match code {
                ExitCode::SUCCESS => Ok(()),
                _ => bail!("the simulator found a violation"),
            })
        });
    }
    Ok(tally.close())
}

fn program(package: &str, arguments: &[&str]) -> Result<ExitCode> {
    program_of(package, package, arguments)
}

/// A package's program of this name.
fn program_of(package: &str, name: &str, arguments: &[&str]) -> Result<ExitCode> {
    let mut command = cargo(&["run", "--quiet", "--release", "--package", package, "--bin", name, "--"]);
    let status = command.args(arguments).status().with_context(|| format!("cannot run {name}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

fn run(command: impl std::borrow::BorrowMut<Command>) -> Result<()> {
    let mut command = command;
    let status = command.borrow_mut().status()?;
    if status.success() { Ok(()) } else { bail!("it ended with {status}") }
}
