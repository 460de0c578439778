//! The wallet of a folder: made, opened, and driven over HTTP.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use naulon_durable::sealed::{Cost, Passphrase};
use naulon_exchange::EntryMode;
use naulon_exchange::register::{Receipt, RegisterRefusal, Side};
use naulon_money::Amount;
use naulon_purchase::GoodsM;
use naulon_statement::{PublicKey, Timestamp, Unverified};
use naulon_tlog::{WitnessPolicy, WitnessVerifier};
use naulon_wallet::driver::Clock;
use naulon_wallet::{
    Driver, DriverError, Event, FolderGoods, MemoryGoods, MemoryStore, OperationId, OperationKind, Outcome, Peers,
    PinnedBank, Restored, SealedStore, Wallet, WalletError, WalletStore, Words,
};
use naulon_wire::{Address, CallError, Clients, Item, Proxy};
use tokio::time::Instant;

use super::evidence;
use crate::config::{Span, WalletSettings};
use crate::identity::{self, Identity, Role};
use crate::output::{self, Output, Unit};
use crate::parties::PartyFolder;
use crate::parties::folder::random;

const STORE_FILE: &str = "wallet.sqlite";
/// The folder of what convicts others.
const EVIDENCE: &str = "evidence";
/// For how long a command first goes on with what is under way before it turns to what it was asked for.
const TAKE_UP: Duration = Duration::from_secs(2);

/// An open wallet and whom it deals with.
pub struct Room {
    driver: Driver<SealedStore>,
    /// Its settings.
    pub settings: WalletSettings,
    /// Its bank.
    pub bank: Identity,
    logs: Vec<PublicKey>,
    shops: Vec<Identity>,
    addresses: BTreeMap<PublicKey, Address>,
    /// How many steps were taken.
    steps: Arc<AtomicU64>,
    why_stuck: Option<String>,
    /// Where evidence goes.
    evidence: PathBuf,
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// To its end.
    Through,
    /// As far as it goes at present.
    Stuck,
}

/// What is in the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InAccount {
    /// This much.
    Holds(Amount),
    /// There is no account yet.
    NotOpen,
    /// The bank cannot be reached.
    Unknown,
}

/// The settings of a wallet for this bank, before anything is chosen. A bank on this machine is a trial: there is nobody to
/// hide among, and nothing to wait for.
pub fn settings_for(bank: &str) -> anyhow::Result<WalletSettings> {
    let settings = WalletSettings::default();
    match is_local(&Identity::find(bank, Role::Bank)?) {
        true => Ok(WalletSettings {
            wait: Span(naulon_statement::Duration(0)),
            min_issued: 0,
            refresh_first: false,
            ..settings
        }),
        false => Ok(settings),
    }
}

fn is_local(bank: &Identity) -> bool {
    let host = bank.url.split_once("://").map_or("", |(_, rest)| rest);
    ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local))
}

/// Makes a wallet in a folder. The words are shown to the person and kept nowhere but, as a seed, in the sealed store.
pub fn make(folder: &PartyFolder, settings: &WalletSettings, passphrase: &Passphrase) -> anyhow::Result<Words> {
    let words = Words::new(&*random::<32>()?);
    let store = SealedStore::create(&folder.path(STORE_FILE), passphrase, Cost::default())?;
    Wallet::create(store, &words.seed(), peers(settings)?, goods(folder, settings)?)?;
    folder.write_settings(settings)?;
    Ok(words)
}

/// Makes a wallet of these words in a folder, to be restored.
pub fn make_to_restore(
    folder: &PartyFolder,
    settings: &WalletSettings,
    passphrase: &Passphrase,
    words: &Words,
    gap: u32,
) -> anyhow::Result<()> {
    let store = SealedStore::create(&folder.path(STORE_FILE), passphrase, Cost::default())?;
    Wallet::restore(store, &words.seed(), peers(settings)?, goods(folder, settings)?, gap)?;
    folder.write_settings(settings)
}

/// Opens the wallet of a folder.
pub fn open(
    folder: &PartyFolder,
    settings: WalletSettings,
    passphrase: &Passphrase,
    output: Output,
) -> anyhow::Result<Room> {
    let store = SealedStore::open(&folder.path(STORE_FILE), passphrase)?;
    let mut wallet = Wallet::open(store, peers(&settings)?, goods(folder, &settings)?)?;
    let steps = Arc::new(AtomicU64::new(0));
    let (counted, mut bars) = (Arc::clone(&steps), Bars { output, shown: None });
    wallet.watch(Some(Box::new(move |_, event| {
        counted.fetch_add(u64::from(event.is_progress()), Ordering::Relaxed);
        bars.show(event);
    })));
    let bank = Identity::find(&settings.bank, Role::Bank).context("the setting bank")?;
    let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
    let shops = identity::pinned(&settings.shops, Role::Shop, "shops")?;
    let all = std::iter::once(&bank).chain(&logs).chain(&shops);
    let addresses: BTreeMap<_, Address> =
        all.map(|party| Ok((party.key, party.address()?))).collect::<anyhow::Result<_>>()?;
    let driver = Driver::new(wallet, clients(&settings)?, addresses.clone());
    let logs = logs.iter().map(|log| log.key).collect();
    let evidence = folder.path(EVIDENCE);
    Ok(Room { driver, settings, bank, logs, shops, addresses, steps, why_stuck: None, evidence })
}

