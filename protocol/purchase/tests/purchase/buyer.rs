//! The buyer: every step may be repeated, nothing out of turn is taken, and it is the same after every restart.

use naulon_exchange::{EntryMode, Exchange, Header, LogDecision, Outcome};
use naulon_purchase::{Buyer, BuyerError, Ending, GoodsQ, Step, StoredBuyer};
use naulon_statement::{Digest, Joint, PublicKey, Signed, Timestamp, Unverified, cbor};

use super::cast::*;

const NOW: Timestamp = Timestamp(1_000);

/// The buyer as its store gives it back.
fn restarted(buyer: &Buyer) -> Buyer {
    let stored: StoredBuyer = cbor::from_slice(&cbor::to_vec(buyer)).expect("reads back");
    stored.from_own_store()
}

/// Applies an event twice with a restart between: it succeeds both times, and the second one changes nothing.
fn twice(buyer: &mut Buyer, event: impl Fn(&mut Buyer) -> Result<(), BuyerError>) {
    event(buyer).expect("in turn");
    let mut again = restarted(buyer);
    assert_eq!(again, *buyer, "a restart changes nothing");
    event(&mut again).expect("may be repeated");
    assert_eq!(again, *buyer, "a repetition changes nothing");
    *buyer = again;
}

fn new(deal: &Deal) -> Buyer {
    Buyer::new(deal.goods_m.clone(), deal.goods_q.is_some())
}

fn fetch(deal: &Deal, buyer: &mut Buyer) -> Result<(), BuyerError> {
    buyer.fetched(&deal.goods_m.goods)
}

fn authorize(deal: &Deal, buyer: &mut Buyer) -> Result<(), BuyerError> {
    buyer.authorize(deal.authorization_q.clone(), deal.goods_q.clone())
}

fn lock(deal: &Deal, buyer: &mut Buyer) -> Result<(), BuyerError> {
    buyer.locked(Unverified::from(&deal.header), Unverified::from(&deal.authorization_b))
}

fn decide(deal: &Deal, buyer: &mut Buyer, decision: LogDecision) -> Result<(), BuyerError> {
    buyer.decided(deal.prove(decision), &log_identity(deal.log))
}

/// A buyer that has authorized.
fn authorized(deal: &Deal) -> Buyer {
    let mut buyer = new(deal);
    fetch(deal, &mut buyer).expect("in turn");
    authorize(deal, &mut buyer).expect("in turn");
    buyer
}

/// A buyer whose purchase is locked.
fn locked(deal: &Deal) -> Buyer {
    let mut buyer = authorized(deal);
    lock(deal, &mut buyer).expect("in turn");
    buyer
}

#[test]
fn a_purchase_goes_through() {
    for (two_sided, mode) in
        [false, true].into_iter().flat_map(|two_sided| EntryMode::ALL.map(|mode| (two_sided, mode)))
    {
        let deal = Plan { two_sided, mode, ..Plan::default() }.deal();
        let mut buyer = new(&deal);
        assert_eq!(buyer.next(NOW), Step::Fetch);
        twice(&mut buyer, |buyer| fetch(&deal, buyer));
        assert_eq!(buyer.next(NOW), Step::Authorize);
        authorize(&deal, &mut buyer).expect("in turn");
        assert_eq!(authorize(&deal, &mut buyer), Err(BuyerError::OutOfTurn), "one purchase is authorized once");
        assert_eq!(buyer.next(NOW), Step::Lock);
        assert_eq!(buyer.key(), None);
        twice(&mut buyer, |buyer| lock(&deal, buyer));
        assert_eq!(buyer.next(NOW), Step::Pay);
        twice(&mut buyer, |buyer| decide(&deal, buyer, deal.commit()));
        assert_eq!((buyer.next(NOW), buyer.key()), (Step::Deliver, Some(&deal.k)));
        twice(&mut buyer, Buyer::delivered);
        assert_eq!(buyer.next(NOW), Step::Settle);
        twice(&mut buyer, Buyer::settled);
        assert_eq!(buyer.next(NOW), Step::Done(Ending::Bought));
        let evidence = buyer.evidence();
        assert_eq!(evidence.goods_q.is_some(), two_sided);
        assert!(evidence.goods_m.is_some() && evidence.authorization_q.is_some() && evidence.header.is_some());
        assert!(evidence.authorization_b.is_some() && evidence.decisions.len() == 1);
    }
}

