//! Offers, payments, and sales that are seen through whatever dies.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

mod world;

use naulon_durable::StoreError;
use naulon_durable::fault::When;
use naulon_exchange::{AuthorizationB, Outcome, State, key_commitment};
use naulon_money::Amount;
use naulon_purchase::{GoodsM, GoodsQ, Order, Sale, UnverifiedPayment};
use naulon_shop::{
    CommitError, FIRST_PAUSE, LONGEST_PAUSE, MemoryShelf, MemoryStore, OpenError, SaleId, SaleState, SaleWrite, Shelf,
    Shop, ShopStore, SqliteStore, Terms,
};
use naulon_statement::{Digest, Duration, SecretKey, Signed, Timestamp};
use naulon_wire::{AnyCall, AnyReply, BankReply, CallError, Circuit, LogCall, LogReply, Problem, PublicFile};
use naulon_wire::{PublicKind, Range, ShopCall, ShopReply};
use world::*;

type MemoryShop = Shop<MemoryStore, MemoryShelf>;

/// The one thing that is to be asked now.
fn only_ask(shop: &MemoryShop, now: Timestamp) -> naulon_wire::Ask {
    let mut asks = shop.asks(now);
    assert_eq!(asks.len(), 1);
    asks.pop().unwrap().1
}

fn state(shop: &MemoryShop, id: &SaleId) -> SaleState {
    shop.sales(100).unwrap().into_iter().find(|sale| sale.id == *id).unwrap().state
}

#[test]
fn a_sale_goes_from_offer_to_credit_and_the_goods_open() {
    let mut shop = open(memory()).unwrap();
    let mut log = FakeLog::default();
    let offer = offer_of(&mut shop, "poem", 1);
    GoodsM::check(&offer).unwrap();
    assert_eq!((offer.price, offer.valid_until), (PRICE, NOW.plus(terms().offer_valid_for)));

    // The encrypted goods come in pieces, before anything is paid.
    let mut sealed = Vec::new();
    while (sealed.len() as u64) < offer.sealed_size() {
        let range = Range { offset: sealed.len() as u64, len: 10 };
        let call = ShopCall::Goods { digest: offer.goods, range };
        let ShopReply::Goods(piece) = shop.handle(call, NOW, &mut entropy()).unwrap() else { panic!() };
        assert_eq!((piece.offset, piece.of), (sealed.len() as u64, offer.sealed_size()));
        sealed.extend_from_slice(&piece.bytes);
    }

    assert!(shop.asks(NOW).is_empty());
    assert!(matches!(pay(&mut shop, payment_for(&offer), NOW), Ok(ShopReply::Pending)));
    let id = header_for(&offer).digest();
    assert_eq!(state(&shop, &id), SaleState::Released);

    let ask = only_ask(&shop, NOW);
    assert_eq!(ask.circuit, Circuit::Identified(keys().merchant.public()));
    shop.answered(id, Ok(log.answer(&ask, NOW)), NOW).unwrap();
    assert_eq!(state(&shop, &id), SaleState::Committed);
    let decision = proven(pay(&mut shop, payment_for(&offer), NOW).unwrap());
    assert_eq!(decrypt(&offer, decision.decision().key().unwrap(), &sealed), POEM);

    let ask = only_ask(&shop, NOW);
    shop.answered(id, Ok(settle(&ask)), NOW).unwrap();
    assert!(shop.asks(NOW).is_empty() && shop.next_ask().is_none());
    assert_eq!(state(&shop, &id), SaleState::Paid);

    // The shop can show a judge all that AAT §4 promises it; and the sale is found under its name for ever.
    let evidence = shop.evidence(&id).unwrap().unwrap();
    assert_eq!(evidence.goods_m.as_deref(), Some(offer.bytes()));
    assert!(evidence.header.is_some() && evidence.authorization_b.is_some());
    assert_eq!(evidence.decisions, [decision.to_bytes()]);
    assert_eq!(proven(pay(&mut shop, payment_for(&offer), EXPIRY).unwrap()), decision);
    let listed = shop.sales(1).unwrap().pop().unwrap();
    assert_eq!((listed.title.as_str(), listed.price), ("A poem", PRICE));
}

