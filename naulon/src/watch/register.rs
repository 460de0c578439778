//! The entries of a bank's register (docs/spec/register.md): brands, fee tables, and the sums of days.

use std::collections::BTreeMap;

use anyhow::Context;
use naulon_blind::Brand;
use naulon_exchange::register::{
    BankIdentity, DayFault, DaySummary, DayWatch, EntryKind, FeeTable, REGISTER_ENTRY_LEN, RegisterEntry,
    RegisterEvidence,
};
use naulon_statement::{Digest, Duration, Signed, Statement, Unverified};

use super::Report;
use super::finding::{Findings, Shown};
use super::follow::Follower;
use crate::clock;

/// How long after the end of a day its sums may come.
const GRACE: Duration = Duration::seconds(2 * 3_600);

/// A bank's register, followed. What it says is small (a statement a day, and a few brands a month), so all of it is read
/// again at each start: from the folder, where every statement is kept that was shown once.
pub struct Register {
    follower: Follower,
    bank: BankIdentity,
    /// How many entries have been looked at.
    looked_at: u64,
    brands: Vec<Signed<Brand>>,
    days: DayWatch,
    /// The last day's statement, to be laid beside the next.
    last: Option<Vec<u8>>,
    without_body: u64,
}

impl Register {
    /// Begins with the first entry.
    pub fn new(follower: Follower, bank: BankIdentity) -> anyhow::Result<Self> {
        let (brands, days) = (Vec::new(), DayWatch::default());
        Ok(Register { follower, bank, looked_at: 0, brands, days, last: None, without_body: 0 })
    }

    /// Follows the register and looks at every new entry.
    pub async fn look(&mut self, found: &mut Findings) -> anyhow::Result<()> {
        let followed = self.follower.look(found).await;
        // What was fetched before something failed is looked at all the same.
        while self.looked_at < self.follower.entries().len() as u64 {
            self.look_at(self.looked_at, found).await?;
            self.looked_at += 1;
        }
        self.follower.write_looked_at(self.looked_at)?;
        // A bank whose brands begin later has no days yet.
        let has_begun = self.brands.iter().any(|brand| brand.issue_from <= clock::now().minus(Duration::days(1)));
        if let Some(fault) = self.days.late(clock::now(), GRACE).filter(|_| has_begun) {
            found.add("late_day", &fault.to_string(), fault.to_string(), &Shown::Seen(String::new()))?;
        }
        followed
    }

    /// Where things stand.
    pub fn report(&self) -> Report {
        let (origin, entries) = (self.follower.origin().to_owned(), self.looked_at);
        Report { origin, entries, without_body: self.without_body, found: 0, proven: 0 }
    }

    async fn look_at(&mut self, place: u64, found: &mut Findings) -> anyhow::Result<()> {
        let about = place.to_string();
        let bytes = self.follower.entries().get(usize::try_from(place)?).context("an entry is gone")?.clone();
        let entry = <[u8; REGISTER_ENTRY_LEN]>::try_from(&bytes[..]).ok().map(RegisterEntry::from_bytes);
        let Some((entry, kind)) = entry.and_then(|entry| Some((entry, entry.kind()?))) else {
            let what = format!("entry {place} is none of a bank's register");
            return found.add("bad_entry", &about, what, &Shown::Seen(hex::encode(&bytes)));
        };
        let file = format!("statement-{place}");
        let kept = self.follower.kept(&file).filter(|body| RegisterEntry::new(kind, body) == entry);
        let is_kept = kept.is_some();
        let body = match kept {
            Some(body) => Some(body),
            None => {
                let shown = self.follower.file(&format!("/body/{place}")).await;
                shown.with_context(|| format!("the statement of entry {place}"))?.map(|bytes| bytes.to_vec())
            }
        };
        let Some(body) = body else {
            self.without_body += 1;
            let what = format!("the statement of entry {place} is not shown");
            return found.add("withheld_statement", &about, what, &Shown::Seen(String::new()));
        };
        if RegisterEntry::new(kind, &body) != entry {
            let what = format!("the statement of entry {place} is not the one that the entry names");
            return found.add("wrong_body", &about, what, &Shown::Seen(hex::encode(&body)));
        }
        if !is_kept {
            self.follower.keep(&file, &body)?;
        }
        let is_a_statement = match kind {
            EntryKind::Brand => self.look_at_brand(&body, found)?,
            EntryKind::Fees => self.signed::<FeeTable>(&body).is_some(),
            EntryKind::Day => self.look_at_day(&body, found)?,
        };
        if is_a_statement {
            return Ok(());
        }
        let what = format!("entry {place} names no statement of the bank");
        found.add("bad_entry", &about, what, &Shown::Seen(hex::encode(&body)))
    }

    fn signed<T: Statement>(&self, body: &[u8]) -> Option<Signed<T>> {
        Unverified::<T>::parse(body).and_then(|statement| statement.verify(&self.bank.key)).ok()
    }

    fn look_at_brand(&mut self, body: &[u8], found: &mut Findings) -> anyhow::Result<bool> {
        let Some(brand) = self.signed::<Brand>(body) else { return Ok(false) };
        for other in &self.brands {
            let evidence = RegisterEvidence {
                brands: vec![other.bytes().to_vec(), brand.bytes().to_vec()],
                ..RegisterEvidence::default()
            };
            if self.convicts(&evidence) {
                let [one, two] = [other, &brand].map(|brand| Digest(brand.key_id()));
                let what = format!("the brands {one} and {two} cannot both be");
                found.add("rival_brands", &format!("{one} {two}"), what, &Shown::Register(evidence))?;
            }
        }
        self.days.brand(&brand);
        self.brands.push(brand);
        Ok(true)
    }

    fn look_at_day(&mut self, body: &[u8], found: &mut Findings) -> anyhow::Result<bool> {
        let Some(day) = self.signed::<DaySummary>(body) else { return Ok(false) };
        let last = self.last.replace(body.to_vec());
        for fault in self.days.day(&day) {
            let code = match fault {
                DayFault::MoreRedeemed { .. } => "more_redeemed",
                DayFault::Totals { .. } => "false_totals",
                DayFault::OutOfOrder { .. } => "days_out_of_order",
                DayFault::Row { .. } => "missing_row",
                DayFault::Late { .. } => "late_day",
            };
            let alone = RegisterEvidence { days: vec![body.to_vec()], ..RegisterEvidence::default() };
            let both = last.iter().map(|last| vec![last.clone(), body.to_vec()]);
            let both = both.map(|days| RegisterEvidence { days, ..RegisterEvidence::default() });
            // What a judge would convict the bank of is shown to him; the rest everybody can see for herself.
            let proof = std::iter::once(alone).chain(both).find(|evidence| self.convicts(evidence));
            let shown = proof.map_or_else(|| Shown::Seen(hex::encode(body)), Shown::Register);
            found.add(code, &fault.to_string(), fault.to_string(), &shown)?;
        }
        Ok(true)
    }

    fn convicts(&self, evidence: &RegisterEvidence) -> bool {
        let banks = BTreeMap::from([(self.bank.key, self.bank.clone())]);
        !evidence.judge(&banks).breaches.is_empty()
    }
}
