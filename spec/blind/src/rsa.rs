//! RFC 9474, RSABSSA-SHA384-PSS-Deterministic, for RSA-2048.
//!
//! `pss` encodes, `modulus` calculates, `issuer_key` and `issuer_secret` are the two halves of a key.

mod issuer_key;
mod issuer_secret;
mod modulus;
mod pss;
mod spki;

pub use issuer_key::{BlindError, FinalizeError, IssuerKey, Unblinder, VerifyError};
pub use issuer_secret::{IssuerSecret, MAX_SECRET_DER_LEN, SecretKeyError, SecretNumbers, SignError};
pub use pss::SALT_LEN;
pub use spki::{SPKI_LEN, Spki, SpkiError};

use crate::bytes::fixed_bytes;

/// The length of a modulus in bits: the one that RFC 9578 fixes for token type 0x0002.
pub const MODULUS_BITS: i32 = 2_048;
/// The length in bytes of a modulus, and of every number below it.
pub const MODULUS_LEN: usize = 256;
/// The public exponent: the only one accepted.
pub const EXPONENT: u32 = 65_537;
/// The bytes that make a blinding factor. They are 64 more than a modulus has, so that what is left of them modulo N is
/// as good as uniform.
pub const R_LEN: usize = 320;

fixed_bytes! {
    /// What the bank is asked to sign: a number that tells it nothing about the message (`blinded_msg` of RFC 9474).
    BlindedMessage, MODULUS_LEN
}
fixed_bytes! {
    /// What the bank answers (`blind_sig` of RFC 9474). Only who blinded can use it.
    BlindSignature, MODULUS_LEN
}
fixed_bytes! {
    /// An RSASSA-PSS signature over the message.
    Signature, MODULUS_LEN
}
