//! The outsider and logs that cheat: for each thing that it finds a log with real entries and signatures that does it, and
//! what a third person makes of the evidence.

mod process;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use naulon_exchange::{LogDecision, Outcome};
use naulon_statement::{Digest, SecretKey, Signed, Timestamp};
use naulon_tlog::*;
use naulon_wire::serve::{listen, serve};
use naulon_wire::{LogCall, LogReply, Problem, PublicFile, PublicKind, Service};
use process::{House, Said};
use serde_json::Value;

const ORIGIN: &str = "log.example/fares";
const EXPIRY: u64 = 1_900_000_000_000;

fn signer() -> CheckpointSigner {
    CheckpointSigner::new(ORIGIN, &[7; 32]).expect("a signer")
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

/// What a log has entered: the entry, and the body that it serves.
#[derive(Clone)]
struct Entered {
    entry: Vec<u8>,
    body: Vec<u8>,
}

/// A decision on the purchase of this number.
fn decided(number: u8, time: u64, commit: bool) -> Entered {
    let outcome = if commit { Outcome::Commit { k: [number; 32] } } else { Outcome::Abort };
    let (a, header) = (Digest([number; 32]), Digest([number, 1].repeat(16).try_into().expect("32 bytes")));
    let decision = LogDecision { a, header, expiry: Timestamp(EXPIRY), q: None, time: Timestamp(time), outcome };
    let signed = Signed::sign(&key(), decision);
    let body = signed.bytes().to_vec();
    Entered { entry: signed.entry(&body).to_vec(), body }
}

/// Purchases that were committed in time, one after another.
fn honest(numbers: std::ops::Range<u8>) -> Vec<Entered> {
    numbers.map(|number| decided(number, EXPIRY - 1_000 + u64::from(number), true)).collect()
}

/// What a log shows now, honest or not.
#[derive(Clone, Default)]
struct Shows {
    entered: Vec<Entered>,
    cosigned: Option<String>,
    slow: Option<Duration>,
    slow_answers: usize,
}

impl Shows {
    fn hashes(&self) -> Vec<Hash> {
        let leaves: Vec<Hash> = self.entered.iter().map(|entered| leaf_hash(&entered.entry)).collect();
        Tree::default().append(&leaves).into_iter().map(|(_, hash)| hash).collect()
    }

    fn note(&self) -> String {
        let size = self.entered.len() as u64;
        let root = Tree::open(size, &self.hashes()).expect("a tree").root();
        signer().sign(&Checkpoint { origin: ORIGIN.into(), size, root }).expect("its own").into_string()
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        match path {
            "/checkpoint" => return Some(self.note().into_bytes()),
            "/checkpoint/cosigned" => return self.cosigned.clone().map(String::into_bytes),
            _ => {}
        }
        if let Some(index) = path.strip_prefix("/body/") {
            return Some(self.entered.get(index.parse::<usize>().ok()?)?.body.clone());
        }
        let tile: TilePath = path.strip_prefix('/')?.parse().ok()?;
        match tile.kind() {
            TileKind::Entries => {
                let first = tile.start() as usize;
                let entries = self.entered.get(first..first + tile.width())?;
                encode_bundle(&entries.iter().map(|entered| &entered.entry).collect::<Vec<_>>()).ok()
            }
            TileKind::Hashes { .. } => {
                let hashes = read_tile(self.entered.len() as u64, &tile, &self.hashes()).ok()?;
                Some(hashes.concat())
            }
        }
    }
}

/// A log that can be made to show anything.
struct Log {
    shows: Arc<Mutex<Shows>>,
    house: House,
    line: String,
}

struct Serving(Arc<Mutex<Shows>>);

impl Service<LogCall> for Serving {
    async fn call(&self, call: LogCall) -> Result<LogReply, Problem> {
        let LogCall::Public(path) = call else { return Err(Problem::new("not_found", "only files")) };
        let pause = {
            let mut shows = self.0.lock().expect("whole");
            let is_slow = path == "/checkpoint" && shows.slow_answers > 0;
            shows.slow_answers = shows.slow_answers.saturating_sub(usize::from(is_slow));
            shows.slow.filter(|_| is_slow)
        };
        tokio::time::sleep(pause.unwrap_or_default()).await;
        let bytes = self.0.lock().expect("whole").file(&path).ok_or_else(|| Problem::new("not_found", "no file"))?;
        let kind = PublicKind::of(&path).expect("a public file");
        Ok(LogReply::Public(PublicFile { kind, bytes: bytes.into() }))
    }
}

impl Log {
    fn new(entered: Vec<Entered>) -> Self {
        let shows = Arc::new(Mutex::new(Shows { entered, ..Shows::default() }));
        let service = Arc::new(Serving(Arc::clone(&shows)));
        let (sender, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = listen("127.0.0.1:0".parse().expect("an address")).await.expect("listens");
                sender.send(listener.local_addr().expect("an address")).expect("is waited for");
                serve(listener, service, std::future::pending()).await;
            });
        });
        let address = address.recv().expect("an address");
        let line = format!("naulon:log:{}@http://{address}#{}", key().public(), signer().verifier());
        Log { shows, house: House::new(), line }
    }

    fn show(&self, change: impl FnOnce(&mut Shows)) -> &Self {
        change(&mut self.shows.lock().expect("whole"));
        self
    }

    fn note(&self) -> String {
        self.shows.lock().expect("whole").note()
    }

    /// Looks once: the exit code, and what was found this time.
    fn look(&self, more: &[&str]) -> (i32, Vec<Value>) {
        let Said { code, json, error, lines } =
            self.house.run(&[&["log", "watch", "--once", "--log", &self.line], more].concat());
        assert!(json["entries"].is_u64(), "{error}");
        let findings = lines.into_iter().filter(|line| line["code"].is_string()).collect();
        (code.expect("ends"), findings)
    }

    /// Looks, finds this one thing, and gives its evidence file.
    fn finds(&self, code: &str, proven: bool, more: &[&str]) -> PathBuf {
        let (exit, findings) = self.look(more);
        let [finding] = &findings[..] else { unreachable!("{code}: {findings:?}") };
        assert_eq!((&finding["code"], &finding["proven"]), (&code.into(), &proven.into()), "{finding}");
        assert_eq!(exit, if proven { 2 } else { 3 }, "{finding}");
        self.house.path(finding["evidence"].as_str().expect("a file"))
    }

    /// What a third person makes of the evidence, who knows the log by its line alone.
    fn is_convicted_by(&self, evidence: &std::path::Path, breach: &str) {
        let said = self.house.run(&["verify", evidence.to_str().expect("a path"), "--trust", &self.line]);
        assert_eq!(said.code, Some(2), "{}: {}", said.json, said.error);
        assert_eq!(said.json["breaches"][0]["code"], breach, "{}", said.json);
        // And not of a log that did not sign it.
        let other = CheckpointSigner::new(ORIGIN, &[8; 32]).expect("a signer");
        let stranger = self.line.split_once('#').expect("a key").0.to_owned() + "#" + &other.verifier().to_string();
        let said = self.house.run(&["verify", evidence.to_str().expect("a path"), "--trust", &stranger]);
        assert_eq!(said.code, Some(3), "{}", said.json);
    }
}

