//! Everything that keeps the shop from a reply, and how it is said on the wire.

use naulon_durable::{Retry, StoreError};
use naulon_purchase::{PaymentRefusal, RefundRefusal, SaleError};
use naulon_wire::Problem;

use crate::shelf::ReadError;
use crate::store::{CommitError, SaleId};

/// Why there is no reply, or why an answer is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The payment is refused.
    #[error(transparent)]
    Payment(#[from] PaymentRefusal),
    /// There is no refund.
    #[error(transparent)]
    Refund(#[from] RefundRefusal),
    /// The shop does not sell that.
    #[error("the shop has no such item")]
    UnknownItem,
    /// The item cannot be offered: the shelf's description is out of bounds.
    #[error("the item cannot be offered: {0}")]
    NotOffered(#[from] naulon_purchase::OfferError),
    /// The piece of goods cannot be had.
    #[error(transparent)]
    Goods(#[from] ReadError),
    /// Nobody has left an order for that n.
    #[error("there is no order for that promise")]
    UnknownOrder,
    /// There are as many unfinished sales as the shop takes on.
    #[error("too many sales are unfinished")]
    TooManySales,
    /// An answer about a sale that the shop does not have.
    #[error("there is no sale {0}")]
    UnknownSale(SaleId),
    /// The log's decision is not taken.
    #[error(transparent)]
    Decision(#[from] SaleError),
    /// The log refuses for ever to decide on the sale.
    #[error("the log did not decide on that sale, and never will")]
    Lapsed,
    /// The bank says that it settled otherwise than the log decided.
    #[error("the bank has settled otherwise than the log decided")]
    BankMisfit,
    /// The answer is to another call.
    #[error("that is no answer to what was asked")]
    OtherAnswer,
    /// The store could not write.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A write failed so that it is not known whether it happened.
    #[error("the shop has stopped; it must be started again")]
    Halted,
}

impl Trouble {
    /// Whether the shop may no longer rely on what it has in memory.
    pub(crate) fn halts(&self) -> bool {
        match self {
            Trouble::Commit(CommitError::OutOfTurn) | Trouble::Halted => true,
            Trouble::Commit(CommitError::Store(error)) => error.retry() == Retry::AfterReopening,
            _ => false,
        }
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        let code = match &trouble {
            Trouble::Payment(refusal) => return (*refusal).into(),
            Trouble::Refund(refusal) => return (*refusal).into(),
            Trouble::UnknownItem => "unknown_item",
            Trouble::Goods(ReadError::NoSuchGoods) => "not_found",
            Trouble::Goods(ReadError::Range(size)) => return Problem::range(*size),
            Trouble::UnknownOrder => "unknown_order",
            Trouble::TooManySales => "busy",
            Trouble::UnknownSale(_) => "unknown_purchase",
            Trouble::Decision(SaleError::NotForThisSale) | Trouble::BankMisfit => "decision_misfit",
            Trouble::Decision(SaleError::KeyMismatch) => "key_mismatch",
            Trouble::Decision(SaleError::Contradiction) => "log_contradiction",
            Trouble::Lapsed => "too_old",
            Trouble::OtherAnswer => "malformed",
            Trouble::NotOffered(_) => "internal",
            // What the disk said is for the operator: callers only learn that they may ask again.
            Trouble::Goods(ReadError::Io(_)) | Trouble::Commit(_) | Trouble::Store(_) | Trouble::Halted => {
                return Problem::new("unavailable", "the shop cannot write or read now");
            }
        };
        Problem::new(code, trouble)
    }
}
