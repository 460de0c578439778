//! The books in a SQLite file.

mod chain;
mod register;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use naulon_blind::{Brand, KnownBrand, Purpose};
use naulon_durable::StoreError;
use naulon_durable::migration::{Migrated, Rehearsal};
use naulon_durable::sqlite::{self, ApplicationId, BUSY_TIMEOUT, Database, OpenError};
use naulon_exchange::{
    Audit, AuditReport, Draw, Exchange, Forgotten, LedgerAccount, Needs, Plan, ProvenDecision, Record, RecordWrite,
    Remainder, RequestId, Rules, State, Transfer, UnverifiedDecision, View,
};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Signed, Timestamp, Unverified, UnverifiedJoint, cbor};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior, params};

use super::changes::{BalanceChange, balance_changes, drawn, signed};
use super::schema::MIGRATIONS;
use super::{BankStore, LogFault, Written, output_keys};
use crate::bank::AuditError;

/// What marks a bank's file.
pub const BANK_FILE: ApplicationId = ApplicationId::new(b"nlBK");

/// How much of the file SQLite keeps in memory, in KiB: marks are looked up all over it.
const CACHE_KIB: i64 = 64 * 1024;
/// After how many pages the write-ahead log is carried over into the file (SQLite's own: 1,000). Marks dirty pages all
/// over the file, and the longer the log, the more often a page is written over once for several changes: a quarter of
/// the work.
const CHECKPOINT_PAGES: i64 = 10_000;
/// Statements that are kept prepared; there are fewer.
const STATEMENTS: usize = 64;

/// The books in a SQLite file (WAL, `synchronous=FULL`): a commit that returned is on the disk.
pub struct SqliteStore {
    database: Database,
    /// The number of the next record. Numbers of plans that lost are left out.
    next: i64,
}

impl SqliteStore {
    /// Opens the books in this file, or begins new ones. No other process can have them open. Older books are to be
    /// [migrated](Self::migrate) first.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let database = sqlite::open_current(path, BANK_FILE, MIGRATIONS)?;
        let next = prepare(&database).map_err(|source| OpenError::Store { path: path.to_owned(), source })?;
        Ok(SqliteStore { database, next })
    }

    /// Brings the tables of older books up to date, or tries whether it could be done. No process has them open meanwhile.
    pub fn migrate(path: &Path, rehearsal: Rehearsal) -> Result<Migrated, OpenError> {
        sqlite::migrate(path, BANK_FILE, MIGRATIONS, rehearsal)
    }

    /// Copies a file that a server may have open and go on writing, all of one moment, into a new one.
    ///
    /// # Errors
    /// As [`sqlite::backup`].
    pub fn backup(path: &Path, copy: &Path) -> Result<(), OpenError> {
        sqlite::backup(path, BANK_FILE, copy)
    }
}

fn prepare(connection: &Connection) -> Result<i64, StoreError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    let last: Option<i64> = connection.query_row("SELECT max(number) FROM record", [], |row| row.get(0))?;
    Ok(last.unwrap_or(0) + 1)
}

impl BankStore for SqliteStore {
    fn view(&mut self, needs: &[Needs]) -> Result<Vec<View>, StoreError> {
        let transaction = self.database.transaction()?;
        needs.iter().map(|needs| view(&transaction, needs)).collect()
    }

    fn commit(&mut self, plans: &[Plan]) -> Result<Vec<Written>, StoreError> {
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writer = Writer { connection: &transaction, next: self.next };
        let written = writer.write_all(plans)?;
        let next = writer.next;
        transaction.commit()?;
        self.next = next;
        Ok(written)
    }

    fn record(&mut self, id: &RequestId) -> Result<Option<Record>, StoreError> {
        record_of(&self.database, id)
    }

    fn outputs(&mut self, keys: &[Digest]) -> Result<Vec<(Digest, State)>, StoreError> {
        let sql = "SELECT state FROM output JOIN record ON record.number = output.record WHERE output.key = ?1";
        let transaction = self.database.transaction()?;
        let mut select = transaction.prepare_cached(sql)?;
        let mut found = Vec::new();
        for key in keys {
            let mut rows = select.query([key.as_bytes()])?;
            while let Some(row) = rows.next()? {
                found.push((*key, state(row.get(0)?)?));
            }
        }
        Ok(found)
    }

