//! Merkle log, checkpoints, inclusion and consistency proofs (C2SP tlog-tiles).
//!
//! A log is a list of entries that can only grow. Whoever holds its signed [`Checkpoint`] can be shown, with a few
//! hashes, that an entry is in it ([`verify_inclusion`]) and that a later checkpoint only added entries
//! ([`verify_consistency`]). Bytes are those of public specifications, so that existing monitors and witnesses work:
//! [RFC 6962](https://www.rfc-editor.org/rfc/rfc6962#section-2.1) (hashes, proofs), C2SP
//! [tlog-tiles](https://c2sp.org/tlog-tiles), [tlog-checkpoint](https://c2sp.org/tlog-checkpoint),
//! [signed-note](https://c2sp.org/signed-note), [tlog-cosignature](https://c2sp.org/tlog-cosignature) and
//! [tlog-witness](https://c2sp.org/tlog-witness). Pages of them: `docs/spec/tlog.md`, `docs/spec/witness.md`.
//!
//! A log can still show different trees to different people. Witnesses keep it from that: each cosigns only checkpoints
//! that continue the last one it saw, and a client that wants [`WitnessPolicy::accept`] shares its tree with everybody
//! who asks the same witnesses.
//!
//! In scope: the tree and what it stores ([`Tree`], [`HashStore`]), proofs, tiles and entry bundles, checkpoints,
//! cosignatures, what a witness is asked and checks. Out of scope, and whose it is: what an entry means (`naulon-purchase`), keeping it (`naulon-durable`),
//! serving it (`naulon-log`), cosignatures of other types than Ed25519 (their lines are tolerated, not checked).
//!
//! Sizes and indices are numbers of leaves. The tree is limited by [`MAX_TREE_SIZE`], a proof by [`MAX_PROOF_LEN`], a
//! checkpoint by [`MAX_CHECKPOINT_LEN`].
//!
//! This is an implementation of its own. `tlog_tiles` and `signed_note` read the store again for every appended leaf,
//! print `tile/8/L/N`, have no entry bundles, verify Ed25519 leniently, assert on what a store returns, and bring a
//! second line of `sha2` and `ed25519-dalek` into every program; here they are oracles in the tests.
//!
//! ```
//! use naulon_tlog::*;
//!
//! // The log appends two entries, keeps the new hashes, and signs a checkpoint.
//! let (mut tree, mut store) = (Tree::default(), Vec::<Hash>::new());
//! let leaves = [leaf_hash(b"first"), leaf_hash(b"second")];
//! store.extend(tree.append(&leaves).into_iter().map(|(_index, hash)| hash));
//! let signer = CheckpointSigner::new("log.example/fares", &[7; 32]).unwrap();
//! let checkpoint = Checkpoint { origin: "log.example/fares".into(), size: tree.size(), root: tree.root() };
//! let note = signer.sign(&checkpoint).unwrap();
//! let path = inclusion_proof(tree.size(), 1, &store).unwrap();
//! let proof = InclusionProof { index: 1, size: tree.size(), path };
//!
//! // A client who knows only the log's verifier key checks that "second" is in it.
//! let vkey = signer.verifier().to_string();
//! let verifier: CheckpointVerifier = vkey.parse().unwrap();
//! let checkpoint = verifier.open(note.as_str()).unwrap();
//! proof.verify(&leaf_hash(b"second"), &checkpoint).unwrap();
//! assert!(proof.verify(&leaf_hash(b"third"), &checkpoint).is_err());
//! ```

mod bundle;
mod checkpoint;
mod cosignature;
mod hash;
mod note;
mod policy;
mod proof;
mod public;
mod store;
mod tile;
mod tree;
mod verify;
mod witness;

pub use bundle::{BundleError, MAX_ENTRY_LEN, decode_bundle, encode_bundle};
pub use checkpoint::{
    Checkpoint, CheckpointError, CheckpointSigner, CheckpointVerifier, KeyError, SignError, SignedCheckpoint,
};
pub use cosignature::{Cosignature, MAX_COSIGNATURE_TIME, TimeError, WitnessSigner, WitnessVerifier};
pub use hash::{Hash, empty_root, leaf_hash, node_hash};
pub use note::{MAX_CHECKPOINT_LEN, MAX_NAME_LEN, MAX_SIGNATURES};
pub use policy::{CosignedCheckpoint, CosignedError, MAX_WITNESSES, PolicyError, WitnessPolicy};
pub use proof::{ProveError, consistency_proof, inclusion_proof, prefix_proof};
pub use public::{PublicError, PublicPath, read_public_tile};
pub use store::{HashStore, MAX_TREE_SIZE, MissingHash, ReadError, stored_count};
pub use tile::{
    MAX_TILE_LEVEL, MAX_TILE_PATH_LEN, TILE_WIDTH, TileError, TileKind, TilePath, TilePathError, read_tile,
};
pub use tree::{Appended, OpenError, Tree};
pub use verify::{InclusionProof, MAX_PROOF_LEN, ProofError, prefix_root, verify_consistency, verify_inclusion};
pub use witness::{AddCheckpoint, MAX_ADD_CHECKPOINT_LEN, MAX_WITNESS_PROOF_LEN, WitnessRefusal};
