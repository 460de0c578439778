//! What only a database can show: several bank processes on one, and connections that are lost.

#![allow(clippy::panic)] // In what the tests share; they may.

mod cluster;
mod world;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration as Wait;

use naulon_bank::{BankFront, BankStore, FrontLimits, PostgresOpenError, PostgresStore, Written, audit_url};
use naulon_durable::{Retry, StoreError};
use naulon_exchange::{AuditReport, Condition, Needs, Plan, Record, RecordWrite, RequestId, State, key_commitment};
use naulon_statement::{Joint, PublicKey, Timestamp};
use naulon_wire::{BankCall, BankReply, Problem, Service};
use world::*;

const ROUNDS: u8 = 20;

fn store(url: &str) -> PostgresStore {
    PostgresStore::open(url).expect("opens")
}

fn audited(url: &str) -> AuditReport {
    audit_url(url, &rules()).expect("the books agree")
}

/// The purchase of an n that no other round uses.
fn sale(round: u8, number: u8) -> Condition {
    let n = [[round; 8], [number; 8]].concat().try_into().expect("sixteen");
    Condition { n, c: key_commitment(&n, &K), ..condition(0) }
}

/// Two bank processes, by all that they share: each has its own bank value, thread and connection.
struct TwoBanks {
    fronts: [Arc<BankFront>; 2],
    runtime: tokio::runtime::Runtime,
}

impl TwoBanks {
    /// Both have been asked at [`NOW`] before, so their clocks, which never run backwards, stay there.
    fn open(url: &str) -> Self {
        let front = |_| {
            let mut bank = open(store(url));
            ask(&mut bank, BankCall::Describe).expect("describes");
            Arc::new(BankFront::start(bank, FrontLimits { batch: 8, ..FrontLimits::default() }))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        TwoBanks { fronts: [0, 1].map(front), runtime: runtime.expect("a runtime") }
    }

    /// Asks both, in turn, all at once.
    fn at_once(&self, calls: impl IntoIterator<Item = BankCall>) -> Vec<Result<BankReply, Problem>> {
        let asked = calls.into_iter().zip(self.fronts.iter().cycle()).map(|(call, front)| {
            let front = front.clone();
            self.runtime.spawn(async move { front.call(call).await })
        });
        let asked: Vec<_> = asked.collect();
        self.runtime.block_on(async {
            let mut replies = Vec::new();
            for reply in asked {
                replies.push(reply.await.expect("ends"));
            }
            replies
        })
    }

    fn stop(self) {
        self.fronts.iter().for_each(|front| front.stop().expect("stops"));
    }
}

/// The request id of the only reply that is a lock.
fn the_winner(replies: &[Result<BankReply, Problem>]) -> RequestId {
    let winners: Vec<_> = replies.iter().filter_map(|reply| reply.as_ref().ok()).collect();
    let [BankReply::Exchange(winner)] = winners[..] else { panic!("{} winners", winners.len()) };
    assert_eq!(winner.state, State::Locked);
    winner.request
}

#[test]
fn of_64_locks_on_one_token_at_two_banks_exactly_one_wins() {
    let url = cluster::database();
    let mut bank = furnished(store(&url));
    let coins = withdraw(&mut bank, 1, &[ONE; ROUNDS as usize]);
    drop(bank);
    let banks = TwoBanks::open(&url);
    for (round, coin) in (0..).zip(&coins) {
        let calls = (0..64).map(|number| lock(&[coin], amount("1"), &[], sale(round, number)));
        let replies = banks.at_once(calls.collect::<Vec<_>>());
        let winner = the_winner(&replies);
        for problem in replies.iter().filter_map(|reply| reply.as_ref().err()) {
            assert_eq!(problem.code, "locked");
            assert_eq!(problem.record().map(|record| record.exchange.id()), Some(winner), "the proof is the winner's");
        }
    }
    let report = audited(&url);
    assert_eq!((report.locked, report.tokens, report.accounts), (amount("20"), amount("0"), amount("80")));
    banks.stop();
}

/// The same request at both banks at once is one request: both say the same, and it is written once.
#[test]
fn one_request_at_two_banks_is_written_once() {
    let url = cluster::database();
    drop(furnished(store(&url)));
    let banks = TwoBanks::open(&url);
    for round in 0..10 {
        let call =
            || order(&key("alice"), amount("1"), round, vec![Blind::new(ONE, 1_000 + u32::from(round)).output()]);
        let replies = banks.at_once((0..16).map(|_| call()).collect::<Vec<_>>());
        let replies: Vec<_> = replies.into_iter().map(|reply| bytes(reply.expect("accepted"))).collect();
        assert!(replies.iter().all(|reply| *reply == replies[0]));
    }
    assert_eq!(audited(&url).accounts, amount("90"));
    banks.stop();
}

/// 64 withdrawals of 5 from an account with 100, at two banks: exactly 20 go through.
#[test]
fn an_account_is_never_overdrawn_at_two_banks() {
    let url = cluster::database();
    drop(furnished(store(&url)));
    let banks = TwoBanks::open(&url);
    let calls = (0..64).map(|n| {
        let outputs = vec![Blind::new(FIVE, 1_000 + u32::from(n)).output()];
        order(&key("alice"), amount("5"), n, outputs)
    });
    let replies = banks.at_once(calls.collect::<Vec<_>>());
    assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 20);
    for problem in replies.iter().filter_map(|reply| reply.as_ref().err()) {
        assert_eq!(problem.code, "insufficient_funds");
    }
    assert_eq!((audited(&url).accounts, audited(&url).tokens), (amount("0"), amount("100")));
    banks.stop();
}

