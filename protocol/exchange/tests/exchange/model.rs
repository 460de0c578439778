//! A reference model beside `decide`, driven by generated operations.
//!
//! The model knows nothing of marks, guards, plans or journals: it scans all requests that were ever accepted. For each
//! operation it lists every reason to refuse it; the bank must refuse exactly if there is one, and name one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naulon_blind::Token;
use naulon_exchange::{
    Decided, Exchange, Header, Input, LogDecision, MAX_PARTS, Outcome, Output, Plan, Record, Refusal, Request,
    RequestId, State, authenticate, authenticate_account, authenticate_decision, decide, offer_mark, order_mark,
    part_mark, reference_mark, token_mark,
};
use naulon_money::Amount;
use naulon_statement::{Digest, Joint, PublicKey, Signed, Timestamp, Unverified, UnverifiedJoint};
use proptest::prelude::*;

use super::books::Books;
use super::world::*;

#[derive(Clone, Debug)]
enum Op {
    Open(usize),
    PayIn { account: usize, amount: u64, reference: u8 },
    Withdraw { account: usize, order: u8, tokens: Vec<usize> },
    Deposit { account: usize, tokens: Vec<Piece> },
    Move { from: usize, to: usize, amount: u64, order: u8 },
    Refresh { given: Vec<Piece>, wanted: Vec<usize> },
    Lock { merchant: usize, n: u8, given: Vec<Piece>, change: Vec<usize>, seconds: u64, log: usize, two_sided: bool },
    Decide { purchase: usize, say: Say },
    Again(usize),
    Wait(u64),
}

/// A token, or a part of it (AAT §8.3).
type Piece = (usize, Option<u64>);

/// What a log says about a purchase.
#[derive(Clone, Copy, Debug)]
enum Say {
    Commit,
    Abort,
    WrongKey,
    LateCommit,
    EarlyAbort,
    /// Signed by the other log that the bank heeds.
    OtherLog,
    /// Signed by a log that the bank does not heed.
    Stranger,
    /// On a header that differs from the purchase's.
    OtherHeader,
}

fn some_tokens() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::btree_set(0..3 * TOKENS, 1..4).prop_map(|set| set.into_iter().collect())
}

/// Tokens with keys of their own and with a shared one, of several brands, whole and in parts.
fn some_pieces() -> impl Strategy<Value = Vec<Piece>> {
    let part = || prop_oneof![3 => Just(None), 2 => (1..=5u64).prop_map(Some)];
    let piece = |(token, part): (usize, Option<u64>)| (token, part.map(|part| part.min(world().value(token))));
    (some_tokens(), part(), part(), part())
        .prop_map(move |(tokens, a, b, c)| tokens.into_iter().zip([a, b, c]).map(piece).collect())
}

fn op() -> impl Strategy<Value = Op> {
    use Say::*;
    let account = || 0..ACCOUNTS;
    let log = prop_oneof![8 => Just(0), 3 => Just(1usize), 1 => Just(2)];
    let say = prop_oneof![
        6 => Just(Commit), 6 => Just(Abort), 1 => Just(WrongKey), 1 => Just(LateCommit), 1 => Just(EarlyAbort),
        1 => Just(OtherLog), 1 => Just(Stranger), 1 => Just(OtherHeader),
    ];
    let lock = (2..ACCOUNTS, 0..3u8, some_pieces(), some_tokens(), 0..1_200u64, log, any::<bool>());
    prop_oneof![
        2 => account().prop_map(Op::Open),
        4 => (account(), 0..20u64, 0..12u8).prop_map(|(account, amount, reference)| Op::PayIn { account, amount, reference }),
        6 => (account(), 0..12u8, some_tokens())
            .prop_map(|(account, order, tokens)| Op::Withdraw { account, order, tokens }),
        2 => (account(), some_pieces()).prop_map(|(account, tokens)| Op::Deposit { account, tokens }),
        1 => (account(), account(), 0..9u64, 0..12u8)
            .prop_map(|(from, to, amount, order)| Op::Move { from, to, amount, order }),
        2 => (some_pieces(), some_tokens()).prop_map(|(given, wanted)| Op::Refresh { given, wanted }),
        8 => lock.prop_map(|(merchant, n, given, change, seconds, log, two_sided)| {
            Op::Lock { merchant, n, given, change, seconds, log, two_sided }
        }),
        7 => (any::<usize>(), say).prop_map(|(purchase, say)| Op::Decide { purchase, say }),
        2 => any::<usize>().prop_map(Op::Again),
        2 => (0..500u64).prop_map(Op::Wait),
    ]
}

