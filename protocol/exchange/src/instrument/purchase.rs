//! Purchases (AAT §3.3): tokens locked until the log decides; the outputs are fixed at the lock.

use std::sync::Arc;

use naulon_statement::{Digest, PublicKey, Timestamp};

use super::{Given, all_given, all_wanted, part_marks};
use crate::decision::{Outcome, ProvenDecision};
use crate::promise::Header;
use crate::refusal::Refusal;
use crate::request::{Carrier, Condition, Exchange, Input, Output, SaleNumber, key_commitment, spending_key};
use crate::rules::Rules;
use crate::state::{
    Decided, Draw, DrawChange, LedgerAccount, Mark, MarkKind, Plan, Record, RecordWrite, State, Transfer, View,
};

/// The mark of a merchant's offer: at most one authorization for it is live or committed.
pub fn offer_mark(merchant: &PublicKey, n: &SaleNumber) -> Mark {
    Mark { key: Digest::of(&[b"naulon/mark/offer", merchant.as_bytes(), n]), kind: MarkKind::Offer }
}

/// Checks the form of an authorization_q: tokens alone pay, Q is the first token's key, and one credit goes to the
/// merchant alone.
pub(crate) fn check_form(exchange: &Exchange, condition: &Condition) -> Result<(), Refusal> {
    let only_tokens = exchange.inputs.iter().all(|input| matches!(input, Input::Token { .. }));
    let first = exchange.inputs.first().and_then(|input| match input {
        Input::Token { token, key, .. } => Some((spending_key(token, key.as_ref()), key.is_some())),
        _ => None,
    });
    let q_is_first = condition.q.is_none() || condition.q == first.map(|(q, _)| q);
    if !only_tokens || !q_is_first {
        return Err(Refusal::ConditionInputs);
    }
    // A plain entry names Q for everybody, so it would link all uses of one that is used again (AAT §8.6).
    let is_plain = condition.entry.is_plain();
    if is_plain && condition.q.is_some() && first.is_some_and(|(_, is_reusable)| is_reusable) {
        return Err(Refusal::ReusableQ);
    }
    let credits = exchange.outputs.iter().filter(|output| matches!(output, Output::Account { .. })).count();
    let has_chain = exchange.outputs.iter().any(|output| matches!(output, Output::Chain { .. }));
    if credits != 1 || has_chain || exchange.price().is_none() {
        return Err(Refusal::ConditionOutputs);
    }
    Ok(())
}

/// Checks expiry and log of an authorization_q against the bank's rules and clock. The expiry first: once it is too near,
/// the refusal is final, and a buyer who asks again and again must come to learn that.
pub(crate) fn check_time(
    rules: &Rules,
    exchange: &Exchange,
    condition: &Condition,
    now: Timestamp,
) -> Result<(), Refusal> {
    let earliest = now.plus(rules.locks.min);
    if condition.expiry < earliest {
        return Err(Refusal::ExpiryTooSoon { earliest });
    }
    // No lock outlives a brand of its tokens or its change: at the expiry there must be time left to give up what comes
    // back, as much as the shortest lock leaves.
    let mut latest = now.plus(rules.locks.max);
    let spent = exchange.tokens().map(|token| Digest(*token.key_id()));
    for brand in spent.chain(exchange.blinded().map(|(brand, _)| *brand)) {
        let known = rules.brands.get(&brand).ok_or(Refusal::UnknownBrand)?;
        latest = latest.min(known.brand().redeem_until.minus(rules.locks.min));
    }
    if condition.expiry > latest {
        return Err(Refusal::ExpiryTooLate { latest });
    }
    if condition.carrier == Carrier::Bank && !rules.deliveries.contains(&condition.merchant) {
        return Err(Refusal::NoDelivery);
    }
    rules.logs.contains_key(&condition.log).then_some(()).ok_or(Refusal::UnknownLog)
}

/// The journal's lines of a lock: every input's value goes to where locked money stands.
pub(crate) fn lock_transfers(given: &[Given]) -> Vec<Transfer> {
    given.iter().map(|g| Transfer { from: g.ledger, to: LedgerAccount::Locked, amount: g.value }).collect()
}

