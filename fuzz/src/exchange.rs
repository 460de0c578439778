//! Lists of operations on a bank: whatever customers, shops and logs send it, in whatever order and with its process
//! killed in between, the books agree, no token is given up twice, and a repeated request gets the same answer.

use std::collections::BTreeMap;

use naulon_bank::{Bank, MemoryStore};
use naulon_durable::fault::{Faults, When};
use naulon_exchange::{Condition, Exchange, Header, Input, Outcome, Output, State};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, Signed, Timestamp};
use naulon_wire::{BankCall, BankReply, Call, ExchangeReply, HttpRequest};

use crate::bank_world::{self as world, Blind, Coin, FIVE, K, NOW, OLD_ONE, ONE, TWO, TestLog};
use crate::bytes_source::BytesSource;

/// More than that only repeats itself.
const MAX_OPERATIONS: usize = 24;
/// Steps of the clock in seconds: within a lock, beyond it, into the next period, beyond a brand's end.
const STEPS: [u64; 6] = [1, 60, 900, 86_400, 40 * 86_400, 100 * 86_400];

/// The list that these bytes decide.
pub fn operations(bytes: &[u8]) {
    let mut play = Play::new();
    let mut source = BytesSource::new(bytes);
    for _ in 0..MAX_OPERATIONS {
        if source.is_empty() {
            break;
        }
        play.operate(&mut source);
    }
    play.conclude();
}

struct Play {
    store: MemoryStore,
    bank: Bank<MemoryStore>,
    now: Timestamp,
    coins: Vec<Coin>,
    headers: Vec<Signed<Header>>,
    /// What was sent as HTTP, with the answer if there was one.
    sent: Vec<(HttpRequest, Option<ExchangeReply>)>,
    /// For each token's nonce how much of it each request has that was not aborted.
    given_up: BTreeMap<[u8; 32], BTreeMap<Digest, Amount>>,
    next: u32,
}

impl Play {
    fn new() -> Self {
        let store = MemoryStore::new(Faults::none());
        let bank = world::furnished(store.clone());
        let (coins, headers, sent) = (Vec::new(), Vec::new(), Vec::new());
        Play { store, bank, now: NOW, coins, headers, sent, given_up: BTreeMap::new(), next: 0 }
    }

    fn operate(&mut self, source: &mut BytesSource<'_>) {
        match source.below(10) {
            0 | 1 => self.withdraw(source),
            2 => self.exchange(source),
            3 => self.deposit(source),
            4 | 5 => self.lock(source),
            6 => self.settle(source),
            7 => self.repeat(source),
            8 => self.now = self.now.plus(Duration::seconds(source.of(&STEPS))),
            _ => self.kill(source),
        }
    }

    fn withdraw(&mut self, source: &mut BytesSource<'_>) {
        let blinds = self.blinds(source);
        let value = self.value(source, sum(&blinds));
        // Numbers of orders are few, so that some are used again.
        let order = source.below(12) as u8;
        let outputs = blinds.iter().map(Blind::output).collect();
        self.send(world::order(&world::key("alice"), value, order, outputs), &blinds);
    }

    fn exchange(&mut self, source: &mut BytesSource<'_>) {
        let given = self.some_coins(source);
        let blinds = self.blinds(source);
        let exchange = world::exchange(self.inputs(source, &given), blinds.iter().map(Blind::output).collect());
        let call = world::call(exchange, given.iter().map(|place| &self.coins[*place].q));
        self.send(call, &blinds);
    }

    fn deposit(&mut self, source: &mut BytesSource<'_>) {
        let given = self.some_coins(source);
        let value = Amount::checked_sum(given.iter().map(|place| world::value_of(&self.coins[*place].token)));
        let value = self.value(source, value.expect("countable"));
        let account = world::key(source.of(&["alice", "shop", "nobody"])).public();
        let exchange = world::exchange(self.inputs(source, &given), vec![Output::Account { account, amount: value }]);
        let call = world::call(exchange, given.iter().map(|place| &self.coins[*place].q));
        self.send(call, &[]);
    }

    fn lock(&mut self, source: &mut BytesSource<'_>) {
        let given = self.some_coins(source);
        let blinds = self.blinds(source);
        let price = self.value(source, world::amount("1"));
        let condition = Condition {
            entry: naulon_exchange::Entry::Plain,
            carrier: naulon_exchange::Carrier::Wallet,
            expiry: self.now.plus(Duration::seconds(source.of(&[600, 60, 10, 86_400, 200 * 86_400]))),
            // Sales are few, so that some are offered twice.
            ..world::condition(source.below(6) as u8)
        };
        let merchant = Output::Account { account: condition.merchant, amount: price };
        let outputs = std::iter::once(merchant).chain(blinds.iter().map(Blind::output)).collect();
        let exchange = Exchange { condition: Some(condition), ..world::exchange(self.inputs(source, &given), outputs) };
        let call = world::call(exchange, given.iter().map(|place| &self.coins[*place].q));
        self.send(call, &blinds);
    }

    fn settle(&mut self, source: &mut BytesSource<'_>) {
        if self.headers.is_empty() {
            return;
        }
        let header = &self.headers[source.below(self.headers.len())];
        let before = source.of(&[1, 0]);
        let time = Timestamp(header.expiry.0.saturating_sub(before));
        let outcome = source.of(&[Outcome::Commit { k: K }, Outcome::Commit { k: [1; 32] }, Outcome::Abort]);
        let log = TestLog::named(source.of(&["log", "log", "another log"]));
        let call = world::settle(&log.decide(header, time, outcome));
        self.send(call, &[]);
    }

