//! A store in a SQLite file whose rows are sealed.

use std::path::{Path, PathBuf};

use naulon_durable::StoreError;
use naulon_durable::sealed::{
    Cost, CreateError, Passphrase, ROW_NONCE_LEN, RowKey, SEAL_ENTROPY_LEN, SealedError, SealedFile,
};
use naulon_durable::sqlite::{self, ApplicationId, Database, OpenError};
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use zeroize::Zeroizing;

use super::{Kind, Row, WalletStore, Write};

const WALLET: ApplicationId = ApplicationId::new(b"nlWA");
const MIGRATIONS: &[&str] = &["CREATE TABLE row (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    look BLOB NOT NULL,
    sealed BLOB NOT NULL,
    UNIQUE (kind, look)
) STRICT"];
/// Separates the contexts of rows from all others.
const ROW_DOMAIN: &[u8] = b"naulon/wallet/row/1";

/// Rows in a SQLite file, each sealed under a key that is itself sealed under a passphrase in a file beside it
/// (docs/spec/wallet.md). Who reads the files learns how many rows of each kind there are, how long they are, and which
/// were changed when; and nothing of what is in them.
pub struct SealedStore {
    database: Database,
    key: RowKey,
}

/// Why a sealed store was not created or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealedStoreError {
    /// Another passphrase than the one it was created with, or a changed key file: nobody can tell these apart.
    #[error("{path} does not open: the passphrase is wrong, or the file was changed")]
    WrongPassphrase {
        /// The key file.
        path: PathBuf,
    },
    /// There is no wallet of this name.
    #[error("there is no wallet at {path}: create one first")]
    NotThere {
        /// The key file that is missing.
        path: PathBuf,
    },
    /// There is a wallet of this name, or a part of one.
    #[error("there is a wallet at {path} already, and it is not overwritten")]
    Exists {
        /// The file that is there.
        path: PathBuf,
    },
    /// The key file could not be written.
    #[error(transparent)]
    Create(CreateError),
    /// The key file could not be read.
    #[error(transparent)]
    Key(SealedError),
    /// The database could not be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Entropy(getrandom::Error),
}

impl SealedStore {
    /// Creates an empty store at `path`, and its key file beside it.
    pub fn create(path: &Path, passphrase: &Passphrase, cost: Cost) -> Result<Self, SealedStoreError> {
        let key_file = key_file(path);
        if let Some(there) = [path, &key_file].into_iter().find(|path| path.symlink_metadata().is_ok()) {
            return Err(SealedStoreError::Exists { path: there.to_owned() });
        }
        let mut secret = Zeroizing::new([0; 32]);
        let mut entropy = [0; SEAL_ENTROPY_LEN];
        getrandom::fill(secret.as_mut_slice()).map_err(SealedStoreError::Entropy)?;
        getrandom::fill(&mut entropy).map_err(SealedStoreError::Entropy)?;
        SealedFile::create(&key_file, passphrase, cost, secret.as_slice(), &entropy).map_err(|error| match error {
            CreateError::Exists { path } => SealedStoreError::Exists { path },
            other => SealedStoreError::Create(other),
        })?;
        Self::with_key(path, &secret)
    }

    /// Opens the store at `path`.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, SealedStoreError> {
        let key_file = key_file(path);
        if key_file.symlink_metadata().is_err() {
            return Err(SealedStoreError::NotThere { path: key_file });
        }
        let secret = SealedFile::open(&key_file, passphrase).map_err(|error| match error {
            SealedError::WrongPassphrase { path } => SealedStoreError::WrongPassphrase { path },
            other => SealedStoreError::Key(other),
        })?;
        let secret = <[u8; 32]>::try_from(secret.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| SealedStoreError::Key(SealedError::NotSealed { path: key_file }))?;
        Self::with_key(path, &secret)
    }

    fn with_key(path: &Path, secret: &[u8; 32]) -> Result<Self, SealedStoreError> {
        Ok(SealedStore { database: sqlite::open(path, WALLET, MIGRATIONS)?, key: RowKey::new(secret) })
    }

    fn look(&self, kind: Kind, key: &[u8]) -> [u8; 32] {
        self.key.lookup(&[b"row/", &[kind as u8][..], key].concat())
    }

    /// Opens a row, and gives its key and content.
    fn unseal(&self, kind: Kind, look: &[u8], sealed: &[u8]) -> Result<Row, StoreError> {
        let plain = self.key.open(&context(kind, look), sealed).map_err(|_| StoreError::Corrupt)?;
        let (len, rest) = plain.split_first_chunk::<4>().ok_or(StoreError::Corrupt)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| StoreError::Corrupt)?;
        let (key, value) = rest.split_at_checked(len).ok_or(StoreError::Corrupt)?;
        Ok((key.to_vec(), value.to_vec()))
    }

    fn seal(&self, kind: Kind, look: &[u8], key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let len = u32::try_from(key.len()).map_err(|_| StoreError::Other("a key that is too long".to_owned()))?;
        let plain = Zeroizing::new([&len.to_be_bytes()[..], key, value].concat());
        let mut nonce = [0; ROW_NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|error| StoreError::Other(error.to_string()))?;
        Ok(self.key.seal(&context(kind, look), &plain, &nonce))
    }
}

impl WalletStore for SealedStore {
    fn load(&mut self, kind: Kind, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let look = self.look(kind, key);
        let mut select = self.database.prepare_cached("SELECT sealed FROM row WHERE kind = ?1 AND look = ?2")?;
        let sealed: Option<Vec<u8>> = select.query_row(params![kind as i64, look], |row| row.get(0)).optional()?;
        let row = sealed.map(|sealed| self.unseal(kind, &look, &sealed)).transpose()?;
        Ok(row.map(|(_, value)| value))
    }

    fn list(&mut self, kind: Kind) -> Result<Vec<Row>, StoreError> {
        let mut select = self.database.prepare_cached("SELECT look, sealed FROM row WHERE kind = ?1")?;
        let mut found = select.query([kind as i64])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let (look, sealed): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            rows.push(self.unseal(kind, &look, &sealed)?);
        }
        rows.sort();
        Ok(rows)
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        // Sealed before the transaction, which borrows the database.
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            changes.push(match write {
                Write::Put { kind, key, value } => {
                    let look = self.look(*kind, key);
                    (*kind, look, Some(self.seal(*kind, &look, key, value)?))
                }
                Write::Remove { kind, key } => (*kind, self.look(*kind, key), None),
            });
        }
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (kind, look, sealed) in changes {
            match sealed {
                Some(sealed) => transaction
                    .prepare_cached(
                        "INSERT INTO row (kind, look, sealed) VALUES (?1, ?2, ?3)
                         ON CONFLICT (kind, look) DO UPDATE SET sealed = excluded.sealed",
                    )?
                    .execute(params![kind as i64, look, sealed])?,
                None => transaction
                    .prepare_cached("DELETE FROM row WHERE kind = ?1 AND look = ?2")?
                    .execute(params![kind as i64, look])?,
            };
        }
        Ok(transaction.commit()?)
    }
}

/// The key file beside a store.
fn key_file(path: &Path) -> PathBuf {
    path.with_extension("key")
}

/// A row opens only at its own place.
fn context(kind: Kind, look: &[u8]) -> Vec<u8> {
    [ROW_DOMAIN, &[kind as u8], look].concat()
}