#[test]
fn an_abort_ends_it() {
    let deal = Plan::default().deal();
    let mut buyer = locked(&deal);
    assert_eq!(buyer.next(Timestamp(EXPIRY.0 - 1)), Step::Pay);
    assert_eq!(buyer.next(EXPIRY), Step::Abort, "windows are half-open");
    twice(&mut buyer, |buyer| decide(&deal, buyer, deal.abort()));
    assert_eq!((buyer.next(EXPIRY), buyer.key()), (Step::Settle, None));
    assert_eq!(buyer.delivered(), Err(BuyerError::OutOfTurn));
    assert_eq!(buyer.cheated(), Err(BuyerError::OutOfTurn));
    twice(&mut buyer, Buyer::settled);
    assert_eq!(buyer.next(EXPIRY), Step::Done(Ending::Aborted));
}

/// The answer to a question about an abort may be a commit.
#[test]
fn an_abort_that_came_too_late_is_a_purchase() {
    let deal = Plan::default().deal();
    let mut buyer = locked(&deal);
    assert_eq!(buyer.next(EXPIRY), Step::Abort);
    decide(&deal, &mut buyer, deal.commit()).expect("what the log decided");
    assert_eq!(buyer.next(EXPIRY), Step::Deliver);
}

#[test]
fn an_offer_is_given_up_before_it_is_authorized_only() {
    let deal = Plan::default().deal();
    let mut buyer = new(&deal);
    assert_eq!(buyer.next(Timestamp(VALID_UNTIL.0 - 1)), Step::Fetch);
    assert_eq!(buyer.next(VALID_UNTIL), Step::Done(Ending::GivenUp));
    fetch(&deal, &mut buyer).expect("in turn");
    assert_eq!(buyer.next(VALID_UNTIL), Step::Done(Ending::GivenUp));
    let mut given_up = buyer.clone();
    twice(&mut given_up, Buyer::give_up);
    assert_eq!(given_up.next(NOW), Step::Done(Ending::GivenUp));
    assert_eq!(authorize(&deal, &mut given_up), Err(BuyerError::OutOfTurn));
    authorize(&deal, &mut buyer).expect("in turn");
    assert_eq!(buyer.next(VALID_UNTIL), Step::Lock, "what is signed must be seen through");
    assert_eq!(buyer.give_up(), Err(BuyerError::OutOfTurn));
}

/// A buyer whose lock request was not answered asks again, also after the expiry: only the bank knows whether it locked.
#[test]
fn a_lost_lock_is_asked_for_again() {
    let deal = Plan::default().deal();
    let mut buyer = authorized(&deal);
    assert_eq!(buyer.next(Timestamp(EXPIRY.0 * 2)), Step::Lock);
    let mut refused = buyer.clone();
    twice(&mut refused, Buyer::lock_refused);
    assert_eq!(refused.next(EXPIRY), Step::Done(Ending::NotLocked));
    lock(&deal, &mut buyer).expect("it had locked");
    assert_eq!(buyer.lock_refused(), Err(BuyerError::OutOfTurn), "a refusal does not undo a promise");
    assert_eq!(buyer.next(EXPIRY), Step::Abort);
}

/// A bank that says it will never lock, and locks: what is signed counts, and "spent" brings k.
#[test]
fn a_lying_bank_does_not_keep_the_buyer_from_the_goods() {
    let deal = Plan::default().deal();
    let mut refused = authorized(&deal);
    refused.lock_refused().expect("in turn");
    let mut promised = refused.clone();
    twice(&mut promised, |buyer| lock(&deal, buyer));
    assert_eq!(promised.next(NOW), Step::Pay);
    twice(&mut refused, |buyer| decide(&deal, buyer, deal.commit()));
    assert_eq!((refused.next(NOW), refused.key()), (Step::Deliver, Some(&deal.k)));
    assert_eq!(refused.lock_refused(), Err(BuyerError::OutOfTurn));
}

