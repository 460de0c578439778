//! What a watcher reads: checkpoints, tiles, entries and bodies, checked with the pure verifiers alone.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

mod world;

use naulon_durable::fault::Faults;
use naulon_exchange::{LogDecision, LogIdentity, Outcome};
use naulon_log::{Log, LogStore, MemoryStore, SqliteStore};
use naulon_purchase::log::authenticate_commit;
use naulon_statement::{Digest, Unverified};
use naulon_tlog::{
    Checkpoint, Hash, TILE_WIDTH, TileKind, TilePath, Tree, consistency_proof, decode_bundle, inclusion_proof,
    leaf_hash, verify_consistency, verify_inclusion,
};
use naulon_wire::{LogCall, LogReply};
use world::*;

fn checkpoint<S: LogStore>(log: &mut Log<S>) -> Checkpoint {
    let note = public(log, "/checkpoint").unwrap();
    log.identity().checkpoints.open(std::str::from_utf8(&note).unwrap()).unwrap()
}

/// Commits the purchases of these numbers in one group.
fn commit_all<S: LogStore>(log: &mut Log<S>, numbers: std::ops::Range<u64>) {
    let request = |number| match Purchase::new(number, EXPIRY).commit() {
        LogCall::Commit { header, authorization } => authenticate_commit(&rules(), header, authorization).unwrap(),
        _ => panic!("not a commit"),
    };
    let answers = log.handle_batch(numbers.map(request).collect(), BEFORE);
    assert!(answers.iter().all(Result::is_ok));
}

/// All entries, by the bundles that a log of this size serves.
fn entries<S: LogStore>(log: &mut Log<S>, size: u64) -> Vec<Vec<u8>> {
    let width = TILE_WIDTH as u64;
    let mut entries = Vec::new();
    for bundle in 0..size.div_ceil(width) {
        let count = (size - bundle * width).min(width);
        let path = TilePath::new(TileKind::Entries, bundle, count as usize).unwrap();
        let bytes = public(log, &format!("/{path}")).unwrap();
        entries.extend(decode_bundle(&bytes).unwrap().into_iter().map(<[u8]>::to_vec));
    }
    entries
}

fn watch<S: LogStore>(mut log: Log<S>) {
    let identity = log.identity();
    let mut seen = vec![checkpoint(&mut log)];
    for numbers in [0..1, 1..8, 8..255, 255..256, 256..700] {
        commit_all(&mut log, numbers);
        seen.push(checkpoint(&mut log));
    }
    let newest = seen.last().unwrap().clone();
    assert_eq!(newest.size, 700);

    // The watcher makes the tree itself out of the entries, and finds the signed roots again.
    let leaves: Vec<Hash> = entries(&mut log, 700).iter().map(|entry| leaf_hash(entry)).collect();
    let mut tree = Tree::default();
    let hashes: Vec<Hash> = tree.append(&leaves).into_iter().map(|(_, hash)| hash).collect();
    assert_eq!((tree.size(), tree.root()), (newest.size, newest.root));
    for pair in seen.windows(2) {
        let proof = consistency_proof(pair[0].size, pair[1].size, &hashes).unwrap();
        verify_consistency(pair[0].size, &pair[0].root, pair[1].size, &pair[1].root, &proof).unwrap();
    }
    for (index, leaf) in (0..).zip(&leaves) {
        let path = inclusion_proof(700, index, &hashes).unwrap();
        verify_inclusion(leaf, index, 700, &newest.root, &path).unwrap();
    }
    check_tiles(&mut log, &leaves);
    check_bodies(&mut log, &identity);
}

