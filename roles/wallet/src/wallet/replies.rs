//! What follows from an answer.

use std::collections::BTreeMap;

use naulon_exchange::{
    Exchange, Header, Input, LogKeeper, Outcome, RequestId, State, UnverifiedDecision, UnverifiedRecord, key_commitment,
};
use naulon_money::Amount;
use naulon_purchase::{BuyerError, Step};
use naulon_statement::{Joint, PublicKey, Timestamp, Unverified};
use naulon_wire::{AnyReply, BankReply, CallError, ExchangeReply, LogReply, Problem, ShopReply};

use super::Wallet;
use crate::change::Change;
use crate::error::WalletError;
use crate::event::Event;
use crate::operation::{End, Exchanging, Operation, OperationId, Planned, Purchase, Why, Work};
use crate::store::WalletStore;
use crate::token::{Held, TokenState};

/// The bank's refusals after which it can never lock this authorization. Not among them are final refusals that another
/// party may have given to an earlier call of the same purchase.
const NEVER_LOCKED: &[&str] = &[
    "malformed",
    "not_canonical",
    "too_long",
    "wrong_signer",
    "bad_signature",
    "wrong_currency",
    "exchange_size",
    "signature_missing",
    "signature_unneeded",
    "brand_closed",
    "bad_token",
    "duplicate_input",
    "duplicate_output",
    "amount_out_of_range",
    "unbalanced",
    "condition_inputs",
    "condition_outputs",
    "wrong_serial",
    "wrong_purpose",
    "purse_stopped",
    "reusable_q",
    "in_parts",
    "expiry_too_soon",
    "order_used",
    "spent",
];

/// Refusals that a bank gives before it looks at the expiry. They may pass; but not after the expiry.
const NEVER_LOCKED_AFTER_EXPIRY: &[&str] = &["unknown_brand", "brand_not_issuing"];

impl<S: WalletStore> Wallet<S> {
    pub(super) fn take_answer(
        &mut self,
        operation: Operation,
        answer: Result<AnyReply, CallError>,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        match answer {
            Ok(reply) => {
                self.track(id).refused = None;
                self.take_reply(operation, reply, now)
            }
            Err(CallError::Problem(problem)) => {
                self.track(id).refused = Some(problem.code.clone());
                self.emit(id, Event::Refused(problem.clone()));
                self.take_refusal(operation, &problem, now)
            }
            Err(CallError::Unreachable(_, why)) => {
                self.go_the_other_way(&operation, now);
                self.emit(id, Event::Unreachable(why));
                Ok(())
            }
            Err(CallError::BadReply(_)) => {
                self.go_the_other_way(&operation, now);
                self.emit(id, Event::Distrusted("an answer that cannot be read"));
                Ok(())
            }
        }
    }

