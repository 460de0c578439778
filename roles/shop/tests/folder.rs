//! A shelf that is a folder: encrypted once a version, byte-exact, whatever changes or dies in between.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

mod world;

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use naulon_purchase::GoodsM;
use naulon_purchase::goods::{CHUNK_LEN, MerchandiseKey, SEALED_CHUNK_LEN, sealed_len};
use naulon_shop::{FolderShelf, Scan, Shelf, ShelfError, Shop};
use naulon_statement::{Digest, Signed};
use naulon_wire::{MAX_GOODS_PIECE, Piece, Range};
use world::*;

/// A folder with files for sale, and one for what is made of them.
struct Folder {
    _directory: tempfile::TempDir,
    files: PathBuf,
    cache: PathBuf,
}

impl Folder {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (folder, cache) = (directory.path().join("files"), directory.path().join("cache"));
        fs::create_dir(&folder).unwrap();
        let folder = Folder { _directory: directory, files: folder, cache };
        for (name, content) in files {
            folder.write(name, content);
        }
        folder.list(&files.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        folder
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.files.join(name), content).unwrap();
    }

    fn list(&self, names: &[&str]) {
        let item = |name: &&str| format!("[[item]]\nfile = {name:?}\ntitle = \"T {name}\"\nprice = \"1.20\"\n\n");
        fs::write(self.files.join("shelf.toml"), names.iter().map(item).collect::<String>()).unwrap();
    }

    fn open(&self) -> FolderShelf {
        FolderShelf::open(&self.files, &self.cache, &keys().goods).unwrap()
    }

    fn cached(&self, extension: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.cache).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
    }
}

fn scan(shelf: &FolderShelf) -> Scan {
    shelf.scan(&mut |_| ()).unwrap()
}

/// Content that is different in every chunk.
fn content(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(seed * 2 + 2_654_435_761) >> 13) as u8).collect()
}

fn read_all(shelf: &FolderShelf, goods: &Digest, piece: u64) -> Vec<u8> {
    let mut sealed = Vec::new();
    while let Ok(Piece { bytes, .. }) = shelf.read(goods, Range { offset: sealed.len() as u64, len: piece }) {
        sealed.extend_from_slice(&bytes);
    }
    sealed
}

/// An offer for the item, as a shop over this shelf makes it.
fn offer(shelf: &FolderShelf, item: &str) -> Signed<GoodsM> {
    let mut shop = Shop::open(keys(), rules(), terms(), shelf.clone(), memory()).unwrap();
    offer_of(&mut shop, item, 9)
}

/// What a buyer of this offer gets.
fn bought(shelf: &FolderShelf, offer: &GoodsM, piece: u64) -> Vec<u8> {
    let k = MerchandiseKey::derive(keys().goods.as_slice(), &offer.n);
    decrypt(offer, k.reveal(), &read_all(shelf, &offer.goods, piece))
}

#[test]
fn files_of_every_length_come_back_byte_exact() {
    let lengths = [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN, 3_000_000];
    let files: Vec<(String, Vec<u8>)> = lengths.iter().map(|len| (format!("f{len}"), content(*len, 1))).collect();
    let listed: Vec<(&str, &[u8])> = files.iter().map(|(name, plain)| (name.as_str(), plain.as_slice())).collect();
    let folder = Folder::of(&listed);
    let shelf = folder.open();
    assert!(shelf.items().is_empty());
    assert_eq!(scan(&shelf).sealed.len(), lengths.len());
    for (name, plain) in &files {
        let offer = offer(&shelf, name);
        assert_eq!((offer.contract.size, offer.contract.digest), (plain.len() as u64, Digest::of(&[plain])));
        assert_eq!(bought(&shelf, &offer, MAX_GOODS_PIECE), *plain, "{name}");
        let sealed = folder.cache.join(format!("{}.sealed", offer.goods));
        assert_eq!(fs::metadata(sealed).unwrap().len(), sealed_len(plain.len() as u64));
    }
    assert_eq!(bought(&shelf, &offer(&shelf, "f3000000"), 99_991), files[6].1);
    assert!(folder.cached("part").is_empty());
}

#[test]
fn a_version_is_encrypted_once_and_found_again_after_a_restart() {
    let folder = Folder::of(&[("a", b"alpha"), ("b", b"beta")]);
    let first = offer(
        &{
            let shelf = folder.open();
            scan(&shelf);
            shelf
        },
        "a",
    )
    .goods;
    let shelf = folder.open();
    assert_eq!(shelf.read(&first, Range { offset: 0, len: 1 }).unwrap().bytes.len(), 1, "before any scan");
    let mut readings = 0;
    let again = shelf.scan(&mut |_| readings += 1).unwrap();
    assert_eq!((again.kept, again.sealed, readings), (vec!["a".into(), "b".into()], vec![], 0), "nothing is read");
    assert_eq!(offer(&shelf, "a").goods, first);
}

