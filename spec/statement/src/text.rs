//! base64url without padding (RFC 4648 §5), the text form of every binary value.

use base64ct::{Base64UrlUnpadded, Encoding};

/// Why a text is not base64url, or not of the right length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not base64url without padding, or with stray bits at its end.
    #[error("not base64url without padding")]
    NotBase64Url,
    /// The bytes are more or fewer than expected.
    #[error("{found} bytes where {expected} are expected")]
    Length {
        /// How many bytes the value has.
        expected: usize,
        /// How many the text has.
        found: usize,
    },
}

/// The text of these bytes.
pub fn base64url_encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// The bytes of this text, which must be the only one for them.
pub fn base64url_decode(text: &str) -> Result<Vec<u8>, TextError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| TextError::NotBase64Url)
}

/// The bytes of this text, `N` of them.
pub(crate) fn base64url_array<const N: usize>(text: &str) -> Result<[u8; N], TextError> {
    let bytes = base64url_decode(text)?;
    let found = bytes.len();
    bytes.try_into().map_err(|_| TextError::Length { expected: N, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_a_value() {
        assert_eq!(base64url_decode("_-8"), Ok(vec![0xff, 0xef]));
        for bad in ["_-8=", "_-9", "/+8", "_", " _-8"] {
            assert_eq!(base64url_decode(bad), Err(TextError::NotBase64Url), "{bad}");
        }
        assert_eq!(base64url_array::<3>("_-8"), Err(TextError::Length { expected: 3, found: 2 }));
    }
}
