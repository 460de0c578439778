//! The private half: one raw operation.

use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use zeroize::Zeroizing;

use super::{BlindSignature, BlindedMessage, EXPONENT, IssuerKey, MODULUS_BITS, MODULUS_LEN};

/// The longest encoded private key that is read. One of 2,048 bits has about 1,220 bytes.
pub const MAX_SECRET_DER_LEN: usize = 2_048;

/// A bank's private key for one brand. It may be used by many threads at once; a clone shares the same key. OpenSSL
/// wipes it with the last clone.
#[derive(Clone)]
pub struct IssuerSecret {
    rsa: Rsa<Private>,
    public: IssuerKey,
}

/// What a private key consists of beside modulus and exponent, each most significant byte first. It is wiped when dropped.
pub struct SecretNumbers {
    /// The private exponent.
    pub d: Zeroizing<Vec<u8>>,
    /// The first prime.
    pub p: Zeroizing<Vec<u8>>,
    /// The second prime.
    pub q: Zeroizing<Vec<u8>>,
    /// d mod p - 1.
    pub d_p: Zeroizing<Vec<u8>>,
    /// d mod q - 1.
    pub d_q: Zeroizing<Vec<u8>>,
    /// The inverse of q modulo p.
    pub q_inverse: Zeroizing<Vec<u8>>,
}

/// Why bytes are not a usable private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretKeyError {
    /// Not a private RSA key in PKCS#8 or PKCS#1 DER, or longer than [`MAX_SECRET_DER_LEN`].
    #[error("not an RSA private key in PKCS#8 or PKCS#1 DER")]
    Encoding,
    /// Another length or another exponent.
    #[error("the key has not 2048 bits and exponent 65537")]
    Parameters,
    /// The numbers of the key do not fit together, or the CRT values are missing, without which signing takes seven
    /// times as long.
    #[error("the numbers of the key do not fit together")]
    Inconsistent,
    /// OpenSSL could not calculate, or not generate.
    #[error("the cryptographic library failed")]
    Library,
}

/// Why a blinded message was not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The blinded message is not below N: the fault of who asked.
    #[error("the blinded message is not a number below the key's modulus")]
    OutOfRange,
    /// The result was wrong: the bank's machine made a fault. It is not given out, for a fault in one CRT half gives
    /// the key away.
    #[error("the private operation gave a wrong result")]
    Fault,
    /// OpenSSL could not calculate.
    #[error("the cryptographic library failed")]
    Library,
}

impl IssuerSecret {
    /// Reads a private key with its CRT values from PKCS#8 or PKCS#1 DER, and checks that its numbers fit together,
    /// which takes about 25 ms.
    pub fn from_der(der: &[u8]) -> Result<Self, SecretKeyError> {
        if der.len() > MAX_SECRET_DER_LEN {
            return Err(SecretKeyError::Encoding);
        }
        let key = PKey::private_key_from_der(der).map_err(|_| SecretKeyError::Encoding)?;
        Self::from_rsa(key.rsa().map_err(|_| SecretKeyError::Encoding)?)
    }

    /// A new key, for the operator of a bank. It takes about 0.2 s. The randomness is OpenSSL's own.
    pub fn generate_with_openssl_randomness() -> Result<Self, SecretKeyError> {
        Self::from_rsa(Rsa::generate(MODULUS_BITS.unsigned_abs()).map_err(|_| SecretKeyError::Library)?)
    }

    fn from_rsa(rsa: Rsa<Private>) -> Result<Self, SecretKeyError> {
        let exponent = openssl::bn::BigNum::from_u32(EXPONENT).map_err(|_| SecretKeyError::Library)?;
        if rsa.n().num_bits() != MODULUS_BITS || *rsa.e() != *exponent {
            return Err(SecretKeyError::Parameters);
        }
        // OpenSSL would hide wrong or missing CRT values by falling back to the slow way.
        if !rsa.check_key().unwrap_or(false) {
            return Err(SecretKeyError::Inconsistent);
        }
        let n: [u8; MODULUS_LEN] = rsa.n().to_vec().try_into().map_err(|_| SecretKeyError::Parameters)?;
        let public = IssuerKey::of_modulus(&n).map_err(|_| SecretKeyError::Parameters)?;
        Ok(IssuerSecret { rsa, public })
    }

    /// The key as PKCS#8 DER, with its CRT values.
    pub fn to_der(&self) -> Result<Zeroizing<Vec<u8>>, SecretKeyError> {
        PKey::from_rsa(self.rsa.clone())
            .and_then(|key| key.private_key_to_pkcs8())
            .map(Zeroizing::new)
            .map_err(|_| SecretKeyError::Library)
    }

    /// The numbers of the key, for a token that takes it in.
    pub fn numbers(&self) -> Result<SecretNumbers, SecretKeyError> {
        let bytes = |number: &openssl::bn::BigNumRef| Zeroizing::new(number.to_vec());
        let there = |number: Option<&openssl::bn::BigNumRef>| number.map(bytes).ok_or(SecretKeyError::Inconsistent);
        Ok(SecretNumbers {
            d: bytes(self.rsa.d()),
            p: there(self.rsa.p())?,
            q: there(self.rsa.q())?,
            d_p: there(self.rsa.dmp1())?,
            d_q: there(self.rsa.dmq1())?,
            q_inverse: there(self.rsa.iqmp())?,
        })
    }

    /// The public half.
    pub fn public(&self) -> &IssuerKey {
        &self.public
    }

    /// Signs a blinded message (RFC 9474 §4.3): the raw private operation, checked by the public one. The same message
    /// always gets the same answer.
    ///
    /// The check is OpenSSL's own: it raises what the two CRT halves gave to e, and on a difference computes anew without
    /// them. A second one here would cost 4 % of an exchange; a test holds the library to it.
    pub fn blind_sign(&self, blinded: &BlindedMessage) -> Result<BlindSignature, SignError> {
        let modulus = self.public.modulus();
        modulus.check_range(&blinded.0).map_err(|_| SignError::OutOfRange)?;
        let mut signature = [0; MODULUS_LEN];
        self.rsa.private_encrypt(&blinded.0, &mut signature, Padding::NONE).map_err(|_| SignError::Library)?;
        Ok(BlindSignature(signature))
    }
}
