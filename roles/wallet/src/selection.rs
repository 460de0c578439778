//! Which tokens pay an amount, and what a value is split into.

use std::collections::BTreeMap;

use naulon_money::{Amount, Grid};

/// How many positions the search for the best tokens looks at. Beyond it the tokens are taken largest first.
const MAX_POSITIONS: usize = 100_000;

/// The tokens that pay, as places in the list that was given, and what is paid too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Places in the list, the most valuable tokens first.
    pub chosen: Vec<usize>,
    /// What comes back as change.
    pub change: Amount,
}

/// Why no tokens pay the amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortfall {
    /// All tokens together are worth less.
    Insufficient {
        /// By how much.
        missing: Amount,
    },
    /// They are worth enough, but neither the amount nor any change can be made.
    NotPayable,
    /// More tokens would be needed than one exchange takes.
    TooMany,
}

/// Chooses tokens worth at least `price`: those that leave the least change that the grid can make, and of these the
/// fewest. Among equal values the first in the list are taken.
pub(crate) fn select(
    values: &[Amount],
    price: Amount,
    grid: Option<&Grid>,
    most: usize,
) -> Result<Selection, Shortfall> {
    let total = Amount::checked_sum(values.iter().copied()).unwrap_or(Amount::MAX);
    if let Some(missing) = price.checked_sub(total).filter(|missing| !missing.is_zero()) {
        let payable = grid.is_some_and(|grid| grid.split(price).is_ok());
        return Err(if payable { Shortfall::Insufficient { missing } } else { Shortfall::NotPayable });
    }
    let mut levels: BTreeMap<Amount, Vec<usize>> = BTreeMap::new();
    for (place, value) in values.iter().enumerate() {
        levels.entry(*value).or_default().push(place);
    }
    let levels: Vec<(u64, Vec<usize>)> = levels.into_iter().rev().map(|(value, at)| (value.micros(), at)).collect();
    let search = Search::new(&levels, grid);
    let fits = |counts: &Vec<usize>| counts.iter().sum::<usize>() <= most;
    let best = search.best(price.micros());
    if let Some(counts) = best.clone().filter(fits) {
        return Ok(taken(&levels, &counts, price));
    }
    let largest = largest_first(&levels, price.micros()).filter(|counts| search.is_makeable(counts, price.micros()));
    match largest {
        Some(counts) if fits(&counts) => Ok(taken(&levels, &counts, price)),
        None if best.is_none() => Err(Shortfall::NotPayable),
        _ => Err(Shortfall::TooMany),
    }
}

/// As [`select`], where what is paid too much remains on one of the tokens, so that every amount can be paid.
pub(crate) fn select_keeping(values: &[Amount], price: Amount, most: usize) -> Result<Selection, Shortfall> {
    let total = Amount::checked_sum(values.iter().copied()).unwrap_or(Amount::MAX);
    if let Some(missing) = price.checked_sub(total).filter(|missing| !missing.is_zero()) {
        return Err(Shortfall::Insufficient { missing });
    }
    let (mut chosen, mut need) = (Vec::new(), price);
    let mut order: Vec<usize> = (0..values.len()).collect();
    while !need.is_zero() {
        // One that covers the rest ends it; the smallest such, so that the larger ones stay whole.
        let covering = order.iter().copied().filter(|place| values[*place] >= need).min_by_key(|place| values[*place]);
        let largest = || order.iter().copied().max_by_key(|place| (values[*place], std::cmp::Reverse(*place)));
        let next = covering.or_else(largest).ok_or(Shortfall::NotPayable)?;
        order.retain(|place| *place != next);
        chosen.push(next);
        let Some(rest) = need.checked_sub(values[next]) else {
            let change = values[next].checked_sub(need).unwrap_or(Amount::ZERO);
            // It is the last one, from which only a part is taken.
            return if chosen.len() <= most { Ok(Selection { chosen, change }) } else { Err(Shortfall::TooMany) };
        };
        need = rest;
    }
    if chosen.len() <= most { Ok(Selection { chosen, change: Amount::ZERO }) } else { Err(Shortfall::TooMany) }
}

fn taken(levels: &[(u64, Vec<usize>)], counts: &[usize], price: Amount) -> Selection {
    let chosen = levels.iter().zip(counts).flat_map(|((_, places), count)| places.iter().take(*count)).copied();
    let worth: u64 = levels.iter().zip(counts).map(|((value, _), count)| value.saturating_mul(*count as u64)).sum();
    Selection { chosen: chosen.collect(), change: Amount::from_micros(worth.saturating_sub(price.micros())) }
}

/// The fewest tokens that cover the price, without those that are not needed after all.
fn largest_first(levels: &[(u64, Vec<usize>)], price: u64) -> Option<Vec<usize>> {
    let mut need = price;
    let mut counts = Vec::with_capacity(levels.len());
    for (value, places) in levels {
        let count = places.len().min(usize::try_from(need.div_ceil(*value)).unwrap_or(usize::MAX));
        need = need.saturating_sub(value.saturating_mul(count as u64));
        counts.push(count);
    }
    (need == 0).then_some(counts)
}

