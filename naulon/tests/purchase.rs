//! Real processes: bank, log and shop as servers, a wallet by its commands, a file bought.

mod process;

use process::{House, Server};

/// A file of some size, which is not the same twice in it.
fn goods(len: u32) -> Vec<u8> {
    (0..len).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn a_file_is_bought_and_paid_once() {
    let house = House::furnished();
    let song = goods(300_000);
    std::fs::write(house.path("song.flac"), &song).expect("writes");
    house.done(&["shop", "add", "song.flac", "--price", "3.70", "--title", "A song"]);
    let servers = house.open();
    assert!(servers.iter().all(|server| server.ready["address"].as_str().is_some_and(is_below_the_ephemeral_ports)));

    // There is no money yet.
    assert_eq!(house.done(&["wallet", "balance"])["account"], serde_json::Value::Null);
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    let poor = house.run(&["wallet", "withdraw", "10"]);
    assert_eq!(poor.code, Some(3), "{}", poor.error);
    assert_eq!(house.run(&["wallet", "buy", "song.flac"]).code, Some(3));

    // A payment from outside is credited once, however often it is told.
    for _ in 0..2 {
        house.done(&["bank", "credit", &account, "12.50", "--reference", "transfer 4711"]);
    }
    house.done(&["wallet", "withdraw", "10"]);
    let balance = house.done(&["wallet", "balance"]);
    assert_eq!((balance["account"].as_str(), balance["tokens"].as_str()), (Some("2.50"), Some("10.00")));

    // The item is on the list, and too dear for whoever says so.
    assert_eq!(house.done(&["wallet", "items"])[0]["price"], "3.70");
    assert_eq!(house.run(&["wallet", "buy", "song.flac", "--max-price", "3"]).code, Some(3));
    assert_eq!(house.run(&["wallet", "buy", "nothing"]).code, Some(3));

    // Bought one-sided, then two-sided.
    for (side, left) in [(None, "6.30"), (Some("--two-sided"), "2.60")] {
        let bought = house.done(&[&["wallet", "buy", "song.flac"], side.as_slice()].concat());
        let file = std::fs::read(bought["file"].as_str().expect("a file")).expect("reads");
        assert!(file == song, "the file is another one");
        assert_eq!(house.done(&["wallet", "balance"])["tokens"], left);
    }
    proven(&house);

    // The rest goes through fresh tokens back into the account, and the books agree while the bank runs.
    house.done(&["wallet", "refresh"]);
    house.done(&["wallet", "deposit"]);
    let balance = house.done(&["wallet", "balance"]);
    assert_eq!((balance["account"].as_str(), balance["tokens"].as_str()), (Some("5.10"), Some("0.00")));
    let books = house.done(&["audit"]);
    assert_eq!((books["agree"].as_bool(), books["tokens"].as_str()), (Some(true), Some("0.00")));
    assert_eq!((books["came_in"].as_str(), books["accounts"].as_str()), (Some("12.50"), Some("12.50")));
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
    cooked(&house);
}

/// Books in which somebody has written are found to be so.
fn cooked(house: &House) {
    let books = rusqlite::Connection::open(house.path("bank/bank.sqlite")).expect("opens");
    let changed = books.execute("UPDATE account SET balance = balance + 1 WHERE balance > 0", []).expect("writes");
    assert!(changed > 0);
    drop(books);
    let audit = house.run(&["audit"]);
    assert_eq!((audit.code, audit.json["agree"].as_bool()), (Some(1), Some(false)));
    assert!(audit.json["discrepancies"][0].as_str().is_some_and(|found| found.contains("the journal says")));
}

/// What wallet and shop can prove of the purchases.
fn proven(house: &House) {
    let history = house.done(&["wallet", "history"]);
    let purchases = history.as_array().expect("a list").iter().filter(|line| line["kind"] == "purchase");
    let bought: Vec<String> =
        purchases.filter(|line| line["step"] == "bought").map(|line| line["operation"].to_string()).collect();
    assert_eq!(bought.len(), 2);
    let trust = house.start(&["wallet", "show", "--trust"]).wait_with_output().expect("ends").stdout;
    std::fs::write(house.path("trust.toml"), trust).expect("writes");
    for operation in bought {
        house.done(&["wallet", "evidence", &operation, "--out", "wallet.evidence.json"]);
        let finding = house.done(&["verify", "wallet.evidence.json", "--trust", "trust.toml"]);
        assert_eq!(finding["standing"], "consistent", "{finding}");
    }
    let sales = house.done(&["shop", "sales"]);
    assert!(sales.as_array().expect("a list").iter().all(|sale| sale["state"] == "paid"), "{sales}");
    let sale = sales[0]["sale"].as_str().expect("an id").to_owned();
    house.done(&["shop", "sales", "--evidence", &sale, "--out", "shop.evidence.json"]);
    let finding = house.done(&["verify", "shop.evidence.json", "--trust", "trust.toml"]);
    assert!(finding["claims"][0].as_str().is_some_and(|claim| claim.contains("may demand 3.70 EUR")), "{finding}");
}

#[test]
fn a_purchase_that_the_log_cannot_decide_is_taken_up_later() {
    let house = House::furnished();
    let poem = goods(1_000);
    std::fs::write(house.path("poem.txt"), &poem).expect("writes");
    house.done(&["shop", "add", "poem.txt", "--price", "1"]);
    let [log, _bank, _shop] = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "5"]);
    house.done(&["wallet", "withdraw", "5"]);

    // Without the log the purchase is begun and locked, and neither happens nor fails.
    assert_eq!(log.stop(), Some(0));
    let begun = house.run(&["wallet", "buy", "poem.txt", "--patience", "1s"]);
    assert_eq!(begun.code, Some(4), "{}", begun.error);
    assert_eq!((begun.json["step"].as_str(), begun.json["file"].as_str()), (Some("paying"), None));
    let operation = begun.json["operation"].to_string();
    let trust = house.start(&["wallet", "show", "--trust"]).wait_with_output().expect("ends").stdout;
    std::fs::write(house.path("trust.toml"), trust).expect("writes");
    house.done(&["wallet", "evidence", &operation, "--out", "half.evidence.json"]);
    assert_eq!(house.run(&["verify", "half.evidence.json", "--trust", "trust.toml"]).code, Some(3));
    assert_eq!(house.run(&["wallet", "resume", "--patience", "1s"]).code, Some(4));
    assert_eq!(house.done(&["audit"])["locked"], "1.00");

    // With the log it happens, by itself.
    let _log = house.serve("log");
    let done = house.run(&["wallet", "resume"]);
    assert_eq!(done.code, Some(0), "{}", done.error);
    assert!(std::fs::read(done.json[0]["file"].as_str().expect("a file")).expect("reads") == poem);
    let books = house.done(&["audit"]);
    assert_eq!((books["agree"].as_bool(), books["locked"].as_str()), (Some(true), Some("0.00")));
}

