//! The whole world: parties, and the network between them, until nothing is under way.

use std::collections::BTreeMap;

use naulon_statement::{PublicKey, Timestamp};
use naulon_wire::{HttpRequest, HttpResponse};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::cheat::{Cheat, Cheater};
use crate::clock::Moment;
use crate::fault::below;
use crate::keys::BEGINNING;
use crate::network::{AskId, Content, Event, Message, Network, Place};
use crate::party::{BankParty, Crook, LogParty, Mortal, ShopParty, WalletParty, Want, Watcher};
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

/// How long after the loss of a machine the wallet is restored, in milliseconds: when no message of it is on its way any more.
const LOST_FOR: u64 = 300_000;

/// The parties and the network between them.
pub struct World {
    pub(crate) network: Network,
    pub(crate) banks: Vec<BankParty>,
    pub(crate) logs: Vec<LogParty>,
    pub(crate) shops: Vec<ShopParty>,
    pub(crate) wallets: Vec<WalletParty>,
    pub(crate) watcher: Option<Watcher>,
    pub(crate) crook: Option<Crook>,
    pub(crate) cheater: Cheater,
    pub(crate) run: Run,
    rng: ChaCha8Rng,
    next_id: AskId,
    /// What has come in at each bank and waits for its group.
    inboxes: Vec<Vec<Message>>,
    glances: BTreeMap<Place, u64>,
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(run: Run, trace: bool) -> Self {
        let wallet = |(number, wants): (usize, &Vec<Want>)| WalletParty::new(number, wants.clone(), &run);
        let is_watched = run.watched || run.crooked_log().is_some();
        World {
            network: Network::new(BEGINNING, &run.faults),
            banks: (0..run.banks).map(|number| BankParty::new(number, &run)).collect(),
            logs: (0..run.logs).map(|number| LogParty::new(number, &run)).collect(),
            shops: (0..run.shops).map(|number| ShopParty::new(number, &run)).collect(),
            wallets: run.wants.iter().enumerate().map(wallet).collect(),
            watcher: is_watched.then(|| Watcher::new(run.logs)),
            crook: (run.cheat == Some(Cheat::OneTokenTwoBanks)).then(Crook::default),
            cheater: Cheater::default(),
            rng: ChaCha8Rng::seed_from_u64(run.seed),
            next_id: 0,
            inboxes: vec![Vec::new(); run.banks],
            glances: BTreeMap::new(),
            trace: trace.then(Vec::new),
            run,
        }
    }

    pub(crate) fn begin(&mut self) {
        for place in self.places() {
            self.introduce(place);
        }
        if let Some((wallet, at)) = self.run.loss {
            self.network.after(at, Event::Lose(wallet));
        }
    }

    /// Starts a party for the first time. From then on it looks again and again at what it has to do.
    fn introduce(&mut self, place: Place) {
        self.restart(place);
        if !matches!(place, Place::Log(_)) {
            self.network.after(1, Event::Wake(place));
        }
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        let banks = (0..self.banks.len()).map(Place::Bank);
        let logs = (0..self.logs.len()).map(Place::Log);
        let shops = (0..self.shops.len()).map(Place::Shop);
        let wallets = (0..self.wallets.len()).map(Place::Wallet);
        let watcher = self.watcher.as_ref().map(|_| Place::Watcher);
        banks.chain(logs).chain(shops).chain(wallets).chain(watcher).collect()
    }

    /// What a party's clock shows.
    pub(crate) fn clock(&self, place: Place) -> Timestamp {
        let clock = self.run.clocks.iter().find(|clock| clock.place == place);
        clock.map_or(self.network.now(), |clock| clock.shows(self.network.now(), self.passed()))
    }

    fn moment(&self, place: Place) -> Moment {
        Moment { clock: self.clock(place), steady: self.network.now() }
    }

    /// How many milliseconds have passed since the beginning.
    fn passed(&self) -> u64 {
        self.network.now().since(BEGINNING).0
    }