    fn take_reply(&mut self, operation: Operation, reply: AnyReply, now: Timestamp) -> Result<(), WalletError> {
        let id = operation.id;
        match (&operation.work, reply) {
            (Work::Recovery(recovery), reply) => {
                let recovery = recovery.clone();
                self.recovery_reply(operation, *recovery, reply, now)
            }
            (Work::Refund(refund), reply) => {
                let refund = refund.clone();
                self.refund_reply(operation, *refund, reply, now)
            }
            (Work::Reclaim(reclaiming), AnyReply::Bank(BankReply::Check(standing))) if reclaiming.request.is_none() => {
                let reclaiming = reclaiming.clone();
                self.check_stands(operation, *reclaiming, standing, now)
            }
            (Work::Reclaim(reclaiming), AnyReply::Bank(BankReply::Exchange(reply))) => {
                let reclaiming = reclaiming.clone();
                self.reclaimed(operation, &reclaiming, &reply, now)
            }
            (Work::OpenAccount(_), AnyReply::Bank(BankReply::Opened)) => {
                let opened = vec![Event::AccountOpened(operation.bank)];
                self.end(operation, End::Done, now, Vec::new(), opened)
            }
            (Work::Exchange(exchanging), AnyReply::Bank(BankReply::Exchange(reply))) => {
                let exchanging = exchanging.clone();
                self.exchanged(operation, &exchanging, &reply, now)
            }
            (Work::Purchase(purchase), AnyReply::Bank(BankReply::Exchange(reply))) => {
                let purchase = purchase.clone();
                self.bank_replied(operation, &purchase, *reply, now)
            }
            (Work::Purchase(purchase), AnyReply::Shop(ShopReply::Goods(piece))) => {
                let purchase = purchase.clone();
                self.goods_arrived(&operation, &purchase, &piece, now)
            }
            (
                Work::Purchase(_),
                AnyReply::Shop(ShopReply::Decision(decision)) | AnyReply::Log(LogReply::Decision(decision)),
            ) => self.decided(operation, *decision, now),
            (Work::Purchase(_), AnyReply::Shop(ShopReply::Ordered)) => {
                let mut ordered = operation.clone();
                let Work::Purchase(purchase) = &mut ordered.work else { return Ok(()) };
                purchase.ordered = true;
                self.commit(vec![Change::Operation(Box::new(ordered))])?;
                self.emit(id, Event::Ordered);
                Ok(())
            }
            (Work::Purchase(_), AnyReply::Shop(ShopReply::Pending)) => {
                self.go_the_other_way(&operation, now);
                self.emit(id, Event::Pending);
                Ok(())
            }
            _ => {
                self.emit(id, Event::Distrusted("an answer to something that was not asked"));
                Ok(())
            }
        }
    }

    /// An exchange was done: the tokens come in, its inputs go out, in one commit.
    fn exchanged(
        &mut self,
        operation: Operation,
        exchanging: &Exchanging,
        reply: &ExchangeReply,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        if reply.request != exchanging.request.id() || reply.state != State::Done {
            self.emit(id, Event::Distrusted("the bank's reply is to another request"));
            return Ok(());
        }
        let Some(tokens) = self.unblind(&exchanging.outputs, &reply.signatures) else {
            self.emit(id, Event::Distrusted("the bank's blind signatures do not hold"));
            return Ok(());
        };
        let check = match exchanging.check.map(|number| self.certified(number, reply)).transpose() {
            Ok(check) => check,
            Err(why) => {
                self.emit(id, Event::Distrusted(why));
                return Ok(());
            }
        };
        let mut events = self.received(&tokens);
        if exchanging.why == Why::Deposit {
            events.push(Event::Deposited(exchanging.amount));
        }
        let inputs = exchanging.request.claimed_body().tokens().map(|token| PublicKey(*token.nonce()));
        let mut changes: Vec<Change> = inputs.map(Change::Gone).collect();
        changes.extend(check);
        changes.extend(self.known_by(&tokens));
        changes.extend(tokens.into_iter().map(Change::Token));
        self.end(operation, End::Done, now, changes, events)
    }

