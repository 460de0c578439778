//! The independent auditor: recomputes from the signed requests what the books must say.
//!
//! It shares no arithmetic with [`decide`](crate::decide): it reads the records and adds up what their inputs and outputs
//! mean by the paper, then compares with the journal, the balances and the marks that the bank kept.

use std::collections::{BTreeMap, BTreeSet};

use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey};

use crate::decision::{Outcome, ProvenDecision};
use crate::instrument::{offer_mark, order_mark, reference_mark, token_mark};
use crate::promise::Header;
use crate::request::{Input, Output, RequestId, key_commitment};
use crate::rules::Rules;
use crate::state::{LedgerAccount, Record, State, Transfer};

/// Reads a bank's books row by row and says at the end whether they agree.
pub struct Audit<'r> {
    rules: &'r Rules,
    /// By ledger account, in micro-units: what the records say.
    expected: BTreeMap<LedgerAccount, i128>,
    /// By ledger account, in micro-units: what the journal says.
    journal: BTreeMap<LedgerAccount, i128>,
    balances: BTreeMap<PublicKey, Amount>,
    expected_marks: BTreeMap<Digest, RequestId>,
    marks: BTreeMap<Digest, RequestId>,
    brands: BTreeMap<Digest, BrandPosition>,
    found: Vec<Discrepancy>,
    records: u64,
}

/// A brand's tokens, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrandPosition {
    /// Blind signatures delivered.
    pub issued: u64,
    /// Tokens given up for good.
    pub redeemed: u64,
    /// Tokens locked for purchases.
    pub locked: u64,
}

/// What agreeing books say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// How many requests the bank has accepted.
    pub records: u64,
    /// Money that came in from outside.
    pub came_in: Amount,
    /// What the bank owes its account holders.
    pub accounts: Amount,
    /// What the bank owes the holders of tokens.
    pub tokens: Amount,
    /// What is locked for purchases.
    pub locked: Amount,
    /// Each brand's position.
    pub brands: BTreeMap<Digest, BrandPosition>,
}

/// A way in which the books disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discrepancy {
    /// A record's inputs and outputs differ in value.
    #[error("request {0}: inputs and outputs differ in value")]
    Unbalanced(RequestId),
    /// A record names a brand that the bank does not have.
    #[error("request {0}: unknown brand")]
    UnknownBrand(RequestId),
    /// A record stands in a state that it has no decision of its log for.
    #[error("request {0} stands in a state that no decision of its log supports")]
    Unfounded(RequestId),
    /// Two records hold one mark.
    #[error("requests {0} and {1} gave up the same instrument")]
    DoubleSpend(RequestId, RequestId),
    /// The records call for a mark that is missing or held by another request.
    #[error("a mark of request {0} is missing or another's")]
    MarkMissing(RequestId),
    /// A mark is held that no record calls for.
    #[error("request {0} holds a mark that it should not")]
    MarkExtra(RequestId),
    /// Records and journal differ.
    #[error("{account:?}: the records say {records}, the journal {journal} (micro-units)")]
    Journal {
        /// Which ledger account.
        account: LedgerAccount,
        /// By the records.
        records: i128,
        /// By the journal.
        journal: i128,
    },
    /// An account's balance is not what the journal says.
    #[error("account {account}: the balance is {balance}, the journal says {journal} (micro-units)")]
    Balance {
        /// Which account.
        account: PublicKey,
        /// The stored balance.
        balance: i128,
        /// By the journal.
        journal: i128,
    },
    /// More of a brand was redeemed than issued, or an account is overdrawn.
    #[error("{0:?} is below zero")]
    BelowZero(LedgerAccount),
}

impl<'r> Audit<'r> {
    /// An audit of a bank with these rules.
    pub fn new(rules: &'r Rules) -> Self {
        Audit {
            rules,
            expected: BTreeMap::new(),
            journal: BTreeMap::new(),
            balances: BTreeMap::new(),
            expected_marks: BTreeMap::new(),
            marks: BTreeMap::new(),
            brands: BTreeMap::new(),
            found: Vec::new(),
            records: 0,
        }
    }

    /// Reads one accepted request.
    pub fn record(&mut self, record: &Record) {
        self.records += 1;
        let id = record.id();
        if !is_founded(record) {
            self.found.push(Discrepancy::Unfounded(id));
        }
        let mut sum = 0i128;
        for input in &record.exchange.inputs {
            sum += self.input(id, record.state, input);
        }
        for output in &record.exchange.outputs {
            sum -= self.output(id, record.state, output);
        }
        if sum != 0 {
            self.found.push(Discrepancy::Unbalanced(id));
        }
        if let (Some(condition), true) = (&record.exchange.condition, record.state != State::Aborted) {
            self.expect_mark(offer_mark(&condition.merchant, &condition.n).key, id);
        }
    }

    /// Reads one journal line.
    pub fn transfer(&mut self, line: &Transfer) {
        let amount = i128::from(line.amount.micros());
        *self.journal.entry(line.from).or_default() -= amount;
        *self.journal.entry(line.to).or_default() += amount;
    }

    /// Reads one account balance.
    pub fn balance(&mut self, account: PublicKey, balance: Amount) {
        self.balances.insert(account, balance);
    }

    /// Reads one mark.
    pub fn mark(&mut self, key: Digest, holder: RequestId) {
        self.marks.insert(key, holder);
    }

