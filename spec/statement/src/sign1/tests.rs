use super::*;

#[derive(Encode, Decode, Debug, PartialEq)]
#[cbor(map)]
struct Note {
    #[n(1)]
    value: u64,
}

impl Statement for Note {
    const CONTENT_TYPE: &'static str = "application/naulon.test-note+cbor";
}

#[derive(Encode, Decode, Debug, PartialEq)]
#[cbor(map)]
struct Other {
    #[n(1)]
    value: u64,
}

impl Statement for Other {
    const CONTENT_TYPE: &'static str = "application/naulon.test-other+cbor";
}

fn signed() -> (SecretKey, Signed<Note>) {
    let key = SecretKey::from_seed(&[1; 32]);
    let note = Signed::sign(&key, Note { value: 7 });
    (key, note)
}

#[test]
fn verifies_and_yields_the_body() {
    let (key, note) = signed();
    let parsed = Unverified::<Note>::parse(note.bytes()).expect("parses");
    assert_eq!(*parsed.verify(&key.public()).expect("verifies"), Note { value: 7 });
}

#[test]
fn no_byte_may_change() {
    let (key, note) = signed();
    for i in 0..note.bytes().len() {
        for bit in 0..8 {
            let mut bytes = note.bytes().to_vec();
            bytes[i] ^= 1 << bit;
            let outcome = Unverified::<Note>::parse(&bytes).and_then(|parsed| parsed.verify(&key.public()));
            assert!(outcome.is_err(), "byte {i} bit {bit}");
        }
    }
}

#[test]
fn nothing_may_be_cut_off_or_added() {
    let (_, note) = signed();
    for length in 0..note.bytes().len() {
        assert!(Unverified::<Note>::parse(&note.bytes()[..length]).is_err(), "{length} bytes");
    }
    let longer = [note.bytes(), &[0]].concat();
    assert!(Unverified::<Note>::parse(&longer).is_err());
    assert_eq!(Unverified::<Note>::parse(&vec![0; MAX_STATEMENT_LEN + 1]).map(|_| ()), Err(StatementError::TooLong));
}

#[test]
fn another_kind_or_signer_is_refused() {
    let (_, note) = signed();
    assert_eq!(Unverified::<Other>::parse(note.bytes()).map(|_| ()), Err(StatementError::Malformed));
    let parsed = Unverified::<Note>::parse(note.bytes()).expect("parses");
    let stranger = SecretKey::from_seed(&[2; 32]).public();
    assert_eq!(parsed.verify(&stranger).map(|_| ()), Err(StatementError::WrongSigner));
}

#[test]
fn unprotected_headers_are_refused() {
    let (_, note) = signed();
    let mut sign1 = CoseSign1::from_tagged_slice(note.bytes()).expect("parses");
    sign1.unprotected = HeaderBuilder::new().key_id(vec![1]).build();
    let bytes = sign1.to_tagged_vec().expect("encodes");
    assert_eq!(Unverified::<Note>::parse(&bytes).map(|_| ()), Err(StatementError::Malformed));
}

#[test]
fn a_detached_signature_is_no_statement_and_the_other_way_round() {
    let (key, note) = signed();
    let detached = Detached::sign(&key, Note::CONTENT_TYPE, &cbor::to_vec(&Note { value: 7 }));
    assert_eq!(Unverified::<Note>::parse(detached.bytes()).map(|_| ()), Err(StatementError::Malformed));
    assert_eq!(Detached::parse(Note::CONTENT_TYPE, note.bytes()).map(|_| ()), Err(StatementError::Malformed));
    let parsed = Detached::parse(Note::CONTENT_TYPE, detached.bytes()).expect("parses");
    assert_eq!(parsed.verify(Note::CONTENT_TYPE, &cbor::to_vec(&Note { value: 7 })), Ok(()));
    assert!(parsed.verify(Note::CONTENT_TYPE, &cbor::to_vec(&Note { value: 8 })).is_err());
}

/// Another library writes the same bytes, of all lengths at which CBOR's heads change.
#[test]
fn coset_writes_the_same() {
    let key = SecretKey::from_seed(&[1; 32]);
    let content_type = Note::CONTENT_TYPE;
    for len in [0, 1, 23, 24, 255, 256, 65_535, 65_536] {
        let payload = vec![7; len];
        let header = HeaderBuilder::new()
            .algorithm(iana::Algorithm::EdDSA)
            .content_type(content_type.to_owned())
            .key_id(key.public().0.to_vec())
            .build();
        let sign1 = coset::CoseSign1Builder::new().protected(header);
        let attached = sign1.payload(payload.clone()).create_signature(&[], |message| {
            assert_eq!(message, to_be_signed(content_type, &key.public(), &payload));
            key.sign(message).to_vec()
        });
        let attached = attached.build();
        let signature = attached.signature.clone().try_into().expect("64 bytes");
        let bytes = attached.to_tagged_vec().expect("encodes");
        assert_eq!(envelope(content_type, &key.public(), Some(&payload), &signature), bytes, "{len}");
        let (signer, place, opened) = open_envelope(content_type, &bytes).expect("opens");
        assert_eq!((signer, opened), (key.public(), signature));
        assert_eq!(bytes[place.expect("a payload")], payload);
        let mut detached = CoseSign1::from_tagged_slice(&bytes).expect("decodes");
        detached.payload = None;
        let expected = detached.to_tagged_vec().expect("encodes");
        assert_eq!(envelope(content_type, &key.public(), None, &signature), expected);
        assert_eq!(open_envelope(content_type, &expected), Ok((signer, None, signature)));
    }
}
