//! Denominations.

use crate::Amount;

/// The most denominations that one grid can have.
pub const MAX_DENOMINATIONS: usize = 64;

/// The denominations a bank issues, largest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid(Vec<Amount>);

/// Why denominations make no grid, or an amount does not fit one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// None, too many, zero, or twice the same.
    #[error("a grid has 1 to {MAX_DENOMINATIONS} different denominations above zero")]
    Denominations,
    /// The amount cannot be made from the denominations.
    #[error("the amount cannot be paid with the denominations")]
    NotPayable,
}

impl Grid {
    /// The grid of these denominations, in any order.
    pub fn new(denominations: impl IntoIterator<Item = Amount>) -> Result<Self, GridError> {
        let mut grid: Vec<Amount> = denominations.into_iter().collect();
        grid.sort_unstable_by(|a, b| b.cmp(a));
        let distinct = grid.windows(2).all(|pair| pair[0] != pair[1]);
        let fits = !grid.is_empty() && grid.len() <= MAX_DENOMINATIONS && distinct && grid.iter().all(|d| !d.is_zero());
        fits.then_some(Grid(grid)).ok_or(GridError::Denominations)
    }

    /// 1-2-5 from 0.01 to 500.
    pub fn standard() -> Self {
        let decades = [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
        let mut grid: Vec<Amount> =
            decades.iter().flat_map(|d| [1, 2, 5].map(|m| Amount::from_micros(d * m))).collect();
        grid.reverse();
        Grid(grid)
    }

    /// The denominations, largest first.
    pub fn denominations(&self) -> &[Amount] {
        &self.0
    }

    /// The fewest denominations, largest first, that make `amount` when each is taken as often as it fits.
    pub fn split(&self, amount: Amount) -> Result<Vec<Amount>, GridError> {
        let mut rest = amount.micros();
        let mut parts = Vec::new();
        for denomination in &self.0 {
            let count = rest / denomination.micros();
            rest %= denomination.micros();
            parts.extend((0..count.min(u64::from(u16::MAX))).map(|_| *denomination));
            if count > u64::from(u16::MAX) {
                return Err(GridError::NotPayable);
            }
        }
        if rest == 0 { Ok(parts) } else { Err(GridError::NotPayable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn standard_is_one_two_five() {
        let grid = Grid::standard();
        assert_eq!(grid.denominations().len(), 15);
        assert_eq!(grid.denominations()[0].to_string(), "500.00");
        assert_eq!(grid.denominations()[14].to_string(), "0.01");
        assert_eq!(Grid::new(grid.denominations().to_vec()), Ok(grid));
    }

    #[test]
    fn refuses_bad_grids() {
        let one = Amount::from_micros(1);
        assert_eq!(Grid::new([]), Err(GridError::Denominations));
        assert_eq!(Grid::new([one, one]), Err(GridError::Denominations));
        assert_eq!(Grid::new([Amount::ZERO]), Err(GridError::Denominations));
    }

    #[test]
    fn off_the_grid_is_not_payable() {
        assert_eq!(Grid::standard().split(Amount::from_micros(5_000)), Err(GridError::NotPayable));
    }

    proptest! {
        #[test]
        fn parts_make_the_amount(cents in 0u64..1_000_000) {
            let amount = Amount::from_micros(cents * 10_000);
            let parts = Grid::standard().split(amount).expect("on the grid");
            prop_assert_eq!(Amount::checked_sum(parts), Some(amount));
        }
    }
}
