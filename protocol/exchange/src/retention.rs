//! What a bank may forget, and when (AAT §5).
//!
//! A request is proof that a token is spent for as long as somebody could come with the token. Once its brand is closed, nobody
//! can: whatever names it is refused by its dates. So a request, with its marks and its commit, is kept until every brand that
//! it names is closed, and some time after that for disputes. A purchase that was aborted took nothing; its *abort* is only
//! kept until the merchant's claims have ended, a fixed time after the expiry.

use std::collections::{BTreeMap, BTreeSet};

use naulon_statement::{Digest, Duration, Timestamp};

use crate::audit::Audit;
use crate::instrument::{offer_mark, token_mark};
use crate::request::{Input, Output, RequestId, output_key};
use crate::rules::Rules;
use crate::state::{LedgerAccount, Record, State};

/// How long a bank keeps what nobody needs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// From a brand's redeem-until on: requests of tokens of that brand.
    pub brands: Duration,
    /// From a purchase's expiry on: an abort. A merchant that claims later is told that the bank knows no such purchase.
    pub claims: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { brands: Duration::days(30), claims: Duration::days(90) }
    }
}

/// A request that is forgotten: what goes with it, and what it leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The request.
    pub id: RequestId,
    /// The marks that it may hold.
    pub marks: BTreeSet<Digest>,
    /// The keys of its blinded outputs.
    pub outputs: BTreeSet<Digest>,
    /// What it did to each ledger account, in micro-units, by the auditor's arithmetic: carried forward, so that the books can
    /// still be audited.
    pub carried: BTreeMap<LedgerAccount, i64>,
}

impl Forgotten {
    /// What goes with this record, if nobody needs it any more at this time; none if it stays.
    ///
    /// The bank must not be able to accept the request once more: so the time is durable before anything is forgotten, and no
    /// bank on the same books goes back behind it. Requests of accounts and of the operator stay, because nothing but their
    /// marks keeps an order from being used twice, be it for other outputs: a merchant that gives refunds relies on that. So
    /// do uses of tokens that are spent in parts, and all that has to do with a check: its row stands for as long as they do.
    pub fn of(rules: &Rules, record: &Record, retention: &Retention, now: Timestamp) -> Option<Forgotten> {
        if record.state == State::Locked {
            return None;
        }
        if !has_ended(record, retention, now) && !is_closed(rules, record, retention, now) {
            return None;
        }
        let mut marks: BTreeSet<Digest> = BTreeSet::new();
        for input in &record.exchange.inputs {
            match input {
                Input::Token { token, part: None, .. } => marks.insert(token_mark(token).key),
                Input::Token { part: Some(_), .. } | Input::Account { .. } | Input::Outside { .. } => return None,
                Input::Chain { .. } | Input::Remainder { .. } | Input::Purse { .. } => return None,
            };
        }
        if record.exchange.outputs.iter().any(|output| matches!(output, Output::Chain { .. } | Output::Load { .. })) {
            return None;
        }
        if let Some(condition) = &record.exchange.condition {
            marks.insert(offer_mark(&condition.merchant, &condition.n).key);
        }
        let outputs = record.exchange.blinded().map(|(brand, message)| output_key(brand, message)).collect();
        let carried = Audit::effect(rules, record)?;
        Some(Forgotten { id: record.id(), marks, outputs, carried })
    }
}

/// A purchase that was aborted, and whose merchant can claim nothing more.
fn has_ended(record: &Record, retention: &Retention, now: Timestamp) -> bool {
    let expiry = record.exchange.condition.as_ref().map(|condition| condition.expiry);
    record.state == State::Aborted && expiry.is_some_and(|expiry| expiry.plus(retention.claims) <= now)
}

/// Every brand that it names is closed for so long.
fn is_closed(rules: &Rules, record: &Record, retention: &Retention, now: Timestamp) -> bool {
    let given = record.exchange.tokens().map(|token| Digest(*token.key_id()));
    given.chain(record.exchange.blinded().map(|(brand, _)| *brand)).all(|brand| {
        let known = rules.brands.get(&brand);
        known.is_some_and(|known| known.brand().redeem_until.plus(retention.brands) <= now)
    })
}