#[test]
fn an_honest_log_is_followed_across_restarts() {
    let log = Log::new(honest(0..0));
    for size in [0, 1, 3, 200, 250] {
        log.show(|shows| shows.entered = honest(0..size));
        assert_eq!(log.look(&[]), (0, vec![]), "{size}");
        assert_eq!(log.look(&[]), (0, vec![]), "{size}, again");
    }
    let more = (0..300).map(|number| decided((number % 256) as u8, EXPIRY - 1, true));
    let many = Log::new(honest(0..10).into_iter().chain(more.skip(10).take(246)).collect());
    assert_eq!(many.look(&[]), (0, vec![]), "a whole tile");
}

#[test]
fn a_rewritten_tree_is_proven_whatever_its_size() {
    for size in [9, 12, 16, 20] {
        let log = Log::new(honest(0..12));
        assert_eq!(log.look(&[]).0, 0);
        let mut other = honest(0..size);
        other[5] = decided(99, EXPIRY - 995, true);
        log.show(|shows| shows.entered = other);
        let evidence = log.finds("two_trees", true, &[]);
        log.is_convicted_by(&evidence, "two_trees");
        // It goes on from what it knows, and does not tell the same again; a log that mends itself stays convicted.
        assert_eq!(log.look(&[]), (2, vec![]));
        log.show(|shows| shows.entered = honest(0..14));
        assert_eq!(log.look(&[]), (2, vec![]));
    }
}

#[test]
fn a_tree_that_shrinks_is_found_though_no_signature_proves_it() {
    let log = Log::new(honest(0..12));
    assert_eq!(log.look(&[]).0, 0);
    log.show(|shows| shows.entered.truncate(7));
    log.finds("shrunk", false, &[]);
}