/// They have a model of their own.
const NO_CHECKS: &str = "no operation here has to do with checks";

/// A request that was accepted once.
struct Accepted {
    joint: Joint<Exchange>,
    state: State,
    k: Option<[u8; 32]>,
}

#[derive(Default)]
struct Model {
    now: u64,
    accounts: BTreeMap<PublicKey, u64>,
    accepted: BTreeMap<RequestId, Accepted>,
    issued: BTreeSet<usize>,
    came_in: u64,
}

type Reasons = BTreeSet<&'static str>;

impl Model {
    fn value(output: &Output) -> u64 {
        match output {
            Output::Account { amount, .. } => amount.micros() / UNIT,
            Output::Blinded { brand, .. } => world().rules.brands[brand].brand().denomination.micros() / UNIT,
            Output::Chain { .. } | Output::Load { .. } => panic!("{NO_CHECKS}"),
        }
    }

    fn live(&self) -> impl Iterator<Item = &Accepted> {
        self.accepted.values().filter(|accepted| accepted.state != State::Aborted)
    }

    /// Every reason to refuse.
    fn reasons(&self, exchange: &Exchange) -> Reasons {
        let mut reasons = Reasons::new();
        let now = Timestamp(self.now);
        let mut taken: BTreeMap<PublicKey, u64> = BTreeMap::new();
        for input in &exchange.inputs {
            if let Input::Token { token, part, .. } = input {
                reasons.extend(self.in_parts(token, *part));
            }
            if let Some(holder) =
                self.live().find(|accepted| accepted.joint.inputs.iter().any(|other| same(other, input)))
            {
                reasons.insert(match (input, holder.state) {
                    (Input::Token { .. }, State::Locked) => "locked",
                    (Input::Token { .. }, _) => "spent",
                    _ => "order_used",
                });
            }
            match input {
                Input::Token { token, .. } => {
                    let brand = world().rules.brands[&Digest(*token.key_id())].brand();
                    let until = if exchange.condition.is_some() { brand.spend_until } else { brand.redeem_until };
                    if now < brand.issue_from {
                        reasons.insert("brand_not_issuing");
                    } else if now >= until {
                        reasons.insert("brand_closed");
                    }
                    if exchange.condition.as_ref().is_some_and(|c| c.expiry.0 + 60_000 > brand.redeem_until.0) {
                        reasons.insert("expiry_too_late");
                    }
                }
                Input::Account { account, amount, .. } => *taken.entry(*account).or_default() += amount.micros() / UNIT,
                Input::Outside { .. } => {}
                Input::Chain { .. } | Input::Remainder { .. } | Input::Purse { .. } => panic!("{NO_CHECKS}"),
            }
        }
        for output in &exchange.outputs {
            match output {
                Output::Account { account, .. } => {
                    taken.entry(*account).or_default();
                }
                Output::Blinded { brand, .. } => {
                    let brand = world().rules.brands[brand].brand();
                    if now < brand.issue_from || now >= brand.withdraw_until {
                        reasons.insert("brand_not_issuing");
                    }
                    if exchange.condition.as_ref().is_some_and(|c| c.expiry.0 + 60_000 > brand.redeem_until.0) {
                        reasons.insert("expiry_too_late");
                    }
                }
                Output::Chain { .. } | Output::Load { .. } => panic!("{NO_CHECKS}"),
            }
        }
        for (account, taken) in taken {
            match self.accounts.get(&account) {
                None => reasons.insert("unknown_account"),
                Some(balance) if *balance < taken => reasons.insert("insufficient_funds"),
                Some(_) => false,
            };
        }
        if let Some(condition) = &exchange.condition {
            if condition.log == log_key(2).public() {
                reasons.insert("unknown_log");
            }
            if condition.expiry.0 < self.now + 60_000 {
                reasons.insert("expiry_too_soon");
            }
            if condition.expiry.0 > self.now + 1_000_000 {
                reasons.insert("expiry_too_late");
            }
            let mut conditions = self.live().filter_map(|accepted| accepted.joint.condition.as_ref());
            if conditions.any(|other| (other.merchant, other.n) == (condition.merchant, condition.n)) {
                reasons.insert("offer_taken");
            }
        }
        reasons
    }

