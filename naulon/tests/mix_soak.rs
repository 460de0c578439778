//! Many clients at three paid mixes for a minute, the mixes killed and restarted under way.
//!
//! `NAULON_TEST_SOAK_SECONDS` and `NAULON_TEST_SOAK_CLIENTS` make it longer or larger.

mod process;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use naulon_exchange::{Exchange, Funding, Input, OpenAccount, Output};
use naulon_meter::{Payer, Replies, Terms};
use naulon_mix::Fare;
use naulon_money::Amount;
use naulon_onion::{Descriptor, Kind, Listing, PathHop, Pay, Plan, Protocol, Session, Shape, Traffic};
use naulon_statement::{Joint, PublicKey, SecretKey, Signed, Timestamp, cbor};
use naulon_stream::{End, Limits, Target};
use naulon_tick::{ChainId, Check, Walker};
use naulon_wire::link::{self, LinkKey};
use naulon_wire::{Address, BankCall, BankReply, Circuit, Client, Clients, DirectoryCall, DirectoryReply};
use process::{House, Server};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SHAPE: Shape = Shape::STANDARD;
/// The length of the checks, and how many bytes a session sends and gets back.
const TICKS: u32 = 400;
const BYTES: usize = 20_000;
/// Whoever gets nothing for so long gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Sessions that ended so shortly before a mix was killed may have ended in what it had not written down.
const BEHIND: Duration = Duration::from_millis(500);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp(u64::try_from(since.as_millis()).expect("a time"))
}

/// What became of one session.
struct Outcome {
    /// Whether every byte came back and the last block went out.
    is_whole: bool,
    ended: Instant,
    /// Blocks that passed both ways, as far as the client knows, and ticks that it let go.
    used: u64,
    paid: u64,
}

struct Town {
    bank: PublicKey,
    teller: Client,
    account: SecretKey,
    directory: (PublicKey, Client),
    echo: u16,
    outcomes: Mutex<Vec<Outcome>>,
    is_over: AtomicBool,
}

/// The key and the URLs of an identity line.
fn parts(server: &Server) -> (PublicKey, Address) {
    let line = server.ready["identity"].as_str().expect("a line");
    let (key, rest) = line.splitn(3, ':').nth(2).and_then(|rest| rest.split_once('@')).expect("a line");
    let urls = rest.split('#').next().expect("an address");
    let (url, account) = urls.split_once(";account=").map_or((urls, None), |(url, account)| (url, Some(account)));
    let address = Address { account: account.map(str::to_owned), ..Address::new(url) };
    (key.parse().expect("a key"), address)
}

impl Town {
    async fn mixes(&self) -> Option<Vec<Descriptor>> {
        let (name, client) = &self.directory;
        let Ok(DirectoryReply::List(list)) = client.call(&DirectoryCall::List).await else { return None };
        let (_, mixes) = Listing::verify(*list, name, now()).ok()?;
        let mut mixes: Vec<Descriptor> = mixes.into_iter().map(Signed::into_body).collect();
        mixes.sort_by(|a, b| a.name.cmp(&b.name));
        (mixes.len() == 3).then_some(mixes)
    }

    /// Three checks of one exchange. An account pays all of them: it is not anonymity that is tried here.
    async fn fares(&self, mixes: &[Descriptor], rng: &mut ChaCha20Rng) -> Option<Vec<(Vec<u8>, Walker)>> {
        let mut made = Vec::new();
        for mix in mixes {
            let (mut id, mut secret, mut salt) = ([0; 32], [0; 32], [0; 16]);
            rng.fill_bytes(&mut id);
            rng.fill_bytes(&mut secret);
            rng.fill_bytes(&mut salt);
            let walker = Walker::new(ChainId(id), &secret, TICKS).expect("a chain");
            let check = Check {
                id: ChainId(id),
                root: walker.root(),
                length: TICKS,
                value: mix.price,
                currency: mix.currency.clone(),
                payee: mix.payee(&self.bank).expect("a payee"),
                salt,
                bank: self.bank,
                expiry: Timestamp(now().0 + 3_600_000),
                refund: SecretKey::from_seed(&secret).public(),
            };
            made.push((check, walker));
        }
        let maxima = made.iter().map(|(check, _)| check.maximum().expect("an amount"));
        let mut order = [0; 16];
        rng.fill_bytes(&mut order);
        let amount = Amount::checked_sum(maxima).expect("an amount");
        let exchange = Exchange {
            bank: self.bank,
            currency: mixes[0].currency.clone(),
            inputs: vec![Input::Account { account: self.account.public(), amount, order }],
            outputs: made.iter().map(|(check, _)| Output::chain(check).expect("a check")).collect(),
            condition: None,
            seal_to: None,
        };
        let call = BankCall::Exchange(Joint::sign(exchange, [&self.account]).into());
        let BankReply::Exchange(reply) = self.teller.call(&call).await.ok()? else { return None };
        let fares = made.into_iter().zip(reply.certificates).map(|((check, walker), certificate)| {
            (cbor::to_vec(&Fare { check, funding: Funding::Certified(certificate) }), walker)
        });
        Some(fares.collect())
    }