    /// The bank's reply about a purchase: that it has locked, or how it was settled.
    fn bank_replied(
        &mut self,
        mut operation: Operation,
        before: &Purchase,
        reply: ExchangeReply,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        if reply.state == State::Locked && before.buyer.promise().is_some() {
            // It has been asked because nobody else answered, and knows no more; or the answer comes twice.
            if self.track(id).by_bank {
                self.go_the_other_way(&operation, now);
                self.emit(id, Event::Pending);
            }
            return Ok(());
        }
        let Work::Purchase(purchase) = &mut operation.work else { return Ok(()) };
        let Some(a) = before.buyer.authorization_q().map(naulon_statement::Joint::id) else { return Ok(()) };
        if let Err(why) = self.read_bank_reply(operation.bank, a, purchase, &reply, now) {
            // What convicts the log or the bank is kept.
            if purchase.misfit.is_some() != before.misfit.is_some() {
                self.keep_misfit(operation)?;
            } else if purchase.buyer != before.buyer {
                self.commit(vec![Change::Operation(Box::new(operation))])?;
            }
            self.emit(id, Event::Distrusted(why));
            return Ok(());
        }
        let mut events = Vec::new();
        if before.buyer.promise().is_none() && purchase.buyer.promise().is_some() {
            events.push(Event::Locked);
        }
        if before.buyer.decision().is_none() {
            events.extend(outcome_of(purchase).map(decided_event));
        }
        let mut changes = Vec::new();
        if reply.state != State::Locked && !before.settled {
            let authorized = before.buyer.authorization_q();
            match authorized.and_then(|authorized| self.settlement(id, authorized, &purchase.outputs, &reply)) {
                Some((settlement, received)) if purchase.buyer.settled().is_ok() => {
                    purchase.settled = true;
                    changes = settlement;
                    events.extend(received);
                    events.push(Event::Settled);
                }
                // Promise and decision hold all the same: with them the goods can be had.
                _ => events.push(Event::Distrusted("the bank's blind signatures do not hold")),
            }
        }
        if purchase.buyer != before.buyer {
            changes.extend(self.new_tree(&before.buyer, purchase));
            changes.push(Change::Operation(Box::new(operation)));
            self.commit(changes)?;
        }
        if events.contains(&Event::Settled) {
            self.track(id).other_way = false;
        }
        self.emit_all(id, events);
        Ok(())
    }

    /// Takes header, promise and decision out of a bank's reply, or says what does not hold.
    fn read_bank_reply(
        &self,
        bank: PublicKey,
        a: naulon_exchange::RequestId,
        purchase: &mut Purchase,
        reply: &ExchangeReply,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        if reply.request != a || reply.state == State::Done {
            return Err("the bank's reply is to another request");
        }
        if purchase.buyer.promise().is_none() {
            let parts = reply.header.clone().zip(reply.authorization_b.clone());
            let (header, authorization_b) = parts.ok_or("the bank has locked and promises nothing")?;
            let promised = (header.clone(), authorization_b.clone());
            if purchase.buyer.locked(header, authorization_b).is_err() {
                // It convicts the bank only if the bank has signed it, on this authorization.
                let of_bank = |header: &Unverified<Header>| header.clone().verify(&bank).is_ok_and(|it| it.a == a);
                if of_bank(&promised.0) && promised.1.clone().verify(&bank).is_ok() {
                    purchase.misfit.get_or_insert(promised);
                }
                return Err("the bank's promise does not fit the authorization");
            }
        }
        if reply.state == State::Locked {
            return Ok(());
        }
        let Some(decision) = reply.decision.as_ref() else {
            let is_free = reply.state == State::Aborted && self.has_lapsed(purchase, now);
            let lapsed = is_free && purchase.buyer.lapsed().is_ok();
            return if lapsed { Ok(()) } else { Err("the bank has settled and shows no decision") };
        };
        let log = self.peers.logs.get(&purchase.log).ok_or("the log is not one of this wallet's")?;
        let taken = match purchase.buyer.decided(decision.clone(), log) {
            // The log has signed both. The bank's first recorded outcome is final.
            Err(BuyerError::Contradiction) => purchase.buyer.overruled(decision.clone(), log),
            taken => taken,
        };
        taken.map_err(|_| "the decision that the bank shows does not hold")?;
        if (reply.state == State::Committed) != purchase.buyer.key().is_some() {
            return Err("the bank has settled otherwise than the decision says");
        }
        Ok(())
    }

    /// Whether the merchant keeps the log itself, and its time is over: then the bank frees the tokens by its own clock.
    fn has_lapsed(&self, purchase: &Purchase, now: Timestamp) -> bool {
        let Some((header, _)) = purchase.buyer.promise() else { return false };
        let keeper = self.terms.get(&header.bank).and_then(|terms| terms.keeper(&header.log, &header.merchant));
        matches!(keeper, Some(LogKeeper::Merchant(own)) if header.expiry.plus(own.grace) <= now)
    }

