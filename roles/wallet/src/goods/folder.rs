//! Goods in a folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use naulon_durable::StoreError;
use naulon_statement::Digest;

use super::GoodsDir;

/// The longest name that is made of a title, in bytes.
const MAX_NAME_LEN: usize = 120;
/// Encrypted goods on their way. Finished goods never begin with a dot.
const SEALED: &str = ".encrypted";
/// Plain goods on their way.
const PLAIN: &str = ".decrypted";

/// Goods in a folder: each purchase has a folder in it, named by the offer, with the finished goods under the name that
/// the contract's title makes. Only its owner can read them.
pub struct FolderGoods {
    root: PathBuf,
}

impl FolderGoods {
    /// The goods in this folder, which is made if it is not there.
    pub fn new(root: &Path) -> Result<Self, StoreError> {
        private_dir(root).map_err(failed)?;
        Ok(FolderGoods { root: root.to_owned() })
    }

    /// The folder of a purchase.
    fn folder(&self, offer: &Digest) -> PathBuf {
        let (first, _) = offer.as_bytes().split_at(8);
        self.root.join(first.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    fn open(&self, offer: &Digest, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        let folder = self.folder(offer);
        private_dir(&folder)?;
        let file = options.mode(0o600).open(folder.join(name))?;
        Ok(file)
    }

    fn remove(&self, offer: &Digest, name: &str) -> Result<(), StoreError> {
        let folder = self.folder(offer);
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
            _ => {
                // A folder with nothing in it is of no use; one with something in it stays.
                let _ = fs::remove_dir(&folder);
                Ok(())
            }
        }
    }
}

impl GoodsDir for FolderGoods {
    fn kept(&mut self, offer: &Digest) -> Result<u64, StoreError> {
        match fs::metadata(self.folder(offer).join(SEALED)) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(failed(error)),
        }
    }

    fn append(&mut self, offer: &Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let kept = self.kept(offer)?;
        if kept != offset {
            return Ok(());
        }
        let append = || {
            let mut file = self.open(offer, SEALED, OpenOptions::new().append(true).create(true))?;
            file.write_all(bytes)?;
            file.sync_data()?;
            if kept == 0 { sync_dir(&self.folder(offer)) } else { Ok(()) }
        };
        append().map_err(failed)
    }

    fn read(&mut self, offer: &Digest, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let read = || {
            let mut file = match File::open(self.folder(offer).join(SEALED)) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                opened => opened?,
            };
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::with_capacity(len);
            file.take(len as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(failed)
    }

    fn discard(&mut self, offer: &Digest) -> Result<(), StoreError> {
        self.remove(offer, SEALED)
    }

    fn begin(&mut self, offer: &Digest) -> Result<(), StoreError> {
        let options = &mut OpenOptions::new();
        self.open(offer, PLAIN, options.write(true).create(true).truncate(true)).map(|_| ()).map_err(failed)
    }

    fn extend(&mut self, offer: &Digest, plain: &[u8]) -> Result<(), StoreError> {
        let extend = || self.open(offer, PLAIN, OpenOptions::new().append(true))?.write_all(plain);
        extend().map_err(failed)
    }

    fn finish(&mut self, offer: &Digest, title: &str) -> Result<String, StoreError> {
        let folder = self.folder(offer);
        let place = folder.join(file_name(title));
        let finish = || {
            File::open(folder.join(PLAIN))?.sync_all()?;
            fs::rename(folder.join(PLAIN), &place)?;
            sync_dir(&folder)?;
            sync_dir(&self.root)
        };
        finish().map_err(failed)?;
        Ok(place.display().to_string())
    }

    fn abandon(&mut self, offer: &Digest) -> Result<(), StoreError> {
        self.remove(offer, PLAIN)
    }
}

/// The name of a file that shows the title, whatever a shop has written there.
fn file_name(title: &str) -> String {
    // The last ones are directions of writing, by which a name can look like another.
    let is_strange = |c: char| {
        c.is_control() || "/\\:*?\"<>|".contains(c) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let harmless = |c: char| if is_strange(c) { '_' } else { c };
    let mut name: String = title.chars().map(harmless).collect();
    let end = (0..=name.len().min(MAX_NAME_LEN)).rev().find(|at| name.is_char_boundary(*at));
    name.truncate(end.unwrap_or(0));
    let name = name.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if name.is_empty() { "goods".to_owned() } else { name.to_owned() }
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn failed(error: io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_title_leads_out_of_the_folder() {
        for (title, name) in [
            ("A song.ogg", "A song.ogg"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("/etc/passwd", "_etc_passwd"),
            (".encrypted", "encrypted"),
            ("..", "goods"),
            ("", "goods"),
            ("a\0b\nc", "a_b_c"),
            ("a\u{202e}gpj.exe", "a_gpj.exe"),
            (" ναῦλον ", "ναῦλον"),
        ] {
            assert_eq!(file_name(title), name, "{title:?}");
        }
        let long = file_name(&"ῦ".repeat(100));
        assert!(long.len() <= MAX_NAME_LEN && !long.is_empty());
    }
}
