//! The adversary: it practises in towns of its own, where it knows who is who, and learns there what each clue is worth.

#![allow(clippy::float_arithmetic)] // Weights of evidence, not money.

use naulon_exchange::RequestId;
use naulon_statement::PublicKey;
use rand_chacha::ChaCha8Rng;

use super::clues::{CLUES, Case};
use super::picture::Picture;
use crate::fault::below;

/// A played trial, as the adversary has it, with the purchase that it is asked about.
pub struct Played {
    /// Which one.
    pub trial: u64,
    /// What was seen.
    pub picture: Picture,
    /// The accounts.
    pub accounts: Vec<PublicKey>,
    /// The purchase.
    pub target: RequestId,
    /// Whose it is. The adversary looks at it only while it practises.
    pub truth: usize,
}

/// What each clue is worth: the logarithm of how much likelier the account that it names is the right one.
#[derive(Clone, Debug, Default)]
pub struct Adversary {
    weights: Vec<f64>,
}

/// The accounts that a clue names, none if it names all or nobody.
fn named(played: &Played) -> Vec<Vec<usize>> {
    let Some(spend) = played.picture.spends.get(&played.target) else { return vec![Vec::new(); CLUES.len()] };
    let case = Case { trial: played.trial, picture: &played.picture, spend };
    let mut named = Vec::with_capacity(CLUES.len());
    for (_, clue) in CLUES {
        let score = |(customer, key): (usize, &PublicKey)| {
            case.picture.accounts.get(key).map(|account| clue(&case, account, customer))
        };
        let scores: Vec<i64> = played.accounts.iter().enumerate().map(|it| score(it).unwrap_or(i64::MIN)).collect();
        let best = scores.iter().copied().max().unwrap_or(i64::MIN);
        let first: Vec<usize> = (0..scores.len()).filter(|at| scores[*at] == best).collect();
        named.push(if first.len() == scores.len() { Vec::new() } else { first });
    }
    named
}

impl Adversary {
    /// Learns from trials whose truth it knows.
    pub fn practise(trials: &[Played]) -> Self {
        let mut counts = vec![(0.0, 0.0, 0.0); CLUES.len()];
        for played in trials {
            let people = played.accounts.len() as f64;
            for (count, named) in counts.iter_mut().zip(named(played)) {
                if !named.is_empty() {
                    let share = 1.0 / named.len() as f64;
                    count.0 += 1.0;
                    count.1 += if named.contains(&played.truth) { share } else { 0.0 };
                    count.2 = people;
                }
            }
        }
        // With a right guess and people − 1 wrong ones added, a clue that was never seen is worth nothing.
        let weight = |(times, right, people): &(f64, f64, f64)| {
            if *times == 0.0 {
                return 0.0;
            }
            let p = (right + 1.0) / (times + people);
            (p * (people - 1.0) / (1.0 - p)).ln()
        };
        Adversary { weights: counts.iter().map(weight).collect() }
    }

    /// Names an account.
    pub fn guess(&self, played: &Played, rng: &mut ChaCha8Rng) -> usize {
        let mut scores = vec![0.0; played.accounts.len()];
        for (weight, named) in self.weights.iter().zip(named(played)) {
            for account in &named {
                scores[*account] += weight / named.len() as f64;
            }
        }
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let first: Vec<usize> = (0..scores.len()).filter(|at| scores[*at] >= best).collect();
        first[below(rng, first.len() as u64) as usize]
    }

    /// The clues by what they turned out to be worth, for a person.
    pub fn describe(&self) -> Vec<(&'static str, f64)> {
        let mut clues: Vec<_> = CLUES.iter().map(|(name, _)| *name).zip(self.weights.iter().copied()).collect();
        clues.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        clues
    }
}
