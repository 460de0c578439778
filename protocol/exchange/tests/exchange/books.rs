//! A store that takes `state.rs` at its word, and panics at a plan that no honest store could write.

use std::collections::BTreeMap;
use std::sync::Arc;

use naulon_exchange::{
    Audit, AuditReport, Discrepancy, DrawChange, Guard, LedgerAccount, LockedChain, Needs, Plan, Record, RecordWrite,
    Remainder, RequestId, Rules, State, Transfer, View,
};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey};

#[derive(Clone, Default)]
pub struct Books {
    pub records: BTreeMap<RequestId, Arc<Record>>,
    pub marks: BTreeMap<Digest, RequestId>,
    pub balances: BTreeMap<PublicKey, Amount>,
    pub journal: Vec<Transfer>,
    pub remainders: BTreeMap<Digest, Remainder>,
    pub chains: BTreeMap<Digest, LockedChain>,
}

/// Why a plan is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl Books {
    pub fn view(&self, needs: &Needs) -> View {
        let holder = |key: &Digest| self.marks.get(key).map(|id| self.records[id].clone());
        View {
            record: needs.record.and_then(|id| self.records.get(&id).cloned()),
            holders: needs.marks.iter().filter_map(|mark| holder(&mark.key).map(|holder| (*mark, holder))).collect(),
            balances: needs.accounts.iter().filter_map(|key| Some((*key, *self.balances.get(key)?))).collect(),
            remainders: needs.remainders.iter().filter_map(|key| Some((*key, *self.remainders.get(key)?))).collect(),
            chains: needs.chains.iter().filter_map(|key| Some((*key, *self.chains.get(key)?))).collect(),
        }
    }

    /// Writes all of the plan or nothing of it.
    pub fn write(&mut self, plan: &Plan) -> Result<(), Lost> {
        let mut after = self.clone();
        let id = match &plan.record {
            RecordWrite::Insert(record) | RecordWrite::Settle(record) => Some(record.id()),
            RecordWrite::Open(_) => None,
        };
        for mark in &plan.marks {
            let id = id.expect("only a record holds marks");
            if after.marks.insert(mark.key, id).is_some() {
                return Err(Lost);
            }
        }
        let holds = |guard: &Guard| match guard {
            Guard::Balance { account, at_least } => self.balances.get(account).is_some_and(|held| held >= at_least),
            Guard::Open(account) => self.balances.contains_key(account),
        };
        if !plan.guards.iter().all(holds) {
            return Err(Lost);
        }
        match &plan.record {
            RecordWrite::Insert(record) => {
                if after.records.insert(record.id(), record.clone()).is_some() {
                    return Err(Lost);
                }
            }
            RecordWrite::Settle(record) => {
                let before = after.records.insert(record.id(), record.clone()).expect("a record to settle");
                if before.state != State::Locked {
                    return Err(Lost);
                }
                assert_eq!(before.exchange, record.exchange, "settling changes state and decision only");
            }
            RecordWrite::Open(account) => {
                after.balances.entry(*account).or_default();
            }
        }
        for mark in plan.freed.iter().filter(|mark| self.marks.get(&mark.key) == id.as_ref()) {
            after.marks.remove(&mark.key);
        }
        for draw in &plan.draws {
            let changed = match (&draw.change, after.remainders.get(&draw.token)) {
                (DrawChange::Open { left }, None) => Some(Remainder { left: *left, uses: 1 }),
                (change, Some(remainder)) => remainder.after(change),
                (_, None) => None,
            };
            after.remainders.insert(draw.token, changed.ok_or(Lost)?);
        }
        for write in &plan.chains {
            if after.chains.insert(write.commitment, write.after) != write.before {
                return Err(Lost);
            }
            let LockedChain { maximum, paid, returned, .. } = write.after;
            assert!(paid.micros() + returned.micros() <= maximum.micros(), "more is gone than was set aside");
        }
        for line in &plan.transfers {
            assert!(!line.amount.is_zero(), "an empty line");
            after.journal.push(*line);
        }
        // Takings come from what was there before, so they are done first.
        for (line, account) in plan.transfers.iter().filter_map(|line| Some((line, customer(line.from)?))) {
            let balance = after.balances.get_mut(&account).expect("money is taken from an account that is not open");
            *balance = balance.checked_sub(line.amount).expect("an account is overdrawn and no guard kept it");
        }
        for (line, account) in plan.transfers.iter().filter_map(|line| Some((line, customer(line.to)?))) {
            let balance = after.balances.get_mut(&account).expect("money goes to an account that is not open");
            *balance = balance.checked_add(line.amount).expect("a balance that cannot be counted");
        }
        *self = after;
        Ok(())
    }

    pub fn audit(&self, rules: &Rules) -> Result<AuditReport, Vec<Discrepancy>> {
        let mut audit = Audit::new(rules);
        self.records.values().for_each(|record| audit.record(record));
        self.journal.iter().for_each(|line| audit.transfer(line));
        self.balances.iter().for_each(|(account, balance)| audit.balance(*account, *balance));
        self.marks.iter().for_each(|(key, holder)| audit.mark(*key, *holder));
        self.remainders.iter().for_each(|(token, remainder)| audit.remainder(*token, *remainder));
        self.chains.iter().for_each(|(commitment, chain)| audit.chain(*commitment, *chain));
        audit.finish()
    }
}

fn customer(ledger: LedgerAccount) -> Option<PublicKey> {
    match ledger {
        LedgerAccount::Customer(account) => Some(account),
        LedgerAccount::Outside | LedgerAccount::Tokens(_) | LedgerAccount::Locked | LedgerAccount::Chains => None,
    }
}
