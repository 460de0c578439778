//! Books in memory, with faults at every write: for tests and the simulator.

mod register;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_blind::Brand;
use naulon_durable::StoreError;
use naulon_durable::fault::Faults;
use naulon_exchange::{
    Audit, Draw, Forgotten, LedgerAccount, LockedChain, Needs, Plan, Record, RecordWrite, Remainder, RequestId, State,
    Transfer, View,
};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Signed, Timestamp};

use super::changes::{balance_changes, drawn, may_change};
use super::{BankStore, LogFault, Written, output_keys};

/// Books in memory. Clones share them, as two processes that run one after the other share a disk: after a crash the
/// simulator restarts the faults and opens a new bank over a clone.
#[derive(Clone, Default)]
pub struct MemoryStore {
    books: Arc<Mutex<Books>>,
    faults: Faults,
}

#[derive(Clone, Default)]
struct Books {
    records: BTreeMap<RequestId, Arc<Record>>,
    marks: BTreeMap<Digest, RequestId>,
    outputs: BTreeSet<(Digest, RequestId)>,
    balances: BTreeMap<PublicKey, Amount>,
    journal: Vec<Transfer>,
    carried: BTreeMap<LedgerAccount, i64>,
    remainders: BTreeMap<Digest, Remainder>,
    chains: BTreeMap<Digest, LockedChain>,
    brands: Vec<Signed<Brand>>,
    time: Timestamp,
    log_faults: Vec<LogFault>,
    register: register::RegisterBooks,
}

impl MemoryStore {
    /// Empty books, every write of which asks these faults.
    pub fn new(faults: Faults) -> Self {
        MemoryStore { books: Arc::default(), faults }
    }

    /// The faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Another store with the same books and no faults, that goes its own way from now on.
    pub fn copy(&self) -> Self {
        MemoryStore { books: Arc::new(Mutex::new(self.lock().clone())), faults: Faults::none() }
    }

    /// Whether everything in the books is the same: all but the clock and what is kept about logs.
    pub fn has_same_books(&self, other: &MemoryStore) -> bool {
        let ours = self.lock().clone();
        let theirs = other.lock();
        ours.records == theirs.records
            && ours.marks == theirs.marks
            && ours.balances == theirs.balances
            && ours.journal == theirs.journal
            && ours.carried == theirs.carried
            && ours.remainders == theirs.remainders
            && ours.chains == theirs.chains
            && ours.brands == theirs.brands
    }

    /// No code panics under this lock, so a poisoned one still holds sound books.
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, apply: impl FnOnce(&mut Books) -> T) -> Result<T, StoreError> {
        self.faults.around(|| apply(&mut self.lock()))
    }

    /// A process that has died reads nothing either.
    fn read<T>(&self, apply: impl FnOnce(&Books) -> T) -> Result<T, StoreError> {
        if self.faults.is_crashed() { Err(StoreError::Crashed) } else { Ok(apply(&self.lock())) }
    }
}

impl BankStore for MemoryStore {
    fn view(&mut self, needs: &[Needs]) -> Result<Vec<View>, StoreError> {
        self.read(|books| needs.iter().map(|needs| books.view(needs)).collect())
    }

    fn commit(&mut self, plans: &[Plan]) -> Result<Vec<Written>, StoreError> {
        self.write(|books| books.commit(plans))
    }

    fn record(&mut self, id: &RequestId) -> Result<Option<Record>, StoreError> {
        self.read(|books| books.records.get(id).map(|record| Record::clone(record)))
    }

    fn outputs(&mut self, keys: &[Digest]) -> Result<Vec<(Digest, State)>, StoreError> {
        self.read(|books| {
            let of_key = |key: &Digest| books.outputs.range((*key, Digest([0; 32]))..=(*key, Digest([255; 32])));
            let found = keys.iter().flat_map(of_key);
            found.filter_map(|(key, id)| Some((*key, books.records.get(id)?.state))).collect()
        })
    }

