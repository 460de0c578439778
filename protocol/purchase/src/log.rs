//! The log's side: exactly one of *commit* and *abort* for each purchase (AAT §3.3, P4 and P5).

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use naulon_exchange::{
    BlindDecision, BlindMessage, EntryMode, Header, LogDecision, LogEntry, Outcome, RequestId, blind_subject,
    key_commitment,
};
use naulon_statement::{
    Digest, Duration, PublicKey, SecretKey, Signed, Statement, StatementError, Timestamp, Unverified,
};

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
    /// As what it takes commits (AAT §8.5). An abort it makes for all, so that no purchase is ever without an end.
    pub entries: BTreeSet<EntryMode>,
    /// What it takes blindly: nobody vouches for it there.
    pub blind: BlindRules,
}

/// What a blind log takes of whom it cannot know: any key may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlindRules {
    /// How many new blind decisions it makes a minute, whoever asks.
    pub per_minute: u32,
    /// How far ahead an expiry may lie: as long as banks lock.
    pub horizon: Duration,
}

impl LogRules {
    /// A log that takes all kinds of entries.
    pub fn of(log: PublicKey, banks: BTreeSet<PublicKey>, retention: Duration) -> Self {
        LogRules { log, banks, retention, entries: BTreeSet::from(EntryMode::ALL), blind: BlindRules::default() }
    }
}

