//! The HTTP front: the same three steps as [`Bank::handle`], on the threads where each belongs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use naulon_blind::Brand;
use naulon_durable::executor::{Executor, ExecutorError, Limits, WorkerDied};
use naulon_durable::pool::Pool;
use naulon_durable::{Refused, StoreError};
use naulon_exchange::{RequestId, Retention};
use naulon_statement::{Digest, PublicKey, Timestamp};
use naulon_tlog::{CosignedCheckpoint, Hash};
use naulon_wire::publish::Owner;
use naulon_wire::{Address, AnyReply, Ask, BankCall, BankReply, CallError, Clients, Problem, Service};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use crate::bank::{Bank, OpenError};
use crate::desk::{Applied, Authenticated, Desk, as_issued};
use crate::register::RegisterError;
use crate::store::BankStore;

/// Calls that a thread checks or signs before it looks what else there is. Those that it has checked go to the books
/// together, and those that it has signed are answered together: each time others are woken once.
const SHARE: usize = 16;

/// How many errands are run at once, and how many of them to one party: one that does not answer keeps nobody else waiting.
const MAX_ERRANDS_UNDER_WAY: usize = 64;
const MAX_ERRANDS_TO_ONE: usize = 16;
/// How long the front waits for an errand to become due before it looks by itself.
const ERRAND_PAUSE: Duration = Duration::from_secs(1);
/// How often it looks for what other processes on the same books have locked.
const TAKE_UP_EVERY: Duration = Duration::from_secs(60);

/// How often the front looks for what may be forgotten, and through how many requests: exchanges must not wait for it.
const FORGET_EVERY: Duration = Duration::from_secs(5);
const LOOK_THROUGH: usize = 500;

/// How much the front takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontLimits {
    /// Calls that are under way at once; more are told to come again (429).
    pub calls: usize,
    /// Calls that share a transaction.
    pub batch: usize,
    /// Threads that check and sign.
    pub threads: usize,
}

impl Default for FrontLimits {
    /// 1,024 calls, 128 a transaction, a thread each core.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        FrontLimits { calls: 1_024, batch: 128, threads }
    }
}

/// A bank in front of which many may stand. Checking and signing run on a pool of threads, as many as there are cores; the
/// bank itself runs on one thread of its own, which writes what has gathered in one transaction. A call goes from the pool
/// to the books, back to the pool and to its caller; nobody waits in between.
pub struct BankFront {
    desk: Desk,
    pool: Pool<Step>,
    books: Books,
    calls: Arc<Semaphore>,
    broken: watch::Receiver<Option<StoreError>>,
    /// An errand is due.
    due: Arc<Notify>,
}

type Books = Executor<Job, ()>;

/// What the pool does.
enum Step {
    /// Checks a call and takes it to the books.
    Check(Box<BankCall>, Books, Caller),
    /// Signs the reply to a call that the books have.
    Sign(Applied, Caller),
}

/// What the bank's thread does.
enum Job {
    Call(Authenticated, Caller),
    AddBrands(Vec<Brand>, oneshot::Sender<Result<(), OpenError>>),
    RefreshBrands(oneshot::Sender<Result<Vec<Digest>, OpenError>>),
    CloseDays(Timestamp, oneshot::Sender<Result<bool, RegisterError>>),
    KeepCosigned(String, oneshot::Sender<Result<bool, RegisterError>>),
    Prove(u64, u64, oneshot::Sender<Result<Vec<Hash>, RegisterError>>),
    /// What is to be sent, at most so much.
    Errands(usize, oneshot::Sender<Vec<(RequestId, Ask)>>),
    /// To look through some requests, and to forget those that are over.
    Forget(Retention, usize),
    /// What came of it.
    ErrandDone(RequestId, Box<Result<AnyReply, CallError>>),
    /// To look for what is locked that the bank does not know of; true if there may be more.
    TakeUpErrands(oneshot::Sender<bool>),
}

/// Who waits for an answer. If this is dropped without one, the caller is told that the bank is not available.
struct Caller {
    reply: oneshot::Sender<Result<BankReply, Problem>>,
    /// One of the calls that may be under way, so that no queue gets more than that, whether the caller waits or not.
    _under_way: OwnedSemaphorePermit,
}

impl Caller {
    fn answer(self, answer: Result<BankReply, Problem>) {
        // A caller that has gone away does not want it any more.
        let _ = self.reply.send(answer);
    }
}

