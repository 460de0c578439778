//! The log behind its front: many at once, and over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use naulon_durable::executor::Limits;
use naulon_durable::fault::{Faults, When};
use naulon_log::{LIMITS, LogFront, MemoryStore, SqliteStore};
use naulon_statement::Timestamp;
use naulon_wire::{Circuit, Clients, LogCall, LogReply, Service, serve};
use world::*;

/// 64 requests at once on one subject, half of them commits, half aborts, while the clock passes the expiry: one decision.
async fn one_decision(front: &LogFront, number: u64, identity: &naulon_exchange::LogIdentity) -> bool {
    let purchase = Arc::new(Purchase::new(number, EXPIRY));
    let ask = |i: u64| {
        let (front, purchase) = (front.clone(), Arc::clone(&purchase));
        tokio::spawn(async move {
            let call = if i.is_multiple_of(2) { purchase.commit() } else { purchase.abort() };
            front.call(call).await
        })
    };
    let asked: Vec<_> = (0..64).map(ask).collect();
    let mut decisions = Vec::new();
    for answer in asked {
        match answer.await.unwrap() {
            Ok(reply) => decisions.push(proven(reply, identity).decision().clone()),
            Err(problem) => assert_eq!(problem.code, "not_expired"),
        }
    }
    assert!(decisions.len() >= 32, "every commit is answered");
    assert!(decisions.windows(2).all(|pair| pair[0] == pair[1]), "one decision for all");
    assert!(decisions[0].fits(&purchase.header));
    is_commit(&decisions[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn many_at_once_get_one_decision() {
    let (mut commits, mut aborts) = (0, 0);
    for number in 0..40 {
        let log = open(MemoryStore::new(Faults::none())).unwrap();
        let identity = log.identity();
        // Each batch is a millisecond later; small batches, so that the clock moves between the requests.
        let ticks = AtomicU64::new(EXPIRY.0 - number / 4);
        let clock = move || Timestamp(ticks.fetch_add(1, Ordering::Relaxed));
        let front = LogFront::start_with(log, Limits { queue: 128, batch: 3 }, clock);
        if one_decision(&front, number, &identity).await {
            commits += 1
        } else {
            aborts += 1
        }
        let stopping = front.clone();
        tokio::task::spawn_blocking(move || stopping.stop()).await.unwrap().unwrap();
        assert_eq!(code(front.call(LogCall::Describe).await), "unavailable");
    }
    assert!(commits > 0 && aborts > 0, "the expiry was in between: {commits} commits, {aborts} aborts");
}

/// The server's job forgets what is past its retention, and nothing before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_log_forgets_what_is_past_its_retention() {
    let ticks = Arc::new(AtomicU64::new(BEFORE.0));
    let clock = Arc::clone(&ticks);
    let log = open(MemoryStore::new(Faults::none())).unwrap();
    let front = LogFront::start_with(log, LIMITS, move || Timestamp(clock.load(Ordering::Relaxed)));
    front.call(Purchase::new(1, EXPIRY).commit()).await.unwrap();
    let body = || LogCall::Public("/body/0".to_owned());
    let a_round = async |front: &LogFront| {
        let forgetting = tokio::time::timeout(std::time::Duration::from_millis(100), front.forget());
        assert!(forgetting.await.is_err(), "it goes on for as long as it is polled");
    };
    a_round(&front).await;
    assert!(front.call(body()).await.is_ok(), "its retention is not over");
    ticks.store(EXPIRY.0 + RETENTION.0 + 1, Ordering::Relaxed);
    a_round(&front).await;
    assert_eq!(code(front.call(body()).await), "not_found");
    assert!(front.call(LogCall::Public("/tile/0/000.p/1".to_owned())).await.is_ok(), "the tree stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_beyond_the_queue_is_told_to_slow_down() {
    let log = open(MemoryStore::new(Faults::none())).unwrap();
    let (enter, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let clock = move || {
        let _ = gate.lock().unwrap().recv();
        BEFORE
    };
    let front = LogFront::start_with(log, Limits { queue: 1, batch: 1 }, clock);
    let ask = |front: LogFront| tokio::spawn(async move { code(front.call(LogCall::Describe).await) });
    let asked: Vec<_> = (0..20).map(|_| ask(front.clone())).collect();
    // The worker holds one, the queue another; the rest is refused at once.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    drop(enter);
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    assert!(
        answers.iter().any(|answer| answer == "ok") && answers.iter().any(|answer| answer == "busy"),
        "{answers:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_write_says_so_until_it_is_started_again() {
    let store = MemoryStore::new(Faults::none());
    let front = LogFront::start_with(open(store.clone()).unwrap(), naulon_log::LIMITS, || BEFORE);
    store.faults().plan(1, When::After);
    let purchase = Purchase::new(1, EXPIRY);
    assert_eq!(code(front.call(purchase.commit()).await), "unavailable");
    store.faults().restart();
    assert_eq!(code(front.call(purchase.ask()).await), "unavailable");
    let front = LogFront::start_with(open(store).unwrap(), naulon_log::LIMITS, || BEFORE);
    assert_eq!(code(front.call(purchase.ask()).await), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_it_answers_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(SqliteStore::open(&directory.path().join("log.sqlite")).unwrap()).unwrap();
    let identity = log.identity();
    let front = LogFront::start_with(log, naulon_log::LIMITS, || BEFORE);
    let listener = free_port().await;
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve::serve::<LogCall, _>(listener, Arc::new(front.clone()), async {
        let _ = stopped.await;
    }));

    let client = Clients::default().on(Circuit::Anonymous(1), &address).unwrap();
    let purchase = Purchase::new(1, EXPIRY);
    let problem = |error| match error {
        naulon_wire::CallError::Problem(problem) => problem.code,
        other => panic!("{other}"),
    };
    assert_eq!(client.call(&purchase.abort()).await.map_err(problem).unwrap_err(), "not_expired");
    let reply = client.call(&purchase.commit()).await.unwrap();
    assert!(is_commit(proven(reply, &identity).decision()));
    let again = client.call(&purchase.ask()).await.unwrap();
    assert!(is_commit(proven(again, &identity).decision()));
    for path in ["/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1", "/body/0"] {
        let LogReply::Public(file) = client.call(&LogCall::Public(path.to_owned())).await.unwrap() else { panic!() };
        assert!(!file.bytes.is_empty(), "{path}");
    }
    assert_eq!(client.call(&LogCall::Public("/body/1".to_owned())).await.map_err(problem).unwrap_err(), "not_found");
    drop(stop);
    served.await.unwrap();
    tokio::task::spawn_blocking(move || front.stop()).await.unwrap().unwrap();
}

/// A free port below the range from which the system takes the ports of outgoing connections.
async fn free_port() -> tokio::net::TcpListener {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    for port in first..32_000 {
        if let Ok(listener) = serve::listen(([127, 0, 0, 1], port).into()).await {
            return listener;
        }
    }
    panic!("no free port");
}
