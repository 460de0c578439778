//! Verifying proofs (RFC 9162 §2.1.3.2 and §2.1.4.2). All input is remote: any sizes, any number of hashes.

use minicbor::{Decode, Encode};

use crate::checkpoint::Checkpoint;
use crate::hash::{Hash, empty_root, node_hash};

/// The most hashes a proof can have: one for each level of a tree whose size is a u64.
pub const MAX_PROOF_LEN: usize = 64;

/// Checks that `leaf` is the hash of leaf `index` in the tree of `size` leaves with this root.
///
/// `size` and `root` must come together out of one checkpoint. A root alone does not say how large its tree is, so with
/// a size of the prover's choice the same path can pass for the same leaf in a tree of another size.
///
/// # Errors
/// See [`ProofError`].
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, root: &Hash, proof: &[Hash]) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::NoSuchLeaf { index, size });
    }
    let (inner, border) = shape(index, size);
    check_len(proof, inner + border)?;
    let (inner, border) = proof.split_at(inner);
    check_root(climb_border(climb(*leaf, index, inner), border), root)
}

/// Checks that the tree of `new_size` leaves begins with the tree of `old_size` leaves.
///
/// Each root must come together with its size out of one checkpoint, as for [`verify_inclusion`]. The empty tree is the
/// beginning of every tree.
///
/// # Errors
/// See [`ProofError`].
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Backwards { old: old_size, new: new_size });
    }
    if old_size == 0 {
        check_root(*old_root, &empty_root())?;
    }
    if old_size == new_size {
        check_len(proof, 0)?;
        return check_root(*old_root, new_root);
    }
    if old_size == 0 {
        return check_len(proof, 0);
    }
    // Both roots are climbed to from the old tree's last complete subtree. If that is the whole old tree, its hash is
    // the old root, else it is the first of the proof.
    let level = old_size.trailing_zeros();
    let (seed, path) = match proof.split_first() {
        _ if old_size.is_power_of_two() => (old_root, proof),
        Some((seed, path)) => (seed, path),
        None => return Err(ProofError::Length { want: 1, got: 0 }),
    };
    let (inner, border) = shape(old_size - 1, new_size);
    // The two last leaves meet above the seed, since the new tree reaches beyond it.
    let inner = inner - level as usize;
    check_len(path, inner + border)?;
    let index = (old_size - 1) >> level;
    let (inner, border) = path.split_at(inner);
    check_root(climb_border(climb_left(*seed, index, inner), border), old_root)?;
    check_root(climb_border(climb(*seed, index, inner), border), new_root)
}

/// The root of the first `old_size` leaves of the tree with `new_size` leaves and this root, as a
/// [`prefix_proof`](crate::prefix_proof) shows it. Whoever has signed another root for that size has signed two trees.
///
/// # Errors
/// See [`ProofError`].
pub fn prefix_root(old_size: u64, new_size: u64, new_root: &Hash, proof: &[Hash]) -> Result<Hash, ProofError> {
    if old_size > new_size {
        return Err(ProofError::Backwards { old: old_size, new: new_size });
    }
    let (seed, path) = proof.split_first().ok_or(ProofError::Length { want: 1, got: 0 })?;
    if old_size == 0 {
        return Err(ProofError::NoSuchLeaf { index: 0, size: 0 });
    }
    if old_size == new_size {
        check_len(path, 0)?;
        return check_root(*seed, new_root).map(|()| *seed);
    }
    let level = old_size.trailing_zeros();
    let (inner, border) = shape(old_size - 1, new_size);
    let inner = inner - level as usize;
    check_len(path, inner + border)?;
    let index = (old_size - 1) >> level;
    let (inner, border) = path.split_at(inner);
    check_root(climb_border(climb(*seed, index, inner), border), new_root)?;
    Ok(climb_border(climb_left(*seed, index, inner), border))
}

/// An inclusion proof as it travels with a receipt.
///
/// In CBOR it is a map: 1 the index, 2 the size, 3 the path as an array of byte strings of 32 bytes. The decoder bounds
/// the path; that the encoding is the deterministic one is for the caller to check, by encoding again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InclusionProof {
    /// The number of the leaf, from 0.
    #[n(1)]
    pub index: u64,
    /// The size of the tree that the path leads to.
    #[n(2)]
    pub size: u64,
    /// The siblings from the leaf up, at most [`MAX_PROOF_LEN`].
    #[cbor(n(3), with = "path_as_byte_strings")]
    pub path: Vec<Hash>,
}

