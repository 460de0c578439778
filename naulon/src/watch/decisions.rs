//! The entries of a purchase log (docs/spec/log.md): times, outcomes, bodies.

use std::collections::BTreeMap;

use anyhow::Context;
use naulon_exchange::{LOG_ENTRY_LEN, LogDecision, LogIdentity, ProvenDecision};
use naulon_purchase::{LogEvidence, ShownEntry};
use naulon_statement::{Digest, Signed, Unverified};

use super::Report;
use super::finding::{Findings, Shown};
use super::follow::Follower;

/// The middle of an entry: SHA-256("naulon/log-index" ‖ a).
type Index = [u8; 32];

/// After so many entries it writes down how far it is. What was looked at and not written down is looked at again.
const WRITE_EVERY: u64 = 1_000;

/// A purchase log, followed.
pub struct Decisions {
    follower: Follower,
    log: LogIdentity,
    /// Where each index stands.
    places: BTreeMap<Index, Vec<u64>>,
    /// How many entries have been looked at.
    looked_at: u64,
    without_body: u64,
}

impl Decisions {
    /// Goes on with the first entry that was not looked at before.
    pub fn new(follower: Follower, log: LogIdentity) -> anyhow::Result<Self> {
        let looked_at = follower.looked_at()?;
        let mut places = BTreeMap::<Index, Vec<u64>>::new();
        for (place, entry) in (0..looked_at).zip(follower.entries()) {
            if let Some(entry) = Entry::parse(entry) {
                places.entry(entry.index).or_default().push(place);
            }
        }
        Ok(Decisions { follower, log, places, looked_at, without_body: 0 })
    }

    /// Follows the log and looks at every new entry.
    pub async fn look(&mut self, found: &mut Findings) -> anyhow::Result<()> {
        let followed = self.follower.look(found).await;
        // What was fetched before something failed is looked at all the same.
        while self.looked_at < self.follower.entries().len() as u64 {
            self.look_at(self.looked_at, found).await?;
            self.looked_at += 1;
            if self.looked_at.is_multiple_of(WRITE_EVERY) {
                self.follower.write_looked_at(self.looked_at)?;
            }
        }
        self.follower.write_looked_at(self.looked_at)?;
        followed
    }

    /// Where things stand.
    pub fn report(&self) -> Report {
        let (origin, entries) = (self.follower.origin().to_owned(), self.looked_at);
        Report { origin, entries, without_body: self.without_body, found: 0, proven: 0 }
    }

    async fn look_at(&mut self, place: u64, found: &mut Findings) -> anyhow::Result<()> {
        let Some(entry) = self.entry(place) else {
            let what = format!("entry {place} is none of a purchase log");
            return found.add("bad_entry", &place.to_string(), what, &Shown::Seen(String::new()));
        };
        self.check_time(place, &entry, found)?;
        match self.body(place).await? {
            None => self.without_body += 1,
            Some(body) if Digest::of(&[&body]).0 != entry.body => {
                let what = format!("the body of entry {place} is not the one that the entry names");
                let shown = Shown::Seen(format!("entry {place}, body {}", hex::encode(&body)));
                found.add("wrong_body", &place.to_string(), what, &shown)?;
            }
            Some(body) => self.check_decision(place, &body, found)?,
        }
        let places = self.places.entry(entry.index).or_default();
        let earlier = places.clone();
        places.push(place);
        for before in earlier {
            self.check_outcomes(before, place, found).await?;
        }
        Ok(())
    }

    fn check_time(&self, place: u64, entry: &Entry, found: &mut Findings) -> anyhow::Result<()> {
        let Some(before) = place.checked_sub(1) else { return Ok(()) };
        if self.entry(before).is_none_or(|before| before.time <= entry.time) {
            return Ok(());
        }
        let shown = |place| {
            let entry = self.raw(place).context("an entry")?.to_vec();
            let (note, inclusion) = self.follower.prove(place)?;
            anyhow::Ok((note, ShownEntry { entry, inclusion }))
        };
        let ((note, earlier), (_, later)) = (shown(before)?, shown(place)?);
        let evidence = LogEvidence { checkpoints: vec![note], prefix: Vec::new(), entries: vec![earlier, later] };
        let what = format!("the time of entry {place} lies before that of entry {before}");
        found.add("time_went_back", &place.to_string(), what, &Shown::Log(evidence))
    }