    /// What the parts of a token that were given up before have against it.
    fn in_parts(&self, token: &Token, part: Option<Amount>) -> Option<&'static str> {
        let uses =
            || self.accepted.values().filter_map(|accepted| Some((accepted.state, part_of(&accepted.joint, token)?)));
        let value = world().rules.brands[&Digest(*token.key_id())].brand().denomination.micros();
        let sum =
            |chosen: fn(State) -> bool| uses().filter(|(state, _)| chosen(*state)).map(|(_, part)| part).sum::<u64>();
        let gone = sum(|state| matches!(state, State::Done | State::Committed));
        let live = sum(|state| state != State::Aborted);
        match part.map(Amount::micros) {
            None => uses().next().map(|_| "in_parts"),
            Some(part) if gone + part > value => Some("spent"),
            Some(part) if live + part > value => Some("locked"),
            Some(_) => None,
        }
    }

    fn accept(&mut self, joint: &Joint<Exchange>) {
        for input in &joint.inputs {
            match input {
                Input::Account { account, amount, .. } => {
                    *self.accounts.get_mut(account).expect("open") -= amount.micros() / UNIT;
                }
                Input::Outside { amount, .. } => self.came_in += amount.micros() / UNIT,
                Input::Token { .. } => {}
                Input::Chain { .. } | Input::Remainder { .. } | Input::Purse { .. } => panic!("{NO_CHECKS}"),
            }
        }
        let state = if joint.condition.is_some() { State::Locked } else { State::Done };
        self.accepted.insert(joint.id(), Accepted { joint: joint.clone(), state, k: None });
        if state == State::Done {
            self.deliver(joint);
        }
    }

    fn deliver(&mut self, joint: &Joint<Exchange>) {
        for output in &joint.outputs {
            match output {
                Output::Account { account, .. } => {
                    *self.accounts.get_mut(account).expect("open") += Model::value(output);
                }
                Output::Blinded { message, .. } => {
                    let of = world().tokens.iter().position(|coined| coined.blinded == *message);
                    self.issued.insert(of.expect("a token of this world"));
                }
                Output::Chain { .. } | Output::Load { .. } => panic!("{NO_CHECKS}"),
            }
        }
    }

    /// What the bank should answer to a decision on this purchase: a code, or nothing if it settles.
    fn settle(&mut self, id: &RequestId, decision: &LogDecision, by_its_log: bool) -> Option<&'static str> {
        let accepted = self.accepted.get_mut(id).expect("an accepted request");
        let header = Header::of(&accepted.joint, *id).expect("a purchase");
        let in_time = match decision.outcome {
            Outcome::Commit { .. } => decision.time < header.expiry,
            Outcome::Abort => decision.time >= header.expiry,
        };
        if !by_its_log || !in_time || decision.header != header.digest() {
            return Some("decision_misfit");
        }
        match accepted.state {
            State::Locked if decision.key().is_some_and(|k| *k != merchandise_key(&header.n)) => Some("key_mismatch"),
            State::Locked => {
                accepted.k = decision.key().copied();
                accepted.state = if accepted.k.is_some() { State::Committed } else { State::Aborted };
                if accepted.state == State::Committed {
                    let joint = accepted.joint.clone();
                    self.deliver(&joint);
                }
                None
            }
            _ if accepted.k == decision.key().copied() => Some("replay"),
            _ => Some("log_contradiction"),
        }
    }

    /// All marks that must be held, and by whom.
    fn marks(&self) -> BTreeMap<Digest, RequestId> {
        let mut marks = BTreeMap::new();
        for accepted in self.live() {
            let of_inputs = accepted.joint.inputs.iter().filter_map(|input| match input {
                Input::Outside { reference, .. } => Some(reference_mark(reference)),
                Input::Account { account, order, .. } => Some(order_mark(account, order)),
                Input::Token { token, part: None, .. } => Some(token_mark(token)),
                Input::Token { part: Some(_), .. } => None,
                Input::Chain { .. } | Input::Remainder { .. } | Input::Purse { .. } => panic!("{NO_CHECKS}"),
            });
            let of_offer = accepted.joint.condition.iter().map(|c| offer_mark(&c.merchant, &c.n));
            for mark in of_inputs.chain(of_offer) {
                assert_eq!(marks.insert(mark.key, accepted.joint.id()), None, "the model itself has two live holders");
            }
        }
        marks
    }
}

