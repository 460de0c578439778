//! Why a bank refuses: one stable code each.

use std::sync::Arc;

use naulon_blind::TokenVerifyError;
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, StatementError, Timestamp};
use naulon_tick::TickError;

use crate::decision::{DecisionError, ProvenDecision};
use crate::state::Record;

/// A bank's named refusal. It has changed nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no statement of the expected kind, or a signature does not hold.
    #[error("{0}")]
    Statement(#[from] StatementError),
    /// The request is for another bank.
    #[error("the request is for another bank")]
    WrongBank,
    /// The request is in a currency that this bank does not keep.
    #[error("this bank does not keep that currency")]
    WrongCurrency,
    /// No inputs or no outputs, or more than allowed.
    #[error("an exchange has 1 to 128 inputs and 1 to 128 outputs")]
    Size,
    /// An input's key has not signed.
    #[error("the key {0} must sign the exchange and has not")]
    SignatureMissing(PublicKey),
    /// A key has signed that no input names.
    #[error("the key {0} has signed and is not needed")]
    SignatureUnneeded(PublicKey),
    /// No brand of this bank has that token key id.
    #[error("no brand of this bank has that key")]
    UnknownBrand,
    /// The brand's tokens are not issued at this time, or not yet.
    #[error("tokens of that brand are not issued at this time")]
    BrandNotIssuing,
    /// The brand's tokens may no longer be given up in this way, and never will be again.
    #[error("tokens of that brand can no longer be used in this way")]
    BrandClosed,
    /// The token is not one of its brand.
    #[error("the token: {0}")]
    Token(#[from] TokenVerifyError),
    /// The token's nonce does not stand for the key and serial number that are shown with it (AAT §8.1).
    #[error("the token was not made for that key and serial number")]
    WrongSerial,
    /// A token, or a brand that is wanted, is not for that: passage tokens fund checks, purse checks are cashed.
    #[error("tokens of that brand are not for that use")]
    WrongPurpose,
    /// Delivery is two-sided, and its Q may be used again: its uses would stand in the log for everybody (AAT §8.6).
    #[error("two-sided delivery with a reusable key, whose uses the log would show to everybody")]
    ReusableQ,
    /// The same input stands there twice.
    #[error("the same input twice")]
    DuplicateInput,
    /// The same blinded message stands there twice.
    #[error("the same blinded message twice")]
    DuplicateOutput,
    /// An account would hold more than can be counted.
    #[error("the account {0} cannot hold so much")]
    AccountFull(PublicKey),
    /// An amount of zero, or a sum beyond what can be counted.
    #[error("an amount that is zero or too large")]
    AmountOutOfRange,
    /// Inputs and outputs differ in value.
    #[error("the inputs are worth {inputs}, the outputs {outputs}")]
    Unbalanced {
        /// What the inputs are worth.
        inputs: Amount,
        /// What the outputs are worth.
        outputs: Amount,
    },
    /// A purchase is paid by other inputs than tokens, or names a Q that is not its first token's.
    #[error("a purchase is paid with tokens, and its q is the first token's key")]
    ConditionInputs,
    /// Not exactly one output credits the merchant, or another account is credited.
    #[error("a purchase credits the merchant exactly once, and nobody else")]
    ConditionOutputs,
    /// The bank does not heed that log.
    #[error("this bank does not heed that log")]
    UnknownLog,
    /// The bank is to carry its promise to a merchant whose address it does not have.
    #[error("this bank does not carry promises to that merchant")]
    NoDelivery,
    /// The expiry leaves less than the shortest lock.
    #[error("the expiry must not be before {earliest:?}")]
    ExpiryTooSoon {
        /// The earliest expiry that is accepted now.
        earliest: Timestamp,
    },
    /// The expiry is later than the longest lock, or than a token's brand allows.
    #[error("the expiry must not be after {latest:?}")]
    ExpiryTooLate {
        /// The latest expiry that is accepted now.
        latest: Timestamp,
    },
    /// The account is not open.
    #[error("the account {0} is not open")]
    UnknownAccount(PublicKey),
    /// The account has less than is to be taken.
    #[error("the account holds less than that")]
    InsufficientFunds,
    /// The token is spent, or exchanged.
    #[error("the token is spent")]
    Spent(Arc<Record>),
    /// The token is locked for a purchase that is not decided.
    #[error("the token is locked for a purchase")]
    Locked(Arc<Record>),
    /// The token is spent in parts, and may not be given up as a whole any more: only what is left on it.
    #[error("the token is spent in parts: give up what is left on it")]
    InParts(Arc<Record>),
    /// Less is left on the token than that, for good: these are its live uses.
    #[error("only {left} is left on the token, and no abort can change it")]
    PartSpent {
        /// What is left.
        left: Amount,
        /// The requests that took the rest.
        uses: Vec<Arc<Record>>,
    },
    /// Less is left on the token than that, as long as others of its uses are locked: these are its live uses.
    #[error("only {left} is left on the token, and more only if a locked purchase is aborted")]
    PartLocked {
        /// What is left.
        left: Amount,
        /// The requests that took the rest.
        uses: Vec<Arc<Record>>,
    },
    /// The token has been used in so many parts that the next one must take all that is left.
    #[error("too many parts: the next one must take all that is left, {left}")]
    TooManyParts {
        /// What is left.
        left: Amount,
    },
    /// The order, or the operator's reference, has been used for another request.
    #[error("the order has been used for another request")]
    OrderUsed,
    /// Another authorization holds this merchant's n.
    #[error("another authorization for this offer is live or committed")]
    OfferTaken,
    /// No purchase with that id is known.
    #[error("this bank knows no such purchase")]
    UnknownPurchase,
    /// The log's decision does not hold by itself.
    #[error("{0}")]
    Decision(#[from] DecisionError),
    /// The decision is not one on this purchase, or was not made within its time.
    #[error("the decision does not fit the purchase")]
    DecisionMisfit,
    /// The log committed to a key that does not open c: evidence against the log.
    #[error("the log's key does not open the merchant's commitment")]
    KeyMismatch,
    /// The log decided otherwise before; the first recorded outcome stands: evidence against the log.
    #[error("the log decided otherwise before")]
    Contradiction(Arc<ProvenDecision>),
    /// The purchase was free again before the merchant's own log had decided, as the merchant has agreed (AAT §7).
    #[error("the purchase was freed before this bank heard of a commit by its merchant's own log")]
    Lapsed,
    /// The check has no form, or its ticks are not of its chain.
    #[error("{0}")]
    Tick(#[from] TickError),
    /// Nothing is set aside for this check, or not any more.
    #[error("nothing is set aside for this check")]
    UnknownChain,
    /// Money is set aside for this check already.
    #[error("money is set aside for this check already")]
    ChainTaken,
    /// What was set aside names another expiry or refund key than the check.
    #[error("what was set aside is not for this check")]
    ChainMisfit,
    /// The check is not made out to that payee: its key and salt do not open what was set aside.
    #[error("the check is not made out to that payee")]
    WrongPayee,
    /// The ticks end where they begin, before it, or beyond the check.
    #[error("ticks are cashed from one to a later one of the check")]
    ChainBounds,
    /// The bank has paid further than the first tick shown, or not as far.
    #[error("the bank has paid {index} ticks of this check")]
    ChainAdvanced {
        /// So many ticks are paid.
        index: u32,
    },
    /// More is wanted of a check than is left on it.
    #[error("only {left} is left on the check")]
    ChainExceeded {
        /// What is left.
        left: Amount,
    },
    /// The challenge is not this bank's.
    #[error("the challenge is not this bank's")]
    ChallengeForged,
    /// The challenge was made too long ago.
    #[error("the challenge is too old")]
    ChallengeStale,
    /// The remainder is asked for while the payee may still cash.
    #[error("the remainder is free from {from:?} on, or by the payee's word")]
    RemainderEarly {
        /// From then on.
        from: Timestamp,
    },
    /// Something of the remainder was taken meanwhile.
    #[error("{returned} of the remainder was taken before")]
    RemainderMoved {
        /// So much.
        returned: Amount,
    },
    /// The remainder is asked for by another key than the check names.
    #[error("the remainder belongs to another key")]
    WrongRefundKey,
    /// What is shown as the payee's word is none on this check.
    #[error("that is not the payee's word on this check")]
    BadClose,
    /// What is shown as a purse's check is none.
    #[error("{0}")]
    PurseCheck(crate::purse::PurseCheckError),
    /// More checks of this brand were made out than were loaded: a key of it is out. The bank stops it.
    #[error("more was made out by purses of the brand {0} than was loaded into them")]
    PurseOverdrawn(Digest),
    /// The brand was stopped, because more of its checks were made out than were loaded.
    #[error("the purses of the brand {0} are stopped")]
    PurseStopped(Digest),
    /// The question was signed too long ago, or in the future.
    #[error("the question is not fresh; check the clock")]
    Stale,
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Statement(error) => error.code(),
            Refusal::WrongBank => "wrong_bank",
            Refusal::WrongCurrency => "wrong_currency",
            Refusal::Size => "exchange_size",
            Refusal::SignatureMissing(_) => "signature_missing",
            Refusal::SignatureUnneeded(_) => "signature_unneeded",
            Refusal::UnknownBrand => "unknown_brand",
            Refusal::BrandNotIssuing => "brand_not_issuing",
            Refusal::BrandClosed => "brand_closed",
            Refusal::Token(TokenVerifyError::Library) => "internal",
            Refusal::Token(_) => "bad_token",
            Refusal::WrongSerial => "wrong_serial",
            Refusal::WrongPurpose => "wrong_purpose",
            Refusal::ReusableQ => "reusable_q",
            Refusal::DuplicateInput => "duplicate_input",
            Refusal::DuplicateOutput => "duplicate_output",
            Refusal::AccountFull(_) => "account_full",
            Refusal::AmountOutOfRange => "amount_out_of_range",
            Refusal::Unbalanced { .. } => "unbalanced",
            Refusal::ConditionInputs => "condition_inputs",
            Refusal::ConditionOutputs => "condition_outputs",
            Refusal::UnknownLog => "unknown_log",
            Refusal::NoDelivery => "no_delivery",
            Refusal::ExpiryTooSoon { .. } => "expiry_too_soon",
            Refusal::ExpiryTooLate { .. } => "expiry_too_late",
            Refusal::UnknownAccount(_) => "unknown_account",
            Refusal::InsufficientFunds => "insufficient_funds",
            Refusal::Spent(_) | Refusal::PartSpent { .. } => "spent",
            Refusal::Locked(_) | Refusal::PartLocked { .. } => "locked",
            Refusal::InParts(_) => "in_parts",
            Refusal::TooManyParts { .. } => "too_many_parts",
            Refusal::OrderUsed => "order_used",
            Refusal::OfferTaken => "offer_taken",
            Refusal::UnknownPurchase => "unknown_purchase",
            Refusal::Decision(_) => "bad_decision",
            Refusal::DecisionMisfit => "decision_misfit",
            Refusal::KeyMismatch => "key_mismatch",
            Refusal::Contradiction(_) => "log_contradiction",
            Refusal::Lapsed => "lapsed",
            Refusal::Tick(error) => error.code(),
            Refusal::UnknownChain => "unknown_chain",
            Refusal::ChainTaken => "chain_taken",
            Refusal::ChainMisfit => "chain_misfit",
            Refusal::WrongPayee => "wrong_payee",
            Refusal::ChainBounds => "chain_bounds",
            Refusal::ChainAdvanced { .. } => "chain_advanced",
            Refusal::ChainExceeded { .. } => "chain_exceeded",
            Refusal::ChallengeForged => "challenge_forged",
            Refusal::ChallengeStale => "challenge_stale",
            Refusal::RemainderEarly { .. } => "remainder_early",
            Refusal::RemainderMoved { .. } => "remainder_moved",
            Refusal::WrongRefundKey => "wrong_refund_key",
            Refusal::BadClose => "bad_close",
            Refusal::PurseCheck(error) => error.code(),
            Refusal::PurseOverdrawn(_) => "purse_overdrawn",
            Refusal::PurseStopped(_) => "purse_stopped",
            Refusal::Stale => "stale",
        }
    }
}
