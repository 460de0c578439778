//! A witness's store in a SQLite file.

use std::path::Path;

use naulon_durable::StoreError;
use naulon_durable::sqlite::{self, ApplicationId, Database};
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};

use crate::store::{Seen, Step, StepError, WitnessStore};

/// Marks a witness's file.
const WITNESS: ApplicationId = ApplicationId::new(b"nlWI");

const MIGRATIONS: &[&str] = &["
    CREATE TABLE seen (
        origin TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        root BLOB NOT NULL,
        time_s INTEGER NOT NULL,
        note TEXT NOT NULL
    ) STRICT;
"];

/// Keeps a witness in one file, which no other process can have open.
pub struct SqliteStore(Database);

impl SqliteStore {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// As [`sqlite::open`].
    pub fn open(path: &Path) -> Result<Self, sqlite::OpenError> {
        sqlite::open(path, WITNESS, MIGRATIONS).map(SqliteStore)
    }
}

fn seen(row: &Row<'_>) -> rusqlite::Result<Seen> {
    Ok(Seen { size: row.get("size")?, root: row.get("root")?, time: row.get("time_s")?, note: row.get("note")? })
}

impl WitnessStore for SqliteStore {
    fn last(&self, origin: &str) -> Result<Option<Seen>, StoreError> {
        let mut sql = self.0.prepare_cached("SELECT size, root, time_s, note FROM seen WHERE origin = ?1")?;
        Ok(sql.query_row([origin], seen).optional()?)
    }

    fn all(&self) -> Result<Vec<(String, Seen)>, StoreError> {
        let mut sql = self.0.prepare_cached("SELECT origin, size, root, time_s, note FROM seen ORDER BY origin")?;
        let rows = sql.query_map([], |row| Ok((row.get("origin")?, seen(row)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn advance(&mut self, step: &Step) -> Result<(), StepError> {
        let lost = |error: rusqlite::Error| StepError::Store(error.into());
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate).map_err(lost)?;
        let Step { origin, from, to } = step;
        let written = match from {
            None => transaction.execute(
                "INSERT INTO seen (origin, size, root, time_s, note) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (origin) DO NOTHING",
                params![origin, to.size, to.root, to.time, to.note],
            ),
            Some((size, root)) => transaction.execute(
                "UPDATE seen SET size = ?2, root = ?3, time_s = ?4, note = ?5
                 WHERE origin = ?1 AND size = ?6 AND root = ?7",
                params![origin, to.size, to.root, to.time, to.note, size, root],
            ),
        };
        if written.map_err(lost)? != 1 {
            return Err(StepError::Overtaken);
        }
        transaction.commit().map_err(lost)
    }
}
