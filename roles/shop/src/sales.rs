//! How the shop sees its sales through: what it asks of log and bank, and what it does with the answers.

use std::collections::BTreeMap;

use naulon_exchange::{BlindMessage, Entry, Header, Outcome, State, UnverifiedDecision};
use naulon_purchase::{AuthorizationM, MerchantRules, Sale, SaleStep};
use naulon_statement::{Duration, Signed, Timestamp, Unverified};
use naulon_wire::{
    AnyCall, AnyReply, Ask, BankCall, BankReply, CallError, Circuit, ExchangeReply, LogCall, LogReply, Problem,
};

use crate::shelf::Shelf;
use crate::shop::Shop;
use crate::store::{SaleId, SaleWrite, ShopStore};
use crate::trouble::Trouble;

/// How long the shop waits after a call that brought nothing, before it asks again; doubled each time.
pub const FIRST_PAUSE: Duration = Duration::seconds(1);
/// The longest it waits.
pub const LONGEST_PAUSE: Duration = Duration::seconds(300);

/// A sale that is not settled.
pub(crate) struct OpenSale {
    pub(crate) sale: Sale,
    /// Calls in a row that brought nothing.
    failures: u32,
    /// When to ask again.
    not_before: Timestamp,
}

impl OpenSale {
    pub(crate) fn new(sale: Sale) -> Self {
        OpenSale { sale, failures: 0, not_before: Timestamp::default() }
    }

    /// Waits longer after each failure; at once the longest after one that another attempt cannot mend.
    fn wait(&mut self, now: Timestamp, problem: Option<&Problem>) {
        let doubled = FIRST_PAUSE.0.saturating_mul(1 << self.failures.min(20));
        let asked_for = problem.and_then(|problem| problem.retry_after).unwrap_or(0).saturating_mul(1_000);
        let is_final = problem.is_some_and(Problem::is_final);
        let pause = if is_final { LONGEST_PAUSE } else { Duration(doubled.max(asked_for)).min(LONGEST_PAUSE) };
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.plus(pause);
    }
}

impl<S: ShopStore, G: Shelf> Shop<S, G> {
    /// What is to be sent now: authorization_m to the log, again until it has decided; then the decision to the bank, again
    /// until that has settled. Each call may be repeated, so nobody needs to remember what is under way.
    pub fn asks(&self, now: Timestamp) -> Vec<(SaleId, Ask)> {
        self.asks_but(now, usize::MAX, |_| false)
    }

