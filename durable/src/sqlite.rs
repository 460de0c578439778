//! A SQLite file with one role, one owner and one schema.
//!
//! [`open`] gives a connection on which a commit that returned is on the disk (WAL, `synchronous=FULL`), or refuses: a
//! file of another role, a file from a newer program, a file that another process has open. Nothing is written to a file
//! before it is known to be ours.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::migration::{Migrated, Rehearsal};
use crate::{StoreError, files};

/// How long a statement waits for a lock that a reading tool (a backup, the `sqlite3` shell) holds on the file.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What marks a role's file in SQLite's header, so that a bank does not open a wallet. Four ASCII letters, which
/// `file(1)` shows; each role has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplicationId(i32);

impl ApplicationId {
    /// The id with this tag.
    ///
    /// # Panics
    /// If the tag is four zero bytes, which is SQLite's "none": in a `const`, when compiling.
    #[must_use]
    pub const fn new(tag: &[u8; 4]) -> Self {
        let id = i32::from_be_bytes(*tag);
        assert!(id != 0, "four zero bytes mean no role");
        Self(id)
    }
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.to_be_bytes().escape_ascii())
    }
}

/// A store that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file, or its lock cannot be had.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The file cannot be created or found. Operator: create its directory, or give the program the right to write there.
    #[error("cannot create or open {path}: {source}; check that its directory exists and is writable")]
    File {
        /// The store's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A database of something else. Operator: point the configuration at this role's own file.
    #[error("{path} belongs to \"{found}\", not to \"{expected}\": point the configuration at this role's own file")]
    NotOurs {
        /// The store's file.
        path: PathBuf,
        /// The mark in the file.
        found: ApplicationId,
        /// The mark of the role that asked.
        expected: ApplicationId,
    },
    /// A newer program has written the file. Operator: run that program; there is no way back.
    #[error("{path} has schema {found}, this program knows up to {known}: run the newer program, or restore a backup")]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The schema's number in the file.
        found: i64,
        /// The highest number this program knows.
        known: i64,
    },
    /// An older program has written the file. Operator: make a backup, then run `naulon ROLE migrate`.
    #[error(
        "{path} has schema {found}, this program needs {known}: make a backup, then bring it up to date by the \
         command `migrate`, as in `naulon bank migrate`"
    )]
    Older {
        /// The store's file.
        path: PathBuf,
        /// The schema's number in the file.
        found: i64,
        /// The number that this program needs.
        known: i64,
    },
    /// A migration failed, and the file is as it was. Operator: on [`StoreError::Full`] make room and start again;
    /// otherwise go back to the earlier program and report it.
    #[error("{path} could not be brought to schema {number} and was left as it was: {source}")]
    Migration {
        /// The store's file.
        path: PathBuf,
        /// The number of the migration, from 1.
        number: i64,
        /// Why.
        source: StoreError,
    },
    /// SQLite does not do what durability needs. Operator: put the file on a local disk (WAL needs shared memory).
    #[error("{path}: SQLite answers {pragma} = {found}, needed is {needed}: put the file on a local disk")]
    Pragma {
        /// The store's file.
        path: PathBuf,
        /// The setting.
        pragma: &'static str,
        /// What durability needs.
        needed: String,
        /// What SQLite answered.
        found: String,
    },
    /// SQLite refused the file. Operator: as the [`StoreError`] says.
    #[error("{path}: {source}")]
    Store {
        /// The store's file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

/// A file whose ownership could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Another process runs on this file. Operator: stop it, or give this one a data directory of its own.
    #[error("{path} is in use by another process: stop that one, or give this one its own data directory")]
    InUse {
        /// The file that is owned.
        path: PathBuf,
    },
    /// The lock file cannot be made or locked. Operator: put the file where files can be created and locked.
    #[error("cannot lock {lock}: {source}; put the data directory on a local disk that this program may write to")]
    Lock {
        /// The lock file.
        lock: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The sole right of this process to a file: an advisory lock of the operating system on `<path>.lock`.
///
/// It is held until the value is dropped or the process ends, however it ends. The lock file itself stays, because
/// removing it would let two processes hold locks on two files of the same name.
#[derive(Debug)]
pub struct Owner {
    _lock: File,
}

impl Owner {
    /// Takes the file at `path`, which need not exist.
    ///
    /// # Errors
    /// [`OwnerError::InUse`] at once if it is held, also by this process.
    pub fn acquire(path: &Path) -> Result<Self, OwnerError> {
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        let file = match files::private().create(true).truncate(false).open(&lock) {
            Ok(file) => file,
            Err(source) => return Err(OwnerError::Lock { lock, source }),
        };
        match file.try_lock() {
            Ok(()) => Ok(Self { _lock: file }),
            Err(TryLockError::WouldBlock) => Err(OwnerError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(OwnerError::Lock { lock, source }),
        }
    }
}

/// A role's open store: used as the [`Connection`] that it is, and the file's [`Owner`] while it lives.
///
/// The fields are private so that a closure which uses the connection takes the lock along: it would capture a public
/// field alone, and leave the lock to be dropped.
#[derive(Debug)]
pub struct Database {
    // In this order, because fields are dropped in order: the connection is closed before the file is given up.
    connection: Connection,
    path: PathBuf,
    _owner: Owner,
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Database {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Opens or creates the store of `role` at `path`, and brings its schema up to date.
///
/// `migrations[i]` is the SQL that makes schema i+1 from schema i ([`migration`](crate::migration)). Those that are missing
/// are run in one transaction with the file's new number: a crash or an error leaves the file as it was.
///
/// A new file can be read by its owner only. A symbolic link is followed first, so that two names of one file have one
/// lock; hard links are not seen through.
///
/// # Errors
/// [`OpenError`]; each names the file and says what the operator does.
pub fn open(path: &Path, role: ApplicationId, migrations: &[&str]) -> Result<Database, OpenError> {
    Ok(open_and_migrate(path, role, migrations, Rehearsal::ForGood)?.0)
}

/// [`open`] of a server's store: a file with an older schema is refused as [`OpenError::Older`], since its operator makes a
/// backup before it is [migrated](migrate).
///
/// # Errors
/// [`OpenError`]; each names the file and says what the operator does.
pub fn open_current(path: &Path, role: ApplicationId, migrations: &[&str]) -> Result<Database, OpenError> {
    let (mut database, found) = open_file(path, role, migrations)?;
    match found {
        None => bring_up(&mut database, role, (0, migrations), Rehearsal::ForGood)?,
        Some(found) if found < migrations.len() as i64 => {
            let path = database.path.clone();
            return Err(OpenError::Older { path, found, known: migrations.len() as i64 });
        }
        Some(_) => {}
    }
    Ok(database)
}

/// Brings the schema of a file that exists up to date, or tries whether it could be.
///
/// # Errors
/// [`OpenError`]; each names the file and says what the operator does. Nothing was changed then.
pub fn migrate(
    path: &Path,
    role: ApplicationId,
    migrations: &[&str],
    rehearsal: Rehearsal,
) -> Result<Migrated, OpenError> {
    if let Err(source) = path.metadata() {
        return Err(OpenError::File { path: path.to_owned(), source });
    }
    Ok(open_and_migrate(path, role, migrations, rehearsal)?.1)
}

/// Copies the store of `role` at `path`, which a server may have open and go on writing, into the new file `copy`: all of
/// one moment. When it returns the copy is on the disk and has been checked.
///
/// # Errors
/// [`OpenError`], and then there is no copy, or one that is to be thrown away.
pub fn backup(path: &Path, role: ApplicationId, copy: &Path) -> Result<(), OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { path, source }
    };
    let store = |path: &Path| {
        let path = path.to_owned();
        move |error: rusqlite::Error| OpenError::Store { path, source: error.into() }
    };
    path.metadata().map_err(io(path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(store(path))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(store(path))?;
    let (found, is_new) = identity(&connection).map_err(store(path))?;
    if is_new || found.role != role {
        return Err(OpenError::NotOurs { path: path.to_owned(), found: found.role, expected: role });
    }
    // SQLite takes an empty file for one that it may write; made here, it is nobody else's to read.
    let file = files::private().create_new(true).open(copy).map_err(io(copy))?;
    let Some(name) = copy.to_str() else {
        return Err(io(copy)(io::Error::new(io::ErrorKind::InvalidFilename, "a name in UTF-8 is needed")));
    };
    connection.execute("VACUUM INTO ?1", [name]).map_err(store(copy))?;
    file.sync_all().and_then(|()| files::sync_directory(files::directory_of(copy))).map_err(io(copy))?;
    let copied = Connection::open_with_flags(copy, flags).map_err(store(copy))?;
    let said: String = copied.query_row("PRAGMA quick_check", [], |row| row.get(0)).map_err(store(copy))?;
    match said.as_str() {
        "ok" => Ok(()),
        _ => Err(OpenError::Store { path: path.to_owned(), source: StoreError::Corrupt }),
    }
}

fn open_and_migrate(
    path: &Path,
    role: ApplicationId,
    migrations: &[&str],
    rehearsal: Rehearsal,
) -> Result<(Database, Migrated), OpenError> {
    let (mut database, found) = open_file(path, role, migrations)?;
    let migrated = Migrated { from: found.unwrap_or(0), to: migrations.len() as i64 };
    if found.is_none() || migrated.from < migrated.to {
        bring_up(&mut database, role, (migrated.from, migrations), rehearsal)?;
    }
    Ok((database, migrated))
}

/// Opens or makes the file, with the pragmas in force. The number of its schema; none if it is nobody's yet.
fn open_file(path: &Path, role: ApplicationId, migrations: &[&str]) -> Result<(Database, Option<i64>), OpenError> {
    let path = create_and_resolve(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    let owner = Owner::acquire(&path)?;
    let store = |error: rusqlite::Error| OpenError::Store { path: path.clone(), source: error.into() };

    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags).map_err(store)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(store)?;

    let (found, is_new) = identity(&connection).map_err(store)?;
    if !is_new && found.role != role {
        return Err(OpenError::NotOurs { path, found: found.role, expected: role });
    }
    let known = migrations.len() as i64;
    if found.schema > known {
        return Err(OpenError::Newer { path, found: found.schema, known });
    }
    enforce_pragmas(&connection, &path)?;
    Ok((Database { connection, path, _owner: owner }, (!is_new).then_some(found.schema)))
}

fn bring_up(
    database: &mut Database,
    role: ApplicationId,
    missing: (i64, &[&str]),
    rehearsal: Rehearsal,
) -> Result<(), OpenError> {
    let Database { connection, path, .. } = database;
    run_migrations(connection, role, missing, rehearsal).map_err(|(number, error)| OpenError::Migration {
        path: path.clone(),
        number,
        source: error.into(),
    })
}

/// Makes the file if there is none, and gives its real name. SQLite takes an empty file for a new database, and gives
/// its `-wal` and `-shm` files the same mode.
fn create_and_resolve(path: &Path) -> io::Result<PathBuf> {
    match files::private().create_new(true).open(path) {
        Ok(_) => files::sync_directory(files::directory_of(path))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    path.canonicalize()
}

struct Identity {
    role: ApplicationId,
    schema: i64,
}

/// Whose file this is, and whether it is still nobody's. Reads only.
fn identity(connection: &Connection) -> rusqlite::Result<(Identity, bool)> {
    let role = ApplicationId(connection.pragma_query_value(None, "application_id", |row| row.get(0))?);
    let schema: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok((Identity { role, schema }, role.0 == 0 && schema == 0 && objects == 0))
}

/// Sets what durability and safety need, and reads each back: SQLite ignores a pragma that it cannot follow.
fn enforce_pragmas(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let check = |pragma: &'static str, needed: &str, found: rusqlite::Result<String>| match found {
        Ok(found) if found == needed => Ok(()),
        Ok(found) => Err(OpenError::Pragma { path: path.to_owned(), pragma, needed: needed.to_owned(), found }),
        Err(error) => Err(OpenError::Store { path: path.to_owned(), source: error.into() }),
    };
    let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
    check("journal_mode", "wal", mode)?;
    // FULL (2) syncs the WAL at every commit; NORMAL would lose the last commits at a power failure. A schema that is
    // not trusted cannot call functions with side effects from its views and triggers.
    for (pragma, needed) in [("synchronous", 2_i64), ("foreign_keys", 1), ("trusted_schema", 0)] {
        let found = connection
            .pragma_update(None, pragma, needed)
            .and_then(|()| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)));
        check(pragma, &needed.to_string(), found.map(|value| value.to_string()))?;
    }
    Ok(())
}

/// Runs the migrations after number `from` in one transaction. On an error, the number of the one that failed.
fn run_migrations(
    connection: &mut Connection,
    role: ApplicationId,
    (from, migrations): (i64, &[&str]),
    rehearsal: Rehearsal,
) -> Result<(), (i64, rusqlite::Error)> {
    let known = migrations.len() as i64;
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| (from + 1, e))?;
    for (number, sql) in (1..).zip(migrations).filter(|(number, _)| *number > from) {
        transaction.execute_batch(sql).map_err(|error| (number, error))?;
    }
    transaction
        .pragma_update(None, "application_id", role.0)
        .and_then(|()| transaction.pragma_update(None, "user_version", known))
        .and_then(|()| match rehearsal {
            Rehearsal::ForGood => transaction.commit(),
            Rehearsal::DryRun => transaction.rollback(),
        })
        .map_err(|error| (known, error))
}
