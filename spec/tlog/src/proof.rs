//! Making proofs (RFC 6962 §2.1.1 and §2.1.2), by the log or whoever holds its hashes.

use crate::hash::Hash;
use crate::store::{HashStore, MAX_TREE_SIZE, ReadError, read_nodes};

/// The path that proves that leaf `index` is in the tree of the first `size` leaves: the siblings on the way from the
/// leaf to the root, the leaf's own first. One call of the store.
///
/// # Errors
/// When there is no such leaf in such a tree, or the store fails.
pub fn inclusion_proof<S: HashStore + ?Sized>(
    size: u64,
    index: u64,
    store: &S,
) -> Result<Vec<Hash>, ProveError<S::Error>> {
    check_size(size)?;
    if index >= size {
        return Err(ProveError::NoSuchLeaf { index, size });
    }
    let mut siblings = Vec::new();
    let (mut lo, mut hi) = (0, size);
    while hi - lo > 1 {
        let middle = split(lo, hi);
        if index < middle {
            siblings.push((middle, hi));
            hi = middle;
        } else {
            siblings.push((lo, middle));
            lo = middle;
        }
    }
    siblings.reverse();
    Ok(read_nodes(&siblings, store)?)
}

/// The proof that the tree of `new` leaves begins with the tree of `old` leaves. It is empty when the two are equal or
/// the old one is empty. One call of the store.
///
/// # Errors
/// When `old` is above `new`, `new` is too large, or the store fails.
pub fn consistency_proof<S: HashStore + ?Sized>(
    old: u64,
    new: u64,
    store: &S,
) -> Result<Vec<Hash>, ProveError<S::Error>> {
    check_size(new)?;
    if old > new {
        return Err(ProveError::Backwards { old, new });
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let mut nodes = Vec::new();
    let (mut lo, mut hi) = (0, new);
    while hi != old {
        let middle = split(lo, hi);
        if old <= middle {
            nodes.push((middle, hi));
            hi = middle;
        } else {
            nodes.push((lo, middle));
            lo = middle;
        }
    }
    // What is left is the old tree's last complete subtree. If it is the whole old tree, the verifier has it: the root.
    if lo > 0 {
        nodes.push((lo, hi));
    }
    nodes.reverse();
    Ok(read_nodes(&nodes, store)?)
}

/// What shows which root the first `old` leaves of the tree of `new` leaves have, for whoever knows that tree's root
/// ([`prefix_root`](crate::prefix_root)): a consistency proof that always begins with the old tree's last complete subtree.
/// So it also shows that a tree does *not* continue another one. Two calls of the store.
///
/// # Errors
/// When `old` is zero or above `new`, `new` is too large, or the store fails.
pub fn prefix_proof<S: HashStore + ?Sized>(old: u64, new: u64, store: &S) -> Result<Vec<Hash>, ProveError<S::Error>> {
    if old == 0 {
        return Err(ProveError::NoSuchLeaf { index: 0, size: 0 });
    }
    let path = consistency_proof(old, new, store)?;
    if !old.is_power_of_two() && old != new {
        return Ok(path);
    }
    let mut proof = read_nodes(&[(0, old)], store)?;
    proof.extend(path);
    Ok(proof)
}

/// Why a proof could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// The tree has no such leaf.
    #[error("a tree of {size} leaves has no leaf {index}")]
    NoSuchLeaf {
        /// The leaf asked for.
        index: u64,
        /// The tree asked for.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("a tree of {new} leaves cannot begin with one of {old}")]
    Backwards {
        /// The size of the old tree.
        old: u64,
        /// The size of the new tree.
        new: u64,
    },
    /// The size is above [`MAX_TREE_SIZE`].
    #[error("a tree of {0} leaves is too large")]
    TooLarge(u64),
    /// The hashes could not be read.
    #[error("the hashes of the proof could not be read")]
    Read(#[from] ReadError<E>),
}

fn check_size<E>(size: u64) -> Result<(), ProveError<E>> {
    if size > MAX_TREE_SIZE { Err(ProveError::TooLarge(size)) } else { Ok(()) }
}

/// Where a node over the leaves `lo..hi`, at least two, splits: after the largest power of two below its width.
fn split(lo: u64, hi: u64) -> u64 {
    lo + (1 << (hi - lo - 1).ilog2())
}
