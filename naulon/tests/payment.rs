//! HTTP 402 by real processes: a wallet fetches an item by its URL, and a stock mppx client pays a shop.

mod process;

use std::io::Write;
use std::process::Command;

use process::npm::{Npm, said};
use process::{House, PASSPHRASE, Server};

/// A house whose shop sells a note for 3.70, a wallet with 20.00 in tokens, and the note's URL.
fn open_house() -> (House, [Server; 3], String) {
    let house = House::furnished();
    std::fs::write(house.path("a note.txt"), b"The fare is paid.").expect("writes");
    house.done(&["shop", "add", "a note.txt", "--price", "3.70", "--title", "A note"]);
    let servers = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "20"]);
    house.done(&["wallet", "withdraw", "20"]);
    let url = format!("http://{}/v1/items/a%20note%2Etxt", servers[2].ready["address"].as_str().expect("an address"));
    (house, servers, url)
}

#[test]
fn a_wallet_fetches_what_a_402_asks_for() {
    let (house, servers, url) = open_house();
    assert_eq!(house.run(&["wallet", "fetch", &url, "--max-price", "3"]).code, Some(3), "too dear");
    assert_eq!(house.run(&["wallet", "fetch", &url.replace("note", "vote")]).code, Some(3), "not there");
    let out = house.path("fetched.txt");
    house.done(&["wallet", "fetch", &url, "--out", out.to_str().expect("text")]);
    assert_eq!(std::fs::read(&out).expect("reads"), b"The fare is paid.");
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "16.30");
    assert_eq!(house.done(&["shop", "sales"])[0]["state"], "paid");

    // What was authorized and never shown is paid by the wallet itself.
    let authorized = house.done(&["wallet", "authorize", &url]);
    assert!(authorized["payload"]["header"].is_string(), "{authorized}");
    let resumed = house.done(&["wallet", "resume"]);
    assert_eq!(resumed[0]["step"], "bought", "{resumed}");
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "12.60");
    let books = house.done(&["audit"]);
    assert_eq!((books["agree"].as_bool(), books["locked"].as_str()), (Some(true), Some("0.00")), "{books}");
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

#[test]
fn a_stock_client_reads_our_402_and_pays() {
    let npm = Npm::installed();
    let (house, servers, url) = open_house();
    let wallet = house.path("wallet");
    let args = [env!("CARGO_BIN_EXE_naulon"), wallet.to_str().expect("text"), &url];
    let seen = said(fed(npm.script("pay.mjs", &args)));

    let request = &seen["challenge"]["request"];
    assert_eq!((request["amount"].as_str(), request["currency"].as_str()), (Some("3700000"), Some("EUR")), "{seen}");
    assert_eq!(request["methodDetails"]["item"], "a note.txt");
    assert_eq!((seen["status"].as_u64(), seen["cache"].as_str()), (Some(200), Some("no-store")), "{seen}");
    assert!(seen["answer"]["decision"].is_string() && seen["answer"]["goods"].is_string(), "{seen}");
    let receipt = &seen["receipt"];
    assert_eq!((receipt["status"].as_str(), receipt["method"].as_str()), (Some("success"), Some("naulon")), "{seen}");
    assert_eq!(house.done(&["shop", "sales"])[0]["sale"], receipt["reference"]);
    for (case, code) in [
        ("wrongId", "bad_challenge"),
        ("altered", "bad_challenge"),
        ("otherMethod", "unknown_method"),
        ("noPayload", "bad_credential"),
    ] {
        let refusal = &seen[case];
        assert_eq!((refusal["code"].as_str(), refusal["status"].as_u64()), (Some(code), Some(402)), "{case}: {seen}");
        assert_eq!(refusal["fresh"], true, "{case}: everybody gets the same challenge");
    }
    // Our own reading of what mppx wrote back is the same challenge.
    let serialized = seen["challenge"]["serialized"].as_str().expect("a header");
    let challenge = naulon_wire::payment::Challenge::parse(serialized).expect("reads");
    assert_eq!(challenge.charge().expect("a charge").item, "a note.txt");

    // The wallet has the goods as soon as it hears of the log's decision, and nothing is paid twice.
    let resumed = house.done(&["wallet", "resume"]);
    assert_eq!(std::fs::read(resumed[0]["file"].as_str().expect("a file")).expect("reads"), b"The fare is paid.");
    assert_eq!(house.done(&["wallet", "balance"])["tokens"], "16.30");
    assert_eq!(house.done(&["shop", "sales"]).as_array().map(Vec::len), Some(1));
    assert_eq!(house.done(&["audit"])["agree"], true);
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

/// Runs a script with the passphrase on its standard input.
fn fed(mut script: Command) -> std::io::Result<std::process::Output> {
    let mut child = script.spawn()?;
    child.stdin.take().expect("standard input").write_all(PASSPHRASE.as_bytes())?;
    child.wait_with_output()
}
