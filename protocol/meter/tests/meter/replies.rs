//! What comes back is paid, too.

use naulon_meter::{Decision, Meter, Payer, Refusal, Released, Replies, Terms};
use naulon_onion::{Pay, Protocol};

use crate::world::{PRICE, chain};

fn open(replies: Replies, ahead: u32) -> (Payer, Meter) {
    let terms = Terms { protocol: Protocol::BEFORE_SENDER, window: 8, replies };
    let (walker, chain) = chain(0, 0, 10_000, PRICE);
    let (mut payer, mut meter) = (Payer::new(terms, ahead), Meter::new(terms, PRICE));
    payer.add(0, walker).unwrap();
    meter.add(0, chain).unwrap();
    (payer, meter)
}

#[test]
fn one_block_pays_for_its_replies() {
    let (mut payer, mut meter) = open(Replies::Included(3), 0);
    assert_eq!(meter.reply(), Ok(Decision::Hold));
    meter.forward(0, &payer.data().unwrap()).unwrap();
    assert_eq!(meter.release(), Some(Released::Reply));
    assert_eq!(meter.replies_allowed(), 2);
    assert_eq!(
        [meter.reply(), meter.reply(), meter.reply()],
        [Ok(Decision::Pass), Ok(Decision::Pass), Ok(Decision::Hold)]
    );
    assert_eq!(meter.used(), 1);
    for _ in 0..7 {
        assert_eq!(meter.reply(), Ok(Decision::Hold));
    }
    assert_eq!(meter.reply(), Err(Refusal::Unpaid), "no more wait than the window");
}

#[test]
fn a_download_is_paid_by_jumps() {
    let (mut payer, mut meter) = open(Replies::Billed, 8);
    let (mut number, mut held, mut ticks) = (0, 0_u32, 0);
    let mut send = |payer: &mut Payer, meter: &mut Meter| {
        let pay: Pay = payer.data().unwrap();
        ticks += u32::from(pay.tick.is_some());
        assert_eq!(meter.forward(number, &pay), Ok(Decision::Pass));
        number += 1;
    };
    send(&mut payer, &mut meter);
    for _ in 0..4_000 {
        match meter.reply().unwrap() {
            Decision::Pass => payer.received(),
            _ => held += 1,
        }
        if payer.is_low() {
            send(&mut payer, &mut meter);
            while meter.release() == Some(Released::Reply) {
                payer.received();
            }
        }
    }
    assert_eq!((held, meter.held()), (0, (0, 0)), "the sender tops up before anything waits");
    assert_eq!(meter.used(), payer.used());
    assert_eq!(meter.passed(), (u64::from(number), 4_000));
    assert!(number <= 4_000 / 3, "a block pays for at least three replies: {number}");
    assert_eq!(ticks, number, "each of them brings one tick");
    let claim = meter.claims().next().unwrap();
    assert_eq!(u64::from(claim.earned), meter.used());
    assert!(u64::from(claim.front.index) <= meter.used() + 8);
}

#[test]
fn a_download_that_nobody_pays_for_stops() {
    let (mut payer, mut meter) = open(Replies::Billed, 8);
    meter.forward(0, &payer.data().unwrap()).unwrap();
    let passed = std::iter::from_fn(|| match meter.reply() {
        Ok(Decision::Pass) => Some(()),
        _ => None,
    });
    assert_eq!(passed.count(), 8, "eight are paid ahead");
}
