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

use anyhow::Result;

use calls::Kind;
use figure::Figure;
use server::Role;

const USAGE: &str = "\
naulon-bench [AREA] [--rounds N] [--json]     figures as ratios measured in one run
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
        words => match Wanted::of(words) {
            Some(wanted) => measure(&wanted),
            None => return usage(),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naulon-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    kinds: Vec<Kind>,
    rounds: usize,
    as_json: bool,
}

impl Wanted {
    fn of(words: &[&str]) -> Option<Wanted> {
        let mut wanted = Wanted { kinds: Kind::of_area("exchange"), rounds: exchange::ROUNDS, as_json: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--json" => wanted.as_json = true,
                "--rounds" => wanted.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
                area => wanted.kinds = Kind::of_area(area),
            }
        }
        Some(wanted).filter(|wanted| !wanted.kinds.is_empty())
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn measure(wanted: &Wanted) -> Result<()> {
    print(&exchange::run(&wanted.kinds, wanted.rounds)?, wanted.as_json)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let all = Wanted { kinds: Kind::ALL.to_vec(), rounds: exchange::ROUNDS, as_json: false };
        assert_eq!(Wanted::of(&[]), Some(all));
        let one = Wanted { kinds: vec![Kind::Decision], rounds: 2, as_json: true };
        assert_eq!(Wanted::of(&["--json", "log.decision", "--rounds", "2"]), Some(one));
        for bad in [&["mix"][..], &["--rounds"], &["--rounds", "0"], &["--peers"]] {
            assert_eq!(Wanted::of(bad), None, "{bad:?}");
        }
    }
}
