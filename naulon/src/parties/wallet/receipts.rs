//! `naulon wallet receipts`: that what was withdrawn and spent stands in the bank's days.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use naulon_exchange::register::{Receipt, RegisterEvidence, Side, Verdict};
use naulon_statement::{Unverified, cbor};
use naulon_wallet::OperationId;
use naulon_wire::RegisterEvidenceFile;
use serde::Serialize;

use super::Folder;
use super::room::Room;
use crate::exit::Exit;
use crate::output::{self, Output};

/// `naulon wallet receipts`
#[derive(Debug, Args)]
#[command(after_help = "\
Before the day is over the bank gives its promise; ask again on a later day, and it must show that it has kept it. If it has not, the
file convicts it: naulon verify FILE --trust BANK. Exit code 2 says so.")]
pub struct Receipts {
    /// The operation, by the number that `naulon wallet history` shows.
    pub(super) operation: u64,
    #[command(flatten)]
    pub(super) folder: Folder,
}

/// The folder of receipts in the wallet's. They name tokens: nobody else's business.
const FOLDER: &str = "receipts";

#[derive(Serialize)]
struct Line {
    side: &'static str,
    standing: &'static str,
    file: String,
}

/// Asks the bank for receipts of everything that an operation was given and gave up, keeps them beside the promises that were
/// given before, and says whether those were kept.
pub async fn run(room: &mut Room, operation: OperationId, dir: &Path, output: Output) -> anyhow::Result<Exit> {
    let folder = dir.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    let mut lines = Vec::new();
    for (number, (side, receipt)) in room.receipts(operation).await?.into_iter().enumerate() {
        let file = folder.join(format!("{operation}-{number}.evidence.json"));
        let standing = keep(&file, &receipt).with_context(|| format!("{}", file.display()))?;
        let side = match side {
            Side::Issued => "issued",
            Side::Redeemed => "redeemed",
        };
        lines.push(Line { side, standing, file: file.display().to_string() });
    }
    let missing = lines.iter().any(|line| line.standing == "missing");
    output.result(&serde_json::json!({ "receipts": lines }), |_| {
        let rows = lines.iter().map(|line| vec![line.side.to_owned(), line.standing.to_owned(), line.file.clone()]);
        output::table(&["item", "standing", "file"], rows, &[])
    })?;
    if missing {
        output::note(
            "the bank has left out what it promised to count; show the file to whoever asks: naulon verify FILE",
        );
        return Ok(Exit::BREACH);
    }
    Ok(Exit::Ok)
}

/// Puts an answer beside the promise that was given before. Neither is ever written over: a promise may be all that convicts
/// the bank.
fn keep(file: &PathBuf, receipt: &Receipt) -> anyhow::Result<&'static str> {
    let before = match fs::read_to_string(file) {
        Ok(text) => RegisterEvidenceFile::read(&text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => RegisterEvidence::default(),
        Err(error) => return Err(error.into()),
    };
    let promise = before.promise.as_ref().map(|bytes| Unverified::parse(bytes)).transpose()?;
    let (after, standing) = match (promise, receipt) {
        (None, Receipt::Promised(promise)) => {
            (RegisterEvidence { promise: Some(promise.bytes().to_vec()), ..before }, "promised")
        }
        (Some(_), Receipt::Promised(_)) => (before, "promised"),
        (Some(promise), answer) => {
            let (_, verdict) = answer.judge(promise)?;
            let standing = if verdict == Verdict::Kept { "counted" } else { "missing" };
            (RegisterEvidence { receipt: Some(cbor::to_vec(answer)), ..before }, standing)
        }
        // Asked for the first time after the day is over: there is no promise to hold the bank to.
        (None, answer @ Receipt::Shown { .. }) => {
            (RegisterEvidence { receipt: Some(cbor::to_vec(answer)), ..before }, "counted")
        }
        (None, answer @ Receipt::Missing { .. }) => {
            (RegisterEvidence { receipt: Some(cbor::to_vec(answer)), ..before }, "not counted, and never promised")
        }
    };
    let partial = file.with_extension("partial");
    fs::write(&partial, RegisterEvidenceFile::write(&after))?;
    fs::rename(&partial, file)?;
    Ok(standing)
}
