//! What stands of checks, in SQLite.

use naulon_durable::StoreError;
use naulon_exchange::{Audit, ChainWrite, LockedChain};
use naulon_statement::{Digest, PublicKey};
use naulon_tick::{Front, Tick};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::changes::{may_change, signed};
use super::{amount, millis, timestamp};

const SELECT: &str = "SELECT maximum, expiry, payee, refund, position, tick, paid, returned, commitment FROM chain";

/// The row of a check.
pub(super) fn chain_of(connection: &Connection, commitment: &Digest) -> Result<Option<LockedChain>, StoreError> {
    let mut select = connection.prepare_cached(&format!("{SELECT} WHERE commitment = ?1"))?;
    let mut rows = select.query([commitment.as_bytes()])?;
    rows.next()?.map(chain).transpose()
}

/// Whether all these rows are as they must be. This is the only writer, within its transaction, so it stays true.
pub(super) fn may_all_change(connection: &Connection, writes: &[ChainWrite]) -> Result<bool, StoreError> {
    for write in writes {
        if !may_change(chain_of(connection, &write.commitment)?.as_ref(), write) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes rows that [may change](may_all_change).
pub(super) fn put(connection: &Connection, writes: &[ChainWrite]) -> Result<(), StoreError> {
    for ChainWrite { commitment, before, after } in writes {
        let (position, tick) = (after.index(), after.front.map(|front| front.tick.0));
        let (paid, returned) = (signed(after.paid), signed(after.returned));
        if before.is_some() {
            let sql = "UPDATE chain SET position = ?2, tick = ?3, paid = ?4, returned = ?5 WHERE commitment = ?1";
            let mut update = connection.prepare_cached(sql)?;
            update.execute(params![commitment.as_bytes(), position, tick, paid, returned])?;
        } else {
            let sql = "INSERT INTO chain (commitment, maximum, expiry, payee, refund, position, tick, paid, returned)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let (maximum, expiry) = (signed(after.maximum), millis(after.expiry));
            let (payee, refund) = (after.payee.as_bytes(), after.refund.as_bytes());
            let row = params![commitment.as_bytes(), maximum, expiry, payee, refund, position, tick, paid, returned];
            connection.prepare_cached(sql)?.execute(row)?;
        }
    }
    Ok(())
}

/// Reads all rows to an auditor.
pub(super) fn read_all(connection: &Connection, audit: &mut Audit<'_>) -> Result<(), StoreError> {
    let mut select = connection.prepare(SELECT)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        audit.chain(Digest(row.get(8)?), chain(row)?);
    }
    Ok(())
}

fn chain(row: &Row<'_>) -> Result<LockedChain, StoreError> {
    let index: u32 = row.get(4)?;
    let tick: Option<[u8; 16]> = row.get(5).optional()?.flatten();
    Ok(LockedChain {
        maximum: amount(row.get(0)?)?,
        expiry: timestamp(row.get(1)?)?,
        payee: Digest(row.get(2)?),
        refund: PublicKey(row.get(3)?),
        front: tick.map(|tick| Front { index, tick: Tick(tick) }),
        paid: amount(row.get(6)?)?,
        returned: amount(row.get(7)?)?,
    })
}
