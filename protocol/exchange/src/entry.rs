//! How a purchase stands in its log (AAT §8.5): in the open, encrypted, or blind.
//!
//! | entry | what the log sees | what the public reads |
//! | --- | --- | --- |
//! | plain | the bank's header, and k | the decision, with k |
//! | encrypted | the same | the time; whoever has the header reads the decision |
//! | blind | a one-time key, the expiry, 80 opaque bytes | the same; whoever has the header reads k |
//!
//! All keys come from one secret s = HKDF(n, M ‖ digest of the header). n is 128 random bits that the parties of the
//! purchase alone have. AES-256-GCM-SIV with the nonce zero: each key encrypts one message only, and should a party break
//! its rules and encrypt a second one, no more comes out than whether the two are the same.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use minicbor::{Decode, Encode};
use naulon_statement::{Digest, PublicKey, Statement, Timestamp, Unverified, derive_secret};
use zeroize::Zeroizing;

use crate::promise::Header;
use crate::request::{RequestId, key_commitment};

/// The plain length of every encrypted entry: it must not tell a commit from an abort.
pub const SEALED_ENTRY_ROOM: usize = 512;
/// The bytes of a published encrypted entry.
pub const SEALED_ENTRY_LEN: usize = SEALED_ENTRY_ROOM + TAG_LEN;
/// The bytes of an encrypted authorization_m in a blind message: a ‖ k, and the tag.
pub const SEALED_RELEASE_LEN: usize = 64 + TAG_LEN;
const TAG_LEN: usize = 16;

/// How a purchase is to stand in its log. The merchant says which kinds it offers, the buyer chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum EntryMode {
    /// Everybody reads it.
    #[default]
    #[n(0)]
    Plain,
    /// The log decides as ever, and publishes what the parties of the purchase alone can read.
    #[n(1)]
    Encrypted,
    /// The log does not know what it decides on.
    #[n(2)]
    Blind,
}

/// How one purchase stands in its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Entry {
    /// [`EntryMode::Plain`].
    #[default]
    #[n(0)]
    Plain,
    /// [`EntryMode::Encrypted`].
    #[n(1)]
    Encrypted,
    /// [`EntryMode::Blind`].
    #[n(2)]
    Blind {
        /// The merchant's one-time key: the log takes one message that it signs, and nothing else under this index.
        #[n(0)]
        index: PublicKey,
    },
}

impl EntryMode {
    /// All of them.
    pub const ALL: [EntryMode; 3] = [EntryMode::Plain, EntryMode::Encrypted, EntryMode::Blind];

    /// A word for settings and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryMode::Plain => "plain",
            EntryMode::Encrypted => "encrypted",
            EntryMode::Blind => "blind",
        }
    }
}

/// No such kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry is plain, encrypted or blind")]
pub struct UnknownEntryMode;

impl std::str::FromStr for EntryMode {
    type Err = UnknownEntryMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EntryMode::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or(UnknownEntryMode)
    }
}

impl std::fmt::Display for EntryMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Entry {
    /// Whether it is plain, which a statement leaves out.
    pub fn is_plain(&self) -> bool {
        *self == Entry::Plain
    }

    /// Of which kind it is.
    pub fn mode(&self) -> EntryMode {
        match self {
            Entry::Plain => EntryMode::Plain,
            Entry::Encrypted => EntryMode::Encrypted,
            Entry::Blind { .. } => EntryMode::Blind,
        }
    }
}

/// What the merchant posts to a blind log, signed by the one-time key that is its index.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlindMessage {
    /// The log that it is for.
    #[n(1)]
    pub log: PublicKey,
    /// The log publishes it before this instant or not at all.
    #[n(2)]
    pub expiry: Timestamp,
    /// The encrypted authorization_m ([`Header::seal_release`]), opaque to the log.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: [u8; SEALED_RELEASE_LEN],
}

impl Statement for BlindMessage {
    const CONTENT_TYPE: &'static str = "application/naulon.blind-message+cbor";
}

/// What a blind log publishes: the one message under an index and expiry, or that there was none in time.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub struct BlindDecision {
    /// The index.
    #[n(1)]
    pub index: PublicKey,
    /// Until when a message could come.
    #[n(2)]
    pub expiry: Timestamp,
    /// The log's clock when it decided.
    #[n(3)]
    pub time: Timestamp,
    /// The message that came in time; none for an abort.
    #[n(4)]
    pub message: Option<Unverified<BlindMessage>>,
}

impl Statement for BlindDecision {
    const CONTENT_TYPE: &'static str = "application/naulon.blind-decision+cbor";
}

/// What a blind log decides once only: an index and an expiry. With another expiry it is another subject, so that nobody who
/// knows an index can have it aborted before its time.
pub fn blind_subject(index: &PublicKey, expiry: Timestamp) -> Digest {
    Digest::of(&[b"naulon/blind-subject", index.as_bytes(), &expiry.0.to_be_bytes()])
}

impl Header {
    /// What the log decides once only: the header's digest, or for a blind entry its index and expiry.
    pub fn subject(&self) -> Digest {
        match &self.entry {
            Entry::Plain | Entry::Encrypted => self.digest(),
            Entry::Blind { index } => blind_subject(index, self.expiry),
        }
    }

    /// What an entry's middle 32 bytes are the digest of: known data alone, so that the parties find the entry (§8.5).
    pub(crate) fn log_index(&self) -> Digest {
        match &self.entry {
            Entry::Plain => self.a,
            Entry::Encrypted => {
                let mut index = Digest([0; 32]);
                derive_secret(&*self.entry_secret(), &[b"index"], &mut index.0);
                index
            }
            Entry::Blind { .. } => self.subject(),
        }
    }

