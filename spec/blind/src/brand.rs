//! Brands (AAT §3.2): what the tokens under one RSA key are.

use std::fmt;

use minicbor::{Decode, Encode};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, PublicKey, Statement, Timestamp, cbor};

use crate::rsa::{IssuerKey, Spki, SpkiError};
use crate::token::{Token, TokenChallenge, TokenInput, TokenVerifyError};

/// Separates redemption contexts from all other digests.
const CONTEXT_DOMAIN: &[u8] = b"naulon/brand";

/// The blind signature of a brand. The numbers are those of the Privacy Pass token types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Method {
    /// RSABSSA-SHA384-PSS-Deterministic with 2,048 bits.
    #[n(0x0002)]
    BlindRsa2048,
}

/// What a brand's tokens may be used for. Reserved: 2 bill, 4 share root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Purpose {
    /// To pay with.
    #[n(1)]
    Money,
    /// The first passages of a newcomer: a bank gives them away when an account is opened, and they fund checks, and nothing
    /// else.
    #[n(3)]
    Passage,
    /// Checks of a purse (MixPay §5.2): the token's nonce is the commitment of a check that is worth the denomination in all.
    /// The key is in purses, so a token of it is not money, and nobody signs for it with its nonce.
    #[n(5)]
    PurseCheck,
}

impl Purpose {
    /// The number that stands in a brand, and in a bank's tables.
    pub fn number(self) -> u8 {
        match self {
            Purpose::Money => 1,
            Purpose::Passage => 3,
            Purpose::PurseCheck => 5,
        }
    }
}

/// A brand, as its bank states it. Windows are half-open; all begin at `issue_from`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Brand {
    /// The bank that issues and redeems.
    #[n(1)]
    pub bank: PublicKey,
    /// The currency.
    #[n(2)]
    pub currency: Currency,
    /// The value of each token.
    #[n(3)]
    pub denomination: Amount,
    /// The blind signature.
    #[n(4)]
    pub method: Method,
    /// What the tokens are for.
    #[n(5)]
    pub purpose: Purpose,
    /// From then on tokens are issued.
    #[n(6)]
    pub issue_from: Timestamp,
    /// Until then tokens are issued.
    #[n(7)]
    pub withdraw_until: Timestamp,
    /// Until then tokens can be spent, that is, locked for a purchase.
    #[n(8)]
    pub spend_until: Timestamp,
    /// Until then tokens can be given up at the bank. No lock outlives it.
    #[n(9)]
    pub redeem_until: Timestamp,
    /// The RSA key, which belongs to this brand alone.
    #[n(10)]
    pub key: Spki,
}

impl Statement for Brand {
    const CONTENT_TYPE: &'static str = "application/naulon.brand+cbor";
}

/// Why a brand makes no sense: always the fault of the bank that stated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrandError {
    /// The dates are not issue from < withdraw until ≤ spend until ≤ redeem until, or lie beyond [`Timestamp::MAX`].
    #[error("the brand's dates are not in order")]
    Dates,
    /// Tokens worth nothing, or more than can be counted.
    #[error("the brand's denomination is not an amount above zero")]
    Denomination,
    /// The key cannot be used.
    #[error("the brand's key: {0}")]
    Key(#[from] SpkiError),
}

impl Brand {
    /// SHA-256 of the key's encoding: `token_key_id`, by which a token names its brand.
    pub fn key_id(&self) -> [u8; 32] {
        Digest::of(&[self.key.as_bytes()]).0
    }

    /// SHA-256("naulon/brand" ‖ CBOR(brand)): binds every token to all that the brand says.
    pub fn redemption_context(&self) -> [u8; 32] {
        Digest::of(&[CONTEXT_DOMAIN, &cbor::to_vec(self)]).0
    }

    /// The challenge that all tokens of the brand answer. The issuer's name is the bank's key in lower-case
    /// hexadecimal.
    pub fn challenge(&self) -> TokenChallenge {
        TokenChallenge::of_bank(&self.bank, self.redemption_context())
    }

    /// The digest of the challenge.
    pub fn challenge_digest(&self) -> [u8; 32] {
        self.challenge().digest()
    }

    /// Checks what can be checked without asking anybody: dates, denomination, key.
    pub fn check(&self) -> Result<(), BrandError> {
        self.checked_key().map(|_| ())
    }

    /// Whether tokens are issued at this time.
    pub fn issues_at(&self, now: Timestamp) -> bool {
        self.issue_from <= now && now < self.withdraw_until
    }

    /// Whether tokens can be spent at this time.
    pub fn spendable_at(&self, now: Timestamp) -> bool {
        self.issue_from <= now && now < self.spend_until
    }

    /// Whether tokens can be redeemed at this time.
    pub fn redeemable_at(&self, now: Timestamp) -> bool {
        self.issue_from <= now && now < self.redeem_until
    }

    fn checked_key(&self) -> Result<IssuerKey, BrandError> {
        let dates = self.issue_from < self.withdraw_until
            && self.withdraw_until <= self.spend_until
            && self.spend_until <= self.redeem_until
            && self.redeem_until <= Timestamp::MAX;
        if !dates {
            return Err(BrandError::Dates);
        }
        if self.denomination.is_zero() || self.denomination > Amount::MAX {
            return Err(BrandError::Denomination);
        }
        Ok(IssuerKey::from_spki(self.key.as_bytes())?)
    }
}

/// A brand that was checked, with what verifying its tokens needs: nothing is parsed or hashed twice. Whether to
/// *accept* the brand is not decided here.
#[derive(Clone)]
pub struct KnownBrand {
    brand: Brand,
    issuer_key: IssuerKey,
    challenge_digest: [u8; 32],
}

impl KnownBrand {
    /// Checks the brand and prepares its key.
    pub fn new(brand: Brand) -> Result<Self, BrandError> {
        let issuer_key = brand.checked_key()?;
        let challenge_digest = brand.challenge_digest();
        Ok(KnownBrand { brand, issuer_key, challenge_digest })
    }

    /// The brand.
    pub fn brand(&self) -> &Brand {
        &self.brand
    }

    /// The prepared key.
    pub fn issuer_key(&self) -> &IssuerKey {
        &self.issuer_key
    }

    /// The id of the key.
    pub fn key_id(&self) -> &[u8; 32] {
        self.issuer_key.key_id()
    }

    /// The digest of the challenge.
    pub fn challenge_digest(&self) -> &[u8; 32] {
        &self.challenge_digest
    }

    /// What the bank signs for a token of this brand with the key Q.
    pub fn token_input(&self, nonce: [u8; 32]) -> TokenInput {
        TokenInput { nonce, challenge_digest: self.challenge_digest, key_id: *self.key_id() }
    }

    /// Verifies that the token is one of this brand. Dates are another question.
    pub fn verify(&self, token: &Token) -> Result<(), TokenVerifyError> {
        token.verify(&self.issuer_key, &self.challenge_digest)
    }

    /// Whether tokens are issued at this time.
    pub fn issues_at(&self, now: Timestamp) -> bool {
        self.brand.issues_at(now)
    }

    /// Whether tokens can be spent at this time.
    pub fn spendable_at(&self, now: Timestamp) -> bool {
        self.brand.spendable_at(now)
    }

    /// Whether tokens can be redeemed at this time.
    pub fn redeemable_at(&self, now: Timestamp) -> bool {
        self.brand.redeemable_at(now)
    }
}

impl fmt::Debug for KnownBrand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KnownBrand").field(&self.brand).finish()
    }
}
