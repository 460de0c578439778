//! The log behind HTTP: signatures are verified in parallel, decisions queue for one group commit.

use std::time::{SystemTime, UNIX_EPOCH};

use naulon_durable::executor::{Executor, ExecutorError, Limits, WorkerDied};
use naulon_purchase::log::{authenticate_abort, authenticate_commit};
use naulon_purchase::{LogRefusal, LogRequest, LogRules};
use naulon_statement::Timestamp;
use naulon_wire::{LogCall, LogReply, Problem, Service};

use crate::log::Log;
use crate::store::LogStore;

/// How many calls may wait, and how many share one commit.
pub const LIMITS: Limits = Limits { queue: 4096, batch: 256 };

/// A log as a service. Clones are handles on the same log.
#[derive(Clone)]
pub struct LogFront {
    rules: LogRules,
    executor: Executor<Job, Result<LogReply, Problem>>,
}

enum Job {
    Decide(Box<LogRequest>),
    Other(LogCall),
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
        let executor = Executor::spawn("log-store", limits, move |jobs| work(&mut log, jobs, clock()));
        LogFront { rules, executor }
    }

    /// Takes no more calls, finishes those that queue, and gives the store up. It blocks until then.
    ///
    /// # Errors
    /// [`WorkerDied`] if the log's thread had panicked.
    pub fn stop(&self) -> Result<(), WorkerDied> {
        self.executor.stop()
    }

    async fn authenticated(&self, call: LogCall) -> Result<Job, Problem> {
        let rules = self.rules.clone();
        let authenticate = move || match call {
            LogCall::Commit { header, authorization } => decided_by(authenticate_commit(&rules, header, authorization)),
            LogCall::Abort { header } => decided_by(authenticate_abort(&rules, header)),
            LogCall::Describe | LogCall::Decision(_) | LogCall::Public(_) => Ok(Job::Other(call)),
        };
        let done = tokio::task::spawn_blocking(authenticate).await;
        done.map_err(|_| Problem::new("internal", "checking the request failed"))?.map_err(Problem::from)
    }
}

impl Service<LogCall> for LogFront {
    async fn call(&self, call: LogCall) -> Result<LogReply, Problem> {
        let job = match call {
            LogCall::Commit { .. } | LogCall::Abort { .. } => self.authenticated(call).await?,
            LogCall::Describe | LogCall::Decision(_) | LogCall::Public(_) => Job::Other(call),
        };
        match self.executor.submit(job).await {
            Ok(answer) => answer,
            Err(busy @ ExecutorError::Busy) => Err(Problem::new("busy", busy)),
            Err(stopped @ ExecutorError::Stopped) => Err(Problem::new("unavailable", stopped)),
        }
    }
}

fn decided_by(request: Result<LogRequest, LogRefusal>) -> Result<Job, LogRefusal> {
    request.map(|request| Job::Decide(Box::new(request)))
}

/// Decides all requests of the batch in one commit, then answers the reads. One answer for each job, in order.
fn work<S: LogStore>(log: &mut Log<S>, jobs: Vec<Job>, now: Timestamp) -> Vec<Result<LogReply, Problem>> {
    let mut requests = Vec::new();
    // What is to be decided leaves a gap in the order of the jobs, which the answers fill.
    let others: Vec<Option<LogCall>> = jobs
        .into_iter()
        .map(|job| match job {
            Job::Decide(request) => {
                requests.push(*request);
                None
            }
            Job::Other(call) => Some(call),
        })
        .collect();
    let mut decided = log.handle_batch(requests, now).into_iter();
    let unanswered = || Err(Problem::new("internal", "a request was not answered"));
    let answer = |other| match other {
        Some(call) => log.handle(call, now),
        None => decided.next().unwrap_or_else(unanswered),
    };
    others.into_iter().map(answer).collect()
}

fn system_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).min(Timestamp::MAX)
}
