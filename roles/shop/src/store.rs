//! What a shop keeps of its sales.

use naulon_durable::StoreError;
use naulon_exchange::SaleNumber;
use naulon_purchase::{Order, Payment, Sale};
use naulon_statement::{Digest, Timestamp};

/// Names a sale: the digest of the bank's header, which binds the offer, the buyer's authorization and the log.
pub type SaleId = Digest;

/// One step of a sale.
#[derive(Clone, Debug)]
pub enum SaleWrite {
    /// The payment is good, and k will be released. Refused if the sale is there.
    Accept(SaleId, Box<Payment>),
    /// What became known of the sale: decision, evidence against the log, whether it is settled. The payment stays. Refused
    /// if the sale is not there or is settled, or if its decision would be lost. The time counts from when it is settled.
    Advance(SaleId, Box<Sale>, Timestamp),
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A step does not follow from where the sale stands: the shop's view is not the store's. Nothing was written.
    #[error("a sale is not at the point at which it can be written so")]
    OutOfTurn,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Remembers sales.
pub trait ShopStore: Send {
    /// A sale as it stands. One that is missing here would be accepted again, which its guard then refuses.
    fn sale(&self, id: &SaleId) -> Result<Option<Sale>, StoreError>;

    /// All sales that are not settled. One that is missing here is never seen through: the shop loses its price.
    fn open_sales(&self) -> Result<Vec<(SaleId, Sale)>, StoreError>;

    /// The newest sales, newest first, at most this many.
    fn newest_sales(&self, limit: usize) -> Result<Vec<(SaleId, Sale)>, StoreError>;

    /// Keeps an order until its offer is no longer good, in the place of an earlier one of the same n. Durable when it
    /// returns: its buyer may be gone from then on. One that is lost cannot be paid for; its purchase aborts.
    fn keep_order(&mut self, order: &Order) -> Result<(), StoreError>;

    /// The order of this n.
    fn order(&self, n: &SaleNumber) -> Result<Option<Order>, StoreError>;

    /// How many orders are kept.
    fn orders(&self) -> Result<u64, StoreError>;

    /// Forgets sales that were over before `over_before`, and orders whose offer is no longer good `now`, at most so many of
    /// each (AAT §5). Says how many there were. A forgotten sale cannot be accepted again: its offer's time is over. One that
    /// is forgotten too early cannot be proven any more.
    fn prune(&mut self, over_before: Timestamp, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// How many [`prune`](Self::prune) would forget without a limit.
    fn prunable(&self, over_before: Timestamp, now: Timestamp) -> Result<u64, StoreError>;

    /// Writes all steps or none, each under its guard. When it returns they are durable. If it said so too early, k would
    /// be out for a sale that a crash makes the shop forget.
    fn commit(&mut self, writes: &[SaleWrite]) -> Result<(), CommitError>;
}
