//! The queue between those who hand in jobs and the threads that do them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::executor::ExecutorError;

/// Jobs that were not taken, and why.
#[derive(Debug)]
pub struct Refused<J> {
    /// Why.
    pub why: ExecutorError,
    /// The jobs, in their order.
    pub jobs: Vec<J>,
}

/// A bounded queue that takes several jobs at once and gives several at once.
pub(crate) struct Queue<J> {
    inside: Mutex<Inside<J>>,
    filled: Condvar,
    limit: usize,
}

struct Inside<J> {
    waiting: VecDeque<J>,
    is_open: bool,
    /// Threads that sleep. To wake is a call to the system even if nobody sleeps, so it is known here.
    sleeping: usize,
}

impl<J> Queue<J> {
    /// An open queue in which at most `limit` jobs wait; a zero counts as one.
    pub(crate) fn new(limit: usize) -> Self {
        let inside = Inside { waiting: VecDeque::new(), is_open: true, sleeping: 0 };
        Queue { inside: Mutex::new(inside), filled: Condvar::new(), limit: limit.max(1) }
    }

    /// Takes jobs on, all at once, as far as there is room for them.
    pub(crate) fn push(&self, jobs: impl IntoIterator<Item = J>) -> Result<(), Refused<J>> {
        let mut jobs = jobs.into_iter();
        let mut inside = self.lock();
        if !inside.is_open {
            return Err(Refused { why: ExecutorError::Stopped, jobs: jobs.collect() });
        }
        let (before, room) = (inside.waiting.len(), self.limit.saturating_sub(inside.waiting.len()));
        inside.waiting.extend(jobs.by_ref().take(room));
        let woken = inside.sleeping.min(inside.waiting.len() - before);
        drop(inside);
        for _ in 0..woken {
            self.filled.notify_one();
        }
        let jobs: Vec<J> = jobs.collect();
        if jobs.is_empty() { Ok(()) } else { Err(Refused { why: ExecutorError::Busy, jobs }) }
    }

    /// Waits for jobs, and gives as many as `share` says of those that wait. None when the queue is closed and empty.
    pub(crate) fn take(&self, share: impl FnOnce(usize) -> usize) -> Option<Vec<J>> {
        let mut inside = self.lock();
        while inside.waiting.is_empty() {
            if !inside.is_open {
                return None;
            }
            inside.sleeping += 1;
            inside = self.filled.wait(inside).unwrap_or_else(PoisonError::into_inner);
            inside.sleeping -= 1;
        }
        let waiting = inside.waiting.len();
        Some(inside.waiting.drain(..share(waiting).clamp(1, waiting)).collect())
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Takes no more jobs. Those that wait are still given.
    pub(crate) fn close(&self) {
        self.lock().is_open = false;
        self.filled.notify_all();
    }

    /// Takes no more jobs, and gives up those that wait.
    pub(crate) fn abandon(&self) {
        self.close();
        // They are dropped when the queue is not locked any more: nobody knows what they do then.
        let waiting = std::mem::take(&mut self.lock().waiting);
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Inside<J>> {
        // Nothing that can panic in the middle of a change is done under the lock.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
