//! Real processes: a log, three witnesses, an outsider. Purchases go on while checkpoints are cosigned, and a log that was
//! restored from an old copy of its folder does not start.

mod process;

use std::path::Path;
use std::time::Duration;

use process::{House, Server};
use serde_json::Value;

const WITNESSES: [&str; 3] = ["w1", "w2", "w3"];

/// A house whose log has three witnesses, which run.
fn witnessed() -> (House, Vec<Server>) {
    let house = House::furnished();
    std::fs::write(house.path("note.txt"), b"The fare is paid.").expect("writes");
    house.done(&["shop", "add", "note.txt", "--price", "1"]);
    let witnesses = WITNESSES.map(|witness| {
        let dir = ["--dir", witness];
        house.done(&[&["log", "witness", "init", "--listen", "127.0.0.1:0", "--log", "log"], &dir[..]].concat());
        house.done(&["log", "trust-witness", witness]);
        house.serve_by(&[&["log", "witness", "serve"], &dir[..]].concat())
    });
    (house, witnesses.into())
}

/// What the outsider finds, who wants all three witnesses.
fn watch(house: &House) -> (Option<i32>, Value) {
    let mut args = vec!["log", "watch", "--log", "log", "--once", "--threshold", "3"];
    for witness in WITNESSES {
        args.extend(["--witness", witness]);
    }
    let said = house.run(&args);
    assert_ne!(said.json, Value::Null, "{}", said.error);
    (said.code, said.json)
}

/// Waits until a tree of so many entries is cosigned by all three.
fn until_cosigned(house: &House, entries: u64) {
    for _ in 0..200 {
        let cosigned = WITNESSES.iter().all(|witness| {
            let seen = rusqlite::Connection::open(house.path(witness).join("witness.sqlite")).expect("opens");
            seen.query_row("SELECT size FROM seen", [], |row| row.get::<_, u64>(0)).is_ok_and(|size| size == entries)
        });
        if cosigned {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    unreachable!("{entries} entries are never cosigned");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for file in std::fs::read_dir(from).expect("reads") {
        let file = file.expect("a file").path();
        // The operator's socket is the server's that made it.
        if !file.is_file() {
            continue;
        }
        std::fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("copies");
    }
}

#[test]
fn a_log_restored_from_an_old_copy_does_not_start() {
    let (house, witnesses) = witnessed();
    let [log, bank, shop] = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "10"]);
    house.done(&["wallet", "withdraw", "10"]);
    house.done(&["wallet", "buy", "note.txt"]);
    until_cosigned(&house, 1);
    assert_eq!(log.stop(), Some(0));
    copy(&house.path("log"), &house.path("old"));

    let log = house.serve("log");
    house.done(&["wallet", "buy", "note.txt", "--another"]);
    house.done(&["wallet", "buy", "note.txt", "--another"]);
    until_cosigned(&house, 3);
    let (code, report) = watch(&house);
    assert_eq!((code, &report["entries"], &report["found"]), (Some(0), &3.into(), &0.into()), "{report}");
    assert_eq!(log.stop(), Some(0));

    // The operator restores the backup of yesterday.
    std::fs::rename(house.path("log"), house.path("newest")).expect("renames");
    copy(&house.path("old"), &house.path("log"));
    let said = house.run(&["log", "serve"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error.contains("this log is behind: it has 1 entries") && said.error.contains("3"), "{}", said.error);
    let said = house.run(&["log", "serve", "--unchecked-by-witnesses"]);
    assert!(said.error.contains("this log is behind"), "what witnesses have said counts: {}", said.error);

    // The newest copy starts, and purchases go on.
    std::fs::remove_dir_all(house.path("log")).expect("removes");
    std::fs::rename(house.path("newest"), house.path("log")).expect("renames");
    let log = house.serve("log");
    house.done(&["wallet", "buy", "note.txt", "--another"]);
    until_cosigned(&house, 4);
    assert_eq!(watch(&house).0, Some(0));
    assert_eq!(log.stop(), Some(0));

    // With two witnesses out of reach the third cannot vouch for the newest; who knows better says so.
    let [one, two, three]: [Server; 3] = witnesses.try_into().ok().expect("three");
    assert_eq!((two.stop(), three.stop()), (Some(0), Some(0)));
    let said = house.run(&["log", "serve"]);
    assert!(said.code == Some(1) && said.error.contains("--unchecked-by-witnesses"), "{}", said.error);
    let log = house.serve_by(&["log", "serve", "--unchecked-by-witnesses"]);
    let begun = std::time::Instant::now();
    house.done(&["wallet", "buy", "note.txt", "--another"]);
    assert!(begun.elapsed() < Duration::from_secs(15), "a purchase does not wait for witnesses");
    assert_eq!([log, bank, shop, one].map(Server::stop), [Some(0); 4]);
}
