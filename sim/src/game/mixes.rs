//! Which of b sessions is hers? The adversary sees all links, is the bank and two of three mixes, and begins where her blocks come in.
//!
//! The mix in the middle is honest and runs as its program does; the other two are run by the adversary, who keeps everything.
//! She is one of b senders with the same path. The adversary picks one of the b sessions that come out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naulon_exchange::Funding;
use naulon_meter::{Payer, Replies, Terms};
use naulon_mix::{Batching, Fare, Leaving, LinkId, Mix, MixRules, Outbox};
use naulon_money::Amount;
use naulon_onion::{HOPS, HopPublic, Kind, PathHop, Plan, Protocol, Session, Shape, Traffic};
use naulon_statement::{Duration, SecretKey, Signed, Timestamp, Unverified, cbor};
use naulon_tick::{Certificate, ChainId, Check, Walker};
use rand_chacha::{ChaCha8Rng, ChaCha20Rng};
use rand_core::{Rng, SeedableRng};

use super::figure::{Expected, Played, Row};
use super::in_parallel;
use crate::bank_world::key;
use crate::fault::below;
use crate::mix::sender::{SHAPE, currency, price};

/// How many sessions there are to choose from.
const SESSIONS: usize = 4;
/// How many batches a cohort lasts.
const LENGTH: u32 = 5;
const WINDOW: u32 = 16;
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// What protects her, and what is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Everything is on.
    Honest,
    /// The adversary changes a byte of one of her blocks on its way to the honest mix.
    Tagged,
    /// Sessions begin when they like and have as many blocks as they like; blocks go on at once (stream mode).
    NoCohort,
    /// The same key pays at two mixes.
    OneKeyAtTwoMixes,
    /// A mix sends on what stands behind its layer.
    TailKept,
    /// Blocks carry the name of a check in clear.
    CheckOnTheWire,
    /// The honest mix does not remember what it has opened.
    NoMemory,
}

const SWITCHED_OFF: [(&str, Habit); 5] = [
    ("no cohort", Habit::NoCohort),
    ("one key at two mixes", Habit::OneKeyAtTwoMixes),
    ("tail kept", Habit::TailKept),
    ("check on the wire", Habit::CheckOnTheWire),
    ("no memory", Habit::NoMemory),
];

/// Plays it.
pub fn play(trials: u64, seed: u64) -> Played {
    let row = |name, habit, trials: u64, expected| {
        let mut right = 0;
        let salt = (habit as u64) << 40;
        let outcomes = in_parallel(trials, |number| trial(habit, seed ^ salt ^ number.wrapping_mul(0x9e37_79b9)));
        let played = outcomes.len() as u64;
        outcomes.into_iter().for_each(|is_right| right += u64::from(is_right));
        Row { name, trials: played, right, choices: SESSIONS as u64, expected }
    };
    let mut rows = vec![row("honest", Habit::Honest, trials, Expected::Nothing)];
    rows.push(row("tagged", Habit::Tagged, trials, Expected::Nothing));
    let broken = trials.div_ceil(4).max(20);
    rows.extend(SWITCHED_OFF.map(|(name, habit)| row(name, habit, broken, Expected::Teeth)));
    let stream = rows.iter().find(|row| row.name == "no cohort");
    let advantage = stream.map_or(0.0, Row::advantage);
    let notes = vec![
        format!("stream mode hides this little: among {SESSIONS} sessions the adversary's advantage is {advantage:.3}"),
        "a byte that is changed is refused by the honest mix; the whole cohort ends, and nobody's session stands out"
            .to_owned(),
    ];
    Played { game: "mix", rows, notes }
}

/// What the adversary has of one session at one of its own mixes.
#[derive(Default)]
struct Seen {
    /// When its blocks passed, and as the how manieth of all.
    blocks: Vec<(u64, usize)>,
    /// What stands in its checks, and what the bank knows of them; what stands in clear on the link.
    strings: BTreeSet<Vec<u8>>,
    /// Its blocks.
    bytes: Vec<Vec<u8>>,
}

