//! A bank forgets what nobody needs any more (AAT §5), on every kind of store.

#![allow(clippy::panic)] // In what the tests share; they may.

mod cluster;
mod world;

use naulon_bank::{Bank, BankStore, MemoryStore, PostgresStore, SqliteStore};
use naulon_durable::fault::{Faults, When};
use naulon_exchange::{Outcome, Retention, State};
use naulon_statement::{Duration, Timestamp};
use naulon_wire::{BankCall, BankReply};
use world::*;

const KEPT: Retention = Retention { brands: Duration::days(10), claims: Duration::days(5) };

/// Sums up the days before, as a running bank does.
fn close<S: BankStore>(bank: &mut Bank<S>, now: Timestamp) {
    while bank.close_days(now).expect("closes") {}
}

/// Goes through all requests.
fn forget<S: BankStore>(bank: &mut Bank<S>, now: Timestamp) -> usize {
    close(bank, now);
    (0..20).map(|_| bank.forget(&KEPT, now, 3).expect("forgets")).sum()
}

/// When the brands that are issued now are forgotten.
fn end() -> Timestamp {
    brand(ONE).brand().redeem_until.plus(KEPT.brands)
}

fn a_brand_closes_is_forgotten_and_never_opens_again<S: BankStore>(store: S, reopen: impl Fn() -> S) {
    let mut bank = furnished(store);
    let coins = withdraw(&mut bank, 1, &[ONE, ONE, TWO, FIVE, ONE]);
    let deposited = || deposit(&[&coins[0]], &key("alice"));
    let paid = ask_exchange(&mut bank, deposited()).expect("deposited");
    let locked = ask_exchange(&mut bank, lock(&[&coins[1]], amount("1"), &[], condition(1))).expect("locked");
    let commit = TestLog::default().decide(&header(&locked), NOW, Outcome::Commit { k: K });
    ask(&mut bank, settle(&commit)).expect("settled");
    let lost = ask_exchange(&mut bank, lock(&[&coins[2]], amount("2"), &[], condition(2))).expect("locked");
    let abort = TestLog::default().decide(&header(&lost), condition(2).expiry, Outcome::Abort);
    ask(&mut bank, settle(&abort)).expect("settled");
    let open = ask_exchange(&mut bank, lock(&[&coins[3]], amount("5"), &[], condition(3))).expect("locked");
    let before = bank.audit().expect("the books agree");

    // The claims on an abort end first; a commit, and what is spent, is kept.
    let claims_end = condition(2).expiry.plus(KEPT.claims);
    assert_eq!(forget(&mut bank, Timestamp(claims_end.0 - 1)), 0);
    assert!(bank.store().record(&lost.request).expect("reads").is_some());
    assert_eq!(forget(&mut bank, claims_end), 1);
    let late = bank.handle(settle(&abort), claims_end).expect_err("is forgotten");
    assert_eq!(late.code, "unknown_purchase");
    let spent = bank.handle(deposit(&[&coins[0]], &key("shop")), claims_end).expect_err("is spent");
    assert_eq!((spent.code.as_str(), spent.record().is_some()), ("spent", true));
    let Ok(BankReply::Exchange(status)) = bank.handle(BankCall::Status(locked.request), claims_end) else { panic!() };
    assert_eq!(status.state, State::Committed, "with k, for the buyer who asks");
    assert!(status.decision.is_some());
    bank.handle(deposit(&[&coins[2]], &key("alice")), claims_end).expect("what was aborted is free");
    let same = |bank: &mut Bank<S>| {
        let after = bank.audit().expect("the books agree");
        assert_eq!((after.came_in, after.locked), (before.came_in, before.locked));
        assert_eq!(after.tokens.micros() + after.accounts.micros(), before.tokens.micros() + before.accounts.micros());
        after
    };
    same(&mut bank);

    // Then the brands close, and some time later they are forgotten: not a moment before.
    assert_eq!(forget(&mut bank, Timestamp(end().0 - 1)), 0);
    let replayed = bank.handle(deposited(), Timestamp(end().0 - 1)).expect("the same request gets the same reply");
    assert!(matches!(replayed, BankReply::Exchange(reply) if reply.request == paid.request));
    let gone = forget(&mut bank, end());
    assert_eq!(gone, 3, "two deposits and the purchase; not what is locked, nor the account's own orders");
    assert!(bank.store().record(&open.request).expect("reads").is_some(), "what is locked is never forgotten");
    let report = same(&mut bank);
    assert_eq!(report.records, 3);

    // For ever: also by a bank whose clock has gone back to where the token could be spent.
    drop(bank);
    let mut bank = world::open(reopen());
    for now in [NOW, end()] {
        for call in [deposited(), deposit(&[&coins[4]], &key("alice"))] {
            let refused = bank.handle(call, now).expect_err("is closed");
            assert_eq!((refused.code.as_str(), refused.status), ("brand_closed", 410));
        }
        assert_eq!(bank.handle(withdrawal(2), now).expect_err("is closed").code, "brand_not_issuing");
    }
    // An account's order is used once, for ever: also for other outputs.
    let reused = bank.handle(withdrawal(1), NOW).expect_err("is used or closed");
    assert!(["order_used", "brand_not_issuing"].contains(&reused.code.as_str()), "{}", reused.code);
    assert!(bank.store().record(&paid.request).expect("reads").is_none());
    // The log's decision on what is locked still comes through.
    let commit = TestLog::default().decide(&header(&open), NOW, Outcome::Commit { k: K });
    ask(&mut bank, settle(&commit)).expect("settled");
    let report = bank.audit().expect("the books agree");
    assert_eq!((report.locked, report.tokens), (amount("0"), amount("1")), "what was never redeemed is still owed");
    assert_eq!(forget(&mut bank, end()), 0, "its day is not summed up yet");
    assert_eq!(forget(&mut bank, end().plus(Duration::days(1))), 1);
    bank.audit().expect("the books agree");
}

