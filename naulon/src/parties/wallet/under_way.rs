//! What was begun: `naulon wallet history`, `resume`, `give-up`, and how every command ends.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use naulon_wallet::OperationId;

use super::Folder;
use super::lines::{Line, exit_of, line, listing, sentence};
use super::room::{Room, Went};
use crate::clock::now;
use crate::exit::{Ends, Exit};
use crate::output::Output;

/// `naulon wallet resume`
#[derive(Debug, Args)]
pub struct Resume {
    /// Take this up again, which was given up or refused: the same request is made, and what it has delivered is fetched.
    #[arg(long, value_name = "OPERATION")]
    pub(super) again: Option<u64>,
    #[command(flatten)]
    pub(super) folder: Folder,
}

/// `naulon wallet give-up`
#[derive(Debug, Args)]
pub struct GiveUp {
    /// What to give up, by the number that `naulon wallet history` shows.
    pub(super) operation: u64,
    #[command(flatten)]
    pub(super) folder: Folder,
}

/// `naulon wallet discard`
#[derive(Debug, Args)]
#[command(after_help = "\
Evidence is kept until you discard it: with it you can prove what was delivered, or that you were cheated, and ask for refunds.
Discard a purchase when the goods satisfy you; whoever finds the wallet then finds nothing of it.")]
pub struct Discard {
    /// The purchase, by the number that `naulon wallet history` shows.
    operation: u64,
    #[command(flatten)]
    pub(super) folder: Folder,
}

impl Discard {
    pub(super) fn run(&self, room: &mut Room, output: Output) -> anyhow::Result<Exit> {
        let operation = OperationId(self.operation);
        room.wallet().discard(operation)?;
        output.result(&serde_json::json!({ "discarded": self.operation }), |_| {
            format!("purchase {operation} and its evidence are forgotten")
        })?;
        Ok(Exit::Ok)
    }
}

/// Goes on with everything that is under way, until all of it has ended or nothing moves any more.
pub(super) async fn resume(room: &mut Room, patience: Duration, output: Output) -> anyhow::Result<Exit> {
    let before: Vec<OperationId> = room.wallet().under_way(now()).iter().map(|entry| entry.id).collect();
    let went = room.see_through(None, patience).await?;
    let mut lines = Vec::new();
    for id in before {
        lines.extend(room.wallet().operation(id, now())?.map(|entry| line(&entry)));
    }
    output.result(&lines, |lines| match lines.is_empty() {
        true => "nothing is under way".to_owned(),
        false => listing(lines),
    })?;
    Ok(if went == Went::Through { Exit::Ok } else { Exit::UnderWay })
}

/// Gives an operation up, if nothing can have come of it.
pub(super) fn give_up(room: &mut Room, operation: OperationId, output: Output) -> anyhow::Result<Exit> {
    room.wallet().give_up(operation, now())?;
    let entry = room.wallet().operation(operation, now())?.context("the operation is gone")?;
    let line = line(&entry);
    output.result(&line, |line| sentence(&entry, line))?;
    Ok(Exit::Ok)
}

pub(super) fn history(room: &mut Room, output: Output) -> anyhow::Result<Exit> {
    let lines: Vec<Line> = room.wallet().history(now())?.iter().map(line).collect();
    output.result(&lines, |lines| match lines.is_empty() {
        true => "nothing was begun yet".to_owned(),
        false => listing(lines),
    })?;
    Ok(Exit::Ok)
}

/// Says how an operation went, and by which code to end.
pub(super) fn report(room: &mut Room, operation: OperationId, went: Went, output: Output) -> anyhow::Result<Exit> {
    let entry = room.wallet().operation(operation, now())?.context("the operation is gone")?;
    let mut line = line(&entry);
    let account = (line.kind == "open-account").then(|| room.wallet().account(&room.bank.key).to_string());
    let mut value = serde_json::to_value(&line)?;
    if let (Some(value), Some(account)) = (value.as_object_mut(), &account) {
        value.insert("account".to_owned(), account.clone().into());
    }
    let ended = exit_of(&entry);
    output.result(&value, |_| {
        if let (Some(account), Exit::Ok) = (&account, ended) {
            return format!("the account is open: {account}");
        }
        match (ended, line.file.take()) {
            (Exit::Ok, Some(file)) => format!("bought: {file}"),
            _ => sentence(&entry, &line),
        }
    })?;
    if went == Went::Stuck {
        let why = room.why_stuck().unwrap_or("nothing moves");
        return Err(Ends(Exit::UnderWay, format!("not finished ({why}); `naulon wallet resume` goes on")).into());
    }
    Ok(ended)
}
