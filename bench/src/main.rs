//! What we claim about speed, as ratios measured in one run (docs/bench.md).
//!
//! A ratio compares what a program of ours does with what it cannot do without, or with a raw operation, and both are
//! measured in the same rounds on the same machine: absolute figures say more about the machine than about us. Servers
//! are child processes of this program, and what counts is their processor time, not time on the wall.
//!
//! In scope: figures and how they are taken. Out of scope: whether what is measured is right; the tests say that.

#![allow(clippy::float_arithmetic, reason = "no money is computed here, only times and ratios")]

mod calls;
mod cpu;
mod exchange;
mod figure;
mod house;
mod load;
mod primitives;
mod rows;
mod samples;
mod server;
mod steps;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};

use calls::Kind;
use figure::Figure;
use server::Role;

const USAGE: &str = "\
naulon-bench [AREA] [--json]     figures as ratios measured in one run
areas: exchange, or one of its kinds of calls: exchange.1to1, exchange.8to8, exchange.withdraw, exchange.deposit,
exchange.lock, exchange.settle, log.decision";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        // How this program starts its own servers.
        ["serve", role, folder] => match Role::of(role) {
            Some(role) => server::run(role, Path::new(folder)),
            None => return usage(),
        },
        [] => measure("exchange", false),
        ["--json"] => measure("exchange", true),
        [area] => measure(area, false),
        [area, "--json"] | ["--json", area] => measure(area, true),
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naulon-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn measure(area: &str, as_json: bool) -> Result<()> {
    let kinds = Kind::of_area(area);
    ensure!(!kinds.is_empty(), "there is no area {area}\n{USAGE}");
    print(&exchange::run(&kinds, exchange::ROUNDS)?, as_json)
}

#[allow(clippy::print_stdout)] // The figures are what this program is for.
fn print(figures: &[Figure], as_json: bool) -> Result<()> {
    if as_json {
        for figure in figures {
            println!("{}", serde_json::to_string(figure)?);
        }
    } else {
        println!("{}", figure::table(figures));
    }
    Ok(())
}