    fn locked(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let transaction = self.database.transaction()?;
        let after = after.map(|id| number_of(&transaction, id)).transpose()?.flatten().unwrap_or(i64::MIN);
        let sql = format!("{SELECT_RECORD} WHERE state = 1 AND number > ?1 ORDER BY number LIMIT ?2");
        let mut select = transaction.prepare_cached(&sql)?;
        let mut rows = select.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut locked = Vec::new();
        while let Some(row) = rows.next()? {
            locked.push(record(row)?);
        }
        Ok(locked)
    }

    fn records(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let transaction = self.database.transaction()?;
        let after = after.map(|id| number_of(&transaction, id)).transpose()?.flatten().unwrap_or(i64::MIN);
        let sql = format!("{SELECT_RECORD} WHERE number > ?1 ORDER BY number LIMIT ?2");
        let mut select = transaction.prepare_cached(&sql)?;
        let mut rows = select.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            records.push(record(row)?);
        }
        Ok(records)
    }

    fn forget(&mut self, forgotten: &[Forgotten]) -> Result<usize, StoreError> {
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut gone = 0;
        for forgotten in forgotten {
            gone += usize::from(forget(&transaction, forgotten)?);
        }
        transaction.commit()?;
        Ok(gone)
    }

    fn balance(&mut self, account: &PublicKey) -> Result<Option<Amount>, StoreError> {
        balance_of(&self.database, account)
    }

    fn brands(&mut self) -> Result<Vec<Signed<Brand>>, StoreError> {
        brands_of(&self.database)
    }

    fn add_brand(&mut self, brand: &Signed<Brand>) -> Result<Written, StoreError> {
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let key_id = brand.key_id();
        let inserted = transaction.execute(
            "INSERT INTO brand (key_id, currency, denomination, purpose, issue_from, statement)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            params![
                key_id,
                brand.currency.as_str(),
                signed(brand.denomination),
                purpose_number(brand.purpose),
                millis(brand.issue_from),
                brand.bytes()
            ],
        )?;
        let known: Option<Vec<u8>> = transaction
            .query_row("SELECT statement FROM brand WHERE key_id = ?1", [key_id], |row| row.get(0))
            .optional()?;
        transaction.commit()?;
        let is_stated = inserted == 1 || known.as_deref() == Some(brand.bytes());
        Ok(if is_stated { Written::Yes } else { Written::Lost })
    }

    fn latest_time(&mut self) -> Result<Timestamp, StoreError> {
        // Records are numbered in the order in which they were accepted, by a clock that never runs backwards.
        let sql =
            "SELECT max(time, coalesce((SELECT accepted FROM record ORDER BY number DESC LIMIT 1), 0)) FROM clock";
        let time: i64 = self.database.query_row(sql, [], |row| row.get(0))?;
        timestamp(time)
    }

    fn keep_time(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.database.execute("UPDATE clock SET time = max(time, ?1)", [millis(now)])?;
        Ok(())
    }

    fn keep_log_fault(&mut self, fault: &LogFault) -> Result<(), StoreError> {
        let sql = "INSERT INTO log_fault (purchase, code, decision) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        self.database.execute(sql, params![fault.purchase.as_bytes(), fault.code, fault.decision.to_bytes()])?;
        Ok(())
    }

    fn log_faults(&mut self) -> Result<Vec<LogFault>, StoreError> {
        let mut select = self.database.prepare("SELECT purchase, code, decision FROM log_fault")?;
        let mut rows = select.query([])?;
        let mut faults = Vec::new();
        while let Some(row) = rows.next()? {
            let purchase = Digest(row.get(0)?);
            faults.push(LogFault { purchase, code: row.get(1)?, decision: decision(&row.get::<_, Vec<u8>>(2)?)? });
        }
        Ok(faults)
    }

    fn audit(&mut self, audit: &mut Audit<'_>) -> Result<(), StoreError> {
        let transaction = self.database.transaction()?;
        read_books(&transaction, audit)
    }
}

