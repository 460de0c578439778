//! Remote bytes never panic, and what is taken is taken in one form only.

use minicbor::{Decode, Encode};
use naulon_statement::{
    Detached, SecretKey, Signed, Statement, Unverified, UnverifiedJoint, base64url_decode, base64url_encode, cbor,
};
use proptest::prelude::*;

#[derive(Encode, Decode, Debug, PartialEq)]
#[cbor(map)]
struct Note {
    #[n(1)]
    words: Option<String>,
    #[n(2)]
    numbers: Vec<u64>,
}

impl Statement for Note {
    const CONTENT_TYPE: &'static str = "application/naulon.test-note+cbor";
}

fn note() -> impl Strategy<Value = Note> {
    (proptest::option::of(".{0,20}"), proptest::collection::vec(any::<u64>(), 0..5))
        .prop_map(|(words, numbers)| Note { words, numbers })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Unverified::<Note>::parse(&bytes);
        let _ = Detached::parse(Note::CONTENT_TYPE, &bytes);
        let _ = UnverifiedJoint::<Note>::parse(&bytes, &[&bytes[..]]);
        let _ = cbor::from_slice::<Note>(&bytes);
    }

    /// Bytes cut out of a sound statement and put in again elsewhere: close to what parses.
    #[test]
    fn torn_statements_never_verify(note in note(), from: u16, to: u16, length in 0..40usize) {
        let key = SecretKey::from_seed(&[1; 32]);
        let signed = Signed::sign(&key, note);
        let mut bytes = signed.bytes().to_vec();
        let (from, to) = (usize::from(from) % bytes.len(), usize::from(to) % bytes.len());
        let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
        bytes.splice(to..(to + piece.len()).min(bytes.len()), piece);
        let verified = Unverified::<Note>::parse(&bytes).and_then(|parsed| parsed.verify(&key.public()));
        prop_assert_eq!(verified.is_ok(), bytes == signed.bytes());
    }

    #[test]
    fn what_is_signed_is_read_back(note in note()) {
        let key = SecretKey::from_seed(&[1; 32]);
        let signed = Signed::sign(&key, note);
        let parsed = Unverified::<Note>::parse(signed.bytes()).expect("parses").verify(&key.public()).expect("verifies");
        prop_assert_eq!(&parsed, &signed);
        prop_assert_eq!(&*parsed, &*signed);
    }

    #[test]
    fn base64url_has_one_text_a_value(
        bytes in proptest::collection::vec(any::<u8>(), 0..50),
        text in "[A-Za-z0-9_=-]{0,20}",
    ) {
        prop_assert_eq!(base64url_decode(&base64url_encode(&bytes)), Ok(bytes));
        if let Ok(read) = base64url_decode(&text) {
            prop_assert_eq!(base64url_encode(&read), text);
        }
    }
}
