//! Checks (MixPay, figures 3 and 7), and what a bank says of one.

use minicbor::{Decode, Encode};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, PublicKey, Statement, Timestamp, cbor};

use crate::chain::{ChainId, Front, MAX_CHAIN, Tick, TickError};

/// A check: opens a chain of ticks to one payee. Who it is from, it does not say; what it is funded by stands beside it.
///
/// Whoever is shown a check knows the payee. So it goes to the payee alone; the bank sees it when ticks are cashed, and before
/// that its [commitment](Check::commitment).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Check {
    /// The chain's name.
    #[n(1)]
    pub id: ChainId,
    /// The chain's first value, which pays nothing.
    #[n(2)]
    pub root: Tick,
    /// How many ticks may be paid.
    #[n(3)]
    pub length: u32,
    /// What each tick pays.
    #[n(4)]
    pub value: Amount,
    /// The currency.
    #[n(5)]
    pub currency: Currency,
    /// Who may cash it: the payee's key at the bank.
    #[n(6)]
    pub payee: PublicKey,
    /// Hides the payee in [`Check::payee_digest`].
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The bank that pays.
    #[n(8)]
    pub bank: PublicKey,
    /// Until then blocks are paid with it. The payee has some time more to cash.
    #[n(9)]
    pub expiry: Timestamp,
    /// A key made for this check alone: to it goes back what was not spent.
    #[n(10)]
    pub refund: PublicKey,
}

impl Check {
    /// What names the check at the bank: SHA-256("naulon/check" ‖ CBOR(check)).
    pub fn commitment(&self) -> Digest {
        Digest::of(&[b"naulon/check", &cbor::to_vec(self)])
    }

    /// What a bank learns of the payee before ticks are cashed.
    pub fn payee_digest(&self) -> Digest {
        payee_digest(&self.payee, &self.salt)
    }

    /// What all ticks together pay; none if that cannot be counted.
    pub fn maximum(&self) -> Option<Amount> {
        self.value.checked_mul(u64::from(self.length))
    }

    /// What the first `ticks` ticks pay; none if that cannot be counted.
    pub fn worth(&self, ticks: u32) -> Option<Amount> {
        self.value.checked_mul(u64::from(ticks))
    }

    /// The chain at its root.
    pub fn front(&self) -> Front {
        Front::root(self.root)
    }

    /// Checks what can be checked without asking anybody: it has ticks, not too many, and they are worth something.
    pub fn check_form(&self) -> Result<Amount, TickError> {
        if self.length == 0 || self.length > MAX_CHAIN {
            return Err(TickError::Length);
        }
        self.maximum().filter(|maximum| !maximum.is_zero()).ok_or(TickError::Length)
    }
}

/// SHA-256("naulon/payee" ‖ payee ‖ salt).
pub fn payee_digest(payee: &PublicKey, salt: &[u8; 16]) -> Digest {
    Digest::of(&[b"naulon/payee", payee.as_bytes(), salt])
}

/// A bank's word that it has set aside what a check may cost. A payee who has it needs to ask nobody.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Certificate {
    /// The bank that pays.
    #[n(1)]
    pub bank: PublicKey,
    /// The currency.
    #[n(2)]
    pub currency: Currency,
    /// The check.
    #[n(3)]
    pub commitment: Digest,
    /// What is set aside for it.
    #[n(4)]
    pub maximum: Amount,
    /// The check's expiry.
    #[n(5)]
    pub expiry: Timestamp,
    /// The check's [payee digest](Check::payee_digest).
    #[n(6)]
    pub payee: Digest,
}

impl Statement for Certificate {
    const CONTENT_TYPE: &'static str = "application/naulon.certificate+cbor";
}

impl Certificate {
    /// Whether it is about this check, all of it. More may be set aside than the ticks pay: tokens come in denominations, and
    /// the rest goes back.
    pub fn covers(&self, check: &Check) -> bool {
        self.bank == check.bank
            && self.currency == check.currency
            && self.commitment == check.commitment()
            && check.maximum().is_some_and(|maximum| maximum <= self.maximum)
            && self.expiry == check.expiry
            && self.payee == check.payee_digest()
    }
}

/// A payee's word that it will take no more than these ticks of a check: the rest goes back before the expiry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Close {
    /// The check.
    #[n(1)]
    pub commitment: Digest,
    /// The last number that it has cashed or will cash.
    #[n(2)]
    pub index: u32,
}

impl Statement for Close {
    const CONTENT_TYPE: &'static str = "application/naulon.close+cbor";
}
