//! Banks' descriptions, and the one door for brands.

use std::sync::Arc;

use naulon_blind::{Brand, BrandError, KnownBrand, Purpose};
use naulon_statement::{Digest, PublicKey, StatementError, Unverified};
use naulon_wire::BankDescription;

use super::Wallet;
use crate::change::Change;
use crate::error::WalletError;
use crate::peers::{BankTerms, BrandProof};
use crate::store::WalletStore;

/// What became of a bank's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// How many of its brands are known now.
    pub brands: usize,
    /// Why others were not accepted. They are not used; a bank that behaves states none such.
    pub refused: Vec<BrandRefusal>,
}

/// Why a brand is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrandRefusal {
    /// It names a bank that is not pinned.
    #[error("a brand of the bank {0}, which is not pinned")]
    UnknownBank(PublicKey),
    /// It is not signed by the bank that it names.
    #[error("a brand that its bank has not signed: {0}")]
    Signature(#[from] StatementError),
    /// It makes no sense.
    #[error(transparent)]
    Brand(#[from] BrandError),
    /// The bank states another brand with the same RSA key: one key is one brand.
    #[error("two brands with one key")]
    KeyUsedTwice,
    /// The bank states another brand of the same currency, denomination and purpose for the same time. Else it could
    /// give one person a key of her own, and know her by it.
    #[error("two brands of the same denomination for the same time")]
    TwoAtOnce,
    /// The brand could not be written down.
    #[error("{0}")]
    Wallet(WalletError),
}

impl<S: WalletStore> Wallet<S> {
    /// Takes a bank's description: its terms, and those of its brands that can be accepted.
    pub fn accept_description(&mut self, description: BankDescription) -> Result<Accepted, WalletError> {
        self.check_usable()?;
        let BankDescription { bank, currency, brands, logs, locks } = description;
        let pinned = self.peers.banks.get(&bank).ok_or(WalletError::UnknownBank(bank))?;
        if let Some(pinned) = pinned.currency.clone().filter(|pinned| *pinned != currency) {
            return Err(WalletError::WrongCurrency { pinned, found: currency });
        }
        let terms = BankTerms::new(currency, logs, locks);
        if self.terms.get(&bank) != Some(&terms) {
            self.commit(vec![Change::Terms(bank, terms)])?;
        }
        let mut accepted = Accepted::default();
        for brand in brands {
            match self.accept_brand(brand, BrandProof::Signature) {
                Ok(()) => accepted.brands += 1,
                Err(BrandRefusal::Wallet(error)) => return Err(error),
                Err(refusal) => accepted.refused.push(refusal),
            }
        }
        Ok(accepted)
    }

    /// The one door for brands: a brand is accepted if its pinned bank has signed it, it makes sense, and it is the only
    /// one of its currency, denomination and purpose for its time. Accepting it again changes nothing.
    pub fn accept_brand(&mut self, brand: Unverified<Brand>, proof: BrandProof) -> Result<(), BrandRefusal> {
        let BrandProof::Signature = proof;
        let bank = brand.claimed_body().bank;
        if !self.peers.banks.contains_key(&bank) {
            return Err(BrandRefusal::UnknownBank(bank));
        }
        let signed = brand.verify(&bank)?;
        let key = Digest(signed.key_id());
        if let Some(known) = self.brands.get(&key) {
            return if *known.brand() == *signed { Ok(()) } else { Err(BrandRefusal::KeyUsedTwice) };
        }
        if self.brands.values().any(|known| is_rival(known.brand(), &signed)) {
            return Err(BrandRefusal::TwoAtOnce);
        }
        let known = Arc::new(KnownBrand::new((*signed).clone())?);
        self.check_usable().and_then(|()| self.commit(vec![Change::Brand(signed, known)])).map_err(BrandRefusal::Wallet)
    }
}

/// Whether two brands stand for the same money at the same time.
fn is_rival(a: &Brand, b: &Brand) -> bool {
    let Purpose::Money = a.purpose;
    let same =
        a.bank == b.bank && a.currency == b.currency && a.denomination == b.denomination && a.purpose == b.purpose;
    same && a.issue_from < b.withdraw_until && b.issue_from < a.withdraw_until
}