fn is_below_the_ephemeral_ports(address: &str) -> bool {
    address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).is_some_and(|port| port < 32_768)
}

/// A wallet that is killed while it buys, and a person who types the same command again: one purchase, paid once.
#[test]
fn the_same_command_after_a_crash_pays_once() {
    let house = House::furnished();
    let film = goods(30_000_000);
    std::fs::write(house.path("film.mkv"), &film).expect("writes");
    house.done(&["shop", "add", "film.mkv", "--price", "3.70"]);
    let servers = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "10", "--reference", "once"]);
    house.done(&["wallet", "withdraw", "10"]);

    let mut buying = house.start(&["wallet", "buy", "film.mkv"]);
    let under_way = || std::fs::read_dir(house.path("wallet/goods")).is_ok_and(|mut goods| goods.next().is_some());
    while !under_way() && buying.try_wait().expect("is asked").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    buying.kill().expect("is killed");
    buying.wait().expect("ends");

    let bought = house.done(&["wallet", "buy", "film.mkv"]);
    assert!(std::fs::read(bought["file"].as_str().expect("a file")).expect("reads") == film, "the file is another one");
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "6.30");
    let history = house.done(&["wallet", "history"]);
    let purchases = history.as_array().expect("a list").iter().filter(|line| line["kind"] == "purchase");
    assert_eq!(purchases.count(), 1, "{history}");
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

/// The shop is gone for good while a file is fetched: the person has the tokens back, and goes on with the rest.
#[test]
fn what_is_not_paid_can_be_given_up() {
    let house = House::furnished();
    std::fs::write(house.path("film.mkv"), goods(60_000_000)).expect("writes");
    house.done(&["shop", "add", "film.mkv", "--price", "3.70"]);
    let [_log, _bank, shop] = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "10"]);
    house.done(&["wallet", "withdraw", "10"]);

    let mut buying = house.start(&["wallet", "buy", "film.mkv"]);
    let under_way = || std::fs::read_dir(house.path("wallet/goods")).is_ok_and(|mut goods| goods.next().is_some());
    while !under_way() && buying.try_wait().expect("is asked").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    buying.kill().expect("is killed");
    buying.wait().expect("ends");
    assert_eq!(shop.stop(), Some(0));

    let waiting = house.run(&["wallet", "resume", "--patience", "1s"]);
    assert_eq!((waiting.code, waiting.json[0]["step"].as_str()), (Some(4), Some("fetching")), "{}", waiting.error);
    let operation = waiting.json[0]["operation"].to_string();
    assert_ne!(house.done(&["wallet", "balance"])["tokens"], "10.00");
    let given_up = house.done(&["wallet", "give-up", &operation]);
    assert_eq!(given_up["step"], "given up, nothing was paid", "{given_up}");
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "10.00");
    assert!(!under_way(), "no encrypted goods are left behind");
    assert_eq!(house.run(&["wallet", "give-up", &operation]).code, Some(3), "there is nothing to give up any more");
    house.done(&["wallet", "refresh"]);
}
