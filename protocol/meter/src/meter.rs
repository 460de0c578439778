//! The mix's side of a session.

use naulon_money::Amount;
use naulon_onion::{MAX_SLOTS, Pay, Protocol, Trigger, When};

use crate::Refusal;
use crate::chain::{Chain, Claim, Share, Taken};

/// Whether what comes back is paid by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// A reply is a block like any other (stream mode).
    Billed,
    /// One block forward pays so many back (cohort mode).
    Included(u32),
}

/// What a session agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who pays when.
    pub protocol: Protocol,
    /// W: by how many blocks anybody may be out.
    pub window: u32,
    /// What replies cost.
    pub replies: Replies,
}

/// What is done with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Pass,
    /// It waits, behind those that wait already, until [`Meter::release`] lets it go.
    Hold,
    /// It goes no further, and nothing is wrong: a block that only pays was overtaken by one that pays more.
    Drop,
}

/// Which of the blocks that wait goes on: the oldest of its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Towards the exit.
    Forward,
    /// Towards the sender.
    Reply,
}

/// Decides whether the blocks of one session may pass at one mix.
#[derive(Clone, Debug)]
pub struct Meter {
    terms: Terms,
    price: Amount,
    /// By slot. None at a mix that another one pays (case a).
    shares: Option<Vec<Option<Share>>>,
    used: u64,
    forwarded: u64,
    replied: u64,
    /// Blocks that pay for replies where these are included: those that were billed, and those that brought a check.
    pay_replies: u64,
    held: u32,
    held_replies: u32,
    /// How many numbers came, and one more than the highest: what is missing between was paid and never came.
    came: u64,
    end: u64,
}

impl Meter {
    /// A session that pays this mix: each mix in case b, the paying mix of a chain in case a. `price` is what a block costs.
    pub fn new(terms: Terms, price: Amount) -> Self {
        Meter::with(terms, price, Some(Vec::new()))
    }

    /// A session whose blocks another member of the chain is paid for (case a). All pass, and are counted.
    pub fn contract(terms: Terms) -> Self {
        Meter::with(terms, Amount::ZERO, None)
    }

    fn with(terms: Terms, price: Amount, shares: Option<Vec<Option<Share>>>) -> Self {
        let (used, forwarded, replied, pay_replies, came, end) = (0, 0, 0, 0, 0, 0);
        Meter { terms, price, shares, used, forwarded, replied, pay_replies, held: 0, held_replies: 0, came, end }
    }

    /// Takes a check for a slot: a new share, or what follows when the share's checks have run out. The shares never make up
    /// more than the price, and no block passes before they make it up.
    pub fn add(&mut self, slot: u8, chain: Chain) -> Result<(), Refusal> {
        let price = self.price;
        let shares = self.shares.as_mut().ok_or(Refusal::WrongProtocol)?;
        if slot >= MAX_SLOTS {
            return Err(Refusal::NoSuchShare);
        }
        if shares.iter().flatten().any(|share| share.has(&chain.id())) {
            return Err(Refusal::CheckInUse);
        }
        if let Some(Some(share)) = shares.get_mut(usize::from(slot)) {
            return share.add(chain);
        }
        let sum = sum_of(shares).and_then(|sum| sum.checked_add(chain.value())).ok_or(Refusal::WrongPrice)?;
        // A session has its shares before it has its first block.
        if sum > price || chain.value().is_zero() || self.used > 0 {
            return Err(Refusal::WrongPrice);
        }
        if shares.len() <= usize::from(slot) {
            shares.resize(usize::from(slot) + 1, None);
        }
        shares[usize::from(slot)] = Some(Share::new(chain));
        Ok(())
    }

    /// A data block of this number came. Numbers come once: the session's replay window has seen to it.
    pub fn forward(&mut self, number: u32, pay: &Pay) -> Result<Decision, Refusal> {
        self.count(number);
        if self.shares.is_none() {
            self.used += u64::from(!pay.is_ask && !pay.is_settlement);
            self.forwarded += 1;
            return Ok(Decision::Pass);
        }
        let taken = self.take_forward(pay)?;
        match pay {
            Pay { is_ask: true, .. } => self.ask(),
            Pay { is_settlement: true, .. } => self.settle(taken),
            _ => self.pass_or_hold(number, taken),
        }
    }

