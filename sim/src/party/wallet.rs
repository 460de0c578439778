//! A person with a wallet: wants things one after the other, tries again after a crash, and may lose the machine.

use std::collections::{BTreeMap, BTreeSet};

use naulon_durable::fault::Faults;
use naulon_exchange::{Carrier, EntryMode};
use naulon_money::Amount;
use naulon_purchase::Ending;
use naulon_statement::{Digest, Duration, PublicKey, Timestamp};
use naulon_tlog::WitnessPolicy;
use naulon_wallet::{
    BuyOptions, DepositAmount, Entry, Keys, MemoryGoods, MemoryStore, OperationId, Peers, PinnedBank, Question,
    Restored, Seed, TokenEntry, TokenState, Wallet, WalletError,
};
use naulon_wire::{
    AnyCall, AnyReply, Ask, BankCall, BankReply, CallError, Circuit, HttpRequest, HttpResponse, ShopCall, ShopReply,
};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{BankParty, LogParty, Mortal, Process, ShopParty};
use crate::asking::Asking;
use crate::clock::Moment;
use crate::fault::below;
use crate::keys;
use crate::network::{AskId, Place};
use crate::run::Run;

/// How long the simulated purchases lock.
pub const LOCK: Duration = Duration::seconds(120);
/// How many unknown indices in a row end the search of a restored wallet: the fewest that a wallet allows.
const GAP: u32 = 41;

/// What a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Open an account at a bank, and have money paid in.
    OpenAccount(usize, Amount),
    /// Take tokens out of a bank.
    Withdraw(usize, Amount),
    /// Buy an item of a shop, two-sided or not.
    Buy(usize, &'static str, bool),
    /// Exchange all tokens of a bank for fresh ones.
    Refresh(usize),
    /// Deposit this much at a bank.
    Deposit(usize, Amount),
    /// Take what the shop gives back of what was bought last.
    Refund,
}

