//! Encrypting one file, chunk by chunk.
//!
//! The file key comes from the digest of the plain file, so a file is read twice: once for its digest, once to encrypt it.
//! The second reading makes the digest again, and what was written counts only if it is the same: one key must never
//! leave the house with two different texts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use naulon_purchase::goods::{CHUNK_LEN, GoodsHasher, Sealer};
use naulon_statement::Digest;
use sha2::{Digest as _, Sha256};

use super::{Progress, ShelfError};
use crate::shelf::file_key;

/// How often a file that changes while it is read is begun again.
const MAX_READINGS: u32 = 3;

/// The extension of encrypted goods that are not whole.
pub(super) const UNFINISHED: &str = "part";

/// What is to be encrypted, and where to.
pub(super) struct Job<'a> {
    pub(super) path: &'a Path,
    pub(super) item: &'a str,
    pub(super) cache: &'a Path,
    pub(super) secret: &'a [u8; 32],
}

/// The plain file as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// Encrypts the file into the place that `placed` gives for the digest of its encryption, and says both digests. When it
/// returns, the encrypted goods are on the disk, whole.
pub(super) fn seal_file(
    job: &Job<'_>,
    placed: &dyn Fn(&Digest) -> PathBuf,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(Plain, Digest), ShelfError> {
    for _ in 0..MAX_READINGS {
        let plain = read_through(job, progress).map_err(ShelfError::io(job.path))?;
        // The name is the version's: what is left of an earlier attempt is of the same file and key.
        let name = Digest::of(&[plain.digest.as_bytes(), job.item.as_bytes()]);
        let unfinished = job.cache.join(format!("{name}.{UNFINISHED}"));
        let Some(goods) = seal_into(job, plain, &unfinished, progress).map_err(ShelfError::io(job.cache))? else {
            fs::remove_file(&unfinished).map_err(ShelfError::io(&unfinished))?;
            continue;
        };
        let path = placed(&goods);
        fs::rename(&unfinished, &path).map_err(ShelfError::io(&path))?;
        File::open(job.cache).and_then(|cache| cache.sync_all()).map_err(ShelfError::io(job.cache))?;
        return Ok((plain, goods));
    }
    Err(ShelfError::Changing { path: job.path.to_owned() })
}

/// The first reading: digest and size.
fn read_through(job: &Job<'_>, progress: &mut dyn FnMut(Progress<'_>)) -> io::Result<Plain> {
    let mut file = File::open(job.path)?;
    let total = file.metadata()?.len().saturating_mul(2);
    let (mut digest, mut size) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let count = fill(&mut file, &mut chunk)?;
        digest.update(&chunk[..count]);
        size += count as u64;
        progress(Progress { item: job.item, done: size, total });
        if count < CHUNK_LEN {
            return Ok(Plain { digest: Digest(digest.finalize().into()), size });
        }
    }
}

/// The second reading: encrypts into `unfinished`, and gives the digest of the encryption; none if the file is not the one
/// that was read first. What an earlier attempt has left is compared and kept as far as it is right.
fn seal_into(
    job: &Job<'_>,
    plain: Plain,
    unfinished: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> io::Result<Option<Digest>> {
    let mut file = File::open(job.path)?;
    let mut sealed = Unfinished::open(unfinished)?;
    let mut sealer = Sealer::new(file_key(job.secret, job.item, &plain.digest));
    let (mut digest, mut goods) = (Sha256::new(), GoodsHasher::default());
    let mut left = plain.size;
    loop {
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK_LEN).min(CHUNK_LEN)];
        if fill(&mut file, &mut chunk)? < chunk.len() {
            return Ok(None);
        }
        left -= chunk.len() as u64;
        digest.update(&chunk);
        let encrypted = sealer.seal(&chunk, left == 0);
        goods.update(&encrypted);
        sealed.write(&encrypted)?;
        progress(Progress { item: job.item, done: 2 * plain.size - left, total: 2 * plain.size });
        if left == 0 {
            break;
        }
    }
    let has_grown = fill(&mut file, &mut [0])? > 0;
    if has_grown || Digest(digest.finalize().into()) != plain.digest {
        return Ok(None);
    }
    sealed.finish()?;
    Ok(Some(goods.finish()))
}

/// A file that may hold the beginning of what is written into it.
struct Unfinished {
    file: File,
    /// How far it is written.
    at: u64,
    /// Whether everything so far was there.
    is_there: bool,
}

impl Unfinished {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Unfinished { file, at: 0, is_there: true })
    }

    /// Writes the next bytes, unless the file has these very bytes at this place.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_there {
            let mut found = vec![0; bytes.len()];
            let count = fill(&mut self.file, &mut found)?;
            self.is_there = count == bytes.len() && found == bytes;
            if !self.is_there {
                self.file.set_len(self.at)?;
                self.file.seek(SeekFrom::Start(self.at))?;
            }
        }
        if !self.is_there {
            self.file.write_all(bytes)?;
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Makes the file end here, and last.
    fn finish(self) -> io::Result<()> {
        self.file.set_len(self.at)?;
        self.file.sync_all()
    }
}

/// Reads until the buffer is full or the file ends, and says how much it was.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
