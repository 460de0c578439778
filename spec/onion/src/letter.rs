//! What a sender seals to a recipient: the text of a block, and the ticks that the recipient lets go for it.
//!
//! MixPay's c_R(t) under hybrid encryption (§6): the first letter carries a key sealed to the recipient (HPKE), and every letter is
//! sealed with that key alone. So a recipient's public-key work is one opening for a whole message.

use std::fmt;

use aws_lc_rs::aead::LessSafeKey;
use naulon_statement::{BOX_OVERHEAD, BoxError, BoxPublicKey, BoxSecretKey, derive_secret, seal_to};
use zeroize::Zeroizing;

use crate::OpenError;
use crate::key::{Direction, aead_key, open, seal};
use crate::shape::{RETURN_LEN, TAG_LEN};
use crate::window::Window;

/// What a letter begins with: first or later, conversation, number.
const LEAD_LEN: usize = 1 + 16 + 4;
/// The key, sealed to the recipient.
const KEY_LEN: usize = BOX_OVERHEAD + 32;
/// Whether there are ticks, the number of the block that they pay, and the ticks.
const TICKS_LEN: usize = 1 + 4 + RETURN_LEN;
/// How much longer the first letter is than its text.
pub const FIRST_LETTER_OVERHEAD: usize = LETTER_OVERHEAD + KEY_LEN;
/// How much longer every later letter is.
pub const LETTER_OVERHEAD: usize = LEAD_LEN + TICKS_LEN + TAG_LEN;

const INFO: &[u8] = b"naulon/onion/letter/1";
const FIRST: u8 = 1;
const LATER: u8 = 2;

/// Names the letters of one sender to one recipient. It tells nothing of either.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conversation(pub [u8; 16]);

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conversation")
    }
}

/// The ticks that a recipient lets go: for the block of this number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedTicks {
    /// The number of the block.
    pub number: u32,
    /// The reverse onion, for the exit.
    pub onion: [u8; RETURN_LEN],
}

impl fmt::Debug for SealedTicks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedTicks({})", self.number)
    }
}

fn keys(secret: &[u8; 32]) -> (Conversation, LessSafeKey) {
    let mut bytes = Zeroizing::new([0; 48]);
    derive_secret(secret, &[INFO], &mut bytes[..]);
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[..16]);
    (Conversation(id), aead_key(&bytes[16..]))
}

/// Seals letters to one recipient.
pub struct LetterWriter {
    conversation: Conversation,
    key: LessSafeKey,
    /// The sealed key, until it was sent.
    sealed: Option<Vec<u8>>,
    next: u32,
}

impl LetterWriter {
    /// A new conversation. The entropy is secret and used once.
    pub fn new(recipient: &BoxPublicKey, entropy: &[u8; 64]) -> Result<Self, BoxError> {
        let (secret, seed) = entropy.split_at(32);
        let (secret, seed) = (Zeroizing::new(array(secret)), Zeroizing::new(array(seed)));
        let (conversation, key) = keys(&secret);
        let sealed = seal_to(recipient, INFO, &conversation.0, &secret[..], &seed)?;
        Ok(LetterWriter { conversation, key, sealed: Some(sealed), next: 0 })
    }

    /// The next letter. A tick that the recipient lets go stands inside.
    pub fn seal(&mut self, ticks: Option<&SealedTicks>, text: &[u8]) -> Result<Vec<u8>, OpenError> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or(OpenError::Exhausted)?;
        let sealed = self.sealed.take();
        let mut letter = vec![if sealed.is_some() { FIRST } else { LATER }];
        letter.extend(self.conversation.0);
        letter.extend(number.to_be_bytes());
        letter.extend(sealed.unwrap_or_default());
        let begin = letter.len();
        let none = SealedTicks { number: 0, onion: [0; RETURN_LEN] };
        letter.push(u8::from(ticks.is_some()));
        letter.extend(ticks.unwrap_or(&none).number.to_be_bytes());
        letter.extend(ticks.unwrap_or(&none).onion);
        letter.extend(text);
        letter.extend([0; TAG_LEN]);
        let (aad, body) = letter.split_at_mut(begin);
        seal(&self.key, Direction::Forward, number, aad, body);
        Ok(letter)
    }
}

fn array(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(bytes);
    array
}

/// What stands at the begin of a letter: which conversation it belongs to.
pub fn conversation_of(letter: &[u8]) -> Option<Conversation> {
    let (kind, rest) = letter.split_first()?;
    let id = rest.first_chunk()?;
    matches!(*kind, FIRST | LATER).then_some(Conversation(*id))
}

/// Opens the letters of one conversation.
pub struct LetterReader {
    conversation: Conversation,
    key: LessSafeKey,
    seen: Window,
}

/// What was in a letter.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// The letter's number in its conversation.
    pub number: u32,
    /// The ticks to let go.
    pub ticks: Option<SealedTicks>,
    /// The text.
    pub text: Vec<u8>,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letter({}, {} bytes)", self.number, self.text.len())
    }
}

