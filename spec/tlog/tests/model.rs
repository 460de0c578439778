//! The tree and its proofs against RFC 6962 §2.1 written down naively, and what must not pass for a proof.

use naulon_tlog::*;
use proptest::prelude::*;

/// MTH(D) of RFC 6962 §2.1, over leaf hashes.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// PATH(m, D) of §2.1.1.
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return vec![];
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut below, sibling) =
        if m < left.len() { (path(m, left), root(right)) } else { (path(m - left.len(), right), root(left)) };
    below.push(sibling);
    below
}

/// SUBPROOF(m, D, b) of §2.1.2.
fn subproof(m: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if known { vec![] } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut below, sibling) = if m <= left.len() {
        (subproof(m, left, known), root(right))
    } else {
        (subproof(m - left.len(), right, false), root(left))
    };
    below.push(sibling);
    below
}

/// The largest power of two below n.
fn split(n: usize) -> usize {
    (1..).map(|i| 1 << i).find(|k| *k >= n).expect("a power") / 2
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count as u64).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

/// The stored hashes of a tree, appended leaf by leaf.
fn stored(leaves: &[Hash]) -> Vec<Hash> {
    Tree::default().append(leaves).into_iter().map(|(_, hash)| hash).collect()
}

fn flip(hash: &Hash, bit: usize) -> Hash {
    let mut flipped = *hash;
    flipped[bit / 8 % 32] ^= 1 << (bit % 8);
    flipped
}

