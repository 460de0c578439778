use super::*;
use proptest::prelude::*;

fn amounts(cents: &[u64]) -> Vec<Amount> {
    cents.iter().map(|cents| Amount::from_micros(cents * 10_000)).collect()
}

fn cents(cents: u64) -> Amount {
    Amount::from_micros(cents * 10_000)
}

fn standard(values: &[u64], price: u64) -> Result<(Vec<u64>, u64), Shortfall> {
    let values = amounts(values);
    let selection = select(&values, cents(price), Some(&Grid::standard()), 128)?;
    let chosen = selection.chosen.iter().map(|place| values[*place].micros() / 10_000).collect();
    Ok((chosen, selection.change.micros() / 10_000))
}

#[test]
fn exact_comes_before_few_and_few_before_many() {
    assert_eq!(standard(&[500, 200, 200, 200], 600), Ok((vec![200, 200, 200], 0)));
    assert_eq!(standard(&[500, 100, 200, 200, 200], 600), Ok((vec![500, 100], 0)));
    assert_eq!(standard(&[500, 1000], 370), Ok((vec![500], 130)));
    assert_eq!(standard(&[200, 200, 5000], 370), Ok((vec![200, 200], 30)));
}

#[test]
fn what_cannot_be_paid_is_named() {
    assert_eq!(standard(&[500], 700), Err(Shortfall::Insufficient { missing: cents(200) }));
    assert_eq!(standard(&[], 1), Err(Shortfall::Insufficient { missing: cents(1) }));
    let off_grid = Amount::from_micros(5_000);
    for values in [&[][..], &[100, 500]] {
        let refused = select(&amounts(values), off_grid, Some(&Grid::standard()), 128);
        assert_eq!(refused, Err(Shortfall::NotPayable));
    }
    // Without brands to make change of, exact tokens still pay.
    assert!(select(&amounts(&[200, 100]), cents(300), None, 128).is_ok());
    assert_eq!(select(&amounts(&[200, 200]), cents(300), None, 128), Err(Shortfall::NotPayable));
}

#[test]
fn no_more_tokens_than_an_exchange_takes() {
    let (many, one) = (vec![1; 300], [vec![1; 300], vec![500]].concat());
    assert_eq!(select(&amounts(&many), cents(200), Some(&Grid::standard()), 128), Err(Shortfall::TooMany));
    assert_eq!(standard(&one, 200), Ok((vec![500], 300)));
}

#[test]
fn large_wallets_are_searched_in_time() {
    let mut values = Vec::new();
    for denomination in Grid::standard().denominations() {
        values.extend(std::iter::repeat_n(*denomination, 100));
    }
    let price: Amount = "19999.99".parse().expect("an amount");
    let selection = select(&values, price, Some(&Grid::standard()), 128).expect("pays");
    assert_eq!(selection.change, Amount::ZERO);
    // Without the small ones nothing is exact, and the search has no early end.
    let values: Vec<Amount> = values.into_iter().filter(|value| value.micros() >= 50_000).collect();
    let selection = select(&values, price, Some(&Grid::standard()), 128).expect("pays");
    assert!(selection.change <= cents(10), "{:?}", selection.change);
}

#[test]
fn a_float_pays_every_smaller_amount_exactly() {
    let parts = float(cents(610), &Grid::standard()).expect("on the grid");
    assert_eq!(parts, amounts(&[200, 200, 100, 50, 20, 20, 10, 5, 2, 2, 1]));
    for price in 1..=610 {
        let selection = select(&parts, cents(price), Some(&Grid::standard()), 128).expect("pays");
        assert_eq!(selection.change, Amount::ZERO, "{price}");
    }
    assert_eq!(float(Amount::from_micros(5_000), &Grid::standard()), None);
}

/// What every subset of the tokens would leave over, and the fewest tokens for the least.
fn brute_force(values: &[Amount], price: Amount) -> Option<(u64, usize)> {
    let subsets = 0u32..1 << values.len();
    let sums = subsets.map(|set| {
        let of_set = |i: &usize| set >> i & 1 == 1;
        let sum: u64 = (0..values.len()).filter(of_set).map(|i| values[i].micros()).sum();
        (sum, set.count_ones() as usize)
    });
    sums.filter_map(|(sum, tokens)| Some((sum.checked_sub(price.micros())?, tokens))).min()
}

proptest! {
    /// The chosen tokens cover the price, the change is right, and no subset does better.
    #[test]
    fn no_subset_does_better(picked in prop::collection::vec(0usize..15, 0..11), price in 1u64..60_000) {
        let grid = Grid::standard();
        let values: Vec<Amount> = picked.iter().map(|i| grid.denominations()[*i]).collect();
        let price = cents(price);
        match (select(&values, price, Some(&grid), 128), brute_force(&values, price)) {
            (Ok(selection), Some((waste, tokens))) => {
                let mut places = selection.chosen.clone();
                places.sort_unstable();
                places.dedup();
                prop_assert_eq!(places.len(), selection.chosen.len());
                let sum = Amount::checked_sum(selection.chosen.iter().map(|place| values[*place]));
                prop_assert_eq!(sum, price.checked_add(selection.change));
                prop_assert_eq!((selection.change.micros(), selection.chosen.len()), (waste, tokens));
            }
            (Err(Shortfall::Insufficient { missing }), None) => {
                let total = Amount::checked_sum(values.iter().copied()).expect("small");
                prop_assert_eq!(total.checked_add(missing), Some(price));
            }
            (found, expected) => prop_assert!(false, "{:?} where {:?} was expected", found, expected),
        }
    }

    #[test]
    fn a_float_is_worth_its_amount(price in 1u64..500_000) {
        let parts = float(cents(price), &Grid::standard()).expect("on the grid");
        prop_assert_eq!(Amount::checked_sum(parts.iter().copied()), Some(cents(price)));
        let affordable = 1 + price / 2;
        let paid = select(&parts, cents(affordable), Some(&Grid::standard()), 128);
        prop_assert!(paid.is_ok());
    }
}
