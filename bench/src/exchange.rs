//! The area `exchange`: bank and log, each call beside what it cannot do without.
//!
//! A round measures, one after the other: every primitive, and for every kind of call the call itself, an HTTP echo of
//! the same size, and its rows written again. The first round warms up and is thrown away.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use naulon_blind::KnownBrand;
use naulon_wire::{BankCall, BankReply, Call as _, HttpResponse};

use crate::calls::{Kind, Maker};
use crate::cpu::Usage;
use crate::figure::{A_SECOND, Figure, MICROSECONDS};
use crate::house;
use crate::load::{self, Loaded};
use crate::mint::{self, Mint, Programs};
use crate::postgres;
use crate::primitives::{self, Primitives};
use crate::rows;
use crate::samples::Samples;
use crate::server::{Role, Server};
use crate::steps::{self, Steps};

/// Rounds that count.
pub const ROUNDS: usize = 7;
/// Echoes a kind of call and round.
const ECHOES: usize = 6_000;
/// What a call is compared with, in words.
const UNAVOIDABLE: &str = "the unavoidable: its RSA and Ed25519, an HTTP echo of its size, its rows in batches of 100";

/// What is measured beside the bank over SQLite and the log.
pub struct Beside<'p> {
    /// A bank over PostgreSQL.
    pub postgres: bool,
    /// The peer.
    pub peer: Option<&'p Programs>,
}

/// Its rows, written again by themselves.
enum Mirror {
    Sqlite(rows::Mirror),
    Postgres(postgres::Mirror, postgres::Database),
}

/// A server, and the place beside its store.
struct Measured {
    /// What the names of its figures begin with.
    prefix: &'static str,
    server: Server,
    mirror: Mirror,
}

/// A measured bank, and who makes requests for it.
struct MeasuredBank {
    bank: Measured,
    maker: Maker,
}

/// What its server and its database have used so far.
struct Used {
    server: Usage,
    database: Duration,
}

impl Measured {
    fn used(&self) -> Result<Used> {
        let database = match &self.mirror {
            Mirror::Sqlite(_) => Duration::ZERO,
            Mirror::Postgres(_, database) => database.used()?,
        };
        Ok(Used { server: self.server.usage()?, database })
    }

    fn write_again(&mut self, calls: usize) -> Result<(Duration, usize)> {
        match &mut self.mirror {
            Mirror::Sqlite(mirror) => mirror.write_again(calls),
            Mirror::Postgres(mirror, database) => mirror.write_again(calls, || database.used()),
        }
    }

    fn name(&self, kind: Kind) -> String {
        format!("{}{}", self.prefix, kind.name())
    }
}

impl MeasuredBank {
    fn over_sqlite(folder: &Path) -> Result<MeasuredBank> {
        let server = Server::start(Role::Bank, folder)?;
        let maker = opened(&server)?;
        let mirror = Mirror::Sqlite(rows::Mirror::beside(&house::bank_file(folder), folder)?);
        Ok(MeasuredBank { bank: Measured { prefix: "", server, mirror }, maker })
    }

    fn over_postgres() -> Result<MeasuredBank> {
        let database = postgres::Database::begin()?;
        let server = Server::start_bank_at(&database.url)?;
        let maker = opened(&server)?;
        let mirror = Mirror::Postgres(postgres::Mirror::beside(&database)?, database);
        Ok(MeasuredBank { bank: Measured { prefix: "postgres.", server, mirror }, maker })
    }
}

/// Who makes requests for a bank that has just begun, with an account there.
fn opened(bank: &Server) -> Result<Maker> {
    let maker = Maker::new(brand_of(bank)?)?;
    for opening in maker.openings()? {
        load::send(bank.address, vec![opening], || Ok(()))?;
    }
    Ok(maker)
}

