//! Where encrypted and plain goods are kept.

mod folder;
mod memory;

pub use folder::FolderGoods;
pub use memory::MemoryGoods;

use naulon_durable::StoreError;
use naulon_statement::Digest;

/// A place for goods on their way: encrypted ones while they are fetched, plain ones while they are decrypted, and the
/// finished ones. Everything is found by the SHA-256 of the signed offer, so that no two purchases share anything.
///
/// Nothing here is trusted: the encrypted goods are hashed again before a purchase is authorised, and the plain ones
/// against the contract. What is lost or damaged here is fetched again and costs no money, as long as the shop still has
/// it.
pub trait GoodsDir: Send {
    /// How many bytes of the encrypted goods are here.
    fn kept(&mut self, offer: &Digest) -> Result<u64, StoreError>;

    /// Appends to the encrypted goods; the bytes are durable when it returns. If `offset` is not where they end now, the
    /// bytes are late or repeated ones, and nothing happens.
    fn append(&mut self, offer: &Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Reads `len` bytes of the encrypted goods, or fewer where they end.
    fn read(&mut self, offer: &Digest, offset: u64, len: usize) -> Result<Vec<u8>, StoreError>;

    /// Forgets the encrypted goods.
    fn discard(&mut self, offer: &Digest) -> Result<(), StoreError>;

    /// Begins the plain goods anew, under a name that nobody takes for the finished ones.
    fn begin(&mut self, offer: &Digest) -> Result<(), StoreError>;

    /// Appends to the plain goods that were begun. They need not be durable yet.
    fn extend(&mut self, offer: &Digest, plain: &[u8]) -> Result<(), StoreError>;

    /// Makes the plain goods durable and gives them their name, at once. Returns where they are, for the person to find
    /// them. Doing it again replaces them.
    fn finish(&mut self, offer: &Digest, title: &str) -> Result<String, StoreError>;

    /// Forgets the plain goods that were begun and not finished.
    fn abandon(&mut self, offer: &Digest) -> Result<(), StoreError>;
}