#[test]
fn a_changed_file_is_a_new_version_and_running_offers_of_the_old_one_stay_good() {
    let (old, new) = (content(200_000, 1), content(200_000, 2));
    let folder = Folder::of(&[("song", &old)]);
    let shelf = folder.open();
    scan(&shelf);
    let running = offer(&shelf, "song");
    folder.write("song", &new);
    assert_eq!(offer(&shelf, "song").goods, running.goods, "until it is scanned");
    assert_eq!(scan(&shelf).sealed, ["song"]);
    let fresh = offer(&shelf, "song");
    assert!(fresh.goods != running.goods && fresh.contract.digest == Digest::of(&[&new]));
    assert_eq!(bought(&shelf, &fresh, MAX_GOODS_PIECE), new);
    assert_eq!(bought(&shelf, &running, MAX_GOODS_PIECE), old);
    // Also after a restart, and when the item is not sold any more.
    folder.list(&[]);
    let shelf = folder.open();
    assert_eq!(scan(&shelf).unlisted, ["song"]);
    assert!(shelf.items().is_empty());
    assert_eq!(bought(&shelf, &running, MAX_GOODS_PIECE), old);
}

/// The same bytes under two names are two goods: whoever buys one cannot open the other.
#[test]
fn two_items_never_share_a_key() {
    let folder = Folder::of(&[("a", b"same"), ("b", b"same")]);
    let shelf = folder.open();
    scan(&shelf);
    assert_ne!(offer(&shelf, "a").goods, offer(&shelf, "b").goods);
}

/// Encrypting is cut off at each of its steps; the next scan goes on, and the goods are the same as ever.
#[test]
fn a_scan_that_was_cut_off_anywhere_is_finished_by_the_next() {
    let plain = content(5 * CHUNK_LEN + 17, 3);
    let expected = {
        let folder = Folder::of(&[("film", &plain)]);
        let shelf = folder.open();
        scan(&shelf);
        offer(&shelf, "film").goods
    };
    let folder = Folder::of(&[("film", &plain)]);
    let mut left_over = 0;
    for cut_at in 1..=12 {
        let shelf = folder.open();
        let mut steps = 0;
        let cut_off = catch_unwind(AssertUnwindSafe(|| {
            shelf.scan(&mut |progress| {
                steps += 1;
                assert!(progress.done <= progress.total);
                assert!(steps < cut_at, "cut off");
            })
        }));
        assert!(cut_off.is_err(), "step {cut_at}");
        assert!(shelf.items().is_empty(), "nothing half-way is sold");
        left_over = left_over.max(folder.cached("part").len());
    }
    assert_eq!(left_over, 1, "one unfinished file, which is gone on with");
    // What is left is not trusted: a wrong chunk in it is written anew.
    let part = folder.cached("part").pop().unwrap();
    let mut bytes = fs::read(&part).unwrap();
    bytes[SEALED_CHUNK_LEN + 5] ^= 1;
    bytes.extend_from_slice(&[7; 3 * SEALED_CHUNK_LEN]);
    fs::write(&part, bytes).unwrap();

    let shelf = folder.open();
    let mut seen = Vec::new();
    shelf.scan(&mut |progress| seen.push((progress.done, progress.total))).unwrap();
    assert_eq!(seen.last().map(|(done, total)| done == total), Some(true));
    assert!(seen.is_sorted());
    assert_eq!(offer(&shelf, "film").goods, expected);
    assert_eq!(bought(&shelf, &offer(&shelf, "film"), MAX_GOODS_PIECE), plain);
    assert!(folder.cached("part").is_empty());
}

#[test]
fn what_was_begun_of_a_version_that_is_gone_is_removed() {
    let folder = Folder::of(&[("film", &content(3 * CHUNK_LEN, 7))]);
    let shelf = folder.open();
    let mut steps = 0;
    let cut_off = catch_unwind(AssertUnwindSafe(|| {
        shelf.scan(&mut |_| {
            steps += 1;
            assert!(steps < 6, "cut off");
        })
    }));
    assert!(cut_off.is_err());
    assert_eq!(folder.cached("part").len(), 1);
    folder.write("film", b"another film");
    assert_eq!(scan(&folder.open()).sealed, ["film"]);
    assert!(folder.cached("part").is_empty());
}

