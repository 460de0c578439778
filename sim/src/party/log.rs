//! A log.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use naulon_durable::fault::Faults;
use naulon_exchange::LogIdentity;
use naulon_log::{Log, LogKeys, LogStore, MemoryStore};
use naulon_purchase::LogRules;
use naulon_statement::{Digest, Duration, Timestamp};
use naulon_wire::{HttpRequest, HttpResponse, LogCall, LogReply};

use super::{BankParty, CrookedLog, Face, Mortal, Process, respond};
use crate::network::Place;
use crate::run::Run;
use crate::sabotage::{LogBooks, Sabotage};

/// A log: one that runs the program, or one that cheats.
pub struct LogParty {
    number: usize,
    banks: usize,
    sabotage: Option<Sabotage>,
    keeper: Keeper,
}

enum Keeper {
    Honest(MemoryStore, Box<Process<Log<LogBooks<MemoryStore>>>>),
    Crooked(Box<CrookedLog>),
}

/// What everybody may read of a log.
pub struct PublicLog {
    /// The newest checkpoint.
    pub checkpoint: String,
    /// All entries.
    pub entries: Vec<Vec<u8>>,
    /// Their bodies, as far as they are there.
    pub bodies: Vec<Option<Vec<u8>>>,
}

fn origin(number: usize) -> String {
    format!("sim.naulon/log{number}")
}

fn keys(number: usize) -> LogKeys {
    let mut secret = [0; 64];
    secret[..32].copy_from_slice(&Digest::of(&[b"naulon/sim/log statements", &[number as u8]]).0);
    secret[32..].copy_from_slice(&Digest::of(&[b"naulon/sim/log checkpoints", &[number as u8]]).0);
    match LogKeys::from_secret(&secret, &origin(number)) {
        Ok(keys) => keys,
        Err(never) => unreachable!("the simulated log's origin is a good one: {never}"),
    }
}

impl LogParty {
    /// A log that takes the headers of the simulated banks.
    pub fn new(number: usize, run: &Run) -> Self {
        let crime = run.cheat.filter(|_| run.crooked_log() == Some(number));
        let keeper = match crime {
            Some(crime) => Keeper::Crooked(Box::new(CrookedLog::new(crime, keys(number), rules(number, run.banks)))),
            None => {
                let store = MemoryStore::new(Faults::none());
                let process = Process::new(Place::Log(number), &run.faults, store.faults().clone());
                Keeper::Honest(store, Box::new(process))
            }
        };
        LogParty { number, banks: run.banks, sabotage: run.sabotage, keeper }
    }

    /// How others know a log.
    pub fn identity(number: usize) -> LogIdentity {
        static IDENTITIES: LazyLock<[LogIdentity; 2]> = LazyLock::new(|| {
            [0, 1].map(|number| {
                let keys = keys(number);
                LogIdentity { key: keys.statements.public(), checkpoints: keys.checkpoints.verifier().clone() }
            })
        });
        IDENTITIES[number.min(1)].clone()
    }

    /// Starts the process.
    pub fn start(&mut self) {
        let (number, banks, sabotage) = (self.number, self.banks, self.sabotage);
        if let Keeper::Honest(store, process) = &mut self.keeper {
            let store = LogBooks::new(store.clone(), sabotage);
            process.start(|| Log::open(keys(number), rules(number, banks), &origin(number), store));
        }
    }

    /// Its process, if it can die: one that cheats takes care not to.
    pub fn process(&mut self) -> Option<&mut dyn Mortal> {
        match &mut self.keeper {
            Keeper::Honest(_, process) => Some(&mut **process),
            Keeper::Crooked(_) => None,
        }
    }

    /// The log that cheats, if this is it.
    pub fn crooked(&self) -> Option<&CrookedLog> {
        match &self.keeper {
            Keeper::Honest(..) => None,
            Keeper::Crooked(log) => Some(log),
        }
    }

    /// Answers a request; a dead process does not.
    pub fn serve(&mut self, request: &HttpRequest, from: Place, now: Timestamp) -> Option<HttpResponse> {
        match &mut self.keeper {
            Keeper::Honest(_, process) => {
                let log = process.alive()?;
                let response = respond::<LogCall>(request, |call| log.handle(call, now));
                (!process.is_dead()).then_some(response)
            }
            Keeper::Crooked(log) => log.serve(request, Face::of(from), now),
        }
    }

    /// What everybody may read of it; none if it is dead.
    pub fn public(&mut self, now: Timestamp) -> Option<PublicLog> {
        match &mut self.keeper {
            Keeper::Honest(store, process) => {
                let reply = process.alive()?.handle(LogCall::Public("/checkpoint".to_owned()), now).ok()?;
                let LogReply::Public(note) = reply else { return None };
                let checkpoint = String::from_utf8(note.bytes.to_vec()).ok()?;
                let size = LogParty::identity(self.number).checkpoints.open(&checkpoint).ok()?.size;
                let entries = store.entries(0..size).ok()?.iter().map(|entry| entry.to_vec()).collect();
                let bodies = (0..size).map(|place| store.body(place).ok().flatten()).collect();
                Some(PublicLog { checkpoint, entries, bodies })
            }
            Keeper::Crooked(log) => Some(log.public()),
        }
    }
}

fn rules(number: usize, banks: usize) -> LogRules {
    let banks: BTreeSet<_> = (0..banks).map(BankParty::key).collect();
    LogRules::of(LogParty::identity(number).key, banks, Duration::days(30))
}
