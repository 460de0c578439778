//! The area `purchase`: how long a person waits for a purchase in which nothing fails, on loopback.
//!
//! From asking the shop for an offer to the goods decrypted and on the disk and the shop credited. Bank, log and shop are child
//! processes over their SQLite files; the wallet, with its sealed file, is in this process. Everything is on the disk before
//! anybody is told of it, as always.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use naulon_durable::sealed::{Cost, Passphrase};
use naulon_exchange::LogIdentity;
use naulon_exchange::register::BankIdentity;
use naulon_money::Amount;
use naulon_purchase::Ending;
use naulon_tlog::{CheckpointVerifier, WitnessPolicy};
use naulon_wallet::driver::{clock, entropy};
use naulon_wallet::{
    BuyOptions, Driver, FolderGoods, OperationId, OperationKind, Outcome, Peers, PinnedBank, SealedStore, Wallet, Words,
};
use naulon_wire::{Address, Clients};

use crate::calls::Maker;
use crate::exchange::brand_of;
use crate::figure::{Figure, MILLISECONDS};
use crate::house;
use crate::load;
use crate::samples::Samples;
use crate::server::{Role, Server};

/// How long a purchase may take.
const GOAL: Duration = Duration::from_millis(20);
/// Purchases a round.
const PURCHASES: usize = 20;
/// How long a purchase is waited for before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures so many rounds.
pub fn run(rounds: usize) -> Result<Vec<Figure>> {
    let folders = tempfile::tempdir()?;
    let folder = |name: &str| -> Result<_> {
        let folder = folders.path().join(name);
        std::fs::create_dir(&folder)?;
        Ok(folder)
    };
    let bank = Server::start(Role::Bank, &folder("bank")?)?;
    let log = Server::start(Role::Log, &folder("log")?)?;
    load::send(log.address, vec![load::get("/v1/log")], || Ok(()))?;
    let shop = Server::start_shop(&folder("shop")?, bank.address, log.address)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let person = Person::enter(&folder("wallet")?, &bank, &log, &shop, (rounds + 1) * PURCHASES).await?;
        let mut samples = Samples::default();
        for round in 0..=rounds {
            eprintln!("round {round} of {rounds}");
            let mut times = Vec::new();
            for _ in 0..PURCHASES {
                times.push(person.buy().await?.as_secs_f64() * 1e3);
            }
            // The first round warms up.
            if round > 0 {
                samples.add("whole", crate::samples::median(&times));
                samples.add("slowest", times.into_iter().fold(0.0, f64::max));
            }
        }
        let goal = GOAL.as_secs_f64() * 1e3;
        let whole = Figure::new("purchase.whole", samples.median("whole"), MILLISECONDS);
        let slowest = Figure::new("purchase.slowest", samples.median("slowest"), MILLISECONDS);
        Ok(vec![whole.against(format!("{goal} ms"), samples.median("whole") / goal).at_most(Some(1.0)), slowest])
    })
}

/// Somebody with a wallet, who buys one thing again and again.
struct Person {
    driver: Driver<SealedStore>,
}

impl Person {
    /// A new wallet with as many tokens as are needed.
    async fn enter(folder: &Path, bank: &Server, log: &Server, shop: &Server, tokens: usize) -> Result<Person> {
        let at = |server: &Server| Address::from(format!("http://{}", server.address));
        let (bank_key, log_keys, merchant) = (house::bank_key().public(), house::log_keys()?, house::merchant_key());
        let addresses: BTreeMap<_, Address> =
            [(bank_key, at(bank)), (log_keys.statements.public(), at(log)), (merchant, at(shop))].into();
        let checkpoints: CheckpointVerifier = house::bank_checkpoints()?.verifier().clone();
        let identity = BankIdentity { key: bank_key, checkpoints };
        let log =
            LogIdentity { key: log_keys.statements.public(), checkpoints: log_keys.checkpoints.verifier().clone() };
        let peers = Peers::new([PinnedBank::new(identity, WitnessPolicy::unwitnessed())], [log], [merchant]);
        let passphrase = Passphrase::from_reader(&b"bench"[..])?;
        let store = SealedStore::create(&folder.join("wallet.sqlite"), &passphrase, Cost::light())?;
        let goods = FolderGoods::new(&folder.join("goods"))?;
        let wallet = Wallet::create(store, &Words::new(&[6; 32]).seed(), peers, goods)?;
        let driver = Driver::new(wallet, Clients::default(), addresses);
        let person = Person { driver };
        person.withdraw(bank, tokens).await?;
        Ok(person)
    }

    async fn withdraw(&self, bank: &Server, tokens: usize) -> Result<()> {
        let key = house::bank_key().public();
        self.driver.learn(key).await?;
        let opened = self.driver.wallet().open_account(key, clock())?;
        self.see_through(opened).await?;
        let each = house::denomination()?;
        let account = self.driver.wallet().account(&key);
        tokio::task::block_in_place(|| -> Result<()> {
            let credit = Maker::new(brand_of(bank)?)?.credit(account, "1000000".parse()?)?;
            load::send(bank.address, vec![credit], || Ok(()))?;
            Ok(())
        })?;
        let mut left = tokens;
        while left > 0 {
            // As many as an exchange holds.
            let now = left.min(32);
            let amount = Amount::from_micros(each.micros() * now as u64);
            let withdrawn = self.driver.wallet().withdraw(key, amount, clock(), &entropy()?)?;
            self.see_through(withdrawn).await?;
            left -= now;
        }
        Ok(())
    }

    /// The time from asking for the offer until nothing is left to be done.
    async fn buy(&self) -> Result<Duration> {
        let begun = Instant::now();
        let offer = self.driver.offer(house::merchant_key(), house::ITEM.to_owned()).await?;
        let drawn = entropy()?;
        let operation =
            self.driver.with(move |wallet, now, _| wallet.buy(offer, BuyOptions::default(), now, &drawn)).await??;
        self.see_through(operation).await?;
        Ok(begun.elapsed())
    }

    async fn see_through(&self, operation: OperationId) -> Result<()> {
        let until = Some(tokio::time::Instant::now() + PATIENCE);
        let Outcome { entry, refused, unreachable } = self.driver.run(operation, until).await?;
        let is_well = entry.kind != OperationKind::Purchase || entry.ending() == Some(Ending::Bought);
        ensure!(entry.ended.is_some() && is_well, "it stands at {}: {refused:?} {unreachable:?}", entry.step);
        Ok(())
    }
}
