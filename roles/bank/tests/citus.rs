//! A bank on a PostgreSQL that is spread over machines (Citus). No package registry carries Citus, so this runs where
//! `NAULON_TEST_CITUS` names an empty database at a coordinator, and says aloud when it is skipped.

#![allow(clippy::panic)] // In what the tests share; they may.

mod cluster;
mod world;

use std::io::Write;
use std::sync::Barrier;

use naulon_bank::{PostgresStore, audit_url};
use naulon_money::Amount;
use world::*;

/// Where the tables stand.
const SPREAD: &str = include_str!("../../../docs/operations/citus.sql");

#[test]
fn a_bank_on_citus() {
    let Ok(url) = std::env::var("NAULON_TEST_CITUS") else {
        // The test runner would swallow what is printed.
        let _ = writeln!(std::io::stderr(), "SKIPPED a_bank_on_citus: NAULON_TEST_CITUS names no database");
        return;
    };
    drop(PostgresStore::open(&url).expect("opens"));
    cluster::run(&url, SPREAD);
    let store = || PostgresStore::open(&url).expect("opens");
    let mut bank = furnished(store());
    let coins = withdraw(&mut bank, 1, &[ONE; 20]);
    drop(bank);
    // Two banks race for every coin.
    for coin in &coins {
        let start = Barrier::new(2);
        let won = std::thread::scope(|scope| {
            let racers = ["alice", "shop"].map(|account| {
                let (start, store) = (&start, &store);
                scope.spawn(move || {
                    let mut bank = open(store());
                    start.wait();
                    ask(&mut bank, deposit(&[coin], &key(account))).is_ok()
                })
            });
            racers.into_iter().map(|racer| racer.join().expect("ends")).filter(|won| *won).count()
        });
        assert_eq!(won, 1, "exactly one has it");
    }
    let report = audit_url(&url, &rules()).expect("the books agree");
    assert_eq!((report.tokens, report.accounts), (Amount::ZERO, amount("100")));
}
