//! A bank: the protocol's `authenticate` and `decide` over maps.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use naulon_blind::{BlindedMessage, Brand, IssuerSecret, KnownBrand, Method, Purpose};
use naulon_exchange::register::{BankIdentity, BrandDay, Day, DaySummary, FeeTable, RegisterCopy, RegisterEntry};
use naulon_exchange::*;
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, SecretKey, Signed, Timestamp, Unverified};
use naulon_tlog::{Checkpoint, CheckpointSigner, Hash, Tree};
use naulon_wire::{BankCall, BankDescription, BankReply, ExchangeReply, OutputFate, Problem, PublicFile, PublicKind};

use super::{DAY, eur};

pub const DENOMINATIONS: [&str; 6] = ["0.50", "1", "2", "5", "10", "20"];

pub struct Bank {
    pub key: SecretKey,
    pub rules: Rules,
    pub brands: Vec<Signed<Brand>>,
    /// The sums of its days. No brand is made after the first of them, for entries stay where they are.
    pub days: Vec<Signed<DaySummary>>,
    secrets: BTreeMap<Digest, IssuerSecret>,
    records: BTreeMap<RequestId, Arc<Record>>,
    holders: BTreeMap<Mark, RequestId>,
    balances: BTreeMap<PublicKey, Amount>,
    remainders: BTreeMap<Digest, Remainder>,
    chains: BTreeMap<Digest, LockedChain>,
    transfers: Vec<Transfer>,
}

/// The fixed test keys, read once.
pub fn brand_key(n: usize) -> IssuerSecret {
    static KEYS: OnceLock<Vec<IssuerSecret>> = OnceLock::new();
    let read = |n: usize| {
        let path = format!("{}/../../vectors/brand-keys/test-only-{n:02}.pkcs8.der", env!("CARGO_MANIFEST_DIR"));
        IssuerSecret::from_der(&std::fs::read(path).expect("a key file")).expect("a key")
    };
    KEYS.get_or_init(|| (0..16).map(read).collect())[n].clone()
}

impl Bank {
    pub fn new(key: SecretKey, log: LogIdentity, now: Timestamp) -> Self {
        let rules = Rules {
            bank: key.public(),
            operator: SecretKey::from_seed(&[99; 32]).public(),
            currency: "EUR".parse().expect("a currency"),
            brands: BTreeMap::new(),
            logs: BTreeMap::from([(log.key, log)]),
            locks: LockLimits::default(),
            chains: ChainLimits::default(),
            deliveries: Default::default(),
            keepers: Default::default(),
        };
        let mut bank = Bank {
            key,
            rules,
            brands: Vec::new(),
            days: Vec::new(),
            secrets: BTreeMap::new(),
            records: BTreeMap::new(),
            holders: BTreeMap::new(),
            balances: BTreeMap::new(),
            remainders: BTreeMap::new(),
            chains: BTreeMap::new(),
            transfers: Vec::new(),
        };
        bank.issue(0, now.minus(naulon_statement::Duration::days(1)));
        bank
    }

    /// Makes a period's brands with the keys from `first` on, the largest first.
    pub fn issue(&mut self, first: usize, from: Timestamp) {
        for (n, denomination) in DENOMINATIONS.iter().enumerate().rev() {
            let secret = brand_key(first + n);
            let brand = self.brand(&secret, denomination, from);
            self.secrets.insert(Digest(brand.key_id()), secret);
            let known = KnownBrand::new(brand.clone()).expect("a brand");
            self.rules.brands.insert(Digest(brand.key_id()), Arc::new(known));
            self.brands.push(Signed::sign(&self.key, brand));
        }
    }