    /// Whether the decision came in time, and says what its entry says. Bodies that are not decisions (encrypted or blind
    /// ones, AAT §8.5) tell an outsider nothing.
    fn check_decision(&self, place: u64, body: &[u8], found: &mut Findings) -> anyhow::Result<()> {
        let Some(decision) = self.decision(body) else { return Ok(()) };
        let entered = self.raw(place).is_some_and(|entry| entry == decision.entry(body));
        if !entered {
            let what = format!("the decision of entry {place} says another time or purchase than the entry");
            let shown = Shown::Seen(format!("entry {place}, body {}", hex::encode(body)));
            return found.add("wrong_body", &place.to_string(), what, &shown);
        }
        let (code, word) = match (decision.key().is_some(), decision.time >= decision.expiry) {
            (true, true) => ("late_commit", "committed at or after the expiry"),
            (false, false) => ("early_abort", "aborted before the expiry"),
            _ => return Ok(()),
        };
        let proven = self.prove(place, decision)?;
        found.add(code, &place.to_string(), format!("entry {place} was {word}"), &Shown::Decisions(vec![proven]))
    }

    /// Two entries of one index are two decisions on one purchase, unless they are on different headers: anybody who has a
    /// bank's key can sign a header with the same a, so by a alone nobody is convicted.
    async fn check_outcomes(&self, one: u64, other: u64, found: &mut Findings) -> anyhow::Result<()> {
        let about = format!("{one} {other}");
        let (Some(first), Some(second)) = (self.body(one).await?, self.body(other).await?) else {
            let what = format!("entries {one} and {other} have one index, and a body of them is not shown");
            return found.add("one_index_twice", &about, what, &Shown::Seen(String::new()));
        };
        let (Some(first), Some(second)) = (self.decision(&first), self.decision(&second)) else {
            // An encrypted or blind purchase has an index of its own: the parties, who can read both, have their proof.
            let what = format!("entries {one} and {other} have one index, and not everybody can read them");
            return found.add("one_index_twice", &about, what, &Shown::Seen(String::new()));
        };
        if first.header != second.header {
            return Ok(());
        }
        if first.key().is_some() == second.key().is_some() {
            let what = format!("entries {one} and {other} decide one purchase twice, the same way");
            return found.add("decided_twice", &about, what, &Shown::Seen(String::new()));
        }
        let decisions = vec![self.prove(one, first)?, self.prove(other, second)?];
        let what = format!("entries {one} and {other} are commit and abort of one purchase");
        found.add("both_outcomes", &about, what, &Shown::Decisions(decisions))
    }

    /// The decision in a body, if it is one and this log's.
    fn decision(&self, body: &[u8]) -> Option<Signed<LogDecision>> {
        Unverified::<LogDecision>::parse(body).and_then(|decision| decision.verify(&self.log.key)).ok()
    }

    fn prove(&self, place: u64, decision: Signed<LogDecision>) -> anyhow::Result<Vec<u8>> {
        let (note, inclusion) = self.follower.prove(place)?;
        Ok(ProvenDecision::by_own_log(decision, inclusion, note).to_bytes())
    }

    async fn body(&self, place: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let file = self.follower.file(&format!("/body/{place}")).await;
        Ok(file.with_context(|| format!("the body of entry {place}"))?.map(|bytes| bytes.to_vec()))
    }

    fn entry(&self, place: u64) -> Option<Entry> {
        Entry::parse(self.raw(place)?)
    }

    fn raw(&self, place: u64) -> Option<&[u8]> {
        self.follower.entries().get(usize::try_from(place).ok()?).map(Vec::as_slice)
    }
}

/// An entry taken apart.
struct Entry {
    time: u64,
    index: Index,
    body: [u8; 32],
}

impl Entry {
    fn parse(bytes: &[u8]) -> Option<Entry> {
        let bytes: &[u8; LOG_ENTRY_LEN] = bytes.try_into().ok()?;
        let (time, rest) = bytes.split_first_chunk()?;
        let (index, body) = rest.split_first_chunk()?;
        Some(Entry { time: u64::from_be_bytes(*time), index: *index, body: body.try_into().ok()? })
    }
}
