//! The bank itself: a synchronous service over its store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use naulon_blind::{Brand, KnownBrand, Purpose};
use naulon_durable::{Retry, StoreError};
use naulon_exchange::register::{BankIdentity, Day, EntryKind, FeeTable};
use naulon_exchange::{
    Audit, AuditReport, Decided, Discrepancy, Header, Needs, Plan, ProvenDecision, RecordWrite, Refusal, Request,
    RequestId, Rules, Standing, State, View, decide, purse_account, purse_stop,
};
use naulon_statement::{Digest, PublicKey, SecretKey, Signed, Timestamp};
use naulon_tlog::{CheckpointSigner, Hash, WitnessPolicy};
use naulon_wire::publish::{PublishError, Publisher};
use naulon_wire::{BankCall, BankReply, Problem};

use crate::desk::{Answer, Applied, Authenticated, BrandRefusal, Desk, Task, Wanted, as_issued};
use crate::errands::Errands;
use crate::register::{Register, RegisterError};
use crate::signatory::Signatory;
use crate::store::{BankStore, LogFault, PostgresOpenError, Written};

/// How often a request that lost to others of its batch is decided again. Each time at least one of those that conflict
/// is written or refused, and those that lose a second time have lost to one that lost itself.
pub const MAX_REDECIDE: usize = 8;

/// The bank's own private keys; the brands' are behind the [`Signatory`].
pub struct BankKeys {
    /// Signs brands, headers and promises. Its public half is the bank's name.
    pub bank: SecretKey,
    /// Signs the register's checkpoints. Its public half and its origin are pinned beside the bank's name.
    pub checkpoints: CheckpointSigner,
}

/// A bank over its store. It writes first, then it answers.
pub struct Bank<S> {
    desk: Desk,
    store: S,
    /// The time that the store would find after a restart.
    kept: Timestamp,
    register: Register,
    /// Until then no record can be written any more, by whatever process.
    fenced: Timestamp,
    broken: Option<StoreError>,
    pub(crate) errands: Errands,
    /// How far the bank has looked for what it may forget.
    pub(crate) looked_through: Option<RequestId>,
}

