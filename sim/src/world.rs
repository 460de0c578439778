//! The whole world: parties, and the network between them, until nothing is under way.

use std::collections::BTreeMap;

use naulon_statement::{PublicKey, Timestamp};
use naulon_wire::{HttpRequest, HttpResponse};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::cheat::{Cheat, Cheater};
use crate::fault::below;
use crate::keys::BEGINNING;
use crate::network::{AskId, Content, Event, Message, Network, Place};
use crate::party::{BankParty, LogParty, ShopParty, WalletParty, Want};
use crate::run::Run;

/// The most events that a run may take. An honest one with many faults takes some hundreds.
const MAX_EVENTS: u64 = 60_000;
/// How long a party is dead before it starts again, in milliseconds.
const DEAD_FOR: u64 = 1_500;
/// How soon a party looks again at what it has to do, in milliseconds; twice as late each time, until something comes in.
const GLANCE: u64 = 400;
const LONGEST_GLANCE: u64 = 10_000;
/// How long the bank gathers requests for one group at most, in milliseconds.
const GATHERING: u64 = 25;

/// The parties and the network between them.
pub struct World {
    pub(crate) network: Network,
    pub(crate) bank: BankParty,
    pub(crate) log: LogParty,
    pub(crate) shops: Vec<ShopParty>,
    pub(crate) wallets: Vec<WalletParty>,
    pub(crate) cheater: Cheater,
    pub(crate) run: Run,
    rng: ChaCha8Rng,
    next_id: AskId,
    /// What has come in at the bank and waits for its group.
    inbox: Vec<Message>,
    glances: BTreeMap<Place, u64>,
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(run: Run, trace: bool) -> Self {
        let faults = &run.faults;
        let two_sided = run.two_sided;
        let wallet =
            |(number, wants): (usize, &Vec<Want>)| WalletParty::new(number, run.shops, wants.clone(), run.mode, faults);
        World {
            network: Network::new(BEGINNING, faults),
            bank: BankParty::new(LogParty::identity(), faults, run.sabotage),
            log: LogParty::new(faults, run.sabotage),
            shops: (0..run.shops).map(|number| ShopParty::new(number, two_sided, faults)).collect(),
            wallets: run.wants.iter().enumerate().map(wallet).collect(),
            cheater: Cheater::default(),
            rng: ChaCha8Rng::seed_from_u64(run.seed),
            next_id: 0,
            inbox: Vec::new(),
            glances: BTreeMap::new(),
            trace: trace.then(Vec::new),
            run,
        }
    }

    pub(crate) fn begin(&mut self) {
        for place in self.places() {
            self.introduce(place);
        }
    }

    /// Starts a party for the first time. From then on it looks again and again at what it has to do.
    fn introduce(&mut self, place: Place) {
        self.restart(place);
        if matches!(place, Place::Shop(_) | Place::Wallet(_)) {
            self.network.after(1, Event::Wake(place));
        }
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        let shops = (0..self.shops.len()).map(Place::Shop);
        let wallets = (0..self.wallets.len()).map(Place::Wallet);
        [Place::Bank, Place::Log].into_iter().chain(shops).chain(wallets).collect()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.network.now()
    }

    /// Lets things happen until everybody has what they want and nothing is under way.
    pub(crate) fn until_quiet(&mut self) -> Result<(), String> {
        for _ in 0..MAX_EVENTS {
            let Some(event) = self.network.next() else { return Err("nothing happens any more".to_owned()) };
            match event {
                Event::Arrive(message) => self.arrive(message),
                Event::Restart(place) => self.restart(place),
                Event::Group => self.group(),
                Event::Wake(place) => {
                    self.act(place);
                    if self.is_quiet() {
                        if self.run.cheat != Some(Cheat::CopiedWallet) || self.wallets.len() > self.run.wants.len() {
                            return Ok(());
                        }
                        self.copy_wallet();
                    }
                    let glance = self.glances.entry(place).or_insert(GLANCE);
                    let again = *glance;
                    *glance = (again * 2).min(LONGEST_GLANCE);
                    self.network.after(again, Event::Wake(place));
                }
            }
        }
        let now = self.now();
        let states: Vec<String> = self.wallets.iter_mut().map(|wallet| wallet.describe(now)).collect();
        Err(format!("it does not end: {}", states.join("; ")))
    }

    /// Two machines with the same wallet: each buys, at the same time.
    fn copy_wallet(&mut self) {
        let number = self.wallets.len();
        let wants = vec![Want::Buy(0, "poem", false), Want::Buy(0, "map", false)];
        let copy = self.wallets[0].copy(number, wants.clone(), &self.run.faults);
        self.wallets.push(copy);
        self.wallets[0].want(wants);
        self.introduce(Place::Wallet(number));
    }

    fn is_quiet(&mut self) -> bool {
        let now = self.now();
        let all_alive = self.places().into_iter().all(|place| !self.is_dead(place));
        all_alive
            && self.wallets.iter_mut().all(|wallet| wallet.is_done(now))
            && self.shops.iter_mut().all(ShopParty::is_done)
    }

