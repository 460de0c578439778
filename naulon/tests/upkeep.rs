//! Backup and migration, by their commands, on real servers.

mod process;

use process::{House, Server};

/// A town in which somebody has bought a note: the account's key.
fn bought(house: &House) -> ([Server; 3], String) {
    std::fs::write(house.path("note.txt"), b"The fare is paid.").expect("writes");
    house.done(&["shop", "add", "note.txt", "--price", "1"]);
    let servers = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "50", "--reference", "first"]);
    house.done(&["wallet", "withdraw", "10"]);
    house.done(&["wallet", "buy", "note.txt"]);
    (servers, account)
}

/// Backups are made of running servers; servers that are started from them are the same parties, and go on.
#[test]
fn parties_go_on_from_backups_that_were_made_while_they_ran() {
    let house = House::furnished();
    let (servers, _account) = bought(&house);
    for role in ["bank", "log", "shop"] {
        let made = house.done(&[role, "backup", &format!("{role}.backup")]);
        assert!(made["files"].as_u64() > Some(2), "{made}");
        let again = house.run(&[role, "backup", &format!("{role}.backup")]);
        assert_eq!(again.code, Some(1), "a backup is not overwritten");
    }
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
    for role in ["bank", "log", "shop"] {
        std::fs::rename(house.path(role), house.path(&format!("{role}.lost"))).expect("renames");
        std::fs::rename(house.path(&format!("{role}.backup")), house.path(role)).expect("renames");
    }
    let servers = house.open();
    house.done(&["wallet", "buy", "note.txt", "--another"]);
    house.done(&["wallet", "deposit"]);
    assert_eq!(house.done(&["wallet", "balance"])["account"], "48.00");
    assert_eq!(house.done(&["shop", "sales"]).as_array().map(Vec::len), Some(2));
    assert_eq!(house.done(&["audit"])["agree"].as_bool(), Some(true));
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

/// Tables of another release are refused, and the refusal says what to do; a server that runs is not migrated under.
#[test]
fn servers_refuse_the_tables_of_another_release() {
    let house = House::furnished();
    let [log, bank, shop] = house.open();
    for role in ["bank", "log", "shop"] {
        let in_use = house.run(&[role, "migrate", "--dry-run"]);
        assert!(in_use.code == Some(1) && in_use.error.contains("in use by another process"), "{}", in_use.error);
    }
    assert_eq!([log.stop(), bank.stop(), shop.stop()], [Some(0); 3]);
    for role in ["bank", "log", "shop"] {
        let current = house.done(&[role, "migrate"]);
        assert_eq!(current["from"], current["to"], "{current}");
        let store = rusqlite::Connection::open(house.path(&format!("{role}/{role}.sqlite"))).expect("opens");
        for (number, words) in [(0, "the command `migrate`".to_owned()), (1_000, "run the newer program".to_owned())] {
            store.pragma_update(None, "user_version", number).expect("writes");
            let refused = house.run(&[role, "serve"]);
            assert!(refused.code == Some(1) && refused.error.contains(&words), "{}", refused.error);
        }
    }
}
