//! The mixes' world: a sender, three paid mixes and a recipient, with the real engines, stores and bank.
//!
//! | module | what |
//! | --- | --- |
//! | `run` | what is agreed, what fails, who cheats |
//! | `world` | the mixes, their links, and what is checked when all is cashed |
//! | `sender` | sender and recipient |
//! | `bank` | the bank, and what its customers ask |

mod bank;
mod run;
pub(crate) mod sender;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub use run::{FOULS, Foul, Run};
pub use world::Report;

/// How many violations are kept.
const MAX_KEPT: usize = 10;

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many were played.
    pub runs: u64,
    /// How many violated a claim.
    pub violated: u64,
    /// The first of them.
    pub violations: Vec<(u64, Run, Vec<String>)>,
    /// How often what was seen: codes of refusals, fouls, blocks, ticks.
    pub counts: BTreeMap<String, u64>,
}

/// The runs of a seed: each number means the same run every time.
pub struct MixCampaign {
    seed: u64,
    enumerated: Vec<Run>,
}

impl MixCampaign {
    /// The campaign of this seed.
    pub fn new(seed: u64) -> Self {
        MixCampaign { seed, enumerated: run::enumerated(seed) }
    }

    /// How many runs are not drawn: each cheat in each protocol and case, and each crash.
    pub fn enumerated(&self) -> u64 {
        self.enumerated.len() as u64
    }

    /// The run of this number.
    pub fn run(&self, number: u64) -> Run {
        let known = usize::try_from(number).ok().and_then(|index| self.enumerated.get(index));
        known.cloned().unwrap_or_else(|| run::drawn(self.seed, number))
    }

    /// Plays the run of this number.
    pub fn replay(&self, number: u64) -> Report {
        world::World::new(&self.run(number)).play()
    }

    /// Plays these runs on all cores.
    pub fn play(&self, runs: Range<u64>) -> Outcome {
        let (next, outcome) = (AtomicU64::new(runs.start), Mutex::new(Outcome::default()));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= runs.end {
                            return;
                        }
                        let run = self.run(number);
                        let report = world::World::new(&run).play();
                        outcome.lock().unwrap_or_else(PoisonError::into_inner).add(number, run, report);
                    }
                });
            }
        });
        let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.violations.sort_by_key(|(number, ..)| *number);
        outcome
    }
}

impl Outcome {
    fn add(&mut self, number: u64, run: Run, report: Report) {
        self.runs += 1;
        let mut count = |what: String, by: u64| *self.counts.entry(what).or_default() += by;
        count("blocks delivered".to_owned(), report.delivered);
        count("ticks cashed".to_owned(), report.cashed);
        count("sessions".to_owned(), report.sessions);
        count(run.protocol.name().to_owned(), 1);
        report.codes.iter().for_each(|code| count(format!("refused: {code}"), 1));
        if let Some((foul, _)) = run.foul {
            count(format!("cheat: {foul:?}"), 1);
        }
        if !report.violations.is_empty() {
            self.violated += 1;
            if self.violations.len() < MAX_KEPT {
                self.violations.push((number, run, report.violations));
            }
        }
    }
}
