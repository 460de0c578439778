//! The growing tree: its right edge in memory.

use crate::hash::{Hash, join, node_hash};
use crate::store::{
    HashStore, MAX_TREE_SIZE, MissingHash, ReadError, read_exact, stored_count, stored_index, subtrees,
};

/// A tree that grows at its right edge.
///
/// It holds only the hashes of its largest complete subtrees (one for each 1 bit of the size, at most 1.5 KiB), so that
/// appending reads nothing. A clone is a snapshot: keep one before [`append`](Self::append), and take it back when
/// writing the new hashes fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Largest subtree first, as [`subtrees`] lists them.
    edge: Vec<Hash>,
}

impl Tree {
    /// Opens the tree of the first `size` leaves. Reads its right edge, at most 48 hashes, in one call.
    ///
    /// # Errors
    /// When `size` is above [`MAX_TREE_SIZE`] or the store fails.
    pub fn open<S: HashStore + ?Sized>(size: u64, store: &S) -> Result<Self, OpenError<S::Error>> {
        if size > MAX_TREE_SIZE {
            return Err(OpenError::TooLarge(size));
        }
        let places: Vec<u64> = subtrees(0, size).map(|(level, n)| stored_index(level, n)).collect();
        Ok(Tree { size, edge: read_exact(&places, store)? })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        join(&self.edge)
    }

    /// Appends leaves (see [`leaf_hash`](crate::leaf_hash)) and returns the new stored hashes with their places, which
    /// follow one another from `stored_count` of the old size on.
    ///
    /// They must be durable, together with the entries, before a checkpoint over the new root leaves the house.
    pub fn append(&mut self, leaves: &[Hash]) -> Vec<(u64, Hash)> {
        let mut hashes = Vec::with_capacity(2 * leaves.len() + self.edge.len());
        for (leaf, place) in leaves.iter().zip(self.size..) {
            hashes.push(*leaf);
            let mut node = *leaf;
            // Each trailing 1 bit of the leaf's number is a complete left sibling, waiting on the edge.
            for left in self.edge.drain(self.edge.len() - place.trailing_ones() as usize..).rev() {
                node = node_hash(&left, &node);
                hashes.push(node);
            }
            self.edge.push(node);
        }
        let first = stored_count(self.size);
        // This cannot overflow: an opened tree has at most 2^48 leaves, and no memory holds 2^58 new ones.
        self.size += leaves.len() as u64;
        (first..).zip(hashes).collect()
    }
}

/// Why a [`Tree`] could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError<E> {
    /// The size is above [`MAX_TREE_SIZE`].
    #[error("a tree of {0} leaves is too large")]
    TooLarge(u64),
    /// The right edge could not be read.
    #[error("the right edge of the tree could not be read")]
    Read(#[from] ReadError<E>),
}

/// What one [`Tree::append`] made known, as a store: proofs of the appended leaves, and the consistency proof from the
/// tree before, need no other hashes. So a log can prove a batch before the batch is written, and reads nothing for it.
#[derive(Clone, Copy, Debug)]
pub struct Appended<'a> {
    /// The tree before the append.
    pub before: &'a Tree,
    /// What the append returned.
    pub hashes: &'a [(u64, Hash)],
}

impl HashStore for Appended<'_> {
    type Error = MissingHash;

    fn read(&self, indices: &[u64]) -> Result<Vec<Hash>, MissingHash> {
        indices.iter().map(|&index| self.find(index).ok_or(MissingHash(index))).collect()
    }
}

impl Appended<'_> {
    fn find(&self, index: u64) -> Option<Hash> {
        let first = stored_count(self.before.size);
        if let Some(offset) = index.checked_sub(first) {
            let (place, hash) = self.hashes.get(usize::try_from(offset).ok()?)?;
            return (*place == index).then_some(*hash);
        }
        let edge = subtrees(0, self.before.size).zip(&self.before.edge);
        edge.into_iter().find(|((level, n), _)| stored_index(*level, *n) == index).map(|(_, hash)| *hash)
    }
}
