//! What the person sees.

use std::collections::BTreeMap;

use naulon_exchange::register::{Side, exchange_items};
use naulon_money::{Amount, Currency};
use naulon_purchase::{Ending, GoodsM, Step, UnverifiedPayment};
use naulon_statement::{Digest, PublicKey, Timestamp};
use naulon_wire::BankCall;

use super::purchases::payment_of;
use super::{Wallet, read_operation};
use crate::check::CheckState;
use crate::error::WalletError;
use crate::operation::{Ended, Operation, OperationId, OperationKind, Work};
use crate::peers::BankTerms;
use crate::store::{Kind, WalletStore};
use crate::token::TokenState;

/// The tokens of one bank, summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The currency.
    pub currency: Currency,
    /// What can be paid with.
    pub free: Amount,
    /// What is set aside for operations under way.
    pub reserved: Amount,
    /// What was spent by another copy of this wallet.
    pub spent: Amount,
    /// Of what can be paid with: what is left on tokens that were used in part.
    pub remainders: Amount,
    /// What stands in checks that are not over, as far as the wallet knows: what of it was paid with, it learns at the end.
    pub in_checks: Amount,
    /// How many free tokens there are.
    pub tokens: usize,
}

/// One token, as the person sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    /// Its bank.
    pub bank: PublicKey,
    /// The token key id of its brand.
    pub brand: Digest,
    /// Its currency.
    pub currency: Currency,
    /// What it is worth: of a token that was used in part, what is left.
    pub value: Amount,
    /// Whether it is spent in parts, so that the bank can link the payments made with it (AAT §8.3).
    pub in_parts: bool,
    /// Whether it shares its key with other tokens, so that the bank can link the payments made with them (AAT §8.1).
    pub shares_key: bool,
    /// Until when it can be spent.
    pub spend_until: Timestamp,
    /// Until when it can be given up at the bank.
    pub redeem_until: Timestamp,
    /// Whether it can be paid with.
    pub state: TokenState,
}

/// One operation, as the person sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: OperationId,
    /// What it is.
    pub kind: OperationKind,
    /// The bank.
    pub bank: PublicKey,
    /// How much it is about; for a purchase the price.
    pub amount: Option<Amount>,
    /// In which currency.
    pub currency: Option<Currency>,
    /// When it was begun.
    pub begun: Timestamp,
    /// What is done next about it: `asking` for all but purchases; `fetching`, `authorizing`, `locking`, `paying`,
    /// `aborting`, `delivering`, `settling`; `recovering` what was found again from the seed; `done` when it has ended.
    pub step: &'static str,
    /// The code of the last refusal, or why a purchase was not locked or not delivered.
    pub refused: Option<String>,
    /// For a purchase: the shop.
    pub shop: Option<PublicKey>,
    /// For a purchase: the title in the contract.
    pub title: Option<String>,
    /// For a purchase that was authorised: when the authorization expires.
    pub expiry: Option<Timestamp>,
    /// For a purchase: where the goods are.
    pub place: Option<String>,
    /// When and how it ended.
    pub ended: Option<Ended>,
}

impl Entry {
    /// For a purchase that has ended: how.
    pub fn ending(&self) -> Option<Ending> {
        match &self.ended {
            Some(Ended { how: crate::operation::End::Purchase(ending), .. }) => Some(*ending),
            _ => None,
        }
    }
}

