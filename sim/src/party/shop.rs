//! A shop: answers buyers, and asks log and bank.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use naulon_durable::fault::Faults;
use naulon_exchange::EntryMode;
use naulon_money::Amount;
use naulon_purchase::{MerchantRules, SaleStep};
use naulon_shop::{MemoryGrants, MemoryShelf, MemoryStore, SaleId, Shelf, Shop, ShopKeys, ShopStore, Terms};
use naulon_statement::{Digest, Duration, PublicKey, Timestamp};
use naulon_wire::{AnyReply, Ask, CallError, HttpRequest, HttpResponse, ShopCall};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{BankParty, LogParty, Mortal, Process, respond};
use crate::asking::Asking;
use crate::check::ALL;
use crate::clock::Moment;
use crate::keys;
use crate::network::{AskId, Place};
use crate::run::Run;

/// What a shop asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Its account at a bank.
    Account(PublicKey),
    /// A sale.
    Sale(SaleId),
}

/// A shop, its store, its shelf, and its process.
pub struct ShopParty {
    number: usize,
    store: MemoryStore,
    shelf: MemoryShelf,
    two_sided: bool,
    banks: usize,
    /// The logs on its list.
    logs: Vec<usize>,
    process: Process<Shop<MemoryStore, MemoryShelf>>,
    asking: Asking<About>,
    /// The banks at which its account is open.
    accounts: BTreeSet<PublicKey>,
    grants: MemoryGrants,
    /// The sales of which the keeper has given something back.
    granted: BTreeSet<SaleId>,
}

/// What the simulated shops sell: id, plain goods, price in cents.
pub const GOODS: [(&str, &[u8], u64); 3] =
    [("poem", b"The fare is an obol, laid under the tongue.", 370), ("map", &[7; 70_000], 250), ("nothing", b"", 10)];

/// What the keeper gives back of a sale: no more than the cheapest goods cost.
pub const GIVEN_BACK: Amount = Amount::from_micros(100_000);

fn keys(number: usize) -> ShopKeys {
    let mut secret = [0; 64];
    secret[..32].copy_from_slice(&Digest::of(&[b"naulon/sim/shop", &[number as u8]]).0);
    secret[32..].copy_from_slice(&Digest::of(&[b"naulon/sim/shop goods", &[number as u8]]).0);
    ShopKeys::from_secret(&secret)
}

impl ShopParty {
    /// A shop with the simulated goods.
    pub fn new(number: usize, run: &Run) -> Self {
        let store = MemoryStore::new(Faults::none());
        let shelf = MemoryShelf::new(&keys(number).goods);
        for (item, plain, cents) in GOODS {
            shelf.add(item, item, "goods of the simulated shop", Amount::from_micros(cents * 10_000), plain);
        }
        let process = Process::new(Place::Shop(number), &run.faults, store.faults().clone());
        let (two_sided, banks, logs) = (run.two_sided, run.banks, run.trusted_logs());
        let (asking, accounts) = (Asking::new(), BTreeSet::new());
        let (grants, granted) = (MemoryGrants::default(), BTreeSet::new());
        ShopParty { number, store, shelf, two_sided, banks, logs, process, asking, accounts, grants, granted }
    }

    /// M: the shop's key.
    pub fn key(number: usize) -> PublicKey {
        static KEYS: LazyLock<[PublicKey; 2]> = LazyLock::new(|| [0, 1].map(|number| keys(number).merchant.public()));
        KEYS.get(number).copied().unwrap_or_else(|| keys(number).merchant.public())
    }

    /// The shop's private key, for a shop that cheats.
    pub fn secret(number: usize) -> naulon_statement::SecretKey {
        keys(number).merchant
    }

