//! What a shop keeps of its sales.

use naulon_durable::StoreError;
use naulon_purchase::{Payment, Sale};
use naulon_statement::Digest;

/// Names a sale: the digest of the bank's header, which binds the offer, the buyer's authorization and the log.
pub type SaleId = Digest;

/// One step of a sale.
#[derive(Clone, Debug)]
pub enum SaleWrite {
    /// The payment is good, and k will be released. Refused if the sale is there.
    Accept(SaleId, Box<Payment>),
    /// What became known of the sale: decision, evidence against the log, whether it is settled. The payment stays. Refused
    /// if the sale is not there or is settled, or if its decision would be lost.
    Advance(SaleId, Box<Sale>),
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

    /// Writes all steps or none, each under its guard. When it returns they are durable. If it said so too early, k would
    /// be out for a sale that a crash makes the shop forget.
    fn commit(&mut self, writes: &[SaleWrite]) -> Result<(), CommitError>;
}
