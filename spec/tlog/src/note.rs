//! Signed notes (C2SP signed-note) with Ed25519 keys, as far as checkpoints and their cosignatures need them.

use std::fmt;

use base64ct::{Base64, Encoding};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::checkpoint::{CheckpointError, KeyError};

/// The longest checkpoint looked at, in bytes. It holds the sixteen signatures that signed-note wants accepted, even if
/// each is post-quantum (5 kB).
pub const MAX_CHECKPOINT_LEN: usize = 128 * 1024;
/// The most signature lines a checkpoint may have.
pub const MAX_SIGNATURES: usize = 100;
/// The longest key name and origin, in bytes.
pub const MAX_NAME_LEN: usize = 255;

/// What a key's signatures are made over; the byte is part of its key id and of its vkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureType {
    /// The text itself, by the log.
    Ed25519 = 0x01,
    /// A header, a time and the text, by a witness (C2SP tlog-cosignature).
    Cosignature = 0x04,
}

/// A name and a public key, which together are one signer of notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoteKey {
    name: String,
    signs: SignatureType,
    id: [u8; 4],
    key: VerifyingKey,
}

/// A note taken apart; no signature of it is verified.
pub(crate) struct Note<'a> {
    /// What is signed, with its last newline.
    pub(crate) text: &'a str,
    lines: Vec<SignatureLine<'a>>,
}

/// One signature of a note.
pub(crate) struct SignatureLine<'a> {
    name: &'a str,
    /// The key id and at least one byte of signature.
    data: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Takes a note apart.
    ///
    /// # Errors
    /// When it is too long, not a text and signature lines, or has too many of them.
    pub(crate) fn parse(note: &'a str) -> Result<Self, CheckpointError> {
        if note.len() > MAX_CHECKPOINT_LEN {
            return Err(CheckpointError::TooLong);
        }
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(CheckpointError::NotANote);
        }
        // The text itself may have empty lines; the signatures, which come after the last one, may not.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(CheckpointError::NotANote)?;
        let text = note.get(..text.len() + 1).ok_or(CheckpointError::NotANote)?;
        Ok(Note { text, lines: parse_lines(lines)? })
    }

    /// The text and the signatures of a note, of which some came apart from it.
    pub(crate) fn of(text: &'a str, lines: &'a str) -> Result<Self, CheckpointError> {
        if lines.len() > MAX_CHECKPOINT_LEN {
            return Err(CheckpointError::TooLong);
        }
        Ok(Note { text, lines: parse_lines(lines)? })
    }
}

impl NoteKey {
    pub(crate) fn new(name: &str, signs: SignatureType, public_key: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| KeyError::PublicKey)?;
        // A point of small order verifies anything, and a point with two spellings would have two key ids.
        if key.is_weak() || key.to_edwards().compress().as_bytes() != public_key {
            return Err(KeyError::PublicKey);
        }
        let data = Sha256::new().chain_update(name).chain_update([b'\n', signs as u8]).chain_update(public_key);
        let hash = data.finalize();
        let id = [hash[0], hash[1], hash[2], hash[3]];
        Ok(NoteKey { name: name.to_owned(), signs, id, key })
    }

    /// Reads what printing gives, and nothing else.
    pub(crate) fn from_vkey(vkey: &str, signs: SignatureType) -> Result<Self, KeyError> {
        // The name comes first and has no plus; the base64 at the end may have some.
        let (name, rest) = vkey.split_once('+').ok_or(KeyError::Vkey)?;
        let (_id, data) = rest.split_once('+').ok_or(KeyError::Vkey)?;
        let mut bytes = [0; 33];
        let [_type, public_key @ ..] = Base64::decode(data, &mut bytes).map_err(|_| KeyError::Vkey)? else {
            return Err(KeyError::Vkey);
        };
        let key = Self::new(name, signs, public_key.try_into().map_err(|_| KeyError::Vkey)?)?;
        // Printed again it must be the same: this compares the type and the key id, too.
        if key.to_string() == vkey { Ok(key) } else { Err(KeyError::Vkey) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[cfg(test)]
    pub(crate) fn id(&self) -> [u8; 4] {
        self.id
    }

    pub(crate) fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// A signature line with these bytes after the key id.
    pub(crate) fn line(&self, signature: &[u8]) -> String {
        let data = Base64::encode_string(&[&self.id[..], signature].concat());
        format!("\u{2014} {} {data}\n", self.name)
    }

    /// Signs a text, which ends with a newline, and returns the whole note.
    pub(crate) fn sign(&self, text: &str, key: &SigningKey) -> String {
        format!("{text}\n{}", self.line(&key.sign(text.as_bytes()).to_bytes()))
    }

    /// Whether this key has made the signature over the message, strictly.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }

    /// What this key has put under a note, not verified; none if it has not signed.
    ///
    /// # Errors
    /// When it has more than one line: a second says nothing new and would cost another verification.
    pub(crate) fn signature_in<'n>(&self, note: &'n Note<'_>) -> Result<Option<&'n [u8]>, CheckpointError> {
        let mine = note.lines.iter().filter(|line| line.name == self.name);
        let mut mine = mine.filter_map(|line| line.data.strip_prefix(&self.id));
        let first = mine.next();
        if mine.next().is_some() { Err(CheckpointError::RepeatedSignature) } else { Ok(first) }
    }

    /// Returns the text of a note that this key has signed. Lines of other keys must be well-formed and are ignored.
    pub(crate) fn open<'a>(&self, note: &Note<'a>) -> Result<&'a str, CheckpointError> {
        let signature = self.signature_in(note)?.ok_or(CheckpointError::NotSigned)?;
        let holds = self.has_signed(note.text.as_bytes(), signature);
        if holds { Ok(note.text) } else { Err(CheckpointError::BadSignature) }
    }
}

