//! Each cheat by itself, and the name that it ends with.

use naulon_meter::{Chain, Decision, Expected, Meter, Payer, Refusal};
use naulon_money::{Amount, Currency};
use naulon_onion::{Pay, Protocol, Trigger, When};
use naulon_statement::{PublicKey, SecretKey, Timestamp};
use naulon_tick::{Check, Front, Tick, Walker};

use crate::world::{PRICE, chain, terms};

const AFTER_SENDER: Protocol = Protocol { when: When::After, trigger: Trigger::Sender };
const BEFORE_RECIPIENT: Protocol = Protocol { when: When::Before, trigger: Trigger::Recipient };

fn open(protocol: Protocol, window: u32) -> (Walker, Meter) {
    let (walker, chain) = chain(0, 0, 100, PRICE);
    let mut meter = Meter::new(terms(protocol, window), PRICE);
    meter.add(0, chain).unwrap();
    (walker, meter)
}

fn code(result: Result<Decision, Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code(), |_| "passed or held")
}

#[test]
fn a_sender_who_stops_paying() {
    for (protocol, passed) in [(Protocol::BEFORE_SENDER, 3), (AFTER_SENDER, 3 + 4)] {
        let (mut walker, mut meter) = open(protocol, 4);
        let mut number = 0;
        let refused = loop {
            let tick = if number < 3 { walker.advance(1).ok() } else { None };
            let pay = Pay { tick, ..Pay::default() };
            match meter.forward(number, &pay) {
                Ok(_) => number += 1,
                Err(refusal) => break refusal,
            }
        };
        assert_eq!((refused.code(), meter.used()), ("unpaid", passed));
    }
}

#[test]
fn ticks_that_are_replayed_skipped_forged_or_of_another_chain() {
    let (mut walker, mut meter) = open(Protocol::BEFORE_SENDER, 4);
    let first = walker.advance(1).unwrap();
    assert_eq!(meter.forward(0, &Pay::tick(first)), Ok(Decision::Pass));
    assert_eq!(code(meter.forward(1, &Pay::tick(first))), "tick_used");
    assert_eq!(code(meter.forward(1, &Pay::tick(Front { index: 2, tick: Tick([9; 16]) }))), "tick_forged");
    let far = walker.advance(10).unwrap();
    assert_eq!(code(meter.forward(1, &Pay::tick(far))), "tick_too_far");
    let (mut other, _) = chain(1, 0, 100, PRICE);
    assert_eq!(code(meter.forward(1, &Pay::tick(other.advance(2).unwrap()))), "tick_forged");
    assert_eq!(code(meter.forward(1, &Pay::tick(Front { index: 101, tick: Tick([0; 16]) }))), "chain_exhausted");
    assert_eq!(code(meter.forward(1, &Pay { slot: 3, ..Pay::tick(first) })), "no_such_share");
    assert_eq!(meter.used(), 1);
}

#[test]
fn a_settlement_that_settles_nothing() {
    let (mut walker, mut meter) = open(AFTER_SENDER, 4);
    let settle = |tick| Pay { tick, is_settlement: true, ..Pay::default() };
    assert_eq!(meter.forward(0, &Pay::default()), Ok(Decision::Pass));
    assert_eq!(code(meter.forward(1, &settle(None))), "unpaid");
    let first = walker.advance(1).unwrap();
    assert_eq!(meter.forward(2, &settle(Some(first))), Ok(Decision::Pass));
    assert_eq!(meter.forward(3, &settle(Some(first))), Ok(Decision::Drop), "it gets nobody anywhere");
    assert_eq!((meter.used(), meter.passed().0), (1, 2), "a settlement is no block that is billed");
    let (_, mut before) = open(Protocol::BEFORE_SENDER, 4);
    assert_eq!(code(before.forward(0, &settle(Some(first)))), "wrong_protocol");
}

#[test]
fn asks_without_end_and_asks_elsewhere() {
    let (mut walker, mut meter) = open(BEFORE_RECIPIENT, 4);
    let ask = Pay { is_ask: true, ..Pay::default() };
    (0..4).for_each(|number| assert_eq!(meter.forward(number, &ask), Ok(Decision::Pass)));
    assert_eq!(code(meter.forward(4, &ask)), "too_many_asks");
    // The data waits until the recipient has let the tick go.
    assert_eq!(meter.forward(5, &Pay::default()), Ok(Decision::Hold));
    assert_eq!(meter.release(), None);
    meter.returned(&Pay::tick(walker.advance(1).unwrap())).unwrap();
    assert!(meter.release().is_some());
    assert_eq!(meter.forward(6, &ask), Ok(Decision::Pass), "one ask was answered");
    let forward = Pay::tick(walker.advance(1).unwrap());
    assert_eq!(code(meter.forward(7, &forward)), "wrong_protocol", "no tick comes from the sender");
    for protocol in [Protocol::BEFORE_SENDER, AFTER_SENDER] {
        let (mut walker, mut meter) = open(protocol, 4);
        assert_eq!(code(meter.forward(0, &ask)), "wrong_protocol");
        let returned = meter.returned(&Pay::tick(walker.advance(1).unwrap()));
        assert_eq!(returned, Err(Refusal::WrongProtocol));
    }
}

