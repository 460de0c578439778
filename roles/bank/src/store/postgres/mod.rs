//! The books in a PostgreSQL database, which several bank processes may share (ADR 4).

mod audit;
mod batch;
mod failure;
mod register;
mod rows;
mod schema;
mod session;

pub use audit::audit_url;
pub use failure::PostgresOpenError;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naulon_blind::Brand;
use naulon_durable::StoreError;
use naulon_durable::migration::{Migrated, Rehearsal};
use naulon_exchange::{Audit, Forgotten, LockedChain, Needs, Plan, Record, Remainder, RequestId, State, View};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Signed, Timestamp, cbor};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::changes::signed;
use super::{BankStore, LogFault, Written};
use batch::{Rows, Touched, Wanted, Writes, work_out};
use failure::Failure;
use rows::{ledger_bytes, millis, purpose_number, state_number};
use schema::Sql;
use session::{Link, Session, Step, step};

/// How often a batch is worked out again within its transaction, because another process has changed a row that it
/// reads. Beyond it the whole batch is lost, and decided again.
const MAX_WORK_OUT: usize = 8;

/// The books in a PostgreSQL database: a commit that returned is on the disk.
///
/// Any number of stores, in any number of processes, may have one database open, and nothing is kept in memory from one
/// call to the next. A lost connection is made again; a transaction that meets another one's is tried again, a bounded
/// number of times. Then the error is [`StoreError::Unreachable`] or [`StoreError::Busy`], and later calls may well
/// succeed: the bank goes on.
///
/// It waits for its answers on a runtime of its own: use it, and drop it, on a thread that runs no other (the executor's).
pub struct PostgresStore {
    link: Link,
}

impl PostgresStore {
    /// Opens the books in this database (`postgresql://USER@localhost/DATABASE`), or begins new ones in the schema
    /// `naulon_bank` of it.
    ///
    /// # Panics
    /// On a thread that runs async code.
    pub fn open(url: &str) -> Result<Self, PostgresOpenError> {
        Ok(PostgresStore { link: Link::open(url)? })
    }

    /// Brings the tables of older books up to date, or tries whether it could be done. No bank process is connected
    /// meanwhile.
    ///
    /// # Panics
    /// On a thread that runs async code.
    pub fn migrate(url: &str, rehearsal: Rehearsal) -> Result<Migrated, PostgresOpenError> {
        session::migrate(url, rehearsal)
    }
}

impl BankStore for PostgresStore {
    fn view(&mut self, needs: &[Needs]) -> Result<Vec<View>, StoreError> {
        self.link.run(async |session| view(session, needs).await)
    }

    fn commit(&mut self, plans: &[Plan]) -> Result<Vec<Written>, StoreError> {
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        self.link.run(async |session| commit(session, plans).await)
    }

    fn record(&mut self, id: &RequestId) -> Result<Option<Record>, StoreError> {
        self.link.run(async |session| {
            let rows = ask(session, Sql::Records, vec![keys([id.as_bytes()])]).await?;
            Ok(rows.first().map(rows::record).transpose()?)
        })
    }

    fn outputs(&mut self, wanted: &[Digest]) -> Result<Vec<(Digest, State)>, StoreError> {
        self.link.run(async |session| {
            let rows = ask(session, Sql::OutputStates, vec![keys(wanted.iter().map(Digest::as_bytes))]).await?;
            let found = rows.iter().map(|row| Ok((rows::digest(row, 0)?, rows::state(row, 1)?)));
            Ok(found.collect::<Result<_, StoreError>>()?)
        })
    }

    fn locked(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.link.run(async |session| {
            let after: &[u8] = after.map_or(&[], |id| id.as_bytes());
            let rows = ask(session, Sql::Locked, vec![Box::new(after), Box::new(limit)]).await?;
            Ok(rows.iter().map(rows::record).collect::<Result<_, _>>()?)
        })
    }

    fn records(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.link.run(async |session| {
            let after: &[u8] = after.map_or(&[], |id| id.as_bytes());
            let rows = ask(session, Sql::AllRecords, vec![Box::new(after), Box::new(limit)]).await?;
            Ok(rows.iter().map(rows::record).collect::<Result<_, _>>()?)
        })
    }

