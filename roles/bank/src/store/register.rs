//! What a store keeps of the bank's register and its days.

use std::ops::Range;

use naulon_durable::StoreError;
use naulon_exchange::Record;
use naulon_exchange::register::{Day, EntryKind, ItemChunk, RegisterEntry, Side};
use naulon_statement::{Digest, Timestamp};
use naulon_tlog::Hash;

use super::Written;

/// A part of the register as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterRows {
    /// How many entries there are in all.
    pub size: u64,
    /// The newest checkpoint of that size, cosigned or not; none before the first entry.
    pub checkpoint: Option<String>,
    /// The entries from the place that was asked for on, with their statements but for those of days.
    pub entries: Vec<(RegisterEntry, Option<Vec<u8>>)>,
}

/// Entries to be appended to the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterAppending {
    /// How many entries there were. It is the fence: an append on another size is lost.
    pub before: u64,
    /// The statements, with their kinds.
    pub statements: Vec<(EntryKind, Vec<u8>)>,
    /// The signed checkpoint over the new size.
    pub checkpoint: String,
}

/// One brand, side and day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayKey {
    /// The day.
    pub day: Day,
    /// The brand's token key id.
    pub brand: Digest,
    /// Which side.
    pub side: Side,
}

/// A row of a day's items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChunk {
    /// Whose.
    pub key: DayKey,
    /// Which of its chunks, from 0.
    pub number: u64,
    /// The items, and the root over them.
    pub chunk: ItemChunk,
}

/// Where a record stands in the order in which a day is read: first what was done at once, then what was settled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveredPlace {
    /// Whether it was settled.
    pub settled: bool,
    /// When it was delivered.
    pub time: Timestamp,
    /// Tells those of one time apart; the store's own.
    pub key: Vec<u8>,
}

/// Keeps the register, which can only grow, and the items of days that are over.
pub trait RegisterStore {
    /// The register from an entry on, all of one moment. An entry that is left out or wrong is noticed: the tree is then not
    /// the one that was signed.
    fn register(&mut self, from: u64) -> Result<RegisterRows, StoreError>;

    /// The statement of an entry.
    fn register_statement(&mut self, index: u64) -> Result<Option<Vec<u8>>, StoreError>;

    /// Appends to the register, all of it or nothing, if its size is as expected: else another process has appended
    /// meanwhile, and it is lost. Of any number of processes that append at the same time one does. Durable when it returns;
    /// a checkpoint may leave the house only then. If it said so too early, a crash would let the bank sign another tree of
    /// the same size, which convicts it.
    fn append_register(&mut self, appending: &RegisterAppending) -> Result<Written, StoreError>;

    /// Puts a note with the same checkpoint and more witnesses' lines in the place of the kept one, if the register has this
    /// size still. Durable when it returns; if it is lost, the witnesses are asked again.
    fn keep_cosigned(&mut self, size: u64, note: &str) -> Result<Written, StoreError>;

    /// The records that were delivered in this time, in the order of their places, from behind a place on, at most so many.
    /// Complete once a later time was kept ([`keep_time`](super::BankStore::keep_time)): what is written after that is
    /// delivered later. One that is left out is missing from its day's sum, which convicts the bank.
    fn delivered(
        &mut self,
        within: Range<Timestamp>,
        after: Option<&DeliveredPlace>,
        limit: usize,
    ) -> Result<Vec<(DeliveredPlace, Record)>, StoreError>;

    /// Keeps items of days. The same again changes nothing. Durable when it returns, before the day's sum is appended; what
    /// is lost makes receipts impossible.
    fn keep_chunks(&mut self, chunks: &[StoredChunk]) -> Result<(), StoreError>;

    /// The roots of all chunks, in their order; none if nothing happened.
    fn chunk_roots(&mut self, key: &DayKey) -> Result<Vec<Hash>, StoreError>;

    /// The items of a chunk.
    fn chunk(&mut self, key: &DayKey, number: u64) -> Result<Option<Vec<Digest>>, StoreError>;

    /// The last chunk whose first item is not above this one: where it stands, if it does.
    fn chunk_of(&mut self, key: &DayKey, item: &Digest) -> Result<Option<u64>, StoreError>;
}

/// Items one behind the other, as they are kept.
pub(super) fn item_bytes(chunk: &ItemChunk) -> Vec<u8> {
    chunk.items.iter().flat_map(|item| item.0).collect()
}

pub(super) fn items(bytes: &[u8]) -> Result<Vec<Digest>, StoreError> {
    let (items, rest) = bytes.as_chunks();
    if rest.is_empty() { Ok(items.iter().map(|item| Digest(*item)).collect()) } else { Err(StoreError::Corrupt) }
}

/// An entry and its statement, as it is read from a row of kind and digest.
pub(super) fn entry(bytes: &[u8]) -> Result<RegisterEntry, StoreError> {
    bytes.try_into().map(RegisterEntry::from_bytes).map_err(|_| StoreError::Corrupt)
}

/// The entry of a day names a statement that is not read along.
pub(super) fn is_read_along(entry: &RegisterEntry) -> bool {
    entry.kind() != Some(EntryKind::Day)
}

/// A side as a number in a row.
pub(super) fn side_number(side: Side) -> u8 {
    match side {
        Side::Issued => 1,
        Side::Redeemed => 2,
    }
}
