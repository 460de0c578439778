//! Lengths of time as people write them.

use std::fmt;
use std::str::FromStr;

use naulon_statement::Duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written 500ms, 90s, 15m, 12h or 30d.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// The units, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.0;
        let fits = |(_, unit): &&(&str, u64)| millis >= *unit && millis.is_multiple_of(*unit);
        let (name, unit) = UNITS.iter().find(fits).unwrap_or(&("s", 1_000));
        write!(f, "{}{name}", millis / unit)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a time; write it like 500ms, 90s, 15m, 12h or 30d");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (count, name) = text.split_at(digits);
        let unit = UNITS.iter().find(|(known, _)| *known == name).ok_or_else(refused)?.1;
        let count: u64 = count.parse().map_err(|_| refused())?;
        count.checked_mul(unit).map(|millis| Span(Duration(millis))).ok_or_else(refused)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        for (text, millis) in [("500ms", 500), ("90s", 90_000), ("15m", 900_000), ("12h", 43_200_000), ("0s", 0)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.0, millis);
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("60s".parse::<Span>().unwrap().to_string(), "1m");
        for bad in ["", "5", "s", "5 s", "-5s", "5w", "1.5h", "99999999999999999999d", "9999999999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
