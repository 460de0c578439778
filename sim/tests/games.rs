//! The games, a few trials of each: an adversary does no better than guessing, and wins when a protection is switched off.
//!
//! `cargo xtask game NAME` plays more of them.

use naulon_sim::game::{Expected, Game};

/// Plays a game, and wants every row as expected, and at least this many rows in which the adversary wins.
fn plays_as_expected(game: Game, trials: u64, lost: usize) {
    let played = game.play(trials, 1);
    let lines: Vec<String> = played.lines().iter().map(ToString::to_string).collect();
    assert!(played.ok(), "{}\n{}", lines.join("\n"), played.notes.join("\n"));
    assert_eq!(played.rows.iter().filter(|row| row.expected == Expected::Teeth).count(), lost);
    let last = played.lines().pop().expect("a line");
    assert_eq!((last["ok"].as_bool(), last["expected"].as_i64()), (Some(true), Some(0)), "{last}");
}

#[test]
fn the_bank_does_not_learn_whose_withdrawal_a_spent_token_came_from() {
    plays_as_expected(Game::Withdrawal, 60, 6);
}

#[test]
fn a_brand_key_of_ones_own_is_refused_by_every_wallet() {
    plays_as_expected(Game::BrandKey, 30, 2);
}

#[test]
fn restoring_a_wallet_does_not_link_what_is_in_it() {
    plays_as_expected(Game::Restore, 20, 3);
}

#[test]
fn sessions_of_a_cohort_are_not_told_apart() {
    plays_as_expected(Game::Mix, 60, 5);
}
