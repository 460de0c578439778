//! What needs no books: checking what comes in, and signing what goes out. Many threads do it at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use naulon_blind::{BlindSignature, BlindedMessage, Brand, BrandError, KnownBrand};
use naulon_exchange::register::{FeeTable, Receipt, RegisterCopy, Side};
use naulon_exchange::{
    AuthorizationB, BalanceQuery, Challenge, CheckQuery, Exchange, Header, Input, Mark, Needs, Record, Refusal,
    Request, RequestId, Rules, Standing, State, TokenQuery, UnverifiedRecord, authenticate, authenticate_account,
    authenticate_decision, nonce_mark, output_key, seal_signatures,
};
use naulon_money::Amount;
use naulon_statement::{
    BoxPublicKey, Digest, Duration, PublicKey, SecretKey, Signed, Timestamp, Unverified, derive_secret,
};
use naulon_wire::{
    BankCall, BankDescription, BankReply, ExchangeReply, IssuerDirectory, OutputFate, Problem, PublicFile,
};
use zeroize::Zeroizing;

use crate::register::Shown;
use crate::signatory::{Signatory, SignatoryError};

/// How old, or how far ahead, the time in a question for a balance may be.
pub const MAX_QUERY_AGE: Duration = Duration::seconds(5 * 60);

/// A bank without its books. Clones are the same desk.
#[derive(Clone)]
pub struct Desk {
    shared: Arc<Shared>,
}

struct Shared {
    bank: SecretKey,
    /// Makes and recognises challenges. It comes from the bank's key, so all processes of a bank have the same.
    challenges: Zeroizing<[u8; 32]>,
    signatory: Arc<dyn Signatory>,
    rulebook: RwLock<Arc<Rulebook>>,
    register: RwLock<Arc<RegisterCopy>>,
    clock: AtomicU64,
}

/// The rules in force.
pub(crate) struct Rulebook {
    pub(crate) rules: Rules,
}

/// A call whose signatures, tokens and proofs hold. What is left to check needs the books.
#[derive(Debug)]
pub struct Authenticated(Task);

#[derive(Debug)]
pub(crate) enum Task {
    Describe,
    Challenge,
    Request(Box<Request>),
    Balance(PublicKey),
    Check(CheckQuery),
    Status(RequestId),
    IssuerDirectory(Digest),
    Output(Wanted),
    Token(Mark),
    Receipt(Item),
    Public(String),
}

/// Something that an exchange issued or redeemed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) request: RequestId,
    pub(crate) side: Side,
    pub(crate) item: Digest,
}

/// A blinded output that somebody asks for again.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) brand: Digest,
    pub(crate) message: Box<BlindedMessage>,
}

impl Wanted {
    /// By what the store finds it.
    pub(crate) fn key(&self) -> Digest {
        output_key(&self.brand, &self.message)
    }
}

/// What the books say to a call, written down where it changed them. Signing the reply is left to do.
#[derive(Clone, Debug)]
pub struct Applied(pub(crate) Answer);

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Description,
    Challenge(Challenge),
    Opened,
    Balance(Amount),
    Check(Standing),
    /// For whoever knows the id.
    Record(Arc<Record>),
    /// For whoever has sent the signed exchange.
    Owned(Arc<Record>),
    /// An output, and the state of the request that it belongs to, if the bank has accepted one.
    Output(Wanted, Option<State>),
    /// For whoever has a token's key: the request that holds it.
    Holder(Option<Arc<Record>>),
    IssuerDirectory(Digest),
    Shown(Box<Shown>),
    Public(PublicFile),
}

/// A brand that a bank cannot take on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrandRefusal {
    /// It is another bank's, in another currency, or signed by another key. Operator: is it the right data directory?
    #[error("a brand of another bank or currency: check that settings and data directory belong together")]
    Foreign,
    /// It makes no sense by itself.
    #[error(transparent)]
    Brand(#[from] BrandError),
    /// Its private key is not at hand. Operator: restore its key file.
    #[error("the private key of the brand {0} is missing: restore its key file")]
    KeyMissing(Digest),
    /// Another brand has its key, or its currency, denomination, purpose and first day.
    #[error("another brand has the key or the place of the brand {0}")]
    Taken(Digest),
}

