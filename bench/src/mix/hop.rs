//! What a block costs a mix: a tick, a hop in session mode, a hop in per-packet mode; beside one SHA-256 compression and the crate
//! `sphinx-packet`, whose packets carry the same 2 KiB.

use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use naulon_meter::{Chain, Decision, Meter, Payer, Replies, Terms};
use naulon_money::Amount;
use naulon_onion::{Begun, HOPS, HopKeys, HopSession, PathHop, Pay, Plan, Protocol, Session, Shape, Traffic, packet};
use naulon_statement::{Digest, SecretKey};
use naulon_tick::{ChainId, Front, Walker};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::block_api::compress256;

use crate::cpu;
use crate::figure::{Figure, MICROSECONDS};
use crate::samples::Samples;

const PEER: &str = "sphinx-packet 0.8.0";
const COMPRESSION: &str = "sha256.compression.fastest";
const COMPRESSIONS: [&str; 2] = ["sha256.compression.sha2", "sha256.compression.aws-lc"];
const TICK: &str = "mix.tick.verify";
const SESSION: &str = "mix.hop.session";
const PACKET: &str = "mix.hop.packet";
const UNWRAP: &str = "sphinx.unwrap";

/// How long each is repeated in a round.
const SPAN: Duration = Duration::from_millis(250);
/// Blocks are made so many at a time; only opening them is measured.
const BATCH: usize = 64;
const CHAIN: u32 = 1 << 20;

/// Everything that is measured, ready.
pub struct Hop {
    session: SessionHop,
    packets: PacketHop,
    ticks: Ticks,
    peer: Option<Peer>,
}

impl Hop {
    /// Prepares keys and sessions; builds the peer if it is wanted.
    pub fn prepare(with_peers: bool) -> Result<Hop> {
        let peer = if with_peers { Some(Peer::build()?) } else { None };
        Ok(Hop { session: SessionHop::new()?, packets: PacketHop::new()?, ticks: Ticks::new()?, peer })
    }

    /// One sample of each, in microseconds of processor time.
    pub fn measure(&mut self, samples: &mut Samples) -> Result<()> {
        let raw = [compression_by_sha2(), compression_by_aws()];
        COMPRESSIONS.iter().zip(raw).for_each(|(name, time)| samples.add(*name, time));
        samples.add(COMPRESSION, raw[0].min(raw[1]));
        samples.add(TICK, self.ticks.time()?);
        samples.add(SESSION, self.session.time()?);
        samples.add(PACKET, self.packets.time()?);
        if let Some(peer) = &mut self.peer {
            samples.add(UNWRAP, peer.time()?);
        }
        Ok(())
    }

    /// The figures. A ratio to the peer says how many of ours take the time of one of its.
    pub fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let bare = |name: &str| Figure::new(name, samples.median(name), MICROSECONDS);
        let mut figures: Vec<Figure> = COMPRESSIONS.iter().map(|name| bare(name)).collect();
        figures.push(bare(TICK).against(COMPRESSION, samples.ratio(TICK, &[COMPRESSION])).at_most(Some(1.2)));
        if self.peer.is_none() {
            figures.extend([SESSION, PACKET].map(bare));
            return figures;
        }
        figures.push(bare(UNWRAP));
        for (name, goal) in [(SESSION, 40.0), (PACKET, 1.5)] {
            let blocks = samples.ratio(UNWRAP, &[name]);
            figures
                .push(bare(name).against(format!("{PEER}, blocks in the time of one unwrap"), blocks).at_least(goal));
        }
        figures
    }
}

/// The processor time of one, in microseconds: `batch` gives how many it did and how long they took.
fn mean(mut batch: impl FnMut() -> Result<(u32, Duration)>) -> Result<f64> {
    let (mut count, mut time) = (0_u32, Duration::ZERO);
    while time < SPAN {
        let (done, took) = batch()?;
        count += done;
        time += took;
    }
    Ok(time.as_secs_f64() * 1e6 / f64::from(count))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = cpu::of_this_thread();
    let done = work();
    (done, cpu::of_this_thread() - begun)
}