struct Person {
    session: Session,
    payers: Vec<Payer>,
    checks: Vec<Check>,
    link: LinkId,
    set_up: Vec<u8>,
    wants: u32,
}

struct Table {
    habit: Habit,
    rng: ChaCha8Rng,
    now: Timestamp,
    mixes: Vec<Mix>,
    keys: Vec<HopPublic>,
    people: Vec<Person>,
    /// The honest mix's link from the first mix, and the last mix's from the honest one.
    links: [Option<LinkId>; 2],
    /// Towards the honest mix, by person; away from it, by the session's name on that link.
    entries: Vec<Seen>,
    exits: BTreeMap<[u8; 16], Seen>,
    /// Whose it is, for the referee alone.
    truth: BTreeMap<[u8; 16], usize>,
    count: usize,
    /// A set-up that came out of the honest mix when hers was sent again.
    again: Option<Vec<u8>>,
}

fn mix_secret(mix: usize) -> SecretKey {
    key(&format!("mix {mix}"))
}

fn rules(mix: usize, batching: Batching) -> MixRules {
    MixRules {
        mix: mix_secret(mix).public(),
        shape: SHAPE,
        price: price(),
        currency: currency(),
        window: WINDOW,
        replies: 1,
        banks: BTreeMap::from([(key("bank").public(), Arc::new(key(&format!("payee {mix}"))))]),
        contract: None,
        is_exit: mix == HOPS - 1,
        batching,
        cash_within: Duration::seconds(600),
    }
}

fn link_key(mix: usize) -> SecretKey {
    key(&format!("link {mix}"))
}

/// Plays once. Whether the adversary was right; nothing if the network did not come to life.
fn trial(habit: Habit, seed: u64) -> Option<bool> {
    let mut table = Table::set(habit, seed);
    table.begin();
    table.send_blocks();
    if habit == Habit::NoMemory {
        table.forget();
    }
    table.send_again();
    let exits: Vec<[u8; 16]> = table.exits.keys().copied().collect();
    (exits.len() == SESSIONS).then_some(())?;
    // Hers is always number 0: names on links are random, and their order tells nothing.
    let guess = table.guess(&exits)?;
    table.truth.get(&guess).map(|who| *who == 0)
}

