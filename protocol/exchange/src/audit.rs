//! The independent auditor: recomputes from the signed requests what the books must say.
//!
//! It shares no arithmetic with [`decide`](crate::decide): it reads the records and adds up what their inputs and outputs
//! mean by the paper, then compares with the journal, the balances and the marks that the bank kept.

use std::collections::{BTreeMap, BTreeSet};

use naulon_blind::Token;
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Timestamp};

use crate::chain::LockedChain;
use crate::decision::Outcome;
use crate::instrument::{MAX_PARTS, offer_mark, order_mark, part_mark, purse_account, reference_mark, token_mark};
use crate::promise::Header;
use crate::request::{Input, Output, RequestId, key_commitment};
use crate::rules::Rules;
use crate::state::{LedgerAccount, Record, Remainder, State, Transfer};

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
    /// Tokens that are spent in parts, by the keys of their marks: what the records say.
    in_parts: BTreeMap<Digest, InParts>,
    remainders: BTreeMap<Digest, Remainder>,
    /// Checks, by their commitments: what the records say, and what is stored.
    on_checks: BTreeMap<Digest, OnCheck>,
    /// What a tick of each pays, as far as ticks were cashed.
    tick_values: BTreeMap<Digest, i128>,
    chains: BTreeMap<Digest, LockedChain>,
    brands: BTreeMap<Digest, BrandPosition>,
    found: Vec<Discrepancy>,
    records: u64,
}

/// A brand's tokens, counted. A token that is spent in parts (AAT §8.3) counts as redeemed when all of its value is gone
/// for good; until then what is gone, and what is locked, are sums beside the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrandPosition {
    /// Blind signatures delivered.
    pub issued: u64,
    /// Tokens given up for good.
    pub redeemed: u64,
    /// Tokens locked for purchases.
    pub locked: u64,
    /// What was taken for good from tokens that have something left, or locked.
    pub redeemed_in_parts: Amount,
    /// Parts of tokens locked for purchases.
    pub locked_in_parts: Amount,
}

/// A token that is spent in parts.
struct InParts {
    brand: Digest,
    issued_for: i128,
    gone: i128,
    locked: i128,
    /// Every request that ever took a part, and those whose part is not given back.
    all: BTreeSet<RequestId>,
    live: BTreeSet<RequestId>,
}

