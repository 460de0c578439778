//! Sharing (MixPay §6): sender and recipient each pay a part of every block. Neither pays less than agreed, and the mix does not
//! get more than negotiated.

use naulon_meter::{Decision, Meter, Payer, Refusal, Replies, Terms};
use naulon_money::Amount;
use naulon_onion::{Pay, Protocol};

use crate::world::{PRICE, chain};

const THREE: Amount = Amount::from_micros(3);
const SEVEN: Amount = Amount::from_micros(7);

fn terms() -> Terms {
    Terms { protocol: Protocol::BEFORE_SENDER, window: 8, replies: Replies::Included(1) }
}

#[test]
fn blocks_are_paid_by_two_checks_whose_values_make_up_the_price() {
    let (mut payer, mut meter) = (Payer::new(terms(), 8), Meter::new(terms(), PRICE));
    for (slot, value) in [(0, SEVEN), (1, THREE)] {
        let (walker, chain) = chain(0, slot, 1_000, value);
        payer.add(slot, walker).unwrap();
        let fare = payer.fare(slot).unwrap();
        assert_eq!(meter.fare(slot.into(), &fare, Some(chain)), Ok(Decision::Pass));
    }
    for number in 2..300 {
        let pay = payer.data().unwrap();
        assert_eq!(meter.forward(number, &pay), Ok(Decision::Pass), "{number}");
    }
    let earned: Vec<_> = meter.claims().map(|claim| (claim.slot, claim.earned)).collect();
    assert_eq!(earned, [(0, 298), (1, 298)]);
}

#[test]
fn no_payer_pays_less_than_agreed() {
    // The second check does not come.
    let (mut walker, first) = chain(0, 0, 100, SEVEN);
    let mut meter = Meter::new(terms(), PRICE);
    meter.add(0, first).unwrap();
    let pay = Pay::tick(walker.advance(1).unwrap());
    assert_eq!(meter.forward(0, &pay), Err(Refusal::SharesMissing));
    // It is worth less.
    let mut meter = Meter::new(terms(), PRICE);
    meter.add(0, chain(0, 0, 100, SEVEN).1).unwrap();
    meter.add(1, chain(0, 1, 100, Amount::from_micros(2)).1).unwrap();
    assert_eq!(meter.forward(0, &Pay::default()), Err(Refusal::SharesMissing));
    // One of the two stops paying: nothing passes, whatever the other pays.
    let mut meter = Meter::new(terms(), PRICE);
    let ((mut walker, one), (_, other)) = (chain(0, 0, 100, SEVEN), chain(0, 1, 100, THREE));
    meter.add(0, one).unwrap();
    meter.add(1, other).unwrap();
    for number in 0..8 {
        let pay = Pay::tick(walker.advance(1).unwrap());
        assert_eq!(meter.forward(number, &pay), Ok(Decision::Hold));
    }
    let next = Pay::tick(walker.advance(1).unwrap());
    assert_eq!(meter.forward(8, &next), Err(Refusal::Unpaid));
    assert_eq!(meter.used(), 0);
    assert!(meter.claims().all(|claim| claim.earned == 0), "and nothing is earned");
    // A later check of a share is worth what the first was.
    assert_eq!(meter.add(1, chain(0, 2, 100, Amount::from_micros(2)).1), Err(Refusal::WrongPrice));
}

#[test]
fn the_mix_gets_no_more_than_negotiated() {
    let mut meter = Meter::new(terms(), PRICE);
    meter.add(0, chain(0, 0, 100, SEVEN).1).unwrap();
    assert_eq!(meter.add(1, chain(0, 1, 100, SEVEN).1), Err(Refusal::WrongPrice), "more than the price");
    let (mut walker, other) = chain(0, 2, 100, THREE);
    meter.add(1, other).unwrap();
    assert_eq!(meter.add(2, chain(0, 3, 100, THREE).1), Err(Refusal::WrongPrice), "a third payer");
    // Ticks of one payer do not pay for the other, and what is paid ahead is not earned.
    meter.fare(0, &Pay { slot: 1, ..Pay::tick(walker.advance(8).unwrap()) }, None).unwrap();
    let claims: Vec<_> = meter.claims().map(|claim| (claim.slot, claim.front.index, claim.earned)).collect();
    assert_eq!(claims, [(0, 0, 0), (1, 8, 0)]);
}
