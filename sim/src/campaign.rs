//! Many runs: first every single fault of plain stories, then pairs of faults of the shortest one, then each cheat, a lost wallet
//! and clocks that are set back by themselves, then seeded ones with everything mixed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use naulon_durable::fault::When;
use naulon_exchange::EntryMode;
use naulon_money::Amount;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::cheat::{CHEATS, Cheat};
use crate::check::{Report, Tally};
use crate::clock;
use crate::fault::{Fault, below, random};
use crate::network::Place;
use crate::party::Want;
use crate::run::{Merged, Run};
use crate::sabotage::Sabotage;

/// How many violations are kept; one is enough to mend.
const MAX_KEPT: usize = 20;

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many runs were played.
    pub runs: u64,
    /// How many of them enumerate single faults.
    pub singles: u64,
    /// How many of them enumerate pairs of faults.
    pub pairs: u64,
    /// How many violated a claim.
    pub violated: u64,
    /// The first of them: number, run, and what is wrong.
    pub violations: Vec<(u64, Run, Vec<String>)>,
    /// What was counted.
    pub tally: Tally,
    /// The first run in which it was counted.
    pub first: BTreeMap<String, u64>,
}

/// A list of runs: each number means the same run every time.
pub struct Campaign {
    seed: u64,
    sabotage: Option<Sabotage>,
    /// Those that are not drawn: singles, pairs, and each cheat, loss and set clock by itself.
    enumerated: Vec<Run>,
    singles: u64,
    pairs: u64,
}