/// Something that could not be done about the register while the bank runs.
#[derive(Debug, thiserror::Error)]
pub enum RegisterJobError {
    /// The register.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The bank's thread did not take the job.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

/// Brands that could not be added while the bank runs.
#[derive(Debug, thiserror::Error)]
pub enum AddBrandsError {
    /// The bank did not take them.
    #[error(transparent)]
    Bank(#[from] OpenError),
    /// The bank's thread did not take the job.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

impl BankFront {
    /// Starts the bank's threads. The clock is the system's.
    pub fn start<S: BankStore>(mut bank: Bank<S>, limits: FrontLimits) -> Self {
        let desk = bank.desk().clone();
        let queue = |batch| Limits { queue: limits.calls, batch };
        let of_pool = desk.clone();
        let pool = Pool::spawn("bank-desk", limits.threads, queue(SHARE), move |steps| at_the_desk(&of_pool, steps));
        let (report, broken) = watch::channel(None);
        let signing = pool.clone();
        let due = Arc::new(Notify::new());
        let errand_due = Arc::clone(&due);
        let worker = move |jobs: Vec<Job>| {
            let done = vec![(); jobs.len()];
            let applied = on_the_books(&mut bank, jobs);
            if let Some(error) = bank.broken() {
                report.send_if_modified(|known| known.replace(error.clone()).is_none());
            }
            if bank.next_errand().is_some_and(|due| due <= system_time()) {
                errand_due.notify_one();
            }
            // Refused are only those whose front has stopped. They are written, and whoever asks again is answered.
            let _ = signing.hand_in(applied);
            done
        };
        let books = Executor::spawn("bank-store", queue(limits.batch), worker);
        BankFront { desk, pool, books, calls: Arc::new(Semaphore::new(limits.calls)), broken, due }
    }

    /// The part that needs no books.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Adds brands while the bank runs ([`Bank::add_brands`]).
    pub async fn add_brands(&self, brands: Vec<Brand>) -> Result<(), AddBrandsError> {
        let (reply, added) = oneshot::channel();
        self.books.hand_in([Job::AddBrands(brands, reply)]).map_err(|refused| refused.why)?;
        Ok(added.await.map_err(|_| ExecutorError::Stopped)??)
    }

    /// Takes on what another process on the same books has stated ([`Bank::refresh_brands`]).
    pub async fn refresh_brands(&self) -> Result<Vec<Digest>, AddBrandsError> {
        let (reply, refreshed) = oneshot::channel();
        self.books.hand_in([Job::RefreshBrands(reply)]).map_err(|refused| refused.why)?;
        Ok(refreshed.await.map_err(|_| ExecutorError::Stopped)??)
    }

    /// Does a part of what is due for days that are over ([`Bank::close_days`]). True if there is more to do.
    pub async fn close_days(&self, now: Timestamp) -> Result<bool, RegisterJobError> {
        let (reply, done) = oneshot::channel();
        self.books.hand_in([Job::CloseDays(now, reply)]).map_err(|refused| refused.why)?;
        Ok(done.await.map_err(|_| ExecutorError::Stopped)??)
    }

    /// Takes promises to shops and asks logs about locks whose time is over, for as long as it is polled. `addresses` says
    /// where shops and logs are: by the bank's own settings, never by what a customer says.
    pub async fn run_errands(&self, clients: Clients, addresses: BTreeMap<PublicKey, Address>) {
        let room = |party: &PublicKey| (*party, Arc::new(Semaphore::new(MAX_ERRANDS_TO_ONE)));
        let rooms: BTreeMap<PublicKey, Arc<Semaphore>> = addresses.keys().map(room).collect();
        let (clients, mut under_way, mut take_up_at) = (Arc::new(clients), JoinSet::new(), Instant::now());
        loop {
            if take_up_at <= Instant::now() {
                let (reply, has_more) = oneshot::channel();
                let taken = self.books.hand_in([Job::TakeUpErrands(reply)]).is_ok();
                let again = taken && has_more.await.unwrap_or(false);
                take_up_at = Instant::now() + if again { Duration::ZERO } else { TAKE_UP_EVERY };
            }
            let (reply, asks) = oneshot::channel();
            let free = MAX_ERRANDS_UNDER_WAY.saturating_sub(under_way.len());
            if let Err(Refused { why: ExecutorError::Stopped, .. }) = self.books.hand_in([Job::Errands(free, reply)]) {
                return;
            }
            for (id, ask) in asks.await.unwrap_or_default() {
                let address = addresses.get(&ask.to).cloned();
                let place = rooms.get(&ask.to).and_then(|room| Arc::clone(room).try_acquire_owned().ok());
                match (address, place) {
                    (Some(address), Some(place)) => {
                        let (clients, books) = (Arc::clone(&clients), self.books.clone());
                        under_way.spawn(async move {
                            let answer = carry(&clients, address, &ask).await;
                            // One that is not taken is asked for again.
                            let _ = books.hand_in([Job::ErrandDone(id, Box::new(answer))]);
                            drop(place);
                        });
                    }
                    (address, _) => {
                        let why = if address.is_some() { "too many calls to it are under way" } else { "no address" };
                        let answer = Err(CallError::Unreachable("a party of the settings".to_owned(), why.to_owned()));
                        let _ = self.books.hand_in([Job::ErrandDone(id, Box::new(answer))]);
                    }
                }
            }
            tokio::select! {
                () = self.due.notified() => {}
                () = tokio::time::sleep(ERRAND_PAUSE) => {}
            }
            while under_way.try_join_next().is_some() {}
            if under_way.len() >= MAX_ERRANDS_UNDER_WAY {
                under_way.join_next().await;
            }
        }
    }

    /// Forgets what is over (AAT §5), for as long as it is polled.
    pub async fn forget(&self, retention: Retention) {
        while !matches!(
            self.books.hand_in([Job::Forget(retention, LOOK_THROUGH)]),
            Err(Refused { why: ExecutorError::Stopped, .. })
        ) {
            tokio::time::sleep(FORGET_EVERY).await;
        }
    }

    /// Waits until the store fails in a way that only opening it again helps against. The program then ends, and is
    /// started again; until then the bank answers `unavailable`.
    pub async fn broken(&self) -> StoreError {
        let mut broken = self.broken.clone();
        match broken.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(error)) => error.clone(),
            // The thread has ended, by `stop` or by a panic, and can report nothing more.
            Ok(None) | Err(_) => StoreError::Other("the bank's thread has ended".into()),
        }
    }

