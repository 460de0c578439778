//! A day's sums: what was issued and redeemed of each brand, counted and fixed by roots.

use std::fmt;

use minicbor::{Decode, Encode};
use naulon_blind::{BlindedMessage, Token};
use naulon_statement::{Digest, Duration, PublicKey, Statement, Timestamp, Unverified};
use naulon_tlog::{Hash, Tree, inclusion_proof, leaf_hash};

use super::entry::RegisterEntry;
use crate::request::{Exchange, Input, Output};
use crate::state::{Record, State};

/// How many items share a chunk: a subtree of a day's tree, which a store can keep in one row.
pub const ITEM_CHUNK: usize = 256;

/// A day of UTC, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Day(#[n(0)] pub u64);

impl Day {
    /// The day of a time.
    pub fn of(time: Timestamp) -> Day {
        Day(time.0 / Duration::days(1).0)
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(Duration::days(1).0)).min(Timestamp::MAX)
    }

    /// The first instant of the next one.
    pub fn end(self) -> Timestamp {
        self.next().start()
    }

    /// The next day.
    pub fn next(self) -> Day {
        Day(self.0.saturating_add(1))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "day {}", self.0)
    }
}

/// Which of the two: blind signatures delivered, or tokens given up for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Side {
    /// A blind signature that was delivered.
    #[n(1)]
    Issued,
    /// A token that was given up for good.
    #[n(2)]
    Redeemed,
}

/// The item of a blind signature: SHA-256("naulon/issued" ‖ token key id ‖ blinded message).
pub fn issued_item(brand: &Digest, message: &BlindedMessage) -> Digest {
    Digest::of(&[b"naulon/issued", brand.as_bytes(), message.as_bytes()])
}

/// The item of a redeemed token: SHA-256("naulon/redeemed" ‖ token). It is made of the whole token and not of its key Q,
/// which a log may publish: only who has the token can name it.
pub fn redeemed_item(token: &Token) -> Digest {
    Digest::of(&[b"naulon/redeemed", &token.to_bytes()])
}

/// What an exchange issued or redeemed: the side, the brand, the item.
pub type DayItem = (Side, Digest, Digest);

/// When the record's outputs were delivered, and what it thereby issued and redeemed: side, brand, item. Nothing while it
/// is locked, or if it was aborted.
pub fn day_items(record: &Record) -> Option<(Timestamp, Vec<DayItem>)> {
    let delivered = match record.state {
        State::Done => record.accepted,
        State::Committed => record.settled?,
        State::Locked | State::Aborted => return None,
    };
    Some((delivered, exchange_items(&record.exchange)))
}

/// What an exchange issues and redeems once it is delivered: side, brand, item.
///
/// A part of a token (AAT §8.3) is in no count: a token counts as redeemed only when it is given up as a whole, so that no
/// honest bank ever counts more of a brand than it issued. What parts have redeemed, in value, is in the auditor's
/// [`BrandPosition`](crate::BrandPosition).
pub fn exchange_items(exchange: &Exchange) -> Vec<DayItem> {
    let mut items = Vec::with_capacity(exchange.inputs.len() + exchange.outputs.len());
    for input in &exchange.inputs {
        if let Input::Token { token, part: None, .. } = input {
            items.push((Side::Redeemed, Digest(*token.key_id()), redeemed_item(token)));
        }
    }
    for output in &exchange.outputs {
        if let Output::Blinded { brand, message } = output {
            items.push((Side::Issued, *brand, issued_item(brand, message)));
        }
    }
    items
}

/// A brand's part in a day.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BrandDay {
    /// The brand's token key id.
    #[n(1)]
    pub brand: Digest,
    /// Blind signatures delivered on the day.
    #[n(2)]
    pub issued: u64,
    /// The root over their items, sorted.
    #[n(3)]
    pub issued_root: Digest,
    /// Tokens given up for good on the day.
    #[n(4)]
    pub redeemed: u64,
    /// The root over their items, sorted.
    #[n(5)]
    pub redeemed_root: Digest,
    /// Blind signatures delivered since the register began, this day's among them.
    #[n(6)]
    pub issued_total: u64,
    /// Tokens given up since the register began, this day's among them.
    #[n(7)]
    pub redeemed_total: u64,
}

impl BrandDay {
    /// Count and root of a side.
    pub fn side(&self, side: Side) -> (u64, &Digest) {
        match side {
            Side::Issued => (self.issued, &self.issued_root),
            Side::Redeemed => (self.redeemed, &self.redeemed_root),
        }
    }
}

/// The sums of a day that is over: one statement a day, with a row for each brand that was alive on it, and for every other
/// of which something was issued or redeemed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DaySummary {
    /// The bank.
    #[n(1)]
    pub bank: PublicKey,
    /// The day.
    #[n(2)]
    pub day: Day,
    /// The brands, by their ids, ascending.
    #[n(3)]
    pub brands: Vec<BrandDay>,
}