/// How much of this token the exchange gives up, if it is a part.
fn part_of(exchange: &Exchange, token: &Token) -> Option<u64> {
    exchange.inputs.iter().find_map(|input| match input {
        Input::Token { token: given, part, .. } if given == token => part.map(Amount::micros),
        _ => None,
    })
}

/// Whether two inputs can only be given up once between them. Parts of a token can be given up beside one another.
fn same(one: &Input, other: &Input) -> bool {
    match (one, other) {
        (Input::Outside { reference: a, .. }, Input::Outside { reference: b, .. }) => a == b,
        (Input::Account { account: a, order: x, .. }, Input::Account { account: b, order: y, .. }) => (a, x) == (b, y),
        (Input::Token { token: a, part: None, .. }, Input::Token { token: b, .. }) => a == b,
        _ => false,
    }
}

/// The bank under test, the model, and the books one step ago.
#[derive(Default)]
struct Run {
    books: Books,
    before: Books,
    model: Model,
    /// How often each thing happened: a run that never locks proves nothing.
    seen: BTreeMap<&'static str, u64>,
}

impl Run {
    fn step(&mut self, op: &Op, stale: bool) {
        let before = self.books.clone();
        match op {
            Op::Wait(seconds) => self.model.now += seconds * 1_000,
            Op::Open(index) => self.open(*index),
            Op::Decide { purchase, say } => self.decide(*purchase, *say, stale),
            Op::Again(index) => {
                let all: Vec<_> = self.model.accepted.values().map(|accepted| accepted.joint.clone()).collect();
                if let Some(joint) = pick(&all, *index) {
                    self.exchange(joint.clone(), stale);
                }
            }
            other => {
                if let Some(body) = self.body(other) {
                    self.exchange(sign(body), stale);
                }
            }
        }
        self.before = before;
        self.check();
    }

