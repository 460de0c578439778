//! What convicts a bank by its own statements and checkpoints.

use std::collections::BTreeMap;

use naulon_blind::Brand;
use naulon_statement::{PublicKey, Unverified, cbor};
use naulon_tlog::{Checkpoint, Hash, Tree};

use super::BankIdentity;
use super::copy::are_rivals;
use super::entry::RegisterEntry;
use super::receipt::{ItemPromise, Receipt, Verdict};

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
