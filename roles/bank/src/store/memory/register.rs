//! The register in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use naulon_durable::StoreError;
use naulon_exchange::register::{ItemChunk, RegisterEntry};
use naulon_exchange::{Record, State};
use naulon_statement::{Digest, Timestamp};
use naulon_tlog::Hash;

use super::super::Written;
use super::super::register::{
    DayKey, DeliveredPlace, RegisterAppending, RegisterRows, RegisterStore, StoredChunk, is_read_along,
};
use super::MemoryStore;

/// The register's part of the books.
#[derive(Clone, Default)]
pub(super) struct RegisterBooks {
    entries: Vec<(RegisterEntry, Vec<u8>)>,
    checkpoint: Option<String>,
    chunks: BTreeMap<(DayKey, u64), ItemChunk>,
}

impl RegisterStore for MemoryStore {
    fn register(&mut self, from: u64) -> Result<RegisterRows, StoreError> {
        self.read(|books| {
            let RegisterBooks { entries, checkpoint, .. } = &books.register;
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(entries.len());
            let along = |(entry, statement): &(RegisterEntry, Vec<u8>)| {
                (*entry, is_read_along(entry).then(|| statement.clone()))
            };
            RegisterRows {
                size: entries.len() as u64,
                checkpoint: checkpoint.clone(),
                entries: entries[from..].iter().map(along).collect(),
            }
        })
    }

    fn register_statement(&mut self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.read(|books| books.register.entries.get(index).map(|(_, statement)| statement.clone()))
    }

    fn append_register(&mut self, appending: &RegisterAppending) -> Result<Written, StoreError> {
        self.write(|books| {
            let register = &mut books.register;
            if register.entries.len() as u64 != appending.before {
                return Written::Lost;
            }
            let entry = |(kind, statement): &(_, Vec<u8>)| (RegisterEntry::new(*kind, statement), statement.clone());
            register.entries.extend(appending.statements.iter().map(entry));
            register.checkpoint = Some(appending.checkpoint.clone());
            Written::Yes
        })
    }

    fn keep_cosigned(&mut self, size: u64, note: &str) -> Result<Written, StoreError> {
        self.write(|books| {
            let register = &mut books.register;
            if register.entries.len() as u64 != size {
                return Written::Lost;
            }
            register.checkpoint = Some(note.to_owned());
            Written::Yes
        })
    }

    fn delivered(
        &mut self,
        within: Range<Timestamp>,
        after: Option<&DeliveredPlace>,
        limit: usize,
    ) -> Result<Vec<(DeliveredPlace, Record)>, StoreError> {
        self.read(|books| {
            let place = |record: &Record| {
                let (settled, time) = match record.state {
                    State::Done => (false, record.accepted),
                    State::Committed => (true, record.settled?),
                    State::Locked | State::Aborted => return None,
                };
                Some(DeliveredPlace { settled, time, key: record.id().0.to_vec() })
            };
            let placed = books.records.values().filter_map(|record| Some((place(record)?, Record::clone(record))));
            let mut found: Vec<_> = placed
                .filter(|(place, _)| within.contains(&place.time) && after.is_none_or(|after| after < place))
                .collect();
            found.sort_by(|(a, _), (b, _)| a.cmp(b));
            found.truncate(limit);
            found
        })
    }

    fn keep_chunks(&mut self, chunks: &[StoredChunk]) -> Result<(), StoreError> {
        self.write(|books| {
            for StoredChunk { key, number, chunk } in chunks {
                books.register.chunks.insert((*key, *number), chunk.clone());
            }
        })
    }

    fn chunk_roots(&mut self, key: &DayKey) -> Result<Vec<Hash>, StoreError> {
        self.read(|books| books.register.chunks.range(all(key)).map(|(_, chunk)| chunk.root).collect())
    }

    fn chunk(&mut self, key: &DayKey, number: u64) -> Result<Option<Vec<Digest>>, StoreError> {
        self.read(|books| books.register.chunks.get(&(*key, number)).map(|chunk| chunk.items.clone()))
    }

    fn chunk_of(&mut self, key: &DayKey, item: &Digest) -> Result<Option<u64>, StoreError> {
        self.read(|books| {
            let mut chunks = books.register.chunks.range(all(key)).rev();
            chunks.find(|(_, chunk)| chunk.items.first().is_some_and(|first| first <= item)).map(|((_, n), _)| *n)
        })
    }
}

fn all(key: &DayKey) -> std::ops::RangeInclusive<(DayKey, u64)> {
    (*key, 0)..=(*key, u64::MAX)
}