    /// The exchange of an operation; none if it would not balance, or gives a token that nobody has yet.
    fn body(&self, op: &Op) -> Option<Exchange> {
        let world = world();
        let out = |tokens: &[usize]| tokens.iter().map(|token| world.token_output(*token)).collect::<Vec<_>>();
        let worth = |tokens: &[usize]| tokens.iter().map(|token| world.value(*token)).sum::<u64>();
        let given = |tokens: &[Piece]| {
            let held = tokens.iter().all(|(token, _)| self.model.issued.contains(token));
            held.then(|| tokens.iter().map(|(token, part)| world.part_input(*token, *part)).collect::<Vec<_>>())
        };
        let given_up =
            |tokens: &[Piece]| tokens.iter().map(|(token, part)| part.unwrap_or(world.value(*token))).sum::<u64>();
        let credit = |index, amount| Output::Account { account: account(index).public(), amount: units(amount) };
        let debit = |index, amount, order: u8| Input::Account {
            account: account(index).public(),
            amount: units(amount),
            order: [order; 16],
        };
        match op {
            Op::PayIn { account, amount, reference } if *amount > 0 => {
                let input = Input::Outside { amount: units(*amount), reference: [*reference; 16] };
                Some(exchange(vec![input], vec![credit(*account, *amount)], None))
            }
            Op::Withdraw { account, order, tokens } => {
                Some(exchange(vec![debit(*account, worth(tokens), *order)], out(tokens), None))
            }
            Op::Deposit { account, tokens } => {
                Some(exchange(given(tokens)?, vec![credit(*account, given_up(tokens))], None))
            }
            Op::Move { from, to, amount, order } if *amount > 0 => {
                Some(exchange(vec![debit(*from, *amount, *order)], vec![credit(*to, *amount)], None))
            }
            Op::Refresh { given: tokens, wanted } => {
                // What does not balance is paid out to account 0.
                let rest = given_up(tokens).checked_sub(worth(wanted))?;
                let outputs = [out(wanted), (rest > 0).then(|| credit(0, rest)).into_iter().collect()].concat();
                Some(exchange(given(tokens)?, outputs, None))
            }
            Op::Lock { merchant, n, given: tokens, change, seconds: life, log, two_sided } => {
                let change = if worth(change) < given_up(tokens) { &change[..] } else { &[] };
                let price = given_up(tokens) - worth(change);
                // Delivery is not two-sided with a key that is used again.
                let two_sided = *two_sided && world.tokens[tokens[0].0].key.is_none();
                let q = two_sided.then(|| world.spending_key(tokens[0].0));
                let expiry = Timestamp(self.model.now + life * 1_000);
                let condition = condition(*merchant, *n, expiry, *log, q);
                let outputs = [vec![credit(*merchant, price)], out(change)].concat();
                Some(exchange(given(tokens)?, outputs, Some(condition)))
            }
            _ => None,
        }
    }

    fn open(&mut self, index: usize) {
        let open = naulon_exchange::OpenAccount { bank: bank(), account: account(index).public() };
        let signed = Unverified::from(&Signed::sign(&account(index), open));
        let request = authenticate_account(&world().rules, signed).expect("a sound request");
        let view = self.books.view(&request.needs());
        match decide(&world().rules, &view, &request, Timestamp(self.model.now)).expect("never refused") {
            Decided::Write(plan) => self.books.write(&plan).expect("never lost"),
            Decided::Nothing => assert!(self.model.accounts.contains_key(&account(index).public())),
            Decided::Replay(_) => panic!("an account has no record"),
        }
        self.model.accounts.entry(account(index).public()).or_default();
    }

    fn exchange(&mut self, joint: Joint<Exchange>, stale: bool) {
        let id = joint.id();
        let request = authenticate(&world().rules, UnverifiedJoint::from(joint.clone())).expect("a sound request");
        let answer = self.ask(&request, stale);
        if let Some(known) = self.model.accepted.get(&id) {
            let record = answer.expect("the same request gets the same reply").expect_err("nothing is written again");
            assert_eq!((record.id(), record.state), (id, known.state));
            return self.count("replay");
        }
        let reasons = self.model.reasons(&joint);
        match answer {
            Ok(Ok(())) => {
                assert!(reasons.is_empty(), "accepted in spite of {reasons:?}");
                self.model.accept(&joint);
                self.count(if joint.condition.is_some() { "locked" } else { "done" });
            }
            Ok(Err(record)) => panic!("a replay of {:?}, which was never accepted", record.id()),
            Err(refusal) => {
                assert!(reasons.contains(refusal.code()), "refused as {}, the model says {reasons:?}", refusal.code());
                self.check_evidence(&refusal, &joint);
                self.count(match refusal {
                    Refusal::PartSpent { .. } => "spent part",
                    Refusal::PartLocked { .. } => "locked part",
                    _ => refusal.code(),
                });
            }
        }
    }

    /// The uses that a refusal shows leave less on one of the request's tokens than it wants.
    fn check_evidence(&self, refusal: &Refusal, joint: &Exchange) {
        let (Refusal::PartSpent { left, uses } | Refusal::PartLocked { left, uses }) = refusal else { return };
        let proven = |input: &Input| {
            let Input::Token { token, part: Some(part), .. } = input else { return false };
            let value = world().rules.brands[&Digest(*token.key_id())].brand().denomination.micros();
            let taken: u64 = uses.iter().filter_map(|record| part_of(&record.exchange, token)).sum();
            value - taken == left.micros() && left < part
        };
        assert!(joint.inputs.iter().any(proven), "{refusal:?}");
    }

