//! The bank, with shop and log, guesses whose withdrawal a spent token came from.

use naulon_money::Amount;
use naulon_statement::Timestamp;
use naulon_tlog::WitnessPolicy;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::adversary::{Adversary, Played};
use super::figure::{self, Expected, Row};
use super::habits::Habits;
use super::keys::{BEGINNING, DAY, cents};
use super::people::{Act, People};
use super::picture::Picture;
use super::town::{ITEMS, Town, price};
use crate::fault::below;

/// How many people there are.
pub const PEOPLE: usize = 6;
/// In one of so many trials everybody loses her wallet and restores it: that is thousands of questions.
const RESTORED_ONE_IN: u64 = 8;

/// The ways in which the game is played: a name, what people do, and what is expected.
pub const ROWS: [(&str, Habits, Expected); 7] = [
    ("honest", Habits::ALL, Expected::Nothing),
    ("known-seeds", Habits { secret_seeds: false, ..Habits::ALL }, Expected::Teeth),
    ("odd-amounts", Habits { standard_amounts: false, ..Habits::ALL }, Expected::Teeth),
    ("kept-remainders", Habits { whole_tokens: false, ..Habits::ALL }, Expected::Teeth),
    ("shared-keys", Habits { own_keys: false, ..Habits::ALL }, Expected::Teeth),
    ("one-connection", Habits { own_connections: false, ..Habits::ALL }, Expected::Teeth),
    ("no-waits", Habits { random_waits: false, ..Habits::ALL }, Expected::Teeth),
];

/// Plays the game.
pub fn play(trials: u64, seed: u64) -> figure::Played {
    play_rows("withdrawal", &ROWS, trials, seed, PEOPLE, trial)
}

