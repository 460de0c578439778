//! The bank and the log that are measured: whose keys they have, and how they are served. The keys are for tests only.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use naulon_bank::{Bank, BankFront, BankKeys, BankStore, FrontLimits, KeyRing, PostgresStore, SqliteStore};
use naulon_blind::{Brand, IssuerSecret, KnownBrand, Method, Purpose};
use naulon_exchange::{ChainLimits, LockLimits, LogIdentity, Rules};
use naulon_log::{Log, LogFront, LogKeys};
use naulon_money::{Amount, Currency};
use naulon_purchase::{LogRules, MerchantRules};
use naulon_shop::{FolderShelf, SHOP_SECRET_LEN, Shop, ShopFront, ShopKeys, Terms};
use naulon_statement::{Digest, Duration, PublicKey, SecretKey, Timestamp};
use naulon_tlog::CheckpointSigner;
use naulon_wire::serve;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const ORIGIN: &str = "log.example/bench";
/// What the shop sells.
pub const ITEM: &str = "file";
/// How long it is, in bytes.
const ITEM_LEN: usize = 100 * 1024;
const BRAND_KEY: &[u8] = include_bytes!("../../vectors/brand-keys/test-only-00.pkcs8.der");

/// The bank's key.
pub fn bank_key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

/// What signs the checkpoints of the bank's register.
pub fn bank_checkpoints() -> Result<CheckpointSigner> {
    Ok(CheckpointSigner::new("bank.bench", &[9; 32])?)
}

/// The shop's keys.
fn shop_keys() -> ShopKeys {
    ShopKeys::from_secret(&[8; SHOP_SECRET_LEN])
}

/// The shop's name.
pub fn merchant_key() -> PublicKey {
    shop_keys().merchant.public()
}

/// The key of the bank's operator.
pub fn operator_key() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

/// The log's two keys.
pub fn log_keys() -> Result<LogKeys> {
    Ok(LogKeys::from_secret(&[3; 64], ORIGIN)?)
}

/// What the log has laid down.
pub fn log_rules(keys: &LogKeys) -> LogRules {
    LogRules::of(keys.statements.public(), [bank_key().public()].into(), Duration::days(90))
}

/// A log over this store, with the measured log's keys.
pub fn log_over<S: naulon_log::LogStore>(store: S) -> Result<Log<S>> {
    let keys = log_keys()?;
    let rules = log_rules(&keys);
    Ok(Log::open(keys, rules, ORIGIN, store)?)
}

/// The brand's private key.
pub fn brand_secret() -> Result<IssuerSecret> {
    Ok(IssuerSecret::from_der(BRAND_KEY)?)
}

/// The currency of everything.
pub fn currency() -> Result<Currency> {
    Ok("EUR".parse()?)
}

/// What every token is worth.
pub fn denomination() -> Result<Amount> {
    Ok("1".parse()?)
}

/// The bank's file in its folder.
pub fn bank_file(folder: &Path) -> PathBuf {
    folder.join("bank.sqlite")
}

/// The log's file in its folder.
pub fn log_file(folder: &Path) -> PathBuf {
    folder.join("log.sqlite")
}

/// The clock on the wall.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or_default())
}

/// A bank of this brand over this store.
pub fn bank_over<S: BankStore>(brand: Brand, store: S) -> Result<Bank<S>> {
    let signatory = Arc::new(KeyRing::new([brand_secret()?]));
    Ok(Bank::open(BankKeys { bank: bank_key(), checkpoints: bank_checkpoints()? }, rules(brand)?, signatory, store)?)
}

/// Serves the bank over its store: the address of a PostgreSQL database, or a folder for a SQLite file.
pub fn serve_bank(
    runtime: &Runtime,
    listener: TcpListener,
    store: &str,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    if store.starts_with("postgresql:") {
        serve_bank_over(PostgresStore::open(store)?, runtime, listener, stop)
    } else {
        serve_bank_over(SqliteStore::open(&bank_file(Path::new(store)))?, runtime, listener, stop)
    }
}