/// A time that one bank has told is past for the other one, too: what was refused for good is not accepted next door.
#[test]
fn a_time_told_by_one_bank_is_past_for_the_other() {
    let url = cluster::database();
    let mut behind = furnished(store(&url));
    let coins = withdraw(&mut behind, 1, &[ONE, ONE]);
    let mut ahead = open(store(&url));
    let locking = || lock(&[&coins[0]], amount("1"), &[], condition(1));
    let late = Timestamp(condition(1).expiry.0 + 1);
    let refused = ahead.handle(locking(), late).expect_err("its expiry is past");
    assert_eq!(refused.code, "expiry_too_soon");
    assert_eq!(behind.handle(locking(), NOW).expect_err("was refused for good").code, "expiry_too_soon");
    // Its clock follows, and what does not rest on the clock goes through.
    behind.handle(deposit(&[&coins[1]], &key("alice")), NOW).expect("accepted");
    assert_eq!(audited(&url).accounts, amount("99"));
}

const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'naulon-bank'";

/// Connections are ended again and again while two banks work. Whoever is told `unavailable` asks again; in the end
/// everything was accepted once, and the books agree.
#[test]
fn banks_whose_connections_are_ended_go_on_and_lose_nothing() {
    let url = cluster::database();
    let mut bank = furnished(store(&url));
    let coins = withdraw(&mut bank, 1, &[ONE; 96]);
    drop(bank);
    let banks = TwoBanks::open(&url);
    let is_over = Arc::new(AtomicBool::new(false));
    let saboteur = {
        let (is_over, url) = (is_over.clone(), url.clone());
        std::thread::spawn(move || {
            let mut times = 0;
            while !is_over.load(Ordering::Relaxed) {
                cluster::run(&url, TERMINATE);
                times += 1;
                std::thread::sleep(Wait::from_millis(25));
            }
            times
        })
    };
    for round in 0..12 {
        let mut open: Vec<usize> = (round * 8..round * 8 + 8).collect();
        for _ in 0..100 {
            let call = |place: &usize| deposit(&[&coins[*place]], &key("alice"));
            let replies = banks.at_once(open.iter().map(call).collect::<Vec<_>>());
            let asked = open.iter().zip(replies);
            open = asked.filter_map(|(place, reply)| is_unavailable(reply).then_some(*place)).collect();
            if open.is_empty() {
                break;
            }
        }
        assert!(open.is_empty(), "a bank does not come back");
    }
    is_over.store(true, Ordering::Relaxed);
    let times = saboteur.join().expect("ends");
    assert!(times > 3, "only {times} terminations");
    let report = audited(&url);
    assert_eq!((report.accounts, report.tokens, report.records), (amount("100"), amount("0"), 98));
    banks.stop();
}

