//! What the wallet's commands say.

use naulon_purchase::Ending;
use naulon_wallet::{End, Entry, Words};
use serde::Serialize;

use crate::clock::utc;
use crate::exit::Exit;
use crate::output::{self, Output};

/// An operation for people and programs.
#[derive(Serialize)]
pub struct Line {
    /// Its number.
    pub operation: u64,
    /// What it is.
    pub kind: &'static str,
    /// How much it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// In which currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// What is bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When it was begun.
    pub begun: String,
    /// Where it stands, or how it ended.
    pub step: String,
    /// Where the goods are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The code of the last refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Until when tokens are locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<String>,
}

/// The exit code of an operation that is where it is.
pub fn exit_of(entry: &Entry) -> Exit {
    match (&entry.ended, entry.ending()) {
        (None, _) => Exit::UnderWay,
        (Some(_), Some(Ending::Bought)) => Exit::Ok,
        (Some(_), Some(_)) => Exit::Refused,
        (Some(ended), None) if ended.how == End::Done => Exit::Ok,
        (Some(_), None) => Exit::Refused,
    }
}

/// One operation in one sentence.
pub fn sentence(entry: &Entry, line: &Line) -> String {
    let amount = match (&line.amount, &line.currency) {
        (Some(amount), Some(currency)) => format!(" {amount} {currency}"),
        _ => String::new(),
    };
    let why =
        line.refused.as_ref().map_or(String::new(), |code| format!(" ({code}; `naulon inspect {code}` explains)"));
    format!("{}{amount}: {}{why}", entry.kind.as_str(), line.step)
}

/// The line of an operation.
pub fn line(entry: &Entry) -> Line {
    let step = match (&entry.ended, entry.ending()) {
        (None, _) => entry.step.to_owned(),
        (Some(_), Some(ending)) => match ending {
            Ending::Bought => "bought".to_owned(),
            Ending::Aborted => "aborted, the tokens are free".to_owned(),
            Ending::NotLocked => "not locked, the tokens are free".to_owned(),
            Ending::GivenUp => "given up, nothing was paid".to_owned(),
            Ending::Cheated => "cheated: paid, and the goods are not as described; see `evidence`".to_owned(),
        },
        (Some(ended), None) => match &ended.how {
            End::Done => "done".to_owned(),
            End::Refused(code) => format!("refused: {code}"),
            End::GivenUp(code) => format!("given up after {code}"),
            End::Lost => "paid before the wallet was restored; the shop no longer has what it sold".to_owned(),
            End::Purchase(_) => "ended".to_owned(),
        },
    };
    Line {
        operation: entry.id.0,
        kind: entry.kind.as_str(),
        amount: entry.amount.map(|amount| amount.to_string()),
        currency: entry.currency.as_ref().map(ToString::to_string),
        title: entry.title.clone(),
        begun: utc(entry.begun),
        step,
        file: entry.place.clone(),
        refused: entry.refused.clone(),
        expiry: entry.expiry.map(utc),
    }
}

/// Operations as a table.
pub fn listing(lines: &[Line]) -> String {
    let row = |line: &Line| {
        let amount = match (&line.amount, &line.currency) {
            (Some(amount), Some(currency)) => format!("{amount} {currency}"),
            _ => String::new(),
        };
        let what = line.title.clone().unwrap_or_default();
        vec![line.operation.to_string(), line.kind.to_owned(), amount, line.step.clone(), what, line.begun.clone()]
    };
    output::table(&["no", "what", "amount", "stands", "title", "begun"], lines.iter().map(row), &[0, 2])
}

/// Shows the words of a new wallet.
pub fn show_words(dir: &std::path::Path, words: &Words, output: Output) -> anyhow::Result<()> {
    let revealed = words.reveal();
    if output.json {
        return output.line(&serde_json::json!({ "dir": dir, "words": revealed.as_str() }).to_string());
    }
    let list: Vec<&str> = revealed.split(' ').collect();
    let lines: Vec<String> = list
        .chunks(6)
        .enumerate()
        .map(|(line, words)| {
            let words = words.iter().enumerate().map(|(at, word)| format!("{:>2} {word:<10}", line * 6 + at + 1));
            words.collect::<Vec<_>>().concat().trim_end().to_owned()
        })
        .collect();
    output.line(&format!(
        "wallet made in {}. All its keys come from these 24 words: write them on paper, they are not shown again.\n\n{}\n",
        dir.display(),
        lines.join("\n")
    ))
}
