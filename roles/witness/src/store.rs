//! What a witness keeps, and what it must be able to rely on.

use naulon_durable::StoreError;
use naulon_tlog::Hash;

/// The checkpoint of a log that was cosigned last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The size of its tree.
    pub size: u64,
    /// The root of its tree.
    pub root: Hash,
    /// The time of the cosignature, in seconds since the Unix epoch.
    pub time: u64,
    /// The note that the log signed.
    pub note: String,
}

/// From the checkpoint that was cosigned last to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The log.
    pub origin: String,
    /// The tree that the next was checked against: size and root; none if none was cosigned.
    pub from: Option<(u64, Hash)>,
    /// What will be cosigned.
    pub to: Seen,
}

/// Why a step was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The last checkpoint is not the one that the step starts from. Nothing was written.
    #[error("another step was taken meanwhile")]
    Overtaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Remembers of each log the last checkpoint, and goes forward only from there.
pub trait WitnessStore: Send {
    /// The checkpoint of this origin that was cosigned last, if any. An older one than the true one lets the witness check
    /// a step from there; then [`advance`](Self::advance) must refuse it.
    fn last(&self, origin: &str) -> Result<Option<Seen>, StoreError>;

    /// All origins and what was cosigned of them last, in order.
    fn all(&self) -> Result<Vec<(String, Seen)>, StoreError>;

    /// Writes the step, if the last checkpoint of its origin still is the one that it starts from. When it returns, the new
    /// one is durable, and no step from the old one will ever be written. If it said so too early, or to two steps from
    /// one tree, the witness would have cosigned two trees of which neither continues the other: proof that it is broken.
    fn advance(&mut self, step: &Step) -> Result<(), StepError>;
}
