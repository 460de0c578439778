//! A witness and the logs that ask it, honest or not.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

use naulon_durable::fault::{Faults, When};
use naulon_statement::Timestamp;
use naulon_tlog::*;
use naulon_wire::serve::{listen, serve};
use naulon_wire::{Circuit, Clients, WitnessCall, WitnessReply};
use naulon_witness::{ConfigurationError, MemoryStore, Witness, WitnessFront, WitnessStore};
use proptest::prelude::*;

const ORIGIN: &str = "log.example/fares";
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn log() -> CheckpointSigner {
    CheckpointSigner::new(ORIGIN, &[7; 32]).unwrap()
}

fn signer() -> WitnessSigner {
    WitnessSigner::new("witness.example/w1", &[11; 32]).unwrap()
}

fn witness(store: MemoryStore) -> Witness<MemoryStore> {
    Witness::new(signer(), vec![log().verifier().clone()], store).unwrap()
}

fn new_witness() -> Witness<MemoryStore> {
    witness(MemoryStore::new(Faults::none()))
}

/// A tree with so many entries, of which those from `fork` on are another log's than the honest one's.
struct Grown(Vec<Hash>);

impl Grown {
    fn new(size: u64, fork: u64) -> Self {
        let leaf = |n: u64| leaf_hash(format!("{} {n}", n >= fork).as_bytes());
        Grown(
            Tree::default()
                .append(&(0..size).map(leaf).collect::<Vec<_>>())
                .into_iter()
                .map(|(_, hash)| hash)
                .collect(),
        )
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint { origin: ORIGIN.into(), size, root: Tree::open(size, &self.0).unwrap().root() }
    }

    fn note(&self, size: u64) -> String {
        log().sign(&self.checkpoint(size)).unwrap().into_string()
    }

    fn step(&self, old: u64, new: u64) -> AddCheckpoint {
        let proof = consistency_proof(old, new, &self.0).unwrap();
        AddCheckpoint { old, proof, checkpoint: self.note(new) }
    }
}

/// What the witness says to a request: a cosignature that holds, the size that it knows, or a code.
fn ask<S: WitnessStore>(witness: &mut Witness<S>, request: &AddCheckpoint, now: Timestamp) -> String {
    match witness.handle(&WitnessCall::AddCheckpoint(request.clone()), now) {
        Ok(WitnessReply::Cosigned(lines)) => {
            let policy = WitnessPolicy::new(vec![signer().verifier().clone()], 1).unwrap();
            let cosigned = policy.accept(log().verifier(), &format!("{}{lines}", request.checkpoint)).unwrap();
            format!("{} at {}", cosigned.checkpoint().size, cosigned.as_of().unwrap())
        }
        Ok(WitnessReply::Known(size)) => format!("known {size}"),
        Ok(WitnessReply::Refused(status)) => panic!("{status} without a reason"),
        Err(problem) => format!("{} {}", problem.status, problem.code),
    }
}

#[test]
fn a_log_that_grows_is_cosigned() {
    let (mut witness, tree) = (new_witness(), Grown::new(40, u64::MAX));
    for (old, new) in [(0, 0), (0, 1), (1, 1), (1, 7), (7, 8), (8, 40)] {
        assert_eq!(ask(&mut witness, &tree.step(old, new), NOW), format!("{new} at 1700000000"));
    }
}

