//! Blind signatures that only one party can read: sealed to a key that the request names.

use naulon_blind::{BlindSignature, MODULUS_LEN};
use naulon_statement::{BoxError, BoxPublicKey, BoxSecretKey, seal_to};

use crate::request::RequestId;

/// What these boxes are for.
const INFO: &[u8] = b"naulon/exchange-reply/1";

/// Seals the blind signatures of a request, in the order of its blinded outputs. The same entropy gives the same bytes.
pub fn seal_signatures(
    to: &BoxPublicKey,
    request: &RequestId,
    signatures: &[BlindSignature],
    entropy: &[u8; 32],
) -> Result<Vec<u8>, BoxError> {
    let plain: Vec<u8> = signatures.iter().flat_map(|signature| *signature.as_bytes()).collect();
    seal_to(to, INFO, request.as_bytes(), &plain, entropy)
}

/// The blind signatures in a box; none if it is another key's or another request's.
pub fn open_signatures(key: &BoxSecretKey, request: &RequestId, sealed: &[u8]) -> Option<Vec<BlindSignature>> {
    let plain = key.open(INFO, request.as_bytes(), sealed).ok()?;
    let (signatures, rest) = plain.as_chunks::<MODULUS_LEN>();
    rest.is_empty().then(|| signatures.iter().map(|bytes| BlindSignature(*bytes)).collect())
}
