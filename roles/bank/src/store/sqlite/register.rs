//! The register in the SQLite file.

use std::ops::Range;

use naulon_durable::StoreError;
use naulon_exchange::Record;
use naulon_exchange::register::RegisterEntry;
use naulon_statement::{Digest, Timestamp};
use naulon_tlog::Hash;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::super::Written;
use super::super::register::{
    DayKey, DeliveredPlace, RegisterAppending, RegisterRows, RegisterStore, StoredChunk, entry, is_read_along,
    item_bytes, items, side_number,
};
use super::{SqliteStore, blob, millis, record, timestamp};

impl RegisterStore for SqliteStore {
    fn register(&mut self, from: u64) -> Result<RegisterRows, StoreError> {
        let transaction = self.database.transaction()?;
        let (size, checkpoint) = transaction
            .query_row("SELECT size, checkpoint FROM register_head", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut select = transaction.prepare("SELECT place, entry FROM register WHERE place >= ?1 ORDER BY place")?;
        let mut statement = transaction.prepare("SELECT statement FROM register WHERE place = ?1")?;
        let mut rows = select.query([from])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let entry = entry(blob(row.get_ref(1)?.as_blob())?)?;
            let along = is_read_along(&entry).then(|| statement.query_row([row.get::<_, i64>(0)?], |row| row.get(0)));
            entries.push((entry, along.transpose()?));
        }
        Ok(RegisterRows { size, checkpoint, entries })
    }

    fn register_statement(&mut self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Ok(place) = i64::try_from(index) else { return Ok(None) };
        let sql = "SELECT statement FROM register WHERE place = ?1";
        Ok(self.database.query_row(sql, [place], |row| row.get(0)).optional()?)
    }

    fn append_register(&mut self, appending: &RegisterAppending) -> Result<Written, StoreError> {
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let size = appending.before + appending.statements.len() as u64;
        let sql = "UPDATE register_head SET size = ?2, checkpoint = ?3 WHERE one = 1 AND size = ?1";
        if transaction.execute(sql, params![appending.before, size, appending.checkpoint])? != 1 {
            return Ok(Written::Lost);
        }
        for ((kind, statement), place) in appending.statements.iter().zip(appending.before..) {
            let entry = RegisterEntry::new(*kind, statement);
            let sql = "INSERT INTO register (place, entry, statement) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![place, entry.as_bytes(), statement])?;
        }
        transaction.commit()?;
        Ok(Written::Yes)
    }

    fn keep_cosigned(&mut self, size: u64, note: &str) -> Result<Written, StoreError> {
        let sql = "UPDATE register_head SET checkpoint = ?2 WHERE one = 1 AND size = ?1";
        let kept = self.database.execute(sql, params![size, note])?;
        Ok(if kept == 1 { Written::Yes } else { Written::Lost })
    }

    fn delivered(
        &mut self,
        within: Range<Timestamp>,
        after: Option<&DeliveredPlace>,
        limit: usize,
    ) -> Result<Vec<(DeliveredPlace, Record)>, StoreError> {
        let transaction = self.database.transaction()?;
        let mut found = Vec::new();
        if after.is_none_or(|after| !after.settled) {
            done(&transaction, &within, after, limit, &mut found)?;
        }
        if found.len() < limit {
            settled(&transaction, &within, after.filter(|after| after.settled), limit, &mut found)?;
        }
        Ok(found)
    }

