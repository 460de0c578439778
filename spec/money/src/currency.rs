//! Currency names.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Decoder, Encode, decode};

/// The longest currency name.
pub const MAX_CURRENCY_LEN: usize = 12;

/// The name of a currency: 3 to [`MAX_CURRENCY_LEN`] capital letters, such as `EUR`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
#[cbor(transparent)]
pub struct Currency(#[n(0)] String);

impl Currency {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that does not name a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a currency is named by 3 to {MAX_CURRENCY_LEN} capital letters")]
pub struct CurrencyError;

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        let fits = (3..=MAX_CURRENCY_LEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase());
        fits.then(|| Currency(text.to_owned())).ok_or(CurrencyError)
    }
}

impl<'b, C> Decode<'b, C> for Currency {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        decoder.str()?.parse().map_err(decode::Error::custom)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_to_twelve_capitals() {
        assert!("EUR".parse::<Currency>().is_ok());
        for bad in ["", "EU", "eur", "EU1", "ABCDEFGHIJKLM"] {
            assert_eq!(bad.parse::<Currency>(), Err(CurrencyError), "{bad}");
        }
    }

    #[test]
    fn decoding_checks() {
        let bad = minicbor::to_vec("eur").expect("encodes");
        assert!(minicbor::decode::<Currency>(&bad).is_err());
    }
}
