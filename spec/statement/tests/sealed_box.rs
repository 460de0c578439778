//! Sealed boxes against RFC 9180's published vectors, and what must not open.

use naulon_statement::{BOX_OVERHEAD, BoxError, BoxPublicKey, BoxSecretKey, seal_to};

fn unhex(value: &serde_json::Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hexadecimal")
}

fn fixed(value: &serde_json::Value) -> [u8; 32] {
    unhex(value).try_into().expect("32 bytes")
}

#[test]
fn a_box_is_that_of_the_rfc() {
    let text = include_str!("../../../vectors/hpke/rfc9180-x25519-chacha20poly1305-base.json");
    let vector: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let key = BoxSecretKey::from_seed(&fixed(&vector["ikmR"]));
    assert_eq!(key.public(), BoxPublicKey(fixed(&vector["pkRm"])));
    let [info, aad, plain] = ["info", "aad", "pt"].map(|name| unhex(&vector[name]));
    let sealed = seal_to(&key.public(), &info, &aad, &plain, &fixed(&vector["ikmE"])).expect("seals");
    assert_eq!(sealed, [unhex(&vector["enc"]), unhex(&vector["ct"])].concat());
    assert_eq!(sealed.len(), plain.len() + BOX_OVERHEAD);
    assert_eq!(key.open(&info, &aad, &sealed), Ok(plain));
}

#[test]
fn a_box_opens_for_its_key_and_purpose_only() {
    let key = BoxSecretKey::from_seed(&[1; 32]);
    let sealed = seal_to(&key.public(), b"info", b"aad", b"plain", &[2; 32]).expect("seals");
    assert_eq!(key.open(b"info", b"aad", &sealed).as_deref(), Ok(&b"plain"[..]));
    assert_eq!(BoxSecretKey::from_seed(&[3; 32]).open(b"info", b"aad", &sealed), Err(BoxError::Closed));
    assert_eq!(key.open(b"other", b"aad", &sealed), Err(BoxError::Closed));
    assert_eq!(key.open(b"info", b"other", &sealed), Err(BoxError::Closed));
    for bit in 0..8 * sealed.len() {
        // X25519 leaves the highest bit of a key out.
        if bit == 255 {
            continue;
        }
        let mut other = sealed.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.open(b"info", b"aad", &other), Err(BoxError::Closed), "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert_eq!(key.open(b"info", b"aad", &sealed[..len]), Err(BoxError::Closed), "{len} bytes");
    }
    let neutral = BoxPublicKey([0; 32]);
    assert_eq!(seal_to(&neutral, b"", b"", b"plain", &[2; 32]), Err(BoxError::Recipient), "a point of small order");
}
