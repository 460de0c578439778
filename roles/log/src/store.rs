//! What a log keeps, and what it must be able to rely on.

use std::ops::Range;

use naulon_durable::StoreError;
use naulon_exchange::LOG_ENTRY_LEN;
use naulon_statement::{Digest, Timestamp};
use naulon_tlog::Hash;

/// One entry of the tree: time ‖ index ‖ digest of the body.
pub type Entry = [u8; LOG_ENTRY_LEN];

/// Which writer this is: a number that grows with every take-over. A commit under an older one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);

/// A decision as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDecision {
    /// Where its entry stands in the tree.
    pub index: u64,
    /// The signed decision, a COSE_Sign1: for whoever names the subject.
    pub body: Vec<u8>,
}

/// Where the log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The writer that has the log now.
    pub fence: Fence,
    /// How many entries there are.
    pub size: u64,
    /// The time of the last entry; the log's clock never runs behind it.
    pub time: Timestamp,
    /// The signed checkpoint of that size; none before the first entry.
    pub checkpoint: Option<String>,
    /// The newest checkpoint that witnesses have cosigned, as it was kept.
    pub cosigned: Option<String>,
}

/// A decision to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDecision {
    /// What is decided once only: the digest of the bank's header.
    pub subject: Digest,
    /// The signed decision, a COSE_Sign1: for whoever names the subject.
    pub body: Vec<u8>,
    /// What is published in the body's place, if its entry is encrypted.
    pub published: Option<Vec<u8>>,
    /// The purchase's expiry: from then on the time runs after which the body may go.
    pub expiry: Timestamp,
    /// Its entry in the tree.
    pub entry: Entry,
}

/// Everything that one group of decisions writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appending {
    /// The writer.
    pub fence: Fence,
    /// How many entries there were. The first decision gets this index, the others follow.
    pub before: u64,
    /// The decisions, in the order of their entries.
    pub decisions: Vec<NewDecision>,
    /// The hashes that became complete, with their places.
    pub hashes: Vec<(u64, Hash)>,
    /// The signed checkpoint over the new size.
    pub checkpoint: String,
    /// The time of the decisions.
    pub time: Timestamp,
}

/// Why a group was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another writer has taken over, or has written meanwhile. Nothing was written. This log must stop.
    #[error("another writer has taken over this log")]
    Fenced,
    /// A subject of the group has a decision already. Nothing was written. This log's view is not the store's: it must stop.
    #[error("a purchase of the group is decided already")]
    Decided,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Decides each subject at most once, for one writer at a time.
pub trait LogStore: Send {
    /// Makes the caller the one writer, and says where the log stands. When it returns, the new fence is durable, and
    /// every commit of an earlier writer is refused from then on. If an earlier writer could still commit, two logs
    /// would decide the same purchase.
    fn take_over(&mut self) -> Result<LogState, StoreError>;

    /// What is recorded on each subject, in the same order. A decision that is missing here is made a second time (then
    /// the commit must refuse it); one that comes up wrong is served as the log's word.
    fn decisions(&self, subjects: &[Digest]) -> Result<Vec<Option<StoredDecision>>, StoreError>;

    /// What is published as the body of this index, if there is one, and it has not been pruned.
    fn body(&self, index: u64) -> Result<Option<Vec<u8>>, StoreError>;

    /// The entries of these indices, all of them or an error.
    fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, StoreError>;

    /// The stored hashes at these places, in the same order, all of them or an error. A false one costs proofs that
    /// nobody accepts.
    fn hashes(&self, places: &[u64]) -> Result<Vec<Hash>, StoreError>;

    /// Forgets what was decided on purchases that expired before this, at most so many of them, and says how many there
    /// were: bodies and subjects go, entries and hashes stay (AAT §5). With them the log's time is written, and both are
    /// durable when it returns: a log whose clock is set back must not decide on so old an expiry again, or a purchase
    /// could get a second outcome.
    fn prune(&mut self, time: Timestamp, expired_before: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// How many [`prune`](Self::prune) would forget without a limit.
    fn prunable(&self, expired_before: Timestamp) -> Result<u64, StoreError>;

    /// Writes a group, all of it or nothing: rows, entries, hashes, checkpoint and time, if the fence and the size are
    /// still the writer's, and no subject has a decision. When it returns, all of it is durable and may be published.
    /// If it said so too early, a crash would let the log decide otherwise on what somebody already holds proof of.
    fn commit(&mut self, group: &Appending) -> Result<(), CommitError>;

    /// Keeps a checkpoint with its cosignatures in the place of the one before, if the writer still has the log. When it
    /// returns, the note is durable. A lost one costs the log a question to its witnesses at the next start.
    fn keep_cosigned(&mut self, fence: Fence, note: &str) -> Result<(), CommitError>;
}
