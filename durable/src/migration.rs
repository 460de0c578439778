//! How tables change from one release to the next.
//!
//! A store's tables have a number. Its role keeps a list of migrations, `MIGRATIONS: &[&str]`; number i+1 is the SQL that
//! makes schema i+1 from schema i, and schema 0 is nothing at all. To change a table:
//!
//! 1. **Append** a migration to the list of every kind of store that the role has (the bank: `store/schema.rs` and
//!    `store/postgres/schema.rs`, which must have equally many). Those that stand there are frozen: each is compared with its
//!    file under the crate's `tests/schema`, and a file written by it is migrated and put through the whole conformance
//!    suite. It has no BEGIN and no COMMIT, and on PostgreSQL every primary key and UNIQUE contains the shard key.
//! 2. Freeze it: `cargo test --release -p CRATE -- --ignored freeze` writes the files of the newest number.
//!
//! Forward only: there is no way back but a backup. All missing migrations are one transaction, which also writes the new
//! number; so a store has a whole schema or the whole one before it.
//!
//! A wallet migrates when it is opened. The stores of servers do not: a server that finds older tables refuses and names
//! the command (`naulon bank migrate`), since the operator makes a backup before, and stops all processes that share the
//! tables. An older program refuses newer tables, also one that was running when they changed.

use std::fmt;

/// What a migration did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The number of the schema that was found; 0 for none.
    pub from: i64,
    /// The number that it has now.
    pub to: i64,
}

/// Whether a migration is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rehearsal {
    /// It is carried out and taken back: whether it would succeed, at no risk.
    DryRun,
    /// It is committed.
    ForGood,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema {} to schema {}", self.from, self.to)
    }
}
