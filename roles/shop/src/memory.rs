//! A shop's store in memory, which the simulator can crash at every write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_durable::StoreError;
use naulon_durable::fault::Faults;
use naulon_purchase::{Sale, SaleStep};

use crate::store::{CommitError, SaleId, SaleWrite, ShopStore};

/// Keeps sales in memory. Clones are handles on the same disk: one survives as the disk of a process that crashed.
#[derive(Clone)]
pub struct MemoryStore {
    faults: Faults,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    sales: BTreeMap<SaleId, Sale>,
    /// In the order in which they were accepted.
    order: Vec<SaleId>,
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
    /// The sales that these steps change, as they are afterwards; none if one of the steps does not follow.
    fn after(&self, writes: &[SaleWrite]) -> Option<BTreeMap<SaleId, Sale>> {
        let mut changed: BTreeMap<SaleId, Sale> = BTreeMap::new();
        for write in writes {
            let (SaleWrite::Accept(id, _) | SaleWrite::Advance(id, _)) = write;
            let before = changed.get(id).or_else(|| self.sales.get(id));
            let sale = match (write, before) {
                (SaleWrite::Accept(_, payment), None) => Sale::new((**payment).clone()),
                (SaleWrite::Advance(_, sale), Some(before)) => {
                    let keeps_decision = before.decision.is_none() || sale.decision.is_some();
                    let follows = !before.settled && keeps_decision;
                    follows.then(|| Sale { payment: before.payment.clone(), ..(**sale).clone() })?
                }
                (SaleWrite::Accept(..), Some(_)) | (SaleWrite::Advance(..), None) => return None,
            };
            changed.insert(*id, sale);
        }
        Some(changed)
    }

    fn apply(&mut self, writes: &[SaleWrite], changed: BTreeMap<SaleId, Sale>) {
        self.sales.extend(changed);
        self.order.extend(writes.iter().filter_map(|write| match write {
            SaleWrite::Accept(id, _) => Some(*id),
            SaleWrite::Advance(..) => None,
        }));
    }
}

impl ShopStore for MemoryStore {
    fn sale(&self, id: &SaleId) -> Result<Option<Sale>, StoreError> {
        Ok(self.disk().sales.get(id).cloned())
    }

    fn open_sales(&self) -> Result<Vec<(SaleId, Sale)>, StoreError> {
        let disk = self.disk();
        let open = disk.sales.iter().filter(|(_, sale)| sale.next() != SaleStep::Done);
        Ok(open.map(|(id, sale)| (*id, sale.clone())).collect())
    }

    fn newest_sales(&self, limit: usize) -> Result<Vec<(SaleId, Sale)>, StoreError> {
        let disk = self.disk();
        let newest = disk.order.iter().rev().take(limit);
        Ok(newest.filter_map(|id| Some((*id, disk.sales.get(id)?.clone()))).collect())
    }

    fn commit(&mut self, writes: &[SaleWrite]) -> Result<(), CommitError> {
        let mut disk = self.disk();
        let changed = disk.after(writes).ok_or(CommitError::OutOfTurn)?;
        Ok(self.faults.around(|| disk.apply(writes, changed))?)
    }
}
