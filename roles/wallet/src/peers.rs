//! Whom the wallet trusts with what: pinned keys, and what banks have said of themselves.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use naulon_exchange::register::BankIdentity;
use naulon_exchange::{LockLimits, LogIdentity};
use naulon_money::Currency;
use naulon_statement::{Duration, PublicKey};
use naulon_tlog::WitnessPolicy;

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

/// What is pinned of a bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedBank {
    /// Its keys: of its statements, and of its register's checkpoints.
    pub identity: BankIdentity,
    /// Who must have seen its register before the wallet takes a brand from it.
    pub witnesses: WitnessPolicy,
    /// Its currency, if the person has laid it down: then a bank that says otherwise is not believed.
    pub currency: Option<Currency>,
}

impl PinnedBank {
    /// A bank whatever its currency.
    pub fn new(identity: BankIdentity, witnesses: WitnessPolicy) -> Self {
        PinnedBank { identity, witnesses, currency: None }
    }
}

impl Peers {
    /// Peers with these banks, logs and shops.
    pub fn new(
        banks: impl IntoIterator<Item = PinnedBank>,
        logs: impl IntoIterator<Item = LogIdentity>,
        shops: impl IntoIterator<Item = PublicKey>,
    ) -> Self {
        Peers {
            banks: banks.into_iter().map(|bank| (bank.identity.key, bank)).collect(),
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
