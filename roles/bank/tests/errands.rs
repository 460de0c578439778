//! What the bank does by itself: it carries promises to shops, and asks logs about locks whose time is over.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use naulon_bank::{Bank, BankStore, FIRST_PAUSE, GRACE, LONGEST_PAUSE, MemoryStore};
use naulon_durable::fault::{Faults, When};
use naulon_exchange::{
    AuthorizationB, Carrier, Condition, Entry, Header, LogKeeper, Outcome, OwnLog, RequestId, Rules, State,
};
use naulon_statement::{Duration, Signed, Timestamp};
use naulon_wire::{
    AnyCall, AnyReply, Ask, BankReply, CallError, Circuit, LogCall, LogReply, Problem, ShopCall, ShopReply,
};
use world::*;

fn memory() -> MemoryStore {
    MemoryStore::new(Faults::none())
}

/// A bank that knows where the shop is.
fn delivering<S: BankStore>(store: S) -> Bank<S> {
    let rules = Rules { deliveries: BTreeSet::from([key("shop").public()]), ..rules() };
    Bank::open(keys(), rules, signatory(), store).expect("the bank opens")
}

fn furnished_delivering(store: MemoryStore) -> Bank<MemoryStore> {
    drop(furnished(store.clone()));
    delivering(store)
}

/// The purchase of this n, whose promise the bank carries.
fn carried(n: u8) -> Condition {
    Condition { carrier: Carrier::Bank, ..condition(n) }
}

fn unreachable() -> Result<AnyReply, CallError> {
    Err(CallError::Unreachable("the shop".to_owned(), "it is down".to_owned()))
}

fn only(errands: Vec<(RequestId, Ask)>) -> (RequestId, Ask) {
    let [errand] = <[_; 1]>::try_from(errands).unwrap_or_else(|errands| panic!("{} errands", errands.len()));
    errand
}

/// Header and promise that are carried to the shop.
fn promise(ask: &Ask) -> (Signed<Header>, Signed<AuthorizationB>) {
    assert_eq!(ask.to, key("shop").public());
    assert_eq!(ask.circuit, Circuit::Identified(key("bank").public()));
    let AnyCall::Shop(ShopCall::Promise { header, authorization_b }) = &ask.call else { panic!("{ask:?}") };
    let bank = key("bank").public();
    let header = header.clone().verify(&bank).expect("the bank's header");
    (header, authorization_b.clone().verify(&bank).expect("the bank's promise"))
}

fn is_question_to_the_log(ask: &Ask) -> bool {
    ask.to == key("log").public() && matches!(ask.call, AnyCall::Log(LogCall::Abort { .. }))
}

fn decided(header: &Header, time: Timestamp, outcome: Outcome) -> Box<naulon_exchange::UnverifiedDecision> {
    Box::new((&TestLog::default().decide(header, time, outcome)).into())
}

fn state<S: BankStore>(bank: &mut Bank<S>, id: &RequestId) -> State {
    bank.store().record(id).expect("reads").expect("a record").state
}

/// What the shop gets is what the wallet would have brought, and the answer settles the purchase.
#[test]
fn a_promise_is_carried_to_the_shop_and_its_answer_settles() {
    let mut bank = furnished_delivering(memory());
    let coins = withdraw(&mut bank, 1, &[ONE]);
    let call = lock(&[&coins[0]], amount("1"), &[], carried(1));
    let reply = ask_exchange(&mut bank, call).expect("locked");
    assert!(bank.next_errand().is_some_and(|due| due <= NOW));
    let (id, asked) = only(bank.errands(NOW, 10).expect("reads"));
    assert_eq!(id, reply.request);
    let (header_sent, promise) = promise(&asked);
    assert_eq!(header_sent, header(&reply));
    assert_eq!(Some(promise.bytes()), reply.authorization_b.as_ref().map(|promise| promise.bytes()));
    // It is under way, so nothing else is sent.
    assert!(bank.errands(NOW, 10).expect("reads").is_empty());
    let commit = decided(&header_sent, NOW, Outcome::Commit { k: K });
    bank.errand_done(id, Ok(AnyReply::Shop(ShopReply::Decision(commit))), NOW).expect("settles");
    assert_eq!(state(&mut bank, &id), State::Committed);
    assert_eq!(bank.store().balance(&key("shop").public()), Ok(Some(amount("1"))));
    assert_eq!(bank.next_errand(), None);
    bank.audit().expect("the books agree");
}