#[test]
fn a_cheated_buyer_still_gets_its_change() {
    let deal = Plan::default().deal();
    let mut buyer = locked(&deal);
    decide(&deal, &mut buyer, deal.commit()).expect("in turn");
    twice(&mut buyer, Buyer::cheated);
    assert_eq!(buyer.next(NOW), Step::Settle, "the change is still at the bank");
    let mut mended = buyer.clone();
    twice(&mut buyer, Buyer::settled);
    assert_eq!(buyer.next(NOW), Step::Done(Ending::Cheated));
    // It was the disk after all; and once the goods have been good, nobody was cheated.
    mended.delivered().expect("in turn");
    mended.cheated().expect("in turn");
    mended.settled().expect("in turn");
    assert_eq!(mended.next(NOW), Step::Done(Ending::Bought));
}

#[test]
fn only_the_offers_goods_are_the_goods() {
    let mut buyer = new(&Plan::default().deal());
    assert_eq!(buyer.fetched(&Digest([0; 32])), Err(BuyerError::OtherGoods));
    assert_eq!(buyer.next(NOW), Step::Fetch);
}

#[test]
fn events_out_of_turn_change_nothing() {
    let deal = Plan::default().deal();
    type Event<'e> = (&'e str, &'e dyn Fn(&mut Buyer) -> Result<(), BuyerError>);
    let events: &[Event<'_>] = &[
        ("authorize", &|buyer| authorize(&deal, buyer)),
        ("locked", &|buyer| lock(&deal, buyer)),
        ("lock_refused", &Buyer::lock_refused),
        ("decided", &|buyer| decide(&deal, buyer, deal.commit())),
        ("overruled", &|buyer| buyer.overruled(deal.prove(deal.abort()), &log_identity(0))),
        ("settled", &Buyer::settled),
        ("delivered", &Buyer::delivered),
        ("cheated", &Buyer::cheated),
        ("give_up", &Buyer::give_up),
    ];
    let mut fetched = new(&deal);
    fetch(&deal, &mut fetched).expect("in turn");
    let mut committed = locked(&deal);
    decide(&deal, &mut committed, deal.commit()).expect("in turn");
    let stages: [(&str, Buyer, &[&str]); 5] = [
        ("new", new(&deal), &["give_up"]),
        ("fetched", fetched, &["authorize", "give_up"]),
        ("authorized", authorized(&deal), &["locked", "lock_refused", "decided", "overruled"]),
        ("locked", locked(&deal), &["locked", "decided", "overruled"]),
        ("committed", committed, &["locked", "decided", "overruled", "settled", "delivered", "cheated"]),
    ];
    for (stage, buyer, allowed) in stages {
        for (name, event) in events {
            let mut after = buyer.clone();
            let outcome = event(&mut after);
            assert_eq!(outcome.is_ok(), allowed.contains(name), "{name} when {stage}: {outcome:?}");
            if outcome.is_err() {
                assert_eq!((outcome, &after), (Err(BuyerError::OutOfTurn), &buyer), "{name} when {stage}");
            }
        }
    }
}