/// The hash tiles are those of the leaves: two full ones, a partial one, and one of the level above.
fn check_tiles<S: LogStore>(log: &mut Log<S>, leaves: &[Hash]) {
    for (path, range) in [("/tile/0/000", 0..256), ("/tile/0/001", 256..512), ("/tile/0/002.p/188", 512..700)] {
        assert_eq!(public(log, path).unwrap(), leaves[range].concat(), "{path}");
    }
    let subtree = |leaves: &[Hash]| {
        let mut tree = Tree::default();
        tree.append(leaves);
        tree.root()
    };
    let above = [subtree(&leaves[..256]), subtree(&leaves[256..512])].concat();
    assert_eq!(public(log, "/tile/1/000.p/2").unwrap(), above);
    for missing in ["/tile/0/002", "/tile/0/002.p/189", "/tile/1/000.p/3", "/tile/entries/003.p/1", "/tile/9/000"] {
        assert_eq!(code(public(log, missing)), "not_found", "{missing}");
    }
}

/// Each body is signed by the log, its digest stands in its entry, and it names neither n nor M.
fn check_bodies<S: LogStore>(log: &mut Log<S>, identity: &LogIdentity) {
    let entries = entries(log, 700);
    for (index, entry) in entries.iter().enumerate() {
        let body = public(log, &format!("/body/{index}")).unwrap();
        assert_eq!(Digest::of(&[&body]).as_bytes(), &entry[40..]);
        let decision = Unverified::<LogDecision>::parse(&body).unwrap().verify(&identity.key).unwrap();
        assert_eq!(decision.entry(&body), entry.as_slice());
        let purchase = Purchase::new(index as u64, EXPIRY);
        assert_eq!(decision.key(), Some(&purchase.k));
        let contains = |secret: &[u8]| body.windows(secret.len()).any(|window| window == secret);
        assert!(!contains(&purchase.header.n) && !contains(purchase.header.merchant.as_bytes()));
        assert!(contains(purchase.header.a.as_bytes()), "the search finds what is there");
    }
    assert_eq!(code(public(log, "/body/700")), "not_found");
    assert_eq!(code(public(log, "/body/00")), "not_found");
}

#[test]
fn a_watcher_finds_the_signed_tree_again_in_memory() {
    watch(open(MemoryStore::new(Faults::none())).unwrap());
}

#[test]
fn a_watcher_finds_the_signed_tree_again_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    watch(open(SqliteStore::open(&directory.path().join("log.sqlite")).unwrap()).unwrap());
}

/// Decisions that were proven in a small tree are proven again in each larger one, and after a restart.
#[test]
fn old_decisions_are_proven_in_every_later_tree() {
    let store = MemoryStore::new(Faults::none());
    for round in 0..20 {
        let mut log = open(store.clone()).unwrap();
        let identity = log.identity();
        commit_all(&mut log, round * 7..round * 7 + 7);
        for number in 0..round * 7 + 7 {
            let reply = log.handle(Purchase::new(number, EXPIRY).ask(), EXPIRY).unwrap();
            let proven = proven(reply, &identity);
            assert_eq!((proven.inclusion().index, proven.inclusion().size), (number, round * 7 + 7));
        }
    }
}

#[test]
fn the_description_is_what_clients_need() {
    let mut log = open(MemoryStore::new(Faults::none())).unwrap();
    let LogReply::Description(description) = log.handle(LogCall::Describe, BEFORE).unwrap() else { panic!() };
    assert_eq!(description.log, log.identity().key);
    assert_eq!(description.checkpoints.parse(), Ok(log.identity().checkpoints));
    assert_eq!(description.banks, [bank().public()]);
    assert_eq!(description.retention_ms, RETENTION.0);
}

/// docs/spec/log.md says how an outcome is written.
#[test]
fn outcomes_are_written_as_specified() {
    let encoded = |outcome| naulon_statement::cbor::to_vec(&outcome);
    assert_eq!(encoded(Outcome::Abort), [0x82, 1, 0x80]);
    assert_eq!(encoded(Outcome::Commit { k: [7; 32] }), [&[0x82, 0, 0x81, 0x58, 32][..], &[7; 32]].concat());
}
