//! What every store of a witness promises, tried on each of them.
#![allow(clippy::unwrap_used)] // a test fails by it

use naulon_durable::fault::Faults;
use naulon_witness::{MemoryStore, Seen, SqliteStore, Step, StepError, WitnessStore};

fn seen(size: u64, root: u8) -> Seen {
    Seen { size, root: [root; 32], time: 100 + size, note: format!("note {size}") }
}

fn step(origin: &str, from: Option<&Seen>, to: &Seen) -> Step {
    Step { origin: origin.to_owned(), from: from.map(|seen| (seen.size, seen.root)), to: to.clone() }
}

fn a_new_store_has_seen_nothing(store: impl WitnessStore) {
    assert_eq!((store.last("a"), store.all()), (Ok(None), Ok(vec![])));
}

fn a_step_is_there_and_each_log_has_its_own(mut store: impl WitnessStore) {
    let [one, two] = [seen(1, 1), seen(2, 2)];
    store.advance(&step("b", None, &one)).unwrap();
    store.advance(&step("a", None, &two)).unwrap();
    store.advance(&step("b", Some(&one), &two)).unwrap();
    assert_eq!(
        (store.last("a"), store.last("b"), store.last("c")),
        (Ok(Some(two.clone())), Ok(Some(two.clone())), Ok(None))
    );
    assert_eq!(store.all(), Ok(vec![("a".to_owned(), two.clone()), ("b".to_owned(), two)]));
}

fn only_a_step_from_the_last_is_taken(mut store: impl WitnessStore) {
    let [one, two, three] = [seen(1, 1), seen(2, 2), seen(3, 3)];
    assert_eq!(store.advance(&step("a", Some(&one), &two)), Err(StepError::Overtaken), "from what never was");
    store.advance(&step("a", None, &one)).unwrap();
    store.advance(&step("a", Some(&one), &two)).unwrap();
    for from in [None, Some(&one), Some(&three), Some(&seen(2, 9)), Some(&seen(1, 2))] {
        assert_eq!(store.advance(&step("a", from, &three)), Err(StepError::Overtaken), "{from:?}");
    }
    assert_eq!(store.last("a"), Ok(Some(two.clone())));
    let again = Seen { time: 999, ..two.clone() };
    store.advance(&step("a", Some(&two), &again)).unwrap();
    assert_eq!(store.last("a"), Ok(Some(again)), "the same tree at a later time");
}

macro_rules! conformance {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $promise() { super::$promise(super::MemoryStore::new(super::Faults::none())); })*
        }
        mod sqlite {
            $(#[test] fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                super::$promise(super::SqliteStore::open(&directory.path().join("witness.sqlite")).unwrap());
            })*
        }
    };
}

conformance!(
    a_new_store_has_seen_nothing,
    a_step_is_there_and_each_log_has_its_own,
    only_a_step_from_the_last_is_taken
);

#[test]
fn a_file_keeps_what_was_seen_and_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("witness.sqlite");
    let mut store = SqliteStore::open(&path).unwrap();
    store.advance(&step("a", None, &seen(7, 7))).unwrap();
    assert!(SqliteStore::open(&path).is_err());
    drop(store);
    assert_eq!(SqliteStore::open(&path).unwrap().last("a"), Ok(Some(seen(7, 7))));
}
