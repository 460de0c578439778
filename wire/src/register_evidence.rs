//! Evidence files about a bank's register: `*.evidence.json`, too.

use naulon_exchange::register::{REGISTER_ENTRY_LEN, RegisterEntry, RegisterEvidence};
use serde::{Deserialize, Serialize};

use crate::evidence::{EvidenceFileError, MAX_EVIDENCE_LEN};
use crate::text::B64;

/// What convicts a bank by its register, in a file for a judge (docs/spec/evidence.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterEvidenceFile {
    /// Always `naulon-register-evidence-1`.
    format: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promise: Option<B64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<B64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    brands: Vec<B64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    checkpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<B64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    days: Vec<B64>,
}

const FORMAT: &str = "naulon-register-evidence-1";

impl RegisterEvidenceFile {
    /// Whether a text says that it is one.
    pub fn is_one(text: &str) -> bool {
        text.contains(&format!("\"{FORMAT}\""))
    }

    /// The file of this evidence, as text.
    pub fn write(evidence: &RegisterEvidence) -> String {
        let RegisterEvidence { promise, receipt, brands, checkpoints, entries, days } = evidence.clone();
        let entries: Vec<u8> = entries.iter().flat_map(|entry| *entry.as_bytes()).collect();
        let file = RegisterEvidenceFile {
            format: FORMAT.to_owned(),
            promise: promise.map(B64),
            receipt: receipt.map(B64),
            brands: brands.into_iter().map(B64).collect(),
            checkpoints,
            entries: (!entries.is_empty()).then_some(B64(entries)),
            days: days.into_iter().map(B64).collect(),
        };
        match serde_json::to_string_pretty(&file) {
            Ok(text) => text + "\n",
            // Strings and lists of strings always have a JSON form.
            Err(never) => unreachable!("writing JSON into memory failed: {never}"),
        }
    }

    /// The evidence in a file's text. Nothing in it is verified.
    pub fn read(text: &str) -> Result<RegisterEvidence, EvidenceFileError> {
        if text.len() > MAX_EVIDENCE_LEN {
            return Err(EvidenceFileError::TooLong);
        }
        let malformed = |error: serde_json::Error| EvidenceFileError::Malformed(error.to_string());
        let file: RegisterEvidenceFile = serde_json::from_str(text).map_err(malformed)?;
        if file.format != FORMAT {
            return Err(EvidenceFileError::Malformed(format!("its format is not {FORMAT}")));
        }
        let entries = file.entries.map(|entries| entries.0).unwrap_or_default();
        let (entries, rest) = entries.as_chunks::<REGISTER_ENTRY_LEN>();
        if !rest.is_empty() {
            return Err(EvidenceFileError::Malformed("entries have 33 bytes each".to_owned()));
        }
        Ok(RegisterEvidence {
            promise: file.promise.map(|b64| b64.0),
            receipt: file.receipt.map(|b64| b64.0),
            brands: file.brands.into_iter().map(|b64| b64.0).collect(),
            checkpoints: file.checkpoints,
            entries: entries.iter().copied().map(RegisterEntry::from_bytes).collect(),
            days: file.days.into_iter().map(|b64| b64.0).collect(),
        })
    }
}