    /// Lets things happen until everybody has what they want and nothing is under way.
    pub(crate) fn until_quiet(&mut self) -> Result<(), String> {
        for _ in 0..MAX_EVENTS {
            let Some(event) = self.network.next() else { return Err("nothing happens any more".to_owned()) };
            match event {
                Event::Arrive(message) => self.arrive(message),
                Event::Restart(place) => self.restart(place),
                Event::Lose(wallet) => self.lose(wallet),
                Event::Group(bank) => self.group(bank),
                Event::Wake(place) => {
                    self.act(place);
                    if self.is_quiet() && self.is_over() {
                        return Ok(());
                    }
                    let glance = self.glances.entry(place).or_insert(GLANCE);
                    let again = *glance;
                    *glance = (again * 2).min(LONGEST_GLANCE);
                    self.network.after(again, Event::Wake(place));
                }
            }
        }
        let states: Vec<String> = (0..self.wallets.len())
            .map(|number| {
                let now = self.clock(Place::Wallet(number));
                self.wallets[number].describe(now)
            })
            .collect();
        Err(format!("it does not end: {}", states.join("; ")))
    }

    /// What is still to come when all is quiet; true if nothing is.
    fn is_over(&mut self) -> bool {
        if self.run.cheat == Some(Cheat::CopiedWallet) && self.wallets.len() == self.run.wants.len() {
            self.copy_wallet();
            return false;
        }
        if self.run.loss.is_some_and(|(_, at)| self.passed() <= at) {
            return false;
        }
        let now = self.network.now();
        match &mut self.crook {
            Some(crook) if crook.bought.is_none() => {
                let acted = crook.act(&mut self.banks, &mut self.shops[0], now, &mut self.rng).is_some();
                for place in self.places() {
                    self.bury(place);
                }
                // Whom nothing can be bought of is asked once; whoever is dead, again.
                acted && self.crook.as_ref().is_some_and(|crook| crook.bought.is_none())
            }
            _ => true,
        }
    }

    /// The machine of a wallet is gone. Its seed is put into another one later.
    fn lose(&mut self, wallet: usize) {
        self.note(|| format!("wallet {wallet} is lost"));
        self.wallets[wallet].lose();
        self.network.after(LOST_FOR, Event::Restart(Place::Wallet(wallet)));
    }

    fn is_lost_still(&self, place: Place) -> bool {
        let lost =
            |(wallet, at): (usize, u64)| place == Place::Wallet(wallet) && (at..at + LOST_FOR).contains(&self.passed());
        self.run.loss.is_some_and(lost)
    }

    /// Two machines with the same wallet: each buys, at the same time.
    fn copy_wallet(&mut self) {
        let number = self.wallets.len();
        let wants = vec![Want::Buy(0, "poem", false), Want::Buy(0, "map", false)];
        let copy = self.wallets[0].copy(number, wants.clone(), &self.run);
        self.wallets.push(copy);
        self.wallets[0].want(wants);
        self.introduce(Place::Wallet(number));
    }

    fn is_quiet(&mut self) -> bool {
        let all_alive = self.places().into_iter().all(|place| !self.is_dead(place));
        let mut wallets =
            (0..self.wallets.len()).map(|number| (number, self.clock(Place::Wallet(number)))).collect::<Vec<_>>();
        all_alive
            && wallets.drain(..).all(|(number, now)| self.wallets[number].is_done(now))
            // A shop whose own log never answers waits for ever.
            && (self.run.cheat == Some(Cheat::SilentOwnLog) || self.shops.iter_mut().all(ShopParty::is_done))
    }

    fn arrive(&mut self, message: Message) {
        self.note(|| format!("{} → {}: {}", message.from, message.to, summary(&message.content)));
        let at = self.moment(message.to);
        match &message.content {
            Content::Request(request) => {
                if self.cheater.ignores(self.run.cheat, &message, &request.path, self.passed()) {
                    return;
                }
                let response = match message.to {
                    Place::Bank(bank) => {
                        if self.inboxes[bank].is_empty() {
                            self.network.after(below(&mut self.rng, GATHERING), Event::Group(bank));
                        }
                        self.inboxes[bank].push(message);
                        return;
                    }
                    Place::Log(number) => {
                        // One that cheats looks at a good clock.
                        let now = if self.run.crooked_log() == Some(number) { at.steady } else { at.clock };
                        self.logs[number].serve(request, message.from, now)
                    }
                    Place::Shop(number) => self.shops[number].serve(request, at.clock, &mut self.rng),
                    Place::Wallet(_) | Place::Watcher => None,
                };
                if let Some(response) = response {
                    self.reply(&message, &request.path, response);
                }
            }
            Content::Response(response) => match message.to {
                Place::Shop(number) => self.shops[number].receive(message.ask, response, at),
                Place::Wallet(number) => {
                    self.wallets[number].receive(message.ask, response, at, &mut self.rng);
                    if std::mem::take(&mut self.wallets[number].sets_clock) {
                        self.run.clocks.retain(|clock| clock.place != message.to);
                    }
                }
                Place::Watcher => {
                    if let Some(watcher) = &mut self.watcher {
                        watcher.receive(message.ask, response);
                    }
                }
                Place::Bank(number) => self.banks[number].receive(message.ask, response, at),
                Place::Log(_) => {}
            },
        }
        self.glances.insert(message.to, GLANCE);
        self.bury(message.to);
        self.act(message.to);
    }

