//! Tokens that share a key (AAT §8.1).

use std::fmt;

use minicbor::{Decode, Encode};
use naulon_statement::{Digest, PublicKey};

/// Separates nonces that stand for a key and a serial number from everything else that is hashed.
const DOMAIN: &[u8] = b"naulon/q-s";

/// A key Q that several tokens name, and the serial number s of one of them. The nonce of such a token is
/// SHA-256("naulon/q-s" ‖ Q ‖ s): the bank signs h(Q, s) blindly in the place of h(Q). Whoever spends it shows Q and s, so
/// the bank, and nobody else, can link the uses of one Q.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct ReusedKey {
    /// The Ed25519 key that signs.
    #[n(1)]
    pub q: PublicKey,
    /// The serial number, which makes the token unlike the others of its key.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub s: [u8; 32],
}

impl ReusedKey {
    /// The nonce of the token.
    pub fn nonce(&self) -> [u8; 32] {
        Digest::of(&[DOMAIN, self.q.as_bytes(), &self.s]).0
    }
}

/// It does not print its bytes: they would link payments to whoever wrote the line.
impl fmt::Debug for ReusedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReusedKey(64 bytes)")
    }
}
