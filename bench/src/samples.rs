//! What the rounds measured, and the medians of it.

use std::collections::BTreeMap;

/// The samples of each name, one a round, in the order of the rounds.
#[derive(Default)]
pub struct Samples(BTreeMap<String, Vec<f64>>);

impl Samples {
    /// Adds this round's sample.
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// The median of a name's samples; zero if there are none.
    pub fn median(&self, name: &str) -> f64 {
        median(self.of(name))
    }

    /// The median of the rounds' own ratios to the sum of these. All were measured in the same round, so that noise of
    /// the machine which outlasts a round is on both sides.
    pub fn ratio(&self, name: &str, against: &[&str]) -> f64 {
        let sum = |round: usize| -> f64 { against.iter().filter_map(|other| self.of(other).get(round)).sum() };
        let ratios: Vec<f64> = self.of(name).iter().enumerate().map(|(round, own)| own / sum(round)).collect();
        median(&ratios)
    }

    /// The sample of the newest round.
    pub fn last(&self, name: &str) -> f64 {
        self.of(name).last().copied().unwrap_or_default()
    }

    fn of(&self, name: &str) -> &[f64] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The middle one, or the mean of the two in the middle; zero of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 100.0, 2.0]), 3.0);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let mut samples = Samples::default();
        // The machine is half as fast in the second round; the ratio does not change.
        for (own, other) in [(30.0, 20.0), (60.0, 40.0), (31.0, 20.0)] {
            samples.add("own", own);
            samples.add("other", other);
        }
        assert_eq!(samples.ratio("own", &["other"]), 1.5);
        assert_eq!(samples.ratio("own", &["other", "other"]), 0.75);
        assert_eq!(samples.median("own"), 31.0);
        assert_eq!(samples.last("own"), 31.0);
        assert_eq!(samples.median("neither"), 0.0);
    }
}