#[test]
fn a_sale_that_the_log_aborts_ends_too() {
    let mut shop = open(memory()).unwrap();
    let (_, id) = sold(&mut shop, 1);
    let aborted = FakeLog::default().answer(&only_ask(&shop, NOW), EXPIRY);
    shop.answered(id, Ok(aborted), EXPIRY).unwrap();
    assert_eq!(state(&shop, &id), SaleState::Aborting);
    let ask = only_ask(&shop, EXPIRY);
    shop.answered(id, Ok(settle(&ask)), EXPIRY).unwrap();
    assert_eq!(state(&shop, &id), SaleState::Aborted);
}

/// P3 by the bank: what the buyer leaves and what the bank brings make a payment, also after a restart, and also when the order
/// has been forgotten because it is paid.
#[test]
fn an_order_and_the_banks_promise_make_a_sale() {
    let store = memory();
    let mut shop = open(store.clone()).unwrap();
    let offer = offer_of(&mut shop, "poem", 1);
    let UnverifiedPayment { goods_m, header, authorization_b, goods_q } = payment_for(&offer);
    let promise = || ShopCall::Promise { header: header.clone(), authorization_b: authorization_b.clone() };
    let mut none = |_: &mut [u8]| panic!("needs no entropy");
    assert_eq!(code(shop.handle(promise(), NOW, &mut none)), "unknown_order");
    let order = || ShopCall::Order(Box::new(Order { goods_m: goods_m.clone(), goods_q: goods_q.clone() }));
    for _ in 0..2 {
        assert!(matches!(shop.handle(order(), NOW, &mut none), Ok(ShopReply::Ordered)));
    }
    assert!(shop.asks(NOW).is_empty(), "nothing is released for an order");

    let mut shop = open(store.clone()).unwrap();
    let forged = ShopCall::Promise { header: forged(&header), authorization_b: authorization_b.clone() };
    assert_eq!(code(shop.handle(forged, NOW, &mut none)), "bad_signature");
    assert!(matches!(shop.handle(promise(), NOW, &mut none), Ok(ShopReply::Pending)));
    let id = header_for(&offer).digest();
    shop.answered(id, Ok(FakeLog::default().answer(&only_ask(&shop, NOW), NOW)), NOW).unwrap();
    let decision = proven(shop.handle(promise(), NOW, &mut none).unwrap());
    shop.answered(id, Ok(settle(&only_ask(&shop, NOW))), NOW).unwrap();

    // The order goes with its offer, the sale after a while; until then the bank is answered the same.
    let keep = Duration::seconds(1_000);
    assert_eq!(shop.prune(keep, offer.valid_until, 10), Ok(1));
    assert_eq!(proven(shop.handle(promise(), offer.valid_until, &mut none).unwrap()), decision);
    let end = offer.valid_until.max(EXPIRY).plus(keep);
    assert_eq!((shop.prune(keep, end, 10), shop.prune(keep, end.plus(keep), 10)), (Ok(0), Ok(1)));
    assert_eq!(code(shop.handle(promise(), end, &mut none)), "unknown_order");
    assert_eq!(code(pay(&mut shop, payment_for(&offer), end)), "too_late", "what is forgotten is not sold again");
}

#[test]
fn an_order_is_of_this_shop_and_in_time() {
    let mut shop = open(memory()).unwrap();
    let offer = offer_of(&mut shop, "poem", 1);
    let mut leave =
        |goods_m, now| {
            code(shop.handle(ShopCall::Order(Box::new(Order { goods_m, goods_q: None })), now, &mut |_| {
                panic!("no entropy")
            }))
        };
    let other = SecretKey::from_seed(&[99; 32]);
    let stranger = Signed::sign(&other, GoodsM { merchant: other.public(), ..offer.clone().into_body() });
    assert_eq!(leave((&stranger).into(), NOW), "not_my_offer");
    assert_eq!(leave(forged(&(&offer).into()), NOW), "bad_signature");
    assert_eq!(leave((&offer).into(), offer.valid_until), "too_late");
    assert_eq!(leave((&offer).into(), NOW), "ok");
}

#[test]
fn offers_are_fresh_and_leave_nothing_behind() {
    let store = memory();
    let mut shop = open(store.clone()).unwrap();
    let mut random = entropy();
    let mut offer = || {
        let call = ShopCall::Offer { item: "poem".into() };
        let ShopReply::Offer(offer) = shop.handle(call, NOW, &mut random).unwrap() else { panic!() };
        offer.verify(&keys().merchant.public()).unwrap()
    };
    let (one, two) = (offer(), offer());
    assert!(one.n != two.n && one.c != two.c && one.wrapped_key != two.wrapped_key);
    assert_eq!(one.goods, two.goods, "the file is encrypted once");
    assert_eq!(store.faults().writes(), 0);
    assert_eq!(code(shop.handle(ShopCall::Offer { item: "novel".into() }, NOW, &mut random)), "unknown_item");
}

