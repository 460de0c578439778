//! A bank.

use std::sync::LazyLock;

use naulon_bank::{Authenticated, Bank, BankKeys, BankStore, LogFault, MemoryStore};
use naulon_durable::fault::Faults;
use naulon_exchange::register::BankIdentity;
use naulon_exchange::{AuditReport, Exchange, Input, LockLimits, LogIdentity, Output, Record, RequestId, Rules};
use naulon_money::Amount;
use naulon_statement::{Digest, Joint, PublicKey, SecretKey, Timestamp};
use naulon_tlog::CheckpointVerifier;
use naulon_wire::{BankCall, BankReply, Call, HttpRequest, HttpResponse, Problem};

use super::{Mortal, Process};
use crate::fault::Fault;
use crate::keys;
use crate::network::Place;
use crate::sabotage::{BankBooks, Sabotage};

fn secret(number: usize) -> SecretKey {
    keys::secret_key(&format!("bank {number}"))
}

/// A bank, its store, and its process.
pub struct BankParty {
    number: usize,
    store: MemoryStore,
    rules: Rules,
    sabotage: Option<Sabotage>,
    process: Process<Bank<BankBooks<MemoryStore>>>,
}

impl BankParty {
    /// A bank that heeds these logs.
    pub fn new(number: usize, logs: &[LogIdentity], faults: &[Fault], sabotage: Option<Sabotage>) -> Self {
        let store = MemoryStore::new(Faults::none());
        let rules = Rules {
            bank: Self::key(number),
            operator: keys::secret_key("operator").public(),
            currency: keys::currency(),
            brands: keys::brands(number),
            logs: logs.iter().map(|log| (log.key, log.clone())).collect(),
            locks: LockLimits::default(),
            deliveries: Default::default(),
            keepers: Default::default(),
        };
        let process = Process::new(Place::Bank(number), faults, store.faults().clone());
        BankParty { number, store, rules, sabotage, process }
    }

    /// A bank's key.
    pub fn key(number: usize) -> PublicKey {
        static KEYS: LazyLock<[PublicKey; 2]> = LazyLock::new(|| [0, 1].map(|number| secret(number).public()));
        KEYS[number.min(1)]
    }

    /// Its private key, for a bank that cheats.
    pub fn secret(number: usize) -> SecretKey {
        secret(number)
    }

    /// How others recognise a bank.
    pub fn identity(number: usize) -> BankIdentity {
        static REGISTERS: LazyLock<[CheckpointVerifier; 2]> =
            LazyLock::new(|| [0, 1].map(|number| keys::register_signer(number).verifier().clone()));
        BankIdentity { key: Self::key(number), checkpoints: REGISTERS[number.min(1)].clone() }
    }

    /// Starts the process.
    pub fn start(&mut self) {
        let (rules, store, sabotage) = (self.rules.clone(), self.store.clone(), self.sabotage);
        let bank = BankKeys { bank: secret(self.number), checkpoints: keys::register_signer(self.number) };
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
    pub fn credit(bank: usize, account: PublicKey, amount: Amount) -> Joint<Exchange> {
        let mut reference = [0; 16];
        reference.copy_from_slice(&Digest::of(&[b"reference", account.as_bytes()]).0[..16]);
        let exchange = Exchange {
            bank: Self::key(bank),
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

    /// What the bank keeps against logs.
    pub fn log_faults(&mut self) -> Vec<LogFault> {
        self.store.log_faults().unwrap_or_default()
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
