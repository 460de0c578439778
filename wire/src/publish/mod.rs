//! Has a log's checkpoints cosigned by witnesses. Every party that keeps a public log (the log, the bank) uses this one
//! piece.
//!
//! A party makes a [`Publisher`] from its checkpoint key and its [`WitnessPolicy`](naulon_tlog::WitnessPolicy) and
//! implements [`Owner`], by which the publisher has consistency proofs made and cosigned checkpoints kept:
//!
//! 1. When it starts, before it answers anybody: [`Publisher::settle`]. The witnesses say where they stand; if one of them
//!    has cosigned more than this party has, or another tree, the party's store is an old or a wrong copy and it must not
//!    start ([`StartError`] says what to do). So a restored backup can contradict nothing that was published.
//! 2. After every commit of its store: [`Publisher::publish`] with the new signed checkpoint. It only takes note, so a
//!    reply never waits for a witness.
//! 3. In a task of its own, for ever: [`Publisher::run`]. In rounds of one checkpoint it asks all witnesses at once, and
//!    when enough have cosigned, has the owner keep the cosigned note, and only then shows it.
//! 4. To whoever asks: [`Publisher::newest`] at `/checkpoint` (the newest note with whatever cosignatures it has) and
//!    [`Publisher::cosigned`] at `/checkpoint/cosigned` (the newest with as many as the policy wants).
//!
//! What is decided is in `state.rs`, without clock and sockets; `pump.rs` carries it out.
//!
//! ```
//! use naulon_tlog::*;
//! use naulon_wire::publish::Publisher;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A trial on one's own machine, without witnesses: nothing is ever asked, and nothing is ever cosigned.
//! let log = CheckpointSigner::new("log.example/fares", &[7; 32])?;
//! let empty = log.sign(&Checkpoint { origin: "log.example/fares".into(), size: 0, root: empty_root() })?;
//! let publisher = Publisher::new(log.verifier().clone(), WitnessPolicy::unwitnessed(), empty.as_str(), None)?;
//! assert_eq!((publisher.newest().as_str(), publisher.cosigned()), (empty.as_str(), None));
//! # Ok(()) }
//! ```

mod pump;
mod state;

pub use pump::{Owner, Publisher, Witness};
pub use state::{PublishError, Standing, StartError};
