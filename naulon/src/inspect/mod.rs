//! `naulon inspect`: says what a string or a file is, as far as it shows by itself.
//!
//! Signatures are verified by the key that the statement itself names: that it holds says who signed, not whether to
//! trust them. `naulon verify` judges.

mod bytes;
mod statements;
mod text;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use serde::{Serialize, Serializer};

use crate::exit::Exit;
use crate::identity::IDENTITY_FILE;
use crate::output::{self, Output};

/// The longest file that is read whole; of a longer one only the beginning counts.
const MAX_INSPECT_LEN: u64 = 8 * 1024 * 1024;

/// What `naulon inspect` is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Knows: statements (COSE_Sign1), tokens, brands, decisions, records, checkpoints, evidence files, keys and digests,
identities, settings, sealed files, stores, and problem codes. Strings may be base64url or hex.

Examples:
  naulon inspect sale.evidence.json
  naulon inspect offer_taken
  naulon inspect bank/identity.toml")]
pub struct Inspect {
    /// A string, or the name of a file.
    what: String,
}

/// What something is.
#[derive(Serialize)]
pub struct Found {
    /// In a few words.
    kind: String,
    /// What it says.
    #[serde(serialize_with = "as_map")]
    fields: Vec<(&'static str, String)>,
    /// What it contains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<(String, Found)>,
}

impl Found {
    fn new(kind: impl Into<String>) -> Self {
        Found { kind: kind.into(), fields: Vec::new(), parts: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    fn part(mut self, name: impl Into<String>, part: Option<Found>) -> Self {
        self.parts.extend(part.map(|part| (name.into(), part)));
        self
    }
}

/// Says what it is. Fails if nobody knows.
pub fn run(inspect: &Inspect, output: Output) -> anyhow::Result<Exit> {
    let path = Path::new(&inspect.what);
    let path = if path.is_dir() { path.join(IDENTITY_FILE) } else { path.to_owned() };
    let found = if path.is_file() {
        let mut content = Vec::new();
        let file = File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        file.take(MAX_INSPECT_LEN).read_to_end(&mut content)?;
        bytes::recognise(&content).or_else(|| text::recognise(std::str::from_utf8(&content).ok()?.trim()))
    } else {
        text::recognise(inspect.what.trim())
    };
    let found = found.context("this is nothing that Naulon knows; if it is a file, check its name")?;
    output.result(&found, lines)?;
    Ok(Exit::Ok)
}

fn lines(found: &Found) -> String {
    let pairs = found.fields.iter().map(|(name, value)| (*name, value.clone()));
    let mut text = format!("{}\n{}", found.kind, indented(&output::list(pairs), 2));
    for (name, part) in &found.parts {
        // A message that says its own name needs no other.
        let name = if part.kind.starts_with(name.as_str()) { String::new() } else { format!("{name}: ") };
        text.push_str(&format!("\n  {name}{}", indented(&lines(part), 4).trim_start()));
    }
    text
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}", "")).collect::<Vec<_>>().join("\n")
}

fn as_map<S: Serializer>(fields: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
}
