//! Stored hashes: every complete subtree's hash has one place, for ever.
//!
//! A subtree is complete when it has 2^level leaves; from then on its hash never changes. Appending leaf *n* completes
//! the leaf itself and then one subtree for each trailing 1 bit of *n*; their hashes are written in this order, right
//! behind those of leaf *n* − 1. So the places are dense (0, 1, 2, …), a store is append-only, and any hash of any
//! older tree can be computed from O(log n) of them. This is the order of Go's checksum database, from section 3.3 of
//! Crosby and Wallach, "Efficient Data Structures for Tamper-Evident Logging", 2009.

use crate::hash::{Hash, join};

/// The largest tree, in leaves. At a million entries a second it is full after nine years; it keeps all arithmetic on
/// stored places far from the end of u64.
pub const MAX_TREE_SIZE: u64 = 1 << 48;

/// Where the stored hashes are kept, read by their places.
///
/// The store is trusted by the log that owns it: a false hash is not noticed here. It costs the log a root that its own
/// entries do not give, so proofs that nobody accepts; after opening a [`Tree`](crate::Tree), compare its root with the
/// last signed checkpoint.
pub trait HashStore {
    /// Why a hash could not be read.
    type Error;

    /// Returns the hashes at `indices`, in the same order and as many. The indices are not sorted.
    ///
    /// # Errors
    /// When one of them is not stored or cannot be read.
    fn read(&self, indices: &[u64]) -> Result<Vec<Hash>, Self::Error>;
}

/// All stored hashes in a row: what tests, simulations and small logs need.
impl HashStore for Vec<Hash> {
    type Error = MissingHash;

    fn read(&self, indices: &[u64]) -> Result<Vec<Hash>, MissingHash> {
        let at =
            |&index: &u64| usize::try_from(index).ok().and_then(|i| self.get(i)).copied().ok_or(MissingHash(index));
        indices.iter().map(at).collect()
    }
}

/// A store in memory has no hash at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no hash is stored at {0}")]
pub struct MissingHash(pub u64);

/// Why stored hashes could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E> {
    /// The store failed.
    #[error("the hash store failed")]
    Store(#[source] E),
    /// The store broke its contract and returned another number of hashes than was asked for.
    #[error("the hash store returned {got} hashes instead of {asked}")]
    WrongCount {
        /// How many were asked for.
        asked: usize,
        /// How many came.
        got: usize,
    },
}

/// How many hashes a tree of `size` leaves has stored: their places are `0..stored_count(size)`.
///
/// This is the sum of size / 2^level over all levels.
pub fn stored_count(size: u64) -> u64 {
    size.saturating_add(size - u64::from(size.count_ones()))
}

/// The place of the `n`-th subtree of 2^`level` leaves: it is written after its last leaf and the smaller subtrees that
/// this leaf completes. Only for subtrees within `MAX_TREE_SIZE`.
pub(crate) fn stored_index(level: u32, n: u64) -> u64 {
    let last_leaf = ((n + 1) << level) - 1;
    stored_count(last_leaf) + u64::from(level)
}

/// The complete subtrees, largest first, that a node over the leaves `lo..hi` is made of; each as the pair
/// (level, n-th of that level). They are the 1 bits of its width, because RFC 6962 always splits off the largest power
/// of two.
pub(crate) fn subtrees(lo: u64, hi: u64) -> impl Iterator<Item = (u32, u64)> {
    let mut lo = lo;
    std::iter::from_fn(move || {
        let level = (hi - lo).checked_ilog2()?;
        let n = lo >> level;
        lo += 1 << level;
        Some((level, n))
    })
}

/// The hashes of the nodes over the leaves of each range, with one call of the store.
pub(crate) fn read_nodes<S: HashStore + ?Sized>(
    nodes: &[(u64, u64)],
    store: &S,
) -> Result<Vec<Hash>, ReadError<S::Error>> {
    let places = nodes.iter().flat_map(|&(lo, hi)| subtrees(lo, hi)).map(|(level, n)| stored_index(level, n));
    let hashes = read_exact(&places.collect::<Vec<_>>(), store)?;
    let mut rest = hashes.as_slice();
    let mut joined = |&(lo, hi): &(u64, u64)| {
        let (mine, others) = rest.split_at((hi - lo).count_ones() as usize);
        rest = others;
        join(mine)
    };
    Ok(nodes.iter().map(&mut joined).collect())
}

/// Reads from the store and holds it to its contract on the count.
pub(crate) fn read_exact<S: HashStore + ?Sized>(indices: &[u64], store: &S) -> Result<Vec<Hash>, ReadError<S::Error>> {
    if indices.is_empty() {
        return Ok(Vec::new());
    }
    let hashes = store.read(indices).map_err(ReadError::Store)?;
    if hashes.len() != indices.len() {
        return Err(ReadError::WrongCount { asked: indices.len(), got: hashes.len() });
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_and_in_the_order_of_writing() {
        let mut next = 0;
        for leaf in 0_u64..1000 {
            assert_eq!(stored_count(leaf), next);
            for level in 0..=leaf.trailing_ones() {
                assert_eq!(stored_index(level, leaf >> level), next, "leaf {leaf}, level {level}");
                next += 1;
            }
        }
    }

    #[test]
    fn the_largest_tree_has_places() {
        assert_eq!(stored_index(48, 0) + 1, stored_count(MAX_TREE_SIZE));
        assert_eq!(stored_count(u64::MAX), u64::MAX, "saturates instead of overflowing");
    }
}
