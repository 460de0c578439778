//! Work for the processor: a fixed number of threads on one queue, where checking and signing are done.
//!
//! Each thread takes several jobs at a time, its share of what has queued. So a crowd of callers costs few changes from
//! thread to thread, and what a share leads to can be handed on together.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::executor::{Limits, WorkerDied};
use crate::measure;
use crate::queue::{Queue, Refused};

/// A handle on the threads. Clones are handles on the same threads.
///
/// When the last handle is dropped the threads finish what was taken on and end, but nobody waits for it: a program that
/// wants its last jobs done calls [`stop`](Self::stop).
pub struct Pool<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    queue: Arc<Queue<J>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<J: Send + 'static> Pool<J> {
    /// Starts `threads` threads, at least one, whose names are `name` and a number.
    ///
    /// `worker` gets between 1 and `limits.batch` jobs in the order in which they were taken on, and says by them
    /// whatever there is to say. If it panics, the jobs that it had are dropped and the thread goes on with others; so
    /// who waits for a job must learn from its being dropped, and the worker must not leave half a change behind.
    ///
    /// # Panics
    /// Like [`std::thread::spawn`], when the system has no thread left. This is at a role's start, never on a request.
    #[must_use]
    pub fn spawn(name: &str, threads: usize, limits: Limits, worker: impl Fn(Vec<J>) + Send + Sync + 'static) -> Self {
        let threads = threads.max(1);
        let (queue, worker) = (Arc::new(Queue::new(limits.queue)), Arc::new(worker));
        let start = |number: usize| {
            let (queue, worker) = (Arc::clone(&queue), Arc::clone(&worker));
            let share = move |waiting: usize| waiting.div_ceil(threads).min(limits.batch);
            let called = name.to_owned();
            let work = move || {
                while let Some(jobs) = queue.take(share) {
                    // The panic's text has been printed or logged by the program's hook.
                    let (count, waiting) = (jobs.len(), queue.waiting());
                    let work = || measure::batch(&called, count, waiting, || worker(jobs));
                    let _ = panic::catch_unwind(AssertUnwindSafe(work));
                }
            };
            let named = thread::Builder::new().name(format!("{name}-{number}"));
            named.spawn(work).expect("the system starts the pool's threads")
        };
        let handles = (0..threads).map(start).collect();
        Pool { shared: Arc::new(Shared { queue, threads: Mutex::new(handles) }) }
    }

    /// Hands in jobs, all at once. Their results are the worker's to give.
    ///
    /// # Errors
    /// [`Refused`] with those for which there was no room, or all when the pool was stopped.
    pub fn hand_in(&self, jobs: impl IntoIterator<Item = J>) -> Result<(), Refused<J>> {
        self.shared.queue.push(jobs)
    }

    /// Takes no more jobs. The threads finish those that were taken on, and end; nobody waits for it.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// [`close`](Self::close)s the pool and waits until its threads have ended and dropped the worker. It blocks.
    ///
    /// # Errors
    /// [`WorkerDied`] if a thread did not end as it should; a job that panicked is not such a case.
    pub fn stop(&self) -> Result<(), WorkerDied> {
        self.close();
        let mut threads = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // All are waited for, whatever one of them says.
        let ended: Vec<_> = threads.drain(..).map(JoinHandle::join).collect();
        if ended.iter().all(Result::is_ok) { Ok(()) } else { Err(WorkerDied) }
    }
}

impl<J> Drop for Shared<J> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl<J> Clone for Pool<J> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<J> fmt::Debug for Pool<J> {
    /// Says nothing about the jobs: they may hold what links people.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::executor::ExecutorError;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A pool that reports each share and then waits to be let on.
    fn gated(threads: usize, limits: Limits) -> (Pool<u32>, Receiver<Vec<u32>>, Sender<()>) {
        let (report, shares) = channel();
        let (gate, opened) = channel::<()>();
        let opened = Mutex::new(opened);
        let pool = Pool::spawn("gated", threads, limits, move |jobs| {
            report.send(jobs).expect("the test listens");
            // Closed for good is open, too.
            let _ = opened.lock().expect("the lock").recv();
        });
        (pool, shares, gate)
    }