/// Audits the file of a bank, which may be running: it is only read, from one snapshot. The brands of the rules are
/// taken from the file.
pub fn audit_file(path: &Path, rules: &Rules) -> Result<AuditReport, AuditError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(StoreError::from)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(StoreError::from)?;
    let transaction = connection.transaction().map_err(StoreError::from)?;
    let mut brands = BTreeMap::new();
    for statement in brands_of(&transaction)? {
        let known = parsed(KnownBrand::new(statement.into_body()))?;
        brands.insert(Digest(*known.key_id()), Arc::new(known));
    }
    let rules = Rules { brands, ..rules.clone() };
    let mut audit = Audit::new(&rules);
    read_books(&transaction, &mut audit)?;
    audit.finish().map_err(AuditError::Books)
}

/// Writes plans within one transaction.
struct Writer<'c> {
    connection: &'c Connection,
    next: i64,
}

/// A plan on its way into the tables.
struct Draft<'p> {
    plan: &'p Plan,
    /// The number of the record that it inserts, which alone can take marks.
    number: Option<i64>,
    taken: Vec<&'p Digest>,
    is_lost: bool,
}

impl<'c> Writer<'c> {
    /// Marks of all plans first, in the order of their keys; then the plans that have got all of theirs. What loses
    /// takes back what it wrote, so that one loser does not cost the others their transaction.
    fn write_all(&mut self, plans: &[Plan]) -> Result<Vec<Written>, StoreError> {
        let mut drafts: Vec<Draft<'_>> = plans.iter().map(|plan| self.draft(plan)).collect();
        self.take_marks(&mut drafts)?;
        for draft in &mut drafts {
            if !draft.is_lost {
                draft.is_lost = !self.write(draft)?;
            }
            if let (true, Some(number)) = (draft.is_lost, draft.number) {
                self.give_back(draft.taken.iter().copied(), number)?;
            }
        }
        Ok(drafts.iter().map(|draft| if draft.is_lost { Written::Lost } else { Written::Yes }).collect())
    }

