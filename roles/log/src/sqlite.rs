//! A log's store in a SQLite file.

use std::ops::Range;
use std::path::Path;

use naulon_durable::StoreError;
use naulon_durable::migration::{Migrated, Rehearsal};
use naulon_durable::sqlite::{self, ApplicationId, Database};
use naulon_statement::{Digest, Timestamp};
use naulon_tlog::Hash;
use rusqlite::types::FromSql;
use rusqlite::{OptionalExtension, TransactionBehavior, params};

use crate::memory::missing;
use crate::store::{Appending, CommitError, Entry, Fence, LogState, LogStore, NewDecision, StoredDecision};

/// Marks a log's file.
const LOG: ApplicationId = ApplicationId::new(b"nlLO");

/// The random keys stand in a narrow table; everything that grows is ordered by a running number, so that pages fill.
/// Bodies stand apart from the entries: they go after their retention, entries and hashes stay.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE log_state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        fence INTEGER NOT NULL,
        size INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        checkpoint TEXT
    ) STRICT;
    INSERT INTO log_state VALUES (1, 0, 0, 0, NULL);
    CREATE TABLE decision (subject BLOB PRIMARY KEY, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE body (place INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE entry (place INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;
    CREATE TABLE hash (place INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
",
    "
    CREATE TABLE cosigned (one INTEGER PRIMARY KEY CHECK (one = 1), note TEXT NOT NULL) STRICT;
",
    "
    -- When the time begins to run after which the body goes, and what goes with it. Bodies of before stay.
    ALTER TABLE body ADD COLUMN expiry INTEGER;
    ALTER TABLE body ADD COLUMN subject BLOB;
    -- What everybody reads in the place of an encrypted body.
    ALTER TABLE body ADD COLUMN published BLOB;
    CREATE INDEX body_expiry ON body (expiry) WHERE expiry IS NOT NULL;
",
];

/// Keeps a log in one file, which no other process can have open.
pub struct SqliteStore(Database);

impl SqliteStore {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// As [`sqlite::open_current`]: an older file is to be [migrated](Self::migrate) first.
    pub fn open(path: &Path) -> Result<Self, sqlite::OpenError> {
        sqlite::open_current(path, LOG, MIGRATIONS).map(SqliteStore)
    }

    /// Brings the tables of an older file up to date, or tries whether it could be done.
    ///
    /// # Errors
    /// As [`sqlite::migrate`].
    pub fn migrate(path: &Path, rehearsal: Rehearsal) -> Result<Migrated, sqlite::OpenError> {
        sqlite::migrate(path, LOG, MIGRATIONS, rehearsal)
    }

    /// Copies a file that a server may have open and go on writing, all of one moment, into a new one.
    ///
    /// # Errors
    /// As [`sqlite::backup`].
    pub fn backup(path: &Path, copy: &Path) -> Result<(), sqlite::OpenError> {
        sqlite::backup(path, LOG, copy)
    }

    fn column<T: FromSql>(&self, sql: &str, key: impl rusqlite::ToSql) -> Result<Option<T>, StoreError> {
        Ok(self.0.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?)
    }
}

impl LogStore for SqliteStore {
    fn take_over(&mut self) -> Result<LogState, StoreError> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("UPDATE log_state SET fence = fence + 1 WHERE one = 1", [])?;
        let state = "SELECT fence, size, time_ms, checkpoint, note FROM log_state LEFT JOIN cosigned USING (one)";
        let state = transaction.query_row(state, [], |row| {
            let (fence, time) = (Fence(row.get(0)?), Timestamp(row.get(2)?));
            Ok(LogState { fence, size: row.get(1)?, time, checkpoint: row.get(3)?, cosigned: row.get(4)? })
        })?;
        transaction.commit()?;
        Ok(state)
    }

    fn decisions(&self, subjects: &[Digest]) -> Result<Vec<Option<StoredDecision>>, StoreError> {
        let find = |subject: &Digest| {
            let place = self.column("SELECT place FROM decision WHERE subject = ?1", subject.as_bytes())?;
            let Some(index) = place else { return Ok(None) };
            let body = self.column("SELECT body FROM body WHERE place = ?1", index)?;
            let body = body.ok_or_else(|| missing("body", index))?;
            Ok(Some(StoredDecision { index, body }))
        };
        subjects.iter().map(find).collect()
    }

    fn body(&self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Ok(place) = i64::try_from(index) else { return Ok(None) };
        self.column("SELECT coalesce(published, body) FROM body WHERE place = ?1", place)
    }

    fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
        let entry = |index| {
            let found = self.column("SELECT entry FROM entry WHERE place = ?1", index)?;
            found.ok_or_else(|| missing("entry", index))
        };
        range.map(entry).collect()
    }

    fn hashes(&self, places: &[u64]) -> Result<Vec<Hash>, StoreError> {
        let hash = |&place: &u64| {
            let found = self.column("SELECT hash FROM hash WHERE place = ?1", place)?;
            found.ok_or_else(|| missing("hash", place))
        };
        places.iter().map(hash).collect()
    }

    fn prune(&mut self, time: Timestamp, expired_before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let old: Vec<(i64, Vec<u8>)> = transaction
            .prepare_cached("SELECT place, subject FROM body WHERE expiry < ?1 ORDER BY expiry LIMIT ?2")?
            .query_map(params![millis(expired_before), limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (place, subject) in &old {
            transaction.prepare_cached("DELETE FROM decision WHERE subject = ?1")?.execute([subject])?;
            transaction.prepare_cached("DELETE FROM body WHERE place = ?1")?.execute([place])?;
        }
        transaction.execute("UPDATE log_state SET time_ms = max(time_ms, ?1)", [millis(time)])?;
        transaction.commit()?;
        Ok(old.len())
    }

    fn prunable(&self, expired_before: Timestamp) -> Result<u64, StoreError> {
        let count = self.column("SELECT count(*) FROM body WHERE expiry < ?1", millis(expired_before))?;
        Ok(count.unwrap_or_default())
    }

    fn commit(&mut self, group: &Appending) -> Result<(), CommitError> {
        let lost = |error: rusqlite::Error| CommitError::Store(error.into());
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate).map_err(lost)?;
        write(&transaction, group)?;
        transaction.commit().map_err(lost)
    }

    fn keep_cosigned(&mut self, fence: Fence, note: &str) -> Result<(), CommitError> {
        let lost = |error: rusqlite::Error| CommitError::Store(error.into());
        let sql = "INSERT INTO cosigned (one, note) SELECT one, ?2 FROM log_state WHERE fence = ?1
                   ON CONFLICT (one) DO UPDATE SET note = excluded.note";
        let kept = self.0.prepare_cached(sql).and_then(|mut sql| sql.execute(params![fence.0, note])).map_err(lost)?;
        if kept == 1 { Ok(()) } else { Err(CommitError::Fenced) }
    }
}

/// A time as a database integer.
fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Writes a group into the transaction; whoever gets an error drops the transaction.
fn write(transaction: &rusqlite::Transaction<'_>, group: &Appending) -> Result<(), CommitError> {
    let lost = |error: rusqlite::Error| CommitError::Store(error.into());
    let size = group.before + group.decisions.len() as u64;
    let moved = transaction
        .prepare_cached(
            "UPDATE log_state SET size = ?3, time_ms = ?4, checkpoint = ?5 WHERE one = 1 AND fence = ?1 AND size = ?2",
        )
        .and_then(|mut sql| sql.execute(params![group.fence.0, group.before, size, group.time.0, group.checkpoint]))
        .map_err(lost)?;
    if moved != 1 {
        return Err(CommitError::Fenced);
    }
    let new = insert_decisions(transaction, group).map_err(lost)?;
    if new != group.decisions.len() {
        return Err(CommitError::Decided);
    }
    insert_hashes(transaction, group).map_err(lost)
}

/// Inserts the decisions, and says how many of their subjects had none yet.
fn insert_decisions(transaction: &rusqlite::Transaction<'_>, group: &Appending) -> rusqlite::Result<usize> {
    let mut decision = transaction
        .prepare_cached("INSERT INTO decision (subject, place) VALUES (?1, ?2) ON CONFLICT (subject) DO NOTHING")?;
    let mut body = transaction
        .prepare_cached("INSERT INTO body (place, expiry, subject, body, published) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut entry = transaction.prepare_cached("INSERT INTO entry (place, entry) VALUES (?1, ?2)")?;
    let mut placed: Vec<(u64, &NewDecision)> = (group.before..).zip(&group.decisions).collect();
    for (place, new) in &placed {
        body.execute(params![place, millis(new.expiry), new.subject.as_bytes(), new.body, new.published])?;
        entry.execute(params![place, new.entry])?;
    }
    placed.sort_by_key(|(_, new)| new.subject);
    let mut inserted = 0;
    for (place, new) in placed {
        inserted += decision.execute(params![new.subject.as_bytes(), place])?;
    }
    Ok(inserted)
}

fn insert_hashes(transaction: &rusqlite::Transaction<'_>, group: &Appending) -> rusqlite::Result<()> {
    let mut sql = transaction.prepare_cached("INSERT INTO hash (place, hash) VALUES (?1, ?2)")?;
    group.hashes.iter().try_for_each(|(place, hash)| sql.execute(params![place, hash]).map(drop))
}
