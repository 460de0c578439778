//! Hop keys, and the keys that a session has at one hop.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use naulon_statement::derive_secret;
use zeroize::Zeroizing;

use crate::OpenError;
use crate::shape::{KEM_LEN, TAG_LEN};

/// X25519. Another number will mean X-Wing.
pub const KEM_X25519: u8 = 1;
/// How many epochs' keys a mix has at once: that of the epoch, and that of the last for blocks on their way.
pub const MAX_EPOCHS: usize = 2;
/// How many ephemeral keys are remembered an epoch. A mix that has seen so many takes no further session before its next
/// epoch, which it may begin early.
pub const MAX_EPHEMERALS: usize = 1 << 20;

const SESSION: &[u8] = b"naulon/onion/session/1";
const PACKET: &[u8] = b"naulon/onion/packet/1";

/// To whom a layer is sealed in one epoch: the public part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HopPublic {
    /// The epoch in which the hop opens what is sealed to this key.
    pub epoch: u32,
    /// An X25519 public key.
    pub key: [u8; 32],
}

impl fmt::Debug for HopPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HopPublic(epoch {})", self.epoch)
    }
}

/// A private X25519 key with its public part.
struct Pair {
    private: PrivateKey,
    public: [u8; 32],
}

impl Pair {
    fn from_seed(seed: &[u8; 32]) -> Pair {
        let made = PrivateKey::from_private_key(&X25519, seed).map_err(|_| ());
        let made = made.and_then(|private| {
            let public = private.compute_public_key().map_err(|_| ())?;
            let public = public.as_ref().try_into().map_err(|_| ())?;
            Ok(Pair { private, public })
        });
        match made {
            Ok(pair) => pair,
            // Every 32 bytes are an X25519 private key.
            Err(()) => unreachable!("a seed was refused"),
        }
    }

    /// Keys of what both sides share, bound to both public keys. A point of small order shares nothing and is refused.
    fn derive(&self, their: &[u8; 32], label: &[u8], bound: [&[u8; 32]; 2], out: &mut [u8]) -> Result<(), OpenError> {
        let their = UnparsedPublicKey::new(&X25519, &their[..]);
        agree(&self.private, their, OpenError::Closed, |shared| {
            derive_secret(shared, &[label, &[KEM_X25519], bound[0], bound[1]], out);
            Ok(())
        })
    }
}

/// An ephemeral key of a sender: one layer of one block.
pub(crate) struct Ephemeral(Pair);

impl Ephemeral {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Ephemeral(Pair::from_seed(seed))
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.public
    }

    pub(crate) fn session(&self, hop: &HopPublic) -> Result<SessionKeys, OpenError> {
        SessionKeys::derive(|out| self.0.derive(&hop.key, SESSION, [&self.0.public, &hop.key], out))
    }

    pub(crate) fn packet(&self, hop: &HopPublic) -> Result<LessSafeKey, OpenError> {
        packet_key(|out| self.0.derive(&hop.key, PACKET, [&self.0.public, &hop.key], out))
    }
}

/// The keys of one session at one hop: for its set-up layer and for each direction. Different keys, so no nonce is shared.
pub(crate) struct SessionKeys {
    pub set_up: LessSafeKey,
    pub forward: LessSafeKey,
    pub back: LessSafeKey,
    pub returns: LessSafeKey,
}

impl SessionKeys {
    fn derive(fill: impl FnOnce(&mut [u8]) -> Result<(), OpenError>) -> Result<SessionKeys, OpenError> {
        let mut bytes = Zeroizing::new([0; 128]);
        fill(&mut bytes[..])?;
        let key = |number: usize| aead_key(&bytes[number * 32..][..32]);
        Ok(SessionKeys { set_up: key(0), forward: key(1), back: key(2), returns: key(3) })
    }
}

fn packet_key(fill: impl FnOnce(&mut [u8]) -> Result<(), OpenError>) -> Result<LessSafeKey, OpenError> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill(&mut bytes[..])?;
    Ok(aead_key(&bytes[..]))
}

pub(crate) fn aead_key(bytes: &[u8]) -> LessSafeKey {
    match UnboundKey::new(&AES_256_GCM, bytes) {
        Ok(key) => LessSafeKey::new(key),
        // Every 32 bytes are a key, and the callers give 32.
        Err(_) => unreachable!("a key of 32 bytes was refused"),
    }
}

/// What a nonce is for. Keys differ by direction already; the nonce says it once more.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Direction {
    SetUp = 0,
    Forward = 1,
    Back = 2,
    Return = 3,
}

