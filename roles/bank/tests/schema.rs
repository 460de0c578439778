//! Tables from one release to the next: frozen, migrated, refused.

#![allow(clippy::panic)] // In what the tests share; they may.

mod cluster;
mod frozen;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use naulon_bank::{BankStore, PostgresOpenError, PostgresStore, SqliteStore, audit_file, audit_url};
use naulon_durable::StoreError;
use naulon_durable::migration::Rehearsal;
use naulon_durable::sqlite::OpenError;
use naulon_exchange::{AuditReport, Outcome, State};
use world::*;

/// What every dump of books has in it: withdrawn, deposited, one purchase paid and one locked.
fn trade<S: BankStore>(store: S) {
    let mut bank = furnished(store);
    let coins = withdraw(&mut bank, 1, &[ONE, TWO, FIVE, ONE]);
    ask(&mut bank, deposit(&[&coins[0]], &key("alice"))).expect("deposited");
    let change = Blind::new(ONE, 7_000);
    let locked = ask_exchange(&mut bank, lock(&[&coins[1]], amount("1"), &[&change], condition(1))).expect("locked");
    let decision = TestLog::default().decide(&header(&locked), NOW, Outcome::Commit { k: K });
    ask(&mut bank, settle(&decision)).expect("settled");
    ask_exchange(&mut bank, lock(&[&coins[2]], amount("5"), &[], condition(2))).expect("locked");
}

/// Books of [`trade`] that were migrated: they agree, every reply is what it was, and what was open goes on.
fn goes_on<S: BankStore>(store: S) {
    let mut bank = open(store);
    assert_eq!(bank.store().balance(&key("shop").public()), Ok(Some(amount("1"))));
    // The orders that were accepted are known, and their coins come back the same.
    let coins = withdraw(&mut bank, 1, &[ONE, TWO, FIVE, ONE]);
    for (spent, code) in [(0, "spent"), (1, "spent"), (2, "locked")] {
        let refused = ask(&mut bank, deposit(&[&coins[spent]], &key("shop"))).expect_err("is not free");
        assert_eq!(refused.code, code);
    }
    ask(&mut bank, deposit(&[&coins[3]], &key("alice"))).expect("deposited");
    let again = ask_exchange(&mut bank, lock(&[&coins[2]], amount("5"), &[], condition(2))).expect("locked");
    let abort = TestLog::default().decide(&header(&again), condition(2).expiry, Outcome::Abort);
    ask(&mut bank, settle(&abort)).expect("settled");
    let freed = ask_exchange(&mut bank, deposit(&[&coins[2]], &key("alice"))).expect("is free again");
    assert_eq!(freed.state, State::Done);
}

fn sums(report: &AuditReport) -> [String; 4] {
    [report.came_in, report.accounts, report.tokens, report.locked].map(|sum| sum.to_string())
}

#[test]
fn sqlite_books_of_every_schema_go_on() {
    for number in frozen::numbers("sqlite") {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bank.sqlite");
        frozen::load_sqlite(&format!("sqlite-{number}-books"), &path);
        SqliteStore::migrate(&path, Rehearsal::ForGood).expect("migrates");
        assert_eq!(sums(&audit_file(&path, &rules()).expect("agrees")), ["100.00", "93.00", "2.00", "5.00"]);
        goes_on(SqliteStore::open(&path).expect("opens"));
        assert_eq!(sums(&audit_file(&path, &rules()).expect("agrees")), ["100.00", "99.00", "1.00", "0.00"]);
    }
}

#[test]
fn postgres_books_of_every_schema_go_on() {
    for number in frozen::numbers("postgres") {
        let url = frozen::load_postgres(&format!("postgres-{number}-books"));
        PostgresStore::migrate(&url, Rehearsal::ForGood).expect("migrates");
        assert_eq!(sums(&audit_url(&url, &rules()).expect("agrees")), ["100.00", "93.00", "2.00", "5.00"]);
        goes_on(PostgresStore::open(&url).expect("opens"));
        assert_eq!(sums(&audit_url(&url, &rules()).expect("agrees")), ["100.00", "99.00", "1.00", "0.00"]);
    }
}

const NOT_FROZEN: &str = "a migration was added and not frozen: `cargo test --release -p naulon-bank --test schema -- --ignored \
    freeze`; or one that was frozen has been changed";

