//! A wallet that is shown two registers by its bank keeps what convicts it, by real processes.

mod process;

use std::path::Path;
use std::process::Command;

use process::House;

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[test]
fn a_bank_with_two_registers_convicts_itself_in_the_wallets_folder() {
    assert!(Path::new(FAKETIME).is_file(), "Debian's package faketime is installed, as `cargo xtask test` does");
    let mut house = House::furnished();
    let bank = house.serve("bank");
    house.done(&["wallet", "open-account"]);
    house.done(&["wallet", "tokens"]);
    assert_eq!(bank.stop(), Some(0));
    assert!(!house.path("wallet/evidence").exists(), "an honest bank");

    // Its folder twice: when the next period comes, each makes brands of its own.
    let copied = Command::new("cp").args(["-a", "bank", "other"]).current_dir(house.dir.path()).status();
    assert!(copied.expect("runs").success());
    house.environment = vec![("LD_PRELOAD", FAKETIME.into()), ("FAKETIME", "+100d".into())];
    let bank = house.serve("bank");
    house.done(&["wallet", "tokens"]);
    assert_eq!(bank.stop(), Some(0));
    assert!(!house.path("wallet/evidence").exists(), "it went on");
    let other = house.serve_by(&["bank", "serve", "--dir", "other"]);
    // A register that ends before what was seen says nothing; this one grows, for a hundred days are to be summed up.
    let shown = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        house.done(&["wallet", "tokens"]);
        house.path("wallet/evidence").exists()
    });
    assert!(shown, "it never shows more than the wallet has seen");
    let refused = house.run(&["wallet", "withdraw", "5"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.error.contains("not to be trusted any more"), "{}", refused.error);

    let files: Vec<_> = std::fs::read_dir(house.path("wallet/evidence")).expect("a folder").flatten().collect();
    assert_eq!(files.len(), 1, "the same finding is one file");
    let file = files[0].path();
    let file = file.to_str().expect("a path");
    let judged = house.run(&["verify", file, "--trust", "bank"]);
    assert_eq!((judged.code, &judged.json["breaches"][0]["code"]), (Some(2), &"two_registers".into()), "{judged:?}");
    assert_eq!(house.run(&["verify", file, "--trust", "log"]).code, Some(3), "nobody trusts the accused's key");
    assert_eq!(other.stop(), Some(0));
}