#[test]
fn goods_are_read_within_their_bounds() {
    let mut shop = open(memory()).unwrap();
    let offer = offer_of(&mut shop, "poem", 1);
    let size = offer.sealed_size();
    let mut read = |digest, offset, len| match shop.handle(
        ShopCall::Goods { digest, range: Range { offset, len } },
        NOW,
        &mut entropy(),
    ) {
        Ok(ShopReply::Goods(piece)) => Ok(piece.bytes.len() as u64),
        Ok(_) => panic!(),
        Err(problem) => Err(problem.code),
    };
    assert_eq!(read(offer.goods, 0, u64::MAX), Ok(size));
    assert_eq!(read(offer.goods, size - 1, 5), Ok(1));
    for (offset, len) in [(size, 1), (u64::MAX, 1), (u64::MAX, u64::MAX), (0, 0)] {
        assert_eq!(read(offer.goods, offset, len), Err("range".to_owned()), "{offset} {len}");
    }
    assert_eq!(read(Digest([0; 32]), 0, 1), Err("not_found".to_owned()));
}

/// The margin is for the first acceptance: whoever paid in time gets the same answer for ever.
#[test]
fn a_payment_that_was_accepted_is_accepted_again_at_any_time() {
    let store = memory();
    let mut shop = open(store.clone()).unwrap();
    let offer = offer_of(&mut shop, "poem", 1);
    let last_moment = EXPIRY.minus(MARGIN);
    let offer = Signed::sign(&keys().merchant, GoodsM { valid_until: EXPIRY, ..offer.into_body() });
    let late = Timestamp(last_moment.0 + 1);
    assert_eq!(code(pay(&mut shop, payment_for(&offer), late)), "too_late");
    assert!(matches!(pay(&mut shop, payment_for(&offer), last_moment), Ok(ShopReply::Pending)));
    let writes = store.faults().writes();
    for now in [late, EXPIRY, Timestamp::MAX] {
        assert!(matches!(pay(&mut shop, payment_for(&offer), now), Ok(ShopReply::Pending)), "{now:?}");
    }
    assert_eq!(store.faults().writes(), writes, "and nothing more is written");
    assert_eq!(shop.asks(Timestamp::MAX).len(), 1);
}

#[test]
fn payments_that_arrive_together_share_one_write_and_one_sale() {
    let store = memory();
    let mut shop = open(store.clone()).unwrap();
    let one = payment_for(&offer_of(&mut shop, "poem", 1));
    let two = payment_for(&offer_of(&mut shop, "poem", 2));
    let late = {
        let offer = offer_of(&mut shop, "poem", 3);
        payment_with(&offer, &naulon_exchange::Header { expiry: NOW, ..header_for(&offer) })
    };
    let payments = [&one, &two, &one, &late].map(|payment| payment.clone().verify(&rules()).unwrap());
    let answers: Vec<String> =
        shop.pay(payments.into(), NOW).into_iter().map(|answer| code(answer.map(|(_, reply)| reply))).collect();
    assert_eq!(answers, ["ok", "ok", "ok", "too_late"]);
    assert_eq!((store.faults().writes(), shop.asks(NOW).len()), (1, 2));
}

