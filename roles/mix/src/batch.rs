//! How blocks are mixed (MixPay §2.1: mixes "collect and store incoming messages and change their order").
//!
//! What waits here leaves in an order that has nothing to do with the order in which it came. There are no floats: the
//! memoryless delay is drawn step by step, which comes to the same as a Poisson mix with the same mean.

use std::fmt;
use std::str::FromStr;

use naulon_statement::{Duration, Timestamp};
use rand_core::CryptoRng;

/// The most blocks that wait in a mix. Beyond it no link is read.
pub const MAX_WAITING: usize = 8_192;
/// How fine the delays of a Poisson mix are.
const STEP: Duration = Duration(5);

/// How blocks are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// At once and in order: fast, and it hides little.
    Stream,
    /// All together, shuffled, as soon as so many wait, or the oldest has waited so long.
    Threshold {
        /// How many.
        count: usize,
        /// How long at most.
        wait: Duration,
    },
    /// Every so often all but some that stay, which ones by chance.
    Pool {
        /// How many stay.
        keep: usize,
        /// How often.
        wait: Duration,
    },
    /// Each on its own, after a time without memory.
    Poisson {
        /// How long on average.
        mean: Duration,
    },
    /// Sessions that begin and end together, each with exactly one block in every batch.
    Cohort {
        /// How many sessions.
        count: usize,
        /// How many batches.
        length: u32,
    },
}

impl fmt::Display for Batching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Batching::Stream => write!(f, "stream"),
            Batching::Threshold { count, wait } => write!(f, "threshold {count} {}ms", wait.0),
            Batching::Pool { keep, wait } => write!(f, "pool {keep} {}ms", wait.0),
            Batching::Poisson { mean } => write!(f, "poisson {}ms", mean.0),
            Batching::Cohort { count, length } => write!(f, "cohort {count} {length}"),
        }
    }
}

/// Why a text is no way of mixing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "batching is stream, threshold COUNT WAIT, pool KEEP WAIT, poisson WAIT or cohort COUNT LENGTH (WAIT as 50ms or 2s)"
)]
pub struct BatchingError;

impl FromStr for Batching {
    type Err = BatchingError;

    fn from_str(text: &str) -> Result<Self, BatchingError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |word: &str| word.parse::<usize>().ok().filter(|n| *n <= MAX_WAITING).ok_or(BatchingError);
        let batching = match words[..] {
            ["stream"] => Batching::Stream,
            ["threshold", count, wait] => Batching::Threshold { count: number(count)?, wait: time(wait)? },
            ["pool", keep, wait] => Batching::Pool { keep: number(keep)?, wait: time(wait)? },
            ["poisson", mean] => Batching::Poisson { mean: time(mean)? },
            ["cohort", count, length] => {
                let length = length.parse().map_err(|_| BatchingError)?;
                Batching::Cohort { count: number(count)?, length }
            }
            _ => return Err(BatchingError),
        };
        let is_sound = match batching {
            Batching::Stream => true,
            Batching::Threshold { count, wait } => count > 0 && wait.0 > 0,
            Batching::Pool { keep, wait } => keep < MAX_WAITING && wait.0 > 0,
            Batching::Poisson { mean } => mean.0 >= STEP.0,
            Batching::Cohort { count, length } => count > 0 && length > 0,
        };
        if is_sound { Ok(batching) } else { Err(BatchingError) }
    }
}

fn time(word: &str) -> Result<Duration, BatchingError> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).ok_or(BatchingError)?;
    let (count, unit) = word.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(BatchingError),
    };
    let count: u64 = count.parse().map_err(|_| BatchingError)?;
    count.checked_mul(factor).filter(|millis| *millis <= 600_000).map(Duration).ok_or(BatchingError)
}

/// What waits for its batch.
pub(crate) struct Pool<T> {
    batching: Batching,
    waiting: Vec<T>,
    /// When the first came, or the last batch left.
    since: Timestamp,
}