    fn draft<'p>(&mut self, plan: &'p Plan) -> Draft<'p> {
        let number = matches!(plan.record, RecordWrite::Insert(_)).then_some(self.next);
        self.next += i64::from(number.is_some());
        Draft { plan, number, taken: Vec::new(), is_lost: false }
    }

    fn take_marks<'p>(&self, drafts: &mut [Draft<'p>]) -> Result<(), StoreError> {
        let mut wanted: Vec<(&'p Digest, usize)> = Vec::new();
        for (index, draft) in drafts.iter().enumerate() {
            wanted.extend(draft.plan.marks.iter().map(|mark| (&mark.key, index)));
        }
        wanted.sort_unstable();
        let sql = "INSERT INTO mark (key, record) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        let mut insert = self.connection.prepare_cached(sql)?;
        for (key, index) in wanted {
            let draft = &mut drafts[index];
            match draft.number {
                Some(number) if insert.execute(params![key.as_bytes(), number])? == 1 => draft.taken.push(key),
                _ => draft.is_lost = true,
            }
        }
        Ok(())
    }

    /// Takes marks away from the record that holds them.
    fn give_back<'k>(&self, keys: impl IntoIterator<Item = &'k Digest>, number: i64) -> Result<(), StoreError> {
        let mut delete = self.connection.prepare_cached("DELETE FROM mark WHERE key = ?1 AND record = ?2")?;
        for key in keys {
            delete.execute(params![key.as_bytes(), number])?;
        }
        Ok(())
    }

    /// Everything of a plan but its marks. False, and nothing is written, if it lost.
    fn write(&self, draft: &Draft<'_>) -> Result<bool, StoreError> {
        let plan = draft.plan;
        let Some(changes) = balance_changes(plan) else { return Ok(false) };
        if !chain::may_all_change(self.connection, &plan.chains)? {
            return Ok(false);
        }
        let mut changed = Vec::with_capacity(changes.len());
        for (account, change) in changes {
            if !self.change_balance(&account, &change)? {
                self.change_back(&changed)?;
                return Ok(false);
            }
            changed.push((account, change));
        }
        let mut drawn = Vec::with_capacity(plan.draws.len());
        for draw in &plan.draws {
            let before = remainder_of(self.connection, &draw.token)?;
            if !self.draw(draw, before)? {
                self.draw_back(&drawn)?;
                self.change_back(&changed)?;
                return Ok(false);
            }
            drawn.push((draw.token, before));
        }
        let number = match (&plan.record, draft.number) {
            (RecordWrite::Open(account), _) => {
                self.open_account(account)?;
                return Ok(true);
            }
            (RecordWrite::Insert(record), number) => self.insert(number, record)?,
            (RecordWrite::Settle(record), _) => self.settle(record)?,
        };
        let Some(number) = number else {
            self.draw_back(&drawn)?;
            self.change_back(&changed)?;
            return Ok(false);
        };
        chain::put(self.connection, &plan.chains)?;
        self.give_back(plan.freed.iter().map(|mark| &mark.key), number)?;
        self.append(number, &plan.transfers)?;
        Ok(true)
    }

    /// The conditional update of one account. False if the account is not open or its balance does not allow it.
    fn change_balance(&self, account: &PublicKey, change: &BalanceChange) -> Result<bool, StoreError> {
        if change.is_check() {
            return Ok(balance_of(self.connection, account)?.is_some());
        }
        let (lowest, highest, delta) = change.bounds();
        let sql = "UPDATE account SET balance = balance + ?2 WHERE key = ?1 AND balance BETWEEN ?3 AND ?4";
        let mut update = self.connection.prepare_cached(sql)?;
        Ok(update.execute(params![account.as_bytes(), delta, lowest, highest])? == 1)
    }

    fn change_back(&self, changed: &[(PublicKey, BalanceChange)]) -> Result<(), StoreError> {
        let mut update = self.connection.prepare_cached("UPDATE account SET balance = balance - ?2 WHERE key = ?1")?;
        for (account, change) in changed {
            let (_, _, delta) = change.bounds();
            update.execute(params![account.as_bytes(), delta])?;
        }
        Ok(())
    }

    /// The change of what is left on one token. False if that does not allow it. This is the only writer, within its
    /// transaction, so what was read still holds.
    fn draw(&self, draw: &Draw, before: Option<Remainder>) -> Result<bool, StoreError> {
        let Some(after) = drawn(before, &draw.change) else { return Ok(false) };
        self.put_remainder(&draw.token, after)?;
        Ok(true)
    }

    fn draw_back(&self, drawn: &[(Digest, Option<Remainder>)]) -> Result<(), StoreError> {
        for (token, before) in drawn {
            match before {
                Some(before) => self.put_remainder(token, *before)?,
                None => {
                    let mut delete = self.connection.prepare_cached("DELETE FROM remainder WHERE token = ?1")?;
                    delete.execute([token.as_bytes()])?;
                }
            }
        }
        Ok(())
    }

    fn put_remainder(&self, token: &Digest, Remainder { left, uses }: Remainder) -> Result<(), StoreError> {
        let sql = "INSERT INTO remainder (token, left, uses) VALUES (?1, ?2, ?3)
                   ON CONFLICT (token) DO UPDATE SET left = excluded.left, uses = excluded.uses";
        self.connection.prepare_cached(sql)?.execute(params![token.as_bytes(), signed(left), uses])?;
        Ok(())
    }

    fn open_account(&self, account: &PublicKey) -> Result<(), StoreError> {
        let sql = "INSERT INTO account (key, balance) VALUES (?1, 0) ON CONFLICT DO NOTHING";
        self.connection.prepare_cached(sql)?.execute([account.as_bytes()])?;
        Ok(())
    }

    /// The number of the inserted record; none if its id is there.
    fn insert(&self, number: Option<i64>, record: &Record) -> Result<Option<i64>, StoreError> {
        let Some(number) = number else { return Ok(None) };
        let sql = "INSERT INTO request (id, record) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        if self.connection.prepare_cached(sql)?.execute(params![record.id().as_bytes(), number])? != 1 {
            return Ok(None);
        }
        let sql = "INSERT INTO record (number, accepted, state, exchange) VALUES (?1, ?2, ?3, ?4)";
        let exchange = cbor::to_vec(&record.exchange);
        let row = params![number, millis(record.accepted), state_number(record.state), exchange];
        self.connection.prepare_cached(sql)?.execute(row)?;
        self.insert_decision(number, record)?;
        let sql = "INSERT INTO output (key, record) VALUES (?1, ?2)";
        let mut insert = self.connection.prepare_cached(sql)?;
        for key in output_keys(record) {
            insert.execute(params![key.as_bytes(), number])?;
        }
        Ok(Some(number))
    }

    /// Compare and set: only what is locked can be settled. The number of the settled record, or none.
    fn settle(&self, record: &Record) -> Result<Option<i64>, StoreError> {
        let Some(number) = number_of(self.connection, &record.id())? else { return Ok(None) };
        let sql = "UPDATE record SET state = ?2 WHERE number = ?1 AND state = ?3";
        let row = params![number, state_number(record.state), state_number(State::Locked)];
        if self.connection.prepare_cached(sql)?.execute(row)? != 1 {
            return Ok(None);
        }
        self.insert_decision(number, record)?;
        Ok(Some(number))
    }

    fn insert_decision(&self, number: i64, record: &Record) -> Result<(), StoreError> {
        // A purchase that was freed by the bank's clock has none: no bytes.
        if record.settled.is_some() || record.decision.is_some() {
            let decision = record.decision.as_ref().map(ProvenDecision::to_bytes).unwrap_or_default();
            let sql = "INSERT INTO settlement (record, decision, settled) VALUES (?1, ?2, ?3)";
            let settled = millis(record.settled.unwrap_or_default());
            self.connection.prepare_cached(sql)?.execute(params![number, decision, settled])?;
        }
        Ok(())
    }

    fn append(&self, number: i64, lines: &[Transfer]) -> Result<(), StoreError> {
        let sql = "INSERT INTO journal (record, debit, credit, amount) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = self.connection.prepare_cached(sql)?;
        for line in lines {
            insert.execute(params![number, ledger_bytes(&line.from), ledger_bytes(&line.to), signed(line.amount)])?;
        }
        Ok(())
    }
}

