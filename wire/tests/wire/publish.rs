//! A log and its witnesses over sockets: what is cosigned, and which log does not start.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use naulon_tlog::*;
use naulon_wire::publish::{Owner, Publisher, StartError, Witness};
use naulon_wire::serve::{listen, serve};
use naulon_wire::{Circuit, Clients, Problem, Service, WitnessCall, WitnessReply};

const ORIGIN: &str = "log.example/fares";

fn log() -> CheckpointSigner {
    CheckpointSigner::new(ORIGIN, &[7; 32]).expect("a signer")
}

fn signer(number: u8) -> WitnessSigner {
    WitnessSigner::new(&format!("w{number}"), &[10 + number; 32]).expect("a signer")
}

fn policy() -> WitnessPolicy {
    WitnessPolicy::new((1..=3).map(|number| signer(number).verifier().clone()).collect(), 2).expect("a policy")
}

/// A log's tree in memory, whose entries from `fork` on are its own.
#[derive(Clone)]
struct Own {
    hashes: Arc<Vec<Hash>>,
    kept: Arc<Mutex<Option<String>>>,
}

impl Own {
    fn new(size: u64, fork: u64) -> Self {
        let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(format!("{} {n}", n >= fork).as_bytes())).collect();
        let hashes = Tree::default().append(&leaves).into_iter().map(|(_, hash)| hash).collect();
        Own { hashes: Arc::new(hashes), kept: Arc::default() }
    }

    fn note(&self, size: u64) -> String {
        let root = Tree::open(size, &*self.hashes).expect("a tree").root();
        log().sign(&Checkpoint { origin: ORIGIN.into(), size, root }).expect("its own").into_string()
    }

    fn publisher(&self, size: u64) -> Publisher {
        let kept = self.kept.lock().expect("whole").clone();
        Publisher::new(log().verifier().clone(), policy(), &self.note(size), kept.as_deref()).expect("a publisher")
    }
}

impl Owner for Own {
    async fn prove(&self, old: u64, new: u64) -> Result<Vec<Hash>, String> {
        consistency_proof(old, new, &*self.hashes).map_err(|error| error.to_string())
    }

    async fn keep(&self, cosigned: &CosignedCheckpoint) -> Result<(), String> {
        *self.kept.lock().expect("whole") = Some(cosigned.note().to_owned());
        Ok(())
    }
}

/// A witness in memory.
struct Remembering {
    signer: WitnessSigner,
    last: Mutex<Option<Checkpoint>>,
}

impl Service<WitnessCall> for Remembering {
    async fn call(&self, call: WitnessCall) -> Result<WitnessReply, Problem> {
        let WitnessCall::AddCheckpoint(request) = call;
        let mut last = self.last.lock().expect("whole");
        match request.check(log().verifier(), last.as_ref()) {
            Ok(checkpoint) => {
                let cosignature = self.signer.cosign(&checkpoint, 1_700_000_000).expect("a time");
                *last = Some(checkpoint);
                Ok(WitnessReply::Cosigned(cosignature.line().to_owned()))
            }
            Err(WitnessRefusal::Conflict { size }) => Ok(WitnessReply::Known(size)),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

async fn witness(number: u8) -> Witness {
    let listener = listen("127.0.0.1:0".parse().expect("an address")).await.expect("listens");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let service = Arc::new(Remembering { signer: signer(number), last: Mutex::new(None) });
    tokio::spawn(serve(listener, service, std::future::pending()));
    let client = Clients::default().on(Circuit::Anonymous(0), &url).expect("a client");
    Witness { verifier: signer(number).verifier().clone(), client }
}

/// A witness that nobody runs.
fn gone(number: u8) -> Witness {
    let client = Clients::default().on(Circuit::Anonymous(0), "http://127.0.0.1:9").expect("a client");
    Witness { verifier: signer(number).verifier().clone(), client }
}

async fn until(publisher: &Publisher, size: u64) -> CosignedCheckpoint {
    for _ in 0..600 {
        let accepted = publisher.cosigned().map(|note| policy().accept(log().verifier(), &note).expect("cosigned"));
        match accepted {
            Some(cosigned) if cosigned.checkpoint().size == size => return cosigned,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("never cosigned");
}

#[tokio::test]
async fn a_log_that_grows_is_cosigned_and_only_its_newest_store_starts() {
    let own = Own::new(40, u64::MAX);
    let witnesses = [witness(1).await, witness(2).await, gone(3)];
    let publisher = own.publisher(0);
    publisher.settle(&witnesses, &own).await.expect("a new log starts");
    let (running, asked, owner) = (publisher.clone(), witnesses.clone(), own.clone());
    let running = tokio::spawn(async move { running.run(&asked, &owner).await });
    for size in [1, 2, 7, 40] {
        publisher.publish(&own.note(size));
        assert!(publisher.newest().starts_with(&own.note(size)), "the newest is shown at once");
    }
    let cosigned = until(&publisher, 40).await;
    assert_eq!(cosigned.times().keys().collect::<Vec<_>>(), ["w1", "w2"], "the third is gone");
    assert_eq!(own.kept.lock().expect("whole").as_deref(), Some(cosigned.note()), "kept before it is shown");
    running.abort();

    // The same store, and one that has grown without being cosigned, start again.
    own.publisher(40).settle(&witnesses, &own).await.expect("the newest store");
    let behind = |size| StartError::Behind { witness: "w1".to_owned(), size: 40, own: size };
    // An old copy knows by what it has kept itself that it is older, or by the witnesses.
    assert_eq!(own.publisher(39).settle(&witnesses, &own).await, Err(behind(39)));
    let old_copy = Own::new(40, u64::MAX);
    let refused = old_copy.publisher(7).settle(&witnesses, &old_copy).await;
    assert!(matches!(refused, Err(StartError::Behind { size: 40, own: 7, .. })), "{refused:?}");
    let refused = old_copy.publisher(0).settle(&witnesses, &old_copy).await;
    assert!(matches!(refused, Err(StartError::Behind { size: 40, own: 0, .. })), "{refused:?}");
    // So does one that was rewritten, shorter than, as long as, or longer than what was cosigned.
    let rewritten = Own::new(50, 12);
    let refused = rewritten.publisher(40).settle(&witnesses, &rewritten).await;
    assert!(matches!(refused, Err(StartError::Contradicts { own: 40, .. })), "{refused:?}");
    let refused = rewritten.publisher(50).settle(&witnesses, &rewritten).await;
    assert!(matches!(refused, Err(StartError::Contradicts { own: 50, .. })), "{refused:?}");
    let kept = Own { kept: own.kept.clone(), ..rewritten };
    let refused = kept.publisher(50).settle(&[gone(1), gone(2), gone(3)], &kept).await;
    assert!(matches!(refused, Err(StartError::Contradicts { own: 50, .. })), "known without witnesses: {refused:?}");
    // Where two witnesses are out of reach, the third cannot vouch for the newest.
    let few = [witnesses[0].clone(), gone(2), gone(3)];
    let refused = old_copy.publisher(40).settle(&few, &old_copy).await;
    assert!(matches!(refused, Err(StartError::TooFew { answered: 1, want: 2, .. })), "{refused:?}");
}