impl<T> Pool<T> {
    pub(crate) fn new(batching: Batching) -> Self {
        Pool { batching, waiting: Vec::new(), since: Timestamp(0) }
    }

    /// Takes one, and says whether it may leave at once.
    pub(crate) fn put(&mut self, one: T, now: Timestamp) -> Option<T> {
        // A cohort makes its batches by itself, and hands them on whole.
        if matches!(self.batching, Batching::Stream | Batching::Cohort { .. }) {
            return Some(one);
        }
        // Else a block that comes to an idle mix would leave at once, and alone.
        if self.waiting.is_empty() {
            self.since = now;
        }
        self.waiting.push(one);
        None
    }

    /// Whether nothing ever waits here.
    pub(crate) fn is_immediate(&self) -> bool {
        matches!(self.batching, Batching::Stream | Batching::Cohort { .. })
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What leaves now, in an order that nothing tells.
    pub(crate) fn leaving(&mut self, now: Timestamp, rng: &mut impl CryptoRng) -> Vec<T> {
        let waited = now.since(self.since);
        match self.batching {
            Batching::Stream | Batching::Cohort { .. } => Vec::new(),
            Batching::Threshold { count, wait } => {
                if self.waiting.is_empty() || (self.waiting.len() < count && waited < wait) {
                    return Vec::new();
                }
                shuffle(&mut self.waiting, rng);
                std::mem::take(&mut self.waiting)
            }
            Batching::Pool { keep, wait } => {
                if waited < wait {
                    return Vec::new();
                }
                self.since = now;
                shuffle(&mut self.waiting, rng);
                self.waiting.split_off(keep.min(self.waiting.len()))
            }
            Batching::Poisson { mean } => {
                let steps = waited.0 / STEP.0;
                if steps == 0 {
                    return Vec::new();
                }
                self.since = Timestamp(now.0 - waited.0 % STEP.0);
                shuffle(&mut self.waiting, rng);
                let mut leaving = Vec::new();
                // More steps than this leave nothing behind but by a miracle.
                for _ in 0..steps.min(mean.0.saturating_mul(64) / STEP.0) {
                    let stays = |_: &mut T| below(mean.0, rng) >= STEP.0;
                    let (stay, go): (Vec<T>, Vec<T>) = partition(std::mem::take(&mut self.waiting), stays);
                    self.waiting = stay;
                    leaving.extend(go);
                }
                leaving
            }
        }
    }

    /// All that waits, in an order that nothing tells.
    pub(crate) fn all(&mut self, rng: &mut impl CryptoRng) -> Vec<T> {
        shuffle(&mut self.waiting, rng);
        std::mem::take(&mut self.waiting)
    }

    /// When something may leave next, if something waits.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        if self.waiting.is_empty() {
            return None;
        }
        match self.batching {
            Batching::Stream | Batching::Cohort { .. } => None,
            Batching::Threshold { wait, .. } | Batching::Pool { wait, .. } => Some(self.since.plus(wait)),
            Batching::Poisson { .. } => Some(self.since.plus(STEP)),
        }
    }
}

fn partition<T>(all: Vec<T>, mut stays: impl FnMut(&mut T) -> bool) -> (Vec<T>, Vec<T>) {
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for mut one in all {
        if stays(&mut one) { stay.push(one) } else { go.push(one) }
    }
    (stay, go)
}

/// A number below `bound`, each with the same chance.
pub(crate) fn below(bound: u64, rng: &mut impl CryptoRng) -> u64 {
    if bound < 2 {
        return 0;
    }
    // What is above the last whole multiple is drawn again.
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let mut bytes = [0; 8];
        rng.fill_bytes(&mut bytes);
        let number = u64::from_le_bytes(bytes);
        if number < limit {
            return number % bound;
        }
    }
}

