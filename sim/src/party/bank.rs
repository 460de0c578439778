//! A bank.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use naulon_bank::{Authenticated, Bank, BankKeys, BankStore, LogFault, MemoryStore};
use naulon_durable::fault::Faults;
use naulon_exchange::register::BankIdentity;
use naulon_exchange::{
    AuditReport, ChainLimits, Exchange, Input, LockLimits, LogKeeper, Output, OwnLog, Record, RequestId, Rules,
};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, Joint, PublicKey, SecretKey, Timestamp};
use naulon_tlog::CheckpointVerifier;
use naulon_wire::{AnyReply, BankCall, BankReply, Call, CallError, HttpRequest, HttpResponse, Problem};

use super::{LogParty, Mortal, Process, ShopParty};
use crate::asking::Asking;
use crate::clock::Moment;
use crate::keys;
use crate::network::{AskId, Place};
use crate::run::{Merged, Run};
use crate::sabotage::{BankBooks, Sabotage};

/// Whose the logs are: apart from everybody, the first bank's, or the first shop's.
fn keepers(number: usize, run: &Run) -> BTreeMap<PublicKey, LogKeeper> {
    let log = LogParty::identity(0).key;
    let keeper = match run.merged {
        Some(Merged::BankAndLog) if number == 0 => LogKeeper::Bank,
        Some(Merged::ShopAndLog) => {
            let (merchant, bank) = (ShopParty::key(0), BankParty::key(number));
            LogKeeper::Merchant(OwnLog { merchant, bank, log, grace: OWN_LOG_GRACE })
        }
        _ => return BTreeMap::new(),
    };
    BTreeMap::from([(log, keeper)])
}

/// How long after an expiry a bank frees what a merchant's own log has not decided: longer than any fault keeps a decision.
const OWN_LOG_GRACE: Duration = Duration::seconds(1_800);

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
    asking: Asking<RequestId>,
}

impl BankParty {
    /// A bank that heeds these logs.
    pub fn new(number: usize, run: &Run) -> Self {
        let logs = (0..run.logs).map(LogParty::identity);
        let store = MemoryStore::new(Faults::none());
        let rules = Rules {
            bank: Self::key(number),
            operator: keys::secret_key("operator").public(),
            currency: keys::currency(),
            brands: keys::brands(number),
            logs: logs.map(|log| (log.key, log)).collect(),
            locks: LockLimits::default(),
            chains: ChainLimits::default(),
            // It knows where every shop is, and takes its promises there when it is asked to.
            deliveries: (0..run.shops).map(ShopParty::key).collect(),
            keepers: keepers(number, run),
        };
        let process = Process::new(Place::Bank(number), &run.faults, store.faults().clone());
        BankParty { number, store, rules, sabotage: run.sabotage, process, asking: Asking::new() }
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
        self.asking = Asking::new();
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

    /// What to send now: promises to shops, and questions to logs about locks whose time is over.
    pub fn asks(&mut self, at: Moment, next_id: &mut AskId) -> Vec<(AskId, PublicKey, HttpRequest)> {
        for about in self.asking.overdue(at.steady) {
            let answer = Err(CallError::Unreachable("it".to_owned(), "no answer".to_owned()));
            self.answered(about, answer, at.clock);
        }
        let Some(bank) = self.process.alive() else { return Vec::new() };
        let mut sent = Vec::new();
        for (about, ask) in bank.errands(at.clock, usize::MAX).unwrap_or_default() {
            *next_id += 1;
            let to = ask.to;
            sent.push((*next_id, to, self.asking.send(*next_id, about, ask, at.steady)));
        }
        sent
    }

    /// Takes a response to one of them.
    pub fn receive(&mut self, id: AskId, response: &HttpResponse, at: Moment) {
        if let Some((about, answer)) = self.asking.read(id, response) {
            self.answered(about, answer, at.clock);
            self.asking.close(id);
        }
    }

    fn answered(&mut self, about: RequestId, answer: Result<AnyReply, CallError>, now: Timestamp) {
        if let Some(bank) = self.process.alive() {
            // What is not taken is asked for again.
            let _ = bank.errand_done(about, answer, now);
        }
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
