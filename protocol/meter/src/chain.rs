//! The chains that pay one share of a session, one after the other.

use std::collections::VecDeque;

use naulon_money::{Amount, Currency};
use naulon_statement::{PublicKey, Timestamp};
use naulon_tick::{ChainId, Check, Front, MAX_JUMP, Tick, TickError};

use crate::Refusal;

/// How many checks a share may have at once: the one in use, those before it that are not yet paid up, and those that wait.
pub const MAX_CHECKS: usize = 4;

/// What a payee asks of a check before it looks at the funding.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    /// The payee's key at the bank.
    pub payee: &'e PublicKey,
    /// The bank.
    pub bank: &'e PublicKey,
    /// The currency.
    pub currency: &'e Currency,
    /// The check must be usable until then.
    pub usable_until: Timestamp,
}

/// One chain at the payee: how far it is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    id: ChainId,
    length: u32,
    value: Amount,
    front: Front,
    earned: u32,
}

impl Chain {
    /// A chain of which nothing is paid.
    pub fn new(id: ChainId, root: Tick, length: u32, value: Amount) -> Self {
        Chain { id, length, value, front: Front::root(root), earned: 0 }
    }

    /// The chain of a check that is for this payee. Whether it is funded is not looked at.
    pub fn of(check: &Check, expected: &Expected<'_>) -> Result<Self, Refusal> {
        if check.bank != *expected.bank {
            return Err(Refusal::WrongBank);
        }
        if check.payee != *expected.payee {
            return Err(Refusal::WrongPayee);
        }
        if check.currency != *expected.currency {
            return Err(Refusal::WrongCurrency);
        }
        if check.expiry <= expected.usable_until {
            return Err(Refusal::Expired);
        }
        check.check_form()?;
        Ok(Chain::new(check.id, check.root, check.length, check.value))
    }

    /// The chain as it was written down: paid up to the front, so much of it earned before.
    pub fn resume(self, front: Front, earned: u32) -> Self {
        Chain { front, earned: earned.min(front.index), ..self }
    }

    /// Its name.
    pub fn id(&self) -> ChainId {
        self.id
    }

    /// What each tick pays.
    pub fn value(&self) -> Amount {
        self.value
    }
}

/// What stands of a chain at the payee: to write down, and to cash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The share that it pays.
    pub slot: u8,
    /// The chain.
    pub id: ChainId,
    /// The highest tick that came.
    pub front: Front,
    /// How many of the ticks are earned: a block passed for each.
    pub earned: u32,
}

impl Claim {
    /// The tick to cash. What was paid ahead stays the payer's.
    pub fn cashable(&self) -> Result<Front, TickError> {
        self.front.lower(&self.id, self.earned)
    }
}

/// What one payer owes and has paid.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub value: Amount,
    chains: VecDeque<Chain>,
    /// Which of the chains is paid with now.
    current: usize,
    /// Blocks used on these chains.
    used: u64,
    /// Ticks paid on these chains.
    paid: u64,
    /// Asks that passed, less ticks that came: a tick may come for asks that others have overtaken.
    pub open_asks: i64,
}

/// What came of a tick.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It paid for more blocks.
    Paid,
    /// It, or one after it, had come before: blocks overtake each other on their way. It pays nothing.
    Before,
}

impl Share {
    pub fn new(chain: Chain) -> Self {
        let (used, paid) = (u64::from(chain.earned), u64::from(chain.front.index));
        Share { value: chain.value, chains: VecDeque::from([chain]), current: 0, used, paid, open_asks: 0 }
    }

    pub fn has(&self, id: &ChainId) -> bool {
        self.chains.iter().any(|known| known.id == *id)
    }

    /// A further check for when the ones before it have run out.
    pub fn add(&mut self, chain: Chain) -> Result<(), Refusal> {
        if chain.value != self.value {
            return Err(Refusal::WrongPrice);
        }
        if self.chains.len() >= MAX_CHECKS {
            return Err(Refusal::TooManyChecks);
        }
        self.used += u64::from(chain.earned);
        self.paid += u64::from(chain.front.index);
        self.chains.push_back(chain);
        Ok(())
    }

