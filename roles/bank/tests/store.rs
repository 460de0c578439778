//! One conformance suite for every store.

#![allow(clippy::panic)] // In what the tests share; they may.

mod cluster;
mod frozen;
mod world;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use naulon_bank::{
    BankStore, DayKey, DeliveredPlace, LogFault, MemoryStore, PostgresStore, RegisterAppending, RegisterStore,
    SqliteStore, StoredChunk, Written,
};
use naulon_blind::BlindedMessage;
use naulon_durable::StoreError;
use naulon_durable::fault::{Faults, When};
use naulon_durable::migration::Rehearsal;
use naulon_exchange::register::{Day, DayItems, EntryKind, RegisterEntry, Side};
use naulon_exchange::{
    Audit, AuditReport, ChainWrite, Discrepancy, Draw, DrawChange, Exchange, Forgotten, Guard, Header, Input,
    LedgerAccount, LockedChain, MAX_PARTS, Mark, MarkKind, Needs, Outcome, Output, Plan, Record, RecordWrite,
    Remainder, State, Transfer, View, output_key,
};
use naulon_money::Amount;
use naulon_statement::{Digest, Joint, PublicKey, Signed, Timestamp};
use naulon_tick::{Front, Tick};
use proptest::prelude::*;
use world::*;

/// A kind of store, and the disk it is on.
trait Disk: Default {
    type Store: BankStore;

    /// Opens what is on the disk; the store that was open before is dropped by then.
    fn open(&self) -> Self::Store;
}

#[derive(Default)]
struct Memory(MemoryStore);

impl Disk for Memory {
    type Store = MemoryStore;

    fn open(&self) -> MemoryStore {
        self.0.clone()
    }
}

struct Sqlite(tempfile::TempDir);

impl Default for Sqlite {
    fn default() -> Self {
        Sqlite(tempfile::tempdir().expect("a directory"))
    }
}

impl Disk for Sqlite {
    type Store = SqliteStore;

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.0.path().join("bank.sqlite")).expect("opens")
    }
}

/// A database of its own in the tests' cluster.
struct Postgres(String);

impl Default for Postgres {
    fn default() -> Self {
        Postgres(cluster::database())
    }
}

impl Disk for Postgres {
    type Store = PostgresStore;

    fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.0).expect("opens")
    }
}

/// A file that was begun with the tables of schema `N`, and brought up to date.
struct SqliteFrom<const N: i64>(Sqlite);

impl<const N: i64> Default for SqliteFrom<N> {
    fn default() -> Self {
        let disk = Sqlite::default();
        let path = disk.0.path().join("bank.sqlite");
        frozen::load_sqlite(&format!("sqlite-{N}"), &path);
        let migrated = SqliteStore::migrate(&path, Rehearsal::ForGood).expect("migrates");
        assert_eq!(migrated.from, N);
        SqliteFrom(disk)
    }
}

impl<const N: i64> Disk for SqliteFrom<N> {
    type Store = SqliteStore;

    fn open(&self) -> SqliteStore {
        self.0.open()
    }
}

/// A database that was begun with the tables of schema `N`, and brought up to date.
struct PostgresFrom<const N: i64>(Postgres);

impl<const N: i64> Default for PostgresFrom<N> {
    fn default() -> Self {
        let url = frozen::load_postgres(&format!("postgres-{N}"));
        let migrated = PostgresStore::migrate(&url, Rehearsal::ForGood).expect("migrates");
        assert_eq!(migrated.from, N);
        PostgresFrom(Postgres(url))
    }
}

impl<const N: i64> Disk for PostgresFrom<N> {
    type Store = PostgresStore;

    fn open(&self) -> PostgresStore {
        self.0.open()
    }
}

