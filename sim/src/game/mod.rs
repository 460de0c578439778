//! Privacy games: an adversary has everything that the named parties stored, sent and received, and guesses.
//!
//! | module | what |
//! | --- | --- |
//! | `town`, `people`, `habits` | bank, log and shop as the programs run them; people with wallets; what protects them |
//! | `picture`, `clues`, `link`, `adversary` | what was seen, what a guess can rest on, and who guesses |
//! | `withdrawal` | whose withdrawal did a spent token come from? |
//! | `brand_key` | the bank gives each person a brand key of her own |
//! | `mixes` | which of the sessions that leave the mixes is hers? |
//! | `restore` | do the questions of a restored wallet tell what is hers? |
//! | `figure` | advantage over guessing, and what is expected of it |
//!
//! Each game is played once with all protections and then with one protection after the other switched off: an adversary
//! that does not win then has not been looking. What the games show and what they cannot: `docs/games.md`.

mod adversary;
mod brand_key;
mod clues;
mod figure;
mod habits;
mod keys;
mod link;
mod mixes;
mod people;
mod picture;
mod restore;
mod town;
mod withdrawal;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub use figure::{Expected, Played, Row};

/// A game.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Game {
    /// The bank guesses whose withdrawal a spent token came from.
    Withdrawal,
    /// The bank gives each person a brand key of her own.
    BrandKey,
    /// The bank guesses whose a purchase is by the questions that restored wallets ask.
    Restore,
    /// All links, the bank and all mixes but one guess which session is hers.
    Mix,
}

impl Game {
    /// Plays it.
    pub fn play(self, trials: u64, seed: u64) -> Played {
        match self {
            Game::Withdrawal => withdrawal::play(trials, seed),
            Game::BrandKey => brand_key::play(trials, seed),
            Game::Restore => restore::play(trials, seed),
            Game::Mix => mixes::play(trials, seed),
        }
    }
}

/// Plays trials with these numbers on all cores; those that could not be played are left out. The order is that of the
/// numbers, so that a seed gives the same figures every time.
fn in_parallel<T: Send>(trials: u64, play: impl Fn(u64) -> Option<T> + Sync) -> Vec<T> {
    let (next, played) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= trials {
                        return;
                    }
                    if let Some(it) = play(number) {
                        played.lock().unwrap_or_else(PoisonError::into_inner).push((number, it));
                    }
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    played.sort_by_key(|(number, _)| *number);
    played.into_iter().map(|(_, it)| it).collect()
}
