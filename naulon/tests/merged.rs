//! Merged roles (AAT §7), with real processes: one program that is bank and log, and one that is shop and log; everybody is told
//! whom that makes them trust.

mod process;

use std::time::{Duration, Instant};

use process::{House, Server};

fn stock(house: &House) -> Vec<u8> {
    let poem = b"The fare is an obol.".repeat(50);
    std::fs::write(house.path("poem.txt"), &poem).expect("writes");
    house.done(&["shop", "add", "poem.txt", "--price", "1"]);
    poem
}

fn withdraw(house: &House) {
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "5"]);
    house.done(&["wallet", "withdraw", "5"]);
}

fn buy(house: &House, poem: &[u8], told: &str) {
    let bought = house.run(&["wallet", "buy", "poem.txt"]);
    assert_eq!(bought.code, Some(0), "{}", bought.error);
    assert!(bought.error.contains(told), "{}", bought.error);
    assert!(std::fs::read(bought.json["file"].as_str().expect("a file")).expect("reads") == poem);
    assert_eq!(house.done(&["audit"])["agree"], true);
}

#[test]
fn one_program_is_bank_and_log() {
    let house = House::furnished();
    let poem = stock(&house);
    let told = house.run(&["bank", "trust-log", "log", "--own"]);
    assert!(told.code == Some(0) && told.error.contains("trusts the bank and the log together"), "{}", told.error);
    let bank = house.serve_by(&["bank", "serve", "--with-log", "log"]);
    let shop = house.serve("shop");
    withdraw(&house);
    buy(&house, &poem, "The log is the bank's own: the shop trusts the two together.");
    assert_eq!([bank.stop(), shop.stop()], [Some(0), Some(0)]);
}

#[test]
fn one_program_is_shop_and_log_and_is_not_waited_for_for_ever() {
    let house = House::furnished();
    let poem = stock(&house);
    let own = ["shop", "own-log", "log", "--bank", "bank", "--grace", "1s", "--out", "own.txt"];
    let told = house.run(&own);
    assert!(told.code == Some(0) && told.error.contains("trusts the shop to publish the key"), "{}", told.error);
    // Only a statement for this bank, about this log, is taken.
    let forged = std::fs::read_to_string(house.path("own.txt")).expect("reads").replace("0a", "0b");
    std::fs::write(house.path("forged.txt"), forged).expect("writes");
    assert_ne!(house.run(&["bank", "trust-log", "log", "--statement", "forged.txt"]).code, Some(0));
    house.done(&["bank", "trust-log", "log", "--statement", "own.txt"]);
    let settings = std::fs::read_to_string(house.path("bank/naulon.toml")).expect("reads");
    let short =
        settings.replace("lock_min = \"1m\"", "lock_min = \"1s\"").replace("lock_min = \"60s\"", "lock_min = \"1s\"");
    assert_ne!(short, settings);
    std::fs::write(house.path("bank/naulon.toml"), short).expect("writes");

    let bank = house.serve("bank");
    let shop = house.serve_by(&["shop", "serve", "--with-log", "log"]);
    withdraw(&house);
    buy(&house, &poem, "you trust the shop to publish the key in time");

    // Shop and log are gone after the lock: the bank frees the tokens by its own clock, and the wallet has them back.
    let settings = std::fs::read_to_string(house.path("wallet/naulon.toml")).expect("reads");
    let lock = settings.lines().find(|line| line.starts_with("lock = ")).expect("a setting").to_owned();
    std::fs::write(house.path("wallet/naulon.toml"), settings.replace(&lock, "lock = \"15s\"")).expect("writes");
    let mut buying = house.start(&["wallet", "authorize", &item_url(&shop), "--max-price", "1"]);
    buying.wait().expect("ends");
    assert_eq!(shop.stop(), Some(0));
    assert_eq!(house.done(&["audit"])["locked"], "1.00");
    let began = Instant::now();
    while house.done(&["audit"])["locked"] != "0.00" {
        assert!(began.elapsed() < Duration::from_secs(120), "the lock was not freed");
        std::thread::sleep(Duration::from_millis(500));
    }
    let resumed = house.run(&["wallet", "resume", "--patience", "20s"]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.error);
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "4.00");
    house.done(&["wallet", "deposit"]);
    let books = house.done(&["audit"]);
    assert_eq!((books["agree"].as_bool(), books["tokens"].as_str()), (Some(true), Some("0.00")));
    assert_eq!(bank.stop(), Some(0));
}

fn item_url(shop: &Server) -> String {
    let address = shop.ready["address"].as_str().expect("an address");
    format!("http://{address}/v1/items/poem%2Etxt")
}
