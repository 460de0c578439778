//! `naulon`: bank, log, shop and wallet, and what is needed to look at them.
//!
//! | module | what |
//! | --- | --- |
//! | `cli` | the command line |
//! | `config` | settings: environment over `naulon.toml` over defaults |
//! | `identity` | who a party is, in one line |
//! | `demo` | all of it at work, with a tap on every line |
//! | `parties` | bank, log, shop and wallet as programs |
//! | `inspect`, `verify` | what a string or file is; what evidence proves |
//! | `watch` | a log, from outside |
//! | `witnesses` | who cosigns, and how many must |
//! | `audit` | whether a bank's books agree |
//! | `output`, `exit`, `passphrase`, `clock` | tables and JSON, exit codes, secrets, time |

mod audit;
mod cli;
mod clock;
mod config;
mod demo;
mod exit;
mod identity;
mod inspect;
mod measure;
mod output;
mod parties;
mod passphrase;
mod verify;
mod watch;
mod witnesses;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::{Cli, Command, Config};
use crate::exit::Exit;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output { json: cli.json };
    match run(cli, output) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::note(format_args!("naulon: {error:#}{}", exit::advice(&error)));
            exit::code_of(&error).into()
        }
    }
}

/// Prints help or what is wrong with the command line. `verify` means a breach by 2, so it fails with 1 instead.
fn usage(error: &clap::Error) -> ExitCode {
    // If neither output nor error can be written there is nobody to tell.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok.into(),
        _ if std::env::args_os().nth(1).is_some_and(|command| command == "verify") => Exit::Failed.into(),
        _ => Exit::Usage.into(),
    }
}

fn run(cli: Cli, output: Output) -> anyhow::Result<Exit> {
    config::check_environment()?;
    match cli.command {
        Command::Demo(demo) => demo::run(&demo, output),
        Command::Bank(command) => command.run(cli.passphrase, output),
        Command::Log(command) => command.run(cli.passphrase, output),
        Command::Shop(command) => command.run(cli.passphrase, output),
        Command::Wallet(command) => command.run(cli.passphrase, output),
        Command::Mix(command) => command.run(cli.passphrase, output),
        Command::Purse(command) => command.run(cli.passphrase, output),
        Command::Directory(command) => command.run(cli.passphrase, output),
        Command::Proxy(command) => command.run(cli.passphrase, output),
        Command::Verify(verify) => verify::run(&verify, output),
        Command::Inspect(inspect) => inspect::run(&inspect, output),
        Command::Audit(audit) => audit::run(&audit, output),
        Command::Config(Config::Show(folder)) => show_settings(&folder.dir, output),
    }
}

fn show_settings(dir: &std::path::Path, output: Output) -> anyhow::Result<Exit> {
    let (_, settings) = config::in_force(dir)?;
    output.result(&settings, |settings| {
        let value = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(list) => {
                let items = list.iter().map(|item| item.as_str().map_or(item.to_string(), str::to_owned));
                items.collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        };
        let rows = settings.iter().map(|one| vec![one.key.to_owned(), value(&one.value), one.from.clone()]);
        output::table(&["setting", "value", "from"], rows, &[])
    })?;
    Ok(Exit::Ok)
}