/// A bank that does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bank's private key is not the one of the rules.
    #[error("the bank's private key does not belong to the public key in its rules")]
    OtherKey,
    /// A brand cannot be taken on.
    #[error(transparent)]
    Brand(#[from] BrandRefusal),
    /// The register cannot be gone on with.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an audit has no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The books could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database that they are in cannot be used.
    #[error(transparent)]
    Open(#[from] PostgresOpenError),
    /// The books disagree.
    #[error("the books disagree in {} ways", .0.len())]
    Books(Vec<Discrepancy>),
}

impl<S: BankStore> Bank<S> {
    /// Opens the bank over its store. Brands of the rules that the store does not know yet are stated: signed, written
    /// down, and appended to the register, before they are used. All brands of the store are redeemed, and issued in their
    /// time.
    pub fn open(keys: BankKeys, rules: Rules, signatory: Arc<dyn Signatory>, mut store: S) -> Result<Self, OpenError> {
        if keys.bank.public() != rules.bank {
            return Err(OpenError::OtherKey);
        }
        let wanted: Vec<Brand> = rules.brands.values().map(|known| known.brand().clone()).collect();
        let kept = store.latest_time()?;
        let register = Register::load(keys.checkpoints, rules.bank, &mut store)?;
        let desk = Desk::new(keys.bank, signatory, rules, kept);
        let stated = store.brands()?;
        let errands = Errands::default();
        let mut bank =
            Bank { desk, store, kept, register, fenced: Timestamp(0), broken: None, errands, looked_through: None };
        bank.log(&stated)?;
        bank.take_on(&stated)?;
        let new = wanted.iter().filter(|brand| stated.iter().all(|known| Brand::clone(known) != **brand));
        let new: Vec<Brand> = new.cloned().collect();
        bank.add_brands(&new)?;
        bank.take_up_errands(kept)?;
        Ok(bank)
    }

    /// States new brands, whose private keys the signatory holds by now. When it returns they are durable, stand in the
    /// register, and are issued from their first day on.
    pub fn add_brands(&mut self, brands: &[Brand]) -> Result<(), OpenError> {
        let statements: Vec<Signed<Brand>> = brands.iter().map(|brand| self.desk.state_brand(brand)).collect();
        for statement in &statements {
            let known = self.desk.check_brand(statement)?;
            match self.store.add_brand(statement) {
                Ok(Written::Yes) => {}
                Ok(Written::Lost | Written::Unknown) => {
                    return Err(BrandRefusal::Taken(Digest(*known.key_id())).into());
                }
                Err(error) => {
                    self.note(&error);
                    return Err(error.into());
                }
            }
        }
        self.log(&statements)?;
        self.take_on(&statements)
    }

    /// Takes on the brands that another process on the same books has stated meanwhile. Gives those whose private keys are
    /// not at hand, which this process leaves to the others: of them it neither issues nor takes tokens until they are.
    pub fn refresh_brands(&mut self) -> Result<Vec<Digest>, OpenError> {
        let rules = self.desk.rules();
        let (mut new, mut without_key) = (Vec::new(), Vec::new());
        for statement in self.sound()?.brands()? {
            let id = Digest(statement.key_id());
            if rules.brands.contains_key(&id) {
                continue;
            }
            match self.desk.check_brand(&statement) {
                Ok(_) => new.push(statement),
                Err(BrandRefusal::KeyMissing(_)) => without_key.push(id),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        // The other one may have died before it came to that.
        self.log(&new)?;
        self.take_on(&new)?;
        Ok(without_key)
    }

    /// Sees to the days that are over: sums them up and appends the sums to the register. One call does a bounded part, so
    /// that others are not kept waiting; true if there is more to do. Whoever calls it late catches up.
    ///
    /// From a day's end on no record of that day can be written, so its sum stays right.
    pub fn close_days(&mut self, now: Timestamp) -> Result<bool, RegisterError> {
        self.sound()?;
        let closed = self.close_day(now);
        self.desk.show(self.register.copy());
        if let Err(RegisterError::Store(error)) = &closed {
            self.note(error);
        }
        closed
    }

    /// From now on hands every new checkpoint of the register to a publisher, which has it cosigned by the witnesses of the
    /// policy. It is to be settled before the bank answers anybody (`naulon_wire::publish`): a bank whose register is behind
    /// what a witness has cosigned does not start.
    pub fn publish_by(&mut self, policy: WitnessPolicy) -> Result<Publisher, PublishError> {
        let publisher = self.register.publish_by(policy)?;
        self.desk.show(self.register.copy());
        Ok(publisher)
    }

    /// The proof that the register of `new` entries continues that of `old`.
    pub fn prove_growth(&self, old: u64, new: u64) -> Result<Vec<Hash>, RegisterError> {
        self.register.prove_growth(old, new)
    }

    /// How others recognise this bank.
    pub fn identity(&self) -> BankIdentity {
        self.register.identity()
    }

    /// Hands out the register of a checkpoint that witnesses have cosigned, from now on, and keeps the note. False if the
    /// register has grown meanwhile: then its newest checkpoint is to be cosigned.
    pub fn keep_cosigned(&mut self, note: &str) -> Result<bool, RegisterError> {
        self.sound()?;
        let kept = self.register.keep_cosigned(&mut self.store, note);
        self.desk.show(self.register.copy());
        if let Err(RegisterError::Store(error)) = &kept {
            self.note(error);
        }
        kept
    }

    /// The part that needs no books. Clones are the same desk.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The store, to read what the bank does not tell.
    pub fn store(&mut self) -> &mut S {
        &mut self.store
    }

    /// Why the bank answers nothing more: a write of which it is not known whether it happened. Open it again.
    pub fn broken(&self) -> Option<&StoreError> {
        self.broken.as_ref()
    }

    /// Checks a call by itself ([`Desk::authenticate`]).
    pub fn authenticate(&self, call: BankCall, now: Timestamp) -> Result<Authenticated, Problem> {
        self.desk.authenticate(call, now)
    }

    /// Decides a batch of calls on the books and writes what is accepted, all in one transaction. Those that lose to
    /// others of the batch are decided again by the books as they then are. A problem means that nothing was changed,
    /// unless it is `unavailable`: then ask again.
    pub fn apply(&mut self, calls: &[Authenticated], now: Timestamp) -> Vec<Result<Applied, Problem>> {
        let mut now = self.desk.advance_clock(now);
        let rulebook = self.desk.rulebook();
        let mut answers: Vec<Option<Result<Applied, Problem>>> = calls.iter().map(|_| None).collect();
        let mut open: Vec<usize> = Vec::with_capacity(calls.len());
        for (index, call) in calls.iter().enumerate() {
            answers[index] = self.read_register(call.task());
            if answers[index].is_none() {
                open.push(index);
            }
        }
        for _ in 0..=MAX_REDECIDE {
            if open.is_empty() {
                break;
            }
            open = self.round(&rulebook.rules, calls, &open, now, &mut answers);
            // Another bank process on the same books may have told somebody a later time.
            if let (false, Ok(told)) = (open.is_empty(), self.store.latest_time()) {
                now = self.desk.advance_clock(told);
            }
        }
        // Beyond the bound somebody else must be racing: whoever asks again joins a later batch.
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Err(Problem::new("busy", "lost too often"))))
            .collect()
    }

    /// Signs a reply ([`Desk::complete`]).
    pub fn complete(&self, applied: Applied) -> Result<BankReply, Problem> {
        self.desk.complete(applied)
    }

    /// Answers one call: checks it, writes, replies.
    pub fn handle(&mut self, call: BankCall, now: Timestamp) -> Result<BankReply, Problem> {
        let is_issuance = matches!(call, BankCall::Issue(_));
        let authenticated = self.authenticate(call, now)?;
        let reply = match self.apply(&[authenticated], now).pop() {
            Some(applied) => self.complete(applied?)?,
            None => unreachable!("one call has one answer"),
        };
        if is_issuance { as_issued(reply) } else { Ok(reply) }
    }

    /// Has the books checked by the independent auditor.
    pub fn audit(&mut self) -> Result<AuditReport, AuditError> {
        let rulebook = self.desk.rulebook();
        let mut audit = Audit::new(&rulebook.rules);
        self.store.audit(&mut audit)?;
        audit.finish().map_err(AuditError::Books)
    }

    fn take_on(&mut self, statements: &[Signed<Brand>]) -> Result<(), OpenError> {
        let brands: Vec<Arc<KnownBrand>> =
            statements.iter().map(|brand| self.desk.check_brand(brand)).collect::<Result<_, BrandRefusal>>()?;
        let of_purses = brands.iter().filter(|known| known.brand().purpose == Purpose::PurseCheck);
        self.open_own(of_purses.map(|known| purse_account(&Digest(*known.key_id()))))?;
        self.desk.take_on(&brands);
        Ok(())
    }

    /// Appends these brands to the register, and in front of the first a table of fees. The first table is in force since
    /// ever: nothing was charged before there was one.
    fn log(&mut self, brands: &[Signed<Brand>]) -> Result<(), RegisterError> {
        let rules = self.desk.rules();
        let fees = self.desk.state_fees(FeeTable::free(rules.bank, rules.currency, Timestamp(0)));
        self.register.append(&mut self.store, |register| {
            let missing = brands.iter().filter(|brand| !register.holds(brand));
            let mut wanted: Vec<(EntryKind, Vec<u8>)> = Vec::new();
            if register.fees().is_none() {
                wanted.push((EntryKind::Fees, fees.bytes().to_vec()));
            }
            wanted.extend(missing.map(|brand| (EntryKind::Brand, brand.bytes().to_vec())));
            wanted
        })?;
        self.desk.show(self.register.copy());
        Ok(())
    }

    fn close_day(&mut self, now: Timestamp) -> Result<bool, RegisterError> {
        self.register.refresh(&mut self.store)?;
        let today = Day::of(self.desk.advance_clock(now));
        let day = match self.register.next_day() {
            Some(day) => day,
            None => self.first_day(today)?,
        };
        if day >= today {
            return Ok(false);
        }
        if self.fenced < day.end() {
            self.store.keep_time(day.end())?;
            self.kept = self.kept.max(day.end());
            self.fenced = day.end();
        }
        self.register.close_day(&mut self.store, self.desk.key(), day)?;
        Ok(true)
    }

    /// The first day that is summed up: of the first record, or else the one that ended last.
    fn first_day(&mut self, today: Day) -> Result<Day, StoreError> {
        let first = self.store.delivered(Timestamp(0)..Timestamp::MAX, None, 1)?;
        let of_first = first.first().map(|(place, _)| Day::of(place.time));
        Ok(of_first.unwrap_or(Day(today.0.saturating_sub(1))))
    }

    /// The answer to a call that only looks at the register; none to all others.
    fn read_register(&mut self, task: &Task) -> Option<Result<Applied, Problem>> {
        if let (Task::Public(_) | Task::Receipt(_), Some(error)) = (task, self.broken.clone()) {
            return Some(Err(self.unavailable(&error)));
        }
        match task {
            Task::Public(path) => {
                let file = self.register.public(&mut self.store, path);
                Some(file.map(|file| Applied(Answer::Public(file))))
            }
            Task::Receipt(asked) => {
                let found = self.store.record(&asked.request).and_then(|record| match record {
                    Some(record) => self.register.receipt(&mut self.store, &record, asked.side, &asked.item),
                    None => Ok(None),
                });
                Some(match found {
                    Ok(Some(shown)) => Ok(Applied(Answer::Shown(Box::new(shown)))),
                    Ok(None) => Err(Refusal::UnknownPurchase.into()),
                    Err(error) => Err(self.unavailable(&error)),
                })
            }
            _ => None,
        }
    }

    /// Views, decides and writes the calls that are still open, and says which of them lost.
    fn round(
        &mut self,
        rules: &Rules,
        calls: &[Authenticated],
        open: &[usize],
        now: Timestamp,
        answers: &mut [Option<Result<Applied, Problem>>],
    ) -> Vec<usize> {
        let needs: Vec<Needs> = open.iter().map(|index| calls[*index].needs()).collect();
        let views = match self.sound().and_then(|store| store.view(&needs)) {
            Ok(views) => views,
            Err(error) => {
                let problem = self.unavailable(&error);
                open.iter().for_each(|index| answers[*index] = Some(Err(problem.clone())));
                return Vec::new();
            }
        };
        let fates = match self.fates(open.iter().map(|index| calls[*index].task())) {
            Ok(fates) => fates,
            Err(error) => {
                let problem = self.unavailable(&error);
                open.iter().for_each(|index| answers[*index] = Some(Err(problem.clone())));
                return Vec::new();
            }
        };
        let mut plans = Vec::new();
        let mut writers = Vec::new();
        let mut refused = Vec::new();
        for (index, view) in open.iter().zip(&views) {
            if let Task::Challenge = calls[*index].task() {
                answers[*index] = Some(Ok(Applied(Answer::Challenge(self.desk.challenge(now)))));
                continue;
            }
            match decide_task(rules, view, &fates, calls[*index].task(), now) {
                Ok(Outcome::Answer(answer)) => answers[*index] = Some(Ok(Applied(answer))),
                Ok(Outcome::Write(plan)) => {
                    plans.push(plan);
                    writers.push(*index);
                }
                Err(refusal) => refused.push((*index, view, refusal)),
            }
        }
        let lost = self.write(&plans, &writers, now, answers);
        for (index, view, refusal) in refused {
            let kept = self.keep_what_is_told(&refusal, view, calls[index].task(), now);
            answers[index] = Some(Err(match kept {
                Ok(()) => refusal.into(),
                Err(error) => self.unavailable(&error),
            }));
        }
        lost
    }

    /// Where the requests stand that have the outputs which these tasks ask for. Of several that name one output, the one
    /// that delivered it.
    fn fates<'t>(&mut self, tasks: impl Iterator<Item = &'t Task>) -> Result<BTreeMap<Digest, State>, StoreError> {
        let keys: BTreeSet<Digest> = tasks.filter_map(Task::wanted).map(Wanted::key).collect();
        let mut fates = BTreeMap::new();
        if keys.is_empty() {
            return Ok(fates);
        }
        let rank = |state: State| match state {
            State::Done | State::Committed => 2,
            State::Locked => 1,
            State::Aborted => 0,
        };
        let keys: Vec<Digest> = keys.into_iter().collect();
        for (key, state) in self.sound()?.outputs(&keys)? {
            let fate = fates.entry(key).or_insert(state);
            if rank(state) > rank(*fate) {
                *fate = state;
            }
        }
        Ok(fates)
    }

    /// Writes plans and answers those that are written; gives back those that lost.
    fn write(
        &mut self,
        plans: &[Plan],
        writers: &[usize],
        now: Timestamp,
        answers: &mut [Option<Result<Applied, Problem>>],
    ) -> Vec<usize> {
        if plans.is_empty() {
            return Vec::new();
        }
        let rulebook = self.desk.rulebook();
        let began = Instant::now();
        let committed = self.sound().and_then(|store| store.commit(plans));
        metrics::histogram!("naulon_commit_seconds", "store" => "bank").record(began.elapsed());
        let written = match committed {
            Ok(written) => written,
            Err(error) => {
                let problem = self.unavailable(&error);
                writers.iter().for_each(|index| answers[*index] = Some(Err(problem.clone())));
                return Vec::new();
            }
        };
        let mut lost = Vec::new();
        for ((index, plan), written) in writers.iter().zip(plans).zip(written) {
            count(&written, &plan.record);
            if written == Written::Yes {
                self.errands.written(plan, &rulebook.rules, now);
            }
            match (written, &plan.record) {
                (Written::Lost | Written::Unknown, _) => lost.push(*index),
                (Written::Yes, RecordWrite::Open(_)) => answers[*index] = Some(Ok(Applied(Answer::Opened))),
                (Written::Yes, RecordWrite::Settle(record)) => {
                    answers[*index] = Some(Ok(Applied(Answer::Record(record.clone()))));
                }
                (Written::Yes, RecordWrite::Insert(record)) => {
                    self.kept = self.kept.max(now);
                    answers[*index] = Some(Ok(Applied(Answer::Owned(record.clone()))));
                }
            }
        }
        lost
    }

    /// Writes down what a refusal rests on before it is said. A refusal for good that rests on the clock must not
    /// become wrong by a restart with a clock that was set back; a log's breach of the protocol is kept for the judge.
    fn keep_what_is_told(
        &mut self,
        refusal: &Refusal,
        view: &View,
        task: &Task,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let rests_on_clock = matches!(refusal, Refusal::BrandClosed | Refusal::ExpiryTooSoon { .. });
        if rests_on_clock {
            self.keep_time(now)?;
        }
        // More was made out than was loaded: from here on nobody can load more of it, nor cash.
        if let Refusal::PurseOverdrawn(brand) = refusal {
            tracing::error!("a brand of purse checks is overdrawn and stopped");
            self.open_own([purse_stop(brand)])?;
        }
        match breach(refusal, view, task) {
            Some(fault) => self.sound()?.keep_log_fault(&fault),
            None => Ok(()),
        }
    }

    /// Opens accounts of the bank's own, which no key orders from. Opening an open one changes nothing.
    fn open_own(&mut self, accounts: impl IntoIterator<Item = PublicKey>) -> Result<(), StoreError> {
        let plan = |account| Plan {
            record: RecordWrite::Open(account),
            marks: Vec::new(),
            freed: Vec::new(),
            draws: Vec::new(),
            chains: Vec::new(),
            guards: Vec::new(),
            transfers: Vec::new(),
        };
        let plans: Vec<Plan> = accounts.into_iter().map(plan).collect();
        if !plans.is_empty() {
            self.sound()?.commit(&plans)?;
        }
        Ok(())
    }

    /// Makes a time durable that something rests on.
    pub(crate) fn keep_time(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.kept < now {
            self.sound()?.keep_time(now)?;
            self.kept = now;
        }
        Ok(())
    }

    /// The first day that is not summed up.
    pub(crate) fn next_day(&self) -> Option<Day> {
        self.register.next_day()
    }

    /// The store, as long as it is known what is in it.
    pub(crate) fn sound(&mut self) -> Result<&mut S, StoreError> {
        match &self.broken {
            None => Ok(&mut self.store),
            Some(error) => Err(error.clone()),
        }
    }

    /// Nothing is said before it is durable; so if nothing can be written, this is said.
    fn unavailable(&mut self, error: &StoreError) -> Problem {
        self.note(error);
        Problem::new("unavailable", "the bank cannot write at present")
    }

    pub(crate) fn note(&mut self, error: &StoreError) {
        if self.broken.is_none() {
            tracing::error!(%error, "the bank's store failed");
        }
        if error.retry() == Retry::AfterReopening {
            self.broken.get_or_insert_with(|| error.clone());
        }
    }
}

