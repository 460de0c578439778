//! What `sqlite::open` promises: durability settings in force, migrations forward only, one role, one owner.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, thread};

use naulon_durable::migration::{Migrated, Rehearsal};
use naulon_durable::sqlite::{self, ApplicationId, Database, OpenError, OwnerError};
use naulon_durable::{Retry, StoreError};
use rusqlite::Connection;

const BANK: ApplicationId = ApplicationId::new(b"tBNK");
const SHOP: ApplicationId = ApplicationId::new(b"tSHP");
const FIRST: &str = "CREATE TABLE account (number INTEGER PRIMARY KEY, balance INTEGER NOT NULL) STRICT";
const SECOND: &str = "ALTER TABLE account ADD COLUMN name TEXT; UPDATE account SET name = 'no name'";

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bank.sqlite");
    (directory, path)
}

fn open(path: &Path, migrations: &[&str]) -> Result<Database, OpenError> {
    sqlite::open(path, BANK, migrations)
}

fn pragma(connection: &Connection, name: &str) -> String {
    let text = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(0).map_or_else(|_| row.get(0), |n| Ok(n.to_string())));
    connection.pragma_query_value(None, name, text).expect("a pragma").expect("a value")
}

#[test]
fn the_pragmas_are_in_force_on_a_new_file_and_on_an_old_one() {
    let (_directory, path) = directory();
    for _ in 0..2 {
        let database = open(&path, &[FIRST]).expect("opens");
        for (name, value) in [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("foreign_keys", "1"),
            ("trusted_schema", "0"),
            ("busy_timeout", "5000"),
            ("user_version", "1"),
            ("application_id", &i32::from_be_bytes(*b"tBNK").to_string()),
        ] {
            assert_eq!(pragma(&database, name), value, "{name}");
        }
    }
}

#[test]
fn a_new_file_and_what_sqlite_puts_beside_it_are_private() {
    let (directory, path) = directory();
    let _database = open(&path, &[FIRST]).expect("opens");
    let mut modes: Vec<_> = fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (entry.file_name().into_string().expect("text"), entry.metadata().expect("metadata").mode() & 0o777)
        })
        .collect();
    modes.sort();
    let names = ["bank.sqlite", "bank.sqlite-shm", "bank.sqlite-wal", "bank.sqlite.lock"];
    assert_eq!(modes, names.map(|name| (name.to_owned(), 0o600)));
}

#[test]
fn migrations_go_forward_once_and_keep_what_is_there() {
    let (_directory, path) = directory();
    let database = open(&path, &[FIRST]).expect("opens");
    database.execute("INSERT INTO account VALUES (1, 500)", []).expect("inserted");
    drop(database);
    for _ in 0..2 {
        let database = open(&path, &[FIRST, SECOND]).expect("opens");
        let row = database.query_row("SELECT balance, name FROM account", [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(row, Ok((500, "no name".to_owned())));
        assert_eq!(pragma(&database, "user_version"), "2");
    }
}

#[test]
fn a_file_from_a_newer_program_is_refused() {
    let (_directory, path) = directory();
    drop(open(&path, &[FIRST, SECOND]).expect("opens"));
    let refused = open(&path, &[FIRST]).expect_err("refused");
    assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused}");
    open(&path, &[FIRST, SECOND]).expect("opens as before");
}

/// A server's file waits for its operator: refused when it is opened, rehearsed without a trace, migrated by command.
#[test]
fn an_older_file_of_a_server_is_migrated_by_command_only() {
    let (_directory, path) = directory();
    let steps: &[&str] = &[FIRST, SECOND];
    let missing = sqlite::migrate(&path, BANK, steps, Rehearsal::ForGood).expect_err("there is none");
    assert!(matches!(missing, OpenError::File { .. }) && !path.exists(), "{missing}");
    drop(sqlite::open_current(&path, BANK, &[FIRST]).expect("a new file is begun"));
    let refused = sqlite::open_current(&path, BANK, steps).expect_err("older");
    assert!(matches!(refused, OpenError::Older { found: 1, known: 2, .. }), "{refused}");
    assert!(refused.to_string().contains("naulon bank migrate"), "{refused}");
    for (rehearsal, then) in [(Rehearsal::DryRun, "1"), (Rehearsal::ForGood, "2")] {
        let migrated = sqlite::migrate(&path, BANK, steps, rehearsal).expect("migrates");
        assert_eq!(migrated, Migrated { from: 1, to: 2 });
        assert_eq!(pragma(&Connection::open(&path).expect("opens"), "user_version"), then);
    }
    let open = sqlite::open_current(&path, BANK, steps).expect("opens");
    let in_use = sqlite::migrate(&path, BANK, steps, Rehearsal::DryRun).expect_err("in use");
    assert!(matches!(in_use, OpenError::Owner(OwnerError::InUse { .. })), "{in_use}");
    drop(open);
}

/// A backup is of one moment, though its original goes on being written; it is as private, and of the same role and schema.
#[test]
fn a_backup_of_a_file_in_use_is_of_one_moment() {
    let (directory, path) = directory();
    let mut database = open(&path, &[FIRST]).expect("opens");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            // Two rows a transaction, whose sum is 0 whenever one looks.
            let mut number = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let transaction = database.transaction().expect("begins");
                for balance in [1, -1] {
                    number += 1;
                    transaction.execute("INSERT INTO account VALUES (?1, ?2)", [number, balance]).expect("inserts");
                }
                transaction.commit().expect("commits");
            }
            number
        });
        let mut rows = Vec::new();
        for copy in 0..10 {
            let copy = directory.path().join(copy.to_string());
            sqlite::backup(&path, BANK, &copy).expect("copies");
            assert_eq!(fs::metadata(&copy).expect("is there").mode() & 0o777, 0o600);
            let copied = open(&copy, &[FIRST]).expect("opens as a bank's file of this schema");
            let sums = "SELECT count(*), coalesce(sum(balance), 0) FROM account";
            let (count, sum): (i64, i64) =
                copied.query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("answers");
            assert_eq!((count % 2, sum), (0, 0));
            rows.push(count);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(rows[0] < rows[9] && rows[9] <= writing.join().expect("ends"), "{rows:?}");
    });
    let there = sqlite::backup(&path, BANK, &directory.path().join("0")).expect_err("is not overwritten");
    assert!(matches!(there, OpenError::File { .. }), "{there}");
    let foreign = sqlite::backup(&path, SHOP, &directory.path().join("shop")).expect_err("is a bank's");
    assert!(matches!(foreign, OpenError::NotOurs { .. }), "{foreign}");
}

