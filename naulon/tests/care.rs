//! Wallet hygiene by real processes, on days that pass: the privacy meter, waits, renewal.

mod process;

use std::path::Path;

use process::{House, Server};
use serde_json::Value;

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// All that starts from now on lives so many days later.
fn days_later(house: &mut House, days: u32) {
    assert!(Path::new(FAKETIME).is_file(), "Debian's package faketime is installed, as `cargo xtask test` does");
    house.environment = vec![("LD_PRELOAD", FAKETIME.into()), ("FAKETIME", format!("+{days}d").into())];
}

fn furnished() -> House {
    let house = House::furnished();
    std::fs::write(house.path("poem.txt"), "The fare is an obol.").expect("writes");
    house.done(&["shop", "add", "poem.txt", "--price", "1"]);
    house
}

fn fund(house: &House, amount: &str) {
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "30"]);
    house.done(&["wallet", "withdraw", amount]);
}

fn stop(servers: [Server; 3]) {
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

fn codes(privacy: &Value) -> Vec<&str> {
    privacy["reasons"].as_array().expect("a list").iter().filter_map(|reason| reason["code"].as_str()).collect()
}

/// The kinds of what was begun, in order.
fn kinds(house: &House) -> Vec<String> {
    let history = house.done(&["wallet", "history"]);
    let kinds = history.as_array().expect("a list").iter().filter_map(|line| line["kind"].as_str());
    kinds.map(str::to_owned).collect()
}

#[test]
fn the_meter_counts_by_the_register_and_refuses_rare_brands() {
    let mut house = furnished();
    let servers = house.open();
    fund(&house, "8.50");
    let privacy = house.done(&["wallet", "privacy", "poem.txt"]);
    // The day before is summed up already: nothing was issued on it.
    assert!(codes(&privacy).contains(&"few_issued") && codes(&privacy).contains(&"young"), "{privacy}");
    assert_eq!((&privacy["level"], &privacy["issued"]), (&"poor".into(), &0.into()));
    // The bank is on this machine, so nothing is refused or waited for unless it is said.
    let bought = house.run(&["wallet", "buy", "poem.txt"]);
    assert_eq!(bought.code, Some(0), "{}", bought.error);
    assert!(bought.error.contains("can be guessed to be yours"), "{}", bought.error);
    stop(servers);

    // Two days later the first is summed up: few tokens of each brand, all of them this wallet's.
    days_later(&mut house, 2);
    let servers = house.open();
    let counted = || {
        let tokens = house.done(&["wallet", "tokens"]);
        let brands = tokens.as_array().expect("a list").clone();
        (!brands.is_empty() && brands.iter().all(|brand| brand["issued"].as_u64() > Some(0))).then_some(brands)
    };
    let waits = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        counted()
    });
    let brands = waits.take(60).flatten().next().expect("the day is summed up");
    assert!(brands.iter().all(|brand| brand["spend_days"].as_u64() > Some(30) && brand["ended"] == false));
    assert!(house.done(&["wallet", "privacy", "poem.txt"])["issued"].as_u64() < Some(100));

    let before = house.done(&["wallet", "balance"])["tokens"].clone();
    house.environment.push(("NAULON_WALLET_MIN_ISSUED", "100".into()));
    assert_eq!(house.done(&["wallet", "privacy", "poem.txt"])["refused"], true);
    let refused = house.run(&["wallet", "buy", "poem.txt"]);
    assert_eq!(refused.code, Some(3), "{}", refused.error);
    assert!(refused.error.contains("--despite-warnings"), "{}", refused.error);
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], before);
    house.done(&["wallet", "buy", "poem.txt", "--despite-warnings"]);

    // Tokens straight from the account are exchanged first, and account and payment kept apart by some time.
    house.environment.pop();
    house.environment.extend([("NAULON_WALLET_REFRESH_FIRST", "true".into()), ("NAULON_WALLET_WAIT", "1s".into())]);
    house.done(&["wallet", "withdraw", "5"]);
    house.done(&["wallet", "float", "12"]);
    let all = kinds(&house);
    assert_eq!(&all[all.len() - 3..], ["withdraw", "withdraw", "refresh"]);
    house.done(&["wallet", "buy", "poem.txt"]);
    assert_eq!(kinds(&house).last().map(String::as_str), Some("purchase"), "they were fresh already");
    house.done(&["wallet", "deposit", "--no-wait"]);
    house.done(&["wallet", "withdraw", "10", "--no-wait"]);
    house.done(&["wallet", "buy", "poem.txt"]);
    let all = kinds(&house);
    assert_eq!(&all[all.len() - 2..], ["refresh", "purchase"]);
    house.done(&["audit"]);
    stop(servers);
}

#[test]
fn tokens_are_renewed_by_the_way_and_what_ends_is_said() {
    let mut house = furnished();
    let servers = house.open();
    fund(&house, "8.50");
    let spend_days = |house: &House| house.done(&["wallet", "balance"])["ends"][0]["spend_days"].as_u64();
    assert!(spend_days(&house) > Some(50), "{:?}", spend_days(&house));
    assert_eq!(house.done(&["wallet", "renew"])["renewed"], 0, "nothing is due");
    stop(servers);

    // They can no longer be spent, but exchanged: whatever the wallet is asked for, it does that first.
    days_later(&mut house, 100);
    let servers = house.open();
    assert_eq!(spend_days(&house), Some(0));
    house.done(&["wallet", "history"]);
    assert!(spend_days(&house) > Some(30), "{:?}", spend_days(&house));
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "8.50");
    assert!(kinds(&house).contains(&"refresh".to_owned()));
    house.done(&["wallet", "buy", "poem.txt"]);
    stop(servers);

    // A year in a drawer: what nobody exchanged is worth nothing, and that is said.
    days_later(&mut house, 500);
    let servers = house.open();
    let balance = house.done(&["wallet", "balance"]);
    assert_eq!((&balance["ended"], &balance["ends"][0]["ended"]), (&"7.50".into(), &true.into()));
    stop(servers);
}
