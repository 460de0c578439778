//! The HTTP front: the same three steps as [`Bank::handle`], on the threads where each belongs.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use naulon_blind::Brand;
use naulon_durable::StoreError;
use naulon_durable::executor::{Executor, ExecutorError, Limits, WorkerDied};
use naulon_statement::Timestamp;
use naulon_wire::{BankCall, BankReply, Problem, Service};
use tokio::sync::{Semaphore, watch};

use crate::bank::{Bank, OpenError};
use crate::desk::{Applied, Authenticated, Desk};
use crate::store::BankStore;

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

/// A bank in front of which many may stand. Checking and signing run on blocking threads, as many as there are cores;
/// the bank itself runs on one thread of its own, which writes what has gathered in one transaction.
pub struct BankFront {
    desk: Desk,
    executor: Executor<Job, Done>,
    calls: Semaphore,
    threads: Arc<Semaphore>,
    broken: watch::Receiver<Option<StoreError>>,
}

enum Job {
    Call(Box<Authenticated>),
    AddBrands(Vec<Brand>),
}

enum Done {
    Call(Result<Applied, Problem>),
    AddBrands(Result<(), OpenError>),
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
    /// Starts the bank's thread. The clock is the system's.
    pub fn start<S: BankStore>(mut bank: Bank<S>, limits: FrontLimits) -> Self {
        let desk = bank.desk().clone();
        let (report, broken) = watch::channel(None);
        let worker = move |jobs| {
            let done = work(&mut bank, jobs);
            if let Some(error) = bank.broken() {
                report.send_if_modified(|known| known.replace(error.clone()).is_none());
            }
            done
        };
        let limits = FrontLimits { threads: limits.threads.max(1), ..limits };
        let executor = Executor::spawn("bank-store", Limits { queue: limits.calls, batch: limits.batch }, worker);
        let threads = Arc::new(Semaphore::new(limits.threads.min(Semaphore::MAX_PERMITS)));
        BankFront { desk, executor, calls: Semaphore::new(limits.calls), threads, broken }
    }

    /// The part that needs no books.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Adds brands while the bank runs ([`Bank::add_brands`]).
    pub async fn add_brands(&self, brands: Vec<Brand>) -> Result<(), AddBrandsError> {
        match self.executor.submit(Job::AddBrands(brands)).await? {
            Done::AddBrands(added) => Ok(added?),
            Done::Call(_) => unreachable!("a job has a result of its own kind"),
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

    /// Takes no more calls, finishes those accepted, and waits for the bank's thread to end and to let go of the store.
    /// It blocks.
    pub fn stop(&self) -> Result<(), WorkerDied> {
        self.executor.stop()
    }

    async fn apply(&self, call: Authenticated) -> Result<Applied, Problem> {
        match self.executor.submit(Job::Call(Box::new(call))).await {
            Ok(Done::Call(applied)) => applied,
            Ok(Done::AddBrands(_)) => unreachable!("a job has a result of its own kind"),
            Err(error @ ExecutorError::Busy) => Err(Problem::new("busy", error)),
            Err(error @ ExecutorError::Stopped) => Err(Problem::new("unavailable", error)),
        }
    }

    /// Runs something expensive off the async threads.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Desk) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let failed = |_| Problem::new("internal", "the call could not be worked on");
        let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(failed)?;
        let desk = self.desk.clone();
        let task = tokio::task::spawn_blocking(move || {
            let done = work(&desk);
            drop(permit);
            done
        });
        task.await.map_err(|_| Problem::new("internal", "the call could not be worked on"))
    }
}

impl Service<BankCall> for BankFront {
    async fn call(&self, call: BankCall) -> Result<BankReply, Problem> {
        let Ok(_under_way) = self.calls.try_acquire() else {
            return Err(Problem::new("busy", "too many calls are under way"));
        };
        if matches!(call, BankCall::Describe) {
            return Ok(BankReply::Description(self.desk.describe()));
        }
        let authenticated = self.off_thread(|desk| desk.authenticate(call, system_time())).await??;
        let applied = self.apply(authenticated).await?;
        self.off_thread(|desk| desk.complete(applied)).await?
    }
}

/// One batch of the bank's thread: its calls together, then what else there is.
fn work<S: BankStore>(bank: &mut Bank<S>, jobs: Vec<Job>) -> Vec<Done> {
    let mut calls = Vec::with_capacity(jobs.len());
    let mut others = Vec::new();
    let mut order = Vec::with_capacity(jobs.len());
    for job in jobs {
        order.push(matches!(job, Job::Call(_)));
        match job {
            Job::Call(call) => calls.push(*call),
            Job::AddBrands(brands) => others.push(brands),
        }
    }
    let applied = if calls.is_empty() { Vec::new() } else { bank.apply(&calls, system_time()) };
    let added: Vec<_> = others.iter().map(|brands| bank.add_brands(brands)).collect();
    let (mut applied, mut added) = (applied.into_iter().map(Done::Call), added.into_iter().map(Done::AddBrands));
    order.into_iter().filter_map(|is_call| if is_call { applied.next() } else { added.next() }).collect()
}

/// The system's clock. One before 1970 says 1970; the bank's own never runs backwards.
fn system_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