/// Puts them into an order of which each is as likely as any other (Fisher and Yates).
pub(crate) fn shuffle<T>(list: &mut [T], rng: &mut impl CryptoRng) {
    for at in (1..list.len()).rev() {
        // The bound is a length.
        let other = below(at as u64 + 1, rng) as usize;
        list.swap(at, other);
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([3; 32])
    }

    #[test]
    fn settings_read_as_they_were_written() {
        for text in ["stream", "threshold 8 50ms", "pool 16 2000ms", "poisson 40ms", "cohort 4 100"] {
            let batching: Batching = text.parse().expect(text);
            assert_eq!(batching.to_string(), text);
        }
        assert_eq!("pool 16 2s".parse::<Batching>().expect("a pool").to_string(), "pool 16 2000ms");
        for bad in [
            "",
            "river",
            "threshold",
            "threshold 0 5ms",
            "threshold 9999999 5ms",
            "pool 3 0s",
            "poisson 1ms",
            "pool 3 9",
        ] {
            assert_eq!(bad.parse::<Batching>(), Err(BatchingError), "{bad}");
        }
    }

    #[test]
    fn a_threshold_waits_for_the_count_or_the_time() {
        let mut pool = Pool::new(Batching::Threshold { count: 3, wait: Duration(100) });
        for n in 0..2 {
            assert_eq!(pool.put(n, Timestamp(10)), None);
        }
        assert!(pool.leaving(Timestamp(50), &mut rng()).is_empty());
        assert_eq!(pool.next(), Some(Timestamp(110)));
        assert_eq!(pool.leaving(Timestamp(110), &mut rng()).len(), 2);
        for n in 0..3 {
            pool.put(n, Timestamp(120));
        }
        let mut left = pool.leaving(Timestamp(120), &mut rng());
        left.sort_unstable();
        assert_eq!((left, pool.len()), (vec![0, 1, 2], 0));
    }

    #[test]
    fn a_pool_keeps_some_and_which_is_chance() {
        let mut rng = rng();
        let mut kept = std::collections::BTreeSet::new();
        for round in 0..50 {
            let mut pool = Pool::new(Batching::Pool { keep: 1, wait: Duration(10) });
            for n in 0..4 {
                pool.put(n, Timestamp(round));
            }
            assert_eq!(pool.leaving(Timestamp(round + 1_000), &mut rng).len(), 3);
            kept.extend(pool.waiting);
        }
        assert_eq!(kept.len(), 4, "each stays at some time");
    }

    #[test]
    fn nothing_leaves_an_idle_mix_at_once() {
        for batching in [Batching::Pool { keep: 0, wait: Duration(100) }, Batching::Poisson { mean: Duration(100) }] {
            let mut pool = Pool::new(batching);
            pool.put(0, Timestamp(1_000_000));
            assert!(pool.leaving(Timestamp(1_000_000), &mut rng()).is_empty(), "{batching}");
            assert!(pool.next().is_some_and(|next| next > Timestamp(1_000_000)), "{batching}");
        }
    }

    /// The mean of many delays, and that half of them are over after ln 2 of it: without memory.
    #[test]
    fn poisson_delays_have_their_mean_and_no_memory() {
        let mut rng = rng();
        let mut pool = Pool::new(Batching::Poisson { mean: Duration(100) });
        let count = 4_000u64;
        for n in 0..count {
            pool.put(n, Timestamp(0));
        }
        let (mut sum, mut half, mut left) = (0, 0, 0);
        for now in (STEP.0..10_000).step_by(STEP.0 as usize) {
            let leaving = pool.leaving(Timestamp(now), &mut rng).len() as u64;
            (sum, left) = (sum + leaving * now, left + leaving);
            if now == 70 {
                half = left;
            }
        }
        assert_eq!(left, count);
        assert!((90..115).contains(&(sum / count)), "{}", sum / count);
        assert!((45..58).contains(&(half * 100 / count)), "{half}");
    }

    #[test]
    fn every_order_is_as_likely() {
        let mut rng = rng();
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6_000 {
            let mut list = [0, 1, 2];
            shuffle(&mut list, &mut rng);
            *seen.entry(list).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|count| (850..1_150).contains(count)), "{seen:?}");
    }
}