impl InclusionProof {
    /// Checks that `leaf` stands at this index in the tree of a checkpoint, which the caller got from
    /// [`CheckpointVerifier::open`](crate::CheckpointVerifier::open).
    ///
    /// # Errors
    /// See [`ProofError`]; a proof for a tree of another size is refused.
    pub fn verify(&self, leaf: &Hash, checkpoint: &Checkpoint) -> Result<(), ProofError> {
        if self.size != checkpoint.size {
            return Err(ProofError::OtherTree { proof: self.size, checkpoint: checkpoint.size });
        }
        verify_inclusion(leaf, self.index, self.size, &checkpoint.root, &self.path)
    }
}

/// Why a proof does not hold. It is the prover's fault, or the log's; asking again gives the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index is not within the tree.
    #[error("a tree of {size} leaves has no leaf {index}")]
    NoSuchLeaf {
        /// The leaf said to be included.
        index: u64,
        /// The tree it is said to be in.
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
    /// The proof is for a tree of another size than the checkpoint's.
    #[error("the proof is for {proof} leaves, the checkpoint for {checkpoint}")]
    OtherTree {
        /// The size in the proof.
        proof: u64,
        /// The size in the checkpoint.
        checkpoint: u64,
    },
    /// These sizes want another number of hashes.
    #[error("the proof has {got} hashes, {want} are wanted")]
    Length {
        /// How many hashes are wanted.
        want: usize,
        /// How many came.
        got: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// How the path from leaf `index` to the root looks: `inner` levels below the point where it meets the way from the
/// last leaf, with one sibling each, left or right; above it only the `border` left siblings, for on the right is
/// nothing.
fn shape(index: u64, size: u64) -> (usize, usize) {
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let border = index.checked_shr(inner).unwrap_or(0).count_ones();
    (inner as usize, border as usize)
}

/// Climbs the inner levels; the bits of the index say on which side each sibling is.
fn climb(start: Hash, index: u64, siblings: &[Hash]) -> Hash {
    siblings.iter().enumerate().fold(start, |node, (level, sibling)| match (index >> level) & 1 {
        0 => node_hash(&node, sibling),
        _ => node_hash(sibling, &node),
    })
}

/// Climbs the inner levels of the old tree, in which the right siblings do not exist yet.
fn climb_left(start: Hash, index: u64, siblings: &[Hash]) -> Hash {
    let left = siblings.iter().enumerate().filter(|(level, _)| (index >> level) & 1 == 1);
    left.fold(start, |node, (_, sibling)| node_hash(sibling, &node))
}

/// Climbs the border, where all siblings are on the left.
fn climb_border(start: Hash, siblings: &[Hash]) -> Hash {
    siblings.iter().fold(start, |node, sibling| node_hash(sibling, &node))
}

fn check_len(proof: &[Hash], want: usize) -> Result<(), ProofError> {
    if proof.len() == want { Ok(()) } else { Err(ProofError::Length { want, got: proof.len() }) }
}

fn check_root(got: Hash, want: &Hash) -> Result<(), ProofError> {
    if got == *want { Ok(()) } else { Err(ProofError::Root) }
}

/// The path as an array of byte strings; minicbor would make each hash an array of 32 numbers.
mod path_as_byte_strings {
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    use super::{Hash, MAX_PROOF_LEN};

    pub(super) fn encode<C, W: Write>(
        path: &[Hash],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(path.len() as u64)?;
        path.iter().try_for_each(|hash| e.bytes(hash).map(drop))
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<Hash>, DecodeError> {
        let len = d.array()?.filter(|len| *len <= MAX_PROOF_LEN as u64);
        let len = len.ok_or_else(|| DecodeError::message("the path is too long or of unknown length"))?;
        let hash = |_| d.bytes()?.try_into().map_err(|_| DecodeError::message("a hash of the path is not 32 bytes"));
        (0..len).map(hash).collect()
    }
}