impl Default for BlindRules {
    fn default() -> Self {
        BlindRules { per_minute: 6_000, horizon: Duration::days(1) }
    }
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
    /// Whoever has an index's key hands over its one message, which means nothing to the log (AAT §8.5).
    BlindCommit {
        /// The message, signed by its index.
        message: Signed<BlindMessage>,
    },
    /// Somebody wants to know that nothing came under an index in time.
    BlindAbort {
        /// The index.
        index: PublicKey,
        /// Until when something could come.
        expiry: Timestamp,
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
    /// The purchase's entry is of a kind that this log does not take, or that is asked for in another way.
    #[error("this log does not take that kind of entry, or not in this way")]
    WrongEntry,
    /// The expiry of a blind message lies further ahead than this log takes.
    #[error("the expiry lies too far ahead")]
    TooFar,
    /// More blind decisions are wanted than this log makes in a minute.
    #[error("too many blind messages come in")]
    Crowded,
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
            LogRefusal::WrongEntry => "wrong_entry",
            LogRefusal::TooFar => "expiry_too_late",
            LogRefusal::Crowded => "busy",
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
    // A purchase has one subject: what is decided blindly is decided in no other way.
    if claimed.entry.mode() == EntryMode::Blind {
        return Err(LogRefusal::WrongEntry);
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
    if !rules.entries.contains(&header.entry.mode()) {
        return Err(LogRefusal::WrongEntry);
    }
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

/// Checks a message for the blind log: it is for this log, and its own index has signed it. Nothing else can be checked.
pub fn authenticate_blind(rules: &LogRules, message: Unverified<BlindMessage>) -> Result<LogRequest, LogRefusal> {
    if message.claimed_body().log != rules.log {
        return Err(LogRefusal::WrongLog);
    }
    if !rules.entries.contains(&EntryMode::Blind) {
        return Err(LogRefusal::WrongEntry);
    }
    let index = message.claimed_signer();
    Ok(LogRequest::BlindCommit { message: message.verify(&index)? })
}

impl LogRequest {
    /// The bank's header, if the log is shown one.
    pub fn header(&self) -> Option<&Signed<Header>> {
        match self {
            LogRequest::Commit { header, .. } | LogRequest::Abort { header } => Some(header),
            LogRequest::BlindCommit { .. } | LogRequest::BlindAbort { .. } => None,
        }
    }

    /// What a log decides once only: the digest of the header, which binds a and the bank that vouches for it. (By a alone,
    /// one bank could take the place of another's purchase.) Blindly, it is the index and its expiry.
    pub fn subject(&self) -> Digest {
        match self {
            LogRequest::Commit { header, .. } | LogRequest::Abort { header } => header.digest(),
            LogRequest::BlindCommit { message } => blind_subject(&message.signer(), message.expiry),
            LogRequest::BlindAbort { index, expiry } => blind_subject(index, *expiry),
        }
    }

    /// When the purchase expires.
    pub fn expiry(&self) -> Timestamp {
        match self {
            LogRequest::Commit { header, .. } | LogRequest::Abort { header } => header.expiry,
            LogRequest::BlindCommit { message } => message.expiry,
            LogRequest::BlindAbort { expiry, .. } => *expiry,
        }
    }
}

/// What a log has decided and not yet signed.
#[derive(Clone, Debug)]
pub enum Ruling {
    /// On a purchase whose header it has.
    Open {
        /// The header.
        header: Header,
        /// The decision.
        decision: LogDecision,
    },
    /// On an index.
    Blind(BlindDecision),
}

/// A ruling as its log has signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The signed statement, a COSE_Sign1: for whoever names the subject.
    pub statement: Vec<u8>,
    /// The entry, and what everybody may read of it.
    pub entry: LogEntry,
}

impl Ruling {
    /// The log's clock in it.
    pub fn time(&self) -> Timestamp {
        match self {
            Ruling::Open { decision, .. } => decision.time,
            Ruling::Blind(decision) => decision.time,
        }
    }

    /// The decision on a header that the log was shown.
    pub fn decision(&self) -> Option<&LogDecision> {
        match self {
            Ruling::Open { decision, .. } => Some(decision),
            Ruling::Blind(_) => None,
        }
    }

    /// Signs it, and makes its entry.
    pub fn sign(self, key: &SecretKey) -> Signature {
        match self {
            Ruling::Open { header, decision } => {
                let signed = Signed::sign(key, decision);
                // A decision has a bounded length, below that of an encrypted entry.
                let entry = LogEntry::of(&header, &signed).unwrap_or_else(|| LogEntry::plain(&signed));
                Signature { statement: signed.bytes().to_vec(), entry }
            }
            Ruling::Blind(decision) => {
                let signed = Signed::sign(key, decision);
                Signature { statement: signed.bytes().to_vec(), entry: LogEntry::of_blind(&signed) }
            }
        }
    }
}

/// Decides a request on whose subject nothing is decided yet. `now` is the log's time, which never runs backwards.
///
/// A commit that comes too late is an abort: whoever sent it holds the header, and may ask for that. A blind message that
/// comes too late is not published.
pub fn decide(rules: &LogRules, request: &LogRequest, now: Timestamp) -> Result<Ruling, LogRefusal> {
    let expiry = request.expiry();
    if expiry < now.minus(rules.retention) {
        return Err(LogRefusal::TooOld);
    }
    let (in_time, open) = (now < expiry, |header: &Signed<Header>, outcome| Ruling::Open {
        header: Header::clone(header),
        decision: LogDecision::on(header, now, outcome),
    });
    let blind = |index, message| Ruling::Blind(BlindDecision { index, expiry, time: now, message });
    match request {
        LogRequest::Abort { .. } | LogRequest::BlindAbort { .. } if in_time => Err(LogRefusal::NotExpired),
        LogRequest::BlindCommit { .. } if expiry > now.plus(rules.blind.horizon) => Err(LogRefusal::TooFar),
        LogRequest::Commit { header, authorization } if in_time => {
            Ok(open(header, Outcome::Commit { k: authorization.k }))
        }
        LogRequest::Commit { header, .. } | LogRequest::Abort { header } => Ok(open(header, Outcome::Abort)),
        LogRequest::BlindCommit { message } if in_time => Ok(blind(message.signer(), Some(Unverified::from(message)))),
        LogRequest::BlindCommit { message } => Ok(blind(message.signer(), None)),
        LogRequest::BlindAbort { index, .. } => Ok(blind(*index, None)),
    }
}
