//! The shop behind its front: over real HTTP, with a bank and a log that come and go.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use naulon_exchange::{Outcome, State};
use naulon_shop::{LIMITS, MemoryShelf, SaleState, Shop, ShopFront, ShopStore, SqliteReader, SqliteStore};
use naulon_statement::PublicKey;
use naulon_wire::serve::{listen, serve};
use naulon_wire::{
    BankCall, BankReply, Call, Circuit, Client, Clients, LogCall, LogReply, Problem, Range, Service, ShopCall,
    ShopReply,
};
use tokio::net::TcpListener;
use world::*;

/// A log over HTTP that can be out of reach, and counts what it is asked.
#[derive(Default)]
struct HttpLog {
    is_down: AtomicBool,
    asked: AtomicUsize,
    log: Mutex<(FakeLog, BTreeMap<naulon_statement::Digest, naulon_exchange::UnverifiedDecision>)>,
}

impl Service<LogCall> for HttpLog {
    async fn call(&self, call: LogCall) -> Result<LogReply, Problem> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Problem::new("unavailable", "down"));
        }
        let LogCall::Commit { header, authorization } = call else { panic!("only commits are asked for") };
        let header = header.verify(&bank().public()).unwrap();
        let k = authorization.verify(&header.merchant).unwrap().k;
        let (log, decided) = &mut *self.log.lock().unwrap();
        let decision = decided.entry(header.digest());
        let decision = decision.or_insert_with(|| log.decide(&header, NOW, Outcome::Commit { k })).clone();
        Ok(LogReply::Decision(Box::new(decision)))
    }
}

/// A bank over HTTP that settles.
#[derive(Default)]
struct HttpBank {
    opened: AtomicUsize,
    settled: AtomicUsize,
}

impl Service<BankCall> for HttpBank {
    async fn call(&self, call: BankCall) -> Result<BankReply, Problem> {
        match call {
            BankCall::OpenAccount(opening) => {
                opening.verify(&keys().merchant.public())?;
                self.opened.fetch_add(1, Ordering::SeqCst);
                Ok(BankReply::Opened)
            }
            BankCall::Settle(decision) => {
                let proven = decision.verify(&FakeLog::default().identity()).unwrap();
                self.settled.fetch_add(1, Ordering::SeqCst);
                Ok(BankReply::Exchange(Box::new(exchange_reply(proven.decision().a, State::Committed))))
            }
            other => panic!("a shop does not ask {other:?}"),
        }
    }
}

/// Log and bank over HTTP, and where they are.
struct Street {
    log: Arc<HttpLog>,
    bank: Arc<HttpBank>,
    addresses: BTreeMap<PublicKey, String>,
}

async fn street() -> Street {
    let (log, bank) = (Arc::new(HttpLog::default()), Arc::new(HttpBank::default()));
    let addresses = BTreeMap::from([
        (FakeLog::default().identity().key, serve_at(Arc::clone(&log)).await),
        (world::bank().public(), serve_at(Arc::clone(&bank)).await),
    ]);
    Street { log, bank, addresses }
}

/// Serves until the test ends, and gives the address.
async fn serve_at<C: Call, S: Service<C>>(service: Arc<S>) -> String {
    let listener = free_port().await;
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve::<C, S>(listener, service, std::future::pending()));
    address
}

/// A free port below the range from which the system takes the ports of outgoing connections.
async fn free_port() -> TcpListener {
    let first = 10_000 + (std::process::id() % 10_000) as u16;
    for port in first..32_000 {
        if let Ok(listener) = listen(([127, 0, 0, 1], port).into()).await {
            return listener;
        }
    }
    panic!("no free port");
}

fn start<S: ShopStore + 'static>(store: S, street: &Street) -> ShopFront {
    let shop: Shop<S, MemoryShelf> = open(store).unwrap();
    ShopFront::start_with(shop, street.addresses.clone(), LIMITS, || NOW)
}

async fn stop(front: ShopFront) {
    tokio::task::spawn_blocking(move || front.stop()).await.unwrap().unwrap();
}

/// Waits until it is so, for a few seconds at most.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to be that {what}");
}

async fn offer_from(front: &ShopFront) -> naulon_statement::Signed<naulon_purchase::GoodsM> {
    match front.call(ShopCall::Offer { item: "poem".into() }).await.unwrap() {
        ShopReply::Offer(offer) => offer.verify(&keys().merchant.public()).unwrap(),
        other => panic!("not an offer: {other:?}"),
    }
}

