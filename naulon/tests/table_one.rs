//! AAT §6, Table 1: what each party gets to know of a purchase. Real processes; a recorder sits on every line between wallet,
//! shop, bank and log. All six rows are read off what the parties stored, what came to their doors, and what an observer
//! recorded on the wire, once in TLS and once in plain text, where he reads everything: so the test can fail.

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use naulon_exchange::{Exchange, UnverifiedDecision};
use naulon_money::Amount;
use naulon_purchase::{Evidence, GoodsM};
use naulon_statement::{PublicKey, Unverified, UnverifiedJoint, cbor};
use naulon_wire::{B64, EvidenceFile};
use process::House;
use process::certificate::certify;

const TITLE: &str = "the-ferrymans-song.flac";
const PRICE: &str = "13.70";

/// A column's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Full,
    Partial,
    None,
}
use Known::{Full, None as Nothing, Partial};

/// A row: merchant, consumer, date, amount, item.
type RowOfTable = [Known; 5];

/// What passed on a line, as somebody who sits on it sees it.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    /// When something passed, and how much.
    passed: Vec<(SystemTime, usize)>,
}

/// Every line, by who is called on it.
type Lines = Arc<Mutex<BTreeMap<&'static str, Line>>>;

/// Records what is sent to a server and what it answers. Gives the port to speak to instead.
fn record(to: &'static str, target: SocketAddr, lines: Lines) -> u16 {
    let free =
        |seed: u16| (0..500).find_map(|n| TcpListener::bind(("127.0.0.1", 22_000 + (seed + n * 7) % 9_000)).ok());
    let listener = free(target.port()).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(target) else { continue };
            for (from, into) in [(&client, &server), (&server, &client)] {
                let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) else { continue };
                let lines = lines.clone();
                thread::spawn(move || pass(to, from, into, &lines));
            }
        }
    });
    port
}

fn pass(to: &'static str, mut from: TcpStream, mut into: TcpStream, lines: &Lines) {
    let mut buffer = vec![0; 64 * 1024];
    // Each direction of a connection is kept together, so that nothing is torn apart by what passes beside it.
    let (mut bytes, mut passed) = (Vec::new(), Vec::new());
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
        passed.push((SystemTime::now(), count));
        if into.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Write);
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    let line = lines.entry(to).or_default();
    line.bytes.extend(bytes);
    line.passed.extend(passed);
}

/// Puts recorders before all servers: whoever has a server's URL in its settings calls the recorder instead.
fn put_recorders(house: &House, scheme: &str, lines: &Lines) {
    let mut ports = BTreeMap::new();
    for role in ["bank", "log", "shop"] {
        let identity = std::fs::read_to_string(house.path(&format!("{role}.identity.toml")));
        let identity = identity.or_else(|_| std::fs::read_to_string(house.path(role).join("identity.toml")));
        let settings = std::fs::read_to_string(house.path(role).join("naulon.toml")).expect("settings");
        let text = format!("{}\n{settings}", identity.unwrap_or_default());
        // Its own listeners are the addresses that stand there without a scheme.
        for port in text.split('"').filter_map(|part| part.strip_prefix("127.0.0.1:")?.parse::<u16>().ok()) {
            ports.entry(port).or_insert_with(|| record(role, ([127, 0, 0, 1], port).into(), lines.clone()));
        }
    }
    for caller in ["wallet", "shop"] {
        let file = house.path(caller).join("naulon.toml");
        let mut settings = std::fs::read_to_string(&file).expect("settings");
        for (port, recorder) in &ports {
            settings =
                settings.replace(&format!("{scheme}://127.0.0.1:{port}"), &format!("{scheme}://127.0.0.1:{recorder}"));
        }
        std::fs::write(&file, settings).expect("writes");
    }
}

/// Bytes in which something is looked for, as they are and with everything decoded that is written in base64url in them.
struct Corpus(Vec<u8>);

impl Corpus {
    fn of<B: AsRef<[u8]>>(parts: impl IntoIterator<Item = B>) -> Self {
        let mut all = Vec::new();
        for part in parts {
            let raw = part.as_ref();
            all.extend_from_slice(raw);
            let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            for run in raw.split(|byte| !letter(byte)).filter(|run| run.len() >= 20) {
                let text = format!("\"{}\"", String::from_utf8_lossy(run));
                if let Ok(B64(bytes)) = serde_json::from_str(&text) {
                    all.extend(bytes);
                }
            }
        }
        Corpus(all)
    }