    fn locked(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(*id));
        self.read(|books| {
            let later = books.records.range((from, Bound::Unbounded)).map(|(_, record)| record);
            let locked = later.filter(|record| record.state == State::Locked).take(limit);
            locked.map(|record| Record::clone(record)).collect()
        })
    }

    fn records(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(*id));
        self.read(|books| {
            let later = books.records.range((from, Bound::Unbounded)).take(limit);
            later.map(|(_, record)| Record::clone(record)).collect()
        })
    }

    fn forget(&mut self, forgotten: &[Forgotten]) -> Result<usize, StoreError> {
        self.write(|books| forgotten.iter().filter(|forgotten| books.forget(forgotten)).count())
    }

    fn balance(&mut self, account: &PublicKey) -> Result<Option<Amount>, StoreError> {
        self.read(|books| books.balances.get(account).copied())
    }

    fn brands(&mut self) -> Result<Vec<Signed<Brand>>, StoreError> {
        self.read(|books| books.brands.clone())
    }

    fn add_brand(&mut self, brand: &Signed<Brand>) -> Result<Written, StoreError> {
        self.write(|books| books.add_brand(brand))
    }

    fn latest_time(&mut self) -> Result<Timestamp, StoreError> {
        self.read(|books| books.time)
    }

    fn keep_time(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.write(|books| books.time = books.time.max(now))
    }

    fn keep_log_fault(&mut self, fault: &LogFault) -> Result<(), StoreError> {
        self.write(|books| {
            let known = books.log_faults.iter().any(|kept| kept.purchase == fault.purchase && kept.code == fault.code);
            if !known {
                books.log_faults.push(fault.clone());
            }
        })
    }

    fn log_faults(&mut self) -> Result<Vec<LogFault>, StoreError> {
        self.read(|books| books.log_faults.clone())
    }

    fn audit(&mut self, audit: &mut Audit<'_>) -> Result<(), StoreError> {
        self.read(|books| {
            books.records.values().for_each(|record| audit.record(record));
            books.carried.iter().for_each(|(account, sum)| audit.carried(*account, *sum));
            books.journal.iter().for_each(|line| audit.transfer(line));
            books.balances.iter().for_each(|(account, balance)| audit.balance(*account, *balance));
            books.marks.iter().for_each(|(key, holder)| audit.mark(*key, *holder));
            books.remainders.iter().for_each(|(token, remainder)| audit.remainder(*token, *remainder));
            books.chains.iter().for_each(|(commitment, chain)| audit.chain(*commitment, *chain));
        })
    }
}

impl Books {
    fn view(&self, needs: &Needs) -> View {
        let holder = |key: &Digest| self.marks.get(key).and_then(|id| self.records.get(id)).cloned();
        View {
            record: needs.record.and_then(|id| self.records.get(&id)).cloned(),
            holders: needs.marks.iter().filter_map(|mark| Some((*mark, holder(&mark.key)?))).collect(),
            balances: needs.accounts.iter().filter_map(|a| Some((*a, *self.balances.get(a)?))).collect(),
            remainders: needs.remainders.iter().filter_map(|t| Some((*t, *self.remainders.get(t)?))).collect(),
            chains: needs.chains.iter().filter_map(|c| Some((*c, *self.chains.get(c)?))).collect(),
        }
    }

    /// Marks of all plans first, in the order of their keys; then the plans that have got all of theirs.
    fn commit(&mut self, plans: &[Plan]) -> Vec<Written> {
        let holders: Vec<Option<RequestId>> = plans.iter().map(inserted).collect();
        let mut wanted: Vec<(Digest, usize)> = Vec::new();
        for (index, plan) in plans.iter().enumerate() {
            wanted.extend(plan.marks.iter().map(|mark| (mark.key, index)));
        }
        wanted.sort_unstable();
        let mut written = vec![Written::Yes; plans.len()];
        let mut taken: Vec<BTreeSet<Digest>> = vec![BTreeSet::new(); plans.len()];
        for (key, index) in wanted {
            match holders[index] {
                Some(holder) if !self.marks.contains_key(&key) => {
                    self.marks.insert(key, holder);
                    taken[index].insert(key);
                }
                _ => written[index] = Written::Lost,
            }
        }
        for (index, plan) in plans.iter().enumerate() {
            if written[index] == Written::Yes {
                written[index] = self.write(plan);
            }
            if written[index] == Written::Lost {
                for key in &taken[index] {
                    self.marks.remove(key);
                }
            }
        }
        written
    }