    /// As [`asks`](Self::asks), at most this many, and not about sales that `is_under_way`. Each ask is signed anew, so
    /// whoever cannot send them all should not have them all made. Those that waited longest come first.
    pub fn asks_but(&self, now: Timestamp, limit: usize, is_under_way: impl Fn(&SaleId) -> bool) -> Vec<(SaleId, Ask)> {
        if self.check_running().is_err() {
            return Vec::new();
        }
        let due = self.open.iter().filter(|(id, open)| open.not_before <= now && !is_under_way(id));
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, open)| open.not_before);
        due.into_iter().filter_map(|(id, open)| Some((*id, self.ask_about(&open.sale)?))).take(limit).collect()
    }

    /// What is to be sent about one sale, whether or not it is time to repeat it.
    pub fn ask_of(&self, id: &SaleId) -> Option<Ask> {
        self.check_running().ok()?;
        self.ask_about(&self.open.get(id)?.sale)
    }

    /// Whether [`asks`](Self::asks) has a call about this sale now.
    pub fn is_due(&self, id: &SaleId, now: Timestamp) -> bool {
        self.open.get(id).is_some_and(|open| open.not_before <= now)
    }

    /// When [`asks`](Self::asks) has its next call; in the past if it has one now.
    pub fn next_ask(&self) -> Option<Timestamp> {
        self.open.values().map(|open| open.not_before).min()
    }

    /// Takes the answer to a call that was made about a sale. What it brings is durable when this returns.
    ///
    /// # Errors
    /// When the answer is not one, or proves that log or bank has broken the protocol; the sale stands as before, and the
    /// call is made again later.
    pub fn answered(
        &mut self,
        sale: SaleId,
        answer: Result<AnyReply, CallError>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let unanswered = || Err(Problem::new("internal", "an answer was not taken"));
        self.take_answers(vec![(sale, answer)], now).pop().unwrap_or_else(unanswered)
    }

    /// Takes answers that arrived together, in one commit. One result for each, in the same order.
    pub fn take_answers(
        &mut self,
        answers: Vec<(SaleId, Result<AnyReply, CallError>)>,
        now: Timestamp,
    ) -> Vec<Result<(), Problem>> {
        let mut changed: BTreeMap<SaleId, Sale> = BTreeMap::new();
        let mut writes = Vec::new();
        let mut taken: Vec<Result<(), Problem>> = Vec::with_capacity(answers.len());
        for (id, answer) in answers {
            taken.push(self.take_answer(id, answer, now, &mut changed, &mut writes).map_err(Problem::from));
        }
        if let Err(error) = self.write(&writes) {
            let problem = Problem::from(Trouble::from(error));
            return taken.into_iter().map(|taken| taken.and(Err(problem.clone()))).collect();
        }
        for (id, sale) in changed {
            if sale.next() == SaleStep::Done {
                self.open.remove(&id);
            } else {
                self.open.insert(id, OpenSale::new(sale));
            }
        }
        taken
    }

    fn take_answer(
        &mut self,
        id: SaleId,
        answer: Result<AnyReply, CallError>,
        now: Timestamp,
        changed: &mut BTreeMap<SaleId, Sale>,
        writes: &mut Vec<SaleWrite>,
    ) -> Result<(), Trouble> {
        self.check_running()?;
        let sale = match (changed.get(&id), self.open.get(&id)) {
            (Some(sale), _) => sale.clone(),
            (None, Some(open)) => open.sale.clone(),
            // A repeated answer about a sale that is settled brings nothing new.
            (None, None) if self.store.sale(&id)?.is_some() => return Ok(()),
            (None, None) => return Err(Trouble::UnknownSale(id)),
        };
        let mut after = sale.clone();
        let outcome = read_answer(&self.rules, &mut after, answer);
        if after == sale {
            let problem = outcome.as_ref().ok().and_then(Option::as_ref);
            self.wait(id, now, problem);
        } else {
            // Also after an error: what convicts the log is kept.
            writes.push(SaleWrite::Advance(id, Box::new(after.clone()), now));
            changed.insert(id, after);
        }
        outcome.map(drop)
    }

    fn wait(&mut self, id: SaleId, now: Timestamp, problem: Option<&Problem>) {
        if let Some(open) = self.open.get_mut(&id) {
            open.wait(now, problem);
        }
    }

    fn ask_about(&self, sale: &Sale) -> Option<Ask> {
        let header = &sale.payment.header;
        let (to, call) = match (sale.next(), &sale.decision) {
            (SaleStep::Release, _) => {
                let k = *self.merchandise_key(&header.n).reveal();
                if let Entry::Blind { .. } = header.entry {
                    return Some(self.blind_release(header, &k));
                }
                let authorization = Signed::sign(&self.keys.merchant, AuthorizationM { a: header.a, k });
                let authorization = Unverified::from(&authorization);
                (header.log, AnyCall::Log(LogCall::Commit { header: header.into(), authorization }))
            }
            (SaleStep::Settle, Some(decision)) => {
                (header.bank, AnyCall::Bank(BankCall::Settle(UnverifiedDecision::from(decision))))
            }
            (SaleStep::Settle, None) | (SaleStep::Done, _) => return None,
        };
        // Log and bank know the shop by its key anyway.
        Some(Ask { to, circuit: Circuit::Identified(self.rules.merchant), call })
    }

    /// The one message to a blind log, which is not to know whose it is: each sale has a circuit of its own.
    fn blind_release(&self, header: &Header, k: &[u8; 32]) -> Ask {
        let (a, index) = (&header.a, self.keys.index(&header.n));
        let message = BlindMessage { log: header.log, expiry: header.expiry, sealed: header.seal_release(a, k) };
        let message = Unverified::from(&Signed::sign(&index, message));
        let number = index.public().0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Ask {
            to: header.log,
            circuit: Circuit::Anonymous(number),
            call: AnyCall::Log(LogCall::BlindCommit { message }),
        }
    }
}

/// Takes an answer into the sale. If the party refused in a way that changes nothing, the refusal.
fn read_answer(
    rules: &MerchantRules,
    sale: &mut Sale,
    answer: Result<AnyReply, CallError>,
) -> Result<Option<Problem>, Trouble> {
    match answer {
        Ok(AnyReply::Log(LogReply::Decision(decision))) => sale.decided(rules, *decision)?,
        Ok(AnyReply::Bank(BankReply::Exchange(reply))) => read_settlement(rules, sale, *reply)?,
        Ok(_) => return Err(Trouble::OtherAnswer),
        Err(CallError::Problem(problem)) => return read_refusal(rules, sale, problem),
        Err(CallError::Unreachable(..) | CallError::BadReply(_)) => {}
    }
    Ok(None)
}

/// Where the bank says that the purchase stands.
fn read_settlement(rules: &MerchantRules, sale: &mut Sale, reply: ExchangeReply) -> Result<(), Trouble> {
    let Some(decision) = &sale.decision else { return Err(Trouble::OtherAnswer) };
    if reply.request != sale.payment.header.a {
        return Err(Trouble::OtherAnswer);
    }
    match (decision.decision().outcome, reply.state) {
        (Outcome::Commit { .. }, State::Committed) | (Outcome::Abort, State::Aborted) => sale.settled = true,
        (_, State::Locked) => {}
        (_, State::Done | State::Committed | State::Aborted) => {
            sale.overruled(rules, reply.decision.ok_or(Trouble::BankMisfit)?)?;
        }
    }
    Ok(())
}

/// Two refusals end a sale: the log's that it will never decide, and the bank's with another decision of the log.
fn read_refusal(rules: &MerchantRules, sale: &mut Sale, problem: Problem) -> Result<Option<Problem>, Trouble> {
    match (sale.next(), problem.code.as_str(), problem.decision()) {
        (SaleStep::Release, "too_old", _) => sale.settled = true,
        (SaleStep::Settle, "log_contradiction", Some(recorded)) => sale.overruled(rules, recorded)?,
        _ => return Ok(Some(problem)),
    }
    Ok(None)
}