/// A shop that is down is asked again and again, later each time, until the expiry; then the log is.
#[test]
fn a_shop_that_is_down_is_asked_again_until_the_time_is_over() {
    let mut bank = furnished_delivering(memory());
    let coins = withdraw(&mut bank, 1, &[ONE]);
    let expiry = carried(1).expiry;
    ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], carried(1))).expect("locked");
    let (mut tries, mut now, mut pauses) = (0, NOW, Vec::new());
    let (id, asked) = loop {
        let (id, asked) = only(bank.errands(now, 10).expect("reads"));
        if is_question_to_the_log(&asked) {
            break (id, asked);
        }
        promise(&asked);
        tries += 1;
        bank.errand_done(id, unreachable(), now).expect("is put off");
        let next = bank.next_errand().expect("an errand");
        pauses.push(next.since(now));
        now = next;
    };
    assert!(tries > 5, "only {tries}");
    assert!(pauses[0] == FIRST_PAUSE && pauses[1] == Duration(2 * FIRST_PAUSE.0), "{pauses:?}");
    assert_eq!(now, expiry.plus(GRACE));
    assert_eq!(asked.circuit, Circuit::Identified(key("bank").public()));
    let header =
        Header::of(&bank.store().record(&id).expect("reads").expect("a record").exchange, id).expect("a purchase");
    let abort = decided(&header, expiry, Outcome::Abort);
    bank.errand_done(id, Ok(AnyReply::Log(LogReply::Decision(abort))), now).expect("settles");
    assert_eq!(state(&mut bank, &id), State::Aborted);
    bank.handle(deposit(&[&coins[0]], &key("alice")), now).expect("the token is free again");
    bank.audit().expect("the books agree");
}

/// The record of the lock is all that is stored: it says what is left to do to whoever opens the books next, also after a
/// crash in the very commit.
#[test]
fn a_bank_that_dies_after_the_lock_carries_the_promise_after_its_start() {
    let store = memory();
    let coins = withdraw(&mut furnished_delivering(store.clone()), 1, &[ONE]);
    let call = || lock(&[&coins[0]], amount("1"), &[], carried(1));
    for (when, is_there) in [(When::Before, false), (When::After, true)] {
        let mut bank = delivering(store.clone());
        store.faults().plan(1, when);
        assert!(bank.handle(call(), NOW).is_err());
        store.faults().restart();
        let mut bank = delivering(store.clone());
        let errands = bank.errands(NOW, 10).expect("reads");
        assert_eq!(errands.len(), usize::from(is_there));
        for (_, asked) in &errands {
            promise(asked);
        }
    }
}

/// Once the shop has taken it, only the log is asked, when the time is over.
#[test]
fn a_promise_that_is_delivered_is_not_carried_again() {
    let mut bank = furnished_delivering(memory());
    let coins = withdraw(&mut bank, 1, &[ONE]);
    ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], carried(1))).expect("locked");
    let (id, _) = only(bank.errands(NOW, 10).expect("reads"));
    bank.errand_done(id, Ok(AnyReply::Shop(ShopReply::Pending)), NOW).expect("is noted");
    let due = carried(1).expiry.plus(GRACE);
    assert_eq!(bank.next_errand(), Some(due));
    assert!(is_question_to_the_log(&only(bank.errands(due, 10).expect("reads")).1));
}

/// A shop that refuses for good is not asked again.
#[test]
fn a_shop_that_refuses_for_good_is_left_alone() {
    let mut bank = furnished_delivering(memory());
    let coins = withdraw(&mut bank, 1, &[ONE]);
    ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], carried(1))).expect("locked");
    let (id, _) = only(bank.errands(NOW, 10).expect("reads"));
    let refusal = Problem::new("wrong_value", "not the price");
    bank.errand_done(id, Err(CallError::Problem(refusal)), NOW).expect("is noted");
    assert_eq!(bank.next_errand(), Some(carried(1).expiry.plus(GRACE)));
}

#[test]
fn a_shop_that_the_bank_does_not_know_is_refused_by_name() {
    let mut bank = furnished(memory());
    let coins = withdraw(&mut bank, 1, &[ONE]);
    let refused = ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], carried(1))).expect_err("is refused");
    assert_eq!((refused.code.as_str(), refused.status), ("no_delivery", 422));
    ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], condition(1))).expect("the wallet may carry it");
}

