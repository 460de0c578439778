//! The arithmetic of a bank that wants to know which blind signature became which token.
//!
//! A wallet blinds m as z = m · rᵉ; the bank signs s' = zᵈ; the token's signature is s = s' · r⁻¹ (RFC 9474). So for every
//! pair of a blind signature and a token there is exactly one r that makes them belong together, r = s' · s⁻¹, and with it
//! z = m · rᵉ holds: nothing tells the right pair from a wrong one but r itself. A bank that can guess r, or sees the same r
//! twice, has them.

use naulon_blind::{BlindSignature, IssuerKey, Signature};
use openssl::bn::{BigNum, BigNumContext};
use openssl::error::ErrorStack;

/// A token's signature, inverted once for all the blind signatures that it is compared with.
pub struct Unlinked {
    modulus: BigNum,
    inverse: BigNum,
}

impl Unlinked {
    /// A token's signature under its brand's key.
    pub fn new(key: &IssuerKey, signature: &Signature) -> Result<Self, ErrorStack> {
        let mut context = BigNumContext::new()?;
        let modulus = BigNum::from_slice(&key.modulus_bytes())?;
        let mut inverse = BigNum::new()?;
        inverse.mod_inverse(BigNum::from_slice(signature.as_bytes())?.as_ref(), &modulus, &mut context)?;
        Ok(Unlinked { modulus, inverse })
    }

    /// The blinding factor by which this blind signature would have become the token.
    pub fn factor(&self, blind: &BlindSignature) -> Result<Vec<u8>, ErrorStack> {
        let mut context = BigNumContext::new()?;
        let mut r = BigNum::new()?;
        r.mod_mul(BigNum::from_slice(blind.as_bytes())?.as_ref(), &self.inverse, &self.modulus, &mut context)?;
        Ok(r.to_vec())
    }

    /// A guessed blinding factor of any length, reduced as a wallet reduces it.
    pub fn reduced(&self, r: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let mut context = BigNumContext::new()?;
        let mut reduced = BigNum::new()?;
        reduced.nnmod(BigNum::from_slice(r)?.as_ref(), &self.modulus, &mut context)?;
        Ok(reduced.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use naulon_blind::{R_LEN, TokenSecrets};
    use naulon_exchange::Input;
    use naulon_statement::Digest;

    use super::*;
    use crate::game::{keys, town};

    /// For the right pair the factor is the wallet's r; and r = 1 is seen at once.
    #[test]
    fn the_right_pair_gives_the_wallets_own_factor() {
        let brands = keys::brands(town::bank_key());
        let (id, brand) = brands.iter().next().expect("a brand");
        let key = brand.issuer_key();
        let secrets = TokenSecrets::derive(&[7; 64], &id.0, 3);
        let mut one = [0; R_LEN];
        one[R_LEN - 1] = 1;
        for (r, is_one) in [(secrets.r(), false), (&one, true)] {
            let input = brand.token_input(secrets.secret_key().public().0);
            let (z, unblinder) = input.blind(key, secrets.salt(), r).expect("blinds");
            let blind = naulon_bank::Signatory::blind_sign(&keys::Ring, id, &z).expect("signs");
            let token = input.finalize(key, &blind, &unblinder).expect("a token");
            let Input::Token { token, .. } = Input::token(token) else { unreachable!("it is one") };
            let unlinked = Unlinked::new(key, token.authenticator()).expect("calculates");
            let factor = unlinked.factor(&blind).expect("calculates");
            assert_eq!(factor, unlinked.reduced(r).expect("calculates"));
            assert_eq!(factor == [1], is_one);
            // Another withdrawal's signature gives another number, by which nobody can tell that it is the wrong one.
            let other = TokenSecrets::derive(&[8; 64], &id.0, 3);
            let (z, _) = brand.token_input([9; 32]).blind(key, other.salt(), other.r()).expect("blinds");
            let blind = naulon_bank::Signatory::blind_sign(&keys::Ring, &Digest(id.0), &z).expect("signs");
            assert_ne!(unlinked.factor(&blind).expect("calculates"), factor);
        }
    }
}
