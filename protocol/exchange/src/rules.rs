//! What one bank has laid down: who it is, what it issues, which logs it heeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use naulon_blind::KnownBrand;
use naulon_money::Currency;
use naulon_statement::{Digest, Duration, PublicKey};

use crate::decision::LogIdentity;

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