/// Measures these kinds of calls, beside what else is wanted, and gives the figures.
pub fn run(kinds: &[Kind], rounds: usize, beside: &Beside<'_>) -> Result<Vec<Figure>> {
    let folders = tempfile::tempdir()?;
    let folder = |name: &str| -> Result<_> {
        let folder = folders.path().join(name);
        std::fs::create_dir(&folder)?;
        Ok(folder)
    };
    let echo = Server::start(Role::Echo, &folder("echo")?)?;
    let mut banks = vec![MeasuredBank::over_sqlite(&folder("bank")?)?];
    if beside.postgres {
        banks.push(MeasuredBank::over_postgres()?);
    }
    let mut log = start_log(&folder("log")?)?;
    let mint = beside.peer.map(|programs| programs.start(&folder("mint")?)).transpose()?;

    let brand = brand_of(&banks[0].bank.server)?;
    let primitives = Primitives::new(&brand, &house::brand_secret()?, &banks[0].maker.header(u64::MAX))?;
    let mut steps = Steps::new(brand.brand().clone(), &folder("steps")?)?;
    let mut warm_up = Samples::default();
    let mut samples = Samples::default();
    for round in 0..=rounds {
        let samples = if round == 0 { &mut warm_up } else { &mut samples };
        eprintln!("round {round} of {rounds}: primitives");
        primitives.measure(samples);
        steps.measure(kinds, &mut banks[0].maker, samples)?;
        for &kind in kinds {
            eprintln!("round {round} of {rounds}: {}", kind.name());
            if kind.is_for_log() {
                let requests = banks[0].maker.make(kind, kind.calls())?;
                measure(kind, requests, &mut log, &echo, samples).with_context(|| kind.name())?;
            } else {
                for MeasuredBank { bank, maker } in &mut banks {
                    let requests = maker.make(kind, kind.calls())?;
                    measure(kind, requests, bank, &echo, samples).with_context(|| bank.name(kind))?;
                }
            }
            if let (Some(mint), Some(proofs)) = (&mint, kind.tokens_swapped()) {
                let swaps = mint.swaps(proofs, kind.calls())?;
                let requests = banks[0].maker.make(kind, kind.calls())?;
                measure_beside_peer(kind, (requests, &banks[0].bank.server), (swaps, mint), samples)?;
                // These rows are not the next kind's.
                banks[0].bank.write_again(kind.calls())?;
            }
        }
    }
    let mut figures = primitives::figures(&samples);
    for kind in kinds {
        figures.extend(figures_of(*kind, kind.name(), &samples));
        for MeasuredBank { bank, .. } in banks.iter().skip(1).filter(|_| !kind.is_for_log()) {
            figures.extend(figures_of(*kind, &bank.name(*kind), &samples));
        }
        if mint.is_some() && kind.tokens_swapped().is_some() {
            figures.extend(figures_beside_peer(*kind, &samples));
        }
        figures.extend(steps::figures(*kind, &samples));
    }
    Ok(figures)
}

fn start_log(folder: &Path) -> Result<Measured> {
    let server = Server::start(Role::Log, folder)?;
    // It has opened its store when it answers.
    load::send(server.address, vec![load::get("/v1/log")], || Ok(()))?;
    let mirror = Mirror::Sqlite(rows::Mirror::beside(&house::log_file(folder), folder)?);
    Ok(Measured { prefix: "", server, mirror })
}

/// The bank's one brand, as it describes it.
pub fn brand_of(bank: &Server) -> Result<KnownBrand> {
    let http = BankCall::Describe.to_http();
    let (Loaded { first_body, .. }, ..) = load::send(bank.address, vec![load::get(&http.path)], || Ok(()))?;
    let response = HttpResponse::bytes(200, "application/json", first_body);
    let BankReply::Description(description) = BankCall::Describe.reply_from_http(&response)? else {
        bail!("the bank answered something else");
    };
    let brand = description.register.brands.into_iter().next().context("the bank has a brand")?;
    Ok(KnownBrand::new(naulon_blind::Brand::clone(&*brand.verify(&house::bank_key().public())?))?)
}

