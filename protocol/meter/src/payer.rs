//! The sender's side of a session, towards one mix.

use std::collections::VecDeque;
use std::fmt;

use naulon_onion::{Pay, Protocol, Trigger, When};
use naulon_tick::{TickError, Walker};

use crate::meter::{Replies, Terms};

/// Why there is no tick for another block now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// As many blocks are out as may be: wait for the recipient's *ok*, or for replies.
    #[error("as many blocks are out as the window allows")]
    Unconfirmed,
    /// This slot's check has run out: send a fare block with the next one.
    #[error("the check of share {0} has run out")]
    NeedsFare(u8),
    /// A call that this protocol does not have.
    #[error("that is not this session's protocol")]
    WrongProtocol,
    /// The chain.
    #[error(transparent)]
    Tick(#[from] TickError),
}

/// Says which tick goes with which block, and stops before it could be out by more than the window.
pub struct Payer {
    terms: Terms,
    /// How many blocks are paid ahead.
    ahead: u32,
    /// By slot; none where another mix is paid.
    shares: Option<Vec<Share>>,
    is_confirmed: bool,
    sent: u64,
    asked: u64,
    received: u64,
    confirmed: u64,
}

struct Share {
    slot: u8,
    walkers: VecDeque<Walker>,
    paid: u64,
}

impl Share {
    fn left(&self) -> u64 {
        self.walkers.iter().map(|walker| u64::from(walker.left())).sum()
    }

    /// Pays up to this many blocks, as far as the chain in use goes: one tick belongs to one chain.
    fn pay(&mut self, target: u64) -> Result<Pay, TickError> {
        while self.walkers.len() > 1 && self.walkers.front().is_some_and(|walker| walker.left() == 0) {
            self.walkers.pop_front();
        }
        let due = u32::try_from(target.saturating_sub(self.paid)).unwrap_or(u32::MAX);
        let Some(walker) = self.walkers.front_mut() else { return Ok(Pay { slot: self.slot, ..Pay::default() }) };
        let ticks = due.min(walker.left());
        let tick = if ticks == 0 { None } else { Some(walker.advance(ticks)?) };
        self.paid += u64::from(ticks);
        Ok(Pay { slot: self.slot, tick, ..Pay::default() })
    }
}

impl Payer {
    /// Pays a mix by checks that [`Payer::add`] brings. `ahead` is how many blocks are paid in advance, at most the window: for
    /// replies on their way, and (before/sender) so that one jump pays many blocks. After delivery the sender, who knows what
    /// has come, pays nothing in advance; a tick that the recipient lets go may cover the reply that says so. Several shares want at
    /// least two each.
    pub fn new(terms: Terms, ahead: u32) -> Self {
        let is_confirmed = terms.protocol != Protocol::BEFORE_SENDER;
        let pays_what_came = terms.protocol == Protocol { when: When::After, trigger: Trigger::Sender };
        let ahead = if pays_what_came { 0 } else { ahead.min(terms.window) };
        let (sent, asked, received, confirmed) = (0, 0, 0, 0);
        Payer { terms, ahead, shares: Some(Vec::new()), is_confirmed, sent, asked, received, confirmed }
    }

    /// Pays nothing to this mix: another member of the chain is paid (case a).
    pub fn contract(terms: Terms) -> Self {
        Payer { shares: None, ..Payer::new(terms, 0) }
    }

    /// Also before/sender stops when W blocks are paid and not confirmed. Without it a mix that takes ticks and passes nothing is
    /// noticed only by what does not come back (MixPay §4.3: the disadvantage of that protocol).
    pub fn confirmed_by_recipient(self) -> Self {
        Payer { is_confirmed: true, ..self }
    }

