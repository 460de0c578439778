//! COSE_Sign1 statements by one signer.

use std::fmt;
use std::ops::{Deref, Range};

use coset::{CoseSign1, HeaderBuilder, TaggedCborSerializable, iana};
use minicbor::{Decode, Encode};

use crate::cbor::{self, CborError};
use crate::key::{PublicKey, SecretKey, SignatureError};

/// The longest statement that is parsed, in bytes.
pub const MAX_STATEMENT_LEN: usize = 256 * 1024;

/// What can be signed: a CBOR map with ascending integer keys and a content type of its own.
pub trait Statement: Encode<()> + for<'b> Decode<'b, ()> {
    /// The media type in the protected header, which separates this kind of statement from all others.
    const CONTENT_TYPE: &'static str;
}

/// Why bytes are not a statement of the expected kind and signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Longer than [`MAX_STATEMENT_LEN`].
    #[error("the statement is longer than {MAX_STATEMENT_LEN} bytes")]
    TooLong,
    /// Not a COSE_Sign1 of ours: another header, another content type, another payload, or not CBOR at all.
    #[error("not a statement of the expected kind")]
    Malformed,
    /// A statement written in another way than the deterministic one.
    #[error("a statement that is not in deterministic form")]
    NotCanonical,
    /// Signed by another key than the one that should have.
    #[error("the statement is signed by another key")]
    WrongSigner,
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl StatementError {
    /// The stable code of this error, the same in every party's refusals.
    pub fn code(&self) -> &'static str {
        match self {
            StatementError::TooLong => "too_long",
            StatementError::Malformed => "malformed",
            StatementError::NotCanonical => "not_canonical",
            StatementError::WrongSigner => "wrong_signer",
            StatementError::Signature(_) => "bad_signature",
        }
    }
}

impl From<CborError> for StatementError {
    fn from(error: CborError) -> Self {
        match error {
            CborError::Malformed => StatementError::Malformed,
            CborError::NotCanonical => StatementError::NotCanonical,
        }
    }
}

/// A statement whose signature holds. It reads as its body; [`Signed::bytes`] is what goes to others and into evidence.
#[derive(Clone)]
pub struct Signed<T> {
    body: T,
    signer: PublicKey,
    bytes: Vec<u8>,
}

impl<T: Statement> Signed<T> {
    /// Signs the body.
    pub fn sign(key: &SecretKey, body: T) -> Self {
        let payload = cbor::to_vec(&body);
        let signer = key.public();
        let signature = key.sign(&to_be_signed(T::CONTENT_TYPE, &signer, &payload));
        let bytes = envelope(T::CONTENT_TYPE, &signer, Some(&payload), &signature);
        Signed { body, signer, bytes }
    }
}

impl<T> Signed<T> {
    /// The COSE_Sign1.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Who signed.
    pub fn signer(&self) -> PublicKey {
        self.signer
    }

    /// The body alone.
    pub fn into_body(self) -> T {
        self.body
    }
}

impl<T> Deref for Signed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.body
    }
}

impl<T: fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("by", &self.signer).field("body", &self.body).finish()
    }
}

/// Two signed statements are the same when their bytes are.
impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Signed<T> {}

/// A statement that parses but whose signature nobody has checked yet.
#[derive(Clone)]
pub struct Unverified<T> {
    inner: Signed<T>,
    /// Where the payload stands in the bytes.
    payload: Range<usize>,
    signature: [u8; 64],
}

/// As with [`Signed`].
impl<T> PartialEq for Unverified<T> {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl<T> Eq for Unverified<T> {}

impl<T: Statement> Unverified<T> {
    /// Parses a COSE_Sign1 of this kind, in deterministic form. Nothing is verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let (signer, payload, signature) = open_envelope(T::CONTENT_TYPE, bytes)?;
        let payload = payload.ok_or(StatementError::Malformed)?;
        let body = cbor::from_slice(&bytes[payload.clone()])?;
        Ok(Unverified { inner: Signed { body, signer, bytes: bytes.to_vec() }, payload, signature })
    }