/// A chain of compressions, as a chain of ticks is: each begins where the last one ended.
fn compression_by_sha2() -> f64 {
    let mut block = [0x5a; 64];
    let batch = || {
        let ((), took) = timed(|| {
            for _ in 0..10_000 {
                let mut state = [0x6a09_e667_u32; 8];
                compress256(&mut state, std::slice::from_ref(&block));
                block[..4].copy_from_slice(&state[0].to_be_bytes());
            }
        });
        Ok((10_000, took))
    };
    let time = mean(batch).unwrap_or(f64::INFINITY);
    black_box(block);
    time
}

fn compression_by_aws() -> f64 {
    let mut message = [0x5a; 53];
    let batch = || {
        let ((), took) = timed(|| {
            for _ in 0..10_000 {
                let hash = digest(&SHA256, &message);
                message[..4].copy_from_slice(&hash.as_ref()[..4]);
            }
        });
        Ok((10_000, took))
    };
    let time = mean(batch).unwrap_or(f64::INFINITY);
    black_box(message);
    time
}

/// A chain whose ticks are taken one after the other.
struct Ticks {
    id: ChainId,
    root: Front,
    ticks: Vec<Front>,
}

impl Ticks {
    fn new() -> Result<Ticks> {
        let mut walker = Walker::new(ChainId([3; 32]), &[4; 32], 10_000)?;
        let (id, root) = (walker.id(), Front::root(walker.root()));
        let ticks = (0..10_000).map(|_| walker.advance(1)).collect::<Result<_, _>>()?;
        Ok(Ticks { id, root, ticks })
    }

    fn time(&self) -> Result<f64> {
        mean(|| {
            let mut front = self.root;
            let (taken, took) =
                timed(|| self.ticks.iter().try_for_each(|tick| front.advance(&self.id, tick, 1).map(|_| ())));
            taken?;
            Ok((10_000, took))
        })
    }
}

const TERMS: Terms = Terms { protocol: Protocol::BEFORE_SENDER, window: 64, replies: Replies::Included(1) };
const PRICE: Amount = Amount::from_micros(10);

fn path() -> ([HopKeys; HOPS], [PathHop; HOPS]) {
    let mut keys = [HopKeys::new(), HopKeys::new(), HopKeys::new()];
    let mut number = 0;
    let path = keys.each_mut().map(|keys| {
        number += 1;
        PathHop { mix: SecretKey::from_seed(&[number; 32]).public(), key: keys.begin(1, &[number; 32]) }
    });
    (keys, path)
}

/// The paying side and the meter of one chain.
fn paid(number: u8) -> Result<(Payer, Meter)> {
    let walker = Walker::new(ChainId([number; 32]), &[number; 32], CHAIN)?;
    let chain = Chain::new(walker.id(), walker.root(), CHAIN, PRICE);
    let (mut payer, mut meter) = (Payer::new(TERMS, 0), Meter::new(TERMS, PRICE));
    payer.add(0, walker)?;
    meter.add(0, chain)?;
    Ok((payer, meter))
}

fn passed(decision: Result<Decision, naulon_meter::Refusal>) -> Result<()> {
    ensure!(decision? == Decision::Pass, "a paid block passes");
    Ok(())
}

/// The first hop in session mode: open, meter, refill; a tick in every block.
struct SessionHop {
    sender: Session,
    hop: HopSession,
    payer: Payer,
    meter: Meter,
    rng: ChaCha20Rng,
}

impl SessionHop {
    fn new() -> Result<SessionHop> {
        let (shape, mut rng) = (Shape::COMPARED, ChaCha20Rng::from_seed([1; 32]));
        let (mut keys, path) = path();
        let fares = [vec![1; 300], vec![2; 300], vec![3; 300]];
        let plan = Plan { path, protocol: TERMS.protocol, traffic: Traffic::Stream, fares };
        let mut block = vec![0; shape.block()];
        let sender = Session::begin(shape, &plan, &mut block, &mut rng)?;
        let Begun { session: hop, .. } = keys[0].open_set_up(shape, 64, &mut block, &mut rng)?;
        let (payer, meter) = paid(1)?;
        Ok(SessionHop { sender, hop, payer, meter, rng })
    }

