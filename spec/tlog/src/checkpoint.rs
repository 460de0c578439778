//! Checkpoints: the log's signed word on its size and root (C2SP tlog-checkpoint).

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use ed25519_dalek::SigningKey;

use crate::hash::{Hash, empty_root};
use crate::note::{MAX_NAME_LEN, Note, NoteKey, SignatureType};

/// The head of a log's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: a name such as `log.example/fares`, not an address to call.
    pub origin: String,
    /// How many leaves the tree has.
    pub size: u64,
    /// The tree's root at that size.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed: origin, size and root in base64, a line each.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, Base64::encode_string(&self.root))
    }

    /// Reads the text back; only what [`text`](Self::text) gives is one. Extension lines, which C2SP discourages, are
    /// refused, because dropping what was signed unread would be worse.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next()?.to_owned(), lines.next()?.parse().ok()?, lines.next()?);
        let mut hash = Hash::default();
        Base64::decode(root, &mut hash).ok()?;
        let checkpoint = Checkpoint { origin, size, root: hash };
        // Printed again it must be the same: this refuses signs, leading zeros, shorter hashes, and further lines.
        (checkpoint.text() == text && (size != 0 || hash == empty_root())).then_some(checkpoint)
    }
}

/// Signs one log's checkpoints. The secret key is erased when it is dropped.
///
/// Whoever holds it must never sign two checkpoints of which neither continues the other: that is proof of fraud.
pub struct CheckpointSigner {
    verifier: CheckpointVerifier,
    key: SigningKey,
}

impl CheckpointSigner {
    /// The signer of the log `origin`, which is also its key's name, with the Ed25519 key of this seed (RFC 8032).
    ///
    /// # Errors
    /// When the origin is not a key name: 1 to 255 bytes without spaces, plus signs and control characters.
    pub fn new(origin: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(seed);
        let verifier = CheckpointVerifier::new(origin, key.verifying_key().as_bytes())?;
        Ok(CheckpointSigner { verifier, key })
    }

    /// What clients check this signer's checkpoints with.
    pub fn verifier(&self) -> &CheckpointVerifier {
        &self.verifier
    }

    /// Signs a checkpoint. The same checkpoint gives the same bytes.
    ///
    /// # Errors
    /// When the checkpoint is another log's.
    pub fn sign(&self, checkpoint: &Checkpoint) -> Result<SignedCheckpoint, SignError> {
        if checkpoint.origin != self.verifier.origin {
            return Err(SignError::OtherOrigin);
        }
        Ok(SignedCheckpoint(self.verifier.key.sign(&checkpoint.text(), &self.key)))
    }
}

/// A signed note with a checkpoint, as our signer made it. What comes from others is a string until
/// [`CheckpointVerifier::open`] has taken it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint(String);

impl SignedCheckpoint {
    /// The note, as it is served.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The note itself.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Verifies one log's checkpoints.
///
/// Prints and parses as C2SP's vkey, `<name>+<key id, 8 hex digits>+<base64 of 0x01 ‖ public key>`. The origin is not
/// in it; it is the key's name, unless [`with_origin`](Self::with_origin) says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointVerifier {
    origin: String,
    key: NoteKey,
}

impl CheckpointVerifier {
    /// The verifier of the log with this name and Ed25519 public key.
    ///
    /// # Errors
    /// When the name is not a key name (1 to 255 bytes without spaces, plus signs and control characters), or the key
    /// is not a point in its canonical encoding, or of small order.
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, KeyError> {
        Ok(CheckpointVerifier { origin: name.to_owned(), key: NoteKey::new(name, SignatureType::Ed25519, public_key)? })
    }

    /// The same key for a log whose origin differs from the key's name, as some older logs have it.
    ///
    /// # Errors
    /// When the origin is empty, longer than [`MAX_NAME_LEN`] or has control characters.
    pub fn with_origin(self, origin: &str) -> Result<Self, KeyError> {
        if !(1..=MAX_NAME_LEN).contains(&origin.len()) || origin.chars().any(char::is_control) {
            return Err(KeyError::Origin);
        }
        Ok(CheckpointVerifier { origin: origin.to_owned(), ..self })
    }

    /// The log whose checkpoints it takes.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The log's public key.
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.public_key()
    }

    /// Takes a checkpoint of this log out of a note, if the log's key has signed it. Lines signed by other keys, such
    /// as cosignatures of witnesses, must be well-formed and are otherwise ignored.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        self.open_parsed(&Note::parse(note)?)
    }

    pub(crate) fn open_parsed(&self, note: &Note<'_>) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = Checkpoint::parse(self.key.open(note)?).ok_or(CheckpointError::NotACheckpoint)?;
        if checkpoint.origin != self.origin {
            return Err(CheckpointError::OtherOrigin);
        }
        Ok(checkpoint)
    }
}

impl fmt::Display for CheckpointVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

impl FromStr for CheckpointVerifier {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        let key = NoteKey::from_vkey(vkey, SignatureType::Ed25519)?;
        Ok(CheckpointVerifier { origin: key.name().to_owned(), key })
    }
}

/// Why a note is not taken as a checkpoint of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is longer than [`MAX_CHECKPOINT_LEN`](crate::MAX_CHECKPOINT_LEN).
    #[error("the note is too long")]
    TooLong,
    /// It has more than [`MAX_SIGNATURES`](crate::MAX_SIGNATURES) signature lines.
    #[error("the note has too many signatures")]
    TooManySignatures,
    /// It is not a text, an empty line, and signature lines.
    #[error("not a signed note")]
    NotANote,
    /// No line is by the log's key.
    #[error("the note is not signed by the log's key")]
    NotSigned,
    /// The line of the log's key does not verify.
    #[error("the log's signature is wrong")]
    BadSignature,
    /// The log's key has more than one line.
    #[error("the log's key has signed more than once")]
    RepeatedSignature,
    /// The log has signed this text, but it is not a checkpoint in its one spelling.
    #[error("the signed text is not a checkpoint")]
    NotACheckpoint,
    /// The log's key has signed it for another log.
    #[error("the checkpoint is another log's")]
    OtherOrigin,
}

/// Why a checkpoint was not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Its origin is not the signer's.
    #[error("the checkpoint is another log's")]
    OtherOrigin,
}

/// Why a name and a key do not make a signer or verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Key names have 1 to [`MAX_NAME_LEN`] bytes and no spaces, plus signs or control characters.
    #[error("not a key name")]
    Name,
    /// Origins have 1 to [`MAX_NAME_LEN`] bytes and no control characters.
    #[error("not an origin")]
    Origin,
    /// Not a canonical Ed25519 point, or one of small order.
    #[error("not an Ed25519 public key")]
    PublicKey,
    /// Not a vkey string in its one spelling, with the right key id and the type that is wanted: 0x01 of a log, 0x04 of a
    /// witness.
    #[error("not a verifier key")]
    Vkey,
}
