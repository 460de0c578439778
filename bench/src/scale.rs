//! The area `scale`: whether a bank that has worked for long is slower or larger than a young one.
//!
//! Two claims. An exchange of a bank that knows 10^7 spent tokens costs at most 1.2 times what it costs one that knows
//! 10^4: both banks are measured in turns, in the same rounds. And the memory of a bank stays flat over 10^6 exchanges:
//! its resident size is looked at after every tenth of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use naulon_statement::Digest;
use rusqlite::{Connection, OpenFlags, params};

use crate::calls::{Kind, Maker};
use crate::exchange::brand_of;
use crate::figure::{Figure, MICROSECONDS};
use crate::house;
use crate::load;
use crate::samples::Samples;
use crate::server::{Role, Server};

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Spent tokens of the old bank.
    pub spent: u64,
    /// Exchanges over which memory is watched.
    pub exchanges: u64,
}

impl Size {
    /// What is claimed: 10^7 spent tokens, 10^6 exchanges. Half an hour or more on two cores.
    pub const CLAIMED: Size = Size { spent: 10_000_000, exchanges: 1_000_000 };
}

/// Spent tokens of the young bank.
const YOUNG: u64 = 10_000;
/// What an exchange of the old bank costs at most, as a multiple of the young one's.
const AGED: f64 = 1.2;
/// What the bank's memory is at most at the end, as a multiple of what it was when caches and threads were there.
const GROWN: f64 = 1.1;
/// The store's cache is full, and every thread has its stack, after so many parts of the whole.
const SETTLED_PARTS: u64 = 3;
/// Into how many parts the exchanges are cut.
const PARTS: u64 = 10;
/// Exchanges a round and bank.
const CALLS: usize = 1_000;
/// Rows that are filled in at once.
const FILLED_AT_ONCE: u64 = 100_000;

/// Measures both claims.
pub fn run(size: Size, rounds: usize) -> Result<Vec<Figure>> {
    let mut figures = age(size.spent, rounds)?;
    figures.extend(memory(size.exchanges)?);
    Ok(figures)
}

/// A bank whose store already holds so many spent tokens, and who makes requests for it.
struct Aged {
    server: Server,
    maker: Maker,
}

impl Aged {
    fn start(folder: &Path, spent: u64) -> Result<Aged> {
        // Once to make the tables.
        drop(naulon_bank::SqliteStore::open(&house::bank_file(folder))?);
        fill(&house::bank_file(folder), spent)?;
        let server = Server::start(Role::Bank, folder)?;
        let maker = Maker::new(brand_of(&server)?)?;
        for opening in maker.openings()? {
            load::send(server.address, vec![opening], || Ok(()))?;
        }
        Ok(Aged { server, maker })
    }

    /// Processor time of an exchange in microseconds, in the mean over so many.
    fn exchange(&mut self, calls: usize) -> Result<f64> {
        let requests = self.maker.make(Kind::OneToOne, calls)?;
        let server = &self.server;
        let (_, before, after) = load::send(server.address, requests, || server.usage())?;
        Ok(after.since(&before).values().map(std::time::Duration::as_secs_f64).sum::<f64>() * 1e6 / calls as f64)
    }
}

fn age(spent: u64, rounds: usize) -> Result<Vec<Figure>> {
    let folders = tempfile::tempdir()?;
    let start = |name: &str, spent| -> Result<Aged> {
        eprintln!("a bank that knows {spent} spent tokens");
        let folder = folders.path().join(name);
        fs::create_dir(&folder)?;
        Aged::start(&folder, spent)
    };
    let (mut young, mut old) = (start("young", YOUNG)?, start("old", spent)?);
    let (mut samples, mut warm_up) = (Samples::default(), Samples::default());
    for round in 0..=rounds {
        eprintln!("round {round} of {rounds}");
        let samples = if round == 0 { &mut warm_up } else { &mut samples };
        samples.add("young", young.exchange(CALLS)?);
        samples.add("old", old.exchange(CALLS)?);
    }
    let against = format!("{YOUNG} spent tokens");
    let name = format!("scale.exchange.{spent}");
    let old = Figure::new(name, samples.median("old"), MICROSECONDS);
    Ok(vec![
        Figure::new(format!("scale.exchange.{YOUNG}"), samples.median("young"), MICROSECONDS),
        old.against(against, samples.ratio("old", &["young"])).at_most(Some(AGED)),
    ])
}

