//! A mix's store in memory, which can crash at every write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_durable::StoreError;
use naulon_durable::fault::Faults;
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, PublicKey};

use crate::store::{Change, Earnings, KeptCheck, TickStore};

/// Keeps ticks in memory. Clones are handles on the same disk: one survives as the disk of a process that crashed.
#[derive(Clone)]
pub struct MemoryStore {
    faults: Faults,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    next: u64,
    order: BTreeMap<u64, Digest>,
    checks: BTreeMap<Digest, (u64, KeptCheck)>,
    earned: BTreeMap<(PublicKey, Currency), (u64, u64)>,
}

impl MemoryStore {
    /// An empty store, whose writes ask these faults.
    pub fn new(faults: Faults) -> Self {
        MemoryStore { faults, disk: Arc::default() }
    }

    /// The faults that its writes ask.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// No code panics under this lock, so a poisoned one still holds a sound state.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Taken(kept) => {
                let commitment = kept.check.commitment();
                if !self.checks.contains_key(&commitment) {
                    self.next += 1;
                    self.order.insert(self.next, commitment);
                    self.checks.insert(commitment, (self.next, (**kept).clone()));
                }
            }
            Change::Earned { commitment, front, earned } => {
                if let Some((_, kept)) = self.checks.get_mut(commitment) {
                    if front.index > kept.front.index {
                        kept.front = *front;
                    }
                    kept.earned = kept.earned.max(*earned);
                }
            }
            Change::Cashed { commitment, from, to, amount } => {
                let Some((_, kept)) = self.checks.get_mut(commitment).filter(|(_, kept)| kept.cashed.index == *from)
                else {
                    return;
                };
                kept.cashed = *to;
                let account = (kept.check.bank, kept.check.currency.clone());
                let (ticks, micros) = self.earned.entry(account).or_default();
                *ticks = ticks.saturating_add(u64::from(to.index - *from));
                *micros = micros.saturating_add(amount.micros());
            }
            Change::Forgotten(commitment) => {
                if let Some((number, _)) = self.checks.remove(commitment) {
                    self.order.remove(&number);
                }
            }
        }
    }
}

impl TickStore for MemoryStore {
    fn all(&self) -> Result<Vec<KeptCheck>, StoreError> {
        let disk = self.disk();
        Ok(disk.order.values().filter_map(|commitment| Some(disk.checks.get(commitment)?.1.clone())).collect())
    }

    fn earnings(&self) -> Result<Vec<Earnings>, StoreError> {
        let disk = self.disk();
        let rows = disk.earned.iter().map(|((bank, currency), (ticks, micros))| Earnings {
            bank: *bank,
            currency: currency.clone(),
            ticks: *ticks,
            cashed: Amount::from_micros(*micros),
        });
        Ok(rows.collect())
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut disk = self.disk();
        self.faults.around(|| changes.iter().for_each(|change| disk.apply(change)))
    }
}