/// An order of an account for tokens of a brand that is issued now.
fn withdrawal(number: u8) -> BankCall {
    order(&key("alice"), amount("1"), number, vec![Blind::new(ONE, 9_000).output()])
}

#[test]
fn memory() {
    let store = MemoryStore::new(Faults::none());
    let again = store.clone();
    a_brand_closes_is_forgotten_and_never_opens_again(store, || again.clone());
}

#[test]
fn sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || SqliteStore::open(&directory.path().join("bank.sqlite")).expect("opens");
    a_brand_closes_is_forgotten_and_never_opens_again(open(), open);
}

#[test]
fn postgres() {
    let url = cluster::database();
    let open = || PostgresStore::open(&url).expect("opens");
    a_brand_closes_is_forgotten_and_never_opens_again(open(), open);
}

/// A crash at either write leaves the time kept before anything is gone.
#[test]
fn a_crash_never_leaves_a_forgotten_brand_open() {
    for (nth, when) in [(1, When::Before), (1, When::After), (2, When::Before), (2, When::After)] {
        let store = MemoryStore::new(Faults::none());
        let mut bank = furnished(store.clone());
        let coins = withdraw(&mut bank, 1, &[ONE]);
        ask(&mut bank, deposit(&[&coins[0]], &key("alice"))).expect("deposited");
        close(&mut bank, end());
        let later = end().plus(Duration::seconds(1));
        store.faults().plan(nth, when);
        assert!(bank.forget(&KEPT, later, 100).is_err());
        store.faults().restart();
        let mut bank = world::open(store.clone());
        let is_kept = store.clone().latest_time().expect("reads") >= brand(ONE).brand().redeem_until;
        let refused = bank.handle(deposit(&[&coins[0]], &key("shop")), NOW).expect_err("is spent, or closed");
        assert!(
            refused.code == "spent" || is_kept && refused.code == "brand_closed",
            "{nth} {when:?}: {}",
            refused.code
        );
        bank.audit().expect("the books agree");
    }
}