fn brands_of(connection: &Connection) -> Result<Vec<Signed<Brand>>, StoreError> {
    let mut select = connection.prepare_cached("SELECT statement FROM brand ORDER BY number")?;
    let rows = select.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|bytes| Ok(parsed(Unverified::parse(&bytes?))?.from_own_store())).collect()
}

/// Reads all records, journal lines, balances, marks, remainders and checks that this connection's transaction sees.
fn read_books(connection: &Connection, audit: &mut Audit<'_>) -> Result<(), StoreError> {
    let mut select = connection.prepare(&format!("{SELECT_RECORD} ORDER BY number"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        audit.record(&record(row)?);
    }
    let mut select = connection.prepare("SELECT account, sum FROM carried")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        audit.carried(ledger_account(row.get_ref(0)?.as_blob())?, row.get(1)?);
    }
    let mut select = connection.prepare("SELECT debit, credit, amount FROM journal ORDER BY line")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let [from, to] = [ledger_account(row.get_ref(0)?.as_blob())?, ledger_account(row.get_ref(1)?.as_blob())?];
        audit.transfer(&Transfer { from, to, amount: amount(row.get(2)?)? });
    }
    let mut select = connection.prepare("SELECT key, balance FROM account")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        audit.balance(PublicKey(row.get(0)?), amount(row.get(1)?)?);
    }
    let mut select = connection.prepare("SELECT token, left, uses FROM remainder")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        audit.remainder(Digest(row.get(0)?), Remainder { left: amount(row.get(1)?)?, uses: row.get(2)? });
    }
    chain::read_all(connection, audit)?;
    // The ids of records are in their table of their own, by id; here they are wanted by record.
    let mut select = connection.prepare("SELECT id, record FROM request")?;
    let mut rows = select.query([])?;
    let mut ids: BTreeMap<i64, RequestId> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        ids.insert(row.get(1)?, Digest(row.get(0)?));
    }
    let mut select = connection.prepare("SELECT key, record FROM mark")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let holder = ids.get(&row.get(1)?).ok_or(StoreError::Corrupt)?;
        audit.mark(Digest(row.get(0)?), *holder);
    }
    Ok(())
}

