//! What was found, once each, with its evidence in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use naulon_exchange::register::RegisterEvidence;
use naulon_purchase::{Evidence, LogEvidence};
use naulon_statement::Digest;
use naulon_wire::{EvidenceFile, LogEvidenceFile, RegisterEvidenceFile};
use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its stable code (docs/spec/watch.md).
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub what: String,
    /// Whether signatures prove it to everybody.
    pub proven: bool,
    /// The file with the evidence.
    pub evidence: Option<PathBuf>,
}

/// What there is to show.
pub enum Shown {
    /// Signed trees and entries, for `naulon verify`.
    Log(LogEvidence),
    /// Signed brands, or sums of days, for `naulon verify`.
    Register(RegisterEvidence),
    /// Signed decisions, for `naulon verify`.
    Decisions(Vec<Vec<u8>>),
    /// What the watcher saw and nobody has signed, as text.
    Seen(String),
}

/// All that was found by this watcher, also before it was started again.
pub struct Findings {
    folder: PathBuf,
    /// By the name of the evidence file, which is made from what is wrong: so nothing is reported twice.
    known: BTreeMap<String, bool>,
    fresh: Vec<Finding>,
}

impl Findings {
    /// Those of a folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let mut known = BTreeMap::new();
        for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(proven) = is_evidence(&name) {
                known.insert(name, proven);
            }
        }
        Ok(Findings { folder: folder.to_owned(), known, fresh: Vec::new() })
    }

    /// Takes a finding, unless it is known, and writes its evidence. `about` tells it from others of its code.
    pub fn add(&mut self, code: &'static str, about: &str, what: String, shown: &Shown) -> anyhow::Result<()> {
        let id = hex::encode(&Digest::of(&[code.as_bytes(), b"\n", about.as_bytes()]).0[..8]);
        let (kind, text) = match shown {
            Shown::Log(evidence) => (LOG, LogEvidenceFile::write(evidence)),
            Shown::Register(evidence) => (REGISTER, RegisterEvidenceFile::write(evidence)),
            Shown::Decisions(decisions) => {
                (SALE, EvidenceFile::write(&Evidence { decisions: decisions.clone(), ..Evidence::default() }))
            }
            Shown::Seen(text) => (SEEN, format!("{what}\n\n{text}\n")),
        };
        let (name, proven) = (format!("{code}-{id}{kind}"), kind != SEEN);
        if self.known.contains_key(&name) {
            return Ok(());
        }
        let path = self.folder.join(&name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        self.known.insert(name, proven);
        self.fresh.push(Finding { code, what, proven, evidence: Some(path) });
        Ok(())
    }

    /// Those since the last time.
    pub fn fresh(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.fresh)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.known.len() as u64
    }

    /// How many of them are proven.
    pub fn proven(&self) -> u64 {
        self.known.values().filter(|proven| **proven).count() as u64
    }
}

const LOG: &str = ".log-evidence.json";
const SALE: &str = ".evidence.json";
const REGISTER: &str = ".register-evidence.json";
const SEEN: &str = ".finding.txt";

/// Whether a file is of a finding, and whether of a proven one.
fn is_evidence(name: &str) -> Option<bool> {
    if [LOG, SALE, REGISTER].iter().any(|end| name.ends_with(end)) {
        return Some(true);
    }
    name.ends_with(SEEN).then_some(false)
}
