//! Purchases that were found again from the seed. As soon as the shop has served the offer once more, such a one is a
//! purchase like all others; until then what the bank has given back is enough to have it aborted after its expiry.

use naulon_exchange::{
    AuthorizationB, Exchange, Header, Outcome, ProvenDecision, State, UnverifiedDecision, key_commitment,
};
use naulon_purchase::{Buyer, Ending, Evidence, GoodsM, GoodsQ, JointBytes};
use naulon_statement::{Joint, Signed, Timestamp, Unverified, cbor};
use naulon_wire::{AnyCall, AnyReply, Ask, BankCall, BankReply, ExchangeReply, LogReply, Problem, ShopCall, ShopReply};

use super::purchases::{DEFAULT_LOCK, MAX_FETCHES, abort_call};
use super::replies::decided_event;
use super::{Wallet, anonymous};
use crate::change::Change;
use crate::error::WalletError;
use crate::event::Event;
use crate::operation::{End, Operation, Purchase, Recovery, Work};
use crate::store::WalletStore;

impl<S: WalletStore> Wallet<S> {
    /// What to ask for it now.
    pub(super) fn recovery_asks(&self, operation: &Operation, recovery: &Recovery, now: Timestamp) -> Vec<Ask> {
        let circuit = anonymous(operation);
        let body = recovery.authorization_q.claimed_body();
        let (Some(condition), Some(header)) = (&body.condition, &recovery.header) else {
            // The same signed request gets the same reply: header, promise, and what became of it.
            let call = AnyCall::Bank(BankCall::Exchange(recovery.authorization_q.clone()));
            return vec![Ask { to: operation.bank, circuit, call }];
        };
        let mut calls = Vec::new();
        match &recovery.decision {
            Some(decision) if !recovery.settled => {
                calls.push((operation.bank, AnyCall::Bank(BankCall::Settle(decision.clone()))));
            }
            None if now >= condition.expiry => {
                calls.push((condition.log, AnyCall::Log(abort_call(header.clone()))));
            }
            _ => {}
        }
        let is_aborted = recovery.decision.as_ref().is_some_and(|decision| outcome_of(decision) == Outcome::Abort);
        if !is_aborted && (!recovery.unknown_to_shop || recovery.decision.is_some()) {
            calls.push((condition.merchant, AnyCall::Shop(ShopCall::Taken(Box::new(header.clone())))));
        }
        calls.into_iter().map(|(to, call)| Ask { to, circuit, call }).collect()
    }

    pub(super) fn recovery_reply(
        &mut self,
        operation: Operation,
        recovery: Recovery,
        reply: AnyReply,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        match reply {
            AnyReply::Bank(BankReply::Exchange(reply)) => self.bank_recalls(operation, recovery, &reply, now),
            AnyReply::Shop(ShopReply::Offer(offer)) => self.offered_again(operation, &recovery, *offer),
            AnyReply::Log(LogReply::Decision(decision)) => {
                let joint = recovery.authorization_q.clone().from_own_store();
                let Some(proven) = self.proven_on(&joint, (*decision).clone()) else {
                    self.emit(id, Event::Distrusted("a decision that does not hold"));
                    return Ok(());
                };
                let before = recovery.decision.is_some();
                let recovery = Recovery { decision: Some((&proven).into()), ..recovery };
                self.commit(vec![with_work(operation, recovery)])?;
                if !before {
                    self.emit(id, decided_event(proven.decision().outcome));
                }
                Ok(())
            }
            _ => {
                self.emit(id, Event::Distrusted("an answer to something that was not asked"));
                Ok(())
            }
        }
    }

    /// The shop knows no such sale: it was never paid, or the shop has forgotten it. What was not paid is aborted after its
    /// expiry; what was paid is given up when it is said again and again.
    pub(super) fn recovery_refused(
        &mut self,
        operation: Operation,
        recovery: Recovery,
        problem: &Problem,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        if problem.code != "unknown_purchase" || recovery.header.is_none() {
            return Ok(());
        }
        let is_over = recovery.settled && recovery.decision.is_some();
        let track = self.track(operation.id);
        track.fetches += 1;
        if is_over && track.fetches >= MAX_FETCHES {
            return self.end(operation, End::Lost, now, Vec::new(), Vec::new());
        }
        self.commit(vec![with_work(operation, Recovery { unknown_to_shop: true, ..recovery })])
    }

    /// The shop has the sale of a purchase that was restored, but no longer its goods.
    pub(super) fn goods_not_found(&mut self, operation: Operation, now: Timestamp) -> Result<(), WalletError> {
        let settled = operation.purchase().is_some_and(|purchase| purchase.settled);
        let track = self.track(operation.id);
        track.fetches += 1;
        if settled && track.fetches >= MAX_FETCHES {
            return self.end(operation, End::Lost, now, Vec::new(), Vec::new());
        }
        Ok(())
    }

    fn bank_recalls(
        &mut self,
        operation: Operation,
        mut recovery: Recovery,
        reply: &ExchangeReply,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        let (before, settled_before) = (recovery.decision.is_some(), recovery.settled);
        if let Err(why) = self.read_recalled(&mut recovery, reply) {
            self.emit(id, Event::Distrusted(why));
            return Ok(());
        }
        let (mut changes, mut events) = (Vec::new(), Vec::new());
        let outcome = recovery.decision.as_ref().map(outcome_of);
        events.extend(outcome.filter(|_| !before).map(decided_event));
        if reply.state != State::Locked && !settled_before {
            let Some((settlement, received)) =
                self.settlement(id, recovery.authorization_q.claimed_body(), &recovery.outputs, reply)
            else {
                self.emit(id, Event::Distrusted("the bank's blind signatures do not hold"));
                return Ok(());
            };
            recovery.settled = true;
            changes = settlement;
            events.extend(received);
            events.push(Event::Settled);
        }
        if recovery.settled && outcome == Some(Outcome::Abort) {
            let aborted = Operation { work: Work::Recovery(Box::new(recovery)), ..operation };
            return self.end(aborted, End::Purchase(Ending::Aborted), now, changes, events);
        }
        changes.push(with_work(operation, recovery));
        self.commit(changes)?;
        self.emit_all(id, events);
        Ok(())
    }