/// A file that changes between the two readings is read again: one key never seals two texts.
#[test]
fn a_file_that_changes_while_it_is_read_is_begun_again() {
    let (old, new) = (content(3 * CHUNK_LEN, 4), content(3 * CHUNK_LEN, 5));
    for grows in [false, true] {
        let folder = Folder::of(&[("draft", &old)]);
        let shelf = folder.open();
        let mut changes = 1;
        let text = if grows { [&new[..], b"more"].concat() } else { new.clone() };
        let change_once = &mut |progress: naulon_shop::Progress<'_>| {
            if progress.done == 3 * CHUNK_LEN as u64 && std::mem::take(&mut changes) == 1 {
                fs::write(folder.files.join("draft"), &text).unwrap();
            }
        };
        shelf.scan(change_once).unwrap();
        assert_eq!(bought(&shelf, &offer(&shelf, "draft"), MAX_GOODS_PIECE), text);
        assert!(folder.cached("part").is_empty(), "what was begun under the old key is gone");
    }
}

#[test]
fn a_file_that_changes_all_the_time_is_not_sold() {
    let folder = Folder::of(&[("log", b"first")]);
    let shelf = folder.open();
    let mut count = 0_u32;
    let always = &mut |_: naulon_shop::Progress<'_>| {
        count += 1;
        fs::write(folder.files.join("log"), count.to_string()).unwrap();
    };
    assert!(matches!(shelf.scan(always), Err(ShelfError::Changing { .. })));
    assert!(shelf.items().is_empty());
}

/// A version is known again by size and time of change: the same bytes written again are not encrypted again in vain.
#[test]
fn a_touched_file_is_read_again_and_gives_the_same_goods() {
    let folder = Folder::of(&[("a", b"alpha")]);
    let shelf = folder.open();
    scan(&shelf);
    let before = offer(&shelf, "a").goods;
    let file = File::options().write(true).open(folder.files.join("a")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    assert_eq!(scan(&shelf).sealed, ["a"]);
    assert_eq!(offer(&shelf, "a").goods, before);
    assert_eq!(folder.cached("sealed").len(), 1);
}

#[test]
fn lost_or_damaged_cache_files_are_made_again() {
    let plain = content(100_000, 6);
    let folder = Folder::of(&[("a", &plain)]);
    let damages: [fn(&Path); 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(10).unwrap(),
        |path| fs::write(path, b"").unwrap(),
    ];
    for (damage, extension) in damages.iter().flat_map(|damage| [(damage, "sealed"), (damage, "version")]) {
        let shelf = folder.open();
        scan(&shelf);
        folder.cached(extension).iter().for_each(|path| damage(path));
        assert_eq!(scan(&shelf).sealed, ["a"], "{extension}");
        assert_eq!(bought(&shelf, &offer(&shelf, "a"), MAX_GOODS_PIECE), plain);
    }
}

#[test]
fn what_keeps_a_folder_from_being_sold_is_said_and_changes_nothing() {
    let folder = Folder::of(&[("a", b"alpha")]);
    let shelf = folder.open();
    scan(&shelf);
    folder.list(&["a", "missing"]);
    let error = shelf.scan(&mut |_| ()).unwrap_err();
    assert!(matches!(&error, ShelfError::Io { path, .. } if path.ends_with("missing")), "{error}");
    fs::create_dir(folder.files.join("missing")).unwrap();
    assert!(matches!(shelf.scan(&mut |_| ()), Err(ShelfError::Io { .. })), "a folder is no file");
    fs::write(folder.files.join("shelf.toml"), "item = 3").unwrap();
    assert!(matches!(shelf.scan(&mut |_| ()), Err(ShelfError::Settings { .. })));
    fs::remove_file(folder.files.join("shelf.toml")).unwrap();
    assert!(matches!(shelf.scan(&mut |_| ()), Err(ShelfError::Io { .. })));
    assert_eq!(shelf.items().len(), 1, "what was sold is sold on");
}

#[test]
fn goods_are_read_within_their_bounds() {
    let folder = Folder::of(&[("a", b"alpha")]);
    let shelf = folder.open();
    scan(&shelf);
    let goods = offer(&shelf, "a").goods;
    let read = |goods, offset, len| shelf.read(goods, Range { offset, len });
    let last = read(&goods, 20, u64::MAX).unwrap();
    assert_eq!((last.offset, last.bytes.len(), last.of), (20, 1, 21));
    assert!(matches!(read(&goods, 21, 1), Err(naulon_shop::ReadError::Range(21))));
    assert!(matches!(read(&goods, u64::MAX, u64::MAX), Err(naulon_shop::ReadError::Range(21))));
    assert!(matches!(read(&goods, 0, 0), Err(naulon_shop::ReadError::Range(21))));
    assert!(matches!(read(&Digest([1; 32]), 0, 1), Err(naulon_shop::ReadError::NoSuchGoods)));
}
