//! Processor time: of this thread, and of another process by the names of its threads.
//!
//! Time on the wall would count what other programs do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// What this thread has used so far.
pub fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What each thread of a process has used so far. A thread that ends takes its time along, so intervals are kept
/// shorter than the ten seconds after which idle threads end.
pub struct Usage(BTreeMap<u32, Thread>);

struct Thread {
    name: String,
    used: Duration,
    switches: u64,
}

impl Usage {
    /// Of the process with this id, now.
    pub fn of(process: u32) -> Result<Usage> {
        let tasks = PathBuf::from(format!("/proc/{process}/task"));
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(&tasks).with_context(|| tasks.display().to_string())? {
            let task = task?;
            let Some(id) = task.file_name().to_str().and_then(|id| id.parse().ok()) else { continue };
            // A thread may end between the listing and the reading.
            let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let (name, switches) = (name.trim_end().to_owned(), switches(&status));
            threads.insert(id, Thread { name, used: used(&task.path())?, switches });
        }
        Ok(Usage(threads))
    }

    /// What was used since then, by the name of the threads up to its last dash, as in `http-7`.
    pub fn since(&self, earlier: &Usage) -> BTreeMap<String, Duration> {
        let mut by_name: BTreeMap<String, Duration> = BTreeMap::new();
        for (id, thread) in &self.0 {
            let before = earlier.0.get(id).map(|earlier| earlier.used).unwrap_or_default();
            let group = match thread.name.rsplit_once('-') {
                Some((group, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => group,
                _ => thread.name.as_str(),
            };
            *by_name.entry(group.to_owned()).or_default() += thread.used.saturating_sub(before);
        }
        by_name
    }

    /// What all threads have used.
    pub fn all(&self) -> Duration {
        self.0.values().map(|thread| thread.used).sum()
    }

    /// How often a processor was given to one of the threads since then.
    pub fn switches_since(&self, earlier: &Usage) -> u64 {
        let before = |id| earlier.0.get(id).map(|thread| thread.switches).unwrap_or_default();
        self.0.iter().map(|(id, thread)| thread.switches.saturating_sub(before(id))).sum()
    }
}

/// The lines `voluntary_ctxt_switches: 1` and `nonvoluntary_ctxt_switches: 2`, added up.
fn switches(status: &str) -> u64 {
    let lines = status.lines().filter(|line| line.contains("voluntary_ctxt_switches:"));
    lines.filter_map(|line| line.rsplit(':').next()?.trim().parse::<u64>().ok()).sum()
}

/// The kernel's most exact account of a thread that there is: nanoseconds where it keeps them, else hundredths of a
/// second.
fn used(task: &Path) -> Result<Duration> {
    let read = |name: &str| fs::read_to_string(task.join(name)).ok();
    let exact = read("schedstat").as_deref().and_then(schedstat);
    let exact = exact.or_else(|| read("sched").as_deref().and_then(sched));
    match exact.or_else(|| read("stat").as_deref().and_then(stat)) {
        Some(used) => Ok(used),
        None => bail!("{} does not tell its processor time", task.display()),
    }
}

/// The first number: nanoseconds.
fn schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The line `se.sum_exec_runtime : 12.345678`, in milliseconds.
fn sched(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.starts_with("se.sum_exec_runtime"))?;
    let milliseconds: f64 = line.rsplit(':').next()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1e3).ok()
}

/// Fields 14 and 15, in hundredths of a second, which is what Linux shows whatever its own tick. The name, field 2, may
/// contain anything, so the fields are counted from its closing bracket.
fn stat(text: &str) -> Option<Duration> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks(14)? + ticks(15)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_three_accounts() {
        assert_eq!(schedstat("1234567 89 10\n"), Some(Duration::from_nanos(1_234_567)));
        let sched_text = "cat (9, #threads: 1)\n-----\nse.vruntime : 9.0\nse.sum_exec_runtime     :    12.500000\n";
        assert_eq!(sched(sched_text), Some(Duration::from_micros(12_500)));
        let stat_text = "9 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3 0 1 2 3\n";
        assert_eq!(stat(stat_text), Some(Duration::from_secs(2)));
        assert_eq!(switches("Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t30\n"), 42);
        for text in ["", "x", "1 (a) S"] {
            assert_eq!((sched(text), stat(text)), (None, None));
        }
    }

    #[test]
    fn threads_of_one_kind_are_added_up() {
        let thread = |name: &str, used| {
            let (name, switches) = (name.to_owned(), 10 * used);
            Thread { name, used: Duration::from_millis(used), switches }
        };
        let before = Usage([(1, thread("main", 5)), (2, thread("http-0", 10))].into());
        let after = [thread("main", 6), thread("http-0", 30), thread("http-1", 7), thread("bank-store", 4)];
        let after = Usage((1..).zip(after).collect());
        assert_eq!(after.switches_since(&before), 10 * (1 + 20 + 7 + 4));
        let since = after.since(&before);
        let expected = [("bank-store", 4), ("http", 27), ("main", 1)];
        assert_eq!(since, expected.map(|(name, used)| (name.to_owned(), Duration::from_millis(used))).into());
    }

    #[test]
    fn work_is_seen() {
        let (thread, process) = (of_this_thread(), Usage::of(std::process::id()).expect("Linux tells"));
        let mut sum = 0_u64;
        while of_this_thread() - thread < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        let since = Usage::of(std::process::id()).expect("Linux tells").since(&process);
        assert!(since.values().sum::<Duration>() >= Duration::from_millis(40), "{since:?}");
    }
}
