//! Ed25519 keys, verified strictly.
//!
//! Bank, log and judge must never disagree on a signature, and nobody may be able to repudiate one. So the canonical
//! encodings of A, R and S are required, a small-order A or R is refused, the equation is the cofactorless one, and
//! signatures are never verified in a batch.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
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
        self.point().map(|_| ())
    }

    /// Verifies an Ed25519 signature over the message, strictly. An R that is not canonical never equals the one that is
    /// computed, for they are compared as bytes; dalek itself refuses an S that is not reduced and an R of small order.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        let signature = Signature::from_bytes(signature);
        self.point()?.verify_strict(message, &signature).map_err(|_| SignatureError::Mismatch)
    }

    fn point(&self) -> Result<VerifyingKey, KeyError> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| KeyError::NotCanonical)?;
        if key.to_edwards().compress().to_bytes() != self.0 {
            return Err(KeyError::NotCanonical);
        }
        if key.is_weak() {
            return Err(KeyError::SmallOrder);
        }
        Ok(key)
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

/// An Ed25519 private key. It is wiped when dropped and cannot be printed.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of a 32-byte seed (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        SecretKey(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The signature over the message. It is deterministic.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}
