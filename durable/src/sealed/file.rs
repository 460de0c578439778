//! One secret in one file, sealed under a passphrase (`docs/spec/sealed-file.md`).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use minicbor::{Decoder, Encoder};
use zeroize::Zeroizing;

use super::{Passphrase, aead};
use crate::files;

/// Longest secret, in bytes.
pub const MAX_SECRET_LEN: usize = 1 << 20;
/// Bytes of fresh entropy that sealing needs: salt and nonce.
pub const SEAL_ENTROPY_LEN: usize = SALT_LEN + aead::NONCE_LEN;

const MARK: &str = "naulon/sealed-file/1";
const SALT_LEN: usize = 16;
/// What stands around the ciphertext is less than this.
const MAX_HEADER_LEN: usize = 128;
/// Bounds of what a file can make us spend before we know whether it is sound: 1 GiB, 16 passes, 16 lanes.
const MAX_COST: Cost = Cost { memory_kib: 1 << 20, passes: 16, lanes: 16 };

/// What one guess at a passphrase costs: the parameters of Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// For tests only: with it a passphrase is guessed as quickly as a plain hash.
    #[must_use]
    pub const fn light() -> Self {
        Self { memory_kib: 8, passes: 1, lanes: 1 }
    }
}

impl Default for Cost {
    /// 64 MiB, 3 passes, 1 lane: RFC 9106 §4's second choice but for its lanes, since we compute them one after another.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

/// A sealed file that was not created. There is none then, unless the error says so.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is a file of this name. Operator: open it, or choose another name; it is never overwritten.
    #[error("{path} exists and is not overwritten: open it, or choose another name")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Longer than [`MAX_SECRET_LEN`]. It is the program's mistake; report it.
    #[error("a secret of {len} bytes is too long to be sealed")]
    TooLong {
        /// The secret's length in bytes.
        len: usize,
    },
    /// There was not the memory that the cost asks for. Operator: free some, then try again.
    #[error("there is not enough memory to seal {path}: free some, then try again")]
    Memory {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be written, or not made to last. Operator: see to the directory (space, rights, a file system
    /// with hard links); if the file is there, remove it before trying again.
    #[error("cannot write {path}: {source}; see to its directory, remove the file if it is there, and try again")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A sealed file that did not open.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// It cannot be read. Operator: check the name and the rights.
    #[error("cannot read {path}: {source}; check the name and who may read it")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no sealed file, is cut short, or was written by a newer program. Operator: check the name, else restore a
    /// backup.
    #[error("{path} is not a whole sealed file of a kind this program knows: check the name, or restore a backup")]
    NotSealed {
        /// The file.
        path: PathBuf,
    },
    /// Opening it would take more than 1 GiB, or parameters that do not exist. Operator: restore a backup.
    #[error("{path} asks for more work than any sealed file needs: it was changed, restore a backup")]
    Cost {
        /// The file.
        path: PathBuf,
    },
    /// There was not the memory that its cost asks for. Operator: free some, then try again.
    #[error("there is not enough memory to open {path}: free some, then try again")]
    Memory {
        /// The file.
        path: PathBuf,
    },
    /// Another passphrase, or a changed file: by design nobody can tell these apart. Operator: type it again; if you are
    /// sure of it, restore a backup.
    #[error("{path} does not open: the passphrase is wrong, or the file was changed")]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
}

/// The content of a sealed file: everything but the passphrase and the secret.
pub struct SealedFile {
    cost: Cost,
    salt: [u8; SALT_LEN],
    nonce: [u8; aead::NONCE_LEN],
    ciphertext: Vec<u8>,
}

impl SealedFile {
    /// Seals `secret` into a new file at `path`, which only its owner can read. When it returns the file is on the disk,
    /// whole; at a crash there is none, or a whole one.
    ///
    /// `entropy` is fresh from the system and used for this file alone.
    ///
    /// # Errors
    /// [`CreateError`]; a file that exists is left as it is.
    pub fn create(
        path: &Path,
        passphrase: &Passphrase,
        cost: Cost,
        secret: &[u8],
        entropy: &[u8; SEAL_ENTROPY_LEN],
    ) -> Result<(), CreateError> {
        if path.symlink_metadata().is_ok() {
            // `place` asks again, and decides. This only saves the work of Argon2id.
            return Err(CreateError::Exists { path: path.to_owned() });
        }
        if secret.len() > MAX_SECRET_LEN {
            return Err(CreateError::TooLong { len: secret.len() });
        }
        let mut file = Self { cost, salt: [0; SALT_LEN], nonce: [0; aead::NONCE_LEN], ciphertext: Vec::new() };
        file.salt.copy_from_slice(&entropy[..SALT_LEN]);
        file.nonce.copy_from_slice(&entropy[SALT_LEN..]);
        let key = file.key(passphrase).ok_or_else(|| CreateError::Memory { path: path.to_owned() })?;
        file.ciphertext = aead::seal(&key, &file.nonce, &file.header(), secret);
        place(path, &file.encode(), &file.salt).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => CreateError::Exists { path: path.to_owned() },
            _ => CreateError::Io { path: path.to_owned(), source },
        })
    }

