//! A database that says that transactions were in each other's way, takes too long, or has no room: the bank tries again where
//! that helps, says by name what it waits for where it does not, and writes either all of a request or nothing.

#![allow(clippy::panic)] // In what the tests share; they may.

mod cluster;
mod world;

use std::time::{Duration, Instant};

use naulon_bank::{Bank, PostgresStore, audit_url};
use naulon_exchange::{AuditReport, State};
use world::*;

/// Longer than the bank has a statement wait.
const TOO_LONG: Duration = Duration::from_secs(11);

fn bank_at(url: &str) -> Bank<PostgresStore> {
    furnished(PostgresStore::open(url).expect("opens"))
}

fn audited(url: &str) -> AuditReport {
    audit_url(url, &rules()).expect("the books agree")
}

/// From now on so many statements that insert records fail with this SQLSTATE, each at once or not before its commit.
fn fail(url: &str, times: u32, code: &str, at_commit: bool) {
    let trigger = if at_commit {
        "CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON record DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    } else {
        "CREATE TRIGGER fail BEFORE INSERT ON record FOR EACH STATEMENT"
    };
    // Unlike a row, what a sequence counts stays when a transaction is taken back.
    let sql = format!(
        "DROP TRIGGER IF EXISTS fail ON record; DROP SEQUENCE IF EXISTS failed; CREATE SEQUENCE failed;
         CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('naulon_bank.failed') <= {times} THEN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{code}'; END IF;
             RETURN NEW;
         END $$;
         {trigger} EXECUTE FUNCTION fail()"
    );
    cluster::run(url, &sql);
}

fn failures(url: &str) -> u32 {
    cluster::texts(url, "SELECT last_value::text FROM failed")[0].parse().expect("a number")
}

#[test]
fn transactions_in_each_others_way_are_tried_again() {
    let url = cluster::database();
    let mut bank = bank_at(&url);
    let coins = withdraw(&mut bank, 1, &[ONE; 4]);
    let cases = [("40001", false), ("40P01", false), ("40001", true), ("40P01", true)];
    for ((code, at_commit), coin) in cases.into_iter().zip(&coins) {
        fail(&url, 2, code, at_commit);
        let reply = ask_exchange(&mut bank, deposit(&[coin], &key("alice"))).expect("the third attempt");
        assert_eq!((reply.state, failures(&url)), (State::Done, 3), "{code}");
    }
    assert_eq!(audited(&url).accounts, amount("100"));
}

#[test]
fn a_bank_that_gets_no_turn_says_so_and_has_written_nothing() {
    let url = cluster::database();
    let mut bank = bank_at(&url);
    let coins = withdraw(&mut bank, 1, &[ONE]);
    // Too many conflicts to go on trying; a statement that the server has given up; a disk without room.
    for (code, attempts) in [("40001", 7), ("57014", 1), ("53100", 1)] {
        fail(&url, 1_000, code, false);
        let refused = ask(&mut bank, deposit(&[&coins[0]], &key("alice"))).expect_err("is not written");
        assert_eq!((refused.code.as_str(), failures(&url)), ("unavailable", attempts), "{code}");
        assert_eq!((audited(&url).tokens, bank.broken()), (amount("1"), None), "{code}");
    }
    fail(&url, 0, "40001", false);
    ask(&mut bank, deposit(&[&coins[0]], &key("alice"))).expect("accepted as soon as there is a turn");
    assert_eq!((audited(&url).tokens, audited(&url).accounts), (amount("0"), amount("100")));
}

#[test]
fn a_table_that_another_program_holds_is_waited_for_but_not_for_ever() {
    let url = cluster::database();
    let mut bank = bank_at(&url);
    let coins = withdraw(&mut bank, 1, &[ONE, ONE]);
    let hold = |time: Duration| {
        let sql = format!("BEGIN; LOCK TABLE mark IN EXCLUSIVE MODE; SELECT pg_sleep({}); COMMIT", time.as_secs_f64());
        let holder = url.clone();
        let holding = std::thread::spawn(move || cluster::run(&holder, &sql));
        let locked = "SELECT count(*)::text FROM pg_locks WHERE mode = 'ExclusiveLock' AND granted AND relation = 'mark'::regclass";
        while cluster::texts(&url, locked) != ["1"] {
            std::thread::sleep(Duration::from_millis(5));
        }
        holding
    };
    let holding = hold(Duration::from_millis(700));
    let begun = Instant::now();
    ask(&mut bank, deposit(&[&coins[0]], &key("alice"))).expect("waits for its turn");
    assert!(begun.elapsed() > Duration::from_millis(300), "it did have to wait");
    holding.join().expect("ends");

    let holding = hold(TOO_LONG + Duration::from_secs(2));
    let refused = ask(&mut bank, deposit(&[&coins[1]], &key("alice"))).expect_err("is not waited for");
    assert_eq!(refused.code, "unavailable");
    assert!(refused.retry_after.is_some(), "the caller is told to come back");
    holding.join().expect("ends");
    ask(&mut bank, deposit(&[&coins[1]], &key("alice"))).expect("accepted");
    assert_eq!(audited(&url).accounts, amount("100"));
}
