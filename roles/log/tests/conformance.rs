//! What every store of a log promises, tried on each of them.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

use naulon_durable::fault::Faults;
use naulon_log::{Appending, CommitError, Fence, LogStore, MemoryStore, NewDecision, SqliteStore};
use naulon_statement::{Digest, Timestamp};

fn subject(n: u8) -> Digest {
    Digest([n; 32])
}

fn new_decision(n: u8) -> NewDecision {
    NewDecision { subject: subject(n), body: vec![n; 3], entry: [n; 72] }
}

/// A group of these decisions at this place; the hashes only have to come back as they were given.
fn group(fence: Fence, before: u64, subjects: &[u8], first_hash: u64) -> Appending {
    Appending {
        fence,
        before,
        decisions: subjects.iter().map(|n| new_decision(*n)).collect(),
        hashes: (first_hash..).zip(subjects.iter().map(|n| [*n; 32])).collect(),
        checkpoint: format!("checkpoint {}", before + subjects.len() as u64),
        time: Timestamp(100 + before),
    }
}

fn decided(store: &impl LogStore, subjects: &[u8]) -> Vec<Option<(u64, Vec<u8>)>> {
    let subjects: Vec<Digest> = subjects.iter().map(|n| subject(*n)).collect();
    let found = store.decisions(&subjects).unwrap();
    found.into_iter().map(|decision| decision.map(|decision| (decision.index, decision.body))).collect()
}

fn a_new_store_is_empty(mut store: impl LogStore) {
    let state = store.take_over().unwrap();
    assert_eq!((state.size, state.time, state.checkpoint), (0, Timestamp(0), None));
    assert_eq!(decided(&store, &[1]), [None]);
    assert_eq!(store.body(0), Ok(None));
    assert_eq!(store.body(u64::MAX), Ok(None));
    assert!(store.entries(0..1).is_err() && store.hashes(&[0]).is_err());
}

fn a_group_is_there_whole(mut store: impl LogStore) {
    let fence = store.take_over().unwrap().fence;
    store.commit(&group(fence, 0, &[5, 3, 4], 0)).unwrap();
    store.commit(&group(fence, 3, &[2], 3)).unwrap();
    assert_eq!(
        decided(&store, &[3, 9, 2, 5]),
        [Some((1, vec![3; 3])), None, Some((3, vec![2; 3])), Some((0, vec![5; 3]))]
    );
    assert_eq!(store.entries(1..4), Ok(vec![[3; 72], [4; 72], [2; 72]]));
    assert!(store.entries(3..5).is_err());
    assert_eq!(store.hashes(&[3, 0]), Ok(vec![[2; 32], [5; 32]]));
    assert!(store.hashes(&[0, 4]).is_err());
    assert_eq!(store.body(2), Ok(Some(vec![4; 3])));
    let state = store.take_over().unwrap();
    assert_eq!((state.size, state.time), (4, Timestamp(103)));
    assert_eq!(state.checkpoint.as_deref(), Some("checkpoint 4"));
}

fn a_subject_is_decided_once(mut store: impl LogStore) {
    let fence = store.take_over().unwrap().fence;
    store.commit(&group(fence, 0, &[1], 0)).unwrap();
    for subjects in [&[1][..], &[2, 1], &[1, 2], &[2, 2]] {
        assert_eq!(store.commit(&group(fence, 1, subjects, 1)), Err(CommitError::Decided), "{subjects:?}");
    }
    // Nothing of the refused groups is there, and the store takes the next one.
    assert_eq!(decided(&store, &[1, 2]), [Some((0, vec![1; 3])), None]);
    assert!(store.entries(1..2).is_err() && store.hashes(&[1]).is_err());
    assert_eq!(store.body(1), Ok(None));
    store.commit(&group(fence, 1, &[2], 1)).unwrap();
    assert_eq!(store.take_over().unwrap().size, 2);
}

fn an_earlier_writer_is_refused(mut store: impl LogStore) {
    let old = store.take_over().unwrap().fence;
    store.commit(&group(old, 0, &[1], 0)).unwrap();
    let new = store.take_over().unwrap().fence;
    assert!(new > old);
    assert_eq!(store.commit(&group(old, 1, &[2], 1)), Err(CommitError::Fenced));
    assert_eq!(decided(&store, &[2]), [None]);
    store.commit(&group(new, 1, &[2], 1)).unwrap();
    assert_eq!(store.commit(&group(old, 2, &[3], 2)), Err(CommitError::Fenced));
}

fn a_group_at_another_place_is_refused(mut store: impl LogStore) {
    let fence = store.take_over().unwrap().fence;
    store.commit(&group(fence, 0, &[1], 0)).unwrap();
    for before in [0, 2] {
        assert_eq!(store.commit(&group(fence, before, &[2], 1)), Err(CommitError::Fenced), "{before}");
    }
    assert_eq!(store.take_over().unwrap().size, 1);
}

macro_rules! conformance {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $promise() { super::$promise(super::MemoryStore::new(super::Faults::none())); })*
        }
        mod sqlite {
            $(#[test] fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                super::$promise(super::SqliteStore::open(&directory.path().join("log.sqlite")).unwrap());
            })*
        }
    };
}

conformance!(
    a_new_store_is_empty,
    a_group_is_there_whole,
    a_subject_is_decided_once,
    an_earlier_writer_is_refused,
    a_group_at_another_place_is_refused,
);

#[test]
fn a_file_keeps_the_log_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.sqlite");
    let mut store = SqliteStore::open(&path).unwrap();
    let first = store.take_over().unwrap().fence;
    store.commit(&group(first, 0, &[1, 2], 0)).unwrap();
    assert!(SqliteStore::open(&path).is_err(), "one owner at a time");
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    let state = store.take_over().unwrap();
    assert!(state.fence > first);
    assert_eq!((state.size, state.checkpoint.as_deref()), (2, Some("checkpoint 2")));
    assert_eq!(decided(&store, &[2]), [Some((1, vec![2; 3]))]);
}

#[test]
fn clones_of_a_memory_store_are_one_disk() {
    let mut store = MemoryStore::new(Faults::none());
    let mut after_restart = store.clone();
    let fence = store.take_over().unwrap().fence;
    store.commit(&group(fence, 0, &[7], 0)).unwrap();
    drop(store);
    assert_eq!(decided(&after_restart, &[7]), [Some((0, vec![7; 3]))]);
    assert_eq!(after_restart.take_over().unwrap().size, 1);
    assert_eq!(after_restart.faults().writes(), 3);
}