/// The vkey.
impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = Base64::encode_string(&[&[self.signs as u8][..], self.public_key()].concat());
        write!(f, "{}+{:08x}+{data}", self.name, u32::from_be_bytes(self.id))
    }
}

/// Signature lines, at least one, each with its newline.
fn parse_lines(lines: &str) -> Result<Vec<SignatureLine<'_>>, CheckpointError> {
    let lines = lines.strip_suffix('\n').ok_or(CheckpointError::NotANote)?;
    if lines.split('\n').count() > MAX_SIGNATURES {
        return Err(CheckpointError::TooManySignatures);
    }
    let lines = lines.split('\n').map(|line| parse_line(line).ok_or(CheckpointError::NotANote));
    lines.collect()
}

/// Splits a line into the key's name and its id ‖ signature, of which at least one byte is signature.
fn parse_line(line: &str) -> Option<SignatureLine<'_>> {
    let (name, data) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let data = Base64::decode_vec(data).ok()?;
    (is_name(name) && data.len() > 4).then_some(SignatureLine { name, data })
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.len()) && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of Go's package golang.org/x/mod/sumdb/note, whose private key is published with it.
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const LINE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngo\
                        tpRZb6KE6RyyBwJnAM=\n";

    fn peter() -> (NoteKey, SigningKey) {
        let seed = Base64::decode_vec("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").expect("the published key");
        let key = SigningKey::from_bytes(seed[1..].try_into().expect("32 bytes"));
        (NoteKey::new("PeterNeumann", SignatureType::Ed25519, key.verifying_key().as_bytes()).expect("a good key"), key)
    }

    fn open<'a>(key: &NoteKey, note: &'a str) -> Result<&'a str, CheckpointError> {
        key.open(&Note::parse(note)?)
    }

    #[test]
    fn signs_and_opens_the_published_note() {
        let (peter, key) = peter();
        assert_eq!(peter.id(), [0xc7, 0x4f, 0x20, 0xa3]);
        let note = peter.sign(TEXT, &key);
        assert_eq!(note, format!("{TEXT}\n{LINE}"));
        assert_eq!(open(&peter, &note), Ok(TEXT));
        let with_empty_lines = "one\n\ntwo\n";
        assert_eq!(open(&peter, &peter.sign(with_empty_lines, &key)), Ok(with_empty_lines));
    }

    #[test]
    fn refuses_what_is_not_a_note() {
        let (peter, _) = peter();
        let third = "\u{2014} third.example AAAAAAA=\n";
        assert_eq!(open(&peter, &format!("{TEXT}\n{third}{LINE}{third}")), Ok(TEXT), "other keys' lines are ignored");
        let refused = |note: &str, why: CheckpointError| assert_eq!(open(&peter, note), Err(why), "{note:?}");
        refused("", CheckpointError::NotANote);
        refused(TEXT, CheckpointError::NotANote);
        refused(&format!("{TEXT}\n"), CheckpointError::NotANote);
        refused(&format!("{TEXT}\n{LINE}\n"), CheckpointError::NotANote);
        refused(&format!("{TEXT}\n{}", LINE.trim_end()), CheckpointError::NotANote);
        refused(&format!("{TEXT}\n{LINE}\u{2014} third.example AAAAAA==\n"), CheckpointError::NotANote);
        refused(&format!("{TEXT}\n{LINE}- third.example AAAAAAA=\n"), CheckpointError::NotANote);
        refused(&format!("{TEXT}\n{LINE}\u{2014} third+example AAAAAAA=\n"), CheckpointError::NotANote);
        refused(&format!("{TEXT}\n{}", LINE.replace("AM=", "AN=")), CheckpointError::NotANote);
        refused(&format!("{TEXT}\n{}", LINE.replace('=', "")), CheckpointError::NotANote);
        refused(&format!("{TEXT}\r\n\n{LINE}"), CheckpointError::NotANote);
        refused(&format!("{TEXT}\n{third}"), CheckpointError::NotSigned);
        refused(&format!("{TEXT}\n{}", LINE.replace("Peter", "Paul")), CheckpointError::NotSigned);
        refused(&format!("{TEXT}\n{}", LINE.replace("x08go", "x08gp")), CheckpointError::NotSigned);
        refused(&format!("{TEXT}!\n\n{LINE}"), CheckpointError::BadSignature);
        refused(&format!("{TEXT}\n\u{2014} PeterNeumann x08gowAA\n"), CheckpointError::BadSignature);
        refused(&format!("{TEXT}\n{LINE}{LINE}"), CheckpointError::RepeatedSignature);
        refused(&format!("{TEXT}\n{LINE}{}", third.repeat(MAX_SIGNATURES)), CheckpointError::TooManySignatures);
        refused(&"x".repeat(MAX_CHECKPOINT_LEN + 1), CheckpointError::TooLong);
    }
}
