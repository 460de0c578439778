//! Amounts in micro-units.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

/// Micro-units in one unit of a currency.
pub const MICROS_PER_UNIT: u64 = 1_000_000;

/// A quantity of money in micro-units (10⁻⁶ of a currency's unit). It is never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Amount(#[n(0)] u64);

impl Amount {
    /// No money.
    pub const ZERO: Amount = Amount(0);
    /// The largest amount that can be counted, 2⁶³ − 1 micro-units: it fits a signed database integer.
    pub const MAX: Amount = Amount(i64::MAX as u64);

    /// This many micro-units. Larger than [`Amount::MAX`] is caught by the checked operations and by the parsers.
    pub const fn from_micros(micros: u64) -> Self {
        Amount(micros)
    }

    /// The count of micro-units.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// True for no money.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` above [`Amount::MAX`].
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).map(Amount).filter(|sum| *sum <= Amount::MAX)
    }

    /// The difference, or `None` below zero.
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }

    /// The product with a count, or `None` above [`Amount::MAX`].
    pub fn checked_mul(self, count: u64) -> Option<Amount> {
        self.0.checked_mul(count).map(Amount).filter(|product| *product <= Amount::MAX)
    }

    /// The sum of many, or `None` above [`Amount::MAX`].
    pub fn checked_sum(amounts: impl IntoIterator<Item = Amount>) -> Option<Amount> {
        amounts.into_iter().try_fold(Amount::ZERO, Amount::checked_add)
    }
}

/// Prints units with at least two decimals and no more than are needed: `3.70`, `0.000001`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:06}", self.0 % MICROS_PER_UNIT);
        let shown = fraction.trim_end_matches('0');
        f.pad(&format!("{}.{:0<2}", self.0 / MICROS_PER_UNIT, shown))
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits with at most one point.
    #[error("an amount is written like 12, 12.5 or 0.000001")]
    Malformed,
    /// More than six decimals.
    #[error("an amount has at most six decimals")]
    TooFine,
    /// Above [`Amount::MAX`].
    #[error("the amount is larger than can be counted")]
    TooLarge,
}

/// Parses units with up to six decimals: `12`, `12.5`, `0.000001`.
impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (units, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(units) || !digits(fraction) {
            return Err(AmountError::Malformed);
        }
        if fraction.len() > 6 {
            return Err(AmountError::TooFine);
        }
        let units: u64 = units.parse().map_err(|_| AmountError::TooLarge)?;
        let fraction: u64 = format!("{fraction:0<6}").parse().map_err(|_| AmountError::Malformed)?;
        units
            .checked_mul(MICROS_PER_UNIT)
            .and_then(|micros| micros.checked_add(fraction))
            .map(Amount)
            .filter(|amount| *amount <= Amount::MAX)
            .ok_or(AmountError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_and_parses() {
        for (micros, text) in
            [(0, "0.00"), (1, "0.000001"), (10_000, "0.01"), (3_700_000, "3.70"), (500_000_000, "500.00")]
        {
            assert_eq!(Amount(micros).to_string(), text);
            assert_eq!(text.parse(), Ok(Amount(micros)));
        }
        assert_eq!("12".parse(), Ok(Amount(12_000_000)));
    }

    #[test]
    fn refuses_what_is_not_an_amount() {
        use AmountError::*;
        for (text, error) in [
            ("", Malformed),
            (".5", Malformed),
            ("5.", Malformed),
            ("-1", Malformed),
            ("+1", Malformed),
            ("1e3", Malformed),
            ("1.0000001", TooFine),
            ("9223372036855", TooLarge),
            ("99999999999999999999", TooLarge),
        ] {
            assert_eq!(text.parse::<Amount>(), Err(error), "{text}");
        }
    }

    #[test]
    fn never_wraps() {
        assert_eq!(Amount::MAX.checked_add(Amount(1)), None);
        assert_eq!(Amount(1).checked_sub(Amount(2)), None);
        assert_eq!(Amount::MAX.checked_mul(2), None);
        assert_eq!(Amount::checked_sum([Amount::MAX, Amount(0)]), Some(Amount::MAX));
    }

    proptest! {
        #[test]
        fn display_round_trips(micros in 0..=i64::MAX as u64) {
            prop_assert_eq!(Amount(micros).to_string().parse(), Ok(Amount(micros)));
        }
    }
}
