//! What a directory takes and what it says, over each of its stores.
#![allow(clippy::unwrap_used)] // a test fails by it

use naulon_directory::{ConfigurationError, Directory, DirectoryStore, MemoryStore, Rules, SqliteStore};
use naulon_durable::fault::{Faults, When};
use naulon_onion::{Descriptor, EpochKey, KEM_X25519, Listing, ListingError, Payee};
use naulon_statement::{Duration, PublicKey, SecretKey, Signed, Timestamp, Unverified};
use naulon_wire::{DirectoryCall, DirectoryReply};

const NOW: Timestamp = Timestamp(1_000_000);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// The descriptor of the mix with this seed, from this moment on.
fn descriptor(seed: u8, from: Timestamp) -> Descriptor {
    let until = from.plus(Duration::seconds(3_600));
    Descriptor {
        mix: key(seed).public(),
        name: format!("mix {seed}"),
        address: "127.0.0.1:21021".to_owned(),
        link: key(seed + 100).public(),
        block: 4_096,
        hop_keys: vec![EpochKey { epoch: 1, kem: KEM_X25519, key: [seed; 32], from, until }],
        price: "0.001".parse().unwrap(),
        currency: "EUR".parse().unwrap(),
        payees: vec![Payee { bank: key(50).public(), payee: key(seed + 1).public() }],
        window: 64,
        replies: 3,
        exit: None,
        contract: None,
        from,
        until,
    }
}

fn rules(mixes: &[u8]) -> Rules {
    let mixes = mixes.iter().map(|seed| key(*seed).public()).collect();
    Rules { mixes, parties: vec!["naulon:log:b".to_owned(), "naulon:bank:a".to_owned()], valid: Duration::seconds(600) }
}

fn register(directory: &mut Directory<impl DirectoryStore>, signer: u8, body: Descriptor, now: Timestamp) -> String {
    let signed = Signed::sign(&key(signer), body);
    match directory.handle(DirectoryCall::Register(Unverified::from(&signed)), now) {
        Ok(_) => "ok".to_owned(),
        Err(problem) => problem.code,
    }
}

fn listed(directory: &mut Directory<impl DirectoryStore>, now: Timestamp) -> Unverified<Listing> {
    match directory.handle(DirectoryCall::List, now).unwrap() {
        DirectoryReply::List(list) => *list,
        DirectoryReply::Registered => unreachable!(),
    }
}

fn names(directory: &mut Directory<impl DirectoryStore>, now: Timestamp) -> Vec<PublicKey> {
    let name = directory.key();
    let (_, mixes) = Listing::verify(listed(directory, now), &name, now).unwrap();
    mixes.iter().map(|mix| mix.mix).collect()
}

fn mixes_register_and_everybody_gets_the_same(store: impl DirectoryStore) {
    let mut directory = Directory::new(key(9), rules(&[1, 2]), store).unwrap();
    assert_eq!(register(&mut directory, 1, descriptor(1, NOW), NOW), "ok");
    assert_eq!(register(&mut directory, 2, descriptor(2, NOW), NOW), "ok");
    let mut expected = vec![key(1).public(), key(2).public()];
    expected.sort();
    assert_eq!(names(&mut directory, NOW), expected);
    let first = listed(&mut directory, NOW);
    assert_eq!(listed(&mut directory, Timestamp(NOW.0 + 299_999)).bytes(), first.bytes());
    assert_ne!(listed(&mut directory, Timestamp(NOW.0 + 300_000)).bytes(), first.bytes());
    // A newer descriptor takes the place of the old one, the same one again changes nothing, and one that has run out goes.
    let later = Timestamp(NOW.0 + 1_000);
    assert_eq!(register(&mut directory, 1, descriptor(1, later), later), "ok");
    assert_eq!(register(&mut directory, 1, descriptor(1, later), Timestamp(later.0 + 10)), "ok");
    assert_eq!(register(&mut directory, 1, descriptor(1, NOW), later), "descriptor_old");
    assert_eq!(names(&mut directory, Timestamp(NOW.0 + 3_600_000)), vec![key(1).public()]);
}

fn what_is_kept_is_listed_after_a_restart(mut store: impl DirectoryStore) {
    let signed = Signed::sign(&key(1), descriptor(1, NOW));
    store.keep(&key(1).public(), signed.bytes()).unwrap();
    store.keep(&key(2).public(), b"rubbish").unwrap();
    store.keep(&key(1).public(), signed.bytes()).unwrap();
    assert_eq!(store.all().unwrap().len(), 2);
    let mut directory = Directory::new(key(9), rules(&[1, 2]), store).unwrap();
    assert_eq!(names(&mut directory, NOW), vec![key(1).public()]);
}

