//! The shop itself: what buyers ask of it.

use std::collections::BTreeMap;

use naulon_durable::{Retry, StoreError};
use naulon_exchange::{
    AuthorizationB, EntryMode, Header, OpenAccount, Outcome, SaleNumber, UnverifiedDecision, key_commitment,
};
use naulon_money::{Amount, Currency};
use naulon_purchase::goods::MerchandiseKey;
use naulon_purchase::refund::{refund_exchange, within_price};
use naulon_purchase::{
    Evidence, GoodsM, MAX_OFFERED_LOGS, MerchantRules, Order, Payment, PaymentRefusal, RefundRefusal, Sale,
    UnverifiedPayment, UnverifiedRefund,
};
use naulon_statement::{Duration, Joint, Signed, Timestamp, Unverified, UnverifiedJoint};
use naulon_wire::{AnyCall, Ask, BankCall, Circuit, Item, Problem, Refund, ShopCall, ShopDescription, ShopReply};

use crate::grants::{Grants, MemoryGrants};
use crate::keys::ShopKeys;
use crate::sales::OpenSale;
use crate::shelf::Shelf;
use crate::store::{CommitError, SaleId, SaleWrite, ShopStore};
use crate::till::Till;
use crate::trouble::Trouble;

/// The most orders that are kept at once. Nothing is paid for an order, so nobody may leave them without measure.
pub const MAX_ORDERS: u64 = 100_000;
/// The most sales that may be unfinished at once. Each is backed by a bank's promise of its price.
pub const MAX_OPEN_SALES: usize = 100_000;

/// On what terms a shop sells.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The currency of all prices.
    pub currency: Currency,
    /// How long an offer is good.
    pub offer_valid_for: Duration,
    /// Whether the shop wants two-sided delivery (AAT §8.6).
    pub two_sided: bool,
    /// How purchases may stand in the log, the one that it likes best first (AAT §8.5).
    pub entries: Vec<EntryMode>,
}

/// A shop over its store and its shelf.
pub struct Shop<S, G> {
    pub(crate) keys: ShopKeys,
    pub(crate) rules: MerchantRules,
    terms: Terms,
    till: Till,
    shelf: G,
    pub(crate) store: S,
    grants: Box<dyn Grants>,
    /// Every sale that is not settled.
    pub(crate) open: BTreeMap<SaleId, OpenSale>,
    halted: bool,
}

/// Why a shop does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rules are another merchant's. Operator: mend the configuration.
    #[error("the rules are another merchant's than the key's")]
    OtherMerchant,
    /// An offer names at least one bank and one log, and not too many. Operator: mend the configuration.
    #[error("a shop has 1 to {MAX_OFFERED_LOGS} banks, and as many logs")]
    Lists,
    /// The store failed.
    #[error("the shop's store: {0}")]
    Store(#[from] StoreError),
}

/// Where a sale stands, for the shop's keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleState {
    /// k is released, or about to be; the log has not answered.
    Released,
    /// The log has committed; the bank has not answered.
    Committed,
    /// The bank has credited the price.
    Paid,
    /// The log has aborted; the bank has not answered.
    Aborting,
    /// The purchase did not happen.
    Aborted,
    /// The log did not decide, and never will.
    Lapsed,
}

/// A sale in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleSummary {
    /// Names it.
    pub id: SaleId,
    /// What was sold.
    pub title: String,
    /// For how much.
    pub price: Amount,
    /// In which currency.
    pub currency: Currency,
    /// When the log aborts, if it has not committed.
    pub expiry: Timestamp,
    /// Where it stands.
    pub state: SaleState,
}

