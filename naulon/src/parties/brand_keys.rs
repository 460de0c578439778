//! The private keys of a bank's brands: made, sealed into files, loaded, and made anew in time.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use naulon_bank::{
    AddBrandsError, BrandRefusal, BrandTerms, KeyRing, Keychain, OpenError, TokenKeys, generate, missing, periods,
};
use naulon_blind::{Brand, IssuerSecret};
use naulon_durable::sealed::{Cost, Passphrase, SEAL_ENTROPY_LEN, SealedFile};
use naulon_exchange::Rules;
use naulon_statement::PublicKey;
use zeroize::Zeroizing;

use super::PartyFolder;
use super::bank_room::Running;
use super::folder::random;
use crate::clock;
use crate::config::BankSettings;
use crate::output::{Output, Unit};

/// Key files are named by when they were made, and by the first of their brands, for two may be made in a second:
/// `brands-20261120T061530Z-1f9c04e2.key`.
const PREFIX: &str = "brands-";
const SUFFIX: &str = ".key";
/// The token's PIN, sealed.
const PIN_FILE: &str = "token-pin.key";
/// How often a running bank looks whether new brands are due. They are due a whole period ahead.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Where brands' keys come from.
#[derive(Clone, Copy, Debug)]
pub enum BrandKeys<'p> {
    /// They are made.
    New,
    /// They are taken from the *.der files (PKCS#8) of this folder, in the order of their names.
    From(&'p Path),
}

/// The brands that are due and that these rules do not have.
pub fn due(settings: &BankSettings, rules: &Rules) -> anyhow::Result<Vec<BrandTerms>> {
    let due = periods(&settings.brands()?, &rules.currency, clock::now())?;
    Ok(missing(due, rules.brands.values().map(|known| known.brand())))
}

/// A key for each of these brands of the bank, in the token if it has one, else sealed into a file of their own. When it
/// returns they are kept; only now may their brands be stated.
pub fn make(
    chain: &Keychain,
    folder: &PartyFolder,
    passphrase: &Passphrase,
    (terms, bank, keys): (&[BrandTerms], PublicKey, BrandKeys<'_>),
    output: Output,
) -> anyhow::Result<Vec<Brand>> {
    let given = match keys {
        BrandKeys::New => None,
        BrandKeys::From(ders) => Some(take(terms, bank, ders)?),
    };
    match (&chain.token, given) {
        (None, given) => {
            let made = given.map_or_else(|| make_here(terms, bank, output), Ok)?;
            seal(folder, made, passphrase, &chain.ring)
        }
        (Some(token), Some(given)) => {
            given.iter().try_for_each(|(_, secret)| token.import(secret))?;
            Ok(given.into_iter().map(|(brand, _)| brand).collect())
        }
        (Some(token), None) => {
            let bar = output.bar(terms.len() as u64, "brand keys", Unit::Steps);
            let brand = |terms: &BrandTerms| {
                let key = token.generate()?;
                bar.inc(1);
                Ok(terms.brand(bank, &key))
            };
            let brands = terms.iter().map(brand).collect::<anyhow::Result<_>>()?;
            bar.finish_and_clear();
            Ok(brands)
        }
    }
}

/// Making a key takes about 0.2 s, so all cores do it.
fn make_here(terms: &[BrandTerms], bank: PublicKey, output: Output) -> anyhow::Result<Vec<(Brand, IssuerSecret)>> {
    let bar = output.bar(terms.len() as u64, "brand keys", Unit::Steps);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = terms.len().div_ceil(threads).max(1);
    let made = std::thread::scope(|scope| {
        let make = |terms| {
            let (bar, told) = (bar.clone(), AtomicU64::new(0));
            scope.spawn(move || {
                generate(terms, bank, |done, _| bar.inc(done as u64 - told.swap(done as u64, Ordering::Relaxed)))
            })
        };
        let threads: Vec<_> = terms.chunks(share).map(make).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().map_err(|_| anyhow::anyhow!("making a key failed")).and_then(|made| Ok(made?))
        };
        threads.into_iter().map(join).collect::<anyhow::Result<Vec<_>>>()
    })?;
    bar.finish_and_clear();
    Ok(made.into_iter().flatten().collect())
}

/// Seals the keys into a file of their own and puts them on the ring. When it returns they are on the disk.
fn seal(
    folder: &PartyFolder,
    made: Vec<(Brand, IssuerSecret)>,
    passphrase: &Passphrase,
    ring: &KeyRing,
) -> anyhow::Result<Vec<Brand>> {
    let (brands, secrets): (Vec<Brand>, Vec<IssuerSecret>) = made.into_iter().unzip();
    let time: String = clock::utc(clock::now()).chars().filter(char::is_ascii_alphanumeric).collect();
    let first = brands.first().map_or([0; 32], Brand::key_id);
    let path = folder.path(&format!("{PREFIX}{time}-{}{SUFFIX}", hex::encode(&first[..4])));
    KeyRing::create_file(&path, passphrase, Cost::default(), &secrets, &*random::<SEAL_ENTROPY_LEN>()?)?;
    secrets.into_iter().for_each(|secret| ring.add(secret));
    Ok(brands)
}

/// The keys of the folder's files, and those in its token.
pub fn open(folder: &PartyFolder, settings: &BankSettings, passphrase: &Passphrase) -> anyhow::Result<Keychain> {
    let ring = KeyRing::default();
    load(folder, passphrase, &ring)?;
    if settings.pkcs11_module.is_empty() {
        return Ok(Keychain { ring, token: None });
    }
    let pin = pin(folder, settings, passphrase)?;
    let token = TokenKeys::open(Path::new(&settings.pkcs11_module), &settings.pkcs11_token, &pin)?;
    Ok(Keychain { ring, token: Some(token) })
}