/// Plays these rows: the honest ones this often, the others a quarter as often. Before each row the adversary practises.
pub fn play_rows(
    game: &'static str,
    rows: &[(&'static str, Habits, Expected)],
    trials: u64,
    seed: u64,
    people: usize,
    trial: impl Fn(Habits, u64, u64) -> Option<Played> + Sync,
) -> figure::Played {
    let mut notes = Vec::new();
    let play = |(name, habits, expected): &(&'static str, Habits, Expected)| {
        let trials = if *expected == Expected::Nothing { trials } else { (trials / 4).max(12) };
        let practised: Vec<Played> = super::in_parallel(trials / 2, |number| trial(*habits, seed, number | 1 << 40));
        let adversary = Adversary::practise(&practised);
        let played = super::in_parallel(trials, |number| trial(*habits, seed, number));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let right = played.iter().filter(|played| adversary.guess(played, &mut rng) == played.truth).count() as u64;
        let best: Vec<String> =
            adversary.describe().iter().take(3).map(|(clue, weight)| format!("{clue} ({weight:.1})")).collect();
        notes.push(format!("{name}: the best clues were {}", best.join(", ")));
        Row { name, trials: played.len() as u64, right, choices: people as u64, expected: *expected }
    };
    let rows = rows.iter().map(play).collect();
    figure::Played { game, rows, notes }
}

/// A trial of a game: its number among all.
pub fn numbered(seed: u64, number: u64) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number
}

/// Lets people live in a town, and draws a purchase that the adversary is asked about.
pub fn lived(
    timetables: Vec<Vec<(Timestamp, Act)>>,
    habits: Habits,
    trial: u64,
    rng: &mut ChaCha8Rng,
) -> Option<Played> {
    let town = Town::new(&[], &[])?;
    let mut people = People::new(town, timetables, habits, trial, &WitnessPolicy::unwitnessed())?;
    if !people.live() {
        return None;
    }
    let picture = Picture::of(&people.town.seen);
    let targets: Vec<_> = people.truth.iter().filter(|(id, _)| picture.spends.contains_key(*id)).collect();
    let drawn = below(rng, targets.len().max(1) as u64) as usize;
    let (target, truth) = targets.get(drawn).map(|(id, truth)| (**id, **truth))?;
    Some(Played { trial, picture, accounts: people.accounts, target, truth })
}

/// One trial.
fn trial(habits: Habits, seed: u64, number: u64) -> Option<Played> {
    let trial = numbered(seed, number);
    let mut rng = ChaCha8Rng::seed_from_u64(trial);
    let restores = below(&mut rng, RESTORED_ONE_IN) == 0;
    let timetables = (0..PEOPLE).map(|_| timetable(habits, restores, &mut rng)).collect();
    lived(timetables, habits, trial, &mut rng)
}

/// What a person does in a week, at random times of its days.
fn timetable(habits: Habits, restores: bool, rng: &mut ChaCha8Rng) -> Vec<(Timestamp, Act)> {
    let (first, second) = (below(rng, ITEMS as u64) as usize, below(rng, ITEMS as u64) as usize);
    let mut acts = vec![(0, Act::Open), (0, Act::PayIn(cents(5_000))), (0, Act::Learn)];
    if habits.standard_amounts {
        acts.push((1, Act::Withdraw(cents(2_000))));
    } else {
        acts.push((1, Act::Withdraw(price(first))));
    }
    // Whoever keeps to one key, one connection or one amount does not refresh in between.
    if habits == Habits::ALL && below(rng, 2) == 0 {
        acts.push((2, Act::Refresh));
    }
    acts.push((3, Act::Buy(first)));
    if habits == Habits::ALL && below(rng, 2) == 0 {
        acts.push((4, Act::Refund(cents(20))));
    }
    if habits.standard_amounts {
        acts.push((5, Act::Buy(second)));
        let back = if habits.whole_tokens && habits.own_keys { cents(100) } else { Amount::ZERO };
        acts.push((6, Act::Deposit(back)));
    }
    if restores {
        acts.push((7, Act::Restore));
    }
    let mut at = 0;
    let timed = acts.into_iter().map(|(day, act)| {
        let random = BEGINNING.0 + day * DAY + below(rng, DAY);
        at = match act {
            // What is set up on the first day is done in one go, and so is everything by who does not wait.
            Act::PayIn(_) | Act::Learn => at + 5_000,
            Act::Buy(_) | Act::Deposit(_) if !habits.random_waits => at + 5_000,
            // At any time of two hours: the wallet waits for the next window that all have in common.
            Act::Restore => BEGINNING.0 + day * DAY + 1 + below(rng, DAY / 12),
            _ => random,
        };
        (Timestamp(at), act)
    });
    timed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::town::shop_key;

    /// The same number plays the same trial, so that a figure can be looked into.
    #[test]
    fn a_trial_can_be_played_again() {
        let played = || trial(Habits::ALL, 9, 3).map(|played| (played.target, played.truth));
        assert!(played().is_some());
        assert_eq!(played(), played());
    }

    /// Losses, restored wallets, change and refreshing are in play, and wallets refuse nothing.
    #[test]
    fn people_do_what_is_on_their_timetables() {
        let timetables = (0..4).map(|n| timetable(Habits::ALL, true, &mut ChaCha8Rng::seed_from_u64(n))).collect();
        let town = Town::new(&[], &[]).expect("a town");
        let mut people = People::new(town, timetables, Habits::ALL, 1, &WitnessPolicy::unwitnessed()).expect("people");
        assert!(people.live(), "it does not end");
        assert!(people.refused.is_empty(), "{:?}", people.refused);
        let picture = Picture::of(&people.town.seen);
        assert_eq!((picture.accounts.len(), picture.spends.len()), (5, 8), "four people, a shop; two purchases each");
        let all = || people.accounts.iter().filter_map(|account| picture.accounts.get(account));
        assert!(all().all(|account| !account.deposited.is_empty() && account.asked.len() >= account.outputs.len()));
        assert!(picture.spends.values().any(|spend| !spend.change.is_empty()), "there is change");
        let refunds = picture.accounts.get(&shop_key()).map(|shop| shop.signed.len() + shop.withdrawn.len());
        assert!(refunds > Some(0), "there are refunds");
        assert!(picture.spends.values().all(|spend| !spend.asked.is_empty()), "restored wallets ask about them");
        let again = all().map(|account| account.repeated + account.asked.len() - account.outputs.len()).sum::<usize>();
        assert!(again > 0, "messages get lost");
    }
}