/// One kind of call in one round.
fn measure(
    kind: Kind,
    requests: Vec<Vec<u8>>,
    measured: &mut Measured,
    echo: &Server,
    samples: &mut Samples,
) -> Result<()> {
    let (calls, request) = (requests.len(), requests[0].clone());
    let whole = measured.name(kind);
    let name = |part: &str| format!("{whole}.{part}");
    let mut add = |part: &str, value: f64| samples.add(name(part), value);

    let (loaded, before, after) = load::send(measured.server.address, requests, || measured.used())?;
    let database = each(after.database.saturating_sub(before.database), calls);
    let (before, after) = (before.server, after.server);
    let used = parts(&after.since(&before), calls);
    add("cpu", used.values().sum::<f64>() + database);
    add("part.database", database);
    for part in [Part::Http, Part::Crypto, Part::Store] {
        add(part.name(), used.get(&part).copied().unwrap_or_default());
    }
    add("switches", after.switches_since(&before) as f64 / calls as f64);
    add("throughput", calls as f64 / loaded.elapsed.as_secs_f64());

    let echoes = vec![as_echo(&request, loaded.first_body.len())?; ECHOES];
    let (_, before, after) = load::send(echo.address, echoes, || echo.usage())?;
    let echoed = each(after.since(&before).values().sum(), ECHOES);
    add("echo", echoed);

    let (writing, rows) = measured.write_again(calls)?;
    ensure!(rows >= calls, "{calls} calls have left {rows} rows");
    let written = each(writing, calls);
    add("rows", written);
    add("rows.count", rows as f64 / calls as f64);

    let needed = kind.operations();
    let of = |name: &str| samples.last(name);
    let crypto = needed.private * of(primitives::RSA_PRIVATE)
        + needed.public * of(primitives::RSA_PUBLIC)
        + needed.verify * of(primitives::VERIFY)
        + needed.sign * of(primitives::SIGN);
    samples.add(name("operations"), crypto);
    samples.add(name("unavoidable"), crypto + echoed + written);
    Ok(())
}

/// As many swaps at the peer as exchanges at the bank, one after the other and by as many clients.
fn measure_beside_peer(
    kind: Kind,
    (requests, bank): (Vec<Vec<u8>>, &Server),
    (swaps, mint): (Vec<Vec<u8>>, &Mint),
    samples: &mut Samples,
) -> Result<()> {
    let mut add = |whose: &str, calls: usize, loaded: &Loaded, used: Duration| {
        let name = |part: &str| format!("{}.{whose}.{part}", kind.name());
        samples.add(name("cpu"), each(used, calls));
        samples.add(name("throughput"), calls as f64 / loaded.elapsed.as_secs_f64());
        samples.add(name("retries"), loaded.retries as f64);
    };
    let (calls, clients) = (requests.len(), load::CLIENTS_BESIDE_PEER);
    let (loaded, before, after) = load::send_by(clients, bank.address, requests, || bank.usage(), |_, _| false)?;
    add("beside", calls, &loaded, after.since(&before).values().sum());
    let (loaded, before, after) =
        load::send_by(clients, mint.address, swaps, || mint.usage(), Mint::is_busy).context(mint::NAME)?;
    add("peer", calls, &loaded, after.since(&before).values().sum());
    Ok(())
}

/// What the bank is beside the peer.
fn figures_beside_peer(kind: Kind, samples: &Samples) -> Vec<Figure> {
    let name = |part: &str| format!("{}.{part}", kind.name());
    let beside = |part: &str, unit| {
        let (own, peer) = (name(&format!("beside.{part}")), name(&format!("peer.{part}")));
        Figure::new(name(&format!("beside-peer.{part}")), samples.median(&own), unit).against(
            format!("{} {unit} of {}", samples.median(&peer).round(), mint::NAME),
            samples.ratio(&own, &[&peer]),
        )
    };
    let goals = kind.goals_beside_peer();
    let throughput = beside("throughput", A_SECOND);
    let throughput = goals.throughput.map_or(throughput.clone(), |goal| throughput.at_least(goal));
    let retries = name("peer.retries");
    let retries = Figure::new(retries.clone(), samples.median(&retries), "answers that its database was locked");
    vec![throughput, beside("cpu", MICROSECONDS).at_most(goals.cpu), retries]
}