    /// What a settlement changes: on a commit the change comes in and the inputs go out, on an abort they are free.
    pub(super) fn settlement(
        &self,
        id: OperationId,
        authorized: &Exchange,
        outputs: &[Planned],
        reply: &ExchangeReply,
    ) -> Option<(Vec<Change>, Vec<Event>)> {
        let inputs: Vec<Held> = self.reserved(id).cloned().collect();
        if reply.state == State::Aborted {
            let free = |held| Change::Token(Held { state: TokenState::Free, ..held });
            return Some((inputs.into_iter().map(free).collect(), Vec::new()));
        }
        let tokens = self.unblind(outputs, &reply.signatures)?;
        let received = self.received(&tokens);
        let mut changes: Vec<Change> = inputs.into_iter().map(|held| self.paid_with(held, authorized)).collect();
        changes.extend(self.known_by(&tokens));
        changes.extend(tokens.into_iter().map(Change::Token));
        Some((changes, received))
    }

    /// What becomes of a token that has paid: it is gone, or a part of it is.
    fn paid_with(&self, held: Held, authorized: &Exchange) -> Change {
        let taken = authorized.inputs.iter().find_map(|input| match input {
            Input::Token { token, part, .. } if *token == held.token => *part,
            _ => None,
        });
        let left = taken.and_then(|taken| self.worth(&held).checked_sub(taken)).filter(|left| !left.is_zero());
        match left {
            Some(left) => Change::Token(Held { state: TokenState::Free, left: Some(left), ..held }),
            None => Change::Gone(held.q()),
        }
    }

    /// A decision, from the shop or the log.
    fn decided(
        &mut self,
        mut operation: Operation,
        decision: UnverifiedDecision,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        let Work::Purchase(purchase) = &mut operation.work else { return Ok(()) };
        let before = purchase.buyer.clone();
        let taken = match self.peers.logs.get(&purchase.log) {
            Some(log) => purchase.buyer.decided(decision, log),
            None => Err(BuyerError::DecisionMisfit),
        };
        let outcome = outcome_of(purchase).filter(|_| before.decision().is_none());
        // Also after an error: a decision by which the log has broken its rules is kept.
        if purchase.buyer != before {
            let mut changes: Vec<Change> = self.new_tree(&before, purchase).into_iter().collect();
            changes.push(Change::Operation(Box::new(operation.clone())));
            self.commit(changes)?;
        }
        if let Some(outcome) = outcome {
            self.track(id).other_way = false;
            self.emit(id, decided_event(outcome));
        }
        if taken.is_err() {
            self.go_the_other_way(&operation, now);
            self.emit(id, Event::Distrusted("a decision that does not hold, or is not the first"));
        }
        Ok(())
    }

    fn take_refusal(&mut self, operation: Operation, problem: &Problem, now: Timestamp) -> Result<(), WalletError> {
        let id = operation.id;
        match &operation.work {
            Work::OpenAccount(_) | Work::Exchange(_) => {
                let spent = self.proven_spent(&operation, problem);
                let never = problem.is_final() || self.is_out_of_date(&operation, problem, now);
                if !never {
                    return Ok(());
                }
                let events = spent_event(&spent);
                let mut changes = self.voided_by(&operation);
                changes.extend(marked(spent));
                self.end(operation, End::Refused(problem.code.clone()), now, changes, events)
            }
            Work::Reclaim(reclaiming) => {
                let reclaiming = reclaiming.clone();
                self.reclaim_refused(operation, &reclaiming, problem, now)
            }
            Work::Refund(refund) => {
                let refund = refund.clone();
                self.refund_refused(operation, *refund, problem, now)
            }
            Work::Recovery(recovery) => {
                let recovery = recovery.clone();
                self.recovery_refused(operation, *recovery, problem, now)
            }
            Work::Purchase(purchase) => match purchase.buyer.next(now) {
                Step::Deliver if purchase.restored && problem.code == "not_found" => {
                    self.goods_not_found(operation, now)
                }
                // The shop did not take the order: nothing is asked of the bank before it has.
                Step::Lock if super::purchases::wants_order(purchase, now) => Ok(()),
                Step::Lock => self.lock_refused(operation, problem, now),
                Step::Settle | Step::Deliver if problem.code == "log_contradiction" => {
                    self.take_contradiction(operation, problem)
                }
                Step::Settle | Step::Deliver => {
                    self.track(id).other_way = false;
                    Ok(())
                }
                _ => {
                    self.go_the_other_way(&operation, now);
                    Ok(())
                }
            },
        }
    }

