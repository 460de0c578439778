//! A shop's store in a SQLite file.

use std::path::Path;

use naulon_durable::StoreError;
use naulon_durable::migration::{Migrated, Rehearsal};
use naulon_durable::sqlite::{self, ApplicationId, Database};
use naulon_exchange::{ProvenDecision, SaleNumber, UnverifiedDecision};
use naulon_purchase::{Order, Sale, UnverifiedPayment};
use naulon_statement::{Digest, Timestamp, cbor};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::store::{CommitError, SaleId, SaleWrite, ShopStore};

/// Marks a shop's file.
const SHOP: ApplicationId = ApplicationId::new(b"nlSH");

/// The random ids stand in a narrow table; the sales have running numbers, so that their pages fill. The index holds the
/// sales that are under way alone.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE sale (
        number INTEGER PRIMARY KEY,
        payment BLOB NOT NULL,
        decision BLOB,
        against_log BLOB,
        settled INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX sale_under_way ON sale (number) WHERE settled = 0;
    CREATE TABLE sale_id (id BLOB PRIMARY KEY, number INTEGER NOT NULL REFERENCES sale) STRICT, WITHOUT ROWID;
", "
    -- When a sale may go: the latest of its settlement and the end of its offer. No time while it is under way.
    ALTER TABLE sale ADD COLUMN over INTEGER;
    CREATE INDEX sale_over ON sale (over) WHERE over IS NOT NULL;
    -- What buyers left for whom the bank carries the promise.
    CREATE TABLE buyers_order (n BLOB PRIMARY KEY, valid_until INTEGER NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX buyers_order_valid ON buyers_order (valid_until);
"];

const COLUMNS: &str = "SELECT payment, decision, against_log, settled FROM sale";

/// Keeps sales in one file, which no other process can have open.
pub struct SqliteStore(Database);

impl SqliteStore {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// As [`sqlite::open_current`]: an older file is to be [migrated](Self::migrate) first.
    pub fn open(path: &Path) -> Result<Self, sqlite::OpenError> {
        sqlite::open_current(path, SHOP, MIGRATIONS).map(SqliteStore)
    }

    /// Brings the tables of an older file up to date, or tries whether it could be done.
    ///
    /// # Errors
    /// As [`sqlite::migrate`].
    pub fn migrate(path: &Path, rehearsal: Rehearsal) -> Result<Migrated, sqlite::OpenError> {
        sqlite::migrate(path, SHOP, MIGRATIONS, rehearsal)
    }

    /// Copies a file that a server may have open and go on writing, all of one moment, into a new one.
    ///
    /// # Errors
    /// As [`sqlite::backup`].
    pub fn backup(path: &Path, copy: &Path) -> Result<(), sqlite::OpenError> {
        sqlite::backup(path, SHOP, copy)
    }
}

/// Reads the sales of a shop that may be running, beside it: for lists and evidence.
pub struct SqliteReader(Connection);

impl SqliteReader {
    /// Opens the file at `path` for reading alone.
    ///
    /// # Errors
    /// When there is no such file, or it is not a shop's.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(sqlite::BUSY_TIMEOUT)?;
        // Fails on a file that has not these tables.
        connection.prepare(&format!("{COLUMNS} NATURAL JOIN sale_id"))?;
        Ok(SqliteReader(connection))
    }

    /// A sale as it stands.
    pub fn sale(&self, id: &SaleId) -> Result<Option<Sale>, StoreError> {
        find(&self.0, id)
    }

    /// The newest sales, newest first, at most this many.
    pub fn newest_sales(&self, limit: usize) -> Result<Vec<(SaleId, Sale)>, StoreError> {
        newest(&self.0, limit)
    }
}

fn find(connection: &Connection, id: &SaleId) -> Result<Option<Sale>, StoreError> {
    let sql = format!("{COLUMNS} WHERE number = (SELECT number FROM sale_id WHERE id = ?1)");
    let mut sql = connection.prepare_cached(&sql)?;
    sql.query_row([id.as_bytes()], columns).optional()?.map(read).transpose()
}

fn newest(connection: &Connection, limit: usize) -> Result<Vec<(SaleId, Sale)>, StoreError> {
    list(connection, "ORDER BY number DESC", i64::try_from(limit).unwrap_or(i64::MAX))
}

fn list(connection: &Connection, condition: &str, limit: i64) -> Result<Vec<(SaleId, Sale)>, StoreError> {
    let mut sql = connection.prepare_cached(&format!("{COLUMNS} {condition} LIMIT ?1"))?;
    let rows = sql.query_map([limit], columns)?;
    rows.map(|row| read(row?).map(|sale| (sale.payment.header.digest(), sale))).collect()
}

type Columns = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, bool);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

/// The sale in a row that this store wrote itself.
fn read((payment, decision, against_log, settled): Columns) -> Result<Sale, StoreError> {
    let unsound = |error: cbor::CborError| StoreError::Other(format!("a stored sale cannot be read: {error}"));
    let payment: UnverifiedPayment = cbor::from_slice(&payment).map_err(unsound)?;
    let proven = |bytes: Option<Vec<u8>>| match bytes.map(|bytes| cbor::from_slice::<UnverifiedDecision>(&bytes)) {
        Some(decision) => decision.map(|decision| Some(decision.from_own_store())).map_err(unsound),
        None => Ok(None),
    };
    let (decision, against_log) = (proven(decision)?, proven(against_log)?);
    Ok(Sale { payment: payment.from_own_store(), decision, against_log, settled })
}

