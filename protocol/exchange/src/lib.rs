//! A bank turns instruments into instruments, atomically.
//!
//! Withdrawing, depositing, exchanging, paying for a purchase, opening the money that came from outside: each is one
//! [`Exchange`], whose inputs and outputs have the same value. An exchange may carry a [`Condition`]: then it is the
//! paper's *authorization_q* (AAT §3.3, P2), its inputs are locked, and its outputs are delivered when the log commits.
//!
//! Everything here is pure. [`authenticate`] checks signatures and tokens (expensive, needs no state); [`decide`] looks at
//! the state a request touches ([`Needs`] → [`View`]) and answers with a [`Plan`] of marks, guards and transfers that a
//! store writes in one transaction, or with a named [`Refusal`] that changes nothing.
//!
//! ```text
//!  bytes ─ parse ─▶ Unverified ─ authenticate ─▶ Request ─ Needs ─▶ store ─▶ View ─ decide ─▶ Plan ─▶ store ─▶ Record ─▶ reply
//! ```
//!
//! In scope: the instruments of a bank (one file each in `instrument`), the statements a bank signs, its public
//! [`register`], the log's decision as far as a bank must judge it, the [`Audit`]. Out of scope: how a shop, a buyer and a log behave (`naulon-purchase`), the
//! store, RSA keys and HTTP (`naulon-bank`).

mod audit;
mod authenticate;
mod chain;
mod decide;
mod decision;
mod entry;
mod funding;
mod instrument;
mod promise;
mod purse;
mod refusal;
pub mod register;
mod reply;
mod request;
mod retention;
mod rules;
mod state;

pub use audit::{Audit, AuditReport, BrandPosition, Discrepancy, OnCheck};
pub use authenticate::{AuthenticatedExchange, Request, authenticate, authenticate_account, authenticate_decision};
pub use chain::{
    ChainLimits, ChainWrite, Challenge, CheckQuery, EarlyClose, LockedChain, MAX_CASHED_TICKS, MAX_CHALLENGE_AGE,
    Standing,
};
pub use decide::decide;
pub use decision::{
    DecisionError, LOG_ENTRY_LEN, LogDecision, LogEntry, LogIdentity, LogWord, Outcome, ProvenDecision,
    UnverifiedDecision,
};
pub use entry::{
    BlindDecision, BlindMessage, Entry, EntryMode, SEALED_ENTRY_LEN, SEALED_ENTRY_ROOM, SEALED_RELEASE_LEN,
    UnknownEntryMode, blind_subject,
};
pub use funding::{BankTerms, Funding, FundingError, VerifiedFunding, verify_funding};
pub use instrument::{
    MAX_PARTS, nonce_mark, offer_mark, order_mark, part_mark, purse_account, purse_stop, reference_mark, token_mark,
};
pub use promise::{AuthorizationB, Header};
pub use purse::{LoadNumber, Loaded, PurseCheckError, verify_purse_check};
pub use refusal::Refusal;
pub use reply::{open_signatures, seal_signatures};
pub use request::{
    BalanceQuery, Carrier, Condition, Exchange, Input, KEY_COMMITMENT_DOMAIN, MAX_INPUTS, MAX_OUTPUTS, OpenAccount,
    Order, Output, RequestId, SaleNumber, TokenQuery, key_commitment, output_key, spending_key,
};
pub use retention::{Forgotten, Retention};
pub use rules::{LockLimits, LogKeeper, OwnLog, Rules};
pub use state::{
    Decided, Draw, DrawChange, Guard, LedgerAccount, Mark, MarkKind, Needs, Plan, Record, RecordWrite, Remainder,
    State, Transfer, UnverifiedRecord, View,
};
