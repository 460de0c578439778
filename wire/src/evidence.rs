//! Evidence files: `*.evidence.json`.

use naulon_purchase::Evidence;
use serde::{Deserialize, Serialize};

use crate::text::B64;

/// The longest evidence file in bytes.
pub const MAX_EVIDENCE_LEN: usize = 4 * 1024 * 1024;

/// The messages of one purchase in a file, for a judge (docs/spec/evidence.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceFile {
    /// Always `naulon-evidence-1`.
    format: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    goods_m: Option<B64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    goods_q: Option<B64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authorization_q: Option<JointFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<B64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authorization_b: Option<B64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<B64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JointFile {
    payload: B64,
    signatures: Vec<B64>,
}

/// Why a text is no evidence file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceFileError {
    /// Longer than [`MAX_EVIDENCE_LEN`].
    #[error("an evidence file has at most {MAX_EVIDENCE_LEN} bytes")]
    TooLong,
    /// Not the JSON of one.
    #[error("not an evidence file: {0}")]
    Malformed(String),
}

const FORMAT: &str = "naulon-evidence-1";

impl EvidenceFile {
    /// The file of this evidence, as text.
    pub fn write(evidence: &Evidence) -> String {
        let b64 = |bytes: &Option<Vec<u8>>| bytes.clone().map(B64);
        let file = EvidenceFile {
            format: FORMAT.to_owned(),
            goods_m: b64(&evidence.goods_m),
            goods_q: b64(&evidence.goods_q),
            authorization_q: evidence.authorization_q.clone().map(|joint| JointFile {
                payload: B64(joint.payload),
                signatures: joint.signatures.into_iter().map(B64).collect(),
            }),
            header: b64(&evidence.header),
            authorization_b: b64(&evidence.authorization_b),
            decisions: evidence.decisions.iter().cloned().map(B64).collect(),
        };
        match serde_json::to_string_pretty(&file) {
            Ok(text) => text + "\n",
            // Strings and lists of strings always have a JSON form.
            Err(never) => unreachable!("writing JSON into memory failed: {never}"),
        }
    }

    /// The evidence in a file's text. Nothing in it is verified.
    pub fn read(text: &str) -> Result<Evidence, EvidenceFileError> {
        if text.len() > MAX_EVIDENCE_LEN {
            return Err(EvidenceFileError::TooLong);
        }
        let malformed = |error: serde_json::Error| EvidenceFileError::Malformed(error.to_string());
        let file: EvidenceFile = serde_json::from_str(text).map_err(malformed)?;
        if file.format != FORMAT {
            return Err(EvidenceFileError::Malformed(format!("its format is not {FORMAT}")));
        }
        let bytes = |field: Option<B64>| field.map(|b64| b64.0);
        Ok(Evidence {
            goods_m: bytes(file.goods_m),
            goods_q: bytes(file.goods_q),
            authorization_q: file.authorization_q.map(|joint| naulon_purchase::JointBytes {
                payload: joint.payload.0,
                signatures: joint.signatures.into_iter().map(|signature| signature.0).collect(),
            }),
            header: bytes(file.header),
            authorization_b: bytes(file.authorization_b),
            decisions: file.decisions.into_iter().map(|b64| b64.0).collect(),
        })
    }
}
