//! One mix held against a model that counts in the plainest way: ticks paid by the highest genuine tick seen, blocks passed.

use naulon_meter::{Decision, Meter, Refusal, Terms};
use naulon_onion::{Pay, Protocol, When};
use naulon_tick::{Front, Tick, TickError, Walker};
use proptest::prelude::*;

use crate::world::{PRICE, chain, terms};

#[derive(Clone, Copy, Debug)]
enum Block {
    /// With the genuine tick of this number.
    Genuine(u32),
    Forged(u32),
    Without,
}

struct Model {
    terms: Terms,
    length: u32,
    paid: u32,
    passed: u32,
    held: u32,
    missing: u32,
}

impl Model {
    fn debt(&self) -> u32 {
        if self.terms.protocol.when == When::After { self.terms.window } else { 0 }
    }

    fn may_pass(&self) -> bool {
        self.passed < self.paid + self.debt() && self.passed < self.length
    }

    fn forward(&mut self, block: Block) -> Result<Decision, Refusal> {
        let mut is_old = false;
        if let Block::Genuine(number) | Block::Forged(number) = block {
            is_old = number <= self.paid;
            if number > self.length {
                return Err(TickError::Exhausted.into());
            }
            if !is_old {
                if number > self.passed + self.terms.window + self.missing + self.held + 1 {
                    return Err(TickError::TooFar.into());
                }
                if matches!(block, Block::Forged(_)) {
                    return Err(TickError::Forged.into());
                }
                self.paid = number;
            }
        }
        if self.held == 0 && self.may_pass() {
            self.passed += 1;
            return Ok(Decision::Pass);
        }
        if is_old {
            return Err(TickError::Used.into());
        }
        if self.held >= self.terms.window {
            return Err(Refusal::Unpaid);
        }
        self.held += 1;
        Ok(Decision::Hold)
    }
}

fn ticks(mut walker: Walker) -> Vec<Front> {
    std::iter::from_fn(|| walker.advance(1).ok()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn it_decides_as_the_model(
        is_after: bool, window in 1..8_u32, length in 1..40_u32,
        blocks in prop::collection::vec((0..8_u32, -2..6_i32, 0..12_u32), 1..80),
    ) {
        let when = if is_after { When::After } else { When::Before };
        let terms = terms(Protocol { when, trigger: naulon_onion::Trigger::Sender }, window);
        let (walker, chain) = chain(0, 0, length, PRICE);
        let all = ticks(walker);
        let (mut meter, mut next) = (Meter::new(terms, PRICE), 0);
        meter.add(0, chain).unwrap();
        let mut model = Model { terms, length, paid: 0, passed: 0, held: 0, missing: 0 };
        for (gap, ahead, luck) in blocks {
            let skipped = if luck == 0 { gap } else { 0 };
            next += skipped;
            model.missing += skipped;
            let number = u32::try_from(i64::from(model.paid) + i64::from(ahead)).unwrap_or(0).max(1);
            let block = match luck {
                11 => Block::Forged(number),
                9 | 10 => Block::Without,
                _ => Block::Genuine(number),
            };
            let tick = match block {
                Block::Genuine(number) => Some(all.get(number as usize - 1).copied().unwrap_or(Front { index: number, tick: Tick([1; 16]) })),
                Block::Forged(number) => Some(Front { index: number, tick: Tick([0xee; 16]) }),
                Block::Without => None,
            };
            let got = meter.forward(next, &Pay { tick, ..Pay::default() });
            next += 1;
            let expected = model.forward(block);
            prop_assert_eq!(got, expected, "{:?}", block);
            if got.is_err() {
                break;
            }
            while meter.release().is_some() {
                prop_assert!(model.held > 0 && model.may_pass());
                model.held -= 1;
                model.passed += 1;
            }
            prop_assert!(model.held == 0 || !model.may_pass());
            prop_assert_eq!(meter.used(), u64::from(model.passed));
            let claim = meter.claims().next().unwrap();
            prop_assert_eq!((claim.front.index, claim.earned), (model.paid, model.paid.min(model.passed)));
            prop_assert_eq!(claim.cashable().unwrap().index, claim.earned);
        }
    }
}
