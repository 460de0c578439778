//! A small witness: cosigns the checkpoints of logs that only grow ([C2SP tlog-witness](https://c2sp.org/tlog-witness)).
//!
//! A log asks it to cosign each new checkpoint and proves that the tree continues the one it cosigned last. So whoever
//! wants the cosignatures of a few witnesses with a checkpoint shares his tree with everybody else who does: a log cannot
//! show anybody another one, nor come back with an old copy of its own (`docs/spec/witness.md`).
//!
//! [`Witness`] is synchronous over a [`WitnessStore`]: the new checkpoint is durable before its cosignature leaves, and a
//! step is only written from the very tree that it was checked against. [`WitnessFront`] puts it behind HTTP.
//!
//! In scope: `add-checkpoint` for configured logs, Ed25519 cosignatures. Out of scope: entries (a witness never sees one),
//! discovery of logs, bastions, ML-DSA, checkpoints with extension lines (refused with 400).
//!
//! | what is stored | label | what who can write it gains |
//! | --- | --- | --- |
//! | per origin the last checkpoint, its time | trusted | this witness's cosignature on a second tree |
//!
//! The store knows of each log its checkpoints, which are public; of people nothing.
//!
//! ```
//! use naulon_durable::fault::Faults;
//! use naulon_statement::Timestamp;
//! use naulon_tlog::*;
//! use naulon_wire::{WitnessCall, WitnessReply};
//! use naulon_witness::{MemoryStore, Witness};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The operator of the witness takes a log in.
//! let log = CheckpointSigner::new("log.example/fares", &[7; 32])?;
//! let signer = WitnessSigner::new("witness.example/w1", &[11; 32])?;
//! let policy = WitnessPolicy::new(vec![signer.verifier().clone()], 1)?;
//! let mut witness = Witness::new(signer, vec![log.verifier().clone()], MemoryStore::new(Faults::none()))?;
//!
//! // The log asks for a cosignature of its first checkpoint.
//! let first = Checkpoint { origin: "log.example/fares".into(), size: 1, root: leaf_hash(b"entry") };
//! let note = log.sign(&first)?.into_string();
//! let request = AddCheckpoint { old: 0, proof: vec![], checkpoint: note.clone() };
//! let reply = witness.handle(&WitnessCall::AddCheckpoint(request), Timestamp(1_700_000_000_000))?;
//!
//! // A client wants this witness under every checkpoint.
//! let WitnessReply::Cosigned(lines) = reply else { unreachable!() };
//! let cosigned = policy.accept(log.verifier(), &format!("{note}{lines}"))?;
//! assert_eq!(cosigned.as_of(), Some(1_700_000_000));
//! # Ok(()) }
//! ```

mod front;
mod memory;
mod sqlite;
mod store;
mod witness;

pub use front::{LIMITS, WitnessFront};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use store::{Seen, Step, StepError, WitnessStore};
pub use witness::{ConfigurationError, Witness};
