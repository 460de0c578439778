//! Purchases: what is done next about each, and what is asked for it.

use std::collections::BTreeSet;

use naulon_exchange::{Carrier, Condition, Entry, EntryMode, Exchange, Header, LogKeeper, Output};
use naulon_money::Amount;
use naulon_purchase::{Buyer, Ending, GoodsM, GoodsQ, Order, Step, UnverifiedPayment};
use naulon_statement::{Duration, PublicKey, Signed, Timestamp, Unverified, UnverifiedJoint};
use naulon_wire::{AnyCall, Ask, BankCall, LogCall, MAX_GOODS_PIECE, Range, ShopCall};

use super::{Entropy, Plan, Wallet, anonymous};
use crate::change::Change;
use crate::error::WalletError;
use crate::event::Event;
use crate::operation::{End, Operation, OperationId, Purchase, Work};
use crate::store::WalletStore;
use crate::token::{Held, TokenState};

/// How long a purchase's tokens are locked at most, if the person says nothing else.
pub const DEFAULT_LOCK: Duration = Duration::seconds(600);
/// How often goods that turn out to be other ones are fetched again.
pub const MAX_FETCHES: u32 = 5;
/// How much the clocks of wallet, bank and shop may differ, and how long an authorization may be on its way.
const SLACK: Duration = Duration::seconds(30);
/// After how long a local step that failed is tried again.
pub(super) const LOCAL_RETRY: Duration = Duration::seconds(5);

/// How to buy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuyOptions {
    /// Whether to sign for the goods (AAT §8.6), even if the merchant does not want it.
    pub two_sided: bool,
    /// The log that is to decide; if none is named, the first one that shop, bank and wallet have in common.
    pub log: Option<PublicKey>,
    /// How long after the authorization it expires. Bank and shop may make it longer or shorter.
    pub expiry: Duration,
    /// The most to pay.
    pub max_price: Option<Amount>,
    /// Whether the rest of a token may remain on it, to be paid with later (AAT §8.3), instead of coming back as change. The
    /// bank can link all payments that are made with one token.
    pub keep_remainder: bool,
    /// How the purchase is to stand in the log (AAT §8.5); if nothing is said, as the shop likes best.
    pub entries: Option<EntryMode>,
    /// Who takes the bank's promise to the shop (AAT §3.3, P3).
    pub carrier: Carrier,
}

impl Default for BuyOptions {
    fn default() -> Self {
        BuyOptions {
            two_sided: false,
            log: None,
            expiry: DEFAULT_LOCK,
            max_price: None,
            entries: None,
            carrier: Carrier::Wallet,
            keep_remainder: false,
        }
    }
}

impl<S: WalletStore> Wallet<S> {
    /// Begins to buy what a shop offers, and sets tokens aside for it. Nothing is paid before the whole encrypted goods
    /// are here. Buying the same offer again, while it is under way, gives the same operation.
    pub fn buy(
        &mut self,
        offer: Unverified<GoodsM>,
        options: BuyOptions,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        self.check_whole()?;
        let merchant = offer.claimed_body().merchant;
        if !self.peers.shops.contains(&merchant) {
            return Err(WalletError::UnknownShop(merchant));
        }
        let offer = offer.verify(&merchant)?;
        GoodsM::check(&offer)?;
        let same = |operation: &&Operation| operation.purchase().is_some_and(|p| *p.buyer.offer() == offer);
        if let Some(under_way) = self.operations.values().find(same) {
            return Ok(under_way.id);
        }
        if now >= offer.valid_until {
            return Err(WalletError::OfferExpired);
        }
        if let Some(most) = options.max_price.filter(|most| offer.price > *most) {
            return Err(WalletError::TooDear { price: offer.price, most });
        }
        let mode = options.entries.or_else(|| offer.entries.first().copied()).unwrap_or_default();
        if offer.entry(mode).is_none() {
            return Err(WalletError::NoSuchEntry(mode));
        }
        let (bank, log, tokens) = self.choose_bank(&offer, &options, now)?;
        let work = Work::Purchase(Box::new(Purchase {
            buyer: Buyer::new(offer, options.two_sided),
            log,
            lock: options.expiry,
            keep_remainder: options.keep_remainder,
            outputs: Vec::new(),
            settled: false,
            place: None,
            refused: None,
            restored: false,
            mode,
            carrier: options.carrier,
            misfit: None,
            ordered: false,
        }));
        let (id, mut changes) = self.begin(bank, now, entropy, work);
        let reserve = |held: Held| Change::Token(Held { state: TokenState::Reserved(id), ..held });
        changes.extend(tokens.into_iter().map(reserve));
        self.commit(changes)?;
        Ok(id)
    }

