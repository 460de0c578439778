//! Purses (MixPay §5.2–5.3): what is loaded into one, and how its checks are recognised.
//!
//! A purse signs a check blind with the key of a brand of purse checks: the brand's denomination is what the check is worth in
//! all, and the token's nonce is the check's commitment. So whoever is shown check and token knows that a purse of that brand
//! made it out, for so much, and for this payee; and neither which purse, nor when it was loaded.

use minicbor::{Decode, Encode};
use naulon_blind::{KnownBrand, Purpose, Token};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, PublicKey, Statement};
use naulon_tick::Check;

/// 128 random bits of a purse that make a load unlike every other: it is credited once.
pub type LoadNumber = [u8; 16];

/// A bank's word that money was put aside for the checks of a brand's purses, because a purse asked for it. It names no
/// account: the purse need not know who its holder is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Loaded {
    /// The bank.
    #[n(1)]
    pub bank: PublicKey,
    /// The currency.
    #[n(2)]
    pub currency: Currency,
    /// The brand of purse checks, by its token key id.
    #[n(3)]
    pub brand: Digest,
    /// How much.
    #[n(4)]
    pub amount: Amount,
    /// The purse's number.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub load: LoadNumber,
}

impl Statement for Loaded {
    const CONTENT_TYPE: &'static str = "application/naulon.loaded+cbor";
}

/// Why a check is not one that a purse of this brand has made out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurseCheckError {
    /// The brand is not one of purse checks, or of another bank or currency.
    #[error("the brand is not one of this bank's purses")]
    Brand,
    /// The check is worth another sum than the brand's checks are.
    #[error("the check is not worth what the purse's key signs for")]
    Value,
    /// The check outlives its brand.
    #[error("the purse's brand is not in use so long")]
    Dates,
    /// The token is on another check, or not signed by the brand's key.
    #[error("no purse has signed this check")]
    Signature,
}

impl PurseCheckError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            PurseCheckError::Brand => "purse_brand",
            PurseCheckError::Value => "purse_value",
            PurseCheckError::Dates => "purse_dates",
            PurseCheckError::Signature => "purse_signature",
        }
    }
}

/// Verifies that a purse of this brand has made the check out. Whether the brand is in use at this time is another question.
pub fn verify_purse_check(check: &Check, token: &Token, known: &KnownBrand) -> Result<(), PurseCheckError> {
    check_shape(check, token, known)?;
    known.verify(token).map_err(|_| PurseCheckError::Signature)
}

/// All of it but the signature.
pub(crate) fn check_shape(check: &Check, token: &Token, known: &KnownBrand) -> Result<(), PurseCheckError> {
    let brand = known.brand();
    if brand.purpose != Purpose::PurseCheck || brand.bank != check.bank || brand.currency != check.currency {
        return Err(PurseCheckError::Brand);
    }
    if check.check_form() != Ok(brand.denomination) {
        return Err(PurseCheckError::Value);
    }
    if check.expiry > brand.spend_until {
        return Err(PurseCheckError::Dates);
    }
    if *token.nonce() != check.commitment().0 {
        return Err(PurseCheckError::Signature);
    }
    Ok(())
}