    /// Compares everything that was read.
    pub fn finish(mut self) -> Result<AuditReport, Vec<Discrepancy>> {
        self.compare_marks();
        self.compare_ledgers();
        if !self.found.is_empty() {
            return Err(self.found);
        }
        let total = |chosen: fn(&LedgerAccount) -> bool| {
            let sum: i128 = self.expected.iter().filter(|(account, _)| chosen(account)).map(|(_, sum)| *sum).sum();
            Amount::from_micros(u64::try_from(sum.abs()).unwrap_or(u64::MAX))
        };
        Ok(AuditReport {
            records: self.records,
            came_in: total(|account| *account == LedgerAccount::Outside),
            accounts: total(|account| matches!(account, LedgerAccount::Customer(_))),
            tokens: total(|account| matches!(account, LedgerAccount::Tokens(_))),
            locked: total(|account| *account == LedgerAccount::Locked),
            brands: self.brands,
        })
    }

    /// Counts an input and returns its value in micro-units.
    fn input(&mut self, id: RequestId, state: State, input: &Input) -> i128 {
        let (value, ledger, mark) = match input {
            Input::Outside { amount, reference } => (*amount, LedgerAccount::Outside, reference_mark(reference)),
            Input::Account { account, amount, order } => {
                (*amount, LedgerAccount::Customer(*account), order_mark(account, order))
            }
            Input::Token { token } => {
                let brand = Digest(*token.key_id());
                let position = self.brands.entry(brand).or_default();
                match state {
                    State::Done | State::Committed => position.redeemed += 1,
                    State::Locked => position.locked += 1,
                    State::Aborted => {}
                }
                (self.denomination(id, &brand), LedgerAccount::Tokens(brand), token_mark(token))
            }
        };
        let micros = i128::from(value.micros());
        if state != State::Aborted {
            *self.expected.entry(ledger).or_default() -= micros;
            self.expect_mark(mark.key, id);
        }
        if state == State::Locked {
            *self.expected.entry(LedgerAccount::Locked).or_default() += micros;
        }
        micros
    }

    /// Counts an output and returns its value in micro-units.
    fn output(&mut self, id: RequestId, state: State, output: &Output) -> i128 {
        let delivered = matches!(state, State::Done | State::Committed);
        let (value, ledger) = match output {
            Output::Account { account, amount } => (*amount, LedgerAccount::Customer(*account)),
            Output::Blinded { brand, .. } => {
                if delivered {
                    self.brands.entry(*brand).or_default().issued += 1;
                }
                (self.denomination(id, brand), LedgerAccount::Tokens(*brand))
            }
        };
        let micros = i128::from(value.micros());
        if delivered {
            *self.expected.entry(ledger).or_default() += micros;
        }
        micros
    }

    fn denomination(&mut self, id: RequestId, brand: &Digest) -> Amount {
        match self.rules.brands.get(brand) {
            Some(known) => known.brand().denomination,
            None => {
                self.found.push(Discrepancy::UnknownBrand(id));
                Amount::ZERO
            }
        }
    }

    fn expect_mark(&mut self, key: Digest, id: RequestId) {
        if let Some(other) = self.expected_marks.insert(key, id) {
            self.found.push(Discrepancy::DoubleSpend(other, id));
        }
    }

    fn compare_marks(&mut self) {
        for (key, id) in &self.expected_marks {
            if self.marks.get(key) != Some(id) {
                self.found.push(Discrepancy::MarkMissing(*id));
            }
        }
        for (key, id) in &self.marks {
            if !self.expected_marks.contains_key(key) {
                self.found.push(Discrepancy::MarkExtra(*id));
            }
        }
    }

    fn compare_ledgers(&mut self) {
        let accounts: BTreeSet<_> = self.expected.keys().chain(self.journal.keys()).copied().collect();
        for account in accounts {
            let (records, journal) = (micros(&self.expected, account), micros(&self.journal, account));
            if records != journal {
                self.found.push(Discrepancy::Journal { account, records, journal });
            }
            if records < 0 && account != LedgerAccount::Outside {
                self.found.push(Discrepancy::BelowZero(account));
            }
        }
        let in_journal = self.journal.keys().filter_map(|account| match account {
            LedgerAccount::Customer(key) => Some(*key),
            LedgerAccount::Outside | LedgerAccount::Tokens(_) | LedgerAccount::Locked => None,
        });
        let customers: BTreeSet<PublicKey> = in_journal.chain(self.balances.keys().copied()).collect();
        for account in customers {
            let balance = self.balances.get(&account).map_or(0, |balance| i128::from(balance.micros()));
            let journal = micros(&self.journal, LedgerAccount::Customer(account));
            if balance != journal {
                self.found.push(Discrepancy::Balance { account, balance, journal });
            }
        }
    }
}

/// Whether the record stands where its log's decision puts it: a purchase is paid or freed by nothing else.
fn is_founded(record: &Record) -> bool {
    let Some(header) = Header::of(&record.exchange, record.id()) else {
        return record.state == State::Done && record.decision.is_none();
    };
    let Some(decision) = record.decision.as_ref().map(ProvenDecision::decision) else {
        return record.state == State::Locked;
    };
    let state = match &decision.outcome {
        Outcome::Commit { k } if key_commitment(&header.n, k) == header.c => State::Committed,
        Outcome::Commit { .. } => return false,
        Outcome::Abort => State::Aborted,
    };
    record.state == state && decision.signer() == header.log && decision.fits(&header)
}

fn micros(books: &BTreeMap<LedgerAccount, i128>, account: LedgerAccount) -> i128 {
    books.get(&account).copied().unwrap_or(0)
}
