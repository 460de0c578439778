//! Every refusal that a party can make has its page. The matches name every variant, so that a new one is not forgotten.

use std::collections::BTreeSet;

use naulon_blind::TokenVerifyError;
use naulon_exchange::{DecisionError, PurseCheckError, Refusal};
use naulon_money::Amount;
use naulon_purchase::{LogRefusal, PaymentRefusal};
use naulon_statement::{Digest, SignatureError, StatementError, Timestamp};
use naulon_tick::TickError;
use naulon_tlog::WitnessRefusal;
use naulon_wire::{Problem, codes};

use super::samples::{decision, key, record};

fn statement_errors() -> Vec<StatementError> {
    let all = [
        StatementError::TooLong,
        StatementError::Malformed,
        StatementError::NotCanonical,
        StatementError::WrongSigner,
        StatementError::Signature(SignatureError::Mismatch),
    ];
    let number = |error: &StatementError| match error {
        StatementError::TooLong => 0,
        StatementError::Malformed => 1,
        StatementError::NotCanonical => 2,
        StatementError::WrongSigner => 3,
        StatementError::Signature(_) => 4,
    };
    complete(&all, number);
    all.to_vec()
}

fn refusals() -> Vec<Refusal> {
    let amount = Amount::from_micros(1);
    let all = [
        Refusal::Statement(StatementError::Malformed),
        Refusal::WrongBank,
        Refusal::WrongCurrency,
        Refusal::Size,
        Refusal::SignatureMissing(key(1).public()),
        Refusal::SignatureUnneeded(key(1).public()),
        Refusal::UnknownBrand,
        Refusal::BrandNotIssuing,
        Refusal::BrandClosed,
        Refusal::Token(TokenVerifyError::WrongSignature),
        Refusal::DuplicateInput,
        Refusal::DuplicateOutput,
        Refusal::AccountFull(key(1).public()),
        Refusal::AmountOutOfRange,
        Refusal::Unbalanced { inputs: amount, outputs: amount },
        Refusal::ConditionInputs,
        Refusal::ConditionOutputs,
        Refusal::UnknownLog,
        Refusal::ExpiryTooSoon { earliest: Timestamp(1) },
        Refusal::ExpiryTooLate { latest: Timestamp(1) },
        Refusal::UnknownAccount(key(1).public()),
        Refusal::InsufficientFunds,
        Refusal::Spent(record()),
        Refusal::Locked(record()),
        Refusal::OrderUsed,
        Refusal::OfferTaken,
        Refusal::UnknownPurchase,
        Refusal::Decision(DecisionError::Statement(StatementError::WrongSigner)),
        Refusal::DecisionMisfit,
        Refusal::KeyMismatch,
        Refusal::Contradiction(decision().into()),
        Refusal::Stale,
        Refusal::WrongSerial,
        Refusal::ReusableQ,
        Refusal::InParts(record()),
        Refusal::PartSpent { left: amount, uses: vec![record(), record()] },
        Refusal::PartLocked { left: amount, uses: vec![] },
        Refusal::TooManyParts { left: amount },
        Refusal::NoDelivery,
        Refusal::Lapsed,
        Refusal::Tick(TickError::Forged),
        Refusal::UnknownChain,
        Refusal::ChainTaken,
        Refusal::ChainMisfit,
        Refusal::WrongPayee,
        Refusal::ChainBounds,
        Refusal::ChainAdvanced { index: 1 },
        Refusal::ChainExceeded { left: amount },
        Refusal::ChallengeForged,
        Refusal::ChallengeStale,
        Refusal::RemainderEarly { from: Timestamp(1) },
        Refusal::RemainderMoved { returned: amount },
        Refusal::WrongRefundKey,
        Refusal::BadClose,
        Refusal::WrongPurpose,
        Refusal::PurseCheck(PurseCheckError::Brand),
        Refusal::PurseOverdrawn(Digest([1; 32])),
        Refusal::PurseStopped(Digest([1; 32])),
    ];
    let number = |refusal: &Refusal| match refusal {
        Refusal::Statement(_) => 0,
        Refusal::WrongBank => 1,
        Refusal::WrongCurrency => 2,
        Refusal::Size => 3,
        Refusal::SignatureMissing(_) => 4,
        Refusal::SignatureUnneeded(_) => 5,
        Refusal::UnknownBrand => 6,
        Refusal::BrandNotIssuing => 7,
        Refusal::BrandClosed => 8,
        Refusal::Token(_) => 9,
        Refusal::DuplicateInput => 10,
        Refusal::DuplicateOutput => 11,
        Refusal::AccountFull(_) => 12,
        Refusal::AmountOutOfRange => 13,
        Refusal::Unbalanced { .. } => 14,
        Refusal::ConditionInputs => 15,
        Refusal::ConditionOutputs => 16,
        Refusal::UnknownLog => 17,
        Refusal::ExpiryTooSoon { .. } => 18,
        Refusal::ExpiryTooLate { .. } => 19,
        Refusal::UnknownAccount(_) => 20,
        Refusal::InsufficientFunds => 21,
        Refusal::Spent(_) => 22,
        Refusal::Locked(_) => 23,
        Refusal::OrderUsed => 24,
        Refusal::OfferTaken => 25,
        Refusal::UnknownPurchase => 26,
        Refusal::Decision(_) => 27,
        Refusal::DecisionMisfit => 28,
        Refusal::KeyMismatch => 29,
        Refusal::Contradiction(_) => 30,
        Refusal::Stale => 31,
        Refusal::WrongSerial => 32,
        Refusal::ReusableQ => 33,
        Refusal::InParts(_) => 34,
        Refusal::PartSpent { .. } => 35,
        Refusal::PartLocked { .. } => 36,
        Refusal::TooManyParts { .. } => 37,
        Refusal::NoDelivery => 38,
        Refusal::Lapsed => 39,
        Refusal::Tick(_) => 40,
        Refusal::UnknownChain => 41,
        Refusal::ChainTaken => 42,
        Refusal::ChainMisfit => 43,
        Refusal::WrongPayee => 44,
        Refusal::ChainBounds => 45,
        Refusal::ChainAdvanced { .. } => 46,
        Refusal::ChainExceeded { .. } => 47,
        Refusal::ChallengeForged => 48,
        Refusal::ChallengeStale => 49,
        Refusal::RemainderEarly { .. } => 50,
        Refusal::RemainderMoved { .. } => 51,
        Refusal::WrongRefundKey => 52,
        Refusal::BadClose => 53,
        Refusal::WrongPurpose => 54,
        Refusal::PurseCheck(_) => 55,
        Refusal::PurseOverdrawn(_) => 56,
        Refusal::PurseStopped(_) => 57,
    };
    complete(&all, number);
    let of_form = [Refusal::Tick(TickError::Length)];
    let purses = [PurseCheckError::Value, PurseCheckError::Dates, PurseCheckError::Signature];
    let purses = purses.map(Refusal::PurseCheck);
    all.into_iter().chain(of_form).chain(purses).chain(statement_errors().into_iter().map(Refusal::Statement)).collect()
}

