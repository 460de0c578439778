//! Purchases (AAT §3.3): tokens locked until the log decides; the outputs are fixed at the lock.

use std::sync::Arc;

use naulon_statement::{Digest, PublicKey, Timestamp};

use super::{Given, all_given, all_wanted, brand_of};
use crate::decide::Decided;
use crate::decision::{Outcome, ProvenDecision};
use crate::promise::Header;
use crate::refusal::Refusal;
use crate::request::{Condition, Exchange, Input, Output, SaleNumber, key_commitment};
use crate::rules::Rules;
use crate::state::{LedgerAccount, Mark, MarkKind, Plan, Record, RecordWrite, State, Transfer, View};

/// The mark of a merchant's offer: at most one authorization for it is live or committed.
pub fn offer_mark(merchant: &PublicKey, n: &SaleNumber) -> Mark {
    Mark { key: Digest::of(&[b"naulon/mark/offer", merchant.as_bytes(), n]), kind: MarkKind::Offer }
}

/// Checks the form of an authorization_q: tokens alone pay, Q is the first token's key, and one credit goes to the
/// merchant alone.
pub(crate) fn check_form(exchange: &Exchange, condition: &Condition) -> Result<(), Refusal> {
    let only_tokens = exchange.inputs.iter().all(|input| matches!(input, Input::Token { .. }));
    let first = exchange.tokens().next().map(|token| PublicKey(*token.nonce()));
    let q_is_first = condition.q.is_none() || condition.q == first;
    if !only_tokens || !q_is_first {
        return Err(Refusal::ConditionInputs);
    }
    let credits = exchange.outputs.iter().filter(|output| matches!(output, Output::Account { .. })).count();
    if credits != 1 || exchange.price().is_none() {
        return Err(Refusal::ConditionOutputs);
    }
    Ok(())
}

/// Checks log and expiry of an authorization_q against the bank's rules and clock.
pub(crate) fn check_time(
    rules: &Rules,
    exchange: &Exchange,
    condition: &Condition,
    now: Timestamp,
) -> Result<(), Refusal> {
    if !rules.logs.contains_key(&condition.log) {
        return Err(Refusal::UnknownLog);
    }
    let earliest = now.plus(rules.locks.min);
    if condition.expiry < earliest {
        return Err(Refusal::ExpiryTooSoon { earliest });
    }
    // No lock outlives a token's brand: after an abort the token must still be worth something.
    let mut latest = now.plus(rules.locks.max);
    for token in exchange.tokens() {
        latest = latest.min(brand_of(rules, token)?.brand().redeem_until);
    }
    if condition.expiry > latest {
        return Err(Refusal::ExpiryTooLate { latest });
    }
    Ok(())
}

/// The journal's lines of a lock: every input's value goes to where locked money stands.
pub(crate) fn lock_transfers(given: &[Given]) -> Vec<Transfer> {
    given.iter().map(|g| Transfer { from: g.ledger, to: LedgerAccount::Locked, amount: g.value }).collect()
}

/// Settles a purchase by the log's decision.
pub(crate) fn settle(rules: &Rules, view: &View, proven: &Arc<ProvenDecision>) -> Result<Decided, Refusal> {
    let record = view.record.as_ref().ok_or(Refusal::UnknownPurchase)?;
    let exchange: &Exchange = &record.exchange;
    let header = Header::of(exchange, record.id()).ok_or(Refusal::UnknownPurchase)?;
    let decision = proven.decision();
    if decision.signer() != header.log || !decision.fits(&header) {
        return Err(Refusal::DecisionMisfit);
    }
    // The first recorded outcome is final; another one is evidence against the log.
    if let Some(recorded) = &record.decision {
        let same = recorded.decision().outcome == decision.outcome;
        return if same {
            Ok(Decided::Replay(record.clone()))
        } else {
            Err(Refusal::Contradiction(Arc::new(recorded.clone())))
        };
    }
    let given = all_given(rules, exchange)?;
    let (state, freed, transfers) = match &decision.outcome {
        Outcome::Commit { k } => {
            if key_commitment(&header.n, k) != header.c {
                return Err(Refusal::KeyMismatch);
            }
            let deliver = |w: super::Wanted| Transfer { from: LedgerAccount::Locked, to: w.ledger, amount: w.value };
            (State::Committed, Vec::new(), all_wanted(rules, exchange)?.into_iter().map(deliver).collect())
        }
        Outcome::Abort => {
            let mut freed: Vec<Mark> = given.iter().map(|g| g.mark).collect();
            freed.push(offer_mark(&header.merchant, &header.n));
            let unlock = |g: &Given| Transfer { from: LedgerAccount::Locked, to: g.ledger, amount: g.value };
            (State::Aborted, freed, given.iter().map(unlock).collect())
        }
    };
    let settled = Record { state, decision: Some(ProvenDecision::clone(proven)), ..Record::clone(record) };
    Ok(Decided::Write(Plan {
        record: RecordWrite::Settle(Arc::new(settled)),
        marks: Vec::new(),
        freed,
        guards: Vec::new(),
        transfers,
    }))
}
