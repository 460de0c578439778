//! Tokens: planned, blinded, unblinded, signed with, and what they are worth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naulon_blind::{KnownBrand, Purpose};
use naulon_exchange::{Exchange, Input, Output};
use naulon_money::{Amount, Grid};
use naulon_statement::{Digest, Joint, PublicKey, SecretKey, Timestamp};

use super::exchanges::Keys;
use super::{Plan, Wallet};
use crate::change::Change;
use crate::error::WalletError;
use crate::operation::Planned;
use crate::restoring::GAP_LIMIT;
use crate::store::WalletStore;
use crate::token::{Held, TokenState};

impl<S: WalletStore> Wallet<S> {
    /// Plans blinded outputs of these values under the current brands.
    pub(super) fn plan(
        &self,
        bank: &PublicKey,
        values: &[Amount],
        keys: Keys,
        now: Timestamp,
    ) -> Result<Plan, WalletError> {
        // The key counts as used once tokens of it are here: so keys are used without a gap, and found again.
        let next_key = self.keys.get(bank).copied().unwrap_or_default();
        let key = (keys == Keys::Shared).then_some(next_key);
        let current = self.current_brands(bank, now);
        let mut indices: BTreeMap<Digest, u32> = BTreeMap::new();
        let mut outputs = Vec::with_capacity(values.len());
        let mut planned = Vec::with_capacity(values.len());
        for value in values {
            let known = current.get(value).ok_or(WalletError::NoTerms)?;
            let brand = Digest(*known.key_id());
            let stored = self.indices.get(&brand).copied().unwrap_or_default();
            if stored.saturating_sub(self.known.get(&brand).copied().unwrap_or_default()) >= GAP_LIMIT {
                return Err(WalletError::IndexGap);
            }
            let next = indices.entry(brand).or_insert(stored);
            // An index whose numbers cannot be blinded (one in 2^1000) is left out.
            let (output, index) = loop {
                let index = *next;
                *next = next.checked_add(1).ok_or(WalletError::IndicesUsedUp)?;
                if let Some(message) = self.blind(known, Planned { brand, index, key }) {
                    break (Output::Blinded { brand, message: message.0 }, index);
                }
            };
            outputs.push(output);
            planned.push(Planned { brand, index, key });
        }
        let changes = indices.into_iter().map(|(brand, next)| Change::Index(brand, next)).collect();
        Ok(Plan { outputs, planned, changes })
    }

    pub(super) fn blind(
        &self,
        known: &KnownBrand,
        planned: Planned,
    ) -> Option<(naulon_blind::BlindedMessage, naulon_blind::Unblinder)> {
        let secrets = self.seed.token(&planned.brand, planned.index);
        let input = known.token_input(self.nonce(known, &planned));
        self.blinding.blind(known.issuer_key(), &input, &secrets).ok()
    }

    /// The nonce of a token: its key Q, or what stands for the key that it shares and its serial number.
    pub(super) fn nonce(&self, known: &KnownBrand, planned: &Planned) -> [u8; 32] {
        let Planned { brand, index, key } = planned;
        match key {
            None => self.seed.token(brand, *index).secret_key().public().0,
            Some(key) => self.seed.reused_key(&known.brand().bank, brand, *index, *key).nonce(),
        }
    }

    /// The tokens of the bank's blind signatures; none if one of them does not hold, or their number is not right.
    pub(super) fn unblind(
        &self,
        outputs: &[Planned],
        signatures: &[naulon_blind::BlindSignature],
    ) -> Option<Vec<Held>> {
        if outputs.len() != signatures.len() {
            return None;
        }
        let tokens = outputs.iter().zip(signatures).map(|(planned, signature)| {
            let known = self.brands.get(&planned.brand)?;
            let (_, unblinder) = self.blind(known, *planned)?;
            let token = known
                .token_input(self.nonce(known, planned))
                .finalize(known.issuer_key(), signature, &unblinder)
                .ok()?;
            Some(Held { token, index: planned.index, state: TokenState::Free, key: planned.key, left: None })
        });
        tokens.collect()
    }

    /// What follows for the known indices from tokens that the bank has delivered.
    pub(super) fn known_by(&self, tokens: &[Held]) -> Vec<Change> {
        let mut highest: BTreeMap<Digest, u32> = BTreeMap::new();
        for held in tokens {
            let next = highest.entry(held.brand()).or_default();
            *next = (*next).max(held.index.saturating_add(1));
        }
        highest.retain(|brand, next| self.known.get(brand).is_none_or(|known| known < next));
        let mut changes: Vec<Change> = highest.into_iter().map(|(brand, next)| Change::Known(brand, next)).collect();
        let shared = tokens.iter().filter_map(|held| {
            let bank = self.brands.get(&held.brand())?.brand().bank;
            Some((bank, held.key?.saturating_add(1)))
        });
        for (bank, next) in shared.collect::<BTreeSet<_>>() {
            if self.keys.get(&bank).is_none_or(|known| *known < next) {
                changes.push(Change::Key(bank, next));
            }
        }
        changes
    }

    /// Signs an exchange with the keys of its tokens and, if an account gives money, with the account's.
    pub(super) fn sign(&self, exchange: Exchange, inputs: &[Held], account: bool) -> Joint<Exchange> {
        let bank = exchange.bank;
        let mut keys: Vec<SecretKey> = inputs.iter().map(|held| self.spending_key(&bank, held)).collect();
        if account {
            keys.push(self.account_key(&bank));
        }
        Joint::sign(exchange, &keys)
    }

    pub(super) fn spending_key(&self, bank: &PublicKey, held: &Held) -> SecretKey {
        self.seed.spending_key(bank, &held.brand(), held.index, held.key)
    }

    /// The input that gives up this much of a token; or all of it, which of one that is spent in parts is what is left.
    pub(super) fn input(&self, bank: &PublicKey, held: &Held, part: Option<Amount>) -> Input {
        let key = held.key.map(|key| self.seed.reused_key(bank, &held.brand(), held.index, key));
        Input::Token { token: held.token, key, part: part.or(held.left) }
    }

    pub(super) fn worth(&self, held: &Held) -> Amount {
        if let Some(left) = held.left {
            return left;
        }
        self.brands.get(&held.brand()).map_or(Amount::ZERO, |known| known.brand().denomination)
    }

    pub(super) fn sum<'a>(&self, tokens: impl IntoIterator<Item = &'a Held>) -> Amount {
        Amount::checked_sum(tokens.into_iter().map(|held| self.worth(held))).unwrap_or(Amount::MAX)
    }

    /// The brands of money that the bank issues now, by denomination.
    pub(super) fn current_brands(&self, bank: &PublicKey, now: Timestamp) -> BTreeMap<Amount, Arc<KnownBrand>> {
        let currency = self.terms.get(bank).map(|terms| &terms.currency);
        let of_bank = self.brands.values().filter(|known| {
            let brand = known.brand();
            let is_money = brand.purpose == Purpose::Money && Some(&brand.currency) == currency;
            brand.bank == *bank && is_money && known.issues_at(now)
        });
        of_bank.map(|known| (known.brand().denomination, known.clone())).collect()
    }

    /// The denominations that the bank issues now; none if it issues nothing.
    pub(super) fn grid(&self, bank: &PublicKey, now: Timestamp) -> Option<Grid> {
        Grid::new(self.current_brands(bank, now).into_keys()).ok()
    }
}
