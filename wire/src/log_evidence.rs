//! Evidence files about a log: `*.log-evidence.json`.

use naulon_purchase::{LogEvidence, ShownEntry};
use naulon_tlog::{Hash, InclusionProof};
use serde::{Deserialize, Serialize};

use crate::evidence::{EvidenceFileError, MAX_EVIDENCE_LEN};
use crate::text::B64;

/// What an outsider found about one log in a file, for a judge (docs/spec/evidence.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEvidenceFile {
    /// Always `naulon-log-evidence-1`.
    format: String,
    checkpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    prefix: Vec<B64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    entries: Vec<EntryFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    entry: B64,
    index: u64,
    size: u64,
    path: Vec<B64>,
}

impl LogEvidenceFile {
    /// The word by which such a file is told from others.
    pub const FORMAT: &'static str = "naulon-log-evidence-1";

    /// The file of this evidence, as text.
    pub fn write(evidence: &LogEvidence) -> String {
        let entry = |shown: &ShownEntry| EntryFile {
            entry: B64(shown.entry.clone()),
            index: shown.inclusion.index,
            size: shown.inclusion.size,
            path: b64s(&shown.inclusion.path),
        };
        let file = LogEvidenceFile {
            format: Self::FORMAT.to_owned(),
            checkpoints: evidence.checkpoints.clone(),
            prefix: b64s(&evidence.prefix),
            entries: evidence.entries.iter().map(entry).collect(),
        };
        match serde_json::to_string_pretty(&file) {
            Ok(text) => text + "\n",
            // Strings, numbers and lists of them always have a JSON form.
            Err(never) => unreachable!("writing JSON into memory failed: {never}"),
        }
    }

    /// The evidence in a file's text. Nothing in it is verified.
    pub fn read(text: &str) -> Result<LogEvidence, EvidenceFileError> {
        if text.len() > MAX_EVIDENCE_LEN {
            return Err(EvidenceFileError::TooLong);
        }
        let malformed = |error: serde_json::Error| EvidenceFileError::Malformed(error.to_string());
        let file: LogEvidenceFile = serde_json::from_str(text).map_err(malformed)?;
        if file.format != Self::FORMAT {
            return Err(EvidenceFileError::Malformed(format!("its format is not {}", Self::FORMAT)));
        }
        let shown = |file: EntryFile| {
            let inclusion = InclusionProof { index: file.index, size: file.size, path: hashes(file.path)? };
            Ok(ShownEntry { entry: file.entry.0, inclusion })
        };
        Ok(LogEvidence {
            checkpoints: file.checkpoints,
            prefix: hashes(file.prefix)?,
            entries: file.entries.into_iter().map(shown).collect::<Result<_, EvidenceFileError>>()?,
        })
    }
}

fn b64s(hashes: &[Hash]) -> Vec<B64> {
    hashes.iter().map(|hash| B64(hash.to_vec())).collect()
}

fn hashes(b64s: Vec<B64>) -> Result<Vec<Hash>, EvidenceFileError> {
    let hash = |b64: B64| b64.0.try_into().map_err(|_| EvidenceFileError::Malformed("a hash has 32 bytes".to_owned()));
    b64s.into_iter().map(hash).collect()
}
