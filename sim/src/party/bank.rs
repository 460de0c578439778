//! The bank.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use naulon_bank::{Authenticated, Bank, BankKeys, BankStore, MemoryStore};
use naulon_durable::fault::Faults;
use naulon_exchange::register::BankIdentity;
use naulon_exchange::{AuditReport, Exchange, Input, LockLimits, LogIdentity, Output, Record, RequestId, Rules};
use naulon_money::Amount;
use naulon_statement::{Digest, Joint, PublicKey, Timestamp};
use naulon_wire::{BankCall, BankReply, Call, HttpRequest, HttpResponse, Problem};

use super::Process;
use crate::fault::Fault;
use crate::keys;
use crate::network::Place;
use crate::sabotage::{BankBooks, Sabotage};

/// The bank, its store, and its process.
pub struct BankParty {
    store: MemoryStore,
    rules: Rules,
    sabotage: Option<Sabotage>,
    process: Process<Bank<BankBooks<MemoryStore>>>,
}

impl BankParty {
    /// A bank that heeds this log.
    pub fn new(log: LogIdentity, faults: &[Fault], sabotage: Option<Sabotage>) -> Self {
        let bank = Self::key();
        let store = MemoryStore::new(Faults::none());
        let rules = Rules {
            bank,
            operator: keys::secret_key("operator").public(),
            currency: keys::currency(),
            brands: keys::brands(bank),
            logs: BTreeMap::from([(log.key, log)]),
            locks: LockLimits::default(),
        };
        let process = Process::new(Place::Bank, faults, store.faults().clone());
        BankParty { store, rules, sabotage, process }
    }

    /// The bank's key.
    pub fn key() -> PublicKey {
        static KEY: LazyLock<PublicKey> = LazyLock::new(|| keys::secret_key("bank").public());
        *KEY
    }

    /// How others recognise the bank.
    pub fn identity() -> BankIdentity {
        BankIdentity { key: Self::key(), checkpoints: keys::register_signer().verifier().clone() }
    }

    /// Starts the process.
    pub fn start(&mut self) {
        let (rules, store, sabotage) = (self.rules.clone(), self.store.clone(), self.sabotage);
        let bank = BankKeys { bank: keys::secret_key("bank"), checkpoints: keys::register_signer() };
        self.process.start(|| Bank::open(bank, rules, keys::signatory(), BankBooks::new(store, sabotage)));
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process<Bank<BankBooks<MemoryStore>>> {
        &mut self.process
    }

    /// Answers requests that arrived together: in one group, as the bank's executor does. A dead process does not answer.
    pub fn serve(&mut self, requests: &[HttpRequest], now: Timestamp) -> Option<Vec<HttpResponse>> {
        let bank = self.process.alive()?;
        let read = |request: &HttpRequest| BankCall::from_http(request).and_then(|call| bank.authenticate(call, now));
        let read: Vec<Result<Authenticated, Problem>> = requests.iter().map(read).collect();
        let mut refused = Vec::new();
        let mut calls = Vec::new();
        for outcome in read {
            refused.push(outcome.map(|call| calls.push(call)).err());
        }
        let mut applied = bank.apply(&calls, now).into_iter();
        let mut answer = |refused: Option<Problem>| match refused {
            Some(problem) => Err(problem),
            None => applied
                .next()
                .unwrap_or_else(|| Err(Problem::new("internal", "no answer")))
                .and_then(|applied| bank.complete(applied)),
        };
        let respond = |answer: Result<BankReply, Problem>| match answer {
            Ok(reply) => BankCall::reply_to_http(reply),
            Err(problem) => HttpResponse::problem(&problem),
        };
        let responses = refused.into_iter().map(|refused| respond(answer(refused))).collect();
        (!self.process.is_dead()).then_some(responses)
    }

    /// The operator's statement that this much came in for an account.
    pub fn credit(account: PublicKey, amount: Amount) -> Joint<Exchange> {
        let mut reference = [0; 16];
        reference.copy_from_slice(&Digest::of(&[b"reference", account.as_bytes()]).0[..16]);
        let exchange = Exchange {
            bank: Self::key(),
            currency: keys::currency(),
            inputs: vec![Input::Outside { amount, reference }],
            outputs: vec![Output::Account { account, amount }],
            condition: None,
            seal_to: None,
        };
        Joint::sign(exchange, [&keys::secret_key("operator")])
    }

    /// What the auditor says, or why the books are wrong.
    pub fn audit(&mut self) -> Result<AuditReport, String> {
        match self.process.alive() {
            Some(bank) => bank.audit().map_err(|error| format!("{error}: {error:?}")),
            None => Err("the bank is dead".to_owned()),
        }
    }

    /// What the bank has on record.
    pub fn record(&mut self, id: &RequestId) -> Option<Record> {
        self.store.record(id).ok().flatten()
    }

    /// What an account holds.
    pub fn balance(&mut self, account: &PublicKey) -> Option<Amount> {
        self.store.balance(account).ok().flatten()
    }
}