fn serve_bank_over<S: BankStore + 'static>(
    store: S,
    runtime: &Runtime,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let bank = bank_over(fresh_brand()?, store)?;
    let front = Arc::new(BankFront::start(bank, FrontLimits::default()));
    runtime.block_on(serve::serve(listener, Arc::clone(&front), stop));
    Ok(front.stop()?)
}

/// Serves the log over its SQLite store in the folder.
pub fn serve_log(
    runtime: &Runtime,
    listener: TcpListener,
    folder: &Path,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let front = LogFront::start(log_over(naulon_log::SqliteStore::open(&log_file(folder))?)?);
    runtime.block_on(serve::serve(listener, Arc::new(front.clone()), stop));
    Ok(front.stop()?)
}

/// Serves a shop in the folder, with one thing for sale, that deals with a bank and a log at these addresses.
pub fn serve_shop(
    runtime: &Runtime,
    listener: TcpListener,
    folder: &Path,
    [bank, log]: [&str; 2],
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let (keys, log_keys) = (shop_keys(), log_keys()?);
    let shelf = folder.join("shelf");
    std::fs::create_dir(&shelf)?;
    std::fs::write(shelf.join(ITEM), [b'x'; ITEM_LEN])?;
    let price = denomination()?;
    let list = format!("[[item]]\nfile = \"{ITEM}\"\ntitle = \"A file\"\ndescription = \"\"\nprice = \"{price}\"\n");
    std::fs::write(shelf.join(naulon_shop::SETTINGS_FILE), list)?;
    let shelf = FolderShelf::open(&shelf, &folder.join("sealed"), &keys.goods)?;
    shelf.scan(&mut |_| {})?;
    let log_key = log_keys.statements.public();
    let identity = LogIdentity { key: log_key, checkpoints: log_keys.checkpoints.verifier().clone() };
    let rules = MerchantRules {
        merchant: keys.merchant.public(),
        banks: [bank_key().public()].into(),
        logs: [(log_key, identity)].into(),
        release_margin: Duration::seconds(30),
    };
    let offer_valid_for = Duration::seconds(600);
    let terms = Terms { currency: currency()?, offer_valid_for, two_sided: false, entries: Vec::new() };
    let shop = Shop::open(keys, rules, terms, shelf, naulon_shop::SqliteStore::open(&folder.join("shop.sqlite"))?)?;
    let addresses = BTreeMap::from([(bank_key().public(), bank.to_owned()), (log_key, log.to_owned())]);
    runtime.block_on(async {
        let front = ShopFront::start(shop, addresses);
        serve::serve(listener, Arc::new(front.clone()), stop).await;
        Ok(front.stop()?)
    })
}

/// A brand that began yesterday.
pub fn fresh_brand() -> Result<Brand> {
    let now = now();
    Ok(Brand {
        bank: bank_key().public(),
        currency: currency()?,
        denomination: denomination()?,
        method: Method::BlindRsa2048,
        purpose: Purpose::Money,
        issue_from: now.minus(Duration::days(1)),
        withdraw_until: now.plus(Duration::days(1)),
        spend_until: now.plus(Duration::days(30)),
        redeem_until: now.plus(Duration::days(60)),
        key: *brand_secret()?.public().spki(),
    })
}

fn rules(brand: Brand) -> Result<Rules> {
    let known = Arc::new(KnownBrand::new(brand)?);
    let log = log_keys()?;
    let identity = LogIdentity { key: log.statements.public(), checkpoints: log.checkpoints.verifier().clone() };
    Ok(Rules {
        bank: bank_key().public(),
        operator: operator_key().public(),
        currency: currency()?,
        brands: BTreeMap::from([(Digest(*known.key_id()), known)]),
        logs: BTreeMap::from([(identity.key, identity)]),
        locks: LockLimits::default(),
        chains: ChainLimits::default(),
        deliveries: Default::default(),
        keepers: Default::default(),
    })
}
