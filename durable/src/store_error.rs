//! How a durable write failed, and whether it may be tried again.

use rusqlite::ErrorCode;

/// A transaction that did not go through.
///
/// It is about the whole transaction: whoever gets one drops the transaction (which rolls it back) and answers every
/// request in it, none of which took effect unless [`Retry::AfterReopening`] says that this is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk, the quota or the page limit is used up. Operator: make room; no restart is needed.
    #[error("no space left for the store: make room on its disk, then try again")]
    Full,
    /// Another connection holds the file's write lock. Operator: end the program that has the file open.
    #[error("the store's file is locked by another program: end it, then try again")]
    Busy,
    /// The database server cannot be reached, or ended the connection. Operator: start it; the role needs no restart.
    #[error("the database cannot be reached: {0}; it is tried again with the next request")]
    Unreachable(String),
    /// The file is not a sound database. Operator: stop the role, keep the file, restore from a backup.
    #[error("the store's file is damaged: stop, keep the file, and restore a backup")]
    Corrupt,
    /// The process died at this write. Only memory stores say so, for the simulator ([`crate::fault`]): a real process
    /// that dies says nothing.
    #[error("the process died at this write (simulated)")]
    Crashed,
    /// Anything else: an I/O error, or a statement that the role should not have made. Operator: restart the role; if it
    /// comes back, report it with this text.
    #[error("the store failed: {0}; restart, and report this text if it comes back")]
    Other(String),
}

/// What is safe after a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing was written. The same transaction may be tried again at once, on a fresh view.
    Now,
    /// Nothing was written, and nothing will be until the operator has acted. Reads still work.
    AfterRepair,
    /// It is not known whether it was written. Open the store again and look the request up; never assume either.
    AfterReopening,
}

impl StoreError {
    /// Whether and when the same transaction may be tried again.
    ///
    /// An I/O error counts as unknown, because after a failed fsync the kernel may have dropped or kept the pages.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Busy | Self::Unreachable(_) => Retry::Now,
            Self::Full | Self::Corrupt => Retry::AfterRepair,
            Self::Crashed | Self::Other(_) => Retry::AfterReopening,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            // SQLITE_LOCKED is not in this arm: it is a conflict with a statement of our own connection, so trying again
            // would fail for ever.
            Some(ErrorCode::DatabaseBusy) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt,
            _ => Self::Other(error.to_string()),
        }
    }
}