/// Every bad payment is refused by name, and nothing is written or released.
#[test]
fn bad_payments_are_refused_by_name() {
    let store = memory();
    let mut shop = open(store.clone()).unwrap();
    let offer = offer_of(&mut shop, "poem", 1);
    let other = offer_of(&mut shop, "poem", 2);
    let stranger = SecretKey::from_seed(&[8; 32]);
    let header = || header_for(&offer);
    let good = || payment_for(&offer);
    let two_sided = |two_sided| Signed::sign(&keys().merchant, GoodsM { two_sided, ..offer.clone().into_body() });
    let with_q = || naulon_exchange::Header { q: Some(buyer().public()), ..header() };
    let promise = |change: fn(&mut AuthorizationB)| {
        let mut promise = good().authorization_b.claimed_body().clone();
        change(&mut promise);
        UnverifiedPayment { authorization_b: (&Signed::sign(&bank(), promise)).into(), ..good() }
    };
    let header_by = |key: &SecretKey| UnverifiedPayment { header: (&Signed::sign(key, header())).into(), ..good() };
    let changed = |change: fn(&mut naulon_exchange::Header)| {
        let mut header = header();
        change(&mut header);
        payment_with(&offer, &header)
    };
    let resigned = |change: fn(&mut GoodsM)| {
        let mut body = offer.clone().into_body();
        change(&mut body);
        let signed = Signed::sign(&keys().merchant, body);
        payment_with(&signed, &header_for(&signed))
    };
    let theirs = {
        let body = GoodsM { merchant: stranger.public(), ..offer.clone().into_body() };
        let signed = Signed::sign(&stranger, body);
        payment_with(&signed, &header_for(&signed))
    };
    let goods_q = |goods_q| UnverifiedPayment { goods_q, ..payment_with(&offer, &with_q()) };
    let answer_by = |key: &SecretKey, offer: &Signed<GoodsM>| Some((&Signed::sign(key, GoodsQ::to(offer))).into());
    let table: Vec<(&str, UnverifiedPayment, &str)> = vec![
        ("another shop's offer", theirs, "not_my_offer"),
        ("a forged offer", UnverifiedPayment { goods_m: forged(&good().goods_m), ..good() }, "bad_signature"),
        ("an offer of another goods secret", resigned(|offer| offer.c.0[0] ^= 1), "not_my_offer"),
        ("a cheaper promise", promise(|promise| promise.value = Amount::from_micros(1)), "wrong_value"),
        ("a dearer promise", promise(|promise| promise.value = Amount::MAX), "wrong_value"),
        ("another currency", promise(|promise| promise.currency = "USD".parse().unwrap()), "wrong_value"),
        ("a promise on another header", promise(|promise| promise.header.0[0] ^= 1), "other_offer"),
        ("an unknown bank", changed(|header| header.bank.0[0] ^= 1), "unknown_bank"),
        ("an unknown log", changed(|header| header.log = FakeLog::other().identity().key), "unknown_log"),
        ("another merchant's header", changed(|header| header.merchant.0[0] ^= 1), "other_offer"),
        ("another n", changed(|header| header.n[0] ^= 1), "other_offer"),
        ("another c", changed(|header| header.c.0[0] ^= 1), "other_offer"),
        ("another offer of this shop", payment_with(&other, &header()), "other_offer"),
        ("a header not by its bank", header_by(&stranger), "wrong_signer"),
        ("a forged header", UnverifiedPayment { header: forged(&good().header), ..good() }, "bad_signature"),
        (
            "a forged promise",
            UnverifiedPayment { authorization_b: forged(&good().authorization_b), ..good() },
            "bad_signature",
        ),
        ("too late", changed(|header| header.expiry = NOW.plus(Duration(MARGIN.0 - 1))), "too_late"),
        ("expired", changed(|header| header.expiry = NOW), "too_late"),
        ("an offer that has ended", resigned(|offer| offer.valid_until = NOW), "too_late"),
        ("two-sided without q", payment_with(&two_sided(true), &header()), "goods_q"),
        ("goods_q missing", goods_q(None), "goods_q"),
        ("goods_q by another key", goods_q(answer_by(&stranger, &offer)), "goods_q"),
        ("goods_q for another offer", goods_q(answer_by(&buyer(), &other)), "goods_q"),
        ("goods_q without q", UnverifiedPayment { goods_q: answer_by(&buyer(), &offer), ..good() }, "goods_q"),
    ];
    for (name, payment, expected) in table {
        assert_eq!(code(pay(&mut shop, payment, NOW)), expected, "{name}");
    }
    assert_eq!((store.faults().writes(), shop.asks(NOW).len()), (0, 0));
    // The same offer is paid well, one-sided or, if the buyer wants, two-sided.
    assert!(matches!(pay(&mut shop, payment_with(&offer, &with_q()), NOW), Ok(ShopReply::Pending)));
    let wanted = Signed::sign(&keys().merchant, GoodsM { two_sided: true, ..other.into_body() });
    let header = naulon_exchange::Header { q: Some(buyer().public()), ..header_for(&wanted) };
    assert!(matches!(pay(&mut shop, payment_with(&wanted, &header), NOW), Ok(ShopReply::Pending)));
    assert_eq!(shop.asks(NOW).len(), 2);
}