#[test]
fn a_failing_migration_leaves_the_file_as_it_was() {
    let (_directory, path) = directory();
    drop(open(&path, &[FIRST]).expect("opens"));
    let refused = open(&path, &[FIRST, SECOND, "CREATE TABLE account (a)"]).expect_err("refused");
    assert!(matches!(refused, OpenError::Migration { number: 3, .. }), "{refused}");
    let database = open(&path, &[FIRST]).expect("opens as before");
    assert!(database.prepare("SELECT name FROM account").is_err(), "the second migration was undone too");
}

#[test]
fn a_new_file_whose_first_migration_fails_is_still_new() {
    let (_directory, path) = directory();
    assert!(matches!(open(&path, &["nonsense"]), Err(OpenError::Migration { number: 1, .. })));
    sqlite::open(&path, SHOP, &[FIRST]).expect("opens for any role");
}

#[test]
fn a_file_of_another_role_is_refused_and_not_touched() {
    let (_directory, path) = directory();
    drop(open(&path, &[FIRST]).expect("opens"));
    let before = fs::read(&path).expect("read");
    let refused = sqlite::open(&path, SHOP, &[FIRST, SECOND]).expect_err("refused");
    assert!(matches!(refused, OpenError::NotOurs { found: BANK, expected: SHOP, .. }), "{refused}");
    assert!(refused.to_string().contains("belongs to \"tBNK\", not to \"tSHP\""), "{refused}");
    assert_eq!(fs::read(&path).expect("read"), before);
}

#[test]
fn a_database_of_some_other_program_is_refused_and_not_touched() {
    let (_directory, path) = directory();
    let other = Connection::open(&path).expect("opens");
    other.execute_batch("CREATE TABLE note (text)").expect("a table");
    drop(other);
    let before = fs::read(&path).expect("read");
    assert!(matches!(open(&path, &[FIRST]), Err(OpenError::NotOurs { .. })));
    assert_eq!(fs::read(&path).expect("read"), before, "in particular its journal mode");
}

#[test]
fn no_database_at_all_is_refused() {
    let (directory, path) = directory();
    fs::write(&path, [b'x'; 4096]).expect("written");
    assert!(matches!(open(&path, &[FIRST]), Err(OpenError::Store { source: StoreError::Corrupt, .. })));
    assert!(matches!(open(&directory.path().join("none/bank.sqlite"), &[FIRST]), Err(OpenError::File { .. })));
    assert!(matches!(open(directory.path(), &[FIRST]), Err(OpenError::Store { .. })));
}

