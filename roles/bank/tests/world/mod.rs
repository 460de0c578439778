//! What the tests share: a bank with fixed keys, its operator, a log, and customers.

#![allow(dead_code)] // Each test program uses its own part.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use naulon_bank::{Bank, BankKeys, BankStore, KeyRing};
use naulon_blind::{BlindedMessage, Brand, IssuerSecret, KnownBrand, Method, Purpose, Token, TokenSecrets, Unblinder};
use naulon_exchange::{
    ChainLimits, Condition, Exchange, Header, Input, LockLimits, LogDecision, LogIdentity, OpenAccount, Outcome,
    Output, ProvenDecision, Rules, State, UnverifiedDecision, key_commitment,
};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, Joint, SecretKey, Signed, Timestamp, Unverified, UnverifiedJoint};
use naulon_tlog::{Checkpoint, CheckpointSigner, Hash, InclusionProof, Tree, inclusion_proof, leaf_hash};
use naulon_wire::{BankCall, BankReply, ExchangeReply, Problem};

/// The bank's clock in most tests.
pub const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// The merchandise key in most tests.
pub const K: [u8; 32] = [0x4b; 32];

const DERS: [&[u8]; 5] = [
    include_bytes!("../../../../vectors/brand-keys/test-only-00.pkcs8.der"),
    include_bytes!("../../../../vectors/brand-keys/test-only-01.pkcs8.der"),
    include_bytes!("../../../../vectors/brand-keys/test-only-02.pkcs8.der"),
    include_bytes!("../../../../vectors/brand-keys/test-only-03.pkcs8.der"),
    include_bytes!("../../../../vectors/brand-keys/test-only-04.pkcs8.der"),
];

/// The fixed brand keys. Reading one takes 25 ms, so they are read once.
pub fn issuer_secrets() -> &'static [IssuerSecret] {
    static KEYS: OnceLock<Vec<IssuerSecret>> = OnceLock::new();
    KEYS.get_or_init(|| DERS.iter().map(|der| IssuerSecret::from_der(der).expect("a test key")).collect())
}

pub fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(&Digest::of(&[b"test key ", name.as_bytes()]).0)
}

pub fn amount(text: &str) -> Amount {
    text.parse().expect("an amount")
}

/// The brands: ones, twos and fives now, ones of the period before (no longer issued), ones of the next (not yet).
pub const ONE: usize = 0;
pub const TWO: usize = 1;
pub const FIVE: usize = 2;
pub const OLD_ONE: usize = 3;
pub const NEXT_ONE: usize = 4;

pub fn brand(which: usize) -> Arc<KnownBrand> {
    static BRANDS: OnceLock<Vec<Arc<KnownBrand>>> = OnceLock::new();
    let brands = BRANDS.get_or_init(|| {
        let terms = [("1", 0), ("2", 0), ("5", 0), ("1", -30), ("1", 30)];
        let brand = |((denomination, days), secret): ((&str, i64), &IssuerSecret)| {
            let from = NOW.0.checked_add_signed((days - 1) * 86_400_000).expect("in range");
            let after = |days| Timestamp(from).plus(Duration::days(days));
            let brand = Brand {
                bank: key("bank").public(),
                currency: "EUR".parse().expect("a currency"),
                denomination: amount(denomination),
                method: Method::BlindRsa2048,
                purpose: Purpose::Money,
                issue_from: Timestamp(from),
                withdraw_until: after(30),
                spend_until: after(60),
                redeem_until: after(90),
                key: *secret.public().spki(),
            };
            Arc::new(KnownBrand::new(brand).expect("a sound brand"))
        };
        terms.into_iter().zip(issuer_secrets()).map(brand).collect()
    });
    brands[which].clone()
}

pub fn brand_id(which: usize) -> Digest {
    Digest(*brand(which).key_id())
}

pub fn rules() -> Rules {
    let brands = (0..DERS.len()).map(|which| (brand_id(which), brand(which)));
    Rules {
        bank: key("bank").public(),
        operator: key("operator").public(),
        currency: "EUR".parse().expect("a currency"),
        brands: brands.collect(),
        logs: BTreeMap::from([(key("log").public(), TestLog::default().identity())]),
        locks: LockLimits::default(),
        chains: ChainLimits::default(),
        deliveries: Default::default(),
        keepers: Default::default(),
    }
}

pub fn signatory() -> Arc<KeyRing> {
    Arc::new(KeyRing::new(issuer_secrets().iter().cloned()))
}