impl Desk {
    pub(crate) fn new(bank: SecretKey, signatory: Arc<dyn Signatory>, rules: Rules, time: Timestamp) -> Self {
        let rules = Rules { brands: BTreeMap::new(), ..rules };
        let rulebook = RwLock::new(Arc::new(Rulebook { rules }));
        let nothing =
            RegisterCopy { checkpoint: String::new(), entries: Vec::new(), brands: Vec::new(), fees: Vec::new() };
        let register = RwLock::new(Arc::new(nothing));
        let mut challenges = Zeroizing::new([0; 32]);
        // No statement of the bank has such a message, and the signature is shown to nobody.
        derive_secret(&bank.sign(b"naulon/challenges/1"), &[b"naulon/challenges/1"], challenges.as_mut_slice());
        Desk {
            shared: Arc::new(Shared { bank, challenges, signatory, rulebook, register, clock: AtomicU64::new(time.0) }),
        }
    }

    /// The rules now in force.
    pub fn rules(&self) -> Rules {
        self.rulebook().rules.clone()
    }

    /// The bank's time: the highest that it was ever told, so that it never runs backwards.
    pub fn advance_clock(&self, now: Timestamp) -> Timestamp {
        let now = now.min(Timestamp::MAX).0;
        Timestamp(self.shared.clock.fetch_max(now, Ordering::AcqRel).max(now))
    }

    /// Checks a call by itself. Expensive, and needs no state: any thread may do it at any time.
    pub fn authenticate(&self, call: BankCall, now: Timestamp) -> Result<Authenticated, Problem> {
        let rulebook = self.rulebook();
        let rules = &rulebook.rules;
        let request = match call {
            BankCall::Describe => return Ok(Authenticated(Task::Describe)),
            BankCall::Challenge => return Ok(Authenticated(Task::Challenge)),
            BankCall::Status(id) => return Ok(Authenticated(Task::Status(id))),
            BankCall::Receipt { request, side, item } => {
                return Ok(Authenticated(Task::Receipt(Item { request, side, item })));
            }
            BankCall::Public(path) => return Ok(Authenticated(Task::Public(path))),
            BankCall::Balance(query) => {
                let account = check_query(rules, query, self.advance_clock(now))?;
                return Ok(Authenticated(Task::Balance(account)));
            }
            BankCall::Check(query) => {
                let query = check_check_query(rules, query, self.advance_clock(now))?;
                return Ok(Authenticated(Task::Check(query)));
            }
            BankCall::Output { brand, message } => {
                let known = rules.brands.get(&brand).ok_or(Refusal::UnknownBrand)?;
                if self.advance_clock(now) >= known.brand().redeem_until {
                    return Err(Refusal::BrandClosed.into());
                }
                return Ok(Authenticated(Task::Output(Wanted { brand, message })));
            }
            BankCall::Token(query) => {
                let mark = check_token_query(rules, query, self.advance_clock(now))?;
                return Ok(Authenticated(Task::Token(mark)));
            }
            BankCall::OpenAccount(open) => authenticate_account(rules, open)?,
            BankCall::Exchange(exchange) => {
                self.check_challenges(exchange.claimed_body())?;
                authenticate(rules, exchange)?
            }
            // The same exchange; `as_issued` takes what the client wants out of the reply.
            BankCall::Issue(order) => {
                self.check_challenges(order.exchange().claimed_body())?;
                authenticate(rules, order.into_exchange())?
            }
            BankCall::IssuerDirectory(brand) => return Ok(Authenticated(Task::IssuerDirectory(brand))),
            BankCall::Settle(decision) => authenticate_decision(rules, decision)?,
        };
        Ok(Authenticated(Task::Request(Box::new(request))))
    }

