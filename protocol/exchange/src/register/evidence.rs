//! What convicts a bank by its own statements and checkpoints.

use std::collections::BTreeMap;

use naulon_blind::Brand;
use naulon_statement::{PublicKey, Unverified, cbor};
use naulon_tlog::{Checkpoint, Hash, Tree};

use super::BankIdentity;
use super::copy::are_rivals;
use super::day::DaySummary;
use super::entry::RegisterEntry;
use super::receipt::{ItemPromise, Receipt, Verdict};
use super::watch::{DayFault, DayWatch};

/// What somebody lays before a judge about a bank's register. Every part may be missing; nothing here is verified yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterEvidence {
    /// A promise, a COSE_Sign1.
    pub promise: Option<Vec<u8>>,
    /// The bank's later answer on the same item, CBOR of [`Receipt`].
    pub receipt: Option<Vec<u8>>,
    /// Two brands, COSE_Sign1s.
    pub brands: Vec<Vec<u8>>,
    /// Two checkpoints, signed notes.
    pub checkpoints: Vec<String>,
    /// The entries of the larger of the two trees.
    pub entries: Vec<RegisterEntry>,
    /// A day's sums, or those of two days that follow one another; COSE_Sign1s.
    pub days: Vec<Vec<u8>>,
}

/// How a bank has broken its word. Each is proven by what it has signed itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterBreach {
    /// An item that it promised is missing from its day's sum.
    ItemMissing,
    /// Two brands for one place, or under one key.
    RivalBrands,
    /// Two registers of which neither continues the other.
    TwoRegisters,
    /// By the sums of a day more tokens of a brand are redeemed than issued in all.
    MoreRedeemed,
    /// The totals of a day are not those of the day before and the day's own counts.
    FalseTotals,
}

/// What a judge finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterJudgement {
    /// The bank that is accused, and how it has broken its word.
    pub breaches: Vec<(PublicKey, RegisterBreach)>,
    /// A bank that has kept a promise.
    pub kept: Option<PublicKey>,
    /// Parts that do not count, and why.
    pub dismissed: Vec<(&'static str, String)>,
}

impl RegisterEvidence {
    /// Judges by the keys of these banks. Nobody's word counts for somebody else.
    pub fn judge(&self, banks: &BTreeMap<PublicKey, BankIdentity>) -> RegisterJudgement {
        let mut found = RegisterJudgement::default();
        for (part, judged) in [
            ("promise", self.judge_promise(banks)),
            ("brands", self.judge_brands(banks)),
            ("checkpoints", self.judge_checkpoints(banks)),
            ("days", self.judge_days(banks)),
        ] {
            match judged {
                Ok(Some((bank, Some(breach)))) => found.breaches.push((bank, breach)),
                Ok(Some((bank, None))) => found.kept = Some(bank),
                Ok(None) => {}
                Err(why) => found.dismissed.push((part, why)),
            }
        }
        found
    }

    fn judge_promise(&self, banks: &BTreeMap<PublicKey, BankIdentity>) -> Judged {
        let Some(promise) = &self.promise else { return Ok(None) };
        let promise = Unverified::<ItemPromise>::parse(promise).map_err(words)?;
        let bank = trusted(banks, &promise.claimed_body().bank)?.key;
        let receipt = self.receipt.as_ref().ok_or("there is no later answer of the bank")?;
        let receipt: Receipt = cbor::from_slice(receipt).map_err(words)?;
        match receipt.judge(promise).map_err(words)? {
            (_, Verdict::Broken) => Ok(Some((bank, Some(RegisterBreach::ItemMissing)))),
            (_, Verdict::Kept) => Ok(Some((bank, None))),
            (_, Verdict::Open) => Err("the answer is a promise, too: ask again when the day is over".to_owned()),
        }
    }

