//! The log's side: exactly one of *commit* and *abort* for each purchase (AAT §3.3, P4 and P5).

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use naulon_exchange::{Header, LogDecision, Outcome, RequestId, key_commitment};
use naulon_statement::{Digest, Duration, PublicKey, Signed, Statement, StatementError, Timestamp, Unverified};

/// *authorization_m*: the merchant's key for the log, which thereby may commit.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AuthorizationM {
    /// a: which purchase.
    #[n(1)]
    pub a: RequestId,
    /// k: the merchandise key.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub k: [u8; 32],
}

impl Statement for AuthorizationM {
    const CONTENT_TYPE: &'static str = "application/naulon.authorization-m+cbor";
}

/// The merchandise key is a secret until the log has committed, so it is never printed.
impl std::fmt::Debug for AuthorizationM {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorizationM").field("a", &self.a).finish_non_exhaustive()
    }
}

/// What one log has laid down.
#[derive(Clone, Debug)]
pub struct LogRules {
    /// The log's key.
    pub log: PublicKey,
    /// The banks whose headers it takes.
    pub banks: BTreeSet<PublicKey>,
    /// Nothing is decided for an expiry that lies further back than this (AAT §5).
    pub retention: Duration,
}

/// A request to the log, every signature checked.
#[derive(Clone, Debug)]
pub enum LogRequest {
    /// The merchant hands over the key.
    Commit {
        /// The bank's header.
        header: Signed<Header>,
        /// The merchant's authorization.
        authorization: Signed<AuthorizationM>,
    },
    /// A holder of the header wants the purchase to end.
    Abort {
        /// The bank's header.
        header: Signed<Header>,
    },
}

/// Why a log refuses. Nothing has been decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogRefusal {
    /// The bytes are no statement of the expected kind, or a signature does not hold.
    #[error("{0}")]
    Statement(#[from] StatementError),
    /// The header names another log.
    #[error("the header names another log")]
    WrongLog,
    /// This log takes no headers of that bank.
    #[error("this log takes no headers of that bank")]
    UnknownBank,
    /// The authorization is for another purchase than the header.
    #[error("the authorization is for another purchase")]
    OtherPurchase,
    /// The key does not open the header's commitment.
    #[error("the key does not open the commitment")]
    KeyMismatch,
    /// An abort before the expiry.
    #[error("the purchase has not expired")]
    NotExpired,
    /// The expiry lies further back than the log keeps its decisions.
    #[error("the purchase expired too long ago")]
    TooOld,
    /// No decision is known, and none was asked for.
    #[error("nothing is decided on that purchase")]
    Undecided,
}

impl LogRefusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            LogRefusal::Statement(error) => error.code(),
            LogRefusal::WrongLog => "wrong_log",
            LogRefusal::UnknownBank => "unknown_bank",
            LogRefusal::OtherPurchase => "other_purchase",
            LogRefusal::KeyMismatch => "key_mismatch",
            LogRefusal::NotExpired => "not_expired",
            LogRefusal::TooOld => "too_old",
            LogRefusal::Undecided => "undecided",
        }
    }
}

/// Checks a bank's header for this log.
pub fn authenticate_header(rules: &LogRules, header: Unverified<Header>) -> Result<Signed<Header>, LogRefusal> {
    let claimed = header.claimed_body();
    if claimed.log != rules.log {
        return Err(LogRefusal::WrongLog);
    }
    let bank = claimed.bank;
    if !rules.banks.contains(&bank) {
        return Err(LogRefusal::UnknownBank);
    }
    Ok(header.verify(&bank)?)
}

/// Checks a merchant's request to commit.
pub fn authenticate_commit(
    rules: &LogRules,
    header: Unverified<Header>,
    authorization: Unverified<AuthorizationM>,
) -> Result<LogRequest, LogRefusal> {
    let header = authenticate_header(rules, header)?;
    let authorization = authorization.verify(&header.merchant)?;
    if authorization.a != header.a {
        return Err(LogRefusal::OtherPurchase);
    }
    if key_commitment(&header.n, &authorization.k) != header.c {
        return Err(LogRefusal::KeyMismatch);
    }
    Ok(LogRequest::Commit { header, authorization })
}

/// Checks a request to abort.
pub fn authenticate_abort(rules: &LogRules, header: Unverified<Header>) -> Result<LogRequest, LogRefusal> {
    Ok(LogRequest::Abort { header: authenticate_header(rules, header)? })
}

impl LogRequest {
    /// The bank's header.
    pub fn header(&self) -> &Signed<Header> {
        match self {
            LogRequest::Commit { header, .. } | LogRequest::Abort { header } => header,
        }
    }

    /// What a log decides once only: the digest of the header, which binds a and the bank that vouches for it. (By a alone,
    /// one bank could take the place of another's purchase.)
    pub fn subject(&self) -> Digest {
        self.header().digest()
    }
}

/// Decides a request on whose subject nothing is decided yet. `now` is the log's time, which never runs backwards.
///
/// A commit that comes too late is an abort: whoever sent it holds the header, and may ask for that.
pub fn decide(rules: &LogRules, request: &LogRequest, now: Timestamp) -> Result<LogDecision, LogRefusal> {
    let header = request.header();
    if header.expiry < now.minus(rules.retention) {
        return Err(LogRefusal::TooOld);
    }
    let outcome = match request {
        LogRequest::Commit { authorization, .. } if now < header.expiry => Outcome::Commit { k: authorization.k },
        LogRequest::Abort { .. } if now < header.expiry => return Err(LogRefusal::NotExpired),
        LogRequest::Commit { .. } | LogRequest::Abort { .. } => Outcome::Abort,
    };
    Ok(LogDecision::on(header, now, outcome))
}
