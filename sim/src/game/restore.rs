//! People lose their wallets and restore them from their words. The bank knows from which account most of the blinded messages
//! came that they ask about, and hears the keys of spent and of free tokens: does it learn which belong together?

use naulon_statement::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::adversary::Played;
use super::figure::{self, Expected, Row};
use super::habits::Habits;
use super::keys::{BEGINNING, DAY, cents};
use super::people::{Act, ROUND};
use super::town::ITEMS;
use super::withdrawal::{lived, numbered, play_rows};
use crate::fault::below;

/// How many people there are. Each asks hundreds of questions.
const PEOPLE: usize = 4;

/// The ways in which all restore in the same hours.
const ROWS: [(&str, Habits, Expected); 3] = [
    ("honest", Habits::ALL, Expected::Nothing),
    ("hasty", Habits { patient_restore: false, ..Habits::ALL }, Expected::Teeth),
    ("one-session", Habits { own_sessions: false, ..Habits::ALL }, Expected::Teeth),
];

/// Plays the game. A row of its own shows the limit of what patience can do: each restores at another time, alone.
pub fn play(trials: u64, seed: u64) -> figure::Played {
    let mut played = play_rows("restore", &ROWS, trials, seed, PEOPLE, |habits, seed, number| {
        trial(habits, numbered(seed, number), false)
    });
    let alone = [("alone", Habits::ALL, Expected::Teeth)];
    let alone = play_rows("restore", &alone, trials, seed, PEOPLE, |habits, seed, number| {
        trial(habits, numbered(seed, number), true)
    });
    let rows: Vec<Row> = alone.rows;
    played.rows.extend(rows);
    played.notes.extend(alone.notes);
    played
}

fn trial(habits: Habits, trial: u64, alone: bool) -> Option<Played> {
    let mut rng = ChaCha8Rng::seed_from_u64(trial ^ 0x7265_7374_6f72_6564);
    let timetables = (0..PEOPLE).map(|person| timetable(habits, person, alone, &mut rng)).collect();
    lived(timetables, habits, trial, &mut rng)
}

/// Everybody withdraws, buys something, loses her wallet, restores it, and buys something else.
fn timetable(habits: Habits, person: usize, alone: bool, rng: &mut ChaCha8Rng) -> Vec<(Timestamp, Act)> {
    let mut buy = || Act::Buy(below(rng, ITEMS as u64 / 2) as usize);
    let (first, second) = (buy(), buy());
    let acts = [
        (0, Act::Open),
        (0, Act::PayIn(cents(5_000))),
        (0, Act::Learn),
        (1, Act::Withdraw(cents(2_000))),
        (2, first),
        (3, Act::Restore),
        (9, second),
    ];
    let mut at = 0;
    let timed = acts.map(|(day, act)| {
        let begun = BEGINNING.0 + day * DAY;
        at = match act {
            Act::PayIn(_) | Act::Learn => at + 5_000,
            Act::Restore if alone => begun + 2 * ROUND.0 * person as u64 + 1,
            Act::Restore if habits.patient_restore => begun + 1 + below(rng, ROUND.0),
            _ => begun + below(rng, DAY),
        };
        (Timestamp(at), act)
    });
    timed.to_vec()
}
