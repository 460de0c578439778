//! Whether a log answers slowly. One slow answer says nothing: the network, the watcher's own machine or a flush of the disk
//! may have been it. Several in a row do.

use std::time::Duration;

/// So many slow answers in a row are a finding.
pub const SLOW_IN_A_ROW: usize = 3;

/// The last answers' times.
#[derive(Debug)]
pub struct Pace {
    limit: Duration,
    slow: Vec<Duration>,
}

impl Pace {
    /// An answer that takes longer than this is slow.
    pub fn new(limit: Duration) -> Self {
        Pace { limit, slow: Vec::new() }
    }

    /// Takes the time of one answer, or of giving up on it.
    pub fn take(&mut self, took: Duration) {
        if took <= self.limit {
            self.slow.clear();
        } else {
            self.slow.push(took);
        }
    }

    /// Whether the last answer was slow and it is not certain yet that the log is: then it should be asked again at once.
    pub fn is_in_doubt(&self) -> bool {
        (1..SLOW_IN_A_ROW).contains(&self.slow.len())
    }

    /// The times of the answers that were slow in a row, if they are enough; then it begins anew.
    pub fn finding(&mut self) -> Option<Vec<Duration>> {
        (self.slow.len() >= SLOW_IN_A_ROW).then(|| std::mem::take(&mut self.slow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_answer_is_no_alarm() {
        let mut pace = Pace::new(Duration::from_secs(2));
        let (fast, slow) = (Duration::from_secs(1), Duration::from_secs(3));
        for took in [slow, fast, slow, slow, fast, slow, slow] {
            pace.take(took);
            assert_eq!((pace.finding(), pace.is_in_doubt()), (None, took == slow));
        }
        pace.take(slow);
        assert_eq!(pace.finding(), Some(vec![slow; SLOW_IN_A_ROW]));
        assert_eq!(pace.finding(), None, "once");
    }
}