/// A search over how many tokens of each value to take, largest value first.
struct Search<'a> {
    levels: &'a [(u64, Vec<usize>)],
    grid: Option<&'a Grid>,
    /// What the tokens of this level and all lower ones are worth.
    below: Vec<u64>,
}

/// The best way from a position on: what is left over, how many tokens, and how many of this level.
type Best = Option<(u64, usize, usize)>;

impl<'a> Search<'a> {
    fn new(levels: &'a [(u64, Vec<usize>)], grid: Option<&'a Grid>) -> Self {
        let mut below = vec![0; levels.len() + 1];
        for (i, (value, places)) in levels.iter().enumerate().rev() {
            below[i] = below[i + 1] + value * places.len() as u64;
        }
        Search { levels, grid, below }
    }

    /// How many tokens of each level to take; none if nothing fits, or if the search would take too long.
    fn best(&self, price: u64) -> Option<Vec<usize>> {
        let mut known = BTreeMap::new();
        self.from(0, price, &mut known)?;
        let mut counts = vec![0; self.levels.len()];
        let mut need = price;
        for (i, count) in counts.iter_mut().enumerate() {
            if need == 0 {
                break;
            }
            (_, _, *count) = (*known.get(&(i, need))?)?;
            need = need.saturating_sub(self.levels[i].0 * *count as u64);
        }
        Some(counts)
    }

    fn from(&self, i: usize, need: u64, known: &mut BTreeMap<(usize, u64), Best>) -> Best {
        if need == 0 {
            return Some((0, 0, 0));
        }
        if i == self.levels.len() || self.below[i] < need || known.len() > MAX_POSITIONS {
            return None;
        }
        if let Some(best) = known.get(&(i, need)) {
            return *best;
        }
        let (value, places) = (self.levels[i].0, self.levels[i].1.len());
        let covering = usize::try_from(need.div_ceil(value)).unwrap_or(usize::MAX);
        let fewest = usize::try_from(need.saturating_sub(self.below[i + 1]).div_ceil(value)).unwrap_or(usize::MAX);
        let mut best: Best = None;
        for count in (fewest..=covering.min(places)).rev() {
            let worth = value * count as u64;
            let way = match worth.checked_sub(need) {
                Some(over) => self.change_can_be_made(over).then_some((over, count, count)),
                None => self.from(i + 1, need - worth, known).map(|(over, tokens, _)| (over, tokens + count, count)),
            };
            best = match (best, way) {
                (Some(old), Some(new)) if (old.0, old.1) <= (new.0, new.1) => Some(old),
                (old, new) => new.or(old),
            };
            // Fewer of this value need more of the lower ones, so an exact way found by now is the best one.
            let lower = self.levels.get(i + 1).map_or(1, |level| level.0);
            let least = |count: u64| count + need.saturating_sub(value * count).div_ceil(lower);
            if best.is_some_and(|(over, tokens, _)| over == 0 && count > 0 && least(count as u64 - 1) >= tokens as u64)
            {
                break;
            }
        }
        known.insert((i, need), best);
        best
    }

    fn change_can_be_made(&self, change: u64) -> bool {
        change == 0 || self.grid.is_some_and(|grid| grid.split(Amount::from_micros(change)).is_ok())
    }

    fn is_makeable(&self, counts: &[usize], price: u64) -> bool {
        let worth: u64 = self.levels.iter().zip(counts).map(|((value, _), count)| value * *count as u64).sum();
        worth.checked_sub(price).is_some_and(|change| self.change_can_be_made(change))
    }
}

/// A float: tokens worth `amount` that can pay as many smaller amounts as possible exactly. From the smallest
/// denomination upwards one of each is taken, and another one wherever an amount would be left out, as long as the value
/// lasts; the rest is made of the fewest denominations. None if the amount is off the grid.
pub(crate) fn float(amount: Amount, grid: &Grid) -> Option<Vec<Amount>> {
    let ascending: Vec<u64> = grid.denominations().iter().rev().map(|d| d.micros()).collect();
    let unit = *ascending.first()?;
    let mut parts = Vec::new();
    let mut reach = 0u64;
    let mut left = amount.micros();
    'ladder: for (i, value) in ascending.iter().enumerate() {
        // Every amount up to `reach` can be paid; with a gap before `value` another one of the value below is needed.
        let fill = ascending[i.saturating_sub(1)];
        while *value > reach.saturating_add(unit) {
            if fill > left {
                break 'ladder;
            }
            parts.push(Amount::from_micros(fill));
            (reach, left) = (reach + fill, left - fill);
        }
        if *value > left {
            break;
        }
        parts.push(Amount::from_micros(*value));
        (reach, left) = (reach + value, left - value);
    }
    parts.extend(grid.split(Amount::from_micros(left)).ok()?);
    parts.sort_unstable_by(|a, b| b.cmp(a));
    Some(parts)
}

#[cfg(test)]
mod tests;
