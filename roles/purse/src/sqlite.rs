//! A purse's store in a SQLite file.

use std::collections::BTreeMap;
use std::path::Path;

use naulon_durable::StoreError;
use naulon_durable::sqlite::{self, ApplicationId, Database};
use naulon_exchange::LoadNumber;
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Timestamp};
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};

use crate::store::{Load, Made, PurseStore, SpendError, Wish};

/// Marks a purse's file.
const PURSE: ApplicationId = ApplicationId::new(b"nlPU");

const MIGRATIONS: &[&str] = &["
    -- What may still be spent in checks of each brand, in micro-units.
    CREATE TABLE balance (
        brand BLOB PRIMARY KEY,
        micros INTEGER NOT NULL CHECK (micros >= 0)
    ) STRICT;
    -- Loads that were asked for; done when the bank's word has come.
    CREATE TABLE load (
        number BLOB PRIMARY KEY,
        brand BLOB NOT NULL,
        micros INTEGER NOT NULL CHECK (micros > 0),
        is_done INTEGER NOT NULL
    ) STRICT;
    -- Checks that were made out. Their secrets are derived from seed and place.
    CREATE TABLE made (
        place INTEGER PRIMARY KEY,
        wish BLOB NOT NULL UNIQUE,
        brand BLOB NOT NULL,
        total_micros INTEGER NOT NULL,
        payee BLOB NOT NULL,
        value_micros INTEGER NOT NULL,
        length INTEGER NOT NULL,
        expiry_ms INTEGER NOT NULL
    ) STRICT;
"];

/// Keeps a purse in one file, which no other process can have open.
pub struct SqliteStore(Database);

impl SqliteStore {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// As [`sqlite::open`].
    pub fn open(path: &Path) -> Result<Self, sqlite::OpenError> {
        sqlite::open(path, PURSE, MIGRATIONS).map(SqliteStore)
    }

    fn one_made(&self, condition: &str, value: impl rusqlite::ToSql) -> Result<Option<Made>, StoreError> {
        let mut sql = self.0.prepare_cached(&format!("{MADE} WHERE {condition}"))?;
        let row = sql.query_row([value], |row| Ok(made(row))).optional()?;
        row.transpose()
    }
}

const MADE: &str = "SELECT place, wish, brand, total_micros, payee, value_micros, length, expiry_ms FROM made";

fn made(row: &Row<'_>) -> Result<Made, StoreError> {
    Ok(Made {
        index: number(row, "place")?,
        wish: row.get("wish")?,
        brand: Digest(row.get("brand")?),
        total: amount(row, "total_micros")?,
        payee: PublicKey(row.get("payee")?),
        value: amount(row, "value_micros")?,
        length: number(row, "length")?,
        expiry: Timestamp(u64::try_from(row.get::<_, i64>("expiry_ms")?).map_err(|_| StoreError::Corrupt)?),
    })
}

fn amount(row: &Row<'_>, column: &str) -> Result<Amount, StoreError> {
    let micros: i64 = row.get(column)?;
    u64::try_from(micros).map(Amount::from_micros).map_err(|_| StoreError::Corrupt)
}

fn number(row: &Row<'_>, column: &str) -> Result<u32, StoreError> {
    u32::try_from(row.get::<_, i64>(column)?).map_err(|_| StoreError::Corrupt)
}

/// An amount as a signed database integer; what does not fit is no amount of money.
fn micros(amount: Amount) -> Result<i64, StoreError> {
    i64::try_from(amount.micros()).map_err(|_| StoreError::Corrupt)
}

impl PurseStore for SqliteStore {
    fn balances(&self) -> Result<BTreeMap<Digest, Amount>, StoreError> {
        let mut sql = self.0.prepare_cached("SELECT brand, micros FROM balance")?;
        let mut rows = sql.query([])?;
        let mut balances = BTreeMap::new();
        while let Some(row) = rows.next()? {
            balances.insert(Digest(row.get("brand")?), amount(row, "micros")?);
        }
        Ok(balances)
    }

    fn made_count(&self) -> Result<u32, StoreError> {
        let count: i64 = self.0.query_row("SELECT count(*) FROM made", [], |row| row.get(0))?;
        u32::try_from(count).map_err(|_| StoreError::Corrupt)
    }

    fn made(&self, wish: &Wish) -> Result<Option<Made>, StoreError> {
        self.one_made("wish = ?1", wish)
    }

    fn made_from(&self, index: u32, limit: usize) -> Result<Vec<Made>, StoreError> {
        let mut sql = self.0.prepare_cached(&format!("{MADE} WHERE place >= ?1 ORDER BY place LIMIT ?2"))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = sql.query(params![index, limit])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(made(row)?);
        }
        Ok(all)
    }

    fn load(&self, number: &LoadNumber) -> Result<Option<Load>, StoreError> {
        let mut sql = self.0.prepare_cached("SELECT brand, micros, is_done FROM load WHERE number = ?1")?;
        let load = |row: &Row<'_>| -> Result<Load, StoreError> {
            let (brand, is_done) = (Digest(row.get("brand")?), row.get("is_done")?);
            Ok(Load { number: *number, brand, amount: amount(row, "micros")?, is_done })
        };
        sql.query_row([number], |row| Ok(load(row))).optional()?.transpose()
    }

    fn ask(&mut self, load: &Load) -> Result<(), StoreError> {
        let Load { number, brand, amount, is_done } = load;
        let sql = "INSERT INTO load (number, brand, micros, is_done) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        self.0.execute(sql, params![number, brand.0, micros(*amount)?, is_done])?;
        Ok(())
    }

    fn credit(&mut self, number: &LoadNumber) -> Result<(), StoreError> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = transaction
            .query_row(
                "UPDATE load SET is_done = 1 WHERE number = ?1 AND is_done = 0 RETURNING brand, micros",
                [number],
                |row| Ok((row.get::<_, [u8; 32]>("brand")?, row.get::<_, i64>("micros")?)),
            )
            .optional()?;
        // Done before: nothing is credited twice.
        let Some((brand, micros)) = done else { return Ok(()) };
        transaction.execute(
            "INSERT INTO balance (brand, micros) VALUES (?1, ?2)
             ON CONFLICT (brand) DO UPDATE SET micros = micros + excluded.micros",
            params![brand, micros],
        )?;
        Ok(transaction.commit()?)
    }

    fn spend(&mut self, made: &Made) -> Result<(), SpendError> {
        let lost = |error: rusqlite::Error| SpendError::Store(error.into());
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate).map_err(lost)?;
        let Made { index, wish, brand, total, payee, value, length, expiry } = made;
        let (total, value) = (micros(*total)?, micros(*value)?);
        let expiry = i64::try_from(expiry.0).map_err(|_| SpendError::Store(StoreError::Corrupt))?;
        let inserted = transaction.execute(
            "INSERT INTO made (place, wish, brand, total_micros, payee, value_micros, length, expiry_ms)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE ?1 = (SELECT count(*) FROM made) ON CONFLICT DO NOTHING",
            params![index, wish, brand.0, total, payee.0, value, length, expiry],
        );
        if inserted.map_err(lost)? != 1 {
            return Err(SpendError::Taken);
        }
        let taken = transaction.execute(
            "UPDATE balance SET micros = micros - ?2 WHERE brand = ?1 AND micros >= ?2",
            params![brand.0, total],
        );
        if taken.map_err(lost)? != 1 {
            return Err(SpendError::Balance);
        }
        transaction.commit().map_err(lost)
    }
}
