//! The log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use naulon_durable::fault::Faults;
use naulon_exchange::{LogDecision, LogIdentity};
use naulon_log::{Log, LogKeys, LogStore, MemoryStore};
use naulon_purchase::LogRules;
use naulon_statement::{Digest, Duration, Timestamp, Unverified};
use naulon_wire::{HttpRequest, HttpResponse, LogCall};

use super::{BankParty, Process, respond};
use crate::fault::Fault;
use crate::network::Place;
use crate::sabotage::{LogBooks, Sabotage};

const ORIGIN: &str = "sim.naulon/log";

/// The log, its store, and its process.
pub struct LogParty {
    store: MemoryStore,
    sabotage: Option<Sabotage>,
    process: Process<Log<LogBooks<MemoryStore>>>,
}

fn keys() -> LogKeys {
    let mut secret = [0; 64];
    secret[..32].copy_from_slice(&Digest::of(&[b"naulon/sim/log statements"]).0);
    secret[32..].copy_from_slice(&Digest::of(&[b"naulon/sim/log checkpoints"]).0);
    match LogKeys::from_secret(&secret, ORIGIN) {
        Ok(keys) => keys,
        Err(never) => unreachable!("the simulated log's origin is a good one: {never}"),
    }
}

impl LogParty {
    /// A log that takes the headers of the simulated bank.
    pub fn new(faults: &[Fault], sabotage: Option<Sabotage>) -> Self {
        let store = MemoryStore::new(Faults::none());
        let process = Process::new(Place::Log, faults, store.faults().clone());
        LogParty { store, sabotage, process }
    }

    /// How others know the log.
    pub fn identity() -> LogIdentity {
        static IDENTITY: LazyLock<LogIdentity> = LazyLock::new(|| {
            let keys = keys();
            LogIdentity { key: keys.statements.public(), checkpoints: keys.checkpoints.verifier().clone() }
        });
        IDENTITY.clone()
    }

    /// Starts the process.
    pub fn start(&mut self) {
        let keys = keys();
        let banks = BTreeSet::from([BankParty::key()]);
        let rules = LogRules::of(keys.statements.public(), banks, Duration::days(30));
        let store = LogBooks::new(self.store.clone(), self.sabotage);
        self.process.start(|| Log::open(keys, rules, ORIGIN, store));
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process<Log<LogBooks<MemoryStore>>> {
        &mut self.process
    }

    /// Answers a request; a dead process does not.
    pub fn serve(&mut self, request: &HttpRequest, now: Timestamp) -> Option<HttpResponse> {
        let log = self.process.alive()?;
        let response = respond::<LogCall>(request, |call| log.handle(call, now));
        (!self.process.is_dead()).then_some(response)
    }

    /// Every decision that the log has published, by the index in its entry; those that not everybody reads are none.
    pub fn published(&self) -> BTreeMap<Digest, Vec<Option<LogDecision>>> {
        let mut published: BTreeMap<Digest, Vec<Option<LogDecision>>> = BTreeMap::new();
        let entries = (0u64..).map_while(|index| self.store.entries(index..index + 1).ok()?.pop());
        for (place, entry) in (0..).zip(entries) {
            let body = self.store.body(place).ok().flatten();
            let decision = body.and_then(|body| Unverified::<LogDecision>::parse(&body).ok());
            let decision = decision.map(|decision| decision.claimed_body().clone());
            let index = entry[8..40].try_into().map(Digest).unwrap_or(Digest([0; 32]));
            published.entry(index).or_default().push(decision);
        }
        published
    }
}
