//! Why a mix passes a session's blocks no longer.

use naulon_tick::TickError;

/// Why a block, a tick or a check is refused. All but [`Refusal::Uncertified`] and those about checks end the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More blocks came than are paid, and as many as may be are held already.
    #[error("the blocks are not paid")]
    Unpaid,
    /// The tick: used before, too far ahead, not of the chain, or the chain has no more.
    #[error(transparent)]
    Tick(#[from] TickError),
    /// More asks are open than the window.
    #[error("too many asks are open")]
    TooManyAsks,
    /// A flag, a return or a tick that this session's protocol does not have.
    #[error("that is not this session's protocol")]
    WrongProtocol,
    /// A tick for a slot that has no check.
    #[error("that share has no check")]
    NoSuchShare,
    /// Not all shares have brought their check.
    #[error("the shares do not make up the price")]
    SharesMissing,
    /// The value of a tick is not what is asked, or the shares make up more than the price.
    #[error("the check is not for the price of a block")]
    WrongPrice,
    /// The check is for somebody else.
    #[error("the check is for another payee")]
    WrongPayee,
    /// The check is on a bank that is not accepted.
    #[error("the bank is not accepted")]
    WrongBank,
    /// The check is in another currency.
    #[error("the check is in another currency")]
    WrongCurrency,
    /// The check can no longer be used, or not much longer.
    #[error("the check is past its expiry")]
    Expired,
    /// The check already pays a session.
    #[error("the check pays another session")]
    CheckInUse,
    /// The check's funding is not certified.
    #[error("the check is not certified")]
    Uncertified,
    /// As many checks wait as may.
    #[error("too many checks are waiting")]
    TooManyChecks,
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Unpaid => "unpaid",
            Refusal::Tick(error) => error.code(),
            Refusal::TooManyAsks => "too_many_asks",
            Refusal::WrongProtocol => "wrong_protocol",
            Refusal::NoSuchShare => "no_such_share",
            Refusal::SharesMissing => "shares_missing",
            Refusal::WrongPrice => "wrong_price",
            Refusal::WrongPayee => "wrong_payee",
            Refusal::WrongBank => "bank_not_accepted",
            Refusal::WrongCurrency => "wrong_currency",
            Refusal::Expired => "check_expired",
            Refusal::CheckInUse => "check_in_use",
            Refusal::Uncertified => "check_uncertified",
            Refusal::TooManyChecks => "too_many_checks",
        }
    }
}
