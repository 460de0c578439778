//! Three mixes as their programs run them, the links between them, and what happens in one run.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use naulon_durable::fault::Faults;
use naulon_exchange::{Exchange, Input};
use naulon_meter::{Replies, Stop, Terms};
use naulon_mix::{
    Batching, Cashing, Due, KeptCheck, Leaving, LinkId, MemoryStore, Mix, MixRules, Outbox, SessionKey, TickStore,
    cashing_exchange, own_part,
};
use naulon_money::Amount;
use naulon_onion::{Contract, HOPS, HopPublic, Member, PathHop};
use naulon_statement::{Duration, PublicKey, SecretKey};
use naulon_tick::{Front, Tick};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::bank::{BankHouse, call, key};
use super::run::{Foul, Run};
use super::sender::{Done, Recipient, SHAPE, Sender, WINDOW, What, Written, currency, price};
use crate::fault::below;

/// More than that is a run that does not end.
const MAX_STEPS: u32 = 20_000;
/// How many sessions a sender begins, one after the other, before it gives up.
const MAX_SESSIONS: usize = 4;
/// How many blocks a mix takes before it writes down what it has earned.
const FLUSH_EVERY: u64 = 3;

fn payee(mix: usize) -> SecretKey {
    key(&format!("mix {mix} at the bank"))
}

fn mix_key(mix: usize) -> PublicKey {
    key(&format!("mix {mix}")).public()
}

fn link_key(mix: usize) -> PublicKey {
    key(&format!("link {mix}")).public()
}

fn contract(paying: usize) -> Contract {
    let member = |mix| Member { mix: mix_key(mix), account: payee(mix).public(), share: 1 + mix as u32 };
    Contract { provider: mix_key(9), paying: mix_key(paying), members: (0..HOPS).map(member).collect() }
}

struct Node {
    mix: Mix,
    store: MemoryStore,
    key: HopPublic,
    taken: u64,
    forwarded: u64,
    kept_back: Option<(LinkId, Vec<u8>)>,
}

/// What a session came to.
struct Past {
    checks: Vec<Written>,
    delivered: u64,
    /// Data blocks that each mix passed on.
    passed: [u64; HOPS],
    crashed: bool,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was wrong, if something was.
    pub violations: Vec<String>,
    /// The codes that somebody saw.
    pub codes: BTreeSet<&'static str>,
    /// Blocks that arrived.
    pub delivered: u64,
    /// Ticks that were cashed.
    pub cashed: u64,
    /// Sessions that were begun.
    pub sessions: u64,
}

pub struct World<'r> {
    run: &'r Run,
    rng: ChaCha8Rng,
    bank: BankHouse,
    nodes: Vec<Node>,
    ends: HashMap<(usize, LinkId), (usize, LinkId)>,
    client: LinkId,
    flying: VecDeque<(usize, LinkId, Vec<u8>)>,
    oks: VecDeque<u64>,
    sender: Option<Sender>,
    recipient: Option<Recipient>,
    exit: Option<SessionKey>,
    current: Past,
    past: Vec<Past>,
    report: Report,
}

fn empty() -> Past {
    Past { checks: Vec::new(), delivered: 0, passed: [0; HOPS], crashed: false }
}

impl<'r> World<'r> {
    pub fn new(run: &'r Run) -> Self {
        let mut bank = BankHouse::new();
        (0..HOPS).for_each(|mix| bank.open_account(&payee(mix)));
        let mut world = World {
            run,
            rng: ChaCha8Rng::seed_from_u64(run.seed),
            bank,
            nodes: Vec::new(),
            ends: HashMap::new(),
            client: LinkId(0),
            flying: VecDeque::new(),
            oks: VecDeque::new(),
            sender: None,
            recipient: None,
            exit: None,
            current: empty(),
            past: Vec::new(),
            report: Report::default(),
        };
        for mix in 0..HOPS {
            let faults = match run.crash {
                Some((at, write, when)) if at == mix => Faults::crash_at(write, when),
                _ => Faults::none(),
            };
            let store = MemoryStore::new(faults);
            let node = world.node(mix, store, Vec::new());
            world.nodes.push(node);
        }
        world
    }