    /// Signs the reply. It says only what is durable: what was applied has been written.
    pub fn complete(&self, applied: Applied) -> Result<BankReply, Problem> {
        match applied.0 {
            Answer::Description => Ok(BankReply::Description(self.describe())),
            Answer::Challenge(challenge) => Ok(BankReply::Challenge(challenge)),
            Answer::Opened => Ok(BankReply::Opened),
            Answer::IssuerDirectory(brand) => Ok(BankReply::IssuerDirectory(Box::new(self.issuer_directory(&brand)?))),
            Answer::Check(standing) => Ok(BankReply::Check(standing)),
            Answer::Balance(balance) => Ok(BankReply::Balance(balance)),
            Answer::Owned(record) => Ok(BankReply::Exchange(Box::new(self.promise(&record, self.reply(&record)?)))),
            Answer::Record(record) => Ok(BankReply::Exchange(Box::new(self.reply(&record)?))),
            Answer::Output(wanted, state) => Ok(BankReply::Output(self.fate(&wanted, state)?)),
            Answer::Holder(record) => {
                Ok(BankReply::Token(record.map(|record| Box::new(UnverifiedRecord::from(&*record)))))
            }
            Answer::Public(file) => Ok(BankReply::Public(file)),
            Answer::Shown(shown) => Ok(BankReply::Receipt(Box::new(match *shown {
                Shown::Promise(promise) => Receipt::Promised(self.signed(promise)),
                Shown::Receipt(receipt) => receipt,
            }))),
        }
    }

    /// What the bank says of itself.
    pub fn describe(&self) -> BankDescription {
        let rulebook = self.rulebook();
        let rules = &rulebook.rules;
        BankDescription {
            bank: rules.bank,
            currency: rules.currency.clone(),
            register: RegisterCopy::clone(&self.register()),
            logs: rules.logs.keys().copied().collect(),
            locks: rules.locks,
            chains: rules.chains,
            deliveries: rules.deliveries.iter().copied().collect(),
            keepers: rules.keepers.clone(),
        }
    }

    /// What a stock Privacy Pass client must know of a brand.
    pub fn issuer_directory(&self, brand: &Digest) -> Result<IssuerDirectory, Refusal> {
        let rulebook = self.rulebook();
        let known = rulebook.rules.brands.get(brand).ok_or(Refusal::UnknownBrand)?.brand();
        Ok(IssuerDirectory { brand: *brand, key: known.key, issue_from: known.issue_from })
    }

    /// The bank's statement that this is a brand of it.
    pub(crate) fn state_brand(&self, brand: &Brand) -> Signed<Brand> {
        Signed::sign(&self.shared.bank, brand.clone())
    }

    /// The bank's statement of what it charges.
    pub(crate) fn state_fees(&self, fees: FeeTable) -> Signed<FeeTable> {
        Signed::sign(&self.shared.bank, fees)
    }

    /// The bank's private key.
    pub(crate) fn key(&self) -> &SecretKey {
        &self.shared.bank
    }