#[test]
fn only_an_authorization_for_this_offer_is_signed_into_it() {
    let plan = Plan { two_sided: true, ..Plan::default() };
    let deal = plan.deal();
    let refused = |change: &dyn Fn(&mut Exchange), goods_q: Option<Signed<GoodsQ>>| {
        let mut body = plan.authorization(&deal.goods_m);
        change(&mut body);
        let mut buyer = new(&deal);
        fetch(&deal, &mut buyer).expect("in turn");
        let outcome = buyer.authorize(Joint::sign(body, &tokens()), goods_q);
        assert_eq!(outcome.is_err(), buyer.authorization_q().is_none());
        outcome == Err(BuyerError::OtherAuthorization)
    };
    let answer = || deal.goods_q.clone();
    let condition = |change: fn(&mut naulon_exchange::Condition)| {
        refused(&|body| change(body.condition.as_mut().expect("a purchase")), answer())
    };
    assert!(!refused(&|_| {}, answer()), "the unchanged one is taken");
    assert!(condition(|c| c.n = [8; 16]));
    assert!(condition(|c| c.merchant = key(9).public()));
    assert!(condition(|c| c.c = Digest([0; 32])));
    assert!(condition(|c| c.log = key(9).public()));
    assert!(condition(|c| c.q = None));
    assert!(condition(|c| c.q = Some(key(9).public())));
    assert!(refused(&|body| body.condition = None, answer()));
    assert!(refused(&|body| body.currency = "USD".parse().expect("a currency"), answer()));
    assert!(refused(&|body| body.bank = key(9).public(), answer()));
    assert!(refused(&|body| body.outputs.truncate(0), answer()));
    assert!(refused(&|_| {}, None));
    assert!(refused(&|_| {}, Some(Signed::sign(&key(9), GoodsQ::to(&deal.goods_m)))));
    let other = Plan { n: [8; 16], ..plan.clone() }.deal();
    assert!(refused(&|_| {}, other.goods_q));
    let nameless = |body: &mut Exchange| body.condition.as_mut().expect("a purchase").q = None;
    assert!(refused(&nameless, None), "a two-sided purchase names Q");
    // A buyer that does not want to be known does not name its Q.
    let plain = Plan::default().deal();
    let mut buyer = new(&plain);
    fetch(&plain, &mut buyer).expect("in turn");
    let named = Some(Signed::sign(&tokens()[0], GoodsQ::to(&plain.goods_m)));
    assert_eq!(buyer.authorize(plain.authorization_q.clone(), named), Err(BuyerError::OtherAuthorization));
    let mut body = Plan::default().authorization(&plain.goods_m);
    body.condition.as_mut().expect("a purchase").q = Some(tokens()[0].public());
    assert_eq!(buyer.authorize(Joint::sign(body, &tokens()), None), Err(BuyerError::OtherAuthorization));
}

#[test]
fn only_the_banks_promise_on_this_authorization_is_taken() {
    let deal = Plan::default().deal();
    let refused = |header: Header, value, signers: [u8; 2]| {
        let promise =
            naulon_exchange::AuthorizationB { header: header.digest(), value: units(value), currency: euros() };
        let mut buyer = authorized(&deal);
        let header = Signed::sign(&key(signers[0]), header);
        let promise = Signed::sign(&key(signers[1]), promise);
        let outcome = buyer.locked(Unverified::from(&header), Unverified::from(&promise));
        assert_eq!(outcome.is_err(), buyer.promise().is_none());
        outcome == Err(BuyerError::BankMisfit)
    };
    let header = || Header::clone(&deal.header);
    assert!(!refused(header(), 4, [1, 1]), "the unchanged one is taken");
    assert!(refused(header(), 4, [2, 1]));
    assert!(refused(header(), 4, [1, 2]));
    assert!(refused(header(), 3, [1, 1]));
    assert!(refused(Header { expiry: Timestamp(1), ..header() }, 4, [1, 1]));
    assert!(refused(Header { n: [8; 16], ..header() }, 4, [1, 1]));
    assert!(refused(Header { merchant: key(9).public(), ..header() }, 4, [1, 1]));
    assert!(refused(Header { log: key(9).public(), ..header() }, 4, [1, 1]));
    assert!(refused(Header { q: Some(PublicKey([1; 32])), ..header() }, 4, [1, 1]));
}

#[test]
fn a_decision_on_something_else_says_nothing() {
    let deal = Plan::default().deal();
    let other = Plan { n: [8; 16], ..Plan::default() }.deal();
    let mut buyer = locked(&deal);
    let before = buyer.clone();
    assert_eq!(decide(&other, &mut buyer, other.commit()), Err(BuyerError::DecisionMisfit));
    assert_eq!(buyer.decided(prove(1, &deal, deal.commit()), &log_identity(1)), Err(BuyerError::DecisionMisfit));
    assert_eq!(buyer.decided(prove(1, &deal, deal.commit()), &log_identity(0)), Err(BuyerError::DecisionMisfit));
    assert_eq!(buyer, before);
}

