//! End to end through `Bank::handle`, with real tokens, over both stores.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use naulon_bank::{Bank, BankStore, MemoryStore, SqliteStore};
use naulon_durable::fault::Faults;
use naulon_exchange::{Outcome, State};
use naulon_statement::Duration;
use naulon_wire::{BankCall, BankReply};
use world::*;

/// Makes a call, and makes it again: that is a replay, and the reply has the same bytes.
fn twice<S: BankStore>(bank: &mut Bank<S>, call: impl Fn() -> BankCall) -> BankReply {
    let first = bytes(ask(bank, call()).expect("accepted"));
    let again = ask(bank, call()).expect("accepted again");
    assert_eq!(first, bytes(ask(bank, call()).expect("accepted once more")));
    again
}

fn replied(reply: BankReply) -> naulon_wire::ExchangeReply {
    match reply {
        BankReply::Exchange(reply) => *reply,
        other => panic!("not the reply of an exchange: {other:?}"),
    }
}

fn a_purchase_with_change_and_an_abort<S: BankStore>(store: S) {
    let mut bank = furnished(store);
    let [alice, shop] = [key("alice"), key("shop")];

    // Withdraw, unblind; a deposit, and an exchange for a fresh token.
    let coins = withdraw(&mut bank, 1, &[FIVE, FIVE, ONE, ONE]);
    let [five, other_five, one, spare] = &coins[..] else { panic!("four tokens") };
    assert_eq!(bank.store().balance(&alice.public()), Ok(Some(amount("88"))));
    twice(&mut bank, || deposit(&[spare], &alice));
    assert_eq!(bank.store().balance(&alice.public()), Ok(Some(amount("89"))));
    let fresh = Blind::new(ONE, 50);
    let reply = twice(&mut bank, || call(exchange(vec![one.input()], vec![fresh.output()]), [&one.q]));
    let one = fresh.coin(&replied(reply).signatures[0]);

    // Lock 5 + 1 for a price of 4, with 2 as change: nothing is delivered yet.
    let change = Blind::new(TWO, 51);
    let locking = || lock(&[five, &one], amount("4"), &[&change], condition(1));
    let locked = replied(twice(&mut bank, locking));
    assert_eq!((locked.state, locked.signatures.len()), (State::Locked, 0));
    let promise = locked.authorization_b.clone().expect("a promise").verify(&key("bank").public()).expect("signed");
    assert_eq!((promise.value, promise.header), (amount("4"), header(&locked).digest()));
    assert_eq!(bank.store().balance(&shop.public()), Ok(Some(amount("0"))));

    // The log commits: the shop is paid, the change is signed, and whoever asks for a again gets it too.
    let decision = TestLog::default().decide(&header(&locked), NOW, Outcome::Commit { k: K });
    let settled = replied(twice(&mut bank, || settle(&decision)));
    assert_eq!((settled.state, settled.signatures.len()), (State::Committed, 1));
    assert_eq!(bank.store().balance(&shop.public()), Ok(Some(amount("4"))));
    let by_request = replied(twice(&mut bank, locking));
    let by_id = replied(twice(&mut bank, || BankCall::Status(locked.request)));
    let public = bytes(BankReply::Exchange(Box::new(settled.clone())));
    assert_eq!(bytes(BankReply::Exchange(Box::new(by_id.clone()))), public);
    assert_eq!(bytes(ask(&mut bank, settle(&decision)).expect("again")), public);
    // The log publishes a. Who knows no more than that does not learn merchant, n and value (AAT table 1).
    assert!(by_id.header.is_none() && by_id.authorization_b.is_none());
    let private = naulon_wire::ExchangeReply {
        header: locked.header.clone(),
        authorization_b: locked.authorization_b.clone(),
        ..by_id
    };
    assert_eq!(bytes(BankReply::Exchange(Box::new(by_request))), bytes(BankReply::Exchange(Box::new(private))));
    let two = change.coin(&settled.signatures[0]);

    // The spent token comes with proof, the change can be spent, and its purchase can be aborted.
    let refused = ask(&mut bank, deposit(&[five], &alice)).expect_err("spent");
    assert_eq!(refused.code, "spent");
    let proof = refused.record().expect("the earlier record");
    assert_eq!((proof.exchange.id(), proof.state), (locked.request, State::Committed));
    assert!(proof.decision.is_some());

    let locked = replied(twice(&mut bank, || lock(&[&two, other_five], amount("7"), &[], condition(2))));
    let refused = ask(&mut bank, deposit(&[&two], &alice)).expect_err("locked");
    assert_eq!((refused.code.as_str(), refused.record().map(|r| r.exchange.id())), ("locked", Some(locked.request)));
    let time = condition(2).expiry;
    let decision = TestLog::default().decide(&header(&locked), time, Outcome::Abort);
    let aborted = replied(twice(&mut bank, || settle(&decision)));
    assert_eq!((aborted.state, aborted.signatures.len()), (State::Aborted, 0));
    assert!(aborted.header.is_none() && aborted.authorization_b.is_none() && aborted.decision.is_some());

    // After the abort tokens and offer are free; the aborted authorization stays aborted.
    let again = authorization_q(&[&two, other_five], amount("7"), &[], condition(2));
    let same = ask_exchange(&mut bank, call(again, [&two.q, &other_five.q])).expect("a replay");
    assert_eq!(same.state, State::Aborted);
    let later = naulon_exchange::Condition { expiry: NOW.plus(Duration::seconds(700)), ..condition(2) };
    let locked = ask_exchange(&mut bank, lock(&[&two], amount("2"), &[], later)).expect("the offer is free");
    assert_eq!(locked.state, State::Locked);
    ask(&mut bank, deposit(&[other_five], &alice)).expect("the token is free");

    let report = bank.audit().expect("the books agree");
    assert_eq!((report.came_in, report.locked), (amount("100"), amount("2")));
    assert_eq!((report.accounts, report.tokens), (amount("98"), amount("0")));
}