    fn forget(&mut self, forgotten: &[Forgotten]) -> Result<usize, StoreError> {
        self.link.run(async |session| forget(session, forgotten).await)
    }

    fn balance(&mut self, account: &PublicKey) -> Result<Option<Amount>, StoreError> {
        self.link.run(async |session| {
            let rows = ask(session, Sql::Balances, vec![keys([&account.0])]).await?;
            Ok(rows.first().map(|row| rows::amount(row, 1)).transpose()?)
        })
    }

    fn brands(&mut self) -> Result<Vec<Signed<Brand>>, StoreError> {
        self.link.run(async |session| {
            let rows = ask(session, Sql::Brands, vec![]).await?;
            Ok(rows.iter().map(rows::brand).collect::<Result<_, _>>()?)
        })
    }

    fn add_brand(&mut self, brand: &Signed<Brand>) -> Result<Written, StoreError> {
        self.link.run(async |session| {
            let key_id = brand.key_id();
            let values: Vec<Box<dyn ToSql + Sync>> = vec![
                Box::new(&key_id[..]),
                Box::new(brand.currency.as_str()),
                Box::new(signed(brand.denomination)),
                Box::new(purpose_number(brand.purpose)),
                Box::new(millis(brand.issue_from)),
                Box::new(brand.bytes()),
            ];
            let is_new = !ask(session, Sql::AddBrand, values).await?.is_empty();
            let known = ask(session, Sql::BrandStatement, vec![Box::new(&key_id[..])]).await?;
            let is_known = known.first().is_some_and(|row| row.try_get(0).is_ok_and(|it: &[u8]| it == brand.bytes()));
            Ok(if is_new || is_known { Written::Yes } else { Written::Lost })
        })
    }

    fn latest_time(&mut self) -> Result<Timestamp, StoreError> {
        self.link.run(async |session| {
            let rows = ask(session, Sql::LatestTime, vec![]).await?;
            Ok(rows::timestamp(rows.first().ok_or(StoreError::Corrupt)?, 0)?)
        })
    }

    fn keep_time(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.link.run(async |session| ask(session, Sql::KeepTime, vec![Box::new(millis(now))]).await.map(drop))
    }

    fn keep_log_fault(&mut self, fault: &LogFault) -> Result<(), StoreError> {
        self.link.run(async |session| {
            let decision = fault.decision.to_bytes();
            let values: Vec<Box<dyn ToSql + Sync>> =
                vec![Box::new(&fault.purchase.0[..]), Box::new(fault.code.as_str()), Box::new(decision)];
            ask(session, Sql::KeepFault, values).await.map(drop)
        })
    }

    fn log_faults(&mut self) -> Result<Vec<LogFault>, StoreError> {
        let fault = |row: &Row| {
            let (purchase, code) = (rows::digest(row, 0)?, rows::column(row, 1)?);
            Ok(LogFault { purchase, code, decision: rows::decision(row, 2)? })
        };
        self.link.run(async |session| {
            let rows = ask(session, Sql::Faults, vec![]).await?;
            Ok(rows.iter().map(fault).collect::<Result<_, StoreError>>()?)
        })
    }

    fn audit(&mut self, audit: &mut Audit<'_>) -> Result<(), StoreError> {
        // A second attempt would tell the auditor twice.
        self.link.run_once(async |session| audit::snapshot(session.client(), audit).await)
    }
}