    /// The bank has not locked. If it never can, the tokens are free; else the same is asked again, for the bank may
    /// have locked already, or may do so by a copy of the request that is still on its way.
    fn lock_refused(&mut self, mut operation: Operation, problem: &Problem, now: Timestamp) -> Result<(), WalletError> {
        let id = operation.id;
        let spent = self.proven_spent(&operation, problem);
        let Work::Purchase(purchase) = &mut operation.work else { return Ok(()) };
        let condition = purchase.buyer.authorization_q().and_then(|a| a.condition.as_ref());
        let expired = condition.is_some_and(|condition| now >= condition.expiry);
        let code = problem.code.as_str();
        let never = NEVER_LOCKED.contains(&code) || expired && NEVER_LOCKED_AFTER_EXPIRY.contains(&code);
        if !never || purchase.buyer.lock_refused().is_err() {
            return Ok(());
        }
        purchase.refused = Some(problem.code.clone());
        let events = spent_event(&spent);
        // That it has ended is written by `advance`, together with what else is still set aside.
        let mut changes = marked(spent);
        changes.push(Change::Operation(Box::new(operation)));
        self.commit(changes)?;
        self.emit_all(id, events);
        Ok(())
    }

    /// The bank holds another decision than ours: the log has signed both, and the bank's is final. If the bank does not
    /// show it, it is asked what it did.
    fn take_contradiction(&mut self, mut operation: Operation, problem: &Problem) -> Result<(), WalletError> {
        let id = operation.id;
        let Work::Purchase(purchase) = &mut operation.work else { return Ok(()) };
        let shown = problem.decision().zip(self.peers.logs.get(&purchase.log));
        let overruled = shown.is_some_and(|(decision, log)| purchase.buyer.overruled(decision, log).is_ok());
        self.track(id).other_way = !overruled;
        if overruled {
            self.commit(vec![Change::Operation(Box::new(operation))])?;
        }
        Ok(())
    }

    /// The tokens of an operation that a refusal proves to be spent, or to have less left on them than the wallet thought:
    /// by exchanges that their keys have signed, and that the bank has carried out, or whose purchases the log has committed.
    /// They are given as they are then.
    fn proven_spent(&self, operation: &Operation, problem: &Problem) -> Vec<Held> {
        let records = match problem.code.as_str() {
            "spent" | "in_parts" => problem.records(),
            _ => Vec::new(),
        };
        let proven: BTreeMap<RequestId, (bool, Joint<Exchange>)> =
            records.into_iter().filter_map(|record| self.proven(&operation.bank, record)).collect();
        self.reserved(operation.id).filter_map(|held| self.as_proven(held, &operation.bank, &proven)).collect()
    }

    /// A record's exchange, with whether what it took is gone for good.
    pub(super) fn proven(
        &self,
        bank: &PublicKey,
        record: UnverifiedRecord,
    ) -> Option<(RequestId, (bool, Joint<Exchange>))> {
        let UnverifiedRecord { exchange, state, decision, .. } = record;
        let exchange = exchange.verify().ok().filter(|exchange| exchange.bank == *bank)?;
        let is_final = match (state, &exchange.condition) {
            (State::Done, None) => true,
            (State::Committed, Some(condition)) => {
                let log = self.peers.logs.get(&condition.log)?;
                let header = Header::of(&exchange, exchange.id())?;
                let proven = decision?.verify(log).ok()?;
                let opens = |k: &[u8; 32]| key_commitment(&header.n, k) == header.c;
                proven.fits(&header) && proven.decision().key().is_some_and(opens)
            }
            _ => false,
        };
        Some((exchange.id(), (is_final, exchange)))
    }

