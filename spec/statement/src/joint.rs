//! One payload that several keys sign.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use crate::cbor;
use crate::digest::Digest;
use crate::key::{PublicKey, SecretKey};
use crate::sign1::{Detached, MAX_STATEMENT_LEN, Statement, StatementError};

/// The most keys that may sign one payload.
pub const MAX_SIGNATURES: usize = 256;

/// A statement signed by a set of keys: one payload and a detached COSE_Sign1 a distinct key, sorted by key.
///
/// Its [`id`](Joint::id) is the SHA-256 of the payload, so it does not depend on the signatures.
#[derive(Clone)]
pub struct Joint<T> {
    body: T,
    payload: Vec<u8>,
    signatures: Vec<Detached>,
}

impl<T: Statement> Joint<T> {
    /// Signs the body with every key once.
    pub fn sign<'k>(body: T, keys: impl IntoIterator<Item = &'k SecretKey>) -> Self {
        let payload = cbor::to_vec(&body);
        let mut signatures: Vec<Detached> =
            keys.into_iter().map(|key| Detached::sign(key, T::CONTENT_TYPE, &payload)).collect();
        signatures.sort_by_key(Detached::signer);
        signatures.dedup_by_key(|signature| signature.signer());
        Joint { body, payload, signatures }
    }
}

impl<T> Joint<T> {
    /// The SHA-256 of the payload: the request id.
    pub fn id(&self) -> Digest {
        Digest::of(&[&self.payload])
    }

    /// The deterministic encoding of the body.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, sorted by key.
    pub fn signatures(&self) -> &[Detached] {
        &self.signatures
    }

    /// Whether this key has signed.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.signatures.binary_search_by_key(key, Detached::signer).is_ok()
    }

    /// All keys that have signed.
    pub fn signers(&self) -> BTreeSet<PublicKey> {
        self.signatures.iter().map(Detached::signer).collect()
    }
}

impl<T> Deref for Joint<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.body
    }
}

impl<T: fmt::Debug> fmt::Debug for Joint<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joint").field("body", &self.body).field("signatures", &self.signatures).finish()
    }
}

impl<T> PartialEq for Joint<T> {
    fn eq(&self, other: &Self) -> bool {
        self.payload == other.payload && self.signatures == other.signatures
    }
}

impl<T> Eq for Joint<T> {}

/// A joint statement that parses but whose signatures nobody has checked yet.
#[derive(Clone)]
pub struct UnverifiedJoint<T>(Joint<T>);

/// As with [`Joint`]: the payload and every signature.
impl<T> PartialEq for UnverifiedJoint<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for UnverifiedJoint<T> {}

impl<T: Statement> UnverifiedJoint<T> {
    /// Parses payload and signatures, both in deterministic form and order. Nothing is verified.
    pub fn parse<S: AsRef<[u8]>>(payload: &[u8], signatures: &[S]) -> Result<Self, StatementError> {
        if payload.len() > MAX_STATEMENT_LEN || signatures.len() > MAX_SIGNATURES {
            return Err(StatementError::TooLong);
        }
        let body = cbor::from_slice(payload)?;
        let signatures = signatures
            .iter()
            .map(|bytes| Detached::parse(T::CONTENT_TYPE, bytes.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.windows(2).any(|pair| pair[0].signer() >= pair[1].signer()) {
            return Err(StatementError::NotCanonical);
        }
        Ok(UnverifiedJoint(Joint { body, payload: payload.to_vec(), signatures }))
    }

    /// The joint statement, if every signature holds.
    pub fn verify(self) -> Result<Joint<T>, StatementError> {
        for signature in &self.0.signatures {
            signature.verify(T::CONTENT_TYPE, &self.0.payload)?;
        }
        Ok(self.0)
    }

    /// The joint statement, for bytes that this party verified before it stored them.
    pub fn from_own_store(self) -> Joint<T> {
        self.0
    }

    /// The SHA-256 of the payload.
    pub fn id(&self) -> Digest {
        self.0.id()
    }

    /// What the statement says, to look up what it needs, before verifying.
    pub fn claimed_body(&self) -> &T {
        &self.0.body
    }

    /// The deterministic encoding of the body.
    pub fn payload(&self) -> &[u8] {
        self.0.payload()
    }

    /// The signatures, sorted by key.
    pub fn signatures(&self) -> &[Detached] {
        self.0.signatures()
    }
}

impl<T> From<Joint<T>> for UnverifiedJoint<T> {
    fn from(joint: Joint<T>) -> Self {
        UnverifiedJoint(joint)
    }
}

impl<T> fmt::Debug for UnverifiedJoint<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedJoint").finish_non_exhaustive()
    }
}