    fn time(&mut self) -> Result<f64> {
        let payload = vec![0x42; 2_048];
        let mut blocks = vec![vec![0; Shape::COMPARED.block()]; BATCH];
        mean(|| {
            // One chain of a million ticks is used up in a long measurement: then another one is begun.
            if self.payer.needs_fare(BATCH as u32).is_some() {
                *self = SessionHop::new()?;
            }
            let first = self.sender.next_number();
            for block in &mut blocks {
                let pay = self.payer.data()?;
                self.sender.data(&[pay, Pay::default(), Pay::default()], &payload, block)?;
            }
            let (done, took) = timed(|| {
                blocks.iter_mut().zip(first..).try_for_each(|(block, number)| {
                    let pay = self.hop.open(block, &mut self.rng)?;
                    passed(self.meter.forward(number, &pay))
                })
            });
            done?;
            Ok((BATCH as u32, took))
        })
    }
}

/// The first hop in per-packet mode: a key agreement a block, then as above.
struct PacketHop {
    keys: HopKeys,
    path: [PathHop; HOPS],
    payer: Payer,
    meter: Meter,
    rng: ChaCha20Rng,
    next: u32,
}

impl PacketHop {
    fn new() -> Result<PacketHop> {
        let ([keys, ..], path) = path();
        let (payer, meter) = paid(2)?;
        Ok(PacketHop { keys, path, payer, meter, rng: ChaCha20Rng::from_seed([2; 32]), next: 0 })
    }

    fn time(&mut self) -> Result<f64> {
        // As much longer as a packet's layers are, so that it brings 2 KiB, too.
        let shape = Shape::new(2 * Shape::COMPARED.block() - Shape::COMPARED.payload(naulon_onion::Kind::Packet));
        let shape = shape.context("a shape for packets of 2 KiB")?;
        ensure!(shape.payload(naulon_onion::Kind::Packet) >= 2_048);
        let payload = vec![0x42; 2_048];
        let checks = [Digest([1; 32]), Digest([2; 32]), Digest([3; 32])];
        let mut blocks = vec![vec![0; shape.block()]; BATCH];
        mean(|| {
            for block in &mut blocks {
                let pays = [self.payer.data()?, Pay::default(), Pay::default()];
                packet(shape, &self.path, &checks, &pays, &payload, block, &mut self.rng)?;
            }
            let (done, took) = timed(|| {
                blocks.iter_mut().try_for_each(|block| {
                    let passed_on = self.keys.open_packet(shape, block, &mut self.rng)?;
                    self.next += 1;
                    passed(self.meter.forward(self.next - 1, &passed_on.part.pay))
                })
            });
            done?;
            Ok((BATCH as u32, took))
        })
    }
}

/// The peer's program: it measures on a line from us, and answers with a figure.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn build() -> Result<Peer> {
        let house = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = house.parent().context("bench stands in the workspace")?.join("target/peers/sphinx");
        let manifest = house.join("peers/sphinx-unwraps/Cargo.toml");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(manifest);
        let status = build.arg("--target-dir").arg(&target).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{PEER} does not build");
        let mut program = Command::new(target.join("release/sphinx-unwraps"));
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("its input is ours")?;
        let output = BufReader::new(child.stdout.take().context("its output is ours")?);
        Ok(Peer { child, input, output })
    }

    fn time(&mut self) -> Result<f64> {
        writeln!(self.input)?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("{PEER} says {line:?}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_does_what_it_should() {
        let mut hop = Hop::prepare(false).expect("keys and sessions");
        let mut samples = Samples::default();
        hop.measure(&mut samples).expect("all of it works");
        let figures = hop.figures(&samples);
        assert_eq!(figures.len(), 5);
        assert!(figures.iter().all(|figure| figure.value > 0.0));
    }
}