fn log_refusals() -> Vec<LogRefusal> {
    let all = [
        LogRefusal::Statement(StatementError::Malformed),
        LogRefusal::WrongLog,
        LogRefusal::UnknownBank,
        LogRefusal::OtherPurchase,
        LogRefusal::KeyMismatch,
        LogRefusal::NotExpired,
        LogRefusal::TooOld,
        LogRefusal::WrongEntry,
        LogRefusal::TooFar,
        LogRefusal::Crowded,
        LogRefusal::Undecided,
    ];
    let number = |refusal: &LogRefusal| match refusal {
        LogRefusal::Statement(_) => 0,
        LogRefusal::WrongLog => 1,
        LogRefusal::UnknownBank => 2,
        LogRefusal::OtherPurchase => 3,
        LogRefusal::KeyMismatch => 4,
        LogRefusal::NotExpired => 5,
        LogRefusal::TooOld => 6,
        LogRefusal::WrongEntry => 7,
        LogRefusal::TooFar => 8,
        LogRefusal::Crowded => 9,
        LogRefusal::Undecided => 10,
    };
    complete(&all, number);
    all.into_iter().chain(statement_errors().into_iter().map(LogRefusal::Statement)).collect()
}

fn witness_refusals() -> Vec<WitnessRefusal> {
    let all = [
        WitnessRefusal::UnknownOrigin,
        WitnessRefusal::NotSigned,
        WitnessRefusal::Malformed,
        WitnessRefusal::Conflict { size: 1 },
        WitnessRefusal::Inconsistent,
    ];
    let number = |refusal: &WitnessRefusal| match refusal {
        WitnessRefusal::UnknownOrigin => 0,
        WitnessRefusal::NotSigned => 1,
        WitnessRefusal::Malformed => 2,
        WitnessRefusal::Conflict { .. } => 3,
        WitnessRefusal::Inconsistent => 4,
    };
    complete(&all, number);
    all.to_vec()
}