#[test]
fn a_recipient_who_keeps_the_tick() {
    let (_, mut meter) = open(Protocol { when: When::After, trigger: Trigger::Recipient }, 4);
    let mut decisions = (0..).map(|number| meter.forward(number, &Pay::default()));
    let refused = decisions.find_map(Result::err).unwrap();
    assert_eq!((refused.code(), meter.used()), ("unpaid", 4));
}

#[test]
fn a_mix_claims_no_tick_that_it_has_not() {
    let (mut walker, mut meter) = open(AFTER_SENDER, 4);
    (0..4).for_each(|number| assert_eq!(meter.forward(number, &Pay::default()), Ok(Decision::Pass)));
    meter.forward(4, &Pay { is_settlement: true, ..Pay::tick(walker.advance(2).unwrap()) }).unwrap();
    let claim = meter.claims().next().unwrap();
    assert_eq!((claim.earned, claim.cashable().unwrap()), (2, claim.front));
    assert!(claim.front.lower(&claim.id, 3).is_err());
}

#[test]
fn checks_that_are_for_somebody_else_or_too_late() {
    let key = |seed: u8| SecretKey::from_seed(&[seed; 32]).public();
    let (bank, payee, currency): (PublicKey, PublicKey, Currency) = (key(1), key(2), "EUR".parse().unwrap());
    let (walker, _) = chain(0, 0, 100, PRICE);
    let check = Check {
        id: walker.id(),
        root: walker.root(),
        length: 100,
        value: PRICE,
        currency: currency.clone(),
        payee,
        salt: [5; 16],
        bank,
        expiry: Timestamp(1_000),
        refund: key(3),
    };
    let expected = Expected { payee: &payee, bank: &bank, currency: &currency, usable_until: Timestamp(999) };
    assert!(Chain::of(&check, &expected).is_ok());
    let other: Currency = "USD".parse().unwrap();
    let refusals = [
        Chain::of(&Check { payee: key(9), ..check.clone() }, &expected),
        Chain::of(&Check { bank: key(9), ..check.clone() }, &expected),
        Chain::of(&Check { currency: other, ..check.clone() }, &expected),
        Chain::of(&Check { expiry: Timestamp(999), ..check.clone() }, &expected),
        Chain::of(&Check { length: 0, ..check.clone() }, &expected),
        Chain::of(&Check { value: Amount::ZERO, ..check }, &expected),
    ];
    let codes = refusals.map(|refused| refused.unwrap_err().code());
    let expected =
        ["wrong_payee", "bank_not_accepted", "wrong_currency", "check_expired", "chain_length", "chain_length"];
    assert_eq!(codes, expected);
}

#[test]
fn a_check_that_pays_already() {
    let (_, mut meter) = open(Protocol::BEFORE_SENDER, 4);
    let (_, again) = chain(0, 0, 100, PRICE);
    assert_eq!(meter.add(0, again.clone()).unwrap_err().code(), "check_in_use");
    assert_eq!(meter.add(1, again).unwrap_err().code(), "check_in_use");
    let others = (1..9).map(|number| meter.add(0, chain(0, number, 100, PRICE).1));
    assert_eq!(others.last(), Some(Err(Refusal::TooManyChecks)));
}

#[test]
fn checks_follow_one_another_also_when_the_block_with_the_last_tick_is_lost() {
    for lost in [None, Some(9), Some(8)] {
        let (walker, first) = chain(0, 0, 10, PRICE);
        let terms = terms(Protocol::BEFORE_SENDER, 4);
        let (mut payer, mut meter) = (Payer::new(terms, 0), Meter::new(terms, PRICE));
        payer.add(0, walker).unwrap();
        meter.add(0, first).unwrap();
        let (mut late, mut retired) = (None, 0);
        for number in 0..35_u32 {
            if number % 10 == 8 {
                let (walker, next) = chain(0, 1 + (number / 10) as u8, 10, PRICE);
                payer.add(0, walker).unwrap();
                let fare = payer.fare(0).unwrap();
                assert_eq!(meter.fare(100 + number, &fare, Some(next)), Ok(Decision::Pass));
                retired += meter.retire().iter().map(|claim| u64::from(claim.earned)).sum::<u64>();
            }
            let pay = payer.data().unwrap();
            if lost == Some(number) {
                late = Some(pay);
                continue;
            }
            assert_eq!(meter.forward(number, &pay), Ok(Decision::Pass), "{lost:?} {number}");
        }
        // It comes after all, much later: it pays for itself, if its chain is not given up yet.
        let passed = late.map(|pay| meter.forward(lost.unwrap_or(0), &pay));
        assert!(matches!(passed, None | Some(Err(_))), "the chain was retired long ago");
        assert_eq!(meter.used(), if lost.is_some() { 34 } else { 35 });
        let earned: u64 = meter.claims().map(|claim| u64::from(claim.earned)).sum();
        assert_eq!(earned + retired, meter.used());
        assert!(retired >= 9);
    }
}
