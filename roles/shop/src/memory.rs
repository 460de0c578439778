//! A shop's store in memory, which the simulator can crash at every write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_durable::StoreError;
use naulon_durable::fault::Faults;
use naulon_exchange::SaleNumber;
use naulon_purchase::{Order, Sale, SaleStep};
use naulon_statement::Timestamp;

use crate::sqlite::over;
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
    /// When settled sales were over.
    over: BTreeMap<SaleId, Timestamp>,
    orders: BTreeMap<SaleNumber, Order>,
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
            let (SaleWrite::Accept(id, _) | SaleWrite::Advance(id, ..)) = write;
            let before = changed.get(id).or_else(|| self.sales.get(id));
            let sale = match (write, before) {
                (SaleWrite::Accept(_, payment), None) => Sale::new((**payment).clone()),
                (SaleWrite::Advance(_, sale, _), Some(before)) => {
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
        for write in writes {
            if let SaleWrite::Advance(id, sale, now) = write {
                self.over.extend(over(sale, *now).map(|over| (*id, over)));
            }
        }
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

    fn keep_order(&mut self, order: &Order) -> Result<(), StoreError> {
        let mut disk = self.disk();
        self.faults.around(|| {
            disk.orders.insert(order.goods_m.claimed_body().n, order.clone());
        })
    }

    fn order(&self, n: &SaleNumber) -> Result<Option<Order>, StoreError> {
        Ok(self.disk().orders.get(n).cloned())
    }

    fn orders(&self) -> Result<u64, StoreError> {
        Ok(self.disk().orders.len() as u64)
    }

    fn prune(&mut self, over_before: Timestamp, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut disk = self.disk();
        self.faults.around(|| {
            let over: Vec<SaleId> =
                disk.over.iter().filter(|(_, over)| **over < over_before).map(|(id, _)| *id).take(limit).collect();
            for id in &over {
                disk.over.remove(id);
                disk.sales.remove(id);
            }
            disk.order.retain(|id| !over.contains(id));
            let stale = |order: &Order| order.goods_m.claimed_body().valid_until <= now;
            let old: Vec<SaleNumber> =
                disk.orders.iter().filter(|(_, order)| stale(order)).map(|(n, _)| *n).take(limit).collect();
            old.iter().for_each(|n| drop(disk.orders.remove(n)));
            over.len() + old.len()
        })
    }

    fn prunable(&self, over_before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let disk = self.disk();
        let over = disk.over.values().filter(|over| **over < over_before).count();
        let stale = |order: &&Order| order.goods_m.claimed_body().valid_until <= now;
        Ok((over + disk.orders.values().filter(stale).count()) as u64)
    }

    fn commit(&mut self, writes: &[SaleWrite]) -> Result<(), CommitError> {
        let mut disk = self.disk();
        let changed = disk.after(writes).ok_or(CommitError::OutOfTurn)?;
        Ok(self.faults.around(|| disk.apply(writes, changed))?)
    }
}
