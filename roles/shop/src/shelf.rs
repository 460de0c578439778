//! Where encrypted goods are read from.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use naulon_money::Amount;
use naulon_purchase::Contract;
use naulon_purchase::goods::{CHUNK_LEN, FileKey, GoodsHasher, Sealer};
use naulon_statement::Digest;
use naulon_wire::{Piece, Range};
use zeroize::Zeroizing;

/// One version of something that is sold.
#[derive(Clone)]
pub struct Stocked {
    /// Names it in calls.
    pub item: String,
    /// What the buyer gets.
    pub contract: Contract,
    /// What it costs.
    pub price: Amount,
    /// The digest of the encrypted goods.
    pub goods: Digest,
    /// F: what they are encrypted with.
    pub file_key: FileKey,
}

/// Why a piece of goods cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There are no such goods.
    #[error("there are no goods of that digest")]
    NoSuchGoods,
    /// The range has no bytes, or begins behind the end.
    #[error("the range lies outside of the {0} bytes of the goods")]
    Range(u64),
    /// The disk failed.
    #[error("the goods cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What a shop has to sell. An offer that was made stays good: goods are readable as long as offers of them may run, also
/// when a newer version has taken their place.
pub trait Shelf: Send {
    /// The newest version of everything, sorted by item.
    fn items(&self) -> Vec<Arc<Stocked>>;

    /// The newest version of one item.
    fn item(&self, item: &str) -> Option<Arc<Stocked>>;

    /// A piece of encrypted goods: the bytes of the range, as far as there are any. Wrong bytes cost a sale, no money: a
    /// buyer compares the whole with the digest before it pays.
    fn read(&self, goods: &Digest, range: Range) -> Result<Piece, ReadError>;
}

/// F: the file key of one version of an item.
pub(crate) fn file_key(secret: &[u8; 32], item: &str, plain: &Digest) -> FileKey {
    FileKey::derive(secret, &Digest::of(&[item.as_bytes()]), plain)
}

/// A shelf in memory, for the simulator and for tests. Clones are the same shelf.
#[derive(Clone)]
pub struct MemoryShelf {
    secret: Zeroizing<[u8; 32]>,
    stock: Arc<RwLock<Stock>>,
}

#[derive(Default)]
struct Stock {
    items: BTreeMap<String, Arc<Stocked>>,
    goods: BTreeMap<Digest, Bytes>,
}

impl MemoryShelf {
    /// An empty shelf of the shop with this goods secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        MemoryShelf { secret: Zeroizing::new(*secret), stock: Arc::default() }
    }

    /// Puts a version of an item on the shelf, in the place of the one before.
    pub fn add(&self, item: &str, title: &str, description: &str, price: Amount, plain: &[u8]) {
        let digest = Digest::of(&[plain]);
        let file_key = file_key(&self.secret, item, &digest);
        let sealed = seal_all(file_key.clone(), plain);
        let mut hasher = GoodsHasher::default();
        hasher.update(&sealed);
        let goods = hasher.finish();
        let (title, description, size) = (title.to_owned(), description.to_owned(), plain.len() as u64);
        let contract = Contract { title, description, size, digest };
        let stocked = Stocked { item: item.to_owned(), contract, price, goods, file_key };
        let mut stock = self.stock.write().unwrap_or_else(PoisonError::into_inner);
        stock.items.insert(item.to_owned(), Arc::new(stocked));
        stock.goods.insert(goods, sealed.into());
    }
}

fn seal_all(key: FileKey, plain: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::new(key);
    // Empty goods are one empty chunk.
    let mut chunks: Vec<&[u8]> = plain.chunks(CHUNK_LEN).collect();
    let last = chunks.pop().unwrap_or_default();
    let mut sealed: Vec<u8> = chunks.into_iter().flat_map(|chunk| sealer.seal(chunk, false)).collect();
    sealed.extend(sealer.seal(last, true));
    sealed
}

impl Shelf for MemoryShelf {
    fn items(&self) -> Vec<Arc<Stocked>> {
        self.stock.read().unwrap_or_else(PoisonError::into_inner).items.values().cloned().collect()
    }

    fn item(&self, item: &str) -> Option<Arc<Stocked>> {
        self.stock.read().unwrap_or_else(PoisonError::into_inner).items.get(item).cloned()
    }

    fn read(&self, goods: &Digest, range: Range) -> Result<Piece, ReadError> {
        let stock = self.stock.read().unwrap_or_else(PoisonError::into_inner);
        let goods = stock.goods.get(goods).ok_or(ReadError::NoSuchGoods)?;
        let of = goods.len() as u64;
        let within = piece(range, of)?;
        let bound = |at: u64| usize::try_from(at).map_err(|_| ReadError::Range(of));
        Ok(Piece { offset: within.start, bytes: goods.slice(bound(within.start)?..bound(within.end)?), of })
    }
}

/// The part of a range that lies within goods of this size.
pub(crate) fn piece(range: Range, size: u64) -> Result<std::ops::Range<u64>, ReadError> {
    let end = range.offset.saturating_add(range.len).min(size);
    if range.offset < end { Ok(range.offset..end) } else { Err(ReadError::Range(size)) }
}