/// The same request to the echo, which is to answer with so many bytes.
fn as_echo(request: &[u8], body_len: usize) -> Result<Vec<u8>> {
    let head = request.windows(4).position(|four| four == b"\r\n\r\n").context("a request has a head")?;
    Ok(load::post(&format!("/echo/{body_len}"), &request[head + 4..]))
}

/// What a server's threads do, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Tokio's workers, and the main thread, which accepts connections.
    Http,
    /// The pool of the front: signatures and tokens.
    Crypto,
    /// The thread that owns the store.
    Store,
}

impl Part {
    fn of(threads: &str) -> Part {
        match threads {
            desk if desk.ends_with("desk") => Part::Crypto,
            store if store.ends_with("store") => Part::Store,
            _ => Part::Http,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Part::Http => "part.http",
            Part::Crypto => "part.crypto",
            Part::Store => "part.store",
        }
    }
}

fn parts(used: &BTreeMap<String, Duration>, calls: usize) -> BTreeMap<Part, f64> {
    let mut parts = BTreeMap::new();
    for (threads, used) in used {
        *parts.entry(Part::of(threads)).or_default() += each(*used, calls);
    }
    parts
}

/// Microseconds a call.
fn each(used: Duration, calls: usize) -> f64 {
    used.as_secs_f64() * 1e6 / calls as f64
}

/// The figures of a kind of call at the server whose samples are under this name.
fn figures_of(kind: Kind, whole: &str, samples: &Samples) -> Vec<Figure> {
    let name = |part: &str| format!("{whole}.{part}");
    let bare = |part: &str, unit| Figure::new(name(part), samples.median(&name(part)), unit);
    let against = |part: &str, other: &str, words: &str| {
        bare(part, MICROSECONDS).against(words, samples.ratio(&name(part), &[&name(other)]))
    };
    let database = bare("part.database", MICROSECONDS);
    let mut figures = vec![
        against("cpu", "unavoidable", UNAVOIDABLE).at_most(kind.goal()),
        bare("unavoidable", MICROSECONDS),
        against(Part::Http.name(), "echo", "an HTTP echo of its size"),
        against(Part::Crypto.name(), "operations", "its RSA and Ed25519 operations"),
        against(Part::Store.name(), "rows", "its rows written durably in batches of 100"),
        bare("rows.count", "rows"),
        bare("switches", "switches"),
        bare("throughput", A_SECOND),
    ];
    // A file has no process of its own.
    figures.extend((database.value > 0.0).then_some(database));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_told_apart() {
        let used = [("naulon-bench", 1), ("http", 20), ("bank-desk", 300), ("bank-store", 40), ("stop", 2)];
        let used = used.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms))).into();
        let expected = [(Part::Http, 2_300.0), (Part::Crypto, 30_000.0), (Part::Store, 4_000.0)];
        assert_eq!(parts(&used, 10), expected.into());
    }

    #[test]
    fn figures_of_a_call() {
        let mut samples = Samples::default();
        let measured =
            [("cpu", 500.0), ("unavoidable", 400.0), ("part.http", 60.0), ("echo", 20.0), ("rows.count", 5.0)];
        measured.iter().for_each(|(part, value)| samples.add(format!("exchange.1to1.{part}"), *value));
        let figures = figures_of(Kind::OneToOne, Kind::OneToOne.name(), &samples);
        let find = |name: &str| figures.iter().find(|figure| figure.name == name).expect("a figure");
        let cpu = find("exchange.1to1.cpu");
        assert_eq!((cpu.value, cpu.ratio, cpu.goal, cpu.met), (500.0, Some(1.25), Some(1.25), Some(true)));
        assert_eq!(find("exchange.1to1.part.http").ratio, Some(3.0));
        assert_eq!(find("exchange.1to1.rows.count").against, None);
    }

    #[test]
    fn an_echo_is_as_long() {
        let request = load::post("/v1/exchanges", b"{\"a\":1}");
        let echo = as_echo(&request, 9).expect("a request");
        assert!(echo.starts_with(b"POST /echo/9 HTTP/1.1\r\n") && echo.ends_with(b"\r\n\r\n{\"a\":1}"));
    }
}
