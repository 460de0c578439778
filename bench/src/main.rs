//! What we claim about speed, as ratios measured in one run (docs/performance.md).
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
mod mint;
mod mix;
mod postgres;
mod primitives;
mod purchase;
mod rows;
mod samples;
mod scale;
mod server;
mod steps;

use std::process::ExitCode;

use anyhow::Result;

use calls::Kind;
use figure::Figure;
use server::Role;

const USAGE: &str = "\
naulon-bench [AREA] [--rounds N] [--postgres] [--peers] [--json]     figures as ratios measured in one run
--postgres puts a bank over PostgreSQL, in a cluster of its own, beside the one over SQLite
--peers builds cdk-mintd once (some ten minutes) and puts it beside the bank
areas: exchange, or one of its kinds of calls: exchange.1to1, exchange.8to8, exchange.withdraw, exchange.deposit,
exchange.lock, exchange.settle, log.decision
purchase: how long a purchase takes in which nothing fails
scale [--spent N] [--exchanges N]: a bank that knows N spent tokens, and its memory over N exchanges
mix [--megabytes N]: ticks, and a download through three hops; --peers puts a private network of Debian's tor beside it
mix --hop: only what a block costs one mix; --peers builds sphinx-packet once and puts it beside";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        // How this program starts its own servers.
        ["serve", role, store, others @ ..] => match Role::of(role) {
            Some(role) => server::run(role, store, others),
            None => return usage(),
        },
        ["purchase", words @ ..] => match Wanted::of(words) {
            Some(wanted) => purchase::run(wanted.rounds).and_then(|figures| print(&figures, wanted.as_json)),
            None => return usage(),
        },
        ["scale", words @ ..] => match WantedScale::of(words) {
            Some(wanted) => scale::run(wanted.size, wanted.rounds).and_then(|figures| print(&figures, wanted.as_json)),
            None => return usage(),
        },
        ["mix", words @ ..] => match mix::Wanted::of(words) {
            Some(wanted) => mix::run(&wanted).and_then(|figures| print(&figures, wanted.as_json)),
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
    with_peers: bool,
    with_postgres: bool,
    as_json: bool,
}

impl Wanted {
    fn of(words: &[&str]) -> Option<Wanted> {
        let kinds = Kind::of_area("exchange");
        let mut wanted =
            Wanted { kinds, rounds: exchange::ROUNDS, with_peers: false, with_postgres: false, as_json: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--json" => wanted.as_json = true,
                "--peers" => wanted.with_peers = true,
                "--postgres" => wanted.with_postgres = true,
                "--rounds" => wanted.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
                area => wanted.kinds = Kind::of_area(area),
            }
        }
        Some(wanted).filter(|wanted| !wanted.kinds.is_empty())
    }
}

/// What the command line asks for after `scale`.
#[derive(Debug, PartialEq, Eq)]
struct WantedScale {
    size: scale::Size,
    rounds: usize,
    as_json: bool,
}

impl WantedScale {
    fn of(words: &[&str]) -> Option<WantedScale> {
        let mut wanted = WantedScale { size: scale::Size::CLAIMED, rounds: exchange::ROUNDS, as_json: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--json" => wanted.as_json = true,
                "--spent" => wanted.size.spent = words.next()?.parse().ok()?,
                "--exchanges" => wanted.size.exchanges = words.next()?.parse().ok()?,
                "--rounds" => wanted.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
                _ => return None,
            }
        }
        Some(wanted)
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn measure(wanted: &Wanted) -> Result<()> {
    let peer = wanted.with_peers.then(mint::Programs::build).transpose()?;
    let beside = exchange::Beside { postgres: wanted.with_postgres, peer: peer.as_ref() };
    print(&exchange::run(&wanted.kinds, wanted.rounds, &beside)?, wanted.as_json)
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
        let all = Wanted {
            kinds: Kind::ALL.to_vec(),
            rounds: exchange::ROUNDS,
            with_peers: false,
            with_postgres: false,
            as_json: false,
        };
        assert_eq!(Wanted::of(&[]), Some(all));
        let kinds = vec![Kind::Decision];
        let one = Wanted { kinds, rounds: 2, with_peers: true, with_postgres: true, as_json: true };
        assert_eq!(Wanted::of(&["--json", "log.decision", "--peers", "--postgres", "--rounds", "2"]), Some(one));
        for bad in [&["mix"][..], &["--rounds"], &["--rounds", "0"], &["--peer"]] {
            assert_eq!(Wanted::of(bad), None, "{bad:?}");
        }
    }
}
