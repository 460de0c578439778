//! Amounts, currencies and denominations.
//!
//! An [`Amount`] counts micro-units of one [`Currency`]: 1.00 is `Amount::from_micros(1_000_000)`. Arithmetic is checked;
//! there are no floats, not even to print. A bank's tokens come in the [`Grid`] of its denominations, by default 1-2-5
//! from 0.01 to 500.
//!
//! In scope: counting, printing and parsing money, and splitting it into denominations.
//! Out of scope: exchange between currencies; who owns what (`naulon-exchange`).
//!
//! ```
//! use naulon_money::{Amount, Grid};
//! let price: Amount = "3.70".parse().unwrap();
//! let parts: Vec<String> = Grid::standard().split(price).unwrap().iter().map(|p| p.to_string()).collect();
//! assert_eq!(parts, ["2.00", "1.00", "0.50", "0.20"]);
//! ```

mod amount;
mod currency;
mod grid;

pub use amount::{Amount, AmountError, MICROS_PER_UNIT};
pub use currency::{Currency, CurrencyError, MAX_CURRENCY_LEN};
pub use grid::{Grid, GridError, MAX_DENOMINATIONS};
