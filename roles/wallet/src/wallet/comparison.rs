//! Whether two wallets of one seed hold the same.

use std::collections::BTreeSet;

use naulon_exchange::RequestId;
use naulon_money::Amount;
use naulon_statement::{Digest, Timestamp};

use super::Wallet;
use crate::operation::Work;
use crate::seed::Seed;
use crate::store::WalletStore;
use crate::token::TokenState;

/// What a wallet holds, for a comparison with another of the same seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    tokens: BTreeSet<(Amount, Digest, u32)>,
    purchases: BTreeSet<RequestId>,
}

/// How one wallet differs from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Tokens that only this one has.
    pub tokens_here: usize,
    /// What they are worth.
    pub worth_here: Amount,
    /// Tokens that only the other one has.
    pub tokens_there: usize,
    /// What they are worth.
    pub worth_there: Amount,
    /// Purchases that have locked tokens here only.
    pub purchases_here: usize,
    /// Purchases that have locked tokens there only.
    pub purchases_there: usize,
}

impl Differences {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Differences::default()
    }
}

impl Contents {
    /// How this differs from another wallet's.
    pub fn differences(&self, there: &Contents) -> Differences {
        let only = |one: &Contents, other: &Contents| {
            let tokens: Vec<Amount> = one.tokens.difference(&other.tokens).map(|(value, ..)| *value).collect();
            let worth = Amount::checked_sum(tokens.iter().copied()).unwrap_or(Amount::MAX);
            (tokens.len(), worth, one.purchases.difference(&other.purchases).count())
        };
        let (tokens_here, worth_here, purchases_here) = only(self, there);
        let (tokens_there, worth_there, purchases_there) = only(there, self);
        Differences { tokens_here, worth_here, tokens_there, worth_there, purchases_here, purchases_there }
    }

    /// How many tokens, and purchases that have locked some.
    pub fn count(&self) -> (usize, usize) {
        (self.tokens.len(), self.purchases.len())
    }
}

impl<S: WalletStore> Wallet<S> {
    /// Whether this is the wallet of that seed.
    pub fn is_of(&self, seed: &Seed) -> bool {
        // Both are this person's, so there is nobody to hide the comparison's time from.
        self.seed.as_bytes() == seed.as_bytes()
    }

    /// Its tokens that are not spent, whether they are set aside or not, and whose brands are open; and its purchases that
    /// have locked tokens at the bank and are not settled.
    pub fn contents(&self, now: Timestamp) -> Contents {
        let open = self.tokens.values().filter(|held| held.state != TokenState::Spent).filter_map(|held| {
            let brand = self.brands.get(&held.brand())?.brand();
            brand.redeemable_at(now).then(|| (brand.denomination, held.brand(), held.index))
        });
        let locked = self.operations.values().filter_map(|operation| match &operation.work {
            Work::Purchase(purchase) if !purchase.settled => {
                purchase.buyer.promise().and(purchase.buyer.authorization_q()).map(naulon_statement::Joint::id)
            }
            Work::Recovery(recovery) if !recovery.settled => Some(recovery.authorization_q.id()),
            _ => None,
        });
        Contents { tokens: open.collect(), purchases: locked.collect() }
    }
}