    /// One session: sends bytes to the echo and wants them back.
    async fn session(&self, rng: &mut ChaCha20Rng) -> Option<Outcome> {
        let mixes = self.mixes().await?;
        let fares = self.fares(&mixes, rng).await?;
        let path = [0, 1, 2]
            .map(|at| PathHop { mix: mixes[at].mix, key: mixes[at].hop_key(now()).expect("a key of this epoch") });
        let shown = [0, 1, 2].map(|at| fares[at].0.clone());
        let plan = Plan { path, protocol: Protocol::BEFORE_SENDER, traffic: Traffic::Stream, fares: shown };
        let mut block = vec![0; SHAPE.block()];
        let session = Session::begin(SHAPE, &plan, &mut block, rng).expect("a session");
        let terms = Terms { protocol: Protocol::BEFORE_SENDER, window: mixes[0].window, replies: Replies::Billed };
        let mut payers: Vec<Payer> = fares
            .into_iter()
            .map(|(_, walker)| {
                let mut payer = Payer::new(terms, 32);
                payer.add(0, walker).expect("a chain");
                payer
            })
            .collect();
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let key = LinkKey::from_seed(&seed).expect("a key");
        let address = mixes[0].address.parse().expect("an address");
        let Ok(link) = link::connect(address, &mixes[0].link, &key).await else {
            return Some(Outcome { is_whole: false, ended: Instant::now(), used: 0, paid: 0 });
        };
        let is_whole = self.talk(session, &mut payers, block, link, rng).await.is_some();
        let paid = payers[0].paid().map(|(_, ticks)| ticks).sum();
        Some(Outcome { is_whole, ended: Instant::now(), used: payers[0].used(), paid })
    }

    async fn talk(
        &self,
        mut session: Session,
        payers: &mut [Payer],
        set_up: Vec<u8>,
        link: link::Link,
        rng: &mut ChaCha20Rng,
    ) -> Option<()> {
        let (mut reader, mut writer) = link.split(SHAPE.block());
        writer.send(&set_up).await.ok()?;
        let mut end = End::client(Limits::CLIENT);
        let stream = end.open(Target::parse("127.0.0.1", self.echo).expect("a target")).expect("a stream");
        let mut sent = vec![0; BYTES];
        rng.fill_bytes(&mut sent);
        assert_eq!(end.write(stream, &sent), BYTES);
        end.finish(stream);
        let mut got = Vec::new();
        let mut payload = vec![0; SHAPE.payload(Kind::Data)];
        let mut block = vec![0; SHAPE.block()];
        loop {
            let is_over = end.is_ended(stream);
            while end.has_something_to_say() || payers.iter().any(Payer::is_low) || is_over {
                if !end.fill(&mut payload).ok()? {
                    end.fill_dummy(&mut payload).ok()?;
                }
                let mut pays = [Pay::default(); 3];
                for (payer, pay) in payers.iter_mut().zip(&mut pays) {
                    *pay = Pay { is_last: is_over, ..payer.data().ok()? };
                }
                session.data(&pays, &payload, &mut block).ok()?;
                writer.send(&block).await.ok()?;
                if is_over {
                    writer.close().await;
                    return (got == sent).then_some(());
                }
            }
            let read = tokio::time::timeout(PATIENCE, reader.blocks()).await.ok()?.ok()?;
            for reply in read.to_vec().chunks_exact_mut(SHAPE.block()) {
                session.open_reply(reply).ok()?;
                payers.iter_mut().for_each(Payer::received);
                end.take(&reply[SHAPE.payload_range(Kind::Reply)]).ok()?;
            }
            while end.next_event().is_some() {}
            loop {
                let received = end.received(stream);
                if received.is_empty() {
                    break;
                }
                got.extend_from_slice(received);
                let len = received.len();
                end.consume(stream, len);
            }
            if !end.is_alive(stream) && got.len() < BYTES {
                return None;
            }
        }
    }
}

async fn client(town: Arc<Town>, number: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(number);
    while !town.is_over.load(Ordering::Relaxed) {
        let pause = 500 + rng.next_u64() % 4_000;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        match town.session(&mut rng).await {
            Some(outcome) => town.outcomes.lock().expect("no panic").push(outcome),
            // The list was not complete: a mix was away.
            None => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Sends everything back.
async fn echo(listener: TcpListener) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).await.is_ok() {
                let _ = stream.write_all(&bytes).await;
            }
        });
    }
}

/// What a process has in memory, in KiB.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number")
}

fn serve_mix(house: &House, number: usize) -> Server {
    house.serve_by(&["mix", "serve", "--dir", &format!("mix{number}")])
}

