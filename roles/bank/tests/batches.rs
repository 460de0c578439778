//! Calls that share a transaction.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use naulon_bank::{Applied, Bank, BankStore, MemoryStore, SqliteStore};
use naulon_durable::fault::{Faults, When};
use naulon_exchange::Outcome;
use naulon_wire::{BankCall, Problem};
use world::*;

fn apply<S: BankStore>(bank: &mut Bank<S>, calls: Vec<BankCall>) -> Vec<Result<Applied, Problem>> {
    let calls: Vec<_> = calls.into_iter().map(|call| bank.authenticate(call, NOW).expect("is sound")).collect();
    bank.apply(&calls, NOW)
}

/// "ok" or the code of each.
fn codes(applied: &[Result<Applied, Problem>]) -> Vec<&str> {
    applied.iter().map(|applied| applied.as_ref().map_or_else(|problem| problem.code.as_str(), |_| "ok")).collect()
}

fn conflicts_in_one_batch_are_told_apart<S: BankStore>(store: S) {
    let mut bank = furnished(store);
    let coins = withdraw(&mut bank, 1, &[ONE, ONE, ONE]);
    let [one, two, three] = &coins[..] else { panic!("three tokens") };
    let alice = key("alice");

    // The same token to two accounts, and the first request a second time: one wins, its double is a replay.
    let applied = apply(
        &mut bank,
        vec![
            deposit(&[one], &alice),
            deposit(&[two, one], &key("shop")),
            deposit(&[one], &alice),
            deposit(&[three], &alice),
            open_account(&key("bob")),
            BankCall::Status(naulon_statement::Digest([1; 32])),
        ],
    );
    let found = codes(&applied);
    assert_eq!(found[3..], ["ok", "ok", "unknown_purchase"]);
    assert!([["ok", "spent", "ok"], ["spent", "ok", "spent"]].contains(&[found[0], found[1], found[2]]), "{found:?}");
    let loser = applied[..3].iter().find_map(|applied| applied.as_ref().err()).expect("one has lost");
    assert!(loser.record().is_some(), "spent comes with proof");
    // What the loser asked for beside it is free: the second token, if it was with the loser.
    let second = ask(&mut bank, deposit(&[two], &alice));
    assert_eq!(second.is_ok(), found[0] == "ok");

    // Orders that each fit but together overdraw; later ones that still fit go through.
    let before = bank.store().balance(&alice.public()).expect("reads").expect("is open");
    let amounts = [before, amount("1"), amount("1")];
    let to_shop = |value| vec![naulon_exchange::Output::Account { account: key("shop").public(), amount: value }];
    let orders = amounts.iter().zip(50..).map(|(value, n)| order(&alice, *value, n, to_shop(*value)));
    let applied = apply(&mut bank, orders.collect());
    assert_eq!(codes(&applied), ["ok", "insufficient_funds", "insufficient_funds"]);
    bank.audit().expect("the books agree");
}

#[test]
fn memory_conflicts_in_one_batch_are_told_apart() {
    conflicts_in_one_batch_are_told_apart(MemoryStore::new(Faults::none()));
}

#[test]
fn sqlite_conflicts_in_one_batch_are_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    conflicts_in_one_batch_are_told_apart(SqliteStore::open(&directory.path().join("bank")).expect("opens"));
}

/// Commit and abort of one purchase in one batch, by a log that says both: one is recorded, the other is evidence.
#[test]
fn of_two_decisions_in_one_batch_the_first_is_final() {
    let mut bank = furnished(MemoryStore::new(Faults::none()));
    let coins = withdraw(&mut bank, 1, &[ONE]);
    let locked = ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], condition(1))).expect("locked");
    let log = TestLog::default();
    let commit = log.decide(&header(&locked), NOW, Outcome::Commit { k: K });
    let abort = log.decide(&header(&locked), condition(1).expiry, Outcome::Abort);
    let applied = apply(&mut bank, vec![settle(&commit), settle(&abort), settle(&commit)]);
    assert_eq!(codes(&applied), ["ok", "log_contradiction", "ok"]);
    assert_eq!(bank.store().log_faults().expect("reads").len(), 1);
    assert_eq!(bank.store().balance(&key("shop").public()), Ok(Some(amount("1"))));
    bank.audit().expect("the books agree");
}

/// When the transaction fails, whoever wanted to write hears that nothing is known; whoever only reads is answered.
#[test]
fn a_failed_transaction_is_told_to_those_who_write_only() {
    let faults = Faults::none();
    let mut bank = furnished(MemoryStore::new(faults.clone()));
    let coins = withdraw(&mut bank, 1, &[ONE, ONE]);
    let known = ask_exchange(&mut bank, deposit(&[&coins[0]], &key("alice"))).expect("deposited").request;
    faults.plan(1, When::Before);
    let calls = vec![
        deposit(&[&coins[1]], &key("alice")),
        BankCall::Status(known),
        deposit(&[&coins[0]], &key("shop")),
        open_account(&key("bob")),
    ];
    let applied = apply(&mut bank, calls);
    assert_eq!(codes(&applied), ["unavailable", "ok", "spent", "unavailable"]);
    assert!(bank.broken().is_some());
    assert_eq!(codes(&apply(&mut bank, vec![BankCall::Status(known)])), ["unavailable"]);
}
