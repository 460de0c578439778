//! What the bank does about purchases by itself: it takes promises to shops (AAT §3.3, P3), and asks the log about every
//! lock whose time is over, so that none stays because its buyer is gone.
//!
//! The record of a lock is all that is stored of it: it is written in the one commit that locks the tokens, and says who
//! carries the promise, and until when. What is locked and not settled is what is left to do. After a start it is taken up
//! again; each call may be repeated.
//!
//! The shop learns no more than from a wallet: the same header and promise, without a word of the offer, which its buyer has
//! left there. The bank learns the decision, with k, which the log publishes anyway.

use std::collections::{BTreeMap, BTreeSet};

use naulon_durable::StoreError;
use naulon_exchange::{
    AuthorizationB, Carrier, Entry, Header, Plan, Record, RecordWrite, RequestId, Rules, State, UnverifiedDecision,
};
use naulon_statement::{Duration, Timestamp};
use naulon_wire::{
    AnyCall, AnyReply, Ask, BankCall, BankReply, CallError, Circuit, LogCall, LogReply, Problem, ShopCall, ShopReply,
};

use crate::bank::Bank;
use crate::desk::Authenticated;
use crate::store::BankStore;

/// How long after an expiry the bank leaves it to buyer and shop to bring the decision.
pub const GRACE: Duration = Duration::seconds(60);
/// How long after a call that brought nothing it is made again; doubled each time.
pub const FIRST_PAUSE: Duration = Duration::seconds(2);
/// The longest pause. A log that will never decide (`too_old`) is asked no more often.
pub const LONGEST_PAUSE: Duration = Duration::seconds(3_600);
/// How long a call may be under way before it counts as lost.
const PATIENCE: Duration = Duration::seconds(60);
/// How many locks are read at once.
const PAGE: usize = 1_000;
/// How many errands are held in memory. What is beyond that waits in the store until there is room.
pub const MAX_ERRANDS: usize = 100_000;

/// What is left to do, by the time at which it is due, and by expiry.
#[derive(Default)]
pub(crate) struct Errands {
    open: BTreeMap<RequestId, Errand>,
    due: BTreeSet<(Timestamp, RequestId)>,
    expiries: BTreeSet<(Timestamp, RequestId)>,
    /// How far the store has been read; none when it is begun anew.
    read: Option<RequestId>,
}

struct Errand {
    expiry: Timestamp,
    /// When the bank frees it by its own clock, if it does.
    frees_at: Option<Timestamp>,
    /// The promise is still to be taken to the shop.
    to_deliver: bool,
    failures: u32,
    due: Timestamp,
}

impl Errands {
    fn note(&mut self, record: &Record, rules: &Rules, now: Timestamp) {
        let Some(condition) = &record.exchange.condition else { return };
        if self.open.len() >= MAX_ERRANDS {
            return;
        }
        let to_deliver = condition.carrier == Carrier::Bank && now < condition.expiry;
        let frees_at = Header::of(&record.exchange, record.id()).and_then(|header| rules.frees_at(&header));
        let asked_at = condition.expiry.plus(GRACE);
        let due = if to_deliver { now } else { frees_at.map_or(asked_at, |time| asked_at.min(time)) };
        self.insert(record.id(), Errand { expiry: condition.expiry, frees_at, to_deliver, failures: 0, due });
    }

    fn insert(&mut self, id: RequestId, errand: Errand) {
        self.forget(&id);
        self.due.insert((errand.due, id));
        self.expiries.insert((errand.expiry, id));
        self.open.insert(id, errand);
    }

    fn forget(&mut self, id: &RequestId) {
        if let Some(errand) = self.open.remove(id) {
            self.due.remove(&(errand.due, *id));
            self.expiries.remove(&(errand.expiry, *id));
        }
    }

    fn put_off(&mut self, id: &RequestId, change: impl FnOnce(&mut Errand)) {
        if let Some(errand) = self.open.get_mut(id) {
            self.due.remove(&(errand.due, *id));
            change(errand);
            self.due.insert((errand.due, *id));
        }
    }