/// Ticks that a mix has cashed, and those that it still has to cash.
fn ticks(house: &House, number: usize) -> (u64, u64) {
    let status = house.done(&["mix", "status", "--dir", &format!("mix{number}")]);
    let count = |name: &str| status[0][name].as_u64().expect("a number");
    (count("cashed_ticks"), count("uncashed_ticks"))
}

fn furnished() -> (House, [Server; 2], BTreeMap<usize, Server>) {
    let house = House::furnished();
    house.done(&["directory", "init", "--listen", "127.0.0.1:0", "--party", "bank"]);
    for number in 1..=3 {
        let (dir, name) = (format!("mix{number}"), format!("mix {number}"));
        let init = ["mix", "init", "--dir", &dir, "--name", &name, "--listen", "127.0.0.1:0"];
        let known = ["--bank", "bank", "--directory", "directory", "--cash-within", "3s"];
        let exit: &[&str] = if number == 3 { &["--exit", "1-65535", "--exit-private"] } else { &[] };
        house.done(&[&init[..], &known, exit].concat());
    }
    house.done(&["directory", "allow", "mix1", "mix2", "mix3"]);
    let servers = [house.serve("bank"), house.serve("directory")];
    let mixes = (1..=3).map(|number| (number, serve_mix(&house, number))).collect();
    (house, servers, mixes)
}

#[test]
fn nothing_is_lost_but_blocks_in_flight() {
    let length = Duration::from_secs(setting("NAULON_TEST_SOAK_SECONDS", 60));
    let (house, [bank, directory], mut mixes) = furnished();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (name, address) = parts(&bank);
    let account = SecretKey::from_seed(&[42; 32]);
    let teller = Clients::default().on(Circuit::Identified(account.public()), address).expect("a client");
    let open = Signed::sign(&account, OpenAccount { account: account.public(), bank: name });
    runtime.block_on(teller.call(&BankCall::OpenAccount((&open).into()))).expect("an account");
    house.done(&["bank", "credit", &account.public().to_string(), "5000"]);
    let (key, address) = parts(&directory);
    let listing = Clients::default().on(Circuit::Anonymous(0), address).expect("a client");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let echo_port = listener.local_addr().expect("an address").port();
    runtime.spawn(echo(listener));
    let town = Arc::new(Town {
        bank: name,
        teller,
        account,
        directory: (key, listing),
        echo: echo_port,
        outcomes: Mutex::default(),
        is_over: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..setting("NAULON_TEST_SOAK_CLIENTS", 200))
        .map(|number| runtime.spawn(client(Arc::clone(&town), number)))
        .collect();

    // A quarter to warm up; then the second mix is killed, and later the first and the last together.
    let begun = Instant::now();
    let mut kills = Vec::new();
    let sleep_until = |share: u32| std::thread::sleep((length * share / 12).saturating_sub(begun.elapsed()));
    for (share, killed) in [(3, &[2][..]), (6, &[1, 3])] {
        sleep_until(share);
        kills.push(Instant::now());
        for number in killed {
            let mut server = mixes.remove(number).expect("it runs");
            process::signal("-KILL", server.id());
            server.wait();
        }
        for number in killed {
            mixes.insert(*number, serve_mix(&house, *number));
        }
    }
    sleep_until(9);
    let warm: Vec<u64> = mixes.values().map(|server| resident(server.id())).collect();
    sleep_until(12);
    let late: Vec<u64> = mixes.values().map(|server| resident(server.id())).collect();
    town.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        runtime.block_on(client).expect("no client panics");
    }
    for (warm, late) in warm.iter().zip(&late) {
        assert!(*late < warm + warm / 3 + 16 * 1024, "memory grows: {warm} KiB, then {late} KiB");
    }

    // Everything is cashed in the end, in the background.
    let waiting = Instant::now();
    while (1..=3).any(|number| ticks(&house, number).1 > 0) {
        assert!(waiting.elapsed() < Duration::from_secs(120), "ticks are not cashed");
        std::thread::sleep(Duration::from_millis(300));
    }
    let outcomes = town.outcomes.lock().expect("no panic");
    let is_behind = |outcome: &&Outcome| {
        kills.iter().any(|kill| outcome.ended <= *kill + BEHIND && outcome.ended + BEHIND >= *kill)
    };
    let whole = outcomes.iter().filter(|outcome| outcome.is_whole).count();
    let least: u64 =
        outcomes.iter().filter(|outcome| outcome.is_whole && !is_behind(outcome)).map(|outcome| outcome.used).sum();
    let most: u64 = outcomes.iter().map(|outcome| outcome.paid).sum();
    assert!(whole > 0 && whole * 2 > outcomes.len(), "{whole} of {} sessions came through", outcomes.len());
    for number in 1..=3 {
        let (cashed, _) = ticks(&house, number);
        assert!((least..=most).contains(&cashed), "mix {number}: {cashed} ticks of {least} to {most}");
    }
    eprintln!("{whole} of {} sessions came through; {least} to {most} ticks; {warm:?}, {late:?} KiB", outcomes.len());
}
