//! The driver over real HTTP, with the sealed store and a folder of goods.
#![allow(clippy::panic)]

mod world;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use naulon_durable::sealed::{Cost, Passphrase};
use naulon_money::Amount;
use naulon_purchase::Ending;
use naulon_statement::PublicKey;
use naulon_wallet::driver::clock;
use naulon_wallet::*;
use naulon_wire::serve::{listen, serve};
use naulon_wire::{AnyCall, AnyReply, BankCall, Call, Clients, LogCall, MAX_GOODS_PIECE, Problem, Service, ShopCall};
use tokio::net::TcpListener;
use tokio::time::Instant;
use world::*;

/// One world behind three front doors.
#[derive(Clone)]
struct Front {
    world: Arc<Mutex<World>>,
    /// Every range of goods that was served.
    ranges: Arc<Mutex<Vec<u64>>>,
    /// How many exchanges the bank is too busy for.
    busy: Arc<AtomicU32>,
}

impl Front {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, call: &AnyCall) -> Result<AnyReply, Problem> {
        if let AnyCall::Shop(ShopCall::Goods { range, .. }) = call {
            self.ranges.lock().expect("no panic").push(range.offset);
        }
        if let AnyCall::Bank(BankCall::Exchange(_)) = call {
            let less = |left: u32| left.checked_sub(1);
            if self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
                return Err(Problem { retry_after: Some(0), ..Problem::new("busy", "not now") });
            }
        }
        let mut world = self.world();
        world.now = clock();
        world.call(call)
    }
}

macro_rules! service {
    ($call:ty, $any:ident) => {
        impl Service<$call> for Front {
            async fn call(&self, call: $call) -> Result<<$call as Call>::Reply, Problem> {
                match self.answer(&AnyCall::$any(call))? {
                    AnyReply::$any(reply) => Ok(reply),
                    _ => unreachable!("a party answers for itself"),
                }
            }
        }
    };
}
service!(BankCall, Bank);
service!(LogCall, Log);
service!(ShopCall, Shop);

/// Serves one kind of call.
async fn front_door<C: Call>(front: &Front) -> String
where
    Front: Service<C>,
{
    let (listener, address) = listener().await;
    tokio::spawn(serve::<C, _>(listener, Arc::new(front.clone()), std::future::pending()));
    address
}

/// Listens on a free port below the ephemeral ones.
async fn listener() -> (TcpListener, String) {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).expect("small");
    for port in (first..32_000).chain(20_000..first) {
        if let Ok(listener) = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
            return (listener, format!("http://127.0.0.1:{port}"));
        }
    }
    panic!("no free port");
}

async fn fronts() -> (Front, BTreeMap<PublicKey, String>) {
    let front = Front { world: Arc::new(Mutex::new(World::at(clock()))), ranges: Arc::default(), busy: Arc::default() };
    let keys = {
        let world = front.world();
        [world.bank.key.public(), world.log.key.public(), world.shop.key.public()]
    };
    let doors = [
        front_door::<BankCall>(&front).await,
        front_door::<LogCall>(&front).await,
        front_door::<ShopCall>(&front).await,
    ];
    (front, keys.into_iter().zip(doors).collect())
}

fn open(front: &Front, folder: &Path, addresses: &BTreeMap<PublicKey, String>) -> Driver<SealedStore> {
    let passphrase = Passphrase::from_reader(&b"horse"[..]).expect("a passphrase");
    let path = folder.join("wallet.sqlite");
    let goods = FolderGoods::new(&folder.join("goods")).expect("a folder");
    let peers = front.world().peers();
    let wallet = match SealedStore::open(&path, &passphrase) {
        Ok(store) => Wallet::open(store, peers, goods),
        Err(_) => {
            let store = SealedStore::create(&path, &passphrase, Cost::light()).expect("created");
            Wallet::create(store, &Words::new(&[7; 32]).seed(), peers, goods)
        }
    };
    Driver::new(wallet.expect("a wallet"), Clients::default(), addresses.clone())
}

