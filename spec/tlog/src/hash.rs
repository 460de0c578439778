//! The hashes of RFC 6962 §2.1.

use sha2::{Digest, Sha256};

/// A SHA-256 hash: of a leaf, of a subtree, or of the whole tree (its root).
pub type Hash = [u8; 32];

/// The hash of one entry as a leaf: SHA-256(0x00 ‖ entry).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into()
}

/// The hash of a subtree from those of its two halves: SHA-256(0x01 ‖ left ‖ right).
///
/// The first byte differs from a leaf's, so that nobody can pass off a node as an entry of 64 bytes.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([0x01]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The hash of a row of complete subtrees, largest first, as one tree: they hang together from the right.
pub(crate) fn join(subtrees: &[Hash]) -> Hash {
    let mut rest = subtrees.iter().rev();
    match rest.next() {
        None => empty_root(),
        Some(last) => rest.fold(*last, |right, left| node_hash(left, &right)),
    }
}
