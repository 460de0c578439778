//! Problem details (RFC 9457) with a stable code.

use naulon_exchange::{Record, Refusal, UnverifiedDecision, UnverifiedRecord};
use naulon_purchase::{LogRefusal, PaymentRefusal, RefundRefusal};
use naulon_statement::{StatementError, cbor};
use naulon_tlog::WitnessRefusal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::text::B64;

/// A refusal as it travels. The code is stable, and docs/codes.md says what the caller should do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{detail} [{code}]")]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// A URI reference to the page of the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means, the same text every time.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What was the matter this time.
    pub detail: String,
    /// Proof that comes with the refusal: for `spent` and `locked` the earlier request's record, or all of them if the token
    /// is spent in parts; for `in_parts` the one that began it; for `log_contradiction` the first decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<B64>,
    /// After how many seconds a repetition may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// For `range`: the size in bytes of what a range was asked of. For `chain_advanced`: how many ticks are paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What must be paid: the `WWW-Authenticate` header of a 402 ([`Challenge`](crate::payment::Challenge)).
    #[serde(skip)]
    pub challenge: Option<String>,
}

impl Problem {
    /// The problem of this code. A code that is not in [`codes::CODES`] is an `internal` problem.
    pub fn new(code: &str, detail: impl std::fmt::Display) -> Self {
        let page = codes::find(code).unwrap_or(codes::INTERNAL);
        Problem {
            kind: format!("/problems/{}", page.code),
            title: page.title.to_owned(),
            status: page.status,
            code: page.code.to_owned(),
            detail: detail.to_string(),
            evidence: None,
            retry_after: page.retry_after,
            size: None,
            challenge: None,
        }
    }

    /// The problem of a range that lies outside of something of this size.
    pub fn range(size: u64) -> Self {
        let detail = format_args!("the range lies outside of the {size} bytes that there are");
        Problem { size: Some(size), ..Problem::new("range", detail) }
    }

    /// True if this very request can never succeed, whatever happens later, and has not succeeded: what it would have taken
    /// is as free as if it had never been sent.
    pub fn is_final(&self) -> bool {
        codes::find(&self.code).is_some_and(|page| page.is_final)
    }

    /// The earlier records that a `spent`, `locked` or `in_parts` problem proves itself by: one, or the live uses of a token
    /// that is spent in parts. Nothing in them is verified.
    pub fn records(&self) -> Vec<UnverifiedRecord> {
        let Some(B64(evidence)) = &self.evidence else { return Vec::new() };
        let one = cbor::from_slice(evidence).map(|record| vec![record]);
        one.or_else(|_| cbor::from_slice(evidence)).unwrap_or_default()
    }

    /// The first of [`records`](Self::records).
    pub fn record(&self) -> Option<UnverifiedRecord> {
        self.records().into_iter().next()
    }

    /// The decision that a bank has recorded, by which a `log_contradiction` problem proves itself. Nothing in it is
    /// verified.
    pub fn decision(&self) -> Option<UnverifiedDecision> {
        cbor::from_slice(&self.evidence.as_ref()?.0).ok()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let evidence = match &refusal {
            Refusal::Spent(record) | Refusal::Locked(record) | Refusal::InParts(record) => {
                Some(cbor::to_vec(&**record))
            }
            Refusal::PartSpent { uses, .. } | Refusal::PartLocked { uses, .. } => {
                Some(cbor::to_vec(&uses.iter().map(|record| Record::clone(record)).collect::<Vec<_>>()))
            }
            Refusal::Contradiction(decision) => Some(decision.to_bytes()),
            _ => None,
        };
        let size = match &refusal {
            Refusal::ChainAdvanced { index } => Some(u64::from(*index)),
            _ => None,
        };
        Problem { evidence: evidence.map(B64), size, ..Problem::new(refusal.code(), refusal) }
    }
}

impl From<LogRefusal> for Problem {
    fn from(refusal: LogRefusal) -> Self {
        Problem::new(refusal.code(), refusal)
    }
}

impl From<WitnessRefusal> for Problem {
    fn from(refusal: WitnessRefusal) -> Self {
        Problem::new(refusal.code(), refusal)
    }
}

impl From<RefundRefusal> for Problem {
    fn from(refusal: RefundRefusal) -> Self {
        Problem::new(refusal.code(), refusal)
    }
}

impl From<PaymentRefusal> for Problem {
    fn from(refusal: PaymentRefusal) -> Self {
        Problem::new(refusal.code(), refusal)
    }
}

impl From<StatementError> for Problem {
    fn from(error: StatementError) -> Self {
        Problem::new(error.code(), error)
    }
}
