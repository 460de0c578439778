//! A shelf that is a folder: the files that its `shelf.toml` lists, each version encrypted once.

mod seal;
mod settings;
mod version;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use naulon_purchase::Contract;
use naulon_purchase::goods::sealed_len;
use naulon_statement::Digest;
use naulon_wire::{Piece, Range};
use zeroize::Zeroizing;

use crate::shelf::{ReadError, Shelf, Stocked, file_key, piece};
use seal::{Job, UNFINISHED, seal_file};
use settings::{Listed, read_settings};
pub use settings::{MAX_ITEMS, SETTINGS_FILE};
use version::Version;

/// The files of a folder, encrypted in a folder of their own. Clones are the same shelf: one can be scanned while another
/// sells.
#[derive(Clone)]
pub struct FolderShelf(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    cache: PathBuf,
    secret: Zeroizing<[u8; 32]>,
    stock: RwLock<BTreeMap<String, Arc<Stocked>>>,
    /// Held while scanning: two scans at once would write the same files.
    scanning: Mutex<()>,
}

/// How far a scan is with one file. Encrypting reads a file twice, so `total` is twice its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The item.
    pub item: &'a str,
    /// The bytes that have been read.
    pub done: u64,
    /// The bytes to be read.
    pub total: u64,
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Items of which a version was encrypted now.
    pub sealed: Vec<String>,
    /// Items whose version was encrypted before.
    pub kept: Vec<String>,
    /// Files in the folder that the list does not name, so they are not sold.
    pub unlisted: Vec<String>,
}

/// Why a scan failed. What is sold is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The list cannot be read. Operator: mend it.
    #[error("{path}: {reason}")]
    Settings {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder cannot be read or written. Operator: see to its rights, and to the space on its disk.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file changes while it is read, time and again. Operator: scan again when it is complete.
    #[error("{path} changes while it is read; scan again when it is complete")]
    Changing {
        /// The file.
        path: PathBuf,
    },
}

impl ShelfError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> ShelfError {
        let path = path.to_owned();
        move |source| ShelfError::Io { path, source }
    }
}

impl FolderShelf {
    /// The shelf of the shop with this goods secret. It is empty until it is [scanned](Self::scan), but goods that were
    /// encrypted before can be read at once.
    ///
    /// # Errors
    /// When the folder for encrypted goods cannot be made.
    pub fn open(folder: &Path, cache: &Path, secret: &[u8; 32]) -> Result<Self, ShelfError> {
        fs::create_dir_all(cache).map_err(ShelfError::io(cache))?;
        Ok(FolderShelf(Arc::new(Inner {
            folder: folder.to_owned(),
            cache: cache.to_owned(),
            secret: Zeroizing::new(*secret),
            stock: RwLock::default(),
            scanning: Mutex::default(),
        })))
    }

    /// Reads the list again, encrypts what is new or has changed, and sells that from now on. Files whose size and time
    /// of change are those of a version that was encrypted before are not read. Older versions stay readable.
    ///
    /// It blocks for as long as reading and encrypting takes. When it is cut off, nothing half-way is ever sold, and the
    /// next scan goes on where it was.
    ///
    /// # Errors
    /// [`ShelfError`]; what is sold is as it was.
    pub fn scan(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Scan, ShelfError> {
        let _scanning = self.0.scanning.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = read_settings(&self.0.folder)?;
        let mut scan = Scan { unlisted: unlisted(&self.0.folder, &listed)?, ..Scan::default() };
        let mut stock = BTreeMap::new();
        for item in listed.into_values() {
            let (version, is_new) = self.0.version_of(&item.file, progress)?;
            if is_new { &mut scan.sealed } else { &mut scan.kept }.push(item.file.clone());
            stock.insert(item.file.clone(), Arc::new(self.0.stocked(item, &version)));
        }
        *self.0.stock.write().unwrap_or_else(PoisonError::into_inner) = stock;
        remove_left_over(&self.0.cache)?;
        Ok(scan)
    }
}

impl Inner {
    /// The version of a file as it is now, and whether it had to be encrypted.
    fn version_of(&self, file: &str, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(Version, bool), ShelfError> {
        let path = self.folder.join(file);
        let (size, modified) = version::stamp(&path).map_err(ShelfError::io(&path))?;
        if let Some(known) = Version::load(&self.cache, file) {
            let sealed = fs::metadata(self.sealed_path(&known.goods)).map(|sealed| sealed.len()).ok();
            if (known.size, known.modified) == (size, modified) && sealed == Some(sealed_len(size)) {
                return Ok((known, false));
            }
        }
        let job = Job { path: &path, item: file, cache: &self.cache, secret: &self.secret };
        let (plain, goods) = seal_file(&job, &|goods| self.sealed_path(goods), progress)?;
        // The stamp is from before the reading: whatever changed since then has another one, and is found next time.
        let version = Version { plain: plain.digest, size: plain.size, modified, goods };
        version.store(&self.cache, file).map_err(ShelfError::io(&self.cache))?;
        Ok((version, true))
    }

    fn stocked(&self, item: Listed, version: &Version) -> Stocked {
        let Listed { file, title, description, price } = item;
        let file_key = file_key(&self.secret, &file, &version.plain);
        let contract = Contract { title, description, size: version.size, digest: version.plain };
        Stocked { item: file, contract, price, goods: version.goods, file_key }
    }

    fn sealed_path(&self, goods: &Digest) -> PathBuf {
        self.cache.join(format!("{goods}.sealed"))
    }
}

/// Removes what scans that were cut off have begun of versions that nobody wants any more.
fn remove_left_over(cache: &Path) -> Result<(), ShelfError> {
    for entry in fs::read_dir(cache).map_err(ShelfError::io(cache))? {
        let path = entry.map_err(ShelfError::io(cache))?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(&path).map_err(ShelfError::io(&path))?;
        }
    }
    Ok(())
}

/// The files in the folder that are not for sale.
fn unlisted(folder: &Path, listed: &BTreeMap<String, Listed>) -> Result<Vec<String>, ShelfError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(ShelfError::io(folder))? {
        let entry = entry.map_err(ShelfError::io(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && name != SETTINGS_FILE && !listed.contains_key(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl Shelf for FolderShelf {
    fn items(&self) -> Vec<Arc<Stocked>> {
        self.0.stock.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn item(&self, item: &str) -> Option<Arc<Stocked>> {
        self.0.stock.read().unwrap_or_else(PoisonError::into_inner).get(item).cloned()
    }

    fn read(&self, goods: &Digest, range: Range) -> Result<Piece, ReadError> {
        let mut file = match File::open(self.0.sealed_path(goods)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::NoSuchGoods),
            Err(error) => return Err(error.into()),
        };
        // Callers bound the range (`MAX_GOODS_PIECE`); this bounds it by the file.
        let of = file.metadata()?.len();
        let within = piece(range, of)?;
        let len = usize::try_from(within.end - within.start).map_err(|_| ReadError::Range(of))?;
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(within.start))?;
        file.read_exact(&mut bytes)?;
        Ok(Piece { offset: within.start, bytes: bytes.into(), of })
    }
}
