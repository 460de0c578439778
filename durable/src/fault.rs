//! Crashes at every write point, for memory stores.
//!
//! A role's memory store puts each durable write into [`Faults::around`]. In production code nothing else changes; the
//! simulator keeps a clone of the handle, counts the writes of a run, and then runs it again once for each of them with
//! a crash before and one after.
//!
//! The two crashes are the two things a caller cannot tell apart, and between which it must be right in both cases:
//! - *before*: the write did not happen, and the process is gone;
//! - *after*: the write is durable, and the process is gone before it could tell anybody.
//!
//! ```
//! use naulon_durable::fault::{Faults, When};
//! use naulon_durable::StoreError;
//!
//! let mut spent = Vec::new(); // the store's disk
//! let faults = Faults::crash_at(2, When::After);
//! assert_eq!(faults.around(|| spent.push("serial 1")), Ok(()));
//! assert_eq!(faults.around(|| spent.push("serial 2")), Err(StoreError::Crashed)); // written, but nobody knows
//! assert_eq!(faults.around(|| spent.push("serial 3")), Err(StoreError::Crashed)); // a dead process writes nothing
//! faults.restart();
//! assert_eq!(spent, ["serial 1", "serial 2"]);
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::StoreError;

/// A handle on a memory store's faults. Clones share one count and one plan.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    writes: u64,
    plan: Option<(u64, When)>,
    crashed: bool,
}

/// On which side of the write the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The write does not happen.
    Before,
    /// The write happens and is durable; its caller never learns.
    After,
}

/// What a memory store does at one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum WriteFault {
    /// Write, and say so.
    None,
    /// Do not write; answer [`StoreError::Crashed`].
    CrashBefore,
    /// Write; answer [`StoreError::Crashed`] all the same.
    CrashAfter,
}

impl Faults {
    /// No faults: the store only counts its writes.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A crash at the `nth_write` from now, counted from 1. With 0 there is none.
    #[must_use]
    pub fn crash_at(nth_write: u64, when: When) -> Self {
        let faults = Self::none();
        faults.plan(nth_write, when);
        faults
    }

    /// Plans a crash at the `nth_write` from now (counted from 1), in place of what was planned before. So one run can
    /// crash a store again after [`restart`](Self::restart). With 0 there is none.
    pub fn plan(&self, nth_write: u64, when: When) {
        let mut state = self.lock();
        state.plan = Some((state.writes.saturating_add(nth_write), when));
    }

    /// Asks what is to happen at this write, and counts it. Every durable write of a memory store asks exactly once.
    ///
    /// After a crash each write is answered with [`WriteFault::CrashBefore`] and not counted, since the process is gone.
    pub fn at_write(&self) -> WriteFault {
        let mut state = self.lock();
        if state.crashed {
            return WriteFault::CrashBefore;
        }
        state.writes += 1;
        match state.plan {
            Some((nth, when)) if nth == state.writes => {
                state.crashed = true;
                match when {
                    When::Before => WriteFault::CrashBefore,
                    When::After => WriteFault::CrashAfter,
                }
            }
            _ => WriteFault::None,
        }
    }

    /// Does one durable write under these faults: the one line of a memory store.
    ///
    /// # Errors
    /// [`StoreError::Crashed`] when the process dies at this write or has died before; whether `apply` ran, the caller
    /// cannot tell.
    pub fn around<T>(&self, apply: impl FnOnce() -> T) -> Result<T, StoreError> {
        match self.at_write() {
            WriteFault::None => Ok(apply()),
            WriteFault::CrashBefore => Err(StoreError::Crashed),
            WriteFault::CrashAfter => {
                apply();
                Err(StoreError::Crashed)
            }
        }
    }

    /// How many writes there have been, the one at which the process died included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Whether the process is gone.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// The process is started again over the same store: writes work again, the count goes on.
    pub fn restart(&self) {
        self.lock().crashed = false;
    }

    /// No code panics under this lock, so a poisoned one still holds a sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries three writes under `faults`; gives what is on the disk and what the callers were told.
    fn three_writes(faults: &Faults) -> (Vec<u8>, Vec<bool>) {
        let mut disk = Vec::new();
        let told = (1..=3).map(|n| faults.around(|| disk.push(n)).is_ok()).collect();
        (disk, told)
    }

    #[test]
    fn without_faults_every_write_happens_and_is_counted() {
        let faults = Faults::none();
        assert_eq!(three_writes(&faults), (vec![1, 2, 3], vec![true, true, true]));
        assert_eq!(faults.writes(), 3);
        assert!(!faults.is_crashed());
    }

    #[test]
    fn a_crash_before_loses_the_write_and_all_later_ones() {
        let faults = Faults::crash_at(2, When::Before);
        assert_eq!(three_writes(&faults), (vec![1], vec![true, false, false]));
        assert_eq!(faults.writes(), 2);
        assert!(faults.is_crashed());
    }

    #[test]
    fn a_crash_after_keeps_the_write_but_tells_nobody() {
        let faults = Faults::crash_at(2, When::After);
        assert_eq!(three_writes(&faults), (vec![1, 2], vec![true, false, false]));
        assert!(faults.is_crashed());
    }

    #[test]
    fn a_restarted_store_writes_again_and_can_crash_again() {
        let faults = Faults::crash_at(1, When::Before);
        assert_eq!(three_writes(&faults), (vec![], vec![false, false, false]));
        faults.restart();
        assert_eq!(three_writes(&faults), (vec![1, 2, 3], vec![true, true, true]));
        faults.plan(1, When::After);
        assert_eq!(three_writes(&faults), (vec![1], vec![false, false, false]));
        assert_eq!(faults.writes(), 5);
    }

    #[test]
    fn clones_share_the_plan_and_zero_plans_nothing() {
        let faults = Faults::crash_at(0, When::Before);
        let of_the_simulator = faults.clone();
        assert_eq!(faults.at_write(), WriteFault::None);
        of_the_simulator.plan(1, When::After);
        assert_eq!(faults.at_write(), WriteFault::CrashAfter);
        assert!(of_the_simulator.is_crashed());
        assert_eq!(of_the_simulator.writes(), 2);
    }
}
