//! The arithmetic of RFC 9474 modulo N, by OpenSSL's numbers.
//!
//! Generic over the length of the modulus in bytes, so that the RFC's own vectors, which have 4,096 bits, can be run.
//! The program only has `Modulus<256>`.

use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::error::ErrorStack;
use openssl::pkey::Public;
use openssl::rsa::{Padding, Rsa};
use zeroize::Zeroizing;

/// A public key (N, e) whose N has exactly `LEN` bytes.
pub(super) struct Modulus<const LEN: usize> {
    n: [u8; LEN],
    /// Keeps the Montgomery form of N between operations.
    rsa: Rsa<Public>,
}

/// Why a calculation has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArithmeticError {
    /// A number that is not below N.
    OutOfRange,
    /// The blinding factor, or the encoded message, has a divisor in common with N.
    NotInvertible,
    /// OpenSSL could not calculate; it ran out of memory.
    Library,
}

impl From<ErrorStack> for ArithmeticError {
    fn from(_: ErrorStack) -> Self {
        ArithmeticError::Library
    }
}

/// A number that is wiped when dropped.
pub(super) struct SecretNumber(BigNum);

impl Drop for SecretNumber {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl SecretNumber {
    fn zero() -> Result<Self, ErrorStack> {
        BigNum::new().map(SecretNumber)
    }

    fn from_slice(bytes: &[u8]) -> Result<Self, ErrorStack> {
        BigNum::from_slice(bytes).map(SecretNumber)
    }
}

impl<const LEN: usize> Modulus<LEN> {
    /// The modulus of these bytes. The caller has seen to it that N is odd and has its top bit set.
    pub(super) fn new(n: [u8; LEN], e: u32) -> Result<Self, ErrorStack> {
        let rsa = Rsa::from_public_components(BigNum::from_slice(&n)?, BigNum::from_u32(e)?)?;
        Ok(Modulus { n, rsa })
    }

    /// RSAVP1: `x` to the power e.
    pub(super) fn power_e(&self, x: &[u8; LEN]) -> Result<[u8; LEN], ArithmeticError> {
        self.check_range(x)?;
        let mut out = [0; LEN];
        self.rsa.public_decrypt(x, &mut out, Padding::NONE)?;
        Ok(out)
    }

    /// Numbers are as long as N, so they compare as bytes do.
    pub(super) fn check_range(&self, x: &[u8; LEN]) -> Result<(), ArithmeticError> {
        if *x < self.n { Ok(()) } else { Err(ArithmeticError::OutOfRange) }
    }

    /// Blinds the encoded message m: (m · rᵉ, r⁻¹), with r of any length, reduced modulo N.
    ///
    /// RFC 9474 asks both for m to be coprime to N and for r to be invertible. Both hold exactly if m · r is
    /// invertible, so one inversion serves: r⁻¹ = m · (m · r)⁻¹.
    pub(super) fn blind(&self, m: &[u8; LEN], r: &[u8]) -> Result<([u8; LEN], SecretNumber), ArithmeticError> {
        self.check_range(m)?;
        let mut context = BigNumContext::new()?;
        let m = SecretNumber::from_slice(m)?;
        let mut reduced = SecretNumber::zero()?;
        reduced.0.nnmod(&SecretNumber::from_slice(r)?.0, self.n(), &mut context)?;

        let mut product = SecretNumber::zero()?;
        product.0.mod_mul(&m.0, &reduced.0, self.n(), &mut context)?;
        let mut inverse = SecretNumber::zero()?;
        if inverse.0.mod_inverse(&product.0, self.n(), &mut context).is_err() {
            return Err(ArithmeticError::NotInvertible);
        }
        let mut unblinder = SecretNumber::zero()?;
        unblinder.0.mod_mul(&m.0, &inverse.0, self.n(), &mut context)?;

        let reduced = Zeroizing::new(bytes::<LEN>(&reduced.0)?);
        let mask = SecretNumber::from_slice(Zeroizing::new(self.power_e(&reduced)?).as_slice())?;
        let mut blinded = BigNum::new()?;
        blinded.mod_mul(&m.0, &mask.0, self.n(), &mut context)?;
        Ok((bytes(&blinded)?, unblinder))
    }

    /// Takes the blinding off a blind signature.
    pub(super) fn unblind(&self, blind: &[u8; LEN], unblinder: &SecretNumber) -> Result<[u8; LEN], ArithmeticError> {
        self.check_range(blind)?;
        let mut context = BigNumContext::new()?;
        let mut signature = BigNum::new()?;
        signature.mod_mul(BigNum::from_slice(blind)?.as_ref(), &unblinder.0, self.n(), &mut context)?;
        bytes(&signature)
    }

