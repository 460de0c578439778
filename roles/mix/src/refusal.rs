//! Why a mix drops a block or closes a session.

use naulon_exchange::FundingError;
use naulon_onion::OpenError;

/// Why a block was dropped or a session closed. Nobody is told why: a mix that answered would tell a stranger what it knows. The
/// operator sees how often each came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixRefusal {
    /// The block does not open.
    #[error(transparent)]
    Block(#[from] OpenError),
    /// The block is not paid.
    #[error(transparent)]
    Meter(#[from] naulon_meter::Refusal),
    /// The check has no money behind it.
    #[error(transparent)]
    Funding(#[from] FundingError),
    /// A session that is not known on that link.
    #[error("no such session on that link")]
    UnknownSession,
    /// A kind of block that does not come from that side.
    #[error("that kind of block does not come from there")]
    WrongWay,
    /// A set-up block whose session is on that link already.
    #[error("that link has a session of that name")]
    SessionTaken,
    /// No room for a further session.
    #[error("too many sessions")]
    TooManySessions,
    /// No room for a further check.
    #[error("too many checks are kept")]
    TooManyChecks,
    /// The check would have to be remembered for too long.
    #[error("the check expires too late")]
    ExpiryTooLate,
    /// No room for a further question to a bank.
    #[error("too many banks' answers are waited for")]
    TooManyPostings,
    /// What should be check and funding is neither.
    #[error("the fare cannot be read")]
    FareMalformed,
    /// No fare, and no contract with whoever sends the session on (case a).
    #[error("the session brings no fare, and comes from nobody under contract")]
    NoFare,
    /// This mix is never the last.
    #[error("this mix lets nothing out")]
    NotAnExit,
    /// A kind of traffic that this mix does not forward.
    #[error("that kind of traffic is not forwarded here")]
    Traffic,
    /// A protocol of payment that no cohort takes.
    #[error("a cohort is paid before, by its senders")]
    CohortProtocol,
    /// More blocks came than may wait while the bank is asked.
    #[error("too many blocks came before the check was set aside")]
    TooEarly,
    /// The bank has not set aside what a check may cost.
    #[error("the bank has not set the check's money aside")]
    NotSetAside,
    /// The link over which the session went has ended.
    #[error("the link has ended")]
    LinkEnded,
    /// Nothing moved for a long time.
    #[error("nothing moved for a long time")]
    Idle,
    /// A link that does not take what it is sent.
    #[error("the link takes no more")]
    Overloaded,
    /// Another session of the cohort has failed.
    #[error("the cohort has failed")]
    CohortFailed,
}

impl MixRefusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            MixRefusal::Block(error) => error.code(),
            MixRefusal::Meter(refusal) => refusal.code(),
            MixRefusal::Funding(error) => error.code(),
            MixRefusal::UnknownSession => "unknown_session",
            MixRefusal::WrongWay => "wrong_way",
            MixRefusal::SessionTaken => "session_taken",
            MixRefusal::TooManySessions => "too_many_sessions",
            MixRefusal::TooManyChecks => "too_many_checks_kept",
            MixRefusal::ExpiryTooLate => "expiry_too_late",
            MixRefusal::TooManyPostings => "too_many_postings",
            MixRefusal::FareMalformed => "fare_malformed",
            MixRefusal::NoFare => "no_fare",
            MixRefusal::NotAnExit => "not_an_exit",
            MixRefusal::Traffic => "wrong_traffic",
            MixRefusal::CohortProtocol => "cohort_protocol",
            MixRefusal::TooEarly => "too_early",
            MixRefusal::NotSetAside => "not_set_aside",
            MixRefusal::LinkEnded => "link_ended",
            MixRefusal::Idle => "idle",
            MixRefusal::Overloaded => "overloaded",
            MixRefusal::CohortFailed => "cohort_failed",
        }
    }
}
