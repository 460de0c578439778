//! What strangers may send, under arbitrary bytes.
//!
//! A target takes any bytes and must return. What it parses must be written again as the same bytes, and after a list of
//! operations the books must agree; else it panics, and that is a finding.
//!
//! The targets are plain functions, so that they run everywhere: `cargo test -p naulon-fuzz` replays the corpus that is
//! kept in `fuzz/corpus`, and `cargo xtask fuzz` looks for more with libFuzzer (`fuzz/engine`, a workspace of its own,
//! because it is compiled with coverage counters).
//!
//! In scope: everything that reads bytes of others, and the state machines behind it. Out of scope: files that only
//! their owner writes.

#![allow(missing_docs, reason = "two of the modules are the tests' own, and tell in their place what they are")]
#![allow(clippy::panic, clippy::unwrap_used, dead_code, reason = "a panic is what a target reports with")]

mod bytes_source;
mod calls;
mod exchange;
mod meter;
mod onion;
mod parsers;
mod payment;
mod purchase;
mod seeds;

#[path = "../../roles/bank/tests/world/mod.rs"]
mod bank_world;
#[path = "../../wire/tests/wire/samples.rs"]
mod samples;

pub use seeds::seeds;

/// A target's name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("bank-call", calls::bank),
    ("bank-reply", calls::bank_reply),
    ("block", onion::block),
    ("brand", parsers::brand),
    ("checkpoint", parsers::checkpoint),
    ("evidence", parsers::evidence),
    ("exchange-operations", exchange::operations),
    ("joint", parsers::joint),
    ("log-call", calls::log),
    ("log-reply", calls::log_reply),
    ("meter-operations", meter::operations),
    ("payment", payment::headers),
    ("proof", parsers::proof),
    ("purchase-operations", purchase::operations),
    ("shop-call", calls::shop),
    ("shop-reply", calls::shop_reply),
    ("statement", parsers::statement),
    ("text", parsers::text),
    ("tile", parsers::tile),
    ("token", parsers::token),
];

/// The target of this name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
