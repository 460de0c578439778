//! The one narrow door to the private RSA keys, so that they can live in another process or device.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use minicbor::{Decoder, Encoder};
use naulon_blind::{BlindSignature, BlindedMessage, IssuerSecret, SecretKeyError, SignError};
use naulon_durable::sealed::{Cost, CreateError, Passphrase, SEAL_ENTROPY_LEN, SealedError, SealedFile};
use naulon_statement::Digest;
use zeroize::Zeroizing;

use crate::pkcs11::TokenKeys;

/// The most keys in one key file.
pub const MAX_KEYS_A_FILE: usize = 128;

/// Signs what a brand's key is asked to sign.
pub trait Signatory: Send + Sync {
    /// The blind signature of the brand with this token key id over the message. The same message always gets the same
    /// answer: the bank keeps requests, not signatures, and asks again when the holder does. A wrong answer costs the
    /// holder a token, so implementations check it by the public operation.
    fn blind_sign(&self, brand: &Digest, message: &BlindedMessage) -> Result<BlindSignature, SignatoryError>;

    /// Whether the brand's key is at hand. A bank does not take on a brand whose key is not. Who cannot know says yes.
    fn holds(&self, brand: &Digest) -> bool {
        let _ = brand;
        true
    }
}

/// A message that was not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatoryError {
    /// The brand's key is not here. Operator: restore its key file; no money is lost until then.
    #[error("the key of a brand is missing: restore its key file")]
    Missing,
    /// The keys cannot be reached at present.
    #[error("the keys cannot be reached at present")]
    Unreachable,
    /// The private operation failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Keys in this process's memory, by token key id. OpenSSL wipes them with the ring.
#[derive(Default)]
pub struct KeyRing {
    keys: RwLock<BTreeMap<Digest, IssuerSecret>>,
}

/// Keys in key files beside keys in a token. A bank that moves to a token redeems and reissues the tokens of the brands
/// whose keys still lie in files.
pub struct Keychain {
    /// Those of files.
    pub ring: KeyRing,
    /// Those of a token, if the bank has one.
    pub token: Option<TokenKeys>,
}

impl Signatory for Keychain {
    fn blind_sign(&self, brand: &Digest, message: &BlindedMessage) -> Result<BlindSignature, SignatoryError> {
        match &self.token {
            Some(token) if !self.ring.holds(brand) => token.blind_sign(brand, message),
            _ => self.ring.blind_sign(brand, message),
        }
    }

    fn holds(&self, brand: &Digest) -> bool {
        self.ring.holds(brand) || self.token.as_ref().is_some_and(|token| token.holds(brand))
    }
}

/// A key file that gives no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be written.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// It does not open.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// It opened, but what is in it is no list of keys. Operator: is it the file of something else?
    #[error("the file does not hold a bank's keys: check the name")]
    NotKeys,
    /// A key in it cannot be used, or cannot be written.
    #[error("a key in the file: {0}")]
    Key(#[from] SecretKeyError),
}

impl KeyRing {
    /// A ring of these keys.
    pub fn new(secrets: impl IntoIterator<Item = IssuerSecret>) -> Self {
        let ring = KeyRing::default();
        secrets.into_iter().for_each(|secret| ring.add(secret));
        ring
    }

    /// Adds a key. It can be used at once, also while others sign.
    pub fn add(&self, secret: IssuerSecret) {
        let id = Digest(*secret.public().key_id());
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(id, secret);
    }

    /// Adds the keys of a sealed file, and says how many they are. It takes 25 ms a key, for each is checked.
    pub fn add_file(&self, path: &Path, passphrase: &Passphrase) -> Result<usize, KeyFileError> {
        let secrets = Self::read_file(path, passphrase)?;
        let count = secrets.len();
        secrets.into_iter().for_each(|secret| self.add(secret));
        Ok(count)
    }

    /// The keys of a sealed file.
    pub fn read_file(path: &Path, passphrase: &Passphrase) -> Result<Vec<IssuerSecret>, KeyFileError> {
        let opened = SealedFile::open(path, passphrase)?;
        let ders = decode(&opened).ok_or(KeyFileError::NotKeys)?;
        Ok(ders.into_iter().map(IssuerSecret::from_der).collect::<Result<Vec<_>, _>>()?)
    }

