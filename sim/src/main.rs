//! `cargo xtask sim purchase --runs N --seed S [--json]`.
#![allow(clippy::print_stdout)] // A program prints.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use naulon_sim::{Campaign, MixCampaign, Outcome, Sabotage};

/// Plays the world on simulated time, with faults and cheats, and checks every claim at the end of each run.
#[derive(Parser)]
struct Arguments {
    /// What is simulated.
    story: Story,
    /// How many runs.
    #[arg(long, default_value_t = 50_000)]
    runs: u64,
    /// The number of the first run.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Decides all that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plays the one run with this number again, and prints everything that happens in it.
    #[arg(long)]
    replay: Option<u64>,
    /// Puts a bug in on purpose.
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Story {
    /// Withdraw, buy, refresh, deposit, restore.
    Purchase,
    /// Blocks through three paid mixes.
    Mix,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if matches!(arguments.story, Story::Mix) {
        return mixes(&arguments);
    }
    let campaign = Campaign::new(arguments.seed, arguments.sabotage);
    match arguments.replay {
        Some(number) => replay(&campaign, number),
        None => play(&campaign, &arguments),
    }
}

fn mixes(arguments: &Arguments) -> ExitCode {
    let campaign = MixCampaign::new(arguments.seed);
    if let Some(number) = arguments.replay {
        println!("run {number}: {:#?}", campaign.run(number));
        let report = campaign.replay(number);
        println!("{report:#?}");
        return if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let outcome = campaign.play(arguments.from..arguments.from + arguments.runs);
    for (number, run, violations) in &outcome.violations {
        eprintln!("run {number}: {run:?}");
        violations.iter().for_each(|violation| eprintln!("  {violation}"));
        eprintln!("  again: cargo xtask sim mix --seed {} --replay {number}", arguments.seed);
    }
    if arguments.json {
        let line = serde_json::json!({
            "sim": "mix",
            "runs": outcome.runs,
            "seed": arguments.seed,
            "enumerated": campaign.enumerated(),
            "violations": outcome.violated,
            "ok": outcome.violated == 0,
            "counts": outcome.counts,
        });
        println!("{line}");
    } else {
        println!("{} runs, {} violations", outcome.runs, outcome.violated);
        outcome.counts.iter().for_each(|(what, count)| println!("{count:>9}  {what}"));
    }
    if outcome.violated == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(campaign: &Campaign, arguments: &Arguments) -> ExitCode {
    let step = (arguments.runs / 10).max(1);
    let outcome = campaign.play(arguments.from..arguments.from + arguments.runs, |done| {
        if done % step == 0 {
            eprintln!("sim purchase: {done} of {} runs", arguments.runs);
        }
    });
    for (number, run, violations) in &outcome.violations {
        eprintln!("run {number}: {:?}, {:?}, {:?}, {:?}", run.faults, run.cheat, run.clocks, run.loss);
        violations.iter().for_each(|violation| eprintln!("  {violation}"));
        eprintln!("  again: cargo xtask sim purchase --seed {} --replay {number}", arguments.seed);
    }
    report(&outcome, arguments);
    if outcome.violated == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(outcome: &Outcome, arguments: &Arguments) {
    let Outcome { runs, singles, pairs, violated, tally, first, .. } = outcome;
    if arguments.json {
        let line = serde_json::json!({
            "sim": "purchase",
            "runs": runs,
            "seed": arguments.seed,
            "singles": singles,
            "pairs": pairs,
            "violations": violated,
            "ok": *violated == 0,
            "counts": tally.counts,
        });
        println!("{line}");
    } else {
        println!("{runs} runs ({singles} of them with every single fault, {pairs} with pairs), {violated} violations");
        for (what, count) in &tally.counts {
            let first = first.get(what).copied().unwrap_or_default();
            println!("{count:>9}  {what}  (first in run {first})");
        }
    }
}

fn replay(campaign: &Campaign, number: u64) -> ExitCode {
    let run = campaign.run(number);
    println!("run {number}: {run:#?}");
    let report = run.play(true);
    report.trace.iter().for_each(|line| println!("{line}"));
    for violation in &report.violations {
        println!("VIOLATED: {violation}");
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
