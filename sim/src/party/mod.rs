//! The parties of the simulated world: each a process that can die, over a store that survives.

mod bank;
mod crook;
mod crooked_log;
mod log;
mod shop;
mod wallet;
mod watcher;

pub use bank::BankParty;
pub use crook::Crook;
pub use crooked_log::{CrookedLog, Face};
pub use log::{LogParty, PublicLog};
pub use shop::{GIVEN_BACK, GOODS, ShopParty, is_over};
pub use wallet::{WalletParty, Want};
pub use watcher::Watcher;

use std::collections::VecDeque;

use naulon_durable::fault::{Faults, When};
use naulon_wire::{Call, HttpRequest, HttpResponse, Problem};

use crate::fault::Fault;
use crate::network::Place;

/// What can die.
pub trait Mortal {
    /// Whether it is dead. It dies when its store does.
    fn is_dead(&mut self) -> bool;
    /// Whether it has died since this was last asked.
    fn has_died(&mut self) -> bool;
    /// How many writes its store has seen.
    fn writes(&self) -> u64;
}

/// A process over a store with these faults.
pub struct Process<P> {
    alive: Option<P>,
    unnoticed_death: bool,
    faults: Faults,
    crashes: VecDeque<(u64, When)>,
}

impl<P> Process<P> {
    /// A process that has not been started; of the faults it takes the crashes of this place, one a life.
    pub fn new(place: Place, faults: &[Fault], store: Faults) -> Self {
        let crash = |fault: &Fault| match fault {
            Fault::Crash(at, nth, when) if *at == place => Some((*nth, *when)),
            _ => None,
        };
        let crashes = faults.iter().filter_map(crash).collect();
        Process { alive: None, unnoticed_death: false, faults: store, crashes }
    }

    /// Starts the process, which may die at once.
    pub fn start<E>(&mut self, open: impl FnOnce() -> Result<P, E>) {
        self.faults.restart();
        if let Some((nth, when)) = self.crashes.pop_front() {
            self.faults.plan(nth, when);
        }
        self.alive = open().ok();
        self.unnoticed_death = self.alive.is_none();
        self.is_dead();
    }

    /// The process, if it lives.
    pub fn alive(&mut self) -> Option<&mut P> {
        self.is_dead();
        self.alive.as_mut()
    }

    /// Ends the process for good; what it was over goes with it.
    pub fn kill(&mut self) {
        self.alive = None;
        self.crashes.clear();
    }
}

impl<P> Mortal for Process<P> {
    fn is_dead(&mut self) -> bool {
        if self.faults.is_crashed() && self.alive.take().is_some() {
            self.unnoticed_death = true;
        }
        self.alive.is_none()
    }

    fn has_died(&mut self) -> bool {
        self.is_dead();
        std::mem::take(&mut self.unnoticed_death)
    }

    fn writes(&self) -> u64 {
        self.faults.writes()
    }
}

/// Answers a request as the HTTP front would.
fn respond<C: Call>(request: &HttpRequest, handle: impl FnOnce(C) -> Result<C::Reply, Problem>) -> HttpResponse {
    match C::from_http(request).and_then(handle) {
        Ok(reply) => C::reply_to_http(reply),
        Err(problem) => HttpResponse::problem(&problem),
    }
}
