//! Whom the wallet trusts with what: pinned keys, and what banks have said of themselves.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use naulon_exchange::{LockLimits, LogIdentity};
use naulon_money::Currency;
use naulon_statement::{Duration, PublicKey};

/// The parties whose keys the person has pinned. Their addresses are the driver's matter.
#[derive(Clone, Default)]
pub struct Peers {
    /// The banks whose money the wallet takes.
    pub banks: BTreeMap<PublicKey, PinnedBank>,
    /// The logs whose decisions it believes.
    pub logs: BTreeMap<PublicKey, LogIdentity>,
    /// The shops it buys from.
    pub shops: BTreeSet<PublicKey>,
}

/// What is pinned of a bank beside its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinnedBank {
    /// Its currency, if the person has laid it down: then a bank that says otherwise is not believed.
    pub currency: Option<Currency>,
}

impl Peers {
    /// Peers with these banks (whatever their currency), logs and shops.
    pub fn new(
        banks: impl IntoIterator<Item = PublicKey>,
        logs: impl IntoIterator<Item = LogIdentity>,
        shops: impl IntoIterator<Item = PublicKey>,
    ) -> Self {
        Peers {
            banks: banks.into_iter().map(|bank| (bank, PinnedBank::default())).collect(),
            logs: logs.into_iter().map(|log| (log.key, log)).collect(),
            shops: shops.into_iter().collect(),
        }
    }
}

/// What a bank last said of itself. It binds nobody: a bank that is wrong about it refuses, and nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BankTerms {
    /// Its currency.
    #[n(1)]
    pub currency: Currency,
    /// The logs that it heeds.
    #[n(2)]
    pub logs: Vec<PublicKey>,
    #[n(3)]
    lock_min: Duration,
    #[n(4)]
    lock_max: Duration,
}

impl BankTerms {
    /// Terms of these parts.
    pub fn new(currency: Currency, logs: Vec<PublicKey>, locks: LockLimits) -> Self {
        BankTerms { currency, logs, lock_min: locks.min, lock_max: locks.max }
    }

    /// How long it locks.
    pub fn locks(&self) -> LockLimits {
        LockLimits { min: self.lock_min, max: self.lock_max }
    }
}

/// Why a bank that was accepted stands behind a brand. It is an argument of the one door for brands, so that more can be
/// asked for there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrandProof {
    /// The bank's signature over the brand, and nothing else.
    Signature,
}
