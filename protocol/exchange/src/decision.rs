//! The log's decision on a purchase, and how anybody checks it (AAT §3.3, P5; §8.4).

use minicbor::{Decode, Encode};
use naulon_statement::{Digest, PublicKey, Signed, Statement, StatementError, Timestamp, Unverified, cbor};
use naulon_tlog::{CheckpointError, CheckpointVerifier, InclusionProof, ProofError, leaf_hash};

use crate::promise::Header;
use crate::request::RequestId;

/// The length of a log entry in bytes.
pub const LOG_ENTRY_LEN: usize = 72;

/// *commit* or *abort*: exactly one of them exists for each a. It is published, so it names neither n nor M.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogDecision {
    /// a: the request id of *authorization_q*.
    #[n(1)]
    pub a: RequestId,
    /// The digest of the bank's header.
    #[n(2)]
    pub header: Digest,
    /// The header's expiry.
    #[n(3)]
    pub expiry: Timestamp,
    /// The header's Q, for two-sided delivery.
    #[n(4)]
    pub q: Option<PublicKey>,
    /// The log's clock when it decided (AAT §8.4).
    #[n(5)]
    pub time: Timestamp,
    /// What was decided.
    #[n(6)]
    pub outcome: Outcome,
}

impl Statement for LogDecision {
    const CONTENT_TYPE: &'static str = "application/naulon.decision+cbor";
}

/// What a log decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// The purchase happened; k is the merchandise key.
    #[n(0)]
    Commit {
        /// The merchandise key.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        k: [u8; 32],
    },
    /// The purchase did not and will not happen.
    #[n(1)]
    Abort,
}

impl LogDecision {
    /// The log's decision on the purchase of this header.
    pub fn on(header: &Header, time: Timestamp, outcome: Outcome) -> LogDecision {
        LogDecision { a: header.a, header: header.digest(), expiry: header.expiry, q: header.q, time, outcome }
    }

    /// The merchandise key, if this is a commit.
    pub fn key(&self) -> Option<&[u8; 32]> {
        match &self.outcome {
            Outcome::Commit { k } => Some(k),
            Outcome::Abort => None,
        }
    }

    /// Whether this is a decision on the purchase of this header, made within its time: a commit before the expiry, an
    /// abort not before it.
    pub fn fits(&self, header: &Header) -> bool {
        let in_time = match self.outcome {
            Outcome::Commit { .. } => self.time < self.expiry,
            Outcome::Abort => self.time >= self.expiry,
        };
        let same = self.a == header.a && self.expiry == header.expiry && self.q == header.q;
        same && in_time && self.header == header.digest()
    }

    /// The log entry of a decision: u64be time ‖ SHA-256("naulon/log-index" ‖ a) ‖ SHA-256(body), where the body is the
    /// signed statement.
    pub fn entry(&self, body: &[u8]) -> [u8; LOG_ENTRY_LEN] {
        let mut entry = [0; LOG_ENTRY_LEN];
        let (time, rest) = entry.split_at_mut(8);
        let (index, digest) = rest.split_at_mut(32);
        time.copy_from_slice(&self.time.0.to_be_bytes());
        index.copy_from_slice(&Digest::of(&[b"naulon/log-index", self.a.as_bytes()]).0);
        digest.copy_from_slice(&Digest::of(&[body]).0);
        entry
    }
}

/// How a log is recognised: by its statement key and its checkpoint key.
#[derive(Clone)]
pub struct LogIdentity {
    /// Signs decisions; its name in statements.
    pub key: PublicKey,
    /// Verifies checkpoints (a key of its own, C2SP signed note).
    pub checkpoints: CheckpointVerifier,
}

/// A decision as it travels: the signed statement, its place in the log's tree, and the checkpoint of that tree.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub struct UnverifiedDecision {
    /// The statement.
    #[n(1)]
    pub decision: Unverified<LogDecision>,
    /// Where its entry stands.
    #[n(2)]
    pub inclusion: InclusionProof,
    /// The signed checkpoint that the proof leads to.
    #[n(3)]
    pub checkpoint: String,
}

/// A decision that is the log's, and stands in its tree. Its CBOR is read again as [`UnverifiedDecision`].
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct ProvenDecision {
    #[n(1)]
    decision: Signed<LogDecision>,
    #[n(2)]
    inclusion: InclusionProof,
    #[n(3)]
    checkpoint: String,
}

/// Why a decision proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// The statement does not hold.
    #[error("the decision: {0}")]
    Statement(#[from] StatementError),
    /// The checkpoint is not the log's.
    #[error("the log's checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not in the tree of the checkpoint, or the proof is for another tree.
    #[error("the inclusion proof: {0}")]
    Inclusion(#[from] ProofError),
}

impl UnverifiedDecision {
    /// Checks the log's signature, the inclusion and the checkpoint.
    pub fn verify(self, log: &LogIdentity) -> Result<ProvenDecision, DecisionError> {
        let decision = self.decision.verify(&log.key)?;
        let checkpoint = log.checkpoints.open(&self.checkpoint)?;
        self.inclusion.verify(&leaf_hash(&decision.entry(decision.bytes())), &checkpoint)?;
        Ok(ProvenDecision { decision, inclusion: self.inclusion, checkpoint: self.checkpoint })
    }

    /// The proven decision, for bytes that this party verified before it stored them.
    pub fn from_own_store(self) -> ProvenDecision {
        ProvenDecision {
            decision: self.decision.from_own_store(),
            inclusion: self.inclusion,
            checkpoint: self.checkpoint,
        }
    }
}

impl ProvenDecision {
    /// The decision with the proof that its log has just made for it.
    pub fn by_own_log(decision: Signed<LogDecision>, inclusion: InclusionProof, checkpoint: String) -> Self {
        ProvenDecision { decision, inclusion, checkpoint }
    }

    /// What the log decided.
    pub fn decision(&self) -> &Signed<LogDecision> {
        &self.decision
    }

    /// Where the decision's entry stands in the tree.
    pub fn inclusion(&self) -> &InclusionProof {
        &self.inclusion
    }

    /// The log's signed checkpoint.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// The bytes that go to others and into stores: CBOR as [`UnverifiedDecision`].
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }
}

impl From<&ProvenDecision> for UnverifiedDecision {
    fn from(proven: &ProvenDecision) -> Self {
        UnverifiedDecision {
            decision: Unverified::from(&proven.decision),
            inclusion: proven.inclusion.clone(),
            checkpoint: proven.checkpoint.clone(),
        }
    }
}