/// An answer that is none, or that proves a fault of log or bank, does not move the sale; evidence is kept.
#[test]
fn bad_answers_are_refused_by_name_and_the_call_is_made_again() {
    let (mut log, mut other) = (FakeLog::default(), FakeLog::other());
    let store = memory();
    let mut shop = open(store).unwrap();
    let (offer, id) = sold(&mut shop, 1);
    let (second, _) = sold(&mut shop, 2);
    let header = header_for(&offer);
    let k = *naulon_purchase::goods::MerchandiseKey::derive(keys().goods.as_slice(), &offer.n).reveal();
    assert_eq!(key_commitment(&offer.n, &k), offer.c);
    let decision = |decision| Ok(AnyReply::Log(LogReply::Decision(Box::new(decision))));
    let checkpoint = PublicFile { kind: PublicKind::Checkpoint, bytes: Vec::new().into() };
    let settled = |request, state| Ok(AnyReply::Bank(BankReply::Exchange(Box::new(exchange_reply(request, state)))));
    let mut bare = log.decide(&header, NOW, Outcome::Commit { k });
    bare.inclusion.index += 1;
    let table: Vec<(&str, Result<AnyReply, CallError>, &str)> = vec![
        ("another log's", decision(other.decide(&header, NOW, Outcome::Commit { k })), "decision_misfit"),
        ("not proven", decision(bare), "decision_misfit"),
        ("another sale's", decision(log.decide(&header_for(&second), NOW, Outcome::Abort)), "decision_misfit"),
        ("an abort too early", decision(log.decide(&header, NOW, Outcome::Abort)), "decision_misfit"),
        ("a commit too late", decision(log.decide(&header, EXPIRY, Outcome::Commit { k })), "decision_misfit"),
        ("a wrong key", decision(log.decide(&header, NOW, Outcome::Commit { k: [0; 32] })), "key_mismatch"),
        ("settled before it is decided", settled(header.a, State::Committed), "malformed"),
        ("something else", Ok(AnyReply::Log(LogReply::Public(checkpoint))), "malformed"),
    ];
    for (name, answer, expected) in table {
        assert_eq!(code(shop.answered(id, answer, NOW)), expected, "{name}");
        assert_eq!(state(&shop, &id), SaleState::Released, "{name}");
    }
    // The first that convicts the log was kept.
    assert_eq!(shop.evidence(&id).unwrap().unwrap().decisions.len(), 1);
    assert_eq!(code(shop.answered(Digest([0; 32]), Ok(settle_of(&header, State::Aborted)), NOW)), "unknown_purchase");

    shop.answered(id, decision(log.decide(&header, NOW, Outcome::Commit { k })), NOW).unwrap();
    for (name, answer, expected) in [
        ("a second outcome", decision(log.decide(&header, EXPIRY, Outcome::Abort)), "log_contradiction"),
        ("another purchase", settled(header_for(&second).a, State::Committed), "malformed"),
        ("settled otherwise", settled(header.a, State::Aborted), "decision_misfit"),
        ("not a purchase", settled(header.a, State::Done), "decision_misfit"),
        ("still locked", settled(header.a, State::Locked), "ok"),
    ] {
        assert_eq!(code(shop.answered(id, answer, NOW)), expected, "{name}");
        assert_eq!(state(&shop, &id), SaleState::Committed, "{name}");
    }
    shop.answered(id, settled(header.a, State::Committed), NOW).unwrap();
    assert_eq!(state(&shop, &id), SaleState::Paid);
    // What arrives after the end changes nothing.
    assert_eq!(code(shop.answered(id, settled(header.a, State::Aborted), NOW)), "ok");
}

fn settle_of(header: &naulon_exchange::Header, state: State) -> AnyReply {
    AnyReply::Bank(BankReply::Exchange(Box::new(exchange_reply(header.a, state))))
}

/// The bank heard another outcome first: that one stands, and both convict the log.
#[test]
fn the_banks_recorded_outcome_ends_a_sale_that_the_log_decided_twice() {
    let mut log = FakeLog::default();
    let mut shop = open(memory()).unwrap();
    let (offer, id) = sold(&mut shop, 1);
    let commit = log.answer(&only_ask(&shop, NOW), NOW);
    shop.answered(id, Ok(commit), NOW).unwrap();
    let recorded = log.decide(&header_for(&offer), EXPIRY, Outcome::Abort);
    let mut problem = Problem::new("log_contradiction", "decided otherwise");
    problem.evidence = Some(naulon_wire::B64(naulon_statement::cbor::to_vec(&recorded)));
    shop.answered(id, Err(problem.into()), NOW).unwrap();
    assert_eq!(state(&shop, &id), SaleState::Aborted);
    assert_eq!(shop.evidence(&id).unwrap().unwrap().decisions.len(), 2);
    assert!(shop.asks(Timestamp::MAX).is_empty());
}