    /// The errands that are due, at most so many; they are put off until their answer is.
    fn take(&mut self, now: Timestamp, limit: usize) -> Vec<RequestId> {
        let due: Vec<RequestId> =
            self.due.iter().take_while(|(due, _)| *due <= now).take(limit).map(|(_, id)| *id).collect();
        for id in &due {
            self.put_off(id, |errand| errand.due = now.plus(PATIENCE));
        }
        due
    }

    fn failed(&mut self, id: &RequestId, now: Timestamp, is_final: bool) {
        self.put_off(id, |errand| {
            let doubled = Duration(FIRST_PAUSE.0.saturating_mul(1 << errand.failures.min(20)));
            errand.failures = errand.failures.saturating_add(1);
            errand.due = now.plus(if is_final { LONGEST_PAUSE } else { doubled.min(LONGEST_PAUSE) });
            if let Some(frees_at) = errand.frees_at.filter(|time| now < *time) {
                errand.due = errand.due.min(frees_at);
            }
            if errand.to_deliver && (is_final || errand.due >= errand.expiry) {
                // Too late for the shop. What is left is the log's abort.
                (errand.to_deliver, errand.failures) = (false, 0);
                errand.due = errand.expiry.plus(GRACE);
            }
        });
    }

    fn delivered(&mut self, id: &RequestId) {
        self.put_off(id, |errand| {
            (errand.to_deliver, errand.failures) = (false, 0);
            errand.due = errand.expiry.plus(GRACE);
        });
    }

    /// What a plan that was written leaves to do.
    pub(crate) fn written(&mut self, plan: &Plan, rules: &Rules, now: Timestamp) {
        match &plan.record {
            RecordWrite::Insert(record) if record.state == State::Locked => self.note(record, rules, now),
            RecordWrite::Settle(record) => self.forget(&record.id()),
            RecordWrite::Insert(_) | RecordWrite::Open(_) => {}
        }
    }
}

impl<S: BankStore> Bank<S> {
    /// Takes up purchases that are locked, a bounded number at a time; true if there may be more. It is done when the bank
    /// opens. Doing it again and again finds what did not fit before, and, where several bank processes share one database,
    /// what another one left behind.
    pub fn take_up_errands(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        if self.errands.open.len() >= MAX_ERRANDS {
            return Ok(false);
        }
        let after = self.errands.read;
        let page = self.sound()?.locked(after.as_ref(), PAGE)?;
        self.errands.read = page.last().map(Record::id).filter(|_| page.len() == PAGE);
        let rulebook = self.desk().rulebook();
        for record in &page {
            if !self.errands.open.contains_key(&record.id()) {
                self.errands.note(record, &rulebook.rules, now);
            }
        }
        Ok(self.errands.read.is_some())
    }

    /// What to send now, at most so many calls. Whoever carries them says what came of each ([`errand_done`]). An errand
    /// that is never answered is given out again later.
    ///
    /// [`errand_done`]: Self::errand_done
    pub fn errands(&mut self, now: Timestamp, limit: usize) -> Result<Vec<(RequestId, Ask)>, StoreError> {
        let mut asks = Vec::new();
        for id in self.errands.take(now, limit) {
            let record = self.sound()?.record(&id)?;
            if record.as_ref().is_some_and(|record| self.lapses(record, now)) {
                self.lapse(id, now);
                continue;
            }
            match record.filter(|record| record.state == State::Locked) {
                Some(record) => asks.extend(self.ask_about(&record, now).map(|ask| (id, ask))),
                // Another process has settled it.
                None => self.errands.forget(&id),
            }
        }
        Ok(asks)
    }

    /// When the next errand is due; in the past if one is now.
    pub fn next_errand(&self) -> Option<Timestamp> {
        self.errands.due.first().map(|(due, _)| *due)
    }

    /// How many purchases are locked although their time is over: their tokens are neither spent nor free until the log's
    /// decision is here. At most [`MAX_ERRANDS`] are counted.
    pub fn expired_locks(&self, now: Timestamp) -> usize {
        self.errands.expiries.iter().take_while(|(expiry, _)| *expiry <= now).count()
    }