/// Counts what is written, by the state that it leads to.
fn count(written: &Written, record: &RecordWrite) {
    let state = match (written, record) {
        (Written::Yes, RecordWrite::Insert(record) | RecordWrite::Settle(record)) => record.state,
        (Written::Yes, RecordWrite::Open(_)) | (Written::Lost | Written::Unknown, _) => return,
    };
    let state = match state {
        State::Done => "done",
        State::Locked => "locked",
        State::Committed => "committed",
        State::Aborted => "aborted",
    };
    metrics::counter!("naulon_bank_exchanges_total", "state" => state).increment(1);
}

enum Outcome {
    Answer(Answer),
    Write(Plan),
}

fn decide_task(
    rules: &Rules,
    view: &View,
    fates: &BTreeMap<Digest, State>,
    task: &Task,
    now: Timestamp,
) -> Result<Outcome, Refusal> {
    let answer = match task {
        Task::Describe => Answer::Description,
        Task::IssuerDirectory(brand) => Answer::IssuerDirectory(*brand),
        // Answered before, without a view.
        Task::Public(_) | Task::Receipt(_) | Task::Challenge => return Err(Refusal::UnknownPurchase),
        Task::Balance(account) => {
            Answer::Balance(*view.balances.get(account).ok_or(Refusal::UnknownAccount(*account))?)
        }
        Task::Check(query) => {
            let chain = view.chains.get(&query.commitment).ok_or(Refusal::UnknownChain)?;
            if chain.refund != query.refund {
                return Err(Refusal::WrongRefundKey);
            }
            Answer::Check(Standing { maximum: chain.maximum, paid: chain.paid, returned: chain.returned })
        }
        Task::Status(_) => Answer::Record(view.record.clone().ok_or(Refusal::UnknownPurchase)?),
        Task::Output(wanted) => Answer::Output(wanted.clone(), fates.get(&wanted.key()).copied()),
        Task::Token(mark) => Answer::Holder(view.holders.get(mark).cloned()),
        Task::Request(request) => match decide(rules, view, request, now)? {
            Decided::Replay(record) if matches!(**request, Request::Exchange(_)) => Answer::Owned(record),
            Decided::Replay(record) => Answer::Record(record),
            Decided::Nothing => Answer::Opened,
            Decided::Write(plan) => return Ok(Outcome::Write(plan)),
        },
    };
    Ok(Outcome::Answer(answer))
}

/// The decision that was refused, if its log has broken the protocol by it: it decided otherwise before, it committed
/// to a key that does not open c, or it decided on this very header outside of its time.
fn breach(refusal: &Refusal, view: &View, task: &Task) -> Option<LogFault> {
    let Task::Request(request) = task else { return None };
    let Request::Decision(decision) = request.as_ref() else { return None };
    let is_breach = match refusal {
        Refusal::KeyMismatch | Refusal::Contradiction(_) => true,
        Refusal::DecisionMisfit => {
            let record = view.record.as_ref()?;
            let header = Header::of(&record.exchange, record.id())?;
            decision.signer() == header.log && decision.decision().header == header.digest()
        }
        _ => false,
    };
    let fault = LogFault {
        purchase: decision.decision().a,
        code: refusal.code().to_owned(),
        decision: ProvenDecision::clone(decision),
    };
    is_breach.then_some(fault)
}
