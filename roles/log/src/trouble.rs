//! Everything that keeps the log from a reply, and how it is said on the wire.

use naulon_durable::{Retry, StoreError};
use naulon_purchase::LogRefusal;
use naulon_wire::Problem;

use crate::store::CommitError;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// The request is refused.
    #[error(transparent)]
    Refused(#[from] LogRefusal),
    /// There is no such public file.
    #[error("the log has no {0}")]
    NoSuchFile(String),
    /// The store could not write the group.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store could not be read, or holds what this log cannot have written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A write failed so that it is not known whether it happened, or another writer has taken over.
    #[error("the log has stopped deciding; it must be started again")]
    Halted,
}

impl Trouble {
    /// Whether the log may no longer rely on what it has in memory.
    pub(crate) fn halts(&self) -> bool {
        match self {
            Trouble::Commit(CommitError::Fenced | CommitError::Decided) | Trouble::Halted => true,
            Trouble::Commit(CommitError::Store(error)) => error.retry() == Retry::AfterReopening,
            Trouble::Refused(_) | Trouble::NoSuchFile(_) | Trouble::Store(_) => false,
        }
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(refusal) => refusal.into(),
            Trouble::NoSuchFile(_) => Problem::new("not_found", trouble),
            // What the disk said is for the operator: callers only learn that they may ask again.
            Trouble::Commit(_) | Trouble::Store(_) | Trouble::Halted => {
                Problem::new("unavailable", "the log cannot write or read now")
            }
        }
    }
}
