//! Tokens are exchanged for fresh ones before their brand ends, so that no money expires.

use std::collections::BTreeMap;

use naulon_exchange::MAX_INPUTS;
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, PublicKey, Timestamp, derive_secret};

use super::exchanges::Keys;
use super::{Entropy, Wallet};
use crate::error::WalletError;
use crate::operation::OperationId;
use crate::store::WalletStore;
use crate::token::{Held, TokenState};

/// Tokens are renewed at a moment within this time before they can no longer be spent; or within half of the time between
/// the end of their issue and that, if that is less.
pub const RENEWAL_WINDOW: Duration = Duration::days(14);

/// What the wallet holds of one brand, and how long that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countdown {
    /// The token key id.
    pub brand: Digest,
    /// What each token was issued for.
    pub value: Amount,
    /// How many tokens, also those that are set aside.
    pub tokens: usize,
    /// How many tokens of the brand were issued to anybody, until the end of the last day that is known.
    pub issued: Option<u64>,
    /// Until when they can be spent.
    pub spend_until: Timestamp,
    /// Until when they can be exchanged or deposited; then they are worth nothing.
    pub redeem_until: Timestamp,
    /// When this wallet renews them.
    pub renewed_from: Timestamp,
}

impl<S: WalletStore> Wallet<S> {
    /// What there is of each brand, that which ends first in front.
    pub fn countdown(&self, bank: &PublicKey) -> Vec<Countdown> {
        let mut brands: BTreeMap<Digest, Countdown> = BTreeMap::new();
        for held in self.tokens.values().filter(|held| held.state != TokenState::Spent) {
            let Some(known) = self.brands.get(&held.brand()).filter(|known| known.brand().bank == *bank) else {
                continue;
            };
            let brand = known.brand();
            let entry = brands.entry(held.brand()).or_insert_with(|| Countdown {
                brand: held.brand(),
                value: brand.denomination,
                tokens: 0,
                issued: self.issued(&held.brand()),
                spend_until: brand.spend_until,
                redeem_until: brand.redeem_until,
                renewed_from: self.renewed_from(brand),
            });
            entry.tokens += 1;
        }
        let mut countdown: Vec<Countdown> = brands.into_values().collect();
        countdown.sort_by_key(|entry| (entry.spend_until, entry.value));
        countdown
    }

    /// When the tokens of a brand are renewed: a moment within the window that only this wallet knows. The same every time,
    /// or looking often would make it early.
    fn renewed_from(&self, brand: &naulon_blind::Brand) -> Timestamp {
        let half = Duration(brand.spend_until.since(brand.withdraw_until).0 / 2);
        let window = RENEWAL_WINDOW.min(half);
        let mut drawn = [0; 8];
        derive_secret(self.seed.as_bytes(), &[b"naulon/wallet/renewal", &brand.key_id()], &mut drawn);
        let into = u64::from_be_bytes(drawn).checked_rem(window.0).unwrap_or_default();
        brand.spend_until.minus(window).plus(Duration(into))
    }

    /// Renews what is due: those free tokens whose moment has come are exchanged for tokens of the current brands. What
    /// cannot be made of these, or not yet, waits until it can no longer be spent, and is then given to the account. None if
    /// nothing is due. Call it on every occasion.
    pub fn renew(
        &mut self,
        bank: PublicKey,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Option<OperationId>, WalletError> {
        self.renew_if(bank, now, entropy, |wallet, brand| wallet.renewed_from(brand) <= now)
    }

    /// Renews all free tokens of brands that are no longer issued, whether their moment has come or not.
    pub fn renew_now(
        &mut self,
        bank: PublicKey,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Option<OperationId>, WalletError> {
        self.renew_if(bank, now, entropy, |_, brand| brand.withdraw_until <= now)
    }

    fn renew_if(
        &mut self,
        bank: PublicKey,
        now: Timestamp,
        entropy: &Entropy,
        is_due: impl Fn(&Self, &naulon_blind::Brand) -> bool,
    ) -> Result<Option<OperationId>, WalletError> {
        self.check_whole()?;
        let currency = self.terms_of(&bank)?.currency.clone();
        let mut due: Vec<Held> = self.usable(&bank, &currency, |held, brand| {
            held.state == TokenState::Free && brand.redeemable_at(now) && is_due(self, brand)
        });
        due.truncate(MAX_INPUTS);
        if due.is_empty() {
            return Ok(None);
        }
        // The bank issues nothing just now, or nothing that adds up to it: it can wait as long as it can be spent.
        let in_time =
            due.iter().all(|held| self.brands.get(&held.brand()).is_some_and(|brand| brand.spendable_at(now)));
        match self.refresh_these(bank, currency.clone(), due.clone(), Keys::Own, now, entropy) {
            Err(WalletError::NotPayable { .. } | WalletError::NoTerms) if in_time => Ok(None),
            Err(WalletError::NotPayable { .. } | WalletError::NoTerms) => {
                let (due, _): (Vec<Held>, Vec<Held>) = due
                    .into_iter()
                    .partition(|held| self.brands.get(&held.brand()).is_some_and(|brand| !brand.spendable_at(now)));
                self.deposit_these(bank, currency, due, now, entropy).map(Some)
            }
            begun => begun.map(Some),
        }
    }
}
