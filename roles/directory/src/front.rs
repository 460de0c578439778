//! The directory behind HTTP: one thread owns the store.

use std::time::{SystemTime, UNIX_EPOCH};

use naulon_durable::executor::{Executor, ExecutorError, Limits, WorkerDied};
use naulon_statement::Timestamp;
use naulon_wire::{DirectoryCall, DirectoryReply, Problem, Service};

use crate::directory::Directory;
use crate::store::DirectoryStore;

/// How many calls may wait, and how many are taken at once.
pub const LIMITS: Limits = Limits { queue: 256, batch: 16 };

type Answer = Result<DirectoryReply, Problem>;

/// A directory as a service. Clones are handles on the same directory.
#[derive(Clone)]
pub struct DirectoryFront(Executor<DirectoryCall, Answer>);

impl DirectoryFront {
    /// Puts the directory on a thread of its own, with the system's clock.
    pub fn start<S: DirectoryStore + 'static>(directory: Directory<S>) -> Self {
        Self::start_with(directory, LIMITS, system_time)
    }

    /// As [`start`](Self::start), with other limits and another clock.
    pub fn start_with<S: DirectoryStore + 'static>(
        mut directory: Directory<S>,
        limits: Limits,
        clock: impl Fn() -> Timestamp + Send + 'static,
    ) -> Self {
        DirectoryFront(Executor::spawn("directory-store", limits, move |calls: Vec<DirectoryCall>| {
            calls.into_iter().map(|call| directory.handle(call, clock())).collect()
        }))
    }

    /// Takes no more calls, finishes those that queue, and gives the store up. It blocks until then.
    ///
    /// # Errors
    /// [`WorkerDied`] if the directory's thread had panicked.
    pub fn stop(&self) -> Result<(), WorkerDied> {
        self.0.stop()
    }
}

impl Service<DirectoryCall> for DirectoryFront {
    async fn call(&self, call: DirectoryCall) -> Answer {
        self.0.submit(call).await.unwrap_or_else(|why| match why {
            ExecutorError::Busy => Err(Problem::new("busy", why)),
            ExecutorError::Stopped => Err(Problem::new("unavailable", why)),
        })
    }
}

fn system_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).min(Timestamp::MAX)
}
