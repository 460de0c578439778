//! The outsider and a bank that tampers with its register: real entries and signatures, and what a third person makes of the
//! evidence. What a log can do with its tree, and slowness, is in `watch.rs`; here is what only a register can be wrong in.

mod process;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use naulon_blind::{Brand, IssuerSecret, Method, Purpose};
use naulon_exchange::register::{BrandDay, Day, DayItems, DaySummary, EntryKind, RegisterEntry};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, SecretKey, Signed, Timestamp};
use naulon_tlog::*;
use naulon_wire::serve::{listen, serve};
use naulon_wire::{BankCall, BankReply, Problem, PublicFile, PublicKind, Service};
use process::{House, Said};
use serde_json::Value;

const ORIGIN: &str = "bank.example/register";

fn signer() -> CheckpointSigner {
    CheckpointSigner::new(ORIGIN, &[7; 32]).expect("a signer")
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

fn today() -> Day {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
    Day::of(Timestamp(u64::try_from(since.as_millis()).expect("a time")))
}

/// A brand of 1 EUR with the test key of this number, from ten days ago on.
fn brand(number: u8) -> Brand {
    let file = format!("{}/../vectors/brand-keys/test-only-{number:02}.pkcs8.der", env!("CARGO_MANIFEST_DIR"));
    let secret = IssuerSecret::from_der(&std::fs::read(file).expect("a key")).expect("a key");
    let from = Day(today().0 - 10).start();
    Brand {
        bank: key().public(),
        currency: "EUR".parse().expect("a currency"),
        denomination: Amount::from_micros(1_000_000),
        method: Method::BlindRsa2048,
        purpose: Purpose::Money,
        issue_from: from,
        withdraw_until: from.plus(Duration::days(30)),
        spend_until: from.plus(Duration::days(60)),
        redeem_until: from.plus(Duration::days(90)),
        key: *secret.public().spki(),
    }
}

type Entered = (RegisterEntry, Vec<u8>);

fn stated(number: u8) -> Entered {
    let signed = Signed::sign(&key(), brand(number));
    (RegisterEntry::of(&signed), signed.bytes().to_vec())
}

/// The sums of a day: so many days ago, issued and redeemed on it, and in all.
fn day(ago: u64, counts: (u64, u64), totals: (u64, u64)) -> Entered {
    let no_items = DayItems::default().root();
    let row = BrandDay {
        brand: Digest(brand(0).key_id()),
        issued: counts.0,
        issued_root: no_items,
        redeemed: counts.1,
        redeemed_root: no_items,
        issued_total: totals.0,
        redeemed_total: totals.1,
    };
    let summary = DaySummary { bank: key().public(), day: Day(today().0 - ago), brands: vec![row] };
    let signed = Signed::sign(&key(), summary);
    (RegisterEntry::of(&signed), signed.bytes().to_vec())
}

/// A brand and four days on which all is well.
fn honest() -> Vec<Entered> {
    vec![
        stated(0),
        day(4, (10, 0), (10, 0)),
        day(3, (5, 4), (15, 4)),
        day(2, (0, 6), (15, 10)),
        day(1, (1, 6), (16, 16)),
    ]
}

struct Serving(Arc<Mutex<Vec<Entered>>>);

impl Serving {
    fn file(&self, path: &str) -> Option<Vec<u8>> {
        let entered = self.0.lock().expect("whole").clone();
        let leaves: Vec<Hash> = entered.iter().map(|(entry, _)| entry.leaf()).collect();
        let mut tree = Tree::default();
        let hashes: Vec<Hash> = tree.append(&leaves).into_iter().map(|(_, hash)| hash).collect();
        if path == "/checkpoint" {
            let checkpoint = Checkpoint { origin: ORIGIN.into(), size: tree.size(), root: tree.root() };
            return Some(signer().sign(&checkpoint).expect("its own").into_string().into_bytes());
        }
        if let Some(index) = path.strip_prefix("/body/") {
            let body = entered.get(index.parse::<usize>().ok()?)?.1.clone();
            return (!body.is_empty()).then_some(body);
        }
        let tile: TilePath = path.strip_prefix('/')?.parse().ok()?;
        match tile.kind() {
            TileKind::Entries => {
                let first = tile.start() as usize;
                let entries = entered.get(first..first + tile.width())?;
                encode_bundle(&entries.iter().map(|(entry, _)| entry.as_bytes()).collect::<Vec<_>>()).ok()
            }
            TileKind::Hashes { .. } => Some(read_tile(tree.size(), &tile, &hashes).ok()?.concat()),
        }
    }
}

impl Service<BankCall> for Serving {
    async fn call(&self, call: BankCall) -> Result<BankReply, Problem> {
        let BankCall::Public(path) = call else { return Err(Problem::new("not_found", "only files")) };
        let bytes = self.file(&path).ok_or_else(|| Problem::new("not_found", "no file"))?;
        let kind = PublicKind::of(&path).expect("a public file");
        Ok(BankReply::Public(PublicFile { kind, bytes: bytes.into() }))
    }
}

/// A bank that can be made to show any register.
struct Bank {
    shows: Arc<Mutex<Vec<Entered>>>,
    house: House,
    line: String,
}

impl Bank {
    fn new(entered: Vec<Entered>) -> Self {
        let shows = Arc::new(Mutex::new(entered));
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
        let line = format!("naulon:bank:{}@http://{address}#{}", key().public(), signer().verifier());
        Bank { shows, house: House::new(), line }
    }

    /// Looks once: the exit code, and what was found this time.
    fn look(&self) -> (i32, Vec<Value>) {
        let Said { code, json, error, lines } = self.house.run(&["bank", "watch", "--once", "--bank", &self.line]);
        assert!(json["entries"].is_u64(), "{error}");
        (code.expect("ends"), lines.into_iter().filter(|line| line["code"].is_string()).collect())
    }

    /// Looks, finds this one thing, and gives its evidence file.
    fn finds(&self, code: &str, proven: bool) -> PathBuf {
        let (exit, findings) = self.look();
        let [finding] = &findings[..] else { unreachable!("{code}: {findings:?}") };
        assert_eq!((&finding["code"], &finding["proven"]), (&code.into(), &proven.into()), "{finding}");
        assert_eq!(exit, if proven { 2 } else { 3 }, "{finding}");
        self.house.path(finding["evidence"].as_str().expect("a file"))
    }

    /// What a third person makes of the evidence, who knows the bank by its line alone; and of another bank's line.
    fn is_convicted_by(&self, evidence: &std::path::Path, breach: &str) {
        let evidence = evidence.to_str().expect("a path");
        let said = self.house.run(&["verify", evidence, "--trust", &self.line]);
        assert_eq!(said.code, Some(2), "{}: {}", said.json, said.error);
        assert_eq!(said.json["breaches"][0]["code"], breach, "{}", said.json);
        let other = SecretKey::from_seed(&[4; 32]).public().to_string();
        let keys = CheckpointSigner::new(ORIGIN, &[8; 32]).expect("a signer").verifier().to_string();
        let stranger = format!("naulon:bank:{other}@http://127.0.0.1:1#{keys}");
        let said = self.house.run(&["verify", evidence, "--trust", &stranger]);
        assert_eq!(said.code, Some(3), "{}", said.json);
    }
}

#[test]
fn an_honest_register_is_followed_as_it_grows() {
    let bank = Bank::new(honest()[..2].to_vec());
    for size in [2, 3, 5] {
        *bank.shows.lock().expect("whole") = honest()[..size].to_vec();
        let (code, findings) = bank.look();
        let codes: Vec<&str> = findings.iter().filter_map(|finding| finding["code"].as_str()).collect();
        // As long as yesterday is not told the bank is late.
        if size < 5 {
            assert!(code == 3 && codes.iter().all(|code| *code == "late_day"), "{size}: {codes:?}");
        } else {
            assert!(codes.is_empty(), "{size}: {codes:?}");
        }
    }
}

#[test]
fn more_redeemed_than_issued_is_proven() {
    let mut entered = honest();
    entered[4] = day(1, (1, 7), (16, 17));
    let bank = Bank::new(entered);
    let evidence = bank.finds("more_redeemed", true);
    bank.is_convicted_by(&evidence, "more_redeemed");
    assert_eq!(bank.look(), (2, vec![]), "once");
}

#[test]
fn totals_that_do_not_follow_are_proven() {
    let mut entered = honest();
    entered[4] = day(1, (1, 6), (20, 16));
    let bank = Bank::new(entered);
    let evidence = bank.finds("false_totals", true);
    bank.is_convicted_by(&evidence, "false_totals");
}

#[test]
fn two_brands_for_one_place_are_proven() {
    let bank = Bank::new(honest());
    assert_eq!(bank.look(), (0, vec![]));
    bank.shows.lock().expect("whole").push(stated(1));
    let evidence = bank.finds("rival_brands", true);
    bank.is_convicted_by(&evidence, "rival_brands");
}

#[test]
fn a_rewritten_register_is_proven_and_one_that_shrinks_is_found() {
    let bank = Bank::new(honest());
    assert_eq!(bank.look(), (0, vec![]));
    bank.shows.lock().expect("whole")[2] = day(3, (6, 4), (16, 4));
    let evidence = bank.finds("two_trees", true);
    bank.is_convicted_by(&evidence, "two_trees");

    let bank = Bank::new(honest());
    assert_eq!(bank.look(), (0, vec![]));
    bank.shows.lock().expect("whole").truncate(4);
    bank.finds("shrunk", false);
}

#[test]
fn what_is_left_out_withheld_or_no_statement_is_found() {
    let mut gap = honest();
    gap.remove(3);
    gap[3] = day(1, (1, 6), (16, 10));
    let bank = Bank::new(gap);
    bank.finds("days_out_of_order", false);

    let mut withheld = honest();
    withheld[0].1.clear();
    Bank::new(withheld).finds("withheld_statement", false);

    let mut other = honest();
    other[0].1 = stated(1).1;
    Bank::new(other).finds("wrong_body", false);

    let mut strange = honest();
    strange.push((RegisterEntry::new(EntryKind::Fees, b"nothing"), b"nothing".to_vec()));
    Bank::new(strange).finds("bad_entry", false);
}
