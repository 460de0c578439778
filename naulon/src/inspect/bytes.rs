//! Bytes: statements, tokens, keys, stores.

use naulon_blind::{IssuerKey, MODULUS_LEN, TOKEN_LEN, Token};
use naulon_exchange::{Exchange, UnverifiedDecision, UnverifiedRecord};
use naulon_statement::{Digest, PublicKey, cbor};

use super::{Found, statements, text};

/// SQLite's magic, and where the application's mark stands behind it.
const SQLITE: &[u8] = b"SQLite format 3\0";
const SQLITE_MARK: std::ops::Range<usize> = 68..72;
/// The mark of a sealed file (docs/spec/sealed-file.md), behind two bytes of CBOR.
const SEALED: &[u8] = b"naulon/sealed-file/1";

/// What these bytes are.
pub fn recognise(bytes: &[u8]) -> Option<Found> {
    let readers =
        [statements::recognise, decision, record, exchange, token, issuer_key, sqlite, sealed, thirty_two, blinded];
    readers.iter().find_map(|read| read(bytes))
}

/// A decision with its proofs.
pub fn decision(bytes: &[u8]) -> Option<Found> {
    let decision: UnverifiedDecision = cbor::from_slice(bytes).ok()?;
    let place = format!("{} of {}", decision.inclusion.index, decision.inclusion.size);
    let found = Found::new("a log's decision with its place in the log's tree").with("entry", place);
    Some(
        found
            .part("decision", statements::recognise(decision.decision.bytes()))
            .part("checkpoint", text::checkpoint(&decision.checkpoint)),
    )
}

fn record(bytes: &[u8]) -> Option<Found> {
    let record: UnverifiedRecord = cbor::from_slice(bytes).ok()?;
    let signatures: Vec<Vec<u8>> = record.exchange.signatures().iter().map(|one| one.bytes().to_vec()).collect();
    let found = Found::new("a bank's record of an exchange")
        .with("state", format!("{:?}", record.state).to_lowercase())
        .with("accepted", crate::clock::utc(record.accepted))
        .part("exchange", statements::joint(record.exchange.payload(), &signatures));
    Some(found.part("decision", record.decision.and_then(|decided| decision(&cbor::to_vec(&decided)))))
}

fn exchange(bytes: &[u8]) -> Option<Found> {
    let exchange: Exchange = cbor::from_slice(bytes).ok()?;
    Some(statements::exchange(&exchange).with("id", Digest::of(&[bytes])).with("signatures", "not in here"))
}

fn token(bytes: &[u8]) -> Option<Found> {
    let token = Token::parse(bytes).ok()?;
    let found = Found::new(format!("a token ({TOKEN_LEN} bytes, Privacy Pass type 0x0002)"))
        .with("brand (token key id)", Digest(*token.key_id()))
        .with("challenge digest", Digest(*token.challenge_digest()))
        .with("key Q", PublicKey(*token.nonce()));
    Some(found.with("note", "who holds q can spend it; the token alone is worth nothing"))
}

fn issuer_key(bytes: &[u8]) -> Option<Found> {
    let key = IssuerKey::from_spki(bytes).ok()?;
    Some(Found::new("the public key of a brand (RSA-2048, RSASSA-PSS)").with("token key id", Digest(*key.key_id())))
}

fn sqlite(bytes: &[u8]) -> Option<Found> {
    let mark = bytes.starts_with(SQLITE).then(|| bytes.get(SQLITE_MARK))??;
    let whose = match mark {
        [0, 0, 0, 0] => "nothing yet: what is in it still stands in the file ending in -wal".to_owned(),
        mark => mark.escape_ascii().to_string(),
    };
    Some(Found::new("a SQLite store").with("mark", whose))
}

fn sealed(bytes: &[u8]) -> Option<Found> {
    let mark = bytes.get(2..2 + SEALED.len())?;
    (mark == SEALED).then(|| Found::new("a sealed file: a secret under a passphrase").with("bytes", bytes.len()))
}

fn thirty_two(bytes: &[u8]) -> Option<Found> {
    let key = PublicKey(bytes.try_into().ok()?);
    let kind = match key.check() {
        Ok(()) => "32 bytes: a public key, a digest or a request id (they look alike)".to_owned(),
        Err(error) => format!("32 bytes: a digest or a request id, and no public key ({error})"),
    };
    Some(Found::new(kind).with("base64url", key).with("hex", hex::encode(bytes)))
}

fn blinded(bytes: &[u8]) -> Option<Found> {
    let kind = "256 bytes: a blinded message or a blind signature (nobody can tell them apart)";
    (bytes.len() == MODULUS_LEN).then(|| Found::new(kind))
}
