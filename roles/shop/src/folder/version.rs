//! What is kept of the version of a file that was encrypted last.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use minicbor::{Decode, Encode};
use naulon_statement::{Digest, cbor};

/// The longest record in bytes: more than any that is written.
const MAX_RECORD_LEN: u64 = 256;

/// One version of a file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Version {
    /// The digest of the plain file.
    #[n(1)]
    pub(super) plain: Digest,
    /// Its size in bytes.
    #[n(2)]
    pub(super) size: u64,
    /// When it was changed, in nanoseconds since the Unix epoch.
    #[n(3)]
    pub(super) modified: u64,
    /// The digest of the encrypted goods.
    #[n(4)]
    pub(super) goods: Digest,
}

impl Version {
    /// The record of this file, if there is a sound one.
    pub(super) fn load(cache: &Path, file: &str) -> Option<Version> {
        let path = record(cache, file);
        let is_short = fs::metadata(&path).ok()?.len() <= MAX_RECORD_LEN;
        is_short.then(|| fs::read(&path).ok()).flatten().and_then(|bytes| cbor::from_slice(&bytes).ok())
    }

    /// Keeps the record. When it returns, it is on the disk, whole.
    pub(super) fn store(&self, cache: &Path, file: &str) -> io::Result<()> {
        let path = record(cache, file);
        let unfinished = path.with_extension("version.new");
        let mut written = File::create(&unfinished)?;
        written.write_all(&cbor::to_vec(self))?;
        written.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(cache)?.sync_all()
    }
}

/// Size and time of change of a regular file.
pub(super) fn stamp(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((metadata.len(), u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX)))
}

/// File names may have characters or lengths that a suffix does not go with; their digest has not.
fn record(cache: &Path, file: &str) -> PathBuf {
    cache.join(format!("{}.version", Digest::of(&[file.as_bytes()])))
}
