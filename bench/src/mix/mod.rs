//! The area `mix`: what a tick costs, and what a download through three hops costs, beside Debian's `tor`.
//!
//! And what a block costs one mix ([`hop`]), beside the crate `sphinx-packet`.
//!
//! A download goes through three paid mixes ([`ours`]). `--peers` runs a private network of `tor` on loopback ([`tor`]) and
//! puts it beside ours in the same rounds.

mod cash;
mod download;
mod hop;
mod ours;
mod tor;
mod walk;

use anyhow::Result;

use crate::figure::Figure;
use crate::samples::Samples;
use download::{Cost, Source};

/// How much goes through in a round of one network.
pub const MEGABYTES: u64 = 50;
/// Rounds, unless told otherwise.
pub const ROUNDS: usize = 3;
/// At least so many times the peer's rate, at most so many times its processor time.
const FASTER: f64 = 2.0;
const CHEAPER: f64 = 0.5;
/// A million bytes a second.
const MEGABYTES_A_SECOND: &str = "MB/s";
/// Processor seconds of all of a network's processes for 10^9 bytes.
const SECONDS_A_GIGABYTE: &str = "s/GB";

/// What the command line asks for after `mix`.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    megabytes: u64,
    rounds: usize,
    with_peers: bool,
    /// Nothing is downloaded: only what ticks and blocks cost.
    only_hop: bool,
    /// Whether the figures are printed as JSON.
    pub as_json: bool,
}

impl Wanted {
    /// What these words ask for; nothing if one of them is unknown.
    pub fn of(words: &[&str]) -> Option<Wanted> {
        let mut wanted =
            Wanted { megabytes: MEGABYTES, rounds: ROUNDS, with_peers: false, only_hop: false, as_json: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--json" => wanted.as_json = true,
                "--peers" => wanted.with_peers = true,
                "--hop" => wanted.only_hop = true,
                "--megabytes" => wanted.megabytes = words.next()?.parse().ok().filter(|size| *size > 0)?,
                "--rounds" => wanted.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
                _ => return None,
            }
        }
        Some(wanted)
    }
}

/// A network through which something is downloaded: where its SOCKS5 door is, and whose processor time it takes.
trait Network {
    /// What its figures are called.
    fn name(&self) -> &'static str;
    /// The door.
    fn socks(&self) -> std::net::SocketAddr;
    /// All of its processes. Who sends and who receives the file are none of them.
    fn processes(&self) -> Vec<u32>;
}

/// Measures what is asked for.
pub fn run(wanted: &Wanted) -> Result<Vec<Figure>> {
    let mut samples = Samples::default();
    let mut hop = hop::Hop::prepare(wanted.with_peers)?;
    for _ in 0..wanted.rounds {
        hop.measure(&mut samples)?;
    }
    let mut figures = hop.figures(&samples);
    figures.extend(walk::run(wanted.rounds)?);
    figures.extend(cash::run(wanted.rounds)?);
    drop(hop);
    if !wanted.only_hop {
        figures.extend(downloads(wanted, &mut samples)?);
    }
    Ok(figures)
}

fn downloads(wanted: &Wanted, samples: &mut Samples) -> Result<Vec<Figure>> {
    let source = Source::start(wanted.megabytes * 1_000_000)?;
    let mut networks: Vec<Box<dyn Network>> = vec![Box::new(ours::Mixes::start()?)];
    if wanted.with_peers {
        eprintln!("starting a private network of {}", tor::NAME);
        networks.push(Box::new(tor::Tor::start(source.address())?));
    }
    // The first download builds circuits and fills windows.
    for network in &networks {
        download::through(&source, network.as_ref())?;
    }
    for round in 1..=wanted.rounds {
        eprintln!("round {round} of {}", wanted.rounds);
        for network in &networks {
            let Cost { elapsed, processor } = download::through(&source, network.as_ref())?;
            let megabytes = source.len() as f64 / 1e6;
            samples.add(format!("{}.rate", network.name()), megabytes / elapsed.as_secs_f64());
            samples.add(format!("{}.cpu", network.name()), processor.as_secs_f64() / (megabytes / 1e3));
        }
    }
    let mut figures = Vec::new();
    for network in &networks {
        for (what, unit) in [("rate", MEGABYTES_A_SECOND), ("cpu", SECONDS_A_GIGABYTE)] {
            let name = format!("{}.{what}", network.name());
            let figure = Figure::new(format!("mix.download.{name}"), samples.median(&name), unit);
            let peer = format!("tor.{what}");
            let is_compared = wanted.with_peers && name != peer;
            let ratio = if is_compared { samples.ratio(&name, &[peer.as_str()]) } else { 0.0 };
            figures.push(match what {
                _ if !is_compared => figure,
                "rate" => figure.against(tor::NAME, ratio).at_least(FASTER),
                _ => figure.against(tor::NAME, ratio).at_most(Some(CHEAPER)),
            });
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let usual = Wanted { megabytes: MEGABYTES, rounds: ROUNDS, with_peers: false, only_hop: false, as_json: false };
        assert_eq!(Wanted::of(&[]), Some(usual));
        let told = Wanted { megabytes: 5, rounds: 1, with_peers: true, only_hop: false, as_json: true };
        assert_eq!(Wanted::of(&["--peers", "--json", "--megabytes", "5", "--rounds", "1"]), Some(told));
        for bad in [&["--megabytes", "0"][..], &["--rounds"], &["--postgres"]] {
            assert_eq!(Wanted::of(bad), None, "{bad:?}");
        }
    }
}
