//! A person with a wallet: wants things one after the other, and tries again after a crash.

use std::collections::BTreeSet;

use naulon_durable::fault::Faults;
use naulon_exchange::EntryMode;
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, PublicKey, Timestamp};
use naulon_tlog::WitnessPolicy;
use naulon_wallet::{
    BuyOptions, DepositAmount, Entry, Keys, MemoryGoods, MemoryStore, OperationId, Peers, PinnedBank, Seed, TokenEntry,
    Wallet, WalletError,
};
use naulon_wire::{
    AnyCall, AnyReply, Ask, BankCall, BankReply, CallError, Circuit, HttpRequest, HttpResponse, ShopCall, ShopReply,
};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{BankParty, LogParty, Process, ShopParty};
use crate::asking::Asking;
use crate::fault::{Fault, below};
use crate::keys;
use crate::network::{AskId, Place};

/// How long the simulated purchases lock.
pub const LOCK: Duration = Duration::seconds(120);

/// What a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Open an account, and have money paid in.
    OpenAccount(Amount),
    /// Take tokens out.
    Withdraw(Amount),
    /// Buy an item of a shop, two-sided or not.
    Buy(usize, &'static str, bool),
    /// Exchange all tokens for fresh ones.
    Refresh,
    /// Deposit this much.
    Deposit(Amount),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Description,
    Credit,
    Offer(usize),
    Operation(OperationId),
}

/// A person, the wallet's store, and the process.
pub struct WalletParty {
    number: usize,
    seed: usize,
    shops: usize,
    store: MemoryStore,
    goods: MemoryGoods,
    process: Process<Wallet<MemoryStore>>,
    asking: Asking<About>,
    wants: Vec<Want>,
    /// How purchases stand in the log; at random if nothing is said.
    mode: Option<EntryMode>,
    /// Which want the person is at.
    at: usize,
    /// The operations that existed before the person last pressed the button.
    known: BTreeSet<OperationId>,
    /// The operations of the wallet that this one is a copy of.
    inherited: BTreeSet<OperationId>,
    /// The operation of the current want, once it is known to exist.
    current: Option<OperationId>,
    /// The wallet has been started again: whether the last press of the button began anything has to be looked up.
    unsure: bool,
    credited: bool,
    /// Wants that the wallet refused by name, such as for lack of money.
    pub refused: Vec<(Want, WalletError)>,
}

impl WalletParty {
    /// A person with an empty wallet, who wants these things.
    pub fn new(number: usize, shops: usize, wants: Vec<Want>, mode: Option<EntryMode>, faults: &[Fault]) -> Self {
        let store = MemoryStore::new(Faults::none());
        WalletParty { mode, ..Self::over(number, number, shops, store, wants, faults) }
    }

    /// A copy of this wallet's store on another machine, whose person wants these things.
    pub fn copy(&self, number: usize, wants: Vec<Want>, faults: &[Fault]) -> Self {
        let mut copy = Self::over(number, self.seed, self.shops, self.store.copy(Faults::none()), wants, faults);
        copy.mode = self.mode;
        copy.credited = true;
        copy.known = self.known.clone();
        copy.inherited = self.known.clone();
        copy
    }

    fn over(number: usize, seed: usize, shops: usize, store: MemoryStore, wants: Vec<Want>, faults: &[Fault]) -> Self {
        let process = Process::new(Place::Wallet(number), faults, store.faults().clone());
        let goods = MemoryGoods::new(store.faults().clone());
        let (asking, known, inherited) = (Asking::new(), BTreeSet::new(), BTreeSet::new());
        let (at, current, unsure, credited, refused) = (0, None, false, false, Vec::new());
        WalletParty {
            number,
            seed,
            shops,
            store,
            goods,
            process,
            asking,
            wants,
            mode: None,
            at,
            known,
            inherited,
            current,
            unsure,
            credited,
            refused,
        }
    }

    /// The person wants more.
    pub fn want(&mut self, more: Vec<Want>) {
        self.wants.extend(more);
    }

