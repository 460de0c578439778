//! `naulon log watch` and `naulon bank watch`: the outsider. It needs nobody's leave, holds no money and no secret, and finds
//! what a log, or a bank, would rather not have found.
//!
//! | module | what |
//! | --- | --- |
//! | `follow` | any public log (C2SP tlog-tiles): checkpoints, entries, whether it only grows |
//! | `decisions` | the entries of a purchase log: times, outcomes, bodies |
//! | `register` | the entries of a bank's register: brands, and the sums of days |
//! | `pace` | whether it answers slowly |
//! | `finding` | what was found, once each, and its evidence file |

mod decisions;
mod finding;
mod follow;
mod pace;
mod register;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use naulon_tlog::{CheckpointVerifier, WitnessVerifier};
use naulon_wire::{Circuit, Clients};
use serde::Serialize;

use self::decisions::Decisions;
use self::finding::{Finding, Findings};
use self::follow::{Follower, Keeper};
use self::register::Register;
use crate::config::Span;
use crate::exit::Exit;
use crate::identity::{Identity, Role};
use crate::output::{self, Output};
use crate::parties::serving;
use crate::witnesses::{self, WitnessAddress};

/// The circuit on which a log is read: nobody's.
const CIRCUIT: Circuit = Circuit::Anonymous(0);

/// What `naulon log watch` is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Follows a log from outside, with what everybody can read. It finds: a tree that shrank or was rewritten; a tree other than
the one that witnesses cosigned, or that somebody else was shown (--compare); times that go back; two outcomes of one
purchase; commits at or after the expiry, and aborts before it; bodies that are not what their entries say; and slow answers,
if several in a row are slow. What a signature proves is written as evidence, which `naulon verify` judges.

It remembers in its folder what it has seen, and goes on from there when it is started again. Remembering is the point: a
log can show a newcomer anything.

Exit codes: 0 nothing was found, 2 a breach is proven, 3 something is wrong that no signature proves, 1 failed.

Examples:
  naulon log watch --log log --once
  naulon log watch --log log.identity.toml --witness \"NAME+ID+KEY\" --witness … --state watch --interval 60s
  naulon verify watch/two_trees-1f3a….log-evidence.json --trust log")]
pub struct Watch {
    /// The log: its folder, identity file or naulon: line.
    #[arg(long, value_name = "LOG")]
    log: String,
    #[command(flatten)]
    how: How,
}

/// What `naulon bank watch` is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Follows a bank's register from outside, with what everybody can read. It finds what `naulon log watch` finds of trees and
answers, and of the register: more tokens of a brand redeemed than issued; totals that do not follow from the day before; days
that are left out or late; two brands for one place, or under one key; statements that are not what their entries say. What
a signature proves is written as evidence, which `naulon verify` judges.

Exit codes: 0 nothing was found, 2 a breach is proven, 3 something is wrong that no signature proves, 1 failed.

Examples:
  naulon bank watch --bank bank --once
  naulon bank watch --bank bank.identity.toml --witness \"NAME+ID+KEY\" --state watch-bank --interval 1h
  naulon verify watch-bank/more_redeemed-1f3a….register-evidence.json --trust bank")]
pub struct WatchBank {
    /// The bank: its folder, identity file or naulon: line.
    #[arg(long, value_name = "BANK")]
    bank: String,
    #[command(flatten)]
    how: How,
}

/// How somebody is watched.
#[derive(Debug, clap::Args)]
struct How {
    /// Where it remembers what it has seen, and writes evidence.
    #[arg(long, value_name = "FOLDER", default_value = "watch")]
    state: PathBuf,
    /// How long to wait before it looks again.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    interval: Span,
    /// Look once, and end.
    #[arg(long)]
    once: bool,
    /// A witness that must have cosigned: its folder, its C2SP verifier key, or key and address. May be given again.
    #[arg(long, value_name = "WITNESS")]
    witness: Vec<String>,
    /// How many of them; 0 means more than half.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threshold: usize,
    /// A checkpoint of this log that somebody else was shown. May be given again.
    #[arg(long, value_name = "FILE")]
    compare: Vec<PathBuf>,
    /// An answer that takes longer than this is slow.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    slow: Span,
}

/// What is watched.
enum Watched {
    Log(Box<Decisions>),
    Bank(Box<Register>),
}

