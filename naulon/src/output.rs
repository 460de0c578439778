//! What the program says: tables and sentences for people, JSON for programs.
//!
//! Results go to standard output, everything else to standard error. With `--json` every result is one line.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How results are written.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One line of JSON a result.
    pub json: bool,
}

impl Output {
    /// A result: JSON of the value, or its text for people.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let line = if self.json { serde_json::to_string(value)? } else { text(value) };
        self.line(&line)
    }

    /// One line, or several, on standard output.
    pub fn line(&self, line: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", printable(line.trim_end_matches('\n'))).and_then(|()| out.flush()) {
            // Whoever read our output has enough of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => Ok(other?),
        }
    }

    /// A progress bar over this many bytes or steps; hidden unless a person watches.
    pub fn bar(&self, total: u64, what: &'static str, unit: Unit) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let template = match unit {
            Unit::Bytes => "{msg:>12} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            Unit::Steps => "{msg:>12} [{bar:40}] {pos}/{len} {eta}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_message(what)
    }

    /// What turns while something is waited for; hidden unless a person watches.
    pub fn waiting(&self, words: &'static str) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        bar.with_message(words)
    }
}

/// What a progress bar counts.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Anything else.
    Steps,
}

/// A sentence on standard error.
pub fn note(words: impl Display) {
    // If even standard error is closed there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{}", printable(&words.to_string()));
}

/// A table with these headings. Lines are never broken, so that a key can be copied whole.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>, right: &[usize]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for row in rows {
        // A line break in what somebody else wrote would look like another row.
        table.add_row(row.iter().map(|cell| printable(cell).replace('\n', " ")));
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table.to_string())
}

/// Names and values under one another.
pub fn list<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in pairs {
        table.add_row(vec![name.to_owned(), value]);
    }
    trimmed(&table.to_string())
}

/// The text without anything that makes a terminal do something else than to show it: titles, reasons and the like were
/// written by others.
fn printable(text: &str) -> String {
    let is_harmless = |c: char| match c {
        '\n' | '\t' => true,
        // Writing direction: with these a text can look like another.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        c => !c.is_control(),
    };
    text.chars().map(|c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

fn trimmed(text: &str) -> String {
    // The table pads its first column, too.
    let line = |line: &str| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned();
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_elses_words_move_the_cursor() {
        assert_eq!(printable("ναῦλον\n\t1"), "ναῦλον\n\t1");
        assert_eq!(printable("a\x1b[2Jb\rc\u{202e}d\u{9b}e\0"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}");
        let shown = table(&["title", "price"], [vec!["a\nb  0.00".to_owned(), "1".to_owned()]], &[]);
        assert_eq!(shown.lines().count(), 2, "{shown}");
    }
}
