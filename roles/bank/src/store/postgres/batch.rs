//! What a batch of plans comes to, by what the database says of the rows that it touches. Pure.
//!
//! Plans are taken one after the other, as the other stores do; what they come to together is one conditional write a
//! row. Each says under which state of its row it may be made, so it does not matter what other processes do between
//! reading and writing: either the row still allows everything that was decided about it, or the write is not made, and
//! the batch is worked out again.

use std::collections::{BTreeMap, BTreeSet};

use naulon_exchange::{Draw, LockedChain, Plan, Record, RecordWrite, Remainder, RequestId, State, Transfer};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Timestamp};

use super::super::changes::{BalanceChange, balance_changes, drawn, may_change, signed};
use super::super::{Written, output_keys};

/// The marks that a batch wants, in the order of their keys, and who has lost by wanting what another one gets.
pub(super) struct Wanted {
    /// A mark, and the place of the first plan that wants it.
    marks: BTreeMap<Digest, usize>,
    lost: Vec<bool>,
    holders: Vec<Option<RequestId>>,
}

impl Wanted {
    pub(super) fn of(plans: &[Plan]) -> Self {
        let holders: Vec<Option<RequestId>> = plans.iter().map(inserted).collect();
        let mut lost = vec![false; plans.len()];
        let mut marks = BTreeMap::new();
        for (place, plan) in plans.iter().enumerate() {
            for mark in &plan.marks {
                if holders[place].is_none() || marks.contains_key(&mark.key) {
                    lost[place] = true;
                } else {
                    marks.insert(mark.key, place);
                }
            }
        }
        Wanted { marks, lost, holders }
    }

    /// The marks to take, each for a request, sorted.
    pub(super) fn marks(&self) -> impl Iterator<Item = (Digest, RequestId)> {
        self.marks.iter().filter_map(|(key, place)| Some((*key, self.holders[*place]?)))
    }

    /// Leaves each plan with what it was given.
    pub(super) fn given(mut self, given: &BTreeSet<Digest>) -> Taken {
        let mut by_plan = vec![Vec::new(); self.lost.len()];
        for (key, place) in self.marks {
            if given.contains(&key) {
                by_plan[place].push(key);
            } else {
                self.lost[place] = true;
            }
        }
        Taken { by_plan, lost: self.lost, holders: self.holders }
    }
}

/// Marks that the plans have taken, and which plans have not got all of theirs.
pub(super) struct Taken {
    by_plan: Vec<Vec<Digest>>,
    lost: Vec<bool>,
    holders: Vec<Option<RequestId>>,
}

/// What a batch needs to know.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) records: BTreeSet<RequestId>,
    pub(super) accounts: BTreeSet<PublicKey>,
    pub(super) remainders: BTreeSet<Digest>,
    pub(super) chains: BTreeSet<Digest>,
}

impl Touched {
    pub(super) fn by(plans: &[Plan]) -> Self {
        let mut touched = Touched::default();
        for plan in plans {
            match &plan.record {
                RecordWrite::Insert(record) | RecordWrite::Settle(record) => {
                    touched.records.insert(record.id());
                }
                RecordWrite::Open(account) => {
                    touched.accounts.insert(*account);
                }
            }
            touched.remainders.extend(plan.draws.iter().map(|draw| draw.token));
            touched.chains.extend(plan.chains.iter().map(|write| write.commitment));
            touched.accounts.extend(balance_changes(plan).into_iter().flatten().map(|(account, _)| account));
        }
        touched
    }
}

/// What the database says of it.
#[derive(Default)]
pub(super) struct Rows {
    /// The latest time that was told to somebody.
    pub(super) time: Timestamp,
    pub(super) states: BTreeMap<RequestId, State>,
    pub(super) balances: BTreeMap<PublicKey, Amount>,
    pub(super) remainders: BTreeMap<Digest, Remainder>,
    pub(super) chains: BTreeMap<Digest, LockedChain>,
}

