//! What goes wrong in a run.

use naulon_durable::fault::When;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::network::Place;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The message with this number is lost.
    Drop(u64),
    /// The message with this number arrives twice, the second time this much later (milliseconds).
    Double(u64, u64),
    /// The message with this number arrives this much later (milliseconds).
    Delay(u64, u64),
    /// A bit of the message with this number is flipped, if it is a response; the second number says which.
    Corrupt(u64, u64),
    /// A party dies before or after its n-th write since it was last started (counted from 1), and starts again later.
    Crash(Place, u64, When),
}

impl Fault {
    /// The number of the message that it hits.
    pub fn message(&self) -> Option<u64> {
        match self {
            Fault::Drop(n) | Fault::Double(n, _) | Fault::Delay(n, _) | Fault::Corrupt(n, _) => Some(*n),
            Fault::Crash(..) => None,
        }
    }
}

/// Whose message a fault hits, or what it does, for the tables of a report.
impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Drop(n) => write!(f, "message {n} lost"),
            Fault::Double(n, by) => write!(f, "message {n} doubled after {by} ms"),
            Fault::Delay(n, by) => write!(f, "message {n} {by} ms late"),
            Fault::Corrupt(n, _) => write!(f, "message {n} corrupted"),
            Fault::Crash(place, n, When::Before) => write!(f, "{place} dies before write {n}"),
            Fault::Crash(place, n, When::After) => write!(f, "{place} dies after write {n}"),
        }
    }
}

/// Random faults: up to six, of every kind, with delays from a blink to beyond the expiry.
pub fn random(rng: &mut ChaCha8Rng, places: &[Place], messages: u64) -> Vec<Fault> {
    let count = below(rng, 7);
    (0..count)
        .map(|_| {
            let message = below(rng, messages.max(1));
            let late = [20, 400, 3_000, 20_000, 130_000][below(rng, 5) as usize];
            match below(rng, 6) {
                0 => Fault::Drop(message),
                1 => Fault::Double(message, late),
                2 => Fault::Delay(message, late),
                3 => Fault::Corrupt(message, rng.next_u64()),
                _ => {
                    let place = places[below(rng, places.len() as u64) as usize];
                    let when = if below(rng, 2) == 0 { When::Before } else { When::After };
                    Fault::Crash(place, 1 + below(rng, 8), when)
                }
            }
        })
        .collect()
}

/// A number below the bound, which is above zero. Its bias is of no concern to a simulation.
pub fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}