impl<S: ShopStore, G: Shelf> Shop<S, G> {
    /// Opens the shop, and takes up all sales that are not settled.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(keys: ShopKeys, rules: MerchantRules, terms: Terms, shelf: G, store: S) -> Result<Self, OpenError> {
        if rules.merchant != keys.merchant.public() {
            return Err(OpenError::OtherMerchant);
        }
        let fits = |count: usize| (1..=MAX_OFFERED_LOGS).contains(&count);
        if !fits(rules.banks.len()) || !fits(rules.logs.len()) {
            return Err(OpenError::Lists);
        }
        let open = store.open_sales()?.into_iter().map(|(id, sale)| (id, OpenSale::new(sale))).collect();
        let till = Till::new(&keys.goods, &rules, &terms.currency);
        let grants = Box::new(MemoryGrants::default());
        Ok(Shop { keys, rules, terms, till, shelf, store, grants, open, halted: false })
    }

    /// The shop with the refunds that its keeper grants.
    #[must_use]
    pub fn with_grants(self, grants: impl Grants + 'static) -> Self {
        Shop { grants: Box::new(grants), ..self }
    }

    /// Answers one call. `entropy` fills a slice with fresh random bytes; only offers take some.
    ///
    /// A payment is answered with the decision if it is known. If not, the sale is durable, and [`asks`](Self::asks) has
    /// what is to be sent.
    pub fn handle(
        &mut self,
        call: ShopCall,
        now: Timestamp,
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Result<ShopReply, Problem> {
        match call {
            ShopCall::Describe => Ok(ShopReply::Description(self.description())),
            ShopCall::Offer { item } => Ok(self.offer(&item, now, entropy)?),
            ShopCall::Goods { digest, range } => {
                Ok(ShopReply::Goods(self.shelf.read(&digest, range).map_err(Trouble::from)?))
            }
            ShopCall::Item { item, authorization } => {
                let stocked = self.shelf.item(&item).ok_or(Trouble::UnknownItem)?;
                let payment = self.till.admit(&stocked, authorization.as_deref(), now)?;
                let reply = self.handle(ShopCall::Pay(Box::new(payment)), now, entropy)?;
                self.till.hand_over(reply, &stocked, now)
            }
            ShopCall::Pay(payment) => {
                let payment = payment.verify(&self.rules)?;
                let unanswered = || Err(Problem::new("internal", "a payment was not answered"));
                let answer = self.pay(vec![payment], now).pop().unwrap_or_else(unanswered);
                answer.map(|(_, reply)| reply)
            }
            ShopCall::Refund(refund) => Ok(self.refund(*refund)?),
            ShopCall::Taken(header) => Ok(self.taken(&header)?),
            ShopCall::Order(order) => Ok(self.take_order(&order, now)?),
            ShopCall::Promise { header, authorization_b } => {
                let payment = self.promised(header, authorization_b)?;
                self.handle(ShopCall::Pay(Box::new(payment)), now, entropy)
            }
        }
    }

    /// What is granted as a refund, and, if the buyer has named outputs, an exchange that gives it. Nothing is stored for it:
    /// each refund has one order number, so the bank carries out one exchange for it.
    fn refund(&self, refund: UnverifiedRefund) -> Result<ShopReply, Trouble> {
        self.check_running()?;
        let id = refund.request.claimed_body().sale;
        let sale = self.store.sale(&id)?.ok_or(Trouble::UnknownSale(id))?;
        let request = refund.verify(&sale)?;
        let grants = within_price(sale.payment.goods_m.price, self.grants.granted(&id)?);
        let amount = usize::try_from(request.number).ok().and_then(|number| grants.get(number).copied());
        let amount = amount.ok_or(RefundRefusal::NotGranted)?;
        let exchange = (!request.outputs.is_empty()).then(|| {
            let order = self.keys.refund_order(&id, request.number);
            let exchange = refund_exchange(&sale, &request, amount, order);
            UnverifiedJoint::from(Joint::sign(exchange, [&self.keys.merchant]))
        });
        Ok(ShopReply::Refund(Box::new(Refund { bank: sale.payment.header.bank, amount, exchange })))
    }

    /// Keeps an order until the bank brings its promise (AAT §3.3, P3).
    fn take_order(&mut self, order: &Order, now: Timestamp) -> Result<ShopReply, Trouble> {
        self.check_running()?;
        order.check(&self.rules, now)?;
        let is_new = self.store.order(&order.goods_m.claimed_body().n)?.is_none();
        if is_new && self.store.orders()? >= MAX_ORDERS {
            return Err(Trouble::TooManySales);
        }
        self.keep(|store| store.keep_order(order))?;
        Ok(ShopReply::Ordered)
    }

    /// The payment that a bank's promise makes of an order.
    pub fn promised(
        &self,
        header: Unverified<Header>,
        authorization_b: Unverified<AuthorizationB>,
    ) -> Result<UnverifiedPayment, Problem> {
        let (id, n) = (header.claimed_body().digest(), header.claimed_body().n);
        if let Some(sale) = self.store.sale(&id).map_err(Trouble::from)? {
            // Its order may be gone by now.
            let Payment { goods_m, goods_q, .. } = sale.payment;
            let order = Order { goods_m: Unverified::from(&goods_m), goods_q: goods_q.as_ref().map(Unverified::from) };
            return Ok(order.with(header, authorization_b));
        }
        let order = self.store.order(&n).map_err(Trouble::from)?;
        Ok(order.ok_or(Trouble::UnknownOrder)?.with(header, authorization_b))
    }

    /// Forgets sales that are over for so long (AAT §5), and orders whose offers are no longer good: at most so many of each.
    /// Says how many there were.
    ///
    /// # Errors
    /// The store's; it can be tried again, but for one after which the shop has to be opened again.
    pub fn prune(&mut self, keep_for: Duration, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        if self.store.prunable(now.minus(keep_for), now)? == 0 {
            return Ok(0);
        }
        self.keep(|store| store.prune(now.minus(keep_for), now, limit))
    }

    /// How many [`prune`](Self::prune) would forget.
    pub fn prunable(&self, keep_for: Duration, now: Timestamp) -> Result<u64, StoreError> {
        self.store.prunable(now.minus(keep_for), now)
    }

    fn keep<T>(&mut self, write: impl FnOnce(&mut S) -> Result<T, StoreError>) -> Result<T, StoreError> {
        write(&mut self.store).inspect_err(|error| self.halted |= error.retry() == Retry::AfterReopening)
    }

    /// The offer of a sale that was taken. Who knows the header knows n: nobody but the buyer, the bank and this shop.
    fn taken(&self, header: &Unverified<Header>) -> Result<ShopReply, Trouble> {
        self.check_running()?;
        let id = header.claimed_body().digest();
        let sale = self.store.sale(&id)?.ok_or(Trouble::UnknownSale(id))?;
        Ok(ShopReply::Offer(Box::new(Unverified::from(&sale.payment.goods_m))))
    }

    /// Takes payments that arrived together, whose signatures have been checked
    /// ([`UnverifiedPayment::verify`](naulon_purchase::UnverifiedPayment::verify)); new sales share one commit. A sale that
    /// is known gets the same answer again, whatever the time: only a new one must leave the release margin.
    ///
    /// One answer for each payment, in the same order.
    pub fn pay(&mut self, payments: Vec<Payment>, now: Timestamp) -> Vec<Result<(SaleId, ShopReply), Problem>> {
        let mut writes = Vec::new();
        let mut accepted: BTreeMap<SaleId, Sale> = BTreeMap::new();
        let mut answers = Vec::with_capacity(payments.len());
        for payment in payments {
            let id = payment.header.digest();
            let answer = match self.known(&id) {
                Err(trouble) => Err(trouble),
                Ok(Some(reply)) => Ok((id, reply)),
                Ok(None) if accepted.contains_key(&id) => Ok((id, ShopReply::Pending)),
                Ok(None) => self.check_new(&payment, accepted.len(), now).map(|()| {
                    writes.push(SaleWrite::Accept(id, Box::new(payment.clone())));
                    accepted.insert(id, Sale::new(payment));
                    (id, ShopReply::Pending)
                }),
            };
            answers.push(answer);
        }
        if let Err(error) = self.write(&writes) {
            // Whoever paid anew has no sale; the others have their answer.
            let problem = Problem::from(Trouble::from(error));
            let lost = |id: &SaleId| accepted.contains_key(id);
            return answers
                .into_iter()
                .map(|answer| match answer {
                    Ok((id, _)) if lost(&id) => Err(problem.clone()),
                    answer => answer.map_err(Problem::from),
                })
                .collect();
        }
        self.open.extend(accepted.into_iter().map(|(id, sale)| (id, OpenSale::new(sale))));
        answers.into_iter().map(|answer| answer.map_err(Problem::from)).collect()
    }

    /// What to ask of each bank when the shop opens: to open its account. It may be asked again at any time.
    pub fn openings(&self) -> Vec<Ask> {
        let account = self.rules.merchant;
        let opening = |bank: &_| Ask {
            to: *bank,
            circuit: Circuit::Identified(account),
            call: AnyCall::Bank(BankCall::OpenAccount(
                (&Signed::sign(&self.keys.merchant, OpenAccount { account, bank: *bank })).into(),
            )),
        };
        self.rules.banks.iter().map(opening).collect()
    }

    /// Everything that the shop can show a judge about a sale (AAT §4); nothing for a sale it does not have.
    pub fn evidence(&self, id: &SaleId) -> Result<Option<Evidence>, StoreError> {
        Ok(self.store.sale(id)?.map(|sale| sale.evidence()))
    }

    /// The newest sales, newest first, at most this many.
    pub fn sales(&self, limit: usize) -> Result<Vec<SaleSummary>, StoreError> {
        Ok(self.store.newest_sales(limit)?.into_iter().map(|(id, sale)| SaleSummary::of(id, &sale)).collect())
    }

    /// A sale as it stands.
    pub fn sale(&self, id: &SaleId) -> Result<Option<Sale>, StoreError> {
        self.store.sale(id)
    }

    /// What this shop has laid down.
    pub fn rules(&self) -> &MerchantRules {
        &self.rules
    }

    pub(crate) fn till(&self) -> &Till {
        &self.till
    }

    /// What it sells.
    pub fn shelf(&self) -> &G {
        &self.shelf
    }

    /// Whether the shop has stopped: a write failed and nobody knows whether it happened. Opening it again over the same
    /// store helps.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    fn description(&self) -> ShopDescription {
        let item = |stocked: std::sync::Arc<crate::Stocked>| Item {
            item: stocked.item.clone(),
            title: stocked.contract.title.clone(),
            description: stocked.contract.description.clone(),
            price: stocked.price,
            currency: self.terms.currency.clone(),
            size: stocked.contract.size,
        };
        ShopDescription {
            merchant: self.rules.merchant,
            banks: self.rules.banks.iter().copied().collect(),
            logs: self.rules.logs.keys().copied().collect(),
            entries: self.terms.entries.clone(),
            items: self.shelf.items().into_iter().map(item).collect(),
        }
    }

    /// A fresh offer. Nothing is stored for it: n is in the offer, and k comes back from n.
    fn offer(&self, item: &str, now: Timestamp, entropy: &mut dyn FnMut(&mut [u8])) -> Result<ShopReply, Trouble> {
        let stocked = self.shelf.item(item).ok_or(Trouble::UnknownItem)?;
        let mut n: SaleNumber = [0; 16];
        entropy(&mut n);
        let k = self.merchandise_key(&n);
        let offer = Signed::sign(
            &self.keys.merchant,
            GoodsM {
                contract: stocked.contract.clone(),
                price: stocked.price,
                currency: self.terms.currency.clone(),
                merchant: self.rules.merchant,
                n,
                goods: stocked.goods,
                c: key_commitment(&n, k.reveal()),
                wrapped_key: k.wrap(&n, &stocked.file_key),
                banks: self.rules.banks.iter().copied().collect(),
                logs: self.rules.logs.keys().copied().collect(),
                valid_until: now.plus(self.terms.offer_valid_for),
                release_margin: self.rules.release_margin,
                two_sided: self.terms.two_sided,
                entries: self.terms.entries.clone(),
                index: self.terms.entries.contains(&EntryMode::Blind).then(|| self.keys.index(&n).public()),
            },
        );
        GoodsM::check(&offer)?;
        Ok(ShopReply::Offer(Box::new(Unverified::from(&offer))))
    }

    pub(crate) fn merchandise_key(&self, n: &SaleNumber) -> MerchandiseKey {
        MerchandiseKey::derive(self.keys.goods.as_slice(), n)
    }

    /// What a payment for a known sale is answered with.
    fn known(&self, id: &SaleId) -> Result<Option<ShopReply>, Trouble> {
        self.check_running()?;
        if let Some(open) = self.open.get(id) {
            return Ok(Some(reply_about(&open.sale)));
        }
        match self.store.sale(id)? {
            Some(sale) if sale.settled && sale.decision.is_none() => Err(Trouble::Lapsed),
            sale => Ok(sale.as_ref().map(reply_about)),
        }
    }

    /// Whether k may be released for this payment.
    fn check_new(&self, payment: &Payment, accepted: usize, now: Timestamp) -> Result<(), Trouble> {
        // An offer that this key signed under another goods secret: the log would refuse our k.
        let k = self.merchandise_key(&payment.goods_m.n);
        if key_commitment(&payment.goods_m.n, k.reveal()) != payment.goods_m.c {
            return Err(PaymentRefusal::NotMyOffer.into());
        }
        payment.check_margin(&self.rules, now)?;
        if self.open.len() + accepted >= MAX_OPEN_SALES {
            return Err(Trouble::TooManySales);
        }
        Ok(())
    }

    /// Writes steps; after a failure of which nobody knows what it left, the shop does nothing more.
    pub(crate) fn write(&mut self, writes: &[SaleWrite]) -> Result<(), CommitError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.store.commit(writes).inspect_err(|error| {
            if Trouble::from(error.clone()).halts() {
                self.halted = true;
                tracing::error!(%error, "the shop stops; start it again");
            }
        })
    }

    pub(crate) fn check_running(&self) -> Result<(), Trouble> {
        if self.halted { Err(Trouble::Halted) } else { Ok(()) }
    }
}

/// What a buyer is told about a sale.
pub(crate) fn reply_about(sale: &Sale) -> ShopReply {
    match &sale.decision {
        Some(decision) => ShopReply::Decision(Box::new(UnverifiedDecision::from(decision))),
        None => ShopReply::Pending,
    }
}

impl SaleSummary {
    /// The line of this sale.
    pub fn of(id: SaleId, sale: &Sale) -> Self {
        let outcome = sale.decision.as_ref().map(|decision| decision.decision().outcome);
        let offer = &sale.payment.goods_m;
        SaleSummary {
            id,
            title: offer.contract.title.clone(),
            price: offer.price,
            currency: offer.currency.clone(),
            expiry: sale.payment.header.expiry,
            state: match (outcome, sale.settled) {
                (None, false) => SaleState::Released,
                (None, true) => SaleState::Lapsed,
                (Some(Outcome::Commit { .. }), false) => SaleState::Committed,
                (Some(Outcome::Commit { .. }), true) => SaleState::Paid,
                (Some(Outcome::Abort), false) => SaleState::Aborting,
                (Some(Outcome::Abort), true) => SaleState::Aborted,
            },
        }
    }
}
