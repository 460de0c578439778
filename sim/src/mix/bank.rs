//! The bank of the mixes' world: the role as its program runs it, and what its customers ask.

use naulon_bank::{Bank, MemoryStore};
use naulon_durable::fault::Faults;
use naulon_exchange::{Challenge, Input, Output};
use naulon_money::Amount;
use naulon_statement::{Duration, PublicKey, SecretKey, Timestamp, Unverified};
use naulon_tick::{Certificate, Check, Front};
use naulon_wire::{BankCall, BankReply, ExchangeReply, Problem};

use crate::bank_world as world;

pub use world::{Coin, ONE, call, exchange, key};

/// The bank, and its clock.
pub struct BankHouse {
    bank: Bank<MemoryStore>,
    /// What its clock shows.
    pub now: Timestamp,
    accounts: u8,
}

impl BankHouse {
    /// A bank with an account of somebody who pays.
    pub fn new() -> Self {
        let bank = world::furnished(MemoryStore::new(Faults::none()));
        BankHouse { bank, now: world::NOW, accounts: 10 }
    }

    fn ask(&mut self, call: BankCall) -> Result<BankReply, Problem> {
        self.bank.handle(call, self.now)
    }

    /// Posts an exchange.
    pub fn post(&mut self, call: BankCall) -> Result<ExchangeReply, Problem> {
        match self.ask(call)? {
            BankReply::Exchange(reply) => Ok(*reply),
            _ => Err(Problem::new("internal", "not the reply of an exchange")),
        }
    }

    /// Opens an account.
    pub fn open_account(&mut self, account: &SecretKey) {
        let opened = self.ask(world::open_account(account));
        assert!(opened.is_ok(), "an account is opened: {opened:?}");
    }

    /// Tokens of the payer's.
    pub fn withdraw(&mut self, count: usize) -> Vec<Coin> {
        self.accounts += 1;
        world::withdraw(&mut self.bank, self.accounts, &vec![ONE; count])
    }

    /// Sets a check's maximum aside, paid by the payer's account, and certifies it.
    pub fn certify(&mut self, check: &Check) -> Result<Unverified<Certificate>, Problem> {
        self.accounts += 1;
        let output = Output::chain(check).ok_or_else(|| Problem::new("internal", "not countable"))?;
        let value = check.maximum().unwrap_or(Amount::ZERO);
        let reply = self.post(world::order(&key("alice"), value, self.accounts, vec![output]))?;
        reply.certificates.into_iter().next().ok_or_else(|| Problem::new("internal", "no certificate"))
    }

    /// The challenge that whoever cashes answers.
    pub fn challenge(&mut self) -> Challenge {
        match self.ask(BankCall::Challenge) {
            Ok(BankReply::Challenge(challenge)) => challenge,
            other => unreachable!("no challenge: {other:?}"),
        }
    }

    /// Cashes ticks for their payee.
    pub fn cash(&mut self, check: &Check, from: Front, to: Front, payee: &SecretKey) -> Result<ExchangeReply, Problem> {
        let challenge = self.challenge();
        let amount = check.worth(to.index.saturating_sub(from.index)).unwrap_or(Amount::ZERO);
        let input = Input::Chain { check: check.clone(), from, to, challenge };
        let output = Output::Account { account: payee.public(), amount };
        self.post(call(exchange(vec![input], vec![output]), [payee]))
    }

    /// Gives back what was not spent, once its time has come.
    pub fn give_back(&mut self, check: &Check, refund: &SecretKey, amount: Amount) -> Result<ExchangeReply, Problem> {
        let (commitment, returned) = (check.commitment(), Amount::ZERO);
        let input = Input::Remainder { commitment, refund: refund.public(), returned, amount, early: None };
        let output = Output::Account { account: key("alice").public(), amount };
        self.post(call(exchange(vec![input], vec![output]), [refund]))
    }

    /// Time until remainders are free.
    pub fn wait_for_remainders(&mut self, expiry: Timestamp) {
        self.now = expiry.plus(world::rules().chains.grace).plus(Duration::seconds(1));
    }

    /// What an account has.
    pub fn balance(&mut self, account: &PublicKey) -> Amount {
        use naulon_bank::BankStore;
        self.bank.store().balance(account).ok().flatten().unwrap_or(Amount::ZERO)
    }

    /// What the auditor says: whether the books agree, and what is set aside for checks.
    pub fn audit(&mut self) -> Result<Amount, String> {
        self.bank.audit().map(|report| report.chains).map_err(|error| error.to_string())
    }
}