    pub fn brand(&self, secret: &IssuerSecret, denomination: &str, from: Timestamp) -> Brand {
        Brand {
            bank: self.key.public(),
            currency: self.rules.currency.clone(),
            denomination: eur(denomination),
            method: Method::BlindRsa2048,
            purpose: Purpose::Money,
            issue_from: from,
            withdraw_until: Timestamp(from.0 + 10 * DAY),
            spend_until: Timestamp(from.0 + 20 * DAY),
            redeem_until: Timestamp(from.0 + 30 * DAY),
            key: *secret.public().spki(),
        }
    }

    pub fn description(&self) -> BankDescription {
        self.description_of(self.brands.len())
    }

    /// What the bank signs its register's checkpoints with.
    pub fn signer() -> CheckpointSigner {
        CheckpointSigner::new("bank.example/register", &[77; 32]).expect("an origin")
    }

    pub fn identity(&self) -> BankIdentity {
        BankIdentity { key: self.key.public(), checkpoints: Self::signer().verifier().clone() }
    }

    /// The register when it had so many brands.
    pub fn register_of(&self, brands: usize) -> RegisterCopy {
        let fees = FeeTable::free(self.key.public(), self.rules.currency.clone(), Timestamp(0));
        let fees = Signed::sign(&self.key, fees);
        let brands = &self.brands[..brands];
        let mut entries = vec![RegisterEntry::of(&fees)];
        entries.extend(brands.iter().map(RegisterEntry::of));
        if brands.len() == self.brands.len() {
            entries.extend(self.days.iter().map(RegisterEntry::of));
        }
        let mut tree = Tree::default();
        tree.append(&entries.iter().map(RegisterEntry::leaf).collect::<Vec<Hash>>());
        let origin = Self::signer().verifier().origin().to_owned();
        let checkpoint = Checkpoint { origin, size: tree.size(), root: tree.root() };
        RegisterCopy {
            checkpoint: Self::signer().sign(&checkpoint).expect("signs").into_string(),
            entries,
            brands: brands.iter().map(Unverified::from).collect(),
            fees: vec![Unverified::from(&fees)],
        }
    }

    /// The description when there were so many brands.
    pub fn description_of(&self, brands: usize) -> BankDescription {
        BankDescription {
            bank: self.key.public(),
            currency: self.rules.currency.clone(),
            register: self.register_of(brands),
            logs: self.rules.logs.keys().copied().collect(),
            locks: self.rules.locks,
            chains: self.rules.chains,
            deliveries: Vec::new(),
            keepers: self.rules.keepers.clone(),
        }
    }

    /// Sums up a day on which so many tokens of each brand had been issued.
    pub fn close_day(&mut self, day: Day, issued_total: impl Fn(&Brand) -> u64) {
        let row = |brand: &Signed<Brand>| BrandDay {
            brand: Digest(brand.key_id()),
            issued: 0,
            issued_root: Digest([0; 32]),
            redeemed: 0,
            redeemed_root: Digest([0; 32]),
            issued_total: issued_total(brand),
            redeemed_total: 0,
        };
        let mut brands: Vec<BrandDay> = self.brands.iter().map(row).collect();
        brands.sort_by_key(|row| row.brand);
        self.days.push(Signed::sign(&self.key, DaySummary { bank: self.key.public(), day, brands }));
    }

    pub fn open(&mut self, account: PublicKey) {
        self.balances.entry(account).or_default();
    }

    pub fn pay_in(&mut self, account: PublicKey, amount: Amount) {
        let balance = self.balances.get_mut(&account).expect("an open account");
        *balance = balance.checked_add(amount).expect("little");
    }

    pub fn pay_out(&mut self, account: PublicKey, amount: Amount) {
        let balance = self.balances.get_mut(&account).expect("an open account");
        *balance = balance.checked_sub(amount).expect("enough");
    }

    pub fn balance(&self, account: &PublicKey) -> Option<Amount> {
        self.balances.get(account).copied()
    }

