//! Ticks: a hash chain that pays for one small thing after the other, and the check that opens it.
//!
//! The payer makes a chain from a secret end and writes its first value, the *root*, on a [`Check`]. Each further value is a
//! *tick*, and pays what the check says a tick is worth. Whoever has tick *i* has all ticks before it, and can make none after
//! it; so a payee keeps one [`Front`], and a bank one (MixPay §3.2, figure 3; XPay §2, PayWord).
//!
//! `tick[i] = first 16 bytes of SHA-256(0x02 ‖ id[32] ‖ u32be(i + 1) ‖ tick[i + 1])`: 53 bytes, one compression. The chain's
//! id is random and chosen before the chain, and the index stands in every step, so that work put into one chain or position is
//! worth nothing for another (the paper's f is a permutation without id and index: docs/papers.md).
//!
//! ```
//! use naulon_tick::{ChainId, Front, MAX_JUMP, Walker};
//!
//! // Payer: a chain of a thousand ticks, kept as a handful of pebbles.
//! let id = ChainId([7; 32]);
//! let mut payer = Walker::new(id, &[1; 32], 1_000)?;
//! let root = payer.root();
//!
//! // Payee: knows the root from the check, and takes one tick, then a jump that pays for nine blocks at once.
//! let mut front = Front::root(root);
//! let first = payer.advance(1)?;
//! assert_eq!(front.advance(&id, &first, MAX_JUMP)?, 1);
//! let tenth = payer.advance(9)?;
//! assert_eq!(front.advance(&id, &tenth, MAX_JUMP)?, 9);
//!
//! // Of what it was given in advance it cashes only what it has earned.
//! let earned = front.lower(&id, 6)?;
//! assert_eq!(earned.index, 6);
//! # Ok::<(), naulon_tick::TickError>(())
//! ```
//!
//! In scope: making and walking chains, verifying ticks, checks and what a bank certifies of them. Out of scope: what a check is
//! funded by, and what a bank pays for ticks (`naulon-exchange`); when a tick is due (`naulon-meter`). Limits: [`MAX_CHAIN`],
//! [`MAX_JUMP`].

mod chain;
mod check;
mod walker;

pub use chain::{ChainId, Front, MAX_CHAIN, MAX_JUMP, TICK_LEN, Tick, TickError, step};
pub use check::{Certificate, Check, Close, payee_digest};
pub use walker::Walker;
