//! Lists of operations on a meter: whatever blocks, ticks and checks come, a mix is out by no more than the window, earns no more
//! than passed, and holds no more than it may.

use naulon_meter::{Chain, Decision, Meter, Replies, Terms};
use naulon_money::Amount;
use naulon_onion::{Pay, Protocol};
use naulon_tick::{ChainId, Front, Tick, Walker};

use crate::bytes_source::BytesSource;

/// More than that only repeats itself.
const MAX_OPERATIONS: usize = 200;
const PRICE: Amount = Amount::from_micros(10);
const LENGTH: u32 = 40;

fn chain(number: u8, value: u64) -> (Vec<Front>, Chain) {
    let id = ChainId([number; 32]);
    let mut walker = Walker::new(id, &[number; 32], LENGTH).expect("a chain");
    let chain = Chain::new(id, walker.root(), LENGTH, Amount::from_micros(value));
    (std::iter::from_fn(|| walker.advance(1).ok()).collect(), chain)
}

/// The list that these bytes decide.
pub fn operations(bytes: &[u8]) {
    let mut source = BytesSource::new(bytes);
    let replies = if source.flag() { Replies::Billed } else { Replies::Included(source.below(5) as u32) };
    let window = 1 + source.below(8) as u32;
    let terms = Terms { protocol: source.of(&Protocol::ALL), window, replies };
    let mut meter = Meter::new(terms, PRICE);
    let mut ticks: Vec<Vec<Front>> = Vec::new();
    let mut number = 0_u32;
    for _ in 0..MAX_OPERATIONS {
        if source.is_empty() {
            break;
        }
        let slot = source.below(3) as u8;
        let tick = match source.below(4) {
            0 => None,
            1 => Some(Front { index: source.byte().into(), tick: Tick([source.byte(); 16]) }),
            _ => {
                let chain = source.below(ticks.len().max(1));
                ticks.get(chain).and_then(|ticks| ticks.get(source.below(LENGTH as usize)).copied())
            }
        };
        let pay = Pay { slot, tick, ..Pay::default() };
        number += source.below(3) as u32 / 2;
        let decision = match source.below(8) {
            0 => {
                let (new, chain) = chain(ticks.len() as u8, [10, 10, 7, 3][source.below(4)]);
                ticks.push(new);
                meter.fare(number, &pay, Some(chain))
            }
            1 => meter.forward(number, &Pay { is_ask: true, ..pay }),
            2 => meter.forward(number, &Pay { is_settlement: true, ..pay }),
            3 => meter.returned(&pay).map(|()| Decision::Drop),
            4 => meter.reply(),
            _ => meter.forward(number, &pay),
        };
        if decision.is_err() {
            break;
        }
        number += 1;
        while meter.release().is_some() {}
        check(&meter, meter.used());
    }
}

fn check(meter: &Meter, billed: u64) {
    let window = u64::from(meter.terms().window);
    let claims: Vec<_> = meter.claims().collect();
    for slot in 0..3 {
        let of_slot = claims.iter().filter(|claim| claim.slot == slot);
        let earned: u64 = of_slot.clone().map(|claim| u64::from(claim.earned)).sum();
        assert!(earned <= billed, "more is earned than passed");
        assert!(of_slot.clone().count() == 0 || billed <= earned + window, "out by more than the window");
        for claim in of_slot {
            assert!(claim.cashable().expect("a lower tick").index == claim.earned);
        }
    }
    let (held, replies) = meter.held();
    assert!(u64::from(held.max(replies)) <= window);
}
