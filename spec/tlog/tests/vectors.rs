//! The published vectors under `vectors/tlog/`, which other implementations can read, too.

use naulon_tlog::*;
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = format!("{}/../../vectors/tlog/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().expect("an array").iter()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().expect("a number")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("a string")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a string")).expect("hex")
}

fn hash(value: &Value) -> Hash {
    bytes(value).try_into().expect("32 bytes")
}

#[test]
fn certificate_transparency_roots_and_proofs() {
    let vectors = vectors("merkle.json");
    let leaves: Vec<Hash> = list(&vectors, "entries").map(|entry| leaf_hash(&bytes(entry))).collect();
    let roots: Vec<Hash> = list(&vectors, "roots").map(hash).collect();
    let mut store = Vec::new();
    let mut tree = Tree::default();
    assert_eq!((tree.root(), empty_root()), (roots[0], roots[0]));
    for (leaf, root) in leaves.iter().zip(&roots[1..]) {
        store.extend(tree.append(&[*leaf]).into_iter().map(|(_, hash)| hash));
        assert_eq!(tree.root(), *root);
    }
    for case in list(&vectors, "inclusion") {
        let (index, size) = (number(case, "index"), number(case, "size"));
        let path: Vec<Hash> = list(case, "path").map(hash).collect();
        assert_eq!(inclusion_proof(size, index, &store).as_ref(), Ok(&path), "{case}");
        let (leaf, root) = (leaves[index as usize], roots[size as usize]);
        assert_eq!(verify_inclusion(&leaf, index, size, &root, &path), Ok(()), "{case}");
    }
    for case in list(&vectors, "consistency") {
        let (old, new) = (number(case, "old"), number(case, "new"));
        let proof: Vec<Hash> = list(case, "proof").map(hash).collect();
        assert_eq!(consistency_proof(old, new, &store).as_ref(), Ok(&proof), "{case}");
        let (old_root, new_root) = (roots[old as usize], roots[new as usize]);
        assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()), "{case}");
    }
}

#[test]
fn published_checkpoints() {
    for case in list(&vectors("checkpoints.json"), "checkpoints") {
        let (vkey, origin, note) = (text(case, "vkey"), text(case, "origin"), text(case, "note"));
        let verifier: CheckpointVerifier = vkey.parse().expect("a vkey");
        assert_eq!(verifier.to_string(), vkey);
        assert_eq!(verifier.open(note), Err(CheckpointError::OtherOrigin), "the origin is not the key's name");
        let verifier = verifier.with_origin(origin).expect("an origin");
        let want = Checkpoint { origin: origin.into(), size: number(case, "size"), root: hash(&case["root"]) };
        assert_eq!(verifier.open(note), Ok(want), "{}", case["name"]);
        assert_eq!(
            verifier.open(&note.replacen(&case["size"].to_string(), "1", 1)),
            Err(CheckpointError::BadSignature)
        );
    }
}

/// Bank, log and judge must never disagree on a signature, so exactly the strict ones pass.
#[test]
fn ed25519_is_strict() {
    let vectors = &vectors("checkpoints.json")["ed25519"];
    let verifier: CheckpointVerifier = text(vectors, "vkey").parse().expect("a vkey");
    let checkpoint = verifier.open(text(vectors, "good")).expect("a good signature");
    let signer = CheckpointSigner::new(verifier.origin(), &[7; 32]).expect("a signer");
    assert_eq!(signer.sign(&checkpoint).as_ref().map(SignedCheckpoint::as_str), Ok(text(vectors, "good")));
    for case in list(vectors, "bad") {
        assert_eq!(verifier.open(text(case, "note")), Err(CheckpointError::BadSignature), "{}", case["name"]);
    }
}

#[test]
fn tile_paths() {
    let vectors = vectors("tile-paths.json");
    for case in list(&vectors, "good") {
        let kind = match case["level"].as_u64() {
            Some(level) => TileKind::Hashes { level: level as u8 },
            None => TileKind::Entries,
        };
        let tile = TilePath::new(kind, number(case, "index"), number(case, "width") as usize).expect("a tile");
        assert_eq!(tile.to_string(), text(case, "path"));
        assert_eq!(text(case, "path").parse(), Ok(tile));
    }
    for path in list(&vectors, "bad").map(|path| path.as_str().expect("a string")) {
        assert!(path.parse::<TilePath>().is_err(), "{path:?} must be refused");
    }
}