    fn decide(&mut self, index: usize, say: Say, stale: bool) {
        let purchases: Vec<_> = self.model.accepted.values().filter(|a| a.joint.condition.is_some()).collect();
        let Some(accepted) = pick(&purchases, index) else { return };
        let id = accepted.joint.id();
        let header = Header::of(&accepted.joint, id).expect("a purchase");
        let log = (0..2).find(|log| log_key(*log).public() == header.log).expect("a known log");
        let wrong = Outcome::Commit { k: [0; 32] };
        let (log_used, decision) = match say {
            Say::Commit => (log, commit(&header)),
            Say::Abort => (log, abort(&header)),
            Say::WrongKey => (log, LogDecision { outcome: wrong, ..commit(&header) }),
            Say::LateCommit => (log, LogDecision { time: header.expiry, ..commit(&header) }),
            Say::EarlyAbort => (log, LogDecision { time: Timestamp(header.expiry.0 - 1), ..abort(&header) }),
            Say::OtherLog => (1 - log, commit(&header)),
            Say::Stranger => (2, commit(&header)),
            Say::OtherHeader => (log, commit(&Header { n: [0xee; 16], ..header.clone() })),
        };
        let proven = match authenticate_decision(&world().rules, prove(log_used, decision.clone())) {
            Ok(request) => request,
            Err(refusal) => {
                assert_eq!((refusal.code(), log_used), ("unknown_log", 2));
                return self.count("unknown_log (decision)");
            }
        };
        let answer = self.ask(&proven, stale);
        let expected = self.model.settle(&id, &decision, log_used == log);
        match (answer, expected) {
            (Ok(Ok(())), None) => self.count(if decision.key().is_some() { "committed" } else { "aborted" }),
            (Ok(Err(record)), Some("replay")) => assert_eq!(record.state, self.model.accepted[&id].state),
            (Err(refusal), Some(code)) => {
                assert_eq!(refusal.code(), code);
                self.count(refusal.code());
            }
            (answer, expected) => panic!("{answer:?}, the model says {expected:?}"),
        }
    }

    /// Decides and writes. A stale view is that of the step before, as in a batch of requests: a plan made on it must be
    /// written only if it still holds, else the request is decided once more.
    fn ask(&mut self, request: &Request, stale: bool) -> Result<Result<(), Arc<Record>>, Refusal> {
        let (rules, now) = (&world().rules, Timestamp(self.model.now));
        let on = |books: &Books| decide(rules, &books.view(&request.needs()), request, now);
        if stale && let Ok(Decided::Write(plan)) = on(&self.before) {
            if self.books.write(&plan).is_ok() {
                return Ok(Ok(()));
            }
            self.count("lost");
        }
        match on(&self.books)? {
            Decided::Replay(record) => Ok(Err(record)),
            Decided::Write(plan) => {
                self.write(&plan);
                Ok(Ok(()))
            }
            Decided::Nothing => panic!("an exchange is something"),
        }
    }

    fn write(&mut self, plan: &Plan) {
        self.books.write(plan).expect("a plan made on a fresh view is written");
    }

    /// After every step: the books agree among themselves, with the model, and no money came or went.
    fn check(&mut self) {
        let report = self.books.audit(&world().rules).expect("the books agree");
        assert_eq!(report.came_in, units(self.model.came_in));
        let owed = Amount::checked_sum([report.accounts, report.tokens, report.locked]).expect("a sum");
        assert_eq!(owed, report.came_in, "money was made or lost");
        self.check_marks();
        let balances: BTreeMap<_, _> = self.model.accounts.iter().map(|(key, held)| (*key, units(*held))).collect();
        assert_eq!(self.books.balances, balances);
        let states = |id: &RequestId| self.books.records[id].state;
        assert!(self.model.accepted.iter().all(|(id, accepted)| states(id) == accepted.state));
        assert_eq!(self.books.records.len(), self.model.accepted.len());
    }