    /// Seals keys into a new file. When it returns they are on the disk; only then may their brands be stated.
    pub fn create_file(
        path: &Path,
        passphrase: &Passphrase,
        cost: Cost,
        secrets: &[IssuerSecret],
        entropy: &[u8; SEAL_ENTROPY_LEN],
    ) -> Result<(), KeyFileError> {
        let ders = secrets.iter().map(IssuerSecret::to_der).collect::<Result<Vec<_>, _>>()?;
        Ok(SealedFile::create(path, passphrase, cost, &encode(&ders), entropy)?)
    }

    fn key(&self, brand: &Digest) -> Option<IssuerSecret> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(brand).cloned()
    }
}

impl Signatory for KeyRing {
    fn blind_sign(&self, brand: &Digest, message: &BlindedMessage) -> Result<BlindSignature, SignatoryError> {
        let key = self.key(brand).ok_or(SignatoryError::Missing)?;
        Ok(key.blind_sign(message)?)
    }

    fn holds(&self, brand: &Digest) -> bool {
        self.key(brand).is_some()
    }
}

/// A CBOR array of byte strings, each the PKCS#8 DER of a key.
fn encode(ders: &[Zeroizing<Vec<u8>>]) -> Zeroizing<Vec<u8>> {
    // The room is made at once, because a vector that grows leaves copies behind.
    let room = 16 + ders.iter().map(|der| der.len() + 16).sum::<usize>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let mut encoder = Encoder::new(&mut *bytes);
    let written = encoder
        .array(ders.len() as u64)
        .and_then(|encoder| ders.iter().try_for_each(|der| encoder.bytes(der).map(|_| ())));
    match written {
        Ok(()) => bytes,
        Err(never) => unreachable!("encoding into memory failed: {never}"),
    }
}

fn decode(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut decoder = Decoder::new(bytes);
    let count = decoder.array().ok()?.filter(|count| *count <= MAX_KEYS_A_FILE as u64)?;
    let ders = (0..count).map(|_| decoder.bytes().ok()).collect::<Option<Vec<_>>>()?;
    (decoder.position() == bytes.len()).then_some(ders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(der: &[u8]) -> IssuerSecret {
        IssuerSecret::from_der(der).expect("a test key")
    }

    #[test]
    fn a_ring_signs_with_the_keys_of_its_files_only() {
        let keys = [
            key(include_bytes!("../../../vectors/brand-keys/test-only-00.pkcs8.der")),
            key(include_bytes!("../../../vectors/brand-keys/test-only-01.pkcs8.der")),
        ];
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("brands.key");
        let passphrase = Passphrase::from_reader(&b"words\n"[..]).expect("a passphrase");
        KeyRing::create_file(&path, &passphrase, Cost::light(), &keys, &[3; SEAL_ENTROPY_LEN]).expect("sealed");

        let ring = KeyRing::default();
        assert_eq!(ring.add_file(&path, &passphrase).expect("opens"), 2);
        let message = BlindedMessage([5; 256]);
        for key in &keys {
            let id = Digest(*key.public().key_id());
            assert!(ring.holds(&id));
            assert_eq!(ring.blind_sign(&id, &message), Ok(key.blind_sign(&message).expect("signs")));
        }
        let other = Digest([1; 32]);
        assert!(!ring.holds(&other));
        assert_eq!(ring.blind_sign(&other, &message), Err(SignatoryError::Missing));
    }

    #[test]
    fn a_sealed_file_of_something_else_gives_no_keys() {
        let directory = tempfile::tempdir().expect("a directory");
        let passphrase = Passphrase::from_reader(&b"words\n"[..]).expect("a passphrase");
        let not_keys: [(&str, &[u8]); 3] = [("seed", &[7; 32]), ("trailing", &[0x80, 0]), ("endless", &[0x9f, 0xff])];
        for (name, secret) in not_keys {
            let path = directory.path().join(name);
            SealedFile::create(&path, &passphrase, Cost::light(), secret, &[4; SEAL_ENTROPY_LEN]).expect("sealed");
            let opened = KeyRing::default().add_file(&path, &passphrase);
            assert!(matches!(opened, Err(KeyFileError::NotKeys)), "{name}");
        }
    }
}