#[test]
fn what_others_were_shown_is_compared() {
    let log = Log::new(honest(0..12));
    let note = log.house.path("friend.checkpoint");
    std::fs::write(&note, log.note()).expect("writes");
    let compare = ["--compare", note.to_str().expect("a path")];
    assert_eq!(log.look(&compare), (0, vec![]));
    let mut other = honest(0..15);
    other[2] = decided(99, EXPIRY - 998, true);
    let split = Log::new(other);
    std::fs::write(&note, split.note()).expect("writes");
    let evidence = split_view(&log, &compare);
    log.is_convicted_by(&evidence, "two_trees");
}

/// The friend was shown a larger tree than this watcher.
fn split_view(log: &Log, compare: &[&str]) -> PathBuf {
    log.finds("withheld", false, compare);
    // As soon as the log has shown this watcher as many entries, its own signature is enough.
    log.show(|shows| shows.entered = honest(0..15));
    log.finds_among(compare, "two_trees")
}

impl Log {
    fn finds_among(&self, more: &[&str], code: &str) -> PathBuf {
        let (exit, findings) = self.look(more);
        let finding = findings.iter().find(|finding| finding["code"] == code).expect(code);
        assert_eq!(exit, 2);
        self.house.path(finding["evidence"].as_str().expect("a file"))
    }
}

#[test]
fn what_witnesses_cosigned_is_compared() {
    let log = Log::new(honest(0..12));
    let witness = WitnessSigner::new("w1", &[11; 32]).expect("a signer");
    let vkey = witness.verifier().to_string();
    let wants = ["--witness", &vkey];
    log.finds("not_cosigned", false, &wants);

    let log = Log::new(honest(0..12));
    let cosigned = |shows: &Shows| {
        let checkpoint = signer().verifier().open(&shows.note()).expect("its own");
        shows.note() + witness.cosign(&checkpoint, 1_700_000_000).expect("a time").line()
    };
    log.show(|shows| shows.cosigned = Some(cosigned(shows)));
    assert_eq!(log.look(&wants), (0, vec![]));
    log.show(|shows| shows.entered = honest(0..14));
    assert_eq!(log.look(&wants), (0, vec![]), "the newest is not cosigned yet");
    // The witnesses were shown another tree than everybody else.
    log.show(|shows| {
        let mut other = shows.clone();
        other.entered[3] = decided(99, EXPIRY - 997, true);
        shows.cosigned = Some(cosigned(&other));
    });
    let evidence = log.finds("two_trees", true, &wants);
    log.is_convicted_by(&evidence, "two_trees");
}

#[test]
fn a_time_that_goes_back_is_proven() {
    let mut entered = honest(0..5);
    entered.push(decided(50, EXPIRY - 5_000, true));
    let log = Log::new(entered);
    let evidence = log.finds("time_went_back", true, &[]);
    log.is_convicted_by(&evidence, "time_went_back");
}

#[test]
fn two_outcomes_of_one_purchase_are_proven_also_across_a_restart() {
    let log = Log::new(honest(0..5));
    assert_eq!(log.look(&[]).0, 0);
    log.show(|shows| shows.entered.push(decided(3, EXPIRY, false)));
    let evidence = log.finds("both_outcomes", true, &[]);
    log.is_convicted_by(&evidence, "both_outcomes");

    let log = Log::new(honest(0..5));
    log.show(|shows| shows.entered.push(decided(3, EXPIRY - 1, true)));
    log.finds("decided_twice", false, &[]);
}

#[test]
fn commits_that_come_late_and_aborts_that_come_early_are_proven() {
    for (entered, code) in [(decided(9, EXPIRY, true), "late_commit"), (decided(9, EXPIRY - 1, false), "early_abort")] {
        let log = Log::new([honest(0..5), vec![entered]].concat());
        let evidence = log.finds(code, true, &[]);
        log.is_convicted_by(&evidence, "out_of_time");
    }
}

#[test]
fn bodies_that_are_not_what_their_entries_say_are_found() {
    let mut entered = honest(0..5);
    entered[2].body = entered[1].body.clone();
    Log::new(entered).finds("wrong_body", false, &[]);
    // The entry names the body, but says another time than the decision.
    let mut entered = honest(0..5);
    let time = (EXPIRY - 997).to_be_bytes();
    entered[2].entry[..8].copy_from_slice(&time);
    Log::new(entered).finds("wrong_body", false, &[]);
}

#[test]
fn a_log_that_answers_slowly_is_found_and_one_slow_answer_is_not() {
    let log = Log::new(honest(0..2));
    let limit = ["--slow", "300ms"];
    for (slow_answers, found) in [(1, false), (2, false), (3, true)] {
        log.show(|shows| (shows.slow, shows.slow_answers) = (Some(Duration::from_millis(900)), slow_answers));
        if found {
            log.finds("slow", false, &limit);
        } else {
            assert_eq!(log.look(&limit), (0, vec![]), "{slow_answers}");
        }
    }
}