pub fn keys() -> BankKeys {
    let checkpoints = CheckpointSigner::new("bank.example/register", &[8; 32]).expect("an origin");
    BankKeys { bank: key("bank"), checkpoints }
}

pub fn open<S: BankStore>(store: S) -> Bank<S> {
    Bank::open(keys(), rules(), signatory(), store).expect("the bank opens")
}

/// A log that decides what it is told to.
pub struct TestLog {
    signer: CheckpointSigner,
    key: SecretKey,
}

impl Default for TestLog {
    fn default() -> Self {
        TestLog::named("log")
    }
}

impl TestLog {
    pub fn named(name: &str) -> Self {
        let signer = CheckpointSigner::new("log.example/test", &[7; 32]).expect("a signer");
        TestLog { signer, key: key(name) }
    }

    pub fn identity(&self) -> LogIdentity {
        LogIdentity { key: self.key.public(), checkpoints: self.signer.verifier().clone() }
    }

    pub fn decide(&self, header: &Header, time: Timestamp, outcome: Outcome) -> ProvenDecision {
        self.publish(LogDecision::on(header, time, outcome))
    }

    /// Signs the decision and puts it into a tree of its own.
    pub fn publish(&self, decision: LogDecision) -> ProvenDecision {
        let decision = Signed::sign(&self.key, decision);
        let leaf = leaf_hash(&decision.entry(decision.bytes()));
        let (mut tree, mut store) = (Tree::default(), Vec::<Hash>::new());
        store.extend(tree.append(&[leaf]).into_iter().map(|(_, hash)| hash));
        let checkpoint = Checkpoint { origin: "log.example/test".into(), size: 1, root: tree.root() };
        let note = self.signer.sign(&checkpoint).expect("signs");
        let path = inclusion_proof(1, 0, &store).expect("in the tree");
        ProvenDecision::by_own_log(decision, InclusionProof { index: 0, size: 1, path }, note.into_string())
    }
}

/// An output that is a blinded message, and what makes a token of the answer.
pub struct Blind {
    pub which: usize,
    pub message: BlindedMessage,
    secrets: TokenSecrets,
    unblinder: Unblinder,
}

/// A token and the key that spends it.
pub struct Coin {
    pub token: Token,
    pub q: SecretKey,
}

impl Blind {
    /// A new one; the index makes it unlike all others.
    pub fn new(which: usize, index: u32) -> Self {
        let known = brand(which);
        let secrets = TokenSecrets::derive(&[5; 64], known.key_id(), index);
        let input = known.token_input(secrets.secret_key().public().0);
        let (message, unblinder) =
            input.blind(known.issuer_key(), secrets.salt(), secrets.r()).expect("a blinding factor");
        Blind { which, message, secrets, unblinder }
    }

    pub fn output(&self) -> Output {
        Output::Blinded { brand: brand_id(self.which), message: self.message }
    }

    /// Unblinds, which verifies the token too.
    pub fn coin(&self, signature: &naulon_blind::BlindSignature) -> Coin {
        let known = brand(self.which);
        let q = self.secrets.secret_key();
        let token = known.token_input(q.public().0).finalize(known.issuer_key(), signature, &self.unblinder);
        Coin { token: token.expect("the bank's signature holds"), q }
    }
}

impl Coin {
    pub fn input(&self) -> Input {
        Input::token(self.token)
    }
}

pub fn exchange(inputs: Vec<Input>, outputs: Vec<Output>) -> Exchange {
    let Rules { bank, currency, .. } = rules();
    Exchange { bank, currency, inputs, outputs, condition: None, seal_to: None }
}

/// The call of an exchange signed by these keys.
pub fn call<'k>(exchange: Exchange, keys: impl IntoIterator<Item = &'k SecretKey>) -> BankCall {
    BankCall::Exchange(UnverifiedJoint::from(Joint::sign(exchange, keys)))
}

pub fn open_account(account: &SecretKey) -> BankCall {
    let open = OpenAccount { bank: key("bank").public(), account: account.public() };
    BankCall::OpenAccount(Unverified::from(&Signed::sign(account, open)))
}

/// Money from outside for an account.
pub fn credit(account: &SecretKey, value: Amount, reference: u8) -> BankCall {
    let input = Input::Outside { amount: value, reference: [reference; 16] };
    let output = Output::Account { account: account.public(), amount: value };
    call(exchange(vec![input], vec![output]), [&key("operator")])
}