    /// A fare block came, and with it a check that the mix has looked at. A block that brings this mix a check passes without
    /// being billed; any other is a block.
    pub fn fare(&mut self, number: u32, pay: &Pay, chain: Option<Chain>) -> Result<Decision, Refusal> {
        let Some(chain) = chain else { return self.forward(number, &Pay { is_ask: false, ..*pay }) };
        self.count(number);
        self.add(pay.slot, chain)?;
        self.take_forward(pay)?;
        self.forwarded += 1;
        self.pay_replies += 1;
        Ok(Decision::Pass)
    }

    /// A reply wants to go back.
    pub fn reply(&mut self) -> Result<Decision, Refusal> {
        if self.shares.is_none() {
            self.replied += 1;
            self.used += u64::from(self.terms.replies == Replies::Billed);
            return Ok(Decision::Pass);
        }
        if self.held_replies == 0 && self.reply_passes() {
            return Ok(Decision::Pass);
        }
        if self.held_replies >= self.terms.window {
            return Err(Refusal::Unpaid);
        }
        self.held_replies += 1;
        Ok(Decision::Hold)
    }

    /// A tick that the recipient let go came back.
    pub fn returned(&mut self, pay: &Pay) -> Result<(), Refusal> {
        let Some(shares) = &self.shares else { return Ok(()) };
        if self.terms.protocol.trigger != Trigger::Recipient || shares.is_empty() {
            return Err(Refusal::WrongProtocol);
        }
        self.take(pay).map(|_| ())
    }

    /// Lets one block go that waits, if it is paid now. To be asked until it has none, whenever a tick came.
    pub fn release(&mut self) -> Option<Released> {
        if self.held > 0 && self.allows() {
            self.held -= 1;
            self.bill_forward();
            return Some(Released::Forward);
        }
        if self.held_replies > 0 && self.reply_passes() {
            self.held_replies -= 1;
            return Some(Released::Reply);
        }
        None
    }

    /// How many blocks were billed.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// How many blocks passed forward and back, billed or not.
    pub fn passed(&self) -> (u64, u64) {
        (self.forwarded, self.replied)
    }

    /// How many blocks wait, forward and back.
    pub fn held(&self) -> (u32, u32) {
        (self.held, self.held_replies)
    }

    /// How many replies could go back now. An exit reads so much, and no more, from whoever it is connected to.
    pub fn replies_allowed(&self) -> u64 {
        let Some(shares) = &self.shares else { return u64::from(self.terms.window) };
        match self.terms.replies {
            Replies::Included(a_block) => (self.pay_replies * u64::from(a_block)).saturating_sub(self.replied),
            Replies::Billed => {
                let left = shares.iter().flatten().map(|share| share.balance() + i64::from(self.reply_debt())).min();
                u64::try_from(left.unwrap_or(0)).unwrap_or(0)
            }
        }
    }

    /// The terms.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What stands of each chain, in the order of slots and of their use: to write down and to cash.
    pub fn claims(&self) -> impl Iterator<Item = Claim> {
        let slots = self.shares.iter().flatten().zip(0..);
        slots.flat_map(|(share, slot)| share.iter().flat_map(move |share| share.claims(slot)))
    }

    /// Gives up chains that are done with, which makes room for further checks.
    pub fn retire(&mut self) -> Vec<Claim> {
        let slots = self.shares.iter_mut().flatten().zip(0..);
        slots.filter_map(|(share, slot)| share.as_mut()?.retire(slot)).collect()
    }

    fn count(&mut self, number: u32) {
        self.came += 1;
        self.end = self.end.max(u64::from(number) + 1);
    }

    /// How many blocks may have passed and not be paid.
    fn debt(&self) -> u32 {
        match self.terms.protocol.when {
            When::Before => 0,
            When::After => self.terms.window,
        }
    }

    /// The tick of a forward block. Where the recipient triggers, none comes forward.
    fn take_forward(&mut self, pay: &Pay) -> Result<Option<Taken>, Refusal> {
        if pay.tick.is_some() && self.terms.protocol.trigger == Trigger::Recipient {
            return Err(Refusal::WrongProtocol);
        }
        self.take(pay)
    }

