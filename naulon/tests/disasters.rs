//! What goes wrong around the programs, on real processes: each ends in a clear error or goes on, and nothing is lost.

#![allow(clippy::panic)] // What helps a test may panic as the test does.

mod process;

use std::path::Path;
use std::process::Command;

use process::{House, Said, Server};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A town with a wallet that holds 10 in tokens and 40 in its account, and a shop with a note for 1.
fn town() -> House {
    let house = House::furnished();
    std::fs::write(house.path("note.txt"), b"The fare is paid.").expect("writes");
    house.done(&["shop", "add", "note.txt", "--price", "1"]);
    house
}

fn funded(house: &House) {
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "50", "--reference", "once"]);
    house.done(&["wallet", "withdraw", "10"]);
}

fn agrees(house: &House) -> serde_json::Value {
    let books = house.done(&["audit"]);
    assert_eq!(books["agree"].as_bool(), Some(true), "{books}");
    books
}

#[test]
fn a_second_process_on_one_store_is_refused_and_the_first_goes_on() {
    let house = town();
    let servers = house.open();
    for role in ["bank", "log", "shop"] {
        let second = house.run(&[role, "serve"]);
        assert!(second.code == Some(1) && second.error.contains("in use by another process"), "{}", second.error);
    }
    funded(&house);
    house.done(&["wallet", "buy", "note.txt"]);
    agrees(&house);
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

/// The clocks of bank and log are stepped back a day between two starts: their time does not run backwards, and purchases
/// go on. A shop whose clock is behind offers what is over: the wallet refuses, and has lost nothing.
#[test]
fn clocks_stepped_back_a_day() {
    assert!(Path::new(FAKETIME).is_file(), "Debian's package faketime is installed, as `cargo xtask test` does");
    let mut house = town();
    let servers = house.open();
    funded(&house);
    house.done(&["wallet", "buy", "note.txt"]);
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);

    let yesterday = vec![("LD_PRELOAD", FAKETIME.into()), ("FAKETIME", "-1d".into())];
    house.environment = yesterday.clone();
    let [log, bank] = ["log", "bank"].map(|role| house.serve(role));
    house.environment.clear();
    let shop = house.serve("shop");
    house.done(&["wallet", "buy", "note.txt", "--another"]);
    house.done(&["wallet", "refresh"]);
    assert_eq!(agrees(&house)["locked"], "0.00");
    assert_eq!(shop.stop(), Some(0));
    house.environment = yesterday;
    let behind = house.serve("shop");
    house.environment.clear();
    let refused = house.run(&["wallet", "buy", "note.txt", "--another", "--patience", "2s"]);
    assert_ne!(refused.code, Some(0), "{}", refused.json);
    assert_eq!(behind.stop(), Some(0));
    let shop = house.serve("shop");
    house.run(&["wallet", "resume", "--patience", "5s"]);
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "8.00");
    house.done(&["wallet", "buy", "note.txt", "--another"]);
    assert_eq!([log.stop(), bank.stop(), shop.stop()], [Some(0); 3]);

    // The stamps in the log, in the order of its entries.
    let log = rusqlite::Connection::open(house.path("log/log.sqlite")).expect("opens");
    let mut entries = log.prepare("SELECT entry FROM entry ORDER BY place").expect("a statement");
    let entries = entries.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("answers");
    let times: Vec<u64> =
        entries.map(|entry| u64::from_be_bytes(entry.expect("a row")[..8].try_into().expect("eight bytes"))).collect();
    assert!(times.len() >= 3 && times.is_sorted(), "{times:?}");
}

/// No byte more can be written: the bank says so and ends, having half-written nothing; with room it goes on where it was,
/// and so does the wallet.
#[test]
fn a_bank_whose_disk_is_full() {
    let house = town();
    let servers = ["log", "shop"].map(|role| house.serve(role));
    // It already is that large when it starts, so that it stops soon.
    let bank = house.serve("bank");
    funded(&house);
    assert_eq!(bank.stop(), Some(0));
    let bank = house.serve_limited("bank", 256);
    let mut failed = None;
    for _ in 0..60 {
        let said = house.run(&["wallet", "refresh", "--patience", "1s"]);
        if said.code != Some(0) {
            failed = Some(said);
            break;
        }
        house.run(&["wallet", "withdraw", "0.10", "--patience", "1s"]);
    }
    let failed = failed.expect("the limit is reached");
    assert!(matches!(failed.code, Some(1 | 3 | 4)), "{failed:?}");
    process::signal("-TERM", bank.id());
    let (_, said) = bank.ended();
    assert!(said.contains("the bank's store failed"), "{said}");
    let bank = house.serve("bank");
    house.done(&["wallet", "resume"]);
    house.done(&["wallet", "deposit"]);
    let balance = house.done(&["wallet", "balance"]);
    assert_eq!((balance["account"].as_str(), balance["tokens"].as_str()), (Some("50.00"), Some("0.00")), "{balance}");
    agrees(&house);
    assert_eq!(bank.stop(), Some(0));
    assert_eq!(servers.map(Server::stop), [Some(0); 2]);
}

