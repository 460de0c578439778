//! What a check is funded by, and how its payee verifies that.

use minicbor::{Decode, Encode};
use naulon_money::Currency;
use naulon_statement::{PublicKey, Timestamp, Unverified, UnverifiedJoint};
use naulon_tick::{Certificate, Check, TickError};

use crate::request::{Exchange, Input, Output, spending_key};

/// What stands behind a check. It travels beside it, from the payer to the payee.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Funding {
    /// The bank has set the money aside, and says so: off-line encashment. The payee asks nobody.
    #[n(0)]
    Certified(#[n(0)] Unverified<Certificate>),
    /// An exchange that will set it aside, signed and not yet posted: on-line encashment. Its payee posts it before the first
    /// block, and has the bank's certificate then.
    #[n(1)]
    Online(#[n(0)] Box<UnverifiedJoint<Exchange>>),
}

/// A bank as a payee knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankTerms {
    /// Its key.
    pub bank: PublicKey,
    /// Its currency.
    pub currency: Currency,
}

/// What a payee has in hand once it has verified a check's funding.
#[derive(Clone, Debug)]
pub enum VerifiedFunding {
    /// The money is set aside.
    Locked,
    /// It will be once this exchange is accepted: post it, and take the certificate in the reply for the funding.
    Post(Box<UnverifiedJoint<Exchange>>),
}

/// Why a payee does not take a check. Each has a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FundingError {
    /// The check has no ticks, too many, or such as pay nothing.
    #[error(transparent)]
    Check(#[from] TickError),
    /// The check is drawn on another bank, or in another currency.
    #[error("the check is drawn on another bank")]
    WrongBank,
    /// The check is over.
    #[error("the check has expired")]
    Expired,
    /// The bank has not certified this check, or the certificate does not hold.
    #[error("the bank has not certified this check")]
    Uncertified,
    /// The exchange beside the check does not set its money aside, or does more than that.
    #[error("the exchange does not fund this check")]
    NotFunding,
}

impl FundingError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            FundingError::Check(error) => error.code(),
            FundingError::WrongBank => "wrong_bank",
            FundingError::Expired => "check_expired",
            FundingError::Uncertified => "uncertified",
            FundingError::NotFunding => "not_funding",
        }
    }
}

/// What a payee verifies before it takes a check: that its bank will pay for the ticks. Whether it is made out to this payee, at
/// its price, and long enough, is the payee's own matter.
pub fn verify_funding(
    check: &Check,
    funding: &Funding,
    terms: &BankTerms,
    now: Timestamp,
) -> Result<VerifiedFunding, FundingError> {
    check.check_form()?;
    if check.bank != terms.bank || check.currency != terms.currency {
        return Err(FundingError::WrongBank);
    }
    if now >= check.expiry {
        return Err(FundingError::Expired);
    }
    match funding {
        Funding::Certified(certificate) => {
            let certificate = certificate.clone().verify(&terms.bank).map_err(|_| FundingError::Uncertified)?;
            certificate.covers(check).then_some(VerifiedFunding::Locked).ok_or(FundingError::Uncertified)
        }
        Funding::Online(exchange) => {
            let funds = is_for(exchange.claimed_body(), check) && is_signed(exchange);
            funds.then(|| VerifiedFunding::Post(exchange.clone())).ok_or(FundingError::NotFunding)
        }
    }
}

/// Whether the keys of all that is given up have signed. What nobody has signed is not worth asking a bank about.
fn is_signed(exchange: &UnverifiedJoint<Exchange>) -> bool {
    let Ok(joint) = exchange.clone().verify() else { return false };
    joint.inputs.iter().all(|input| match input {
        Input::Token { token, key, .. } => joint.is_signed_by(&spending_key(token, key.as_ref())),
        Input::Purse { signer, .. } => joint.is_signed_by(signer),
        _ => false,
    })
}

/// Whether an exchange does nothing but give up tokens for this check, and change, or a purse's signature on it. Its payee
/// posts it as its own call, so it names nobody.
fn is_for(exchange: &Exchange, check: &Check) -> bool {
    let only_tokens = exchange.inputs.iter().all(|input| match input {
        Input::Token { .. } => true,
        Input::Purse { check: made, token, signer } => {
            made == check && token.nonce() == check.commitment().as_bytes() && *signer == check.refund
        }
        _ => false,
    });
    let mut chains = exchange.outputs.iter().filter(|output| matches!(output, Output::Chain { .. }));
    let credits = exchange.outputs.iter().any(|output| matches!(output, Output::Account { .. }));
    let covers = |output: &Output| match (output, Output::chain(check)) {
        (
            Output::Chain { maximum, commitment, expiry, payee, refund },
            Some(Output::Chain { maximum: least, commitment: c, expiry: e, payee: p, refund: r }),
        ) => *maximum >= least && (*commitment, *expiry, *payee, *refund) == (c, e, p, r),
        _ => false,
    };
    let locks = chains.next().is_some_and(covers) && chains.next().is_none();
    let is_here = exchange.bank == check.bank && exchange.currency == check.currency;
    only_tokens && !exchange.inputs.is_empty() && locks && !credits && is_here && exchange.condition.is_none()
}
