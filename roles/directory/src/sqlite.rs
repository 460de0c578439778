//! A directory's store in a SQLite file.

use std::path::Path;

use naulon_durable::StoreError;
use naulon_durable::sqlite::{self, ApplicationId, Database};
use naulon_statement::PublicKey;
use rusqlite::params;

use crate::store::DirectoryStore;

/// Marks a directory's file.
const DIRECTORY: ApplicationId = ApplicationId::new(b"nlDI");

const MIGRATIONS: &[&str] = &["
    CREATE TABLE mix (
        key BLOB PRIMARY KEY,
        descriptor BLOB NOT NULL
    ) STRICT;
"];

/// Keeps a directory in one file, which no other process can have open.
pub struct SqliteStore(Database);

impl SqliteStore {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// As [`sqlite::open`].
    pub fn open(path: &Path) -> Result<Self, sqlite::OpenError> {
        sqlite::open(path, DIRECTORY, MIGRATIONS).map(SqliteStore)
    }
}

impl DirectoryStore for SqliteStore {
    fn all(&self) -> Result<Vec<(PublicKey, Vec<u8>)>, StoreError> {
        let mut sql = self.0.prepare_cached("SELECT key, descriptor FROM mix ORDER BY key")?;
        let rows = sql.query_map([], |row| Ok((PublicKey(row.get("key")?), row.get("descriptor")?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn keep(&mut self, mix: &PublicKey, descriptor: &[u8]) -> Result<(), StoreError> {
        let mut sql = self.0.prepare_cached(
            "INSERT INTO mix (key, descriptor) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET descriptor = excluded.descriptor",
        )?;
        Ok(sql.execute(params![mix.0, descriptor]).map(drop)?)
    }
}
