//! Bugs put in on purpose, to see that the simulator finds them.

use std::ops::Range;
use std::sync::Arc;

use naulon_bank::{
    BankStore, DayKey, DeliveredPlace, LogFault, RegisterAppending, RegisterRows, RegisterStore, StoredChunk, Written,
};
use naulon_blind::Brand;
use naulon_durable::StoreError;
use naulon_exchange::{Audit, Needs, Plan, Record, RecordWrite, RequestId, State, Transfer, View};
use naulon_log::{Appending, CommitError, Entry, Fence, LogState, LogStore, StoredDecision};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Signed, Timestamp};
use naulon_tlog::Hash;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// The bank's store sets no marks and sees none.
    Unmarked,
    /// The bank's store sets marks, and writes a settlement whether or not the purchase is still locked.
    Unguarded,
    /// The bank answers before its write is durable.
    EarlyReply,
    /// The log forgets what it has decided.
    DecidesTwice,
    /// The log forgets its time when it is started again, and goes by a clock that was set back.
    ForgetsTime,
    /// The bank does not find what it has signed, when a restored wallet asks for it.
    ForgetsOutputs,
    /// The bank settles, and has no decision to show.
    ShowsNoDecision,
}

/// A bank's store with a bug, or none.
pub struct BankBooks<S> {
    store: S,
    sabotage: Option<Sabotage>,
    unwritten: Vec<Plan>,
    /// Journal lines beside those in the store.
    booked_again: Vec<Transfer>,
}

impl<S: BankStore> BankBooks<S> {
    /// The store with this bug.
    pub fn new(store: S, sabotage: Option<Sabotage>) -> Self {
        BankBooks { store, sabotage, unwritten: Vec::new(), booked_again: Vec::new() }
    }

    /// Books the transfers of settlements also when they have lost.
    fn commit_unguarded(&mut self, plans: &[Plan]) -> Result<Vec<Written>, StoreError> {
        let mut written = self.store.commit(plans)?;
        for (plan, written) in plans.iter().zip(&mut written) {
            if let (Written::Lost, RecordWrite::Settle(_)) = (&written, &plan.record) {
                self.booked_again.extend(&plan.transfers);
                *written = Written::Yes;
            }
        }
        Ok(written)
    }

    /// Writes what an early reply has promised.
    fn settle(&mut self) -> Result<(), StoreError> {
        let late = std::mem::take(&mut self.unwritten);
        if late.is_empty() { Ok(()) } else { self.store.commit(&late).map(|_| ()) }
    }
}

impl<S: BankStore> BankStore for BankBooks<S> {
    fn view(&mut self, needs: &[Needs]) -> Result<Vec<View>, StoreError> {
        self.settle()?;
        let mut views = self.store.view(needs)?;
        if self.sabotage == Some(Sabotage::ShowsNoDecision) {
            for record in views.iter_mut().filter_map(|view| view.record.as_mut()) {
                *record = Arc::new(Record { decision: None, ..Record::clone(record) });
            }
        }
        if self.sabotage == Some(Sabotage::Unmarked) {
            views.iter_mut().for_each(|view| view.holders.clear());
        }
        Ok(views)
    }

    fn commit(&mut self, plans: &[Plan]) -> Result<Vec<Written>, StoreError> {
        match self.sabotage {
            Some(Sabotage::Unmarked) => {
                let bare: Vec<Plan> = plans.iter().map(|plan| Plan { marks: Vec::new(), ..plan.clone() }).collect();
                self.store.commit(&bare)
            }
            Some(Sabotage::Unguarded) => self.commit_unguarded(plans),
            Some(Sabotage::EarlyReply) => {
                self.settle()?;
                self.unwritten = plans.to_vec();
                Ok(vec![Written::Yes; plans.len()])
            }
            _ => self.store.commit(plans),
        }
    }

    fn record(&mut self, id: &RequestId) -> Result<Option<Record>, StoreError> {
        self.settle()?;
        self.store.record(id)
    }

    fn outputs(&mut self, keys: &[Digest]) -> Result<Vec<(Digest, State)>, StoreError> {
        self.settle()?;
        if self.sabotage == Some(Sabotage::ForgetsOutputs) {
            return Ok(Vec::new());
        }
        self.store.outputs(keys)
    }

    fn locked(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.settle()?;
        self.store.locked(after, limit)
    }

    fn records(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.settle()?;
        self.store.records(after, limit)
    }
    fn forget(&mut self, forgotten: &[naulon_exchange::Forgotten]) -> Result<usize, StoreError> {
        self.settle()?;
        self.store.forget(forgotten)
    }
    fn balance(&mut self, account: &PublicKey) -> Result<Option<Amount>, StoreError> {
        self.settle()?;
        self.store.balance(account)
    }