impl<S: WalletStore> Wallet<S> {
    /// The tokens of each bank, summed up.
    pub fn balance(&self) -> BTreeMap<PublicKey, Balance> {
        let mut balances: BTreeMap<PublicKey, Balance> = BTreeMap::new();
        for (bank, terms) in &self.terms {
            balances.insert(*bank, Balance::nothing(terms.currency.clone()));
        }
        for token in self.tokens() {
            let balance = balances.entry(token.bank).or_insert_with(|| Balance::nothing(token.currency.clone()));
            balance.tokens += usize::from(token.state == TokenState::Free);
            let part = match token.state {
                TokenState::Free => &mut balance.free,
                TokenState::Reserved(_) => &mut balance.reserved,
                TokenState::Spent => &mut balance.spent,
            };
            *part = part.checked_add(token.value).unwrap_or(Amount::MAX);
            if token.in_parts && token.state == TokenState::Free {
                balance.remainders = balance.remainders.checked_add(token.value).unwrap_or(Amount::MAX);
            }
        }
        for held in self.checks.values().filter(|held| matches!(held.state, CheckState::Ready | CheckState::Out)) {
            let balance =
                balances.entry(held.check.bank).or_insert_with(|| Balance::nothing(held.check.currency.clone()));
            let stands = held.maximum.checked_sub(held.returned).unwrap_or(Amount::ZERO);
            balance.in_checks = balance.in_checks.checked_add(stands).unwrap_or(Amount::MAX);
        }
        balances
    }

    /// All tokens, in no telling order.
    pub fn tokens(&self) -> Vec<TokenEntry> {
        let entry = |held: &crate::token::Held| {
            let brand = self.brands.get(&held.brand())?.brand();
            Some(TokenEntry {
                bank: brand.bank,
                brand: held.brand(),
                currency: brand.currency.clone(),
                value: self.worth(held),
                in_parts: held.left.is_some(),
                shares_key: held.key.is_some(),
                spend_until: brand.spend_until,
                redeem_until: brand.redeem_until,
                state: held.state,
            })
        };
        self.tokens.values().filter_map(entry).collect()
    }

    /// What a bank has said of itself.
    pub fn terms(&self, bank: &PublicKey) -> Option<&BankTerms> {
        self.terms.get(bank)
    }

    /// The operations that have not ended.
    pub fn under_way(&self, now: Timestamp) -> Vec<Entry> {
        self.operations.values().map(|operation| self.entry(operation, now)).collect()
    }

    /// A purchase under way of what this offer is for: the same contract of the same merchant at the same price. Whoever
    /// types the same command again after a crash means that one.
    pub fn buying(&self, offer: &GoodsM) -> Option<OperationId> {
        let same = |other: &GoodsM| {
            other.merchant == offer.merchant && other.contract == offer.contract && other.price == offer.price
        };
        let is_it = |operation: &&Operation| operation.purchase().is_some_and(|p| same(p.buyer.offer()));
        self.operations.values().find(is_it).map(|operation| operation.id)
    }

    /// One operation, whether it has ended or not.
    pub fn operation(&mut self, op: OperationId, now: Timestamp) -> Result<Option<Entry>, WalletError> {
        let operation = match self.operations.get(&op) {
            Some(operation) => Some(operation.clone()),
            None => self.past(op)?,
        };
        Ok(operation.map(|operation| self.entry(&operation, now)))
    }

    /// All operations, in the order in which they were begun.
    pub fn history(&mut self, now: Timestamp) -> Result<Vec<Entry>, WalletError> {
        let mut entries = self.under_way(now);
        for (key, row) in self.store.list(Kind::Past)? {
            entries.push(self.entry(&read_operation(&key, &row)?, now));
        }
        entries.sort_by_key(|entry| entry.id);
        Ok(entries)
    }

    /// All purchases, in the order in which they were begun.
    pub fn purchases(&mut self, now: Timestamp) -> Result<Vec<Entry>, WalletError> {
        let mut entries = self.history(now)?;
        entries.retain(|entry| entry.kind == OperationKind::Purchase);
        Ok(entries)
    }

    /// What pays for a purchase whose tokens are locked, for whoever hands it to the shop in this wallet's place; nothing if
    /// it is not at that point, or no longer.
    pub fn payment(&self, op: OperationId, now: Timestamp) -> Option<UnverifiedPayment> {
        let purchase = self.operations.get(&op)?.purchase()?;
        if purchase.buyer.next(now) == Step::Pay { payment_of(&purchase.buyer) } else { None }
    }

