//! The public half: blind, finalize, verify.

use std::fmt;
use std::sync::Arc;

use naulon_statement::Digest;

use super::modulus::{ArithmeticError, Modulus, SecretNumber};
use super::spki::{self, Spki, SpkiError};
use super::{BlindSignature, BlindedMessage, MODULUS_LEN, R_LEN, SALT_LEN, SignError, Signature, pss};

/// A bank's public key for one brand. Cloning it is cheap, and all clones share the numbers that OpenSSL prepared.
#[derive(Clone)]
pub struct IssuerKey(Arc<Inner>);

struct Inner {
    modulus: Modulus<MODULUS_LEN>,
    spki: Spki,
    key_id: [u8; 32],
}

/// What takes the blinding off a blind signature: the inverse of the blinding factor. Who has it can link withdrawal
/// and payment, so it is wiped when its last clone is dropped, and cannot be printed.
#[derive(Clone)]
pub struct Unblinder(Arc<SecretNumber>);

/// Why a message was not blinded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlindError {
    /// The blinding factor, or the encoded message, has a divisor in common with N. Either r is zero modulo N, or the
    /// caller has found a factor of the bank's key. Take another r.
    #[error("the blinding factor is not invertible modulo the bank's key")]
    NotInvertible,
    /// OpenSSL could not calculate.
    #[error("the cryptographic library failed")]
    Library,
}

/// Why a blind signature gave no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinalizeError {
    /// The bank's answer is not a blind signature of this key over this message: the bank's fault.
    #[error("the bank's blind signature does not hold")]
    WrongSignature,
    /// OpenSSL could not calculate.
    #[error("the cryptographic library failed")]
    Library,
}

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a signature of this key over this message.
    #[error("the signature does not hold")]
    WrongSignature,
    /// OpenSSL could not calculate.
    #[error("the cryptographic library failed")]
    Library,
}

impl IssuerKey {
    /// Reads a SubjectPublicKeyInfo as RFC 9578 §6.5 prescribes it, in its only encoding.
    pub fn from_spki(bytes: &[u8]) -> Result<Self, SpkiError> {
        let modulus = spki::decode(bytes)?;
        let spki = Spki::try_from(bytes).map_err(|_| SpkiError::Encoding)?;
        let key_id = Digest::of(&[bytes]).0;
        Ok(IssuerKey(Arc::new(Inner { modulus, spki, key_id })))
    }

    /// The key as SubjectPublicKeyInfo.
    pub fn spki(&self) -> &Spki {
        &self.0.spki
    }

    /// The modulus, most significant byte first.
    pub fn modulus_bytes(&self) -> [u8; MODULUS_LEN] {
        spki::modulus(&self.0.spki)
    }

    /// SHA-256 of the SubjectPublicKeyInfo: `token_key_id` of RFC 9578.
    pub fn key_id(&self) -> &[u8; 32] {
        &self.0.key_id
    }

    /// Blinds a message (RFC 9474 §4.2). `r` is reduced modulo N; like the salt it must be used for this message only.
    pub fn blind(
        &self,
        message: &[u8],
        salt: &[u8; SALT_LEN],
        r: &[u8; R_LEN],
    ) -> Result<(BlindedMessage, Unblinder), BlindError> {
        let encoded = pss::encode(message, salt);
        match self.0.modulus.blind(&encoded, r) {
            Ok((blinded, inverse)) => Ok((BlindedMessage(blinded), Unblinder(Arc::new(inverse)))),
            Err(ArithmeticError::NotInvertible) => Err(BlindError::NotInvertible),
            // An encoded message is below N, because its top bit is clear and that of N is set.
            Err(ArithmeticError::OutOfRange | ArithmeticError::Library) => Err(BlindError::Library),
        }
    }

    /// Whether the private operation takes this blinded message: it is a number below N. A bank asks before it takes money
    /// for a signature that it could then not make.
    pub fn takes(&self, blinded: &BlindedMessage) -> bool {
        self.0.modulus.check_range(&blinded.0).is_ok()
    }

    /// Unblinds the bank's answer and verifies the signature (RFC 9474 §4.4).
    pub fn finalize(
        &self,
        message: &[u8],
        blind: &BlindSignature,
        unblinder: &Unblinder,
    ) -> Result<Signature, FinalizeError> {
        let signature = match self.0.modulus.unblind(&blind.0, &unblinder.0) {
            Ok(signature) => Signature(signature),
            Err(ArithmeticError::Library) => return Err(FinalizeError::Library),
            Err(_) => return Err(FinalizeError::WrongSignature),
        };
        match self.verify(message, &signature) {
            Ok(()) => Ok(signature),
            Err(VerifyError::WrongSignature) => Err(FinalizeError::WrongSignature),
            Err(VerifyError::Library) => Err(FinalizeError::Library),
        }
    }

    /// Verifies a signature (RSASSA-PSS-VERIFY, RFC 8017 §8.1.2). A number that is not below N is no signature, so each
    /// has one form.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), VerifyError> {
        let encoded = match self.0.modulus.power_e(&signature.0) {
            Ok(encoded) => encoded,
            Err(ArithmeticError::Library) => return Err(VerifyError::Library),
            Err(_) => return Err(VerifyError::WrongSignature),
        };
        if pss::verify(message, &encoded) { Ok(()) } else { Err(VerifyError::WrongSignature) }
    }

    /// Takes what a private operation gave, wherever it was made, if it is the blind signature over this message. A wrong
    /// result is not to be given out: a fault in one CRT half gives the key away.
    pub fn check_blind_signature(
        &self,
        blinded: &BlindedMessage,
        signature: [u8; MODULUS_LEN],
    ) -> Result<BlindSignature, SignError> {
        match self.0.modulus.power_e(&signature) {
            Ok(message) if message == blinded.0 => Ok(BlindSignature(signature)),
            Ok(_) | Err(ArithmeticError::OutOfRange | ArithmeticError::NotInvertible) => Err(SignError::Fault),
            Err(ArithmeticError::Library) => Err(SignError::Library),
        }
    }

    /// The key of this modulus, most significant byte first, and the exponent 65537.
    pub fn of_modulus(n: &[u8; MODULUS_LEN]) -> Result<Self, SpkiError> {
        Self::from_spki(spki::encode(n).as_bytes())
    }

    pub(super) fn modulus(&self) -> &Modulus<MODULUS_LEN> {
        &self.0.modulus
    }
}

impl PartialEq for IssuerKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.spki == other.0.spki
    }
}

impl Eq for IssuerKey {}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuerKey({})", hex::encode(self.0.key_id))
    }
}
