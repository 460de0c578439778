//! Checks that are paid in ticks (MixPay §5, PayWord): set aside for, cashed from one tick to a later one, and their remainders.
//!
//! All of it changes one row, named by the check's commitment, under the condition that it still stands as it was seen. So no
//! marks are needed: who cashes a tick twice, or comes with an old one, is told how far the bank has paid.

use std::collections::BTreeSet;

use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Timestamp, Unverified};
use naulon_tick::{Check, Front, TickError};

use super::{Given, Wanted, above_zero, purse};
use crate::authenticate::AuthenticatedExchange;
use crate::chain::{ChainWrite, Challenge, EarlyClose, LockedChain, MAX_CASHED_TICKS};
use crate::refusal::Refusal;
use crate::request::{Exchange, Input, Output};
use crate::rules::Rules;
use crate::state::{LedgerAccount, View};

/// How an input changes a check's row.
#[derive(Clone, Debug)]
pub(crate) enum ChainUse {
    /// Ticks are cashed.
    Cash(Box<Cashing>),
    /// What was not spent goes back.
    Return(Box<Returning>),
}

#[derive(Clone, Debug)]
pub(crate) struct Cashing {
    commitment: Digest,
    payee: Digest,
    expiry: Timestamp,
    from: Front,
    to: Front,
    amount: Amount,
    challenge: Challenge,
}

#[derive(Clone, Debug)]
pub(crate) struct Returning {
    commitment: Digest,
    refund: PublicKey,
    returned: Amount,
    amount: Amount,
    /// The payee's digest, and what it may still have got at most, if it has let go of the rest.
    close: Option<(Digest, Amount)>,
}

impl ChainUse {
    /// Whose row it is.
    pub(crate) fn commitment(&self) -> Digest {
        match self {
            ChainUse::Cash(cashing) => cashing.commitment,
            ChainUse::Return(returning) => returning.commitment,
        }
    }
}

/// What the ticks of an input mean. That they are of one chain is verified later ([`verify`]): it costs a step a tick.
pub(super) fn cashed(
    rules: &Rules,
    check: &Check,
    from: &Front,
    to: &Front,
    challenge: &Challenge,
) -> Result<Given, Refusal> {
    check_form(rules, check)?;
    if from.index >= to.index || to.index > check.length {
        return Err(Refusal::ChainBounds);
    }
    if from.index == 0 && from.tick != check.root {
        return Err(Refusal::Tick(TickError::Forged));
    }
    let amount = above_zero(check.worth(to.index - from.index).ok_or(Refusal::AmountOutOfRange)?)?;
    let cashing = Cashing {
        commitment: check.commitment(),
        payee: check.payee_digest(),
        expiry: check.expiry,
        from: *from,
        to: *to,
        amount,
        challenge: *challenge,
    };
    Ok(given(amount, check.payee, ChainUse::Cash(Box::new(cashing))))
}

/// What a remainder means.
pub(super) fn returned(
    rules: &Rules,
    commitment: &Digest,
    refund: &PublicKey,
    (returned, amount): (Amount, Amount),
    early: Option<&EarlyClose>,
) -> Result<Given, Refusal> {
    let close = early.map(|early| closed(rules, commitment, early)).transpose()?;
    let amount = above_zero(amount)?;
    let returning = Returning { commitment: *commitment, refund: *refund, returned, amount, close };
    Ok(given(amount, *refund, ChainUse::Return(Box::new(returning))))
}

fn given(value: Amount, signer: PublicKey, chain: ChainUse) -> Given {
    Given { value, signer, mark: None, part_of: None, ledger: LedgerAccount::Chains, chain: Some(chain) }
}

fn closed(rules: &Rules, commitment: &Digest, early: &EarlyClose) -> Result<(Digest, Amount), Refusal> {
    let EarlyClose { check, close } = early;
    check_form(rules, check)?;
    let body = close.claimed_body();
    if check.commitment() != *commitment || body.commitment != *commitment || body.index > check.length {
        return Err(Refusal::BadClose);
    }
    Ok((check.payee_digest(), check.worth(body.index).ok_or(Refusal::AmountOutOfRange)?))
}

fn check_form(rules: &Rules, check: &Check) -> Result<(), Refusal> {
    if check.bank != rules.bank {
        return Err(Refusal::WrongBank);
    }
    if check.currency != rules.currency {
        return Err(Refusal::WrongCurrency);
    }
    Ok(check.check_form().map(drop)?)
}

/// What is set aside for a check.
pub(super) fn wanted(commitment: Digest, chain: LockedChain) -> Result<Wanted, Refusal> {
    let value = above_zero(chain.maximum)?;
    Ok(Wanted { value, ledger: LedgerAccount::Chains, chain: Some((commitment, chain)) })
}

