//! A witness's store in memory, which can crash at every write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_durable::StoreError;
use naulon_durable::fault::Faults;

use crate::store::{Seen, Step, StepError, WitnessStore};

/// Keeps a witness in memory. Clones are handles on the same disk: one survives as the disk of a process that crashed.
#[derive(Clone)]
pub struct MemoryStore {
    faults: Faults,
    disk: Arc<Mutex<BTreeMap<String, Seen>>>,
}

impl MemoryStore {
    /// An empty store, whose writes ask these faults.
    pub fn new(faults: Faults) -> Self {
        MemoryStore { faults, disk: Arc::default() }
    }

    /// No code panics under this lock, so a poisoned one still holds a sound state.
    fn disk(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WitnessStore for MemoryStore {
    fn last(&self, origin: &str) -> Result<Option<Seen>, StoreError> {
        Ok(self.disk().get(origin).cloned())
    }

    fn all(&self) -> Result<Vec<(String, Seen)>, StoreError> {
        Ok(self.disk().iter().map(|(origin, seen)| (origin.clone(), seen.clone())).collect())
    }

    fn advance(&mut self, step: &Step) -> Result<(), StepError> {
        let mut disk = self.disk();
        if disk.get(&step.origin).map(|seen| (seen.size, seen.root)) != step.from {
            return Err(StepError::Overtaken);
        }
        Ok(self.faults.around(|| drop(disk.insert(step.origin.clone(), step.to.clone())))?)
    }
}