fn payment_refusals() -> Vec<PaymentRefusal> {
    let all = [
        PaymentRefusal::Statement(StatementError::Malformed),
        PaymentRefusal::NotMyOffer,
        PaymentRefusal::UnknownBank,
        PaymentRefusal::UnknownLog,
        PaymentRefusal::OtherOffer,
        PaymentRefusal::WrongValue,
        PaymentRefusal::WrongEntry,
        PaymentRefusal::GoodsQ,
        PaymentRefusal::TooLate,
    ];
    let number = |refusal: &PaymentRefusal| match refusal {
        PaymentRefusal::Statement(_) => 0,
        PaymentRefusal::NotMyOffer => 1,
        PaymentRefusal::UnknownBank => 2,
        PaymentRefusal::UnknownLog => 3,
        PaymentRefusal::OtherOffer => 4,
        PaymentRefusal::WrongValue => 5,
        PaymentRefusal::WrongEntry => 6,
        PaymentRefusal::GoodsQ => 7,
        PaymentRefusal::TooLate => 8,
    };
    complete(&all, number);
    all.into_iter().chain(statement_errors().into_iter().map(PaymentRefusal::Statement)).collect()
}

/// Every variant stands in the list, in the order of its number.
fn complete<T>(all: &[T], number: impl Fn(&T) -> usize) {
    assert!(all.iter().map(number).eq(0..all.len()));
}

#[test]
fn every_refusal_has_its_page() {
    let banks = refusals().into_iter().map(|refusal| (refusal.code(), Problem::from(refusal)));
    let logs = log_refusals().into_iter().map(|refusal| (refusal.code(), Problem::from(refusal)));
    let shops = payment_refusals().into_iter().map(|refusal| (refusal.code(), Problem::from(refusal)));
    let statements = statement_errors().into_iter().map(|error| (error.code(), Problem::from(error)));
    for (code, problem) in banks.chain(logs).chain(shops).chain(statements) {
        let page = codes::find(code).unwrap_or_else(|| panic!("{code} has no page"));
        assert_eq!((problem.code.as_str(), problem.status, problem.title.as_str()), (code, page.status, page.title));
        assert_ne!(code, "internal");
    }
    let failed = Refusal::Token(TokenVerifyError::Library);
    assert_eq!(Problem::from(failed).status, 500, "a failing library says nothing about the token");
}

/// Every code that only the roles and the wire itself use, and no page that nobody uses.
#[test]
fn every_page_has_its_refusal() {
    let by_roles = [
        "not_found",
        "wrong_listener",
        "wrong_method",
        "wrong_media_type",
        "range",
        "too_slow",
        "bad_token_request",
        "order_missing",
        "order_misfit",
        "unknown_item",
        "unknown_order",
        "mix_not_allowed",
        "descriptor_bad",
        "descriptor_old",
        "payment_required",
        "bad_credential",
        "unknown_method",
        "bad_challenge",
        "other_item",
        "challenge_expired",
        "not_committed",
        "not_the_buyer",
        "no_refund",
        "refund_outputs",
        "busy",
        "unavailable",
        "internal",
    ];
    let used: BTreeSet<&str> = refusals()
        .iter()
        .map(Refusal::code)
        .chain(log_refusals().iter().map(LogRefusal::code))
        .chain(payment_refusals().iter().map(PaymentRefusal::code))
        .chain(witness_refusals().into_iter().map(WitnessRefusal::code))
        .chain(by_roles)
        .collect();
    let pages: BTreeSet<&str> = codes::CODES.iter().map(|page| page.code).collect();
    assert_eq!(pages, used);
}

/// A buyer whose lock is refused for good takes its tokens for free. So an answer may be final only if the bank that is
/// meant can never take the request: neither a wrong party's answer, nor one that time or others may change.
#[test]
fn what_may_pass_is_not_final() {
    for code in [
        "wrong_bank",
        "wrong_log",
        "not_my_offer",
        "not_found",
        "wrong_listener",
        "wrong_method",
        "wrong_media_type",
        "unknown_item", // said by another party
        "too_slow",
        "busy",
        "unavailable",
        "internal", // says nothing about the request
        "unknown_brand",
        "brand_not_issuing",
        "unknown_log",
        "unknown_bank",
        "expiry_too_late",
        "unknown_account",
        "insufficient_funds",
        "account_full",
        "locked",
        "offer_taken",
        "unknown_purchase",
        "not_expired",
        "undecided",
        "unknown_origin",
        "order_missing",
        "payment_required",
        "bad_credential",
        "unknown_method",
        "bad_challenge",
        "other_item",
        "challenge_expired",
        "not_committed",
    ] {
        assert!(!codes::find(code).expect(code).is_final, "{code}");
    }
    for code in
        ["expiry_too_soon", "brand_closed", "spent", "order_used", "bad_token", "unbalanced", "too_old", "too_late"]
    {
        assert!(codes::find(code).expect(code).is_final, "{code}");
    }
    for page in codes::CODES {
        assert!(!(page.is_final && page.retry_after.is_some()), "{} is final and asks to be repeated", page.code);
        assert!(!(page.is_final && page.status >= 500), "{} is final and the server's fault", page.code);
    }
}
