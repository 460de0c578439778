//! The merchant's side: checks the bank's promise, releases k to the log, and claims its credit.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use naulon_exchange::{AuthorizationB, Header, LogIdentity, ProvenDecision, UnverifiedDecision};
use naulon_statement::{Duration, PublicKey, Signed, StatementError, Timestamp, Unverified};

use crate::decision::{self, LogFault, Untaken};
use crate::evidence::Evidence;
use crate::offer::{GoodsM, GoodsQ};

/// What one merchant has laid down.
#[derive(Clone)]
pub struct MerchantRules {
    /// M: the merchant's key.
    pub merchant: PublicKey,
    /// The banks whose promises it accepts.
    pub banks: BTreeSet<PublicKey>,
    /// The logs that it trusts to record what they receive (AAT §7).
    pub logs: BTreeMap<PublicKey, LogIdentity>,
    /// k is released only if at least this much time is left before the expiry.
    pub release_margin: Duration,
}

/// What a buyer hands to the merchant in order to pay: P3 carried by the wallet.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub struct UnverifiedPayment {
    /// The merchant's own offer.
    #[n(1)]
    pub goods_m: Unverified<GoodsM>,
    /// The bank's header.
    #[n(2)]
    pub header: Unverified<Header>,
    /// The bank's promise.
    #[n(3)]
    pub authorization_b: Unverified<AuthorizationB>,
    /// The buyer's signature over the offer, for two-sided delivery.
    #[n(4)]
    pub goods_q: Option<Unverified<GoodsQ>>,
}

/// What a buyer leaves with the merchant when the bank is to carry P3: the paper's merchant knows its offers, ours does not.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Order {
    /// The merchant's own offer.
    #[n(1)]
    pub goods_m: Unverified<GoodsM>,
    /// The buyer's signature over the offer, for two-sided delivery.
    #[n(2)]
    pub goods_q: Option<Unverified<GoodsQ>>,
}

impl Order {
    /// Checks that the offer is this merchant's and still good. The rest is checked when the bank's promise is there.
    pub fn check(&self, rules: &MerchantRules, now: Timestamp) -> Result<(), PaymentRefusal> {
        if self.goods_m.claimed_body().merchant != rules.merchant {
            return Err(PaymentRefusal::NotMyOffer);
        }
        let goods_m = self.goods_m.clone().verify(&rules.merchant)?;
        (now < goods_m.valid_until).then_some(()).ok_or(PaymentRefusal::TooLate)
    }

    /// The payment that this order and the bank's promise make.
    pub fn with(self, header: Unverified<Header>, authorization_b: Unverified<AuthorizationB>) -> UnverifiedPayment {
        UnverifiedPayment { goods_m: self.goods_m, header, authorization_b, goods_q: self.goods_q }
    }
}

/// A payment that the merchant can rely on.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Payment {
    /// The merchant's own offer.
    #[n(1)]
    pub goods_m: Signed<GoodsM>,
    /// The bank's header.
    #[n(2)]
    pub header: Signed<Header>,
    /// The bank's promise.
    #[n(3)]
    pub authorization_b: Signed<AuthorizationB>,
    /// The buyer's signature over the offer, for two-sided delivery.
    #[n(4)]
    pub goods_q: Option<Signed<GoodsQ>>,
}

/// Why a merchant does not take a payment. It has released nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRefusal {
    /// The bytes are no statement of the expected kind, or a signature does not hold.
    #[error("{0}")]
    Statement(#[from] StatementError),
    /// The offer is another merchant's.
    #[error("the offer is another merchant's")]
    NotMyOffer,
    /// The bank is none whose promises are accepted.
    #[error("promises of that bank are not accepted")]
    UnknownBank,
    /// The log is none that the merchant trusts.
    #[error("that log is not accepted")]
    UnknownLog,
    /// The promise is for another offer, or its parts do not belong together.
    #[error("the bank's promise is for another offer")]
    OtherOffer,
    /// The promise is of another value than the price.
    #[error("the bank's promise is not of the offer's price")]
    WrongValue,
    /// The purchase is to stand in the log as the offer does not allow.
    #[error("the offer does not allow that kind of log entry")]
    WrongEntry,
    /// Two-sided delivery is wanted and goods_q is missing, or is not Q's signature over this offer.
    #[error("two-sided delivery wants goods_q, signed by the key that pays, over this offer")]
    GoodsQ,
    /// Less than the release margin is left before the expiry.
    #[error("too little time is left before the expiry")]
    TooLate,
}