    /// Takes no more calls, finishes those that are on the books, and waits for the bank's thread to end and to let go of
    /// the store. It blocks.
    pub fn stop(&self) -> Result<(), WorkerDied> {
        let (books, pool) = (self.books.stop(), self.pool.stop());
        books.and(pool)
    }
}

impl Service<BankCall> for BankFront {
    fn ready(&self) -> Result<(), String> {
        match &*self.broken.borrow() {
            None => Ok(()),
            Some(_) => Err("the store has failed".to_owned()),
        }
    }

    async fn call(&self, call: BankCall) -> Result<BankReply, Problem> {
        let Ok(under_way) = Arc::clone(&self.calls).try_acquire_owned() else {
            return Err(Problem::new("busy", "too many calls are under way"));
        };
        let is_issuance = match &call {
            BankCall::Describe => return Ok(BankReply::Description(self.desk.describe())),
            BankCall::IssuerDirectory(brand) => {
                return Ok(BankReply::IssuerDirectory(Box::new(self.desk.issuer_directory(brand)?)));
            }
            call => matches!(call, BankCall::Issue(_)),
        };
        let (reply, answer) = oneshot::channel();
        let caller = Caller { reply, _under_way: under_way };
        let step = Step::Check(Box::new(call), self.books.clone(), caller);
        self.pool.hand_in([step]).map_err(|refused| not_taken(refused.why))?;
        let reply = answer.await.unwrap_or_else(|_| Err(not_taken(ExecutorError::Stopped)))?;
        if is_issuance { as_issued(reply) } else { Ok(reply) }
    }
}

/// The publisher's questions queue with all others.
impl Owner for BankFront {
    async fn prove(&self, old: u64, new: u64) -> Result<Vec<Hash>, String> {
        let (reply, done) = oneshot::channel();
        self.books.hand_in([Job::Prove(old, new, reply)]).map_err(|refused| refused.why.to_string())?;
        done.await.map_err(|_| ExecutorError::Stopped.to_string())?.map_err(|error| error.to_string())
    }