    /// Ticks paid less blocks used.
    pub fn balance(&self) -> i64 {
        self.paid as i64 - self.used as i64
    }

    /// Takes a tick: of the chain in use, of the next one, which is in use then, or a late one of the one before. `ahead` is how much may be
    /// paid ahead of use.
    pub fn take(&mut self, tick: &Front, ahead: u32) -> Result<Taken, TickError> {
        let room = i64::from(ahead) - self.balance();
        let refused = match self.advance(self.current, tick, room) {
            Ok(()) => return Ok(Taken::Paid),
            Err(error) => error,
        };
        // The block with the last tick of a chain may be lost, and blocks overtake each other.
        if self.current + 1 < self.chains.len() && self.advance(self.current + 1, tick, room).is_ok() {
            self.current += 1;
            return Ok(Taken::Paid);
        }
        if self.current > 0 && self.advance(self.current - 1, tick, room).is_ok() {
            return Ok(Taken::Paid);
        }
        let came_before = refused == TickError::Used && self.current + 1 == self.chains.len();
        if came_before || self.is_known(tick) { Ok(Taken::Before) } else { Err(refused) }
    }

    fn advance(&mut self, at: usize, tick: &Front, room: i64) -> Result<(), TickError> {
        let chain = &mut self.chains[at];
        let steps = tick.index.checked_sub(chain.front.index).filter(|steps| *steps > 0).ok_or(TickError::Used)?;
        if tick.index > chain.length {
            return Err(TickError::Exhausted);
        }
        if i64::from(steps) > room {
            return Err(TickError::TooFar);
        }
        let steps = chain.front.advance(&chain.id, tick, MAX_JUMP)?;
        self.paid += u64::from(steps);
        self.open_asks -= i64::from(steps);
        Ok(())
    }

    /// Whether this is a genuine tick of the chain in use or the one before, near its front, that comes late.
    fn is_known(&self, tick: &Front) -> bool {
        let below = |chain: &Chain| {
            let steps = chain.front.index.checked_sub(tick.index).filter(|steps| *steps <= MAX_JUMP);
            steps.is_some() && chain.front.lower(&chain.id, tick.index).is_ok_and(|lower| lower == *tick)
        };
        let before = self.current.checked_sub(1).and_then(|at| self.chains.get(at));
        below(&self.chains[self.current]) || before.is_some_and(below)
    }

    /// Whether one more block may be used, with at most `debt` of them unpaid. What the checks can pay is the end.
    pub fn allows(&self, debt: u32) -> bool {
        let payable = self.paid + self.chains.iter().skip(self.current).map(left_of).sum::<u64>();
        self.balance() > -i64::from(debt) && self.used < payable
    }

    /// Uses one block. [`Share::allows`] said that it may.
    pub fn bill(&mut self) {
        self.used += 1;
    }

    /// What stands of each chain: ticks are earned in the order in which they were paid.
    pub fn claims(&self, slot: u8) -> impl Iterator<Item = Claim> {
        let mut used = self.used;
        self.chains.iter().map(move |chain| {
            let earned = used.min(u64::from(chain.front.index)) as u32;
            used -= u64::from(earned);
            Claim { slot, id: chain.id, front: chain.front, earned }
        })
    }

    /// Gives up the oldest chain if it is done with, and not only just: late ticks of the one before are still known.
    pub fn retire(&mut self, slot: u8) -> Option<Claim> {
        let oldest = self.claims(slot).next()?;
        if self.current < 2 || oldest.earned < oldest.front.index {
            return None;
        }
        self.chains.pop_front();
        self.current -= 1;
        self.used -= u64::from(oldest.earned);
        self.paid -= u64::from(oldest.earned);
        Some(oldest)
    }
}

fn left_of(chain: &Chain) -> u64 {
    u64::from(chain.length - chain.front.index)
}