/// In stores and evidence: an array of the payload and the list of detached signatures.
impl<T, C> minicbor::Encode<C> for Joint<T> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.array(2)?.bytes(&self.payload)?.array(self.signatures.len() as u64)?;
        for signature in &self.signatures {
            encoder.bytes(signature.bytes())?;
        }
        Ok(())
    }
}

impl<T, C> minicbor::Encode<C> for UnverifiedJoint<T> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.0.encode(encoder, context)
    }
}

impl<'b, T: Statement, C> minicbor::Decode<'b, C> for UnverifiedJoint<T> {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let shape = || minicbor::decode::Error::message("a joint statement is an array of payload and signatures");
        if decoder.array()? != Some(2) {
            return Err(shape());
        }
        let payload = decoder.bytes()?;
        let count = decoder.array()?.filter(|count| *count <= MAX_SIGNATURES as u64).ok_or_else(shape)?;
        let signatures = (0..count).map(|_| decoder.bytes()).collect::<Result<Vec<_>, _>>()?;
        UnverifiedJoint::parse(payload, &signatures).map_err(minicbor::decode::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minicbor::{Decode, Encode};

    #[derive(Encode, Decode, Debug)]
    #[cbor(map)]
    struct Note {
        #[n(1)]
        value: u64,
    }

    impl Statement for Note {
        const CONTENT_TYPE: &'static str = "application/naulon.test-note+cbor";
    }

    fn keys() -> [SecretKey; 3] {
        [1, 2, 3].map(|seed| SecretKey::from_seed(&[seed; 32]))
    }

    fn parse(joint: &Joint<Note>, order: &[usize]) -> Result<UnverifiedJoint<Note>, StatementError> {
        let signatures: Vec<_> = order.iter().map(|i| joint.signatures()[*i].bytes()).collect();
        UnverifiedJoint::parse(joint.payload(), &signatures)
    }

    #[test]
    fn every_key_signs_once_in_order() {
        let [a, b, c] = keys();
        let joint = Joint::sign(Note { value: 7 }, [&c, &a, &b, &a]);
        assert_eq!(joint.signatures().len(), 3);
        assert!(joint.is_signed_by(&b.public()) && !joint.is_signed_by(&PublicKey([9; 32])));
        let parsed = parse(&joint, &[0, 1, 2]).and_then(UnverifiedJoint::verify).expect("verifies");
        assert_eq!(parsed, joint);
        let stored = crate::cbor::to_vec(&joint);
        let loaded: UnverifiedJoint<Note> = crate::cbor::from_slice(&stored).expect("loads");
        assert_eq!(loaded.id(), joint.id());
    }

    #[test]
    fn order_and_repetition_are_refused() {
        let [a, b, c] = keys();
        let joint = Joint::sign(Note { value: 7 }, [&a, &b, &c]);
        for order in [&[1, 0, 2][..], &[0, 0, 1]] {
            assert_eq!(parse(&joint, order).map(|_| ()), Err(StatementError::NotCanonical));
        }
    }

    #[test]
    fn a_signature_over_another_payload_is_refused() {
        let [a, ..] = keys();
        let (seven, eight) = (Joint::sign(Note { value: 7 }, [&a]), Joint::sign(Note { value: 8 }, [&a]));
        let mixed = UnverifiedJoint::<Note>::parse(seven.payload(), &[eight.signatures()[0].bytes()]).expect("parses");
        assert!(matches!(mixed.verify(), Err(StatementError::Signature(_))));
    }
}