/// Settles a purchase by the log's decision.
pub(crate) fn settle(
    rules: &Rules,
    view: &View,
    proven: &Arc<ProvenDecision>,
    now: Timestamp,
) -> Result<Decided, Refusal> {
    let record = view.record.as_ref().ok_or(Refusal::UnknownPurchase)?;
    let exchange: &Exchange = &record.exchange;
    let header = Header::of(exchange, record.id()).ok_or(Refusal::UnknownPurchase)?;
    let decision = proven.decision();
    if proven.signer() != header.log || !proven.fits(&header) {
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
    match record.state {
        State::Locked => {}
        // Its merchant's own log decides too late; the tokens may be spent by now.
        _ if decision.outcome != Outcome::Abort => return Err(Refusal::Lapsed),
        _ => return Ok(Decided::Replay(record.clone())),
    }
    let given = all_given(rules, exchange)?;
    let (state, (freed, draws), transfers) = match &decision.outcome {
        Outcome::Commit { k } => {
            if key_commitment(&header.n, k) != header.c {
                return Err(Refusal::KeyMismatch);
            }
            let deliver = |w: super::Wanted| Transfer { from: LedgerAccount::Locked, to: w.ledger, amount: w.value };
            (
                State::Committed,
                (Vec::new(), Vec::new()),
                all_wanted(rules, exchange)?.into_iter().map(deliver).collect(),
            )
        }
        Outcome::Abort => (State::Aborted, unlocked(&header, &given), unlock_transfers(&given)),
    };
    let decision = Some(ProvenDecision::clone(proven));
    let settled = Record { state, decision, settled: Some(now), ..Record::clone(record) };
    Ok(Decided::Write(Plan {
        record: RecordWrite::Settle(Arc::new(settled)),
        marks: Vec::new(),
        freed,
        draws,
        chains: Vec::new(),
        guards: Vec::new(),
        transfers,
    }))
}

/// Frees a purchase whose merchant keeps the log itself and has not claimed it in time (AAT §7).
pub(crate) fn lapse(rules: &Rules, view: &View, now: Timestamp) -> Result<Decided, Refusal> {
    let record = view.record.as_ref().ok_or(Refusal::UnknownPurchase)?;
    let header = Header::of(&record.exchange, record.id()).ok_or(Refusal::UnknownPurchase)?;
    // Before its time it stays as it is.
    if record.state != State::Locked || rules.frees_at(&header).is_none_or(|time| now < time) {
        return Ok(Decided::Replay(record.clone()));
    }
    let given = all_given(rules, &record.exchange)?;
    let (freed, draws) = unlocked(&header, &given);
    let settled = Record { state: State::Aborted, settled: Some(now), ..Record::clone(record) };
    Ok(Decided::Write(Plan {
        record: RecordWrite::Settle(Arc::new(settled)),
        marks: Vec::new(),
        freed,
        draws,
        chains: Vec::new(),
        guards: Vec::new(),
        transfers: unlock_transfers(&given),
    }))
}

fn unlock_transfers(given: &[Given]) -> Vec<Transfer> {
    given.iter().map(|g| Transfer { from: LedgerAccount::Locked, to: g.ledger, amount: g.value }).collect()
}

/// What an abort gives back: marks, and parts of tokens. A token that was opened to be spent in parts stays open, and the
/// use holds one of its places, whichever that is.
fn unlocked(header: &Header, given: &[Given]) -> (Vec<Mark>, Vec<Draw>) {
    let mut freed = vec![offer_mark(&header.merchant, &header.n)];
    let mut draws = Vec::new();
    for (g, mark) in given.iter().filter_map(|g| Some((g, g.mark?))) {
        match g.part_of {
            None => freed.push(mark),
            Some(_) => {
                freed.extend(part_marks(&mark.key));
                draws.push(Draw { token: mark.key, change: DrawChange::GiveBack { amount: g.value } });
            }
        }
    }
    (freed, draws)
}