    /// Takes what came of an errand. A decision settles the purchase, durably, before this returns.
    ///
    /// # Errors
    /// When the answer is none, or the log's decision is not one on the purchase; it is asked for again later.
    pub fn errand_done(
        &mut self,
        id: RequestId,
        answer: Result<AnyReply, CallError>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        match answer {
            Ok(AnyReply::Shop(ShopReply::Pending)) => {
                self.errands.delivered(&id);
                Ok(())
            }
            Ok(AnyReply::Shop(ShopReply::Decision(decision)) | AnyReply::Log(LogReply::Decision(decision))) => {
                self.settle_errand(id, *decision, now)
            }
            Ok(_) => {
                self.errands.failed(&id, now, false);
                Err(Problem::new("malformed", "that is no answer to what was asked"))
            }
            Err(CallError::Problem(problem)) => {
                self.errands.failed(&id, now, problem.is_final());
                Ok(())
            }
            Err(CallError::Unreachable(..) | CallError::BadReply(_)) => {
                self.errands.failed(&id, now, false);
                Ok(())
            }
        }
    }

    fn settle_errand(&mut self, id: RequestId, decision: UnverifiedDecision, now: Timestamp) -> Result<(), Problem> {
        // Whatever comes of it: if it does not settle, it is asked for again.
        self.errands.failed(&id, now, false);
        let record = self.sound().and_then(|store| store.record(&id));
        let record = record.map_err(|_| Problem::new("unavailable", "the store cannot be read"))?;
        let header = record.and_then(|record| Header::of(&record.exchange, id));
        let header = header.ok_or_else(|| Problem::new("unknown_purchase", "no purchase has that id"))?;
        match self.handle(BankCall::Settle(decision.with(&header)), now)? {
            BankReply::Exchange(reply) if reply.request == id && reply.state != State::Locked => {
                self.errands.forget(&id);
                Ok(())
            }
            _ => Err(Problem::new("decision_misfit", "the decision is one on another purchase")),
        }
    }

    /// Whether the purchase is to be freed by the bank's own clock: its merchant keeps the log itself, and has not claimed it in
    /// time (AAT §7).
    fn lapses(&self, record: &Record, now: Timestamp) -> bool {
        let header = Header::of(&record.exchange, record.id()).filter(|_| record.state == State::Locked);
        header.and_then(|header| self.desk().rulebook().rules.frees_at(&header)).is_some_and(|time| time <= now)
    }

    fn lapse(&mut self, id: RequestId, now: Timestamp) {
        let lapsed = self.apply(&[Authenticated::lapse(id)], now).pop();
        match lapsed {
            Some(Ok(_)) => self.errands.forget(&id),
            Some(Err(problem)) => {
                tracing::warn!(
                    code = problem.code,
                    "a purchase whose time is over could not be freed; it is tried again"
                );
            }
            None => {}
        }
    }

    fn ask_about(&self, record: &Record, now: Timestamp) -> Option<Ask> {
        let errand = self.errands.open.get(&record.id())?;
        let header = Header::of(&record.exchange, record.id())?;
        let bank = header.bank;
        let (to, circuit, call) = if errand.to_deliver && now < header.expiry {
            let promise = AuthorizationB::of(&record.exchange, &header)?;
            let authorization_b = self.desk().signed(promise);
            let call = ShopCall::Promise { header: self.desk().signed(header.clone()), authorization_b };
            (header.merchant, Circuit::Identified(bank), AnyCall::Shop(call))
        } else {
            match header.entry {
                Entry::Blind { index } => {
                    // The log is not to learn whose lock it is.
                    let number = index.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                    let abort = LogCall::BlindAbort { index, expiry: header.expiry };
                    (header.log, Circuit::Anonymous(number), AnyCall::Log(abort))
                }
                Entry::Plain | Entry::Encrypted => {
                    let abort = LogCall::Abort { header: self.desk().signed(header.clone()) };
                    (header.log, Circuit::Identified(bank), AnyCall::Log(abort))
                }
            }
        };
        Some(Ask { to, circuit, call })
    }
}