/// Buys until it does not go through any more, and gives what was said then.
fn buy_until_it_fails(house: &House) -> Said {
    for _ in 0..60 {
        let said = house.run(&["wallet", "buy", "note.txt", "--another", "--patience", "2s"]);
        if said.code != Some(0) {
            return said;
        }
    }
    panic!("the limit is not reached")
}

/// The same for a log and for a shop: with room again what was begun is bought or free, and paid once.
#[test]
fn a_log_or_a_shop_whose_disk_is_full() {
    for (role, full) in [("log", "the log stops deciding"), ("shop", "the shop stops")] {
        let house = town();
        let servers = house.open();
        funded(&house);
        house.done(&["wallet", "withdraw", "40"]);
        let [log, bank, shop] = servers;
        let (limited, other) = if role == "log" { (log, shop) } else { (shop, log) };
        assert_eq!(limited.stop(), Some(0));
        let limited = house.serve_limited(role, 128);
        let failed = buy_until_it_fails(&house);
        assert!(matches!(failed.code, Some(1 | 3 | 4)), "{role}: {failed:?}");
        process::signal("-TERM", limited.id());
        let (_, said) = limited.ended();
        assert!(said.contains(full), "{role}: {said}");
        let again = house.serve(role);
        house.done(&["wallet", "resume"]);
        let goods = house.done(&["wallet", "buy", "note.txt"]);
        assert_eq!(goods["step"], "bought", "{role}: {goods}");
        let history = house.done(&["wallet", "history"]);
        let bought = history.to_string().matches("\"bought\"").count();
        let books = agrees(&house);
        assert_eq!(books["locked"], "0.00", "{role}: {books}");
        let balance = house.done(&["wallet", "balance"]);
        assert_eq!(balance["tokens"], format!("{}.00", 50 - bought), "{role}: {bought} {history}");
        assert_eq!([again, other, bank].map(Server::stop), [Some(0); 3]);
    }
}

/// A wallet that cannot write down what it is about to ask asks nothing.
#[test]
fn a_wallet_whose_disk_is_full() {
    let house = town();
    let servers = house.open();
    funded(&house);
    let failed = (0..60).find_map(|_| {
        let said = house.run_limited(&["wallet", "buy", "note.txt", "--another", "--patience", "2s"], 24);
        (said.code != Some(0)).then_some(said)
    });
    let failed = failed.expect("the limit is reached");
    assert!(failed.error.contains("the store failed"), "{failed:?}");
    house.done(&["wallet", "resume"]);
    house.done(&["wallet", "buy", "note.txt", "--another"]);
    let history = house.done(&["wallet", "history"]);
    let bought = history.to_string().matches("\"bought\"").count();
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], format!("{}.00", 10 - bought), "{history}");
    assert_eq!(agrees(&house)["locked"], "0.00");
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

/// A wallet copied to two machines: both believe to hold the same tokens. What the first spends is spent, the second is told
/// so, and no money is lost but what was paid for.
#[test]
fn a_wallet_copied_to_two_machines() {
    let house = town();
    let servers = house.open();
    funded(&house);
    let copied = Command::new("cp").args(["-a", "wallet", "copy"]).current_dir(house.dir.path()).status();
    assert!(copied.expect("runs").success());
    house.done(&["wallet", "buy", "note.txt"]);
    house.done(&["wallet", "refresh"]);
    // Each proof names the tokens of one request: those of the refresh, then those of the purchase.
    for _ in 0..2 {
        let second = house.run(&["wallet", "deposit", "--dir", "copy", "--patience", "2s"]);
        assert_eq!((second.code, second.json["step"].as_str()), (Some(3), Some("refused: spent")), "{second:?}");
    }
    let copy = house.done(&["wallet", "balance", "--dir", "copy"]);
    assert_eq!((copy["tokens"].as_str(), copy["spent_elsewhere"].as_str()), (Some("0.00"), Some("10.00")), "{copy}");
    house.done(&["wallet", "deposit"]);
    let books = agrees(&house);
    // 1.00 is the shop's; the other 49 are in the account, whichever machine looks.
    assert_eq!((books["accounts"].as_str(), books["tokens"].as_str()), (Some("50.00"), Some("0.00")), "{books}");
    for dir in ["wallet", "copy"] {
        assert_eq!(house.done(&["wallet", "balance", "--dir", dir])["account"], "49.00");
    }
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}
