//! What buyer and merchant do with a log's decision on their purchase.

use naulon_exchange::{Header, LogIdentity, ProvenDecision, UnverifiedDecision, key_commitment};

/// Why a decision is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untaken {
    /// It does not hold, or is on another purchase: it says nothing.
    Nothing,
    /// The log has broken its rules, and this decision is kept as the evidence.
    Broken(LogFault),
}

/// How a log breaks its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFault {
    /// A commit at or after the expiry, an abort before it, or a statement that does not say what its header says.
    Misfit,
    /// A commit whose key does not open c.
    WrongKey,
    /// Another outcome than before.
    Contradiction,
}

/// Takes a decision on the purchase of this header into `first`, unless there is one. What shows that the log broke its
/// rules goes into `against_log`.
pub(crate) fn take(
    decision: UnverifiedDecision,
    log: &LogIdentity,
    header: &Header,
    first: &mut Option<ProvenDecision>,
    against_log: &mut Option<ProvenDecision>,
) -> Result<(), Untaken> {
    let proven = proven_on(decision, log, header)?;
    let contradicts = |first: &ProvenDecision| {
        (first.decision().outcome != proven.decision().outcome).then_some(LogFault::Contradiction)
    };
    if let Some(fault) = fault_in(&proven, header).or_else(|| first.as_ref().and_then(contradicts)) {
        against_log.get_or_insert(proven);
        return Err(Untaken::Broken(fault));
    }
    first.get_or_insert(proven);
    Ok(())
}

/// Takes the decision that the bank has recorded in the place of `first`. The bank's first outcome is final; another one
/// stays as evidence against the log.
pub(crate) fn take_recorded(
    decision: UnverifiedDecision,
    log: &LogIdentity,
    header: &Header,
    first: &mut Option<ProvenDecision>,
    against_log: &mut Option<ProvenDecision>,
) -> Result<(), Untaken> {
    let recorded = proven_on(decision, log, header)?;
    if let Some(fault) = fault_in(&recorded, header) {
        return Err(Untaken::Broken(fault));
    }
    if first.as_ref().is_none_or(|first| first.decision().outcome != recorded.decision().outcome) {
        *against_log = first.replace(recorded).or(against_log.take());
    }
    Ok(())
}

fn proven_on(decision: UnverifiedDecision, log: &LogIdentity, header: &Header) -> Result<ProvenDecision, Untaken> {
    let proven = decision.with(header).verify(log).map_err(|_| Untaken::Nothing)?;
    let on_this = log.key == header.log && proven.decision().header == header.digest();
    on_this.then_some(proven).ok_or(Untaken::Nothing)
}

fn fault_in(proven: &ProvenDecision, header: &Header) -> Option<LogFault> {
    let decision = proven.decision();
    if decision.key().is_some_and(|k| key_commitment(&header.n, k) != header.c) {
        return Some(LogFault::WrongKey);
    }
    (!proven.fits(header)).then_some(LogFault::Misfit)
}
