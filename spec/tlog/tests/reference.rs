//! Against `tlog_tiles`, Cloudflare's port of Go's `sumdb/tlog`: the same places, roots and proofs.

use std::cell::RefCell;

use naulon_tlog::*;
use tlog_tiles::{Error, HashReader};

struct Reference(RefCell<Vec<tlog_tiles::Hash>>);

impl HashReader for Reference {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, Error> {
        Ok(indexes.iter().map(|i| self.0.borrow()[*i as usize]).collect())
    }
}

fn raw(hashes: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|hash| hash.0).collect()
}

#[test]
fn the_reference_stores_and_proves_the_same() {
    let reference = Reference(RefCell::default());
    let (mut tree, mut store) = (Tree::default(), Vec::new());
    for n in 0..300_u64 {
        let entry = n.to_be_bytes();
        let theirs = tlog_tiles::stored_hashes(n, &entry, &reference).expect("the reference");
        let ours = tree.append(&[leaf_hash(&entry)]);
        let first = tlog_tiles::stored_hash_index(0, n);
        assert!(ours.iter().copied().eq((first..).zip(raw(theirs.clone()))));
        reference.0.borrow_mut().extend(theirs);
        store.extend(ours.into_iter().map(|(_, hash)| hash));
        assert_eq!(stored_count(n + 1), tlog_tiles::stored_hash_count(n + 1));
        assert_eq!(tree.root(), tlog_tiles::tree_hash(n + 1, &reference).expect("the reference").0);
    }
    for size in [1, 2, 7, 64, 100, 255, 256, 257, 300] {
        for n in 0..size {
            let theirs = raw(tlog_tiles::prove_record(size, n, &reference).expect("the reference"));
            assert_eq!(inclusion_proof(size, n, &store), Ok(theirs));
            let theirs = raw(tlog_tiles::prove_tree(size, n + 1, &reference).expect("the reference"));
            assert_eq!(consistency_proof(n + 1, size, &store), Ok(theirs));
        }
    }
}

#[test]
fn the_reference_opens_our_checkpoints() {
    let signer = CheckpointSigner::new("log.example/fares", &[7; 32]).expect("a signer");
    let checkpoint = Checkpoint { origin: "log.example/fares".into(), size: 5, root: leaf_hash(b"root") };
    let note = signer.sign(&checkpoint).expect("a note");
    let verifier = signed_note::StandardVerifier::new(&signer.verifier().to_string()).expect("our vkey");
    let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let note = signed_note::Note::from_bytes(note.as_str().as_bytes()).expect("a note");
    let (verified, unverified) = note.verify(&known).expect("signed");
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    let theirs = tlog_tiles::Checkpoint::from_bytes(note.text()).expect("a checkpoint");
    assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), ("log.example/fares", 5, checkpoint.root));
}
