//! A whole purchase with a bank whose brands' keys are in a PKCS#11 token, over processes: Debian's SoftHSM2, with a token in
//! a temporary folder.

mod process;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use process::{House, Server};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const LABEL: &str = "naulon bank";
const PIN: &str = "2468";

/// A house with a token beside it, and a bank that is to use it.
fn house() -> House {
    let mut house = House::new();
    let (configuration, tokens, pin) = (house.path("softhsm2.conf"), house.path("tokens"), house.path("pin"));
    std::fs::create_dir(&tokens).expect("a folder");
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    std::fs::write(&configuration, text).expect("writes");
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "1357"])
        .env("SOFTHSM2_CONF", &configuration)
        .output()
        .expect("Debian's package softhsm2 is installed, as `cargo xtask test` does");
    assert!(made.status.success(), "{made:?}");
    std::fs::write(&pin, PIN).expect("writes");
    house.environment.push(("SOFTHSM2_CONF", configuration));
    let pin = pin.to_str().expect("a path");
    let arguments = ["--pkcs11-module", MODULE, "--pkcs11-token", LABEL, "--pkcs11-pin-file", pin];
    house.bank = arguments.map(str::to_owned).to_vec();
    house
}

#[test]
fn a_purchase_from_a_bank_on_a_token() {
    let house = house();
    let private = |mode| std::fs::set_permissions(house.path("pin"), PermissionsExt::from_mode(mode)).expect("sets");
    // Others may read the PIN: nothing is done with it.
    private(0o644);
    let arguments: Vec<&str> = house.bank.iter().map(String::as_str).collect();
    let refused = house.run(&[&["bank", "init", "--dir", "careless"], &arguments[..]].concat());
    assert!(refused.code == Some(1) && refused.error.contains("chmod 600"), "{}", refused.error);
    private(0o600);
    let house = house.furnish();

    // There is no brand's key in a file.
    let files = std::fs::read_dir(house.path("bank")).expect("reads").map(|file| file.expect("a file").file_name());
    let names: Vec<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(!names.iter().any(|name| name.starts_with("brands-")), "{names:?}");
    std::fs::write(house.path("note.txt"), b"The fare is paid.").expect("writes");
    house.done(&["shop", "add", "note.txt", "--price", "1.20"]);
    let servers = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "20", "--reference", "once"]);
    house.done(&["wallet", "withdraw", "10"]);
    house.done(&["wallet", "buy", "note.txt"]);

    // The token is pulled out: the bank says that it cannot sign, and goes on when it is back.
    let [tokens, away] = ["tokens", "away"].map(|name| house.path(name));
    std::fs::rename(&tokens, &away).expect("renames");
    std::fs::create_dir(&tokens).expect("a folder");
    let out = house.run(&["wallet", "withdraw", "5", "--patience", "1s"]);
    assert_ne!(out.code, Some(0), "{}", out.error);
    std::fs::remove_dir(&tokens).expect("removes");
    std::fs::rename(&away, &tokens).expect("renames");
    house.done(&["wallet", "resume"]);
    house.done(&["wallet", "refresh"]);
    house.done(&["wallet", "deposit"]);
    let balance = house.done(&["wallet", "balance"]);
    assert_eq!((balance["account"].as_str(), balance["tokens"].as_str()), (Some("18.80"), Some("0.00")), "{balance}");
    assert_eq!(house.done(&["audit"])["agree"].as_bool(), Some(true));
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);

    // Without the token the bank does not start, and names it.
    std::fs::rename(&tokens, &away).expect("renames");
    std::fs::create_dir(&tokens).expect("a folder");
    let refused = house.run(&["bank", "serve"]);
    assert!(refused.code == Some(1) && refused.error.contains("no token is labelled naulon bank"), "{}", refused.error);
}