    fn take(&mut self, pay: &Pay) -> Result<Option<Taken>, Refusal> {
        let Some(tick) = &pay.tick else { return Ok(None) };
        // Blocks that are missing were paid by their sender, as was this one, and those that wait.
        let missing = u32::try_from(self.end.saturating_sub(self.came)).unwrap_or(u32::MAX);
        let this = u32::from(!pay.is_settlement);
        let ahead = self.terms.window.saturating_add(missing).saturating_add(self.held).saturating_add(this);
        let shares = self.shares.as_mut().ok_or(Refusal::WrongProtocol)?;
        let share = shares.get_mut(usize::from(pay.slot)).and_then(Option::as_mut).ok_or(Refusal::NoSuchShare)?;
        Ok(Some(share.take(tick, ahead)?))
    }

    fn is_complete(&self) -> bool {
        self.shares.as_ref().is_none_or(|shares| sum_of(shares) == Some(self.price))
    }

    /// The same for replies: they leave room for the blocks forward that bring their payment.
    fn reply_debt(&self) -> u32 {
        self.debt().div_ceil(2)
    }

    fn allows(&self) -> bool {
        self.allows_within(self.debt())
    }

    fn allows_within(&self, debt: u32) -> bool {
        self.is_complete() && self.shares.iter().flatten().flatten().all(|share| share.allows(debt))
    }

    fn bill(&mut self) {
        self.shares.iter_mut().flatten().flatten().for_each(Share::bill);
        self.used += 1;
    }

    fn bill_forward(&mut self) {
        self.bill();
        self.forwarded += 1;
        self.pay_replies += 1;
    }

    fn pass_or_hold(&mut self, number: u32, taken: Option<Taken>) -> Result<Decision, Refusal> {
        if !self.is_complete() {
            return Err(Refusal::SharesMissing);
        }
        if self.held == 0 && self.allows() {
            self.bill_forward();
            return Ok(Decision::Pass);
        }
        // The newest block brings no tick that was used before; one that was overtaken may.
        if taken == Some(Taken::Before) && u64::from(number) + 1 == self.end {
            return Err(Refusal::Tick(naulon_tick::TickError::Used));
        }
        if self.held >= self.terms.window {
            return Err(Refusal::Unpaid);
        }
        self.held += 1;
        Ok(Decision::Hold)
    }

    fn ask(&mut self) -> Result<Decision, Refusal> {
        let is_of_protocol =
            self.terms.protocol == Protocol { when: When::Before, trigger: Trigger::Recipient } && self.is_complete();
        if !is_of_protocol {
            return Err(Refusal::WrongProtocol);
        }
        let window = i64::from(self.terms.window);
        let mut shares = self.shares.iter_mut().flatten().flatten();
        if shares.any(|share| share.open_asks >= window) {
            return Err(Refusal::TooManyAsks);
        }
        self.shares.iter_mut().flatten().flatten().for_each(|share| share.open_asks += 1);
        self.forwarded += 1;
        Ok(Decision::Pass)
    }

    /// A block that only pays must pay something.
    fn settle(&mut self, taken: Option<Taken>) -> Result<Decision, Refusal> {
        if self.terms.protocol != (Protocol { when: When::After, trigger: Trigger::Sender }) {
            return Err(Refusal::WrongProtocol);
        }
        match taken {
            Some(Taken::Paid) => {
                self.forwarded += 1;
                Ok(Decision::Pass)
            }
            Some(Taken::Before) => Ok(Decision::Drop),
            None => Err(Refusal::Unpaid),
        }
    }

    /// Counts a reply if it may go.
    fn reply_passes(&mut self) -> bool {
        let passes = match self.terms.replies {
            Replies::Included(a_block) => self.replied < self.pay_replies * u64::from(a_block),
            Replies::Billed => self.allows_within(self.reply_debt()),
        };
        if passes {
            self.replied += 1;
            if self.terms.replies == Replies::Billed {
                self.bill();
            }
        }
        passes
    }
}

fn sum_of(shares: &[Option<Share>]) -> Option<Amount> {
    shares.iter().flatten().try_fold(Amount::ZERO, |sum, share| sum.checked_add(share.value))
}
