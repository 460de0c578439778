//! What is measured of threads that work in batches. The only label is the thread's name.

use std::time::Instant;

/// Does a batch of jobs, and measures how many they were, how long they took, and how many wait behind them.
pub(crate) fn batch<T>(thread: &str, jobs: usize, waiting: usize, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    let thread = thread.to_owned();
    metrics::histogram!("naulon_batch_seconds", "thread" => thread.clone()).record(began.elapsed());
    metrics::histogram!("naulon_batch_jobs", "thread" => thread.clone()).record(jobs as f64);
    metrics::gauge!("naulon_queue_jobs", "thread" => thread).set(waiting as f64);
    done
}
