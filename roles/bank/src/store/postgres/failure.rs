//! How PostgreSQL fails, and what helps.

use naulon_durable::StoreError;
use tokio_postgres::error::SqlState;

/// A database that cannot be used. No text of it has the address, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// It is no address of a database. Operator: postgresql://USER@localhost/DATABASE, or
    /// postgresql:///DATABASE?host=/run/postgresql&user=USER.
    #[error("not a PostgreSQL address: write it as postgresql://USER@localhost/DATABASE")]
    Address,
    /// The host is another machine, and connections are not encrypted yet. Operator: a Unix socket or a loopback address;
    /// for a database elsewhere a tunnel that ends on this machine.
    #[error("the database host {0} is not this machine: use a Unix socket, localhost, or a tunnel to one")]
    NotLocal(String),
    /// The server may forget commits at a power failure. Operator: set it on, for the whole server.
    #[error("the PostgreSQL setting {0} is off, so it can lose what it has committed: set it on")]
    Unsafe(&'static str),
    /// A newer program has changed the tables. Operator: run that one.
    #[error("the bank's tables have schema {found}, and this program knows up to {known}: run the newer one")]
    Newer {
        /// The number in the database.
        found: i64,
        /// The highest number this program knows.
        known: i64,
    },
    /// An older program has made the tables. Operator: make a backup, stop all processes of the bank, run
    /// `naulon bank migrate`.
    #[error(
        "the bank's tables have schema {found}, this program needs {known}: make a backup, stop all processes of the \
         bank, then bring them up to date by `naulon bank migrate`"
    )]
    Older {
        /// The number in the database.
        found: i64,
        /// The number that this program needs.
        known: i64,
    },
    /// There is nothing to migrate. Operator: is it the right database?
    #[error("there are no tables of a bank in this database: is it the right one?")]
    NoTables,
    /// The tables cannot be changed under a bank that works on them. Operator: stop its processes.
    #[error("processes of the bank are connected to this database: stop them all, then migrate")]
    InUse,
    /// The database fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an attempt did not end, and what helps. Unless a COMMIT was sent, nothing of it was written.
#[derive(Debug)]
pub(super) enum Failure {
    /// A conflict with another transaction: try again.
    Again(StoreError),
    /// The connection is lost, or useless: make another, try again.
    Gone(StoreError),
    /// Trying again gives the same.
    Stop(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Stop(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refused) = error.as_db_error() else {
            let text = StoreError::Unreachable(error.to_string());
            let is_value =
                ["error serializing", "error deserializing"].iter().any(|t| error.to_string().starts_with(t));
            return if is_value { Failure::Stop(StoreError::Other(error.to_string())) } else { Failure::Gone(text) };
        };
        let text = format!("{}: {}", refused.code().code(), refused.message());
        match refused.code() {
            &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => Failure::Again(StoreError::Busy),
            &SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE => Failure::Stop(StoreError::Busy),
            &SqlState::DISK_FULL => Failure::Stop(StoreError::Full),
            &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED => Failure::Stop(StoreError::Corrupt),
            // A server that starts, stops, has become a standby, takes no (more) connections, or lost patience with us.
            &SqlState::READ_ONLY_SQL_TRANSACTION
            | &SqlState::TOO_MANY_CONNECTIONS
            | &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
            | &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Failure::Gone(StoreError::Unreachable(text)),
            code if code.code().starts_with("08") || code.code().starts_with("57P") => {
                Failure::Gone(StoreError::Unreachable(text))
            }
            _ => Failure::Stop(StoreError::Other(text)),
        }
    }
}

/// The error of a failure that nothing is tried against.
pub(super) fn settled(failure: Failure) -> PostgresOpenError {
    PostgresOpenError::Store(failure.into_error())
}

impl Failure {
    /// What to say if nothing more is tried.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Failure::Again(error) | Failure::Gone(error) | Failure::Stop(error) => error,
        }
    }
}