/// Tables that were migrated are those that a new store begins with; and the newest are frozen, so none has been changed
/// since.
#[test]
fn migrated_tables_are_the_newest_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let fresh = directory.path().join("fresh.sqlite");
    drop(SqliteStore::open(&fresh).expect("opens"));
    let newest = frozen::dump_sqlite(&fresh, false);
    let numbers = frozen::numbers("sqlite");
    for number in &numbers {
        let path = directory.path().join(format!("{number}.sqlite"));
        frozen::load_sqlite(&format!("sqlite-{number}"), &path);
        if number == numbers.last().expect("at least one") {
            assert_eq!(frozen::dump_sqlite(&path, false), newest, "{NOT_FROZEN}");
        }
        SqliteStore::migrate(&path, Rehearsal::ForGood).expect("migrates");
        assert_eq!(frozen::dump_sqlite(&path, false), newest);
    }

    let fresh = cluster::database();
    drop(PostgresStore::open(&fresh).expect("opens"));
    let newest = frozen::catalogue(&fresh);
    assert!(newest.len() > 30, "{newest:?}");
    assert_eq!(frozen::numbers("postgres"), numbers, "both kinds of store have the same numbers");
    for number in &numbers {
        let url = frozen::load_postgres(&format!("postgres-{number}"));
        if number == numbers.last().expect("at least one") {
            assert_eq!(frozen::catalogue(&url), newest, "{NOT_FROZEN}");
        }
        PostgresStore::migrate(&url, Rehearsal::ForGood).expect("migrates");
        assert_eq!(frozen::catalogue(&url), newest);
    }
}

/// How the tables are spread over machines: each table with the key by which it is, or with none if it is copied.
fn spread() -> BTreeMap<&'static str, Option<&'static str>> {
    const SPREAD: &str = include_str!("../../../docs/operations/citus.sql");
    let statements = SPREAD.lines().filter_map(|line| line.strip_prefix("SELECT create_"));
    let table = |statement: &'static str| {
        let quoted: Vec<&str> = statement.split('\'').skip(1).step_by(2).collect();
        (quoted[0], statement.starts_with("distributed_table").then(|| quoted[1]))
    };
    statements.map(table).collect()
}

/// On a database that is spread over machines a key can be unique only within a shard, so it must contain the shard key.
#[test]
fn every_unique_key_contains_the_shard_key() {
    let spread = spread();
    let url = cluster::database();
    drop(PostgresStore::open(&url).expect("opens"));
    let unique = cluster::texts(
        &url,
        "SELECT c.relname || ' ' || string_agg(a.attname, ',') FROM pg_index i
         JOIN pg_class c ON c.oid = i.indrelid
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
         WHERE c.relnamespace = 'naulon_bank'::regnamespace AND i.indisunique GROUP BY c.relname, i.indexrelid",
    );
    let mut seen = BTreeSet::new();
    for line in &unique {
        let (table, columns) = line.split_once(' ').expect("two words");
        seen.insert(table);
        let place =
            spread.get(table).unwrap_or_else(|| panic!("{table}: say in citus.sql how it is spread over machines"));
        let Some(shard_key) = place else { continue };
        assert!(columns.split(',').any(|column| column == *shard_key), "{table} is unique by {columns}");
    }
    let tables = cluster::texts(&url, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'naulon_bank'");
    assert_eq!((seen.len(), spread.len()), (tables.len(), tables.len()), "every table has a key, and its place");
}

/// Older tables are refused by name, rehearsed without a trace, migrated; newer ones are refused.
#[test]
fn a_server_does_not_touch_tables_that_are_not_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bank.sqlite");
    let none = SqliteStore::migrate(&path, Rehearsal::ForGood).expect_err("there is none");
    assert!(matches!(none, OpenError::File { .. }) && !path.exists(), "{none}");
    drop(SqliteStore::open(&path).expect("opens"));
    let file = |sql: &str| rusqlite::Connection::open(&path).expect("opens").execute_batch(sql).expect(sql);
    file("PRAGMA user_version = 1000");
    assert!(matches!(SqliteStore::open(&path), Err(OpenError::Newer { found: 1000, .. })));

    // Schema 0 is nothing at all, and needs everything.
    let url = cluster::database();
    assert!(matches!(PostgresStore::migrate(&url, Rehearsal::DryRun), Err(PostgresOpenError::NoTables)));
    let nothing =
        "CREATE SCHEMA naulon_bank; CREATE TABLE naulon_bank.schema (one smallint PRIMARY KEY, number bigint);
        INSERT INTO naulon_bank.schema VALUES (1, 0)";
    cluster::run(&url, nothing);
    let refused = PostgresStore::open(&url).err().expect("is refused");
    assert!(matches!(refused, PostgresOpenError::Older { found: 0, .. }), "{refused}");
    assert!(refused.to_string().contains("naulon bank migrate"), "{refused}");
    let newest = *frozen::numbers("postgres").last().expect("at least one");
    for (rehearsal, then) in [(Rehearsal::DryRun, 0), (Rehearsal::ForGood, newest)] {
        let migrated = PostgresStore::migrate(&url, rehearsal).expect("migrates");
        assert_eq!((migrated.from, migrated.to), (0, newest));
        assert_eq!(cluster::texts(&url, "SELECT number::text FROM naulon_bank.schema"), [then.to_string()]);
    }
    drop(PostgresStore::open(&url).expect("opens"));

    // One that fails leaves everything as it was.
    cluster::run(&url, "UPDATE schema SET number = 0");
    let failed = PostgresStore::migrate(&url, Rehearsal::ForGood).expect_err("the tables are there");
    assert!(matches!(failed, PostgresOpenError::Store(StoreError::Other(_))), "{failed}");
    assert_eq!(cluster::texts(&url, "SELECT number::text FROM naulon_bank.schema"), ["0"]);
}