    fn node(&mut self, mix: usize, store: MemoryStore, kept: Vec<KeptCheck>) -> Node {
        let rules = MixRules {
            mix: mix_key(mix),
            shape: SHAPE,
            price: price(),
            currency: currency(),
            window: WINDOW,
            replies: 2,
            banks: BTreeMap::from([(key("bank").public(), Arc::new(payee(mix)))]),
            contract: self.run.paying.map(contract),
            is_exit: mix == HOPS - 1,
            batching: Batching::Stream,
            cash_within: Duration::seconds(10),
        };
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut engine = Mix::new(rules, kept, &seed, self.bank.now);
        // A mix that starts again begins an epoch of its own: what the last one opened is closed for ever.
        let key = engine.begin_epoch(self.rng.next_u32() >> 1, &seed);
        engine.know((0..HOPS).map(|other| (link_key(other), mix_key(other))).collect());
        Node { mix: engine, store, key, taken: 0, forwarded: 0, kept_back: None }
    }

    fn foul(&self) -> Option<Foul> {
        self.run.foul.map(|(foul, _)| foul)
    }

    fn fouls(&self, mix: usize) -> Option<Foul> {
        self.run.foul.filter(|(_, who)| *who == mix).map(|(foul, _)| foul)
    }

    fn terms(&self) -> Terms {
        Terms { protocol: self.run.protocol, window: WINDOW, replies: Replies::Billed }
    }

    /// Plays the run, settles all accounts, and checks them.
    pub fn play(mut self) -> Report {
        self.begin_session();
        for _ in 0..MAX_STEPS {
            if !self.step() {
                break;
            }
        }
        self.end_session(false);
        self.cash();
        self.settle();
        self.check();
        self.report
    }

    fn begin_session(&mut self) {
        let foul = self.foul();
        self.client = self.nodes[0].mix.link_from(key("sender").public());
        let path = std::array::from_fn(|mix| PathHop { mix: mix_key(mix), key: self.nodes[mix].key });
        let paid: Vec<usize> = (0..HOPS).filter(|mix| self.run.paying.is_none_or(|paying| paying == *mix)).collect();
        let (mut checks, mut fares) = (Vec::new(), [const { Vec::new() }; HOPS]);
        for mix in paid {
            let check = Written::new(&payee(mix), mix, self.bank.now, &mut self.rng);
            // One bad check is enough.
            let is_bad = self.fouls(mix).is_some();
            match check.fare(&mut self.bank, foul.filter(|_| is_bad)) {
                Ok(fare) => fares[mix] = fare,
                Err(why) => self.report.violations.push(format!("a check: {why}")),
            }
            checks.push(check);
        }
        let terms = self.terms();
        let (sender, block) = Sender::begin(path, terms, checks, fares.clone(), &mut self.rng);
        self.sender = Some(sender);
        self.recipient = Some(Recipient::new(terms));
        self.report.sessions += 1;
        self.flying.push_back((0, self.client, block));
        if foul == Some(Foul::TwoSessions) {
            let (_, block) = Sender::begin(path, terms, Vec::new(), fares, &mut self.rng);
            self.flying.push_back((0, self.client, block));
        }
    }

    fn end_session(&mut self, crashed: bool) {
        if let Some(sender) = self.sender.take() {
            let mut past = std::mem::replace(&mut self.current, empty());
            past.checks = sender.checks;
            past.crashed = crashed;
            self.past.push(past);
        }
        (self.recipient, self.exit) = (None, None);
        self.flying.clear();
        self.oks.clear();
    }