/// Fills in so many spent tokens and the requests that spent them. The bodies of those requests are left out: they lie
/// in the order of their coming and are not looked at again.
fn fill(store: &Path, spent: u64) -> Result<()> {
    let mut store = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    store.pragma_update(None, "synchronous", "OFF")?;
    store.pragma_update(None, "cache_size", -1_000_000)?;
    let mut keys: Vec<[u8; 32]> = Vec::new();
    for table in ["mark", "request"] {
        keys.clear();
        keys.extend((0..spent).map(|number| Digest::of(&[table.as_bytes(), &number.to_be_bytes()]).0));
        // In the order of the tree the filling takes minutes, not hours.
        keys.sort_unstable();
        let column = if table == "mark" { "key" } else { "id" };
        let sql = format!("INSERT INTO {table} ({column}, record) VALUES (?1, ?2)");
        for (part, keys) in keys.chunks(FILLED_AT_ONCE as usize).enumerate() {
            let transaction = store.transaction()?;
            let mut insert = transaction.prepare_cached(&sql)?;
            for (place, key) in keys.iter().enumerate() {
                // Numbers that the bank itself does not come to.
                let number = (1_u64 << 60) + part as u64 * FILLED_AT_ONCE + place as u64;
                insert.execute(params![key, number])?;
            }
            drop(insert);
            transaction.commit()?;
        }
    }
    store.pragma_update(None, "wal_checkpoint", "TRUNCATE")?;
    Ok(())
}

fn memory(exchanges: u64) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let mut bank = Aged::start(folder.path(), 0)?;
    let part = usize::try_from(exchanges / PARTS)?;
    ensure!(part > 0, "at least {PARTS} exchanges");
    let mut settled = 0.0;
    let mut largest = 0.0_f64;
    for number in 1..=PARTS {
        // In pieces, for the requests lie in this program's memory.
        for piece in pieces(part) {
            bank.exchange(piece)?;
        }
        let resident = resident_mib(bank.server.process())?;
        eprintln!("after {} exchanges: {resident:.1} MiB", part as u64 * number);
        if number <= SETTLED_PARTS {
            settled = resident;
        }
        largest = largest.max(resident);
    }
    let name = format!("scale.memory.{exchanges}");
    let against = format!("{settled:.1} MiB after {} of {PARTS} parts", SETTLED_PARTS);
    Ok(vec![Figure::new(name, largest, "MiB").against(against, largest / settled).at_most(Some(GROWN))])
}

fn pieces(whole: usize) -> impl Iterator<Item = usize> {
    const PIECE: usize = 10_000;
    (0..whole).step_by(PIECE).map(move |begun| PIECE.min(whole - begun))
}

/// The resident size of a process.
fn resident_mib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells the size")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filled_rows_are_found_spent() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(naulon_bank::SqliteStore::open(&house::bank_file(folder.path())).expect("opens"));
        fill(&house::bank_file(folder.path()), 1_000).expect("fills");
        let store = Connection::open(house::bank_file(folder.path())).expect("opens");
        let count = |table: &str| -> u64 {
            store.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("counts")
        };
        assert_eq!((count("mark"), count("request")), (1_000, 1_000));
    }

    #[test]
    fn a_part_is_cut_into_pieces() {
        assert_eq!(pieces(25_000).collect::<Vec<_>>(), [10_000, 10_000, 5_000]);
        assert!(resident_mib(std::process::id()).expect("told") > 1.0);
    }
}