#[test]
fn a_log_that_will_never_decide_ends_the_sale() {
    let mut shop = open(memory()).unwrap();
    let (offer, id) = sold(&mut shop, 1);
    shop.answered(id, Err(Problem::new("too_old", "too late").into()), NOW).unwrap();
    assert_eq!(state(&shop, &id), SaleState::Lapsed);
    assert!(shop.asks(Timestamp::MAX).is_empty());
    assert_eq!(code(pay(&mut shop, payment_for(&offer), NOW)), "too_old");
}

#[test]
fn calls_that_bring_nothing_are_made_again_after_longer_and_longer_pauses() {
    let mut shop = open(memory()).unwrap();
    let (_, id) = sold(&mut shop, 1);
    let unreachable = || Err(CallError::Unreachable("log".into(), "refused".into()));
    let mut now = NOW;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        shop.answered(id, unreachable(), now).unwrap();
        let next = shop.next_ask().unwrap();
        assert!(shop.asks(Timestamp(next.0 - 1)).is_empty());
        assert_eq!(shop.asks(next).len(), 1);
        pauses.push(next.since(now));
        now = next;
    }
    assert_eq!(pauses[..3], [FIRST_PAUSE, Duration(2 * FIRST_PAUSE.0), Duration(4 * FIRST_PAUSE.0)]);
    assert_eq!(pauses[11], LONGEST_PAUSE);
    assert!(pauses.is_sorted());
    // An answer ends the waiting; a refusal that cannot pass waits the longest at once.
    let ask = shop.ask_of(&id).unwrap();
    shop.answered(id, Ok(FakeLog::default().answer(&ask, NOW)), now).unwrap();
    assert!(shop.is_due(&id, now));
    shop.answered(id, Err(Problem::new("bad_decision", "no").into()), now).unwrap();
    assert_eq!(shop.next_ask(), Some(now.plus(LONGEST_PAUSE)));
}

/// Each write of a run crashes once before and once after; the shop that is opened again sees every sale through, and
/// sends the same key again.
#[test]
fn a_crash_at_any_write_loses_no_sale() {
    for (nth, when) in (1..=6).flat_map(|nth| [(nth, When::Before), (nth, When::After)]) {
        let store = memory();
        store.faults().plan(nth, when);
        let mut log = FakeLog::default();
        let mut released: Vec<(SaleId, Vec<u8>)> = Vec::new();
        let mut shop = open(store.clone()).unwrap();
        let offers = [1, 2].map(|random| offer_of(&mut shop, "poem", random));
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 100, "crash {nth} {when:?}: the sales do not end");
            if shop.is_halted() {
                assert!(shop.asks(NOW).is_empty(), "a shop that does not know what it wrote does nothing");
                assert_eq!(code(pay(&mut shop, payment_for(&offers[0]), NOW)), "unavailable");
                store.faults().restart();
                shop = open(store.clone()).unwrap();
            }
            for offer in &offers {
                // The buyer asks until it is told; also after its offer has ended, if the shop took it before.
                let _ = pay(&mut shop, payment_for(offer), NOW);
            }
            let asks = shop.asks(NOW);
            if asks.is_empty() && !shop.is_halted() {
                break;
            }
            for (id, ask) in asks {
                let answer = match &ask.call {
                    AnyCall::Log(LogCall::Commit { authorization, .. }) => {
                        assert!(shop.sale(&id).unwrap().is_some(), "k never leaves before the sale is written");
                        released.push((id, authorization.bytes().to_vec()));
                        log.answer(&ask, NOW)
                    }
                    _ => settle(&ask),
                };
                let _ = shop.answered(id, Ok(answer), NOW);
            }
        }
        assert_eq!(store.faults().writes(), 6 + u64::from(when == When::Before), "crash {nth} {when:?}");
        for offer in &offers {
            let id = header_for(offer).digest();
            assert_eq!(state(&shop, &id), SaleState::Paid, "crash {nth} {when:?}");
            let mut keys = released.iter().filter(|(sale, _)| *sale == id).map(|(_, bytes)| bytes);
            let first = keys.next().unwrap();
            assert!(keys.all(|again| again == first), "the same authorization_m each time");
        }
    }
}

