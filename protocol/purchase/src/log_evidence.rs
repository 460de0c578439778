//! What an outsider who watches a public log can prove by its checkpoints and entries alone.

use naulon_exchange::{LOG_ENTRY_LEN, LogIdentity};
use naulon_tlog::{Checkpoint, CheckpointVerifier, Hash, InclusionProof, leaf_hash, prefix_root};

use crate::judge::{Breach, Judgement, Party};

/// What somebody who watched lays before a judge. Nothing here is verified yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEvidence {
    /// Checkpoints: signed notes. Entries are included in the first.
    pub checkpoints: Vec<String>,
    /// For two checkpoints of different sizes: which root the larger tree has at the smaller size
    /// ([`naulon_tlog::prefix_proof`]).
    pub prefix: Vec<Hash>,
    /// Entries and where they stand.
    pub entries: Vec<ShownEntry>,
}

/// An entry and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownEntry {
    /// The entry.
    pub entry: Vec<u8>,
    /// Its place in the tree of the first checkpoint.
    pub inclusion: InclusionProof,
}

/// Judges what was found about one log.
pub fn judge_log(evidence: &LogEvidence, log: &LogIdentity) -> Judgement {
    judge_keeper(evidence, &log.checkpoints, Party::Log(log.key))
}

/// As [`judge_log`], against whoever keeps a public tree with this checkpoint key.
pub fn judge_keeper(evidence: &LogEvidence, verifier: &CheckpointVerifier, keeper: Party) -> Judgement {
    let mut judgement = Judgement::default();
    let mut checkpoints = Vec::new();
    for note in &evidence.checkpoints {
        match verifier.open(note) {
            Ok(checkpoint) => checkpoints.push(checkpoint),
            Err(error) => judgement.dismissed.push(("checkpoint", error.to_string())),
        }
    }
    if let [one, other] = &checkpoints[..] {
        match are_two_trees(one, other, &evidence.prefix) {
            Ok(true) => judgement.breaches.push((keeper, Breach::TwoTrees)),
            Ok(false) => {}
            Err(why) => judgement.dismissed.push(("prefix", why)),
        }
    }
    if let ([checkpoint, ..], [earlier, later, ..]) = (&checkpoints[..], &evidence.entries[..]) {
        match times(earlier, later, checkpoint) {
            Ok((before, after)) if after < before => judgement.breaches.push((keeper, Breach::TimeWentBack)),
            Ok(_) => {}
            Err(why) => judgement.dismissed.push(("entry", why)),
        }
    }
    judgement
}

/// Whether neither of two signed trees continues the other.
fn are_two_trees(one: &Checkpoint, other: &Checkpoint, prefix: &[Hash]) -> Result<bool, String> {
    if one.size == other.size {
        return Ok(one.root != other.root);
    }
    let (old, new) = if one.size < other.size { (one, other) } else { (other, one) };
    let root = prefix_root(old.size, new.size, &new.root, prefix).map_err(|error| error.to_string())?;
    Ok(root != old.root)
}

/// The times of two entries, the earlier one in the tree first.
fn times(earlier: &ShownEntry, later: &ShownEntry, checkpoint: &Checkpoint) -> Result<(u64, u64), String> {
    if earlier.inclusion.index >= later.inclusion.index {
        return Err("the entries are not in the tree's order".to_owned());
    }
    Ok((time(earlier, checkpoint)?, time(later, checkpoint)?))
}

fn time(shown: &ShownEntry, checkpoint: &Checkpoint) -> Result<u64, String> {
    shown.inclusion.verify(&leaf_hash(&shown.entry), checkpoint).map_err(|error| error.to_string())?;
    let whole = shown.entry.len() == LOG_ENTRY_LEN;
    let time = shown.entry.first_chunk().filter(|_| whole).ok_or("not an entry of a purchase log")?;
    Ok(u64::from_be_bytes(*time))
}