    fn has(&self, needle: &[u8]) -> bool {
        !needle.is_empty() && self.0.windows(needle.len()).any(|window| window == needle)
    }

    fn knows(&self, needles: &[Vec<u8>]) -> bool {
        needles.iter().any(|needle| self.has(needle))
    }
}

/// What there is to be known of the purchase, in the forms in which it would be found.
struct Secrets {
    merchant: Vec<Vec<u8>>,
    /// The account that the money came from.
    consumer: Vec<Vec<u8>>,
    date: Vec<Vec<u8>>,
    amount: Vec<Vec<u8>>,
    item: Vec<Vec<u8>>,
    /// n, the tokens and their keys: who has these can ask for more.
    handles: Vec<Vec<u8>>,
}

impl Secrets {
    fn of(evidence: &Evidence, account: &str) -> Self {
        let joint = evidence.authorization_q.as_ref().expect("authorized");
        let exchange: Exchange = cbor::from_slice(&joint.payload).expect("an exchange");
        let condition = exchange.condition.as_ref().expect("a purchase");
        let offer = Unverified::<GoodsM>::parse(evidence.goods_m.as_ref().expect("an offer")).expect("an offer");
        let decision: UnverifiedDecision = cbor::from_slice(&evidence.decisions[0]).expect("a decision");
        let time = decision.from_own_store().decision().time;
        let price = exchange.price().expect("a price");
        assert_eq!(price, Amount::from_micros(13_700_000));
        let account: PublicKey = account.parse().expect("a key");
        let both = |key: &PublicKey| vec![key.0.to_vec(), key.to_string().into_bytes()];
        let contract = &offer.claimed_body().contract;
        let mut micros = vec![0x1a];
        micros.extend(u32::try_from(price.micros()).expect("not so much").to_be_bytes());
        let tokens = exchange.tokens().flat_map(|token| [token.nonce().to_vec(), token.to_bytes()[100..].to_vec()]);
        Secrets {
            merchant: both(&condition.merchant),
            consumer: both(&account),
            date: vec![time.0.to_be_bytes().to_vec()],
            amount: vec![micros, PRICE.as_bytes().to_vec()],
            item: vec![TITLE.as_bytes().to_vec(), contract.digest.0.to_vec(), offer.claimed_body().goods.0.to_vec()],
            handles: tokens.chain([condition.n.to_vec()]).collect(),
        }
    }

    /// The row of somebody who has this. Whether the consumer is known is the caller's to say where the name alone is not it.
    fn row(&self, corpus: &Corpus) -> RowOfTable {
        let columns = [&self.merchant, &self.consumer, &self.date, &self.amount, &self.item];
        columns.map(|needles| if corpus.knows(needles) { Full } else { Nothing })
    }
}

/// Everything in the files of a folder.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(kind) if kind.is_file() => found.extend(std::fs::read(&path)),
            _ => {}
        }
    }
    found
}

/// Whether two records have anything in common by which one could be found from the other: a run of bytes of this length
/// that is not public.
const TELLING: usize = 12;

fn in_common(one: &[u8], other: &[u8], public: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let pieces = |record: &[u8]| {
        let mut pieces = vec![record.to_vec()];
        for word in public {
            let split = |piece: Vec<u8>| {
                let mut parts = Vec::new();
                let mut rest = &piece[..];
                while let Some(at) = rest.windows(word.len()).position(|window| window == word) {
                    parts.push(rest[..at].to_vec());
                    rest = &rest[at + word.len()..];
                }
                parts.push(rest.to_vec());
                parts
            };
            pieces = pieces.into_iter().flat_map(split).collect();
        }
        let runs = pieces.iter().flat_map(|piece| piece.windows(TELLING).map(<[u8]>::to_vec).collect::<Vec<_>>());
        runs.collect::<BTreeSet<_>>()
    };
    pieces(one).intersection(&pieces(other)).cloned().collect()
}