/// An order on an account for these outputs.
pub fn order(account: &SecretKey, value: Amount, order: u8, outputs: Vec<Output>) -> BankCall {
    let input = Input::Account { account: account.public(), amount: value, order: [order; 16] };
    call(exchange(vec![input], outputs), [account])
}

/// Tokens for an account.
pub fn deposit(coins: &[&Coin], account: &SecretKey) -> BankCall {
    let values = coins.iter().map(|coin| value_of(&coin.token));
    let total = Amount::checked_sum(values).expect("countable");
    let output = Output::Account { account: account.public(), amount: total };
    call(exchange(coins.iter().map(|coin| coin.input()).collect(), vec![output]), coins.iter().map(|coin| &coin.q))
}

pub fn value_of(token: &Token) -> Amount {
    let known = (0..DERS.len()).map(brand).find(|known| known.key_id() == token.key_id());
    known.expect("a brand of ours").brand().denomination
}

pub fn condition(n: u8) -> Condition {
    Condition {
        n: [n; 16],
        merchant: key("shop").public(),
        expiry: NOW.plus(Duration::seconds(600)),
        log: key("log").public(),
        c: key_commitment(&[n; 16], &K),
        q: None,
        entry: naulon_exchange::Entry::Plain,
        carrier: naulon_exchange::Carrier::Wallet,
    }
}

/// authorization_q: these tokens for the shop's price, the rest as change.
pub fn authorization_q(coins: &[&Coin], price: Amount, change: &[&Blind], condition: Condition) -> Exchange {
    let mut outputs = vec![Output::Account { account: condition.merchant, amount: price }];
    outputs.extend(change.iter().map(|blind| blind.output()));
    Exchange { condition: Some(condition), ..exchange(coins.iter().map(|coin| coin.input()).collect(), outputs) }
}

pub fn lock(coins: &[&Coin], price: Amount, change: &[&Blind], condition: Condition) -> BankCall {
    call(authorization_q(coins, price, change, condition), coins.iter().map(|coin| &coin.q))
}

pub fn settle(decision: &ProvenDecision) -> BankCall {
    BankCall::Settle(UnverifiedDecision::from(decision))
}

/// The header in a reply, verified.
pub fn header(reply: &ExchangeReply) -> Signed<Header> {
    reply.header.clone().expect("a header").verify(&key("bank").public()).expect("the bank's header")
}

pub fn ask<S: BankStore>(bank: &mut Bank<S>, call: BankCall) -> Result<BankReply, Problem> {
    bank.handle(call, NOW)
}

pub fn ask_exchange<S: BankStore>(bank: &mut Bank<S>, call: BankCall) -> Result<ExchangeReply, Problem> {
    match ask(bank, call)? {
        BankReply::Exchange(reply) => Ok(*reply),
        other => panic!("not the reply of an exchange: {other:?}"),
    }
}

/// The bytes that travel, to compare replies.
pub fn bytes(reply: BankReply) -> Vec<u8> {
    use naulon_wire::Call;
    BankCall::reply_to_http(reply).body.to_vec()
}

/// A bank with accounts for alice (100.00) and the shop.
pub fn furnished<S: BankStore>(store: S) -> Bank<S> {
    let mut bank = open(store);
    let alice = key("alice");
    for call in [open_account(&alice), open_account(&key("shop")), credit(&alice, amount("100"), 1)] {
        ask(&mut bank, call).expect("accepted");
    }
    bank
}

/// Tokens of these brands, withdrawn from alice's account by this order. Its number also makes the tokens new.
pub fn withdraw<S: BankStore>(bank: &mut Bank<S>, number: u8, which: &[usize]) -> Vec<Coin> {
    let blinds: Vec<Blind> =
        which.iter().zip(0..).map(|(which, place)| Blind::new(*which, u32::from(number) * 1_000 + place)).collect();
    let total = Amount::checked_sum(which.iter().map(|which| brand(*which).brand().denomination)).expect("countable");
    let outputs = blinds.iter().map(Blind::output).collect();
    let reply = ask_exchange(bank, order(&key("alice"), total, number, outputs)).expect("withdrawn");
    assert_eq!((reply.state, reply.signatures.len()), (State::Done, which.len()));
    blinds.iter().zip(&reply.signatures).map(|(blind, signature)| blind.coin(signature)).collect()
}