#[test]
fn refusals_are_those_of_the_specification() {
    let (mut witness, tree, fork) = (new_witness(), Grown::new(20, u64::MAX), Grown::new(20, 5));
    assert_eq!(ask(&mut witness, &tree.step(0, 10), NOW), "10 at 1700000000");
    // Who does not know the size learns it; so does who would go back, or has an old copy.
    assert_eq!(ask(&mut witness, &tree.step(0, 12), NOW), "known 10");
    assert_eq!(ask(&mut witness, &tree.step(9, 12), NOW), "known 10");
    assert_eq!(ask(&mut witness, &tree.step(11, 12), NOW), "known 10");
    assert_eq!(ask(&mut witness, &tree.step(0, 9), NOW), "known 10");
    // A rewritten tree, of the same size or larger, with the best proof that there is.
    assert_eq!(ask(&mut witness, &fork.step(10, 10), NOW), "known 10");
    assert_eq!(ask(&mut witness, &fork.step(10, 12), NOW), "422 inconsistent");
    let mixed = AddCheckpoint { proof: tree.step(10, 12).proof, ..fork.step(10, 12) };
    assert_eq!(ask(&mut witness, &mixed, NOW), "422 inconsistent");
    for proof in [vec![], vec![[0; 32]; 63]] {
        let request = AddCheckpoint { proof, ..tree.step(10, 12) };
        assert_eq!(ask(&mut witness, &request, NOW), "422 inconsistent");
    }
    // A proof is empty where there is nothing to prove.
    let request = AddCheckpoint { proof: vec![[0; 32]], ..tree.step(10, 10) };
    assert_eq!(ask(&mut witness, &request, NOW), "422 inconsistent");
    let shrunk = AddCheckpoint { old: 10, proof: vec![], checkpoint: tree.note(9) };
    assert_eq!(ask(&mut witness, &shrunk, NOW), "400 malformed");
    let stranger = CheckpointSigner::new(ORIGIN, &[8; 32]).unwrap();
    let theirs = stranger.sign(&tree.checkpoint(12)).unwrap().into_string();
    assert_eq!(ask(&mut witness, &AddCheckpoint { checkpoint: theirs, ..tree.step(10, 12) }, NOW), "403 bad_signature");
    let other = tree.note(12).replace("log.example", "log2.example");
    assert_eq!(ask(&mut witness, &AddCheckpoint { checkpoint: other, ..tree.step(10, 12) }, NOW), "404 unknown_origin");
    let cut = AddCheckpoint { checkpoint: format!("{ORIGIN}\n12\n"), ..tree.step(10, 12) };
    assert_eq!(ask(&mut witness, &cut, NOW), "400 malformed");
    // None of that has moved it.
    assert_eq!(ask(&mut witness, &tree.step(10, 12), NOW), "12 at 1700000000");
}

#[test]
fn cosignatures_never_go_back_in_time() {
    let (mut witness, tree) = (new_witness(), Grown::new(3, u64::MAX));
    assert_eq!(ask(&mut witness, &tree.step(0, 1), NOW), "1 at 1700000000");
    assert_eq!(ask(&mut witness, &tree.step(1, 2), Timestamp(NOW.0 - 86_400_000)), "2 at 1700000000");
    assert_eq!(ask(&mut witness, &tree.step(2, 2), Timestamp(NOW.0 + 5_000)), "2 at 1700000005");
}

/// Two processes on one disk, as no file store allows: still only one of two trees is cosigned.
#[test]
fn of_two_steps_from_one_tree_one_is_taken() {
    struct Raced(MemoryStore, Option<Box<dyn FnOnce() + Send>>);
    impl WitnessStore for Raced {
        fn last(&self, origin: &str) -> Result<Option<naulon_witness::Seen>, naulon_durable::StoreError> {
            self.0.last(origin)
        }
        fn all(&self) -> Result<Vec<(String, naulon_witness::Seen)>, naulon_durable::StoreError> {
            self.0.all()
        }
        fn advance(&mut self, step: &naulon_witness::Step) -> Result<(), naulon_witness::StepError> {
            if let Some(race) = self.1.take() {
                race();
            }
            self.0.advance(step)
        }
    }
    let disk = MemoryStore::new(Faults::none());
    let (tree, fork) = (Grown::new(9, u64::MAX), Grown::new(9, 5));
    assert_eq!(ask(&mut witness(disk.clone()), &tree.step(0, 5), NOW), "5 at 1700000000");
    let mut other = witness(disk.clone());
    let step = tree.step(5, 8);
    let race = Box::new(move || assert_eq!(ask(&mut other, &step, NOW), "8 at 1700000000"));
    let mut slower = Witness::new(signer(), vec![log().verifier().clone()], Raced(disk, Some(race))).unwrap();
    assert_eq!(ask(&mut slower, &fork.step(5, 9), NOW), "503 unavailable");
    assert_eq!(ask(&mut slower, &fork.step(5, 9), NOW), "known 8");
}

