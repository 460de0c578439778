//! Banks' descriptions, and the one door for brands.

use std::sync::Arc;

use naulon_blind::{Brand, BrandError, KnownBrand};
use naulon_exchange::register::{FeeTable, Logged, ReadRegister, RegisterRefusal};
use naulon_statement::{Digest, PublicKey, Timestamp};
use naulon_wire::BankDescription;

use super::Wallet;
use super::evidence::KeptEvidence;
use crate::change::Change;
use crate::error::WalletError;
use crate::peers::BankTerms;
use crate::store::WalletStore;

/// What became of a bank's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// How many of its brands are known now.
    pub brands: usize,
    /// Why others were not accepted. They are not used, and keep nobody from using the rest.
    pub refused: Vec<BrandRefusal>,
    /// How many brands the bank has stated that its register, as it was cosigned, does not hold yet.
    pub not_yet: usize,
    /// Why the register was not taken, and no brand from it: what was known before is known still.
    pub register: Option<RegisterRefusal>,
    /// What the bank charges, by its register.
    pub fees: Option<FeeTable>,
}

/// Why a brand is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrandRefusal {
    /// It names a bank that is not pinned.
    #[error("a brand of the bank {0}, which is not pinned")]
    UnknownBank(PublicKey),
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
    /// Takes a bank's description: its terms, and the brands that stand in its register. The register must be whole, go on
    /// from what the wallet has seen of it, and be cosigned by the witnesses that are pinned; one that is not teaches
    /// nothing, and the wallet goes on with what it knows.
    pub fn accept_description(
        &mut self,
        description: BankDescription,
        now: Timestamp,
    ) -> Result<Accepted, WalletError> {
        self.check_usable()?;
        let BankDescription { bank, currency, register, logs, locks, chains, deliveries, keepers } = description;
        let pinned = self.peers.banks.get(&bank).ok_or(WalletError::UnknownBank(bank))?;
        if let Some(pinned) = pinned.currency.clone().filter(|pinned| *pinned != currency) {
            return Err(WalletError::WrongCurrency { pinned, found: currency });
        }
        let read = register.read(&pinned.identity, &pinned.witnesses, self.registers.get(&bank));
        let terms = BankTerms::new((currency, logs, locks, chains), deliveries, &keepers);
        if self.terms.get(&bank) != Some(&terms) {
            self.commit(vec![Change::Terms(bank, terms)])?;
        }
        match read {
            Ok(read) => self.accept_register(bank, read, now),
            Err(refusal) => {
                let evidence = refusal.evidence(&register);
                self.kept.extend(evidence.map(KeptEvidence::Register));
                Ok(Accepted { register: Some(refusal), ..Accepted::default() })
            }
        }
    }

    fn accept_register(
        &mut self,
        bank: PublicKey,
        read: ReadRegister,
        now: Timestamp,
    ) -> Result<Accepted, WalletError> {
        let fees = read.fees_at(now).cloned();
        let mut accepted = Accepted { not_yet: read.not_yet, fees, ..Accepted::default() };
        // First what was seen: a brand that is known stands in a register that is remembered.
        if self.registers.get(&bank) != Some(&read.memory) {
            self.commit(vec![Change::Register(bank, read.memory)])?;
        }
        // Sums of a day that is no longer the last are forgotten.
        if let Some(day) = read.last_day.filter(|day| self.last_days.insert(bank, *day) != Some(*day)) {
            self.last_days.insert(bank, day);
            self.counts.remove(&bank);
        }
        for brand in read.brands {
            match self.accept_brand(brand) {
                Ok(()) => accepted.brands += 1,
                Err(BrandRefusal::Wallet(error)) => return Err(error),
                Err(refusal) => accepted.refused.push(refusal),
            }
        }
        Ok(accepted)
    }

    /// The one door for brands: a brand is accepted if it stands in the register of its pinned bank, as the wallet's
    /// witnesses have seen it, it makes sense, and it is the only one of its currency, denomination and purpose for its time.
    /// Accepting it again changes nothing.
    pub fn accept_brand(&mut self, brand: Logged<Brand>) -> Result<(), BrandRefusal> {
        if !self.peers.banks.contains_key(&brand.bank) {
            return Err(BrandRefusal::UnknownBank(brand.bank));
        }
        let key = Digest(brand.key_id());
        if let Some(known) = self.brands.get(&key) {
            return if *known.brand() == **brand { Ok(()) } else { Err(BrandRefusal::KeyUsedTwice) };
        }
        if self.brands.values().any(|known| is_rival(known.brand(), &brand)) {
            return Err(BrandRefusal::TwoAtOnce);
        }
        let signed = brand.into_inner();
        let known = Arc::new(KnownBrand::new((*signed).clone())?);
        self.check_usable().and_then(|()| self.commit(vec![Change::Brand(signed, known)])).map_err(BrandRefusal::Wallet)
    }
}

/// Whether two brands stand for the same thing at the same time.
fn is_rival(a: &Brand, b: &Brand) -> bool {
    let same =
        a.bank == b.bank && a.currency == b.currency && a.denomination == b.denomination && a.purpose == b.purpose;
    same && a.issue_from < b.withdraw_until && b.issue_from < a.withdraw_until
}
