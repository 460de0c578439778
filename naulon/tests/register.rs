//! Brands only from the bank's register as witnesses have cosigned it, by real processes.

mod process;

use process::House;

/// The line by which a witness is known: verifier key and address.
fn witness_line(house: &House, dir: &str) -> String {
    let made = house.done(&["log", "witness", "init", "--dir", dir, "--log", "bank", "--listen", "127.0.0.1:0"]);
    made["witness"].as_str().expect("a line").to_owned()
}

#[test]
fn a_wallet_takes_brands_only_as_its_witnesses_have_seen_them() {
    let house = House::furnished();
    let [mine, strange] = ["mine", "strange"].map(|dir| witness_line(&house, dir));
    let _log = house.serve("log");

    // The bank runs without witnesses: a wallet that wants one takes nothing from it, and says why.
    let wallet = |dir: &str, witness: &str| {
        let parties = ["--bank", "bank", "--log", "log", "--shop", "shop"];
        house.done(&[&["wallet", "init", "--dir", dir, "--witness", witness], &parties[..]].concat());
    };
    wallet("careful", &mine);
    wallet("other", &strange);
    let bank = house.serve("bank");
    let account =
        house.done(&["wallet", "open-account", "--dir", "careful"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "10"]);
    let refused = house.run(&["wallet", "withdraw", "5", "--dir", "careful", "--patience", "2s"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.error.contains("no new brands are taken"), "{}", refused.error);
    assert_eq!(bank.stop(), Some(0));

    // With the witness under its register the same bank is taken; a wallet with another witness still takes nothing.
    house.done(&["bank", "trust-witness", "mine"]);
    let _witness = house.serve_by(&["log", "witness", "serve", "--dir", "mine"]);
    let bank = house.serve("bank");
    let withdrawn = house.run(&["wallet", "withdraw", "5", "--dir", "careful"]);
    assert_eq!(withdrawn.code, Some(0), "{}", withdrawn.error);
    let refused = house.run(&["wallet", "withdraw", "5", "--dir", "other", "--patience", "2s"]);
    assert_ne!(refused.code, Some(0));

    // What was withdrawn is promised to be counted.
    let number = withdrawn.json["operation"].to_string();
    let receipts = house.done(&["wallet", "receipts", &number, "--dir", "careful"]);
    let receipts = receipts["receipts"].as_array().expect("receipts").clone();
    assert!(!receipts.is_empty() && receipts.iter().all(|line| line["standing"] == "promised"), "{receipts:?}");
    let file = receipts[0]["file"].as_str().expect("a file").to_owned();
    assert_eq!(house.run(&["verify", &file, "--trust", "bank"]).code, Some(3), "a promise alone says nothing");

    // Tokens go back whatever the register says.
    house.done(&["wallet", "deposit", "--dir", "careful"]);
    assert_eq!(bank.stop(), Some(0));
}
