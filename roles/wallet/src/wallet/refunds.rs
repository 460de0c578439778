//! Refunds: what a shop gives back comes as fresh tokens, which neither shop nor bank can tell from others.
//!
//! The shop is asked how much it grants; blinded outputs of that value are committed; the shop signs an exchange of its own
//! with them; the wallet takes that to the bank, and the bank seals its reply to a key of this refund. Every step is repeated
//! until it is answered, and the bank carries out one exchange for a refund, so all of it may be.

use naulon_blind::{ReusedKey, Token};
use naulon_exchange::{Exchange, Input, State, open_signatures};
use naulon_purchase::refund::MAX_REFUNDS;
use naulon_purchase::{Ending, RefundRequest, UnverifiedRefund};
use naulon_statement::{BoxSecretKey, Digest, Joint, PublicKey, Signed, Timestamp, Unverified, UnverifiedJoint};
use naulon_wire::{AnyCall, AnyReply, Ask, BankCall, BankReply, ExchangeReply, Problem, Refund, ShopCall, ShopReply};

use super::{Entropy, Plan, Wallet, anonymous};
use crate::change::Change;
use crate::error::WalletError;
use crate::event::Event;
use crate::operation::{End, Ended, Operation, OperationId, Planned, Refunding, Work};
use crate::store::{Kind, WalletStore};

/// The shop's refusals after which no refund comes of this request. What it grants later is another operation's.
const NO_REFUND: &[&str] = &["no_refund", "not_the_buyer", "refund_outputs", "unknown_purchase"];

impl<S: WalletStore> Wallet<S> {
    /// The refund of a purchase that is under way. Whoever types the command again after a crash means that one.
    pub fn refunding(&mut self, purchase: OperationId) -> Result<Option<OperationId>, WalletError> {
        let past = self.past(purchase)?;
        let promise = past.as_ref().and_then(Operation::purchase).and_then(|purchase| purchase.buyer.promise());
        let Some(sale) = promise.map(|(header, _)| header.digest()) else { return Ok(None) };
        let of_this = |operation: &&Operation| matches!(&operation.work, Work::Refund(refund) if refund.sale == sale);
        Ok(self.operations.values().find(of_this).map(|operation| operation.id))
    }

    /// Asks the shop of a purchase that has ended for the next refund of it. While one is under way, it is that one.
    pub fn refund(
        &mut self,
        purchase: OperationId,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        self.check_whole()?;
        if let Some(under_way) = self.refunding(purchase)? {
            return Ok(under_way);
        }
        let past = self.past(purchase)?.ok_or(WalletError::UnknownOperation(purchase))?;
        let not_now = || WalletError::NotNow(purchase);
        let Some(Ended { how: End::Purchase(Ending::Bought | Ending::Cheated), .. }) = past.ended else {
            return Err(not_now());
        };
        let buyer = &past.purchase().ok_or_else(not_now)?.buyer;
        let ((header, _), authorization_q) = buyer.promise().zip(buyer.authorization_q()).ok_or_else(not_now)?;
        let sale = header.digest();
        let mut number = 0;
        for (key, row) in self.store.list(Kind::Past)? {
            if let Operation { work: Work::Refund(refund), ended: Some(ended), .. } = super::read_operation(&key, &row)?
                && refund.sale == sale
            {
                number = number.max(refund.number + u32::from(ended.how == End::Done));
            }
        }
        let refunding = Refunding {
            sale,
            shop: header.merchant,
            number,
            authorization_q: authorization_q.payload().to_vec(),
            currency: authorization_q.currency.clone(),
            signer: self.signer_of(authorization_q).ok_or_else(not_now)?,
            amount: None,
            outputs: Vec::new(),
            exchange: None,
        };
        let (id, changes) = self.begin(past.bank, now, entropy, Work::Refund(Box::new(refunding)));
        self.commit(changes)?;
        Ok(id)
    }

    /// What to ask for it now.
    pub(super) fn refund_asks(&self, operation: &Operation, refund: &Refunding) -> Vec<Ask> {
        let circuit = anonymous(operation);
        let (to, call) = match &refund.exchange {
            Some(exchange) => (operation.bank, AnyCall::Bank(BankCall::Exchange(exchange.clone()))),
            None => (refund.shop, AnyCall::Shop(ShopCall::Refund(Box::new(self.refund_request(operation, refund))))),
        };
        vec![Ask { to, circuit, call }]
    }