/// Whether the call is to be asked again. Any other problem is one.
fn is_unavailable(reply: Result<BankReply, Problem>) -> bool {
    match reply {
        Ok(_) => false,
        Err(problem) if ["unavailable", "busy"].contains(&problem.code.as_str()) => true,
        Err(problem) => panic!("refused: {problem:?}"),
    }
}

/// A database that takes no connections: a named error; when it is back the same store goes on.
#[test]
fn a_database_that_is_gone_and_back() {
    let url = cluster::database();
    let mut bank = furnished(store(&url));
    let name = url.split(['/', '?']).nth(3).expect("a name").to_owned();
    let admit = |yes: bool| format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}");
    cluster::run(&cluster::administration(), &admit(false));
    let terminate = TERMINATE.replace("current_database()", &format!("'{name}'"));
    cluster::run(&cluster::administration(), &terminate);
    let call = || order(&key("alice"), amount("1"), 1, vec![Blind::new(ONE, 1).output()]);
    assert_eq!(ask(&mut bank, call()).expect_err("is gone").code, "unavailable");
    let error = bank.store().balance(&key("alice").public()).expect_err("is gone");
    assert!(matches!(error, StoreError::Unreachable(_)) && error.retry() == Retry::Now, "{error}");
    assert_eq!(bank.broken(), None);
    cluster::run(&cluster::administration(), &admit(true));
    ask(&mut bank, call()).expect("is back");
    assert_eq!(audited(&url).accounts, amount("99"));
}

/// A server that is not there, or not ours to ask.
#[test]
fn a_database_that_cannot_be_opened_is_told_by_name() {
    let nowhere = tempfile::tempdir().expect("a folder");
    let url = format!("postgresql:///bank?host={}&user=bank", nowhere.path().display());
    assert!(matches!(PostgresStore::open(&url), Err(PostgresOpenError::Store(StoreError::Unreachable(_)))));
    let far = PostgresStore::open("postgresql://bank@db.example/bank");
    assert!(matches!(far, Err(PostgresOpenError::NotLocal(host)) if host == "db.example"));
    let url = cluster::database();
    drop(store(&url));
    cluster::run(&url, "UPDATE schema SET number = 1000");
    assert!(matches!(PostgresStore::open(&url), Err(PostgresOpenError::Newer { found: 1000, .. })));
}

/// Where a connection is cut: at the first COMMIT that comes by after it was armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The server does not see the COMMIT.
    Before,
    /// The server commits, and its answer is lost.
    After,
}

/// A way to the cluster's socket that can be cut.
struct Proxy {
    folder: tempfile::TempDir,
    cut: Arc<Mutex<Option<Cut>>>,
}

impl Proxy {
    fn start(server: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).expect("listens");
        let cut = Arc::new(Mutex::new(None));
        let armed = cut.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, armed) = (client.expect("connects"), armed.clone());
                let server = UnixStream::connect(&server).expect("connects");
                std::thread::spawn(move || relay(&client, &server, &armed));
            }
        });
        Proxy { folder, cut }
    }

    fn url(&self, direct: &str) -> String {
        let (database, _) = direct.split_once('?').expect("has a host");
        format!("{database}?host={}&user=bank", self.folder.path().display())
    }
}

