//! Reading the whole books from one snapshot, while banks go on writing.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use naulon_blind::KnownBrand;
use naulon_durable::StoreError;
use naulon_exchange::{Audit, AuditReport, Rules};
use naulon_statement::Digest;
use tokio_postgres::{Client, Row};

use super::failure::Failure;
use super::rows::{self, parsed};
use super::session;
use crate::bank::AuditError;

/// Limits of the session are for a bank's short transactions; the books are read for as long as it takes.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";

/// Audits the database of a bank, which may be running, in however many processes: it is only read, from one snapshot.
/// The brands of the rules are taken from the database.
///
/// # Panics
/// On a thread that runs async code.
pub fn audit_url(url: &str, rules: &Rules) -> Result<AuditReport, AuditError> {
    let config = session::config(url)?;
    let read = async {
        let client = session::connect(&config).await?;
        client.batch_execute(BEGIN).await?;
        let mut brands = BTreeMap::new();
        for row in client.query("SELECT statement FROM brand ORDER BY number", &[]).await? {
            let known = parsed(KnownBrand::new(rows::brand(&row)?.into_body()))?;
            brands.insert(Digest(*known.key_id()), Arc::new(known));
        }
        let rules = Rules { brands, ..rules.clone() };
        let mut audit = Audit::new(&rules);
        tell(&client, &mut audit).await?;
        Ok(audit.finish())
    };
    let books = session::runtime()?.block_on(read).map_err(Failure::into_error)?;
    books.map_err(AuditError::Books)
}

/// Reads all records, journal lines, balances, marks, remainders and checks of one moment to an auditor, row by row as they come.
pub(super) async fn snapshot(client: &Client, audit: &mut Audit<'_>) -> Result<(), Failure> {
    client.batch_execute(BEGIN).await?;
    tell(client, audit).await?;
    Ok(client.batch_execute("COMMIT").await?)
}

async fn tell(client: &Client, audit: &mut Audit<'_>) -> Result<(), Failure> {
    each(client, "SELECT exchange, state, accepted, decision, settled FROM record", |row| {
        audit.record(&rows::record(row)?);
        Ok(())
    })
    .await?;
    each(client, "SELECT account, sum FROM carried", |row| {
        audit.carried(rows::ledger_account(rows::column(row, 0)?)?, rows::column(row, 1)?);
        Ok(())
    })
    .await?;
    each(client, "SELECT debit, credit, amount FROM journal", |row| {
        audit.transfer(&rows::transfer(row)?);
        Ok(())
    })
    .await?;
    each(client, "SELECT key, balance FROM account", |row| {
        audit.balance(rows::account(row, 0)?, rows::amount(row, 1)?);
        Ok(())
    })
    .await?;
    each(client, "SELECT key, holder FROM mark", |row| {
        audit.mark(rows::digest(row, 0)?, rows::digest(row, 1)?);
        Ok(())
    })
    .await?;
    each(client, "SELECT token, rest, uses FROM remainder", |row| {
        let (token, remainder) = rows::remainder(row)?;
        audit.remainder(token, remainder);
        Ok(())
    })
    .await?;
    let chains = "SELECT commitment, maximum, expiry, payee, refund, position, tick, paid, returned FROM chain";
    each(client, chains, |row| {
        let (commitment, chain) = rows::chain(row)?;
        audit.chain(commitment, chain);
        Ok(())
    })
    .await
}

async fn each(client: &Client, sql: &str, mut tell: impl FnMut(&Row) -> Result<(), StoreError>) -> Result<(), Failure> {
    let mut rows = pin!(client.query_raw(sql, std::iter::empty::<&i64>()).await?);
    while let Some(row) = rows.try_next().await? {
        tell(&row)?;
    }
    Ok(())
}