    /// The secret in the file at `path`.
    ///
    /// # Errors
    /// [`SealedError`]; any change to the file gives one.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        let path = || path.to_owned();
        let bytes = read(&path()).map_err(|source| SealedError::Io { path: path(), source })?;
        let file = Self::decode(&bytes).ok_or_else(|| SealedError::NotSealed { path: path() })?;
        let Cost { memory_kib, passes, lanes } = file.cost;
        if memory_kib > MAX_COST.memory_kib || passes > MAX_COST.passes || lanes > MAX_COST.lanes {
            return Err(SealedError::Cost { path: path() });
        }
        if Params::new(memory_kib, passes, lanes, None).is_err() {
            return Err(SealedError::Cost { path: path() });
        }
        let key = file.key(passphrase).ok_or_else(|| SealedError::Memory { path: path() })?;
        aead::open(&key, &file.nonce, &file.header(), &file.ciphertext)
            .ok_or_else(|| SealedError::WrongPassphrase { path: path() })
    }

    /// The key under which the secret is sealed; none if there is not the memory for it.
    fn key(&self, passphrase: &Passphrase) -> Option<Zeroizing<[u8; aead::KEY_LEN]>> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let params = Params::new(memory_kib, passes, lanes, Some(aead::KEY_LEN)).ok()?;
        let mut key = Zeroizing::new([0; aead::KEY_LEN]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &self.salt, key.as_mut_slice())
            .ok()?;
        Some(key)
    }

    /// What is sealed along: all that stands before the ciphertext, as an array of its own.
    fn header(&self) -> Vec<u8> {
        self.encode_fields(6)
    }

    fn encode(&self) -> Vec<u8> {
        self.encode_fields(7)
    }

    /// The first `count` of the file's fields as a CBOR array.
    fn encode_fields(&self, count: u64) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        let written = (|| {
            encoder.array(count)?.str(MARK)?;
            encoder.u32(self.cost.memory_kib)?.u32(self.cost.passes)?.u32(self.cost.lanes)?;
            encoder.bytes(&self.salt)?.bytes(&self.nonce)?;
            if count == 7 { encoder.bytes(&self.ciphertext) } else { Ok(&mut encoder) }.map(|_| ())
        })();
        written.expect("a vector takes all that is written to it");
        encoder.into_writer()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut decoder = Decoder::new(bytes);
        if decoder.array().ok()? != Some(7) || decoder.str().ok()? != MARK {
            return None;
        }
        let cost = Cost { memory_kib: decoder.u32().ok()?, passes: decoder.u32().ok()?, lanes: decoder.u32().ok()? };
        let salt = decoder.bytes().ok()?.try_into().ok()?;
        let nonce = decoder.bytes().ok()?.try_into().ok()?;
        let file = Self { cost, salt, nonce, ciphertext: decoder.bytes().ok()?.to_vec() };
        // minicbor also takes longer forms of the same values, and leaves what follows: one file has one encoding.
        (file.encode() == bytes).then_some(file)
    }
}

/// The file's bytes, or as many as show that it is too long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let most = MAX_SECRET_LEN + aead::TAG_LEN + MAX_HEADER_LEN;
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a new file at `path`, whole or not at all. `unique` makes the name under which it is written.
fn place(path: &Path, bytes: &[u8], unique: &[u8; SALT_LEN]) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let directory = files::directory_of(path);
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{:032x}.new", u128::from_be_bytes(*unique)));
    let unfinished = directory.join(unfinished);

    let mut file = files::private().create_new(true).open(&unfinished)?;
    // A rename would silently replace what has come to be at `path` since we looked; a link refuses.
    let placed = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&unfinished, path));
    let removed = fs::remove_file(&unfinished);
    placed?;
    removed?;
    files::sync_directory(directory)
}