    /// One thing happens. False if nothing can any more.
    fn step(&mut self) -> bool {
        self.bank.now = self.bank.now.plus(Duration(5));
        let sends = below(&mut self.rng, 3) == 0;
        if sends && self.send() {
            return true;
        }
        if let Some((mix, link, block)) = self.flying.pop_front() {
            self.arrive(mix, link, block);
            return true;
        }
        if let Some(count) = self.oks.pop_front() {
            if let Some(sender) = &mut self.sender {
                sender.payers.iter_mut().for_each(|payer| payer.confirm(count));
                let settlement = sender.settle(self.run.foul.map(|(foul, _)| foul));
                let client = self.client;
                self.flying.extend(settlement.map(|block| (0, client, block)));
            }
            return true;
        }
        self.send()
    }

    fn send(&mut self) -> bool {
        let foul = self.foul();
        let Some(sender) = self.sender.as_mut().filter(|sender| sender.sent < self.run.blocks) else { return false };
        match sender.next(foul) {
            Ok(block) => {
                if foul == Some(Foul::Replays) && sender.sent == 12 {
                    self.flying.push_back((0, self.client, block.clone()));
                }
                self.flying.push_back((0, self.client, block));
                true
            }
            Err(Stop::Unconfirmed) => {
                if self.flying.is_empty() && self.oks.is_empty() {
                    self.report.codes.insert("unconfirmed");
                }
                false
            }
            Err(other) => {
                self.report.violations.push(format!("the sender stops: {other}"));
                false
            }
        }
    }

    fn arrive(&mut self, mix: usize, link: LinkId, mut block: Vec<u8>) {
        // Links of TLS lose nothing; mixes that are overloaded do.
        if self.run.loss > 0 && below(&mut self.rng, 100) < self.run.loss && self.nodes[mix].taken > 0 {
            return;
        }
        let (mut out, now) = (Outbox::new(), self.bank.now);
        self.nodes[mix].mix.take(link, &mut block, now, &mut out);
        self.nodes[mix].taken += 1;
        self.carry(mix, out);
        if self.nodes.get(mix).is_some_and(|node| node.taken.is_multiple_of(FLUSH_EVERY)) {
            self.flush(mix);
        }
    }

    fn flush(&mut self, mix: usize) {
        let Node { mix: engine, store, .. } = &mut self.nodes[mix];
        if engine.flush(store).is_err() {
            self.restart(mix);
        }
    }

    /// The mix dies and starts again: links to it end, and with them every session. What was written is cashed later.
    fn restart(&mut self, mix: usize) {
        let store = self.nodes[mix].store.clone();
        store.faults().restart();
        let kept = store.all().unwrap_or_default();
        self.nodes[mix] = self.node(mix, store, kept);
        let ends = std::mem::take(&mut self.ends);
        for ((at, link), _) in ends.into_iter().filter(|((at, _), _)| *at != mix) {
            let (mut out, now) = (Outbox::new(), self.bank.now);
            self.nodes[at].mix.link_ended(link, now, &mut out);
            self.report.codes.extend(out.refused);
        }
        if mix != 0 {
            let (mut out, now) = (Outbox::new(), self.bank.now);
            self.nodes[0].mix.link_ended(self.client, now, &mut out);
        }
        let more = self.sender.as_ref().is_some_and(|sender| sender.sent < self.run.blocks);
        self.end_session(true);
        if more && self.past.len() < MAX_SESSIONS {
            self.begin_session();
        }
    }

