//! One session at this mix.

use std::collections::VecDeque;

use naulon_meter::Meter;
use naulon_onion::{HopSession, Kind, Pay, SessionId};
use naulon_statement::{Digest, Timestamp};
use naulon_tick::ChainId;

use crate::cohort::Place;
use crate::outbox::LinkId;

/// A block that waits until it is paid.
pub(crate) struct HeldBlock {
    pub number: u32,
    pub kind: Kind,
    pub pay: Pay,
    pub block: Vec<u8>,
}

/// One session.
pub(crate) struct Session {
    pub hop: HopSession,
    pub meter: Meter,
    /// The link that its blocks come from, and its name there.
    pub from: (LinkId, SessionId),
    /// The link that its blocks go to; none at the exit.
    pub to: Option<LinkId>,
    /// The checks that pay it.
    pub checks: Vec<(ChainId, Digest)>,
    /// Blocks that wait for a tick, forward and back.
    pub held: VecDeque<HeldBlock>,
    pub held_replies: VecDeque<Vec<u8>>,
    /// Set while the bank is asked about the first check: the blocks that came meanwhile.
    pub waiting: Option<Waiting>,
    /// Its place in a cohort.
    pub place: Option<Place>,
    /// The last block came, and its tick is yet to be let go (after/recipient): its number.
    pub last: Option<u32>,
    /// Replies had to wait: the exit is told when they may go.
    pub is_starved: bool,
    /// Its ticks have moved since they were written down last.
    pub is_dirty: bool,
    pub touched: Timestamp,
}

/// What a session keeps while the bank is asked.
pub(crate) struct Waiting {
    /// The set-up block for the next mix.
    pub set_up: Vec<u8>,
    /// What came behind it, as it came.
    pub blocks: Vec<Vec<u8>>,
    pub next: naulon_onion::Next,
}

impl Session {
    pub(crate) fn is_exit(&self) -> bool {
        self.to.is_none() && self.hop.is_exit()
    }
}
