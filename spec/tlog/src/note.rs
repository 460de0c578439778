//! Signed notes (C2SP signed-note) with Ed25519 keys, as far as checkpoints need them.

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

/// The signature type of plain Ed25519.
pub(crate) const ED25519: u8 = 0x01;

/// A name and a public key, which together are one signer of notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoteKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl NoteKey {
    pub(crate) fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| KeyError::PublicKey)?;
        // A point of small order verifies anything, and a point with two spellings would have two key ids.
        if key.is_weak() || key.to_edwards().compress().as_bytes() != public_key {
            return Err(KeyError::PublicKey);
        }
        let hash = Sha256::new().chain_update(name).chain_update([b'\n', ED25519]).chain_update(public_key).finalize();
        let id = [hash[0], hash[1], hash[2], hash[3]];
        Ok(NoteKey { name: name.to_owned(), id, key })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> [u8; 4] {
        self.id
    }

    pub(crate) fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Signs a text, which ends with a newline, and returns the whole note.
    pub(crate) fn sign(&self, text: &str, key: &SigningKey) -> String {
        let signature = key.sign(text.as_bytes()).to_bytes();
        let line = Base64::encode_string(&[&self.id[..], &signature].concat());
        format!("{text}\n\u{2014} {} {line}\n", self.name)
    }

    /// Returns the text of a note that this key has signed. Lines of other keys must be well-formed and are ignored.
    pub(crate) fn open<'a>(&self, note: &'a str) -> Result<&'a str, CheckpointError> {
        if note.len() > MAX_CHECKPOINT_LEN {
            return Err(CheckpointError::TooLong);
        }
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(CheckpointError::NotANote);
        }
        // The text itself may have empty lines; the signatures, which come after the last one, may not.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(CheckpointError::NotANote)?;
        let text = note.get(..text.len() + 1).ok_or(CheckpointError::NotANote)?;
        let lines = lines.strip_suffix('\n').ok_or(CheckpointError::NotANote)?;
        let mut signed = false;
        for (count, line) in lines.split('\n').enumerate() {
            if count >= MAX_SIGNATURES {
                return Err(CheckpointError::TooManySignatures);
            }
            let (name, signature) = parse_line(line).ok_or(CheckpointError::NotANote)?;
            let Some(signature) = signature.strip_prefix(&self.id).filter(|_| name == self.name) else { continue };
            // A second line of the same key says nothing new and would cost another verification.
            if signed {
                return Err(CheckpointError::RepeatedSignature);
            }
            let signature = Signature::from_slice(signature).map_err(|_| CheckpointError::BadSignature)?;
            self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| CheckpointError::BadSignature)?;
            signed = true;
        }
        if signed { Ok(text) } else { Err(CheckpointError::NotSigned) }
    }
}

/// Splits a line into the key's name and its id ‖ signature, of which at least one byte is signature.
fn parse_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let signature = Base64::decode_vec(signature).ok()?;
    (is_name(name) && signature.len() > 4).then_some((name, signature))
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
        (NoteKey::new("PeterNeumann", key.verifying_key().as_bytes()).expect("a good key"), key)
    }

    #[test]
    fn signs_and_opens_the_published_note() {
        let (peter, key) = peter();
        assert_eq!(peter.id(), [0xc7, 0x4f, 0x20, 0xa3]);
        let note = peter.sign(TEXT, &key);
        assert_eq!(note, format!("{TEXT}\n{LINE}"));
        assert_eq!(peter.open(&note), Ok(TEXT));
        let with_empty_lines = "one\n\ntwo\n";
        assert_eq!(peter.open(&peter.sign(with_empty_lines, &key)), Ok(with_empty_lines));
    }

    #[test]
    fn refuses_what_is_not_a_note() {
        let (peter, _) = peter();
        let third = "\u{2014} third.example AAAAAAA=\n";
        assert_eq!(peter.open(&format!("{TEXT}\n{third}{LINE}{third}")), Ok(TEXT), "other keys' lines are ignored");
        let refused = |note: &str, why: CheckpointError| assert_eq!(peter.open(note), Err(why), "{note:?}");
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
