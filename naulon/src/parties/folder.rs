//! A party's folder.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use naulon_durable::sealed::{Cost, Passphrase, SEAL_ENTROPY_LEN, SealedFile};
use zeroize::Zeroizing;

use crate::config::{self, SETTINGS_FILE, Settings};
use crate::identity::{IDENTITY_FILE, Identity};

/// A folder with a party in it, or with one being made.
#[derive(Clone, Debug)]
pub struct PartyFolder {
    path: PathBuf,
}

impl PartyFolder {
    /// The folder of a party that exists.
    pub fn open(path: &Path) -> Self {
        PartyFolder { path: path.to_owned() }
    }

    /// Makes a party: `fill` puts everything into a folder beside `path`, which then takes its name. So there is a whole
    /// party or none, whatever happens on the way.
    pub fn create<T>(path: &Path, fill: impl FnOnce(&PartyFolder) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let shown = path.display();
        ensure!(!path.join(SETTINGS_FILE).exists(), "{shown} has a party already; name another folder by --dir");
        let taken = path.exists() && fs::read_dir(path).map_or(true, |mut entries| entries.next().is_some());
        ensure!(!taken, "{shown} exists and is not an empty folder; name another by --dir");
        let name = path.file_name().with_context(|| format!("{shown} cannot be the name of a folder"))?;
        let unfinished = path.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&unfinished);
        made.with_context(|| format!("the folder {} cannot be made", unfinished.display()))?;
        let filled = fill(&PartyFolder { path: unfinished.clone() });
        let done = filled.and_then(|value| {
            fs::rename(&unfinished, path).with_context(|| format!("the folder {shown} cannot be made"))?;
            Ok(value)
        });
        if done.is_err() {
            // What is left over is of no use, and the error that matters is the first.
            let _ = fs::remove_dir_all(&unfinished);
        }
        done
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder's own name.
    pub fn as_path(&self) -> &Path {
        &self.path
    }

    /// Writes the settings.
    pub fn write_settings<S: Settings>(&self, settings: &S) -> anyhow::Result<()> {
        Ok(fs::write(self.path(SETTINGS_FILE), config::file(settings)?)?)
    }

    /// The settings in force.
    pub fn settings<S: Settings>(&self) -> anyhow::Result<S> {
        config::load(&self.path)
    }

    /// Writes the public identity.
    pub fn write_identity(&self, identity: &Identity) -> anyhow::Result<()> {
        Ok(fs::write(self.path(IDENTITY_FILE), identity.file())?)
    }

    /// The public identity.
    pub fn identity(&self) -> anyhow::Result<Identity> {
        let file = self.path(IDENTITY_FILE);
        let mut found = crate::identity::read_all(&file.to_string_lossy())?;
        ensure!(found.len() == 1, "{} is not one identity", file.display());
        Ok(found.remove(0))
    }

    /// Seals a new secret of `N` random bytes, and gives it.
    pub fn seal_random<const N: usize>(
        &self,
        name: &str,
        passphrase: &Passphrase,
    ) -> anyhow::Result<Zeroizing<[u8; N]>> {
        let secret = random::<N>()?;
        SealedFile::create(&self.path(name), passphrase, Cost::default(), &*secret, &*random::<SEAL_ENTROPY_LEN>()?)?;
        Ok(secret)
    }

    /// Opens a sealed secret of `N` bytes.
    pub fn unseal<const N: usize>(&self, name: &str, passphrase: &Passphrase) -> anyhow::Result<Zeroizing<[u8; N]>> {
        let path = self.path(name);
        let opened = SealedFile::open(&path, passphrase)?;
        let mut secret = Zeroizing::new([0; N]);
        ensure!(opened.len() == N, "{} holds another secret than expected", path.display());
        secret.copy_from_slice(&opened);
        Ok(secret)
    }
}

/// Random bytes of the system.
pub fn random<const N: usize>() -> anyhow::Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}
