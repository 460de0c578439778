//! Money that came in from outside, vouched for by the operator.

use naulon_money::Amount;
use naulon_statement::Digest;

use super::{Given, above_zero};
use crate::refusal::Refusal;
use crate::request::Order;
use crate::rules::Rules;
use crate::state::{LedgerAccount, Mark, MarkKind};

/// The mark of an incoming payment's reference. The operator's key is not in it: a new key must not credit an old payment
/// once more.
pub fn reference_mark(reference: &Order) -> Mark {
    Mark { key: Digest::of(&[b"naulon/mark/reference", reference]), kind: MarkKind::Order }
}

pub(super) fn given(rules: &Rules, amount: Amount, reference: &Order) -> Result<Given, Refusal> {
    Ok(Given {
        value: above_zero(amount)?,
        signer: rules.operator,
        mark: Some(reference_mark(reference)),
        part_of: None,
        ledger: LedgerAccount::Outside,
        chain: None,
    })
}
