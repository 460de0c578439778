//! Account balances: given up by an order that the account's key signs.

use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey};

use super::{Given, Wanted, above_zero};
use crate::refusal::Refusal;
use crate::request::Order;
use crate::state::{LedgerAccount, Mark, MarkKind};

/// The mark of an account's order.
pub fn order_mark(account: &PublicKey, order: &Order) -> Mark {
    Mark { key: Digest::of(&[b"naulon/mark/order", account.as_bytes(), order]), kind: MarkKind::Order }
}

pub(super) fn given(account: PublicKey, amount: Amount, order: &Order) -> Result<Given, Refusal> {
    Ok(Given {
        value: above_zero(amount)?,
        signer: account,
        mark: Some(order_mark(&account, order)),
        part_of: None,
        ledger: LedgerAccount::Customer(account),
        chain: None,
    })
}

pub(super) fn wanted(account: PublicKey, amount: Amount) -> Result<Wanted, Refusal> {
    Ok(Wanted { value: above_zero(amount)?, ledger: LedgerAccount::Customer(account), chain: None })
}
