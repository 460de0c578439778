//! The kept corpus and the seeds, once more: what was found once is not found again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use naulon_fuzz::{TARGETS, seeds, target};

fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

#[test]
fn the_corpus_is_quiet() {
    let mut replayed = 0;
    for (name, target) in TARGETS {
        for file in fs::read_dir(corpus(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}")) {
            let path = file.expect("a file").path();
            let bytes = fs::read(&path).expect("reads");
            // The harness's own output names the file if the target panics.
            println!("{}", path.display());
            target(&bytes);
            replayed += 1;
        }
    }
    assert!(replayed > TARGETS.len(), "the corpus is there");
}

#[test]
fn the_seeds_are_quiet_and_every_target_has_one() {
    let seeds = seeds();
    for (name, _, bytes) in &seeds {
        target(name).expect("a target")(bytes);
    }
    let seeded: BTreeSet<&str> = seeds.iter().map(|(name, ..)| *name).collect();
    let unseeded: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).filter(|name| !seeded.contains(name)).collect();
    assert!(unseeded.is_empty(), "{unseeded:?}");
}

#[test]
fn names_are_in_order_and_unlike() {
    assert!(TARGETS.is_sorted_by(|(one, _), (other, _)| one < other));
    let known: BTreeSet<String> = fs::read_dir(corpus(""))
        .expect("the corpus")
        .map(|entry| entry.expect("a folder").file_name().into_string().expect("a name"))
        .collect();
    let wanted: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(known, wanted);
}