/// A purchase that was played, and everything that anybody has of it.
struct Played {
    secrets: Secrets,
    lines: BTreeMap<&'static str, Line>,
    stores: BTreeMap<&'static str, Vec<Vec<u8>>>,
    evidence: Vec<u8>,
    /// The bank's records: of the withdrawal, the purchase, the deposit.
    records: [Vec<u8>; 3],
    /// What stands in every record, and every brand.
    public: Vec<Vec<u8>>,
    /// What everybody reads in the log.
    published: Vec<Vec<u8>>,
    began: SystemTime,
}

fn play(tls: bool) -> Played {
    let house = House::new();
    let options: &[&str] =
        if tls { &["--certificate", "tls.pem", "--tls-key", "tls.key", "--ca", "ca.pem"] } else { &[] };
    certify(&house);
    let house = house.furnish_with(options);
    let lines = Lines::default();
    put_recorders(&house, if tls { "https" } else { "http" }, &lines);
    std::fs::write(house.path(TITLE), vec![7; 70_000]).expect("writes");
    house.done(&["shop", "add", TITLE, "--price", PRICE]);
    let servers = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "40"]);
    house.done(&["wallet", "withdraw", "20"]);
    let began = SystemTime::now();
    let bought = house.done(&["wallet", "buy", TITLE, "--entries", "plain"]);
    let operation = bought["id"].as_u64().or_else(|| bought["operation"].as_u64()).unwrap_or(3).to_string();
    house.done(&["wallet", "evidence", &operation, "--out", "bought.evidence.json"]);
    house.done(&["wallet", "deposit", "1"]);
    for server in servers {
        assert_eq!(server.stop(), Some(0));
    }
    // The recorders' threads write down what passed when a connection ends.
    thread::sleep(Duration::from_millis(500));
    let text = std::fs::read_to_string(house.path("bought.evidence.json")).expect("evidence");
    let evidence = EvidenceFile::read(&text).expect("evidence");
    let stores = ["bank", "log", "shop"].map(|role| (role, files(&house.path(role))));
    let books = rusqlite::Connection::open(house.path("bank").join("bank.sqlite")).expect("opens");
    let blobs = |sql: &str, book: &rusqlite::Connection| -> Vec<Vec<u8>> {
        let mut query = book.prepare(sql).expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    };
    let payload =
        |row: Vec<u8>| cbor::from_slice::<UnverifiedJoint<Exchange>>(&row).expect("a request").payload().to_vec();
    let records: Vec<Vec<u8>> =
        blobs("SELECT exchange FROM record ORDER BY number", &books).into_iter().map(payload).collect();
    let [_credit, withdrawal, purchase, deposit] = &records[..] else { unreachable!("{} records", records.len()) };
    let exchange: Exchange = cbor::from_slice(purchase).expect("an exchange");
    let mut public = blobs("SELECT key_id FROM brand", &books);
    public.push(exchange.bank.0.to_vec());
    let book = rusqlite::Connection::open(house.path("log").join("log.sqlite")).expect("opens");
    let mut published = blobs("SELECT coalesce(published, body) FROM body", &book);
    published.extend(blobs("SELECT entry FROM entry", &book));
    let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    Played {
        secrets: Secrets::of(&evidence, &account),
        lines,
        stores: BTreeMap::from(stores),
        evidence: text.into_bytes(),
        records: [withdrawal.clone(), purchase.clone(), deposit.clone()],
        public,
        published,
        began,
    }
}

impl Played {
    /// What a party has: its store, and what came to its door if that could be read.
    fn of_party(&self, role: &'static str, door: bool) -> Corpus {
        let stored = self.stores[role].iter().map(Vec::as_slice);
        let came = self.lines.get(role).filter(|_| door).map(|line| line.bytes.as_slice());
        Corpus::of(stored.chain(came))
    }

    /// The row of the observer: what he finds in what passed, beside that something passed, when, where to, and how much.
    fn observer(&self, with: &[Vec<u8>]) -> RowOfTable {
        let passed = self.lines.values().map(|line| line.bytes.as_slice());
        let corpus = Corpus::of(passed.chain(with.iter().map(Vec::as_slice)));
        let [merchant, consumer, _, amount, item] = self.secrets.row(&corpus);
        let shop = self.lines.get("shop").map(|line| &line.passed);
        let during = shop.is_some_and(|passed| passed.iter().any(|(at, count)| *at >= self.began && *count > 0));
        let at_least = |known, partly| if known == Nothing && partly { Partial } else { known };
        let date = if during { Full } else { Nothing };
        [at_least(merchant, during), consumer, date, at_least(amount, during), item]
    }
}