fn pay_call(offer: &naulon_statement::Signed<naulon_purchase::GoodsM>) -> ShopCall {
    ShopCall::Pay(Box::new(payment_for(offer)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poem_is_bought_over_http() {
    let street = street().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.sqlite");
    let front = start(SqliteStore::open(&path).unwrap(), &street);
    let address = serve_at(Arc::new(front.clone())).await;
    let client: Client = Clients::default().on(Circuit::Anonymous(1), &address).unwrap();

    let ShopReply::Description(shop) = client.call(&ShopCall::Describe).await.unwrap() else { panic!() };
    assert_eq!(shop.items[0].title, "A poem");
    let ShopReply::Offer(offer) = client.call(&ShopCall::Offer { item: "poem".into() }).await.unwrap() else {
        panic!()
    };
    let offer = offer.verify(&keys().merchant.public()).unwrap();
    let goods = ShopCall::Goods { digest: offer.goods, range: Range { offset: 0, len: 1 << 20 } };
    let ShopReply::Goods(sealed) = client.call(&goods).await.unwrap() else { panic!() };

    let decision = proven(client.call(&pay_call(&offer)).await.unwrap());
    assert_eq!(decrypt(&offer, decision.decision().key().unwrap(), &sealed.bytes), POEM);
    until("the bank has settled", || street.bank.settled.load(Ordering::SeqCst) == 1).await;
    assert_eq!(street.bank.opened.load(Ordering::SeqCst), 1);
    let id = header_for(&offer).digest();
    let sale = || SqliteReader::open(&path).unwrap().sale(&id).unwrap().unwrap();
    until("the sale is settled", || naulon_shop::SaleSummary::of(id, &sale()).state == SaleState::Paid).await;

    // Asked again, it is the same; bad requests have their codes.
    assert_eq!(proven(client.call(&pay_call(&offer)).await.unwrap()), decision);
    let problem = |error| match error {
        naulon_wire::CallError::Problem(problem) => problem.code,
        other => panic!("{other}"),
    };
    let mut bad = payment_for(&offer);
    bad.authorization_b = forged(&bad.authorization_b);
    assert_eq!(client.call(&ShopCall::Pay(Box::new(bad))).await.map_err(problem).unwrap_err(), "bad_signature");
    let beyond = ShopCall::Goods { digest: offer.goods, range: Range { offset: 1 << 20, len: 1 } };
    assert_eq!(client.call(&beyond).await.map_err(problem).unwrap_err(), "range");
    stop(front).await;
    assert_eq!(client.call(&ShopCall::Describe).await.map_err(problem).unwrap_err(), "unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_is_down_the_buyer_waits_and_the_sale_goes_on_by_itself() {
    let street = street().await;
    street.log.is_down.store(true, Ordering::SeqCst);
    let front = start(memory(), &street);
    let offer = offer_from(&front).await;
    assert!(matches!(front.call(pay_call(&offer)).await, Ok(ShopReply::Pending)));
    street.log.is_down.store(false, Ordering::SeqCst);
    assert!(matches!(front.call(pay_call(&offer)).await, Ok(ShopReply::Decision(_))));
    until("the bank has settled", || street.bank.settled.load(Ordering::SeqCst) == 1).await;
    stop(front).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_that_goes_away_does_not_stop_its_sale() {
    let street = street().await;
    let front = start(memory(), &street);
    let offer = offer_from(&front).await;
    // Just long enough for the payment to be taken: the shop needs longer for its two calls over HTTP.
    let gave_up = tokio::time::timeout(Duration::from_millis(3), front.call(pay_call(&offer))).await.is_err();
    until("the bank has settled", || {
        let settled = street.bank.settled.load(Ordering::SeqCst) == 1;
        // If it gave up before the shop had it, it pays again, as a wallet does.
        if !settled && gave_up {
            let (front, offer) = (front.clone(), offer.clone());
            tokio::spawn(
                async move { tokio::time::timeout(Duration::from_millis(3), front.call(pay_call(&offer))).await },
            );
        }
        settled
    })
    .await;
    stop(front).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_that_starts_again_takes_up_its_sales_by_itself() {
    let street = street().await;
    street.log.is_down.store(true, Ordering::SeqCst);
    let store = memory();
    let front = start(store.clone(), &street);
    let offer = offer_from(&front).await;
    assert!(matches!(front.call(pay_call(&offer)).await, Ok(ShopReply::Pending)));
    stop(front).await;
    street.log.is_down.store(false, Ordering::SeqCst);
    let front = start(store.clone(), &street);
    until("the bank has settled", || street.bank.settled.load(Ordering::SeqCst) == 1).await;
    until("the sale is settled", || store.open_sales().unwrap().is_empty()).await;
    stop(front).await;
}

/// Many payments of one offer at once are one sale; nobody gets another answer than the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn many_payments_at_once_are_one_sale() {
    let street = street().await;
    let store = memory();
    let front = start(store.clone(), &street);
    let offer = Arc::new(offer_from(&front).await);
    let pay = || {
        let (front, offer) = (front.clone(), Arc::clone(&offer));
        tokio::spawn(async move { front.call(pay_call(&offer)).await.unwrap() })
    };
    let paying: Vec<_> = (0..64).map(|_| pay()).collect();
    let mut decisions = Vec::new();
    for answer in paying {
        match answer.await.unwrap() {
            ShopReply::Pending => {}
            reply => decisions.push(proven(reply)),
        }
    }
    assert!(!decisions.is_empty() && decisions.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(street.log.asked.load(Ordering::SeqCst), 1, "k left once");
    until("the sale is settled", || store.open_sales().unwrap().is_empty()).await;
    assert_eq!(store.newest_sales(100).unwrap().len(), 1);
    assert_eq!(store.faults().writes(), 3, "taken, decided, settled");
    stop(front).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_party_without_an_address_is_as_good_as_out_of_reach() {
    let nowhere = Street { addresses: BTreeMap::new(), ..street().await };
    let front = start(memory(), &nowhere);
    let offer = offer_from(&front).await;
    assert!(matches!(front.call(pay_call(&offer)).await, Ok(ShopReply::Pending)));
    stop(front).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_that_cannot_write_says_so_until_it_is_started_again() {
    let street = street().await;
    let store = memory();
    let front = start(store.clone(), &street);
    let offer = offer_from(&front).await;
    store.faults().plan(1, naulon_durable::fault::When::After);
    assert_eq!(code(front.call(pay_call(&offer)).await), "unavailable");
    assert_eq!(street.log.asked.load(Ordering::SeqCst), 0, "k stays in the house");
    stop(front).await;
    store.faults().restart();
    let front = start(store, &street);
    until("the bank has settled", || street.bank.settled.load(Ordering::SeqCst) == 1).await;
    stop(front).await;
}
