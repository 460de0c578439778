//! What a witness is asked, and what it must check before it cosigns (C2SP tlog-witness, `add-checkpoint`).

use base64ct::{Base64, Encoding};

use crate::checkpoint::{Checkpoint, CheckpointVerifier};
use crate::hash::{Hash, empty_root};
use crate::note::MAX_CHECKPOINT_LEN;
use crate::verify::verify_consistency;

/// The most hashes of a consistency proof that a request may have.
pub const MAX_WITNESS_PROOF_LEN: usize = 63;
/// The longest request, in bytes: the old size, the proof, an empty line, and the checkpoint.
pub const MAX_ADD_CHECKPOINT_LEN: usize = MAX_CHECKPOINT_LEN + 26 + 45 * MAX_WITNESS_PROOF_LEN;

/// "Cosign this checkpoint; this proof leads to it from the one that you cosigned last."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the tree that the witness has cosigned last, zero if none.
    pub old: u64,
    /// The consistency proof from there.
    pub proof: Vec<Hash>,
    /// The new checkpoint: a note signed by the log.
    pub checkpoint: String,
}

impl AddCheckpoint {
    /// The request's body.
    pub fn text(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| Base64::encode_string(hash) + "\n").collect();
        format!("old {}\n{proof}\n{}", self.old, self.checkpoint)
    }

    /// Reads a body; only what [`text`](Self::text) gives is one. The checkpoint in it is not looked at.
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > MAX_ADD_CHECKPOINT_LEN {
            return None;
        }
        let (head, checkpoint) = std::str::from_utf8(body).ok()?.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = lines.next()?.strip_prefix("old ")?.parse().ok()?;
        let hashes = lines.by_ref().take(MAX_WITNESS_PROOF_LEN).map(|line| {
            let mut hash = Hash::default();
            let length = Base64::decode(line, &mut hash).ok()?.len();
            (length == hash.len()).then_some(hash)
        });
        let proof = hashes.collect::<Option<_>>()?;
        let request = AddCheckpoint { old, proof, checkpoint: checkpoint.to_owned() };
        // Printed again it must be the same: this refuses signs, leading zeros and further lines.
        (request.text().as_bytes() == body).then_some(request)
    }

    /// The log that the checkpoint says it is of. Nothing is verified by that.
    pub fn claimed_origin(&self) -> &str {
        self.checkpoint.split('\n').next().unwrap_or_default()
    }

    /// Checks what a witness must, in the order of the specification: signed by the log, from the checkpoint that was
    /// cosigned last (none if none was), and continuing it. What comes back may be cosigned once it is recorded as the last
    /// one, under the condition that the last one still is `last`.
    ///
    /// # Errors
    /// See [`WitnessRefusal`].
    pub fn check(&self, log: &CheckpointVerifier, last: Option<&Checkpoint>) -> Result<Checkpoint, WitnessRefusal> {
        let new = log.open(&self.checkpoint).map_err(|error| {
            use crate::checkpoint::CheckpointError::{BadSignature, NotSigned};
            if matches!(error, NotSigned | BadSignature) {
                WitnessRefusal::NotSigned
            } else {
                WitnessRefusal::Malformed
            }
        })?;
        if self.old > new.size {
            return Err(WitnessRefusal::Malformed);
        }
        let (size, root) = last.map_or((0, empty_root()), |last| (last.size, last.root));
        if self.old != size || (new.size == size && new.root != root) {
            return Err(WitnessRefusal::Conflict { size });
        }
        verify_consistency(size, &root, new.size, &new.root, &self.proof).map_err(|_| WitnessRefusal::Inconsistent)?;
        Ok(new)
    }
}

/// Why a witness does not cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefusal {
    /// The witness does not know the origin (404).
    #[error("this witness does not know that log")]
    UnknownOrigin,
    /// The checkpoint is not signed by the log's key (403).
    #[error("the checkpoint is not signed by the log's key")]
    NotSigned,
    /// The request is none, or the old size is above the new one (400).
    #[error("not a request that leads to a checkpoint")]
    Malformed,
    /// The witness has cosigned last a tree of another size than the request's, or another tree of the same size (409).
    #[error("this witness has cosigned last a tree of {size} leaves")]
    Conflict {
        /// The size that it has cosigned last.
        size: u64,
    },
    /// The proof does not lead from the tree cosigned last to the new one (422).
    #[error("the consistency proof does not hold")]
    Inconsistent,
}

impl WitnessRefusal {
    /// The stable code (docs/codes.md). On the wire a conflict is a reply of its own; whoever has no use for it sees this.
    pub fn code(self) -> &'static str {
        match self {
            WitnessRefusal::UnknownOrigin => "unknown_origin",
            WitnessRefusal::NotSigned => "bad_signature",
            WitnessRefusal::Malformed => "malformed",
            WitnessRefusal::Conflict { .. } | WitnessRefusal::Inconsistent => "inconsistent",
        }
    }
}