/// Forgets requests in one transaction. Which of them are there is known by what was deleted, so a repetition after an unknown
/// end carries nothing twice.
async fn forget(session: &Session, forgotten: &[Forgotten]) -> Result<usize, Failure> {
    let ids: BTreeSet<&Digest> = forgotten.iter().map(|forgotten| &forgotten.id).collect();
    let values = vec![keys(ids.iter().map(|id| id.as_bytes()))];
    let [_, gone] = session.flight([step(Sql::Begin, vec![]), step(Sql::ForgetRecords, values)]).await?;
    let gone: BTreeSet<Digest> = gone.iter().map(|row| rows::digest(row, 0)).collect::<Result<_, _>>()?;
    let here = || forgotten.iter().filter(|forgotten| gone.contains(&forgotten.id));
    let pairs = |of: fn(&Forgotten) -> &BTreeSet<Digest>| {
        let pairs: BTreeSet<(&Digest, &Digest)> =
            here().flat_map(|forgotten| of(forgotten).iter().map(|key| (key, &forgotten.id))).collect();
        let (first, second): (Vec<&Digest>, Vec<&Digest>) = pairs.into_iter().unzip();
        vec![keys(first.into_iter().map(Digest::as_bytes)), keys(second.into_iter().map(Digest::as_bytes))]
    };
    let mut carried: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    for (account, sum) in here().flat_map(|forgotten| &forgotten.carried) {
        let before = carried.entry(rows::ledger_bytes(account)).or_default();
        *before = before.checked_add(*sum).ok_or(StoreError::Corrupt)?;
    }
    let (accounts, sums): (Vec<&[u8]>, Vec<i64>) = carried.iter().map(|(account, sum)| (&account[..], *sum)).unzip();
    let [_, _, _, _] = session
        .flight([
            step(Sql::ForgetMarks, pairs(|forgotten| &forgotten.marks)),
            step(Sql::ForgetOutputs, pairs(|forgotten| &forgotten.outputs)),
            step(Sql::Carry, vec![Box::new(accounts), Box::new(sums)]),
            step(Sql::End, vec![]),
        ])
        .await?;
    Ok(gone.len())
}

/// A list of keys.
fn keys<'k>(keys: impl IntoIterator<Item = &'k [u8; 32]>) -> Box<dyn ToSql + Sync + 'k> {
    Box::new(keys.into_iter().map(|key| &key[..]).collect::<Vec<_>>())
}

/// A statement about these keys; none if there are no keys, for a statement costs as much as the rows of some exchanges.
fn about<'k>(sql: Sql, keys_of: impl IntoIterator<Item = &'k [u8; 32]>) -> Option<Step<'k>> {
    let mut keys_of = keys_of.into_iter().peekable();
    keys_of.peek().is_some().then(|| step(sql, vec![keys(keys_of)]))
}

/// One statement, which is a transaction by itself.
async fn ask(session: &Session, sql: Sql, values: Vec<Box<dyn ToSql + Sync + '_>>) -> Result<Vec<Row>, Failure> {
    let [rows] = session.flight([step(sql, values)]).await?;
    Ok(rows)
}

/// All views from one snapshot, in two round trips.
async fn view(session: &Session, needs: &[Needs]) -> Result<Vec<View>, Failure> {
    let marks: BTreeSet<&Digest> = needs.iter().flat_map(|needs| &needs.marks).map(|mark| &mark.key).collect();
    let accounts: BTreeSet<&PublicKey> = needs.iter().flat_map(|needs| &needs.accounts).collect();
    let mut ids: BTreeSet<RequestId> = needs.iter().filter_map(|needs| needs.record).collect();
    let tokens: BTreeSet<&Digest> = needs.iter().flat_map(|needs| &needs.remainders).collect();
    let checks: BTreeSet<&Digest> = needs.iter().flat_map(|needs| &needs.chains).collect();
    let [_, held, open, left, on_checks] = session
        .flight_of([
            Some(step(Sql::BeginRead, vec![])),
            about(Sql::Holders, marks.into_iter().map(Digest::as_bytes)),
            about(Sql::Balances, accounts.into_iter().map(|account| &account.0)),
            about(Sql::Remainders, tokens.into_iter().map(Digest::as_bytes)),
            about(Sql::Chains, checks.into_iter().map(Digest::as_bytes)),
        ])
        .await?;
    let mut holders: BTreeMap<Digest, RequestId> = BTreeMap::new();
    for row in &held {
        holders.insert(rows::digest(row, 0)?, rows::digest(row, 1)?);
    }
    ids.extend(holders.values());
    let records = about(Sql::Records, ids.iter().map(Digest::as_bytes));
    let [found, _] = session.flight_of([records, Some(step(Sql::End, vec![]))]).await?;
    let mut records: BTreeMap<RequestId, Arc<Record>> = BTreeMap::new();
    for row in &found {
        let record = rows::record(row)?;
        records.insert(record.id(), Arc::new(record));
    }
    let balances = balances(&open)?;
    let remainders = remainders(&left)?;
    let chains = chains(&on_checks)?;
    if holders.values().any(|id| !records.contains_key(id)) {
        return Err(StoreError::Corrupt.into());
    }
    let view = |needs: &Needs| View {
        record: needs.record.and_then(|id| records.get(&id)).cloned(),
        holders: needs
            .marks
            .iter()
            .filter_map(|mark| Some((*mark, records.get(holders.get(&mark.key)?)?.clone())))
            .collect(),
        balances: needs.accounts.iter().filter_map(|a| Some((*a, *balances.get(a)?))).collect(),
        remainders: needs.remainders.iter().filter_map(|t| Some((*t, *remainders.get(t)?))).collect(),
        chains: needs.chains.iter().filter_map(|c| Some((*c, *chains.get(c)?))).collect(),
    };
    Ok(needs.iter().map(view).collect())
}