impl Campaign {
    /// The campaign of this seed, with this bug put in.
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        // The runs are enumerated by what happens without the bug, so that their numbers stay the same with it.
        let stories = [(false, EntryMode::Plain), (true, EntryMode::Encrypted), (false, EntryMode::Blind)];
        let plain = stories.map(|(two_sided, mode)| plain_story(seed, two_sided, mode));
        let mut enumerated: Vec<Run> = plain.iter().flat_map(every_single_fault).collect();
        let singles = enumerated.len() as u64;
        enumerated.extend(pairs_of_faults(&plain[0]));
        let pairs = enumerated.len() as u64 - singles;
        enumerated.extend(EntryMode::ALL.into_iter().flat_map(|mode| every_cheat(seed, mode)));
        enumerated.extend(clocks_set_back(&plain[0]));
        enumerated.iter_mut().for_each(|run| run.sabotage = sabotage);
        Campaign { seed, sabotage, enumerated, singles, pairs }
    }

    /// The run of this number.
    pub fn run(&self, number: u64) -> Run {
        let known = usize::try_from(number).ok().and_then(|index| self.enumerated.get(index));
        known.cloned().unwrap_or_else(|| mixed(self.seed, number, self.sabotage))
    }

    /// The numbers of the runs with one fault each.
    pub fn singles(&self) -> Range<u64> {
        0..self.singles
    }

    /// The numbers of the runs with two faults each.
    pub fn pairs(&self) -> Range<u64> {
        self.singles..self.singles + self.pairs
    }

    /// The numbers of the runs with one cheat each, one lost wallet, or one clock that is set back.
    pub fn cheats(&self) -> Range<u64> {
        self.singles + self.pairs..self.enumerated.len() as u64
    }

    /// The number of the first run that is drawn.
    pub fn first_mixed(&self) -> u64 {
        self.enumerated.len() as u64
    }

    /// Plays the runs with these numbers on all cores, and says how many are done.
    pub fn play(&self, runs: Range<u64>, progress: impl Fn(u64) + Sync) -> Outcome {
        let of = |part: Range<u64>| part.end.min(runs.end).saturating_sub(part.start.max(runs.start));
        let (singles, pairs) = (of(self.singles()), of(self.pairs()));
        let outcome = Mutex::new(Outcome { singles, pairs, ..Outcome::default() });
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
                        for what in report.tally.counts.keys() {
                            let first = outcome.first.entry(what.clone()).or_insert(number);
                            *first = number.min(*first);
                        }
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
fn plain_story(seed: u64, two_sided: bool, mode: EntryMode) -> Run {
    let wants =
        vec![Want::OpenAccount(0, euros(2_000)), Want::Withdraw(0, euros(1_000)), Want::Buy(0, "poem", two_sided)];
    Run { mode: Some(mode), ..Run::plain(seed, vec![wants]) }
}

/// Each cheat once where nothing else goes wrong: what it leads to has to be seen there.
fn every_cheat(seed: u64, mode: EntryMode) -> Vec<Run> {
    let story = plain_story(seed, false, mode);
    let with = |cheat: Cheat| {
        let banks = if cheat == Cheat::OneTokenTwoBanks { 2 } else { 1 };
        let merged = (cheat == Cheat::SilentOwnLog).then_some(Merged::ShopAndLog);
        Run { cheat: Some(cheat), banks, merged, ..story.clone() }
    };
    let mut runs: Vec<Run> = CHEATS.into_iter().map(with).collect();
    // With a shop that does not trust the log, and another log that it trusts; bought often enough to have met the first.
    let more = (0..6).map(|number| Want::Buy(0, if number % 2 == 0 { "poem" } else { "map" }, false));
    let wants = story.wants[0].iter().cloned().chain(more).collect();
    let prudent = Run { logs: 2, prudent: true, wants: vec![wants], ..with(Cheat::LeakingLog) };
    runs.push(prudent);
    // And a wallet that comes back from its seed, lost at one instant of the story after the other.
    runs.extend((4..=14).map(|tenth| Run { loss: Some((0, tenth * 100)), ..story.clone() }));
    runs
}

/// Each party's clock is set back ten minutes in the midst of three purchases, and then the party dies and starts again.
fn clocks_set_back(story: &Run) -> Vec<Run> {
    let more = [Want::Buy(0, "map", false), Want::Buy(0, "poem", false)];
    let wants = vec![story.wants[0].iter().cloned().chain(more).collect()];
    let set_back = |place| clock::Clock { place, ahead: 0, step: Some((600, -600_000)) };
    let places = [Place::Bank(0), Place::Log(0), Place::Shop(0), Place::Wallet(0)];
    let mut runs = Vec::new();
    for (place, nth) in places.into_iter().flat_map(|place| (1..=12).map(move |nth| (place, nth))) {
        let faults = vec![Fault::Crash(place, nth, When::After)];
        runs.push(Run { wants: wants.clone(), clocks: vec![set_back(place)], faults, watched: true, ..story.clone() });
    }
    runs
}

/// Every message lost, doubled, delayed and corrupted; every party killed before and after every write.
fn every_single_fault(story: &Run) -> Vec<Run> {
    let report = story.play(false);
    let of_message = |n: u64| {
        [
            Fault::Drop(n),
            Fault::Double(n, 30),
            Fault::Double(n, 5_000),
            Fault::Double(n, LATE),
            Fault::Delay(n, 2_000),
            Fault::Delay(n, 10_000),
            Fault::Delay(n, LATE),
            Fault::Corrupt(n, n.wrapping_mul(0x9e37_79b9)),
        ]
    };
    let messages = (0..report.messages).flat_map(of_message);
    messages.chain(crashes(&report, None)).map(|fault| Run { faults: vec![fault], ..story.clone() }).collect()
}

/// Later than the expiry of every lock.
const LATE: u64 = 130_000;

/// Every death of every party before and after each of its writes; after a first death, those of the second life.
fn crashes(report: &Report, first: Option<&Fault>) -> Vec<Fault> {
    let mut crashes = Vec::new();
    for (place, writes) in &report.writes {
        let before = match first {
            Some(Fault::Crash(at, nth, _)) if at == place => *nth,
            _ => 0,
        };
        for nth in 1..=writes.saturating_sub(before) {
            crashes.extend([When::Before, When::After].map(|when| Fault::Crash(*place, nth, when)));
        }
    }
    crashes
}

/// Every two of: a death at any write, a message lost, a message later than every expiry. The second is taken from the story
/// as the first has changed it, so that it may also hit what is done about the first: a repeated message, a second life.
fn pairs_of_faults(story: &Run) -> Vec<Run> {
    let strong = |report: &Report, first: Option<&Fault>| {
        let messages = (0..report.messages).flat_map(|n| [Fault::Drop(n), Fault::Delay(n, LATE)]);
        messages.chain(crashes(report, first)).collect::<Vec<_>>()
    };
    let mut seen = BTreeSet::new();
    let mut pairs = Vec::new();
    for first in strong(&story.play(false), None) {
        let report = Run { faults: vec![first], ..story.clone() }.play(false);
        for second in strong(&report, Some(&first)) {
            // Two faults in the other order are the same two, unless they are two lives of one party.
            let both = [format!("{first:?}"), format!("{second:?}")];
            let mut sorted = both.clone();
            sorted.sort();
            let is_one_partys = matches!((first, second), (Fault::Crash(a, ..), Fault::Crash(b, ..)) if a == b);
            let is_same_message = first.message().is_some() && first.message() == second.message();
            if !is_same_message && seen.insert(if is_one_partys { both } else { sorted }) {
                pairs.push(Run { faults: vec![first, second], ..story.clone() });
            }
        }
    }
    pairs
}

/// One to three people, one or two banks, logs and shops, random wants, up to six faults; now and then clocks that are wrong,
/// a wallet that is lost, an outsider who watches, and in one run of three somebody who cheats.
fn mixed(seed: u64, number: u64, sabotage: Option<Sabotage>) -> Run {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
    let rng = &mut rng;
    let cheat = one_in(rng, 3).then(|| CHEATS[below(rng, CHEATS.len() as u64) as usize]);
    let needs_two = cheat == Some(Cheat::OneTokenTwoBanks);
    let is_own = cheat == Some(Cheat::SilentOwnLog);
    let banks = 1 + usize::from(needs_two || one_in(rng, 3));
    let logs = 1 + usize::from(!is_own && one_in(rng, 3));
    let shops = if is_own { 1 } else { 1 + below(rng, 2) as usize };
    let people = 1 + below(rng, 3) as usize;
    let wants: Vec<Vec<Want>> = (0..people).map(|_| person(rng, banks, shops)).collect();
    let places: Vec<Place> = (0..banks)
        .map(Place::Bank)
        .chain((0..logs).map(Place::Log))
        .chain((0..shops).map(Place::Shop))
        .chain((0..people).map(Place::Wallet))
        .collect();
    let faults = random(rng, &places, 35 * people as u64);
    // Whoever tries one token at two banks wants it to work at one of them.
    let merged = match below(rng, 8) {
        0 => Some(Merged::BankAndLog),
        1 => Some(Merged::ShopAndLog),
        _ => None,
    };
    let merged = if is_own { Some(Merged::ShopAndLog) } else { merged };
    // A bank that frees what a merchant's own log has not decided goes by its clock.
    let needs_time = needs_two || merged == Some(Merged::ShopAndLog);
    let mut clocks = if !needs_time && one_in(rng, 3) { clock::random(rng, &places) } else { Vec::new() };
    let loss = one_in(rng, LOST_ONE_IN).then(|| (below(rng, people as u64) as usize, 200 + below(rng, 8_000)));
    if loss.is_some() {
        // A wallet's clock is set right when a bank says that it is wrong. A bank that is wrong itself tells nobody anything.
        clocks.retain(|clock| !matches!(clock.place, Place::Bank(_)));
    }
    Run {
        seed: rng.next_u64(),
        wants,
        banks,
        logs,
        shops,
        merged,
        two_sided: !needs_two && one_in(rng, 3),
        prudent: one_in(rng, 2),
        watched: one_in(rng, 8),
        mode: None,
        faults,
        clocks,
        loss: loss.filter(|_| cheat != Some(Cheat::CopiedWallet)),
        cheat,
        sabotage,
    }
}

/// In one run of so many somebody loses a wallet. It is asked about hundreds of indices then, so these runs are long.
const LOST_ONE_IN: u64 = 100;

fn one_in(rng: &mut ChaCha8Rng, many: u64) -> bool {
    below(rng, many) == 0
}

/// What a person wants who has an account at one of the banks, or at each.
fn person(rng: &mut ChaCha8Rng, banks: usize, shops: usize) -> Vec<Want> {
    let home = below(rng, banks as u64) as usize;
    let mut wants = Vec::new();
    for bank in 0..banks {
        if bank != home && !one_in(rng, 3) {
            continue;
        }
        let withdraw = euros(1_000 + 10 * below(rng, 50));
        wants.extend([Want::OpenAccount(bank, euros(3_000)), Want::Withdraw(bank, withdraw)]);
    }
    for _ in 0..1 + below(rng, 3) {
        let shop = below(rng, shops as u64) as usize;
        wants.push(match below(rng, 9) {
            0 => Want::Refresh(home),
            1 => Want::Deposit(home, euros(10 * (1 + below(rng, 20)))),
            2 => Want::Withdraw(home, euros(100)),
            3 => Want::Refund,
            choice => Want::Buy(shop, ["poem", "map", "nothing"][(choice % 3) as usize], below(rng, 2) == 0),
        });
    }
    wants
}