impl LetterReader {
    /// Begins with the first letter of a conversation.
    pub fn begin(recipient: &BoxSecretKey, letter: &[u8]) -> Result<Self, OpenError> {
        let conversation = conversation_of(letter).ok_or(OpenError::Malformed)?;
        let sealed = letter.get(LEAD_LEN..LEAD_LEN + KEY_LEN).filter(|_| letter[0] == FIRST);
        let sealed = sealed.ok_or(OpenError::Malformed)?;
        let secret = recipient.open(INFO, &conversation.0, sealed).map(Zeroizing::new);
        let secret = secret.map_err(|_| OpenError::Closed)?;
        let secret: &[u8; 32] = secret.as_slice().try_into().map_err(|_| OpenError::Malformed)?;
        let (derived, key) = keys(secret);
        let is_same = derived == conversation;
        if is_same {
            Ok(LetterReader { conversation, key, seen: Window::new(u32::MAX) })
        } else {
            Err(OpenError::Malformed)
        }
    }

    /// Opens a letter, the first one too. Each is opened once.
    pub fn open(&mut self, letter: &[u8]) -> Result<Letter, OpenError> {
        if conversation_of(letter) != Some(self.conversation) || letter.len() < LETTER_OVERHEAD {
            return Err(OpenError::Malformed);
        }
        let mut number = [0; 4];
        number.copy_from_slice(&letter[17..LEAD_LEN]);
        let number = u32::from_be_bytes(number);
        self.seen.admit(number)?;
        let begin = LEAD_LEN + if letter[0] == FIRST { KEY_LEN } else { 0 };
        if letter.len() < begin + TICKS_LEN + TAG_LEN {
            return Err(OpenError::Malformed);
        }
        let mut letter = letter.to_vec();
        let (aad, body) = letter.split_at_mut(begin);
        open(&self.key, Direction::Forward, number, aad, body)?;
        self.seen.mark(number);
        let (ticks, text) = body[..body.len() - TAG_LEN].split_at(TICKS_LEN);
        Ok(Letter { number, ticks: read_ticks(ticks)?, text: text.to_vec() })
    }
}

fn read_ticks(bytes: &[u8]) -> Result<Option<SealedTicks>, OpenError> {
    let (flag, rest) = bytes.split_first().ok_or(OpenError::Malformed)?;
    let (number, onion) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
    let onion: [u8; RETURN_LEN] = onion.try_into().map_err(|_| OpenError::Malformed)?;
    match flag {
        0 if rest.iter().all(|byte| *byte == 0) => Ok(None),
        1 => Ok(Some(SealedTicks { number: u32::from_be_bytes(*number), onion })),
        _ => Err(OpenError::Malformed),
    }
}

/// It must not be printed.
impl fmt::Debug for LetterWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterWriter").finish_non_exhaustive()
    }
}

/// It must not be printed.
impl fmt::Debug for LetterReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterReader").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(number: u32) -> SealedTicks {
        SealedTicks { number, onion: [number as u8; RETURN_LEN] }
    }

    #[test]
    fn letters_arrive_once_in_any_order_and_unchanged() {
        let recipient = BoxSecretKey::from_seed(&[1; 32]);
        let mut writer = LetterWriter::new(&recipient.public(), &[2; 64]).unwrap();
        let first = writer.seal(Some(&ticks(7)), b"one").unwrap();
        let letters: Vec<_> = (0..4).map(|n| writer.seal(None, &[n]).unwrap()).collect();
        assert_eq!((first.len(), letters[0].len()), (3 + FIRST_LETTER_OVERHEAD, 1 + LETTER_OVERHEAD));
        let mut reader = LetterReader::begin(&recipient, &first).unwrap();
        let opened = reader.open(&first).unwrap();
        assert_eq!((opened.number, opened.ticks, opened.text.as_slice()), (0, Some(ticks(7)), &b"one"[..]));
        for at in [2, 0, 3, 1] {
            assert_eq!(reader.open(&letters[at]).unwrap().text, [at as u8]);
            assert_eq!(reader.open(&letters[at]), Err(OpenError::Replayed));
        }
        for at in 0..first.len() {
            let mut changed = first.clone();
            changed[at] ^= 1;
            let opened = LetterReader::begin(&recipient, &changed).and_then(|mut reader| reader.open(&changed));
            assert!(opened.is_err(), "byte {at}");
        }
        let other = BoxSecretKey::from_seed(&[3; 32]);
        assert_eq!(LetterReader::begin(&other, &first).err(), Some(OpenError::Closed));
        assert_eq!(LetterReader::begin(&recipient, &letters[0]).err(), Some(OpenError::Malformed));
        (0..first.len()).for_each(|len| assert!(reader.open(&first[..len]).is_err()));
    }
}