    /// The first bank of the offer with which everything else works out, or why it does not.
    pub(super) fn choose_bank(
        &self,
        offer: &GoodsM,
        options: &BuyOptions,
        now: Timestamp,
    ) -> Result<(PublicKey, PublicKey, Vec<Held>), WalletError> {
        let mut why = WalletError::NoCommonBank(offer.currency.clone());
        for bank in offer.banks.iter().filter(|bank| self.peers.banks.contains_key(bank)) {
            match self.try_bank(bank, offer, options, now) {
                Ok((log, tokens)) => return Ok((*bank, log, tokens)),
                // What is missing is the most telling of all.
                Err(WalletError::NoCommonBank(_)) => {}
                Err(_) if matches!(why, WalletError::Insufficient { .. }) => {}
                // Of a bank that nobody has asked yet nothing follows.
                Err(WalletError::NoTerms) if !matches!(why, WalletError::NoCommonBank(_)) => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// By which bank and log an offer would be bought now, and whom that log is not apart from (AAT §7): if it is the bank's,
    /// the merchant trusts the two together; if it is the merchant's, the buyer does.
    pub fn judges_of(
        &self,
        offer: &GoodsM,
        options: &BuyOptions,
        now: Timestamp,
    ) -> Result<(PublicKey, PublicKey, Option<LogKeeper>), WalletError> {
        let (bank, log, _) = self.choose_bank(offer, options, now)?;
        Ok((bank, log, self.terms_of(&bank)?.keeper(&log, &offer.merchant)))
    }

    fn try_bank(
        &self,
        bank: &PublicKey,
        offer: &GoodsM,
        options: &BuyOptions,
        now: Timestamp,
    ) -> Result<(PublicKey, Vec<Held>), WalletError> {
        let terms = self.terms_of(bank)?;
        if terms.currency != offer.currency {
            return Err(WalletError::NoCommonBank(offer.currency.clone()));
        }
        let common = |log: &&PublicKey| terms.logs.contains(log) && self.peers.logs.contains_key(log);
        let wanted = |log: &&PublicKey| options.log.is_none_or(|wanted| wanted == **log);
        if options.carrier == Carrier::Bank && !terms.deliveries.contains(&offer.merchant) {
            return Err(WalletError::NoDelivery);
        }
        let log = *offer.logs.iter().filter(common).find(wanted).ok_or(WalletError::NoCommonLog)?;
        let expiry = self.expiry(bank, offer, options.expiry, now)?;
        let tokens = self.spendable(bank, offer, None, options.keep_remainder, expiry, now);
        let (tokens, _) = self.choose_payment(bank, offer, options.keep_remainder, tokens, now)?;
        Ok((log, tokens))
    }

    /// Chooses the tokens that pay, and says what is paid too much.
    fn choose_payment(
        &self,
        bank: &PublicKey,
        offer: &GoodsM,
        keep_remainder: bool,
        tokens: Vec<Held>,
        now: Timestamp,
    ) -> Result<(Vec<Held>, Amount), WalletError> {
        match keep_remainder {
            true => self.choose_keeping(&offer.currency, tokens, offer.price),
            false => self.choose(bank, &offer.currency, tokens, offer.price, now),
        }
    }

    /// An expiry that leaves the shop its margin and keeps to the bank's limits.
    fn expiry(
        &self,
        bank: &PublicKey,
        offer: &GoodsM,
        wanted: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, WalletError> {
        let locks = self.terms_of(bank)?.locks();
        let shortest = now.plus(locks.min).max(now.plus(offer.release_margin));
        let (earliest, latest) = (shortest.plus(SLACK), now.plus(locks.max).minus(SLACK));
        if latest < shortest {
            return Err(WalletError::NoExpiry);
        }
        Ok(now.plus(wanted).max(earliest).min(latest))
    }

    /// The tokens that can pay now (with `in_parts` also such that were used in part before) and that the bank locks for so long, so that they are worth something still after an
    /// abort: free ones, and those set aside for this purchase.
    fn spendable(
        &self,
        bank: &PublicKey,
        offer: &GoodsM,
        for_this: Option<OperationId>,
        in_parts: bool,
        expiry: Timestamp,
        now: Timestamp,
    ) -> Vec<Held> {
        let margin = self.terms.get(bank).map_or(SLACK, |terms| terms.locks().min);
        self.usable(bank, &offer.currency, |held, brand| {
            let state = match held.state {
                TokenState::Free => true,
                TokenState::Reserved(op) => for_this == Some(op),
                TokenState::Spent => false,
            };
            // A token that was used in part would link this payment to the earlier ones, so that has to be wanted.
            let unlinked = in_parts || held.left.is_none();
            state && unlinked && brand.spendable_at(now) && brand.redeem_until >= expiry.plus(margin)
        })
    }

    /// Takes the steps of an operation that need nobody else.
    pub(super) fn advance(&mut self, id: OperationId, now: Timestamp) -> Result<(), WalletError> {
        while let Some(operation) = self.operations.get(&id).cloned() {
            let Work::Purchase(purchase) = &operation.work else { return Ok(()) };
            let went_on = match purchase.buyer.next(now) {
                Step::Fetch => self.check_goods(&operation, purchase, now)?,
                Step::Authorize => self.authorize(operation, now)?,
                Step::Deliver => self.deliver(&operation, purchase, now)?,
                Step::Done(ending) => {
                    self.clear_goods(id, &purchase.offer(), ending, now)?;
                    self.end(operation, End::Purchase(ending), now, Vec::new(), Vec::new())?;
                    false
                }
                Step::Lock | Step::Pay | Step::Abort | Step::Settle => false,
            };
            if !went_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Chooses the tokens anew among the free ones and those set aside, signs, and writes it all down. A purchase that
    /// cannot be authorised any more is given up.
    fn authorize(&mut self, mut operation: Operation, now: Timestamp) -> Result<bool, WalletError> {
        let (id, bank) = (operation.id, operation.bank);
        let Work::Purchase(purchase) = &mut operation.work else { return Ok(false) };
        match self.draw_up(id, bank, purchase, now) {
            Ok((mut changes, expiry)) => {
                changes.push(Change::Operation(Box::new(operation)));
                self.commit(changes)?;
                self.emit(id, Event::Authorized { expiry });
            }
            Err(error @ (WalletError::Store(_) | WalletError::Reopen)) => return Err(error),
            Err(error) => {
                purchase.refused = Some(error.code().to_owned());
                if purchase.buyer.give_up().is_err() {
                    return Ok(false);
                }
                let why = vec![Event::Trouble(error.to_string())];
                self.discard_goods(&operation, now)?;
                self.end(operation, End::Purchase(Ending::GivenUp), now, Vec::new(), why)?;
            }
        }
        Ok(true)
    }

    /// Makes authorization_q, and goods_q if delivery is two-sided.
    fn draw_up(
        &self,
        id: OperationId,
        bank: PublicKey,
        purchase: &mut Purchase,
        now: Timestamp,
    ) -> Result<(Vec<Change>, Timestamp), WalletError> {
        let offer = purchase.buyer.offer().clone();
        let expiry = self.expiry(&bank, &offer, purchase.lock, now)?;
        let keep = purchase.keep_remainder;
        let tokens = self.spendable(&bank, &offer, Some(id), keep, expiry, now);
        let (mut chosen, change) = self.choose_payment(&bank, &offer, keep, tokens, now)?;
        let parted = chosen.last().filter(|_| keep && !change.is_zero()).map(Held::q);
        let excess = change;
        let change = if keep { Amount::ZERO } else { change };
        let Plan { outputs: change, planned, mut changes } = self.plan_change(&bank, &offer.currency, change, now)?;
        if purchase.buyer.is_two_sided() {
            // A plain entry shows the first token's key to everybody, so that must not be one that is used again.
            chosen.sort_by_key(|held| held.key.is_some());
            let is_plain = purchase.mode == EntryMode::Plain;
            if is_plain && chosen.first().is_some_and(|first| first.key.is_some()) {
                return Err(WalletError::ReusableQ);
            }
        }
        let first = chosen.first().ok_or(WalletError::NothingToDo)?;
        let q = purchase.buyer.is_two_sided().then(|| self.spending_key(&bank, first).public());
        let mut outputs = vec![Output::Account { account: offer.merchant, amount: offer.price }];
        outputs.extend(change);
        let rest = excess;
        let part =
            |held: &Held| parted.filter(|parted| *parted == held.q()).and_then(|_| self.worth(held).checked_sub(rest));
        let exchange = Exchange {
            bank,
            currency: offer.currency.clone(),
            inputs: chosen.iter().map(|held| self.input(&bank, held, part(held))).collect(),
            outputs,
            condition: Some(Condition {
                n: offer.n,
                merchant: offer.merchant,
                expiry,
                log: purchase.log,
                c: offer.c,
                q,
                entry: offer.entry(purchase.mode).ok_or(WalletError::NoSuchEntry(purchase.mode))?,
                carrier: purchase.carrier,
            }),
            seal_to: None,
        };
        let goods_q = q.map(|_| Signed::sign(&self.spending_key(&bank, first), GoodsQ::to(&offer)));
        let authorization_q = self.sign(exchange, &chosen, false);
        purchase.buyer.authorize(authorization_q, goods_q).map_err(|_| WalletError::NotNow(id))?;
        purchase.outputs = planned;
        let used: BTreeSet<PublicKey> = chosen.iter().map(Held::q).collect();
        let freed = self.reserved(id).filter(|held| !used.contains(&held.q())).cloned();
        changes.extend(freed.map(|held| Change::Token(Held { state: TokenState::Free, ..held })));
        // From here on the token of which a part is given up can only be used in parts: the bank may have opened it.
        let reserve = |held: Held| {
            let left = held.left.or(part(&held).map(|_| self.worth(&held)));
            Change::Token(Held { state: TokenState::Reserved(id), left, ..held })
        };
        changes.extend(chosen.into_iter().map(reserve));
        Ok((changes, expiry))
    }

    /// What to ask for a purchase now.
    pub(super) fn purchase_asks(
        &mut self,
        operation: &Operation,
        purchase: &Purchase,
        now: Timestamp,
    ) -> Result<Vec<Ask>, WalletError> {
        let buyer = &purchase.buyer;
        let track = self.tracks.get(&operation.id);
        let other_way = track.is_some_and(|track| track.other_way);
        let by_bank = track.is_some_and(|track| track.other_way && track.by_bank);
        let mut calls = Vec::new();
        match purchase.buyer.next(now) {
            Step::Fetch => calls.extend(self.fetch_ask(operation.id, purchase, now)?),
            Step::Lock if wants_order(purchase, now) => {
                let order =
                    Order { goods_m: Unverified::from(buyer.offer()), goods_q: buyer.goods_q().map(Unverified::from) };
                calls.push((buyer.offer().merchant, AnyCall::Shop(ShopCall::Order(Box::new(order)))));
            }
            Step::Lock => calls.extend(buyer.authorization_q().cloned().map(|authorization_q| {
                (operation.bank, AnyCall::Bank(BankCall::Exchange(UnverifiedJoint::from(authorization_q))))
            })),
            Step::Pay | Step::Abort if by_bank => calls.extend(status_call(operation, purchase)),
            // The bank carries the promise: k comes from the public log alone.
            Step::Pay if other_way || purchase.carrier == Carrier::Bank => calls.extend(decision_call(purchase)),
            Step::Pay => calls.extend(pay_call(buyer)),
            Step::Abort if other_way => calls.extend(decision_call(purchase)),
            Step::Abort => calls.extend(
                buyer.promise().map(|(header, _)| (purchase.log, AnyCall::Log(abort_call(Unverified::from(header))))),
            ),
            Step::Settle => calls.extend(settle_call(operation, purchase, other_way)),
            // It could not be done just now: the goods are gone or this machine is in trouble. The change need not wait.
            Step::Deliver => {
                calls.extend(self.fetch_ask(operation.id, purchase, now)?);
                if !purchase.settled {
                    calls.extend(settle_call(operation, purchase, other_way));
                }
            }
            Step::Authorize | Step::Done(_) => {}
        }
        let circuit = anonymous(operation);
        Ok(calls.into_iter().map(|(to, call)| Ask { to, circuit, call }).collect())
    }

    /// The next piece of the encrypted goods, if one is missing.
    fn fetch_ask(
        &mut self,
        id: OperationId,
        purchase: &Purchase,
        now: Timestamp,
    ) -> Result<Option<(PublicKey, AnyCall)>, WalletError> {
        let offer = purchase.buyer.offer();
        let offset = match self.goods.kept(&purchase.offer()) {
            Ok(offset) => offset,
            Err(error) => {
                self.local_failure(id, error, now)?;
                return Ok(None);
            }
        };
        let len = offer.sealed_size().saturating_sub(offset).min(MAX_GOODS_PIECE);
        if len == 0 {
            return Ok(None);
        }
        self.track(id).piece = Some(offset);
        let call = ShopCall::Goods { digest: offer.goods, range: Range { offset, len } };
        Ok(Some((offer.merchant, AnyCall::Shop(call))))
    }
}

/// Whether the shop is to have the order first: the bank will bring the promise, and the shop would not know for what. After
/// the expiry only the bank's word is wanted.
pub(super) fn wants_order(purchase: &Purchase, now: Timestamp) -> bool {
    let condition = purchase.buyer.authorization_q().and_then(|joint| joint.condition.as_ref());
    let expired = condition.is_some_and(|condition| now >= condition.expiry);
    purchase.carrier == Carrier::Bank && !purchase.ordered && !expired
}

fn pay_call(buyer: &Buyer) -> Option<(PublicKey, AnyCall)> {
    Some((buyer.offer().merchant, AnyCall::Shop(ShopCall::Pay(Box::new(payment_of(buyer)?)))))
}

/// What pays, once the bank has promised.
pub(super) fn payment_of(buyer: &Buyer) -> Option<UnverifiedPayment> {
    let (header, authorization_b) = buyer.promise()?;
    Some(UnverifiedPayment {
        goods_m: Unverified::from(buyer.offer()),
        header: Unverified::from(header),
        authorization_b: Unverified::from(authorization_b),
        goods_q: buyer.goods_q().map(Unverified::from),
    })
}

/// Asks for an abort in the way that the entry is decided.
pub(super) fn abort_call(header: Unverified<Header>) -> LogCall {
    let Header { entry, expiry, .. } = *header.claimed_body();
    match entry {
        Entry::Blind { index } => LogCall::BlindAbort { index, expiry },
        Entry::Plain | Entry::Encrypted => LogCall::Abort { header },
    }
}

fn decision_call(purchase: &Purchase) -> Option<(PublicKey, AnyCall)> {
    let (header, _) = purchase.buyer.promise()?;
    Some((purchase.log, AnyCall::Log(LogCall::Decision(header.subject()))))
}

/// Hands the decision to the bank; or, when the bank says that it holds another one and does not show it, asks for what it
/// did.
fn settle_call(operation: &Operation, purchase: &Purchase, by_id: bool) -> Option<(PublicKey, AnyCall)> {
    if let Some(status) = status_call(operation, purchase).filter(|_| by_id) {
        return Some(status);
    }
    Some((operation.bank, AnyCall::Bank(BankCall::Settle(purchase.buyer.decision()?.into()))))
}

/// Asks the bank what has become of the purchase.
fn status_call(operation: &Operation, purchase: &Purchase) -> Option<(PublicKey, AnyCall)> {
    let authorization_q = purchase.buyer.authorization_q()?;
    Some((operation.bank, AnyCall::Bank(BankCall::Status(authorization_q.id()))))
}