    fn carry(&mut self, mix: usize, out: Outbox) {
        for (link, to) in out.dials {
            let Some(other) = (0..HOPS).find(|other| mix_key(*other) == to) else { continue };
            let there = self.nodes[other].mix.link_from(link_key(mix));
            self.ends.insert((mix, link), (other, there));
            self.ends.insert((other, there), (mix, link));
        }
        self.report.codes.extend(out.refused);
        for (link, blocks) in out.sends {
            for block in blocks.chunks_exact(SHAPE.block()) {
                self.pass(mix, link, block.to_vec());
            }
        }
        for leaving in out.leaving {
            self.leave(mix, leaving);
        }
        for post in out.posts {
            let posted = self.bank.post(naulon_wire::BankCall::Exchange(*post.exchange));
            if let Err(problem) = &posted {
                self.report.codes.insert(code_of(problem));
            }
            let (mut then, now) = (Outbox::new(), self.bank.now);
            self.nodes[mix].mix.funded(post.session, posted.is_ok(), now, &mut then);
            self.carry(mix, then);
        }
    }

    /// A mix sends a block on: forward to its follower, or back.
    fn pass(&mut self, mix: usize, link: LinkId, mut block: Vec<u8>) {
        let Some((to, there)) = self.ends.get(&(mix, link)).copied() else { return };
        let is_data = block[0] == 2 && to > mix;
        if !is_data {
            self.flying.push_back((to, there, block));
            return;
        }
        self.count(mix, &block);
        self.nodes[mix].forwarded += 1;
        if self.nodes[mix].forwarded > 10 {
            match self.fouls(mix) {
                Some(Foul::Drops) => return,
                Some(Foul::Alters) => block[21 + below(&mut self.rng, 3_000) as usize] ^= 1,
                Some(Foul::Duplicates) => self.flying.push_back((to, there, block.clone())),
                Some(Foul::Reorders) => {
                    // Two change places.
                    match self.nodes[mix].kept_back.take() {
                        None => {
                            self.nodes[mix].kept_back = Some((link, block));
                            return;
                        }
                        Some((_, kept)) => {
                            self.flying.push_back((to, there, block));
                            block = kept;
                        }
                    }
                }
                _ => {}
            }
        }
        self.flying.push_back((to, there, block));
    }

    fn count(&mut self, mix: usize, block: &[u8]) {
        let number = block[17..21].iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        let what = self.sender.as_ref().and_then(|sender| sender.numbers.get(number));
        self.current.passed[mix] += u64::from(what == Some(&What::Data));
    }

    fn leave(&mut self, mix: usize, leaving: Leaving) {
        match leaving {
            Leaving::Begun { session, .. } => self.exit = self.exit.or(Some(session)),
            Leaving::Payload { session, number, is_ask, mut payload } => {
                self.current.passed[mix] += u64::from(!is_ask);
                let mut copies = 1;
                self.nodes[mix].forwarded += 1;
                if self.nodes[mix].forwarded > 10 {
                    match self.fouls(mix) {
                        Some(Foul::Drops) => return,
                        Some(Foul::Alters) => payload[60] ^= 1,
                        Some(Foul::Duplicates) => copies = 2,
                        _ => {}
                    }
                }
                (0..copies).for_each(|_| self.recipient_takes(mix, session, number, is_ask, &payload));
            }
            Leaving::MayReply(_) | Leaving::Ended(_) => {}
        }
    }

    fn recipient_takes(&mut self, mix: usize, session: SessionKey, number: u32, is_ask: bool, payload: &[u8]) {
        let keeps = self.foul() == Some(Foul::KeepsTicks) && self.current.delivered >= 10;
        let Some(recipient) = &mut self.recipient else { return };
        match recipient.take(payload, is_ask, keeps) {
            Done::Refused(code) => {
                self.report.codes.insert(code);
            }
            Done::Took(ticks) => {
                if !is_ask {
                    self.current.delivered += 1;
                    self.report.delivered += 1;
                    if self.run.loss == 0 || below(&mut self.rng, 100) >= self.run.loss {
                        self.oks.push_back(self.current.delivered);
                    }
                }
                let Some(ticks) = ticks else { return };
                debug_assert_eq!(ticks.number, number);
                let (mut out, now) = (Outbox::new(), self.bank.now);
                if let Err(refusal) = self.nodes[mix].mix.let_go(session, number, &ticks.onion, now, &mut out) {
                    self.report.codes.insert(refusal.code());
                }
                self.carry(mix, out);
            }
        }
    }

