//! `cargo xtask game NAME [--trials N] [--seed S] [--json]`.
#![allow(clippy::print_stdout)] // A program prints.

use std::process::ExitCode;

use clap::Parser;
use naulon_sim::game::Game;

/// Plays a privacy game: once with all protections, then with one after the other switched off. `ok` says that the adversary
/// does no better than guessing in the first case, and wins in all others.
#[derive(Parser)]
struct Arguments {
    /// Which one.
    game: Game,
    /// How often the honest row is played; the others a quarter as often.
    #[arg(long, default_value_t = 400)]
    trials: u64,
    /// Decides all that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints lines of JSON, the last one about the whole game.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let played = arguments.game.play(arguments.trials, arguments.seed);
    played.notes.iter().for_each(|note| eprintln!("{note}"));
    if arguments.json {
        played.lines().iter().for_each(|line| println!("{line}"));
    } else {
        for row in &played.rows {
            let verdict = if row.ok() { "as expected" } else { "NOT as expected" };
            let (advantage, error) = (row.advantage(), row.error());
            println!("{:>16}: advantage {advantage:+.3} ± {error:.3} in {} trials, {verdict}", row.name, row.trials);
        }
    }
    if played.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
