//! What a directory keeps.

use naulon_durable::StoreError;
use naulon_statement::PublicKey;

/// Remembers of each mix the newest descriptor.
pub trait DirectoryStore: Send {
    /// All descriptors, a COSE_Sign1 each, in the order of their mixes' keys. One that is missing is a mix that nobody finds
    /// until it registers again; an old one is seen by its dates.
    fn all(&self) -> Result<Vec<(PublicKey, Vec<u8>)>, StoreError>;

    /// Keeps this descriptor in the place of the mix's last. When it returns, the descriptor is durable. A lost one costs the
    /// mix its place in the list until it registers again, which it does on a schedule.
    fn keep(&mut self, mix: &PublicKey, descriptor: &[u8]) -> Result<(), StoreError>;
}