/// Runs every claim on every store.
macro_rules! conformance {
    ($($claim:ident),* $(,)?) => {
        mod sqlite_from_1 { $(#[test] fn $claim() { super::$claim::<super::SqliteFrom<1>>(); })* }
        mod postgres_from_1 { $(#[test] fn $claim() { super::$claim::<super::PostgresFrom<1>>(); })* }
        mod memory { $(#[test] fn $claim() { super::$claim::<super::Memory>(); })* }
        mod sqlite { $(#[test] fn $claim() { super::$claim::<super::Sqlite>(); })* }
        mod postgres { $(#[test] fn $claim() { super::$claim::<super::Postgres>(); })* }
    };
}

conformance! {
    a_mark_is_held_once,
    a_loser_writes_nothing_and_the_others_go_through,
    orders_of_one_batch_cannot_overdraw_together,
    a_balance_never_leaves_what_can_be_counted,
    a_guard_sees_the_balance_before_the_transfers,
    only_what_is_locked_is_settled_and_only_once,
    what_is_locked_is_listed_page_by_page,
    what_is_forgotten_is_gone_and_the_books_still_agree,
    freed_marks_are_free_and_others_are_not_touched,
    no_more_is_drawn_from_a_token_than_is_left,
    a_check_is_written_as_it_was_seen,
    a_record_is_inserted_once,
    outputs_are_found_by_what_was_accepted,
    accounts_open_once_and_keep_their_money,
    one_brand_a_place_and_a_key,
    time_never_runs_backwards,
    a_fault_of_a_log_is_kept_once,
    a_store_opened_again_says_the_same,
    the_auditor_finds_what_is_wrong,
    the_register_grows_by_one_writer_at_a_time,
    what_a_day_delivered_is_read_once_and_whole,
    items_of_a_day_are_found,
}

fn account(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn mark(n: u8) -> Mark {
    Mark { key: Digest([n; 32]), kind: MarkKind::Token }
}

fn micros(n: u64) -> Amount {
    Amount::from_micros(n)
}

/// A record unlike all others with another number. What its exchange says is of no concern to a store.
fn record(n: u8, state: State) -> Arc<Record> {
    let input = Input::Account { account: account(n), amount: micros(1), order: [n; 16] };
    let output = Output::Account { account: account(n), amount: micros(1) };
    let condition = (state != State::Done).then(|| condition(n));
    let body = Exchange { condition, ..exchange(vec![input], vec![output]) };
    Arc::new(Record {
        exchange: Joint::sign(body, [&key("alice")]),
        state,
        accepted: NOW,
        decision: None,
        settled: None,
    })
}

fn settled(n: u8, outcome: Outcome) -> Arc<Record> {
    let locked = record(n, State::Locked);
    let header = Header::of(&locked.exchange, locked.id()).expect("a purchase");
    let decision = TestLog::default().decide(&header, NOW, outcome);
    let state = if matches!(outcome, Outcome::Abort) { State::Aborted } else { State::Committed };
    Arc::new(Record { state, decision: Some(decision), settled: Some(NOW), ..Record::clone(&locked) })
}

fn plan(record: RecordWrite) -> Plan {
    let (marks, freed, draws, chains, guards, transfers) = Default::default();
    Plan { record, marks, freed, draws, chains, guards, transfers }
}

/// A plan that inserts record n and takes these marks.
fn taking(n: u8, marks: &[u8]) -> Plan {
    let marks = marks.iter().map(|n| mark(*n)).collect();
    Plan { marks, ..plan(RecordWrite::Insert(record(n, State::Done))) }
}

/// The write of the row of check n, between two of four ways for it to stand: ticks paid or not, something returned or not.
fn chain_write(n: u8, before: Option<(u8, u8)>, after: (u8, u8)) -> ChainWrite {
    let stands = |(paid, returned): (u8, u8)| LockedChain {
        maximum: micros(10),
        expiry: Timestamp(1_000),
        payee: Digest([n; 32]),
        refund: account(n),
        front: (paid > 0).then_some(Front { index: u32::from(paid), tick: Tick([paid; 16]) }),
        paid: micros(u64::from(paid) * 4),
        returned: micros(u64::from(returned) * 6),
    };
    ChainWrite { commitment: Digest([n; 32]), before: before.map(stands), after: stands(after) }
}

/// A plan that inserts record n and writes the row of check 1.
fn on_check(n: u8, before: Option<(u8, u8)>, after: (u8, u8)) -> Plan {
    Plan { chains: vec![chain_write(1, before, after)], ..taking(n, &[]) }
}

fn transfer(from: LedgerAccount, to: LedgerAccount, amount: u64) -> Transfer {
    Transfer { from, to, amount: micros(amount) }
}

/// An order of record n that pays this much out of an account.
fn paying(n: u8, from: u8, amount: u64) -> Plan {
    Plan {
        guards: vec![Guard::Balance { account: account(from), at_least: micros(amount) }],
        transfers: vec![transfer(LedgerAccount::Customer(account(from)), LedgerAccount::Locked, amount)],
        ..taking(n, &[n])
    }
}

/// Money from outside for an account.
fn crediting(n: u8, to: u8, amount: u64) -> Plan {
    Plan {
        guards: vec![Guard::Open(account(to))],
        transfers: vec![transfer(LedgerAccount::Outside, LedgerAccount::Customer(account(to)), amount)],
        ..taking(n, &[n])
    }
}

fn opening(n: u8) -> Plan {
    plan(RecordWrite::Open(account(n)))
}

fn commit(store: &mut impl BankStore, plans: &[Plan]) -> Vec<Written> {
    store.commit(plans).expect("commits")
}

/// The store with an account that holds this much.
fn with_account<S: BankStore>(mut store: S, n: u8, amount: u64) -> S {
    assert_eq!(commit(&mut store, &[opening(n)]), [Written::Yes]);
    assert_eq!(commit(&mut store, &[crediting(200 + n, n, amount)]), [Written::Yes]);
    store
}

/// What the store says of records, marks and accounts numbered 0 to 255: the whole state of these tests.
fn everything(store: &mut impl BankStore) -> View {
    let needs = Needs {
        record: None,
        marks: (0..=255).map(mark).collect(),
        accounts: (0..=255).map(account).collect::<BTreeSet<_>>(),
        remainders: (0..=255).map(|n| Digest([n; 32])).collect(),
        chains: (0..=255).map(|n| Digest([n; 32])).collect(),
    };
    store.view(&[needs]).expect("views").remove(0)
}

fn same(a: &View, b: &View) -> bool {
    a.record == b.record
        && a.holders == b.holders
        && a.balances == b.balances
        && a.remainders == b.remainders
        && a.chains == b.chains
}

fn read_books(store: &mut impl BankStore) -> Result<AuditReport, Vec<Discrepancy>> {
    let rules = rules();
    let mut audit = Audit::new(&rules);
    store.audit(&mut audit).expect("reads");
    // Stores read their records in different orders.
    audit.finish().map_err(|mut found| {
        found.sort_by_key(|discrepancy| format!("{discrepancy:?}"));
        found
    })
}

fn has_record(store: &mut impl BankStore, n: u8) -> bool {
    store.record(&record(n, State::Done).id()).expect("reads").is_some()
}

fn a_mark_is_held_once<D: Disk>() {
    let mut store = D::default().open();
    let written = commit(&mut store, &[taking(1, &[10, 11]), taking(2, &[11, 12]), taking(3, &[13])]);
    assert_eq!(written.iter().filter(|w| **w == Written::Yes).count(), 2, "{written:?}");
    assert_eq!(written[2], Written::Yes);
    let held = everything(&mut store).holders;
    let winner = if written[0] == Written::Yes { 1 } else { 2 };
    let marks: Vec<u8> = if winner == 1 { vec![10, 11, 13] } else { vec![11, 12, 13] };
    assert_eq!(held.keys().copied().collect::<Vec<_>>(), marks.into_iter().map(mark).collect::<Vec<_>>());
    assert_eq!(held[&mark(11)].id(), record(winner, State::Done).id());
    assert_eq!(commit(&mut store, &[taking(4, &[20, 11])]), [Written::Lost]);
    assert!(!has_record(&mut store, 4) && !has_record(&mut store, 3 - winner));
    assert_eq!(commit(&mut store, &[taking(4, &[20])]), [Written::Yes]);
    // Twice in one plan is a mark that is held, too.
    assert_eq!(commit(&mut store, &[taking(5, &[30, 30])]), [Written::Lost]);
    assert_eq!(commit(&mut store, &[taking(5, &[30])]), [Written::Yes]);
}

fn a_loser_writes_nothing_and_the_others_go_through<D: Disk>() {
    let mut store = with_account(with_account(D::default().open(), 1, 100), 2, 100);
    let before = everything(&mut store);
    // It loses at its last step: its record is there. Marks, both accounts and the journal must be as before.
    assert_eq!(commit(&mut store, &[taking(50, &[])]), [Written::Yes]);
    let loser = Plan {
        record: RecordWrite::Insert(record(50, State::Done)),
        guards: vec![Guard::Balance { account: account(1), at_least: micros(5) }, Guard::Open(account(2))],
        transfers: vec![
            transfer(LedgerAccount::Customer(account(1)), LedgerAccount::Customer(account(2)), 5),
            transfer(LedgerAccount::Outside, LedgerAccount::Customer(account(2)), 7),
        ],
        ..taking(50, &[51, 52])
    };
    let books = read_books(&mut store);
    assert_eq!(commit(&mut store, std::slice::from_ref(&loser)), [Written::Lost]);
    assert!(same(&everything(&mut store), &before));
    assert_eq!(read_books(&mut store), books);
    // The same loser between two that go through, and one that fails at its second account.
    let fails_late = Plan {
        guards: vec![Guard::Open(account(1)), Guard::Open(account(99))],
        transfers: vec![transfer(LedgerAccount::Outside, LedgerAccount::Customer(account(1)), 9)],
        ..taking(60, &[60])
    };
    let written = commit(&mut store, &[paying(61, 1, 10), loser, fails_late, paying(62, 1, 20)]);
    assert_eq!(written, [Written::Yes, Written::Lost, Written::Lost, Written::Yes]);
    let after = everything(&mut store);
    assert_eq!(after.balances[&account(1)], micros(70));
    assert_eq!(after.balances[&account(2)], micros(100));
    let new: Vec<Mark> = after.holders.keys().filter(|mark| !before.holders.contains_key(mark)).copied().collect();
    assert_eq!(new, [mark(61), mark(62)]);
}

fn orders_of_one_batch_cannot_overdraw_together<D: Disk>() {
    let mut store = with_account(D::default().open(), 1, 100);
    let written = commit(&mut store, &[paying(1, 1, 60), paying(2, 1, 60), paying(3, 1, 40), paying(4, 1, 1)]);
    assert_eq!(written, [Written::Yes, Written::Lost, Written::Yes, Written::Lost]);
    assert_eq!(store.balance(&account(1)), Ok(Some(Amount::ZERO)));
    assert_eq!(everything(&mut store).holders.len(), 3);
}

fn a_balance_never_leaves_what_can_be_counted<D: Disk>() {
    let most = Amount::MAX.micros();
    let mut store = with_account(D::default().open(), 1, most - 1);
    assert_eq!(commit(&mut store, &[crediting(1, 1, 2)]), [Written::Lost]);
    assert_eq!(commit(&mut store, &[crediting(2, 1, 1), crediting(3, 1, 1)]), [Written::Yes, Written::Lost]);
    let overdraft = Plan { guards: Vec::new(), ..paying(4, 1, most) };
    assert_eq!(commit(&mut store, &[paying(5, 1, 1), overdraft]), [Written::Yes, Written::Lost]);
    assert_eq!(store.balance(&account(1)), Ok(Some(micros(most - 1))));
}

fn a_guard_sees_the_balance_before_the_transfers<D: Disk>() {
    let mut store = with_account(D::default().open(), 1, 10);
    let both_ways = |n, at_least| Plan {
        guards: vec![Guard::Balance { account: account(1), at_least: micros(at_least) }],
        transfers: vec![
            transfer(LedgerAccount::Outside, LedgerAccount::Customer(account(1)), 5),
            transfer(LedgerAccount::Customer(account(1)), LedgerAccount::Locked, 10),
        ],
        ..taking(n, &[n])
    };
    assert_eq!(commit(&mut store, &[both_ways(1, 11)]), [Written::Lost]);
    assert_eq!(commit(&mut store, &[both_ways(2, 10)]), [Written::Yes]);
    assert_eq!(store.balance(&account(1)), Ok(Some(micros(5))));
}

fn only_what_is_locked_is_settled_and_only_once<D: Disk>() {
    let mut store = with_account(D::default().open(), 9, 1);
    let settling = |n, outcome| Plan {
        transfers: vec![transfer(LedgerAccount::Locked, LedgerAccount::Customer(account(9)), 3)],
        ..plan(RecordWrite::Settle(settled(n, outcome)))
    };
    let commits = |n| settling(n, Outcome::Commit { k: K });
    assert_eq!(commit(&mut store, &[commits(1)]), [Written::Lost], "there is no such record");
    let locking = Plan { record: RecordWrite::Insert(record(1, State::Locked)), ..taking(1, &[1]) };
    assert_eq!(commit(&mut store, &[locking, taking(2, &[2])]), [Written::Yes, Written::Yes]);
    assert_eq!(commit(&mut store, &[commits(2)]), [Written::Lost], "it is not locked");
    let written = commit(&mut store, &[commits(1), settling(1, Outcome::Abort)]);
    assert_eq!(written, [Written::Yes, Written::Lost]);
    assert_eq!(commit(&mut store, &[settling(1, Outcome::Abort)]), [Written::Lost]);
    let stored = store.record(&record(1, State::Locked).id()).expect("reads").expect("is there");
    assert_eq!(stored, *settled(1, Outcome::Commit { k: K }));
    assert_eq!(store.balance(&account(9)), Ok(Some(micros(4))));
}

fn what_is_locked_is_listed_page_by_page<D: Disk>() {
    let mut store = D::default().open();
    assert_eq!(store.locked(None, 10), Ok(vec![]));
    let inserted: Vec<Plan> = (0..6)
        .map(|n| plan(RecordWrite::Insert(record(n, if n == 3 { State::Done } else { State::Locked }))))
        .collect();
    commit(&mut store, &inserted);
    commit(&mut store, &[plan(RecordWrite::Settle(settled(4, Outcome::Abort)))]);
    let (mut after, mut found) = (None, BTreeSet::new());
    loop {
        let page = store.locked(after.as_ref(), 3).expect("reads");
        assert!(page.len() <= 3 && page.iter().all(|record| record.state == State::Locked));
        let Some(last) = page.last() else { break };
        after = Some(last.id());
        for record in &page {
            assert!(found.insert(record.id()), "listed twice");
        }
    }
    assert_eq!(found, [0, 1, 2, 5].map(|n| record(n, State::Locked).id()).into());
}

/// What is forgotten takes its marks, outputs and decision with it, and leaves the journal and a sum that the auditor needs.
fn what_is_forgotten_is_gone_and_the_books_still_agree<D: Disk>() {
    let disk = D::default();
    let mut store = with_account(disk.open(), 9, 1);
    let done = Plan {
        record: RecordWrite::Insert(with_outputs(1, State::Done, &[1, 2])),
        transfers: vec![transfer(LedgerAccount::Outside, LedgerAccount::Customer(account(9)), 7)],
        ..taking(1, &[1, 2])
    };
    let other = Plan { record: RecordWrite::Insert(with_outputs(2, State::Done, &[2])), ..taking(2, &[3]) };
    let locked = plan(RecordWrite::Insert(record(3, State::Locked)));
    let aborted = plan(RecordWrite::Insert(record(4, State::Locked)));
    assert_eq!(commit(&mut store, &[done, other, locked, aborted]), [Written::Yes; 4]);
    commit(&mut store, &[plan(RecordWrite::Settle(settled(4, Outcome::Abort)))]);
    let all: BTreeSet<_> = store.records(None, 100).expect("reads").iter().map(Record::id).collect();
    assert_eq!(all.len(), 5, "with the one that brought the account's money");
    let first = store.records(None, 2).expect("reads");
    assert_eq!(store.records(first.last().map(Record::id).as_ref(), 100).expect("reads").len(), 3);

    let id = with_outputs(1, State::Done, &[1, 2]).id();
    let forgotten = |id, marks: &[u8], outputs: &[u8], sum: i64| Forgotten {
        id,
        marks: marks.iter().map(|n| mark(*n).key).collect(),
        outputs: outputs.iter().map(|n| output_key(&brand_id(ONE), &BlindedMessage([*n; 256]))).collect(),
        carried: [(LedgerAccount::Outside, -sum), (LedgerAccount::Customer(account(9)), sum)].into(),
    };
    // Of its neighbours' marks and outputs it takes none, and what is locked or not there is left out.
    let gone = forgotten(id, &[1, 2, 3], &[1, 2], 7);
    let of_locked = forgotten(record(3, State::Locked).id(), &[], &[], 100);
    let of_nobody = forgotten(Digest([77; 32]), &[3], &[], 100);
    assert_eq!(store.forget(&[gone.clone(), of_locked, of_nobody]), Ok(1));
    assert_eq!(store.forget(&[gone]), Ok(0), "once");
    let of_aborted = forgotten(record(4, State::Locked).id(), &[], &[], 0);
    assert_eq!(store.forget(&[Forgotten { carried: Default::default(), ..of_aborted }]), Ok(1));
    drop(store);
    let mut store = disk.open();
    assert_eq!(store.record(&id), Ok(None));
    let needs = Needs { marks: (1..4).map(mark).collect(), ..Needs::default() };
    let view = store.view(&[needs]).expect("reads").remove(0);
    assert_eq!(view.holders.keys().map(|mark| mark.key).collect::<Vec<_>>(), [mark(3).key]);
    let keys = [1, 2].map(|n| output_key(&brand_id(ONE), &BlindedMessage([n; 256])));
    assert_eq!(store.outputs(&keys).expect("reads"), [(keys[1], State::Done)]);
    assert!(store.record(&record(3, State::Locked).id()).expect("reads").is_some());
    assert_eq!(store.balance(&account(9)), Ok(Some(micros(8))));
    // What was carried makes up for what is gone: without it the journal would say more than the records.
    let found = read_books(&mut store).expect_err("the records are not real ones");
    let journal = |found: &Discrepancy| matches!(found, Discrepancy::Journal { account: LedgerAccount::Customer(_), records, journal } if journal - records != 1);
    assert!(!found.iter().any(journal), "{found:?}");
    // The marks are free for others.
    assert_eq!(commit(&mut store, &[taking(5, &[1])]), [Written::Yes]);
}

fn freed_marks_are_free_and_others_are_not_touched<D: Disk>() {
    let mut store = D::default().open();
    let locking = Plan { record: RecordWrite::Insert(record(1, State::Locked)), ..taking(1, &[10, 11, 12]) };
    assert_eq!(commit(&mut store, &[locking, taking(2, &[20])]), [Written::Yes; 2]);
    let aborting = Plan {
        freed: vec![mark(10), mark(11), mark(20), mark(30)],
        ..plan(RecordWrite::Settle(settled(1, Outcome::Abort)))
    };
    assert_eq!(commit(&mut store, &[aborting]), [Written::Yes]);
    let held: Vec<Mark> = everything(&mut store).holders.into_keys().collect();
    assert_eq!(held, [mark(12), mark(20)], "a mark of another request is not freed");
    assert_eq!(commit(&mut store, &[taking(3, &[10]), taking(4, &[12])]), [Written::Yes, Written::Lost]);
    assert_eq!(everything(&mut store).holders[&mark(10)].id(), record(3, State::Done).id());
}

fn a_check_is_written_as_it_was_seen<D: Disk>() {
    let disk = D::default();
    let mut store = disk.open();
    let row = |store: &mut D::Store| everything(store).chains.get(&Digest([1; 32])).copied();
    let after = |(paid, returned)| Some(chain_write(1, None, (paid, returned)).after);
    assert_eq!(commit(&mut store, &[on_check(1, Some((0, 0)), (1, 0))]), [Written::Lost], "there is no row");
    let both = [on_check(2, None, (0, 0)), on_check(3, None, (0, 0)), on_check(4, Some((0, 0)), (1, 0))];
    assert_eq!(commit(&mut store, &both), [Written::Yes, Written::Lost, Written::Yes]);
    assert_eq!(row(&mut store), after((1, 0)));
    // Of two who have seen the same row, one is written; also in another batch.
    let two = [on_check(5, Some((0, 0)), (1, 0)), on_check(6, Some((1, 0)), (1, 1)), on_check(7, Some((1, 0)), (0, 0))];
    assert_eq!(commit(&mut store, &two), [Written::Lost, Written::Yes, Written::Lost]);
    assert_eq!(commit(&mut store, &[on_check(8, Some((1, 0)), (1, 1))]), [Written::Lost]);
    assert_eq!(row(&mut store), after((1, 1)));
    // Never more than was set aside, and a loser leaves the row as it was.
    let mut greedy = on_check(9, Some((1, 1)), (1, 1));
    greedy.chains[0].after.paid = micros(5);
    let losing = Plan { guards: vec![Guard::Open(account(99))], ..on_check(10, Some((1, 1)), (0, 1)) };
    let late = Plan { record: RecordWrite::Insert(record(2, State::Done)), ..on_check(11, Some((1, 1)), (0, 1)) };
    assert_eq!(commit(&mut store, &[greedy, losing, late]), [Written::Lost; 3]);
    drop(store);
    assert_eq!(row(&mut disk.open()), after((1, 1)));
}

fn drawing(n: u8, token: u8, change: DrawChange) -> Plan {
    Plan { draws: vec![Draw { token: Digest([token; 32]), change }], ..taking(n, &[n]) }
}

fn no_more_is_drawn_from_a_token_than_is_left<D: Disk>() {
    let disk = D::default();
    let mut store = disk.open();
    let left = |store: &mut D::Store| everything(store).remainders.get(&Digest([1; 32])).copied();
    let take = |n, amount| drawing(n, 1, DrawChange::Take { amount: micros(amount) });
    assert_eq!(commit(&mut store, &[take(1, 1)]), [Written::Lost], "the token is not open");
    let open = |n| drawing(n, 1, DrawChange::Open { left: micros(100) });
    assert_eq!(
        commit(&mut store, &[open(1), open(2), take(3, 60), take(4, 50), take(5, 40), take(6, 1)]),
        [Written::Yes, Written::Lost, Written::Yes, Written::Lost, Written::Yes, Written::Lost]
    );
    assert_eq!(left(&mut store), Some(Remainder { left: micros(0), uses: 3 }));
    let give_back = |n, amount| Plan {
        draws: drawing(n, 1, DrawChange::GiveBack { amount: micros(amount) }).draws,
        ..taking(n, &[])
    };
    let losing = Plan { guards: vec![Guard::Open(account(99))], ..give_back(7, 40) };
    assert_eq!(commit(&mut store, &[losing, give_back(8, 40)]), [Written::Lost, Written::Yes]);
    assert_eq!(left(&mut store), Some(Remainder { left: micros(40), uses: 2 }));
    // A loser that has drawn already takes it back: its record is there.
    let late = Plan { record: RecordWrite::Insert(record(1, State::Done)), ..take(9, 5) };
    let opens_late = Plan {
        record: RecordWrite::Insert(record(1, State::Done)),
        ..drawing(10, 2, DrawChange::Open { left: micros(7) })
    };
    assert_eq!(commit(&mut store, &[late, opens_late]), [Written::Lost; 2]);
    assert_eq!(left(&mut store), Some(Remainder { left: micros(40), uses: 2 }));
    assert_eq!(everything(&mut store).remainders.len(), 1);
    // As many uses as there may be, and the last one takes all.
    let small: Vec<Plan> = (20..20 + MAX_PARTS).map(|n| take(n, 1)).collect();
    let fit = usize::from(MAX_PARTS) - 3;
    let written = commit(&mut store, &small);
    assert!(written[..fit].iter().all(|w| *w == Written::Yes) && written[fit..].iter().all(|w| *w == Written::Lost));
    let rest = 40 - fit as u64;
    assert_eq!(commit(&mut store, &[take(50, rest - 1), take(51, rest)]), [Written::Lost, Written::Yes]);
    drop(store);
    let mut store = disk.open();
    assert_eq!(left(&mut store), Some(Remainder { left: micros(0), uses: MAX_PARTS }));
}

fn a_record_is_inserted_once<D: Disk>() {
    let mut store = D::default().open();
    assert_eq!(commit(&mut store, &[taking(1, &[1]), taking(1, &[2])]), [Written::Yes, Written::Lost]);
    assert_eq!(commit(&mut store, &[taking(1, &[3])]), [Written::Lost]);
    assert_eq!(everything(&mut store).holders.len(), 1);
    assert_eq!(store.record(&record(1, State::Done).id()), Ok(Some(Record::clone(&record(1, State::Done)))));
    assert_eq!(store.record(&Digest([9; 32])), Ok(None));
    let needs = Needs { record: Some(record(1, State::Done).id()), ..Needs::default() };
    let views = store.view(&[needs, Needs::default()]).expect("views");
    assert_eq!(views[0].record.as_deref(), Some(&*record(1, State::Done)));
    assert!(same(&views[1], &View::default()));
    assert_eq!(commit(&mut store, &[]), []);
}

/// As `record`, with these blinded outputs.
fn with_outputs(n: u8, state: State, outputs: &[u8]) -> Arc<Record> {
    let plain = record(n, state);
    let blinded = outputs.iter().map(|n| Output::Blinded { brand: brand_id(ONE), message: BlindedMessage([*n; 256]) });
    let body = Exchange { outputs: blinded.collect(), ..Exchange::clone(&plain.exchange) };
    Arc::new(Record { exchange: Joint::sign(body, [&key("alice")]), ..Record::clone(&plain) })
}

fn outputs_are_found_by_what_was_accepted<D: Disk>() {
    let disk = D::default();
    let mut store = disk.open();
    let name = |n: u8| output_key(&brand_id(ONE), &BlindedMessage([n; 256]));
    let found = |store: &mut D::Store| {
        let mut found = store.outputs(&[1, 2, 3, 4, 5].map(name)).expect("reads");
        found.sort_by_key(|(key, state)| (*key, format!("{state:?}")));
        let number = |key: &Digest| (1..=5).find(|n| name(*n) == *key).expect("asked for");
        let mut found: Vec<_> = found.iter().map(|(key, state)| (number(key), *state)).collect();
        found.sort_by_key(|(n, _)| *n);
        found
    };
    assert_eq!(found(&mut store), []);
    let locked = with_outputs(2, State::Locked, &[2]);
    let inserting = |record: &Arc<Record>, n| Plan { record: RecordWrite::Insert(record.clone()), ..taking(n, &[n]) };
    let done = with_outputs(1, State::Done, &[1, 3]);
    // The third loses its mark to the first, and what it asked for was never accepted.
    let loser = Plan { marks: vec![mark(1)], ..inserting(&with_outputs(3, State::Done, &[5]), 3) };
    let written = commit(&mut store, &[inserting(&done, 1), inserting(&locked, 2), loser]);
    assert_eq!(written, [Written::Yes, Written::Yes, Written::Lost]);
    assert_eq!(found(&mut store), [(1, State::Done), (2, State::Locked), (3, State::Done)]);
    let header = Header::of(&locked.exchange, locked.id()).expect("a purchase");
    let decision = Some(TestLog::default().decide(&header, NOW, Outcome::Abort));
    let aborted = Arc::new(Record { state: State::Aborted, decision, ..Record::clone(&locked) });
    assert_eq!(commit(&mut store, &[plan(RecordWrite::Settle(aborted))]), [Written::Yes]);
    // The same output may be asked for again; both requests are found, also after a restart.
    assert_eq!(commit(&mut store, &[inserting(&with_outputs(4, State::Done, &[2]), 4)]), [Written::Yes]);
    let all = [(1, State::Done), (2, State::Aborted), (2, State::Done), (3, State::Done)];
    assert_eq!(found(&mut store), all);
    drop(store);
    assert_eq!(found(&mut disk.open()), all);
}

fn accounts_open_once_and_keep_their_money<D: Disk>() {
    let mut store = D::default().open();
    assert_eq!(store.balance(&account(1)), Ok(None));
    assert_eq!(commit(&mut store, &[crediting(1, 1, 5)]), [Written::Lost], "it is not open");
    assert_eq!(commit(&mut store, &[opening(1), crediting(1, 1, 5)]), [Written::Yes; 2]);
    assert_eq!(commit(&mut store, &[opening(1)]), [Written::Yes]);
    assert_eq!(store.balance(&account(1)), Ok(Some(micros(5))));
}

fn one_brand_a_place_and_a_key<D: Disk>() {
    let disk = D::default();
    let mut store = disk.open();
    let stated = |which: usize| Signed::sign(&key("bank"), brand(which).brand().clone());
    for (which, expected) in [(ONE, Written::Yes), (FIVE, Written::Yes), (ONE, Written::Yes), (OLD_ONE, Written::Yes)] {
        assert_eq!(store.add_brand(&stated(which)), Ok(expected));
    }
    let same_place = naulon_blind::Brand { key: brand(TWO).brand().key, ..brand(ONE).brand().clone() };
    let same_key = naulon_blind::Brand { key: brand(ONE).brand().key, ..brand(TWO).brand().clone() };
    for rival in [same_place, same_key] {
        assert_eq!(store.add_brand(&Signed::sign(&key("bank"), rival)), Ok(Written::Lost));
    }
    drop(store);
    assert_eq!(disk.open().brands(), Ok([ONE, FIVE, OLD_ONE].map(stated).to_vec()));
}

fn time_never_runs_backwards<D: Disk>() {
    let disk = D::default();
    let mut store = disk.open();
    assert_eq!(store.latest_time(), Ok(Timestamp(0)));
    store.keep_time(Timestamp(7)).expect("kept");
    assert_eq!(store.latest_time(), Ok(Timestamp(7)));
    assert_eq!(commit(&mut store, &[taking(1, &[1])]), [Written::Yes]);
    assert_eq!(store.latest_time(), Ok(NOW));
    store.keep_time(Timestamp(8)).expect("kept");
    drop(store);
    let mut store = disk.open();
    assert_eq!(store.latest_time(), Ok(NOW));
    store.keep_time(Timestamp(NOW.0 + 1)).expect("kept");
    assert_eq!(store.latest_time(), Ok(Timestamp(NOW.0 + 1)));
}

fn a_fault_of_a_log_is_kept_once<D: Disk>() {
    let disk = D::default();
    let mut store = disk.open();
    let fault = |n, code: &str| {
        let decision = settled(n, Outcome::Abort).decision.clone().expect("a decision");
        LogFault { purchase: record(n, State::Locked).id(), code: code.into(), decision }
    };
    let faults = [fault(1, "key_mismatch"), fault(1, "log_contradiction"), fault(2, "key_mismatch")];
    for fault in faults.iter().chain(&faults) {
        store.keep_log_fault(fault).expect("kept");
    }
    drop(store);
    let mut kept = disk.open().log_faults().expect("reads");
    assert_eq!(kept.len(), 3);
    kept.retain(|fault| !faults.contains(fault));
    assert_eq!(kept, []);
}

fn a_store_opened_again_says_the_same<D: Disk>() {
    let disk = D::default();
    let mut store = with_account(disk.open(), 1, 100);
    let locking = |n| Plan { record: RecordWrite::Insert(record(n, State::Locked)), ..paying(n, 1, 10) };
    let aborting = Plan { freed: vec![mark(3)], ..plan(RecordWrite::Settle(settled(3, Outcome::Abort))) };
    assert_eq!(commit(&mut store, &[locking(2), locking(3), paying(4, 1, 5)]), [Written::Yes; 3]);
    assert_eq!(commit(&mut store, &[aborting]), [Written::Yes]);
    let (before, books) = (everything(&mut store), read_books(&mut store));
    drop(store);
    let mut store = disk.open();
    assert!(same(&everything(&mut store), &before));
    assert_eq!(read_books(&mut store), books);
    // It goes on where it was: new records do not take the place of old ones.
    assert_eq!(commit(&mut store, &[paying(5, 1, 5)]), [Written::Yes]);
    let after = everything(&mut store);
    assert!(before.holders.iter().all(|(mark, holder)| after.holders.get(mark) == Some(holder)));
    assert_eq!(after.holders[&mark(5)].id(), record(5, State::Done).id());
}

/// Real requests, whose books agree; then each kind of wrong row is put in, and the auditor names it.
fn the_auditor_finds_what_is_wrong<D: Disk>() {
    let disk = D::default();
    let mut bank = furnished(disk.open());
    let coins = withdraw(&mut bank, 1, &[FIVE, ONE]);
    ask(&mut bank, deposit(&[&coins[1]], &key("alice"))).expect("accepted");
    let report = bank.audit().expect("the books agree");
    assert_eq!((report.records, report.accounts, report.tokens), (3, amount("95"), amount("5")));
    let position = report.brands[&brand_id(ONE)];
    assert_eq!((position.issued, position.redeemed), (1, 1));

    let shop = key("shop").public();
    let out_of_nothing =
        Plan { transfers: vec![transfer(LedgerAccount::Locked, LedgerAccount::Customer(shop), 1)], ..taking(9, &[99]) };
    let found = |bank: &mut naulon_bank::Bank<D::Store>| match bank.audit() {
        Err(naulon_bank::AuditError::Books(found)) => found,
        other => panic!("the auditor found nothing: {other:?}"),
    };
    assert_eq!(commit(bank.store(), &[out_of_nothing]), [Written::Yes]);
    let found = found(&mut bank);
    assert!(found.iter().any(|d| matches!(d, Discrepancy::Journal { .. })), "{found:?}");
    assert!(found.iter().any(|d| matches!(d, Discrepancy::MarkExtra(_))), "{found:?}");
    assert!(found.iter().any(|d| matches!(d, Discrepancy::MarkMissing(_))), "{found:?}");
}

#[test]
fn sqlite_a_transaction_that_fails_changes_nothing() {
    a_transaction_that_fails_changes_nothing::<Sqlite>();
}

#[test]
fn postgres_a_transaction_that_fails_changes_nothing() {
    a_transaction_that_fails_changes_nothing::<Postgres>();
}

/// The second plan breaks a rule of the tables in the middle of its writing, so the transaction fails; the first and
/// third are not written either.
fn a_transaction_that_fails_changes_nothing<D: Disk>() {
    let disk = D::default();
    let mut store = with_account(disk.open(), 1, 100);
    let (before, books) = (everything(&mut store), read_books(&mut store));
    let broken = Plan {
        transfers: vec![
            transfer(LedgerAccount::Customer(account(1)), LedgerAccount::Locked, 5),
            transfer(LedgerAccount::Locked, LedgerAccount::Outside, 0),
        ],
        ..taking(2, &[2])
    };
    let failed = store.commit(&[paying(1, 1, 10), broken, paying(3, 1, 10)]);
    assert!(matches!(failed, Err(StoreError::Other(_))), "{failed:?}");
    assert!(same(&everything(&mut store), &before));
    assert_eq!(read_books(&mut store), books);
    drop(store);
    let mut store = disk.open();
    assert!(same(&everything(&mut store), &before));
    assert_eq!(commit(&mut store, &[paying(1, 1, 10), paying(3, 1, 10)]), [Written::Yes; 2]);
}

#[test]
fn memory_a_crash_is_before_or_after_the_whole_write() {
    for (when, written) in [(When::Before, false), (When::After, true)] {
        let faults = Faults::none();
        let mut store = with_account(MemoryStore::new(faults.clone()), 1, 100);
        let before = store.copy();
        faults.plan(1, when);
        assert_eq!(store.commit(&[paying(1, 1, 10), paying(2, 1, 10)]), Err(StoreError::Crashed));
        assert_eq!(store.balance(&account(1)), Err(StoreError::Crashed), "a dead process reads nothing");
        faults.restart();
        assert_eq!(store.has_same_books(&before), !written);
        assert_eq!(store.balance(&account(1)), Ok(Some(micros(if written { 80 } else { 100 }))));
    }
}

/// A random plan over few records, marks and accounts, so that most batches conflict.
fn any_plan() -> impl Strategy<Value = Plan> {
    let marks = prop::collection::vec(0u8..6, 0..3);
    let ledger = prop_oneof![
        Just(LedgerAccount::Outside),
        Just(LedgerAccount::Locked),
        (0u8..3).prop_map(|n| LedgerAccount::Customer(account(n)))
    ];
    let line = (ledger.clone(), ledger, 1u64..20).prop_map(|(from, to, amount)| transfer(from, to, amount));
    let guard = (0u8..3, 0u64..20).prop_map(|(n, at_least)| match at_least {
        0 => Guard::Open(account(n)),
        _ => Guard::Balance { account: account(n), at_least: micros(at_least) },
    });
    let write = prop_oneof![
        2 => (0u8..6).prop_map(|n| RecordWrite::Insert(record(n, State::Done))),
        2 => (6u8..9).prop_map(|n| RecordWrite::Insert(record(n, State::Locked))),
        2 => (5u8..9, any::<bool>()).prop_map(|(n, commits)| {
            let outcome = if commits { Outcome::Commit { k: K } } else { Outcome::Abort };
            RecordWrite::Settle(settled(n, outcome))
        }),
        1 => (0u8..3).prop_map(|n| RecordWrite::Open(account(n))),
    ];
    let lists = (marks, prop::collection::vec(0u8..6, 0..3), prop::collection::vec(guard, 0..2));
    let amount = || (0u64..30).prop_map(micros);
    let change = prop_oneof![
        1 => amount().prop_map(|left| DrawChange::Open { left }),
        2 => amount().prop_map(|amount| DrawChange::Take { amount }),
        1 => amount().prop_map(|amount| DrawChange::GiveBack { amount }),
    ];
    let draws = prop::collection::btree_map(0u8..3, change, 0..3);
    // Few rows and few ways for each to stand, so that many writes find what they want.
    let stands = || (0u8..2, 0u8..2);
    let chains = prop::collection::btree_map(0u8..3, (prop::option::of(stands()), stands()), 0..2);
    let plan_parts = (write, lists, prop::collection::vec(line, 0..3), draws, chains);
    plan_parts.prop_map(|(record, (marks, freed, guards), transfers, draws, chains)| match record {
        RecordWrite::Open(_) => plan(record),
        _ => Plan {
            record,
            marks: marks.into_iter().map(mark).collect(),
            freed: freed.into_iter().map(mark).collect(),
            draws: draws.into_iter().map(|(n, change)| Draw { token: Digest([n; 32]), change }).collect(),
            chains: chains.into_iter().map(|(n, (before, after))| chain_write(n, before, after)).collect(),
            guards,
            transfers,
        },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The stores say the same to the same batches, whatever conflicts in them.
    #[test]
    fn all_stores_agree(batches in prop::collection::vec(prop::collection::vec(any_plan(), 1..6), 1..6)) {
        let disk = Sqlite::default();
        let mut sqlite = disk.open();
        let mut memory = MemoryStore::default();
        let mut postgres = emptied();
        let (_, postgres) = &mut *postgres;
        for plans in std::iter::once((0..3).map(opening).collect()).chain(batches) {
            let written = memory.commit(&plans);
            prop_assert_eq!(&sqlite.commit(&plans), &written);
            prop_assert_eq!(&postgres.commit(&plans), &written);
            let expected = everything(&mut memory);
            prop_assert!(same(&everything(&mut sqlite), &expected));
            prop_assert!(same(&everything(postgres), &expected));
        }
        let books = read_books(&mut memory);
        prop_assert_eq!(&read_books(&mut sqlite), &books);
        prop_assert_eq!(&read_books(postgres), &books);
    }
}

/// A database that is used again and again, for making one takes longer than a case.
fn emptied() -> MutexGuard<'static, (String, PostgresStore)> {
    static STORE: OnceLock<Mutex<(String, PostgresStore)>> = OnceLock::new();
    let store = STORE.get_or_init(|| {
        let disk = Postgres::default();
        let store = disk.open();
        Mutex::new((disk.0, store))
    });
    let store = store.lock().unwrap_or_else(PoisonError::into_inner);
    cluster::run(
        &store.0,
        "DELETE FROM mark; DELETE FROM record; DELETE FROM account; DELETE FROM journal; DELETE FROM remainder;
         DELETE FROM chain",
    );
    store
}

fn appending(before: u64, texts: &[&str]) -> RegisterAppending {
    let kinds = [EntryKind::Brand, EntryKind::Day, EntryKind::Fees];
    let statements = texts.iter().zip(kinds).map(|(text, kind)| (kind, text.as_bytes().to_vec())).collect();
    RegisterAppending { before, statements, checkpoint: format!("{before}: {}", texts.join(" ")) }
}

fn the_register_grows_by_one_writer_at_a_time<D: Disk>() {
    let disk = D::default();
    let mut store = disk.open();
    assert_eq!(store.register(0).expect("reads").size, 0);
    let first = appending(0, &["brand", "day"]);
    assert_eq!(store.append_register(&first), Ok(Written::Yes));
    // Whoever has not seen that appends to another tree, and is fenced off; of the two checkpoints one is kept.
    assert_eq!(store.append_register(&appending(0, &["own", "tree"])), Ok(Written::Lost));
    assert_eq!(store.append_register(&appending(3, &["gap"])), Ok(Written::Lost));
    assert_eq!(store.append_register(&appending(2, &["next"])), Ok(Written::Yes));
    drop(store);
    let mut store = disk.open();
    let rows = store.register(0).expect("reads");
    assert_eq!((rows.size, rows.checkpoint.as_deref()), (3, Some("2: next")));
    let brand = (RegisterEntry::new(EntryKind::Brand, b"brand"), Some(b"brand".to_vec()));
    let next = (RegisterEntry::new(EntryKind::Brand, b"next"), Some(b"next".to_vec()));
    // A day's statement is read for itself.
    assert_eq!(rows.entries, [brand, (RegisterEntry::new(EntryKind::Day, b"day"), None), next.clone()]);
    assert_eq!(store.register_statement(1), Ok(Some(b"day".to_vec())));
    assert_eq!(store.register_statement(3), Ok(None));
    assert_eq!(store.register(2).expect("reads").entries, [next]);
    assert_eq!(store.register(9).expect("reads").entries, []);
    // Cosignatures belong to one tree.
    assert_eq!(store.keep_cosigned(2, "old"), Ok(Written::Lost));
    assert_eq!(store.keep_cosigned(3, "cosigned"), Ok(Written::Yes));
    assert_eq!(store.register(3).expect("reads").checkpoint.as_deref(), Some("cosigned"));
}

fn what_a_day_delivered_is_read_once_and_whole<D: Disk>() {
    let at = |ms: u64| Timestamp(NOW.0 + ms);
    // A bank that has accepted nothing has delivered nothing.
    let of_nothing = D::default().open().delivered(at(0)..at(9), None, 9).expect("reads");
    assert!(of_nothing.is_empty());
    let mut store = with_account(D::default().open(), 0, 100);
    let inserted = |n: u8, state, accepted| {
        let record = Record { accepted, ..Record::clone(&record(n, state)) };
        plan(RecordWrite::Insert(Arc::new(record)))
    };
    let settling = |n: u8, outcome, accepted, time| {
        let record = Record { accepted, settled: Some(time), ..Record::clone(&settled(n, outcome)) };
        plan(RecordWrite::Settle(Arc::new(record)))
    };
    let commits = naulon_exchange::Outcome::Commit { k: K };
    let plans = [
        inserted(1, State::Done, at(1)),
        inserted(2, State::Locked, at(1)),
        inserted(3, State::Locked, at(2)),
        inserted(4, State::Done, at(2)),
        inserted(5, State::Locked, at(3)),
        inserted(6, State::Done, at(3)),
        settling(2, commits, at(1), at(4)),
        settling(3, Outcome::Abort, at(2), at(4)),
        inserted(7, State::Done, at(5)),
    ];
    for plan in plans {
        assert_eq!(commit(&mut store, &[plan]), [Written::Yes]);
    }
    let ids = |numbers: &[u8]| {
        let id = |n: &u8| record(*n, if [2, 3, 5].contains(n) { State::Locked } else { State::Done }).id();
        numbers.iter().map(id).collect::<Vec<_>>()
    };
    // Page by page, of whatever size: what was done in its time, then what was settled in it; half-open.
    for limit in 1..6 {
        let (mut found, mut after): (Vec<(DeliveredPlace, Record)>, Option<DeliveredPlace>) = (Vec::new(), None);
        loop {
            let page = store.delivered(at(2)..at(5), after.as_ref(), limit).expect("reads");
            assert!(page.len() <= limit);
            let is_last = page.len() < limit;
            after = page.last().map(|(place, _)| place.clone()).or(after);
            found.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(found.iter().map(|(_, record)| record.id()).collect::<Vec<_>>(), ids(&[4, 6, 2]), "{limit} a page");
        let settled = &found[2];
        assert_eq!((settled.0.time, settled.1.settled, settled.1.state), (at(4), Some(at(4)), State::Committed));
    }
    let of = |store: &mut D::Store, within| store.delivered(within, None, 99).expect("reads").len();
    assert_eq!(of(&mut store, at(6)..at(9)), 0);
    assert_eq!(of(&mut store, at(1)..at(2)), 1);
    assert_eq!(of(&mut store, at(5)..at(6)), 1);
}

fn items_of_a_day_are_found<D: Disk>() {
    let disk = D::default();
    let key = DayKey { day: Day(7), brand: Digest([1; 32]), side: Side::Issued };
    let all: Vec<Digest> = (0..600_u64).map(|n| Digest::of(&[&n.to_be_bytes()])).collect();
    let items = DayItems::new(all.clone());
    let chunks: Vec<StoredChunk> =
        items.chunks().zip(0..).map(|(chunk, number)| StoredChunk { key, number, chunk }).collect();
    let mut store = disk.open();
    store.keep_chunks(&chunks[..2]).expect("keeps");
    // After a crash the same is kept again.
    store.keep_chunks(&chunks).expect("keeps");
    store.keep_chunks(&[]).expect("keeps");
    drop(store);
    let mut store = disk.open();
    assert_eq!(store.chunk_roots(&key).expect("reads"), chunks.iter().map(|c| c.chunk.root).collect::<Vec<_>>());
    for item in &all {
        let number = store.chunk_of(&key, item).expect("reads").expect("a chunk");
        let found = store.chunk(&key, number).expect("reads").expect("items");
        assert!(found.contains(item));
    }
    assert_eq!(store.chunk_of(&key, &Digest([0; 32])), Ok(None));
    assert_eq!(store.chunk_of(&key, &Digest([255; 32])), Ok(Some(2)));
    assert_eq!(store.chunk(&key, 3), Ok(None));
    for other in [DayKey { day: Day(8), ..key }, DayKey { side: Side::Redeemed, ..key }] {
        assert_eq!(store.chunk_roots(&other), Ok(vec![]));
        assert_eq!(store.chunk_of(&other, &all[0]), Ok(None));
    }
}