impl Table {
    fn set(habit: Habit, seed: u64) -> Table {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let cohort = Batching::Cohort { count: SESSIONS, length: LENGTH };
        // The adversary's mixes hide nothing from it: they pass on at once what comes.
        let alone = Batching::Cohort { count: 1, length: LENGTH };
        let (batching, alone) =
            if habit == Habit::NoCohort { (Batching::Stream, Batching::Stream) } else { (cohort, alone) };
        let (mut mixes, mut keys) = (Vec::new(), Vec::new());
        for mix in 0..HOPS {
            let mut entropy = [0; 32];
            rng.fill_bytes(&mut entropy);
            let own = if mix == 1 { batching } else { alone };
            let mut engine = Mix::new(rules(mix, own), Vec::new(), &entropy, NOW);
            keys.push(engine.begin_epoch(1, &[mix as u8 + 1; 32]));
            engine.know((0..HOPS).map(|other| (link_key(other).public(), mix_secret(other).public())).collect());
            mixes.push(engine);
        }
        Table {
            habit,
            rng,
            now: NOW,
            mixes,
            keys,
            people: Vec::new(),
            links: [None; 2],
            entries: (0..SESSIONS).map(|_| Seen::default()).collect(),
            exits: BTreeMap::new(),
            truth: BTreeMap::new(),
            count: 0,
            again: None,
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Everybody begins, in any order.
    fn begin(&mut self) {
        for _ in 0..SESSIONS {
            let person = self.person();
            self.people.push(person);
        }
        for who in self.any_order() {
            self.tick_on();
            let block = self.people[who].set_up.clone();
            self.enter(who, &block);
        }
    }

    fn person(&mut self) -> Person {
        let mut key_of_all: [u8; 32] = self.bytes();
        let (mut checks, mut walkers) = (Vec::new(), Vec::new());
        for mix in 0..HOPS {
            if self.habit != Habit::OneKeyAtTwoMixes {
                key_of_all = self.bytes();
            }
            let (id, secret) = (ChainId(self.bytes()), self.bytes::<32>());
            let Ok(walker) = Walker::new(id, &secret, 100) else { continue };
            checks.push(Check {
                id,
                root: walker.root(),
                length: 100,
                value: price(),
                currency: currency(),
                payee: key(&format!("payee {mix}")).public(),
                salt: self.bytes(),
                bank: key("bank").public(),
                expiry: NOW.plus(Duration::days(1)),
                // The key that funds a check is as fresh as the one that gets its remainder: here one stands for both.
                refund: SecretKey::from_seed(&key_of_all).public(),
            });
            walkers.push(walker);
        }
        let terms = Terms { protocol: Protocol::BEFORE_SENDER, window: WINDOW, replies: Replies::Included(1) };
        let traffic = if self.habit == Habit::NoCohort { Traffic::Stream } else { Traffic::Cohort };
        let path = std::array::from_fn(|mix| PathHop { mix: mix_secret(mix).public(), key: self.keys[mix] });
        let fares = std::array::from_fn(|mix| {
            cbor::to_vec(&Fare { check: checks[mix].clone(), funding: certified(&checks[mix]) })
        });
        let plan = Plan { path, protocol: terms.protocol, traffic, fares };
        let mut set_up = vec![0; SHAPE.block()];
        let mut crypto = ChaCha20Rng::from_seed(self.bytes());
        let session = match Session::begin(SHAPE, &plan, &mut set_up, &mut crypto) {
            Ok(session) => session,
            Err(error) => unreachable!("{error}"),
        };
        let payers = walkers.into_iter().map(|walker| {
            let mut payer = Payer::new(terms, 4);
            let added = payer.add(0, walker);
            debug_assert!(added.is_ok());
            payer
        });
        let payers = payers.collect();
        let link = self.mixes[0].link_from(key("a sender").public());
        let wants = if self.habit == Habit::NoCohort { 3 + below(&mut self.rng, 6) as u32 } else { LENGTH };
        Person { session, payers, checks, link, set_up, wants }
    }

    fn any_order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..SESSIONS).collect();
        for at in (1..SESSIONS).rev() {
            order.swap(at, below(&mut self.rng, at as u64 + 1) as usize);
        }
        order
    }

    fn tick_on(&mut self) {
        self.now = self.now.plus(Duration(1 + below(&mut self.rng, 40)));
    }

    /// In each round everybody who has something to say says it, in any order.
    fn send_blocks(&mut self) {
        let rounds = self.people.iter().map(|person| person.wants).max().unwrap_or(0);
        for round in 0..rounds {
            for who in self.any_order() {
                self.tick_on();
                if self.people[who].wants <= round {
                    continue;
                }
                let person = &mut self.people[who];
                let pays: Vec<_> = person.payers.iter_mut().filter_map(|payer| payer.data().ok()).collect();
                let Ok(pays) = <[_; HOPS]>::try_from(pays) else { continue };
                let mut block = vec![0; SHAPE.block()];
                let made = person.session.data(&pays, &[who as u8], &mut block);
                debug_assert!(made.is_ok());
                self.enter(who, &block);
            }
        }
    }

    /// A block comes to the adversary's first mix, which knows whose it is, and goes to the honest one.
    fn enter(&mut self, who: usize, block: &[u8]) {
        let mut out = Outbox::new();
        let link = self.people[who].link;
        self.mixes[0].take(link, &mut block.to_vec(), self.now, &mut out);
        for (_, blocks) in &out.sends {
            for block in blocks.chunks_exact(SHAPE.block()) {
                self.reach_honest(who, block.to_vec());
            }
        }
    }