#[test]
fn the_first_decision_is_kept() {
    let deal = Plan::default().deal();
    let mut buyer = locked(&deal);
    decide(&deal, &mut buyer, deal.commit()).expect("the first");
    let first = buyer.clone();
    decide(&deal, &mut buyer, LogDecision { time: Timestamp(5), ..deal.commit() }).expect("the same outcome");
    assert_eq!(buyer, first);
}

/// Whatever the log does against its rules leaves the buyer where it is, with the evidence in its hands.
#[test]
fn a_log_that_breaks_its_rules_gives_evidence() {
    let deal = Plan::default().deal();
    let wrong_key = LogDecision { outcome: Outcome::Commit { k: [0; 32] }, ..deal.commit() };
    let late = LogDecision { time: EXPIRY, ..deal.commit() };
    let early = LogDecision { time: Timestamp(EXPIRY.0 - 1), ..deal.abort() };
    for (decision, error) in
        [(wrong_key, BuyerError::KeyMismatch), (late, BuyerError::DecisionMisfit), (early, BuyerError::DecisionMisfit)]
    {
        let mut buyer = locked(&deal);
        assert_eq!(decide(&deal, &mut buyer, decision.clone()), Err(error));
        assert_eq!((buyer.next(NOW), buyer.decision(), buyer.evidence().decisions.len()), (Step::Pay, None, 1));
        assert_eq!(restarted(&buyer), buyer);
        decide(&deal, &mut buyer, deal.abort()).expect("a right one is still taken");
        assert_eq!((buyer.next(NOW), buyer.evidence().decisions.len()), (Step::Settle, 2));
    }
}

/// A log that signs both: the first counts until the bank says which one it has recorded.
#[test]
fn both_outcomes_are_evidence_and_the_banks_counts() {
    let deal = Plan::default().deal();
    let mut buyer = locked(&deal);
    decide(&deal, &mut buyer, deal.abort()).expect("the first");
    assert_eq!(decide(&deal, &mut buyer, deal.commit()), Err(BuyerError::Contradiction));
    assert_eq!((buyer.next(NOW), buyer.key()), (Step::Settle, None));
    let log = log_identity(0);
    let mut same = buyer.clone();
    same.overruled(deal.prove(deal.abort()), &log).expect("what it had");
    assert_eq!(same, buyer);
    twice(&mut buyer, |buyer| buyer.overruled(deal.prove(deal.commit()), &log));
    assert_eq!((buyer.next(NOW), buyer.key()), (Step::Deliver, Some(&deal.k)));
    assert_eq!(buyer.evidence().decisions.len(), 2);
    assert_eq!(restarted(&buyer), buyer);

    // The other way round: the goods are here, and the tokens are free.
    let mut buyer = locked(&deal);
    decide(&deal, &mut buyer, deal.commit()).expect("the first");
    buyer.delivered().expect("in turn");
    buyer.overruled(deal.prove(deal.abort()), &log).expect("the bank's");
    assert_eq!(buyer.next(NOW), Step::Settle);
    buyer.settled().expect("in turn");
    assert_eq!(buyer.next(NOW), Step::Done(Ending::Aborted));
    // What convicts the log is not lost by it.
    let mut buyer = locked(&deal);
    let wrong_key = LogDecision { outcome: Outcome::Commit { k: [0; 32] }, ..deal.commit() };
    decide(&deal, &mut buyer, wrong_key).expect_err("not the key");
    buyer.overruled(deal.prove(deal.commit()), &log).expect("the bank's");
    assert_eq!(buyer.evidence().decisions.len(), 2);
    // A bank cannot overrule with a decision that the log may not make.
    let late = LogDecision { time: EXPIRY, ..deal.commit() };
    assert_eq!(buyer.overruled(deal.prove(late), &log), Err(BuyerError::DecisionMisfit));
}