    /// Starts the process; a wallet that does not exist yet is created.
    pub fn start(&mut self) {
        let bank = PinnedBank::new(BankParty::identity(), WitnessPolicy::unwitnessed());
        let peers = Peers::new([bank], [LogParty::identity()], (0..self.shops).map(ShopParty::key));
        let mut seed = [0; 64];
        seed[..32].copy_from_slice(&Digest::of(&[b"naulon/sim/wallet", &[self.seed as u8]]).0);
        let (store, goods) = (self.store.clone(), self.goods.clone());
        self.asking = Asking::new();
        self.unsure = true;
        self.process.start(|| {
            let opened = match Wallet::open(store.clone(), peers.clone(), goods.clone()) {
                Err(WalletError::NoWallet) => Wallet::create(store, &Seed::from_bytes(seed), peers, goods),
                opened => opened,
            };
            opened.map(|mut wallet| {
                wallet.blind_by(keys::blinding());
                wallet
            })
        });
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process<Wallet<MemoryStore>> {
        &mut self.process
    }

    /// Whether the person has everything, or knows that it is not to be had, and nothing is under way.
    pub fn is_done(&mut self, now: Timestamp) -> bool {
        let wanting = self.at < self.wants.len();
        let working = self.process.alive().is_none_or(|wallet| !wallet.under_way(now).is_empty());
        !wanting && !working && self.asking.is_idle()
    }

    /// What to send now.
    pub fn asks(
        &mut self,
        now: Timestamp,
        rng: &mut ChaCha8Rng,
        next_id: &mut AskId,
    ) -> Vec<(AskId, PublicKey, HttpRequest)> {
        for about in self.asking.overdue(now) {
            self.answered(about, Err(CallError::Unreachable("it".to_owned(), "no answer".to_owned())), now, rng);
        }
        let mut wanted = self.go_on(now, rng);
        let Some(wallet) = self.process.alive() else { return Vec::new() };
        let asks = wallet.asks(now).unwrap_or_default();
        wanted.extend(asks.into_iter().map(|(operation, ask)| (About::Operation(operation), ask)));
        let mut sent = Vec::new();
        for (about, ask) in wanted {
            if self.asking.may_ask(about, ask.to, now) {
                *next_id += 1;
                let to = ask.to;
                sent.push((*next_id, to, self.asking.send(*next_id, about, ask, now)));
            }
        }
        sent
    }

    /// Takes a response.
    pub fn receive(&mut self, id: AskId, response: &HttpResponse, now: Timestamp, rng: &mut ChaCha8Rng) {
        if let Some((about, answer)) = self.asking.read(id, response) {
            self.answered(about, answer, now, rng);
            self.asking.close(id);
        }
    }

    /// What the person does about the current want, and what has to be asked for it.
    fn go_on(&mut self, now: Timestamp, rng: &mut ChaCha8Rng) -> Vec<(About, Ask)> {
        self.notice(now);
        if self.current.is_some() || self.process.is_dead() {
            return Vec::new();
        }
        let Some(want) = self.wants.get(self.at).cloned() else { return Vec::new() };
        let bank = BankParty::key();
        let anonymous = Circuit::Anonymous(rng.next_u64());
        match want {
            Want::OpenAccount(amount) => {
                let mut asks = vec![];
                if self.credited {
                    self.at += 1;
                } else if let Some(account) = self.opened_account(now) {
                    let credit = BankParty::credit(account, amount).into();
                    let call = AnyCall::Bank(BankCall::Exchange(credit));
                    asks.push((About::Credit, Ask { to: bank, circuit: Circuit::Identified(account), call }));
                }
                asks
            }
            Want::Buy(shop, item, _) => {
                let call = AnyCall::Shop(ShopCall::Offer { item: item.to_owned() });
                vec![(About::Offer(shop), Ask { to: ShopParty::key(shop), circuit: anonymous, call })]
            }
            Want::Withdraw(_) | Want::Refresh | Want::Deposit(_) => {
                self.press(now, rng);
                let call = AnyCall::Bank(BankCall::Describe);
                let knows = self.process.alive().is_some_and(|wallet| wallet.terms(&bank).is_some());
                let describe = (About::Description, Ask { to: bank, circuit: anonymous, call });
                if knows { Vec::new() } else { vec![describe] }
            }
        }
    }

    /// Looks which operation the last press of the button began, and whether it has ended.
    fn notice(&mut self, now: Timestamp) -> Option<()> {
        let wallet = self.process.alive()?;
        if self.unsure && self.current.is_none() {
            let history = wallet.history(now).ok()?;
            self.current = history.iter().map(|entry| entry.id).find(|id| !self.known.contains(id));
            self.unsure = false;
        }
        let current = self.current?;
        let ended = wallet.operation(current, now).ok()??.ended.is_some();
        if ended {
            self.known.insert(current);
            self.current = None;
            // The account's opening is followed by the credit, which is no operation of the wallet.
            if !matches!(self.wants.get(self.at), Some(Want::OpenAccount(_))) {
                self.at += 1;
            }
        }
        None
    }

    fn opened_account(&mut self, now: Timestamp) -> Option<PublicKey> {
        let bank = BankParty::key();
        let wallet = self.process.alive()?;
        if !self.known.is_empty() {
            return Some(wallet.account(&bank));
        }
        match wallet.open_account(bank, now) {
            Ok(operation) => self.current = Some(operation),
            Err(_) => self.unsure = true,
        }
        None
    }

    /// Presses the button of a want that is about the bank alone.
    fn press(&mut self, now: Timestamp, rng: &mut ChaCha8Rng) {
        let bank = BankParty::key();
        let entropy = entropy(rng);
        let Some(want) = self.wants.get(self.at).cloned() else { return };
        let Some(wallet) = self.process.alive().filter(|wallet| wallet.terms(&bank).is_some()) else { return };
        // Some wallets share a key among tokens (AAT §8.1), and some keep remainders (§8.3).
        let keys = if entropy[0].is_multiple_of(3) { Keys::Shared } else { Keys::Own };
        let begun = match &want {
            Want::Withdraw(amount) => wallet.withdraw_with(bank, *amount, keys, now, &entropy),
            Want::Refresh => wallet.refresh_with(bank, keys, now, &entropy),
            Want::Deposit(amount) => wallet.deposit(bank, DepositAmount::Exactly(*amount), now, &entropy),
            Want::OpenAccount(_) | Want::Buy(..) => return,
        };
        self.begun(want, begun);
    }

    fn begun(&mut self, want: Want, begun: Result<OperationId, WalletError>) {
        match begun {
            Ok(operation) => self.current = Some(operation),
            // After a crash the person looks whether the operation is there.
            Err(WalletError::Store(_) | WalletError::Reopen) => self.unsure = true,
            Err(refusal) => {
                self.refused.push((want, refusal));
                self.at += 1;
            }
        }
    }

    fn answered(&mut self, about: About, answer: Result<AnyReply, CallError>, now: Timestamp, rng: &mut ChaCha8Rng) {
        let entropy = entropy(rng);
        match (about, answer) {
            (About::Operation(operation), answer) => {
                if let Some(wallet) = self.process.alive() {
                    // What the wallet does not take, it asks for again; after a crash there is nobody to take it.
                    let _ = wallet.answered(operation, answer, now, &entropy);
                }
            }
            (About::Description, Ok(AnyReply::Bank(BankReply::Description(description)))) => {
                if let Some(wallet) = self.process.alive() {
                    let _ = wallet.accept_description(description, now);
                }
            }
            (About::Credit, Ok(_)) => self.credited = true,
            (About::Offer(shop), Ok(AnyReply::Shop(ShopReply::Offer(offer)))) => {
                let Some(want @ Want::Buy(wanted, item, two_sided)) = self.wants.get(self.at).cloned() else { return };
                // A doubled answer comes when the person is at something else already.
                let fits = wanted == shop && self.current.is_none() && offer.claimed_body().contract.title == item;
                if let Some(wallet) = self.process.alive().filter(|_| fits) {
                    let options = BuyOptions {
                        two_sided,
                        expiry: LOCK,
                        keep_remainder: entropy[0].is_multiple_of(3),
                        entries: Some(self.mode.unwrap_or(EntryMode::ALL[below(rng, 3) as usize])),
                        ..BuyOptions::default()
                    };
                    let begun = wallet.buy(*offer, options, now, &entropy);
                    self.begun(want, begun);
                }
            }
            _ => {}
        }
    }

    /// All operations that were begun here.
    pub fn history(&mut self, now: Timestamp) -> Vec<Entry> {
        let mut history = self.process.alive().and_then(|wallet| wallet.history(now).ok()).unwrap_or_default();
        history.retain(|entry| !self.inherited.contains(&entry.id));
        history
    }

    /// All tokens.
    pub fn tokens(&mut self) -> Vec<TokenEntry> {
        self.process.alive().map(|wallet| wallet.tokens()).unwrap_or_default()
    }

    /// What the wallet can show a judge.
    pub fn evidence(&mut self, operation: OperationId) -> Option<naulon_purchase::Evidence> {
        self.process.alive()?.evidence(operation).ok()
    }

    /// The goods that were bought, by place.
    pub fn goods(&self) -> &MemoryGoods {
        &self.goods
    }

    /// Which wallet this is.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How far the person is, for the report of a run that does not end.
    pub fn describe(&mut self, now: Timestamp) -> String {
        let under_way = self.process.alive().map(|wallet| wallet.under_way(now));
        format!("wallet {}: at {:?}, current {:?}, {under_way:?}", self.number, self.wants.get(self.at), self.current)
    }
}

fn entropy(rng: &mut ChaCha8Rng) -> [u8; 32] {
    let mut entropy = [0; 32];
    rng.fill_bytes(&mut entropy);
    entropy
}
