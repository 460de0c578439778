//! Tokens in the wallet.

use minicbor::{Decode, Encode};
use naulon_blind::Token;
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey};

use crate::operation::OperationId;

/// Whether a token can be paid with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum TokenState {
    /// It can.
    #[n(0)]
    Free,
    /// It is set aside for an operation under way.
    #[n(1)]
    Reserved(#[n(0)] OperationId),
    /// The bank has proven that it was spent, by another copy of this wallet.
    #[n(2)]
    Spent,
}

/// A token in the wallet. Its key q is derived from the seed, by its index or by that of a key that it shares.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Held {
    #[n(1)]
    pub token: Token,
    #[n(2)]
    pub index: u32,
    #[n(3)]
    pub state: TokenState,
    /// The index of its key, if it shares that with other tokens (AAT §8.1).
    #[n(4)]
    pub key: Option<u32>,
    /// What is left on it, if it is spent in parts (AAT §8.3): also when no part was taken in the end.
    #[n(5)]
    pub left: Option<Amount>,
}

impl Held {
    /// Its nonce, which is Q unless it shares its key with other tokens. The wallet finds it by this.
    pub fn q(&self) -> PublicKey {
        PublicKey(*self.token.nonce())
    }

    /// The token key id of its brand.
    pub fn brand(&self) -> Digest {
        Digest(*self.token.key_id())
    }
}
