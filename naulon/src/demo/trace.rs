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

const COLUMNS: [Fact; 5] = [Fact::Merchant, Fact::Consumer, Fact::Date, Fact::Amount, Fact::Item];

/// AAT, table 1, for everybody who gets messages: the line's name, the table's name, what is known in full.
const TABLE_1: [(&str, &str, &[Fact]); 4] = [
    ("shop", "merchant", &[Fact::Merchant, Fact::Date, Fact::Amount, Fact::Item]),
    ("wallet", "consumer", &COLUMNS),
    ("bank", "bank", &[Fact::Merchant, Fact::Date, Fact::Amount]),
    ("log", "transaction log", &[Fact::Merchant, Fact::Date]),
];

impl Books {
    /// What a party knows. The consumer knows itself without a message.
    fn knows(&self, party: &str) -> BTreeSet<Fact> {
        let learnt = self.learnt.get(party).cloned().unwrap_or_default();
        let own = (party == "wallet").then_some(Fact::Consumer);
        learnt.into_iter().chain(own).collect()
    }
}

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

    /// Prints who has learnt what.
    pub fn print_table(&self) {
        let mut books = self.lock();
        self.flush(&mut books);
        let cell = |party, fact| if books.knows(party).contains(fact) { "full" } else { "none" }.to_owned();
        let row = |(party, name, _): &(&'static str, &str, &[Fact])| {
            std::iter::once((*name).to_owned()).chain(COLUMNS.iter().map(|fact| cell(*party, fact))).collect()
        };
        let rows: Vec<Vec<String>> = TABLE_1.iter().map(row).collect();
        self.say(&indented(&output::table(&["", "merchant", "consumer", "date", "amount", "item"], rows, &[])));
    }

    /// Whether everybody has learnt what AAT's table 1 says, and nothing else.
    pub fn is_as_in_the_paper(&self) -> bool {
        let books = self.lock();
        TABLE_1.iter().all(|(party, _, facts)| books.knows(party) == facts.iter().copied().collect())
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