fn balances(rows: &[Row]) -> Result<BTreeMap<PublicKey, Amount>, StoreError> {
    rows.iter().map(|row| Ok((rows::account(row, 0)?, rows::amount(row, 1)?))).collect()
}

fn remainders(rows: &[Row]) -> Result<BTreeMap<Digest, Remainder>, StoreError> {
    rows.iter().map(rows::remainder).collect()
}

fn chains(rows: &[Row]) -> Result<BTreeMap<Digest, LockedChain>, StoreError> {
    rows.iter().map(rows::chain).collect()
}

/// One attempt to write a batch. Marks are taken first, in the order of their keys. Then the batch is worked out on the
/// rows as they are, and written under the condition that they still allow it; where they do not, the writes are taken
/// back, the marks kept, and it is worked out again.
async fn commit(session: &Session, plans: &[Plan]) -> Result<Vec<Written>, Failure> {
    let touched = Touched::by(plans);
    let wanted = Wanted::of(plans);
    let (marks, requests): (Vec<Digest>, Vec<RequestId>) = wanted.marks().unzip();
    let taking = vec![keys(marks.iter().map(Digest::as_bytes)), keys(requests.iter().map(Digest::as_bytes))];
    let [states, balances, left, chains, time] = reading(&touched);
    let [_, given, _, states, balances, left, chains, time] = session
        .flight_of([
            Some(step(Sql::Begin, vec![])),
            (!marks.is_empty()).then(|| step(Sql::TakeMarks, taking)),
            Some(step(Sql::Savepoint, vec![])),
            states,
            balances,
            left,
            chains,
            time,
        ])
        .await?;
    let given = given.iter().map(|row| rows::digest(row, 0)).collect::<Result<_, _>>()?;
    let taken = wanted.given(&given);
    let mut read = [states, balances, left, chains, time];
    for _ in 0..MAX_WORK_OUT {
        let writes = work_out(plans, &taken, rows_of(&read)?);
        if write(session, &writes).await? {
            return finish(session, writes.written).await;
        }
        let [states, balances, left, chains, time] = reading(&touched);
        let [_, states, balances, left, chains, time] =
            session.flight_of([Some(step(Sql::ToSavepoint, vec![])), states, balances, left, chains, time]).await?;
        read = [states, balances, left, chains, time];
    }
    ask(session, Sql::Rollback, vec![]).await?;
    Ok(vec![Written::Lost; plans.len()])
}

/// What a batch reads before it is worked out.
fn reading(touched: &Touched) -> [Option<Step<'_>>; 5] {
    [
        about(Sql::States, touched.records.iter().map(Digest::as_bytes)),
        about(Sql::Balances, touched.accounts.iter().map(|account| &account.0)),
        about(Sql::Remainders, touched.remainders.iter().map(Digest::as_bytes)),
        about(Sql::Chains, touched.chains.iter().map(Digest::as_bytes)),
        Some(step(Sql::Time, vec![])),
    ]
}

