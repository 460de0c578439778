//! Checks that the wallet has made: each pays one payee by the tick.

use minicbor::{Decode, Encode};
use naulon_exchange::Funding;
use naulon_money::Amount;
use naulon_statement::{PublicKey, Timestamp, Unverified};
use naulon_tick::{Certificate, Check, TickError, Walker};
use zeroize::Zeroizing;

use crate::operation::OperationId;

/// A check that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckWanted {
    /// The bank that is to pay.
    pub bank: PublicKey,
    /// To whom it is made out: the payee's key at the bank.
    pub payee: PublicKey,
    /// What each tick pays.
    pub value: Amount,
    /// How many ticks.
    pub length: u32,
    /// Until then it is paid with. Whoever names a round time, as others do, is not told apart by it.
    pub expiry: Timestamp,
}

/// What pays for a check, and where what is left of it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pocket {
    /// Tokens: nobody is named. The check may be worth more than its ticks, because tokens come in denominations; and of what is
    /// left as much comes back as they allow.
    Tokens,
    /// The account: the bank sees whose money it is, and later whose ticks are cashed. Only for who has nothing to hide from it.
    Account,
}

/// Where a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum CheckState {
    /// The bank is asked to set its money aside.
    #[n(0)]
    Funding,
    /// Its money is set aside, and nobody has been shown it.
    #[n(1)]
    Ready,
    /// It was handed out: whoever pays with it has it, once.
    #[n(2)]
    Out,
    /// All of it is spent or back.
    #[n(3)]
    Over,
    /// The bank did not set its money aside.
    #[n(4)]
    Void,
}

impl CheckState {
    /// A word for tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckState::Funding => "funding",
            CheckState::Ready => "ready",
            CheckState::Out => "out",
            CheckState::Over => "over",
            CheckState::Void => "void",
        }
    }
}

/// A check as it stands in the store. Its secrets are derived from the seed by its number.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HeldCheck {
    #[n(1)]
    pub number: u32,
    #[n(2)]
    pub check: Check,
    #[n(3)]
    pub state: CheckState,
    /// What is set aside: at least what its ticks pay.
    #[n(4)]
    pub maximum: Amount,
    /// What has come back.
    #[n(5)]
    pub returned: Amount,
    #[n(6)]
    pub certificate: Option<Unverified<Certificate>>,
    /// The operation that funds it.
    #[n(7)]
    pub funded_by: OperationId,
}

/// A check to pay with, and all that it takes. There is one such value a check.
pub struct ReadyCheck {
    /// Its number in the wallet.
    pub number: u32,
    /// The check.
    pub check: Check,
    /// What stands behind it, to be shown to the payee with it.
    pub funding: Funding,
    /// What its ticks are made of ([`Walker::new`]).
    pub secret: Zeroizing<[u8; 32]>,
}

impl ReadyCheck {
    /// Its ticks, from the first one on.
    pub fn walker(&self) -> Result<Walker, TickError> {
        Walker::new(self.check.id, &self.secret, self.check.length)
    }
}

/// A check, as the person sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckEntry {
    /// Its number in the wallet.
    pub number: u32,
    /// The bank.
    pub bank: PublicKey,
    /// To whom it is made out.
    pub payee: PublicKey,
    /// Where it stands.
    pub state: CheckState,
    /// What is set aside for it.
    pub maximum: Amount,
    /// What has come back.
    pub returned: Amount,
    /// Until then it is paid with.
    pub expiry: Timestamp,
    /// From then on what is left comes back without the payee's word.
    pub free_from: Timestamp,
    /// The operation that funds it.
    pub funded_by: OperationId,
}