impl Watched {
    async fn look(&mut self, found: &mut Findings) -> anyhow::Result<()> {
        match self {
            Watched::Log(decisions) => decisions.look(found).await,
            Watched::Bank(register) => register.look(found).await,
        }
    }

    fn report(&self) -> Report {
        match self {
            Watched::Log(decisions) => decisions.report(),
            Watched::Bank(register) => register.report(),
        }
    }
}

/// Where things stand after a look.
#[derive(Serialize)]
struct Report {
    origin: String,
    entries: u64,
    /// Bodies that could not be read: they are pruned after their retention, or withheld.
    without_body: u64,
    found: u64,
    proven: u64,
}

/// Watches a log, prints, and says with which code to end.
pub fn run(watch: &Watch, output: Output) -> anyhow::Result<Exit> {
    let log = Identity::find(&watch.log, Role::Log)?;
    let follower = follow(&log, Keeper::Log, log.log()?.checkpoints, &watch.how)?;
    watching(Watched::Log(Box::new(Decisions::new(follower, log.log()?)?)), &watch.how, output)
}

/// Watches a bank's register, prints, and says with which code to end.
pub fn run_bank(watch: &WatchBank, output: Output) -> anyhow::Result<Exit> {
    let bank = Identity::find(&watch.bank, Role::Bank)?;
    let follower = follow(&bank, Keeper::Bank, bank.bank()?.checkpoints, &watch.how)?;
    watching(Watched::Bank(Box::new(Register::new(follower, bank.bank()?)?)), &watch.how, output)
}

fn follow(party: &Identity, keeper: Keeper, verifier: CheckpointVerifier, how: &How) -> anyhow::Result<Follower> {
    let client = Clients::default().on(CIRCUIT, &party.address()?)?;
    let witness = |text: &String| match text.parse::<WitnessVerifier>() {
        Ok(verifier) => Ok(verifier),
        Err(_) => Ok(WitnessAddress::find(text)?.verifier),
    };
    let keys = how.witness.iter().map(witness).collect::<anyhow::Result<Vec<_>>>()?;
    let policy = witnesses::policy(&keys, how.threshold)?;
    let mut compare = Vec::new();
    for file in &how.compare {
        let note = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        ensure!(verifier.open(&note).is_ok(), "{} is no checkpoint of this log", file.display());
        compare.push(note);
    }
    let slow = Duration::from_millis(how.slow.0.0);
    Follower::open((client, keeper), verifier, &how.state, policy, compare, slow)
}

fn watching(mut watched: Watched, watch: &How, output: Output) -> anyhow::Result<Exit> {
    let mut found = Findings::open(&watch.state)?;
    serving::runtime()?.block_on(async {
        let stop = naulon_wire::serve::stop_signal();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                looked = watched.look(&mut found) => looked?,
                () = &mut stop => return anyhow::Ok(()),
            }
            for finding in found.fresh() {
                say(&finding, output)?;
            }
            if watch.once {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(watch.interval.0.0)) => {}
                () = &mut stop => return Ok(()),
            }
        }
    })?;
    let report = Report { found: found.count(), proven: found.proven(), ..watched.report() };
    output.result(&report, text)?;
    Ok(match (report.found, report.proven) {
        (0, _) => Exit::Ok,
        (_, 0) => Exit::NOT_ENOUGH,
        _ => Exit::BREACH,
    })
}

/// A finding at once, when it is found: as a line of JSON, or on standard error for people.
fn say(finding: &Finding, output: Output) -> anyhow::Result<()> {
    if output.json {
        return output.result(finding, |_| String::new());
    }
    let evidence = finding.evidence.as_ref().map(|file| format!(" ({})", file.display())).unwrap_or_default();
    output::note(format_args!("{}: {}{evidence}", finding.code, finding.what));
    Ok(())
}

fn text(report: &Report) -> String {
    let Report { origin, entries, without_body, found, proven } = report;
    let bodies = if *without_body > 0 { format!(", {without_body} of them without a body") } else { String::new() };
    let verdict = match (found, proven) {
        (0, _) => "nothing is wrong".to_owned(),
        (found, 0) => format!("{found} findings, none of them proven by a signature"),
        (found, proven) => format!("{found} findings, {proven} of them proven"),
    };
    format!("{origin}: {entries} entries{bodies}; {verdict}")
}