/// Nobody asks about a lock whose time is over: the bank does.
#[test]
fn tokens_of_an_expired_lock_are_freed_by_the_bank_itself() {
    let store = memory();
    let mut bank = furnished(store.clone());
    let coins = withdraw(&mut bank, 1, &[ONE, TWO]);
    let (expiry, due) = (condition(1).expiry, condition(1).expiry.plus(GRACE));
    for (n, coin) in (1..).zip(&coins) {
        let value = value_of(&coin.token);
        ask_exchange(&mut bank, lock(&[coin], value, &[], condition(n))).expect("locked");
    }
    assert_eq!(bank.errands(NOW, 10).expect("reads").len(), 0);
    assert_eq!((bank.expired_locks(Timestamp(expiry.0 - 1)), bank.expired_locks(expiry)), (0, 2));
    // Another process has settled one of them.
    let mut other = open(store.clone());
    let (gone, asked) = other.errands(due, 1).expect("reads").remove(0);
    let AnyCall::Log(LogCall::Abort { header }) = &asked.call else { panic!("{asked:?}") };
    let header_of_gone = header.clone().verify(&key("bank").public()).expect("the bank's header");
    other.handle(settle(&TestLog::default().decide(&header_of_gone, expiry, Outcome::Abort)), due).expect("settles");
    let (id, asked) = only(bank.errands(due, 10).expect("reads"));
    assert_ne!(id, gone);
    assert_eq!(bank.expired_locks(due), 1);
    // The log does not answer, and then says that it will never decide: it is asked ever more rarely.
    bank.errand_done(id, unreachable(), due).expect("is put off");
    let later = bank.next_errand().expect("an errand");
    assert_eq!(later, due.plus(FIRST_PAUSE));
    only(bank.errands(later, 10).expect("reads"));
    let too_old = Problem::new("too_old", "past its retention");
    bank.errand_done(id, Err(CallError::Problem(too_old)), later).expect("is put off");
    assert_eq!(bank.next_errand(), Some(later.plus(LONGEST_PAUSE)));
    // It comes back, and an answer of another kind, or on another purchase, changes nothing.
    let again = later.plus(LONGEST_PAUSE);
    only(bank.errands(again, 10).expect("reads"));
    let wrong = decided(&header_of_gone, expiry, Outcome::Abort);
    assert!(bank.errand_done(id, Ok(AnyReply::Log(LogReply::Decision(wrong))), again).is_err());
    assert_eq!(state(&mut bank, &id), State::Locked);
    let AnyCall::Log(LogCall::Abort { header }) = asked.call else { panic!("not to the log") };
    let header = header.verify(&key("bank").public()).expect("the bank's header");
    let abort = decided(&header, expiry, Outcome::Abort);
    bank.errand_done(id, Ok(AnyReply::Log(LogReply::Decision(abort))), again).expect("settles");
    assert_eq!((bank.expired_locks(again), bank.next_errand()), (0, None));
    bank.handle(deposit(&coins.iter().collect::<Vec<_>>(), &key("alice")), again).expect("the tokens are free again");
    bank.audit().expect("the books agree");
}

/// A blind log is asked by the index alone, by a circuit that is the purchase's own.
#[test]
fn a_blind_log_does_not_learn_whose_lock_it_is() {
    let mut bank = furnished(memory());
    let coins = withdraw(&mut bank, 1, &[ONE]);
    let index = key("one-time").public();
    let blind = Condition { entry: Entry::Blind { index }, ..condition(1) };
    ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], blind)).expect("locked");
    let due = condition(1).expiry.plus(GRACE);
    let (_, asked) = only(bank.errands(due, 10).expect("reads"));
    assert!(matches!(asked.circuit, Circuit::Anonymous(_)));
    let AnyCall::Log(LogCall::BlindAbort { index: asked_for, expiry }) = asked.call else { panic!("not blind") };
    assert_eq!((asked_for, expiry), (index, condition(1).expiry));
}

/// Many locks are taken up in bounded steps, each once.
#[test]
fn locks_are_taken_up_page_by_page() {
    let store = memory();
    let mut bank = furnished(store.clone());
    let coins = withdraw(&mut bank, 1, &[ONE; 5]);
    for (n, coin) in (1..).zip(&coins) {
        ask_exchange(&mut bank, lock(&[coin], amount("1"), &[], condition(n))).expect("locked");
    }
    let mut store = store;
    let (mut after, mut found) = (None, BTreeSet::new());
    loop {
        let page = store.locked(after.as_ref(), 2).expect("reads");
        let Some(last) = page.last() else { break };
        after = Some(last.id());
        found.extend(page.iter().map(naulon_exchange::Record::id));
        assert!(page.len() <= 2);
    }
    assert_eq!(found.len(), 5);
    let due = condition(1).expiry.plus(GRACE);
    let mut bank = open(store);
    assert!(!bank.take_up_errands(NOW).expect("reads"));
    assert_eq!(bank.errands(due, 100).expect("reads").len(), 5);
}

/// What it asks of the books, it asks of sound ones alone.
#[test]
fn a_bank_whose_store_has_failed_sends_nothing() {
    let store = memory();
    let mut bank = furnished_delivering(store.clone());
    let coins = withdraw(&mut bank, 1, &[ONE]);
    ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], carried(1))).expect("locked");
    store.faults().plan(1, When::Before);
    assert!(bank.handle(open_account(&key("new")), NOW).is_err());
    assert!(bank.errands(NOW, 10).is_err());
}

