//! Group commit: one thread owns the store, and what arrives together is written together.
//!
//! The front hands in jobs; the thread takes what has queued and calls the worker once for all of it, so that they
//! share one transaction and one fsync. While the disk is busy with one group the next one gathers by itself: no timer
//! is needed, and a lone job does not wait.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::measure;
use crate::queue::{Queue, Refused};

/// How much an [`Executor`] or a [`Pool`](crate::pool::Pool) takes on. A zero counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Jobs that may wait. More are refused as [`ExecutorError::Busy`], so that a crowd costs bounded memory and learns
    /// at once that it has to slow down.
    pub queue: usize,
    /// Jobs in one call of a worker. It bounds the wait of the first of them.
    pub batch: usize,
}

/// A job that has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorError {
    /// The queue is full and the job was not taken. Caller: try again later (HTTP 429 with Retry-After). Operator: if it
    /// lasts, the disk is too slow for the load.
    #[error("too many requests are waiting for the store: try again later")]
    Busy,
    /// The store was stopped or its worker died. If the job had been taken, whether it was done is **not known**. Caller:
    /// ask again after a restart. Operator: restart the role.
    #[error("the store has stopped: restart, then ask again")]
    Stopped,
}

/// The worker panicked or broke its contract. Operator: restart the role, and report the panic's text from its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store's worker died: restart, and report the panic in the log")]
pub struct WorkerDied;

/// A handle on the thread that owns a store. Clones are handles on the same thread.
///
/// When the last handle is dropped the thread finishes what it accepted and ends, but nobody waits for it: a program
/// that wants its last jobs done calls [`stop`](Self::stop).
pub struct Executor<J, R> {
    shared: Arc<Shared<J, R>>,
}

struct Shared<J, R> {
    queue: Arc<Queue<Accepted<J, R>>>,
    thread: Mutex<Thread>,
}

enum Thread {
    Running(JoinHandle<()>),
    Ended(Result<(), WorkerDied>),
}

struct Accepted<J, R> {
    job: J,
    /// None if nobody waits for the result.
    reply: Option<oneshot::Sender<R>>,
}

impl<J: Send + 'static, R: Send + 'static> Executor<J, R> {
    /// Starts the thread `name` (cut to 15 bytes by Linux), which owns `worker` and by it the store.
    ///
    /// `worker` gets between 1 and `limits.batch` jobs in the order in which they were accepted, and returns exactly one
    /// result for each, in the same order. If it panics or returns another number, the thread ends, and its callers see
    /// [`ExecutorError::Stopped`]: the store is in an unknown state, and only reopening it helps. The worker must not own
    /// a handle of its own executor.
    ///
    /// # Panics
    /// Like [`std::thread::spawn`], when the system has no thread left. This is at a role's start, never on a request.
    #[must_use]
    pub fn spawn(name: &str, limits: Limits, worker: impl FnMut(Vec<J>) -> Vec<R> + Send + 'static) -> Self {
        let queue = Arc::new(Queue::new(limits.queue));
        let jobs = Emptied(Arc::clone(&queue));
        let called = name.to_owned();
        let handle = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&called, &jobs.0, limits.batch, worker))
            .expect("the system starts the store's thread");
        let shared = Shared { queue, thread: Mutex::new(Thread::Running(handle)) };
        Self { shared: Arc::new(shared) }
    }

    /// Hands in a job and waits for its result. A caller that stops waiting does not take its job back.
    ///
    /// # Errors
    /// [`ExecutorError::Busy`] at once if the queue is full; [`ExecutorError::Stopped`] if the thread has ended, or ends
    /// before the result is there.
    pub async fn submit(&self, job: J) -> Result<R, ExecutorError> {
        let result = self.accept(job)?;
        result.await.map_err(|_| ExecutorError::Stopped)
    }

    /// [`submit`](Self::submit) for code that is not async: it blocks until the result is there. A full queue refuses it
    /// at once, too.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    ///
    /// # Panics
    /// When called on a tokio worker, which must not be blocked.
    pub fn submit_blocking(&self, job: J) -> Result<R, ExecutorError> {
        let result = self.accept(job)?;
        result.blocking_recv().map_err(|_| ExecutorError::Stopped)
    }

    /// Hands in jobs whose results nobody waits for, all at once: so they share a batch, if it is not full. What there
    /// is to say by them is the worker's to say.
    ///
    /// # Errors
    /// [`Refused`] with those for which there was no room, or all when the thread has ended.
    pub fn hand_in(&self, jobs: impl IntoIterator<Item = J>) -> Result<(), Refused<J>> {
        let accepted = jobs.into_iter().map(|job| Accepted { job, reply: None });
        self.shared.queue.push(accepted).map_err(|refused| {
            let jobs = refused.jobs.into_iter().map(|accepted| accepted.job).collect();
            Refused { why: refused.why, jobs }
        })
    }

    /// Takes no more jobs, finishes the accepted ones, and waits until the thread has ended and dropped the store. All
    /// handles are stopped by it; calling it again gives the same answer. It blocks: async code calls it by
    /// `spawn_blocking` or after its runtime has ended.
    ///
    /// # Errors
    /// [`WorkerDied`] if the thread ended by a panic, now or earlier.
    pub fn stop(&self) -> Result<(), WorkerDied> {
        self.shared.queue.close();
        // The lock is held while joining, so that a second `stop` also returns only when the thread has ended.
        let mut thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = match std::mem::replace(&mut *thread, Thread::Ended(Err(WorkerDied))) {
            Thread::Running(handle) => handle.join().map_err(|_| WorkerDied),
            Thread::Ended(ended) => ended,
        };
        *thread = Thread::Ended(ended);
        ended
    }

    /// Queues a job, or says at once why not.
    fn accept(&self, job: J) -> Result<oneshot::Receiver<R>, ExecutorError> {
        let (reply, result) = oneshot::channel();
        match self.shared.queue.push([Accepted { job, reply: Some(reply) }]) {
            Ok(()) => Ok(result),
            Err(refused) => Err(refused.why),
        }
    }
}

