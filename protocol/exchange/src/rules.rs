//! What one bank has laid down: who it is, what it issues, which logs it heeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use naulon_blind::KnownBrand;
use naulon_money::Currency;
use naulon_statement::{Digest, Duration, PublicKey, Statement, Timestamp};

use crate::chain::ChainLimits;
use crate::decision::LogIdentity;
use crate::promise::Header;

/// A bank's rules. They change when a new period's brands are made; a decision is made under one value of them.
#[derive(Clone)]
pub struct Rules {
    /// The bank's own key.
    pub bank: PublicKey,
    /// The key that vouches for money from outside.
    pub operator: PublicKey,
    /// The bank's currency.
    pub currency: Currency,
    /// All brands the bank has ever had, by token key id. None is taken out: an old one refuses by its dates, and a lock on
    /// it can still be settled.
    pub brands: BTreeMap<Digest, Arc<KnownBrand>>,
    /// The logs whose decisions the bank heeds, by statement key.
    pub logs: BTreeMap<PublicKey, LogIdentity>,
    /// How long a lock may last.
    pub locks: LockLimits,
    /// How long checks may last.
    pub chains: ChainLimits,
    /// The merchants to whom the bank carries its promises, because it knows where they are (AAT §3.3, P3).
    pub deliveries: BTreeSet<PublicKey>,
    /// The logs that are not apart from bank and merchants (AAT §7), by statement key.
    pub keepers: BTreeMap<PublicKey, LogKeeper>,
}

/// Who keeps a log that is not apart from the others in a purchase (AAT §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKeeper {
    /// The bank: a merchant that accepts the log trusts the two together not to give a key away without crediting it.
    Bank,
    /// A merchant: its buyers trust it to publish the key in time. It has waived what it does not claim in time ([`OwnLog`]).
    Merchant(OwnLog),
}

/// A merchant's statement to its bank that a log is its own (AAT §7). What the log has not committed to, as far as the bank has
/// heard, is free again some time after the expiry by the bank's own clock, without an abort: log and merchant are one, so
/// a commit that comes later is the merchant's own delay, and is not credited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OwnLog {
    /// The merchant, who signs.
    #[n(1)]
    pub merchant: PublicKey,
    /// The bank that it tells.
    #[n(2)]
    pub bank: PublicKey,
    /// Its log.
    #[n(3)]
    pub log: PublicKey,
    /// δ: how long after the expiry a commit is still credited.
    #[n(4)]
    pub grace: Duration,
}

impl Statement for OwnLog {
    const CONTENT_TYPE: &'static str = "application/naulon.own-log+cbor";
}

impl Rules {
    /// When the bank frees a purchase by its own clock, if the merchant's log is the merchant's own.
    pub fn frees_at(&self, header: &Header) -> Option<Timestamp> {
        match self.keepers.get(&header.log) {
            Some(LogKeeper::Merchant(own)) if own.merchant == header.merchant => Some(header.expiry.plus(own.grace)),
            _ => None,
        }
    }
}

/// How far in the future a purchase's expiry may lie when it is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockLimits {
    /// The shortest lock: less leaves the merchant no time.
    pub min: Duration,
    /// The longest lock.
    pub max: Duration,
}

impl Default for LockLimits {
    fn default() -> Self {
        LockLimits { min: Duration::seconds(60), max: Duration::days(1) }
    }
}
