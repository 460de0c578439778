//! Whom the wallet trusts with what: pinned keys, and what banks have said of themselves.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use naulon_exchange::register::BankIdentity;
use naulon_exchange::{ChainLimits, LockLimits, LogIdentity, LogKeeper, OwnLog};
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
    /// The merchants to whom it carries its promises.
    #[n(5)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub deliveries: Vec<PublicKey>,
    /// The logs that it keeps itself.
    #[n(6)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    own_logs: Vec<PublicKey>,
    /// The logs that merchants keep themselves.
    #[n(7)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    merchant_logs: Vec<OwnLog>,
    /// How long it sets money aside for a check.
    #[n(8)]
    pub check_max: Duration,
    /// How long after the expiry of a check its payee has to cash.
    #[n(9)]
    pub check_grace: Duration,
}

impl BankTerms {
    /// Terms of these parts.
    pub fn new(
        (currency, logs, locks, chains): (Currency, Vec<PublicKey>, LockLimits, ChainLimits),
        deliveries: Vec<PublicKey>,
        keepers: &BTreeMap<PublicKey, LogKeeper>,
    ) -> Self {
        let own = |(log, keeper): (&PublicKey, &LogKeeper)| (*keeper == LogKeeper::Bank).then_some(*log);
        let of_merchant = |keeper: &LogKeeper| match keeper {
            LogKeeper::Merchant(own) => Some(*own),
            LogKeeper::Bank => None,
        };
        let own_logs = keepers.iter().filter_map(own).collect();
        let merchant_logs = keepers.values().filter_map(of_merchant).collect();
        let (lock_min, lock_max) = (locks.min, locks.max);
        let (check_max, check_grace) = (chains.max, chains.grace);
        BankTerms { currency, logs, lock_min, lock_max, deliveries, own_logs, merchant_logs, check_max, check_grace }
    }

    /// Whom this log is not apart from in a purchase from this merchant, by what the bank says (AAT §7).
    pub fn keeper(&self, log: &PublicKey, merchant: &PublicKey) -> Option<LogKeeper> {
        let is_own = |own: &&OwnLog| own.log == *log && own.merchant == *merchant;
        match self.merchant_logs.iter().find(is_own) {
            Some(own) => Some(LogKeeper::Merchant(*own)),
            None => self.own_logs.contains(log).then_some(LogKeeper::Bank),
        }
    }

    /// How long it locks.
    pub fn locks(&self) -> LockLimits {
        LockLimits { min: self.lock_min, max: self.lock_max }
    }
}