/// Forgets one request within a transaction. False, and nothing is changed, if it is not there or locked.
fn forget(connection: &Connection, forgotten: &Forgotten) -> Result<bool, StoreError> {
    let Some(number) = number_of(connection, &forgotten.id)? else { return Ok(false) };
    let sql = "DELETE FROM record WHERE number = ?1 AND state <> 1";
    if connection.prepare_cached(sql)?.execute([number])? != 1 {
        return Ok(false);
    }
    connection.prepare_cached("DELETE FROM request WHERE id = ?1")?.execute([forgotten.id.as_bytes()])?;
    connection.prepare_cached("DELETE FROM settlement WHERE record = ?1")?.execute([number])?;
    let tables = [("mark", &forgotten.marks), ("output", &forgotten.outputs)];
    for (table, keys) in tables {
        let mut delete = connection.prepare_cached(&format!("DELETE FROM {table} WHERE key = ?1 AND record = ?2"))?;
        for key in keys {
            delete.execute(params![key.as_bytes(), number])?;
        }
    }
    let sql = "INSERT INTO carried (account, sum) VALUES (?1, ?2) ON CONFLICT (account) DO UPDATE SET sum = sum + excluded.sum";
    let mut carry = connection.prepare_cached(sql)?;
    for (account, sum) in &forgotten.carried {
        carry.execute(params![ledger_bytes(account), sum])?;
    }
    Ok(true)
}

fn view(connection: &Connection, needs: &Needs) -> Result<View, StoreError> {
    let mut view = View::default();
    if let Some(id) = &needs.record {
        view.record = record_of(connection, id)?.map(Arc::new);
    }
    let mut holder = connection.prepare_cached("SELECT record FROM mark WHERE key = ?1")?;
    for mark in &needs.marks {
        if let Some(number) = holder.query_row([mark.key.as_bytes()], |row| row.get::<_, i64>(0)).optional()? {
            view.holders.insert(*mark, Arc::new(record_by_number(connection, number)?));
        }
    }
    for account in &needs.accounts {
        if let Some(balance) = balance_of(connection, account)? {
            view.balances.insert(*account, balance);
        }
    }
    for token in &needs.remainders {
        if let Some(remainder) = remainder_of(connection, token)? {
            view.remainders.insert(*token, remainder);
        }
    }
    for commitment in &needs.chains {
        if let Some(chain) = chain::chain_of(connection, commitment)? {
            view.chains.insert(*commitment, chain);
        }
    }
    Ok(view)
}

const SELECT_RECORD: &str = "SELECT exchange, state, accepted, decision, settled FROM record LEFT JOIN settlement ON settlement.record = number";
const SELECT_RECORD_BY_NUMBER: &str = "SELECT exchange, state, accepted, decision, settled
     FROM record LEFT JOIN settlement ON settlement.record = number WHERE number = ?1";

fn record_of(connection: &Connection, id: &RequestId) -> Result<Option<Record>, StoreError> {
    number_of(connection, id)?.map(|number| record_by_number(connection, number)).transpose()
}

fn record_by_number(connection: &Connection, number: i64) -> Result<Record, StoreError> {
    let mut select = connection.prepare_cached(SELECT_RECORD_BY_NUMBER)?;
    let mut rows = select.query([number])?;
    record(rows.next()?.ok_or(StoreError::Corrupt)?)
}

fn number_of(connection: &Connection, id: &RequestId) -> Result<Option<i64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT record FROM request WHERE id = ?1")?;
    Ok(select.query_row([id.as_bytes()], |row| row.get(0)).optional()?)
}