    pub(super) fn refund_reply(
        &mut self,
        operation: Operation,
        refund: Refunding,
        reply: AnyReply,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        match (reply, refund.amount, refund.exchange.is_some()) {
            (AnyReply::Shop(ShopReply::Refund(granted)), None, _) => self.granted(operation, refund, &granted, now),
            (AnyReply::Shop(ShopReply::Refund(granted)), Some(_), false) => self.signed(operation, refund, *granted),
            (AnyReply::Bank(BankReply::Exchange(reply)), _, true) => self.refunded(operation, &refund, &reply, now),
            // An answer that comes twice.
            (AnyReply::Shop(ShopReply::Refund(_)), ..) => Ok(()),
            _ => {
                self.emit(id, Event::Distrusted("an answer to something that was not asked"));
                Ok(())
            }
        }
    }

    pub(super) fn refund_refused(
        &mut self,
        operation: Operation,
        refund: Refunding,
        problem: &Problem,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let code = problem.code.as_str();
        if refund.exchange.is_none() {
            return match NO_REFUND.contains(&code) {
                true => self.end(operation, End::Refused(code.to_owned()), now, Vec::new(), Vec::new()),
                false => Ok(()),
            };
        }
        // This refund has been had: by the wallet before it was restored, or by an operation that was given up (which, taken
        // up again, gets it). So the next one is asked for.
        if code == "order_used" && refund.number + 1 < MAX_REFUNDS {
            let number = refund.number + 1;
            let next = Refunding { number, amount: None, outputs: Vec::new(), exchange: None, ..refund };
            return self.commit(vec![with_work(operation, next)]);
        }
        let over = |planned: &Planned| {
            self.brands.get(&planned.brand).is_some_and(|known| now >= known.brand().withdraw_until)
        };
        // Its brands are not issued any more, and never will be again: so it can be asked for in others.
        if ["brand_not_issuing", "unknown_brand"].contains(&code) && refund.outputs.iter().any(over) {
            let Some(amount) = refund.amount else { return Ok(()) };
            let plan = self.plan_change(&operation.bank, &refund.currency, amount, now)?;
            return self.planned(operation, Refunding { exchange: None, ..refund }, plan);
        }
        match problem.is_final() {
            true => self.end(operation, End::Refused(code.to_owned()), now, Vec::new(), Vec::new()),
            false => Ok(()),
        }
    }

    /// The shop has said how much it grants: outputs of exactly that value are committed before they are named.
    fn granted(
        &mut self,
        operation: Operation,
        refund: Refunding,
        granted: &Refund,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        if granted.bank != operation.bank || granted.amount.is_zero() {
            self.emit(operation.id, Event::Distrusted("a refund by another bank, or of nothing"));
            return Ok(());
        }
        match self.plan_change(&operation.bank, &refund.currency, granted.amount, now) {
            Ok(plan) => self.planned(operation, Refunding { amount: Some(granted.amount), ..refund }, plan),
            Err(error @ (WalletError::Store(_) | WalletError::Reopen)) => Err(error),
            Err(error) => {
                self.emit(operation.id, Event::Trouble(error.to_string()));
                Ok(())
            }
        }
    }

    fn planned(&mut self, operation: Operation, refund: Refunding, plan: Plan) -> Result<(), WalletError> {
        let Plan { planned, mut changes, .. } = plan;
        changes.push(with_work(operation, Refunding { outputs: planned, ..refund }));
        self.commit(changes)
    }