impl PaymentRefusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            PaymentRefusal::Statement(error) => error.code(),
            PaymentRefusal::NotMyOffer => "not_my_offer",
            PaymentRefusal::UnknownBank => "unknown_bank",
            PaymentRefusal::UnknownLog => "unknown_log",
            PaymentRefusal::OtherOffer => "other_offer",
            PaymentRefusal::WrongValue => "wrong_value",
            PaymentRefusal::WrongEntry => "wrong_entry",
            PaymentRefusal::GoodsQ => "goods_q",
            PaymentRefusal::TooLate => "too_late",
        }
    }
}

impl UnverifiedPayment {
    /// Checks everything that does not depend on the time.
    pub fn verify(self, rules: &MerchantRules) -> Result<Payment, PaymentRefusal> {
        if self.goods_m.claimed_body().merchant != rules.merchant {
            return Err(PaymentRefusal::NotMyOffer);
        }
        let goods_m = self.goods_m.verify(&rules.merchant)?;
        let bank = self.header.claimed_body().bank;
        if !rules.banks.contains(&bank) {
            return Err(PaymentRefusal::UnknownBank);
        }
        let header = self.header.verify(&bank)?;
        if !rules.logs.contains_key(&header.log) {
            return Err(PaymentRefusal::UnknownLog);
        }
        let authorization_b = self.authorization_b.verify(&bank)?;
        let same_offer = header.merchant == rules.merchant && header.n == goods_m.n && header.c == goods_m.c;
        if goods_m.entry(header.entry.mode()) != Some(header.entry) {
            return Err(PaymentRefusal::WrongEntry);
        }
        if !same_offer || authorization_b.header != header.digest() {
            return Err(PaymentRefusal::OtherOffer);
        }
        if authorization_b.value != goods_m.price || authorization_b.currency != goods_m.currency {
            return Err(PaymentRefusal::WrongValue);
        }
        let goods_q = verify_goods_q(self.goods_q, &goods_m, &header)?;
        Ok(Payment { goods_m, header, authorization_b, goods_q })
    }

    /// The payment, for bytes that this party verified before it stored them.
    pub fn from_own_store(self) -> Payment {
        Payment {
            goods_m: self.goods_m.from_own_store(),
            header: self.header.from_own_store(),
            authorization_b: self.authorization_b.from_own_store(),
            goods_q: self.goods_q.map(Unverified::from_own_store),
        }
    }
}

/// The Q in authorization_b must be the key of goods_q (AAT §8.6).
fn verify_goods_q(
    goods_q: Option<Unverified<GoodsQ>>,
    goods_m: &Signed<GoodsM>,
    header: &Header,
) -> Result<Option<Signed<GoodsQ>>, PaymentRefusal> {
    match (header.q, goods_q) {
        (Some(q), Some(goods_q)) => {
            let goods_q = goods_q.verify(&q).map_err(|_| PaymentRefusal::GoodsQ)?;
            let fits = *goods_q == GoodsQ::to(goods_m);
            fits.then_some(Some(goods_q)).ok_or(PaymentRefusal::GoodsQ)
        }
        (None, None) if !goods_m.two_sided => Ok(None),
        _ => Err(PaymentRefusal::GoodsQ),
    }
}

impl Payment {
    /// Whether enough time is left to release k (AAT §3.3: the merchant vetoes an expiry that is too near).
    pub fn check_margin(&self, rules: &MerchantRules, now: Timestamp) -> Result<(), PaymentRefusal> {
        let in_time = now.plus(rules.release_margin) <= self.header.expiry && now < self.goods_m.valid_until;
        in_time.then_some(()).ok_or(PaymentRefusal::TooLate)
    }
}

/// What a merchant keeps of a sale from the moment before it releases k. It is read again as [`StoredSale`].
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Sale {
    /// What the buyer handed over.
    #[n(1)]
    pub payment: Payment,
    /// The log's decision, once known.
    #[n(2)]
    pub decision: Option<ProvenDecision>,
    /// A decision by which the log has broken its rules.
    #[n(3)]
    pub against_log: Option<ProvenDecision>,
    /// Whether nothing is left to do: the bank has settled, or the log refuses for ever to decide (`too_old`).
    #[n(4)]
    pub settled: bool,
}

