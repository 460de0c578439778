//! The outsider who watches the logs: measures how soon they answer, and leaves marks in their trees.
//!
//! A mark is the statement that nothing came under a random index before an instant that is over: everybody may ask a log for
//! one, and has to get it at once. It shows that the log decides, not only that it serves files; and its time stands in the
//! tree, so that nothing can be entered behind it with an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use naulon_statement::{Duration, PublicKey, Timestamp};
use naulon_wire::{AnyCall, Ask, Circuit, HttpRequest, HttpResponse, LogCall};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::LogParty;
use crate::asking::Asking;
use crate::network::AskId;

/// How often a log is asked.
const EVERY: Duration = Duration::seconds(15);
/// How long ago what is asked about was over: longer than any clock of the simulation is off.
const PAST: Duration = Duration::seconds(3_600);
/// So many answers in a row that do not come in time are a finding.
const SLOW_IN_A_ROW: u32 = 3;

/// The outsider.
pub struct Watcher {
    logs: usize,
    asking: Asking<usize>,
    asked: BTreeMap<usize, Timestamp>,
    slow_in_a_row: BTreeMap<usize, u32>,
    slow: BTreeSet<usize>,
}

impl Watcher {
    /// Somebody who watches this many logs.
    pub fn new(logs: usize) -> Self {
        let (asking, asked) = (Asking::new(), BTreeMap::new());
        Watcher { logs, asking, asked, slow_in_a_row: BTreeMap::new(), slow: BTreeSet::new() }
    }

    /// The logs that were found to be slow.
    pub fn slow(&self) -> &BTreeSet<usize> {
        &self.slow
    }

    /// What to send now.
    pub fn asks(
        &mut self,
        now: Timestamp,
        rng: &mut ChaCha8Rng,
        next_id: &mut AskId,
    ) -> Vec<(AskId, PublicKey, HttpRequest)> {
        for log in self.asking.overdue(now) {
            let slow = self.slow_in_a_row.entry(log).or_default();
            *slow += 1;
            if *slow >= SLOW_IN_A_ROW {
                self.slow.insert(log);
            }
        }
        let mut sent = Vec::new();
        for log in 0..self.logs {
            let is_due = self.asked.get(&log).is_none_or(|asked| now >= asked.plus(EVERY));
            if !is_due || self.asking.is_busy(log) {
                continue;
            }
            let mut index = [0; 32];
            rng.fill_bytes(&mut index);
            let call = AnyCall::Log(LogCall::BlindAbort { index: PublicKey(index), expiry: now.minus(PAST) });
            let (to, circuit) = (LogParty::identity(log).key, Circuit::Anonymous(rng.next_u64()));
            *next_id += 1;
            sent.push((*next_id, to, self.asking.send(*next_id, log, Ask { to, circuit, call }, now)));
            self.asked.insert(log, now);
        }
        sent
    }

    /// Takes a response: whatever it says, the log has answered in time.
    pub fn receive(&mut self, id: AskId, response: &HttpResponse) {
        if let Some((log, _)) = self.asking.read(id, response) {
            self.slow_in_a_row.remove(&log);
            self.asking.close(id);
        }
    }
}
