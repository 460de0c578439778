//! The private keys of a bank's brands: made, sealed into files, loaded, and made anew in time.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use naulon_bank::{BrandTerms, KeyRing, generate, missing, periods};
use naulon_blind::{Brand, IssuerSecret};
use naulon_durable::sealed::{Cost, Passphrase, SEAL_ENTROPY_LEN};
use naulon_exchange::Rules;
use naulon_statement::PublicKey;

use super::PartyFolder;
use super::bank_room::Running;
use super::folder::random;
use crate::clock;
use crate::config::BankSettings;
use crate::output::{Output, Unit};

/// Key files are named by when they were made: `brands-20261120T061530Z.key`.
const PREFIX: &str = "brands-";
const SUFFIX: &str = ".key";
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

/// A key for each brand. Making one takes about 0.2 s, so all cores do it.
pub fn make(
    terms: &[BrandTerms],
    bank: PublicKey,
    keys: BrandKeys<'_>,
    output: Output,
) -> anyhow::Result<Vec<(Brand, IssuerSecret)>> {
    if let BrandKeys::From(folder) = keys {
        return take(terms, bank, folder);
    }
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

/// Seals the keys into a file of their own and puts them on the ring. When it returns they are on the disk; only now may
/// their brands be stated.
pub fn seal(
    folder: &PartyFolder,
    made: Vec<(Brand, IssuerSecret)>,
    passphrase: &Passphrase,
    ring: &KeyRing,
) -> anyhow::Result<Vec<Brand>> {
    let (brands, secrets): (Vec<Brand>, Vec<IssuerSecret>) = made.into_iter().unzip();
    let time: String = clock::utc(clock::now()).chars().filter(char::is_ascii_alphanumeric).collect();
    let path = folder.path(&format!("{PREFIX}{time}{SUFFIX}"));
    KeyRing::create_file(&path, passphrase, Cost::default(), &secrets, &*random::<SEAL_ENTROPY_LEN>()?)?;
    secrets.into_iter().for_each(|secret| ring.add(secret));
    Ok(brands)
}

/// The keys of all files in the folder.
pub fn ring(folder: &PartyFolder, passphrase: &Passphrase) -> anyhow::Result<KeyRing> {
    let ring = KeyRing::default();
    for entry in std::fs::read_dir(folder.as_path())? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            ring.add_file(&entry.path(), passphrase).with_context(|| format!("{}", entry.path().display()))?;
        }
    }
    Ok(ring)
}

/// Makes the next period's brands while the bank runs, as soon as they are due.
pub async fn renew(running: Running, folder: PartyFolder, settings: BankSettings, passphrase: Passphrase) {
    let (folder, settings, passphrase) = (&folder, &settings, std::sync::Arc::new(passphrase));
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = renew_once(&running, folder, settings, &passphrase).await {
            // It is due a period ahead, so there is time to see to it; the next look tries again.
            tracing::error!("the next period's brands cannot be made: {error:#}");
        }
    }
}

async fn renew_once(
    running: &Running,
    folder: &PartyFolder,
    settings: &BankSettings,
    passphrase: &std::sync::Arc<Passphrase>,
) -> anyhow::Result<()> {
    let rules = running.front.desk().rules();
    let missing = due(settings, &rules)?;
    if missing.is_empty() {
        return Ok(());
    }
    let (folder, passphrase, ring) = (folder.clone(), std::sync::Arc::clone(passphrase), running.ring.clone());
    let made = move || {
        let made = make(&missing, rules.bank, BrandKeys::New, Output { json: true })?;
        seal(&folder, made, &passphrase, &ring)
    };
    let brands = tokio::task::spawn_blocking(made).await??;
    tracing::info!(brands = brands.len(), "the next period's brands are made");
    Ok(running.front.add_brands(brands).await?)
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