    /// The published bytes of an encrypted entry: the signed decision, padded, under the body's key.
    pub(crate) fn seal_entry(&self, statement: &[u8]) -> Option<Vec<u8>> {
        let len = u16::try_from(statement.len()).ok()?;
        let mut plain = Vec::with_capacity(SEALED_ENTRY_LEN);
        plain.extend(len.to_be_bytes());
        plain.extend(statement);
        if plain.len() > SEALED_ENTRY_ROOM {
            return None;
        }
        plain.resize(SEALED_ENTRY_ROOM, 0);
        self.seal(b"body", plain)
    }

    /// The signed decision in the published bytes of an encrypted entry.
    pub fn open_entry(&self, published: &[u8]) -> Option<Vec<u8>> {
        let plain = self.open(b"body", published)?;
        let (len, rest) = plain.split_at_checked(2)?;
        let len = usize::from(u16::from_be_bytes(len.try_into().ok()?));
        let (statement, padding) = rest.split_at_checked(len)?;
        let sound = plain.len() == SEALED_ENTRY_ROOM && padding.iter().all(|byte| *byte == 0);
        sound.then(|| statement.to_vec())
    }

    /// Encrypts authorization_m for a blind log.
    pub fn seal_release(&self, a: &RequestId, k: &[u8; 32]) -> [u8; SEALED_RELEASE_LEN] {
        let plain = [a.as_bytes().as_slice(), k].concat();
        match self.seal(b"release", plain).map(<[u8; SEALED_RELEASE_LEN]>::try_from) {
            Some(Ok(sealed)) => sealed,
            _ => unreachable!("64 bytes are sealed into 80"),
        }
    }

    /// k, if this message is the merchant's commitment to the purchase of this header. One that is anything else commits to
    /// nothing: it has used up its index, and counts as an abort.
    pub fn open_release(&self, sealed: &[u8; SEALED_RELEASE_LEN]) -> Option<[u8; 32]> {
        let plain = Zeroizing::new(self.open(b"release", sealed)?);
        let (a, k) = plain.split_first_chunk::<32>()?;
        let k = <[u8; 32]>::try_from(k).ok()?;
        (Digest(*a) == self.a && key_commitment(&self.n, &k) == self.c).then_some(k)
    }

    fn entry_secret(&self) -> Zeroizing<[u8; 32]> {
        let mut secret = Zeroizing::new([0; 32]);
        let digest = self.digest();
        derive_secret(&self.n, &[b"naulon/log-entry/1", self.merchant.as_bytes(), digest.as_bytes()], &mut *secret);
        secret
    }

    fn entry_key(&self, purpose: &[u8]) -> Option<LessSafeKey> {
        let mut key = Zeroizing::new([0; 32]);
        derive_secret(&*self.entry_secret(), &[purpose], &mut *key);
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key.as_slice()).ok()?))
    }

    fn seal(&self, purpose: &[u8], mut plain: Vec<u8>) -> Option<Vec<u8>> {
        let key = self.entry_key(purpose)?;
        key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut plain).ok()?;
        Some(plain)
    }

    fn open(&self, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (key, mut bytes) = (self.entry_key(purpose)?, sealed.to_vec());
        key.open_in_place(nonce(), Aad::empty(), &mut bytes).ok().map(|plain| plain.to_vec())
    }
}

/// Always zero: no key is used for a second message (see the module's head).
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(n: u8) -> Header {
        let n = [n; 16];
        let key = |byte| naulon_statement::SecretKey::from_seed(&[byte; 32]).public();
        let (expiry, a) = (Timestamp(9), Digest([3; 32]));
        let (c, entry) = (key_commitment(&n, &[7; 32]), Entry::Encrypted);
        Header { bank: key(1), merchant: key(2), n, expiry, log: key(3), a, c, q: None, entry }
    }

    #[test]
    fn an_entry_opens_for_whoever_has_the_header_alone() {
        let sealed = header(1).seal_entry(b"a decision").unwrap();
        assert_eq!(sealed.len(), SEALED_ENTRY_LEN);
        assert_eq!(header(1).seal_entry(b"a longer decision").unwrap().len(), SEALED_ENTRY_LEN);
        assert_eq!(header(1).open_entry(&sealed).as_deref(), Some(b"a decision".as_slice()));
        assert_eq!(header(2).open_entry(&sealed), None);
        assert_eq!(Header { expiry: Timestamp(10), ..header(1) }.open_entry(&sealed), None);
        for at in 0..sealed.len() {
            let mut torn = sealed.clone();
            torn[at] ^= 1;
            assert_eq!(header(1).open_entry(&torn), None, "byte {at}");
        }
        assert_eq!(header(1).seal_entry(&[0; SEALED_ENTRY_ROOM]), None);
    }

    #[test]
    fn indices_of_different_purchases_are_different() {
        let other_try = Header { expiry: Timestamp(10), ..header(1) };
        assert_ne!(header(1).log_index(), other_try.log_index());
        assert_ne!(header(1).log_index(), header(2).log_index());
        assert_eq!(header(1).log_index(), header(1).log_index());
    }

    #[test]
    fn a_release_is_for_one_purchase_and_the_right_key() {
        let header = header(1);
        assert_eq!(header.open_release(&header.seal_release(&header.a, &[7; 32])), Some([7; 32]));
        assert_eq!(header.open_release(&header.seal_release(&header.a, &[8; 32])), None, "k does not open c");
        assert_eq!(header.open_release(&header.seal_release(&Digest([4; 32]), &[7; 32])), None, "another purchase");
        assert_eq!(header.open_release(&[0; SEALED_RELEASE_LEN]), None, "rubbish");
    }
}
