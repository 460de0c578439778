//! Real processes: a wallet is killed half-way through a purchase, its folder deleted, and brought back from its words.

mod process;

use std::io::Write;
use std::time::Duration;

use process::{House, PASSPHRASE, Said, signal};
use serde_json::Value;

/// Runs a command that reads words, and then the passphrase, from standard input.
fn with_words(house: &House, words: &str, args: &[&str]) -> Said {
    let mut child = house.command(&[args, &["--words-fd", "0"]].concat()).spawn().expect("starts");
    let mut input = child.stdin.take().expect("standard input");
    // Who refuses the words does not read the rest.
    let _ = input.write_all(format!("{words}\n{PASSPHRASE}").as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("ends");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let json = lines.last().cloned().unwrap_or_default();
    Said { code: output.status.code(), json, lines, error: String::from_utf8_lossy(&output.stderr).into_owned() }
}

fn restore(house: &House, words: &str) -> Value {
    let parties = ["--bank", "bank", "--log", "log", "--shop", "shop", "--dir", "w"];
    let said = with_words(house, words, &[&["wallet", "restore", "--fast"], &parties[..]].concat());
    assert_eq!(said.code, Some(0), "{}", said.error);
    said.json
}

#[test]
fn a_wallet_that_is_gone_comes_back_from_its_words_with_the_purchase_under_way() {
    let house = House::furnished();
    let song = b"The fare is an obol, laid under the tongue. ".repeat(5_000);
    std::fs::write(house.path("song.flac"), &song).expect("writes");
    house.done(&["shop", "add", "song.flac", "--price", "3.70"]);
    let servers = house.open();
    let made = house.done(&["wallet", "init", "--dir", "w", "--bank", "bank", "--log", "log", "--shop", "shop"]);
    let words = made["words"].as_str().expect("words").to_owned();
    let opened = house.done(&["wallet", "open-account", "--dir", "w"]);
    house.done(&["bank", "credit", opened["account"].as_str().expect("a key"), "20", "--reference", "w"]);
    house.done(&["wallet", "withdraw", "10", "--dir", "w"]);
    house.done(&["wallet", "buy", "song.flac", "--dir", "w"]);

    // The second purchase: the log does not answer, the wallet is killed and its folder deleted. With plain entries the log is
    // not asked which it takes, so the tokens are locked by then.
    let [log, _, _] = &servers;
    signal("-STOP", log.id());
    let mut buying = house.start(&["wallet", "buy", "song.flac", "--another", "--entries", "plain", "--dir", "w"]);
    std::thread::sleep(Duration::from_secs(3));
    signal("-KILL", buying.id());
    buying.wait().expect("ends");
    signal("-CONT", log.id());
    std::fs::remove_dir_all(house.path("w")).expect("deleted");

    let restored = restore(&house, &words);
    let purchases = restored["purchases"].as_array().expect("a list");
    assert_eq!(purchases.len(), 2, "{restored}");
    for purchase in purchases {
        assert_eq!(purchase["step"], "bought", "{purchase}");
        assert!(std::fs::read(purchase["file"].as_str().expect("a file")).is_ok_and(|bytes| bytes == song));
    }
    agrees(&house);

    // The words are checked while the wallet is whole, and the check changes nothing.
    let verify = ["wallet", "backup", "verify", "--fast", "--dir", "w"];
    let verified = with_words(&house, &words, &verify);
    assert_eq!((verified.code, &verified.json["same"]), (Some(0), &Value::Bool(true)), "{}", verified.error);
    let others = house.done(&["wallet", "init", "--dir", "w2", "--bank", "bank", "--log", "log"]);
    let wrong = with_words(&house, others["words"].as_str().expect("words"), &verify);
    assert_eq!((wrong.code, &wrong.json["words"]), (Some(1), &Value::Bool(false)));
    assert_eq!(with_words(&house, "abandon abandon", &verify).code, Some(1), "no words at all");

    // It does again what any wallet does, and is restored again to the same.
    house.done(&["wallet", "refresh", "--dir", "w"]);
    std::fs::remove_dir_all(house.path("w")).expect("deleted");
    assert_eq!(restore(&house, &words)["tokens"], "2.60");
    agrees(&house);
    house.done(&["wallet", "deposit", "--dir", "w"]);
    let balance = house.done(&["wallet", "balance", "--dir", "w"]);
    assert_eq!((balance["account"].as_str(), balance["tokens"].as_str()), (Some("12.60"), Some("0.00")));
}

fn agrees(house: &House) {
    let balance = house.done(&["wallet", "balance", "--dir", "w"]);
    assert_eq!((balance["tokens"].as_str(), balance["reserved"].as_str()), (Some("2.60"), Some("0.00")), "{balance}");
    let books = house.done(&["audit"]);
    assert_eq!((books["agree"].as_bool(), books["tokens"].as_str()), (Some(true), Some("2.60")), "{books}");
}

/// A restoration is interrupted, and goes on with the same command; until then nothing new is begun.
#[test]
fn a_restoration_that_was_killed_goes_on() {
    let house = House::furnished();
    let _servers = house.open();
    let made = house.done(&["wallet", "init", "--dir", "w", "--bank", "bank", "--log", "log"]);
    let words = made["words"].as_str().expect("words").to_owned();
    let opened = house.done(&["wallet", "open-account", "--dir", "w"]);
    house.done(&["bank", "credit", opened["account"].as_str().expect("a key"), "20", "--reference", "w"]);
    house.done(&["wallet", "withdraw", "10", "--dir", "w"]);
    std::fs::remove_dir_all(house.path("w")).expect("deleted");

    let parties = ["--bank", "bank", "--log", "log", "--dir", "w", "--words-fd", "0", "--over", "2s"];
    let mut slow = house.command(&[&["wallet", "restore"], &parties[..]].concat()).spawn().expect("starts");
    slow.stdin.take().expect("standard input").write_all(format!("{words}\n{PASSPHRASE}").as_bytes()).expect("written");
    std::thread::sleep(Duration::from_secs(4));
    signal("-KILL", slow.id());
    slow.wait().expect("ends");
    let early = house.run(&["wallet", "withdraw", "1", "--dir", "w"]);
    assert_eq!(early.code, Some(3), "{}", early.error);
    assert!(early.error.contains("wallet restore"), "{}", early.error);
    let restored = house.done(&["wallet", "restore", "--fast", "--dir", "w"]);
    assert_eq!(restored["tokens"], "10.00");
    assert_eq!(house.run(&["wallet", "restore", "--fast", "--dir", "w"]).code, Some(1), "it is whole");
    house.done(&["wallet", "withdraw", "1", "--dir", "w"]);
    assert_eq!(house.done(&["wallet", "balance", "--dir", "w"])["tokens"], "11.00");
}
