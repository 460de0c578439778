//! What a mix keeps of the checks that it was paid with.

use naulon_durable::StoreError;
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, PublicKey};
use naulon_tick::{Check, Front};

/// A check that a mix was paid with, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCheck {
    /// The check.
    pub check: Check,
    /// What it is funded by, CBOR.
    pub funding: Vec<u8>,
    /// The highest tick that was received.
    pub front: Front,
    /// How many of the ticks are earned: a block passed for each.
    pub earned: u32,
    /// As far as the bank has paid.
    pub cashed: Front,
}

/// One change of what is kept. Written in their order, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A check was taken.
    Taken(Box<KeptCheck>),
    /// Ticks came in, or were earned. Neither number ever falls.
    Earned {
        /// The check.
        commitment: Digest,
        /// The highest tick.
        front: Front,
        /// How many were earned.
        earned: u32,
    },
    /// The bank has paid. Only if it stood at `from`: a repetition is not counted twice.
    Cashed {
        /// The check.
        commitment: Digest,
        /// As far as it had paid before.
        from: u32,
        /// As far as it has paid now.
        to: Front,
        /// What it has paid to this mix.
        amount: Amount,
    },
    /// The check is over and nothing of it is left to cash.
    Forgotten(Digest),
}

/// What one bank has paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earnings {
    /// The bank.
    pub bank: PublicKey,
    /// The currency.
    pub currency: Currency,
    /// How many ticks were cashed.
    pub ticks: u64,
    /// What they paid.
    pub cashed: Amount,
}

/// Keeps ticks until they are cashed.
pub trait TickStore: Send {
    /// All checks, in the order in which they were taken. One that is missing is money lost to the mix; one that stands
    /// behind what was written is money lost for the difference.
    fn all(&self) -> Result<Vec<KeptCheck>, StoreError>;

    /// What each bank has paid so far, by bank.
    fn earnings(&self) -> Result<Vec<Earnings>, StoreError>;

    /// Writes these changes, all of them or none. When it returns, they are durable. If it said so too early, a crash would
    /// cost the ticks of blocks that have passed long ago; the mix itself writes behind, and owes the store up to one
    /// window of ticks a check.
    fn write(&mut self, changes: &[Change]) -> Result<(), StoreError>;
}
