//! Bank, log, shop and wallet in one folder, each a server of its own, with a tap on every line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use naulon_durable::sealed::Passphrase;
use naulon_log::LogFront;
use naulon_money::Amount;
use naulon_shop::ShopFront;
use naulon_statement::Duration;
use naulon_wallet::driver::Clock;
use naulon_wire::{BankCall, Call, LogCall, Service, ShopCall};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::tap::{Line, Sky, tap};
use super::trace::Trace;
use crate::clock;
use crate::config::{self, At, BankListen, BankSettings, Listen, LogSettings, ShopSettings, Span, WalletSettings};
use crate::identity::Identity;
use crate::output::Output;
use crate::parties::brand_keys::BrandKeys;
use crate::parties::folder::random;
use crate::parties::serving::KnownAs;
use crate::parties::wallet::room::{self, Room};
use crate::parties::{PartyFolder, bank_room, log, serving, shop_room};

/// Few denominations, so that making their keys takes a moment only.
const DENOMINATIONS: [&str; 6] = ["0.10", "0.20", "0.50", "1.00", "2.00", "5.00"];
/// Of everything that is kept with --dir.
const PASSPHRASE: &str = "demo\n";

/// The folder of the demonstration.
pub struct Place {
    path: PathBuf,
    keep: bool,
}

impl Place {
    /// This folder, which must not exist yet; or one of its own that goes in the end.
    pub fn new(dir: Option<&Path>) -> anyhow::Result<Self> {
        let (path, keep) = match dir {
            Some(dir) => (dir.to_owned(), true),
            None => (std::env::temp_dir().join(format!("naulon-demo-{}", hex::encode(*random::<6>()?))), false),
        };
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Place { path, keep })
    }

    /// A party's folder in it.
    pub fn folder(&self, name: &str) -> PartyFolder {
        PartyFolder::open(&self.path(name))
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // A folder in the system's place for temporary ones; what cannot be removed goes with them.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Everything that runs.
pub struct Town<'p> {
    place: &'p Place,
    output: Output,
    /// Who the bank is, at the operator's end of its line.
    pub bank: Identity,
    /// The log.
    pub log: Identity,
    /// The shop, at the wallet's end of its line.
    pub shop: Identity,
    /// The weather between wallet and shop, and on all other lines.
    pub sky: Sky,
    /// How far the clocks of log and wallet are set ahead, in milliseconds.
    ahead: Arc<AtomicU64>,
    log_front: LogFront,
    shop_front: ShopFront,
    bank_front: Arc<naulon_bank::BankFront>,
    servers: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl<'p> Town<'p> {
    /// Makes all four parties, starts the servers, and puts this file on the shop's shelf.
    pub async fn build(
        place: &'p Place,
        goods: &Path,
        price: Amount,
        trace: &Trace,
        output: Output,
    ) -> anyhow::Result<Town<'p>> {
        let (stop, stopping) = watch::channel(false);
        let sky = Sky::default();
        let ahead = Arc::new(AtomicU64::new(0));
        let [log_at, bank_at, shop_at] =
            [serving::listen(any()?).await?, serving::listen(any()?).await?, serving::listen(any()?).await?];
        let addresses = [log_at.local_addr()?, bank_at.local_addr()?, shop_at.local_addr()?];

        let log = make_log(place, addresses[0])?;
        let bank = make_bank(place, addresses[1], &log, output)?;
        config::add_to_list::<LogSettings>(place.folder("log").as_path(), "banks", &bank.to_string())?;
        let line = |from, to| Line { from, to };
        let shop_to_bank = tap::<BankCall>(line("shop", "bank"), addresses[1], sky.clone(), trace.clone()).await?;
        let shop_to_log = tap::<LogCall>(line("shop", "log"), addresses[0], sky.clone(), trace.clone()).await?;
        let shop = make_shop(place, addresses[2], &at(&bank, shop_to_bank), &at(&log, shop_to_log))?;
        shop_room::add(&place.folder("shop"), goods, price, Some("A poem"), "Two hundred pages of it.")?;

        let to_bank = tap::<BankCall>(line("wallet", "bank"), addresses[1], sky.clone(), trace.clone()).await?;
        let to_log = tap::<LogCall>(line("wallet", "log"), addresses[0], sky.clone(), trace.clone()).await?;
        let to_shop = tap::<ShopCall>(line("wallet", "shop"), addresses[2], sky.clone(), trace.clone()).await?;
        let operator = tap::<BankCall>(line("operator", "bank"), addresses[1], Sky::default(), trace.clone()).await?;
        let shop = at(&shop, to_shop);
        make_wallet(place, &at(&bank, to_bank), &at(&log, to_log), &shop)?;

        let clock = clock_ahead(&ahead);
        let log_settings = place.folder("log").settings()?;
        let opened = log::open(&place.folder("log"), &log_settings, &passphrase()?)?;
        let log_front = LogFront::start_with(opened, naulon_log::LIMITS, move || clock());
        let bank_settings: BankSettings = place.folder("bank").settings()?;
        let running = bank_room::start(&place.folder("bank"), &bank_settings, &passphrase()?, output)?;
        let shop_settings: ShopSettings = place.folder("shop").settings()?;
        let opened = shop_room::open(&place.folder("shop"), &shop_settings, &passphrase()?, output)?;
        let mut servers = vec![
            serve::<LogCall, _>(log_at, log_front.clone(), stopping.clone()),
            serve_shared::<BankCall, _>(bank_at, Arc::clone(&running.front), stopping.clone()),
        ];
        let shop_front = ShopFront::start(opened, shop_room::addresses(&shop_settings)?);
        servers.push(serve::<ShopCall, _>(shop_at, shop_front.clone(), stopping));
        let bank_front = running.front;
        let bank = at(&bank, operator);
        Ok(Town { place, output, bank, log, shop, sky, ahead, log_front, shop_front, bank_front, servers, stop })
    }

    /// Opens the wallet, on its clock.
    pub fn wallet(&self) -> anyhow::Result<Room> {
        let folder = self.place.folder("wallet");
        let room = room::open(&folder, folder.settings()?, &passphrase()?, self.output)?;
        Ok(room.with_clock(clock_ahead(&self.ahead)))
    }

    /// Sets the clocks of log and wallet ahead, so that nobody has to wait.
    pub fn skip(&self, time: Duration) {
        self.ahead.fetch_add(time.0, Ordering::Relaxed);
    }

    /// The bank's operator credits an account.
    pub async fn credit(&self, account: naulon_statement::PublicKey, amount: Amount) -> anyhow::Result<()> {
        let operator = bank_room::operator(&self.place.folder("bank"), &passphrase()?)?;
        let currency = BankSettings::default().currency;
        crate::parties::credit(&self.bank, &operator, &currency, (account, amount), "demo").await?;
        Ok(())
    }

    /// Stops all servers.
    pub async fn stop(self) -> anyhow::Result<()> {
        // All of them listen; none has gone before.
        let _ = self.stop.send(true);
        for server in self.servers {
            server.await?;
        }
        let (log, shop, bank) = (self.log_front, self.shop_front, self.bank_front);
        tokio::task::spawn_blocking(move || log.stop().and(shop.stop()).and(bank.stop())).await??;
        Ok(())
    }
}