    /// The signed statement, if the signature is this key's and holds.
    pub fn verify(self, signer: &PublicKey) -> Result<Signed<T>, StatementError> {
        if self.inner.signer != *signer {
            return Err(StatementError::WrongSigner);
        }
        let message = to_be_signed(T::CONTENT_TYPE, signer, &self.inner.bytes[self.payload.clone()]);
        signer.verify(&message, &self.signature)?;
        Ok(self.inner)
    }

    /// The signed statement, for bytes that this party verified before it stored them.
    pub fn from_own_store(self) -> Signed<T> {
        self.inner
    }

    /// Who the statement says has signed it: to look up whether such a signer is known, before verifying.
    pub fn claimed_signer(&self) -> PublicKey {
        self.inner.signer
    }

    /// What the statement says, to look up what it needs, before verifying.
    pub fn claimed_body(&self) -> &T {
        &self.inner.body
    }
}

impl<T> Unverified<T> {
    /// The COSE_Sign1.
    pub fn bytes(&self) -> &[u8] {
        self.inner.bytes()
    }
}

/// A signed statement on its way to somebody who has to verify it.
impl<T: Statement + Clone> From<&Signed<T>> for Unverified<T> {
    fn from(signed: &Signed<T>) -> Self {
        let (payload, signature) = match open_envelope(T::CONTENT_TYPE, &signed.bytes) {
            Ok((_, Some(payload), signature)) => (payload, signature),
            // The bytes of a signed statement were made or parsed by this module.
            _ => unreachable!("a signed statement does not parse"),
        };
        Unverified { inner: signed.clone(), payload, signature }
    }
}

impl<T> fmt::Debug for Unverified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").finish_non_exhaustive()
    }
}

/// A signature apart from what it signs (COSE_Sign1 with a detached payload, RFC 9052 §4.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Detached {
    signer: PublicKey,
    signature: [u8; 64],
    bytes: Vec<u8>,
}

impl Detached {
    /// Signs a payload, which is the deterministic encoding of a statement of this content type.
    pub fn sign(key: &SecretKey, content_type: &str, payload: &[u8]) -> Self {
        let signer = key.public();
        let signature = key.sign(&to_be_signed(content_type, &signer, payload));
        Detached { signer, signature, bytes: envelope(content_type, &signer, None, &signature) }
    }

    /// Parses a detached signature for this content type. Nothing is verified.
    pub fn parse(content_type: &str, bytes: &[u8]) -> Result<Self, StatementError> {
        let (signer, payload, signature) = open_envelope(content_type, bytes)?;
        if payload.is_some() {
            return Err(StatementError::Malformed);
        }
        Ok(Detached { signer, signature, bytes: bytes.to_vec() })
    }

    /// Verifies the signature over the payload.
    pub fn verify(&self, content_type: &str, payload: &[u8]) -> Result<(), SignatureError> {
        self.signer.verify(&to_be_signed(content_type, &self.signer, payload), &self.signature)
    }

    /// Whose signature this claims to be.
    pub fn signer(&self) -> PublicKey {
        self.signer
    }

    /// The COSE_Sign1.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").field("by", &self.signer).finish_non_exhaustive()
    }
}

/// The protected header: a map of algorithm EdDSA, content type and, last, the signer's key.
fn protected(content_type: &str, signer: &PublicKey) -> Vec<u8> {
    written(|encoder| encoder.map(3)?.u8(1)?.i8(-8)?.u8(3)?.str(content_type)?.u8(4)?.bytes(&signer.0)?.ok())
}

/// The Sig_structure (RFC 9052 §4.4), without external data.
fn to_be_signed(content_type: &str, signer: &PublicKey, payload: &[u8]) -> Vec<u8> {
    let protected = protected(content_type, signer);
    written(|encoder| encoder.array(4)?.str("Signature1")?.bytes(&protected)?.bytes(&[])?.bytes(payload)?.ok())
}

