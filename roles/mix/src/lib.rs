//! A mix: forwards blocks, is paid for each, and cashes what it has earned (MixPay §2 to §5).
//!
//! [`Mix`] is the engine: it takes blocks from links and says in an [`Outbox`] which blocks go to which links, what leaves the
//! mixes here, and what is to be asked of banks. It knows no socket, clock or file, so that `sim` drives the very same one.
//! [`MixHandle`] puts it behind links ([`naulon_wire::link`]), a [`TickStore`] and banks; [`InternetExit`] is what stands
//! behind the last mix of a path.
//!
//! A block passes when the session's meter says so. What was earned is written down every [`FLUSH_EVERY`]: a crash costs the
//! ticks of blocks that were in flight, no others. Hop keys are never written down: a mix that starts again begins a new
//! epoch, so nothing that was opened before can be opened again. Sessions end with the process; checks do not.
//!
//! In scope: links, sessions, batches, exits, cashing. Out of scope: the block format (`naulon-onion`), who may pass
//! (`naulon-meter`), streams (`naulon-stream`), clients (`naulon-proxy`), lists of mixes (`naulon-directory`).
//!
//! | what is stored | label | what who can write it gains |
//! | --- | --- | --- |
//! | per check: the check, its funding, highest tick, earned, cashed | trusted | can lose the mix its ticks, cannot make any |
//! | per bank: how much was cashed | trusted | a false figure for the operator |
//!
//! The store knows of a session the check that paid it and how many blocks it had; neither from where it came nor where it
//! went, nor when. The check's maker is unknown to it by construction.
//!
//! Limits: [`MAX_SESSIONS`], [`MAX_SESSIONS_A_LINK`], [`MAX_CHECKS_KEPT`], [`MAX_CHECK_TIME`], [`MAX_POSTINGS`],
//! [`MAX_WAITING`], [`MAX_LINKS`], [`MAX_QUEUE`], [`MAX_BACKLOG`], [`MAX_BACKLOG_ALL`], [`MAX_HANDSHAKES`], [`MAX_EXIT_STREAMS`],
//! [`LINK_IDLE`].

mod batch;
mod books;
mod cashier;
mod cohort;
mod exit;
mod fare;
mod memory;
mod mix;
mod outbox;
mod refusal;
mod rules;
mod server;
mod session;
mod sqlite;
mod store;

pub use batch::{Batching, BatchingError, MAX_WAITING};
pub use books::{Cashing, Due};
pub use cashier::{Banks, MAX_CASHED_TOGETHER, exchange as cashing_exchange, open_account, own_part};
pub use cohort::COHORT_STALL;
pub use exit::{CONNECT_TIMEOUT, Exit, InternetExit, LOOKUP_TIMEOUT, MAX_EXIT_STREAMS, NoExit, is_public};
pub use fare::Fare;
pub use memory::MemoryStore;
pub use mix::Mix;
pub use outbox::{Leaving, LinkId, Outbox, Posting, SessionKey};
pub use refusal::MixRefusal;
pub use rules::{
    CHECK_MARGIN, MAX_CHECK_TIME, MAX_CHECKS_KEPT, MAX_POSTINGS, MAX_SESSIONS, MAX_SESSIONS_A_LINK, MixRules,
    SESSION_IDLE,
};
pub use server::{
    Clock, FLUSH_EVERY, LINK_IDLE, MAX_BACKLOG, MAX_BACKLOG_ALL, MAX_HANDSHAKES, MAX_LINKS, MAX_QUEUE, MixHandle, STALL,
};
pub use sqlite::{SqliteReader, SqliteStore};
pub use store::{Change, Earnings, KeptCheck, TickStore};