impl Room {
    /// Goes by another clock.
    pub fn with_clock(self, clock: Clock) -> Self {
        Room { driver: self.driver.with_clock(clock), ..self }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.driver.now()
    }

    /// The wallet, for a short look or to begin something.
    pub fn wallet(&self) -> MutexGuard<'_, Wallet<SealedStore>> {
        self.driver.wallet()
    }

    /// Goes on with what is under way, for a moment.
    pub async fn take_up(&mut self) -> anyhow::Result<()> {
        self.driver.run_all(Some(Instant::now() + TAKE_UP)).await?;
        self.keep_evidence()
    }

    /// Writes down what convicts others, where the wallet has met it.
    fn keep_evidence(&self) -> anyhow::Result<()> {
        let kept = self.wallet().kept_evidence();
        kept.iter().try_for_each(|evidence| evidence::keep(&self.evidence, evidence))
    }

    /// Sees one operation through, or all; gives up for now when nothing has moved for as long as `patience`.
    pub async fn see_through(&mut self, one: Option<OperationId>, patience: Duration) -> anyhow::Result<Went> {
        loop {
            let before = self.steps.load(Ordering::Relaxed);
            let until = Some(Instant::now() + patience);
            let outcomes = match one {
                Some(operation) => vec![self.driver.run(operation, until).await?],
                None => self.driver.run_all(until).await?,
            };
            let mut open = false;
            self.keep_evidence()?;
            for outcome in outcomes {
                open |= !self.has_ended(outcome)?;
            }
            if !open {
                return Ok(Went::Through);
            }
            if self.steps.load(Ordering::Relaxed) == before {
                return Ok(Went::Stuck);
            }
        }
    }

    /// Fetches the bank's register and terms, anonymously, before tokens are taken or spent. What is known of a bank that
    /// cannot be reached may do; a bank that has convicted itself gets no more money.
    pub async fn describe(&mut self) -> anyhow::Result<()> {
        match self.look().await? {
            Some(convicts @ (RegisterRefusal::Forked { .. } | RegisterRefusal::Rivals(_))) => {
                bail!("the bank is not to be trusted any more: {convicts}. Give your tokens back by `deposit`")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// As [`describe`](Self::describe), and says why the register was not taken. A brand that cannot be used keeps nobody
    /// from using the others, nor from giving tokens back.
    pub async fn look(&mut self) -> anyhow::Result<Option<RegisterRefusal>> {
        let learnt = self.driver.learn(self.bank.key).await;
        self.keep_evidence()?;
        match learnt {
            Ok(accepted) => {
                for refusal in &accepted.refused {
                    output::note(format_args!("a brand of the bank is not used: {refusal}"));
                }
                if accepted.fees.as_ref().is_some_and(|fees| !fees.is_free()) {
                    output::note("the bank charges fees, which this wallet cannot pay: it will refuse");
                }
                if let Some(refusal) = &accepted.register {
                    output::note(format_args!("no new brands are taken from the bank: {refusal}"));
                }
                Ok(accepted.register)
            }
            Err(DriverError::Call(CallError::Unreachable(..))) if self.wallet().terms(&self.bank.key).is_some() => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The bank's receipts for everything that an operation was given and gave up.
    pub async fn receipts(&mut self, operation: OperationId) -> anyhow::Result<Vec<(Side, Receipt)>> {
        Ok(self.driver.receipts(operation).await?)
    }

    /// What the account holds.
    pub async fn balance(&mut self) -> anyhow::Result<InAccount> {
        match self.driver.account_balance(self.bank.key).await {
            Ok(balance) => Ok(InAccount::Holds(balance)),
            Err(DriverError::Call(CallError::Problem(problem))) if problem.code == "unknown_account" => {
                Ok(InAccount::NotOpen)
            }
            Err(DriverError::Call(CallError::Unreachable(..))) => Ok(InAccount::Unknown),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks what became of everything, and says how far it is.
    pub async fn restore(&self, over: Duration, output: Output) -> anyhow::Result<Restored> {
        restore_with(&self.driver, over, output).await
    }

    /// A wallet of these words in memory, restored, for a comparison. It asks what a restoration asks, and does nothing.
    pub async fn rehearse(
        &self,
        words: &Words,
        gap: u32,
        over: Duration,
        output: Output,
    ) -> anyhow::Result<(Wallet<MemoryStore>, Restored)> {
        let (store, goods) = (MemoryStore::default(), MemoryGoods::default());
        let scratch = Wallet::restore(store.clone(), &words.seed(), peers(&self.settings)?, goods.clone(), gap)?;
        let driver = Driver::new(scratch, clients(&self.settings)?, self.addresses.clone());
        driver.learn(self.bank.key).await?;
        let restored = restore_with(&driver, over, output).await?;
        drop(driver);
        Ok((Wallet::open(store, peers(&self.settings)?, goods)?, restored))
    }

    /// The shop that is meant: this one, or the only one that is known.
    pub fn shop(&self, named: Option<Identity>) -> anyhow::Result<Identity> {
        match (named, &self.shops[..]) {
            (Some(shop), _) => Ok(shop),
            (None, [shop]) => Ok(shop.clone()),
            (None, []) => bail!("the wallet knows no shop; name one by --shop"),
            (None, _) => bail!("the wallet knows several shops; say which by --shop"),
        }
    }

    /// Has a purchase paid for at its item's own path.
    pub fn pay_at(&self, operation: OperationId, item: String) {
        self.driver.pay_at(operation, item);
    }

    /// Drives a purchase until its tokens are locked and it could be paid.
    pub async fn run_to_payment(&mut self, operation: OperationId, patience: Duration) -> anyhow::Result<()> {
        let outcome = self.driver.run_to_payment(operation, Some(Instant::now() + patience)).await?;
        self.has_ended(outcome)?;
        Ok(())
    }

    /// What a shop sells.
    pub async fn items(&self, shop: &Identity) -> anyhow::Result<Vec<Item>> {
        Ok(self.driver.catalogue(shop.key).await?.items)
    }

    /// A fresh offer.
    pub async fn offer(&self, shop: &Identity, item: &str) -> anyhow::Result<Unverified<GoodsM>> {
        Ok(self.driver.offer(shop.key, item.to_owned()).await?)
    }

    /// The log and the kind of entry for an offer: the kind that the person wants, or the first that the shop names, and a
    /// log of the offer that says that it takes it. A log that does not answer is taken at the shop's word: what it does
    /// not take it aborts.
    pub async fn choose_entry(
        &self,
        offer: &GoodsM,
        wanted: Option<EntryMode>,
    ) -> anyhow::Result<(Option<PublicKey>, Option<EntryMode>)> {
        let offered = if offer.entries.is_empty() { vec![EntryMode::Plain] } else { offer.entries.clone() };
        let modes = wanted.map_or(offered, |mode| vec![mode]);
        if modes == [EntryMode::Plain] {
            return Ok((None, Some(EntryMode::Plain)));
        }
        let ours: Vec<PublicKey> = offer.logs.iter().copied().filter(|log| self.logs.contains(log)).collect();
        let mut described = Vec::new();
        for log in ours {
            match self.driver.log_description(log).await {
                Ok(description) => described.push((log, description.entries)),
                Err(_) => described.push((log, modes.clone())),
            }
        }
        for mode in &modes {
            if let Some((log, _)) = described.iter().find(|(_, takes)| takes.contains(mode)) {
                return Ok((Some(*log), Some(*mode)));
            }
        }
        match wanted {
            Some(mode) if !described.is_empty() => bail!("no log of this shop and wallet takes {mode} entries"),
            // That there is no log in common is said by the wallet itself.
            _ => Ok((None, wanted)),
        }
    }

    /// Why nothing moves, as far as it was heard.
    pub fn why_stuck(&self) -> Option<&str> {
        self.why_stuck.as_deref()
    }

    /// Whether it has ended. A refusal that does not pass by itself (no money, no account) ends what is no purchase: the
    /// person hears of it, and decides what to do. A purchase ends by itself.
    fn has_ended(&mut self, outcome: Outcome) -> anyhow::Result<bool> {
        let Outcome { entry, refused, unreachable } = outcome;
        if entry.ended.is_some() {
            return Ok(true);
        }
        let stays = refused.as_ref().is_some_and(|problem| problem.retry_after.is_none());
        if stays && entry.kind != OperationKind::Purchase {
            let now = self.now();
            match self.wallet().give_up(entry.id, now) {
                Ok(()) => return Ok(true),
                // Perhaps it was not the bank that said no, so it stays under way.
                Err(WalletError::NotNow(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let unreachable = unreachable.map(|why| format!("a server cannot be reached: {why}"));
        let why = refused.map(|problem| problem.to_string()).or(unreachable);
        self.why_stuck = Some(why.unwrap_or_else(|| format!("it stands at {:?}", entry.step)));
        Ok(false)
    }
}

async fn restore_with<S: WalletStore + 'static>(
    driver: &Driver<S>,
    over: Duration,
    output: Output,
) -> anyhow::Result<Restored> {
    let span = naulon_statement::Duration(u64::try_from(over.as_millis()).unwrap_or(u64::MAX));
    let now = driver.now();
    let minutes = naulon_wallet::restore_begins(now, span).since(now).0.div_ceil(60_000);
    if minutes > 0 {
        output::note(format_args!(
            "the first question is asked in {minutes} minutes; the two rounds take {over:?} each"
        ));
    }
    let bar = output.bar(0, "asking", Unit::Steps);
    let restored = driver
        .restore(over, |found| {
            bar.set_length((found.answered + found.open) as u64);
            bar.set_position(found.answered as u64);
        })
        .await;
    bar.finish_and_clear();
    Ok(restored?)
}

/// The ways out: through the proxy, if there is one in the settings, and else straight.
/// The ways out of this wallet: through its proxy, if it has one.
pub fn clients(settings: &WalletSettings) -> anyhow::Result<Clients> {
    if settings.proxy.is_empty() {
        return Ok(Clients::default());
    }
    Ok(Clients::through(Proxy::parse(&settings.proxy, *random::<32>()?)?))
}

fn peers(settings: &WalletSettings) -> anyhow::Result<Peers> {
    let bank = Identity::find(&settings.bank, Role::Bank).context("the setting bank")?;
    let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
    let logs = logs.iter().map(Identity::log).collect::<anyhow::Result<Vec<_>>>()?;
    let shops = identity::pinned(&settings.shops, Role::Shop, "shops")?;
    let pinned = PinnedBank::new(bank.bank()?, witnesses(settings, &bank)?);
    Ok(Peers::new([pinned], logs, shops.iter().map(|shop| shop.key)))
}

/// Who must have seen the bank's register. To want nobody is for trials.
fn witnesses(settings: &WalletSettings, bank: &Identity) -> anyhow::Result<WitnessPolicy> {
    // Whoever hands checkpoints in writes the witness's address behind its key; a wallet needs the key alone.
    let key = |line: &String| line.split(' ').next().unwrap_or_default().parse();
    let keys = settings.witnesses.iter().map(key).collect::<Result<Vec<WitnessVerifier>, _>>();
    let policy = crate::witnesses::policy(&keys.context("the setting witnesses")?, settings.threshold)?;
    ensure!(
        is_local(bank) || !policy.is_unwitnessed(),
        "the bank is not on this machine: name witnesses that watch its register (setting witnesses)"
    );
    Ok(policy)
}

fn goods(folder: &PartyFolder, settings: &WalletSettings) -> anyhow::Result<FolderGoods> {
    // Where goods are is written down, and must hold wherever the next command is given.
    Ok(FolderGoods::new(&std::path::absolute(folder.path(&settings.goods))?)?)
}

/// Fetching, comparing and decrypting as progress bars, and waiting as a spinner.
struct Bars {
    output: Output,
    shown: Option<(&'static str, ProgressBar)>,
}

/// What is shown while others do not answer, or do not know yet.
const WAITING: &str = "waiting for an answer; nothing is lost if you stop";

impl Bars {
    fn show(&mut self, event: &Event) {
        let (what, done, total) = match event {
            Event::Fetched { bytes, of } => ("fetching", *bytes, *of),
            Event::Checked { bytes, of } => ("comparing", *bytes, *of),
            Event::Decrypted { bytes, of } => ("decrypting", *bytes, *of),
            Event::Pending | Event::Refused(_) | Event::Unreachable(_) => {
                let waiting = self.output;
                return self.change(WAITING, || waiting.waiting(WAITING));
            }
            _ => return self.clear(),
        };
        let output = self.output;
        self.change(what, || output.bar(total, what, Unit::Bytes));
        if let Some((_, bar)) = &self.shown {
            bar.set_position(done);
            if done == total {
                bar.finish_and_clear();
            }
        }
    }

    fn change(&mut self, what: &'static str, bar: impl FnOnce() -> ProgressBar) {
        if self.shown.as_ref().is_none_or(|(before, _)| *before != what) {
            self.clear();
            self.shown = Some((what, bar()));
        }
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.shown.take() {
            bar.finish_and_clear();
        }
    }
}
