//! A directory's store in memory, which can crash at every write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_durable::StoreError;
use naulon_durable::fault::Faults;
use naulon_statement::PublicKey;

use crate::store::DirectoryStore;

/// Keeps a directory in memory. Clones are handles on the same disk: one survives as the disk of a process that crashed.
#[derive(Clone)]
pub struct MemoryStore {
    faults: Faults,
    disk: Arc<Mutex<BTreeMap<PublicKey, Vec<u8>>>>,
}

impl MemoryStore {
    /// An empty store, whose writes ask these faults.
    pub fn new(faults: Faults) -> Self {
        MemoryStore { faults, disk: Arc::default() }
    }

    /// No code panics under this lock, so a poisoned one still holds a sound state.
    fn disk(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Vec<u8>>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DirectoryStore for MemoryStore {
    fn all(&self) -> Result<Vec<(PublicKey, Vec<u8>)>, StoreError> {
        Ok(self.disk().iter().map(|(mix, descriptor)| (*mix, descriptor.clone())).collect())
    }

    fn keep(&mut self, mix: &PublicKey, descriptor: &[u8]) -> Result<(), StoreError> {
        let mut disk = self.disk();
        self.faults.around(|| drop(disk.insert(*mix, descriptor.to_vec())))
    }
}