#[test]
fn every_proof_of_every_small_tree() {
    let leaves = leaves(70);
    let store = stored(&leaves);
    for size in 0..=leaves.len() {
        let (all, n) = (&leaves[..size], size as u64);
        let tree = Tree::open(n, &store).expect("a tree");
        assert_eq!((tree.size(), tree.root()), (n, root(all)));
        assert_eq!(stored_count(n), stored(all).len() as u64);
        for (index, leaf) in all.iter().enumerate() {
            let proof = inclusion_proof(n, index as u64, &store).expect("a proof");
            assert_eq!(proof, path(index, all));
            assert_eq!(verify_inclusion(leaf, index as u64, n, &root(all), &proof), Ok(()));
        }
        for old in 0..=size {
            let proof = consistency_proof(old as u64, n, &store).expect("a proof");
            assert_eq!(proof, if old == 0 { vec![] } else { subproof(old, all, true) });
            assert_eq!(verify_consistency(old as u64, &root(&all[..old]), n, &root(all), &proof), Ok(()));
            if old == 0 {
                assert!(prefix_proof(0, n, &store).is_err());
                continue;
            }
            let mut proof = prefix_proof(old as u64, n, &store).expect("a proof");
            assert_eq!(prefix_root(old as u64, n, &root(all), &proof), Ok(root(&all[..old])));
            assert_eq!(prefix_root(old as u64, n, &empty_root(), &proof), Err(ProofError::Root));
            proof[0] = flip(&proof[0], old);
            assert_eq!(prefix_root(old as u64, n, &root(all), &proof), Err(ProofError::Root));
            proof.pop();
            assert!(prefix_root(old as u64, n, &root(all), &proof).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn larger_trees(size in 1_usize..600, at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>()) {
        let (leaves, n) = (leaves(size), size as u64);
        let store = stored(&leaves);
        let (at, old) = (at.index(size), old.index(size + 1));
        let root_new = root(&leaves);
        prop_assert_eq!(Tree::open(n, &store).expect("a tree").root(), root_new);

        let proof = inclusion_proof(n, at as u64, &store).expect("a proof");
        prop_assert_eq!(&proof, &path(at, &leaves));
        prop_assert_eq!(verify_inclusion(&leaves[at], at as u64, n, &root_new, &proof), Ok(()));

        let proof = consistency_proof(old as u64, n, &store).expect("a proof");
        prop_assert_eq!(&proof, &if old == 0 { vec![] } else { subproof(old, &leaves, true) });
        prop_assert_eq!(verify_consistency(old as u64, &root(&leaves[..old]), n, &root_new, &proof), Ok(()));
    }

    #[test]
    fn batches_give_what_one_append_gives(batches in prop::collection::vec(0_usize..80, 0..12)) {
        let leaves = leaves(batches.iter().sum());
        let (mut tree, mut store, mut done) = (Tree::default(), Vec::new(), 0);
        for batch in batches {
            let before = tree.clone();
            let hashes = tree.append(&leaves[done..done + batch]);
            let first = store.len() as u64;
            prop_assert!(hashes.iter().map(|(place, _)| *place).eq(first..first + hashes.len() as u64));
            // A log proves its batch before the batch is written, out of what it has in memory.
            let fresh = Appended { before: &before, hashes: &hashes };
            let (new, root_new) = (tree.size(), tree.root());
            for (index, leaf) in (done as u64..).zip(&leaves[done..done + batch]) {
                let proof = inclusion_proof(new, index, &fresh).expect("a proof without the store");
                prop_assert_eq!(verify_inclusion(leaf, index, new, &root_new, &proof), Ok(()));
            }
            let proof = consistency_proof(before.size(), new, &fresh).expect("a proof without the store");
            prop_assert_eq!(verify_consistency(before.size(), &before.root(), new, &root_new, &proof), Ok(()));

            store.extend(hashes.into_iter().map(|(_, hash)| hash));
            done += batch;
            prop_assert_eq!(root_new, root(&leaves[..done]));
            prop_assert_eq!(&tree, &Tree::open(new, &store).expect("a tree"));
        }
        prop_assert_eq!(store, stored(&leaves));
    }

    #[test]
    fn mutated_inclusion_proofs_are_refused(
        size in 1_usize..600, at in any::<prop::sample::Index>(), bit in any::<usize>(), other in 0_usize..600,
    ) {
        let (leaves, n) = (leaves(600), size as u64);
        let (at, root_here) = (at.index(size), root(&leaves[..size]));
        let (leaf, index) = (&leaves[at], at as u64);
        let proof = path(at, &leaves[..size]);
        let refused = |leaf: &Hash, index, size, root: &Hash, proof: &[Hash]| {
            verify_inclusion(leaf, index, size, root, proof).is_err()
        };

        prop_assert!(refused(&flip(leaf, bit), index, n, &root_here, &proof), "another leaf");
        prop_assert!(refused(leaf, index, n, &flip(&root_here, bit), &proof), "another root");
        for other in (0..n + 2).filter(|other| *other != index) {
            prop_assert!(refused(leaf, other, n, &root_here, &proof), "another index {}", other);
        }
        if other != size {
            prop_assert!(refused(leaf, index, other as u64, &root(&leaves[..other]), &proof), "another tree");
        }
        for other in [0, index, u64::MAX] {
            prop_assert!(refused(leaf, index, other, &root_here, &proof), "an absurd size");
        }
        for i in 0..proof.len() {
            let mut bad = proof.clone();
            bad[i] = flip(&bad[i], bit);
            prop_assert!(refused(leaf, index, n, &root_here, &bad), "a flipped bit in {}", i);
            bad.remove(i);
            let length = Err(ProofError::Length { want: proof.len(), got: bad.len() });
            prop_assert_eq!(verify_inclusion(leaf, index, n, &root_here, &bad), length, "without {}", i);
        }
        for i in 0..=proof.len() {
            for more in [*leaf, root_here, empty_root()] {
                let mut bad = proof.clone();
                bad.insert(i, more);
                let length = Err(ProofError::Length { want: proof.len(), got: bad.len() });
                prop_assert_eq!(verify_inclusion(leaf, index, n, &root_here, &bad), length, "more at {}", i);
            }
        }
        prop_assert!(refused(leaf, index, n, &root_here, &[*leaf; 100]));
    }

    #[test]
    fn mutated_consistency_proofs_are_refused(
        new in 2_usize..600, old in any::<prop::sample::Index>(), bit in any::<usize>(), other in 0_usize..600,
    ) {
        let leaves = leaves(600);
        let old = 1 + old.index(new - 1);
        let (old_root, new_root) = (root(&leaves[..old]), root(&leaves[..new]));
        let proof = subproof(old, &leaves[..new], true);
        let refused = |old: usize, old_root: &Hash, new: usize, new_root: &Hash, proof: &[Hash]| {
            verify_consistency(old as u64, old_root, new as u64, new_root, proof).is_err()
        };

        prop_assert!(refused(old, &flip(&old_root, bit), new, &new_root, &proof), "another old root");
        prop_assert!(refused(old, &old_root, new, &flip(&new_root, bit), &proof), "another new root");
        prop_assert!(refused(new, &new_root, old, &old_root, &proof), "backwards");
        prop_assert!(refused(old, &new_root, new, &old_root, &proof), "swapped");
        prop_assert!(refused(old, &old_root, new, &new_root, &[]), "empty");
        prop_assert!(refused(0, &old_root, new, &new_root, &[]), "an empty tree with that root");
        if other != old {
            prop_assert!(refused(other, &root(&leaves[..other]), new, &new_root, &proof), "another old tree");
        }
        if other != new {
            prop_assert!(refused(old, &old_root, other, &root(&leaves[..other]), &proof), "another new tree");
        }
        for i in 0..proof.len() {
            let mut bad = proof.clone();
            bad[i] = flip(&bad[i], bit);
            prop_assert!(refused(old, &old_root, new, &new_root, &bad), "a flipped bit in {}", i);
            bad.remove(i);
            prop_assert!(refused(old, &old_root, new, &new_root, &bad), "without {}", i);
        }
        for i in 0..=proof.len() {
            for more in [old_root, new_root, empty_root()] {
                let mut bad = proof.clone();
                bad.insert(i, more);
                let result = verify_consistency(old as u64, &old_root, new as u64, &new_root, &bad);
                prop_assert!(matches!(result, Err(ProofError::Length { .. })), "more at {}: {:?}", i, result);
            }
        }
        let mut rewritten = leaves[..new].to_vec();
        rewritten[old - 1] = flip(&rewritten[old - 1], bit);
        let honest_for_rewritten = subproof(old, &rewritten, true);
        prop_assert!(refused(old, &old_root, new, &root(&rewritten), &honest_for_rewritten), "a rewritten entry");
    }

    #[test]
    fn verifiers_take_any_numbers(
        a in any::<u64>(), b in any::<u64>(), shift in 0_u32..64, proof in prop::collection::vec(any::<Hash>(), 0..70),
    ) {
        let (a, b) = (a >> shift, b >> shift);
        let root = empty_root();
        prop_assert!(verify_inclusion(&root, a, b, &root, &proof).is_err());
        prop_assert!(a == 0 || a == b || verify_consistency(a, &root, b, &root, &proof).is_err());
        prop_assert!(verify_inclusion(&root, u64::MAX - 1, u64::MAX, &root, &proof).is_err());
        prop_assert!(verify_consistency(u64::MAX - 1, &root, u64::MAX, &root, &proof).is_err());
        prop_assert!(verify_consistency(1 << 63, &root, u64::MAX, &root, &proof).is_err());
    }
}

#[test]
fn empty_trees() {
    let (empty, leaf) = (empty_root(), leaf_hash(b"leaf"));
    assert_eq!(verify_consistency(0, &empty, 0, &empty, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &empty, 1, &leaf, &[]), Ok(()));
    assert_eq!(verify_consistency(1, &leaf, 1, &empty, &[]), Err(ProofError::Root), "two roots of one size");
    assert_eq!(verify_consistency(1, &leaf, 1, &leaf, &[leaf]), Err(ProofError::Length { want: 0, got: 1 }));
    assert_eq!(verify_consistency(0, &leaf, 0, &leaf, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(0, &leaf, 1, &leaf, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(0, &empty, 1, &leaf, &[leaf]), Err(ProofError::Length { want: 0, got: 1 }));
    assert_eq!(verify_inclusion(&leaf, 0, 0, &empty, &[]), Err(ProofError::NoSuchLeaf { index: 0, size: 0 }));
    let nothing = Vec::<Hash>::new();
    assert_eq!(Tree::open(0, &nothing), Ok(Tree::default()));
    assert_eq!(Tree::default().append(&[]), vec![]);
}

#[test]
fn the_longest_proof() {
    let (leaf, path) = (leaf_hash(b"leaf"), [leaf_hash(b"sibling"); MAX_PROOF_LEN]);
    let first = path.iter().fold(leaf, |node, sibling| node_hash(&node, sibling));
    assert_eq!(verify_inclusion(&leaf, 0, u64::MAX, &first, &path), Ok(()));
    assert_eq!(verify_consistency(1, &leaf, u64::MAX, &first, &path), Ok(()));
    let longer = [path[0]; MAX_PROOF_LEN + 1];
    assert_eq!(verify_inclusion(&leaf, 0, u64::MAX, &first, &longer), Err(ProofError::Length { want: 64, got: 65 }));
}

#[test]
fn stores_that_fail() {
    struct Short;
    impl HashStore for Short {
        type Error = MissingHash;
        fn read(&self, indices: &[u64]) -> Result<Vec<Hash>, MissingHash> {
            Ok(vec![[0; 32]; indices.len() - 1])
        }
    }
    let short = ReadError::WrongCount { asked: 2, got: 1 };
    assert_eq!(Tree::open(3, &Short), Err(OpenError::Read(short.clone())));
    assert_eq!(inclusion_proof(4, 0, &Short), Err(ProveError::Read(short)));

    // Hashes of another append than the one after `before`.
    let (before, hashes) = (Tree::default(), Tree::open(1, &vec![[0; 32]]).expect("a tree").append(&leaves(2)));
    let mixed_up = Appended { before: &before, hashes: &hashes };
    assert!(matches!(inclusion_proof(2, 0, &mixed_up), Err(ProveError::Read(ReadError::Store(MissingHash(_))))));

    let store = stored(&leaves(4));
    assert_eq!(Tree::open(5, &store), Err(OpenError::Read(ReadError::Store(MissingHash(7)))));
    assert_eq!(inclusion_proof(4, 4, &store), Err(ProveError::NoSuchLeaf { index: 4, size: 4 }));
    assert_eq!(consistency_proof(4, 3, &store), Err(ProveError::Backwards { old: 4, new: 3 }));
    let huge = MAX_TREE_SIZE + 1;
    assert_eq!(Tree::open(huge, &store), Err(OpenError::TooLarge(huge)));
    assert_eq!(inclusion_proof(huge, 0, &store), Err(ProveError::TooLarge(huge)));
    assert_eq!(consistency_proof(0, u64::MAX, &store), Err(ProveError::TooLarge(u64::MAX)));
}

#[test]
fn inclusion_proofs_travel_as_cbor() {
    let leaves = leaves(5);
    let proof = InclusionProof { index: 2, size: 5, path: path(2, &leaves) };
    let checkpoint = |size| Checkpoint { origin: "log.example".into(), size, root: root(&leaves) };
    assert_eq!(proof.verify(&leaves[2], &checkpoint(5)), Ok(()));
    assert_eq!(proof.verify(&leaves[2], &checkpoint(6)), Err(ProofError::OtherTree { proof: 5, checkpoint: 6 }));

    let bytes = minicbor::to_vec(&proof).expect("bytes");
    assert_eq!(hex::encode(&bytes[..9]), "a301020205038358 20".replace(' ', ""));
    assert_eq!(minicbor::decode::<InclusionProof>(&bytes).expect("the proof"), proof);
    let decodes = |bytes: &[u8]| minicbor::decode::<InclusionProof>(bytes).is_ok();
    assert!((0..bytes.len()).all(|end| !decodes(&bytes[..end])), "cut off");

    let longest = InclusionProof { path: vec![[1; 32]; MAX_PROOF_LEN], ..proof.clone() };
    assert!(decodes(&minicbor::to_vec(&longest).expect("bytes")));
    let too_long = InclusionProof { path: vec![[1; 32]; MAX_PROOF_LEN + 1], ..proof };
    assert!(!decodes(&minicbor::to_vec(&too_long).expect("bytes")));
    assert!(!decodes(&hex::decode("a3010202050381420000").expect("hex")), "a hash of two bytes");
    assert!(!decodes(&hex::decode("a30102020503 9f ff".replace(' ', "")).expect("hex")), "of unknown length");
    assert!(!decodes(&hex::decode("a301020205039bffffffffffffffff").expect("hex")), "of absurd length");
}
