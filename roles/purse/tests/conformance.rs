//! What every store of a purse promises, tried on each of them.

use naulon_durable::fault::Faults;
use naulon_money::Amount;
use naulon_purse::{Load, Made, MemoryStore, PurseStore, SpendError, SqliteStore};
use naulon_statement::{Digest, PublicKey, Timestamp};

const BRAND: Digest = Digest([1; 32]);

fn micros(micros: u64) -> Amount {
    Amount::from_micros(micros)
}

fn load(number: u8, amount: u64) -> Load {
    Load { number: [number; 16], brand: BRAND, amount: micros(amount), is_done: false }
}

fn made(index: u32, wish: u8) -> Made {
    Made {
        index,
        wish: [wish; 16],
        brand: BRAND,
        total: micros(10),
        payee: PublicKey([4; 32]),
        value: micros(2),
        length: 5,
        expiry: Timestamp(77),
    }
}

fn loaded(store: &mut impl PurseStore, amount: u64) {
    store.ask(&load(1, amount)).expect("asked");
    store.credit(&[1; 16]).expect("credited");
}

fn a_new_store_is_empty(store: impl PurseStore) {
    assert!(store.balances().expect("read").is_empty());
    assert_eq!(store.made_count(), Ok(0));
    assert_eq!(store.load(&[1; 16]), Ok(None));
    assert!(store.made(&[1; 16]).expect("read").is_none());
}

fn a_load_is_credited_once(mut store: impl PurseStore) {
    store.credit(&[1; 16]).expect("nothing to credit");
    assert!(store.balances().expect("read").is_empty());
    store.ask(&load(1, 30)).expect("asked");
    // Asked again under the same number it stays what it was.
    store.ask(&load(1, 90)).expect("asked");
    assert_eq!(store.load(&[1; 16]), Ok(Some(load(1, 30))));
    for _ in 0..3 {
        store.credit(&[1; 16]).expect("credited");
    }
    store.ask(&load(1, 30)).expect("asked");
    store.credit(&[1; 16]).expect("credited");
    assert_eq!(store.balances().expect("read").get(&BRAND), Some(&micros(30)));
    assert_eq!(store.load(&[1; 16]), Ok(Some(Load { is_done: true, ..load(1, 30) })));
    store.ask(&load(2, 5)).expect("asked");
    store.credit(&[2; 16]).expect("credited");
    assert_eq!(store.balances().expect("read").get(&BRAND), Some(&micros(35)));
}

fn a_check_costs_its_total_and_never_more_than_there_is(mut store: impl PurseStore) {
    loaded(&mut store, 25);
    assert_eq!(store.spend(&made(1, 1)), Err(SpendError::Taken), "not the next place");
    assert_eq!(store.spend(&made(0, 1)), Ok(()));
    assert_eq!(store.spend(&made(0, 2)), Err(SpendError::Taken));
    assert_eq!(store.spend(&made(1, 1)), Err(SpendError::Taken), "the same wish");
    let other = Made { brand: Digest([9; 32]), ..made(1, 2) };
    assert_eq!(store.spend(&other), Err(SpendError::Balance), "another brand's balance");
    assert_eq!(store.spend(&made(1, 2)), Ok(()));
    assert_eq!(store.spend(&made(2, 3)), Err(SpendError::Balance));
    assert_eq!(store.balances().expect("read").get(&BRAND), Some(&micros(5)));
    // What was refused has left nothing.
    assert_eq!(store.made_count(), Ok(2));
    assert!(store.made(&[3; 16]).expect("read").is_none());
    let all = store.made_from(0, 9).expect("read");
    assert!(all == [made(0, 1), made(1, 2)] && store.made_from(1, 9).expect("read") == [made(1, 2)]);
    assert!(store.made_from(0, 1).expect("read") == [made(0, 1)]);
    assert!(store.made(&[2; 16]).expect("read") == Some(made(1, 2)));
}

macro_rules! conformance {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $promise() { super::$promise(super::MemoryStore::new(super::Faults::none())); })*
        }
        mod sqlite {
            $(#[test] fn $promise() {
                let directory = tempfile::tempdir().expect("a folder");
                super::$promise(super::SqliteStore::open(&directory.path().join("purse.sqlite")).expect("opens"));
            })*
        }
    };
}

conformance!(a_new_store_is_empty, a_load_is_credited_once, a_check_costs_its_total_and_never_more_than_there_is);

#[test]
fn a_folder_has_one_purse_process_and_keeps_what_was_written() {
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path().join("purse.sqlite");
    let mut store = SqliteStore::open(&path).expect("opens");
    loaded(&mut store, 25);
    store.spend(&made(0, 1)).expect("spent");
    assert!(SqliteStore::open(&path).is_err(), "a second process on the folder");
    drop(store);
    let store = SqliteStore::open(&path).expect("opens again");
    assert_eq!((store.balances().expect("read").get(&BRAND), store.made_count()), (Some(&micros(15)), Ok(1)));
}