impl Want {
    /// The bank that it is about alone.
    fn bank(&self) -> Option<usize> {
        match self {
            Want::OpenAccount(bank, _) | Want::Withdraw(bank, _) | Want::Refresh(bank) | Want::Deposit(bank, _) => {
                Some(*bank)
            }
            Want::Buy(..) | Want::Refund => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Description(usize),
    Credit(usize),
    Offer(usize),
    Question,
    Operation(OperationId),
}

/// A person, the wallet's store, and the process.
pub struct WalletParty {
    number: usize,
    seed: usize,
    peers: Peers,
    banks: usize,
    logs: usize,
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
    /// The banks at which the account is open, and whether money has come in.
    accounts: BTreeMap<usize, bool>,
    /// The banks whose description the process has taken since it was started: one that died over it may have half of it.
    described: BTreeSet<usize>,
    /// The machine is lost, and the seed alone is left.
    is_lost: bool,
    /// The question of a restoration that is under way.
    question: Option<Question>,
    /// The person has been told that the clock is wrong, and sets it.
    pub sets_clock: bool,
    /// What a restoration came to.
    pub restored: Option<Restored>,
    /// Wants that the wallet refused by name, such as for lack of money.
    pub refused: Vec<(Want, WalletError)>,
    /// How often the wallet refused a log that is not on the shop's list.
    pub logs_refused: u64,
}

impl WalletParty {
    /// A person with an empty wallet, who wants these things.
    pub fn new(number: usize, wants: Vec<Want>, run: &Run) -> Self {
        Self::over(number, number, MemoryStore::new(Faults::none()), wants, run)
    }

    /// A copy of this wallet's store on another machine, whose person wants these things.
    pub fn copy(&self, number: usize, wants: Vec<Want>, run: &Run) -> Self {
        let copy = Self::over(number, self.seed, self.store.copy(Faults::none()), wants, run);
        let (known, accounts) = (self.known.clone(), self.accounts.clone());
        WalletParty { inherited: known.clone(), known, accounts, ..copy }
    }

    fn over(number: usize, seed: usize, store: MemoryStore, wants: Vec<Want>, run: &Run) -> Self {
        let process = Process::new(Place::Wallet(number), &run.faults, store.faults().clone());
        let pinned = |bank| PinnedBank::new(BankParty::identity(bank), WitnessPolicy::unwitnessed());
        let peers = Peers::new(
            (0..run.banks).map(pinned),
            (0..run.logs).map(LogParty::identity),
            (0..run.shops).map(ShopParty::key),
        );
        WalletParty {
            number,
            seed,
            peers,
            banks: run.banks,
            logs: run.logs,
            goods: MemoryGoods::new(store.faults().clone()),
            store,
            process,
            asking: Asking::new(),
            wants,
            mode: run.mode,
            at: 0,
            known: BTreeSet::new(),
            inherited: BTreeSet::new(),
            current: None,
            unsure: false,
            accounts: BTreeMap::new(),
            described: BTreeSet::new(),
            is_lost: false,
            question: None,
            sets_clock: false,
            restored: None,
            refused: Vec::new(),
            logs_refused: 0,
        }
    }

    /// The person wants more.
    pub fn want(&mut self, more: Vec<Want>) {
        self.wants.extend(more);
    }

    /// The machine is gone with all that was on it. What the person wanted just then is forgotten.
    pub fn lose(&mut self) {
        self.process.kill();
        self.store = MemoryStore::new(Faults::none());
        self.goods = MemoryGoods::new(self.store.faults().clone());
        self.process = Process::new(Place::Wallet(self.number), &[], self.store.faults().clone());
        self.is_lost = true;
        self.known.clear();
        let was_at_it = self.current.take().is_some() || self.unsure;
        // Opening an account again changes nothing.
        if was_at_it && !matches!(self.wants.get(self.at), Some(Want::OpenAccount(..))) {
            self.at += 1;
        }
    }

    /// Starts the process; a wallet that does not exist yet is created, or restored from the seed.
    pub fn start(&mut self) {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&Digest::of(&[b"naulon/sim/wallet", &[self.seed as u8]]).0);
        let seed = Seed::from_bytes(bytes);
        let (store, goods, peers, is_lost) = (self.store.clone(), self.goods.clone(), self.peers.clone(), self.is_lost);
        self.asking = Asking::new();
        self.unsure = true;
        self.question = None;
        self.described.clear();
        self.process.start(|| {
            let opened = match Wallet::open(store.clone(), peers.clone(), goods.clone()) {
                Err(WalletError::NoWallet) if is_lost => Wallet::restore(store, &seed, peers, goods, GAP),
                Err(WalletError::NoWallet) => Wallet::create(store, &seed, peers, goods),
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
        let wanting = self.at < self.wants.len() || self.is_lost && self.restored.is_none();
        let working = self.process.alive().is_none_or(|wallet| !wallet.under_way(now).is_empty());
        !wanting && !working && self.asking.is_idle()
    }

    /// What to send now.
    pub fn asks(
        &mut self,
        at: Moment,
        rng: &mut ChaCha8Rng,
        next_id: &mut AskId,
    ) -> Vec<(AskId, PublicKey, HttpRequest)> {
        for about in self.asking.overdue(at.steady) {
            self.answered(about, Err(CallError::Unreachable("it".to_owned(), "no answer".to_owned())), at, rng);
        }
        let mut wanted = match self.is_restoring() {
            true => self.search(at, rng),
            false => self.go_on(at.clock, rng),
        };
        let Some(wallet) = self.process.alive() else { return Vec::new() };
        let asks = wallet.asks(at.clock).unwrap_or_default();
        wanted.extend(asks.into_iter().map(|(operation, ask)| (About::Operation(operation), ask)));
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
    pub fn receive(&mut self, id: AskId, response: &HttpResponse, at: Moment, rng: &mut ChaCha8Rng) {
        if let Some((about, answer)) = self.asking.read(id, response) {
            self.answered(about, answer, at, rng);
            self.asking.close(id);
        }
    }

    fn is_restoring(&mut self) -> bool {
        self.is_lost && self.restored.is_none()
    }

    /// The next question of a restoration; at the end of it the person goes on where she was.
    fn search(&mut self, at: Moment, rng: &mut ChaCha8Rng) -> Vec<(About, Ask)> {
        let entropy = entropy(rng);
        let unknown: Vec<usize> = (0..self.banks).filter(|bank| !self.knows(*bank)).collect();
        if let Some(bank) = unknown.first() {
            return vec![describe(*bank, rng)];
        }
        if self.asking.is_busy(About::Question) {
            return Vec::new();
        }
        let Some(wallet) = self.process.alive() else { return Vec::new() };
        match wallet.restore_question(at.clock, &entropy) {
            Ok(Some((question, ask))) => {
                self.question = Some(question);
                return vec![(About::Question, ask)];
            }
            Ok(None) => match wallet.finish_restore(at.clock, &entropy) {
                Ok(restored) => {
                    self.known = wallet.history(at.clock).unwrap_or_default().iter().map(|entry| entry.id).collect();
                    self.unsure = false;
                    self.restored = Some(restored);
                }
                Err(_) => self.unsure = true,
            },
            Err(_) => self.unsure = true,
        }
        Vec::new()
    }

    fn knows(&mut self, bank: usize) -> bool {
        self.process.alive().is_some() && self.described.contains(&bank)
    }

    /// What the person does about the current want, and what has to be asked for it.
    fn go_on(&mut self, now: Timestamp, rng: &mut ChaCha8Rng) -> Vec<(About, Ask)> {
        self.notice(now);
        if self.current.is_some() || self.process.is_dead() {
            return Vec::new();
        }
        let Some(want) = self.wants.get(self.at).cloned() else { return Vec::new() };
        match want {
            Want::OpenAccount(bank, amount) => match self.accounts.get(&bank) {
                Some(true) => {
                    self.at += 1;
                    Vec::new()
                }
                Some(false) => self.credit_ask(bank, amount).into_iter().collect(),
                None => {
                    self.open_account(bank, now);
                    Vec::new()
                }
            },
            Want::Buy(shop, item, _) => {
                let mut accounts = self.accounts.keys().copied().collect::<Vec<_>>().into_iter();
                if let Some(bank) = accounts.find(|bank| !self.knows(*bank)) {
                    return vec![describe(bank, rng)];
                }
                let call = AnyCall::Shop(ShopCall::Offer { item: item.to_owned() });
                let circuit = Circuit::Anonymous(rng.next_u64());
                vec![(About::Offer(shop), Ask { to: ShopParty::key(shop), circuit, call })]
            }
            Want::Refund => {
                self.ask_back(now, rng);
                Vec::new()
            }
            Want::Withdraw(bank, _) | Want::Refresh(bank) | Want::Deposit(bank, _) => {
                self.press(now, rng);
                if self.knows(bank) { Vec::new() } else { vec![describe(bank, rng)] }
            }
        }
    }

    fn credit_ask(&mut self, bank: usize, amount: Amount) -> Option<(About, Ask)> {
        let to = BankParty::key(bank);
        let account = self.process.alive()?.account(&to);
        let call = AnyCall::Bank(BankCall::Exchange(BankParty::credit(bank, account, amount).into()));
        Some((About::Credit(bank), Ask { to, circuit: Circuit::Identified(account), call }))
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
            match self.wants.get(self.at) {
                // The account's opening is followed by the credit, which is no operation of the wallet.
                Some(Want::OpenAccount(bank, _)) => {
                    self.accounts.entry(*bank).or_insert(false);
                }
                _ => self.at += 1,
            }
        }
        None
    }

    fn open_account(&mut self, bank: usize, now: Timestamp) -> Option<()> {
        match self.process.alive()?.open_account(BankParty::key(bank), now) {
            Ok(operation) => self.current = Some(operation),
            Err(_) => self.unsure = true,
        }
        None
    }

    /// Presses the button of a want that is about a bank alone.
    fn press(&mut self, now: Timestamp, rng: &mut ChaCha8Rng) {
        let entropy = entropy(rng);
        let Some(want) = self.wants.get(self.at).cloned() else { return };
        let Some(bank) = want.bank().filter(|bank| self.knows(*bank)).map(BankParty::key) else { return };
        let Some(wallet) = self.process.alive() else { return };
        // Some wallets share a key among tokens (AAT §8.1), and some keep remainders (§8.3).
        let keys = if entropy[0].is_multiple_of(3) { Keys::Shared } else { Keys::Own };
        let begun = match &want {
            Want::Withdraw(_, amount) => wallet.withdraw_with(bank, *amount, keys, now, &entropy),
            Want::Refresh(_) => wallet.refresh_with(bank, keys, now, &entropy),
            Want::Deposit(_, amount) => wallet.deposit(bank, DepositAmount::Exactly(*amount), now, &entropy),
            Want::OpenAccount(..) | Want::Buy(..) | Want::Refund => return,
        };
        self.begun(want, begun);
    }

    /// Asks for what is given back of the newest purchase that was paid.
    fn ask_back(&mut self, now: Timestamp, rng: &mut ChaCha8Rng) -> Option<()> {
        let entropy = entropy(rng);
        let wallet = self.process.alive()?;
        let Ok(history) = wallet.history(now) else {
            self.unsure = true;
            return None;
        };
        let is_paid = |entry: &&Entry| matches!(entry.ending(), Some(Ending::Bought | Ending::Cheated));
        match history.iter().filter(is_paid).map(|entry| entry.id).max() {
            Some(purchase) => {
                let begun = wallet.refund(purchase, now, &entropy);
                self.begun(Want::Refund, begun);
            }
            None => self.at += 1,
        }
        None
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

    fn answered(&mut self, about: About, answer: Result<AnyReply, CallError>, at: Moment, rng: &mut ChaCha8Rng) {
        let entropy = entropy(rng);
        match (about, answer) {
            (About::Operation(operation), answer) => {
                if let Some(wallet) = self.process.alive() {
                    // What the wallet does not take, it asks for again; after a crash there is nobody to take it.
                    let _ = wallet.answered(operation, answer, at.clock, &entropy);
                }
            }
            (About::Question, answer) => {
                self.sets_clock |= matches!(&answer, Err(CallError::Problem(problem)) if problem.code == "stale");
                if let (Some(question), Some(wallet)) = (self.question.take(), self.process.alive()) {
                    // A question that was not answered is open still, and is drawn again.
                    let _ = wallet.restore_answered(question, answer);
                }
            }
            (About::Description(bank), Ok(AnyReply::Bank(BankReply::Description(description)))) => {
                let accepted = self.process.alive().map(|wallet| wallet.accept_description(description, at.clock));
                if matches!(accepted, Some(Ok(accepted)) if accepted.register.is_none()) {
                    self.described.insert(bank);
                }
            }
            (About::Credit(bank), Ok(_)) => {
                self.accounts.insert(bank, true);
            }
            (About::Offer(shop), Ok(AnyReply::Shop(ShopReply::Offer(offer)))) => {
                let Some(want @ Want::Buy(wanted, item, two_sided)) = self.wants.get(self.at).cloned() else { return };
                // A doubled answer comes when the person is at something else already.
                let fits = wanted == shop && self.current.is_none() && offer.claimed_body().contract.title == item;
                if !fits || self.is_restoring() {
                    return;
                }
                let is_signed_for = two_sided || offer.claimed_body().two_sided;
                let options = self.options(two_sided, is_signed_for, rng);
                let Some(wallet) = self.process.alive() else { return };
                let mut begun = wallet.buy((*offer).clone(), options.clone(), at.clock, &entropy);
                if let (Err(WalletError::NoCommonLog), Some(_)) = (&begun, options.log) {
                    // The shop does not trust that log, so the wallet does not even begin: by another one then.
                    self.logs_refused += 1;
                    begun = wallet.buy(*offer, BuyOptions { log: None, ..options }, at.clock, &entropy);
                }
                self.begun(want, begun);
            }
            _ => {}
        }
    }

    /// How to buy: in every way that there is.
    fn options(&mut self, two_sided: bool, is_signed_for: bool, rng: &mut ChaCha8Rng) -> BuyOptions {
        let mut mode = self.mode.unwrap_or(EntryMode::ALL[below(rng, 3) as usize]);
        // Whoever signs for the goods with a key that is used again must not stand in the log for everybody to read (AAT §8.6):
        // the wallet refuses it, so the person asks for that only now and then.
        if is_signed_for && mode == EntryMode::Plain && !self.has_own_key() && below(rng, 20) > 0 {
            mode = EntryMode::Encrypted;
        }
        BuyOptions {
            two_sided,
            log: (self.logs > 1).then(|| LogParty::identity(below(rng, self.logs as u64) as usize).key),
            expiry: LOCK,
            keep_remainder: below(rng, 3) == 0,
            entries: Some(mode),
            carrier: if below(rng, 3) == 0 { Carrier::Bank } else { Carrier::Wallet },
            ..BuyOptions::default()
        }
    }

    /// Whether there is a token that shares its key with no other.
    fn has_own_key(&mut self) -> bool {
        self.tokens().iter().any(|token| token.state == TokenState::Free && !token.shares_key)
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

fn describe(bank: usize, rng: &mut ChaCha8Rng) -> (About, Ask) {
    let (to, circuit) = (BankParty::key(bank), Circuit::Anonymous(rng.next_u64()));
    (About::Description(bank), Ask { to, circuit, call: AnyCall::Bank(BankCall::Describe) })
}

fn entropy(rng: &mut ChaCha8Rng) -> [u8; 32] {
    let mut entropy = [0; 32];
    rng.fill_bytes(&mut entropy);
    entropy
}
