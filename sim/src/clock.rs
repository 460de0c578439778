//! Clocks that differ, and clocks that are set.

use naulon_statement::Timestamp;
use rand_chacha::ChaCha8Rng;

use crate::fault::below;
use crate::network::Place;

/// The most that a clock is off, in milliseconds.
const MAX_OFF: u64 = 5 * 60_000;
/// The most that a clock is set back or forward while a run lasts.
const MAX_STEP: u64 = 10 * 60_000;

/// One party's clock on the wall. All others are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Whose it is.
    pub place: Place,
    /// By how many milliseconds it is ahead, or behind.
    pub ahead: i64,
    /// When it is set (milliseconds since the beginning), and by how much.
    pub step: Option<(u64, i64)>,
}

/// What a party sees of the time.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// What its clock on the wall shows.
    pub clock: Timestamp,
    /// What runs evenly whatever is set: the machine's steady clock.
    pub steady: Timestamp,
}

impl Clock {
    /// What it shows when so many milliseconds have passed since the beginning.
    pub fn shows(&self, now: Timestamp, passed: u64) -> Timestamp {
        let step = self.step.filter(|(at, _)| *at <= passed).map_or(0, |(_, step)| step);
        Timestamp(now.0.saturating_add_signed(self.ahead + step))
    }
}

/// Clocks that are off by up to five minutes for about half the parties; one in four of them is set while the run lasts, mostly back.
pub fn random(rng: &mut ChaCha8Rng, places: &[Place]) -> Vec<Clock> {
    let wrong = places.iter().filter(|_| below(rng, 2) == 0).copied().collect::<Vec<_>>();
    let mut clocks = Vec::new();
    for place in wrong {
        let ahead = below(rng, 2 * MAX_OFF) as i64 - MAX_OFF as i64;
        let step = (below(rng, 4) == 0).then(|| {
            let size = below(rng, MAX_STEP) as i64;
            (below(rng, 150_000), if below(rng, 4) == 0 { size } else { -size })
        });
        clocks.push(Clock { place, ahead, step });
    }
    clocks
}