#[test]
fn a_second_owner_is_refused_by_any_name_of_the_file_until_the_first_is_gone() {
    let (directory, path) = directory();
    let link = directory.path().join("link.sqlite");
    symlink(&path, &link).expect("linked");
    let database = open(&path, &[FIRST]).expect("opens");
    for name in [&path, &link] {
        let refused = open(name, &[FIRST]).expect_err("refused");
        assert!(matches!(refused, OpenError::Owner(OwnerError::InUse { .. })), "{refused}");
        assert!(refused.to_string().contains("stop that one"), "{refused}");
    }
    drop(database);
    open(&link, &[FIRST]).expect("opens");
}

#[test]
fn a_thread_that_takes_the_connection_takes_the_lock_along() {
    let (_directory, path) = directory();
    let database = open(&path, &[FIRST]).expect("opens");
    let (into, from) = std::sync::mpsc::channel::<()>();
    let worker = thread::spawn(move || {
        let _ = from.recv();
        database.execute("INSERT INTO account VALUES (1, 2)", []).expect("inserted");
    });
    assert!(matches!(open(&path, &[FIRST]), Err(OpenError::Owner(OwnerError::InUse { .. }))));
    drop(into);
    worker.join().expect("worked");
    open(&path, &[FIRST]).expect("opens");
}

const CHILD: &str = "NAULON_TEST_DATABASE";

/// The other process of the next test, which sets the variable: opens the database and holds it until its input ends.
#[test]
fn other_process() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let _database = open(Path::new(&path), &[FIRST]).expect("opens");
    writeln!(std::io::stderr(), "open").expect("written");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("read");
}

#[test]
fn a_second_process_is_refused_until_the_first_is_killed() {
    let (_directory, path) = directory();
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["other_process", "--exact", "--nocapture"])
        .env(CHILD, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    let said = BufReader::new(child.stderr.take().expect("piped")).lines().next();
    assert_eq!(said.expect("a line").expect("text"), "open");
    assert!(matches!(open(&path, &[FIRST]), Err(OpenError::Owner(OwnerError::InUse { .. }))));
    child.kill().expect("killed");
    child.wait().expect("gone");
    open(&path, &[FIRST]).expect("opens: the system has freed the lock");
}

#[test]
fn a_full_disk_is_told_and_writes_nothing() {
    let (_directory, path) = directory();
    let mut database =
        open(&path, &[FIRST, "CREATE TABLE body (number INTEGER PRIMARY KEY, bytes BLOB)"]).expect("opens");
    database.pragma_update(None, "max_page_count", 20).expect("limited");
    let mut fill = || -> Result<(), StoreError> {
        let transaction = database.transaction()?;
        transaction.execute("INSERT INTO account VALUES (1, 2)", [])?;
        transaction.execute("INSERT INTO body (bytes) VALUES (zeroblob(1000000))", [])?;
        Ok(transaction.commit()?)
    };
    let error = fill().expect_err("full");
    assert_eq!((error.clone(), error.retry()), (StoreError::Full, Retry::AfterRepair));
    assert_eq!(database.query_row("SELECT count(*) FROM account", [], |row| row.get(0)), Ok(0));
    database.pragma_update(None, "max_page_count", 100_000).expect("room made");
    database.execute("INSERT INTO body (bytes) VALUES (zeroblob(1000000))", []).expect("works again");
}

#[test]
fn a_lock_held_by_a_tool_is_busy_and_a_mistake_is_other() {
    let (_directory, path) = directory();
    let database = open(&path, &[FIRST]).expect("opens");
    database.busy_timeout(std::time::Duration::ZERO).expect("set");
    let tool = Connection::open(&path).expect("opens");
    tool.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let insert = || database.execute("INSERT INTO account VALUES (1, 2)", []).map_err(StoreError::from);
    let error = insert().expect_err("busy");
    assert_eq!((error.clone(), error.retry()), (StoreError::Busy, Retry::Now));
    tool.execute_batch("ROLLBACK").expect("freed");
    insert().expect("inserted");
    let error = insert().expect_err("there already");
    assert!(matches!(error, StoreError::Other(_)), "{error}");
    assert_eq!(error.retry(), Retry::AfterReopening);
}

#[test]
fn a_damaged_page_is_corrupt() {
    let (_directory, path) = directory();
    let database = open(&path, &[FIRST]).expect("opens");
    database.execute("INSERT INTO account VALUES (1, 2)", []).expect("inserted");
    drop(database); // the last connection moves the WAL into the file
    let mut bytes = fs::read(&path).expect("read");
    bytes[4096..].fill(0xff);
    fs::write(&path, bytes).expect("written");
    let database = open(&path, &[FIRST]).expect("opens: the header is sound");
    let read = database.query_row("SELECT balance FROM account", [], |row| row.get::<_, i64>(0));
    let error = StoreError::from(read.expect_err("damaged"));
    assert_eq!((error.clone(), error.retry()), (StoreError::Corrupt, Retry::AfterRepair));
}