impl Statement for DaySummary {
    const CONTENT_TYPE: &'static str = "application/naulon.day+cbor";
}

impl DaySummary {
    /// The sums that an entry of a bank's register names; none if these bytes are others.
    pub fn of_entry(entry: &RegisterEntry, bank: &PublicKey, bytes: &[u8]) -> Option<DaySummary> {
        let summary = Unverified::<DaySummary>::parse(bytes).ok()?.verify(bank).ok()?;
        (RegisterEntry::of(&summary) == *entry && summary.bank == *bank).then(|| summary.into_body())
    }

    /// A brand's row.
    pub fn brand(&self, brand: &Digest) -> Option<&BrandDay> {
        self.brands.iter().find(|row| row.brand == *brand)
    }
}

/// The items of one brand, side and day, sorted: their order tells nothing of time, and that one is missing can be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayItems(Vec<Digest>);

/// Up to [`ITEM_CHUNK`] items of a day in a row, with the root of their subtree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemChunk {
    /// Its items, sorted; never none.
    pub items: Vec<Digest>,
    /// The root over them.
    pub root: Hash,
}

impl DayItems {
    /// These items.
    pub fn new(mut items: Vec<Digest>) -> Self {
        items.sort_unstable();
        DayItems(items)
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The root over all of them (RFC 6962); of none it is SHA-256 of nothing.
    pub fn root(&self) -> Digest {
        let roots: Vec<Hash> = self.chunks().map(|chunk| chunk.root).collect();
        let mut tree = Tree::default();
        tree.append(&roots);
        Digest(tree.root())
    }

    /// The items in rows, in order.
    pub fn chunks(&self) -> impl Iterator<Item = ItemChunk> {
        self.0.chunks(ITEM_CHUNK).map(|items| {
            let mut tree = Tree::default();
            tree.append(&leaves(items));
            ItemChunk { items: items.to_vec(), root: tree.root() }
        })
    }
}

/// The path of the item at `place` within its chunk, by the items of the chunk and the roots of all chunks of the day's
/// tree. Chunks are complete subtrees but for the last, so the roots hang together as leaves do. None if there is no such
/// place.
pub fn item_path(items: &[Digest], place: usize, roots: &[Hash], chunk: usize) -> Option<Vec<Hash>> {
    let path = |leaves: &[Hash], place: usize| {
        let (mut tree, mut stored) = (Tree::default(), Vec::new());
        stored.extend(tree.append(leaves).into_iter().map(|(_, hash)| hash));
        inclusion_proof(tree.size(), u64::try_from(place).ok()?, &stored).ok()
    };
    let mut whole = path(&leaves(items), place)?;
    whole.extend(path(roots, chunk)?);
    Some(whole)
}

fn leaves(items: &[Digest]) -> Vec<Hash> {
    items.iter().map(|item| leaf_hash(item.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use naulon_tlog::verify_inclusion;

    use super::*;

    /// Chunks are a matter of the store: root and paths are those of the one tree over all items.
    #[test]
    fn a_tree_of_chunks_is_the_tree_of_all_items() {
        for count in [0_u64, 1, 2, 255, 256, 257, 512, 513, 700, 1_300] {
            let all: Vec<Digest> = (0..count).map(|n| Digest::of(&[&n.to_be_bytes()])).collect();
            let items = DayItems::new(all);
            let mut whole = Tree::default();
            whole.append(&leaves(&items.0));
            assert_eq!((items.count(), items.root()), (count, Digest(whole.root())), "{count}");
            let chunks: Vec<ItemChunk> = items.chunks().collect();
            let roots: Vec<Hash> = chunks.iter().map(|chunk| chunk.root).collect();
            for index in [0, 1, 255, 256, 511, 600, 1_299].into_iter().filter(|index| *index < count) {
                let (chunk, place) = (index as usize / ITEM_CHUNK, index as usize % ITEM_CHUNK);
                let path = item_path(&chunks[chunk].items, place, &roots, chunk).expect("a path");
                let leaf = leaf_hash(items.0[index as usize].as_bytes());
                assert_eq!(verify_inclusion(&leaf, index, count, &items.root().0, &path), Ok(()), "{index} of {count}");
            }
        }
        assert_eq!(item_path(&[], 0, &[], 0), None);
    }

    #[test]
    fn a_day_is_half_open() {
        let day = Day(20_000);
        assert_eq!(Day::of(day.start()), day);
        assert_eq!(Day::of(Timestamp(day.end().0 - 1)), day);
        assert_eq!(Day::of(day.end()), day.next());
    }
}
