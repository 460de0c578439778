//! What the next tick costs whoever pays, beside one compression of the library's SHA-256.
//!
//! A payer keeps log₂ n values of a chain of n ticks and makes a few steps for the next. Processor time of this thread, the best
//! of each round, so that what else the machine does is left out.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result};
use naulon_tick::{ChainId, MAX_CHAIN, Walker};
use sha2::block_api::compress256;

use crate::cpu;
use crate::figure::Figure;
use crate::samples::Samples;

/// Processor time in nanoseconds.
const NANOSECONDS: &str = "ns";
/// Ticks of one measurement.
const TICKS: u32 = 1 << 15;
/// Measurements a round, of which the best counts.
const REPEATS: usize = 5;
/// Chains of these lengths are walked: the longest that there is, and a short one.
const LENGTHS: [u32; 2] = [1 << 16, MAX_CHAIN];
/// One compression.
const COMPRESSION: &str = "one compression";

/// The figures.
pub fn run(rounds: usize) -> Result<Vec<Figure>> {
    let mut samples = Samples::default();
    let id = ChainId([7; 32]);
    for _ in 0..rounds {
        samples.add(COMPRESSION, best(TICKS, compressions));
        for length in LENGTHS {
            let mut walkers =
                (0..REPEATS).map(|_| Walker::new(id, &[1; 32], length)).collect::<Result<Vec<_>, _>>()?.into_iter();
            let walk = || {
                let Some(mut walker) = walkers.next() else { return };
                for _ in 0..TICKS {
                    let _ = black_box(walker.advance(1));
                }
            };
            samples.add(format!("next.{length}"), best(TICKS, walk));
        }
    }
    let mut figures = Vec::new();
    for length in LENGTHS {
        let walker = Walker::new(id, &[1; 32], length)?;
        let levels = f64::from(length.checked_ilog2().context("a length")?);
        let log = format!("log₂ {length}");
        let (kept, next) = (walker.kept(), format!("next.{length}"));
        let kept = Figure::new(format!("mix.chain.{length}.kept"), kept as f64, "values");
        let ratio = kept.value / levels;
        figures.push(kept.against(log, ratio).at_most(Some(1.0)));
        // At most two steps a value that is kept; each is one compression and some moving about.
        let next_figure = Figure::new(format!("mix.chain.{length}.next"), samples.median(&next), NANOSECONDS);
        figures
            .push(next_figure.against(COMPRESSION, samples.ratio(&next, &[COMPRESSION])).at_most(Some(2.0 * levels)));
    }
    Ok(figures)
}

/// As many compressions as ticks, each of the one before, as ticks are.
fn compressions() {
    let mut block = [0x5a; 64];
    for _ in 0..TICKS {
        let mut state = [0x6a09_e667; 8];
        compress256(&mut state, std::slice::from_ref(&block));
        for (bytes, word) in block.chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
    }
    black_box(block);
}

/// Nanoseconds of one of so many, in the best of a few measurements.
fn best(count: u32, mut work: impl FnMut()) -> f64 {
    let measure = |_| {
        let before = cpu::of_this_thread();
        work();
        cpu::of_this_thread().saturating_sub(before)
    };
    let shortest: Duration = (0..REPEATS).map(measure).min().unwrap_or_default();
    shortest.as_secs_f64() * 1e9 / f64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_there() {
        let figures = run(1).expect("measures");
        assert_eq!(figures.len(), 2 * LENGTHS.len());
        assert!(figures.iter().all(|figure| figure.value > 0.0), "{figures:?}");
        let kept = figures.iter().filter(|figure| figure.name.ends_with("kept"));
        assert!(kept.into_iter().all(|figure| figure.met == Some(true)), "{figures:?}");
    }
}