    /// Every mix writes down what it has, and cashes it at the bank.
    fn cash(&mut self) {
        self.bank.now = self.bank.now.plus(Duration::seconds(60));
        for mix in 0..HOPS {
            self.write_all(mix);
            let now = self.bank.now;
            for due in self.nodes[mix].mix.due(now, 64, true) {
                self.cash_one(mix, &due);
            }
            self.write_all(mix);
        }
    }

    /// Writes until it is written: a store that failed once has come back.
    fn write_all(&mut self, mix: usize) {
        let Node { mix: engine, store, .. } = &mut self.nodes[mix];
        while engine.flush(store).is_err() {
            store.faults().restart();
        }
    }

    fn cash_one(&mut self, mix: usize, due: &Due) {
        let foul = self.fouls(mix);
        let mut due = due.clone();
        let honest = due.to;
        if foul == Some(Foul::CashesAhead) {
            let kept = self.nodes[mix].store.all().unwrap_or_default();
            if let Some(kept) = kept.into_iter().find(|kept| kept.check.commitment() == due.commitment) {
                due.to = kept.front;
            }
        }
        if foul == Some(Foul::ClaimsMore) {
            let more = Front { index: due.to.index + 5, tick: Tick([0x33; 16]) };
            let refused = self.bank.cash(&due.check, due.from, more, &payee(mix)).map(|_| ());
            self.expect_refusal(refused, "a tick that nobody paid is cashed");
        }
        let contract = self.run.paying.map(contract);
        let challenge = self.bank.challenge();
        let account = payee(mix);
        let body = cashing_exchange(std::slice::from_ref(&due), challenge, &account.public(), contract.as_ref());
        let Some(body) = body else { return };
        let posted: Result<_, _> = self.bank.post(call(body.clone(), [&account]));
        match posted {
            Ok(_) => {
                self.report.cashed += u64::from(due.to.index - due.from.index);
                if foul == Some(Foul::CashesTwice) {
                    self.bank.now = self.bank.now.plus(Duration::seconds(1));
                    let again = Exchange { inputs: with_challenge(&body, self.bank.challenge()), ..body };
                    let refused = self.bank.post(call(again, [&account])).map(|_| ());
                    self.expect_refusal(refused, "the same ticks are cashed twice");
                }
            }
            Err(problem) => self.report.violations.push(format!("mix {mix} cannot cash: {}", code_of(&problem))),
        }
        let now = self.bank.now;
        let told = if due.to == honest { Cashing::Paid } else { Cashing::Stands(due.to.index) };
        self.nodes[mix].mix.cashed(&due, told, |amount| own_part(amount, contract.as_ref()), now);
    }

    fn expect_refusal(&mut self, outcome: Result<(), naulon_wire::Problem>, what: &str) {
        match outcome {
            Ok(()) => self.report.violations.push(what.to_owned()),
            Err(problem) => {
                self.report.codes.insert(code_of(&problem));
            }
        }
    }

    /// What was not spent goes back, once its time has come.
    fn settle(&mut self) {
        let expiry = self.past.iter().flat_map(|past| &past.checks).map(|check| check.check.expiry).max();
        self.bank.wait_for_remainders(expiry.unwrap_or(self.bank.now));
        if matches!(self.foul(), Some(Foul::Uncertified | Foul::TwoChecksOneToken)) {
            return;
        }
        let cashed = self.cashed_by_check();
        for (past, check) in self.past.iter().flat_map(|past| past.checks.iter().map(move |check| (past, check))) {
            let spent = cashed.get(&check.check.commitment()).copied().unwrap_or(0);
            let rest = check.check.worth(check.check.length - spent).unwrap_or(Amount::ZERO);
            let back = self.bank.give_back(&check.check, &check.refund, rest);
            if let Err(problem) = back {
                self.report.violations.push(format!("the remainder: {} ({})", code_of(&problem), past.delivered));
            }
        }
    }

