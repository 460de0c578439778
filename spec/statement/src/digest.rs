//! SHA-256 digests and derived secrets.

use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};

use crate::text::{TextError, base64url_array, base64url_encode};

/// A SHA-256 digest. Its text is base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

impl Digest {
    /// The digest of the parts, one behind the other. The first part is the domain, such as `naulon/k`; every part but the
    /// last has a fixed length, so that two different lists never run together.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Digest(hasher.finalize().into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base64url_encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url_encode(&self.0))
    }
}

impl FromStr for Digest {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        base64url_array(text).map(Digest)
    }
}

/// HKDF-SHA256 (RFC 5869) without salt: fills `out` from the secret and the labels, one behind the other. At most 8,160
/// bytes, which every caller's fixed-size `out` stays below.
pub fn derive_secret(secret: &[u8], labels: &[&[u8]], out: &mut [u8]) {
    let expanded = Hkdf::<Sha256>::new(None, secret).expand_multi_info(labels, out);
    assert!(expanded.is_ok(), "a derived secret has at most 8,160 bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_parts_is_that_of_the_whole() {
        assert_eq!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"abc"]));
        let text = Digest::of(&[b"abc"]).to_string();
        assert_eq!(text, "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
        assert_eq!(text.parse(), Ok(Digest::of(&[b"abc"])));
    }

    #[test]
    fn labels_separate() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        derive_secret(b"secret", &[b"a"], &mut a);
        derive_secret(b"secret", &[b"b"], &mut b);
        assert_ne!(a, b);
    }
}