/// The tagged COSE_Sign1 (RFC 9052 §4.2), deterministic, with an empty unprotected header.
fn envelope(content_type: &str, signer: &PublicKey, payload: Option<&[u8]>, signature: &[u8; 64]) -> Vec<u8> {
    let protected = protected(content_type, signer);
    written(|encoder| {
        encoder.tag(minicbor::data::Tag::new(COSE_SIGN1))?.array(4)?.bytes(&protected)?.map(0)?;
        encoder.encode(payload.map(<&minicbor::bytes::ByteSlice>::from))?.bytes(signature)?.ok()
    })
}

const COSE_SIGN1: u64 = 18;

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn written(write: impl FnOnce(&mut minicbor::Encoder<&mut Vec<u8>>) -> Written) -> Vec<u8> {
    let mut bytes = Vec::new();
    match write(&mut minicbor::Encoder::new(&mut bytes)) {
        Ok(()) => bytes,
        // Memory takes every byte, and all fields are of encodable kinds.
        Err(never) => unreachable!("encoding a COSE_Sign1 failed: {never}"),
    }
}

/// Signer, place of the payload, signature.
type Opened = (PublicKey, Option<Range<usize>>, [u8; 64]);

/// Takes a COSE_Sign1 apart and puts it together again: only the very bytes that we would have written pass.
fn open_envelope(content_type: &str, bytes: &[u8]) -> Result<Opened, StatementError> {
    if bytes.len() > MAX_STATEMENT_LEN {
        return Err(StatementError::TooLong);
    }
    let (signer, payload, signature) = take_apart(bytes).ok_or_else(|| why_refused(content_type, bytes))?;
    let again = envelope(content_type, &signer, payload.clone().map(|place| &bytes[place]), &signature);
    if again != bytes {
        return Err(why_refused(content_type, bytes));
    }
    Ok((signer, payload, signature))
}

/// What stands where; whether anything else is as it should be, comes out when it is put together again.
fn take_apart(bytes: &[u8]) -> Option<Opened> {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.tag().ok()?;
    decoder.array().ok()?;
    let signer = *decoder.bytes().ok()?.last_chunk()?;
    decoder.map().ok()?;
    let payload = match decoder.datatype().ok()? {
        minicbor::data::Type::Null => decoder.null().map(|()| None).ok()?,
        _ => {
            let len = decoder.bytes().ok()?.len();
            Some(decoder.position() - len..decoder.position())
        }
    };
    let signature = decoder.bytes().ok()?.try_into().ok()?;
    Some((PublicKey(signer), payload, signature))
}

/// Says of bytes that are not what we would have written, whether they say something else or the same in another way.
fn why_refused(content_type: &str, bytes: &[u8]) -> StatementError {
    let Ok(sign1) = CoseSign1::from_tagged_slice(bytes) else { return StatementError::Malformed };
    let key_id = &sign1.protected.header.key_id;
    let header = HeaderBuilder::new()
        .algorithm(iana::Algorithm::EdDSA)
        .content_type(content_type.to_owned())
        .key_id(key_id.clone())
        .build();
    let says_the_same = sign1.protected.header == header
        && sign1.unprotected.is_empty()
        && key_id.len() == 32
        && sign1.signature.len() == 64;
    if says_the_same { StatementError::NotCanonical } else { StatementError::Malformed }
}

/// Statements stand in stores and evidence as byte strings of their COSE_Sign1.
impl<T, C> Encode<C> for Signed<T> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.bytes)?.ok()
    }
}

impl<T, C> Encode<C> for Unverified<T> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.inner.encode(encoder, context)
    }
}

impl<'b, T: Statement, C> Decode<'b, C> for Unverified<T> {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Unverified::parse(decoder.bytes()?).map_err(minicbor::decode::Error::custom)
    }
}

#[cfg(test)]
mod tests;
