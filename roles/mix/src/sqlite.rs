//! A mix's store in a SQLite file.

use std::path::Path;

use naulon_durable::StoreError;
use naulon_durable::migration::{Migrated, Rehearsal};
use naulon_durable::sqlite::{self, ApplicationId, Database};
use naulon_money::Amount;
use naulon_statement::{PublicKey, cbor};
use naulon_tick::{Front, Tick};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::store::{Change, Earnings, KeptCheck, TickStore};

/// Marks a mix's file.
const MIX: ApplicationId = ApplicationId::new(b"nlMX");

/// Checks have running numbers, so that their pages fill; the random commitments stand in a narrow table.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE fare (
        number INTEGER PRIMARY KEY,
        body BLOB NOT NULL,
        funding BLOB NOT NULL,
        front INTEGER NOT NULL,
        front_tick BLOB NOT NULL,
        earned INTEGER NOT NULL,
        cashed INTEGER NOT NULL,
        cashed_tick BLOB NOT NULL
    ) STRICT;
    CREATE TABLE fare_id (
        commitment BLOB PRIMARY KEY,
        number INTEGER NOT NULL REFERENCES fare
    ) STRICT, WITHOUT ROWID;
    -- What each bank has paid: of checks that are gone nothing else is left.
    CREATE TABLE earned (
        bank BLOB NOT NULL,
        currency TEXT NOT NULL,
        ticks INTEGER NOT NULL,
        micros INTEGER NOT NULL,
        PRIMARY KEY (bank, currency)
    ) STRICT, WITHOUT ROWID;
"];

const ALL: &str = "SELECT body, funding, front, front_tick, earned, cashed, cashed_tick FROM fare ORDER BY number";
const EARNINGS: &str = "SELECT bank, currency, ticks, micros FROM earned ORDER BY bank, currency";

/// Keeps ticks in one file, which no other process can have open.
pub struct SqliteStore(Database);

impl SqliteStore {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// As [`sqlite::open_current`]: an older file is to be [migrated](Self::migrate) first.
    pub fn open(path: &Path) -> Result<Self, sqlite::OpenError> {
        sqlite::open_current(path, MIX, MIGRATIONS).map(SqliteStore)
    }

    /// Brings the tables of an older file up to date, or tries whether it could be done.
    ///
    /// # Errors
    /// As [`sqlite::migrate`].
    pub fn migrate(path: &Path, rehearsal: Rehearsal) -> Result<Migrated, sqlite::OpenError> {
        sqlite::migrate(path, MIX, MIGRATIONS, rehearsal)
    }

    /// Copies a file that a server may have open and go on writing, all of one moment, into a new one.
    ///
    /// # Errors
    /// As [`sqlite::backup`].
    pub fn backup(path: &Path, copy: &Path) -> Result<(), sqlite::OpenError> {
        sqlite::backup(path, MIX, copy)
    }
}

/// Reads the ticks of a mix that may be running, beside it: to see what it has earned.
pub struct SqliteReader(Connection);

impl SqliteReader {
    /// Opens the file at `path` for reading alone.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
        Ok(SqliteReader(connection))
    }

    /// As [`TickStore::all`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn all(&self) -> Result<Vec<KeptCheck>, StoreError> {
        all(&self.0)
    }

    /// As [`TickStore::earnings`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn earnings(&self) -> Result<Vec<Earnings>, StoreError> {
        earnings(&self.0)
    }
}

fn all(connection: &Connection) -> Result<Vec<KeptCheck>, StoreError> {
    let mut sql = connection.prepare_cached(ALL)?;
    let rows = sql.query_map([], |row| Ok((row.get::<_, Vec<u8>>("body")?, kept(row)?)))?;
    let mut all = Vec::new();
    for row in rows {
        let (body, (funding, front, earned, cashed)) = row?;
        let check = cbor::from_slice(&body).map_err(|error| StoreError::Other(format!("a check: {error}")))?;
        all.push(KeptCheck { check, funding, front, earned, cashed });
    }
    Ok(all)
}

type Numbers = (Vec<u8>, Front, u32, Front);

fn kept(row: &Row<'_>) -> rusqlite::Result<Numbers> {
    let front = Front { index: row.get("front")?, tick: Tick(row.get("front_tick")?) };
    let cashed = Front { index: row.get("cashed")?, tick: Tick(row.get("cashed_tick")?) };
    Ok((row.get("funding")?, front, row.get("earned")?, cashed))
}

