//! The witness behind HTTP: one thread owns the store, so requests for one log are answered one after another.

use std::time::{SystemTime, UNIX_EPOCH};

use naulon_durable::executor::{Executor, ExecutorError, Limits, WorkerDied};
use naulon_statement::Timestamp;
use naulon_wire::{Problem, Service, WitnessCall, WitnessReply};

use crate::store::WitnessStore;
use crate::witness::Witness;

/// How many calls may wait, and how many are taken at once.
pub const LIMITS: Limits = Limits { queue: 256, batch: 16 };

type Answer = Result<WitnessReply, Problem>;

/// A witness as a service. Clones are handles on the same witness.
#[derive(Clone)]
pub struct WitnessFront(Executor<WitnessCall, Answer>);

impl WitnessFront {
    /// Puts the witness on a thread of its own, with the system's clock.
    pub fn start<S: WitnessStore + 'static>(witness: Witness<S>) -> Self {
        Self::start_with(witness, LIMITS, system_time)
    }

    /// As [`start`](Self::start), with other limits and another clock.
    pub fn start_with<S: WitnessStore + 'static>(
        mut witness: Witness<S>,
        limits: Limits,
        clock: impl Fn() -> Timestamp + Send + 'static,
    ) -> Self {
        WitnessFront(Executor::spawn("witness-store", limits, move |calls: Vec<WitnessCall>| {
            calls.iter().map(|call| witness.handle(call, clock())).collect()
        }))
    }

    /// Takes no more calls, finishes those that queue, and gives the store up. It blocks until then.
    ///
    /// # Errors
    /// [`WorkerDied`] if the witness's thread had panicked.
    pub fn stop(&self) -> Result<(), WorkerDied> {
        self.0.stop()
    }
}

impl Service<WitnessCall> for WitnessFront {
    async fn call(&self, call: WitnessCall) -> Answer {
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