fn nonce(direction: Direction, counter: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[0] = direction as u8;
    nonce[8..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Opens what stands behind `aad`, tag last, in its place.
pub(crate) fn open(
    key: &LessSafeKey,
    direction: Direction,
    counter: u32,
    aad: &[u8],
    sealed: &mut [u8],
) -> Result<(), OpenError> {
    let opened = key.open_in_place(nonce(direction, counter), Aad::from(aad), sealed);
    opened.map(|_| ()).map_err(|_| OpenError::Closed)
}

/// Seals all but the last 16 bytes in their place; the tag goes into these.
pub(crate) fn seal(key: &LessSafeKey, direction: Direction, counter: u32, aad: &[u8], bytes: &mut [u8]) {
    let (plain, room) = bytes.split_at_mut(bytes.len() - TAG_LEN);
    match key.seal_in_place_separate_tag(nonce(direction, counter), Aad::from(aad), plain) {
        Ok(tag) => room.copy_from_slice(tag.as_ref()),
        // AES-GCM refuses only what is longer than 64 GiB.
        Err(_) => unreachable!("a block was not sealed"),
    }
}

/// By what a hop knows an ephemeral key again: its first half. Who makes two with the same half shuts out only himself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EphemeralMark(pub [u8; 16]);

impl fmt::Debug for EphemeralMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralMark")
    }
}

/// One epoch's key, with the ephemeral keys that were used with it.
struct Epoch {
    pair: Pair,
    seen: HashSet<EphemeralMark>,
}

/// The keys that a hop opens set-ups and packets with. With an epoch's key goes the memory of what was opened by it, so a
/// block is opened once, whenever it comes.
#[derive(Default)]
pub struct HopKeys {
    epochs: BTreeMap<u32, Epoch>,
}

impl HopKeys {
    /// No key yet.
    pub fn new() -> Self {
        HopKeys::default()
    }

    /// Takes up the key of an epoch, and gives up what is older than the last [`MAX_EPOCHS`]: the key with its memory.
    pub fn begin(&mut self, epoch: u32, seed: &[u8; 32]) -> HopPublic {
        let pair = Pair::from_seed(seed);
        let public = HopPublic { epoch, key: pair.public };
        self.epochs.insert(epoch, Epoch { pair, seen: HashSet::new() });
        while self.epochs.len() > MAX_EPOCHS {
            self.epochs.pop_first();
        }
        public
    }

    /// Gives up an epoch's key with its memory.
    pub fn end(&mut self, epoch: u32) {
        self.epochs.remove(&epoch);
    }

    /// Remembers a mark that was written down before a restart.
    pub fn remember(&mut self, epoch: u32, mark: EphemeralMark) {
        if let Some(epoch) = self.epochs.get_mut(&epoch) {
            epoch.seen.insert(mark);
        }
    }

    /// How many marks are remembered.
    pub fn remembered(&self) -> usize {
        self.epochs.values().map(|epoch| epoch.seen.len()).sum()
    }

    /// How many of them were opened by the newest epoch's key.
    pub fn remembered_newest(&self) -> usize {
        self.epochs.last_key_value().map_or(0, |(_, epoch)| epoch.seen.len())
    }

    /// Tries each epoch's key, the newest first, and opens by it what `open` opens: the ephemeral key stands in `lead`.
    pub(crate) fn open_with<K, T>(
        &mut self,
        lead: &[u8; KEM_LEN],
        derive: impl Fn(&dyn Fn(&[u8], &mut [u8]) -> Result<(), OpenError>) -> Result<K, OpenError>,
        mut open: impl FnMut(K, u32) -> Result<T, OpenError>,
    ) -> Result<(T, EphemeralMark), OpenError> {
        let (kem, ephemeral) =
            lead.split_first_chunk().map_or((0, [0; 32]), |([kem], rest)| (*kem, rest.try_into().unwrap_or([0; 32])));
        if kem != KEM_X25519 {
            return Err(OpenError::Kem);
        }
        let mark = mark(&ephemeral);
        for (number, epoch) in self.epochs.iter_mut().rev() {
            let pair = &epoch.pair;
            let keys = derive(&|label, out| pair.derive(&ephemeral, label, [&ephemeral, &pair.public], out))?;
            match open(keys, *number) {
                Err(OpenError::Closed) => continue,
                Err(other) => return Err(other),
                Ok(_) if epoch.seen.contains(&mark) => return Err(OpenError::Replayed),
                Ok(_) if epoch.seen.len() >= MAX_EPHEMERALS => return Err(OpenError::Full),
                Ok(opened) => {
                    epoch.seen.insert(mark);
                    return Ok((opened, mark));
                }
            }
        }
        Err(OpenError::Closed)
    }

    pub(crate) fn open_session<T>(
        &mut self,
        lead: &[u8; KEM_LEN],
        open: impl FnMut(SessionKeys, u32) -> Result<T, OpenError>,
    ) -> Result<(T, EphemeralMark), OpenError> {
        self.open_with(lead, |fill| SessionKeys::derive(|out| fill(SESSION, out)), open)
    }

    pub(crate) fn open_packet_key<T>(
        &mut self,
        lead: &[u8; KEM_LEN],
        open: impl FnMut(LessSafeKey, u32) -> Result<T, OpenError>,
    ) -> Result<(T, EphemeralMark), OpenError> {
        self.open_with(lead, |fill| packet_key(|out| fill(PACKET, out)), open)
    }
}

fn mark(ephemeral: &[u8; 32]) -> EphemeralMark {
    let mut half = [0; 16];
    half.copy_from_slice(&ephemeral[..16]);
    EphemeralMark(half)
}

/// It must not be printed.
impl fmt::Debug for HopKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HopKeys").field("epochs", &self.epochs.keys()).finish_non_exhaustive()
    }
}
