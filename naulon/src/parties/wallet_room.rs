//! The wallet of a folder: made, opened, and driven over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use naulon_durable::sealed::{Cost, Passphrase};
use naulon_money::Amount;
use naulon_purchase::GoodsM;
use naulon_statement::{PublicKey, Timestamp, Unverified};
use naulon_wallet::{Event, FolderGoods, OperationId, OperationKind, Peers, SealedStore, Wallet, Words};
use naulon_wire::{
    AnyCall, AnyReply, Ask, BankCall, BankReply, CallError, Circuit, Clients, Item, Problem, ShopCall, ShopReply, codes,
};

use super::PartyFolder;
use super::folder::random;
use crate::config::WalletSettings;
use crate::identity::{self, Identity, Role};
use crate::output::{Output, Unit};

const STORE_FILE: &str = "wallet.sqlite";
/// How long the wallet waits before it asks again when nothing has moved; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// For how long a command first goes on with what is under way before it turns to what it was asked for.
const TAKE_UP: Duration = Duration::from_secs(2);

/// An open wallet, whom it deals with, and its connections.
pub struct Room {
    /// The wallet.
    pub wallet: Wallet<SealedStore>,
    /// Its settings.
    pub settings: WalletSettings,
    /// Its bank.
    pub bank: Identity,
    shops: Vec<Identity>,
    addresses: BTreeMap<PublicKey, String>,
    clients: Clients,
    clock: Clock,
    last: Option<String>,
}

/// The wallet's clock; the demonstration's runs ahead of the system's.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How far an operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// To its end.
    Through,
    /// As far as it goes at present.
    Stuck,
}

/// Makes a wallet in a folder. The words are shown to the person and kept nowhere but, as a seed, in the sealed store.
pub fn make(folder: &PartyFolder, settings: &WalletSettings, passphrase: &Passphrase) -> anyhow::Result<Words> {
    let words = Words::new(&*random::<32>()?);
    let store = SealedStore::create(&folder.path(STORE_FILE), passphrase, Cost::default())?;
    Wallet::create(store, &words.seed(), peers(settings)?, goods(folder, settings)?)?;
    folder.write_settings(settings)?;
    Ok(words)
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
    wallet.watch(Some(Box::new(bars(output))));
    let bank = Identity::find(&settings.bank, Role::Bank).context("the setting bank")?;
    let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
    let shops = identity::pinned(&settings.shops, Role::Shop, "shops")?;
    let all = std::iter::once(&bank).chain(&logs).chain(&shops);
    let addresses = all.map(|party| (party.key, party.url.clone())).collect();
    let clock: Clock = Arc::new(crate::clock::now);
    Ok(Room { wallet, settings, bank, shops, addresses, clients: Clients::default(), clock, last: None })
}