    /// The same bytes again, or with one bit flipped.
    fn repeat(&mut self, source: &mut BytesSource<'_>) {
        if self.sent.is_empty() {
            return;
        }
        let (mut http, earlier) = self.sent[source.below(self.sent.len())].clone();
        if source.flag() {
            let place = source.number() as usize % http.body.len().max(1);
            if let Some(byte) = http.body.get_mut(place) {
                *byte ^= 1 << source.below(8);
            }
            // Whatever it is now, the books are looked at in the end.
            if let Ok(call) = BankCall::from_http(&http) {
                let _ = self.bank.handle(call, self.now);
            }
            return;
        }
        let call = BankCall::from_http(&http).expect("it was understood before");
        if let (Some(earlier), Ok(BankReply::Exchange(reply))) = (earlier, self.bank.handle(call, self.now)) {
            assert_eq!(reply.request, earlier.request);
            if earlier.state == reply.state {
                assert_eq!(BankCall::reply_to_http(BankReply::Exchange(reply)).body, body(earlier));
            }
        }
    }

    /// Kills the bank, now or at its next write, and starts it again over what it had written.
    fn kill(&mut self, source: &mut BytesSource<'_>) {
        if source.flag() {
            let when = source.of(&[When::Before, When::After]);
            self.store.faults().plan(1, when);
            self.withdraw(source);
        }
        self.store.faults().restart();
        self.bank = world::open(self.store.clone());
    }

    fn send(&mut self, call: BankCall, blinds: &[Blind]) {
        let http = call.to_http();
        let given: Vec<([u8; 32], Amount, Amount)> = match &call {
            BankCall::Exchange(joint) => tokens_of(joint.claimed_body()),
            _ => Vec::new(),
        };
        let answer = self.bank.handle(call, self.now);
        let reply = match answer {
            Ok(BankReply::Exchange(reply)) => Some(*reply),
            _ => None,
        };
        if let Some(reply) = &reply {
            self.note(reply, &given, blinds);
        }
        self.sent.push((http, reply));
    }

    fn note(&mut self, reply: &ExchangeReply, given: &[([u8; 32], Amount, Amount)], blinds: &[Blind]) {
        if reply.state == State::Aborted {
            for holders in self.given_up.values_mut() {
                holders.remove(&reply.request);
            }
        } else {
            for (nonce, amount, value) in given {
                let holders = self.given_up.entry(*nonce).or_default();
                holders.insert(reply.request, *amount);
                let sum = Amount::checked_sum(holders.values().copied()).expect("countable");
                assert!(sum <= *value, "{sum} of a token of {value} was given up");
            }
        }
        if let Some(header) = &reply.header {
            let header = header.clone().verify(&world::key("bank").public()).expect("the bank's header");
            if reply.state == State::Locked && self.headers.iter().all(|known| known.a != header.a) {
                self.headers.push(header);
            }
        }
        if blinds.len() == reply.signatures.len() {
            self.coins.extend(blinds.iter().zip(&reply.signatures).map(|(blind, signature)| blind.coin(signature)));
        }
    }

    fn conclude(mut self) {
        if self.store.faults().is_crashed() {
            self.store.faults().restart();
            self.bank = world::open(self.store.clone());
        }
        if let Err(error) = self.bank.audit() {
            panic!("the books do not agree: {error:?}");
        }
    }

    /// Up to three wanted tokens. The brands of other periods are among them.
    fn blinds(&mut self, source: &mut BytesSource<'_>) -> Vec<Blind> {
        let count = source.below(4);
        (0..count)
            .map(|_| {
                self.next += 1;
                Blind::new(source.of(&[ONE, TWO, FIVE, ONE, TWO, OLD_ONE]), 1_000_000 + self.next)
            })
            .collect()
    }

    fn some_coins(&self, source: &mut BytesSource<'_>) -> Vec<usize> {
        if self.coins.is_empty() {
            return Vec::new();
        }
        (0..1 + source.below(3)).map(|_| source.below(self.coins.len())).collect()
    }

    /// These tokens whole, or parts of them.
    fn inputs(&self, source: &mut BytesSource<'_>, given: &[usize]) -> Vec<Input> {
        let input = |place: &usize| {
            let token = self.coins[*place].token;
            let part = source.of(&[None, None, Some("1"), Some("0.5"), Some("2"), Some("5")]).map(world::amount);
            Input::Token { token, key: None, part }
        };
        given.iter().map(input).collect()
    }

    /// The right value, mostly.
    fn value(&self, source: &mut BytesSource<'_>, right: Amount) -> Amount {
        let other = [right, right, right, world::amount("3"), world::amount("0.5"), Amount::ZERO, Amount::MAX];
        source.of(&other)
    }
}

fn sum(blinds: &[Blind]) -> Amount {
    Amount::checked_sum(blinds.iter().map(|blind| world::brand(blind.which).brand().denomination)).expect("countable")
}

fn body(reply: ExchangeReply) -> bytes::Bytes {
    BankCall::reply_to_http(BankReply::Exchange(Box::new(reply))).body
}

/// Nonce, amount given up and value of each token.
fn tokens_of(exchange: &Exchange) -> Vec<([u8; 32], Amount, Amount)> {
    let given = |input: &Input| match input {
        Input::Token { token, part, .. } => {
            let value = world::value_of(token);
            Some((*token.nonce(), part.unwrap_or(value), value))
        }
        _ => None,
    };
    exchange.inputs.iter().filter_map(given).collect()
}
