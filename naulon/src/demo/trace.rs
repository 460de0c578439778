//! Prints every message as it passes, and keeps the books of who has learnt what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::demo::tap::{Fate, Line};
use crate::demo::told::{Fact, Said};
use crate::output::{self, Output};

/// One message on a line.
pub struct Passed {
    /// Who speaks to whom, in the direction of this message.
    pub line: Line,
    /// What it says.
    pub told: Said,
    /// What became of it.
    pub fate: Fate,
    /// Whether it answers another.
    pub answer: bool,
}

/// All that has passed on all lines.
#[derive(Clone)]
pub struct Trace {
    output: Output,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    messages: u64,
    lost: u64,
    learnt: BTreeMap<&'static str, BTreeSet<Fact>>,
    /// What names the consumer: found in a message of a purchase, it names who pays.
    consumer: Vec<Vec<u8>>,
    last: Option<(String, u64)>,
}

/// Everybody of table 1 who gets messages.
const ROWS: [(&str, &str); 4] =
    [("shop", "merchant"), ("wallet", "consumer"), ("bank", "bank"), ("log", "transaction log")];
const COLUMNS: [Fact; 5] = [Fact::Merchant, Fact::Consumer, Fact::Date, Fact::Amount, Fact::Item];

/// AAT, table 1, for those rows: nothing but the consumer is known to everybody else.
const EXPECTED: [(&str, &[Fact]); 4] = [
    ("shop", &[Fact::Merchant, Fact::Date, Fact::Amount, Fact::Item]),
    ("wallet", &[Fact::Merchant, Fact::Consumer, Fact::Date, Fact::Amount, Fact::Item]),
    ("bank", &[Fact::Merchant, Fact::Date, Fact::Amount]),
    ("log", &[Fact::Merchant, Fact::Date]),
];

impl Trace {
    /// A trace that prints, unless only JSON is wanted.
    pub fn new(output: Output) -> Self {
        Trace { output, books: Arc::default() }
    }

    /// From now on these bytes name the consumer.
    pub fn watch_for(&self, bytes: &[u8]) {
        self.lock().consumer.push(bytes.to_vec());
    }

    /// A message has passed, or was lost on the way.
    pub fn passed(&self, passed: Passed) {
        let Passed { line, told, fate, answer } = passed;
        let arrives = if answer { fate == Fate::Arrives } else { fate != Fate::Lost };
        let mut books = self.lock();
        books.messages += 1;
        books.lost += u64::from(!arrives);
        if told.purchase && arrives {
            let named = books.consumer.iter().any(|name| contains(&told.statements, name));
            let learnt = books.learnt.entry(line.to).or_default();
            learnt.extend(&told.facts);
            if named {
                learnt.insert(Fact::Consumer);
            }
        }
        let lost = if arrives { "" } else { "   ✗ lost" };
        self.print(&mut books, format!("  {:>8} → {:<8} {}{lost}", line.from, line.to, told.words));
    }

    /// A heading.
    pub fn heading(&self, words: &str) {
        let mut books = self.lock();
        self.flush(&mut books);
        self.say(&format!("\n{words}"));
    }

    /// A remark.
    pub fn remark(&self, words: &str) {
        let mut books = self.lock();
        self.flush(&mut books);
        self.say(&format!("  {words}"));
    }

    /// How many messages have passed, and how many of them were lost.
    pub fn counts(&self) -> (u64, u64) {
        let books = self.lock();
        (books.messages, books.lost)
    }

    /// Prints who has learnt what, and says whether it is what AAT's table 1 says.
    pub fn table(&self) -> bool {
        let mut books = self.lock();
        self.flush(&mut books);
        // The consumer knows itself without a message.
        books.learnt.entry("wallet").or_default().insert(Fact::Consumer);
        let cell = |party, fact| {
            let known = books.learnt.get(party).is_some_and(|learnt| learnt.contains(fact));
            if known { "full" } else { "none" }.to_owned()
        };
        let row = |(party, name): &(&'static str, &str)| {
            std::iter::once((*name).to_owned()).chain(COLUMNS.iter().map(|fact| cell(*party, fact))).collect()
        };
        let rows: Vec<Vec<String>> = ROWS.iter().map(row).collect();
        self.say(&indented(&output::table(&["", "merchant", "consumer", "date", "amount", "item"], rows, &[])));
        let empty = BTreeSet::new();
        EXPECTED.iter().all(|(party, facts)| {
            let expected: BTreeSet<Fact> = facts.iter().copied().collect();
            *books.learnt.get(party).unwrap_or(&empty) == expected
        })
    }

    /// Prints a line; pieces of one file, or tries of one question, are one line with a count.
    fn print(&self, books: &mut Books, line: String) {
        match &mut books.last {
            Some((last, count)) if *last == line => *count += 1,
            _ => {
                self.flush(books);
                books.last = Some((line, 1));
            }
        }
    }

    fn flush(&self, books: &mut Books) {
        match books.last.take() {
            Some((line, 1)) => self.say(&line),
            Some((line, count)) => self.say(&format!("{line}   × {count}")),
            None => {}
        }
    }

    fn say(&self, line: &str) {
        if !self.output.json {
            // Output that nobody reads is no reason to stop half-way through a purchase.
            let _ = self.output.line(line);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
