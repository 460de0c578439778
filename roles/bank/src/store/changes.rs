//! What a plan means for the balances, the same in every store.

use std::collections::BTreeMap;

use naulon_exchange::{ChainWrite, DrawChange, Guard, LedgerAccount, LockedChain, Plan, Remainder};
use naulon_money::Amount;
use naulon_statement::PublicKey;

/// The conditional change of one balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BalanceChange {
    /// What the account must hold before.
    at_least: Amount,
    debit: Amount,
    credit: Amount,
}

impl BalanceChange {
    /// What the account holds afterwards; none if the change must not be made.
    pub(super) fn apply(&self, balance: Amount) -> Option<Amount> {
        let guarded = balance >= self.at_least;
        let after = balance.checked_sub(self.debit).and_then(|rest| rest.checked_add(self.credit));
        after.filter(|_| guarded)
    }

    /// The lowest and the highest balance that the change can be made of, and what it adds, in micro-units.
    pub(super) fn bounds(&self) -> (i64, i64, i64) {
        // All of them are at most `Amount::MAX`, which is `i64::MAX`; and a credit is above `debit + room` only if no
        // balance fits, which the empty range says.
        let [debit, credit] = [self.debit, self.credit].map(signed);
        let lowest = signed(self.at_least).max(debit);
        let highest = i64::MAX.saturating_sub(credit).saturating_add(debit);
        (lowest, highest, credit - debit)
    }

    /// Whether it only asks for the account to be open.
    pub(super) fn is_check(&self) -> bool {
        *self == BalanceChange::default()
    }
}

/// What a plan changes, account by account, its guards with its transfers; none if its sums cannot be counted.
pub(super) fn balance_changes(plan: &Plan) -> Option<BTreeMap<PublicKey, BalanceChange>> {
    let mut changes: BTreeMap<PublicKey, BalanceChange> = BTreeMap::new();
    for guard in &plan.guards {
        match guard {
            Guard::Open(account) => {
                changes.entry(*account).or_default();
            }
            Guard::Balance { account, at_least } => {
                let change = changes.entry(*account).or_default();
                change.at_least = change.at_least.max(*at_least);
            }
        }
    }
    for line in &plan.transfers {
        if let LedgerAccount::Customer(account) = line.from {
            let change = changes.entry(account).or_default();
            change.debit = change.debit.checked_add(line.amount)?;
        }
        if let LedgerAccount::Customer(account) = line.to {
            let change = changes.entry(account).or_default();
            change.credit = change.credit.checked_add(line.amount)?;
        }
    }
    Some(changes)
}

/// What is left on a token after a draw; none if the draw must not be made. Of the row only the first use makes one.
pub(super) fn drawn(before: Option<Remainder>, change: &DrawChange) -> Option<Remainder> {
    match (change, before) {
        (DrawChange::Open { left }, None) => Some(Remainder { left: *left, uses: 1 }),
        (change, Some(remainder)) => remainder.after(change),
        (_, None) => None,
    }
}

/// Whether a check's row is as a plan must find it, and what the plan makes of it does not exceed what was set aside.
pub(super) fn may_change(stored: Option<&LockedChain>, write: &ChainWrite) -> bool {
    let gone = write.after.paid.checked_add(write.after.returned);
    stored == write.before.as_ref() && gone.is_some_and(|gone| gone <= write.after.maximum)
}

/// An amount as a signed database integer. One above `Amount::MAX` is none that was ever accepted.
pub(super) fn signed(amount: Amount) -> i64 {
    i64::try_from(amount.micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds say exactly what `apply` does.
    #[test]
    fn bounds_agree_with_apply() {
        let max = Amount::MAX.micros();
        let edges = [0, 1, 2, 7, max / 2, max - 1, max];
        for at_least in edges {
            for debit in edges {
                for credit in edges {
                    let [at_least, debit, credit] = [at_least, debit, credit].map(Amount::from_micros);
                    let change = BalanceChange { at_least, debit, credit };
                    let (lowest, highest, delta) = change.bounds();
                    for balance in edges {
                        let held = i64::try_from(balance).expect("fits");
                        let by_bounds = (lowest..=highest).contains(&held).then(|| held + delta);
                        let by_apply = change.apply(Amount::from_micros(balance)).map(signed);
                        assert_eq!(by_bounds, by_apply, "{change:?} of {balance}");
                    }
                }
            }
        }
    }
}