    fn judge_brands(&self, banks: &BTreeMap<PublicKey, BankIdentity>) -> Judged {
        let [first, second] = match &self.brands[..] {
            [] => return Ok(None),
            [first, second] => [first, second],
            _ => return Err("two brands are wanted".to_owned()),
        };
        let read = |bytes: &Vec<u8>| {
            let brand = Unverified::<Brand>::parse(bytes).map_err(words)?;
            let bank = trusted(banks, &brand.claimed_body().bank)?.key;
            brand.verify(&bank).map_err(words)
        };
        let (first, second) = (read(first)?, read(second)?);
        let breach = first.bank == second.bank && are_rivals(&first, &second);
        if breach {
            Ok(Some((first.bank, Some(RegisterBreach::RivalBrands))))
        } else {
            Err("they are no rivals".to_owned())
        }
    }

    fn judge_checkpoints(&self, banks: &BTreeMap<PublicKey, BankIdentity>) -> Judged {
        let [first, second] = match &self.checkpoints[..] {
            [] => return Ok(None),
            [first, second] => [first, second],
            _ => return Err("two checkpoints are wanted".to_owned()),
        };
        let open = |bank: &BankIdentity| {
            let open = |note: &String| bank.checkpoints.open(note).ok();
            Some((bank.key, open(first)?, open(second)?))
        };
        let (bank, first, second) = banks.values().find_map(open).ok_or("no trusted bank has signed both")?;
        let (small, large) = if first.size <= second.size { (first, second) } else { (second, first) };
        if self.contradict(&small, &large)? {
            return Ok(Some((bank, Some(RegisterBreach::TwoRegisters))));
        }
        Err("one continues the other".to_owned())
    }

    fn judge_days(&self, banks: &BTreeMap<PublicKey, BankIdentity>) -> Judged {
        if self.days.is_empty() {
            return Ok(None);
        }
        if self.days.len() > 2 {
            return Err("one day is wanted, or two".to_owned());
        }
        let read = |bytes: &Vec<u8>| {
            let day = Unverified::<DaySummary>::parse(bytes).map_err(words)?;
            let bank = trusted(banks, &day.claimed_body().bank)?.key;
            day.verify(&bank).map_err(words)
        };
        let days = self.days.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let bank = days.first().ok_or("there is no day")?.bank;
        if days.iter().any(|day| day.bank != bank) {
            return Err("they are two banks' days".to_owned());
        }
        let mut watch = DayWatch::default();
        for (place, day) in days.iter().enumerate() {
            let follows = place > 0 && days.get(place - 1).is_some_and(|last| last.day.next() == day.day);
            for fault in watch.day(day) {
                match fault {
                    DayFault::MoreRedeemed { .. } => return Ok(Some((bank, Some(RegisterBreach::MoreRedeemed)))),
                    // Nothing is known of what was before the first.
                    DayFault::Totals { .. } if follows => return Ok(Some((bank, Some(RegisterBreach::FalseTotals)))),
                    _ => {}
                }
            }
        }
        Err("the sums hold".to_owned())
    }

    fn contradict(&self, small: &Checkpoint, large: &Checkpoint) -> Result<bool, String> {
        if small.size == large.size {
            return Ok(small.root != large.root);
        }
        let root = |len: u64| {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let leaves: Vec<Hash> = self.entries.iter().take(len).map(RegisterEntry::leaf).collect();
            let mut tree = Tree::default();
            tree.append(&leaves);
            (tree.size(), tree.root())
        };
        if root(large.size) != (large.size, large.root) {
            return Err("the entries are not those of the larger checkpoint".to_owned());
        }
        Ok(root(small.size) != (small.size, small.root))
    }
}

/// A bank, and its breach if it is none that has kept its word; nothing if there is nothing to judge.
type Judged = Result<Option<(PublicKey, Option<RegisterBreach>)>, String>;

fn trusted<'b>(banks: &'b BTreeMap<PublicKey, BankIdentity>, bank: &PublicKey) -> Result<&'b BankIdentity, String> {
    banks.get(bank).ok_or_else(|| format!("the bank {bank} is not trusted"))
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
