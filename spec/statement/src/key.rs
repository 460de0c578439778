//! Ed25519 keys, verified strictly.
//!
//! Bank, log and judge must never disagree on a signature, and nobody may be able to repudiate one. So the canonical
//! encodings of A, R and S are required, a small-order A or R is refused, the equation is the cofactorless one, and
//! signatures are never verified in a batch.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ed25519_dalek::VerifyingKey;
use minicbor::{Decode, Encode};

use crate::text::{TextError, base64url_array, base64url_encode};

/// A party's Ed25519 public key, which also is its name in statements. It may be no point at all: that comes out when a
/// signature is verified, or by [`PublicKey::check`]. Its text is base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct PublicKey(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

/// Why 32 bytes are not a usable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the canonical encoding of a point.
    #[error("not a canonical Ed25519 key")]
    NotCanonical,
    /// A point of small order, under which one signature fits many messages.
    #[error("an Ed25519 key of small order")]
    SmallOrder,
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature is not one of this key over this message, or has a form that is not accepted.
    #[error("the signature does not fit key and message")]
    Mismatch,
}

impl PublicKey {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks that this is the canonical encoding of a point that is not of small order.
    pub fn check(&self) -> Result<(), KeyError> {
        check_form(&self.0)?;
        VerifyingKey::from_bytes(&self.0).map(|_| ()).map_err(|_| KeyError::NotCanonical)
    }

    /// Verifies an Ed25519 signature over the message, strictly. The forms of A and R are checked here. AWS-LC refuses an S
    /// that is not reduced and an A that is no point, computes R by the cofactorless equation and compares it as bytes,
    /// which an R that is not canonical never equals.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        check_form(&self.0)?;
        let r = signature.first_chunk().ok_or(SignatureError::Mismatch)?;
        check_form(r).map_err(|_| SignatureError::Mismatch)?;
        let verified = UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature);
        // Only what is refused is looked at again, to say why.
        verified.map_err(|_| self.check().map_or_else(SignatureError::Key, |()| SignatureError::Mismatch))
    }
}

/// p = 2^255 - 19, little-endian.
const P: [u8; 32] = {
    let mut p = [0xff; 32];
    p[0] = 0xed;
    p[31] = 0x7f;
    p
};

/// The y of the points of small order: 0 (order 4), 1 (the neutral point), p - 1 (order 2), and two of order 8; with either x.
const SMALL_ORDER: [[u8; 32]; 5] = {
    let (zero, mut one, mut minus_one) = ([0; 32], [0; 32], P);
    one[0] = 1;
    minus_one[0] -= 1;
    let eighth = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    let other_eighth = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    [zero, one, minus_one, eighth, other_eighth]
};

/// Checks that 32 bytes encode a point, if they encode one, canonically (y < p, and no sign for an x that is 0), and that it
/// is not of small order. Only the points whose y is 1 or p - 1 have an x of 0, and these are of small order.
fn check_form(encoded: &[u8; 32]) -> Result<(), KeyError> {
    let mut y = *encoded;
    let is_negative = y[31] & 0x80 != 0;
    y[31] &= 0x7f;
    if y.iter().rev().ge(P.iter().rev()) {
        return Err(KeyError::NotCanonical);
    }
    match SMALL_ORDER.iter().position(|small| *small == y) {
        None => Ok(()),
        Some(1 | 2) if is_negative => Err(KeyError::NotCanonical),
        Some(_) => Err(KeyError::SmallOrder),
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base64url_encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url_encode(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        base64url_array(text).map(PublicKey)
    }
}

/// An Ed25519 private key. It cannot be printed, and AWS-LC, which alone holds it, wipes it when it is dropped.
pub struct SecretKey(Ed25519KeyPair);

impl SecretKey {
    /// The key of a 32-byte seed (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        match Ed25519KeyPair::from_seed_unchecked(seed) {
            Ok(pair) => SecretKey(pair),
            // Every 32 bytes are a seed.
            Err(never) => unreachable!("a seed was refused: {never}"),
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut public = [0; 32];
        public.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(public)
    }

    /// The signature over the message. It is deterministic.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(message).as_ref());
        signature
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, Signer, SigningKey};
    use proptest::prelude::*;

    use super::*;

    /// What dalek says: canonical and not of small order.
    fn is_usable(key: &[u8; 32]) -> bool {
        VerifyingKey::from_bytes(key).is_ok_and(|point| point.to_edwards().compress().0 == *key && !point.is_weak())
    }

    fn is_verified_by_dalek(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let verify = |key: VerifyingKey| key.verify_strict(message, &Signature::from_bytes(signature));
        is_usable(key) && VerifyingKey::from_bytes(key).and_then(verify).is_ok()
    }

    #[test]
    fn around_the_edges_of_the_field_dalek_says_the_same() {
        let lows = (0..=255).map(|low| {
            let mut y = P;
            y[0] = low;
            y
        });
        let smalls = (0..=255).map(|low| {
            let mut y = [0; 32];
            y[0] = low;
            y
        });
        let mut refused = 0;
        for mut y in lows.chain(smalls).chain(SMALL_ORDER) {
            for sign in [0, 0x80] {
                y[31] = y[31] & 0x7f | sign;
                assert_eq!(PublicKey(y).check().is_ok(), is_usable(&y), "{y:02x?}");
                refused += usize::from(check_form(&y).is_err());
            }
        }
        // Nineteen y from p on, and the five small ones, once or (those below 256 and p - 1) twice.
        assert_eq!(refused, 2 * (19 + 3 + 5));
    }

    proptest! {
        #[test]
        fn dalek_signs_and_verifies_the_same(seed: [u8; 32], message: Vec<u8>, at in 0..64_usize, bit in 0..8_u8) {
            let (ours, dalek) = (SecretKey::from_seed(&seed), SigningKey::from_bytes(&seed));
            let (key, mut signature) = (ours.public(), ours.sign(&message));
            prop_assert_eq!(key.0, dalek.verifying_key().to_bytes());
            prop_assert_eq!(signature, dalek.sign(&message).to_bytes());
            prop_assert_eq!(key.verify(&message, &signature), Ok(()));
            signature[at] ^= 1 << bit;
            prop_assert_eq!(key.verify(&message, &signature), Err(SignatureError::Mismatch));
            prop_assert!(!is_verified_by_dalek(&key.0, &message, &signature));
        }

        #[test]
        fn dalek_takes_the_same_keys(bytes: [u8; 32]) {
            prop_assert_eq!(PublicKey(bytes).check().is_ok(), is_usable(&bytes));
        }
    }
}
