//! The files that other implementations read, read by ours: strict Ed25519, and statements that no code of ours has made.

use minicbor::{Decode, Encode};
use naulon_statement::{
    Joint, PublicKey, SecretKey, Signed, Statement, StatementError, Unverified, UnverifiedJoint, cbor,
};
use serde_json::Value;

#[derive(Encode, Decode, Debug, PartialEq)]
#[cbor(map)]
struct Note {
    #[n(1)]
    value: u64,
}

impl Statement for Note {
    const CONTENT_TYPE: &'static str = "application/naulon.test-note+cbor";
}

fn strict() -> Value {
    serde_json::from_str(include_str!("../../../vectors/ed25519/strict.json")).expect("JSON")
}

fn sign1() -> Value {
    serde_json::from_str(include_str!("../../../vectors/statement/sign1.json")).expect("JSON")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a string")).expect("hexadecimal")
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("of this length")
}

fn list<'v>(file: &'v Value, name: &str) -> &'v Vec<Value> {
    file[name].as_array().expect("a list")
}

#[test]
fn signatures_are_verified_strictly() {
    let file = strict();
    for vector in list(&file, "signatures") {
        let key = PublicKey(fixed(&vector["public_key"]));
        let outcome = key.verify(&bytes(&vector["message"]), &fixed(&vector["signature"]));
        assert_eq!(Some(outcome.is_ok()), vector["accept"].as_bool(), "{}: {outcome:?}", vector["name"]);
    }
    assert_eq!(list(&file, "signatures").len(), 31);
}

#[test]
fn keys_are_canonical_points_of_large_order() {
    let file = strict();
    for vector in list(&file, "keys") {
        let outcome = PublicKey(fixed(&vector["public_key"])).check();
        assert_eq!(Some(outcome.is_ok()), vector["usable"].as_bool(), "{}: {outcome:?}", vector["name"]);
    }
    assert_eq!(list(&file, "keys").len(), 37);
}

/// The same statement, made here and made by hand elsewhere, has the same bytes.
#[test]
fn statements_have_one_form() {
    let file = sign1();
    let key = SecretKey::from_seed(&fixed(&file["signer_seed"]));
    let value = file["value"].as_u64().expect("a number");
    assert_eq!(file["content_type"].as_str(), Some(Note::CONTENT_TYPE));
    assert_eq!(cbor::to_vec(&Note { value }), bytes(&file["payload"]));
    assert_eq!(Signed::sign(&key, Note { value }).bytes(), bytes(&file["sign1"]));
    let parsed = Unverified::<Note>::parse(&bytes(&file["sign1"])).expect("parses");
    assert_eq!(parsed.verify(&PublicKey(fixed(&file["signer"]))).expect("verifies").value, value);
}

#[test]
fn joint_statements_have_one_form() {
    let file = sign1();
    let joint = &file["joint"];
    let keys: Vec<_> = list(joint, "seeds").iter().map(|seed| SecretKey::from_seed(&fixed(seed))).collect();
    let made = Joint::sign(Note { value: file["value"].as_u64().expect("a number") }, &keys);
    let signatures: Vec<_> = list(joint, "signatures").iter().map(bytes).collect();
    assert_eq!(made.signatures().iter().map(|signature| signature.bytes().to_vec()).collect::<Vec<_>>(), signatures);
    assert_eq!(made.id().0, fixed(&joint["id"]));
    let parsed = UnverifiedJoint::<Note>::parse(&bytes(&file["payload"]), &signatures).expect("parses");
    assert_eq!(parsed.verify().expect("verifies"), made);
}

#[test]
fn every_other_form_is_refused() {
    let file = sign1();
    let signer = PublicKey(fixed(&file["signer"]));
    for vector in list(&file, "refused") {
        let outcome = Unverified::<Note>::parse(&bytes(&vector["sign1"])).and_then(|parsed| parsed.verify(&signer));
        let code = outcome.as_ref().err().map(StatementError::code);
        assert_eq!(code, vector["code"].as_str(), "{}", vector["name"]);
    }
    assert_eq!(list(&file, "refused").len(), 24);
}