    /// What the bank owes the holders of tokens.
    pub fn outstanding(&self) -> Amount {
        let sum = |chosen: fn(&Transfer) -> &LedgerAccount| {
            let lines = self.transfers.iter().filter(|line| matches!(chosen(line), LedgerAccount::Tokens(_)));
            lines.map(|line| line.amount.micros()).sum::<u64>()
        };
        Amount::from_micros(sum(|line| &line.to) - sum(|line| &line.from))
    }

    /// How many requests it has accepted.
    pub fn accepted(&self) -> usize {
        self.records.len()
    }

    pub fn call(&mut self, call: &BankCall, now: Timestamp) -> Result<BankReply, Problem> {
        let request = match call {
            BankCall::Check(query) => {
                let CheckQuery { commitment, refund, .. } = *query.claimed_body();
                query.clone().verify(&refund)?;
                let chain = self.chains.get(&commitment).ok_or(Refusal::UnknownChain)?;
                assert_eq!(chain.refund, refund, "asked by the check's maker");
                let LockedChain { maximum, paid, returned, .. } = *chain;
                return Ok(BankReply::Check(Standing { maximum, paid, returned }));
            }
            BankCall::Challenge => return Ok(BankReply::Challenge(Challenge::new(&[1; 32], now))),
            BankCall::Describe => return Ok(BankReply::Description(self.description())),
            BankCall::Balance(query) => {
                let account = query.claimed_body().account;
                query.clone().verify(&account)?;
                let balance = self.balances.get(&account).copied();
                return balance.map(BankReply::Balance).ok_or_else(|| Problem::new("unknown_account", ""));
            }
            BankCall::Status(id) => {
                let record = self.records.get(id).cloned();
                let record = record.ok_or_else(|| Problem::new("unknown_purchase", ""))?;
                return Ok(BankReply::Exchange(Box::new(self.reply(&record))));
            }
            BankCall::Output { brand, message } => return Ok(BankReply::Output(self.fate(brand, message))),
            BankCall::Token(query) => {
                let query = query.clone().verify(&query.claimed_body().q)?;
                let holder = self.holders.get(&nonce_mark(&query.brand.0, &query.nonce()));
                let record = holder.and_then(|id| self.records.get(id));
                return Ok(BankReply::Token(record.map(|record| Box::new(UnverifiedRecord::from(&**record)))));
            }
            BankCall::OpenAccount(request) => authenticate_account(&self.rules, request.clone())?,
            BankCall::Exchange(request) => authenticate(&self.rules, request.clone())?,
            BankCall::Settle(decision) => authenticate_decision(&self.rules, decision.clone())?,
            BankCall::IssuerDirectory(_) | BankCall::Issue(_) => return Err(Problem::new("not_found", "")),
            BankCall::Receipt { .. } => return Err(Problem::new("unknown_purchase", "")),
            BankCall::Public(path) => {
                let index = path.strip_prefix("/body/").and_then(|index| index.parse::<usize>().ok());
                let day = index.and_then(|index| self.days.get(index.checked_sub(1 + self.brands.len())?));
                let day = day.ok_or_else(|| Problem::new("not_found", ""))?;
                let file = PublicFile { kind: PublicKind::Body, bytes: day.bytes().to_vec().into() };
                return Ok(BankReply::Public(file));
            }
        };
        let view = self.view(&request.needs());
        let record = match decide(&self.rules, &view, &request, now)? {
            Decided::Replay(record) => record,
            Decided::Nothing => return Ok(BankReply::Opened),
            Decided::Write(plan) => match self.write(plan) {
                Some(record) => record,
                None => return Ok(BankReply::Opened),
            },
        };
        Ok(BankReply::Exchange(Box::new(self.reply(&record))))
    }

    fn fate(&self, brand: &Digest, message: &BlindedMessage) -> OutputFate {
        let has = |record: &&Arc<Record>| record.exchange.blinded().any(|wanted| wanted == (brand, message));
        let states: Vec<State> = self.records.values().filter(has).map(|record| record.state).collect();
        if states.iter().any(|state| matches!(state, State::Done | State::Committed)) {
            return OutputFate::Issued(Box::new(self.secrets[brand].blind_sign(message).expect("signed")));
        }
        match states.contains(&State::Locked) {
            true => OutputFate::Pending,
            false if states.is_empty() => OutputFate::Unknown,
            false => OutputFate::Void,
        }
    }

