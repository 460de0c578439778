//! Many callers at once, over real threads and HTTP.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use naulon_bank::{Bank, BankFront, BankStore, FrontLimits, MemoryStore, SqliteStore, audit_file};
use naulon_durable::StoreError;
use naulon_durable::fault::{Faults, When};
use naulon_exchange::{Condition, Header, RequestId, State, key_commitment};
use naulon_wire::serve::{listen, serve};
use naulon_wire::{BankCall, BankReply, Circuit, Clients, ExchangeReply, Problem, Service};
use world::*;

/// The bank has been asked at [`NOW`] before, so its clock, which never runs backwards, stays there.
fn front<S: BankStore>(bank: Bank<S>) -> Arc<BankFront> {
    Arc::new(BankFront::start(bank, FrontLimits::default()))
}

async fn at_once(front: &Arc<BankFront>, calls: Vec<BankCall>) -> Vec<Result<BankReply, Problem>> {
    let tasks: Vec<_> = calls
        .into_iter()
        .map(|call| {
            let front = front.clone();
            tokio::spawn(async move { front.call(call).await })
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.expect("ends"));
    }
    replies
}

const ROUNDS: u8 = 50;

/// The purchase of an n that no other round uses.
fn sale(round: u8, number: u8) -> Condition {
    let n = [[round; 8], [number; 8]].concat().try_into().expect("sixteen");
    Condition { n, c: key_commitment(&n, &K), ..condition(0) }
}

/// 64 purchases at once on one token, then 64 on one n: exactly one lock each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_locks_on_one_token_or_one_n_exactly_one_wins() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bank.sqlite");
    let mut bank = furnished(SqliteStore::open(&path).expect("opens"));
    ask(&mut bank, credit(&key("alice"), amount("100"), 2)).expect("accepted");
    let contended = withdraw(&mut bank, 1, &[ONE; ROUNDS as usize]);
    let mut others = withdraw(&mut bank, 2, &[ONE; 64 + ROUNDS as usize]);
    let front = front(bank);
    for (round, coin) in (0..).zip(&contended) {
        let calls = (0..64).map(|number| lock(&[coin], amount("1"), &[], sale(round, number)));
        let replies = at_once(&front, calls.collect()).await;
        let winner = the_winner(&replies);
        for problem in replies.iter().filter_map(|reply| reply.as_ref().err()) {
            assert_eq!(problem.code, "locked");
            assert_eq!(problem.record().map(|record| record.exchange.id()), Some(winner), "the proof is the winner's");
        }
    }
    for round in 0..ROUNDS {
        let sale = sale(round, 200);
        let calls = others[..64].iter().map(|coin| lock(&[coin], amount("1"), &[], sale.clone()));
        let replies = at_once(&front, calls.collect()).await;
        the_winner(&replies);
        for problem in replies.iter().filter_map(|reply| reply.as_ref().err()) {
            assert_eq!(problem.code, "offer_taken");
        }
        // The tokens that lost are free, so all but one are used again.
        let won = replies.iter().position(Result::is_ok).expect("one has won");
        others.remove(won);
    }
    // The file of a running bank can be audited.
    let report = audit_file(&path, &rules()).expect("the books agree");
    assert_eq!((report.locked, report.tokens, report.accounts), (amount("100"), amount("64"), amount("36")));
    front.stop().expect("stops");
}

/// The request id of the only reply that is a lock.
fn the_winner(replies: &[Result<BankReply, Problem>]) -> RequestId {
    let winners: Vec<_> = replies.iter().filter_map(|reply| reply.as_ref().ok()).collect();
    let [BankReply::Exchange(winner)] = winners[..] else { panic!("{} winners", winners.len()) };
    assert_eq!(winner.state, State::Locked);
    winner.request
}

/// 64 withdrawals of 5 from an account with 100: exactly 20 go through, whatever shares a transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_account_is_never_overdrawn_by_many_at_once() {
    let front = front(furnished(MemoryStore::new(Faults::none())));
    let calls = (0..64).map(|n| {
        let outputs = vec![Blind::new(FIVE, 1_000 + u32::from(n)).output()];
        order(&key("alice"), amount("5"), n, outputs)
    });
    let replies = at_once(&front, calls.collect()).await;
    assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 20);
    for problem in replies.iter().filter_map(|reply| reply.as_ref().err()) {
        assert_eq!(problem.code, "insufficient_funds");
    }
}

/// A free port below the system's ephemeral ones.
async fn listener() -> tokio::net::TcpListener {
    for port in 21_000..31_000 {
        if let Ok(listener) = listen(SocketAddr::from(([127, 0, 0, 1], port))).await {
            return listener;
        }
    }
    panic!("no free port");
}