/// What a merchant does next about a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleStep {
    /// Send authorization_m to the log, again if need be: k may be out already.
    Release,
    /// Hand the decision to the bank.
    Settle,
    /// Nothing.
    Done,
}

impl Sale {
    /// A sale whose payment has been checked, and nothing released.
    pub fn new(payment: Payment) -> Self {
        Sale { payment, decision: None, against_log: None, settled: false }
    }

    /// What to do next.
    pub fn next(&self) -> SaleStep {
        match (&self.decision, self.settled) {
            (_, true) => SaleStep::Done,
            (None, false) => SaleStep::Release,
            (Some(_), false) => SaleStep::Settle,
        }
    }

    /// Takes the log's decision; the first one counts. Write the sale down also after an error: a decision by which the log
    /// has broken its rules is kept, and is evidence.
    pub fn decided(&mut self, rules: &MerchantRules, decision: UnverifiedDecision) -> Result<(), SaleError> {
        let log = rules.logs.get(&self.payment.header.log).ok_or(SaleError::NotForThisSale)?;
        let header = &self.payment.header;
        Ok(decision::take(decision, log, header, &mut self.decision, &mut self.against_log)?)
    }

    /// Takes the decision that the bank has recorded, after it refused the merchant's as a contradiction. The bank's first
    /// outcome is final, so nothing is left to do; the merchant's decision is kept as evidence against the log.
    pub fn overruled(&mut self, rules: &MerchantRules, recorded: UnverifiedDecision) -> Result<(), SaleError> {
        let log = rules.logs.get(&self.payment.header.log).ok_or(SaleError::NotForThisSale)?;
        let header = &self.payment.header;
        decision::take_recorded(recorded, log, header, &mut self.decision, &mut self.against_log)?;
        self.settled = true;
        Ok(())
    }

    /// Everything the merchant can show a judge (AAT §4).
    pub fn evidence(&self) -> Evidence {
        let Payment { goods_m, header, authorization_b, goods_q } = &self.payment;
        Evidence {
            goods_m: Some(goods_m.bytes().to_vec()),
            goods_q: goods_q.as_ref().map(|statement| statement.bytes().to_vec()),
            authorization_q: None,
            header: Some(header.bytes().to_vec()),
            authorization_b: Some(authorization_b.bytes().to_vec()),
            decisions: self.decision.iter().chain(&self.against_log).map(ProvenDecision::to_bytes).collect(),
        }
    }
}

/// Why a merchant does not take a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaleError {
    /// The decision is on another purchase, or does not hold, or was not made within its time.
    #[error("the log's decision does not hold, or is not one on this sale")]
    NotForThisSale,
    /// The log committed to a key that is not the merchant's.
    #[error("the log's key does not open the merchant's commitment")]
    KeyMismatch,
    /// The log decided otherwise before.
    #[error("the log decided otherwise before")]
    Contradiction,
}

impl From<Untaken> for SaleError {
    fn from(untaken: Untaken) -> Self {
        match untaken {
            Untaken::Nothing | Untaken::Broken(LogFault::Misfit) => SaleError::NotForThisSale,
            Untaken::Broken(LogFault::WrongKey) => SaleError::KeyMismatch,
            Untaken::Broken(LogFault::Contradiction) => SaleError::Contradiction,
        }
    }
}

/// A sale as a store keeps it.
#[derive(Encode, Decode)]
#[cbor(map)]
pub struct StoredSale {
    #[n(1)]
    payment: UnverifiedPayment,
    #[n(2)]
    decision: Option<UnverifiedDecision>,
    #[n(3)]
    against_log: Option<UnverifiedDecision>,
    #[n(4)]
    settled: bool,
}

impl StoredSale {
    /// The sale, for bytes that this party wrote itself.
    pub fn from_own_store(self) -> Sale {
        Sale {
            payment: self.payment.from_own_store(),
            decision: self.decision.map(UnverifiedDecision::from_own_store),
            against_log: self.against_log.map(UnverifiedDecision::from_own_store),
            settled: self.settled,
        }
    }
}
