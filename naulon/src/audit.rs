//! `naulon audit`: has a bank's books checked by the independent auditor.

use std::path::PathBuf;

use naulon_bank::AuditError;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{self, Output};
use crate::parties::{PartyFolder, bank_room};

/// What `naulon audit` is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The books are read, not changed, and the bank may be running. From every signed request the auditor recomputes what the
journal, the balances and the marks must say, with no arithmetic of the bank's own.

Exit codes: 0 the books agree, 1 they do not, or cannot be read.")]
pub struct Audit {
    /// The bank's folder.
    #[arg(long, value_name = "BANKDIR", default_value = "bank")]
    dir: PathBuf,
}

/// What the books say.
#[derive(Clone, Debug, Serialize)]
pub struct Books {
    /// Whether they agree.
    pub agree: bool,
    /// Accepted requests.
    pub requests: u64,
    /// Money that came in from outside, in units of the currency.
    pub came_in: String,
    /// What is owed to account holders.
    pub accounts: String,
    /// What is owed to holders of tokens.
    pub tokens: String,
    /// What is locked for purchases.
    pub locked: String,
    /// Each brand's tokens.
    pub brands: Vec<BrandLine>,
    /// In which ways they disagree.
    pub discrepancies: Vec<String>,
}

/// One brand's tokens, counted.
#[derive(Clone, Debug, Serialize)]
pub struct BrandLine {
    /// The token key id.
    pub brand: String,
    /// Blind signatures delivered.
    pub issued: u64,
    /// Tokens given up for good.
    pub redeemed: u64,
    /// Tokens locked for purchases.
    pub locked: u64,
}

/// Audits, prints, and fails if the books disagree.
pub fn run(audit: &Audit, output: Output) -> anyhow::Result<Exit> {
    let books = books(&PartyFolder::open(&audit.dir))?;
    output.result(&books, text)?;
    Ok(if books.agree { Exit::Ok } else { Exit::Failed })
}

/// The books of the bank in this folder.
pub fn books(folder: &PartyFolder) -> anyhow::Result<Books> {
    match bank_room::audit(folder)? {
        Ok(report) => Ok(Books {
            agree: true,
            requests: report.records,
            came_in: report.came_in.to_string(),
            accounts: report.accounts.to_string(),
            tokens: report.tokens.to_string(),
            locked: report.locked.to_string(),
            brands: report
                .brands
                .iter()
                .map(|(brand, position)| BrandLine {
                    brand: brand.to_string(),
                    issued: position.issued,
                    redeemed: position.redeemed,
                    locked: position.locked,
                })
                .collect(),
            discrepancies: Vec::new(),
        }),
        Err(AuditError::Books(found)) => Ok(Books {
            agree: false,
            requests: 0,
            came_in: String::new(),
            accounts: String::new(),
            tokens: String::new(),
            locked: String::new(),
            brands: Vec::new(),
            discrepancies: found.iter().map(ToString::to_string).collect(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// The books for people.
pub fn text(books: &Books) -> String {
    if !books.agree {
        let lines: Vec<String> = books.discrepancies.iter().map(|line| format!("  ! {line}")).collect();
        return format!("The books disagree:\n{}", lines.join("\n"));
    }
    let sums = output::list([
        ("requests accepted", books.requests.to_string()),
        ("came in from outside", books.came_in.clone()),
        ("owed to accounts", books.accounts.clone()),
        ("owed to token holders", books.tokens.clone()),
        ("locked for purchases", books.locked.clone()),
    ]);
    let row = |line: &BrandLine| {
        let counts = [line.issued, line.redeemed, line.locked].map(|count| count.to_string());
        std::iter::once(line.brand.clone()).chain(counts).collect()
    };
    let brands = output::table(&["brand", "issued", "redeemed", "locked"], books.brands.iter().map(row), &[1, 2, 3]);
    let brands = if books.brands.is_empty() { String::new() } else { format!("\n\n{brands}") };
    format!("The books agree.\n\n{sums}{brands}")
}