#[test]
fn after_a_crash_it_is_where_the_disk_is() {
    let tree = Grown::new(9, u64::MAX);
    for (when, known) in [(When::Before, "known 1"), (When::After, "known 5")] {
        let disk = MemoryStore::new(Faults::crash_at(2, when));
        let mut before = witness(disk.clone());
        assert_eq!(ask(&mut before, &tree.step(0, 1), NOW), "1 at 1700000000");
        assert_eq!(ask(&mut before, &tree.step(1, 5), NOW), "503 unavailable");
        assert_eq!(ask(&mut before, &tree.step(1, 5), NOW), "503 unavailable", "it has stopped");
        let mut after = witness(disk);
        assert_eq!(ask(&mut after, &tree.step(0, 9), NOW), known);
    }
}

#[test]
fn a_log_is_taken_in_once() {
    let log = log().verifier().clone();
    let twice = Witness::new(signer(), vec![log.clone(), log], MemoryStore::new(Faults::none()));
    assert_eq!(twice.err(), Some(ConfigurationError::Twice(ORIGIN.to_owned())));
}

#[tokio::test]
async fn over_http_its_statuses_are_those_of_the_specification() {
    let (front, tree) = (WitnessFront::start(new_witness()), Grown::new(9, u64::MAX));
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, std::sync::Arc::new(front.clone()), async { drop(stopped.await) }));
    let client = Clients::default().on(Circuit::Anonymous(0), &url).unwrap();
    let call = |request: AddCheckpoint| {
        let client = client.clone();
        async move { client.call(&WitnessCall::AddCheckpoint(request)).await }
    };
    assert!(matches!(call(tree.step(0, 5)).await, Ok(WitnessReply::Cosigned(_))));
    assert_eq!(call(tree.step(0, 9)).await, Ok(WitnessReply::Known(5)));
    let other = AddCheckpoint { checkpoint: "nobody\n1\n".into(), ..tree.step(0, 5) };
    assert_eq!(call(other).await, Ok(WitnessReply::Refused(404)));
    drop(stop);
    server.await.unwrap();
    tokio::task::spawn_blocking(move || front.stop()).await.unwrap().unwrap();
}

proptest! {
    /// Whatever is asked in whatever order: all that was ever cosigned is one line of trees, each continuing the one before.
    #[test]
    fn it_never_signs_two_trees(asked in prop::collection::vec((0_u64..12, 0_u64..12, any::<bool>()), 1..40)) {
        let (mut witness, trees) = (new_witness(), [Grown::new(12, u64::MAX), Grown::new(12, 4)]);
        let mut cosigned: Vec<(u64, usize)> = Vec::new();
        for (old, new, forked) in asked {
            let tree = &trees[usize::from(forked)];
            let proof = consistency_proof(old, new, &tree.0).unwrap_or_default();
            let request = AddCheckpoint { old, proof, checkpoint: tree.note(new) };
            if ask(&mut witness, &request, NOW).contains(" at ") {
                cosigned.push((new, usize::from(forked)));
            }
        }
        prop_assert!(cosigned.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        let forks: std::collections::BTreeSet<usize> =
            cosigned.iter().filter(|(size, _)| *size > 4).map(|(_, fork)| *fork).collect();
        prop_assert!(forks.len() <= 1, "{:?}", cosigned);
    }
}