    /// Whom to ask for receipts of what an operation was given and gave up, and how. Nothing if it changed no tokens.
    pub fn receipt_calls(&mut self, op: OperationId) -> Result<(PublicKey, Vec<(Side, BankCall)>), WalletError> {
        let operation = match self.operations.get(&op) {
            Some(operation) => operation.clone(),
            None => self.past(op)?.ok_or(WalletError::UnknownOperation(op))?,
        };
        let (request, items) = match &operation.work {
            Work::OpenAccount(_) | Work::Recovery(_) => return Ok((operation.bank, Vec::new())),
            Work::Reclaim(reclaiming) => {
                let exchange = reclaiming.request.as_ref().ok_or(WalletError::NotNow(op))?;
                (exchange.id(), exchange_items(exchange.claimed_body()))
            }
            Work::Exchange(exchanging) => (exchanging.request.id(), exchange_items(exchanging.request.claimed_body())),
            Work::Refund(refund) => {
                let exchange = refund.exchange.as_ref().ok_or(WalletError::NotNow(op))?;
                (exchange.id(), exchange_items(exchange.claimed_body()))
            }
            Work::Purchase(purchase) => {
                let authorization = purchase.buyer.authorization_q().ok_or(WalletError::NotNow(op))?;
                (authorization.id(), exchange_items(authorization))
            }
        };
        let call = |(side, _brand, item)| (side, BankCall::Receipt { request, side, item });
        Ok((operation.bank, items.into_iter().map(call).collect()))
    }

    fn entry(&self, operation: &Operation, now: Timestamp) -> Entry {
        let last = self.tracks.get(&operation.id).and_then(|track| track.refused.clone());
        let mut entry = Entry {
            id: operation.id,
            kind: operation.kind(),
            bank: operation.bank,
            amount: None,
            currency: None,
            begun: operation.begun,
            step: "asking",
            refused: last,
            shop: None,
            title: None,
            expiry: None,
            place: None,
            ended: operation.ended.clone(),
        };
        match &operation.work {
            Work::OpenAccount(_) => {}
            Work::Reclaim(reclaiming) => {
                entry.amount = reclaiming.amount;
                entry.currency = self.checks.get(&reclaiming.number).map(|held| held.check.currency.clone());
            }
            Work::Exchange(exchanging) => {
                entry.amount = Some(exchanging.amount);
                entry.currency = Some(exchanging.request.claimed_body().currency.clone());
            }
            Work::Refund(refund) => {
                entry.amount = refund.amount;
                entry.currency = Some(refund.currency.clone());
                entry.shop = Some(refund.shop);
            }
            Work::Recovery(recovery) => {
                let body = recovery.authorization_q.claimed_body();
                entry.amount = body.price();
                entry.currency = Some(body.currency.clone());
                entry.shop = body.condition.as_ref().map(|condition| condition.merchant);
                entry.expiry = body.condition.as_ref().map(|condition| condition.expiry);
                entry.step = "recovering";
            }
            Work::Purchase(purchase) => {
                let offer = purchase.buyer.offer();
                entry.amount = Some(offer.price);
                entry.currency = Some(offer.currency.clone());
                entry.shop = Some(offer.merchant);
                entry.title = Some(offer.contract.title.clone());
                entry.expiry = purchase.buyer.authorization_q().and_then(|a| a.condition.as_ref()).map(|c| c.expiry);
                entry.place = purchase.place.clone();
                entry.refused = purchase.refused.clone().or(entry.refused);
                entry.step = step_name(purchase.buyer.next(now));
            }
        }
        if entry.ended.is_some() {
            entry.step = "done";
        }
        entry
    }
}

impl Balance {
    fn nothing(currency: Currency) -> Self {
        let (free, reserved, spent, remainders) = (Amount::ZERO, Amount::ZERO, Amount::ZERO, Amount::ZERO);
        Balance { currency, free, reserved, spent, remainders, in_checks: Amount::ZERO, tokens: 0 }
    }
}

/// The step of a purchase whose tokens are locked, and which is not paid yet.
pub(crate) const PAYING: &str = "paying";

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Fetch => "fetching",
        Step::Authorize => "authorizing",
        Step::Lock => "locking",
        Step::Pay => PAYING,
        Step::Abort => "aborting",
        Step::Settle => "settling",
        Step::Deliver => "delivering",
        Step::Done(_) => "done",
    }
}