    fn cashed_by_check(&self) -> BTreeMap<naulon_statement::Digest, u32> {
        let kept = self.nodes.iter().flat_map(|node| node.store.all().unwrap_or_default());
        kept.map(|kept| (kept.check.commitment(), kept.cashed.index)).collect()
    }

    /// Nobody is out by more than the window, and the money is all there.
    fn check(&mut self) {
        let cashed = self.cashed_by_check();
        let (foul, window) = (self.foul(), u64::from(WINDOW));
        let mut found = Vec::new();
        for past in &self.past {
            for check in &past.checks {
                let mix = check.mix;
                let ticks = u64::from(cashed.get(&check.check.commitment()).copied().unwrap_or(0));
                if ticks > past.delivered + window {
                    found.push(format!("the sender is out by {} at mix {mix}", ticks - past.delivered));
                }
                // A mix that dies loses what it had not written down: at most another window.
                let bound = if past.crashed { 2 * window } else { window };
                let is_honest = self.fouls(mix).is_none();
                if is_honest && past.passed[mix] > ticks + bound {
                    found.push(format!("mix {mix} is out by {}", past.passed[mix] - ticks));
                }
            }
        }
        match self.bank.audit() {
            Err(error) => found.push(format!("the books: {error}")),
            Ok(left) if !left.is_zero() && !matches!(foul, Some(Foul::Uncertified | Foul::TwoChecksOneToken)) => {
                found.push(format!("{left} is still set aside"));
            }
            Ok(_) => {}
        }
        self.check_paid(&mut found);
        let is_plain = self.run.crash.is_none() && self.run.loss == 0;
        if let Some(foul) = foul.filter(|_| is_plain) {
            let reasons = foul.reasons();
            if !reasons.is_empty() && !reasons.iter().any(|reason| self.report.codes.contains(reason)) {
                found.push(format!("{foul:?} was not named: {:?}", self.report.codes));
            }
        } else if foul.is_none() && is_plain {
            let delivered = self.report.delivered;
            if delivered != u64::from(self.run.blocks) {
                found.push(format!("{delivered} of {} blocks arrived: {:?}", self.run.blocks, self.report.codes));
            }
            let paid = self.past.iter().map(|past| past.checks.len() as u64).max().unwrap_or(0);
            if self.report.cashed != paid * delivered {
                found.push(format!("{} ticks were cashed for {delivered} blocks at {paid} mixes", self.report.cashed));
            }
        }
        self.report.violations.extend(found);
    }

    /// What the accounts of the mixes have is what their ticks were worth.
    fn check_paid(&mut self, found: &mut Vec<String>) {
        let balances: Vec<Amount> = (0..HOPS).map(|mix| self.bank.balance(&payee(mix).public())).collect();
        let all = Amount::checked_sum(balances).unwrap_or(Amount::ZERO);
        let worth = price().checked_mul(self.report.cashed).unwrap_or(Amount::ZERO);
        if all != worth {
            found.push(format!("the mixes have {all} for ticks worth {worth}"));
        }
    }
}

fn with_challenge(body: &Exchange, fresh: naulon_exchange::Challenge) -> Vec<Input> {
    let renewed = |input: &Input| match input.clone() {
        Input::Chain { check, from, to, .. } => Input::Chain { check, from, to, challenge: fresh },
        other => other,
    };
    body.inputs.iter().map(renewed).collect()
}

fn code_of(problem: &naulon_wire::Problem) -> &'static str {
    let known = ["chain_advanced", "tick_forged", "spent", "chain_taken", "locked", "unknown_chain"];
    known.into_iter().find(|code| problem.code == *code).unwrap_or("other")
}