    /// Takes header, promise and decision out of the bank's reply, or says what does not hold.
    fn read_recalled(&self, recovery: &mut Recovery, reply: &ExchangeReply) -> Result<(), &'static str> {
        let joint = recovery.authorization_q.clone().from_own_store();
        if reply.request != joint.id() || reply.state == State::Done {
            return Err("the bank's reply is to another request");
        }
        if recovery.header.is_none() {
            let parts = reply.header.clone().zip(reply.authorization_b.clone());
            let (header, authorization_b) = parts.ok_or("the bank has locked and promises nothing")?;
            let signed = header.clone().verify(&joint.bank).map_err(|_| "a header that the bank has not signed")?;
            let promise = authorization_b.clone().verify(&joint.bank);
            let promise = promise.map_err(|_| "a promise that the bank has not signed")?;
            let expected = Header::of(&joint, joint.id());
            if expected.as_ref() != Some(&*signed) || AuthorizationB::of(&joint, &signed).as_ref() != Some(&*promise) {
                return Err("the bank's promise does not fit the authorization");
            }
            recovery.header = Some(header);
            recovery.authorization_b = Some(authorization_b);
        }
        if reply.state == State::Locked {
            return Ok(());
        }
        // The bank's first recorded outcome is final.
        let decision = reply.decision.clone().ok_or("the bank has settled and shows no decision")?;
        let proven = self.proven_on(&joint, decision).ok_or("the decision that the bank shows does not hold")?;
        if (reply.state == State::Committed) != proven.decision().key().is_some() {
            return Err("the bank has settled otherwise than the decision says");
        }
        recovery.decision = Some((&proven).into());
        Ok(())
    }

    /// The shop has served the offer again: from here on it is a purchase like all others.
    fn offered_again(
        &mut self,
        operation: Operation,
        recovery: &Recovery,
        offer: Unverified<GoodsM>,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        match self.purchase_of(recovery, offer) {
            Some(purchase) => {
                self.track(id).fetches = 0;
                self.commit(vec![Change::Operation(Box::new(Operation {
                    work: Work::Purchase(Box::new(purchase)),
                    ..operation
                }))])
            }
            None => {
                self.emit(id, Event::Distrusted("the shop serves another offer than the one that was taken"));
                Ok(())
            }
        }
    }

    fn purchase_of(&self, recovery: &Recovery, offer: Unverified<GoodsM>) -> Option<Purchase> {
        let joint = recovery.authorization_q.clone().from_own_store();
        let condition = joint.condition.clone()?;
        let offer = offer.verify(&condition.merchant).ok()?;
        GoodsM::check(&offer).ok()?;
        let goods_q = match condition.q {
            Some(_) => {
                let at = recovery.q?;
                let key = self.seed.spending_key(&joint.bank, &at.brand, at.index, at.key);
                Some(Signed::sign(&key, GoodsQ::to(&offer)))
            }
            None => None,
        };
        let mut buyer = Buyer::restored(offer, joint, goods_q).ok()?;
        buyer.locked(recovery.header.clone()?, recovery.authorization_b.clone()?).ok()?;
        if let Some(decision) = &recovery.decision {
            buyer.decided(decision.clone(), self.peers.logs.get(&condition.log)?).ok()?;
        }
        if recovery.settled {
            buyer.settled().ok()?;
        }
        Some(Purchase {
            buyer,
            log: condition.log,
            lock: DEFAULT_LOCK,
            keep_remainder: false,
            outputs: recovery.outputs.clone(),
            settled: recovery.settled,
            place: None,
            refused: None,
            restored: true,
            mode: condition.entry.mode(),
            carrier: condition.carrier,
            misfit: None,
            ordered: true,
        })
    }

    /// The decision, if its log is one of this wallet's, and it is on this purchase and within its rules.
    fn proven_on(&self, joint: &Joint<Exchange>, decision: UnverifiedDecision) -> Option<ProvenDecision> {
        let header = Header::of(joint, joint.id())?;
        let proven = decision.with(&header).verify(self.peers.logs.get(&header.log)?).ok()?;
        let opens = proven.decision().key().is_none_or(|k| key_commitment(&header.n, k) == header.c);
        (proven.fits(&header) && opens).then_some(proven)
    }
}

fn with_work(operation: Operation, recovery: Recovery) -> Change {
    Change::Operation(Box::new(Operation { work: Work::Recovery(Box::new(recovery)), ..operation }))
}

/// What a decision says that was verified before it was written down.
fn outcome_of(decision: &UnverifiedDecision) -> Outcome {
    decision.clone().from_own_store().decision().outcome
}

/// What of it can be shown to a judge.
pub(super) fn evidence(recovery: &Recovery) -> Evidence {
    Evidence {
        goods_m: None,
        goods_q: None,
        authorization_q: Some(JointBytes::of(&recovery.authorization_q.clone().from_own_store())),
        header: recovery.header.as_ref().map(|header| header.bytes().to_vec()),
        authorization_b: recovery.authorization_b.as_ref().map(|promise| promise.bytes().to_vec()),
        decisions: recovery.decision.iter().map(cbor::to_vec).collect(),
    }
}
