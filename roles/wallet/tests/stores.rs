//! What every store and every goods' directory promises, and what the sealed one keeps to itself.
#![allow(clippy::panic)]

mod world;

use std::fs;
use std::path::Path;

use naulon_durable::fault::Faults;
use naulon_durable::sealed::{Cost, Passphrase};
use naulon_purchase::Ending;
use naulon_statement::Digest;
use naulon_wallet::*;
use world::*;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::from_reader(text.as_bytes()).expect("a passphrase")
}

fn sealed(path: &Path) -> SealedStore {
    match SealedStore::open(path, &passphrase("horse")) {
        Err(SealedStoreError::NotThere { .. }) => {
            SealedStore::create(path, &passphrase("horse"), Cost::light()).expect("created")
        }
        opened => opened.expect("opened"),
    }
}

fn put(kind: Kind, key: &[u8], value: &[u8]) -> Write {
    Write::Put { kind, key: key.to_vec(), value: value.to_vec() }
}

fn remove(kind: Kind, key: &[u8]) -> Write {
    Write::Remove { kind, key: key.to_vec() }
}

/// The contract of [`WalletStore`]; `open` opens the same rows again.
fn conforms<S: WalletStore>(mut open: impl FnMut() -> S) {
    let mut store = open();
    assert_eq!(store.load(Kind::Token, b"a"), Ok(None));
    assert_eq!(store.list(Kind::Token), Ok(Vec::new()));
    store
        .commit(&[put(Kind::Token, b"b", b"2"), put(Kind::Token, b"a", b"1"), put(Kind::Index, b"a", b"")])
        .expect("ok");
    assert_eq!(store.load(Kind::Token, b"a"), Ok(Some(b"1".to_vec())));
    assert_eq!(store.load(Kind::Index, b"a"), Ok(Some(Vec::new())), "kinds are apart, and a row may be empty");
    assert_eq!(store.load(Kind::Past, b"a"), Ok(None));
    // In order: what is removed after it was put is gone, and what is put after it was removed is there.
    let writes = [
        remove(Kind::Token, b"b"),
        put(Kind::Token, b"b", b"3"),
        put(Kind::Token, b"", b"no key"),
        put(Kind::Token, b"c", b"4"),
        remove(Kind::Token, b"c"),
        remove(Kind::Token, b"never there"),
        put(Kind::Token, b"a", &[7; 100_000]),
    ];
    store.commit(&writes).expect("committed");
    store.commit(&[]).expect("nothing is no error");
    let expected: Vec<Row> =
        vec![(b"".to_vec(), b"no key".to_vec()), (b"a".to_vec(), vec![7; 100_000]), (b"b".to_vec(), b"3".to_vec())];
    assert_eq!(store.list(Kind::Token).expect("listed"), expected, "in the order of the keys");
    drop(store);
    assert_eq!(open().list(Kind::Token).expect("listed"), expected, "also after a restart");
}

