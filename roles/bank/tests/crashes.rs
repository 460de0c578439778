//! The process dies before or after each of its writes, is started again, and is asked again: the replies are the same
//! bytes, and the money is all there.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use naulon_bank::{Bank, BankStore, MemoryStore};
use naulon_durable::fault::{Faults, When};
use naulon_exchange::{AuditReport, Condition, Outcome};
use naulon_statement::{Duration, Timestamp};
use naulon_wire::{BankCall, BankReply, ExchangeReply};
use world::*;

/// A bank that is started again whenever it has died, and what it has answered.
struct World {
    store: MemoryStore,
    bank: Option<Bank<MemoryStore>>,
    answers: Vec<Vec<u8>>,
    deaths: usize,
}

impl World {
    fn new(faults: Faults) -> Self {
        World { store: MemoryStore::new(faults), bank: None, answers: Vec::new(), deaths: 0 }
    }

    fn running(&mut self) -> Bank<MemoryStore> {
        loop {
            match self.bank.take().map_or_else(|| Bank::open(keys(), rules(), signatory(), self.store.clone()), Ok) {
                Ok(bank) => return bank,
                Err(_) => self.restart(),
            }
        }
    }

    fn restart(&mut self) {
        assert!(self.store.faults().is_crashed(), "it died for another reason");
        self.store.faults().restart();
        self.deaths += 1;
    }

    /// Asks until there is an answer, as a wallet does; whether it is a reply or a refusal, it is written down.
    fn ask(&mut self, now: Timestamp, call: impl Fn() -> BankCall) -> Option<BankReply> {
        loop {
            let mut bank = self.running();
            match bank.handle(call(), now) {
                Err(problem) if problem.code == "unavailable" => self.restart(),
                Err(problem) => {
                    self.answers.push(format!("{problem:?}").into_bytes());
                    self.bank = Some(bank);
                    return None;
                }
                Ok(reply) => {
                    self.answers.push(bytes(reply));
                    self.bank = Some(bank);
                    // The caller has lost it and asks again: a replay.
                    return self.bank.as_mut().and_then(|bank| bank.handle(call(), now).ok());
                }
            }
        }
    }

    fn exchange(&mut self, now: Timestamp, call: impl Fn() -> BankCall) -> ExchangeReply {
        match self.ask(now, call) {
            Some(BankReply::Exchange(reply)) => *reply,
            other => panic!("not the reply of an exchange: {other:?}"),
        }
    }
}

/// Everything that makes a bank write: opening, brands, accounts, credit, withdrawal, exchange, lock, commit, lock,
/// abort, a refusal that rests on the clock, evidence against a log, and the use of what the abort has freed.
fn a_life(world: &mut World) {
    let [alice, shop] = [key("alice"), key("shop")];
    world.ask(NOW, || open_account(&alice));
    world.ask(NOW, || open_account(&shop));
    world.ask(NOW, || credit(&alice, amount("100"), 1));
    let blinds: Vec<Blind> = [FIVE, ONE, ONE].into_iter().zip(1..).map(|(which, n)| Blind::new(which, n)).collect();
    let outputs = || blinds.iter().map(Blind::output).collect();
    let reply = world.exchange(NOW, || order(&alice, amount("7"), 1, outputs()));
    let coins: Vec<Coin> = blinds.iter().zip(&reply.signatures).map(|(blind, s)| blind.coin(s)).collect();
    let fresh = Blind::new(ONE, 10);
    let reply = world.exchange(NOW, || call(exchange(vec![coins[1].input()], vec![fresh.output()]), [&coins[1].q]));
    let fresh = fresh.coin(&reply.signatures[0]);

    let log = TestLog::default();
    let change = Blind::new(TWO, 11);
    let locked = world.exchange(NOW, || lock(&[&coins[0], &fresh], amount("4"), &[&change], condition(1)));
    let commit = log.decide(&header(&locked), NOW, Outcome::Commit { k: K });
    let settled = world.exchange(NOW, || settle(&commit));
    let two = change.coin(&settled.signatures[0]);
    world.ask(NOW, || settle(&log.decide(&header(&locked), condition(1).expiry, Outcome::Abort)));

    let locked = world.exchange(NOW, || lock(&[&two], amount("2"), &[], condition(2)));
    let late = condition(2).expiry;
    world.ask(late, || lock(&[&coins[2]], amount("1"), &[], condition(3)));
    let abort = log.decide(&header(&locked), late, Outcome::Abort);
    world.exchange(late, || settle(&abort));
    let later = Condition { expiry: late.plus(Duration::seconds(600)), ..condition(2) };
    world.exchange(late, || lock(&[&two], amount("2"), &[], later.clone()));
    world.ask(late, || deposit(&[&coins[2]], &alice));
}

fn report(world: &mut World) -> AuditReport {
    world.running().audit().expect("the books agree")
}

#[test]
fn a_crash_at_any_write_changes_no_reply_and_loses_no_money() {
    let mut calm = World::new(Faults::none());
    a_life(&mut calm);
    let (writes, expected) = (calm.store.faults().writes(), report(&mut calm));
    assert_eq!((expected.came_in, expected.accounts, expected.locked), (amount("100"), amount("98"), amount("2")));
    // The table of fees, 5 brands and then their entries in the register, 2 accounts, credit, withdrawal, exchange, 3 locks, 2 settlements, evidence, the clock, deposit.
    assert_eq!(writes, 20);
    for nth in 1..=writes {
        for when in [When::Before, When::After] {
            let mut world = World::new(Faults::crash_at(nth, when));
            a_life(&mut world);
            assert_eq!(world.deaths, 1, "write {nth} {when:?}");
            assert_eq!(world.answers, calm.answers, "write {nth} {when:?}");
            assert_eq!(report(&mut world), expected, "write {nth} {when:?}");
            assert!(world.store.has_same_books(&calm.store), "write {nth} {when:?}");
            let kept = |store: &MemoryStore| store.clone().log_faults().expect("reads");
            assert_eq!(kept(&world.store), kept(&calm.store), "write {nth} {when:?}");
        }
    }
}
