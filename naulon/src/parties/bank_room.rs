//! The bank of a folder: made, opened, audited.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use naulon_bank::{
    Bank, BankFront, BankKeys, BankStore, FrontLimits, Keychain, PostgresStore, RegisterJobError, SqliteStore,
    audit_file, audit_url, periods,
};
use naulon_blind::KnownBrand;
use naulon_durable::executor::ExecutorError;
use naulon_durable::migration::{Migrated, Rehearsal};
use naulon_durable::sealed::Passphrase;
use naulon_exchange::{AuditReport, ChainLimits, LockLimits, LogKeeper, Rules};
use naulon_statement::{Digest, PublicKey, SecretKey, Timestamp};
use naulon_tlog::CheckpointSigner;
use naulon_wire::publish::Publisher;
use naulon_wire::{Address, Listener};

use super::brand_keys::{self, BrandKeys};
use super::serving::{Doors, KnownAs};
use super::{PartyFolder, beside, upkeep};
use crate::clock;
use crate::config::{BankListen, BankSettings, SQLITE};
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::Output;
use crate::witnesses;

const KEY_FILE: &str = "bank.key";
/// The key of the register's checkpoints.
const CHECKPOINT_FILE: &str = "checkpoints.key";
const OPERATOR_FILE: &str = "operator.key";
const STORE_FILE: &str = "bank.sqlite";
/// How often a running bank looks whether a day is over, and what other processes have appended to the register.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// A bank that runs.
#[derive(Clone)]
pub struct Running {
    /// What answers.
    pub front: Arc<BankFront>,
    /// The brands' keys.
    pub keys: Arc<Keychain>,
    /// Has the register's checkpoints cosigned.
    pub publisher: Publisher,
}

/// Makes a bank in a folder, with the brands of this period and the next.
pub fn make(
    folder: &PartyFolder,
    mut settings: BankSettings,
    known: &KnownAs,
    passphrase: &Passphrase,
    keys: BrandKeys<'_>,
    output: Output,
) -> anyhow::Result<Identity> {
    let bank = SecretKey::from_seed(&*folder.seal_random::<32>(KEY_FILE, passphrase)?);
    let operator = SecretKey::from_seed(&*folder.seal_random::<32>(OPERATOR_FILE, passphrase)?);
    settings.operator = operator.public().to_string();
    if settings.origin.is_empty() {
        settings.origin = format!("naulon.bank/{}", hex::encode(&bank.public().0[..8]));
    }
    let secret = folder.seal_random::<32>(CHECKPOINT_FILE, passphrase)?;
    let checkpoints = CheckpointSigner::new(&settings.origin, &secret).context("the setting origin")?;
    let account = Some(settings.listen.account.url());
    let identity = Identity {
        account,
        checkpoints: Some(checkpoints.verifier().clone()),
        ..Identity::new(Role::Bank, bank.public(), settings.listen.public.url())
    };
    let identity = known.apply(identity)?;
    folder.write_settings(&settings)?;
    folder.write_identity(&identity)?;
    let terms = periods(&settings.brands()?, &settings.currency.parse()?, clock::now())?;
    let chain = Arc::new(brand_keys::open(folder, &settings, passphrase)?);
    let brands = brand_keys::make(&chain, folder, passphrase, (&terms, bank.public(), keys), output)?;
    // The brands are stated, so that they stand in the books before anybody asks for them.
    let mut rules = rules(folder, &settings)?;
    for brand in brands {
        let known = KnownBrand::new(brand)?;
        rules.brands.insert(Digest(*known.key_id()), Arc::new(known));
    }
    let keys = BankKeys { bank, checkpoints };
    match settings.store.as_str() {
        SQLITE => drop(Bank::open(keys, rules, chain, SqliteStore::open(&folder.path(STORE_FILE))?)?),
        url => drop(Bank::open(keys, rules, chain, PostgresStore::open(url)?)?),
    }
    Ok(identity)
}

/// Opens the bank of a folder and puts it on its threads. Brands that are due and missing are made first.
pub fn start(
    folder: &PartyFolder,
    settings: &BankSettings,
    passphrase: &Passphrase,
    output: Output,
) -> anyhow::Result<Running> {
    match settings.store.as_str() {
        SQLITE => start_on(SqliteStore::open(&folder.path(STORE_FILE))?, folder, settings, passphrase, output),
        url => start_on(PostgresStore::open(url)?, folder, settings, passphrase, output),
    }
}

fn start_on<S: BankStore>(
    store: S,
    folder: &PartyFolder,
    settings: &BankSettings,
    passphrase: &Passphrase,
    output: Output,
) -> anyhow::Result<Running> {
    let bank = SecretKey::from_seed(&*folder.unseal::<32>(KEY_FILE, passphrase)?);
    let keys = Arc::new(brand_keys::open(folder, settings, passphrase)?);
    let key = bank.public();
    let secret = folder.unseal::<32>(CHECKPOINT_FILE, passphrase)?;
    let checkpoints = CheckpointSigner::new(&settings.origin, &secret).context("the setting origin")?;
    let own = BankKeys { bank, checkpoints };
    let mut bank = Bank::open(own, rules(folder, settings)?, keys.clone(), store)?;
    let missing = brand_keys::due(settings, &bank.desk().rules())?;
    if !missing.is_empty() {
        let wanted = (&missing[..], key, BrandKeys::New);
        let brands = brand_keys::make(&keys, folder, passphrase, wanted, output)?;
        bank.add_brands(&brands)?;
    }
    let witnesses = witnesses::listed(&settings.witnesses)?;
    let verifiers: Vec<_> = witnesses.iter().map(|witness| witness.verifier.clone()).collect();
    let publisher = bank.publish_by(witnesses::policy(&verifiers, settings.threshold)?)?;
    Ok(Running { front: Arc::new(BankFront::start(bank, FrontLimits::default())), keys, publisher })
}