    fn reach_honest(&mut self, who: usize, mut block: Vec<u8>) {
        let checks = self.people[who].checks.clone();
        let seen = &mut self.entries[who];
        self.count += 1;
        seen.blocks.push((self.now.0, self.count));
        seen.strings.extend(strings_of(&checks[0]));
        if self.habit == Habit::CheckOnTheWire {
            seen.strings.insert(checks[2].commitment().0.to_vec());
        }
        if self.habit == Habit::TailKept {
            // What nobody on the way authenticates is the adversary's to write into.
            let tail = tail_of(SHAPE, &block);
            block[tail].fill(who as u8 ^ 0xa5);
        }
        if self.habit == Habit::Tagged && who == 0 && seen.blocks.len() == 4 {
            block[200] ^= 1;
        }
        self.entries[who].bytes.push(block.clone());
        let link = match self.links[0] {
            Some(link) => link,
            None => *self.links[0].insert(self.mixes[1].link_from(link_key(0).public())),
        };
        let mut out = Outbox::new();
        self.mixes[1].take(link, &mut block, self.now, &mut out);
        self.leave_honest(out);
    }

    fn leave_honest(&mut self, out: Outbox) {
        for (_, blocks) in &out.sends {
            for block in blocks.chunks_exact(SHAPE.block()) {
                self.reach_last(block.to_vec());
            }
        }
    }

    /// A block comes from the honest mix to the adversary's last one.
    fn reach_last(&mut self, mut block: Vec<u8>) {
        let mut name = [0; 16];
        name.copy_from_slice(&block[1..17]);
        if self.habit == Habit::TailKept
            && let Some(who) = self.truth.get(&name)
            && let Some(kept) = self.entries[*who].bytes.last()
        {
            let (to, from) = (tail_of(SHAPE, &block), tail_of(SHAPE, kept));
            let length = to.len().min(from.len());
            let kept = kept[from.start..from.start + length].to_vec();
            block[to.start..to.start + length].copy_from_slice(&kept);
        }
        self.count += 1;
        let seen = self.exits.entry(name).or_default();
        seen.blocks.push((self.now.0, self.count));
        seen.bytes.push(block.clone());
        let link = match self.links[1] {
            Some(link) => link,
            None => *self.links[1].insert(self.mixes[2].link_from(link_key(1).public())),
        };
        let mut out = Outbox::new();
        self.mixes[2].take(link, &mut block, self.now, &mut out);
        for leaving in out.leaving {
            if let Leaving::Payload { payload, .. } = leaving {
                // Sealed to a recipient in truth; here it is how the referee knows whose it is.
                let who = usize::from(payload[0]).min(SESSIONS - 1);
                self.truth.insert(name, who);
                // The last mix has the check that pays it.
                let check = self.people[who].checks[2].clone();
                self.exits.entry(name).or_default().strings.extend(strings_of(&check));
            }
        }
    }

    /// The honest mix forgets what it has opened; its key stays.
    fn forget(&mut self) {
        let seed = self.bytes();
        let alone = Batching::Cohort { count: 1, length: LENGTH };
        self.mixes[1] = Mix::new(rules(1, alone), Vec::new(), &seed, self.now);
        self.mixes[1].begin_epoch(1, &[2; 32]);
        let known = (0..HOPS).map(|other| (link_key(other).public(), mix_secret(other).public()));
        self.mixes[1].know(known.collect());
        self.links[0] = None;
    }

