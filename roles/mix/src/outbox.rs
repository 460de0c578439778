//! What a mix wants done once it has looked at some blocks.

use naulon_exchange::Exchange;
use naulon_meter::Terms;
use naulon_statement::{PublicKey, UnverifiedJoint};

/// A link of this mix, by a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A session at this mix, by a number of its own. It is never the number of two sessions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub(crate) u64);

/// It would link what a session does.
impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey")
    }
}

/// What comes out of the mixes here.
#[derive(Debug)]
pub enum Leaving {
    /// A session whose last mix this is has begun.
    Begun {
        /// The session.
        session: SessionKey,
        /// What it agrees on: who pays when decides what the recipient says.
        terms: Terms,
    },
    /// A block of it has arrived.
    Payload {
        /// The session.
        session: SessionKey,
        /// The block's number: ticks that the recipient lets go for it name it.
        number: u32,
        /// The block only asks the recipient for its tick.
        is_ask: bool,
        /// The payload; empty where a block of a cohort only pays.
        payload: Vec<u8>,
    },
    /// Replies that had to wait may go now.
    MayReply(SessionKey),
    /// The session is over.
    Ended(SessionKey),
}

/// An exchange that sets money aside for a check: the mix posts it before the first block (on-line encashment).
#[derive(Debug)]
pub struct Posting {
    /// The session that waits.
    pub session: SessionKey,
    /// The bank.
    pub bank: PublicKey,
    /// The exchange.
    pub exchange: Box<UnverifiedJoint<Exchange>>,
}

/// What a mix wants done. Whoever holds it does it in this order: dial, send, leave, post, hang up; and all of it before that of
/// a later call.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Links to be made, each to the mix with this key.
    pub dials: Vec<(LinkId, PublicKey)>,
    /// Blocks to be sent, behind one another.
    pub sends: Vec<(LinkId, Vec<u8>)>,
    /// What comes out of the mixes here.
    pub leaving: Vec<Leaving>,
    /// Exchanges to be posted.
    pub posts: Vec<Posting>,
    /// Links to be ended.
    pub hang_ups: Vec<LinkId>,
    /// Why sessions were closed or blocks dropped: stable codes, for metrics.
    pub refused: Vec<&'static str>,
}

impl Outbox {
    /// Nothing.
    pub fn new() -> Self {
        Outbox::default()
    }

    pub(crate) fn send(&mut self, link: LinkId, block: &[u8]) {
        match self.sends.iter_mut().rev().find(|(to, _)| *to == link) {
            Some((_, blocks)) => blocks.extend_from_slice(block),
            None => self.sends.push((link, block.to_vec())),
        }
    }
}