    fn view(&self, needs: &Needs) -> View {
        let record = |id: &RequestId| self.records.get(id).cloned();
        let holder = |mark: &Mark| self.holders.get(mark).and_then(record).map(|record| (*mark, record));
        let balance = |account: &PublicKey| self.balances.get(account).map(|balance| (*account, *balance));
        View {
            record: needs.record.as_ref().and_then(record),
            holders: needs.marks.iter().filter_map(holder).collect(),
            balances: needs.accounts.iter().filter_map(balance).collect(),
            remainders: needs.remainders.iter().filter_map(|t| Some((*t, *self.remainders.get(t)?))).collect(),
            chains: needs.chains.iter().filter_map(|c| Some((*c, *self.chains.get(c)?))).collect(),
        }
    }

    fn write(&mut self, plan: Plan) -> Option<Arc<Record>> {
        let record = match plan.record {
            RecordWrite::Open(account) => {
                self.open(account);
                return None;
            }
            RecordWrite::Insert(record) | RecordWrite::Settle(record) => record,
        };
        for mark in plan.marks {
            assert!(self.holders.insert(mark, record.id()).is_none(), "a mark is held once");
        }
        for mark in plan.freed {
            if self.holders.get(&mark) == Some(&record.id()) {
                self.holders.remove(&mark);
            }
        }
        for Draw { token, change } in plan.draws {
            let after = match (self.remainders.get(&token), change) {
                (None, DrawChange::Open { left }) => Remainder { left, uses: 1 },
                (before, change) => before.and_then(|before| before.after(&change)).expect("a draw that fits"),
            };
            self.remainders.insert(token, after);
        }
        for write in plan.chains {
            let before = self.chains.insert(write.commitment, write.after);
            assert_eq!(before, write.before, "a check is written as it was seen");
        }
        for line in &plan.transfers {
            if let LedgerAccount::Customer(account) = line.from {
                let balance = self.balances.get_mut(&account).expect("open");
                *balance = balance.checked_sub(line.amount).expect("guarded");
            }
            if let LedgerAccount::Customer(account) = line.to {
                self.pay_in(account, line.amount);
            }
        }
        self.transfers.extend(plan.transfers);
        self.records.insert(record.id(), record.clone());
        Some(record)
    }

    fn reply(&self, record: &Record) -> ExchangeReply {
        let delivered = matches!(record.state, State::Done | State::Committed);
        let blinded = record.exchange.blinded().filter(|_| delivered);
        let header = Header::of(&record.exchange, record.id());
        let promise = header.as_ref().and_then(|header| AuthorizationB::of(&record.exchange, header));
        let signatures: Vec<_> = blinded.map(|(brand, b)| self.secrets[brand].blind_sign(b).expect("signed")).collect();
        let sealed = record.exchange.seal_to.map(|to| seal_signatures(&to, &record.id(), &signatures, &[1; 32]));
        ExchangeReply {
            request: record.id(),
            state: record.state,
            signatures: if sealed.is_some() { Vec::new() } else { signatures },
            sealed: sealed.map(|sealed| sealed.expect("sealed")),
            header: header.map(|header| Unverified::from(&Signed::sign(&self.key, header))),
            authorization_b: promise.map(|promise| Unverified::from(&Signed::sign(&self.key, promise))),
            loads: Vec::new(),
            certificates: record
                .exchange
                .certificates()
                .map(|certificate| Unverified::from(&Signed::sign(&self.key, certificate)))
                .collect(),
            decision: record.decision.as_ref().map(UnverifiedDecision::from),
        }
    }
}