    /// Everything of a plan but its marks.
    fn write(&mut self, plan: &Plan) -> Written {
        let Some(balances) = self.changed_balances(plan) else { return Written::Lost };
        let Some(remainders) = self.changed_remainders(plan) else { return Written::Lost };
        if !plan.chains.iter().all(|write| may_change(self.chains.get(&write.commitment), write)) {
            return Written::Lost;
        }
        let holder = match &plan.record {
            RecordWrite::Insert(record) => {
                let id = record.id();
                if self.records.contains_key(&id) {
                    return Written::Lost;
                }
                self.time = self.time.max(record.accepted);
                self.outputs.extend(output_keys(record).into_iter().map(|key| (key, id)));
                self.records.insert(id, record.clone());
                id
            }
            RecordWrite::Settle(record) => match self.records.get_mut(&record.id()) {
                Some(stored) if stored.state == State::Locked => {
                    *stored = record.clone();
                    record.id()
                }
                _ => return Written::Lost,
            },
            RecordWrite::Open(account) => {
                self.balances.entry(*account).or_default();
                return Written::Yes;
            }
        };
        for mark in &plan.freed {
            if self.marks.get(&mark.key) == Some(&holder) {
                self.marks.remove(&mark.key);
            }
        }
        self.balances.extend(balances);
        self.remainders.extend(remainders);
        self.chains.extend(plan.chains.iter().map(|write| (write.commitment, write.after)));
        self.journal.extend(&plan.transfers);
        Written::Yes
    }

    /// The balances after a plan; none if a guard does not hold, or an account is not open.
    fn changed_balances(&self, plan: &Plan) -> Option<Vec<(PublicKey, Amount)>> {
        let changes = balance_changes(plan)?;
        let changed = |(account, change): (PublicKey, super::changes::BalanceChange)| {
            let after = change.apply(*self.balances.get(&account)?)?;
            Some((account, after))
        };
        changes.into_iter().map(changed).collect()
    }

    /// What is left on tokens after a plan; none if it does not allow a draw.
    fn changed_remainders(&self, plan: &Plan) -> Option<Vec<(Digest, Remainder)>> {
        let drawn = |draw: &Draw| Some((draw.token, drawn(self.remainders.get(&draw.token).copied(), &draw.change)?));
        plan.draws.iter().map(drawn).collect()
    }

    /// False, and nothing is changed, if it is not there or locked.
    fn forget(&mut self, forgotten: &Forgotten) -> bool {
        if self.records.get(&forgotten.id).is_none_or(|record| record.state == State::Locked) {
            return false;
        }
        self.records.remove(&forgotten.id);
        self.marks.retain(|key, holder| *holder != forgotten.id || !forgotten.marks.contains(key));
        self.outputs.retain(|(_, id)| *id != forgotten.id);
        for (account, sum) in &forgotten.carried {
            *self.carried.entry(*account).or_default() += sum;
        }
        true
    }

    fn add_brand(&mut self, brand: &Signed<Brand>) -> Written {
        let place = |b: &Brand| (b.currency.clone(), b.denomination, b.purpose, b.issue_from);
        let rival = self.brands.iter().find(|known| known.key == brand.key || place(known) == place(brand));
        match rival {
            Some(known) if known == brand => Written::Yes,
            Some(_) => Written::Lost,
            None => {
                self.brands.push(brand.clone());
                Written::Yes
            }
        }
    }
}

/// The request that a plan inserts, which alone can take marks.
fn inserted(plan: &Plan) -> Option<RequestId> {
    match &plan.record {
        RecordWrite::Insert(record) => Some(record.id()),
        RecordWrite::Settle(_) | RecordWrite::Open(_) => None,
    }
}