fn balance_of(connection: &Connection, account: &PublicKey) -> Result<Option<Amount>, StoreError> {
    let mut select = connection.prepare_cached("SELECT balance FROM account WHERE key = ?1")?;
    select.query_row([account.as_bytes()], |row| row.get::<_, i64>(0)).optional()?.map(amount).transpose()
}

fn remainder_of(connection: &Connection, token: &Digest) -> Result<Option<Remainder>, StoreError> {
    let mut select = connection.prepare_cached("SELECT left, uses FROM remainder WHERE token = ?1")?;
    let row = select.query_row([token.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    row.map(|(left, uses)| Ok(Remainder { left: amount(left)?, uses })).transpose()
}

/// The record of a row of exchange, state, accepted, decision, settled. These are bytes that this bank wrote itself.
fn record(row: &Row<'_>) -> Result<Record, StoreError> {
    let exchange: UnverifiedJoint<Exchange> = parsed(cbor::from_slice(blob(row.get_ref(0)?.as_blob())?))?;
    let state = state(row.get(1)?)?;
    let settled = row.get_ref(3)?.as_blob_or_null();
    let settled = blob(settled)?.filter(|bytes| !bytes.is_empty()).map(decision).transpose()?;
    let time = row.get::<_, Option<i64>>(4)?.map(timestamp).transpose()?;
    let (exchange, accepted) = (exchange.from_own_store(), timestamp(row.get(2)?)?);
    Ok(Record { exchange, state, accepted, decision: settled, settled: time })
}

fn decision(bytes: &[u8]) -> Result<ProvenDecision, StoreError> {
    Ok(parsed(cbor::from_slice::<UnverifiedDecision>(bytes))?.from_own_store())
}

fn state(number: i64) -> Result<State, StoreError> {
    let states = [State::Done, State::Locked, State::Committed, State::Aborted];
    states.into_iter().find(|state| state_number(*state) == number).ok_or(StoreError::Corrupt)
}

fn state_number(state: State) -> i64 {
    match state {
        State::Done => 0,
        State::Locked => 1,
        State::Committed => 2,
        State::Aborted => 3,
    }
}

fn purpose_number(purpose: Purpose) -> i64 {
    purpose.number().into()
}

fn ledger_bytes(account: &LedgerAccount) -> Vec<u8> {
    match account {
        LedgerAccount::Outside => vec![0],
        LedgerAccount::Customer(key) => [&[1], &key.0[..]].concat(),
        LedgerAccount::Tokens(brand) => [&[2], &brand.0[..]].concat(),
        LedgerAccount::Locked => vec![3],
        LedgerAccount::Chains => vec![4],
    }
}

fn ledger_account(bytes: rusqlite::types::FromSqlResult<&[u8]>) -> Result<LedgerAccount, StoreError> {
    let key = |bytes: &[u8]| bytes.try_into().map_err(|_| StoreError::Corrupt);
    match blob(bytes)? {
        [0] => Ok(LedgerAccount::Outside),
        [1, bytes @ ..] => Ok(LedgerAccount::Customer(PublicKey(key(bytes)?))),
        [2, bytes @ ..] => Ok(LedgerAccount::Tokens(Digest(key(bytes)?))),
        [3] => Ok(LedgerAccount::Locked),
        [4] => Ok(LedgerAccount::Chains),
        _ => Err(StoreError::Corrupt),
    }
}

/// Strict tables hold the types that were written, so anything else is damage.
fn blob<T>(value: rusqlite::types::FromSqlResult<T>) -> Result<T, StoreError> {
    value.map_err(|_| StoreError::Corrupt)
}

fn parsed<T, E>(value: Result<T, E>) -> Result<T, StoreError> {
    value.map_err(|_| StoreError::Corrupt)
}

fn amount(micros: i64) -> Result<Amount, StoreError> {
    u64::try_from(micros).map(Amount::from_micros).map_err(|_| StoreError::Corrupt)
}

fn timestamp(millis: i64) -> Result<Timestamp, StoreError> {
    u64::try_from(millis).map(Timestamp).map_err(|_| StoreError::Corrupt)
}

/// A time as a signed database integer; the bank's clock and its brands never go beyond [`Timestamp::MAX`].
fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
