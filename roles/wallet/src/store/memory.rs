//! A store in memory, for the simulator and for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_durable::StoreError;
use naulon_durable::fault::Faults;

use super::{Kind, Row, WalletStore, Write};

type Rows = BTreeMap<(Kind, Vec<u8>), Vec<u8>>;

/// Rows in memory. Clones share the rows, as two processes one after the other share a disk: a wallet that is opened on a
/// clone after [`Faults::restart`] finds what was committed.
#[derive(Clone, Default)]
pub struct MemoryStore {
    rows: Arc<Mutex<Rows>>,
    faults: Faults,
}

impl MemoryStore {
    /// An empty store. Each commit goes through `faults`.
    pub fn new(faults: Faults) -> Self {
        MemoryStore { rows: Arc::default(), faults }
    }

    /// A store of its own with the same rows: a backup.
    pub fn copy(&self, faults: Faults) -> Self {
        MemoryStore { rows: Arc::new(Mutex::new(self.rows().clone())), faults }
    }

    /// The faults of its commits.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A dead process reads nothing.
    fn alive(&self) -> Result<(), StoreError> {
        if self.faults.is_crashed() { Err(StoreError::Crashed) } else { Ok(()) }
    }
}

impl WalletStore for MemoryStore {
    fn load(&mut self, kind: Kind, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive()?;
        Ok(self.rows().get(&(kind, key.to_vec())).cloned())
    }

    fn list(&mut self, kind: Kind) -> Result<Vec<Row>, StoreError> {
        self.alive()?;
        let rows = self.rows();
        let of_kind = rows.range((kind, Vec::new())..).take_while(|((found, _), _)| *found == kind);
        Ok(of_kind.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.faults.around(|| {
            let mut rows = self.rows();
            for write in writes {
                match write {
                    Write::Put { kind, key, value } => rows.insert((*kind, key.clone()), value.clone()),
                    Write::Remove { kind, key } => rows.remove(&(*kind, key.clone())),
                };
            }
        })
    }
}