/// Tables are not changed under a bank that works on them; and a bank that has lost its connection meanwhile does not go on
/// with tables that it does not know.
#[test]
fn a_running_bank_and_a_migration_keep_out_of_each_others_way() {
    let url = cluster::database();
    let mut bank = furnished(PostgresStore::open(&url).expect("opens"));
    cluster::run(&url, "UPDATE schema SET number = 0");
    assert!(matches!(PostgresStore::migrate(&url, Rehearsal::ForGood), Err(PostgresOpenError::InUse)));
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'naulon-bank'";
    cluster::run(&url, &format!("UPDATE schema SET number = 1000; {terminate}"));
    assert_eq!(ask(&mut bank, credit(&key("alice"), amount("1"), 9)).expect_err("is over").code, "unavailable");
    let broken = bank.broken().expect("it has to be started again").to_string();
    assert!(broken.contains("its tables have been migrated"), "{broken}");
}

/// Writes the dumps of the newest number. It is run once, when a migration is added.
#[test]
#[ignore = "writes into the sources: when a migration was added"]
fn freeze() {
    let directory = tempfile::tempdir().expect("a directory");
    let [empty, books] = ["empty", "books"].map(|name| directory.path().join(name));
    drop(SqliteStore::open(&empty).expect("opens"));
    trade(SqliteStore::open(&books).expect("opens"));
    let url = cluster::database();
    drop(PostgresStore::open(&url).expect("opens"));
    let number: i64 = cluster::texts(&url, "SELECT number::text FROM naulon_bank.schema")[0].parse().expect("a number");
    let postgres_books = cluster::database();
    trade(PostgresStore::open(&postgres_books).expect("opens"));
    for (name, text) in [
        (format!("sqlite-{number}"), frozen::dump_sqlite(&empty, true)),
        (format!("sqlite-{number}-books"), frozen::dump_sqlite(&books, true)),
        (format!("postgres-{number}"), pg_dump(&url)),
        (format!("postgres-{number}-books"), pg_dump(&postgres_books)),
    ] {
        std::fs::write(frozen::file(&name), text).expect("writes");
    }
}

fn pg_dump(url: &str) -> String {
    let program = naulon_cluster::programs().expect("PostgreSQL is installed").join("pg_dump");
    let dumped = Command::new(Path::new(&program)).args(["--no-owner", "--no-comments", "--inserts", url]).output();
    let text = String::from_utf8(dumped.expect("runs").stdout).expect("text");
    // Lines with a backslash are psql's. Empty ones may stand within a text.
    let lines = text.lines().filter(|line| !line.starts_with('\\') && !line.starts_with("--"));
    lines.map(|line| format!("{line}\n")).collect()
}