    fn n(&self) -> &BigNumRef {
        self.rsa.n()
    }
}

/// The number as exactly `LEN` bytes.
fn bytes<const LEN: usize>(number: &BigNumRef) -> Result<[u8; LEN], ArithmeticError> {
    let length = i32::try_from(LEN).map_err(|_| ArithmeticError::Library)?;
    let bytes = Zeroizing::new(number.to_vec_padded(length)?);
    bytes.as_slice().try_into().map_err(|_| ArithmeticError::Library)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsa::pss;

    const LEN_4096: usize = 512;

    /// RFC 9474's own vector, whose key has 4,096 bits.
    struct Rfc9474(serde_json::Value);

    impl Rfc9474 {
        fn load() -> Self {
            let text = include_str!("../../../../vectors/blind/rfc9474-pss-deterministic.json");
            Rfc9474(serde_json::from_str(text).expect("JSON"))
        }

        fn field(&self, name: &str) -> Vec<u8> {
            hex::decode(self.0[name].as_str().expect("a string")).expect("hexadecimal")
        }

        /// A number of the modulus's length. Some of the RFC's have a zero byte in front.
        fn number(&self, name: &str) -> [u8; LEN_4096] {
            let number = BigNum::from_slice(&self.field(name)).expect("a number");
            bytes(&number).expect("fits the modulus")
        }

        fn modulus(&self) -> Modulus<LEN_4096> {
            Modulus::new(self.number("n"), 65_537).expect("a key")
        }

        /// The RFC prints r⁻¹.
        fn r(&self) -> Vec<u8> {
            let mut context = BigNumContext::new().expect("a context");
            let mut r = BigNum::new().expect("a number");
            let inverse = BigNum::from_slice(&self.field("inv")).expect("a number");
            r.mod_inverse(&inverse, self.modulus().n(), &mut context).expect("invertible");
            r.to_vec()
        }
    }

    #[test]
    fn rfc9474_encodes() {
        let vector = Rfc9474::load();
        let salt = vector.field("salt").try_into().expect("48 bytes");
        assert_eq!(*pss::encode::<LEN_4096>(&vector.field("input_msg"), &salt), vector.number("encoded_msg"));
    }

    #[test]
    fn rfc9474_blinds() {
        let vector = Rfc9474::load();
        let (blinded, inverse) =
            vector.modulus().blind(&vector.number("encoded_msg"), &vector.r()).expect("the RFC's r is invertible");
        assert_eq!(blinded, vector.number("blinded_msg"));
        assert_eq!(bytes(&inverse.0), Ok(vector.number("inv")));
    }

    #[test]
    fn rfc9474_signs() {
        let vector = Rfc9474::load();
        let number = |name: &str| BigNum::from_slice(&vector.field(name)).expect("a number");
        let mut context = BigNumContext::new().expect("a context");
        let mut signed = BigNum::new().expect("a number");
        signed.mod_exp(&number("blinded_msg"), &number("d"), &number("n"), &mut context).expect("a power");
        assert_eq!(bytes(&signed), Ok(vector.number("blind_sig")));
        assert_eq!(vector.modulus().power_e(&vector.number("blind_sig")), Ok(vector.number("blinded_msg")));
    }

    #[test]
    fn rfc9474_unblinds_and_verifies() {
        let vector = Rfc9474::load();
        let inverse = SecretNumber::from_slice(&vector.field("inv")).expect("a number");
        let signature = vector.modulus().unblind(&vector.number("blind_sig"), &inverse);
        assert_eq!(signature, Ok(vector.number("sig")));
        let encoded = vector.modulus().power_e(&vector.number("sig")).expect("below N");
        assert!(pss::verify(&vector.field("input_msg"), &encoded));
    }

    #[test]
    fn what_has_a_divisor_in_common_with_n_is_refused() {
        let vector = Rfc9474::load();
        let modulus = vector.modulus();
        let message = vector.number("encoded_msg");
        let refused = |m: &[u8; LEN_4096], r: &[u8]| modulus.blind(m, r).map(|_| ()).err();
        for (name, r) in
            [("zero", vec![0; 512]), ("N", vector.field("n")), ("p", vector.field("p")), ("q", vector.field("q"))]
        {
            assert_eq!(refused(&message, &r), Some(ArithmeticError::NotInvertible), "{name}");
        }
        assert_eq!(refused(&vector.number("p"), &vector.r()), Some(ArithmeticError::NotInvertible));
        assert_eq!(refused(&vector.number("n"), &vector.r()), Some(ArithmeticError::OutOfRange));
    }

    #[test]
    fn r_is_reduced() {
        let vector = Rfc9474::load();
        let mut larger = BigNum::new().expect("a number");
        larger.checked_add(&BigNum::from_slice(&vector.r()).expect("a number"), vector.modulus().n()).expect("a sum");
        let (blinded, _) = vector.modulus().blind(&vector.number("encoded_msg"), &larger.to_vec()).expect("invertible");
        assert_eq!(blinded, vector.number("blinded_msg"));
    }
}