    /// The marks of whole tokens, orders and offers are exactly the model's. A token that was ever used in parts has its
    /// mark taken by one of the uses; each live use has a mark of its own.
    fn check_marks(&self) {
        let mut marks = self.books.marks.clone();
        let tokens = || world().tokens.iter().map(|coined| &coined.token);
        for token in tokens() {
            let used = || self.model.accepted.values().filter(|accepted| part_of(&accepted.joint, token).is_some());
            let live = || used().filter(|accepted| accepted.state != State::Aborted);
            let mark = token_mark(token).key;
            let taken: u64 = live().filter_map(|accepted| part_of(&accepted.joint, token)).sum();
            let value = world().rules.brands[&Digest(*token.key_id())].brand().denomination.micros();
            let remainder = used().next().map(|_| (value - taken, live().count()));
            let stored = self.books.remainders.get(&mark).map(|r| (r.left.micros(), usize::from(r.uses)));
            assert_eq!(stored, remainder);
            if remainder.is_some() {
                let opener = marks.remove(&mark).expect("an opened token has its mark taken");
                assert!(used().any(|accepted| accepted.joint.id() == opener));
                let places = (0..MAX_PARTS).filter_map(|place| marks.remove(&part_mark(&mark, place).key));
                let holders: BTreeSet<_> = places.collect();
                assert_eq!(holders, live().map(|accepted| accepted.joint.id()).collect());
            }
        }
        assert_eq!(marks, self.model.marks());
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }
}

fn pick<T>(all: &[T], index: usize) -> Option<&T> {
    (!all.is_empty()).then(|| &all[index % all.len()])
}

/// A world in which there is something to do: accounts are open and hold money, the first tokens are out.
fn started() -> Vec<Op> {
    let open = (0..ACCOUNTS).map(Op::Open);
    let pay_in = |(index, amount)| Op::PayIn { account: index, amount, reference: 100 + index as u8 };
    let withdraw = |(index, tokens): (usize, Vec<usize>)| Op::Withdraw { account: index, order: 100, tokens };
    let tokens = [(0..TOKENS).collect(), (TOKENS..TOKENS + 6).collect()];
    let money = [(0, TOKENS as u64), (1, 30)];
    open.chain(money.into_iter().map(pay_in)).chain(tokens.into_iter().enumerate().map(withdraw)).collect()
}

fn run(ops: &[(Op, bool)], start: &[Op]) -> Run {
    let mut run = Run::default();
    start.iter().for_each(|op| run.step(op, false));
    ops.iter().for_each(|(op, stale)| run.step(op, *stale));
    run
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_bank_does_what_the_model_says(ops in proptest::collection::vec((op(), any::<bool>()), 1..60)) {
        run(&ops, &started());
    }

    #[test]
    fn also_from_nothing(ops in proptest::collection::vec((op(), any::<bool>()), 1..40)) {
        run(&ops, &[]);
    }
}

/// The generated operations reach everything that they are there for.
#[test]
fn the_operations_reach_every_case() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let (mut runner, mut seen) = (TestRunner::deterministic(), BTreeMap::new());
    let ops = proptest::collection::vec((op(), any::<bool>()), 80);
    for round in 0..200 {
        let ops = ops.new_tree(&mut runner).expect("a value").current();
        let start = if round % 4 == 0 { Vec::new() } else { started() };
        for (what, count) in run(&ops, &start).seen {
            *seen.entry(what).or_default() += count;
        }
    }
    for what in [
        "done",
        "locked",
        "committed",
        "aborted",
        "replay",
        "lost",
        "spent",
        "locked part",
        "spent part",
        "in_parts",
        "order_used",
        "offer_taken",
        "unknown_account",
        "insufficient_funds",
        "brand_closed",
        "brand_not_issuing",
        "unknown_log",
        "expiry_too_soon",
        "expiry_too_late",
        "key_mismatch",
        "decision_misfit",
        "log_contradiction",
        "unknown_log (decision)",
    ] {
        assert!(seen.get(what).is_some_and(|count: &u64| *count >= 5), "{what} is too rare in {seen:?}");
    }
}
