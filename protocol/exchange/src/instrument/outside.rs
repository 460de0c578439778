//! Money that came in from outside, vouched for by the operator.

use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey};

use super::{Given, above_zero};
use crate::refusal::Refusal;
use crate::request::Order;
use crate::rules::Rules;
use crate::state::{LedgerAccount, Mark, MarkKind};

/// The mark of an incoming payment's reference.
pub fn reference_mark(operator: &PublicKey, reference: &Order) -> Mark {
    Mark { key: Digest::of(&[b"naulon/mark/reference", operator.as_bytes(), reference]), kind: MarkKind::Order }
}

pub(super) fn given(rules: &Rules, amount: Amount, reference: &Order) -> Result<Given, Refusal> {
    Ok(Given {
        value: above_zero(amount)?,
        signer: rules.operator,
        mark: reference_mark(&rules.operator, reference),
        ledger: LedgerAccount::Outside,
    })
}
