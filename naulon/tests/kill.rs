//! Real processes, killed at random moments: bank, log, shop and wallets get `kill -9` during 200 purchases and are started
//! again. Every purchase ends, is paid once, and is proven.

mod process;

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use process::{House, Server, signal};

/// How many wallets buy at the same time, and how much each buys.
const WALLETS: usize = 4;
const PURCHASES: usize = 50;
/// How often a command is tried before the test gives up.
const MAX_TRIES: usize = 40;

/// Numbers that are the same in every run of the test; the moments at which they fall are not.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn two_hundred_purchases_survive_kill_9() {
    let house = House::furnished();
    let note = b"The fare is paid.".repeat(20_000);
    std::fs::write(house.path("note.txt"), &note).expect("writes");
    house.done(&["shop", "add", "note.txt", "--price", "0.10"]);
    let servers = house.open();
    for wallet in 0..WALLETS {
        let dir = format!("wallet-{wallet}");
        house.done(&["wallet", "init", "--dir", &dir, "--bank", "bank", "--log", "log", "--shop", "shop"]);
        let opened = house.done(&["wallet", "open-account", "--dir", &dir]);
        let account = opened["account"].as_str().expect("a key");
        house.done(&["bank", "credit", account, "20", "--reference", &dir]);
        house.done(&["wallet", "withdraw", "10", "--dir", &dir]);
    }

    let bought = AtomicBool::new(false);
    let kills = AtomicU64::new(0);
    let servers = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_servers(&house, servers, &bought, &kills));
        let wallets: Vec<_> = (0..WALLETS)
            .map(|number| {
                scope.spawn({
                    let (house, kills) = (&house, &kills);
                    move || buy(house, number, kills)
                })
            })
            .collect();
        let all_ended = wallets.into_iter().map(|wallet| wallet.join()).collect::<Vec<_>>();
        bought.store(true, Ordering::Relaxed);
        let servers = killer.join().expect("the servers start again");
        assert!(all_ended.iter().all(Result::is_ok), "a wallet gave up");
        servers
    });
    assert!(kills.load(Ordering::Relaxed) > 30, "only {kills:?} kills");
    settled(&house, &note);
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

/// Kills a server at random, starts it again, and so on, until everything is bought.
fn kill_servers(house: &House, servers: [Server; 3], bought: &AtomicBool, kills: &AtomicU64) -> [Server; 3] {
    let mut dice = Dice(0x6e61_756c_6f6e);
    let mut servers = servers;
    while !bought.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200 + dice.below(900)));
        let victim = dice.below(3) as usize;
        signal("-KILL", servers[victim].id());
        servers[victim].wait();
        kills.fetch_add(1, Ordering::Relaxed);
        servers[victim] = house.serve(["log", "bank", "shop"][victim]);
    }
    servers
}

/// Buys until the wallet says that it has bought enough; every third time the wallet is killed half-way.
fn buy(house: &House, number: usize, kills: &AtomicU64) {
    let dir = format!("wallet-{number}");
    let mut dice = Dice(number as u64 + 1);
    let mut tries = 0;
    while count(house, &dir) < PURCHASES {
        for _ in 0..5 {
            let mut child =
                house.start(&["wallet", "buy", "note.txt", "--another", "--dir", &dir, "--patience", "20s"]);
            child.stdout.take();
            child.stderr.take();
            if dice.below(3) == 0 {
                std::thread::sleep(Duration::from_millis(dice.below(900)));
                // It may have ended meanwhile; then the signal finds nobody, which is no matter.
                let _ = child.kill();
                kills.fetch_add(1, Ordering::Relaxed);
            }
            child.wait().expect("ends");
        }
        tries += 1;
        assert!(tries < MAX_TRIES, "{dir}: {} bought", count(house, &dir));
    }
}

/// Goes on with what is under way, and counts what has been bought.
fn count(house: &House, dir: &str) -> usize {
    for _ in 0..MAX_TRIES {
        let said = house.run(&["wallet", "resume", "--dir", dir, "--patience", "20s"]);
        if said.code == Some(0) {
            break;
        }
    }
    bought(house, dir).len()
}

fn bought(house: &House, dir: &str) -> Vec<String> {
    let history = house.done(&["wallet", "history", "--dir", dir]);
    let lines = history.as_array().expect("a list").iter();
    lines.filter(|line| line["step"] == "bought").map(|line| line["operation"].to_string()).collect()
}

/// Paid once each, byte-exact, proven, and the books agree to the cent.
fn settled(house: &House, note: &[u8]) {
    let mut purchases = 0;
    let mut tokens = 0;
    let trust = house.command(&["wallet", "show", "--trust", "--dir", "wallet-0"]).stdin(Stdio::null()).output();
    std::fs::write(house.path("trust.toml"), trust.expect("ends").stdout).expect("writes");
    for number in 0..WALLETS {
        let dir = format!("wallet-{number}");
        let operations = bought(house, &dir);
        purchases += operations.len() as u64;
        let balance = house.done(&["wallet", "balance", "--dir", &dir]);
        let cents = cents(&balance["tokens"]);
        assert_eq!(cents + 10 * operations.len() as u64, 1_000, "{dir}: {balance}");
        tokens += cents;
        for operation in operations.iter().step_by(10) {
            house.done(&["wallet", "evidence", operation, "--dir", &dir, "--out", "one.evidence.json"]);
            let finding = house.done(&["verify", "one.evidence.json", "--trust", "trust.toml"]);
            assert_eq!(finding["standing"], "consistent", "{finding}");
        }
        byte_exact(house, &dir, operations.len(), note);
    }
    let books = house.done(&["audit"]);
    assert_eq!(books["agree"].as_bool(), Some(true), "{books}");
    assert_eq!((cents(&books["locked"]), cents(&books["tokens"])), (0, tokens), "{books}");
    assert_eq!(cents(&books["accounts"]), WALLETS as u64 * 1_000 + 10 * purchases, "{books}");
    let sales = house.done(&["shop", "sales", "--limit", "100000"]);
    let paid = sales.as_array().expect("a list").iter().filter(|sale| sale["state"] == "paid").count();
    assert_eq!(paid as u64, purchases, "sales paid and purchases");
    assert!(purchases >= (WALLETS * PURCHASES) as u64);
}

/// Every file that was bought is the shop's file.
fn byte_exact(house: &House, dir: &str, purchases: usize, note: &[u8]) {
    let history = house.done(&["wallet", "history", "--dir", dir]);
    let files = history.as_array().expect("a list").iter().filter(|line| line["step"] == "bought");
    let mut seen = 0;
    for line in files {
        let file = line["file"].as_str().expect("a file");
        assert!(std::fs::read(house.path(file)).is_ok_and(|bytes| bytes == note), "{line}");
        seen += 1;
    }
    assert_eq!(seen, purchases);
}

fn cents(amount: &serde_json::Value) -> u64 {
    let text = amount.as_str().expect("an amount");
    let amount: naulon_money::Amount = text.parse().expect("an amount");
    amount.micros() / 10_000
}
