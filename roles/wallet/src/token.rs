//! Tokens in the wallet.

use minicbor::{Decode, Encode};
use naulon_blind::Token;
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

/// A token in the wallet. Its key q is derived from the seed by its index.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Held {
    #[n(1)]
    pub token: Token,
    #[n(2)]
    pub index: u32,
    #[n(3)]
    pub state: TokenState,
}

impl Held {
    /// Q.
    pub fn q(&self) -> PublicKey {
        PublicKey(*self.token.nonce())
    }

    /// The token key id of its brand.
    pub fn brand(&self) -> Digest {
        Digest(*self.token.key_id())
    }
}
