//! Refunds into blinded messages: the merchant gives back as tokens what it cannot know again.
//!
//! The merchant grants a refund of a sale. The buyer names blinded messages and a key; the merchant signs an exchange of its
//! own (its account, these outputs, the reply sealed to that key), and the buyer takes it to the bank. Each refund has one
//! order number, so the bank carries out at most one exchange for it, however often and with whatever outputs the merchant has
//! signed one: everything may be repeated.
//!
//! *Who may ask*: who can sign with q, the key of the first token that paid. Header and offer would not do, for bank and log
//! can have both. The merchant does not know Q of a one-sided purchase; so the buyer shows *authorization_q*, whose digest is
//! the *a* in the bank's header.

use minicbor::{Decode, Encode};
use naulon_exchange::{Exchange, Input, Order, Outcome, Output};
use naulon_money::Amount;
use naulon_statement::{BoxPublicKey, Digest, Signed, Statement, StatementError, Unverified, cbor};

use crate::merchant::Sale;

/// The most refunds of one sale.
pub const MAX_REFUNDS: u32 = 16;

/// Asks the merchant for a refund, signed by q.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RefundRequest {
    /// The sale: the digest of the bank's header.
    #[n(1)]
    pub sale: Digest,
    /// Which of its refunds, counted from 0.
    #[n(2)]
    pub number: u32,
    /// Blinded outputs of exactly the refund's value; none to ask what that is.
    #[n(3)]
    pub outputs: Vec<Output>,
    /// To whom the bank seals the blind signatures.
    #[n(4)]
    pub seal_to: BoxPublicKey,
}

impl Statement for RefundRequest {
    const CONTENT_TYPE: &'static str = "application/naulon.refund-request+cbor";
}

/// A request as the merchant receives it.
#[derive(Clone, Debug)]
pub struct UnverifiedRefund {
    /// The request.
    pub request: Unverified<RefundRequest>,
    /// The payload of *authorization_q*, without its signatures.
    pub authorization_q: Vec<u8>,
}

/// Why a merchant gives no refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefundRefusal {
    /// The request does not hold.
    #[error("{0}")]
    Statement(#[from] StatementError),
    /// It does not come from who paid.
    #[error("the request is not signed by the key that paid for this sale")]
    NotTheBuyer,
    /// Nothing was paid, or no such refund is granted.
    #[error("there is no such refund of this sale")]
    NotGranted,
    /// Other outputs than blinded ones.
    #[error("a refund goes into blinded outputs")]
    Outputs,
}

impl RefundRefusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            RefundRefusal::Statement(error) => error.code(),
            RefundRefusal::NotTheBuyer => "not_the_buyer",
            RefundRefusal::NotGranted => "no_refund",
            RefundRefusal::Outputs => "refund_outputs",
        }
    }
}

impl UnverifiedRefund {
    /// The request, if it is the buyer's of this sale, which was paid.
    pub fn verify(self, sale: &Sale) -> Result<Signed<RefundRequest>, RefundRefusal> {
        let header = &sale.payment.header;
        if Digest::of(&[&self.authorization_q]) != header.a || self.request.claimed_body().sale != header.digest() {
            return Err(RefundRefusal::NotTheBuyer);
        }
        let authorization_q: Exchange = cbor::from_slice(&self.authorization_q).map_err(StatementError::from)?;
        let keys = authorization_q.spending_keys().unwrap_or_default();
        let q = keys.first().ok_or(RefundRefusal::NotTheBuyer)?;
        let request = self.request.verify(q).map_err(|_| RefundRefusal::NotTheBuyer)?;
        let decided = sale.decision.as_ref().map(|decision| decision.decision().outcome);
        if !sale.settled || !matches!(decided, Some(Outcome::Commit { .. })) {
            return Err(RefundRefusal::NotGranted);
        }
        let only_blinded = request.outputs.iter().all(|output| matches!(output, Output::Blinded { .. }));
        only_blinded.then_some(request).ok_or(RefundRefusal::Outputs)
    }
}

/// What of these grants of a sale counts: the first ones, as long as they sum up to at most its price.
pub fn within_price(price: Amount, grants: impl IntoIterator<Item = Amount>) -> Vec<Amount> {
    let mut left = price;
    let fits = |amount: &Amount| {
        let rest = left.checked_sub(*amount);
        left = rest.unwrap_or(left);
        rest.is_some() && !amount.is_zero()
    };
    grants.into_iter().take_while(fits).take(MAX_REFUNDS as usize).collect()
}

/// The exchange by which a merchant gives this much back. The order number belongs to the refund, and is known to nobody
/// else: the bank must not know by it which sale it is of.
pub fn refund_exchange(sale: &Sale, request: &RefundRequest, amount: Amount, order: Order) -> Exchange {
    let (header, offer) = (&sale.payment.header, &sale.payment.goods_m);
    Exchange {
        bank: header.bank,
        currency: offer.currency.clone(),
        inputs: vec![Input::Account { account: offer.merchant, amount, order }],
        outputs: request.outputs.clone(),
        condition: None,
        seal_to: Some(request.seal_to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_never_exceed_the_price() {
        let euros = |count: u64| Amount::from_micros(count * 1_000_000);
        let within = |grants: &[u64]| within_price(euros(5), grants.iter().map(|count| euros(*count))).len();
        assert_eq!(within(&[]), 0);
        assert_eq!((within(&[5]), within(&[6]), within(&[5, 1]), within(&[2, 2, 1, 1])), (1, 0, 1, 3));
        // One that does not count ends it: later ones must not take its number.
        assert_eq!((within(&[2, 4, 1]), within(&[0, 1])), (1, 0));
    }
}
