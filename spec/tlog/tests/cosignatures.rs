//! Cosigned checkpoints: the vectors, keys, and what a policy must not take.

use naulon_tlog::*;
use proptest::prelude::*;
use serde_json::Value;

const ORIGIN: &str = "log.example/fares";

fn vectors() -> Value {
    let path = format!("{}/../../vectors/tlog/cosignatures.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("a string")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().expect("an array")
}

fn log() -> CheckpointSigner {
    CheckpointSigner::new(ORIGIN, &[7; 32]).expect("a signer")
}

fn witness(number: u8) -> WitnessSigner {
    WitnessSigner::new(&format!("witness.example/w{number}"), &[10 + number; 32]).expect("a signer")
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size, root: leaf_hash(b"root") }
}

fn policy(threshold: usize) -> WitnessPolicy {
    let witnesses = [1, 2, 3].map(|number| witness(number).verifier().clone());
    WitnessPolicy::new(witnesses.into(), threshold).expect("a policy")
}

/// A note of the log with cosignatures of these witnesses at these times.
fn cosigned(size: u64, by: &[(u8, u64)]) -> String {
    let note = log().sign(&checkpoint(size)).expect("its own").into_string();
    let cosign = |(number, time): &(u8, u64)| {
        witness(*number).cosign(&checkpoint(size), *time).expect("a time").line().to_owned()
    };
    note + &by.iter().map(cosign).collect::<String>()
}

#[test]
fn published_cosignatures_hold() {
    for case in list(&vectors(), "published") {
        let log: CheckpointVerifier = text(case, "log").parse().expect("a vkey");
        let log = match case["origin"].as_str() {
            Some(origin) => log.with_origin(origin).expect("an origin"),
            None => log,
        };
        let witness: WitnessVerifier = text(case, "witness").parse().expect("a vkey");
        assert_eq!(witness.to_string(), text(case, "witness"));
        let policy = WitnessPolicy::new(vec![witness.clone()], 1).expect("a policy");
        let accepted = policy.accept(&log, text(case, "note")).expect("cosigned");
        assert_eq!(Some(accepted.checkpoint().size), case["size"].as_u64());
        assert_eq!(accepted.as_of(), case["time"].as_u64());
        assert_eq!(accepted.times().keys().collect::<Vec<_>>(), [witness.name()]);
    }
}

#[test]
fn named_attacks_are_refused() {
    let vectors = vectors();
    let log: CheckpointVerifier = text(&vectors, "log").parse().expect("a vkey");
    let witnesses = list(&vectors, "witnesses").iter();
    let witnesses = witnesses.map(|vkey| vkey.as_str().expect("a string").parse().expect("a vkey")).collect();
    let threshold = vectors["threshold"].as_u64().expect("a number") as usize;
    let policy = WitnessPolicy::new(witnesses, threshold).expect("a policy");
    for case in list(&vectors, "good") {
        let accepted = policy.accept(&log, text(case, "note")).unwrap_or_else(|why| unreachable!("{why}: {case}"));
        assert_eq!(Some(accepted.checkpoint().size), vectors["size"].as_u64(), "{case}");
        assert_eq!(serde_json::to_value(accepted.times()).expect("JSON"), case["times"], "{case}");
        assert_eq!(accepted.note(), text(case, "note"));
    }
    for case in list(&vectors, "bad") {
        let refused = policy.accept(&log, text(case, "note"));
        let code = match &refused {
            Ok(_) => "taken",
            Err(CosignedError::Checkpoint(_)) => "checkpoint",
            Err(CosignedError::BadCosignature(_)) => "bad_cosignature",
            Err(CosignedError::Repeated(_)) => "repeated",
            Err(CosignedError::TooFew { .. }) => "too_few",
        };
        assert_eq!(code, text(case, "error"), "{}", case["name"]);
    }
}

#[test]
fn what_is_cosigned_here_is_what_the_vectors_say() {
    let vectors = vectors();
    let [first, ..] = list(&vectors, "good") else { unreachable!() };
    assert_eq!(text(first, "note"), cosigned(12, &[(1, 1_700_000_001), (3, 1_700_000_003)]));
}

#[test]
fn a_witnesss_vkey_has_one_spelling() {
    let vkey = witness(1).verifier().to_string();
    assert_eq!(vkey.parse().as_ref(), Ok(witness(1).verifier()));
    let key = *witness(1).verifier().public_key();
    let as_log = CheckpointVerifier::new("witness.example/w1", &key).expect("a key").to_string();
    assert_eq!(as_log.parse::<WitnessVerifier>(), Err(KeyError::Vkey), "a log's key is not a witness's");
    assert_eq!(vkey.parse::<CheckpointVerifier>(), Err(KeyError::Vkey), "nor the other way round");
    for bad in ["", "a+b", &vkey[..vkey.len() - 1], &format!("{vkey}\n"), &vkey.replace("w1", "w2")] {
        assert!(bad.parse::<WitnessVerifier>().is_err(), "{bad}");
    }
}