    fn next(shares: &Receiver<Vec<u32>>) -> Vec<u32> {
        shares.recv_timeout(PATIENCE).expect("a share is worked on")
    }

    #[test]
    fn a_thread_takes_its_share_in_order_and_no_more_than_a_batch() {
        let (pool, shares, gate) = gated(2, Limits { queue: 64, batch: 4 });
        pool.hand_in([1]).expect("room");
        assert_eq!(next(&shares), [1]); // a lone job does not wait for company
        pool.hand_in([2]).expect("room");
        assert_eq!(next(&shares), [2]); // the other thread is free
        pool.hand_in(3..16).expect("room");
        for share in [&[3, 4, 5, 6][..], &[7, 8, 9, 10], &[11, 12, 13], &[14], &[15]] {
            gate.send(()).expect("a thread waits");
            assert_eq!(next(&shares), share);
        }
        drop(gate);
        assert_eq!(pool.stop(), Ok(()));
    }

    #[test]
    fn what_has_no_room_comes_back() {
        let (pool, shares, gate) = gated(1, Limits { queue: 2, batch: 8 });
        pool.hand_in([1]).expect("room");
        assert_eq!(next(&shares), [1]);
        let refused = pool.hand_in(2..6).expect_err("room for two");
        assert_eq!((refused.why, refused.jobs), (ExecutorError::Busy, vec![4, 5]));
        gate.send(()).expect("a thread waits");
        assert_eq!(next(&shares), [2, 3]);
        pool.hand_in([6]).expect("room again");
        drop(gate);
        assert_eq!(pool.stop(), Ok(()));
        assert_eq!(next(&shares), [6], "what was taken on is finished");
        let refused = pool.hand_in([7]).expect_err("stopped");
        assert_eq!((refused.why, refused.jobs), (ExecutorError::Stopped, vec![7]));
    }

    #[test]
    fn a_panic_drops_its_jobs_and_the_threads_go_on() {
        let pool = Pool::spawn("panics", 2, Limits { queue: 8, batch: 1 }, |jobs: Vec<(u32, Sender<u32>)>| {
            for (job, reply) in jobs {
                assert!(job % 2 == 0, "the worker panics on purpose");
                let _ = reply.send(job);
            }
        });
        for job in 0..40 {
            let (reply, result) = channel();
            pool.hand_in([(job, reply)]).expect("room");
            assert_eq!(result.recv_timeout(PATIENCE).ok(), (job % 2 == 0).then_some(job));
        }
        assert_eq!(pool.stop(), Ok(()));
        assert_eq!(pool.stop(), Ok(()));
    }

    #[test]
    fn the_last_handle_dropped_ends_the_threads_after_what_was_taken_on() {
        let (pool, shares, gate) = gated(2, Limits { queue: 8, batch: 1 });
        let clone = pool.clone();
        drop(pool);
        clone.hand_in(1..=4).expect("room");
        drop(clone);
        drop(gate);
        let mut done: Vec<_> = (0..4).flat_map(|_| next(&shares)).collect();
        done.sort_unstable();
        assert_eq!(done, [1, 2, 3, 4]);
        assert!(shares.recv_timeout(PATIENCE).is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn many_callers_get_each_job_done_once_with_the_smallest_limits() {
        let (done, results) = channel();
        let pool = Pool::spawn("counts", 0, Limits { queue: 0, batch: 0 }, move |jobs: Vec<u64>| {
            jobs.into_iter().for_each(|job| done.send(job).expect("the test listens"));
        });
        thread::scope(|scope| {
            for base in 0..8_u64 {
                let pool = pool.clone();
                scope.spawn(move || {
                    let mut jobs: Vec<u64> = (0..200).map(|n| base * 1_000 + n).collect();
                    while let Err(refused) = pool.hand_in(jobs) {
                        jobs = refused.jobs;
                        thread::yield_now();
                    }
                });
            }
        });
        assert_eq!(pool.stop(), Ok(()));
        let mut done: Vec<_> = results.try_iter().collect();
        done.sort_unstable();
        assert_eq!(done, (0..8).flat_map(|base| (0..200).map(move |n| base * 1_000 + n)).collect::<Vec<_>>());
    }
}