impl<J, R> Drop for Shared<J, R> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A queue that is closed and emptied when the thread that works on it ends, in whatever way.
struct Emptied<J>(Arc<Queue<J>>);

impl<J> Drop for Emptied<J> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl<J, R> Clone for Executor<J, R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<J, R> fmt::Debug for Executor<J, R> {
    /// Says nothing about the jobs: they may hold what links people.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Executor").finish_non_exhaustive()
    }
}

/// The thread's life. When it ends in whatever way, its replies and its queue are dropped, and with them the reply of
/// every job not done: that is how callers learn of a panic.
fn work<J, R>(name: &str, queue: &Queue<Accepted<J, R>>, batch: usize, mut worker: impl FnMut(Vec<J>) -> Vec<R>) {
    while let Some(group) = queue.take(|waiting| waiting.min(batch)) {
        let (jobs, replies): (Vec<J>, Vec<_>) =
            group.into_iter().map(|accepted| (accepted.job, accepted.reply)).unzip();
        let (count, waiting) = (jobs.len(), queue.waiting());
        let results = measure::batch(name, count, waiting, || worker(jobs));
        // With a result missing it is unknown whose it is; a wrong answer about money is worse than none.
        assert_eq!(results.len(), replies.len(), "the worker returns one result for each job");
        for (reply, result) in replies.into_iter().zip(results) {
            if let Some(reply) = reply {
                // A caller that has gone away does not want its result any more.
                let _ = reply.send(result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc::{self, Receiver, channel};
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;

    /// An executor whose worker reports each batch and then waits to be let on; results are the jobs times ten.
    fn gated(limits: Limits) -> (Executor<u32, u32>, Receiver<Vec<u32>>, mpsc::Sender<()>) {
        let (report, batches) = channel();
        let (gate, opened) = channel::<()>();
        let executor = Executor::spawn("gated", limits, move |jobs: Vec<u32>| {
            report.send(jobs.clone()).expect("the test listens");
            opened.recv().expect("the test opens the gate");
            jobs.into_iter().map(|job| job * 10).collect()
        });
        (executor, batches, gate)
    }

    type Submitted<'a> = Pin<Box<dyn Future<Output = Result<u32, ExecutorError>> + 'a>>;

    /// Submits a job without waiting: the first poll queues it.
    fn submit_only(executor: &Executor<u32, u32>, job: u32) -> Submitted<'_> {
        let mut submitted: Submitted<'_> = Box::pin(executor.submit(job));
        assert!(submitted.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        submitted
    }

    fn next(batches: &Receiver<Vec<u32>>) -> Vec<u32> {
        batches.recv_timeout(Duration::from_secs(10)).expect("a batch is run")
    }

    #[tokio::test]
    async fn what_has_queued_is_one_batch_in_order_and_each_job_gets_its_own_result() {
        let (executor, batches, gate) = gated(Limits { queue: 16, batch: 4 });
        let mut submitted = vec![submit_only(&executor, 0)];
        assert_eq!(next(&batches), [0]); // a lone job does not wait for company
        submitted.extend((1..=9).map(|job| submit_only(&executor, job)));
        for batch in [&[1, 2, 3, 4][..], &[5, 6, 7, 8], &[9]] {
            gate.send(()).expect("the worker waits");
            assert_eq!(next(&batches), batch);
        }
        gate.send(()).expect("the worker waits");
        for (job, result) in (0..).zip(submitted) {
            assert_eq!(result.await, Ok(job * 10));
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_takes_jobs_again_later() {
        let (executor, batches, gate) = gated(Limits { queue: 2, batch: 2 });
        let running = submit_only(&executor, 1);
        assert_eq!(next(&batches), [1]);
        let waiting = [submit_only(&executor, 2), submit_only(&executor, 3)];
        assert_eq!(executor.submit(4).await, Err(ExecutorError::Busy));
        gate.send(()).expect("the worker waits");
        gate.send(()).expect("the worker comes");
        assert_eq!(running.await, Ok(10));
        for (result, expected) in waiting.into_iter().zip([20, 30]) {
            assert_eq!(result.await, Ok(expected));
        }
        gate.send(()).expect("the worker comes");
        assert_eq!(executor.submit(4).await, Ok(40));
    }

    #[test]
    fn jobs_handed_in_together_share_a_batch_and_those_without_room_come_back() {
        let (executor, batches, gate) = gated(Limits { queue: 3, batch: 8 });
        executor.hand_in([1]).expect("room");
        assert_eq!(next(&batches), [1]);
        let refused = executor.hand_in(2..=5).expect_err("room for three");
        assert_eq!((refused.why, refused.jobs), (ExecutorError::Busy, vec![5]));
        gate.send(()).expect("the worker waits");
        assert_eq!(next(&batches), [2, 3, 4]);
        gate.send(()).expect("the worker waits");
        assert_eq!(executor.stop(), Ok(()));
        let refused = executor.hand_in([6]).expect_err("stopped");
        assert_eq!((refused.why, refused.jobs), (ExecutorError::Stopped, vec![6]));
    }

    #[tokio::test]
    async fn a_panic_of_the_worker_frees_those_in_the_batch_those_queued_and_those_to_come() {
        let (executor, batches, gate) = gated(Limits { queue: 4, batch: 1 });
        let running = submit_only(&executor, 1);
        assert_eq!(next(&batches), [1]);
        let waiting = submit_only(&executor, 2);
        drop(gate); // the worker panics at its gate
        assert_eq!(running.await, Err(ExecutorError::Stopped));
        assert_eq!(waiting.await, Err(ExecutorError::Stopped));
        assert_eq!(executor.submit(3).await, Err(ExecutorError::Stopped));
        assert_eq!(executor.stop(), Err(WorkerDied));
        assert_eq!(executor.stop(), Err(WorkerDied));
    }

    #[test]
    fn a_panic_in_the_middle_of_a_crowd_leaves_nobody_waiting() {
        for round in 0..30 {
            let mut calls_left = round;
            let executor = Executor::spawn("dies", Limits { queue: 2, batch: 2 }, move |jobs: Vec<u32>| {
                assert!(calls_left > 0, "the worker dies on purpose");
                calls_left -= 1;
                jobs
            });
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| while executor.submit_blocking(1) != Err(ExecutorError::Stopped) {});
                }
            });
            assert_eq!(executor.stop(), Err(WorkerDied));
        }
    }

    #[test]
    fn a_worker_that_miscounts_is_stopped() {
        for wrong in [0, 2] {
            let executor =
                Executor::spawn("miscounts", Limits { queue: 1, batch: 1 }, move |_: Vec<()>| vec![(); wrong]);
            assert_eq!(executor.submit_blocking(()), Err(ExecutorError::Stopped));
            assert_eq!(executor.stop(), Err(WorkerDied));
        }
    }

    #[test]
    fn stop_finishes_what_was_accepted_drops_the_store_and_stops_every_handle() {
        let (executor, batches, gate) = gated(Limits { queue: 8, batch: 2 });
        let clone = executor.clone();
        let mut submitted: Vec<_> = (0..5).map(|job| submit_only(&executor, job)).collect();
        for _ in 0..5 {
            gate.send(()).expect("the worker waits");
        }
        assert_eq!(clone.stop(), Ok(()));
        assert!(gate.send(()).is_err(), "the worker was dropped, and all that it owned");
        assert_eq!(batches.try_iter().flatten().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        for (job, result) in (0..).zip(&mut submitted) {
            let polled = result.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(polled, std::task::Poll::Ready(Ok(job * 10)));
        }
        assert_eq!(executor.submit_blocking(6), Err(ExecutorError::Stopped));
        assert_eq!(executor.stop(), Ok(()));
    }

    #[test]
    fn the_last_handle_dropped_ends_the_thread_after_what_was_accepted() {
        let (executor, batches, gate) = gated(Limits { queue: 8, batch: 8 });
        drop(submit_only(&executor, 1)); // the caller goes away, its job does not
        drop(executor);
        assert_eq!(next(&batches), [1]);
        gate.send(()).expect("the worker waits");
        assert!(
            batches.recv_timeout(Duration::from_secs(10)).is_err_and(|e| e == mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn many_threads_get_their_own_results_with_the_smallest_limits() {
        let executor = Executor::spawn("doubles", Limits { queue: 0, batch: 0 }, |jobs: Vec<u64>| {
            jobs.into_iter().map(|job| job * 2).collect()
        });
        thread::scope(|scope| {
            for base in 0..8_u64 {
                let executor = executor.clone();
                scope.spawn(move || {
                    for job in (0..200).map(|n| base * 1_000 + n) {
                        let result = std::iter::repeat_with(|| executor.submit_blocking(job))
                            .find(|result| *result != Err(ExecutorError::Busy));
                        assert_eq!(result, Some(Ok(job * 2)));
                    }
                });
            }
        });
        assert_eq!(executor.stop(), Ok(()));
    }
}
