//! The witness itself.

use std::collections::BTreeMap;

use naulon_durable::{Retry, StoreError};
use naulon_statement::Timestamp;
use naulon_tlog::{
    AddCheckpoint, Checkpoint, CheckpointVerifier, MAX_COSIGNATURE_TIME, TimeError, WitnessRefusal, WitnessSigner,
};
use naulon_wire::{Problem, WitnessCall, WitnessReply};

use crate::store::{Seen, Step, StepError, WitnessStore};

/// A witness over its store.
pub struct Witness<S> {
    signer: WitnessSigner,
    logs: BTreeMap<String, CheckpointVerifier>,
    store: S,
    halted: bool,
}

/// Why a witness does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// Two keys for one origin. Operator: a log that changes its key needs a new origin.
    #[error("the log {0} is listed twice")]
    Twice(String),
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Refused(#[from] WitnessRefusal),
    #[error("another request for this log was faster")]
    Overtaken,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Clock(#[from] TimeError),
    #[error("the witness has stopped cosigning; it must be started again")]
    Halted,
}

impl<S: WitnessStore> Witness<S> {
    /// The witness that cosigns for these logs.
    ///
    /// # Errors
    /// [`ConfigurationError`].
    pub fn new(signer: WitnessSigner, logs: Vec<CheckpointVerifier>, store: S) -> Result<Self, ConfigurationError> {
        let mut by_origin = BTreeMap::new();
        for log in logs {
            let origin = log.origin().to_owned();
            if by_origin.insert(origin.clone(), log).is_some() {
                return Err(ConfigurationError::Twice(origin));
            }
        }
        Ok(Witness { signer, logs: by_origin, store, halted: false })
    }

    /// Answers one call. When there is a cosignature, the checkpoint is durable as the last one.
    pub fn handle(&mut self, call: &WitnessCall, now: Timestamp) -> Result<WitnessReply, Problem> {
        let WitnessCall::AddCheckpoint(request) = call;
        match self.add_checkpoint(request, now.0 / 1_000) {
            Ok(lines) => Ok(WitnessReply::Cosigned(lines)),
            Err(Trouble::Refused(WitnessRefusal::Conflict { size })) => Ok(WitnessReply::Known(size)),
            Err(Trouble::Refused(refusal)) => Err(refusal.into()),
            Err(trouble) => {
                tracing::error!(%trouble, "a checkpoint could not be cosigned");
                Err(Problem::new("unavailable", "the witness cannot write or read now"))
            }
        }
    }

    /// What it has cosigned last, by origin.
    ///
    /// # Errors
    /// When the store fails.
    pub fn seen(&self) -> Result<Vec<(String, Seen)>, StoreError> {
        self.store.all()
    }

    fn add_checkpoint(&mut self, request: &AddCheckpoint, now: u64) -> Result<String, Trouble> {
        if self.halted {
            return Err(Trouble::Halted);
        }
        let origin = request.claimed_origin();
        let log = self.logs.get(origin).ok_or(WitnessRefusal::UnknownOrigin)?;
        let last = self.store.last(origin)?;
        let known =
            last.as_ref().map(|seen| Checkpoint { origin: origin.to_owned(), size: seen.size, root: seen.root });
        let checkpoint = request.check(log, known.as_ref())?;
        // A cosignature says that this is the largest tree seen until its time; a clock that was set back would make that a
        // lie about the trees seen meanwhile.
        let time = last.as_ref().map_or(now, |seen| seen.time.max(now)).min(MAX_COSIGNATURE_TIME);
        let from = last.map(|seen| (seen.size, seen.root));
        let note = request.checkpoint.clone();
        let to = Seen { size: checkpoint.size, root: checkpoint.root, time, note };
        self.store.advance(&Step { origin: origin.to_owned(), from, to }).map_err(|error| self.failed(error))?;
        Ok(self.signer.cosign(&checkpoint, time)?.line().to_owned())
    }

    /// After a write of which nobody knows whether it happened, what the store answers next may not be what is on the disk.
    fn failed(&mut self, error: StepError) -> Trouble {
        match error {
            StepError::Overtaken => Trouble::Overtaken,
            StepError::Store(error) => {
                self.halted = error.retry() == Retry::AfterReopening;
                Trouble::Store(error)
            }
        }
    }
}
