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
/// `migrations[i]` is the SQL that makes schema i+1 from schema i. Published ones are never changed, only followed by
/// others. Those that are missing are run in one transaction with the file's new number: a crash or an error leaves the
/// file as it was. They contain no BEGIN or COMMIT.
///
/// A new file can be read by its owner only. A symbolic link is followed first, so that two names of one file have one
/// lock; hard links are not seen through.
///
/// # Errors
/// [`OpenError`]; each names the file and says what the operator does.
pub fn open(path: &Path, role: ApplicationId, migrations: &[&str]) -> Result<Database, OpenError> {
    let path = create_and_resolve(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    let owner = Owner::acquire(&path)?;
    let store = |error: rusqlite::Error| OpenError::Store { path: path.clone(), source: error.into() };

    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags).map_err(store)?;
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
    if is_new || found.schema < known {
        migrate(&mut connection, role, found.schema, migrations).map_err(|(number, error)| OpenError::Migration {
            path,
            number,
            source: error.into(),
        })?;
    }
    Ok(Database { connection, _owner: owner })
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
fn migrate(
    connection: &mut Connection,
    role: ApplicationId,
    from: i64,
    migrations: &[&str],
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
        .and_then(|()| transaction.commit())
        .map_err(|error| (known, error))
}