/// What is to be written, and what becomes of each plan if all of it is.
#[derive(Default)]
pub(super) struct Writes<'p> {
    pub(super) written: Vec<Written>,
    pub(super) opened: BTreeSet<PublicKey>,
    pub(super) inserted: BTreeMap<RequestId, &'p Record>,
    /// Blinded outputs of what is inserted.
    pub(super) outputs: BTreeSet<(Digest, RequestId)>,
    pub(super) settled: BTreeMap<RequestId, &'p Record>,
    pub(super) balances: BTreeMap<PublicKey, Change>,
    /// What is left on tokens: as it was read, if it was there, and as it is after all plans together.
    pub(super) drawn: BTreeMap<Digest, (Option<Remainder>, Remainder)>,
    /// Checks: as read, if there was a row, and as it is after all plans together.
    pub(super) chains: BTreeMap<Digest, (Option<LockedChain>, LockedChain)>,
    pub(super) freed: BTreeSet<(Digest, RequestId)>,
    pub(super) lines: Vec<Line<'p>>,
}

/// The change of one balance by all plans together: to be made only of a balance of this range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) lowest: i64,
    pub(super) highest: i64,
    pub(super) delta: i64,
}

/// A journal line and its place.
pub(super) struct Line<'p> {
    pub(super) record: RequestId,
    pub(super) settles: bool,
    pub(super) number: i32,
    pub(super) transfer: &'p Transfer,
}

/// Works out a batch.
pub(super) fn work_out<'p>(plans: &'p [Plan], taken: &Taken, rows: Rows) -> Writes<'p> {
    let mut batch = Batch { rows, writes: Writes::default() };
    for (place, plan) in plans.iter().enumerate() {
        let is_written = !taken.lost[place] && batch.write(plan);
        if let (false, Some(holder)) = (is_written, taken.holders[place]) {
            batch.writes.freed.extend(taken.by_plan[place].iter().map(|key| (*key, holder)));
        }
        batch.writes.written.push(if is_written { Written::Yes } else { Written::Lost });
    }
    batch.writes
}

struct Batch<'p> {
    rows: Rows,
    writes: Writes<'p>,
}

impl<'p> Batch<'p> {
    /// Everything of a plan but its marks. False, and nothing has changed, if it lost.
    fn write(&mut self, plan: &'p Plan) -> bool {
        let Some(changed) = self.changed_balances(plan) else { return false };
        let Some(remainders) = self.changed_remainders(plan) else { return false };
        if !plan.chains.iter().all(|write| may_change(self.rows.chains.get(&write.commitment), write)) {
            return false;
        }
        let (record, settles) = match &plan.record {
            RecordWrite::Open(account) => {
                if !self.rows.balances.contains_key(account) {
                    self.rows.balances.insert(*account, Amount::ZERO);
                    self.writes.opened.insert(*account);
                }
                return true;
            }
            RecordWrite::Insert(record) => (record, false),
            RecordWrite::Settle(record) => (record, true),
        };
        let id = record.id();
        let state = self.rows.states.get(&id);
        let fits = if settles { state == Some(&State::Locked) } else { state.is_none() };
        // A time that was told to somebody by another process is past for this one, too.
        let time = if settles { record.settled.unwrap_or_default() } else { record.accepted };
        if !fits || time < self.rows.time {
            return false;
        }
        self.rows.states.insert(id, record.state);
        let writes = &mut self.writes;
        if settles { &mut writes.settled } else { &mut writes.inserted }.insert(id, record);
        if !settles {
            writes.outputs.extend(output_keys(record).into_iter().map(|key| (key, id)));
        }
        writes.freed.extend(plan.freed.iter().map(|mark| (mark.key, id)));
        let lines = (0..).zip(&plan.transfers);
        writes.lines.extend(lines.map(|(number, transfer)| Line { record: id, settles, number, transfer }));
        for (token, after) in remainders {
            let before = self.rows.remainders.insert(token, after);
            self.writes.drawn.entry(token).or_insert((before, after)).1 = after;
        }
        for write in &plan.chains {
            let before = self.rows.chains.insert(write.commitment, write.after);
            self.writes.chains.entry(write.commitment).or_insert((before, write.after)).1 = write.after;
        }
        for (account, change, after) in changed {
            self.rows.balances.insert(account, after);
            self.note(account, &change);
        }
        true
    }

