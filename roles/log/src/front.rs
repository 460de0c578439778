//! The log behind HTTP: signatures are verified in parallel, decisions queue for one group commit.

use std::num::NonZero;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use naulon_durable::Refused;
use naulon_durable::executor::{Executor, ExecutorError, Limits, WorkerDied};
use naulon_durable::pool::Pool;
use naulon_purchase::log::{authenticate_abort, authenticate_blind, authenticate_commit};
use naulon_purchase::{LogRequest, LogRules};
use naulon_statement::Timestamp;
use naulon_tlog::{CosignedCheckpoint, Hash};
use naulon_wire::publish::Owner;
use naulon_wire::{LogCall, LogReply, Problem, Service};
use tokio::sync::oneshot;

use crate::log::Log;
use crate::store::LogStore;

/// How many calls may wait, and how many share one commit.
pub const LIMITS: Limits = Limits { queue: 4096, batch: 256 };
/// Calls that a thread checks before it takes them to the log's thread, together.
const SHARE: usize = 16;

/// How often the log looks for what it may forget, and how much of that it does at once: a decision must not wait for it.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
const PRUNE_BATCH: usize = 1_000;

/// A log as a service. Clones are handles on the same log.
///
/// A call goes to the pool, if it has signatures, from there to the log's thread, and to its caller.
#[derive(Clone)]
pub struct LogFront {
    checks: Pool<(LogCall, Caller)>,
    log: Executor<Job, ()>,
}

type Answer = Result<LogReply, Problem>;

/// Who waits for an answer. If this is dropped without one, the caller is told that the log is not available.
type Caller = oneshot::Sender<Answer>;

enum Job {
    Decide(LogRequest, Caller),
    Other(LogCall, Caller),
    /// For the publisher: a consistency proof from the first size to the second.
    Prove(u64, u64, oneshot::Sender<Result<Vec<Hash>, String>>),
    /// Forget what is past its retention.
    Prune,
    /// For the publisher: keep a cosigned note.
    Keep(String, oneshot::Sender<Result<(), String>>),
}

impl LogFront {
    /// Puts the log on a thread of its own, with the system's clock.
    pub fn start<S: LogStore + 'static>(log: Log<S>) -> Self {
        Self::start_with(log, LIMITS, system_time)
    }

    /// As [`start`](Self::start), with other limits and another clock.
    pub fn start_with<S: LogStore + 'static>(
        mut log: Log<S>,
        limits: Limits,
        clock: impl Fn() -> Timestamp + Send + 'static,
    ) -> Self {
        let rules = log.rules().clone();
        let log = Executor::spawn("log-store", limits, move |jobs: Vec<Job>| {
            let done = vec![(); jobs.len()];
            work(&mut log, jobs, clock());
            done
        });
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let (decided, limits) = (log.clone(), Limits { batch: SHARE, ..limits });
        let checks = Pool::spawn("log-desk", threads, limits, move |calls| check(&rules, calls, &decided));
        LogFront { checks, log }
    }

    /// Forgets what is past its retention (AAT §5), for as long as it is polled.
    pub async fn forget(&self) {
        while !matches!(self.log.hand_in([Job::Prune]), Err(Refused { why: ExecutorError::Stopped, .. })) {
            tokio::time::sleep(PRUNE_EVERY).await;
        }
    }

    /// Takes no more calls, finishes those that queue, and gives the store up. It blocks until then.
    ///
    /// # Errors
    /// [`WorkerDied`] if the log's thread had panicked.
    pub fn stop(&self) -> Result<(), WorkerDied> {
        let (checks, log) = (self.checks.stop(), self.log.stop());
        log.and(checks)
    }
}

impl Service<LogCall> for LogFront {
    async fn call(&self, call: LogCall) -> Answer {
        let (caller, answer) = oneshot::channel();
        match call {
            LogCall::Commit { .. }
            | LogCall::Abort { .. }
            | LogCall::BlindCommit { .. }
            | LogCall::BlindAbort { .. } => {
                self.checks.hand_in([(call, caller)]).map_err(|refused| not_taken(refused.why))?;
            }
            LogCall::Describe | LogCall::Decision(_) | LogCall::Public(_) => {
                self.log.hand_in([Job::Other(call, caller)]).map_err(|refused| not_taken(refused.why))?;
            }
        }
        answer.await.unwrap_or_else(|_| Err(not_taken(ExecutorError::Stopped)))
    }
}

