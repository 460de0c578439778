//! Texts: identities, codes, JSON, checkpoints, and bytes in base64url or hex.

use naulon_statement::base64url_decode;
use naulon_tlog::CheckpointVerifier;
use naulon_wire::codes;
use naulon_wire::{EvidenceFile, Problem};

use super::{Found, bytes, statements};
use crate::identity::{Identity, Role};

/// What this text is.
pub fn recognise(text: &str) -> Option<Found> {
    let readers = [identity, code, evidence, problem, checkpoint, verifier, settings, encoded];
    readers.iter().find_map(|read| read(text))
}

/// A C2SP checkpoint.
pub fn checkpoint(text: &str) -> Option<Found> {
    let (body, signatures) = text.split_once("\n\n")?;
    let mut lines = body.lines();
    let (origin, size, root) = (lines.next()?, lines.next()?.parse::<u64>().ok()?, lines.next()?);
    let signers: Vec<&str> = signatures.lines().filter_map(|line| line.strip_prefix("— ")?.split(' ').next()).collect();
    let found = Found::new("a log's checkpoint (C2SP tlog-checkpoint)").with("origin", origin).with("entries", size);
    Some(found.with("root", root).with("signed by", signers.join(", ")).with("signature", "not checked here"))
}

fn identity(text: &str) -> Option<Found> {
    let toml = || text.lines().find_map(|line| line.strip_prefix("identity = \"")?.strip_suffix('"'));
    let line = if text.starts_with("naulon:") { text } else { toml()? };
    let identity: Identity = line.parse().ok()?;
    let found = Found::new(format!("the identity of a {}", identity.role))
        .with("key", identity.key)
        .with("address", &identity.url);
    Some(match &identity.checkpoints {
        Some(checkpoints) => found.with("checkpoint key", checkpoints),
        None => found,
    })
}

fn code(text: &str) -> Option<Found> {
    let page = codes::find(text)?;
    let again = match (page.is_final, page.retry_after) {
        (true, _) => "no: this very request can never succeed".to_owned(),
        (false, Some(seconds)) => format!("yes, after {seconds} s"),
        (false, None) => "it may succeed later".to_owned(),
    };
    let found = Found::new("a problem code").with("code", page.code).with("HTTP status", page.status);
    Some(found.with("means", page.title).with("what to do", page.advice).with("ask again", again))
}

fn evidence(text: &str) -> Option<Found> {
    let evidence = EvidenceFile::read(text).ok()?;
    let statement = |bytes: &Option<Vec<u8>>| bytes.as_deref().and_then(statements::recognise);
    let joint = evidence.authorization_q.as_ref();
    let mut found = Found::new("an evidence file: the messages of one purchase (judge it by `naulon verify`)")
        .part("goods_m", statement(&evidence.goods_m))
        .part("goods_q", statement(&evidence.goods_q))
        .part("authorization_q", joint.and_then(|joint| statements::joint(&joint.payload, &joint.signatures)))
        .part("header", statement(&evidence.header))
        .part("authorization_b", statement(&evidence.authorization_b));
    for decision in &evidence.decisions {
        found = found.part("decision", bytes::decision(decision));
    }
    Some(found)
}

fn problem(text: &str) -> Option<Found> {
    let problem: Problem = serde_json::from_str(text).ok()?;
    let page = code(&problem.code);
    let proof = problem.evidence.as_ref().and_then(|evidence| bytes::recognise(&evidence.0));
    let found = Found::new("a party's refusal (problem details)").with("detail", &problem.detail);
    Some(found.part("code", page).part("evidence", proof))
}

fn verifier(text: &str) -> Option<Found> {
    let verifier: CheckpointVerifier = text.parse().ok()?;
    let found = Found::new("a log's checkpoint key (C2SP verifier key)").with("origin", verifier.origin());
    Some(found.with("public key", hex::encode(verifier.public_key())))
}

fn settings(text: &str) -> Option<Found> {
    let document: toml_edit::DocumentMut = text.parse().ok()?;
    let role = Role::named(document.get("role")?.as_str()?)?;
    Some(Found::new(format!("the settings of a {role}; `naulon config show` prints what is in force")))
}

/// Hex first: a text of hex digits alone is far more likely hex than base64url.
fn encoded(text: &str) -> Option<Found> {
    let content = hex::decode(text).ok().or_else(|| base64url_decode(text).ok())?;
    bytes::recognise(&content).or_else(|| recognise_decoded(&content))
}

fn recognise_decoded(content: &[u8]) -> Option<Found> {
    // A text within a text is read once, so that nothing can nest for ever.
    let text = std::str::from_utf8(content).ok()?;
    evidence(text).or_else(|| problem(text)).or_else(|| checkpoint(text))
}