    fn brands(&mut self) -> Result<Vec<Signed<Brand>>, StoreError> {
        self.store.brands()
    }

    fn add_brand(&mut self, brand: &Signed<Brand>) -> Result<Written, StoreError> {
        self.store.add_brand(brand)
    }

    fn latest_time(&mut self) -> Result<Timestamp, StoreError> {
        self.store.latest_time()
    }

    fn keep_time(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.store.keep_time(now)
    }

    fn keep_log_fault(&mut self, fault: &LogFault) -> Result<(), StoreError> {
        self.store.keep_log_fault(fault)
    }

    fn log_faults(&mut self) -> Result<Vec<LogFault>, StoreError> {
        self.store.log_faults()
    }

    fn audit(&mut self, audit: &mut Audit<'_>) -> Result<(), StoreError> {
        self.settle()?;
        self.booked_again.iter().for_each(|line| audit.transfer(line));
        self.store.audit(audit)
    }
}

impl<S: BankStore> RegisterStore for BankBooks<S> {
    fn register(&mut self, from: u64) -> Result<RegisterRows, StoreError> {
        self.store.register(from)
    }

    fn register_statement(&mut self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.register_statement(index)
    }

    fn append_register(&mut self, appending: &RegisterAppending) -> Result<Written, StoreError> {
        self.store.append_register(appending)
    }

    fn keep_cosigned(&mut self, size: u64, note: &str) -> Result<Written, StoreError> {
        self.store.keep_cosigned(size, note)
    }

    fn delivered(
        &mut self,
        within: Range<Timestamp>,
        after: Option<&DeliveredPlace>,
        limit: usize,
    ) -> Result<Vec<(DeliveredPlace, Record)>, StoreError> {
        self.store.delivered(within, after, limit)
    }

    fn keep_chunks(&mut self, chunks: &[StoredChunk]) -> Result<(), StoreError> {
        self.store.keep_chunks(chunks)
    }

    fn chunk_roots(&mut self, key: &DayKey) -> Result<Vec<Hash>, StoreError> {
        self.store.chunk_roots(key)
    }

    fn chunk(&mut self, key: &DayKey, number: u64) -> Result<Option<Vec<Digest>>, StoreError> {
        self.store.chunk(key, number)
    }

    fn chunk_of(&mut self, key: &DayKey, item: &Digest) -> Result<Option<u64>, StoreError> {
        self.store.chunk_of(key, item)
    }
}

/// A log's store with a bug, or none.
pub struct LogBooks<S> {
    store: S,
    sabotage: Option<Sabotage>,
}

impl<S: LogStore> LogBooks<S> {
    /// The store with this bug.
    pub fn new(store: S, sabotage: Option<Sabotage>) -> Self {
        LogBooks { store, sabotage }
    }
}

impl<S: LogStore> LogStore for LogBooks<S> {
    fn take_over(&mut self) -> Result<LogState, StoreError> {
        let state = self.store.take_over()?;
        Ok(match self.sabotage {
            Some(Sabotage::ForgetsTime) => LogState { time: Timestamp(0), ..state },
            _ => state,
        })
    }

    fn decisions(&self, subjects: &[Digest]) -> Result<Vec<Option<StoredDecision>>, StoreError> {
        match self.sabotage {
            Some(Sabotage::DecidesTwice) => Ok(subjects.iter().map(|_| None).collect()),
            _ => self.store.decisions(subjects),
        }
    }

    fn body(&self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.body(index)
    }

    fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
        self.store.entries(range)
    }

    fn hashes(&self, places: &[u64]) -> Result<Vec<Hash>, StoreError> {
        self.store.hashes(places)
    }

    fn prune(&mut self, time: Timestamp, expired_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.store.prune(time, expired_before, limit)
    }

    fn prunable(&self, expired_before: Timestamp) -> Result<u64, StoreError> {
        self.store.prunable(expired_before)
    }

    fn commit(&mut self, group: &Appending) -> Result<(), CommitError> {
        let mut group = group.clone();
        if self.sabotage == Some(Sabotage::DecidesTwice) {
            // Under a subject of its own every time, the store's own check does not see the second decision either.
            for decision in &mut group.decisions {
                decision.subject = Digest::of(&[&decision.body]);
            }
        }
        self.store.commit(&group)
    }

    fn keep_cosigned(&mut self, fence: Fence, note: &str) -> Result<(), CommitError> {
        self.store.keep_cosigned(fence, note)
    }
}