fn relay(client: &UnixStream, server: &UnixStream, armed: &Mutex<Option<Cut>>) {
    let back = [server.try_clone().expect("clones"), client.try_clone().expect("clones")];
    let is_deaf = Arc::new(AtomicBool::new(false));
    let deaf = is_deaf.clone();
    let answers = std::thread::spawn(move || {
        let [mut server, mut client] = back;
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = server.read(&mut bytes) {
            if !deaf.load(Ordering::SeqCst) && client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
    });
    let (mut from, mut to) = (client, server);
    let mut bytes = [0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let is_commit = bytes[..count].windows(7).any(|window| window == b"COMMIT\0");
        let cut = if is_commit { armed.lock().expect("sound").take() } else { None };
        is_deaf.store(cut.is_some(), Ordering::SeqCst);
        if cut == Some(Cut::Before) || to.write_all(&bytes[..count]).is_err() || cut == Some(Cut::After) {
            break;
        }
    }
    // The server ends its side when it has answered; the answer is heard to its end, and told to nobody.
    let _ = server.shutdown(std::net::Shutdown::Write);
    let _ = answers.join();
    let _ = client.shutdown(std::net::Shutdown::Both);
}

/// The connection is lost at a COMMIT: the store says that it does not know, and the bank that asks again gets it right,
/// both if it was written and if it was not.
#[test]
fn a_commit_of_unknown_outcome_is_looked_up() {
    let direct = cluster::database();
    let socket = direct.split_once("host=").and_then(|(_, rest)| rest.split_once('&')).expect("a folder").0;
    let proxy = Proxy::start(PathBuf::from(socket).join(".s.PGSQL.5432"));
    let mut bank = furnished(store(&proxy.url(&direct)));
    for (number, cut) in [(1, Cut::Before), (2, Cut::After)] {
        *proxy.cut.lock().expect("sound") = Some(cut);
        withdraw(&mut bank, number, &[ONE]);
        assert_eq!(*proxy.cut.lock().expect("sound"), None, "it was cut");
        assert_eq!(audited(&direct).accounts, amount(["99", "98"][usize::from(number) - 1]));
    }
    // What the store itself says; and a loser is known to have lost.
    for (number, cut, is_written) in [(7, Cut::Before, false), (8, Cut::After, true)] {
        let record = Arc::new(Record {
            exchange: Joint::sign(exchange(vec![], vec![]), [&key(&number.to_string())]),
            state: State::Done,
            accepted: NOW,
            decision: None,
            settled: None,
        });
        let opening = |account: u8| Plan {
            record: RecordWrite::Open(PublicKey([account; 32])),
            marks: vec![],
            freed: vec![],
            draws: vec![],
            chains: vec![],
            guards: vec![],
            transfers: vec![],
        };
        let losing = Plan { record: RecordWrite::Settle(record), ..opening(0) };
        *proxy.cut.lock().expect("sound") = Some(cut);
        let written = bank.store().commit(&[opening(number), losing]);
        assert_eq!(written, Ok(vec![Written::Unknown, Written::Lost]));
        let account = PublicKey([number; 32]);
        let needs = Needs { accounts: [account].into(), ..Needs::default() };
        let views = bank.store().view(&[needs]).expect("views");
        assert_eq!(views[0].balances.contains_key(&account), is_written);
    }
}

/// Two processes that begin the same new books at once: both open, one has made the tables.
#[test]
fn new_books_are_begun_once() {
    let url = cluster::database();
    let begin = || {
        let url = url.clone();
        std::thread::spawn(move || drop(store(&url)))
    };
    let begun: Vec<_> = (0..4).map(|_| begin()).collect();
    begun.into_iter().for_each(|it| it.join().expect("opens"));
    let report = audited(&url);
    assert_eq!(report.records, 0);
}

/// Two bank processes on one database: of both one appends, and neither signs another tree.
#[test]
fn two_processes_keep_one_register() {
    use naulon_bank::RegisterStore;
    use naulon_exchange::register::{Day, EntryKind};
    let url = cluster::database();
    let later = Timestamp(NOW.0 + 3 * 86_400_000);
    let mut first = furnished(store(&url));
    let mut second = open(store(&url));
    let mut behind = open(store(&url));
    withdraw(&mut first, 1, &[ONE]);
    // Turn by turn, and each from what it knew before the other.
    let mut more = true;
    while more {
        more = second.close_days(later).expect("closes") | first.close_days(later).expect("closes");
    }
    let [one, two] = [&mut first, &mut second].map(|bank| {
        assert!(!bank.close_days(later).expect("looks"));
        bank.desk().register()
    });
    assert_eq!((&one.entries, &one.checkpoint), (&two.entries, &two.checkpoint));
    let days = one.entries.iter().filter(|entry| entry.kind() == Some(EntryKind::Day)).count() as u64;
    assert_eq!(days, Day::of(later).0 - Day::of(NOW).0, "each day once");
    // A process whose clock is behind cannot put anything into a day that is told.
    withdraw(&mut behind, 2, &[ONE]);
    let held = first.store().delivered(NOW..Day::of(later).start(), None, 99).expect("reads").len();
    assert_eq!(held, 2, "what was paid in, and what was withdrawn before");
}
