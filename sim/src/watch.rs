//! What a log's tree proves against it, for an outsider and for the parties of a purchase (AAT §7, §8.4).

use std::collections::{BTreeMap, BTreeSet};

use naulon_exchange::{
    BlindDecision, Entry, Header, LogDecision, LogIdentity, LogWord, ProvenDecision, UnverifiedDecision,
};
use naulon_purchase::{Breach, Evidence, LogEvidence, ShownEntry, Trust, judge, judge_log};
use naulon_statement::{Unverified, cbor};
use naulon_tlog::{Hash, InclusionProof, Tree, inclusion_proof, leaf_hash};

use crate::party::PublicLog;

/// A log's tree, recomputed from its entries.
pub struct Watched {
    log: LogIdentity,
    public: PublicLog,
    hashes: Vec<Hash>,
    /// What each entry's body says, if everybody can read it.
    decisions: Vec<Option<LogDecision>>,
}

impl Watched {
    /// Reads a log as everybody can; or says what its files do not agree in.
    pub fn read(public: PublicLog, log: LogIdentity) -> Result<Self, String> {
        let checkpoint = log.checkpoints.open(&public.checkpoint).map_err(|error| format!("a checkpoint: {error}"))?;
        let leaves: Vec<Hash> = public.entries.iter().map(|entry| leaf_hash(entry)).collect();
        let mut tree = Tree::default();
        let hashes = tree.append(&leaves).into_iter().map(|(_, hash)| hash).collect();
        if (tree.size(), tree.root()) != (checkpoint.size, checkpoint.root) {
            return Err("the entries are not the tree of the checkpoint".to_owned());
        }
        let read = |body: &Option<Vec<u8>>| {
            let signed = Unverified::<LogDecision>::parse(body.as_ref()?).ok()?.verify(&log.key).ok()?;
            Some(signed.into_body())
        };
        let decisions = public.bodies.iter().map(read).collect();
        Ok(Watched { log, public, hashes, decisions })
    }

    /// What each entry says, by the index in it; none for entries that not everybody reads.
    pub fn published(&self) -> BTreeMap<Vec<u8>, Vec<Option<&LogDecision>>> {
        let mut published: BTreeMap<Vec<u8>, Vec<Option<&LogDecision>>> = BTreeMap::new();
        for (entry, decision) in self.public.entries.iter().zip(&self.decisions) {
            published.entry(entry[8..40].to_vec()).or_default().push(decision.as_ref());
        }
        published
    }

    /// What an outsider can prove against the log.
    pub fn breaches(&self) -> BTreeSet<Breach> {
        let mut breaches = BTreeSet::new();
        let times: Vec<u64> = self.public.entries.iter().map(|entry| time(entry)).collect();
        for place in (1..times.len()).filter(|place| times[*place] < times[*place - 1]) {
            let entries = [place - 1, place].map(|place| self.shown(place)).into_iter().flatten().collect();
            let checkpoints = vec![self.public.checkpoint.clone()];
            let evidence = LogEvidence { checkpoints, prefix: Vec::new(), entries };
            breaches.extend(judge_log(&evidence, &self.log).breaches.into_iter().map(|(_, breach)| breach));
        }
        let mut by_header: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (place, decision) in self.decisions.iter().enumerate() {
            if let Some(decision) = decision {
                by_header.entry(decision.header).or_default().push(place);
            }
        }
        let trust = Trust { logs: BTreeMap::from([(self.log.key, self.log.clone())]), ..Trust::default() };
        for places in by_header.values() {
            let decisions = places.iter().filter_map(|place| self.proven(*place, None)).collect();
            let evidence = Evidence { decisions, ..Evidence::default() };
            breaches.extend(judge(&evidence, &trust, |_, _| None).breaches.into_iter().map(|(_, breach)| breach));
        }
        breaches
    }

    /// Every decision in the tree on the purchase of this header, as its parties read them.
    pub fn decisions_on(&self, header: &Header) -> Vec<Vec<u8>> {
        (0..self.public.entries.len()).filter_map(|place| self.proven(place, Some(header))).collect()
    }

    /// The decision of an entry with its proof; with a header, if it is on that purchase.
    fn proven(&self, place: usize, header: Option<&Header>) -> Option<Vec<u8>> {
        let body = self.public.bodies.get(place)?.as_ref()?;
        let statement = match header {
            None => body.clone(),
            Some(header) => match &header.entry {
                Entry::Plain => {
                    let decision = self.decisions.get(place)?.as_ref()?;
                    (decision.header == header.digest()).then(|| body.clone())?
                }
                Entry::Encrypted => header.open_entry(body)?,
                Entry::Blind { index } => {
                    let word = Unverified::<BlindDecision>::parse(body).ok()?;
                    let said = word.claimed_body();
                    (said.index == *index && said.expiry == header.expiry).then(|| body.clone())?
                }
            },
        };
        let inclusion = self.inclusion(place)?;
        let decision = LogWord::parse(&statement).ok()?;
        let unverified =
            UnverifiedDecision { decision, inclusion, checkpoint: self.public.checkpoint.clone(), header: None };
        let unverified = match header {
            Some(header) => unverified.with(header),
            None => unverified,
        };
        let proven: ProvenDecision = unverified.verify(&self.log).ok()?;
        Some(cbor::to_vec(&UnverifiedDecision::from(&proven)))
    }

    fn inclusion(&self, place: usize) -> Option<InclusionProof> {
        let (index, size) = (place as u64, self.public.entries.len() as u64);
        let path = inclusion_proof(size, index, &self.hashes).ok()?;
        Some(InclusionProof { index, size, path })
    }

    fn shown(&self, place: usize) -> Option<ShownEntry> {
        Some(ShownEntry { entry: self.public.entries.get(place)?.clone(), inclusion: self.inclusion(place)? })
    }
}

fn time(entry: &[u8]) -> u64 {
    entry.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
