//! What has happened to an operation.

use naulon_money::Amount;
use naulon_statement::{PublicKey, Timestamp};
use naulon_wire::Problem;

use crate::operation::{End, OperationId};

/// Something that has happened to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The account at this bank is open.
    AccountOpened(PublicKey),
    /// Fresh tokens are in the wallet.
    Received {
        /// What they are worth.
        amount: Amount,
        /// How many there are.
        tokens: usize,
    },
    /// The account was credited.
    Deposited(Amount),
    /// Encrypted goods have come in.
    Fetched {
        /// How many bytes there are now.
        bytes: u64,
        /// Of how many.
        of: u64,
    },
    /// The encrypted goods are being compared with the offer.
    Checked {
        /// How many bytes have been read.
        bytes: u64,
        /// Of how many.
        of: u64,
    },
    /// The encrypted goods are not the ones of the offer: they are thrown away and fetched again.
    OtherGoods,
    /// The authorization is signed and written down.
    Authorized {
        /// When it expires.
        expiry: Timestamp,
    },
    /// The shop keeps the order until the bank brings its promise.
    Ordered,
    /// The bank has locked the tokens and given its promise.
    Locked,
    /// The log has decided.
    Decided {
        /// Whether the purchase happened.
        committed: bool,
    },
    /// Goods are being decrypted.
    Decrypted {
        /// How many plain bytes there are now.
        bytes: u64,
        /// Of how many.
        of: u64,
    },
    /// The goods are here, as described.
    Delivered {
        /// Where.
        place: String,
    },
    /// The merchant's key does not open the goods, or they are not as described. The evidence is kept.
    Cheated,
    /// The bank has settled the purchase.
    Settled,
    /// The bank has proven that tokens were spent by another copy of this wallet.
    SpentElsewhere {
        /// How many tokens.
        tokens: usize,
    },
    /// The other side has taken the call and does not know the outcome yet.
    Pending,
    /// The other side refused. Unless the operation ended, the same call is made again.
    Refused(Problem),
    /// The other side cannot be reached. The same call is made again.
    Unreachable(String),
    /// An answer that does not hold, or is none to what was asked. It has changed nothing.
    Distrusted(&'static str),
    /// Something failed on this machine: goods could not be written or read. It is tried again.
    Trouble(String),
    /// The operation has ended.
    Ended(End),
}

impl Event {
    /// Whether the operation is further than before it.
    pub fn is_progress(&self) -> bool {
        !matches!(
            self,
            Event::Pending
                | Event::Refused(_)
                | Event::Unreachable(_)
                | Event::Distrusted(_)
                | Event::Trouble(_)
                | Event::OtherGoods
        )
    }

    /// Whether it only says how far a long step has come.
    pub(crate) fn is_tick(&self) -> bool {
        matches!(self, Event::Checked { .. } | Event::Decrypted { .. })
    }
}

/// Is told of every event as it happens, for progress bars. It runs while the wallet works, so it must be quick.
pub type Watch = Box<dyn FnMut(OperationId, &Event) + Send>;