/// The publisher's questions queue with all others.
impl Owner for LogFront {
    async fn prove(&self, old: u64, new: u64) -> Result<Vec<Hash>, String> {
        let (caller, answer) = oneshot::channel();
        self.log.hand_in([Job::Prove(old, new, caller)]).map_err(|refused| refused.why.to_string())?;
        answer.await.unwrap_or_else(|_| Err(ExecutorError::Stopped.to_string()))
    }

    async fn keep(&self, cosigned: &CosignedCheckpoint) -> Result<(), String> {
        let (caller, answer) = oneshot::channel();
        let note = cosigned.note().to_owned();
        self.log.hand_in([Job::Keep(note, caller)]).map_err(|refused| refused.why.to_string())?;
        answer.await.unwrap_or_else(|_| Err(ExecutorError::Stopped.to_string()))
    }
}

fn not_taken(why: ExecutorError) -> Problem {
    match why {
        ExecutorError::Busy => Problem::new("busy", why),
        ExecutorError::Stopped => Problem::new("unavailable", why),
    }
}

/// Says the answer, unless the caller has gone away.
fn answer(caller: Caller, answer: Answer) {
    let _ = caller.send(answer);
}

/// A share of a thread of the pool. What holds goes to the log's thread together.
fn check(rules: &LogRules, calls: Vec<(LogCall, Caller)>, log: &Executor<Job, ()>) {
    let mut jobs = Vec::with_capacity(calls.len());
    for (call, caller) in calls {
        let request = match call {
            LogCall::Commit { header, authorization } => authenticate_commit(rules, header, authorization),
            LogCall::Abort { header } => authenticate_abort(rules, header),
            LogCall::BlindCommit { message } => authenticate_blind(rules, message),
            LogCall::BlindAbort { index, expiry } => Ok(LogRequest::BlindAbort { index, expiry }),
            LogCall::Describe | LogCall::Decision(_) | LogCall::Public(_) => {
                jobs.push(Job::Other(call, caller));
                continue;
            }
        };
        match request {
            Ok(request) => jobs.push(Job::Decide(request, caller)),
            Err(refusal) => answer(caller, Err(refusal.into())),
        }
    }
    if let Err(Refused { why, jobs }) = log.hand_in(jobs) {
        for job in jobs {
            if let Job::Decide(_, caller) | Job::Other(_, caller) = job {
                answer(caller, Err(not_taken(why)));
            }
        }
    }
}

/// Decides all requests of the batch in one commit and answers them, then answers the reads.
fn work<S: LogStore>(log: &mut Log<S>, jobs: Vec<Job>, now: Timestamp) {
    let (mut requests, mut callers, mut others) =
        (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()), Vec::new());
    for job in jobs {
        match job {
            Job::Decide(request, caller) => {
                requests.push(request);
                callers.push(caller);
            }
            // A caller that has gone away needs no answer.
            Job::Prove(old, new, caller) => {
                drop(caller.send(log.prove_growth(old, new).map_err(|error| error.to_string())));
            }
            Job::Prune => match log.prune(now, PRUNE_BATCH) {
                Ok(0) => {}
                Ok(pruned) => tracing::info!(pruned, "decisions past their retention were forgotten"),
                Err(error) => tracing::warn!(%error, "what is past its retention could not be forgotten"),
            },
            Job::Keep(note, caller) => drop(caller.send(log.keep_cosigned(&note).map_err(|error| error.to_string()))),
            Job::Other(call, caller) => others.push((call, caller)),
        }
    }
    for (caller, decided) in callers.into_iter().zip(log.handle_batch(requests, now)) {
        answer(caller, decided);
    }
    for (call, caller) in others {
        answer(caller, log.handle(call, now));
    }
}

fn system_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).min(Timestamp::MAX)
}