#[test]
fn a_shop_that_is_opened_again_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let reopen = || open(SqliteStore::open(&directory.path().join("shop.sqlite")).unwrap()).unwrap();
    let mut log = FakeLog::default();
    let mut shop = reopen();
    let (offer, id) = sold(&mut shop, 1);
    drop(shop);
    let mut shop = reopen();
    let (_, ask) = shop.asks(NOW).pop().unwrap();
    shop.answered(id, Ok(log.answer(&ask, NOW)), NOW).unwrap();
    drop(shop);
    let mut shop = reopen();
    proven(pay(&mut shop, payment_for(&offer), EXPIRY).unwrap());
    let (_, ask) = shop.asks(NOW).pop().unwrap();
    shop.answered(id, Ok(settle(&ask)), NOW).unwrap();
    drop(shop);
    let shop = reopen();
    assert!(shop.asks(NOW).is_empty());
    assert_eq!(shop.sales(5).unwrap()[0].state, SaleState::Paid);
    assert_eq!(shop.evidence(&Digest([0; 32])), Ok(None));
}

#[test]
fn a_shop_does_not_open_on_settings_that_contradict_one_another() {
    let open_with = |rules, terms: Terms| Shop::open(keys(), rules, terms, shelf(), memory()).map(drop);
    let other = naulon_purchase::MerchantRules { merchant: bank().public(), ..rules() };
    assert!(matches!(open_with(other, terms()), Err(OpenError::OtherMerchant)));
    for (banks, logs) in [(0, 1), (1, 0), (33, 1)] {
        let mut rules = rules();
        rules.banks = (0..banks).map(|n| naulon_statement::PublicKey([n; 32])).collect();
        if logs == 0 {
            rules.logs.clear();
        }
        assert!(matches!(open_with(rules, terms()), Err(OpenError::Lists)), "{banks} {logs}");
    }
}

#[test]
fn the_description_lists_what_is_sold() {
    let mut shop = open(memory()).unwrap();
    shop.shelf().add("empty", "Nothing", "", Amount::from_micros(10_000), b"");
    let ShopReply::Description(description) = shop.handle(ShopCall::Describe, NOW, &mut entropy()).unwrap() else {
        panic!()
    };
    assert_eq!(description.merchant, keys().merchant.public());
    assert_eq!((description.banks, description.logs), (vec![bank().public()], vec![FakeLog::default().identity().key]));
    let items: Vec<(String, u64, Amount)> =
        description.items.into_iter().map(|item| (item.item, item.size, item.price)).collect();
    assert_eq!(items, [("empty".into(), 0, Amount::from_micros(10_000)), ("poem".into(), POEM.len() as u64, PRICE)]);
    // A new version takes the old one's place, and running offers of the old one stay good.
    let before = offer_of(&mut shop, "poem", 1);
    shop.shelf().add("poem", "A poem", "", PRICE, b"another");
    assert_ne!(offer_of(&mut shop, "poem", 2).goods, before.goods);
    assert!(shop.shelf().read(&before.goods, Range { offset: 0, len: 1 }).is_ok());
}

#[test]
fn the_accounts_are_opened_by_the_shops_key() {
    let shop = open(memory()).unwrap();
    let [ask] = shop.openings().try_into().unwrap();
    let AnyCall::Bank(naulon_wire::BankCall::OpenAccount(opening)) = ask.call else { panic!() };
    assert_eq!(ask.to, bank().public());
    let opening = opening.verify(&keys().merchant.public()).unwrap();
    assert_eq!((opening.bank, opening.account), (bank().public(), keys().merchant.public()));
}

/// A sale read back from a store is the sale.
#[test]
fn sales_keep_their_evidence() {
    let mut shop = open(memory()).unwrap();
    let (offer, id) = sold(&mut shop, 1);
    let sale: Sale = shop.sale(&id).unwrap().unwrap();
    assert_eq!(sale.payment.goods_m, offer);
    assert_eq!(shop.evidence(&id).unwrap().unwrap(), sale.evidence());
}

/// A store whose disk is full at one write.
struct FullAt(MemoryStore, u32);