    /// Starts the process; what the one before had in flight is forgotten.
    pub fn start(&mut self) {
        let keys = keys(self.number);
        let rules = MerchantRules {
            merchant: keys.merchant.public(),
            banks: (0..self.banks).map(BankParty::key).collect(),
            logs: self.logs.iter().map(|log| LogParty::identity(*log)).map(|log| (log.key, log)).collect(),
            release_margin: Duration::seconds(10),
        };
        let terms = Terms {
            currency: keys::currency(),
            offer_valid_for: Duration::seconds(3_600),
            two_sided: self.two_sided,
            entries: EntryMode::ALL.to_vec(),
        };
        self.asking = Asking::new();
        let (shelf, store, grants) = (self.shelf.clone(), self.store.clone(), self.grants.clone());
        self.process.start(|| Shop::open(keys, rules, terms, shelf, store).map(|shop| shop.with_grants(grants)));
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process<Shop<MemoryStore, MemoryShelf>> {
        &mut self.process
    }

    /// Answers a request; a dead process does not.
    pub fn serve(&mut self, request: &HttpRequest, now: Timestamp, rng: &mut ChaCha8Rng) -> Option<HttpResponse> {
        let shop = self.process.alive()?;
        let response = respond::<ShopCall>(request, |call| shop.handle(call, now, &mut |bytes| rng.fill_bytes(bytes)));
        (!self.process.is_dead()).then_some(response)
    }

    /// What to send now.
    pub fn asks(&mut self, at: Moment, next_id: &mut AskId) -> Vec<(AskId, PublicKey, HttpRequest)> {
        for about in self.asking.overdue(at.steady) {
            self.answered(about, Err(CallError::Unreachable("it".to_owned(), "no answer".to_owned())), at);
        }
        let Some(shop) = self.process.alive() else { return Vec::new() };
        // What is under way is left out at once: each ask is signed anew.
        let openings = if self.accounts.len() < self.banks { shop.openings() } else { Vec::new() };
        let openings = openings.into_iter().filter(|ask| !self.accounts.contains(&ask.to));
        let is_busy = |sale: &SaleId| self.asking.is_busy(About::Sale(*sale));
        let sales = shop.asks_but(at.clock, usize::MAX, is_busy).into_iter();
        let sales = sales.map(|(sale, ask)| (About::Sale(sale), ask));
        let wanted: Vec<(About, Ask)> = openings.map(|ask| (About::Account(ask.to), ask)).chain(sales).collect();
        let mut sent = Vec::new();
        for (about, ask) in wanted {
            if self.asking.may_ask(about, ask.to, at.steady) {
                *next_id += 1;
                let to = ask.to;
                sent.push((*next_id, to, self.asking.send(*next_id, about, ask, at.steady)));
            }
        }
        sent
    }

    /// Takes a response.
    pub fn receive(&mut self, id: AskId, response: &HttpResponse, at: Moment) {
        if let Some((about, answer)) = self.asking.read(id, response) {
            self.answered(about, answer, at);
            self.asking.close(id);
        }
    }

    fn answered(&mut self, about: About, answer: Result<AnyReply, CallError>, at: Moment) {
        match about {
            About::Account(bank) if answer.is_ok() => {
                self.accounts.insert(bank);
            }
            About::Account(_) => {}
            About::Sale(sale) => {
                if let Some(shop) = self.process.alive() {
                    // A refusal is named in the answer to the shop's keeper; the sale is as before and asked about again.
                    let _ = shop.answered(sale, answer, at.clock);
                }
                self.give_back(sale);
            }
        }
    }

    /// Of every second sale that is paid the keeper gives a little back.
    fn give_back(&mut self, id: SaleId) {
        let sale = self.process.alive().and_then(|shop| shop.sale(&id).ok().flatten());
        let is_paid = |sale: &naulon_purchase::Sale| {
            sale.settled && sale.decision.as_ref().is_some_and(|decision| decision.decision().key().is_some())
        };
        if id.0[0].is_multiple_of(2) && sale.as_ref().is_some_and(is_paid) && self.granted.insert(id) {
            self.grants.grant(id, GIVEN_BACK);
        }
    }

    /// What may have been given back of its sales.
    pub fn granted(&self) -> &BTreeSet<SaleId> {
        &self.granted
    }

    /// Whether the shop has nothing left to do.
    pub fn is_done(&mut self) -> bool {
        self.accounts.len() == self.banks
            && self.asking.is_idle()
            && self.store.open_sales().is_ok_and(|open| open.is_empty())
    }

    /// Every sale, and whether it is over.
    pub fn sales(&self) -> Vec<(SaleId, naulon_purchase::Sale)> {
        self.store.newest_sales(usize::MAX).unwrap_or_default()
    }

    /// The encrypted goods of this digest, if they are this shop's.
    pub fn sealed(&self, goods: &Digest) -> Option<Vec<u8>> {
        self.shelf.read(goods, ALL).ok().map(|piece| piece.bytes.to_vec())
    }

    /// What the shop can show a judge.
    pub fn evidence(&mut self, sale: &SaleId) -> Option<naulon_purchase::Evidence> {
        self.process.alive()?.evidence(sale).ok().flatten()
    }
}

/// Whether a sale is settled at the bank.
pub fn is_over(sale: &naulon_purchase::Sale) -> bool {
    sale.next() == SaleStep::Done
}