fn make_log(place: &Place, address: SocketAddr) -> anyhow::Result<Identity> {
    let settings = LogSettings { listen: Listen::at(At::Plain(address.to_string())), ..LogSettings::default() };
    PartyFolder::create(&place.path("log"), |folder| log::make(folder, settings, &KnownAs::default(), &passphrase()?))
}

fn make_bank(place: &Place, address: SocketAddr, log: &Identity, output: Output) -> anyhow::Result<Identity> {
    let settings = BankSettings {
        listen: BankListen::at(At::Plain(address.to_string()), At::Plain(address.to_string())),
        denominations: DENOMINATIONS.map(str::to_owned).to_vec(),
        lock_min: Span(Duration::seconds(1)),
        logs: vec![log.to_string()],
        ..BankSettings::default()
    };
    PartyFolder::create(&place.path("bank"), |folder| {
        bank_room::make(folder, settings, &KnownAs::default(), &passphrase()?, BrandKeys::New, output)
    })
}

fn make_shop(place: &Place, address: SocketAddr, bank: &Identity, log: &Identity) -> anyhow::Result<Identity> {
    let settings = ShopSettings {
        listen: Listen::at(At::Plain(address.to_string())),
        banks: vec![bank.to_string()],
        logs: vec![log.to_string()],
        ..ShopSettings::default()
    };
    PartyFolder::create(&place.path("shop"), |folder| {
        shop_room::make(folder, &settings, &KnownAs::default(), &passphrase()?)
    })
}

fn make_wallet(place: &Place, bank: &Identity, log: &Identity, shop: &Identity) -> anyhow::Result<()> {
    let settings = WalletSettings {
        bank: bank.to_string(),
        logs: vec![log.to_string()],
        shops: vec![shop.to_string()],
        ..room::settings_for(&bank.to_string())?
    };
    PartyFolder::create(&place.path("wallet"), |folder| room::make(folder, &settings, &passphrase()?))?;
    Ok(())
}

fn serve<C: Call, S: Service<C>>(at: TcpListener, service: S, stop: watch::Receiver<bool>) -> JoinHandle<()> {
    serve_shared::<C, S>(at, Arc::new(service), stop)
}

pub fn serve_shared<C: Call, S: Service<C>>(
    at: TcpListener,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let stop = async move {
            // An error says that the town is gone, which is a reason to stop, too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        naulon_wire::serve::serve(at, service, stop).await;
    })
}

fn clock_ahead(ahead: &Arc<AtomicU64>) -> Clock {
    let ahead = Arc::clone(ahead);
    Arc::new(move || clock::now().plus(Duration(ahead.load(Ordering::Relaxed))))
}

/// A party at another address: at one end of a tapped line.
fn at(identity: &Identity, url: String) -> Identity {
    Identity { url, account: None, ..identity.clone() }
}

pub fn any() -> anyhow::Result<SocketAddr> {
    Ok("127.0.0.1:0".parse()?)
}

pub fn passphrase() -> anyhow::Result<Passphrase> {
    Ok(Passphrase::from_reader(PASSPHRASE.as_bytes())?)
}
