//! P3 by the bank, with real processes: the buyer goes off-line once the tokens are locked, and takes k from the public log
//! later.

mod process;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use process::{House, Server, signal};

/// How long a server is given for what it does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A house that sells a poem for 1, and a wallet with 5 in tokens.
fn furnished() -> (House, Vec<u8>) {
    let house = House::furnished();
    let poem = b"The fare is an obol.".repeat(50);
    std::fs::write(house.path("poem.txt"), &poem).expect("writes");
    house.done(&["shop", "add", "poem.txt", "--price", "1"]);
    (house, poem)
}

fn withdraw(house: &House) {
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "5"]);
    house.done(&["wallet", "withdraw", "5"]);
}

/// The naulon: line of a party.
fn line(house: &House, role: &str) -> String {
    let identity = std::fs::read_to_string(house.path(role).join("identity.toml")).expect("reads");
    identity
        .lines()
        .find_map(|line| line.split('"').find(|part| part.starts_with("naulon:")))
        .expect("a line")
        .to_owned()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn sale_is(house: &House, state: &str) -> bool {
    house.run(&["shop", "sales"]).json[0]["state"] == state
}

#[test]
fn the_buyer_goes_off_line_and_takes_the_key_from_the_log() {
    let (house, poem) = furnished();
    house.done(&["bank", "trust-shop", "shop"]);
    let [log, bank, shop] = house.open();
    withdraw(&house);
    // While all are there it is a purchase like any other.
    let bought = house.done(&["wallet", "buy", "poem.txt", "--bank-delivers", "--two-sided"]);
    assert!(std::fs::read(bought["file"].as_str().expect("a file")).expect("reads") == poem);

    // Without the log nothing is decided: the tokens are locked, and the wallet is gone.
    assert_eq!(log.stop(), Some(0));
    let begun = house.run(&["wallet", "buy", "poem.txt", "--bank-delivers", "--patience", "1s"]);
    assert_eq!((begun.code, begun.json["step"].as_str()), (Some(4), Some("paying")), "{}", begun.error);
    until("the sale", || sale_is(&house, "released"));
    let log = house.serve("log");
    until("the credit", || sale_is(&house, "paid"));
    assert_eq!(house.done(&["audit"])["locked"], "0.00");

    // When the wallet comes back, neither shop nor bank are there. The log is, and it is enough for k; change comes later.
    assert_eq!([bank.stop(), shop.stop()], [Some(0), Some(0)]);
    let resumed = house.run(&["wallet", "resume", "--patience", "2s"]);
    let history = house.done(&["wallet", "history"]);
    let file = history.as_array().expect("a list").iter().filter_map(|line| line["file"].as_str()).next_back();
    assert!(file.is_some_and(|file| std::fs::read(house.path(file)).is_ok_and(|bytes| bytes == poem)), "{history}");
    let _bank = house.serve("bank");
    let done = house.run(&["wallet", "resume"]);
    assert_eq!(done.code, Some(0), "{} {}", resumed.error, done.error);
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "3.00");
    assert_eq!(house.done(&["audit"])["agree"], true);
    assert_eq!(log.stop(), Some(0));
}

/// The bank is killed after the lock, while the shop cannot be reached; started again it goes on trying, and delivers as soon
/// as there is a way.
#[test]
fn a_promise_is_delivered_after_a_crash_and_an_outage() {
    let (house, poem) = furnished();
    let shop_line = line(&house, "shop");
    let url = shop_line.split('@').nth(1).expect("a URL").to_owned();
    let (gap, door) = closed_door();
    let detour = shop_line.replace(&url, &format!("http://{door}"));
    house.done(&["bank", "trust-shop", &detour]);
    let [_log, mut bank, _shop] = house.open();
    withdraw(&house);
    let begun = house.run(&["wallet", "buy", "poem.txt", "--bank-delivers", "--patience", "1s"]);
    assert_eq!((begun.code, begun.json["step"].as_str()), (Some(4), Some("paying")), "{}", begun.error);
    assert_eq!(house.done(&["audit"])["locked"], "1.00");
    signal("-KILL", bank.id());
    bank.wait();
    let bank = house.serve("bank");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(house.done(&["shop", "sales"]), serde_json::json!([]), "the shop has heard nothing yet");

    let shop = url.trim_start_matches("http://").parse().expect("an address");
    std::thread::spawn(move || relay(&gap, shop));
    until("the credit", || sale_is(&house, "paid"));
    let done = house.run(&["wallet", "resume"]);
    assert_eq!(done.code, Some(0), "{}", done.error);
    assert!(std::fs::read(done.json[0]["file"].as_str().expect("a file")).expect("reads") == poem);
    assert_eq!((house.done(&["audit"])["agree"].as_bool(), bank.stop()), (Some(true), Some(0)));
}