    /// The changes of a plan with the balances after it; none if a guard does not hold, or an account is not open.
    fn changed_balances(&self, plan: &Plan) -> Option<Vec<(PublicKey, BalanceChange, Amount)>> {
        let changed = |(account, change): (PublicKey, BalanceChange)| {
            let after = change.apply(*self.rows.balances.get(&account)?)?;
            Some((account, change, after))
        };
        balance_changes(plan)?.into_iter().map(changed).collect()
    }

    /// What is left on tokens after a plan; none if it does not allow a draw.
    fn changed_remainders(&self, plan: &Plan) -> Option<Vec<(Digest, Remainder)>> {
        let before = |draw: &Draw| self.rows.remainders.get(&draw.token).copied();
        plan.draws.iter().map(|draw| Some((draw.token, drawn(before(draw), &draw.change)?))).collect()
    }

    /// Adds a change to what its account's row has to allow.
    fn note(&mut self, account: PublicKey, change: &BalanceChange) {
        // An account that is open stays open, so this needs no write.
        if change.is_check() {
            return;
        }
        let (lowest, highest, delta) = change.bounds();
        let all = Change { lowest: 0, highest: signed(Amount::MAX), delta: 0 };
        let sum = self.writes.balances.entry(account).or_insert(all);
        // The bounds are of the balance just before this change, which `sum.delta` lies above the one in the row. Both
        // are balances, so their difference fits; bounds beyond what a balance can be are no bounds.
        let before = |bound: i64| (i128::from(bound) - i128::from(sum.delta)).clamp(0, i128::from(i64::MAX));
        let [lowest, highest] = [lowest, highest].map(|bound| i64::try_from(before(bound)).unwrap_or(i64::MAX));
        sum.lowest = sum.lowest.max(lowest);
        sum.highest = sum.highest.min(highest);
        sum.delta += delta;
    }
}

/// The request that a plan inserts, which alone can take marks.
fn inserted(plan: &Plan) -> Option<RequestId> {
    match &plan.record {
        RecordWrite::Insert(record) => Some(record.id()),
        RecordWrite::Settle(_) | RecordWrite::Open(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use naulon_exchange::{Guard, LedgerAccount};

    use super::*;

    /// The range of a sum of changes is exactly where each of them can be made after the others.
    #[test]
    fn the_range_of_a_sum_is_where_all_can_be_made() {
        let account = PublicKey([1; 32]);
        let plan = |at_least, debit, credit| Plan {
            record: RecordWrite::Open(account),
            marks: vec![],
            freed: vec![],
            draws: vec![],
            chains: vec![],
            guards: vec![Guard::Balance { account, at_least: Amount::from_micros(at_least) }],
            transfers: [
                (LedgerAccount::Customer(account), LedgerAccount::Locked, debit),
                (LedgerAccount::Outside, LedgerAccount::Customer(account), credit),
            ]
            .map(|(from, to, amount)| Transfer { from, to, amount: Amount::from_micros(amount) })
            .to_vec(),
        };
        let plans = [plan(3, 3, 0), plan(0, 0, 9), plan(10, 8, 1), plan(4, 0, i64::MAX as u64 - 20)];
        let changes = plans.iter().map(|plan| balance_changes(plan).expect("countable")[&account]);
        let mut batch = Batch { rows: Rows::default(), writes: Writes::default() };
        changes.clone().for_each(|change| batch.note(account, &change));
        let sum = batch.writes.balances[&account];
        for balance in 0..100 {
            let one_by_one =
                changes.clone().try_fold(Amount::from_micros(balance), |balance, change| change.apply(balance));
            let held = i64::try_from(balance).expect("fits");
            let at_once = (sum.lowest..=sum.highest).contains(&held).then(|| held.checked_add(sum.delta)).flatten();
            assert_eq!(at_once, one_by_one.map(signed), "{sum:?} of {balance}");
        }
        assert!((sum.lowest..=sum.highest).contains(&6), "{sum:?}");
    }
}