/// A check, in micro-units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnCheck {
    /// Set aside for it.
    pub maximum: i128,
    /// Paid for its ticks.
    pub paid: i128,
    /// Given back of it.
    pub returned: i128,
    /// How many of its ticks are paid.
    pub index: u32,
    /// Until when it pays, the payee's digest, and to whose key the remainder goes. None if it was never set aside.
    pub terms: Option<(Timestamp, Digest, PublicKey)>,
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
    /// What is set aside for checks, and neither paid nor returned.
    pub chains: Amount,
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
    /// What is stored as left on a token that is spent in parts is not what the records say.
    #[error(
        "the token with mark {token}: the records say {records:?}, stored is {stored:?} (left in micro-units, uses)"
    )]
    Remainder {
        /// The token, by the key of its mark.
        token: Digest,
        /// By the records; none if no record spends it in parts.
        records: Option<(i128, usize)>,
        /// As stored.
        stored: Option<(i128, usize)>,
    },
    /// What is stored of a check is not what the records say, or more was paid and returned than was set aside.
    #[error("the check {commitment}: the records say {records:?}, stored is {stored:?} (micro-units)")]
    Chain {
        /// The check's commitment.
        commitment: Digest,
        /// By the records; none if no record sets money aside for it, or takes any.
        records: Option<OnCheck>,
        /// As stored.
        stored: Option<OnCheck>,
    },
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
            in_parts: BTreeMap::new(),
            remainders: BTreeMap::new(),
            on_checks: BTreeMap::new(),
            tick_values: BTreeMap::new(),
            chains: BTreeMap::new(),
            brands: BTreeMap::new(),
            found: Vec::new(),
            records: 0,
        }
    }

    /// Reads one accepted request.
    pub fn record(&mut self, record: &Record) {
        self.records += 1;
        let id = record.id();
        if !is_founded(self.rules, record) {
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

    /// Reads what requests that are forgotten did to a ledger account, in micro-units. The journal still has their lines.
    pub fn carried(&mut self, account: LedgerAccount, sum: i64) {
        *self.expected.entry(account).or_default() += i128::from(sum);
    }

    /// What a request did to each ledger account, in micro-units; none if it is not as it should be: such a one is not to be
    /// forgotten.
    pub(crate) fn effect(rules: &'r Rules, record: &Record) -> Option<BTreeMap<LedgerAccount, i64>> {
        let mut audit = Audit::new(rules);
        audit.record(record);
        let sums = audit.expected.into_iter().filter(|(_, sum)| *sum != 0);
        let sums = sums.map(|(account, sum)| Some((account, i64::try_from(sum).ok()?))).collect::<Option<_>>()?;
        audit.found.is_empty().then_some(sums)
    }

    /// Reads one account balance.
    pub fn balance(&mut self, account: PublicKey, balance: Amount) {
        self.balances.insert(account, balance);
    }

    /// Reads one mark.
    pub fn mark(&mut self, key: Digest, holder: RequestId) {
        self.marks.insert(key, holder);
    }

    /// Reads what is left on a token that is spent in parts. The token is named by the key of its mark.
    pub fn remainder(&mut self, token: Digest, remainder: Remainder) {
        self.remainders.insert(token, remainder);
    }

    /// Reads what stands of a check, named by its commitment.
    pub fn chain(&mut self, commitment: Digest, chain: LockedChain) {
        self.chains.insert(commitment, chain);
    }

    /// Compares everything that was read.
    pub fn finish(mut self) -> Result<AuditReport, Vec<Discrepancy>> {
        self.compare_parts();
        self.compare_chains();
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
            chains: total(|account| *account == LedgerAccount::Chains),
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
            Input::Token { token, part: Some(part), .. } => return self.part(id, state, token, *part),
            Input::Token { token, part: None, .. } => {
                let brand = Digest(*token.key_id());
                let position = self.brands.entry(brand).or_default();
                match state {
                    State::Done | State::Committed => position.redeemed += 1,
                    State::Locked => position.locked += 1,
                    State::Aborted => {}
                }
                (self.denomination(id, &brand), LedgerAccount::Tokens(brand), token_mark(token))
            }
            Input::Chain { check, from, to, .. } => {
                let on_check = self.on_checks.entry(check.commitment()).or_default();
                let paid = i128::from(check.value.micros()) * (i128::from(to.index) - i128::from(from.index));
                on_check.paid += paid;
                on_check.index = on_check.index.max(to.index);
                self.tick_values.insert(check.commitment(), i128::from(check.value.micros()));
                *self.expected.entry(LedgerAccount::Chains).or_default() -= paid;
                return paid;
            }
            Input::Remainder { commitment, amount, .. } => {
                let returned = i128::from(amount.micros());
                self.on_checks.entry(*commitment).or_default().returned += returned;
                *self.expected.entry(LedgerAccount::Chains).or_default() -= returned;
                return returned;
            }
            Input::Purse { token, .. } => {
                let brand = Digest(*token.key_id());
                let account = LedgerAccount::Customer(purse_account(&brand));
                (self.denomination(id, &brand), account, token_mark(token))
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

    /// Counts a part of a token and returns its value in micro-units.
    fn part(&mut self, id: RequestId, state: State, token: &Token, part: Amount) -> i128 {
        let (brand, micros) = (Digest(*token.key_id()), i128::from(part.micros()));
        let issued_for = i128::from(self.denomination(id, &brand).micros());
        let position = self.in_parts.entry(token_mark(token).key).or_insert_with(|| InParts {
            brand,
            issued_for,
            gone: 0,
            locked: 0,
            all: BTreeSet::new(),
            live: BTreeSet::new(),
        });
        position.all.insert(id);
        if state == State::Aborted {
            return micros;
        }
        position.live.insert(id);
        *self.expected.entry(LedgerAccount::Tokens(brand)).or_default() -= micros;
        if state == State::Locked {
            position.locked += micros;
            *self.expected.entry(LedgerAccount::Locked).or_default() += micros;
        } else {
            position.gone += micros;
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
            Output::Chain { commitment, maximum, expiry, payee, refund } => {
                let on_check = self.on_checks.entry(*commitment).or_default();
                on_check.maximum += i128::from(maximum.micros());
                on_check.terms = Some((*expiry, *payee, *refund));
                (*maximum, LedgerAccount::Chains)
            }
            Output::Load { brand, amount, .. } => (*amount, LedgerAccount::Customer(purse_account(brand))),
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

    /// Tokens that are spent in parts: what is left, and the marks. The token's own mark is held by whichever use came
    /// first, be it aborted; each live use holds one of the token's places.
    fn compare_parts(&mut self) {
        let amount = |micros: i128| Amount::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        for (token, position) in &self.in_parts {
            let brand = self.brands.entry(position.brand).or_default();
            if position.gone == position.issued_for {
                brand.redeemed += 1;
            } else {
                let sum = |before: Amount, more| before.checked_add(amount(more)).unwrap_or(Amount::MAX);
                brand.redeemed_in_parts = sum(brand.redeemed_in_parts, position.gone);
                brand.locked_in_parts = sum(brand.locked_in_parts, position.locked);
            }
            let first = position.all.first().copied().unwrap_or(*token);
            if let Some(whole) = self.expected_marks.get(token) {
                self.found.push(Discrepancy::DoubleSpend(*whole, first));
            }
            match self.marks.remove(token) {
                Some(opener) if position.all.contains(&opener) => {}
                Some(other) => self.found.push(Discrepancy::MarkExtra(other)),
                None => self.found.push(Discrepancy::MarkMissing(first)),
            }
            let mut missing = position.live.clone();
            let places = (0..MAX_PARTS).filter_map(|place| self.marks.remove(&part_mark(token, place).key));
            let extra = places.filter(|holder| !missing.remove(holder)).collect::<Vec<_>>();
            self.found.extend(extra.into_iter().map(Discrepancy::MarkExtra));
            self.found.extend(missing.into_iter().map(Discrepancy::MarkMissing));
        }
        let tokens: BTreeSet<Digest> = self.in_parts.keys().chain(self.remainders.keys()).copied().collect();
        for token in tokens {
            let left = |position: &InParts| position.issued_for - position.gone - position.locked;
            let records = self.in_parts.get(&token).map(|position| (left(position), position.live.len()));
            let stored = self.remainders.get(&token).map(|r| (i128::from(r.left.micros()), usize::from(r.uses)));
            if records != stored {
                self.found.push(Discrepancy::Remainder { token, records, stored });
            }
        }
    }

    /// Checks: what is stored is what the records add up to, and never more is gone than was set aside.
    fn compare_chains(&mut self) {
        let stored = |chain: &LockedChain| {
            let [maximum, paid, returned] = [chain.maximum, chain.paid, chain.returned].map(|a| i128::from(a.micros()));
            let terms = Some((chain.expiry, chain.payee, chain.refund));
            OnCheck { maximum, paid, returned, index: chain.front.map_or(0, |front| front.index), terms }
        };
        let checks: BTreeSet<Digest> = self.on_checks.keys().chain(self.chains.keys()).copied().collect();
        for commitment in checks {
            let (records, stored) =
                (self.on_checks.get(&commitment).copied(), self.chains.get(&commitment).map(stored));
            let is_covered = records.is_some_and(|sums| sums.paid + sums.returned <= sums.maximum);
            // Each tick is paid once: what was paid is what the last one stands for.
            let value = self.tick_values.get(&commitment).copied().unwrap_or_default();
            let is_paid_once = records.is_none_or(|sums| sums.paid == value * i128::from(sums.index));
            if records != stored || !is_covered || !is_paid_once {
                self.found.push(Discrepancy::Chain { commitment, records, stored });
            }
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
            LedgerAccount::Outside | LedgerAccount::Tokens(_) | LedgerAccount::Locked | LedgerAccount::Chains => None,
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

/// Whether the record stands where its log's decision puts it: a purchase is paid by nothing else, and freed by nothing else
/// but its merchant's own delay.
fn is_founded(rules: &Rules, record: &Record) -> bool {
    let Some(header) = Header::of(&record.exchange, record.id()) else {
        return record.state == State::Done && record.decision.is_none();
    };
    let Some(proven) = &record.decision else {
        // Without a decision it is free only if its merchant keeps the log, and the merchant's time was over.
        let lapsed = || rules.frees_at(&header).zip(record.settled).is_some_and(|(from, settled)| settled >= from);
        return record.state == State::Locked || record.state == State::Aborted && lapsed();
    };
    let state = match &proven.decision().outcome {
        Outcome::Commit { k } if key_commitment(&header.n, k) == header.c => State::Committed,
        Outcome::Commit { .. } => return false,
        Outcome::Abort => State::Aborted,
    };
    record.state == state && proven.signer() == header.log && proven.fits(&header)
}

fn micros(books: &BTreeMap<LedgerAccount, i128>, account: LedgerAccount) -> i128 {
    books.get(&account).copied().unwrap_or(0)
}
