//! What every role keeps on disk, and how it gets there.
//!
//! A role never imports another role, yet bank, log, shop and wallet need the same things of their disk. They are
//! here once (ADR 2, `docs/adr/0002-durable.md`):
//!
//! - [`executor`]: group commit. One thread owns the store; requests that arrive together share one call, so one
//!   transaction and one fsync.
//! - [`pool`]: the threads in front of it, where what needs no store is checked and signed.
//! - [`sqlite`]: a SQLite file with one owner, one role, and pragmas that are checked.
//! - [`migration`]: how tables change from one release to the next, and what whoever changes one has to do.
//! - [`sealed`]: secrets under a passphrase, and rows sealed with a key (`docs/spec/sealed-file.md`).
//! - [`fault`]: what a role's memory store asks at every write, so that `sim` can crash it there.
//!
//! [`StoreError`] is the one thing they share: how a durable write failed, and whether it may be tried again.
//!
//! In scope: files, locks, transactions' frame, passphrases. Unix only (file modes, `/dev/fd`).
//! Out of scope: tables and SQL (each role's own), what a secret means (each role's own), clocks and randomness
//! (arguments, as everywhere: nonces and salts come in as bytes).
//!
//! | what is on disk | label | what who can write it gains |
//! | --- | --- | --- |
//! | SQLite file | trusted | everything the role decides: protect it as the role itself |
//! | lock file | untrusted | can stop the role from starting, no more |
//! | sealed file | untrusted | can destroy the secret, not read or replace it without the passphrase |
//!
//! ```
//! use naulon_durable::executor::{Executor, Limits};
//! use naulon_durable::sqlite::{self, ApplicationId, Database};
//! use naulon_durable::StoreError;
//!
//! const SHOP: ApplicationId = ApplicationId::new(b"nlSH");
//! const MIGRATIONS: &[&str] = &["CREATE TABLE sale (n INTEGER PRIMARY KEY) STRICT"];
//!
//! fn record(database: &mut Database, sales: &[i64]) -> Result<(), StoreError> {
//!     let transaction = database.transaction()?;
//!     for n in sales {
//!         transaction.execute("INSERT INTO sale VALUES (?1)", [n])?;
//!     }
//!     Ok(transaction.commit()?)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! // The operator starts the shop: the file has one owner from here on.
//! let mut database = sqlite::open(&directory.path().join("shop.sqlite"), SHOP, MIGRATIONS)?;
//!
//! // The store's thread: all that has queued is one transaction, and each job gets its own answer.
//! let store = Executor::spawn("shop-store", Limits { queue: 1024, batch: 128 }, move |sales: Vec<i64>| {
//!     let outcome = record(&mut database, &sales);
//!     sales.iter().map(|_| outcome.clone()).collect()
//! });
//!
//! // A request of the HTTP front (which awaits `submit`): when this returns, the sale is on disk.
//! store.submit_blocking(7)??;
//!
//! // The operator stops the shop: what was accepted is finished first.
//! store.stop()?;
//! # Ok(()) }
//! ```

pub mod executor;
pub mod fault;
mod files;
mod measure;
pub mod migration;
pub mod pool;
mod queue;
pub mod sealed;
pub mod sqlite;
mod store_error;

pub use queue::Refused;
pub use store_error::{Retry, StoreError};
