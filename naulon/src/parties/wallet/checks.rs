//! `naulon wallet checks`: what stands in checks that are paid by the tick, and taking back what is left of them.

use std::time::Duration;

use clap::Args;
use naulon_wallet::{CheckEntry, Pocket};

use super::room::Room;
use super::{Folder, entropy};
use crate::clock::{now, utc};
use crate::exit::Exit;
use crate::output::{self, Output};

#[derive(Debug, Args)]
pub struct Checks {
    /// Take back what is left of every check whose time is over: as tokens, as far as the bank's denominations allow. What is
    /// less than the smallest token stays, until it is given to the account.
    #[arg(long)]
    reclaim: bool,
    /// Give it to the account instead, to the last tick. The bank then sees whose the checks were.
    #[arg(long, requires = "reclaim")]
    to_account: bool,
    #[command(flatten)]
    pub(super) folder: Folder,
}

impl Checks {
    /// Whether it sends what names the account.
    pub(super) fn names_account(&self) -> bool {
        self.to_account
    }

    pub(super) async fn run(&self, room: &mut Room, patience: Duration, output: Output) -> anyhow::Result<Exit> {
        if self.reclaim {
            room.describe().await?;
            let pocket = if self.to_account { Pocket::Account } else { Pocket::Tokens };
            let free = room.wallet().free_checks(now());
            for number in free {
                let operation = room.wallet().reclaim_check(number, None, pocket, now(), &*entropy()?)?;
                room.see_through(Some(operation), patience).await?;
            }
        }
        let checks = room.wallet().checks();
        let report: Vec<_> = checks.iter().map(json).collect();
        output.result(&report, |_| match checks.is_empty() {
            true => "no check was made yet".to_owned(),
            false => output::table(
                &["check", "payee", "stands", "set aside", "came back", "pays until", "comes back from"],
                checks.iter().map(row),
                &[0, 3, 4],
            ),
        })?;
        Ok(Exit::Ok)
    }
}

fn json(check: &CheckEntry) -> serde_json::Value {
    serde_json::json!({
        "check": check.number, "payee": check.payee.to_string(), "state": check.state.as_str(),
        "set_aside": check.maximum.to_string(), "came_back": check.returned.to_string(),
        "pays_until": utc(check.expiry), "comes_back_from": utc(check.free_from),
    })
}

fn row(check: &CheckEntry) -> Vec<String> {
    vec![
        check.number.to_string(),
        check.payee.to_string(),
        check.state.as_str().to_owned(),
        check.maximum.to_string(),
        check.returned.to_string(),
        utc(check.expiry),
        utc(check.free_from),
    ]
}