#[test]
fn both_stores_keep_their_promise() {
    let memory = MemoryStore::new(Faults::none());
    conforms(|| memory.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wallet.sqlite");
    conforms(|| sealed(&path));
}

/// The contract of [`GoodsDir`]; `open` opens the same place again.
fn keeps_goods<G: GoodsDir>(mut open: impl FnMut() -> G) {
    let (a, b) = (Digest([1; 32]), Digest([2; 32]));
    let mut goods = open();
    assert_eq!(goods.kept(&a), Ok(0));
    assert_eq!(goods.read(&a, 0, 10), Ok(Vec::new()));
    goods.append(&a, 0, b"hello ").expect("appended");
    goods.append(&b, 0, b"other").expect("appended");
    goods.append(&a, 0, b"doubled").expect("ignored");
    goods.append(&a, 99, b"too early").expect("ignored");
    drop(goods);
    let mut goods = open();
    assert_eq!(goods.kept(&a), Ok(6), "resumable by length");
    goods.append(&a, 6, b"world").expect("appended");
    assert_eq!(goods.read(&a, 3, 5), Ok(b"lo wo".to_vec()));
    assert_eq!(goods.read(&a, 9, 50), Ok(b"ld".to_vec()));
    assert_eq!(goods.read(&a, 50, 5), Ok(Vec::new()));
    goods.begin(&a).expect("begun");
    goods.extend(&a, b"thrown away").expect("extended");
    goods.begin(&a).expect("begun anew");
    goods.extend(&a, b"pla").expect("extended");
    goods.extend(&a, b"in").expect("extended");
    let place = goods.finish(&a, "a title").expect("finished");
    goods.begin(&a).expect("begun");
    goods.extend(&a, b"again").expect("extended");
    assert_eq!(goods.finish(&a, "a title").expect("finished"), place, "the same place");
    goods.discard(&a).expect("discarded");
    goods.discard(&a).expect("nothing there is no error");
    goods.begin(&b).expect("begun");
    goods.abandon(&b).expect("abandoned");
    goods.abandon(&b).expect("nothing there is no error");
    assert_eq!((goods.kept(&a), goods.kept(&b)), (Ok(0), Ok(5)));
}

#[test]
fn both_goods_directories_keep_their_promise() {
    let memory = MemoryGoods::new(Faults::none());
    keeps_goods(|| memory.clone());
    assert_eq!(memory.all().into_values().collect::<Vec<_>>(), [b"again".to_vec()]);
    let folder = tempfile::tempdir().expect("a folder");
    keeps_goods(|| FolderGoods::new(&folder.path().join("goods")).expect("opened"));
    let finished = folder.path().join("goods/0101010101010101/a title");
    assert_eq!(fs::read(finished).expect("there"), b"again");
}

/// Everything that the wallet's files say, in one string of bytes.
fn on_disk(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        bytes.extend(path.file_name().expect("a name").as_encoded_bytes());
        if path.is_file() {
            bytes.extend(fs::read(path).expect("read"));
        }
    }
    bytes
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_sealed_store_tells_the_disk_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wallet.sqlite");
    let mut world = World::new();
    world.shop.title = "An embarrassing title".into();
    let goods = MemoryGoods::default();
    let mut wallet = world.wallet(sealed(&path), goods.clone());
    world.withdraw(&mut wallet, "20");
    let op = world.buy(&mut wallet, "3.50", BuyOptions { two_sided: true, ..BuyOptions::default() }).expect("begun");
    world.settle(&mut wallet).expect("bought");
    let entry = wallet.operation(op, world.now).expect("read").expect("known");
    assert_eq!(entry.ending(), Some(Ending::Bought));
    // Also what stands in SQLite's own log while the wallet is open.
    let mut disk = on_disk(folder.path());
    drop(wallet);

    let mut store = sealed(&path);
    let tokens = store.list(Kind::Token).expect("listed");
    assert!(!tokens.is_empty());
    let past = store.list(Kind::Past).expect("listed");
    drop(store);
    disk.extend(on_disk(folder.path()));
    assert!(contains(&disk, b"SQLite format 3") && contains(&disk, b"naulon/sealed-file/1"), "this is what is read");
    let bank = world.bank.key.public();
    let keys = [bank, world.shop.key.public(), world.log.key.public(), seed().account(&bank).public()];
    let words = [&[9; 32][..], b"An embarrassing title", b"application/naulon", b"EUR"];
    let secrets = words.into_iter().chain(keys.iter().map(|key| &key.as_bytes()[..]));
    let rows = tokens.iter().chain(&past).flat_map(|(key, value)| [&key[..], &value[..value.len().min(40)]]);
    // Numbers of operations are short, and found anywhere by chance.
    for secret in secrets.chain(rows.filter(|secret| secret.len() > 8)) {
        assert!(!contains(&disk, secret), "{}", String::from_utf8_lossy(secret));
    }
}

#[test]
fn another_passphrase_does_not_open_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wallet.sqlite");
    let open = |text: &str| SealedStore::open(&path, &passphrase(text));
    assert!(matches!(open("horse"), Err(SealedStoreError::NotThere { .. })));
    assert!(!path.exists(), "looking for a wallet makes none");
    sealed(&path).commit(&[put(Kind::Token, b"a", b"1")]).expect("committed");
    for wrong in ["Horse", "hors", "horse "] {
        assert!(matches!(open(wrong), Err(SealedStoreError::WrongPassphrase { .. })), "{wrong}");
    }
    let again = SealedStore::create(&path, &passphrase("horse"), Cost::light());
    assert!(matches!(again, Err(SealedStoreError::Exists { .. })));
    assert_eq!(sealed(&path).load(Kind::Token, b"a"), Ok(Some(b"1".to_vec())));
    // Nor is a database whose key is lost.
    fs::remove_file(path.with_extension("key")).expect("removed");
    let again = SealedStore::create(&path, &passphrase("horse"), Cost::light());
    assert!(matches!(again, Err(SealedStoreError::Exists { .. })));
}

#[test]
fn a_changed_or_moved_row_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wallet.sqlite");
    sealed(&path).commit(&[put(Kind::Token, b"a", b"1"), put(Kind::Token, b"b", b"2")]).expect("committed");
    let change = |sql: &str| {
        let copy = tempfile::tempdir().expect("a folder");
        let to = copy.path().join("wallet.sqlite");
        fs::copy(&path, &to).expect("copied");
        fs::copy(path.with_extension("key"), to.with_extension("key")).expect("copied");
        let database = rusqlite::Connection::open(&to).expect("opened");
        database.execute_batch(sql).expect("changed");
        drop(database);
        sealed(&to).list(Kind::Token)
    };
    assert_eq!(change("SELECT 1").expect("unchanged").len(), 2);
    let corrupt = Err(naulon_durable::StoreError::Corrupt);
    assert_eq!(change("UPDATE row SET sealed = substr(sealed, 2)"), corrupt);
    assert_eq!(change("UPDATE row SET sealed = x''"), corrupt);
    assert_eq!(change("UPDATE row SET sealed = (SELECT sealed FROM row ORDER BY id LIMIT 1)"), corrupt);
    assert_eq!(change("UPDATE row SET look = randomblob(32)"), corrupt);
    let mut store = sealed(&path);
    store.commit(&[put(Kind::Index, b"a", b"1")]).expect("committed");
    drop(store);
    assert_eq!(
        change(&format!("UPDATE row SET kind = {} WHERE kind = {}", Kind::Token as u8, Kind::Index as u8)),
        corrupt
    );
}
