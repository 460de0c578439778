//! A purse as a process: loaded on-line, checks off-line, never beyond its balance, also when it is killed.

mod process;

use process::{House, signal};

const WISH: [&str; 2] = ["--wish", "00112233445566778899aabbccddeeff"];

#[test]
fn a_purse_is_loaded_killed_and_never_beyond_its_balance() {
    let mut house = House::new();
    house.environment = vec![("NAULON_BANK_PURSE_CHECKS", "[\"1.00\"]".into())];
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/brand-keys");
    house.done(&["bank", "init", "--denominations", "1", "--brand-keys", keys, "--listen", "127.0.0.1:0"]);
    let bank = house.serve("bank");
    house.done(&["purse", "init", "--bank-folder", "bank"]);
    let mut purse = house.serve("purse");
    let account = house.done(&["purse", "show"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "5"]);
    assert_eq!(house.done(&["purse", "load", "--amount", "3"])["balance"], "3.00");
    // From here on off-line.
    assert_eq!(bank.stop(), Some(0));
    let payee = format!("--payee={account}");
    let make = ["purse", "check", &payee, "--value", "0.001", "--length", "1000"];
    let first = house.done(&[&make[..], &WISH].concat());
    signal("-KILL", purse.id());
    purse.wait();
    assert_ne!(house.run(&["purse", "status"]).code, Some(0));
    let purse = house.serve("purse");
    // Another process on the folder is refused; the same wish gets the same check, and is paid once.
    assert_ne!(house.run(&["purse", "serve"]).code, Some(0));
    assert_eq!(house.done(&[&make[..], &WISH].concat()), first);
    let others = [house.done(&make), house.done(&make)];
    assert!(others.iter().all(|other| other["commitment"] != first["commitment"]));
    let refused = house.run(&make);
    assert!(refused.code != Some(0) && refused.error.contains("purse_empty"), "{}", refused.error);
    assert_eq!(purse.stop(), Some(0));
    assert_eq!(house.done(&["audit", "--dir", "bank"])["agree"], true);
}