    /// A chain for a slot: the first, or the next one.
    pub fn add(&mut self, slot: u8, walker: Walker) -> Result<(), Stop> {
        let shares = self.shares.as_mut().ok_or(Stop::WrongProtocol)?;
        match shares.iter_mut().find(|share| share.slot == slot) {
            Some(share) => share.walkers.push_back(walker),
            None => shares.push(Share { slot, walkers: VecDeque::from([walker]), paid: 0 }),
        }
        Ok(())
    }

    /// What a fare block says that brings the check of the chain that was added last to this slot. It pays a new share's
    /// advance.
    pub fn fare(&mut self, slot: u8) -> Result<Pay, Stop> {
        let target = (self.used() + u64::from(self.ahead)).min(self.limit());
        let is_paid_ahead = self.terms.protocol == Protocol::BEFORE_SENDER;
        let shares = self.shares.as_mut().ok_or(Stop::WrongProtocol)?;
        let share = shares.iter_mut().find(|share| share.slot == slot).ok_or(Stop::NeedsFare(slot))?;
        if is_paid_ahead { Ok(share.pay(target)?) } else { Ok(Pay { slot, ..Pay::default() }) }
    }

    /// What the next data block says. Where the recipient triggers after delivery, see [`Payer::data_with_sealed`].
    pub fn data(&mut self) -> Result<Pay, Stop> {
        let pay = match (self.terms.protocol.when, self.terms.protocol.trigger) {
            _ if self.shares.is_none() => Pay::default(),
            (When::Before, Trigger::Sender) => self.pay_ahead()?,
            (When::After, Trigger::Sender) => self.pay_confirmed()?,
            (When::Before, Trigger::Recipient) if self.sent < self.asked => Pay::default(),
            (When::Before, Trigger::Recipient) => return Err(Stop::Unconfirmed),
            (When::After, Trigger::Recipient) => return Err(Stop::WrongProtocol),
        };
        self.sent += 1;
        Ok(pay)
    }

    /// Before/recipient: what an ask says, and the tick that is sealed to the recipient with it. The data follows.
    pub fn ask(&mut self) -> Result<(Pay, Pay), Stop> {
        if self.terms.protocol != (Protocol { when: When::Before, trigger: Trigger::Recipient }) {
            return Err(Stop::WrongProtocol);
        }
        let sealed = self.seal(self.asked)?;
        self.asked += 1;
        Ok((Pay { is_ask: true, ..Pay::default() }, sealed))
    }

    /// After/recipient: what the next data block says, and the tick that is sealed to the recipient with it.
    pub fn data_with_sealed(&mut self) -> Result<(Pay, Pay), Stop> {
        if self.terms.protocol != (Protocol { when: When::After, trigger: Trigger::Recipient }) {
            return Err(Stop::WrongProtocol);
        }
        let sealed = self.seal(self.sent)?;
        self.sent += 1;
        Ok((Pay::default(), sealed))
    }

    /// After/sender: a block that only pays what was confirmed, if anything is due. Otherwise the tick goes with the next
    /// data block (the paper's optimisation).
    pub fn settle(&mut self) -> Result<Option<Pay>, Stop> {
        if self.shares.is_none() || self.terms.protocol != (Protocol { when: When::After, trigger: Trigger::Sender }) {
            return Ok(None);
        }
        let due = self.confirmed_blocks();
        let Some(share) = self.poorest() else { return Ok(None) };
        if share.paid >= due {
            return Ok(None);
        }
        let pay = share.pay(due)?;
        Ok(pay.tick.map(|_| Pay { is_settlement: true, ..pay }))
    }

    /// A reply came.
    pub fn received(&mut self) {
        self.received += 1;
    }

    /// The recipient confirmed that so many blocks came, in all.
    pub fn confirm(&mut self, blocks: u64) {
        self.confirmed = self.confirmed.max(blocks.min(self.sent));
    }