fn each_wrong_descriptor_is_refused_by_name(store: impl DirectoryStore) {
    let mut directory = Directory::new(key(9), rules(&[1]), store).unwrap();
    let good = || descriptor(1, NOW);
    let cases: Vec<(&str, u8, Descriptor)> = vec![
        ("mix_not_allowed", 3, descriptor(3, NOW)),
        ("bad_signature", 2, good()), // signed by another than the mix
        ("descriptor_bad", 1, Descriptor { price: "0".parse().unwrap(), ..good() }),
        ("descriptor_bad", 1, Descriptor { hop_keys: vec![], ..good() }),
        ("descriptor_bad", 1, Descriptor { window: 0, ..good() }),
        ("descriptor_bad", 1, Descriptor { address: "a\nb".to_owned(), ..good() }),
        ("descriptor_old", 1, descriptor(1, Timestamp(NOW.0 + 60_001))),
        ("descriptor_old", 1, Descriptor { from: Timestamp(0), until: NOW, ..good() }),
    ];
    for (code, signer, body) in cases {
        assert_eq!(register(&mut directory, signer, body, NOW), code);
    }
    assert!(names(&mut directory, NOW).is_empty());
}

macro_rules! over_each_store {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $promise() { super::$promise(super::MemoryStore::new(super::Faults::none())); })*
        }
        mod sqlite {
            $(#[test] fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                super::$promise(super::SqliteStore::open(&directory.path().join("directory.sqlite")).unwrap());
            })*
        }
    };
}

over_each_store!(
    mixes_register_and_everybody_gets_the_same,
    what_is_kept_is_listed_after_a_restart,
    each_wrong_descriptor_is_refused_by_name
);

#[test]
fn a_crash_lists_nothing_that_is_not_kept() {
    for (when, after) in [(When::Before, 0), (When::After, 1)] {
        let store = MemoryStore::new(Faults::crash_at(1, when));
        let mut directory = Directory::new(key(9), rules(&[1]), store.clone()).unwrap();
        assert_eq!(register(&mut directory, 1, descriptor(1, NOW), NOW), "unavailable");
        assert!(names(&mut directory, NOW).is_empty());
        let mut again = Directory::new(key(9), rules(&[1]), store).unwrap();
        assert_eq!(names(&mut again, NOW).len(), after);
    }
}

#[test]
fn a_list_is_taken_whole_or_not_at_all() {
    let mut directory = Directory::new(key(9), rules(&[1]), MemoryStore::new(Faults::none())).unwrap();
    register(&mut directory, 1, descriptor(1, NOW), NOW);
    let list = listed(&mut directory, NOW);
    let verify = |list: Unverified<Listing>, by: u8, now| Listing::verify(list, &key(by).public(), now).map(drop);
    assert_eq!(verify(list.clone(), 9, NOW), Ok(()));
    assert_eq!(verify(list.clone(), 8, NOW), Err(ListingError::NotSigned));
    assert_eq!(verify(list.clone(), 9, Timestamp(NOW.0 + 600_000)), Err(ListingError::Date));
    // A clock that is a minute behind is good enough.
    assert_eq!(verify(list.clone(), 9, Timestamp(NOW.0 - 60_000)), Ok(()));
    assert_eq!(verify(list.clone(), 9, Timestamp(NOW.0 - 60_001)), Err(ListingError::Date));
    let body = list.claimed_body().clone();
    let signed = |body: Listing| Unverified::from(&Signed::sign(&key(9), body));
    let twice = Listing { mixes: [body.mixes.clone(), body.mixes.clone()].concat(), ..body.clone() };
    assert_eq!(verify(signed(twice), 9, NOW), Err(ListingError::Form));
    // One descriptor that its mix has not signed spoils the list, however good the others are.
    let forged = Unverified::from(&Signed::sign(&key(4), descriptor(2, NOW)));
    let mut mixes = [body.mixes.clone(), vec![forged]].concat();
    mixes.sort_by_key(|mix| mix.claimed_body().mix);
    let forged = Listing { mixes, ..body.clone() };
    assert_eq!(verify(signed(forged), 9, NOW), Err(ListingError::Forged(key(2).public())));
    let other = Listing { directory: key(8).public(), ..body };
    assert_eq!(verify(signed(other), 9, NOW), Err(ListingError::NotSigned));
}

#[test]
fn a_list_that_would_be_too_long_is_not_begun() {
    let long = Rules { parties: vec!["x".repeat(513)], ..rules(&[]) };
    let made = Directory::new(key(9), long, MemoryStore::new(Faults::none()));
    assert_eq!(made.map(drop), Err(ConfigurationError::TooLong));
}