fn earnings(connection: &Connection) -> Result<Vec<Earnings>, StoreError> {
    let mut sql = connection.prepare_cached(EARNINGS)?;
    let rows = sql.query_map([], |row| {
        let (currency, micros): (String, u64) = (row.get("currency")?, row.get("micros")?);
        Ok((PublicKey(row.get("bank")?), currency, row.get("ticks")?, Amount::from_micros(micros)))
    })?;
    let mut all = Vec::new();
    for row in rows {
        let (bank, currency, ticks, cashed) = row?;
        let currency = currency.parse().map_err(|error| StoreError::Other(format!("a currency: {error}")))?;
        all.push(Earnings { bank, currency, ticks, cashed });
    }
    Ok(all)
}

impl TickStore for SqliteStore {
    fn all(&self) -> Result<Vec<KeptCheck>, StoreError> {
        all(&self.0)
    }

    fn earnings(&self) -> Result<Vec<Earnings>, StoreError> {
        earnings(&self.0)
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in changes {
            apply(&transaction, change)?;
        }
        Ok(transaction.commit()?)
    }
}

fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Taken(kept) => take(transaction, kept),
        Change::Earned { commitment, front, earned } => {
            let mut sql = transaction.prepare_cached(
                "UPDATE fare SET earned = max(earned, ?2),
                     front_tick = CASE WHEN ?3 > front THEN ?4 ELSE front_tick END, front = max(front, ?3)
                 WHERE number = (SELECT number FROM fare_id WHERE commitment = ?1)",
            )?;
            sql.execute(params![commitment.0, earned, front.index, front.tick.0]).map(drop)
        }
        Change::Cashed { commitment, from, to, amount } => {
            let mut sql = transaction.prepare_cached(
                "UPDATE fare SET cashed = ?3, cashed_tick = ?4
                 WHERE number = (SELECT number FROM fare_id WHERE commitment = ?1) AND cashed = ?2 RETURNING body",
            )?;
            let mut rows = sql.query(params![commitment.0, from, to.index, to.tick.0])?;
            let Some(row) = rows.next()? else { return Ok(()) };
            let body: Vec<u8> = row.get(0)?;
            earn(transaction, &body, to.index.saturating_sub(*from), *amount)
        }
        Change::Forgotten(commitment) => {
            // The name goes first: it refers to the row.
            let mut sql = transaction.prepare_cached("DELETE FROM fare_id WHERE commitment = ?1 RETURNING number")?;
            let number: Option<i64> = sql.query_row([commitment.0], |row| row.get(0)).optional()?;
            let Some(number) = number else { return Ok(()) };
            transaction.execute("DELETE FROM fare WHERE number = ?1", [number]).map(drop)
        }
    }
}

fn take(transaction: &Transaction<'_>, kept: &KeptCheck) -> rusqlite::Result<()> {
    let commitment = kept.check.commitment().0;
    let known = transaction.prepare_cached("SELECT 1 FROM fare_id WHERE commitment = ?1")?.exists([commitment])?;
    if known {
        return Ok(());
    }
    let mut sql = transaction.prepare_cached(
        "INSERT INTO fare (body, funding, front, front_tick, earned, cashed, cashed_tick)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let KeptCheck { check, funding, front, earned, cashed } = kept;
    let body = cbor::to_vec(check);
    sql.execute(params![body, funding, front.index, front.tick.0, earned, cashed.index, cashed.tick.0])?;
    let number = transaction.last_insert_rowid();
    let mut sql = transaction.prepare_cached("INSERT INTO fare_id (commitment, number) VALUES (?1, ?2)")?;
    sql.execute(params![commitment, number]).map(drop)
}

fn earn(transaction: &Transaction<'_>, body: &[u8], ticks: u32, amount: Amount) -> rusqlite::Result<()> {
    // What was written as a check is one.
    let Ok(check) = cbor::from_slice::<naulon_tick::Check>(body) else { return Ok(()) };
    let mut sql = transaction.prepare_cached(
        "INSERT INTO earned (bank, currency, ticks, micros) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (bank, currency) DO UPDATE SET ticks = ticks + excluded.ticks, micros = micros + excluded.micros",
    )?;
    sql.execute(params![check.bank.0, check.currency.as_str(), ticks, amount.micros()]).map(drop)
}
