//! Checks at the bank: what stands of each, and what shows that whoever cashes it is its payee.

use aws_lc_rs::hmac;
use minicbor::{Decode, Encode};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, PublicKey, Statement, Timestamp, Unverified};
use naulon_tick::{Check, Close, Front};

use crate::refusal::Refusal;

/// How old a [`Challenge`] may be when ticks are cashed with it.
pub const MAX_CHALLENGE_AGE: Duration = Duration::seconds(10 * 60);
/// The most ticks that one exchange may cash, over all its checks: it bounds what a stranger can make a bank hash.
pub const MAX_CASHED_TICKS: u32 = naulon_tick::MAX_CHAIN;

/// What stands of one check at its bank: one row, named by the check's commitment.
///
/// Paid and returned never exceed the maximum. While they are below it, the rest is the payee's to cash; after expiry and
/// grace, or by the payee's word, it is the maker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedChain {
    /// What was set aside.
    pub maximum: Amount,
    /// The check's expiry.
    pub expiry: Timestamp,
    /// The payee, as long as nothing is cashed as a digest that hides it.
    pub payee: Digest,
    /// The key that takes the remainder.
    pub refund: PublicKey,
    /// The highest tick that was cashed; none at the root.
    pub front: Option<Front>,
    /// What was paid for ticks.
    pub paid: Amount,
    /// What has gone back.
    pub returned: Amount,
}

impl LockedChain {
    /// What is neither paid nor returned.
    pub fn rest(&self) -> Amount {
        let gone = self.paid.checked_add(self.returned);
        gone.and_then(|gone| self.maximum.checked_sub(gone)).unwrap_or(Amount::ZERO)
    }

    /// How many ticks are cashed.
    pub fn index(&self) -> u32 {
        self.front.map_or(0, |front| front.index)
    }
}

/// The conditional write of one row: made only if the row is still as the decision saw it. Whoever is told that it was written
/// although another row stood there is paid twice for one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainWrite {
    /// The check's commitment.
    pub commitment: Digest,
    /// As it must stand; none if there must be no row.
    pub before: Option<LockedChain>,
    /// As it stands afterwards.
    pub after: LockedChain,
}

/// How long checks may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLimits {
    /// The shortest time from the lock to the expiry.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// How long after the expiry the payee has to cash before the maker may take the rest.
    pub grace: Duration,
}

impl Default for ChainLimits {
    fn default() -> Self {
        ChainLimits { min: Duration::seconds(60), max: Duration::days(60), grace: Duration::days(3) }
    }
}

/// A bank's question to a payee (MixPay §5.3): whoever signs it holds the payee's key now. It names a moment, and the bank
/// recognises it without having kept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Challenge {
    /// When the bank made it.
    #[n(1)]
    pub at: Timestamp,
    /// HMAC-SHA256(bank's secret, "naulon/challenge" ‖ u64be(at)), the first 16 bytes.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub tag: [u8; 16],
}

impl Challenge {
    /// The challenge of this moment, by a secret of the bank that nobody else has.
    pub fn new(secret: &[u8; 32], at: Timestamp) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &Challenge::message(at));
        let mut first = [0; 16];
        first.copy_from_slice(&tag.as_ref()[..16]);
        Challenge { at, tag: first }
    }

    /// Whether the holder of this secret has made it. In constant time.
    pub fn is_by(&self, secret: &[u8; 32]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&Challenge::new(secret, self.at).tag, &self.tag).is_ok()
    }

    pub(crate) fn check_age(&self, now: Timestamp) -> Result<(), Refusal> {
        // Only the bank makes one. If it lies ahead, another of its processes did, whose clock is.
        let is_fresh = now.since(self.at) <= MAX_CHALLENGE_AGE;
        is_fresh.then_some(()).ok_or(Refusal::ChallengeStale)
    }

    fn message(at: Timestamp) -> Vec<u8> {
        [b"naulon/challenge", &at.0.to_be_bytes()[..]].concat()
    }
}

/// Asks what stands of a check, signed by its refund key: how much of it will come back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CheckQuery {
    /// The bank that is asked.
    #[n(1)]
    pub bank: PublicKey,
    /// The check.
    #[n(2)]
    pub commitment: Digest,
    /// Its refund key.
    #[n(3)]
    pub refund: PublicKey,
    /// When the question was signed, in whole minutes; the bank answers only a fresh one.
    #[n(4)]
    pub at: Timestamp,
}

impl Statement for CheckQuery {
    const CONTENT_TYPE: &'static str = "application/naulon.check-query+cbor";
}

/// What a bank tells the maker of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Set aside.
    pub maximum: Amount,
    /// Paid for ticks.
    pub paid: Amount,
    /// Given back.
    pub returned: Amount,
}

/// The payee's word by which a remainder is free before its time, with the check that says who the payee is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EarlyClose {
    /// The check.
    #[n(1)]
    pub check: Check,
    /// What its payee has signed.
    #[n(2)]
    pub close: Unverified<Close>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_recognised_by_its_bank_alone() {
        let challenge = Challenge::new(&[1; 32], Timestamp(5));
        assert!(challenge.is_by(&[1; 32]));
        assert!(!challenge.is_by(&[2; 32]));
        assert!(!Challenge { at: Timestamp(6), ..challenge }.is_by(&[1; 32]));
        let age = |at: u64, now: u64| Challenge { at: Timestamp(at), ..challenge }.check_age(Timestamp(now)).is_ok();
        let limit = MAX_CHALLENGE_AGE.0;
        assert_eq!([age(5, 5), age(5, 5 + limit), age(5, 6 + limit), age(6, 5)], [true, true, false, true]);
    }
}