fn rows_of([states, balances_read, left, on_checks, time]: &[Vec<Row>; 5]) -> Result<Rows, StoreError> {
    let states = states.iter().map(|row| Ok((rows::digest(row, 0)?, rows::state(row, 1)?)));
    Ok(Rows {
        time: rows::timestamp(time.first().ok_or(StoreError::Corrupt)?, 0)?,
        states: states.collect::<Result<_, StoreError>>()?,
        balances: balances(balances_read)?,
        remainders: remainders(left)?,
        chains: chains(on_checks)?,
    })
}

/// Writes what a batch came to, sorted by key within each table. False if a row did not allow it.
async fn write(session: &Session, writes: &Writes<'_>) -> Result<bool, Failure> {
    let mut steps = Vec::new();
    // How many rows the steps have to say that they have written.
    let mut expected = Vec::new();
    let mut add = |sql, values, rows: Option<usize>| {
        steps.push(step(sql, values));
        expected.push(rows);
    };
    if !writes.opened.is_empty() {
        add(Sql::OpenAccounts, vec![keys(writes.opened.iter().map(|account| &account.0))], None);
    }
    if !writes.inserted.is_empty() {
        add(Sql::InsertRecords, record_columns(writes), Some(writes.inserted.len()));
    }
    if !writes.outputs.is_empty() {
        let (outputs, ids) = (writes.outputs.iter().map(|(key, _)| &key.0), writes.outputs.iter().map(|(_, id)| &id.0));
        add(Sql::InsertOutputs, vec![keys(outputs), keys(ids)], None);
    }
    for (id, record) in &writes.settled {
        let decision = record.decision.as_ref().map(|decision| decision.to_bytes()).unwrap_or_default();
        let values: Vec<Box<dyn ToSql + Sync>> = vec![
            Box::new(&id.0[..]),
            Box::new(state_number(record.state)),
            Box::new(decision),
            Box::new(record.settled.map(millis)),
        ];
        add(Sql::Settle, values, Some(1));
    }
    for (account, change) in &writes.balances {
        let values: Vec<Box<dyn ToSql + Sync>> =
            vec![Box::new(&account.0[..]), Box::new(change.delta), Box::new(change.lowest), Box::new(change.highest)];
        add(Sql::ChangeBalance, values, Some(1));
    }
    let opened = || writes.drawn.iter().filter(|(_, (before, _))| before.is_none());
    if opened().next().is_some() {
        let values: Vec<Box<dyn ToSql + Sync>> = vec![
            keys(opened().map(|(token, _)| token.as_bytes())),
            Box::new(opened().map(|(_, (_, after))| signed(after.left)).collect::<Vec<_>>()),
            Box::new(opened().map(|(_, (_, after))| i16::from(after.uses)).collect::<Vec<_>>()),
        ];
        add(Sql::OpenRemainders, values, Some(opened().count()));
    }
    for (token, (before, after)) in &writes.drawn {
        if let Some(before) = before {
            let amounts = [after, before].map(|remainder| (signed(remainder.left), i16::from(remainder.uses)));
            let mut values: Vec<Box<dyn ToSql + Sync>> = vec![Box::new(&token.0[..])];
            for (left, uses) in amounts {
                values.extend([Box::new(left) as Box<dyn ToSql + Sync>, Box::new(uses)]);
            }
            add(Sql::Draw, values, Some(1));
        }
    }
    let locked = || writes.chains.iter().filter(|(_, (before, _))| before.is_none());
    if locked().next().is_some() {
        add(Sql::LockChains, chain_columns(writes), Some(locked().count()));
    }
    for (commitment, (before, after)) in &writes.chains {
        if let Some(before) = before {
            let tick = after.front.as_ref().map(|front| &front.tick.0[..]);
            let values: Vec<Box<dyn ToSql + Sync>> = vec![
                Box::new(&commitment.0[..]),
                Box::new(i64::from(after.index())),
                Box::new(tick),
                Box::new(signed(after.paid)),
                Box::new(signed(after.returned)),
                Box::new(i64::from(before.index())),
                Box::new(signed(before.paid)),
                Box::new(signed(before.returned)),
            ];
            add(Sql::ChangeChain, values, Some(1));
        }
    }
    if !writes.freed.is_empty() {
        let (marks, holders) = (writes.freed.iter().map(|(key, _)| &key.0), writes.freed.iter().map(|(_, id)| &id.0));
        add(Sql::FreeMarks, vec![keys(marks), keys(holders)], None);
    }
    if !writes.lines.is_empty() {
        add(Sql::Append, line_columns(writes), None);
    }
    if steps.is_empty() {
        return Ok(true);
    }
    let answers = session.fly(steps).await?;
    Ok(expected.iter().zip(&answers).all(|(rows, answer)| rows.is_none_or(|rows| rows == answer.len())))
}

