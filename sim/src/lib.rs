//! The whole world in one process on simulated time.
//!
//! Bank, log, shops and wallets are the services that the programs run, over memory stores; the messages between them are
//! the very HTTP messages that the programs send. A run is decided by its number and its campaign's seed, so it can be
//! played again. In it messages are lost, delayed, doubled and corrupted, parties are killed before and after every write
//! and started again from their stores, and somebody may cheat. At the end of every run
//!
//! - every purchase has ended in commit or abort for all,
//! - the bank's auditor agrees, money is conserved, and the wallets hold what the bank owes,
//! - whoever bought has the goods, byte by byte, and whoever sold has the money, once,
//! - each party holds the evidence that AAT §4 promises it, and the judge agrees.
//!
//! A cheat leads to what AAT says of it: evidence that convicts, or, for the log that passes k on (§7), a gain that is shown.
//! [`Sabotage`] puts bugs in on purpose: a simulator that does not find them is worth nothing. Which runs there are, and what
//! they do not claim: docs/simulator.md.
//!
//! In scope: purchases, and games about privacy ([`game`], docs/games.md). Out of scope: the programs as processes
//! (`naulon/tests`), speed (`naulon-bench`).

mod asking;
mod campaign;
mod cheat;
mod check;
mod clock;
mod fault;
pub mod game;
mod keys;
mod mix;
mod network;
mod party;
mod play;
mod run;
mod sabotage;
mod watch;
mod world;

/// The bank that its own tests run, with fixed keys.
#[allow(missing_docs, clippy::panic, reason = "it is the bank's tests' own, and tells in its place what it is")]
#[path = "../../roles/bank/tests/world/mod.rs"]
mod bank_world;

pub use campaign::{Campaign, Outcome};
pub use cheat::Cheat;
pub use check::{Report, Tally};
pub use clock::Clock;
pub use fault::Fault;
pub use mix::{FOULS, Foul, MixCampaign, Outcome as MixOutcome, Run as MixRun};
pub use network::Place;
pub use party::Want;
pub use run::{Merged, Run};
pub use sabotage::Sabotage;