#[tokio::test]
async fn over_http_the_bank_says_the_same() {
    let mut bank = furnished(MemoryStore::new(Faults::none()));
    let coins = withdraw(&mut bank, 1, &[ONE, ONE]);
    let front = front(bank);
    let listener = listener().await;
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve::<BankCall, _>(listener, front.clone(), async {
        stopped.await.expect("is told");
    }));
    let client = Clients::default().on(Circuit::Anonymous(1), &url).expect("a client");

    let BankReply::Description(description) = client.call(&BankCall::Describe).await.expect("describes") else {
        panic!("not a description");
    };
    assert_eq!((description.bank, description.logs.len()), (key("bank").public(), 1));
    let stated: Vec<_> = description.register.brands.into_iter().map(|b| b.verify(&key("bank").public())).collect();
    assert_eq!(stated.len(), 5);
    assert!(stated.iter().all(Result::is_ok));

    let locking = || lock(&[&coins[0]], amount("1"), &[], condition(1));
    let BankReply::Exchange(locked) = client.call(&locking()).await.expect("locks") else { panic!("not an exchange") };
    let expected = Header::of(&authorization_q(&[&coins[0]], amount("1"), &[], condition(1)), locked.request);
    assert_eq!(Some(Header::clone(&header(&locked))), expected);
    let again = client.call(&locking()).await.expect("locks");
    assert_eq!(bytes(again), bytes(BankReply::Exchange(locked.clone())));
    let known = client.call(&BankCall::Status(locked.request)).await.expect("knows");
    let public = ExchangeReply { header: None, authorization_b: None, ..*locked };
    assert_eq!(bytes(known), bytes(BankReply::Exchange(Box::new(public))));
    let refused = client.call(&lock(&[&coins[0]], amount("1"), &[], condition(2))).await.expect_err("is locked");
    assert!(matches!(&refused, naulon_wire::CallError::Problem(problem) if problem.code == "locked"), "{refused}");

    stop.send(()).expect("listens");
    server.await.expect("ends");
    front.stop().expect("stops");
}

/// A write of which nobody knows whether it happened: from then on nothing is answered, until the bank is opened again.
#[tokio::test]
async fn a_bank_whose_store_failed_says_nothing_more_until_it_is_opened_again() {
    let faults = Faults::none();
    let store = MemoryStore::new(faults.clone());
    let front_of_broken = front(furnished(store.clone()));
    faults.plan(1, When::After);
    let call = || order(&key("alice"), amount("1"), 1, vec![Blind::new(ONE, 1).output()]);
    let problem = front_of_broken.call(call()).await.expect_err("cannot know");
    assert_eq!((problem.code.as_str(), problem.status), ("unavailable", 503));
    let broken = tokio::time::timeout(std::time::Duration::from_secs(10), front_of_broken.broken()).await;
    assert_eq!(broken, Ok(StoreError::Crashed));
    faults.restart();
    // The store works again, but this bank does not believe it.
    assert_eq!(front_of_broken.call(call()).await.expect_err("is broken").code, "unavailable");
    front_of_broken.stop().expect("stops");

    let opened = front(open(store));
    let BankReply::Exchange(reply) = opened.call(call()).await.expect("was written") else { panic!("not an exchange") };
    Blind::new(ONE, 1).coin(&reply.signatures[0]);
}

#[tokio::test]
async fn brands_are_added_while_the_bank_runs() {
    let mut few = rules();
    few.brands.retain(|id, _| *id == brand_id(ONE));
    let store = MemoryStore::new(Faults::none());
    let mut bank = Bank::open(keys(), few, signatory(), store.clone()).expect("opens");
    for call in [open_account(&key("alice")), credit(&key("alice"), amount("100"), 1)] {
        bank.handle(call, NOW).expect("accepted");
    }
    let front = front(bank);
    let five = || order(&key("alice"), amount("5"), 1, vec![Blind::new(FIVE, 1).output()]);
    assert_eq!(front.call(five()).await.expect_err("no such brand").code, "unknown_brand");
    front.add_brands(vec![brand(FIVE).brand().clone()]).await.expect("added");
    front.call(five()).await.expect("issued");
    assert_eq!(front.desk().describe().register.brands.len(), 2);
    // Another brand for its place, with a key that the signatory has.
    let rival = naulon_blind::Brand { key: brand(TWO).brand().key, ..brand(FIVE).brand().clone() };
    assert!(front.add_brands(vec![rival]).await.is_err());
    front.stop().expect("stops");
    // They are there after a restart, whatever the rules say.
    let mut none = rules();
    none.brands.clear();
    let bank = Bank::open(keys(), none, signatory(), store).expect("opens");
    assert_eq!(bank.desk().rules().brands.len(), 2);
}