    /// A token as these exchanges leave it; none if they do not concern it.
    fn as_proven(
        &self,
        held: &Held,
        bank: &PublicKey,
        proven: &BTreeMap<RequestId, (bool, Joint<Exchange>)>,
    ) -> Option<Held> {
        let q = self.spending_key(bank, held).public();
        let issued = self.brands.get(&held.brand())?.brand().denomination;
        let uses =
            proven.values().filter(|(_, exchange)| exchange.is_signed_by(&q)).flat_map(|(is_final, exchange)| {
                exchange.inputs.iter().filter_map(move |input| match input {
                    Input::Token { token, part, .. } if *token == held.token => Some((*is_final, *part)),
                    _ => None,
                })
            });
        let (mut left, mut in_parts) = (issued, false);
        for (is_final, part) in uses {
            in_parts |= part.is_some();
            if is_final {
                left = left.checked_sub(part.unwrap_or(issued)).unwrap_or(Amount::ZERO);
            }
        }
        match left {
            Amount::ZERO => Some(Held { state: TokenState::Spent, ..held.clone() }),
            left if in_parts && held.left.is_none_or(|known| left < known) => {
                Some(Held { state: TokenState::Free, left: Some(left), ..held.clone() })
            }
            _ => None,
        }
    }

    /// Whether a brand of the request's outputs is over, so that a bank that does not issue it now never will again.
    fn is_out_of_date(&self, operation: &Operation, problem: &Problem, now: Timestamp) -> bool {
        let Work::Exchange(exchanging) = &operation.work else { return false };
        let over = |planned: &crate::operation::Planned| {
            self.brands.get(&planned.brand).is_some_and(|known| now >= known.brand().withdraw_until)
        };
        let about_brands = ["brand_not_issuing", "unknown_brand"].contains(&problem.code.as_str());
        about_brands && exchanging.outputs.iter().any(over)
    }

    /// Where there are several parties to ask, the next one is: shop, log, and then the bank, which shows *commit* and with it
    /// k to whoever it has told that the token is spent (AAT §4), also when the others are gone.
    fn go_the_other_way(&mut self, operation: &Operation, now: Timestamp) {
        let step = operation.purchase().map(|purchase| purchase.buyer.next(now));
        let track = self.track(operation.id);
        let asks = matches!(step, Some(Step::Pay | Step::Abort));
        (track.other_way, track.by_bank) = match (asks, track.other_way, track.by_bank) {
            (false, _, _) | (true, true, true) => (false, false),
            (true, false, _) => (true, false),
            (true, true, false) => (true, true),
        };
    }

    pub(super) fn received(&self, tokens: &[Held]) -> Vec<Event> {
        let received = Event::Received { amount: self.sum(tokens), tokens: tokens.len() };
        (!tokens.is_empty()).then_some(received).into_iter().collect()
    }

    pub(super) fn emit_all(&mut self, id: OperationId, events: Vec<Event>) {
        for event in events {
            self.emit(id, event);
        }
    }
}

pub(super) fn decided_event(outcome: Outcome) -> Event {
    Event::Decided { committed: outcome != Outcome::Abort }
}

fn spent_event(spent: &[Held]) -> Vec<Event> {
    let event = Event::SpentElsewhere { tokens: spent.len() };
    (!spent.is_empty()).then_some(event).into_iter().collect()
}

fn outcome_of(purchase: &Purchase) -> Option<Outcome> {
    purchase.buyer.decision().map(|proven| proven.decision().outcome)
}

fn marked(proven: Vec<Held>) -> Vec<Change> {
    proven.into_iter().map(Change::Token).collect()
}
