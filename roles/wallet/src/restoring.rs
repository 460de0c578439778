//! A restoration under way: what has been asked, and what was found.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use naulon_blind::Token;
use naulon_exchange::{RequestId, UnverifiedRecord};
use naulon_statement::{Digest, Duration, Timestamp, cbor};

use crate::change::ONLY;
use crate::error::WalletError;
use crate::store::Row;

/// How many indices in a row must be unknown to the bank before a brand counts as searched. A wallet never leaves so many
/// behind ([`WalletError::IndexGap`]).
pub const GAP_LIMIT: u32 = 100;
/// How many indices a restored wallet leaves out behind the last one that was found: a request of the wallet before it may
/// still be on its way. Fewer than [`GAP_LIMIT`], or a second restoration would not find what comes after them.
pub const INDICES_SKIPPED: u32 = 40;
/// The state of at least so many tokens that never were is asked for among those that are, an equal share of them of each
/// brand; and of each brand of as many as it has tokens.
pub const DECOYS_AT_LEAST: usize = 8;

/// The share of a window within which all questions are to be asked, in eighths; the rest is for those that come late.
const IN_TIME: u64 = 7;

/// When a restoration begins whose two rounds of questions (about outputs, about tokens) take this long each.
///
/// Rounds are in windows of the clock that are the same for all wallets: even windows since the Unix epoch for outputs, odd
/// ones for tokens. The bank knows whose most of the outputs are, and sees when they are asked about; if one wallet began
/// at an hour of its own, all that nobody can know would be hers, too. So it begins with a pair of windows.
pub fn restore_begins(now: Timestamp, over: Duration) -> Timestamp {
    let pair = over.0.saturating_mul(2).max(1);
    if over.0 == 0 { now } else { Timestamp(now.0.div_ceil(pair).saturating_mul(pair)) }
}

/// How long to wait before the next of `open` questions of a round, at random: so that they fill what is left of the
/// round's window, or the next window if this is not the round's.
pub(crate) fn question_wait(now: Timestamp, over: Duration, about_tokens: bool, open: usize, drawn: u64) -> Duration {
    let over = over.0;
    if over == 0 || open == 0 {
        return Duration(0);
    }
    let window = now.0 / over;
    let is_its = window % 2 == u64::from(about_tokens);
    let from = if is_its { now.0 } else { (window + 1).saturating_mul(over) };
    let begin = from - from % over;
    let left = (begin + over / 8 * IN_TIME).saturating_sub(from);
    // On average an equal share of what is left, and never beyond it; who is late goes on within the rest.
    let share = match left {
        0 => (begin + over).saturating_sub(from) / (open as u64 + 1),
        left => (left.saturating_mul(2) / open as u64).min(left),
    };
    Duration((from - now.0).saturating_add(drawn % share.max(1)))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::seconds(3_600);

    /// Asks so many questions in each round, and says when each is asked.
    fn asked(now: Timestamp, outputs: usize, tokens: usize) -> Vec<Timestamp> {
        let mut now = restore_begins(now, HOUR);
        let mut times = Vec::new();
        for (about_tokens, count) in [(false, outputs), (true, tokens)] {
            for open in (1..=count).rev() {
                let drawn = (open as u64 + 11).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                now = Timestamp(now.0 + question_wait(now, HOUR, about_tokens, open, drawn).0);
                times.push(now);
            }
        }
        times
    }

    /// Whenever people begin within the same two hours, they ask in the same window, and fill it.
    #[test]
    fn rounds_are_in_windows_that_all_wallets_have_in_common() {
        for begun in [1, 3_600_000, 5_000_000, 7_200_000] {
            let times = asked(Timestamp(begun), 400, 25);
            let window = |time: &Timestamp| time.0 / HOUR.0;
            let (outputs, tokens) = times.split_at(400);
            assert!(outputs.iter().all(|time| window(time) == 2), "{begun}");
            assert!(tokens.iter().all(|time| window(time) == 3), "{begun}");
            for round in [outputs, tokens] {
                let within: Vec<u64> = round.iter().map(|time| time.0 % HOUR.0).collect();
                assert!(within[round.len() / 2] > HOUR.0 / 5, "{within:?}");
                assert!(within[round.len() - 1] > HOUR.0 / 2, "{within:?}");
            }
        }
        assert_eq!(asked(Timestamp(7_200_001), 1, 1)[0].0 / HOUR.0, 4);
    }

    #[test]
    fn who_is_late_goes_on_and_who_is_in_a_hurry_does_not_wait() {
        let late = Timestamp(3 * HOUR.0 - 1_000);
        assert!(question_wait(late, HOUR, false, 3, u64::MAX).0 < 1_000);
        let other = question_wait(late, HOUR, true, 3, 0);
        assert_eq!(other, Duration(1_000), "the tokens' window comes next");
        assert_eq!(question_wait(late, Duration(0), true, 3, 7), Duration(0));
        assert_eq!(restore_begins(late, Duration(0)), late);
    }
}