    /// A bank answers all that has come in.
    fn group(&mut self, bank: usize) {
        let inbox = std::mem::take(&mut self.inboxes[bank]);
        let request = |message: &Message| match &message.content {
            Content::Request(request) => Some(request.clone()),
            Content::Response(_) => None,
        };
        let requests: Vec<HttpRequest> = inbox.iter().filter_map(request).collect();
        self.note(|| {
            let paths = requests.iter().map(|request| request.path.as_str()).collect::<Vec<_>>();
            format!("bank {bank} takes up {paths:?}")
        });
        let now = self.clock(Place::Bank(bank));
        let responses = self.banks[bank].serve(&requests, now).unwrap_or_default();
        for ((message, request), response) in inbox.iter().zip(&requests).zip(responses) {
            self.reply(message, &request.path, response);
        }
        self.bury(Place::Bank(bank));
    }

    fn reply(&mut self, message: &Message, path: &str, response: HttpResponse) {
        if self.cheater.withholds(self.run.cheat, message, path, self.passed()) {
            return;
        }
        let response = self.cheater.falsify(self.run.cheat, message.to, response);
        let (from, to, ask) = (message.to, message.from, message.ask);
        self.network.send(Message { from, to, ask, content: Content::Response(response) }, &mut self.rng);
    }

    /// Sends what a party has to ask.
    fn act(&mut self, place: Place) {
        if self.is_lost_still(place) {
            return;
        }
        let at = self.moment(place);
        let sent = match place {
            Place::Bank(number) => self.banks[number].asks(at, &mut self.next_id),
            Place::Shop(number) => self.shops[number].asks(at, &mut self.next_id),
            Place::Wallet(number) => self.wallets[number].asks(at, &mut self.rng, &mut self.next_id),
            Place::Watcher => match &mut self.watcher {
                Some(watcher) => watcher.asks(at.steady, &mut self.rng, &mut self.next_id),
                None => Vec::new(),
            },
            Place::Log(_) => Vec::new(),
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
        let bank = (0..self.banks.len()).find(|number| BankParty::key(*number) == *key).map(Place::Bank);
        let log = || (0..self.logs.len()).find(|number| LogParty::identity(*number).key == *key).map(Place::Log);
        let shop = || (0..self.shops.len()).find(|number| ShopParty::key(*number) == *key).map(Place::Shop);
        bank.or_else(log).or_else(shop)
    }

    fn restart(&mut self, place: Place) {
        if self.is_lost_still(place) {
            return;
        }
        self.note(|| format!("{place} starts"));
        match place {
            Place::Bank(number) => self.banks[number].start(),
            Place::Log(number) => self.logs[number].start(),
            Place::Shop(number) => self.shops[number].start(),
            Place::Wallet(number) => self.wallets[number].start(),
            Place::Watcher => {}
        }
        self.bury(place);
    }

    /// Notices a death, and lets the party start again later.
    fn bury(&mut self, place: Place) {
        if self.process(place).is_some_and(Mortal::has_died) {
            self.note(|| format!("{place} dies"));
            self.network.after(DEAD_FOR, Event::Restart(place));
        }
    }

    fn is_dead(&mut self, place: Place) -> bool {
        self.process(place).is_some_and(Mortal::is_dead)
    }

    pub(crate) fn writes(&mut self, place: Place) -> u64 {
        self.process(place).map_or(0, |process| process.writes())
    }

    /// What of a party can die.
    fn process(&mut self, place: Place) -> Option<&mut dyn Mortal> {
        match place {
            Place::Bank(number) => Some(self.banks[number].process()),
            Place::Log(number) => self.logs[number].process(),
            Place::Shop(number) => Some(self.shops[number].process()),
            Place::Wallet(number) => Some(self.wallets[number].process()),
            Place::Watcher => None,
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
