//! A PostgreSQL server that is stopped and started under load, and one that is lost while its synchronous standby takes over:
//! the bank goes on by itself, and nothing that it acknowledged is lost.

#![allow(clippy::panic)] // In what the tests share; they may.

mod cluster;
mod world;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use naulon_bank::{PostgresStore, audit_url};
use naulon_wire::Problem;
use world::*;

/// Two servers in one folder, which do what is said on standard input, a word a line, and are gone at its end.
const SERVERS: &str = r#"
trap '' INT TERM HUP
as=
if [ "$(id -u)" = 0 ]; then
    chown postgres "$FOLDER"
    as='setpriv --reuid postgres --regid postgres --init-groups'
fi
cd "$FOLDER"
run() { $as "$BIN/pg_ctl" -D "$FOLDER/$1" -l "$FOLDER/$1.txt" -w -t 60 -o "-k $FOLDER/$1.socket -c listen_addresses=" start; }
while read -r word; do
    case "$word" in
    begin)
        $as mkdir one.socket two.socket
        $as "$BIN/initdb" -D "$FOLDER/one" -U bank -A trust -E UTF8 --locale=C --no-sync
        run one ;;
    standby)
        $as "$BIN/pg_basebackup" -h "$FOLDER/one.socket" -U bank -D "$FOLDER/two" -R -X stream -c fast
        run two ;;
    stop) $as "$BIN/pg_ctl" -D "$FOLDER/one" -m immediate -w stop ;;
    start) run one ;;
    promote) $as "$BIN/pg_ctl" -D "$FOLDER/two" -w promote ;;
    esac >>"$FOLDER/said.txt" 2>&1 </dev/null
    echo "$?"
done
for server in one two; do $as "$BIN/pg_ctl" -D "$FOLDER/$server" -m immediate -w stop >/dev/null 2>&1; done
cd /
rm -rf "$FOLDER"
"#;

struct Servers {
    _guard: Child,
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: std::path::PathBuf,
}

impl Servers {
    fn begin() -> Self {
        let bin = cluster::installed().expect("PostgreSQL is installed, as `cargo xtask test` does");
        let folder = tempfile::Builder::new().prefix("naulon-pg-").tempdir().expect("a folder").keep();
        let mut guard = Command::new("sh")
            .args(["-c", SERVERS])
            .env("BIN", bin)
            .env("FOLDER", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let words = guard.stdin.take().expect("standard input");
        let answers = BufReader::new(guard.stdout.take().expect("standard output"));
        let mut servers = Servers { _guard: guard, words, answers, folder };
        servers.say("begin");
        cluster::run(&servers.url("one", "postgres"), "CREATE DATABASE bank");
        servers
    }

    fn say(&mut self, word: &str) {
        writeln!(self.words, "{word}").expect("writes");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("reads");
        let said = || std::fs::read_to_string(self.folder.join("said.txt")).unwrap_or_default();
        assert_eq!(answer.trim(), "0", "{word}: {}", said());
    }

    fn url(&self, server: &str, database: &str) -> String {
        format!("postgresql:///{database}?host={}&user=bank", self.socket(server))
    }

    fn socket(&self, server: &str) -> String {
        Path::new(&self.folder).join(format!("{server}.socket")).display().to_string()
    }
}

/// Asks until the bank answers otherwise than that it cannot at present.
fn until_available<T>(mut ask: impl FnMut() -> Result<T, Problem>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(done) => return done,
            Err(problem) if ["unavailable", "busy"].contains(&problem.code.as_str()) => {
                assert!(begun.elapsed() < Duration::from_secs(60), "the bank does not come back");
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(problem) => panic!("refused: {problem:?}"),
        }
    }
}

#[test]
fn a_server_that_is_stopped_and_started_under_load() {
    let mut servers = Servers::begin();
    let url = servers.url("one", "bank");
    let mut bank = furnished(PostgresStore::open(&url).expect("opens"));
    let coins = withdraw(&mut bank, 1, &[ONE; 40]);
    let deposited = std::thread::scope(|scope| {
        let trading = scope.spawn(move || {
            for coin in &coins {
                until_available(|| ask(&mut bank, deposit(&[coin], &key("alice"))));
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(bank.broken(), None);
            coins.len()
        });
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(200));
            servers.say("stop");
            std::thread::sleep(Duration::from_millis(500));
            servers.say("start");
        }
        trading.join().expect("ends")
    });
    let report = audit_url(&url, &rules()).expect("the books agree");
    assert_eq!((deposited, report.accounts, report.tokens), (40, amount("100"), amount("0")));
}

#[test]
fn a_standby_that_takes_over_has_all_that_was_acknowledged() {
    let mut servers = Servers::begin();
    servers.say("standby");
    let one = servers.url("one", "postgres");
    cluster::run(&one, "ALTER SYSTEM SET synchronous_standby_names = '*'");
    cluster::run(&one, "SELECT pg_reload_conf()");
    let sync = "SELECT sync_state::text FROM pg_stat_replication";
    let begun = Instant::now();
    while cluster::texts(&one, sync) != ["sync"] {
        assert!(begun.elapsed() < Duration::from_secs(30), "the standby is not synchronous");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Both are named; the bank takes the one that can be written to.
    let url = format!("postgresql:///bank?host={}&host={}&user=bank", servers.socket("one"), servers.socket("two"));
    let mut bank = furnished(PostgresStore::open(&url).expect("opens"));
    let coins = withdraw(&mut bank, 1, &[ONE; 30]);
    for coin in &coins[..15] {
        ask(&mut bank, deposit(&[coin], &key("alice"))).expect("acknowledged");
    }
    servers.say("stop");
    servers.say("promote");
    // What was acknowledged is there: each coin is spent for another account, and its first order is answered the same.
    for coin in &coins[..15] {
        let again = until_available_or_refused(|| ask(&mut bank, deposit(&[coin], &key("shop"))));
        assert_eq!(again.expect_err("was spent").code, "spent");
    }
    for coin in &coins {
        until_available(|| ask(&mut bank, deposit(&[coin], &key("alice"))));
    }
    let report = audit_url(&servers.url("two", "bank"), &rules()).expect("the books agree");
    assert_eq!((report.accounts, report.tokens), (amount("100"), amount("0")));
}

fn until_available_or_refused<T>(mut ask: impl FnMut() -> Result<T, Problem>) -> Result<T, Problem> {
    until_available(|| match ask() {
        Err(problem) if ["unavailable", "busy"].contains(&problem.code.as_str()) => Err(problem),
        done => Ok(done),
    })
}
