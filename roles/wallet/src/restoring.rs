//! A restoration under way: what has been asked, and what was found.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use naulon_blind::Token;
use naulon_exchange::{RequestId, UnverifiedRecord};
use naulon_statement::{Digest, cbor};

use crate::change::ONLY;
use crate::error::WalletError;
use crate::store::Row;

/// How many indices in a row must be unknown to the bank before a brand counts as searched. A wallet never leaves so many
/// behind ([`WalletError::IndexGap`]).
pub const GAP_LIMIT: u32 = 100;
/// How many indices a restored wallet leaves out behind the last one that was found: a request of the wallet before it may
/// still be on its way. Fewer than [`GAP_LIMIT`], or a second restoration would not find what comes after them.
pub const INDICES_SKIPPED: u32 = 40;
/// The state of at least so many tokens that never were is asked for among those that are; and of as many as there are.
pub const DECOYS_AT_LEAST: usize = 8;

/// What was found out about an index. A key's index says which shared key the token has, if it shares one (AAT §8.1).
#[derive(Clone, Encode, Decode)]
pub(crate) enum Probe {
    /// The bank does not know it, neither with a key of its own nor with the first so many shared ones. `true`: the state of
    /// its own key was asked for all the same, as a decoy.
    #[n(0)]
    Unknown(#[n(0)] bool, #[n(1)] u32),
    /// The bank knows it, and nothing came of it.
    #[n(1)]
    Void(#[n(0)] Option<u32>),
    /// It is an output of a purchase that is not settled.
    #[n(2)]
    Pending(#[n(0)] Option<u32>),
    /// It is a token. What became of that is not known yet.
    #[n(3)]
    Issued(#[n(0)] Token, #[n(1)] Option<u32>),
    /// It is a token, and free.
    #[n(4)]
    Free(#[n(0)] Token, #[n(1)] Option<u32>),
    /// It is a token, and an exchange has used it up.
    #[n(5)]
    Spent(#[n(0)] Option<u32>),
    /// It is a token, and this purchase holds it.
    #[n(6)]
    Held(#[n(0)] Token, #[n(1)] Option<u32>, #[n(2)] RequestId),
    /// It is a token that is spent in parts; how much is left is not known yet.
    #[n(7)]
    InParts(#[n(0)] Token, #[n(1)] Option<u32>),
}

impl Probe {
    /// The token, and the index of the key that it shares.
    pub fn token(&self) -> Option<(&Token, Option<u32>)> {
        match self {
            Probe::Issued(token, key)
            | Probe::Free(token, key)
            | Probe::Held(token, key, _)
            | Probe::InParts(token, key) => Some((token, *key)),
            Probe::Unknown(..) | Probe::Void(_) | Probe::Pending(_) | Probe::Spent(_) => None,
        }
    }

    /// The index of the shared key, if it has one.
    pub fn key(&self) -> Option<u32> {
        match self {
            Probe::Unknown(..) => None,
            Probe::Void(key) | Probe::Pending(key) | Probe::Spent(key) => *key,
            Probe::Issued(_, key) | Probe::Free(_, key) | Probe::Held(_, key, _) | Probe::InParts(_, key) => *key,
        }
    }
}

/// How a restoration goes about it.
#[derive(Clone, Copy, Encode, Decode)]
#[cbor(map)]
pub(crate) struct RestoreRow {
    #[n(1)]
    pub gap: u32,
}

/// What has been found so far.
pub(crate) struct Restoring {
    pub row: RestoreRow,
    pub probes: BTreeMap<(Digest, u32), Probe>,
    /// How far each brand is known to the bank: the highest index that it knows, plus one.
    pub reached: BTreeMap<Digest, u32>,
    pub found: BTreeMap<RequestId, UnverifiedRecord>,
}

impl Restoring {
    pub fn new(row: RestoreRow) -> Self {
        Restoring { row, probes: BTreeMap::new(), reached: BTreeMap::new(), found: BTreeMap::new() }
    }

    /// Reads its rows; none if there are none.
    pub fn read(rows: Vec<Row>) -> Result<Option<Self>, WalletError> {
        let damaged = || WalletError::Damaged("restoration");
        let Some((_, row)) = rows.iter().find(|(key, _)| key == ONLY) else { return Ok(None) };
        let mut restoring = Restoring::new(cbor::from_slice(row).map_err(|_| damaged())?);
        for (key, value) in rows.iter().filter(|(key, _)| key != ONLY) {
            match (key.split_first_chunk::<32>(), key.len()) {
                (Some((a, _)), 32) => {
                    restoring.found.insert(Digest(*a), cbor::from_slice(value).map_err(|_| damaged())?);
                }
                (Some((brand, index)), 36) => {
                    let index = index.try_into().map(u32::from_be_bytes).map_err(|_| damaged())?;
                    restoring.note(Digest(*brand), index, Some(cbor::from_slice(value).map_err(|_| damaged())?));
                }
                _ => return Err(damaged()),
            }
        }
        Ok(Some(restoring))
    }

    pub fn note(&mut self, brand: Digest, index: u32, probe: Option<Probe>) {
        let Some(probe) = probe else {
            self.probes.remove(&(brand, index));
            return;
        };
        if !matches!(probe, Probe::Unknown(..)) {
            let reached = self.reached.entry(brand).or_default();
            *reached = (*reached).max(index.saturating_add(1));
        }
        self.probes.insert((brand, index), probe);
    }

    /// How many indices of this brand are to be asked about.
    pub fn window(&self, brand: &Digest) -> u32 {
        self.reached(brand).saturating_add(self.row.gap)
    }

    /// The highest index of this brand that the bank knows, plus one.
    pub fn reached(&self, brand: &Digest) -> u32 {
        self.reached.get(brand).copied().unwrap_or_default()
    }

    /// How many keys that tokens share are known to the bank. They are used without a gap.
    pub fn shared_keys(&self) -> u32 {
        self.probes.values().filter_map(Probe::key).max().map_or(0, |key| key.saturating_add(1))
    }

    /// The keys of its rows.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        let probes = self.probes.keys().map(|(brand, index)| probe_key(brand, *index));
        let found = self.found.keys().map(|a| a.0.to_vec());
        std::iter::once(ONLY.to_vec()).chain(probes).chain(found).collect()
    }
}

/// The key of the row about an index.
pub(crate) fn probe_key(brand: &Digest, index: u32) -> Vec<u8> {
    [&brand.0[..], &index.to_be_bytes()].concat()
}