    /// The shop has signed an exchange: it is taken if it gives these outputs, and to nobody else's key.
    fn signed(&mut self, operation: Operation, refund: Refunding, granted: Refund) -> Result<(), WalletError> {
        let request = self.refund_request(&operation, &refund);
        let request = request.request.claimed_body();
        let fits = |exchange: &Joint<Exchange>| {
            let from_shop = match exchange.inputs.as_slice() {
                [Input::Account { account, amount, .. }] => *account == refund.shop && Some(*amount) == refund.amount,
                _ => false,
            };
            from_shop
                && exchange.bank == operation.bank
                && exchange.currency == refund.currency
                && exchange.outputs == request.outputs
                && exchange.condition.is_none()
                && exchange.seal_to == Some(request.seal_to)
                && exchange.is_signed_by(&refund.shop)
        };
        let exchange = granted.exchange.and_then(|exchange| exchange.verify().ok()).filter(fits);
        let Some(exchange) = exchange else {
            self.emit(operation.id, Event::Distrusted("the shop's exchange is not the refund that it granted"));
            return Ok(());
        };
        let exchange = Some(UnverifiedJoint::from(exchange));
        self.commit(vec![with_work(operation, Refunding { exchange, ..refund })])
    }

    /// The bank has carried it out: the tokens come in.
    fn refunded(
        &mut self,
        operation: Operation,
        refund: &Refunding,
        reply: &ExchangeReply,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        let request = refund.exchange.as_ref().map(UnverifiedJoint::id);
        if request != Some(reply.request) || reply.state != State::Done {
            self.emit(id, Event::Distrusted("the bank's reply is to another request"));
            return Ok(());
        }
        let key = self.refund_key(refund);
        let opened = reply.sealed.as_ref().and_then(|sealed| open_signatures(&key, &reply.request, sealed));
        let Some(tokens) = opened.and_then(|signatures| self.unblind(&refund.outputs, &signatures)) else {
            self.emit(id, Event::Distrusted("the bank's blind signatures do not hold"));
            return Ok(());
        };
        let events = self.received(&tokens);
        let mut changes: Vec<Change> = self.known_by(&tokens);
        changes.extend(tokens.into_iter().map(Change::Token));
        self.end(operation, End::Done, now, changes, events)
    }

    fn refund_request(&self, operation: &Operation, refund: &Refunding) -> UnverifiedRefund {
        let outputs = refund.outputs.iter().filter_map(|planned| {
            let known = self.brands.get(&planned.brand)?;
            let (message, _) = self.blind(known, *planned)?;
            Some(naulon_exchange::Output::Blinded { brand: planned.brand, message })
        });
        let request = RefundRequest {
            sale: refund.sale,
            number: refund.number,
            outputs: outputs.collect(),
            seal_to: self.refund_key(refund).public(),
        };
        let Planned { brand, index, key } = refund.signer;
        let q = self.seed.spending_key(&operation.bank, &brand, index, key);
        let request = Unverified::from(&Signed::sign(&q, request));
        UnverifiedRefund { request, authorization_q: refund.authorization_q.clone() }
    }

    fn refund_key(&self, refund: &Refunding) -> BoxSecretKey {
        self.seed.refund(&refund.sale, refund.number)
    }

    /// Where the key of the first token comes from that an exchange gives up. The token itself is gone, so it is looked for
    /// among all that were ever asked for.
    fn signer_of(&self, exchange: &Exchange) -> Option<Planned> {
        let (token, key) = exchange.inputs.iter().find_map(|input| match input {
            Input::Token { token, key, .. } => Some((token, key)),
            _ => None,
        })?;
        let brand = Digest(*token.key_id());
        let bank = self.brands.get(&brand)?.brand().bank;
        match key {
            Some(key) => self.reused_index(&bank, key).map(|key| Planned { brand, index: 0, key: Some(key) }),
            None => self.own_index(&brand, token).map(|index| Planned { brand, index, key: None }),
        }
    }

    fn own_index(&self, brand: &Digest, token: &Token) -> Option<u32> {
        let next = self.indices.get(brand).copied().unwrap_or_default();
        (0..next).rev().find(|index| self.seed.token(brand, *index).secret_key().public().0 == *token.nonce())
    }

    fn reused_index(&self, bank: &PublicKey, key: &ReusedKey) -> Option<u32> {
        let next = self.keys.get(bank).copied().unwrap_or_default();
        (0..next).rev().find(|index| self.seed.spending_key(bank, &Digest([0; 32]), 0, Some(*index)).public() == key.q)
    }
}

fn with_work(operation: Operation, refund: Refunding) -> Change {
    Change::Operation(Box::new(Operation { work: Work::Refund(Box::new(refund)), ..operation }))
}