/// A Privacy Pass client is issued a token for an order: the same request gets the same bytes and is paid for once, and what
/// it has made of them can be spent.
#[test]
fn a_token_is_issued_for_an_order() {
    let mut bank = furnished(MemoryStore::new(Faults::none()));
    let alice = key("alice");
    let blind = Blind::new(FIVE, 60);
    let issue = || match order(&alice, amount("5"), 61, vec![blind.output()]) {
        BankCall::Exchange(exchange) => {
            BankCall::Issue(Box::new(naulon_wire::IssueOrder::new(exchange).expect("an order of one token")))
        }
        other => panic!("not an exchange: {other:?}"),
    };
    let BankReply::Issued(signature) = twice(&mut bank, issue) else { panic!("issued") };
    assert_eq!(bank.store().balance(&alice.public()), Ok(Some(amount("95"))));
    // Asked for as any exchange, it is the same one.
    let as_exchange = order(&alice, amount("5"), 61, vec![blind.output()]);
    assert_eq!(replied(ask(&mut bank, as_exchange).expect("a replay")).signatures, [signature]);
    ask(&mut bank, deposit(&[&blind.coin(&signature)], &alice)).expect("spends");
    let report = bank.audit().expect("the books agree");
    assert_eq!((report.accounts, report.tokens), (amount("100"), amount("0")));

    let BankReply::IssuerDirectory(directory) = twice(&mut bank, || BankCall::IssuerDirectory(brand_id(FIVE))) else {
        panic!("a directory")
    };
    assert_eq!((directory.key, directory.issue_from), (brand(FIVE).brand().key, brand(FIVE).brand().issue_from));
}

#[test]
fn memory_a_purchase_with_change_and_an_abort() {
    a_purchase_with_change_and_an_abort(MemoryStore::new(Faults::none()));
}

#[test]
fn sqlite_a_purchase_with_change_and_an_abort() {
    let directory = tempfile::tempdir().expect("a directory");
    a_purchase_with_change_and_an_abort(SqliteStore::open(&directory.path().join("bank")).expect("opens"));
}