    /// The adversary sends her set-up block once more to the honest mix, and looks for what comes out.
    fn send_again(&mut self) {
        let Some(block) = self.entries[0].bytes.first().cloned() else { return };
        let link = match self.links[0] {
            Some(link) => link,
            None => *self.links[0].insert(self.mixes[1].link_from(link_key(0).public())),
        };
        // Under another name on this link, if it must be: the name is authenticated, so it cannot.
        let mut out = Outbox::new();
        self.mixes[1].take(link, &mut block.clone(), self.now, &mut out);
        let sent = out.sends.iter().flat_map(|(_, blocks)| blocks.chunks_exact(SHAPE.block()));
        self.again = sent.map(<[u8]>::to_vec).next();
    }

    /// What is certain first; then counts; then who comes out when she has come in.
    fn guess(&mut self, exits: &[[u8; 16]]) -> Option<[u8; 16]> {
        let hers = &self.entries[0];
        let mut scores = Vec::new();
        for name in exits {
            let seen = self.exits.get(name)?;
            let mut certain = hers.strings.intersection(&seen.strings).count() as i64;
            certain += i64::from(self.again.as_ref().is_some_and(|again| begins_alike(again, seen)));
            certain += i64::from(carries_mark(hers, seen));
            let count = -(hers.blocks.len() as i64 - seen.blocks.len() as i64).abs();
            scores.push((certain, count, nearness(hers, seen), *name));
        }
        let best = scores.iter().map(|(certain, count, near, _)| (*certain, *count, *near)).max()?;
        let tied: Vec<[u8; 16]> =
            scores.iter().filter(|(c, n, near, _)| (*c, *n, *near) == best).map(|(.., name)| *name).collect();
        Some(tied[below(&mut self.rng, tied.len() as u64) as usize])
    }
}

/// By how little the blocks of one session follow those of the other, in order and time, the nth after the nth: less is nearer.
fn nearness(entry: &Seen, exit: &Seen) -> i64 {
    let pairs = entry.blocks.iter().zip(&exit.blocks);
    -pairs
        .map(|((time, place), (later, behind))| later.abs_diff(*time) as i64 + behind.abs_diff(*place) as i64)
        .sum::<i64>()
}

/// Whether what the honest mix made of a set-up that was sent again is what it made of this session's.
fn begins_alike(again: &[u8], seen: &Seen) -> bool {
    let edge = SHAPE.edge(Kind::SetUp, 3);
    seen.bytes.first().is_some_and(|first| first[21..edge] == again[21..edge])
}

/// Whether a tail that the adversary wrote has come through.
fn carries_mark(entry: &Seen, exit: &Seen) -> bool {
    let mark = |seen: &Seen| {
        let tails = seen.bytes.iter().map(|block| block[tail_of(SHAPE, block)].to_vec());
        tails
            .filter(|tail| tail.len() >= 16 && tail.iter().all(|byte| *byte == tail[0]))
            .map(|tail| tail[0])
            .next_back()
    };
    let (hers, its) = (mark(entry), mark(exit));
    hers.is_some() && hers == its
}

/// What no layer of a block covers behind the first mix (towards the honest one) or behind the second.
fn tail_of(shape: Shape, block: &[u8]) -> std::ops::Range<usize> {
    let kind = Kind::of(block[0]).unwrap_or(Kind::Data);
    match kind {
        Kind::SetUp | Kind::Data | Kind::Fare => shape.edge(kind, 2)..shape.block(),
        _ => shape.block()..shape.block(),
    }
}

/// What is in a check that could be somewhere else, too.
fn strings_of(check: &Check) -> [Vec<u8>; 5] {
    let commitment = check.commitment().0.to_vec();
    [check.id.0.to_vec(), check.root.0.to_vec(), check.salt.to_vec(), check.refund.0.to_vec(), commitment]
}

fn certified(check: &Check) -> Funding {
    let certificate = Certificate {
        bank: check.bank,
        currency: check.currency.clone(),
        commitment: check.commitment(),
        maximum: check.maximum().unwrap_or(Amount::ZERO),
        expiry: check.expiry,
        payee: check.payee_digest(),
    };
    Funding::Certified(Unverified::from(&Signed::sign(&key("bank"), certificate)))
}
