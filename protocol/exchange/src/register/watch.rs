//! What an outsider checks from day to day.

use std::collections::BTreeMap;

use naulon_blind::Brand;
use naulon_statement::{Digest, Duration, Timestamp};

use super::day::{Day, DaySummary};

/// Reads a bank's days one after the other and says what does not hold. Each fault is proven by statements that the bank has
/// signed, but for a day that is missing, of which everybody can see for herself.
#[derive(Clone, Debug, Default)]
pub struct DayWatch {
    brands: BTreeMap<Digest, Brand>,
    /// The last day, and each brand's totals (issued, redeemed).
    last: Option<Day>,
    totals: BTreeMap<Digest, (u64, u64)>,
}

/// What does not hold of a bank's days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DayFault {
    /// More of a brand was redeemed than issued: somebody made tokens with its key that the bank has not counted.
    #[error("{redeemed} tokens of the brand {brand} are redeemed and {issued} issued by {day}")]
    MoreRedeemed {
        /// The brand.
        brand: Digest,
        /// The day.
        day: Day,
        /// Issued until its end.
        issued: u64,
        /// Redeemed until its end.
        redeemed: u64,
    },
    /// A day was left out, or told a second time.
    #[error("after {last} comes {found}")]
    OutOfOrder {
        /// The last day before.
        last: Day,
        /// The day that came.
        found: Day,
    },
    /// The totals are not those of the day before and this day's counts.
    #[error("the totals of the brand {brand} do not go on at {day}")]
    Totals {
        /// The brand.
        brand: Digest,
        /// The day.
        day: Day,
    },
    /// A brand that was alive has no row, or the rows are not in order.
    #[error("the brand {brand} has no row, or not one, at {day}")]
    Row {
        /// The brand.
        brand: Digest,
        /// The day.
        day: Day,
    },
    /// The sums are late: the last day that is told is further back than the one that ended last.
    #[error("the last day that is told is {last:?}, and {due} is over")]
    Late {
        /// The last day that is told.
        last: Option<Day>,
        /// The day that ended last.
        due: Day,
    },
}

impl DayWatch {
    /// Takes note of a brand of the register.
    pub fn brand(&mut self, brand: &Brand) {
        self.brands.insert(Digest(brand.key_id()), brand.clone());
    }

    /// Reads the next day's sums.
    pub fn day(&mut self, summary: &DaySummary) -> Vec<DayFault> {
        let day = summary.day;
        let mut faults = Vec::new();
        if let Some(last) = self.last.filter(|last| last.next() != day) {
            faults.push(DayFault::OutOfOrder { last, found: day });
        }
        self.last = Some(self.last.map_or(day, |last| last.max(day)));
        for pair in summary.brands.windows(2) {
            if pair[0].brand >= pair[1].brand {
                faults.push(DayFault::Row { brand: pair[1].brand, day });
            }
        }
        for (brand, terms) in &self.brands {
            let alive = terms.issue_from < day.end() && day.start() < terms.redeem_until;
            if alive && summary.brand(brand).is_none() {
                faults.push(DayFault::Row { brand: *brand, day });
            }
        }
        for row in &summary.brands {
            let (issued, redeemed) = self.totals.get(&row.brand).copied().unwrap_or_default();
            let goes_on = issued.checked_add(row.issued) == Some(row.issued_total)
                && redeemed.checked_add(row.redeemed) == Some(row.redeemed_total);
            if !goes_on {
                faults.push(DayFault::Totals { brand: row.brand, day });
            }
            if row.redeemed_total > row.issued_total {
                let (issued, redeemed) = (row.issued_total, row.redeemed_total);
                faults.push(DayFault::MoreRedeemed { brand: row.brand, day, issued, redeemed });
            }
            self.totals.insert(row.brand, (row.issued_total, row.redeemed_total));
        }
        faults
    }

    /// Whether the day that ended last is told, when the bank has had this long for it.
    pub fn late(&self, now: Timestamp, grace: Duration) -> Option<DayFault> {
        let due = Day(Day::of(now.minus(grace)).0.checked_sub(1)?);
        let told = self.last.is_some_and(|last| last >= due);
        (!told).then_some(DayFault::Late { last: self.last, due })
    }
}