#[test]
fn policies_that_would_count_wrongly_are_none() {
    let [one, two] = [1, 2].map(|number| witness(number).verifier().clone());
    let renamed = WitnessVerifier::new("witness.example/again", one.public_key()).expect("a key");
    let namesake = WitnessVerifier::new(one.name(), two.public_key()).expect("a key");
    for second in [one.clone(), renamed, namesake] {
        let twice = PolicyError::Twice(second.name().to_owned());
        assert_eq!(WitnessPolicy::new(vec![one.clone(), second], 2), Err(twice));
    }
    for threshold in [0, 3, usize::MAX] {
        let refused = Err(PolicyError::Threshold { threshold, witnesses: 2 });
        assert_eq!(WitnessPolicy::new(vec![one.clone(), two.clone()], threshold), refused);
    }
    assert_eq!(WitnessPolicy::new(vec![], 0), Err(PolicyError::Threshold { threshold: 0, witnesses: 0 }));
    assert_eq!(WitnessPolicy::new(vec![one; MAX_WITNESSES + 1], 1), Err(PolicyError::TooMany(MAX_WITNESSES + 1)));
}

#[test]
fn only_the_policy_of_that_name_wants_no_witness() {
    let none = WitnessPolicy::unwitnessed();
    let accepted = none.accept(log().verifier(), &cosigned(3, &[])).expect("signed by the log");
    assert!(none.is_unwitnessed() && accepted.as_of().is_none() && accepted.times().is_empty());
    let other = CheckpointSigner::new(ORIGIN, &[8; 32]).expect("a signer");
    let refused = none.accept(other.verifier(), &cosigned(3, &[]));
    assert_eq!(refused, Err(CosignedError::Checkpoint(CheckpointError::NotSigned)));
}

#[test]
fn as_of_is_the_time_that_enough_witnesses_vouch_for() {
    let note = cosigned(3, &[(1, 100), (2, 300), (3, 200)]);
    for (threshold, as_of) in [(1, 300), (2, 200), (3, 100)] {
        let accepted = policy(threshold).accept(log().verifier(), &note).expect("cosigned");
        assert_eq!(accepted.as_of(), Some(as_of));
    }
}

#[test]
fn a_witnesss_answer_is_searched_for_its_cosignature() {
    let (one, two) = (witness(1), witness(2));
    let line = one.cosign(&checkpoint(3), 9).expect("a time").line().to_owned();
    let stranger = two.cosign(&checkpoint(3), 9).expect("a time").line().to_owned();
    let find = |size, lines: &str| one.verifier().find(&checkpoint(size), lines);
    let found = find(3, &format!("{stranger}{line}")).expect("well-formed").expect("there");
    assert_eq!((found.time(), found.line()), (9, line.as_str()));
    assert_eq!(find(3, &stranger), Ok(None));
    assert_eq!(find(4, &line), Err(CheckpointError::BadSignature), "over another checkpoint");
    assert_eq!(find(3, &format!("{line}{line}")), Err(CheckpointError::RepeatedSignature));
    for bad in ["", "\n", line.trim_end(), &format!("\n{line}"), &format!("{line}\n"), &"x".repeat(200_000)] {
        assert!(find(3, bad).is_err(), "{bad:?}");
    }
    assert_eq!(one.cosign(&checkpoint(3), MAX_COSIGNATURE_TIME + 1), Err(TimeError(MAX_COSIGNATURE_TIME + 1)));
    assert!(one.cosign(&checkpoint(3), MAX_COSIGNATURE_TIME).is_ok());
}

proptest! {
    #[test]
    fn any_changed_byte_is_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let note = cosigned(1234, &[(1, 5), (2, 6)]);
        let mut bytes = note.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(changed == note || policy(2).accept(log().verifier(), &changed).is_err());
        }
        let cut = note.chars().take(at).collect::<String>();
        prop_assert!(cut == note || policy(2).accept(log().verifier(), &cut).is_err());
    }

    #[test]
    fn nothing_panics(note in "\\PC*", lines in "(\u{2014} witness.example/w1 [A-Za-z0-9+/=]{0,120}\n?){0,3}") {
        let _ = policy(1).accept(log().verifier(), &note);
        let _ = note.parse::<WitnessVerifier>();
        let _ = witness(1).verifier().find(&checkpoint(1), &lines);
        let made_up = format!("{}{lines}", cosigned(1, &[]));
        prop_assert!(policy(1).accept(log().verifier(), &made_up).is_err());
    }
}
