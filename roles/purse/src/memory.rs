//! A purse's store in memory, which can crash at every write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_durable::StoreError;
use naulon_durable::fault::Faults;
use naulon_exchange::LoadNumber;
use naulon_money::Amount;
use naulon_statement::Digest;

use crate::store::{Load, Made, PurseStore, SpendError, Wish};

/// Keeps a purse in memory. Clones are handles on the same disk: one survives as the disk of a process that was killed.
#[derive(Clone)]
pub struct MemoryStore {
    faults: Faults,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    balances: BTreeMap<Digest, Amount>,
    loads: BTreeMap<LoadNumber, Load>,
    made: Vec<Made>,
}

impl MemoryStore {
    /// An empty store, whose writes ask these faults.
    pub fn new(faults: Faults) -> Self {
        MemoryStore { faults, disk: Arc::default() }
    }

    /// No code panics under this lock, so a poisoned one still holds a sound state.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PurseStore for MemoryStore {
    fn balances(&self) -> Result<BTreeMap<Digest, Amount>, StoreError> {
        Ok(self.disk().balances.clone())
    }

    fn made_count(&self) -> Result<u32, StoreError> {
        u32::try_from(self.disk().made.len()).map_err(|_| StoreError::Corrupt)
    }

    fn made(&self, wish: &Wish) -> Result<Option<Made>, StoreError> {
        Ok(self.disk().made.iter().find(|made| made.wish == *wish).copied())
    }

    fn made_from(&self, index: u32, limit: usize) -> Result<Vec<Made>, StoreError> {
        Ok(self.disk().made.iter().skip(index as usize).take(limit).copied().collect())
    }

    fn load(&self, number: &LoadNumber) -> Result<Option<Load>, StoreError> {
        Ok(self.disk().loads.get(number).copied())
    }

    fn ask(&mut self, load: &Load) -> Result<(), StoreError> {
        let mut disk = self.disk();
        self.faults.around(|| {
            disk.loads.entry(load.number).or_insert(*load);
        })
    }

    fn credit(&mut self, number: &LoadNumber) -> Result<(), StoreError> {
        let mut disk = self.disk();
        let Some(load) = disk.loads.get(number).copied().filter(|load| !load.is_done) else {
            return Ok(());
        };
        let before = disk.balances.get(&load.brand).copied().unwrap_or_default();
        let after = before.checked_add(load.amount).ok_or(StoreError::Corrupt)?;
        self.faults.around(|| {
            disk.loads.insert(*number, Load { is_done: true, ..load });
            disk.balances.insert(load.brand, after);
        })
    }

    fn spend(&mut self, made: &Made) -> Result<(), SpendError> {
        let mut disk = self.disk();
        if disk.made.len() != made.index as usize || disk.made.iter().any(|other| other.wish == made.wish) {
            return Err(SpendError::Taken);
        }
        let before = disk.balances.get(&made.brand).copied().unwrap_or_default();
        let after = before.checked_sub(made.total).ok_or(SpendError::Balance)?;
        Ok(self.faults.around(|| {
            disk.balances.insert(made.brand, after);
            disk.made.push(*made);
        })?)
    }
}
