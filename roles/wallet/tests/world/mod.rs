//! A small world for the wallet: a bank, a log and a shop made of the protocols' pure functions, in memory.
#![allow(dead_code, reason = "each test file uses its part of the world")]

pub mod bank;
pub mod log;
pub mod shop;

use bytes::Bytes;
use naulon_durable::fault::Faults;
use naulon_money::Amount;
use naulon_statement::{PublicKey, SecretKey, Timestamp, Unverified};
use naulon_tlog::WitnessPolicy;
use naulon_wallet::*;
use naulon_wire::{AnyCall, AnyReply, Ask, CallError, Circuit, Piece, Problem, Range, ShopCall, ShopReply};

pub use bank::Bank;
pub use log::Log;
pub use shop::Shop;

pub const START: Timestamp = Timestamp(1_000_000_000_000);
pub const DAY: u64 = 86_400_000;
pub const PAID_IN: &str = "100";

pub fn eur(text: &str) -> Amount {
    text.parse().expect("an amount")
}

pub struct World {
    pub now: Timestamp,
    pub bank: Bank,
    pub log: Log,
    pub shop: Shop,
    /// Everything that was asked: party and circuit.
    pub asked: Vec<(PublicKey, Circuit, &'static str)>,
    /// Whether the person keeps remainders on tokens.
    pub keep_remainder: bool,
    draws: u64,
}

impl World {
    pub fn new() -> Self {
        Self::at(START)
    }

    /// A world that begins at this time.
    pub fn at(now: Timestamp) -> Self {
        let [bank, log, shop] = [1, 2, 3].map(|n| SecretKey::from_seed(&[n; 32]));
        let log = Log::new(log, bank.public());
        let bank = Bank::new(bank, log.identity(), now);
        let shop = Shop::new(shop, bank.key.public(), log.identity());
        let mut world = World { now, bank, log, shop, asked: Vec::new(), keep_remainder: false, draws: 0 };
        world.bank.open(world.shop.key.public());
        world
    }

    pub fn peers(&self) -> Peers {
        let bank = PinnedBank::new(self.bank.identity(), WitnessPolicy::unwitnessed());
        Peers::new([bank], [self.log.identity()], [self.shop.key.public()])
    }

    pub fn entropy(&mut self) -> Entropy {
        self.draws += 1;
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&self.draws.to_be_bytes());
        entropy
    }

    /// What the asked party answers.
    pub fn answer(&mut self, ask: &Ask) -> Result<AnyReply, CallError> {
        let known = [self.bank.key.public(), self.log.key.public(), self.shop.key.public()];
        assert!(known.contains(&ask.to), "asks only parties that exist");
        self.call(&ask.call).map_err(CallError::from)
    }

    pub fn call(&mut self, call: &AnyCall) -> Result<AnyReply, Problem> {
        let (now, World { bank, log, shop, .. }) = (self.now, self);
        match call {
            AnyCall::Bank(call) => Ok(AnyReply::Bank(bank.call(call, now)?)),
            AnyCall::Log(call) => Ok(AnyReply::Log(log.call(call, now)?)),
            AnyCall::Shop(call) => Ok(AnyReply::Shop(shop.call(call, log, now)?)),
        }
    }

    /// Carries asks until none of the operations is under way, and returns all events.
    pub fn settle<S: WalletStore>(&mut self, wallet: &mut Wallet<S>) -> Result<Vec<Event>, WalletError> {
        self.carry(wallet, |_, answer| answer)
    }

    /// As [`settle`](Self::settle), with something done to every answer on its way.
    pub fn carry<S: WalletStore>(
        &mut self,
        wallet: &mut Wallet<S>,
        mut meddle: impl FnMut(&Ask, Result<AnyReply, CallError>) -> Result<AnyReply, CallError>,
    ) -> Result<Vec<Event>, WalletError> {
        let mut events = Vec::new();
        for _ in 0..2_000 {
            let asks = wallet.asks(self.now)?;
            events.extend(wallet.events().into_iter().map(|(_, event)| event));
            if wallet.under_way(self.now).is_empty() {
                return Ok(events);
            }
            for (op, ask) in asks {
                self.asked.push((ask.to, ask.circuit, name(&ask.call)));
                let answer = meddle(&ask, self.answer(&ask));
                let entropy = self.entropy();
                events.extend(wallet.answered(op, answer, self.now, &entropy)?);
            }
            self.now = Timestamp(self.now.0 + 1_000);
        }
        panic!(
            "does not end: {:?} after {:?}",
            wallet.under_way(self.now),
            events.iter().rev().take(5).collect::<Vec<_>>()
        );
    }

    /// A wallet with an account that money was paid into, and the bank's description.
    pub fn wallet<S: WalletStore>(&mut self, store: S, goods: impl GoodsDir + 'static) -> Wallet<S> {
        let mut wallet = Wallet::create(store, &seed(), self.peers(), goods).expect("created");
        wallet.accept_description(self.bank.description(), self.now).expect("accepted");
        self.provide(&mut wallet).expect("provided");
        wallet
    }

