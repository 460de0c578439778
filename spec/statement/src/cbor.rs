//! Deterministic CBOR (RFC 8949 §4.2).
//!
//! minicbor writes deterministically when maps are declared with ascending integer keys, but it reads leniently:
//! reordered, repeated, non-minimal or trailing bytes pass. So what is read is written again and compared.

use minicbor::{Decode, Encode};

/// Why bytes are not the deterministic encoding of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Not CBOR, or not of this type.
    #[error("not the expected CBOR value")]
    Malformed,
    /// The right value, written in another way than the deterministic one.
    #[error("CBOR that is not in deterministic form")]
    NotCanonical,
}

/// The deterministic encoding of a value.
pub fn to_vec<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    match minicbor::encode(value, &mut bytes) {
        Ok(()) => bytes,
        // A vector takes every byte, and none of our encoders refuses a value.
        Err(never) => unreachable!("encoding into memory failed: {never}"),
    }
}

/// Reads a value that is written deterministically, whole, with nothing behind it.
pub fn from_slice<'b, T: Encode<()> + Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, CborError> {
    let value = minicbor::decode(bytes).map_err(|_| CborError::Malformed)?;
    if to_vec(&value) == bytes { Ok(value) } else { Err(CborError::NotCanonical) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Encode, Decode, Debug, PartialEq)]
    #[cbor(map)]
    struct Pair {
        #[n(1)]
        a: u64,
        #[n(2)]
        b: Option<u64>,
    }

    /// Every way in which the same value may be written that is not the deterministic one.
    #[test]
    fn only_the_deterministic_form_is_read() {
        assert_eq!(from_slice(&[0xa1, 1, 5]), Ok(Pair { a: 5, b: None }));
        for (name, bytes) in [
            ("non-minimal integer", &[0xa1, 1, 0x18, 5][..]),
            ("non-minimal length", &[0xb8, 1, 1, 5]),
            ("indefinite map", &[0xbf, 1, 5, 0xff]),
            ("reordered keys", &[0xa2, 2, 6, 1, 5]),
            ("repeated key", &[0xa2, 1, 5, 1, 5]),
            ("unknown key", &[0xa2, 1, 5, 3, 5]),
            ("trailing byte", &[0xa1, 1, 5, 0]),
            ("explicit null", &[0xa2, 1, 5, 2, 0xf6]),
        ] {
            assert_eq!(from_slice::<Pair>(bytes), Err(CborError::NotCanonical), "{name}");
        }
        assert_eq!(from_slice::<Pair>(&[0xa1, 1]), Err(CborError::Malformed));
    }
}
