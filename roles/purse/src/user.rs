//! The user part: makes a check and its ticks' secret, blinds, unblinds. It has no key of the bank.
//!
//! All that it draws is derived from the purse's seed and the check's place, so that the same check can be made again. Nothing
//! that a check shows is used twice: chain, salt, refund key, the signature's salt and the blinding are each check's own.

use naulon_blind::{
    BlindError, BlindSignature, BlindedMessage, FinalizeError, KnownBrand, SEED_LEN, Token, TokenInput, TokenSecrets,
    Unblinder,
};
use naulon_statement::{SecretKey, derive_secret};
use naulon_tick::{ChainId, Check, TickError, Walker};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::store::Made;

/// The version of the derivation.
const DOMAIN: &[u8] = b"naulon/purse/1";

/// The secrets of one check.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct CheckSecrets {
    id: [u8; 32],
    chain: [u8; 32],
    salt: [u8; 16],
    refund: [u8; 32],
}

impl CheckSecrets {
    /// HKDF-SHA256 without salt, keyed by the purse's seed, with info = "naulon/purse/1" ‖ token_key_id ‖ u32be(place) ‖
    /// purpose, and "id", "chain", "salt" and "refund" as purposes.
    pub fn derive(seed: &[u8; SEED_LEN], token_key_id: &[u8; 32], place: u32) -> Self {
        let mut secrets = CheckSecrets { id: [0; 32], chain: [0; 32], salt: [0; 16], refund: [0; 32] };
        let place = place.to_be_bytes();
        let label = |purpose: &'static [u8]| [DOMAIN, token_key_id, &place, purpose];
        derive_secret(seed, &label(b"id"), &mut secrets.id);
        derive_secret(seed, &label(b"chain"), &mut secrets.chain);
        derive_secret(seed, &label(b"salt"), &mut secrets.salt);
        derive_secret(seed, &label(b"refund"), &mut secrets.refund);
        secrets
    }

    /// The secret of the check's ticks.
    pub fn chain(&self) -> &[u8; 32] {
        &self.chain
    }

    /// The seed of the key that takes the remainder.
    pub fn refund(&self) -> &[u8; 32] {
        &self.refund
    }
}

/// A check that is made and blinded, and not yet signed.
pub struct Blinded {
    /// The check.
    pub check: Check,
    /// The secrets of its ticks and its remainder.
    pub secrets: CheckSecrets,
    /// What the bank part signs.
    pub message: BlindedMessage,
    input: TokenInput,
    unblinder: Unblinder,
}

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Its length.
    #[error(transparent)]
    Tick(#[from] TickError),
    /// It could not be blinded.
    #[error(transparent)]
    Blind(#[from] BlindError),
    /// The bank part's answer is no signature of the brand.
    #[error(transparent)]
    Finalize(#[from] FinalizeError),
}

/// Makes and blinds the check that was written down.
pub fn blind(seed: &[u8; SEED_LEN], brand: &KnownBrand, made: &Made) -> Result<Blinded, UserError> {
    let secrets = CheckSecrets::derive(seed, brand.key_id(), made.index);
    let id = ChainId(secrets.id);
    let check = Check {
        id,
        root: Walker::new(id, &secrets.chain, made.length)?.root(),
        length: made.length,
        value: made.value,
        currency: brand.brand().currency.clone(),
        payee: made.payee,
        salt: secrets.salt,
        bank: brand.brand().bank,
        expiry: made.expiry,
        refund: SecretKey::from_seed(&Zeroizing::new(secrets.refund)).public(),
    };
    let blinding = TokenSecrets::derive(seed, brand.key_id(), made.index);
    let input = brand.token_input(check.commitment().0);
    let (message, unblinder) = input.blind(brand.issuer_key(), blinding.salt(), blinding.r())?;
    Ok(Blinded { check, secrets, message, input, unblinder })
}

impl Blinded {
    /// The signature, unblinded and verified.
    pub fn finish(&self, brand: &KnownBrand, signature: &BlindSignature) -> Result<Token, UserError> {
        Ok(self.input.finalize(brand.issuer_key(), signature, &self.unblinder)?)
    }
}
