//! The one encoding of a public key (RFC 9578 §6.5): SubjectPublicKeyInfo, DER.
//!
//! Algorithm RSASSA-PSS with SHA-384, MGF1-SHA384 and 48 bytes of salt. With the modulus at 2,048 bits and the exponent
//! at 65537 everything but the modulus is constant, so a key is read by comparison: another encoding of the same key
//! would have another key id, and is refused.

use super::{MODULUS_LEN, modulus::Modulus};
use crate::bytes::fixed_bytes;

/// The length of an encoded key.
pub const SPKI_LEN: usize = PREFIX.len() + MODULUS_LEN + SUFFIX.len();

/// Everything before the modulus.
#[rustfmt::skip]
const PREFIX: [u8; 81] = [
    0x30, 0x82, 0x01, 0x52, // SubjectPublicKeyInfo
      0x30, 0x3d, // AlgorithmIdentifier
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, // id-RSASSA-PSS
        0x30, 0x30, // RSASSA-PSS-params
          0xa0, 0x0d, 0x30, 0x0b, // hashAlgorithm
            0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, // id-sha384
          0xa1, 0x1a, 0x30, 0x18, // maskGenAlgorithm
            0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, // id-mgf1
            0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, // id-sha384
          0xa2, 0x03, 0x02, 0x01, 0x30, // saltLength 48
      0x03, 0x82, 0x01, 0x0f, 0x00, // subjectPublicKey, no unused bits
        0x30, 0x82, 0x01, 0x0a, // RSAPublicKey
          0x02, 0x82, 0x01, 0x01, 0x00, // modulus, 257 bytes of which the first is zero
];
/// The exponent, 65537.
const SUFFIX: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

fixed_bytes! {
    /// A public key, encoded. Whether it is one comes out in [`IssuerKey::from_spki`](crate::IssuerKey::from_spki).
    Spki, SPKI_LEN
}

/// Why bytes are not an issuer's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpkiError {
    /// Not the encoding of an RSASSA-PSS key of 2,048 bits with the required parameters and exponent.
    #[error("not an RSASSA-PSS key of 2048 bits with SHA-384, salt length 48 and exponent 65537")]
    Encoding,
    /// The modulus has not its full length, or is even.
    #[error("the modulus is not an odd number of 2048 bits")]
    Modulus,
    /// OpenSSL could not calculate.
    #[error("the cryptographic library failed")]
    Library,
}

/// The modulus in a key's encoding.
pub(super) fn modulus(spki: &Spki) -> [u8; MODULUS_LEN] {
    let mut n = [0; MODULUS_LEN];
    n.copy_from_slice(&spki.0[PREFIX.len()..PREFIX.len() + MODULUS_LEN]);
    n
}

/// The encoding of this modulus.
pub(super) fn encode(n: &[u8; MODULUS_LEN]) -> Spki {
    let mut spki = [0; SPKI_LEN];
    spki[..PREFIX.len()].copy_from_slice(&PREFIX);
    spki[PREFIX.len()..PREFIX.len() + MODULUS_LEN].copy_from_slice(n);
    spki[PREFIX.len() + MODULUS_LEN..].copy_from_slice(&SUFFIX);
    Spki(spki)
}

/// The modulus in this encoding.
pub(super) fn decode(spki: &[u8]) -> Result<Modulus<MODULUS_LEN>, SpkiError> {
    let n = spki.strip_prefix(&PREFIX).and_then(|rest| rest.strip_suffix(&SUFFIX)).ok_or(SpkiError::Encoding)?;
    let n: &[u8; MODULUS_LEN] = n.try_into().map_err(|_| SpkiError::Encoding)?;
    if n[0] & 0x80 == 0 || n[MODULUS_LEN - 1] & 1 == 0 {
        return Err(SpkiError::Modulus);
    }
    Modulus::new(*n, super::EXPONENT).map_err(|_| SpkiError::Library)
}
