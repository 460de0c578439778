//! What a game comes to.

#![allow(clippy::float_arithmetic)] // Statistics, not money.

use serde_json::{Value, json};

/// How many standard deviations a figure may be off by chance: in one game of a few hundred.
const DEVIATIONS: f64 = 3.0;
/// What a broken protection must give an adversary at least, to count as noticed.
const TEETH: f64 = 0.5;

/// What is expected of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The adversary does no better than who guesses.
    Nothing,
    /// It wins: a protection is switched off.
    Teeth,
}

/// One row of a game: one way in which it was played.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is switched off; `honest` if nothing is.
    pub name: &'static str,
    /// How often it was played.
    pub trials: u64,
    /// How often the adversary was right.
    pub right: u64,
    /// Among how many it had to choose.
    pub choices: u64,
    /// What is expected.
    pub expected: Expected,
}

impl Row {
    /// How much better the adversary is than who guesses: 0 as good, 1 always right.
    pub fn advantage(&self) -> f64 {
        let (right, chance) = (self.right as f64 / (self.trials as f64).max(1.0), 1.0 / self.choices as f64);
        (right - chance) / (1.0 - chance)
    }

    /// By how much the advantage of who guesses is off zero by chance: three standard deviations.
    pub fn error(&self) -> f64 {
        let chance = 1.0 / self.choices as f64;
        DEVIATIONS * (chance * (1.0 - chance) / (self.trials as f64).max(1.0)).sqrt() / (1.0 - chance)
    }

    /// Whether it is as expected.
    pub fn ok(&self) -> bool {
        match self.expected {
            Expected::Nothing => self.trials > 0 && self.advantage().abs() <= self.error(),
            Expected::Teeth => self.advantage() >= TEETH.max(self.error()),
        }
    }

    /// As JSON, with what it is called under this key.
    fn json(&self, game: &str) -> Value {
        let expected = match self.expected {
            Expected::Nothing => json!(0),
            Expected::Teeth => json!(1),
        };
        json!({
            "game": game,
            "row": self.name,
            "trials": self.trials,
            "advantage": round(self.advantage()),
            "error": round(self.error()),
            "expected": expected,
            "ok": self.ok(),
        })
    }
}

/// A game that was played: the row in which nothing is switched off, and the others.
#[derive(Clone, Debug)]
pub struct Played {
    /// Its name.
    pub game: &'static str,
    /// The rows, the honest one first.
    pub rows: Vec<Row>,
    /// What else is to be told.
    pub notes: Vec<String>,
}

impl Played {
    /// Whether every row is as expected.
    pub fn ok(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(Row::ok)
    }

    /// A line of JSON for each row in which something is switched off, and at last one for the game: the figures of its
    /// honest row, and whether all rows are as expected.
    pub fn lines(&self) -> Vec<Value> {
        let Some((honest, broken)) = self.rows.split_first() else { return Vec::new() };
        let mut lines: Vec<Value> = broken.iter().map(|row| row.json(self.game)).collect();
        let mut last = honest.json(self.game);
        if let Some(fields) = last.as_object_mut() {
            fields.remove("row");
            fields.insert("ok".to_owned(), json!(self.ok()));
        }
        lines.push(last);
        lines
    }
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