/// Verifies the ticks that are cashed, and the payees' words: what costs more than to look.
pub(crate) fn verify(exchange: &Exchange) -> Result<(), Refusal> {
    let mut steps = 0u32;
    for input in &exchange.inputs {
        match input {
            Input::Chain { check, from, to, .. } => {
                let more = to.index.saturating_sub(from.index);
                steps = steps.checked_add(more).filter(|sum| *sum <= MAX_CASHED_TICKS).ok_or(Refusal::Size)?;
                Front::clone(from).advance(&check.id, to, MAX_CASHED_TICKS)?;
            }
            Input::Remainder { early: Some(EarlyClose { check, close }), .. } => {
                Unverified::clone(close).verify(&check.payee).map_err(|_| Refusal::BadClose)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Each check stands in an exchange once.
pub(crate) fn check_distinct(given: &[Given], wanted: &[Wanted]) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    let cashed = given.iter().filter_map(|g| g.chain.as_ref()).map(ChainUse::commitment);
    if !cashed.into_iter().all(|commitment| seen.insert(commitment)) {
        return Err(Refusal::DuplicateInput);
    }
    let locked = wanted.iter().filter_map(|w| w.chain.as_ref()).map(|(commitment, _)| *commitment);
    if locked.into_iter().all(|commitment| seen.insert(commitment)) { Ok(()) } else { Err(Refusal::DuplicateOutput) }
}

/// The rows' changes, or why one of them must not be made.
pub(crate) fn writes(
    rules: &Rules,
    view: &View,
    request: &AuthenticatedExchange,
    now: Timestamp,
) -> Result<Vec<ChainWrite>, Refusal> {
    let mut writes = Vec::new();
    for chain in request.given.iter().filter_map(|g| g.chain.as_ref()) {
        let commitment = chain.commitment();
        let before = *view.chains.get(&commitment).ok_or(Refusal::UnknownChain)?;
        let after = match chain {
            ChainUse::Cash(cashing) => cash(&before, cashing, now)?,
            ChainUse::Return(returning) => give_back(rules, &before, returning, now)?,
        };
        writes.push(ChainWrite { commitment, before: Some(before), after });
    }
    for (commitment, chain) in request.wanted.iter().filter_map(|w| w.chain) {
        if view.chains.contains_key(&commitment) {
            return Err(Refusal::ChainTaken);
        }
        let (earliest, latest) = (now.plus(rules.chains.min), now.plus(rules.chains.max));
        if chain.expiry < earliest && !purse::opens(&request.joint, &commitment) {
            return Err(Refusal::ExpiryTooSoon { earliest });
        }
        if chain.expiry > latest {
            return Err(Refusal::ExpiryTooLate { latest });
        }
        writes.push(ChainWrite { commitment, before: None, after: chain });
    }
    Ok(writes)
}

fn cash(before: &LockedChain, cashing: &Cashing, now: Timestamp) -> Result<LockedChain, Refusal> {
    cashing.challenge.check_age(now)?;
    if before.payee != cashing.payee {
        return Err(Refusal::WrongPayee);
    }
    // A row whose expiry differs from the check's was made by somebody who wanted it so, and no certificate of it covers the
    // check. To whom the remainder goes is not the payee's matter: its certificate says nothing of it.
    if before.expiry != cashing.expiry {
        return Err(Refusal::ChainMisfit);
    }
    let stands = before.front.map_or(cashing.from.index == 0, |front| front == cashing.from);
    if !stands {
        return Err(Refusal::ChainAdvanced { index: before.index() });
    }
    if cashing.amount > before.rest() {
        return Err(Refusal::ChainExceeded { left: before.rest() });
    }
    let paid = before.paid.checked_add(cashing.amount).ok_or(Refusal::AmountOutOfRange)?;
    Ok(LockedChain { front: Some(cashing.to), paid, ..*before })
}

fn give_back(
    rules: &Rules,
    before: &LockedChain,
    returning: &Returning,
    now: Timestamp,
) -> Result<LockedChain, Refusal> {
    if before.refund != returning.refund {
        return Err(Refusal::WrongRefundKey);
    }
    if before.returned != returning.returned {
        return Err(Refusal::RemainderMoved { returned: before.returned });
    }
    let from = before.expiry.plus(rules.chains.grace);
    let kept = match returning.close {
        _ if now >= from => before.paid,
        None => return Err(Refusal::RemainderEarly { from }),
        Some((payee, _)) if payee != before.payee => return Err(Refusal::WrongPayee),
        Some((_, kept)) => kept.max(before.paid),
    };
    let gone = kept.checked_add(before.returned).unwrap_or(Amount::MAX);
    let left = before.maximum.checked_sub(gone).unwrap_or(Amount::ZERO);
    if returning.amount > left {
        return Err(Refusal::ChainExceeded { left });
    }
    let returned = before.returned.checked_add(returning.amount).ok_or(Refusal::AmountOutOfRange)?;
    Ok(LockedChain { returned, ..*before })
}

/// The rows that an exchange sets aside, by their commitments.
pub(crate) fn locked(output: &Output) -> Option<(Digest, LockedChain)> {
    let Output::Chain { commitment, maximum, expiry, payee, refund } = output else { return None };
    let (front, paid, returned) = (None, Amount::ZERO, Amount::ZERO);
    let chain =
        LockedChain { maximum: *maximum, expiry: *expiry, payee: *payee, refund: *refund, front, paid, returned };
    Some((*commitment, chain))
}
