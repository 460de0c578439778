//! Secrets at rest: files sealed under a passphrase, rows sealed under a key.
//!
//! A role's key file or a wallet's seed is a [`SealedFile`]: Argon2id makes a key of the [`Passphrase`], AES-256-GCM
//! seals the secret with it. A wallet's rows are sealed with a [`RowKey`], which is itself such a secret. The formats are
//! in `docs/spec/sealed-file.md`.
//!
//! In scope: keeping the disk from telling secrets, and noticing that they were changed.
//! Out of scope: an old copy put in the place of a newer one (who can write the disk can always restore a backup), and
//! an attacker in the running process.
//!
//! ```
//! use naulon_durable::sealed::{Cost, Passphrase, SEAL_ENTROPY_LEN, SealedFile};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let path = directory.path().join("bank.key");
//! let passphrase = Passphrase::from_reader(&b"correct horse battery staple\n"[..])?;
//! let entropy = [7; SEAL_ENTROPY_LEN]; // in a program: fresh from the system
//! SealedFile::create(&path, &passphrase, Cost::light(), b"the bank's secret", &entropy)?;
//! assert_eq!(SealedFile::open(&path, &passphrase)?.as_slice(), b"the bank's secret");
//! # Ok(()) }
//! ```

mod aead;
mod file;
mod passphrase;
mod row;

pub use file::{Cost, CreateError, MAX_SECRET_LEN, SEAL_ENTROPY_LEN, SealedError, SealedFile};
pub use passphrase::{MAX_PASSPHRASE_LEN, Passphrase, PassphraseError};
pub use row::{ROW_NONCE_LEN, RowError, RowKey};