    async fn keep(&self, cosigned: &CosignedCheckpoint) -> Result<(), String> {
        let (reply, done) = oneshot::channel();
        let note = cosigned.note().to_owned();
        self.books.hand_in([Job::KeepCosigned(note, reply)]).map_err(|refused| refused.why.to_string())?;
        let kept = done.await.map_err(|_| ExecutorError::Stopped.to_string())?;
        kept.map(drop).map_err(|error| error.to_string())
    }
}

async fn carry(clients: &Clients, address: Address, ask: &Ask) -> Result<AnyReply, CallError> {
    let url = address.url.clone();
    let client = clients.on(ask.circuit, address).map_err(|error| CallError::Unreachable(url, error.to_string()))?;
    ask.call.ask(&client).await
}

fn not_taken(why: ExecutorError) -> Problem {
    match why {
        ExecutorError::Busy => Problem::new("busy", why),
        ExecutorError::Stopped => Problem::new("unavailable", why),
    }
}

/// A share of a thread of the pool: what is checked goes to the books before anything is signed, so that they are busy
/// meanwhile. Replies are sent when the last is signed.
fn at_the_desk(desk: &Desk, steps: Vec<Step>) {
    let now = system_time();
    let (mut checked, mut applied, mut to_books) = (Vec::new(), Vec::new(), None);
    for step in steps {
        match step {
            Step::Check(call, books, caller) => match desk.authenticate(*call, now) {
                Ok(call) => {
                    checked.push(Job::Call(call, caller));
                    to_books = Some(books);
                }
                Err(problem) => caller.answer(Err(problem)),
            },
            Step::Sign(reply, caller) => applied.push((reply, caller)),
        }
    }
    if let Some(Err(Refused { why, jobs })) = to_books.map(|books| books.hand_in(checked)) {
        for job in jobs {
            if let Job::Call(_, caller) = job {
                caller.answer(Err(not_taken(why)));
            }
        }
    }
    let done: Vec<_> = applied.into_iter().map(|(reply, caller)| (caller, signed(desk, reply))).collect();
    for (caller, reply) in done {
        caller.answer(reply);
    }
}

/// The signed reply, and how long that took.
fn signed(desk: &Desk, reply: Applied) -> Result<BankReply, Problem> {
    let began = Instant::now();
    let reply = desk.complete(reply);
    metrics::histogram!("naulon_bank_signing_seconds").record(began.elapsed());
    reply
}

/// One batch of the bank's thread: its calls together, then what else there is. Gives what is left to be signed.
fn on_the_books<S: BankStore>(bank: &mut Bank<S>, jobs: Vec<Job>) -> Vec<Step> {
    let (mut calls, mut callers, mut others) =
        (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()), Vec::new());
    for job in jobs {
        match job {
            Job::Call(call, caller) => {
                calls.push(call);
                callers.push(caller);
            }
            other => others.push(other),
        }
    }
    let applied = if calls.is_empty() { Vec::new() } else { bank.apply(&calls, system_time()) };
    for other in others {
        // Whoever has gone away finds what was done in the bank's description.
        match other {
            Job::AddBrands(new, reply) => drop(reply.send(bank.add_brands(&new))),
            Job::RefreshBrands(reply) => drop(reply.send(bank.refresh_brands())),
            Job::CloseDays(now, reply) => drop(reply.send(bank.close_days(now))),
            Job::KeepCosigned(note, reply) => drop(reply.send(bank.keep_cosigned(&note))),
            Job::Prove(old, new, reply) => drop(reply.send(bank.prove_growth(old, new))),
            Job::Errands(limit, reply) => {
                let now = system_time();
                // Never above the number of errands, which a float holds.
                let expired = u32::try_from(bank.expired_locks(now)).unwrap_or(u32::MAX);
                metrics::gauge!("naulon_bank_expired_locks").set(expired);
                let asks = bank.errands(now, limit).unwrap_or_else(|error| {
                    tracing::warn!(%error, "what is to be sent could not be read");
                    Vec::new()
                });
                drop(reply.send(asks));
            }
            Job::ErrandDone(id, answer) => {
                if let Err(problem) = bank.errand_done(id, *answer, system_time()) {
                    // Which purchase and which parties it was is in the store.
                    tracing::warn!(code = problem.code, "an answer about a lock was not taken; it is asked for again");
                }
            }
            Job::Forget(retention, limit) => match bank.forget(&retention, system_time(), limit) {
                Ok(0) => {}
                Ok(gone) => tracing::info!(gone, "requests of closed brands, and old aborts, were forgotten"),
                Err(error) => tracing::warn!(%error, "what is over could not be forgotten; it is tried again"),
            },
            Job::TakeUpErrands(reply) => {
                let has_more = bank.take_up_errands(system_time()).unwrap_or_else(|error| {
                    tracing::warn!(%error, "what is locked could not be read");
                    false
                });
                let _ = reply.send(has_more);
            }
            Job::Call(..) => {}
        }
    }
    let mut steps = Vec::with_capacity(applied.len());
    for (applied, caller) in applied.into_iter().zip(callers) {
        match applied {
            Ok(applied) => steps.push(Step::Sign(applied, caller)),
            Err(problem) => caller.answer(Err(problem)),
        }
    }
    steps
}

/// The system's clock. One before 1970 says 1970; the bank's own never runs backwards.
fn system_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