/// Makes a backup of a bank that may be running.
pub fn backup(folder: &PartyFolder, backup: &upkeep::Backup, output: Output) -> anyhow::Result<Exit> {
    let settings: BankSettings = folder.settings()?;
    let store = folder.path(STORE_FILE);
    backup.run(output, folder, STORE_FILE, |copy| {
        if settings.store == SQLITE {
            SqliteStore::backup(&store, copy)?;
            return Ok(None);
        }
        Ok(Some(
            "the books are in a PostgreSQL database and not in this backup: their pg_dump is to be made before it, so that no key of a brand is missing here"
                .into(),
        ))
    })
}

/// Brings the tables of the books up to date.
pub fn migrate(folder: &PartyFolder, rehearsal: Rehearsal) -> anyhow::Result<Migrated> {
    let settings: BankSettings = folder.settings()?;
    Ok(match settings.store.as_str() {
        SQLITE => SqliteStore::migrate(&folder.path(STORE_FILE), rehearsal)?,
        url => PostgresStore::migrate(url, rehearsal)?,
    })
}

/// Listens. If accounts have no address of their own, the public one is theirs, too.
pub async fn doors(folder: &PartyFolder, listen: &BankListen) -> anyhow::Result<Doors> {
    let operator: (&'static [Listener], _) = (&[Listener::Operator], &listen.operator);
    if listen.account == listen.public {
        return Doors::open(folder, &[(&[Listener::Public, Listener::Account], &listen.public), operator]).await;
    }
    Doors::open(folder, &[(&[Listener::Public], &listen.public), (&[Listener::Account], &listen.account), operator])
        .await
}

/// Sums up every day that is over, in small steps, as long as the bank runs. After a stop it catches up.
pub async fn close_days(running: Running, clock: impl Fn() -> Timestamp) {
    loop {
        match running.front.close_days(clock()).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(RegisterJobError::Executor(ExecutorError::Stopped)) => return,
            Err(error) => tracing::error!("the days that are over cannot be summed up: {error:#}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Where the logs are, and the shops to whom promises are carried.
pub fn addresses(settings: &BankSettings) -> anyhow::Result<BTreeMap<PublicKey, Address>> {
    let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
    let shops = identity::pinned(&settings.shops, Role::Shop, "shops")?;
    logs.into_iter().chain(shops).map(|party| Ok((party.key, party.address()?))).collect()
}

/// The operator's private key.
pub fn operator(folder: &PartyFolder, passphrase: &Passphrase) -> anyhow::Result<SecretKey> {
    Ok(SecretKey::from_seed(&*folder.unseal::<32>(OPERATOR_FILE, passphrase)?))
}

/// Audits the books of a folder, whose bank may be running.
pub fn audit(folder: &PartyFolder) -> anyhow::Result<Result<AuditReport, naulon_bank::AuditError>> {
    let settings: BankSettings = folder.settings()?;
    if settings.store != SQLITE {
        return Ok(audit_url(&settings.store, &rules(folder, &settings)?));
    }
    let store = folder.path(STORE_FILE);
    anyhow::ensure!(store.is_file(), "there are no books at {}", store.display());
    Ok(audit_file(&store, &rules(folder, &settings)?))
}

fn rules(folder: &PartyFolder, settings: &BankSettings) -> anyhow::Result<Rules> {
    let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
    let logs = logs.iter().map(|log| Ok((log.key, log.log()?))).collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let operator: PublicKey = settings.operator.parse().context("the setting operator")?;
    Ok(Rules {
        bank: folder.identity()?.key,
        operator,
        currency: settings.currency.parse().context("the setting currency")?,
        brands: BTreeMap::new(),
        logs,
        locks: LockLimits { min: settings.lock_min.0, max: settings.lock_max.0 },
        chains: ChainLimits::default(),
        deliveries: identity::pinned(&settings.shops, Role::Shop, "shops")?.iter().map(|shop| shop.key).collect(),
        keepers: keepers(&folder.identity()?.key, settings)?,
    })
}

/// Which logs are not apart from the bank and its merchants.
fn keepers(bank: &PublicKey, settings: &BankSettings) -> anyhow::Result<BTreeMap<PublicKey, LogKeeper>> {
    let own = identity::pinned(&settings.own_logs, Role::Log, "own_logs")?;
    let mut keepers: BTreeMap<_, _> = own.iter().map(|log| (log.key, LogKeeper::Bank)).collect();
    for text in &settings.merchant_logs {
        let own = beside::read_own_log(text, bank).context("the setting merchant_logs")?;
        let before = keepers.insert(own.log, LogKeeper::Merchant(own));
        anyhow::ensure!(before.is_none(), "the log {} has two keepers in the settings", own.log);
    }
    Ok(keepers)
}