fn record_columns<'w>(writes: &'w Writes<'_>) -> Vec<Box<dyn ToSql + Sync + 'w>> {
    let records = || writes.inserted.values();
    let decision = |record: &&Record| record.decision.as_ref().map(|decision| decision.to_bytes());
    vec![
        keys(writes.inserted.keys().map(Digest::as_bytes)),
        Box::new(records().map(|record| millis(record.accepted)).collect::<Vec<_>>()),
        Box::new(records().map(|record| state_number(record.state)).collect::<Vec<_>>()),
        Box::new(records().map(|record| cbor::to_vec(&record.exchange)).collect::<Vec<_>>()),
        Box::new(records().map(decision).collect::<Vec<_>>()),
    ]
}

/// The rows of checks that are new.
fn chain_columns<'w>(writes: &'w Writes<'_>) -> Vec<Box<dyn ToSql + Sync + 'w>> {
    let new: Vec<(&Digest, &LockedChain)> = writes
        .chains
        .iter()
        .filter(|(_, (before, _))| before.is_none())
        .map(|(key, (_, after))| (key, after))
        .collect();
    let numbers = |of: fn(&LockedChain) -> i64| Box::new(new.iter().map(|(_, chain)| of(chain)).collect::<Vec<_>>());
    let ticks = new.iter().map(|(_, chain)| chain.front.as_ref().map(|front| &front.tick.0[..]));
    vec![
        keys(new.iter().map(|(commitment, _)| commitment.as_bytes())),
        numbers(|chain| signed(chain.maximum)),
        numbers(|chain| millis(chain.expiry)),
        keys(new.iter().map(|(_, chain)| chain.payee.as_bytes())),
        keys(new.iter().map(|(_, chain)| chain.refund.as_bytes())),
        numbers(|chain| i64::from(chain.index())),
        Box::new(ticks.collect::<Vec<_>>()),
        numbers(|chain| signed(chain.paid)),
        numbers(|chain| signed(chain.returned)),
    ]
}

fn line_columns<'w>(writes: &'w Writes<'_>) -> Vec<Box<dyn ToSql + Sync + 'w>> {
    let lines = || writes.lines.iter();
    vec![
        keys(lines().map(|line| &line.record.0)),
        Box::new(lines().map(|line| line.settles).collect::<Vec<_>>()),
        Box::new(lines().map(|line| line.number).collect::<Vec<_>>()),
        Box::new(lines().map(|line| ledger_bytes(&line.transfer.from)).collect::<Vec<_>>()),
        Box::new(lines().map(|line| ledger_bytes(&line.transfer.to)).collect::<Vec<_>>()),
        Box::new(lines().map(|line| signed(line.transfer.amount)).collect::<Vec<_>>()),
    ]
}

/// Commits. If the connection is lost meanwhile it is not known whether that happened: then the plans are to be decided
/// again, and whichever is in the books is found there. One whose commit is still under way holds the locks of its rows,
/// so the second one waits for it.
async fn finish(session: &Session, written: Vec<Written>) -> Result<Vec<Written>, Failure> {
    match session.commit().await {
        Ok(()) => Ok(written),
        Err(Failure::Gone(error)) => {
            tracing::warn!(%error, "the connection was lost at a commit, which is looked up");
            session.abandon();
            let unknown = |written| if written == Written::Yes { Written::Unknown } else { Written::Lost };
            Ok(written.into_iter().map(unknown).collect())
        }
        Err(failure) => Err(failure),
    }
}