    /// The register as it is handed out.
    pub fn register(&self) -> Arc<RegisterCopy> {
        self.shared.register.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hands out this register from now on; all of it is durable.
    pub(crate) fn show(&self, register: RegisterCopy) {
        *self.shared.register.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(register);
    }

    /// Checks that a brand is one that this bank can issue and redeem.
    pub(crate) fn check_brand(&self, brand: &Signed<Brand>) -> Result<Arc<KnownBrand>, BrandRefusal> {
        let rulebook = self.rulebook();
        let rules = &rulebook.rules;
        if brand.signer() != rules.bank || brand.bank != rules.bank || brand.currency != rules.currency {
            return Err(BrandRefusal::Foreign);
        }
        let known = KnownBrand::new(Brand::clone(brand))?;
        let id = Digest(*known.key_id());
        if self.shared.signatory.holds(&id) { Ok(Arc::new(known)) } else { Err(BrandRefusal::KeyMissing(id)) }
    }

    /// Takes on brands that are durable in the store and stand in the register.
    pub(crate) fn take_on(&self, brands: &[Arc<KnownBrand>]) {
        let mut rulebook = self.shared.rulebook.write().unwrap_or_else(PoisonError::into_inner);
        let mut rules = rulebook.rules.clone();
        for known in brands {
            rules.brands.insert(Digest(*known.key_id()), known.clone());
        }
        *rulebook = Arc::new(Rulebook { rules });
    }

    pub(crate) fn rulebook(&self) -> Arc<Rulebook> {
        self.shared.rulebook.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What anybody who knows a request's id may be told. For a purchase the log publishes that id, so the merchant, n and
    /// the value are not in it (AAT §6). Everything is recomputed from the record: blind RSA and Ed25519 are deterministic,
    /// so the same record gives the same bytes.
    fn reply(&self, record: &Record) -> Result<ExchangeReply, Problem> {
        let signatures = match record.state {
            State::Done | State::Committed => self.blind_signatures(record)?,
            State::Locked | State::Aborted => Vec::new(),
        };
        let (signatures, sealed) = match record.exchange.seal_to.filter(|_| !signatures.is_empty()) {
            Some(to) => (Vec::new(), Some(self.sealed(&to, &record.id(), &signatures)?)),
            None => (signatures, None),
        };
        Ok(ExchangeReply {
            request: record.id(),
            state: record.state,
            signatures,
            sealed,
            header: None,
            authorization_b: None,
            certificates: Vec::new(),
            loads: Vec::new(),
            decision: record.decision.as_ref().map(Into::into),
        })
    }

    /// What became of an output. The bank signs only what it has signed before: for a request that it has accepted, whose
    /// value it has taken.
    fn fate(&self, wanted: &Wanted, state: Option<State>) -> Result<OutputFate, Problem> {
        Ok(match state {
            None => OutputFate::Unknown,
            Some(State::Locked) => OutputFate::Pending,
            Some(State::Aborted) => OutputFate::Void,
            Some(State::Done | State::Committed) => {
                let signature = self.shared.signatory.blind_sign(&wanted.brand, &wanted.message).map_err(unsigned)?;
                OutputFate::Issued(Box::new(signature))
            }
        })
    }

    /// A question to a payee, of this moment.
    pub(crate) fn challenge(&self, now: Timestamp) -> Challenge {
        Challenge::new(&self.shared.challenges, now)
    }

    /// Whether all ticks are cashed with challenges of this bank. How old they are is looked at by the books, so that what
    /// was accepted is answered again later.
    fn check_challenges(&self, exchange: &Exchange) -> Result<(), Refusal> {
        let is_ours = |input: &Input| match input {
            Input::Chain { challenge, .. } => challenge.is_by(&self.shared.challenges),
            _ => true,
        };
        exchange.inputs.iter().all(is_ours).then_some(()).ok_or(Refusal::ChallengeForged)
    }

    /// The reply with what the bank promises and certifies, for whoever has sent the signed exchange itself.
    fn promise(&self, record: &Record, reply: ExchangeReply) -> ExchangeReply {
        let header = Header::of(&record.exchange, record.id());
        let promise = header.as_ref().and_then(|header| AuthorizationB::of(&record.exchange, header));
        let authorization_b = promise.map(|promise| self.signed(promise));
        let is_done = matches!(record.state, State::Done | State::Committed);
        let done = is_done.then_some(&record.exchange);
        let certificates = done.into_iter().flat_map(|done| done.certificates()).map(|it| self.signed(it)).collect();
        let loads = done.into_iter().flat_map(|done| done.loads()).map(|it| self.signed(it)).collect();
        let header = header.map(|header| self.signed(header));
        ExchangeReply { header, authorization_b, certificates, loads, ..reply }
    }

    fn blind_signatures(&self, record: &Record) -> Result<Vec<BlindSignature>, Problem> {
        let sign = |(brand, message)| self.shared.signatory.blind_sign(brand, message).map_err(unsigned);
        record.exchange.blinded().map(sign).collect()
    }

    /// The blind signatures as only the holder of this key can read them, the same bytes every time: their entropy comes from
    /// the bank's key and the request. No statement of the bank has such a message, and the signature is shown to nobody.
    fn sealed(
        &self,
        to: &BoxPublicKey,
        request: &RequestId,
        signatures: &[BlindSignature],
    ) -> Result<Vec<u8>, Problem> {
        let message = [b"naulon/sealed-reply/1", &request.0[..]].concat();
        let entropy = Digest::of(&[b"naulon/sealed-reply/1", &self.shared.bank.sign(&message)]);
        seal_signatures(to, request, signatures, &entropy.0).map_err(|error| Problem::new("internal", error))
    }

    pub(crate) fn signed<T: naulon_statement::Statement + Clone>(&self, body: T) -> Unverified<T> {
        Unverified::from(&Signed::sign(&self.shared.bank, body))
    }
}

impl Task {
    /// The output that it asks for again, if that is what it is.
    pub(crate) fn wanted(&self) -> Option<&Wanted> {
        match self {
            Task::Output(wanted) => Some(wanted),
            _ => None,
        }
    }
}

impl Authenticated {
    /// What the bank does by its own clock.
    pub(crate) fn lapse(purchase: RequestId) -> Self {
        Authenticated(Task::Request(Box::new(Request::Lapse(purchase))))
    }

    pub(crate) fn task(&self) -> &Task {
        &self.0
    }

    /// What the call touches.
    pub(crate) fn needs(&self) -> Needs {
        match &self.0 {
            Task::Describe | Task::Challenge | Task::IssuerDirectory(_) => Needs::default(),
            Task::Request(request) => request.needs(),
            Task::Balance(account) => Needs { accounts: [*account].into(), ..Needs::default() },
            Task::Check(query) => Needs { chains: [query.commitment].into(), ..Needs::default() },
            Task::Status(id) => Needs { record: Some(*id), ..Needs::default() },
            Task::Token(mark) => Needs { marks: vec![*mark], ..Needs::default() },
            // The store is asked for it apart.
            Task::Output(_) => Needs::default(),
            Task::Receipt(_) | Task::Public(_) => Needs::default(),
        }
    }
}

/// The reply to an order of one token as a stock Privacy Pass client wants it: the blind signature alone.
pub(crate) fn as_issued(reply: BankReply) -> Result<BankReply, Problem> {
    match reply {
        BankReply::Exchange(reply) => match reply.signatures.as_slice() {
            [signature] => Ok(BankReply::Issued(*signature)),
            _ => Err(Problem::new("internal", "the order has delivered something else than one token")),
        },
        _ => Err(Problem::new("internal", "the order has another reply than an exchange")),
    }
}

/// Whose balance is asked for, if that account's key has asked lately.
fn check_query(rules: &Rules, query: Unverified<BalanceQuery>, now: Timestamp) -> Result<PublicKey, Problem> {
    let BalanceQuery { bank, account, .. } = *query.claimed_body();
    if bank != rules.bank {
        return Err(Refusal::WrongBank.into());
    }
    let query = query.verify(&account)?;
    check_fresh(query.at, now)?;
    Ok(account)
}

/// The check that is asked about, if its refund key has asked lately.
fn check_check_query(rules: &Rules, query: Unverified<CheckQuery>, now: Timestamp) -> Result<CheckQuery, Problem> {
    let CheckQuery { bank, refund, .. } = *query.claimed_body();
    if bank != rules.bank {
        return Err(Refusal::WrongBank.into());
    }
    let query = query.verify(&refund)?;
    check_fresh(query.at, now)?;
    Ok(query.into_body())
}

/// The mark of the token that is asked about, if its key has asked lately.
fn check_token_query(rules: &Rules, query: Unverified<TokenQuery>, now: Timestamp) -> Result<Mark, Problem> {
    let TokenQuery { bank, q, .. } = *query.claimed_body();
    if bank != rules.bank {
        return Err(Refusal::WrongBank.into());
    }
    let query = query.verify(&q)?;
    check_fresh(query.at, now)?;
    Ok(nonce_mark(&query.brand.0, &query.nonce()))
}

fn check_fresh(at: Timestamp, now: Timestamp) -> Result<(), Problem> {
    let (age, lead) = (now.since(at), at.since(now));
    if age.max(lead) > MAX_QUERY_AGE { Err(Refusal::Stale.into()) } else { Ok(()) }
}

/// The request is written down, so whoever asks again later gets the signature.
fn unsigned(error: SignatoryError) -> Problem {
    tracing::error!(%error, "a blind signature could not be made");
    match error {
        SignatoryError::Missing | SignatoryError::Unreachable => Problem::new("unavailable", error),
        SignatoryError::Sign(_) => Problem::new("internal", error),
    }
}