#[test]
fn a_shop_that_is_not_on_the_banks_list_is_refused_by_name() {
    let (house, _) = furnished();
    let servers = house.open();
    withdraw(&house);
    let refused = house.run(&["wallet", "buy", "poem.txt", "--bank-delivers"]);
    assert_eq!(refused.code, Some(3), "{}", refused.error);
    assert!(refused.error.contains("does not carry promises to that shop"), "{}", refused.error);
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "5.00");
    house.done(&["wallet", "buy", "poem.txt"]);
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

/// A port that is taken, so that nobody else gets it, and whose connections nobody answers.
fn closed_door() -> (TcpListener, SocketAddr) {
    let listen = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok();
    let listener = (25_100..25_900).find_map(listen).expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Passes all connections on, for as long as the test runs.
fn relay(door: &TcpListener, to: SocketAddr) {
    for from in door.incoming().flatten() {
        let Ok(there) = TcpStream::connect(to) else { continue };
        let (mut up, mut down) = (from.try_clone().expect("clones"), there.try_clone().expect("clones"));
        let (mut from, mut there) = (from, there);
        std::thread::spawn(move || io::copy(&mut from, &mut there).map(|_| there.shutdown(std::net::Shutdown::Write)));
        std::thread::spawn(move || io::copy(&mut down, &mut up).map(|_| up.shutdown(std::net::Shutdown::Write)));
    }
}

/// AAT §4: a buyer who is told that the token is spent gets *commit* from the bank, and with it k, also when log and shop are
/// gone for good.
#[test]
fn the_bank_alone_shows_the_commit_and_with_it_the_key() {
    let (house, poem) = furnished();
    house.done(&["bank", "trust-shop", "shop"]);
    let [log, bank, shop] = house.open();
    withdraw(&house);
    assert_eq!(log.stop(), Some(0));
    let begun = house.run(&["wallet", "buy", "poem.txt", "--bank-delivers", "--patience", "1s"]);
    assert_eq!((begun.code, begun.json["step"].as_str()), (Some(4), Some("paying")), "{}", begun.error);
    let log = house.serve("log");
    until("the credit", || sale_is(&house, "paid"));
    assert_eq!([log.stop(), shop.stop()], [Some(0), Some(0)]);

    let done = house.run(&["wallet", "resume"]);
    assert_eq!((done.code, done.json[0]["step"].as_str()), (Some(0), Some("bought")), "{}", done.error);
    assert!(std::fs::read(done.json[0]["file"].as_str().expect("a file")).expect("reads") == poem);
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "4.00");
    let operation = done.json[0]["operation"].to_string();
    house.done(&["wallet", "evidence", &operation, "--out", "evidence.json"]);
    let trust = house.start(&["wallet", "show", "--trust"]).wait_with_output().expect("ends").stdout;
    std::fs::write(house.path("trust.toml"), trust).expect("writes");
    assert_eq!(house.done(&["verify", "evidence.json", "--trust", "trust.toml"])["standing"], "consistent");
    assert_eq!(bank.stop(), Some(0));

    // Satisfied, the buyer discards it: the file stays, the evidence is gone.
    house.done(&["wallet", "discard", &operation]);
    assert!(std::fs::read(house.path(done.json[0]["file"].as_str().expect("a file"))).expect("reads") == poem);
    assert_eq!(house.run(&["wallet", "evidence", &operation, "--out", "gone.json"]).code, Some(3));
}
