//! The transaction log: decides exactly one of *commit* and *abort* for each purchase, durably, in public.
//!
//! This is L of AAT §3.3 (P4 and P5): a merchant hands over its key and thereby asks for *commit*; from the expiry on, any
//! holder of the bank's header may ask for *abort*. The first to come decides. Whoever asks again, for whatever, gets the
//! decision that was made, with a proof that it stands in the log's public tree (`docs/spec/log.md`).
//!
//! [`Log`] is synchronous over a [`LogStore`]: requests that arrive together are decided, signed, appended and covered by
//! one signed checkpoint in one transaction ([`Log::handle_batch`]); only then are they answered. [`LogFront`] puts it
//! behind HTTP, with the signatures of the requests verified in parallel before they queue.
//!
//! In scope: deciding once, the log's time, the tree, serving it (C2SP tlog-tiles). Out of scope: what the statements mean
//! (`naulon-purchase`), hashes and proofs (`naulon-tlog`), asking witnesses (`naulon_wire::publish`).
//!
//! | what is stored | label | what who can write it gains |
//! | --- | --- | --- |
//! | rows, entries, hashes, checkpoint | trusted | a second decision on a purchase; signed checkpoints already out convict the log |
//!
//! The store knows of a purchase its a, Q if delivery is two-sided, expiry, and k once committed; neither n nor M nor the
//! value. Of a blind purchase it knows a one-time key, the expiry and bytes that it cannot read. What the store loses
//! cannot be made good: a log never runs on an old copy, and one that has witnesses ([`Log::publish_by`]) does not start
//! on one.
//!
//! ```
//! use naulon_durable::fault::Faults;
//! use naulon_log::{Log, LogKeys, MemoryStore};
//! use naulon_purchase::LogRules;
//! use naulon_statement::{Duration, Timestamp};
//! use naulon_wire::{LogCall, LogReply};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The operator starts the log with the secret of its sealed file, and says whose headers it takes.
//! let keys = LogKeys::from_secret(&[7; 64], "log.example/fares")?;
//! let rules = LogRules::of(keys.statements.public(), Default::default(), Duration::days(90));
//! let mut log = Log::open(keys, rules, "log.example/fares", MemoryStore::new(Faults::none()))?;
//!
//! // A watcher fetches the checkpoint, and checks it with the log's verifier key.
//! let reply = log.handle(LogCall::Public("/checkpoint".into()), Timestamp(0))?;
//! let LogReply::Public(checkpoint) = reply else { unreachable!() };
//! let checkpoint = log.identity().checkpoints.open(std::str::from_utf8(&checkpoint.bytes)?)?;
//! assert_eq!(checkpoint.size, 0);
//! # Ok(()) }
//! ```

mod front;
mod keys;
mod log;
mod memory;
mod public;
mod sqlite;
mod store;
mod trouble;

pub use front::{LIMITS, LogFront};
pub use keys::{LOG_SECRET_LEN, LogKeys};
pub use log::{Log, OpenError};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use store::{Appending, CommitError, Entry, Fence, LogState, LogStore, NewDecision, StoredDecision};