    /// Whether a block is due, if only to pay for replies: less than half of the advance is left, or (after delivery) a quarter of
    /// a window is not paid.
    pub fn is_low(&self) -> bool {
        let quarter = u64::from(self.terms.window.div_ceil(4));
        let wanted = match (self.terms.protocol.when, self.terms.protocol.trigger) {
            (When::Before, _) => self.used() + u64::from(self.ahead.div_ceil(2)),
            (When::After, Trigger::Sender) => (self.confirmed_blocks() + 1).saturating_sub(quarter),
            (When::After, Trigger::Recipient) => (self.used() + 1).saturating_sub(quarter),
        };
        self.shares.iter().flatten().any(|share| share.paid < wanted)
    }

    /// A slot with fewer than so many ticks left: time for its next check.
    pub fn needs_fare(&self, margin: u32) -> Option<u8> {
        let mut shares = self.shares.iter().flatten();
        shares.find(|share| share.left() < u64::from(margin)).map(|share| share.slot)
    }

    /// How many blocks this mix has, or will have, earned by what the sender sent and received.
    pub fn used(&self) -> u64 {
        self.sent + self.billed_replies()
    }

    /// How many ticks each slot has handed out, let go or sealed.
    pub fn paid(&self) -> impl Iterator<Item = (u8, u64)> {
        self.shares.iter().flatten().map(|share| (share.slot, share.paid))
    }

    fn billed_replies(&self) -> u64 {
        if self.terms.replies == Replies::Billed { self.received } else { 0 }
    }

    fn confirmed_blocks(&self) -> u64 {
        self.confirmed + self.billed_replies()
    }

    fn poorest(&mut self) -> Option<&mut Share> {
        self.shares.iter_mut().flatten().min_by_key(|share| share.paid)
    }

    /// How much may be paid as long as no more is confirmed.
    fn limit(&self) -> u64 {
        if self.is_confirmed { self.confirmed_blocks() + u64::from(self.terms.window) } else { u64::MAX }
    }

    fn pay_ahead(&mut self) -> Result<Pay, Stop> {
        let (needed, limit) = (self.used() + 1, self.limit());
        if needed > limit {
            return Err(Stop::Unconfirmed);
        }
        if let Some(share) = self.shares.iter().flatten().find(|share| share.paid + share.left() < needed) {
            return Err(Stop::NeedsFare(share.slot));
        }
        let ahead = u64::from(self.ahead);
        let share = self.poorest().ok_or(Stop::NeedsFare(0))?;
        // One jump pays many blocks: no tick is taken out while at least half of the advance is left.
        if share.paid >= needed + ahead / 2 {
            return Ok(Pay { slot: share.slot, ..Pay::default() });
        }
        Ok(share.pay((needed + ahead).min(limit))?)
    }

    fn pay_confirmed(&mut self) -> Result<Pay, Stop> {
        let out = self.used() - self.confirmed_blocks();
        if out >= u64::from(self.terms.window) {
            return Err(Stop::Unconfirmed);
        }
        let needed = self.used() + 1;
        let due = self.confirmed_blocks();
        let short = self.shares.iter().flatten().find(|share| share.paid + share.left() < needed);
        if let Some(share) = short {
            return Err(Stop::NeedsFare(share.slot));
        }
        let share = self.poorest().ok_or(Stop::NeedsFare(0))?;
        Ok(share.pay(due)?)
    }

    /// The tick that the recipient gets, after so many.
    fn seal(&mut self, before: u64) -> Result<Pay, Stop> {
        if self.shares.is_none() {
            return Ok(Pay::default());
        }
        let (needed, ahead) = (before + 1 + self.billed_replies(), u64::from(self.ahead));
        if before - self.confirmed.min(before) + ahead >= u64::from(self.terms.window) {
            return Err(Stop::Unconfirmed);
        }
        let share = self.poorest().ok_or(Stop::NeedsFare(0))?;
        if share.paid + share.left() < needed {
            return Err(Stop::NeedsFare(share.slot));
        }
        Ok(share.pay(needed + ahead)?)
    }
}

/// It must not be printed.
impl fmt::Debug for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payer").field("terms", &self.terms).finish_non_exhaustive()
    }
}
