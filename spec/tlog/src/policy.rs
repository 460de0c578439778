//! Which witnesses a client wants under a checkpoint, and how many.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointVerifier};
use crate::cosignature::WitnessVerifier;
use crate::note::Note;

/// The most witnesses that a policy may name.
pub const MAX_WITNESSES: usize = 64;

/// Which witnesses a client trusts, and how many of them must have cosigned.
///
/// Two clients of the same policy cannot be shown different trees unless at least
/// 2 · threshold − (number of witnesses) witnesses join the log in it. So a threshold above half is what makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessPolicy {
    witnesses: Vec<WitnessVerifier>,
    threshold: usize,
}

impl WitnessPolicy {
    /// The policy that wants at least `threshold` of these witnesses.
    ///
    /// # Errors
    /// When the threshold is zero or above the number of witnesses, when there are more than [`MAX_WITNESSES`], or when
    /// two share a name or a key: a key that is listed twice would count twice.
    pub fn new(witnesses: Vec<WitnessVerifier>, threshold: usize) -> Result<Self, PolicyError> {
        if witnesses.len() > MAX_WITNESSES {
            return Err(PolicyError::TooMany(witnesses.len()));
        }
        if !(1..=witnesses.len()).contains(&threshold) {
            return Err(PolicyError::Threshold { threshold, witnesses: witnesses.len() });
        }
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for witness in &witnesses {
            if !names.insert(witness.name()) || !keys.insert(witness.public_key()) {
                return Err(PolicyError::Twice(witness.name().to_owned()));
            }
        }
        Ok(WitnessPolicy { witnesses, threshold })
    }

    /// The policy that wants no witness at all: a log can show everybody another tree, and nobody would notice. It is for
    /// trials on one's own machine, and has to be asked for by this name.
    pub fn unwitnessed() -> Self {
        WitnessPolicy { witnesses: Vec::new(), threshold: 0 }
    }

    /// Whether this policy wants no witness.
    pub fn is_unwitnessed(&self) -> bool {
        self.threshold == 0
    }

    /// The witnesses.
    pub fn witnesses(&self) -> &[WitnessVerifier] {
        &self.witnesses
    }

    /// How many of them must have cosigned.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Takes a checkpoint out of a note, if the log has signed it and enough witnesses have cosigned it. Lines of keys that
    /// neither the log nor the policy has are ignored; one of a known key that does not hold spoils the note.
    ///
    /// It does not say that the checkpoint is new: see [`CosignedCheckpoint::as_of`].
    ///
    /// # Errors
    /// See [`CosignedError`].
    pub fn accept(&self, log: &CheckpointVerifier, note: &str) -> Result<CosignedCheckpoint, CosignedError> {
        let parsed = Note::parse(note)?;
        let checkpoint = log.open_parsed(&parsed)?;
        let mut times = BTreeMap::new();
        for witness in &self.witnesses {
            let name = || witness.name().to_owned();
            match witness.find_in(&parsed) {
                Ok(Some(cosignature)) => drop(times.insert(name(), cosignature.time())),
                Ok(None) => {}
                Err(CheckpointError::RepeatedSignature) => return Err(CosignedError::Repeated(name())),
                Err(_) => return Err(CosignedError::BadCosignature(name())),
            }
        }
        if times.len() < self.threshold {
            return Err(CosignedError::TooFew { want: self.threshold, got: times.len() });
        }
        Ok(CosignedCheckpoint { checkpoint, times, threshold: self.threshold, note: note.to_owned() })
    }
}

/// A checkpoint that satisfied a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedCheckpoint {
    checkpoint: Checkpoint,
    times: BTreeMap<String, u64>,
    threshold: usize,
    note: String,
}

impl CosignedCheckpoint {
    /// What the log has signed and the witnesses have cosigned.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The witnesses of the policy that have cosigned, by name, each with its time in seconds since the Unix epoch.
    pub fn times(&self) -> &BTreeMap<String, u64> {
        &self.times
    }

    /// The latest time of which as many witnesses as the policy wants say that this was the newest checkpoint then, in
    /// seconds since the Unix epoch. Who must not be held back on an old tree compares it with its clock. None without
    /// witnesses.
    pub fn as_of(&self) -> Option<u64> {
        let mut times: Vec<u64> = self.times.values().copied().collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(self.threshold.checked_sub(1)?).copied()
    }

    /// The note that it was taken from, to be kept and handed on.
    pub fn note(&self) -> &str {
        &self.note
    }
}

/// Why witnesses and a threshold make no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The threshold is not 1 to the number of witnesses.
    #[error("{threshold} of {witnesses} witnesses cannot be wanted; the threshold is 1 to their number")]
    Threshold {
        /// How many are wanted.
        threshold: usize,
        /// How many there are.
        witnesses: usize,
    },
    /// More than [`MAX_WITNESSES`].
    #[error("{0} witnesses are more than {MAX_WITNESSES}")]
    TooMany(usize),
    /// A name or a key stands twice.
    #[error("the name or the key of the witness {0} is listed twice")]
    Twice(String),
}

/// Why a note does not satisfy a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignedError {
    /// It is not a checkpoint of the log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The line of a witness of the policy does not hold.
    #[error("the cosignature of the witness {0} is wrong")]
    BadCosignature(String),
    /// A witness of the policy has more than one line.
    #[error("the witness {0} has cosigned more than once")]
    Repeated(String),
    /// Too few witnesses of the policy have cosigned.
    #[error("{got} of the policy's witnesses have cosigned, {want} are wanted")]
    TooFew {
        /// How many the policy wants.
        want: usize,
        /// How many have.
        got: usize,
    },
}
