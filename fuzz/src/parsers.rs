//! Formats: what is read is written again as the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use naulon_blind::{Brand, KnownBrand, TOKEN_LEN, Token, TokenRequest};
use naulon_exchange::{AuthorizationB, BalanceQuery, Exchange, Header, LogDecision, OpenAccount};
use naulon_money::{Amount, Currency};
use naulon_onion::Descriptor;
use naulon_purchase::{AuthorizationM, GoodsM, GoodsQ, RefundRequest, Trust, judge};
use naulon_statement::{
    Detached, Digest, PublicKey, Statement, Unverified, UnverifiedJoint, base64url_decode, base64url_encode,
};
use naulon_tlog::{
    CheckpointVerifier, Hash, TilePath, WitnessPolicy, WitnessVerifier, decode_bundle, encode_bundle, leaf_hash,
    verify_consistency, verify_inclusion,
};
use naulon_wire::EvidenceFile;

use crate::samples;

/// Every kind of statement. Content types separate them: no bytes are two kinds.
pub fn statement(bytes: &[u8]) {
    let kinds = [
        parses::<AuthorizationB>(bytes),
        parses::<AuthorizationM>(bytes),
        parses::<BalanceQuery>(bytes),
        parses::<Brand>(bytes),
        parses::<Descriptor>(bytes),
        parses::<GoodsM>(bytes),
        parses::<GoodsQ>(bytes),
        parses::<Header>(bytes),
        parses::<LogDecision>(bytes),
        parses::<OpenAccount>(bytes),
        parses::<RefundRequest>(bytes),
    ];
    assert!(kinds.into_iter().filter(|parses| *parses).count() <= 1, "the same bytes are statements of two kinds");
}

fn parses<T: Statement>(bytes: &[u8]) -> bool {
    let Ok(parsed) = Unverified::<T>::parse(bytes) else { return false };
    assert_eq!(parsed.bytes(), bytes, "{}", T::CONTENT_TYPE);
    let claimed = parsed.claimed_signer();
    if let Ok(signed) = parsed.verify(&claimed) {
        assert_eq!(signed.bytes(), bytes);
    }
    true
}

/// A payload with signatures: the first two bytes say how long the payload is, then each signature follows behind two
/// bytes with its length.
pub fn joint(bytes: &[u8]) {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let [high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        parts.push(&tail[..length]);
        rest = &tail[length..];
    }
    let Some((payload, signatures)) = parts.split_first() else { return };
    for signature in signatures {
        // A detached signature that parses is written as it was.
        let _ = Detached::parse(Exchange::CONTENT_TYPE, signature);
    }
    if let Ok(joint) = UnverifiedJoint::<Exchange>::parse(payload, signatures).and_then(UnverifiedJoint::verify) {
        assert_eq!(joint.payload(), *payload);
    }
}

/// A brand's statement, down to its RSA key.
pub fn brand(bytes: &[u8]) {
    let Ok(parsed) = Unverified::<Brand>::parse(bytes) else { return };
    if let Ok(known) = KnownBrand::new(parsed.claimed_body().clone()) {
        assert_eq!(known.brand(), parsed.claimed_body());
    }
}

/// Privacy Pass tokens and requests (RFC 9578).
pub fn token(bytes: &[u8]) {
    if let Ok(token) = Token::parse(bytes) {
        assert_eq!(token.to_bytes().as_slice(), bytes);
        assert_eq!(bytes.len(), TOKEN_LEN);
    }
    if let Ok(request) = TokenRequest::parse(bytes) {
        assert_eq!(request.to_bytes().as_slice(), bytes);
    }
}

/// Checkpoints and their cosignatures.
pub fn checkpoint(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (log, witness) = keys();
    if let Ok(checkpoint) = log.open(text) {
        assert!(text.starts_with(&checkpoint.text()));
        let _ = witness.find(&checkpoint, text);
    }
    let policy = WitnessPolicy::new(vec![witness], 1).expect("a policy");
    if let Ok(cosigned) = policy.accept(&log, text) {
        assert!(policy.accept(&log, cosigned.note()).is_ok(), "what is accepted is accepted again");
    }
}

/// The keys of the seeds: a log and a witness.
fn keys() -> (CheckpointVerifier, WitnessVerifier) {
    let (log, witness) = crate::seeds::tlog_signers();
    (log.verifier().clone(), witness.verifier().clone())
}

/// Tile paths and entry bundles: the first line is a path, the rest a bundle.
pub fn tile(bytes: &[u8]) {
    let (line, rest) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[][..]),
    };
    if let Ok(line) = std::str::from_utf8(line) {
        written_as_read::<TilePath>(line);
    }
    if let Ok(entries) = decode_bundle(rest) {
        assert_eq!(encode_bundle(&entries).expect("was one"), rest);
    }
}

/// Proofs: two numbers, then hashes. Arbitrary bytes prove nothing about a root that is not of their making.
pub fn proof(bytes: &[u8]) {
    let Some((numbers, rest)) = bytes.split_at_checked(16) else { return };
    let number = |place: usize| u64::from_be_bytes(numbers[place..place + 8].try_into().expect("eight bytes"));
    let hashes: Vec<Hash> = rest.chunks_exact(32).map(|hash| hash.try_into().expect("a hash")).collect();
    let (index, size) = (number(0), number(8));
    let leaf = leaf_hash(b"a leaf that is in no tree");
    assert!(verify_inclusion(&leaf, index, size, &[0x77; 32], &hashes).is_err());
    if index != size {
        assert!(verify_consistency(index.max(1), &[0x66; 32], size, &[0x77; 32], &hashes).is_err());
    }
}

/// Evidence files, down to the judge's verdict.
pub fn evidence(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(evidence) = EvidenceFile::read(text) else { return };
    let written = EvidenceFile::write(&evidence);
    assert_eq!(EvidenceFile::read(&written).expect("our own"), evidence);
    let key = |seed| samples::key(seed).public();
    let trust = Trust { banks: BTreeSet::from([key(1)]), logs: BTreeMap::new(), merchants: BTreeSet::from([key(2)]) };
    let _ = judge(&evidence, &trust, |_, _| None);
}

/// Everything that is one line of text.
pub fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    written_as_read::<Currency>(text);
    written_as_read::<PublicKey>(text);
    written_as_read::<Digest>(text);
    written_as_read::<CheckpointVerifier>(text);
    written_as_read::<WitnessVerifier>(text);
    written_as_read::<TilePath>(text);
    // An amount may be written in several ways, of which one comes back.
    if let Ok(amount) = text.parse::<Amount>() {
        assert_eq!(amount.to_string().parse(), Ok(amount));
    }
    if let Ok(decoded) = base64url_decode(text) {
        assert_eq!(base64url_encode(&decoded), text);
    }
    // Words that are none must not end the program; what they say is a secret and has no other form to compare.
    let _ = naulon_wallet::Words::parse(text);
}

fn written_as_read<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}