impl ShopStore for SqliteStore {
    fn sale(&self, id: &SaleId) -> Result<Option<Sale>, StoreError> {
        find(&self.0, id)
    }

    fn open_sales(&self) -> Result<Vec<(SaleId, Sale)>, StoreError> {
        // A limit below zero is none.
        list(&self.0, "WHERE settled = 0 ORDER BY number", -1)
    }

    fn newest_sales(&self, limit: usize) -> Result<Vec<(SaleId, Sale)>, StoreError> {
        newest(&self.0, limit)
    }

    fn keep_order(&mut self, order: &Order) -> Result<(), StoreError> {
        let offer = order.goods_m.claimed_body();
        let mut sql = self.0.prepare_cached(
            "INSERT INTO buyers_order (n, valid_until, body) VALUES (?1, ?2, ?3)
             ON CONFLICT (n) DO UPDATE SET body = excluded.body",
        )?;
        sql.execute(params![offer.n, millis(offer.valid_until), cbor::to_vec(order)])?;
        Ok(())
    }

    fn order(&self, n: &SaleNumber) -> Result<Option<Order>, StoreError> {
        let mut sql = self.0.prepare_cached("SELECT body FROM buyers_order WHERE n = ?1")?;
        let body: Option<Vec<u8>> = sql.query_row([n], |row| row.get(0)).optional()?;
        let unsound = |error: cbor::CborError| StoreError::Other(format!("a stored order cannot be read: {error}"));
        body.map(|body| cbor::from_slice(&body).map_err(unsound)).transpose()
    }

    fn orders(&self) -> Result<u64, StoreError> {
        Ok(self.0.prepare_cached("SELECT count(*) FROM buyers_order")?.query_row([], |row| row.get(0))?)
    }

    fn prune(&mut self, over_before: Timestamp, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let (before, limit) = (millis(over_before), i64::try_from(limit).unwrap_or(i64::MAX));
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let old = "SELECT number FROM sale WHERE over < ?1 ORDER BY over LIMIT ?2";
        let old: Vec<i64> = transaction
            .prepare_cached(old)?
            .query_map(params![before, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for number in &old {
            transaction.prepare_cached("DELETE FROM sale_id WHERE number = ?1")?.execute([number])?;
            transaction.prepare_cached("DELETE FROM sale WHERE number = ?1")?.execute([number])?;
        }
        let orders = transaction.execute(
            "DELETE FROM buyers_order WHERE n IN
             (SELECT n FROM buyers_order WHERE valid_until <= ?1 ORDER BY valid_until LIMIT ?2)",
            params![millis(now), limit],
        )?;
        transaction.commit()?;
        Ok(old.len() + orders)
    }

    fn prunable(&self, over_before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let sql = "SELECT (SELECT count(*) FROM sale WHERE over < ?1)
                        + (SELECT count(*) FROM buyers_order WHERE valid_until <= ?2)";
        Ok(self.0.prepare_cached(sql)?.query_row([millis(over_before), millis(now)], |row| row.get(0))?)
    }

    fn commit(&mut self, writes: &[SaleWrite]) -> Result<(), CommitError> {
        let lost = |error: rusqlite::Error| CommitError::Store(error.into());
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate).map_err(lost)?;
        for write in writes {
            let written = match write {
                SaleWrite::Accept(id, payment) => accept(&transaction, id, &cbor::to_vec(&**payment)),
                SaleWrite::Advance(id, sale, now) => advance(&transaction, id, sale, *now),
            };
            if !written.map_err(lost)? {
                // Dropping the transaction takes back what was written before.
                return Err(CommitError::OutOfTurn);
            }
        }
        transaction.commit().map_err(lost)
    }
}

/// From when on the time runs after which a sale may go: it is settled, and its offer is no longer good, so that it could not
/// be accepted once more.
pub(crate) fn over(sale: &Sale, now: Timestamp) -> Option<Timestamp> {
    sale.settled.then(|| now.max(sale.payment.goods_m.valid_until).max(sale.payment.header.expiry))
}

/// A time as a database integer.
fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Inserts a sale; false if there is one of this id.
fn accept(transaction: &Transaction<'_>, id: &Digest, payment: &[u8]) -> rusqlite::Result<bool> {
    transaction.prepare_cached("INSERT INTO sale (payment) VALUES (?1)")?.execute([payment])?;
    let number = transaction.last_insert_rowid();
    let mut sql =
        transaction.prepare_cached("INSERT INTO sale_id (id, number) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING")?;
    Ok(sql.execute(params![id.as_bytes(), number])? == 1)
}

/// Writes what became known of a sale; false if it does not follow from where the sale stands.
fn advance(transaction: &Transaction<'_>, id: &Digest, sale: &Sale, now: Timestamp) -> rusqlite::Result<bool> {
    let mut sql = transaction.prepare_cached(
        "UPDATE sale SET decision = ?2, against_log = ?3, settled = ?4, over = ?5
         WHERE number = (SELECT number FROM sale_id WHERE id = ?1)
           AND settled = 0 AND (decision IS NULL OR ?2 IS NOT NULL)",
    )?;
    let bytes = |decision: &Option<ProvenDecision>| decision.as_ref().map(ProvenDecision::to_bytes);
    let over = over(sale, now).map(millis);
    let values = params![id.as_bytes(), bytes(&sale.decision), bytes(&sale.against_log), sale.settled, over];
    Ok(sql.execute(values)? == 1)
}