impl ShopStore for FullAt {
    fn sale(&self, id: &SaleId) -> Result<Option<Sale>, StoreError> {
        self.0.sale(id)
    }
    fn open_sales(&self) -> Result<Vec<(SaleId, Sale)>, StoreError> {
        self.0.open_sales()
    }
    fn newest_sales(&self, limit: usize) -> Result<Vec<(SaleId, Sale)>, StoreError> {
        self.0.newest_sales(limit)
    }
    fn keep_order(&mut self, order: &naulon_purchase::Order) -> Result<(), StoreError> {
        self.0.keep_order(order)
    }
    fn order(&self, n: &naulon_exchange::SaleNumber) -> Result<Option<naulon_purchase::Order>, StoreError> {
        self.0.order(n)
    }
    fn orders(&self) -> Result<u64, StoreError> {
        self.0.orders()
    }
    fn prune(&mut self, over_before: Timestamp, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.0.prune(over_before, now, limit)
    }
    fn prunable(&self, over_before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        self.0.prunable(over_before, now)
    }
    fn commit(&mut self, writes: &[SaleWrite]) -> Result<(), CommitError> {
        self.1 = self.1.wrapping_sub(1);
        if self.1 == 0 { Err(StoreError::Full.into()) } else { self.0.commit(writes) }
    }
}

/// A write that surely did not happen leaves the sale where it was: nobody is told of it, and it is done again.
#[test]
fn what_was_not_written_is_not_said_and_done_again() {
    let mut log = FakeLog::default();
    for full_at in 1..=3 {
        let mut shop = open(FullAt(memory(), full_at)).unwrap();
        let offer = offer_of(&mut shop, "poem", 1);
        let id = header_for(&offer).digest();
        if full_at == 1 {
            assert_eq!(code(pay(&mut shop, payment_for(&offer), NOW)), "unavailable");
            assert!(shop.asks(NOW).is_empty(), "no key for a sale that is not written");
        }
        assert!(matches!(pay(&mut shop, payment_for(&offer), NOW), Ok(ShopReply::Pending)));
        let (_, ask) = shop.asks(NOW).pop().unwrap();
        if full_at == 2 {
            assert_eq!(code(shop.answered(id, Ok(log.answer(&ask, NOW)), NOW)), "unavailable");
            assert!(matches!(pay(&mut shop, payment_for(&offer), NOW), Ok(ShopReply::Pending)));
            assert!(matches!(shop.asks(NOW)[..], [(_, naulon_wire::Ask { call: AnyCall::Log(_), .. })]));
        }
        shop.answered(id, Ok(log.answer(&ask, NOW)), NOW).unwrap();
        let (_, ask) = shop.asks(NOW).pop().unwrap();
        if full_at == 3 {
            assert_eq!(code(shop.answered(id, Ok(settle(&ask)), NOW)), "unavailable");
            assert_eq!(shop.asks(NOW).len(), 1);
        }
        shop.answered(id, Ok(settle(&ask)), NOW).unwrap();
        assert!(!shop.is_halted() && shop.asks(NOW).is_empty());
        assert_eq!(shop.sales(1).unwrap()[0].state, SaleState::Paid);
    }
}

/// With a log that is away for long, thousands of sales may be due at once: only as many are made ready as are sent.
#[test]
fn no_more_asks_are_made_than_are_sent() {
    let mut shop = open(memory()).unwrap();
    let sold: Vec<_> = (1..=5).map(|n| sold(&mut shop, n).1).collect();
    let ids =
        |asks: Vec<(naulon_shop::SaleId, naulon_wire::Ask)>| asks.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(shop.asks(NOW)).len(), 5);
    let first = ids(shop.asks_but(NOW, 2, |_| false));
    let next = ids(shop.asks_but(NOW, 2, |id| first.contains(id)));
    assert!(first.len() == 2 && next.len() == 2 && next.iter().all(|id| !first.contains(id)));
    // Who has waited longest comes first, so that nobody waits for ever.
    for id in &first {
        let away = CallError::Unreachable(String::new(), String::new());
        shop.answered(*id, Err(away), NOW).unwrap();
    }
    let later = NOW.plus(naulon_shop::LONGEST_PAUSE);
    let order = ids(shop.asks_but(later, 5, |_| false));
    assert!(order.len() == sold.len() && order[3..].iter().all(|id| first.contains(id)));
}
