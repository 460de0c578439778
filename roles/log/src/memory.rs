//! A log's store in memory, which the simulator can crash at every write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_durable::StoreError;
use naulon_durable::fault::Faults;
use naulon_statement::{Digest, Timestamp};
use naulon_tlog::Hash;

use crate::store::{Appending, CommitError, Entry, Fence, LogState, LogStore, NewDecision, StoredDecision};

/// Keeps a log in memory. Clones are handles on the same disk: one survives as the disk of a process that crashed.
#[derive(Clone)]
pub struct MemoryStore {
    faults: Faults,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    fence: u64,
    time: Timestamp,
    checkpoint: Option<String>,
    cosigned: Option<String>,
    subjects: BTreeMap<Digest, u64>,
    bodies: Vec<Option<NewDecision>>,
    entries: Vec<Entry>,
    hashes: Vec<Hash>,
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
    fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    fn refuses(&self, group: &Appending) -> Option<CommitError> {
        if self.fence != group.fence.0 || self.size() != group.before {
            return Some(CommitError::Fenced);
        }
        let mut subjects = group.decisions.iter().map(|decision| decision.subject).collect::<Vec<_>>();
        subjects.sort();
        let twice = subjects.windows(2).any(|pair| pair[0] == pair[1]);
        let decided = subjects.iter().any(|subject| self.subjects.contains_key(subject));
        (twice || decided).then_some(CommitError::Decided)
    }

    fn write(&mut self, group: &Appending) {
        for decision in &group.decisions {
            self.subjects.insert(decision.subject, self.entries.len() as u64);
            self.bodies.push(Some(decision.clone()));
            self.entries.push(decision.entry);
        }
        self.hashes.extend(group.hashes.iter().map(|(_, hash)| *hash));
        self.checkpoint = Some(group.checkpoint.clone());
        self.time = group.time;
    }
}

impl LogStore for MemoryStore {
    fn take_over(&mut self) -> Result<LogState, StoreError> {
        let mut disk = self.disk();
        self.faults.around(|| {
            disk.fence += 1;
            LogState {
                fence: Fence(disk.fence),
                size: disk.size(),
                time: disk.time,
                checkpoint: disk.checkpoint.clone(),
                cosigned: disk.cosigned.clone(),
            }
        })
    }

    fn decisions(&self, subjects: &[Digest]) -> Result<Vec<Option<StoredDecision>>, StoreError> {
        let disk = self.disk();
        let find = |subject| {
            let index = *disk.subjects.get(subject)?;
            let body = disk.bodies.get(usize::try_from(index).ok()?)?.as_ref()?.body.clone();
            Some(StoredDecision { index, body })
        };
        Ok(subjects.iter().map(find).collect())
    }

    fn body(&self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let disk = self.disk();
        let body = usize::try_from(index).ok().and_then(|index| disk.bodies.get(index)?.as_ref());
        Ok(body.map(|body| body.published.as_ref().unwrap_or(&body.body).clone()))
    }

    fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
        let disk = self.disk();
        let entry = |index: u64| usize::try_from(index).ok().and_then(|index| disk.entries.get(index)).copied();
        range.map(|index| entry(index).ok_or_else(|| missing("entry", index))).collect()
    }

    fn hashes(&self, places: &[u64]) -> Result<Vec<Hash>, StoreError> {
        let disk = self.disk();
        let hash = |place: u64| usize::try_from(place).ok().and_then(|place| disk.hashes.get(place)).copied();
        places.iter().map(|&place| hash(place).ok_or_else(|| missing("hash", place))).collect()
    }

    fn prune(&mut self, time: Timestamp, expired_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut disk = self.disk();
        self.faults.around(|| {
            disk.time = disk.time.max(time);
            let Disk { subjects, bodies, .. } = &mut *disk;
            let is_old = |body: &&mut Option<NewDecision>| body.as_ref().is_some_and(|b| b.expiry < expired_before);
            let old = bodies.iter_mut().filter(is_old).take(limit);
            old.filter_map(Option::take).map(|body| subjects.remove(&body.subject)).count()
        })
    }

    fn prunable(&self, expired_before: Timestamp) -> Result<u64, StoreError> {
        let disk = self.disk();
        Ok(disk.bodies.iter().flatten().filter(|body| body.expiry < expired_before).count() as u64)
    }

    fn commit(&mut self, group: &Appending) -> Result<(), CommitError> {
        let mut disk = self.disk();
        if let Some(refusal) = disk.refuses(group) {
            return Err(refusal);
        }
        Ok(self.faults.around(|| disk.write(group))?)
    }

    fn keep_cosigned(&mut self, fence: Fence, note: &str) -> Result<(), CommitError> {
        let mut disk = self.disk();
        if disk.fence != fence.0 {
            return Err(CommitError::Fenced);
        }
        Ok(self.faults.around(|| disk.cosigned = Some(note.to_owned()))?)
    }
}

/// What a sound store cannot say about what was committed.
pub(crate) fn missing(what: &str, place: u64) -> StoreError {
    StoreError::Other(format!("{what} {place} is not there"))
}