/// The token's PIN: of its file, or sealed in the folder, or from the terminal, and then sealed in the folder.
fn pin(folder: &PartyFolder, settings: &BankSettings, passphrase: &Passphrase) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let sealed = folder.path(PIN_FILE);
    if !settings.pkcs11_pin_file.is_empty() {
        let path = Path::new(&settings.pkcs11_pin_file);
        let shown = path.display();
        let file = std::fs::File::open(path).with_context(|| format!("the PIN in {shown}"))?;
        let mode = file.metadata()?.permissions().mode();
        ensure!(mode & 0o077 == 0, "others may read {shown}, which has the token's PIN: chmod 600 {shown}");
        return Ok(Zeroizing::new(Passphrase::from_reader(file)?.as_bytes().to_vec()));
    }
    if sealed.is_file() {
        return Ok(Zeroizing::new(SealedFile::open(&sealed, passphrase)?.to_vec()));
    }
    let pin = Passphrase::prompt("PIN of the token: ")?;
    SealedFile::create(&sealed, passphrase, Cost::default(), pin.as_bytes(), &*random::<SEAL_ENTROPY_LEN>()?)?;
    Ok(Zeroizing::new(pin.as_bytes().to_vec()))
}

/// Puts the keys of all files in the folder on the ring.
fn load(folder: &PartyFolder, passphrase: &Passphrase, ring: &KeyRing) -> anyhow::Result<()> {
    for path in files(folder)? {
        ring.add_file(&path, passphrase).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

/// The keys of all files in the folder, for whoever puts some of them into purses.
pub fn all(folder: &PartyFolder, passphrase: &Passphrase) -> anyhow::Result<Vec<IssuerSecret>> {
    let mut keys = Vec::new();
    for path in files(folder)? {
        keys.extend(of_file(&path, passphrase)?);
    }
    Ok(keys)
}

/// The folder's key files.
fn files(folder: &PartyFolder) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder.as_path())? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// The keys of one file.
pub fn of_file(path: &Path, passphrase: &Passphrase) -> anyhow::Result<Vec<IssuerSecret>> {
    KeyRing::read_file(path, passphrase).with_context(|| format!("{}", path.display()))
}

/// Makes the next period's brands while the bank runs, as soon as they are due.
pub async fn renew(running: Running, folder: PartyFolder, settings: BankSettings, passphrase: Passphrase) {
    let (folder, settings, passphrase) = (&folder, &settings, Arc::new(passphrase));
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = renew_once(&running, folder, settings, &passphrase).await {
            // It is due a period ahead, so there is time to see to it; the next look tries again.
            tracing::error!("the next period's brands cannot be made: {error:#}");
        }
    }
}

/// Of several processes on the same books the first that looks makes the brands; the others find them there, and their keys
/// in the folder or the token, which all of them share.
async fn renew_once(
    running: &Running,
    folder: &PartyFolder,
    settings: &BankSettings,
    passphrase: &Arc<Passphrase>,
) -> anyhow::Result<()> {
    catch_up(running, folder, passphrase).await?;
    let rules = running.front.desk().rules();
    let missing = due(settings, &rules)?;
    if missing.is_empty() {
        return Ok(());
    }
    let (place, secret, keys) = (folder.clone(), Arc::clone(passphrase), Arc::clone(&running.keys));
    let made = move || make(&keys, &place, &secret, (&missing[..], rules.bank, BrandKeys::New), Output { json: true });
    let brands = tokio::task::spawn_blocking(made).await??;
    let count = brands.len();
    match running.front.add_brands(brands).await {
        Ok(()) => tracing::info!(brands = count, "the next period's brands are made"),
        // Another process was faster by a moment. Our keys are of no use, and do no harm.
        Err(AddBrandsError::Bank(OpenError::Brand(BrandRefusal::Taken(_)))) => {
            catch_up(running, folder, passphrase).await?
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Takes on the brands of other processes.
async fn catch_up(running: &Running, folder: &PartyFolder, passphrase: &Arc<Passphrase>) -> anyhow::Result<()> {
    if running.front.refresh_brands().await?.is_empty() {
        return Ok(());
    }
    // The key files are only read when there is something to be found, for reading them takes a while.
    let (place, secret, keys) = (folder.clone(), Arc::clone(passphrase), Arc::clone(&running.keys));
    tokio::task::spawn_blocking(move || load(&place, &secret, &keys.ring)).await??;
    let without_key = running.front.refresh_brands().await?;
    if !without_key.is_empty() {
        tracing::error!(
            brands = without_key.len(),
            "another process has made brands whose keys are not here: all processes share one folder or one token"
        );
    }
    Ok(())
}

/// Keys that were made elsewhere.
fn take(terms: &[BrandTerms], bank: PublicKey, folder: &Path) -> anyhow::Result<Vec<(Brand, IssuerSecret)>> {
    let shown = folder.display();
    let entries = std::fs::read_dir(folder).with_context(|| format!("{shown} cannot be read"))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "der"));
    paths.sort();
    ensure!(paths.len() >= terms.len(), "{shown} has {} keys, and {} are needed", paths.len(), terms.len());
    let key = |(terms, path): (&BrandTerms, &std::path::PathBuf)| {
        let der = zeroize::Zeroizing::new(std::fs::read(path)?);
        let secret = IssuerSecret::from_der(&der).with_context(|| format!("{}", path.display()))?;
        Ok((terms.brand(bank, secret.public()), secret))
    };
    terms.iter().zip(&paths).map(key).collect()
}
