//! A PostgreSQL server that is stopped and started under load, and one that is lost while its synchronous standby takes over:
//! the bank goes on by itself, and nothing that it acknowledged is lost.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use std::time::{Duration, Instant};

use naulon_bank::{PostgresStore, audit_url};
use naulon_cluster::{Cluster, Place, run, texts};
use naulon_wire::Problem;
use world::*;

/// Asks until the bank answers otherwise than that it cannot at present.
fn until_available<T>(mut ask: impl FnMut() -> Result<T, Problem>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(done) => return done,
            Err(problem) if ["unavailable", "busy"].contains(&problem.code.as_str()) => {
                assert!(begun.elapsed() < Duration::from_secs(60), "the bank does not come back");
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(problem) => panic!("refused: {problem:?}"),
        }
    }
}

#[test]
fn a_server_that_is_stopped_and_started_under_load() {
    let mut servers = Cluster::begin().expect("PostgreSQL runs");
    let url = servers.database("bank").expect("a database");
    let mut bank = furnished(PostgresStore::open(&url).expect("opens"));
    let coins = withdraw(&mut bank, 1, &[ONE; 40]);
    let deposited = std::thread::scope(|scope| {
        let trading = scope.spawn(move || {
            for coin in &coins {
                until_available(|| ask(&mut bank, deposit(&[coin], &key("alice"))));
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(bank.broken(), None);
            coins.len()
        });
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(200));
            servers.stop().expect("stops");
            std::thread::sleep(Duration::from_millis(500));
            servers.start().expect("starts");
        }
        trading.join().expect("ends")
    });
    let report = audit_url(&url, &rules()).expect("the books agree");
    assert_eq!((deposited, report.accounts, report.tokens), (40, amount("100"), amount("0")));
}

#[test]
fn a_standby_that_takes_over_has_all_that_was_acknowledged() {
    let mut servers = Cluster::begin().expect("PostgreSQL runs");
    servers.standby().expect("a standby");
    let one = servers.url(Place::One, "postgres");
    servers.database("bank").expect("a database");
    run(&one, "ALTER SYSTEM SET synchronous_standby_names = '*'").expect("set");
    run(&one, "SELECT pg_reload_conf()").expect("reloads");
    let sync = "SELECT sync_state::text FROM pg_stat_replication";
    let begun = Instant::now();
    while texts(&one, sync).expect("answers") != ["sync"] {
        assert!(begun.elapsed() < Duration::from_secs(30), "the standby is not synchronous");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Both are named; the bank takes the one that can be written to.
    let url =
        format!("postgresql:///bank?host={}&host={}&user=bank", servers.socket(Place::One), servers.socket(Place::Two));
    let mut bank = furnished(PostgresStore::open(&url).expect("opens"));
    let coins = withdraw(&mut bank, 1, &[ONE; 30]);
    for coin in &coins[..15] {
        ask(&mut bank, deposit(&[coin], &key("alice"))).expect("acknowledged");
    }
    servers.stop().expect("stops");
    servers.promote().expect("takes over");
    // What was acknowledged is there: each coin is spent for another account, and its first order is answered the same.
    for coin in &coins[..15] {
        let again = until_available_or_refused(|| ask(&mut bank, deposit(&[coin], &key("shop"))));
        assert_eq!(again.expect_err("was spent").code, "spent");
    }
    for coin in &coins {
        until_available(|| ask(&mut bank, deposit(&[coin], &key("alice"))));
    }
    let report = audit_url(&servers.url(Place::Two, "bank"), &rules()).expect("the books agree");
    assert_eq!((report.accounts, report.tokens), (amount("100"), amount("0")));
}

fn until_available_or_refused<T>(mut ask: impl FnMut() -> Result<T, Problem>) -> Result<T, Problem> {
    until_available(|| match ask() {
        Err(problem) if ["unavailable", "busy"].contains(&problem.code.as_str()) => Err(problem),
        done => Ok(done),
    })
}