    fn keep_chunks(&mut self, chunks: &[StoredChunk]) -> Result<(), StoreError> {
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql =
            "INSERT INTO day_item (day, brand, side, chunk, first, root, items) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                   ON CONFLICT DO NOTHING";
        {
            let mut insert = transaction.prepare(sql)?;
            for StoredChunk { key, number, chunk } in chunks {
                let first = chunk.items.first().map(Digest::as_bytes);
                let key = (key.day.0, key.brand.as_bytes(), side_number(key.side));
                insert.execute(params![key.0, key.1, key.2, number, first, chunk.root, item_bytes(chunk)])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn chunk_roots(&mut self, key: &DayKey) -> Result<Vec<Hash>, StoreError> {
        let sql = "SELECT root FROM day_item WHERE day = ?1 AND brand = ?2 AND side = ?3 ORDER BY chunk";
        let mut select = self.database.prepare(sql)?;
        let roots =
            select.query_map(params![key.day.0, key.brand.as_bytes(), side_number(key.side)], |row| row.get(0))?;
        Ok(roots.collect::<Result<_, _>>()?)
    }

    fn chunk(&mut self, key: &DayKey, number: u64) -> Result<Option<Vec<Digest>>, StoreError> {
        let sql = "SELECT items FROM day_item WHERE day = ?1 AND brand = ?2 AND side = ?3 AND chunk = ?4";
        let key = params![key.day.0, key.brand.as_bytes(), side_number(key.side), number];
        let found: Option<Vec<u8>> = self.database.query_row(sql, key, |row| row.get(0)).optional()?;
        found.map(|bytes| items(&bytes)).transpose()
    }

    fn chunk_of(&mut self, key: &DayKey, item: &Digest) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT chunk FROM day_item WHERE day = ?1 AND brand = ?2 AND side = ?3 AND first <= ?4
                   ORDER BY chunk DESC LIMIT 1";
        let key = params![key.day.0, key.brand.as_bytes(), side_number(key.side), item.as_bytes()];
        Ok(self.database.query_row(sql, key, |row| row.get(0)).optional()?)
    }
}

/// Records that were done at once. Their numbers are in the order of their times, so the first is found by halving.
fn done(
    connection: &Connection,
    within: &Range<Timestamp>,
    after: Option<&DeliveredPlace>,
    limit: usize,
    found: &mut Vec<(DeliveredPlace, Record)>,
) -> Result<(), StoreError> {
    let from = match after {
        Some(after) => number(&after.key)? + 1,
        None => first_number(connection, within.start)?,
    };
    let mut select = connection.prepare_cached(
        "SELECT exchange, state, accepted, NULL, NULL, number FROM record
         WHERE number >= ?1 ORDER BY number",
    )?;
    let mut rows = select.query([from])?;
    while let Some(row) = rows.next()? {
        let time = timestamp(row.get(2)?)?;
        if time >= within.end || found.len() == limit {
            break;
        }
        // What was locked counts when it is settled.
        if row.get::<_, i64>(1)? == 0 {
            found.push((place(false, time, row)?, record(row)?));
        }
    }
    Ok(())
}

/// The number of the first record that is not before this time.
fn first_number(connection: &Connection, time: Timestamp) -> Result<i64, StoreError> {
    let last: Option<i64> = connection.query_row("SELECT max(number) FROM record", [], |row| row.get(0))?;
    let mut at =
        connection.prepare_cached("SELECT number, accepted FROM record WHERE number >= ?1 ORDER BY number LIMIT 1")?;
    // A bank that has accepted nothing yet has no first one either.
    let Some(last) = last else { return Ok(0) };
    let (mut low, mut high) = (0, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let (number, accepted): (i64, i64) = at.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if accepted < millis(time) {
            low = number + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn settled(
    connection: &Connection,
    within: &Range<Timestamp>,
    after: Option<&DeliveredPlace>,
    limit: usize,
    found: &mut Vec<(DeliveredPlace, Record)>,
) -> Result<(), StoreError> {
    let (time, behind) = match after {
        Some(after) => (after.time, number(&after.key)?),
        None => (within.start, -1),
    };
    let mut select = connection.prepare_cached(
        "SELECT exchange, state, accepted, decision, settled, number FROM settlement JOIN record ON number = record
         WHERE (settled, record) > (?1, ?2) AND settled < ?3 AND state = 2 ORDER BY settled, record LIMIT ?4",
    )?;
    let room = limit - found.len();
    let mut rows =
        select.query(params![millis(time), behind, millis(within.end), i64::try_from(room).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        found.push((place(true, timestamp(row.get(4)?)?, row)?, record(row)?));
    }
    Ok(())
}

fn place(settled: bool, time: Timestamp, row: &Row<'_>) -> Result<DeliveredPlace, StoreError> {
    Ok(DeliveredPlace { settled, time, key: row.get::<_, i64>(5)?.to_be_bytes().to_vec() })
}

fn number(key: &[u8]) -> Result<i64, StoreError> {
    key.try_into().map(i64::from_be_bytes).map_err(|_| StoreError::Corrupt)
}