    fn arrive(&mut self, message: Message) {
        self.note(|| format!("{} → {}: {}", message.from, message.to, summary(&message.content)));
        let now = self.now();
        match &message.content {
            Content::Request(request) => {
                if self.cheater.ignores(self.run.cheat, &message, &request.path) {
                    return;
                }
                let response = match message.to {
                    Place::Bank => {
                        if self.inbox.is_empty() {
                            self.network.after(below(&mut self.rng, GATHERING), Event::Group);
                        }
                        self.inbox.push(message);
                        return;
                    }
                    Place::Log => self.log.serve(request, now),
                    Place::Shop(number) => self.shops[number].serve(request, now, &mut self.rng),
                    Place::Wallet(_) => None,
                };
                if let Some(response) = response {
                    self.reply(&message, response);
                }
            }
            Content::Response(response) => match message.to {
                Place::Shop(number) => self.shops[number].receive(message.ask, response, now),
                Place::Wallet(number) => self.wallets[number].receive(message.ask, response, now, &mut self.rng),
                Place::Bank | Place::Log => {}
            },
        }
        self.glances.insert(message.to, GLANCE);
        self.bury(message.to);
        self.act(message.to);
    }

    /// The bank answers all that has come in.
    fn group(&mut self) {
        let inbox = std::mem::take(&mut self.inbox);
        let request = |message: &Message| match &message.content {
            Content::Request(request) => Some(request.clone()),
            Content::Response(_) => None,
        };
        let requests: Vec<HttpRequest> = inbox.iter().filter_map(request).collect();
        self.note(|| {
            format!("bank takes up {:?}", requests.iter().map(|request| request.path.as_str()).collect::<Vec<_>>())
        });
        let responses = self.bank.serve(&requests, self.now()).unwrap_or_default();
        for (message, response) in inbox.iter().zip(responses) {
            self.reply(message, response);
        }
        self.bury(Place::Bank);
    }

    fn reply(&mut self, message: &Message, response: HttpResponse) {
        let response = self.cheater.falsify(self.run.cheat, message.to, response);
        let (from, to, ask) = (message.to, message.from, message.ask);
        self.network.send(Message { from, to, ask, content: Content::Response(response) }, &mut self.rng);
    }

    /// Sends what a party has to ask.
    fn act(&mut self, place: Place) {
        let now = self.now();
        let sent = match place {
            Place::Shop(number) => self.shops[number].asks(now, &mut self.next_id),
            Place::Wallet(number) => self.wallets[number].asks(now, &mut self.rng, &mut self.next_id),
            Place::Bank | Place::Log => Vec::new(),
        };
        self.bury(place);
        if self.is_dead(place) {
            // It died before it could send anything.
            return;
        }
        for (ask, to, request) in sent {
            if let Some(to) = self.place_of(&to) {
                let message = Message { from: place, to, ask, content: Content::Request(request) };
                self.network.send(message, &mut self.rng);
            }
        }
    }

    fn place_of(&self, key: &PublicKey) -> Option<Place> {
        if *key == BankParty::key() {
            return Some(Place::Bank);
        }
        if *key == LogParty::identity().key {
            return Some(Place::Log);
        }
        (0..self.shops.len()).find(|number| ShopParty::key(*number) == *key).map(Place::Shop)
    }

    fn restart(&mut self, place: Place) {
        self.note(|| format!("{place} starts"));
        match place {
            Place::Bank => self.bank.start(),
            Place::Log => self.log.start(),
            Place::Shop(number) => self.shops[number].start(),
            Place::Wallet(number) => self.wallets[number].start(),
        }
        self.bury(place);
    }

    /// Notices a death, and lets the party start again later.
    fn bury(&mut self, place: Place) {
        let died = match place {
            Place::Bank => self.bank.process().has_died(),
            Place::Log => self.log.process().has_died(),
            Place::Shop(number) => self.shops[number].process().has_died(),
            Place::Wallet(number) => self.wallets[number].process().has_died(),
        };
        if died {
            self.note(|| format!("{place} dies"));
            self.network.after(DEAD_FOR, Event::Restart(place));
        }
    }

    fn is_dead(&mut self, place: Place) -> bool {
        match place {
            Place::Bank => self.bank.process().is_dead(),
            Place::Log => self.log.process().is_dead(),
            Place::Shop(number) => self.shops[number].process().is_dead(),
            Place::Wallet(number) => self.wallets[number].process().is_dead(),
        }
    }

    pub(crate) fn writes(&mut self, place: Place) -> u64 {
        match place {
            Place::Bank => self.bank.process().writes(),
            Place::Log => self.log.process().writes(),
            Place::Shop(number) => self.shops[number].process().writes(),
            Place::Wallet(number) => self.wallets[number].process().writes(),
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.network.now();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9} ms  {}", now.0 - BEGINNING.0, line()));
        }
    }
}

fn summary(content: &Content) -> String {
    match content {
        Content::Request(request) => format!("{:?} {}", request.method, request.path),
        Content::Response(response) => {
            let problem = response.as_problem().map(|problem| problem.code).unwrap_or_default();
            format!("{} {problem} ({} bytes)", response.status, response.body.len())
        }
    }
}
