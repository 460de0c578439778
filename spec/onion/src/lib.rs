//! The block format of the mixes: what a block looks like on a link, and what each mix can make of it.
//!
//! Every frame on every link is one block of one length ([`Shape`]). A set-up block begins a session at three mixes and
//! brings each a check that pays it; the data blocks that follow need only symmetric work. What is not meant for a mix is
//! not legible to it, and every block looks new behind every mix.
//!
//! A mix authenticates as much of a block as is meant for it and those behind it, **drops the rest**, and fills the next
//! block up with randomness: so nothing that a mix changes reaches an honest one unnoticed (tagging). The way back is the
//! other way round: each mix adds a layer, and the sender, who opens all, can tell at which of them a reply was altered.
//!
//! Model: MixPay §4 (what a block brings a mix), figures 4 and 5; hybrid encryption and the recipient's ticks are §6 and
//! table 1. In bytes: `docs/spec/onion.md`; vectors: `vectors/onion`.
//!
//! In scope: kinds and lengths, key agreement, layers, replies, reverse onions, replay windows, letters to recipients, the
//! descriptor of a mix. Out of scope: who may pass (`naulon-meter`), what is inside a fare (`naulon-exchange`) and a payload
//! (`naulon-stream`), links and batches (`naulon-mix`).
//!
//! ```
//! use naulon_onion::{HopKeys, Kind, PathHop, Pay, Plan, Protocol, Session, Shape, Traffic};
//! use naulon_statement::SecretKey;
//! use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//!
//! let (shape, mut rng) = (Shape::STANDARD, ChaCha20Rng::from_seed([1; 32]));
//! let mut block = vec![0; shape.block()];
//! // Three mixes make their keys of epoch 7.
//! let mut mixes = [HopKeys::new(), HopKeys::new(), HopKeys::new()];
//! let mut number = 0;
//! let path = mixes.each_mut().map(|keys| {
//!     number += 1;
//!     PathHop { mix: SecretKey::from_seed(&[number; 32]).public(), key: keys.begin(7, &[number; 32]) }
//! });
//! // The sender begins a session …
//! let fares = [b"check 1".to_vec(), b"check 2".to_vec(), b"check 3".to_vec()];
//! let plan = Plan { path, protocol: Protocol::BEFORE_SENDER, traffic: Traffic::Stream, fares };
//! let mut sender = Session::begin(shape, &plan, &mut block, &mut rng).unwrap();
//! let mut hops = mixes.map(|mut keys| keys.open_set_up(shape, 64, &mut block, &mut rng).unwrap());
//! assert_eq!(hops[1].route.fare, b"check 2");
//! // … sends data …
//! sender.data(&[Pay::default(); 3], b"request", &mut block).unwrap();
//! hops.iter_mut().for_each(|hop| assert_eq!(hop.session.open(&mut block, &mut rng), Ok(Pay::default())));
//! assert_eq!(&block[shape.payload_range(Kind::Data)][..7], b"request");
//! // … and gets an answer.
//! hops[2].session.reply(b"answer", &mut block, &mut rng).unwrap();
//! hops[1].session.pass_back(&mut block, &mut rng).unwrap();
//! hops[0].session.pass_back(&mut block, &mut rng).unwrap();
//! sender.open_reply(&mut block).unwrap();
//! assert_eq!(&block[shape.payload_range(Kind::Reply)][..6], b"answer");
//! ```

mod client;
mod descriptor;
mod header;
mod hop;
mod key;
mod letter;
mod listing;
mod part;
mod shape;
mod window;

pub use client::{PathHop, Plan, ReplyError, Session, packet};
pub use descriptor::{
    Contract, Descriptor, DescriptorError, EpochKey, ExitPolicy, MAX_ADDRESS, MAX_BANKS, MAX_DESCRIPTOR_TIME,
    MAX_HOP_KEYS, MAX_MEMBERS, MAX_NAME, MAX_PORTS, Member, Payee, Ports,
};
pub use header::{Header, SessionId};
pub use hop::{Begun, HopSession, Passed, refuse_set_up};
pub use key::{EphemeralMark, HopKeys, HopPublic, KEM_X25519, MAX_EPHEMERALS, MAX_EPOCHS};
pub use letter::{
    Conversation, FIRST_LETTER_OVERHEAD, LETTER_OVERHEAD, Letter, LetterReader, LetterWriter, SealedTicks,
    conversation_of,
};
pub use listing::{
    Listing, ListingError, MAX_LISTED_MIXES, MAX_LISTED_PARTIES, MAX_PARTY_LINE, verified as verified_descriptor,
};
pub use part::{MAX_SLOTS, Next, PacketPart, Pay, Protocol, Route, Traffic, Trigger, When};
pub use shape::{HEADER_LEN, HOPS, KEM_LEN, Kind, MAX_BLOCK, PAY_LEN, RETURN_LEN, Shape, TAG_LEN};
pub use window::{REPLAY_WINDOW, Window};

/// Why a hop, or the sender, does not take a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No block of this shape, kind, link or session, or one whose layer says what makes no sense.
    #[error("not a block of the expected form")]
    Malformed,
    /// A key agreement that is not known here.
    #[error("an unknown key agreement")]
    Kem,
    /// It was changed on its way, or is sealed to another key.
    #[error("the block does not open: it was changed, or is for another key")]
    Closed,
    /// It was here before, or is too old to tell.
    #[error("the block was here before")]
    Replayed,
    /// More blocks are missing than may be lost: the session ends.
    #[error("too many blocks are missing")]
    Gap,
    /// The session has counted to its end.
    #[error("the session has no further block")]
    Exhausted,
    /// As many ephemeral keys are remembered as fit: no new session before the next epoch.
    #[error("too many sessions in this epoch")]
    Full,
}

impl OpenError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            OpenError::Malformed => "block_malformed",
            OpenError::Kem => "block_kem",
            OpenError::Closed => "block_altered",
            OpenError::Replayed => "block_replayed",
            OpenError::Gap => "block_gap",
            OpenError::Exhausted => "session_exhausted",
            OpenError::Full => "epoch_full",
        }
    }

    /// Whether the session must end: nothing that comes after it can be right.
    pub fn ends_session(&self) -> bool {
        matches!(self, OpenError::Gap | OpenError::Exhausted)
    }
}

/// Why a sender cannot make a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The payload, a fare or the block has not the right length.
    #[error("payload or fare does not fit")]
    Room,
    /// The key of the mix at this position is none.
    #[error("the key of mix {0} cannot be used")]
    HopKey(u8),
    /// The session has counted to its end: begin another.
    #[error("the session has no further block")]
    Exhausted,
}
