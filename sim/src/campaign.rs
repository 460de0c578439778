//! Many runs: first every single fault of two plain stories, then seeded ones with everything mixed.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use naulon_durable::fault::When;
use naulon_exchange::EntryMode;
use naulon_money::Amount;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::cheat::CHEATS;
use crate::check::Tally;
use crate::fault::{Fault, below, random};
use crate::network::Place;
use crate::party::Want;
use crate::run::Run;
use crate::sabotage::Sabotage;

/// How many violations are kept; one is enough to mend.
const MAX_KEPT: usize = 20;

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many runs were played.
    pub runs: u64,
    /// How many of them enumerate single faults.
    pub enumerated: u64,
    /// How many violated a claim.
    pub violated: u64,
    /// The first of them: number, run, and what is wrong.
    pub violations: Vec<(u64, Run, Vec<String>)>,
    /// What was counted.
    pub tally: Tally,
}

/// A list of runs: each number means the same run every time.
pub struct Campaign {
    seed: u64,
    sabotage: Option<Sabotage>,
    enumerated: Vec<Run>,
}

impl Campaign {
    /// The campaign of this seed, with this bug put in.
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let stories = [(false, EntryMode::Plain), (true, EntryMode::Encrypted), (false, EntryMode::Blind)];
        let plain = stories.map(|(two_sided, mode)| plain_story(seed, two_sided, mode, sabotage));
        let enumerated = plain.iter().flat_map(every_single_fault).collect();
        Campaign { seed, sabotage, enumerated }
    }

    /// The run of this number.
    pub fn run(&self, number: u64) -> Run {
        let known = usize::try_from(number).ok().and_then(|index| self.enumerated.get(index));
        known.cloned().unwrap_or_else(|| mixed(self.seed, number, self.sabotage))
    }

    /// How many runs enumerate single faults; those of higher numbers are mixed.
    pub fn enumerated(&self) -> u64 {
        self.enumerated.len() as u64
    }

    /// Plays the runs with these numbers on all cores, and says how many are done.
    pub fn play(&self, runs: Range<u64>, progress: impl Fn(u64) + Sync) -> Outcome {
        let outcome = Mutex::new(Outcome {
            enumerated: self.enumerated().clamp(runs.start, runs.end) - runs.start,
            ..Outcome::default()
        });
        let next = AtomicU64::new(runs.start);
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
                        let report = run.play(false);
                        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                        outcome.runs += 1;
                        outcome.tally.add(&report.tally);
                        if !report.violations.is_empty() {
                            outcome.violated += 1;
                            if outcome.violations.len() < MAX_KEPT {
                                outcome.violations.push((number, run, report.violations));
                            }
                        }
                        progress(outcome.runs);
                    }
                });
            }
        });
        let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.violations.sort_by_key(|(number, ..)| *number);
        outcome
    }
}

fn euros(cents: u64) -> Amount {
    Amount::from_micros(cents * 10_000)
}

/// One person opens an account, withdraws, and buys one thing.
fn plain_story(seed: u64, two_sided: bool, mode: EntryMode, sabotage: Option<Sabotage>) -> Run {
    let mode = Some(mode);
    let wants = vec![Want::OpenAccount(euros(2_000)), Want::Withdraw(euros(1_000)), Want::Buy(0, "poem", two_sided)];
    Run { seed, wants: vec![wants], shops: 1, two_sided: false, mode, faults: Vec::new(), cheat: None, sabotage }
}

/// Every message lost, doubled, delayed and corrupted; every party killed before and after every write.
fn every_single_fault(story: &Run) -> Vec<Run> {
    let report = story.play(false);
    let of_message = |n: u64| {
        [
            Fault::Drop(n),
            Fault::Double(n, 30),
            Fault::Double(n, 5_000),
            Fault::Double(n, 130_000),
            Fault::Delay(n, 2_000),
            Fault::Delay(n, 10_000),
            Fault::Delay(n, 130_000),
            Fault::Corrupt(n, n.wrapping_mul(0x9e37_79b9)),
        ]
    };
    let messages = (0..report.messages).flat_map(of_message);
    let writes = report.writes.iter().flat_map(|(place, writes)| {
        (1..=*writes).flat_map(move |n| [When::Before, When::After].map(|when| Fault::Crash(*place, n, when)))
    });
    messages.chain(writes).map(|fault| Run { faults: vec![fault], ..story.clone() }).collect()
}

/// One to three people, one or two shops, random wants, up to six faults, and sometimes somebody who cheats.
fn mixed(seed: u64, number: u64, sabotage: Option<Sabotage>) -> Run {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
    let shops = 1 + below(&mut rng, 2) as usize;
    let people = 1 + below(&mut rng, 3) as usize;
    let wants: Vec<Vec<Want>> = (0..people).map(|_| person(&mut rng, shops)).collect();
    let places: Vec<Place> = [Place::Bank, Place::Log]
        .into_iter()
        .chain((0..shops).map(Place::Shop))
        .chain((0..people).map(Place::Wallet))
        .collect();
    let messages = 30 * people as u64;
    let faults = random(&mut rng, &places, messages);
    let cheat = (below(&mut rng, 3) == 0).then(|| CHEATS[below(&mut rng, CHEATS.len() as u64) as usize]);
    Run { seed: rng.next_u64(), wants, shops, two_sided: below(&mut rng, 3) == 0, mode: None, faults, cheat, sabotage }
}

fn person(rng: &mut ChaCha8Rng, shops: usize) -> Vec<Want> {
    let mut wants = vec![Want::OpenAccount(euros(3_000)), Want::Withdraw(euros(1_000 + 10 * below(rng, 50)))];
    for _ in 0..1 + below(rng, 3) {
        let shop = below(rng, shops as u64) as usize;
        wants.push(match below(rng, 8) {
            0 => Want::Refresh,
            1 => Want::Deposit(euros(10 * (1 + below(rng, 20)))),
            2 => Want::Withdraw(euros(100)),
            choice => Want::Buy(shop, ["poem", "map", "nothing"][(choice % 3) as usize], below(rng, 2) == 0),
        });
    }
    wants
}