/// A wallet that has learnt of the bank, with an account and this much in tokens.
async fn funded(front: &Front, driver: &Driver<SealedStore>, amount: &str) -> PublicKey {
    let bank = front.world().bank.key.public();
    let accepted = driver.learn(bank).await.expect("learnt");
    assert_eq!((accepted.brands, accepted.refused.len()), (bank::DENOMINATIONS.len(), 0));
    let op = driver.wallet().open_account(bank, clock()).expect("begun");
    assert!(driver.run(op, None).await.expect("run").entry.ended.is_some());
    let account = driver.wallet().account(&bank);
    front.world().bank.pay_in(account, eur(PAID_IN));
    assert_eq!(driver.account_balance(bank).await.expect("asked"), eur(PAID_IN));
    let amount = eur(amount);
    let op = driver.with(move |wallet, now, entropy| wallet.withdraw(bank, amount, now, entropy)).await;
    let outcome = driver.run(op.expect("alive").expect("begun"), None).await.expect("run");
    assert_eq!(outcome.entry.ended.expect("ended").how, End::Done);
    bank
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_bought_over_http() {
    let (front, addresses) = fronts().await;
    let folder = tempfile::tempdir().expect("a folder");
    let driver = open(&front, folder.path(), &addresses);
    let bank = funded(&front, &driver, "20").await;
    let shop = front.world().shop.key.public();
    let catalogue = driver.catalogue(shop).await.expect("a catalogue");
    let item = catalogue.items[0].clone();
    assert_eq!(item.price, eur("3.50"));
    let offer = driver.offer(shop, item.item).await.expect("an offer");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    driver.watch(Some(Box::new(move |_, event| told.lock().expect("no panic").push(event.clone()))));
    let options = BuyOptions { two_sided: true, ..BuyOptions::default() };
    let op = driver.with(move |wallet, now, entropy| wallet.buy(offer, options, now, entropy)).await;
    let outcome = driver.run(op.expect("alive").expect("begun"), None).await.expect("run");
    assert_eq!(outcome.entry.ending(), Some(Ending::Bought));
    let place = outcome.entry.place.expect("a place");
    assert!(std::fs::read(place).expect("the goods") == front.world().shop.plain);
    assert_eq!(driver.wallet().balance()[&bank].free, eur("16.50"));
    let seen = seen.lock().expect("no panic").clone();
    let steps: [fn(&Event) -> bool; 5] = [
        |event| matches!(event, Event::Fetched { .. }),
        |event| matches!(event, Event::Checked { .. }),
        |event| matches!(event, Event::Authorized { .. }),
        |event| matches!(event, Event::Decrypted { .. }),
        |event| matches!(event, Event::Ended(_)),
    ];
    let places: Vec<_> = steps.iter().map(|step| seen.iter().position(step)).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{places:?}");
    assert!(driver.run_all(None).await.expect("run").is_empty(), "nothing is under way any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_that_is_killed_half_way_goes_on_where_it_was() {
    let (front, addresses) = fronts().await;
    let pieces = 5;
    let size = usize::try_from(pieces * MAX_GOODS_PIECE).expect("small") - 100_000;
    front.world().shop.stock((0..size).map(|i| (i % 251) as u8).collect());
    let folder = tempfile::tempdir().expect("a folder");
    let driver = open(&front, folder.path(), &addresses);
    let bank = funded(&front, &driver, "20").await;
    let shop = front.world().shop.key.public();
    let offer = driver.offer(shop, "A song.txt".to_owned()).await.expect("an offer");
    let op = driver.with(move |wallet, now, entropy| wallet.buy(offer, BuyOptions::default(), now, entropy)).await;
    let op = op.expect("alive").expect("begun");
    let fetched = Arc::new(tokio::sync::Notify::new());
    let told = fetched.clone();
    driver.watch(Some(Box::new(move |_, event| {
        if matches!(event, Event::Fetched { .. }) {
            told.notify_one();
        }
    })));
    tokio::select! {
        outcome = driver.run(op, None) => panic!("too quick: {outcome:?}"),
        () = fetched.notified() => {}
    }
    // What runs on a blocking thread ends first; then everything that was in memory is gone.
    drop(driver.wallet());
    drop(driver);
    let before = front.ranges.lock().expect("no panic").len();
    let driver = loop {
        // The lock on the file goes with the last of the old driver's tasks.
        let passphrase = Passphrase::from_reader(&b"horse"[..]).expect("a passphrase");
        if SealedStore::open(&folder.path().join("wallet.sqlite"), &passphrase).is_ok() {
            break open(&front, folder.path(), &addresses);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let outcomes = driver.run_all(None).await.expect("run");
    assert_eq!(outcomes.iter().map(|outcome| outcome.entry.ending()).collect::<Vec<_>>(), [Some(Ending::Bought)]);
    let place = outcomes[0].entry.place.clone().expect("a place");
    assert!(std::fs::read(place).expect("the goods") == front.world().shop.plain);
    assert_eq!(driver.wallet().balance()[&bank].free, eur("16.50"));
    assert_eq!(front.world().bank.balance(&shop), Some(eur("3.50")), "paid once");
    let ranges = front.ranges.lock().expect("no panic");
    assert!(ranges[before..].iter().all(|offset| *offset > 0), "it does not begin anew: {ranges:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bank_refuses_comes_back_to_the_person() {
    let (front, addresses) = fronts().await;
    let folder = tempfile::tempdir().expect("a folder");
    let driver = open(&front, folder.path(), &addresses);
    let bank = funded(&front, &driver, "5").await;
    let amount = eur("500");
    let op = driver.with(move |wallet, now, entropy| wallet.withdraw(bank, amount, now, entropy)).await;
    let op = op.expect("alive").expect("begun");
    let outcome = driver.run(op, None).await.expect("run");
    assert_eq!(outcome.refused.map(|problem| problem.code).as_deref(), Some("insufficient_funds"));
    assert!(outcome.entry.ended.is_none());
    driver.wallet().give_up(op, clock()).expect("given up");
    assert_eq!(driver.wallet().balance()[&bank].reserved, Amount::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_holds_and_who_cannot_be_reached_is_named() {
    let (front, mut addresses) = fronts().await;
    let folder = tempfile::tempdir().expect("a folder");
    let driver = open(&front, folder.path(), &addresses);
    let bank = funded(&front, &driver, "5").await;
    drop(driver);
    addresses.insert(bank, "http://127.0.0.1:1".to_owned());
    let driver = open(&front, folder.path(), &addresses);
    let op = driver.with(move |wallet, now, entropy| wallet.refresh(bank, now, entropy)).await;
    let op = op.expect("alive").expect("begun");
    let begun = Instant::now();
    let outcome = driver.run(op, Some(begun + Duration::from_secs(1))).await.expect("run");
    assert!(outcome.entry.ended.is_none() && begun.elapsed() < Duration::from_secs(5));
    assert!(outcome.unreachable.is_some());
    assert!(matches!(driver.learn(PublicKey([4; 32])).await, Err(DriverError::NoAddress(_))));
    assert!(matches!(driver.learn(bank).await, Err(DriverError::Call(_))));
    // Another party under the bank's address is noticed.
    let shop = front.world().shop.key.public();
    addresses.insert(shop, addresses[&front.world().log.key.public()].clone());
    let driver = Driver::new(
        Wallet::create(MemoryStore::default(), &seed(), front.world().peers(), MemoryGoods::default())
            .expect("created"),
        Clients::default(),
        addresses,
    );
    assert!(driver.catalogue(shop).await.is_err());
}

/// A shop that is gone for good, struck from the settings or silent for ever, keeps nothing else waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_gone_keeps_nothing_else_waiting() {
    // Takes connections, and never says anything.
    let (_silent, silent) = listener().await;
    for address in [None, Some(silent)] {
        let (front, mut addresses) = fronts().await;
        let folder = tempfile::tempdir().expect("a folder");
        let driver = open(&front, folder.path(), &addresses);
        let bank = funded(&front, &driver, "5").await;
        let offer = front.world().shop.offer(eur("1"), clock());
        let offer = naulon_statement::Unverified::from(&offer);
        let begin = move |wallet: &mut Wallet<SealedStore>, now, entropy: &Entropy| {
            let purchase = wallet.buy(offer, BuyOptions::default(), now, entropy)?;
            Ok::<_, WalletError>((purchase, wallet.withdraw(bank, eur("2"), now, entropy)?))
        };
        let (purchase, withdrawal) = driver.with(begin).await.expect("alive").expect("begun");
        drop(driver);
        let shop = front.world().shop.key.public();
        match &address {
            Some(address) => drop(addresses.insert(shop, address.clone())),
            None => drop(addresses.remove(&shop)),
        }
        let driver = open(&front, folder.path(), &addresses);
        // More than one call is needed: the client tries three times.
        front.busy.store(4, Ordering::SeqCst);
        let outcomes = driver.run_all(Some(Instant::now() + Duration::from_secs(4))).await.expect("run");
        assert_eq!(outcomes.iter().map(|outcome| outcome.entry.id).collect::<Vec<_>>(), [purchase, withdrawal]);
        assert!(outcomes[0].entry.ended.is_none() && outcomes[0].entry.step == "fetching");
        assert_eq!(outcomes[0].unreachable.is_some(), address.is_none());
        assert_eq!(outcomes[1].entry.ended.as_ref().expect("withdrawn").how, End::Done, "{address:?}");
    }
}