const GRACE_OF_SHOP: Duration = Duration::seconds(900);

/// A bank that has the shop's statement that the log is the shop's own.
fn of_merged_log(store: MemoryStore) -> Bank<MemoryStore> {
    drop(furnished(store.clone()));
    let own = OwnLog {
        merchant: key("shop").public(),
        bank: key("bank").public(),
        log: key("log").public(),
        grace: GRACE_OF_SHOP,
    };
    let rules = Rules { keepers: BTreeMap::from([(own.log, LogKeeper::Merchant(own))]), ..rules() };
    Bank::open(keys(), rules, signatory(), store).expect("the bank opens")
}

/// Shop and log are one, and silent: the bank's own clock frees the lock, some time after the expiry, and not before (AAT §7).
/// What the log says later is void, and convicts nobody.
#[test]
fn where_shop_and_log_are_one_the_bank_frees_what_is_not_claimed_in_time() {
    let store = memory();
    let mut bank = of_merged_log(store.clone());
    let coins = withdraw(&mut bank, 1, &[ONE]);
    let reply = ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], condition(1))).expect("locked");
    let (id, frees_at) = (reply.request, condition(1).expiry.plus(GRACE_OF_SHOP));
    let just_before = Timestamp(frees_at.0 - 1);
    let mut now = condition(1).expiry.plus(GRACE);
    while now < frees_at {
        for (id, asked) in bank.errands(now, 10).expect("reads") {
            assert!(is_question_to_the_log(&asked));
            bank.errand_done(id, unreachable(), now).expect("is put off");
        }
        assert_eq!(state(&mut bank, &id), State::Locked);
        now = bank.next_errand().expect("an errand");
    }
    assert_eq!(now, frees_at, "it is looked after just then");
    assert!(bank.errands(just_before, 10).expect("reads").is_empty());
    assert!(bank.errands(frees_at, 10).expect("reads").is_empty());
    assert_eq!((state(&mut bank, &id), bank.next_errand(), bank.expired_locks(now)), (State::Aborted, None, 0));
    bank.audit().expect("the books agree");

    // A commit that comes now, in whatever time the log says that it was made, pays nobody; an abort changes nothing.
    let header = header(&reply);
    let late = TestLog::default().decide(&header, NOW, Outcome::Commit { k: K });
    let refused = bank.handle(settle(&late), now).expect_err("is void");
    assert_eq!((refused.code.as_str(), refused.status, refused.is_final()), ("lapsed", 410, true));
    let abort = TestLog::default().decide(&header, condition(1).expiry, Outcome::Abort);
    assert!(
        matches!(bank.handle(settle(&abort), now), Ok(BankReply::Exchange(reply)) if reply.state == State::Aborted)
    );
    assert_eq!(bank.store().balance(&key("shop").public()), Ok(Some(amount("0"))));
    assert!(bank.store().log_faults().expect("reads").is_empty());
    bank.handle(deposit(&[&coins[0]], &key("alice")), now).expect("the token is free again");

    // It is the same after a start; and an auditor who is not told whose log it is finds the record unfounded.
    let mut bank = of_merged_log(store.clone());
    assert_eq!(state(&mut bank, &id), State::Aborted);
    bank.audit().expect("the books agree");
    assert!(open(store).audit().is_err());
}

/// The clock frees nothing for another shop that uses the log, and nothing that was committed.
#[test]
fn the_banks_clock_frees_only_what_the_merchant_has_waived() {
    let mut bank = of_merged_log(memory());
    ask(&mut bank, open_account(&key("other shop"))).expect("opened");
    let coins = withdraw(&mut bank, 1, &[ONE, TWO]);
    let of_other = Condition { merchant: key("other shop").public(), ..condition(1) };
    let other = ask_exchange(&mut bank, lock(&[&coins[0]], amount("1"), &[], of_other)).expect("locked");
    let paid = ask_exchange(&mut bank, lock(&[&coins[1]], amount("2"), &[], condition(2))).expect("locked");
    let frees_at = condition(1).expiry.plus(GRACE_OF_SHOP);
    // The merchant's claim comes after the expiry, and in time.
    let commit = TestLog::default().decide(&header(&paid), NOW, Outcome::Commit { k: K });
    bank.handle(settle(&commit), Timestamp(frees_at.0 - 1)).expect("settles");
    let later = frees_at.plus(LONGEST_PAUSE);
    assert!(is_question_to_the_log(&only(bank.errands(later, 10).expect("reads")).1));
    assert_eq!(state(&mut bank, &other.request), State::Locked);
    assert_eq!(state(&mut bank, &paid.request), State::Committed);
    bank.audit().expect("the books agree");
}
