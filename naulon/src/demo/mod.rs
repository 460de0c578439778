//! `naulon demo`: bank, log, shop and wallet on loopback over real HTTP, with a tap on every line between them.

mod chain;
mod mix;
mod purchase;
mod tap;
mod told;
mod town;
mod trace;
mod web;

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::Output;

/// What `naulon demo` is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json the last line is {\"scenario\":…,\"ok\":…,\"figures\":{…}}. The exit code is 0 only if all went as it must.

Examples:
  naulon demo
  naulon demo mix
  naulon demo purchase --dir town     (keeps bank, log, shop and wallet in ./town, under the passphrase `demo`)")]
pub struct Demo {
    /// What to show.
    #[arg(value_enum, default_value_t = Scenario::Purchase)]
    scenario: Scenario,
    /// Keep everything in this new folder; otherwise it goes when the demonstration ends.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// (mix) How many bytes are fetched, each time.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    bytes: usize,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// A file is bought, one-sided and two-sided, in fair weather and with a network that fails half-way
    Purchase,
    /// A page is fetched through three mixes that are paid for every block: four protocols, both cases
    Mix,
}

/// The last line.
#[derive(Serialize)]
struct Verdict {
    scenario: &'static str,
    ok: bool,
    figures: serde_json::Value,
}

/// Shows it.
pub fn run(demo: &Demo, output: Output) -> anyhow::Result<Exit> {
    let place = town::Place::new(demo.dir.as_deref())?;
    let (scenario, outcome) = crate::parties::serving::runtime()?.block_on(async {
        match demo.scenario {
            Scenario::Purchase => Ok(("purchase", purchase::show(&place, output).await?)),
            Scenario::Mix => Ok::<_, anyhow::Error>(("mix", mix::show(&place, demo.bytes, output).await?)),
        }
    })?;
    let verdict = Verdict { scenario, ok: outcome.ok, figures: outcome.figures };
    output.result(&verdict, |verdict| {
        let kept = demo.dir.as_ref().map(|dir| {
            let dir = dir.display();
            match demo.scenario {
                Scenario::Purchase => format!(
                    " To look around: naulon inspect {dir}/purchase-1.evidence.json, naulon audit --dir {dir}/bank"
                ),
                Scenario::Mix => {
                    format!(
                        " To look around: naulon mix status --dir {dir}/each-mix1, naulon audit --dir {dir}/each-bank"
                    )
                }
            }
        });
        match verdict.ok {
            true => format!("\nAll went as it must.{}", kept.unwrap_or_default()),
            false => "\nSomething did not go as it must; see the lines marked ✗ above.".to_owned(),
        }
    })?;
    Ok(if verdict.ok { Exit::Ok } else { Exit::Failed })
}