impl Room {
    /// Goes by another clock.
    pub fn with_clock(self, clock: Clock) -> Self {
        Room { clock, ..self }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Goes on with what is under way, for a moment.
    pub async fn take_up(&mut self) -> anyhow::Result<()> {
        if !self.wallet.under_way(self.now()).is_empty() {
            self.see_through(None, TAKE_UP).await?;
        }
        Ok(())
    }

    /// Sees one operation through, or all; gives up for now when nothing has moved for as long as `patience`.
    pub async fn see_through(&mut self, one: Option<OperationId>, patience: Duration) -> anyhow::Result<Went> {
        let (mut moved, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let open = self.wallet.under_way(self.now());
            if open.iter().all(|entry| one.is_some_and(|one| one != entry.id)) {
                return Ok(Went::Through);
            }
            if self.round().await? {
                (moved, pause) = (Instant::now(), FIRST_PAUSE);
                continue;
            }
            if moved.elapsed() >= patience {
                return Ok(Went::Stuck);
            }
            tokio::time::sleep(pause.min(patience)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks everything once that is to be asked now. True if something moved.
    async fn round(&mut self) -> anyhow::Result<bool> {
        let asks = self.wallet.asks(self.now())?;
        let mut moved = self.wallet.events().iter().any(|(_, event)| event.is_progress());
        for (operation, ask) in asks {
            let answer = self.carry(&ask).await;
            let events = self.wallet.answered(operation, answer, self.now(), &*random::<32>()?)?;
            for event in events {
                moved |= event.is_progress();
                self.note(&event);
                if let Event::Refused(problem) = &event {
                    moved |= self.take_no(operation, problem);
                }
            }
            if self.wallet.operation(operation, self.now())?.is_some_and(|entry| entry.ended.is_some()) {
                self.clients.close(ask.circuit);
            }
        }
        Ok(moved)
    }

    /// A refusal that will not pass by itself (no money, no account) ends an exchange: the person hears of it, and decides
    /// what to do. A purchase goes on: it has other ways to end. True if something ended.
    fn take_no(&mut self, operation: OperationId, problem: &Problem) -> bool {
        let passes = codes::find(&problem.code).is_none_or(|page| page.retry_after.is_some());
        let now = self.now();
        let is_purchase = match self.wallet.operation(operation, now) {
            Ok(Some(entry)) => entry.kind == OperationKind::Purchase,
            Ok(None) | Err(_) => true,
        };
        // What has ended already cannot be given up, and need not be.
        !passes && !is_purchase && self.wallet.give_up(operation, now).is_ok()
    }

    /// Fetches the bank's brands and terms, anonymously.
    pub async fn describe(&mut self) -> anyhow::Result<()> {
        let call = AnyCall::Bank(BankCall::Describe);
        match self.ask_once(self.bank.key, call).await {
            Ok(AnyReply::Bank(BankReply::Description(description))) => {
                let accepted = self.wallet.accept_description(description)?;
                match accepted.refused.first() {
                    Some(refusal) => bail!("the bank states brands that cannot be accepted: {refusal}"),
                    None => Ok(()),
                }
            }
            Ok(_) => bail!("the bank gave another answer than expected"),
            // What is known of it may do.
            Err(CallError::Unreachable(..)) if self.wallet.terms(&self.bank.key).is_some() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the account holds; none if it is not open.
    pub async fn balance(&mut self) -> anyhow::Result<Option<Amount>> {
        let ask = self.wallet.balance_ask(self.bank.key, self.now())?;
        match self.carry(&ask).await {
            Ok(AnyReply::Bank(BankReply::Balance(balance))) => Ok(Some(balance)),
            Ok(_) => bail!("the bank gave another answer than expected"),
            Err(CallError::Problem(problem)) if problem.code == "unknown_account" => Ok(None),
            Err(error) => Err(error.into()),
        }
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

    /// What a shop sells.
    pub async fn items(&self, shop: &Identity) -> anyhow::Result<Vec<Item>> {
        match self.ask_once(shop.key, AnyCall::Shop(ShopCall::Describe)).await? {
            AnyReply::Shop(ShopReply::Description(description)) => Ok(description.items),
            _ => bail!("the shop gave another answer than expected"),
        }
    }

    /// A fresh offer.
    pub async fn offer(&self, shop: &Identity, item: &str) -> anyhow::Result<Unverified<GoodsM>> {
        let call = AnyCall::Shop(ShopCall::Offer { item: item.to_owned() });
        match self.ask_once(shop.key, call).await? {
            AnyReply::Shop(ShopReply::Offer(offer)) => Ok(*offer),
            _ => bail!("the shop gave another answer than expected"),
        }
    }

    /// Why nothing moves, as far as it was heard.
    pub fn why_stuck(&self) -> Option<String> {
        self.last.clone()
    }

    fn note(&mut self, event: &Event) {
        let why = match event {
            Event::Refused(problem) => problem.to_string(),
            Event::Unreachable(who) => who.clone(),
            Event::Distrusted(what) => format!("an answer that does not hold: {what}"),
            Event::Trouble(what) => what.clone(),
            Event::Pending => "the other side does not know the outcome yet".to_owned(),
            _ => return,
        };
        self.last = Some(why);
    }

    /// Asks on a circuit of its own, that nobody can link to anything.
    async fn ask_once(&self, to: PublicKey, call: AnyCall) -> Result<AnyReply, CallError> {
        let number = random::<8>().map_err(|error| CallError::BadReply(error.to_string()))?;
        let circuit = Circuit::Anonymous(u64::from_be_bytes(*number));
        let answer = self.carry(&Ask { to, circuit, call }).await;
        self.clients.close(circuit);
        answer
    }

    async fn carry(&self, ask: &Ask) -> Result<AnyReply, CallError> {
        let unknown = || CallError::Unreachable(ask.to.to_string(), "it has no address in the settings".to_owned());
        let address = self.addresses.get(&ask.to).ok_or_else(unknown)?;
        let client = self.clients.on(ask.circuit, address);
        let client = client.map_err(|error| CallError::Unreachable(address.clone(), error.to_string()))?;
        ask.call.ask(&client).await
    }
}

fn peers(settings: &WalletSettings) -> anyhow::Result<Peers> {
    let bank = Identity::find(&settings.bank, Role::Bank).context("the setting bank")?;
    let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
    let logs = logs.iter().map(Identity::log).collect::<anyhow::Result<Vec<_>>>()?;
    let shops = identity::pinned(&settings.shops, Role::Shop, "shops")?;
    Ok(Peers::new([bank.key], logs, shops.iter().map(|shop| shop.key)))
}

fn goods(folder: &PartyFolder, settings: &WalletSettings) -> anyhow::Result<FolderGoods> {
    // Where goods are is written down, and must hold wherever the next command is given.
    Ok(FolderGoods::new(&std::path::absolute(folder.path(&settings.goods))?)?)
}

/// Shows fetching, comparing and decrypting as progress bars.
fn bars(output: Output) -> impl FnMut(OperationId, &Event) + Send {
    let shown: Arc<Mutex<Option<(&'static str, ProgressBar)>>> = Arc::default();
    move |_, event| {
        let (what, done, total) = match event {
            Event::Fetched { bytes, of } => ("fetching", *bytes, *of),
            Event::Checked { bytes, of } => ("comparing", *bytes, *of),
            Event::Decrypted { bytes, of } => ("decrypting", *bytes, *of),
            _ => return,
        };
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.as_ref().is_none_or(|(before, _)| *before != what) {
            if let Some((_, bar)) = shown.take() {
                bar.finish_and_clear();
            }
            *shown = Some((what, output.bar(total, what, Unit::Bytes)));
        }
        if let Some((_, bar)) = &*shown {
            bar.set_position(done);
            if done == total {
                bar.finish_and_clear();
            }
        }
    }
}
