//! Cosignatures: a witness's signed word that a checkpoint continues all it has seen of that log (C2SP tlog-cosignature,
//! Ed25519 `cosignature/v1`).
//!
//! Semantically a cosignature says: at this time this is the largest tree of this origin that I have seen, and it begins
//! with every smaller one that I have cosigned.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey};

use crate::checkpoint::{Checkpoint, CheckpointError, KeyError};
use crate::note::{Note, NoteKey, SignatureType};

/// The latest time that a cosignature may have, in seconds since the Unix epoch.
pub const MAX_COSIGNATURE_TIME: u64 = i64::MAX as u64;

/// The time before the signature, in bytes.
const TIME_LEN: usize = 8;

/// Signs a witness's cosignatures. The secret key is erased when it is dropped.
///
/// Whoever holds it must never cosign two checkpoints of one origin of which neither continues the other. The key signs
/// nothing else, and a second witness needs a second key: the signed text does not name the witness.
pub struct WitnessSigner {
    verifier: WitnessVerifier,
    key: SigningKey,
}

impl WitnessSigner {
    /// The signer of the witness with this name, with the Ed25519 key of this seed (RFC 8032).
    ///
    /// # Errors
    /// When the name is not a key name: 1 to 255 bytes without spaces, plus signs and control characters.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(seed);
        let verifier = WitnessVerifier::new(name, key.verifying_key().as_bytes())?;
        Ok(WitnessSigner { verifier, key })
    }

    /// What clients check this witness's cosignatures with.
    pub fn verifier(&self) -> &WitnessVerifier {
        &self.verifier
    }

    /// Cosigns a checkpoint at this time, in seconds since the Unix epoch. The caller has verified that the log signed the
    /// checkpoint and that it continues the last one; it is durable before the line leaves the house.
    ///
    /// # Errors
    /// When the time is above [`MAX_COSIGNATURE_TIME`].
    pub fn cosign(&self, checkpoint: &Checkpoint, time: u64) -> Result<Cosignature, TimeError> {
        if time > MAX_COSIGNATURE_TIME {
            return Err(TimeError(time));
        }
        let signature = self.key.sign(message(&checkpoint.text(), time).as_bytes()).to_bytes();
        let line = self.verifier.key.line(&[&time.to_be_bytes()[..], &signature].concat());
        Ok(Cosignature { time, line })
    }
}

/// Verifies one witness's cosignatures.
///
/// Prints and parses as C2SP's vkey, `<name>+<key id, 8 hex digits>+<base64 of 0x04 ‖ public key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessVerifier {
    key: NoteKey,
}

impl WitnessVerifier {
    /// The verifier of the witness with this name and Ed25519 public key.
    ///
    /// # Errors
    /// As for a log's key ([`CheckpointVerifier::new`](crate::CheckpointVerifier::new)).
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, KeyError> {
        Ok(WitnessVerifier { key: NoteKey::new(name, SignatureType::Cosignature, public_key)? })
    }

    /// The witness's name, which is not an address to call.
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// The witness's public key.
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.public_key()
    }

    /// This witness's cosignature of a checkpoint among signature lines, such as a witness answers with. Lines of other
    /// keys must be well-formed and are otherwise ignored. None if there is none of it.
    ///
    /// # Errors
    /// When the lines are malformed, when this witness has more than one, or when its cosignature does not hold.
    pub fn find(&self, checkpoint: &Checkpoint, lines: &str) -> Result<Option<Cosignature>, CheckpointError> {
        self.find_in(&Note::of(&checkpoint.text(), lines)?)
    }

    pub(crate) fn find_in(&self, note: &Note<'_>) -> Result<Option<Cosignature>, CheckpointError> {
        let Some(signed) = self.key.signature_in(note)? else { return Ok(None) };
        let (time, signature) = signed.split_first_chunk::<TIME_LEN>().ok_or(CheckpointError::BadSignature)?;
        let time = u64::from_be_bytes(*time);
        let holds = time <= MAX_COSIGNATURE_TIME && self.key.has_signed(message(note.text, time).as_bytes(), signature);
        if !holds {
            return Err(CheckpointError::BadSignature);
        }
        Ok(Some(Cosignature { time, line: self.key.line(signed) }))
    }
}

impl fmt::Display for WitnessVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

impl FromStr for WitnessVerifier {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        Ok(WitnessVerifier { key: NoteKey::from_vkey(vkey, SignatureType::Cosignature)? })
    }
}

/// A cosignature that was made here or holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    time: u64,
    line: String,
}

impl Cosignature {
    /// When the witness cosigned, by its clock, in seconds since the Unix epoch.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The signature line with its newline, to be put under the checkpoint's other lines.
    pub fn line(&self) -> &str {
        &self.line
    }
}

/// Why a checkpoint was not cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is too late for a cosignature's time")]
pub struct TimeError(pub u64);

/// What a witness signs: the header keeps it apart from what a log signs.
fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}