/// AAT, Table 1, but for the observer's row, which has a test of its own.
#[test]
fn the_rows_of_merchant_consumer_bank_log_and_law_enforcement() {
    // In plain text, so that what came to the doors can be read, as the parties themselves read it.
    let played = play(false);
    let row = |corpus: &Corpus| played.secrets.row(corpus);

    assert_eq!(row(&played.of_party("shop", true)), [Full, Nothing, Full, Full, Full], "merchant");
    let consumer = Corpus::of([&played.evidence[..], &played.secrets.consumer[0]]);
    assert_eq!(row(&consumer), [Full, Full, Full, Full, Full], "consumer");
    assert_eq!(row(&played.of_party("log", true)), [Full, Nothing, Full, Nothing, Nothing], "log");
    // What it keeps is less than what it gets to see, and what it publishes is no more.
    assert_eq!(row(&played.of_party("log", false)), [Nothing, Nothing, Full, Nothing, Nothing], "log, its store");
    assert_eq!(row(&Corpus::of(&played.published)), [Nothing, Nothing, Full, Nothing, Nothing], "public log");
    assert!(!Corpus::of(&played.published).knows(&played.secrets.handles), "neither n nor tokens are published");

    // The bank knows its customer, and knows the purchase; that the one belongs to the other it does not.
    let [withdrawal, purchase, deposit] = &played.records;
    let [merchant, _, date, amount, item] = row(&played.of_party("bank", true));
    assert_eq!([merchant, date, amount, item], [Full, Full, Full, Nothing], "bank");
    assert_eq!(in_common(withdrawal, purchase, &played.public), Vec::<Vec<u8>>::new(), "bank: consumer");
    assert!(!in_common(withdrawal, deposit, &played.public).is_empty(), "the account links these two: it can be seen");

    // With a warrant: the bank's records and the merchant's, side by side.
    let both = played.stores["bank"].iter().chain(&played.stores["shop"]);
    let [merchant, _, date, amount, item] = row(&Corpus::of(both));
    assert_eq!([merchant, date, amount, item], [Full, Full, Full, Full], "law enforcement");
    for record in &played.stores["shop"] {
        let linked = in_common(withdrawal, record, &played.public);
        assert_eq!(linked, Vec::<Vec<u8>>::new(), "law enforcement: consumer");
    }
}

/// The observer has every byte that passed between everybody, in TLS 1.3: where it went, when, and how much it was.
#[test]
fn the_row_of_the_electronic_observer() {
    let played = play(true);
    let expected = [Partial, Nothing, Full, Partial, Nothing];
    assert_eq!(played.observer(&[]), expected);
    // The paper gives him the merchant with the public log beside it; our entries do not name it.
    assert_eq!(played.observer(&played.published), expected, "with the public log");
    let all = Corpus::of(played.lines.values().map(|line| line.bytes.as_slice()));
    assert!(!all.knows(&played.secrets.handles), "neither n, nor tokens, nor their keys");
    // No names either: who calls an address in numbers says no host name, and whose certificate it is is encrypted.
    for name in ["Test server", "Test authority", "localhost", "naulon", "/v1/", "HTTP/1.1"] {
        assert!(!all.has(name.as_bytes()), "{name}");
    }
    for (role, line) in &played.lines {
        assert!(line.bytes.len() > 1_000, "{role}: something passed");
    }
    assert_eq!(played.lines.len(), 3, "every line was recorded");
}

/// On lines without TLS he reads it all, which is why servers speak plain HTTP on loopback only.
#[test]
fn the_observer_reads_plain_lines() {
    let played = play(false);
    let [merchant, consumer, date, amount, item] = played.observer(&[]);
    assert_eq!([merchant, consumer, date, amount, item], [Full; 5]);
    let all = Corpus::of(played.lines.values().map(|line| line.bytes.as_slice()));
    assert!(played.secrets.handles.iter().all(|handle| all.has(handle)), "n, the tokens and their keys");
}
