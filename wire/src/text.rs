//! Binary values in JSON.

use std::borrow::Cow;

use naulon_statement::{base64url_decode, base64url_encode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes that stand in JSON as base64url without padding.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct B64(pub Vec<u8>);

impl Serialize for B64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url_encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for B64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        base64url_decode(&text).map(B64).map_err(de::Error::custom)
    }
}

/// A text of a form of its own: its name, what it is, and its pattern.
macro_rules! text_schema {
    ($type:ty, $name:literal, $description:literal, $pattern:literal) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $description, "pattern": $pattern })
            }
        }
    };
}

/// The schema of a key, digest or id.
pub(crate) struct KeyText;
/// The schema of an amount.
pub(crate) struct AmountText;
/// The schema of a kind of log entry.
pub(crate) struct EntryText;
/// The schema of a currency.
pub(crate) struct CurrencyText;

text_schema!(B64, "Bytes", "Bytes in base64url without padding.", "^[A-Za-z0-9_-]*$");
text_schema!(KeyText, "Key", "A key, digest or id: 32 bytes in base64url without padding.", "^[A-Za-z0-9_-]{43}$");
text_schema!(AmountText, "Amount", "An amount: a decimal number of micro-units.", "^(0|[1-9][0-9]{0,18})$");
text_schema!(EntryText, "Entry", "How a purchase stands in its log.", "^(plain|encrypted|blind)$");
text_schema!(CurrencyText, "Currency", "A currency: 3 to 12 capital letters.", "^[A-Z]{3,12}$");

impl From<&[u8]> for B64 {
    fn from(bytes: &[u8]) -> Self {
        B64(bytes.to_vec())
    }
}

/// Amounts in JSON are decimal strings of micro-units, so that no reader takes them for floats.
pub(crate) mod amount {
    use naulon_money::Amount;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&amount.micros().to_string())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let canonical =
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
        let amount = text.parse().ok().filter(|_| canonical).map(Amount::from_micros);
        amount
            .filter(|amount| *amount <= Amount::MAX)
            .ok_or_else(|| de::Error::custom("an amount is a decimal string of micro-units without leading zeros"))
    }
}

/// Values that stand in JSON as their own text: keys, digests, currencies.
pub(crate) mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Lists of such values.
pub(crate) mod as_texts {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| value.to_string()))
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
    }
}