    /// An account with money in it, and the bank's largest brand alone.
    pub fn provide<S: WalletStore>(&mut self, wallet: &mut Wallet<S>) -> Result<(), WalletError> {
        wallet.accept_description(self.bank.description_of(1), self.now)?;
        let bank = self.bank.key.public();
        if self.bank.balance(&wallet.account(&bank)).is_none_or(|balance| balance.is_zero()) {
            if wallet.history(self.now)?.is_empty() {
                wallet.open_account(bank, self.now)?;
            }
            self.settle(wallet)?;
            self.bank.pay_in(wallet.account(&bank), eur(PAID_IN));
        }
        Ok(())
    }

    /// A wallet in memory with tokens worth this much.
    pub fn funded(&mut self, amount: &str) -> (Wallet<MemoryStore>, MemoryStore, MemoryGoods) {
        let (store, goods) = (MemoryStore::new(Faults::none()), MemoryGoods::new(Faults::none()));
        let mut wallet = self.wallet(store.clone(), goods.clone());
        self.withdraw(&mut wallet, amount);
        (wallet, store, goods)
    }

    /// Answers every question of a restoration, and ends it.
    pub fn restore<S: WalletStore>(&mut self, wallet: &mut Wallet<S>) -> Restored {
        for _ in 0..5_000 {
            let entropy = self.entropy();
            let Some((question, ask)) = wallet.restore_question(self.now, &entropy).expect("asks") else {
                return wallet.finish_restore(self.now, &entropy).expect("done");
            };
            let answer = self.answer(&ask);
            assert_eq!(wallet.restore_answered(question, answer).expect("taken"), Taken::Yes);
        }
        panic!("it does not end");
    }

    pub fn withdraw<S: WalletStore>(&mut self, wallet: &mut Wallet<S>, amount: &str) {
        let (bank, entropy) = (self.bank.key.public(), self.entropy());
        wallet.withdraw(bank, eur(amount), self.now, &entropy).expect("begun");
        self.settle(wallet).expect("withdrawn");
    }

    pub fn buy<S: WalletStore>(
        &mut self,
        wallet: &mut Wallet<S>,
        price: &str,
        options: BuyOptions,
    ) -> Result<OperationId, WalletError> {
        let offer = self.shop.offer(eur(price), self.now);
        let entropy = self.entropy();
        wallet.buy(Unverified::from(&offer), options, self.now, &entropy)
    }

    pub fn free<S: WalletStore>(&self, wallet: &Wallet<S>) -> Amount {
        wallet.balance()[&self.bank.key.public()].free
    }
}

pub fn seed() -> Seed {
    Seed::from_bytes([9; 64])
}

/// All rows of a store, to see whether anything has changed.
pub fn rows(store: &mut impl WalletStore) -> Vec<(Kind, Vec<Row>)> {
    Kind::ALL.iter().map(|kind| (*kind, store.list(*kind).expect("listed"))).collect()
}

pub fn name(call: &AnyCall) -> &'static str {
    use naulon_wire::{BankCall, LogCall};
    match call {
        AnyCall::Bank(BankCall::Describe) => "describe",
        AnyCall::Bank(BankCall::Challenge) => "challenge",
        AnyCall::Bank(BankCall::Check(_)) => "check",
        AnyCall::Bank(BankCall::OpenAccount(_)) => "open",
        AnyCall::Bank(BankCall::Balance(_)) => "balance",
        AnyCall::Bank(BankCall::Exchange(request)) if request.claimed_body().condition.is_some() => "lock",
        AnyCall::Bank(BankCall::Exchange(_)) => "exchange",
        AnyCall::Bank(BankCall::Status(_)) => "status",
        AnyCall::Bank(BankCall::Settle(_)) => "settle",
        AnyCall::Bank(BankCall::Output { .. }) => "output",
        AnyCall::Bank(BankCall::Token(_)) => "token",
        AnyCall::Bank(BankCall::IssuerDirectory(_) | BankCall::Issue(_)) => "issue",
        AnyCall::Bank(BankCall::Receipt { .. }) => "receipt",
        AnyCall::Bank(BankCall::Public(_)) => "register",
        AnyCall::Log(LogCall::Abort { .. }) => "abort",
        AnyCall::Log(LogCall::Decision(_)) => "decision",
        AnyCall::Log(_) => "log",
        AnyCall::Shop(ShopCall::Goods { .. }) => "goods",
        AnyCall::Shop(ShopCall::Pay(_)) => "pay",
        AnyCall::Shop(ShopCall::Refund(_)) => "refund",
        AnyCall::Shop(ShopCall::Taken(_)) => "taken",
        AnyCall::Shop(ShopCall::Order(_)) => "order",
        AnyCall::Shop(ShopCall::Promise { .. }) => "promise",
        AnyCall::Shop(_) => "shop",
    }
}

/// A piece of bytes as a shop serves it.
pub fn piece(bytes: &[u8], range: Range) -> ShopReply {
    let start = usize::try_from(range.offset).expect("small").min(bytes.len());
    let end = start.saturating_add(usize::try_from(range.len).expect("small")).min(bytes.len());
    let (part, of) = (Bytes::copy_from_slice(&bytes[start..end]), bytes.len() as u64);
    ShopReply::Goods(Piece { offset: range.offset, bytes: part, of })
}
