//! A bank's world with fixed keys: three brands, two logs, tokens that are signed once and kept.

use std::sync::{Arc, OnceLock};

use naulon_blind::{
    BlindedMessage, Brand, IssuerSecret, KnownBrand, Method, Purpose, ReusedKey, Token, TokenSecrets, Unblinder,
    reusable_key, serial_number,
};
use naulon_exchange::{
    Carrier, ChainLimits, Condition, Entry, Exchange, Header, Input, LockLimits, LogDecision, LogEntry, LogIdentity,
    LogWord, Outcome, Output, Rules, SaleNumber, UnverifiedDecision, key_commitment, spending_key,
};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, Duration, Joint, PublicKey, SecretKey, Signed, Timestamp};
use naulon_tlog::{Checkpoint, CheckpointSigner, Hash, InclusionProof, Tree, inclusion_proof, leaf_hash};

/// How many accounts there may be.
pub const ACCOUNTS: usize = 4;
/// How many tokens of each brand there are.
pub const TOKENS: usize = 8;
/// How many of each brand, the first ones, have a key of their own. The others share one, whatever their brand (AAT §8.1).
pub const OWN_KEYS: usize = 5;
/// Micro-units in one unit.
pub const UNIT: u64 = 1_000_000;

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn bank() -> PublicKey {
    key(1).public()
}

pub fn operator() -> SecretKey {
    key(2)
}

/// Account keys; the first ones are buyers, the last two sell as well.
pub fn account(index: usize) -> SecretKey {
    key(10 + index as u8)
}

/// How many checks there may be, each with a refund key of its own.
pub const CHECKS: u8 = 4;

pub fn refund_key(check: u8) -> SecretKey {
    key(60 + check)
}

pub fn units(count: u64) -> Amount {
    Amount::from_micros(count * UNIT)
}

pub fn seconds(count: u64) -> Timestamp {
    Timestamp(count * 1_000)
}

pub fn currency() -> Currency {
    "EUR".parse().expect("a currency")
}

/// The merchandise key of a sale, and a wrong one.
pub fn merchandise_key(n: &SaleNumber) -> [u8; 32] {
    Digest::of(&[b"test/k", n]).0
}

/// One token, from its secrets to its signature.
pub struct Coined {
    pub brand: usize,
    pub q: SecretKey,
    pub key: Option<ReusedKey>,
    pub blinded: BlindedMessage,
    pub token: Token,
}

pub struct World {
    pub rules: Rules,
    /// By brand: ones, fives (short-lived), and ones that are issued later.
    pub brands: Vec<Arc<KnownBrand>>,
    /// `TOKENS` of each brand, one brand behind the other.
    pub tokens: Vec<Coined>,
}

/// Made once: it needs a few private operations.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

/// issue from, withdraw until, spend until, redeem until, in seconds.
const BRANDS: [(u64, [u64; 4]); 3] =
    [(1, [0, 3_000, 4_000, 5_000]), (5, [0, 1_000, 1_500, 2_000]), (1, [1_200, 4_000, 5_000, 6_000])];

const DERS: [&[u8]; 3] = [
    include_bytes!("../../../../vectors/brand-keys/test-only-00.pkcs8.der"),
    include_bytes!("../../../../vectors/brand-keys/test-only-01.pkcs8.der"),
    include_bytes!("../../../../vectors/brand-keys/test-only-02.pkcs8.der"),
];

impl World {
    fn new() -> World {
        let secrets: Vec<_> = DERS.iter().map(|der| IssuerSecret::from_der(der).expect("a key")).collect();
        let brands: Vec<_> =
            BRANDS.iter().zip(&secrets).map(|(dates, secret)| Arc::new(brand(dates, secret))).collect();
        let coin = |(brand, index): (usize, usize)| coin(&secrets[brand], &brands[brand], brand, index);
        let tokens =
            (0..brands.len()).flat_map(|brand| (0..TOKENS).map(move |index| (brand, index))).map(coin).collect();
        let rules = Rules {
            bank: bank(),
            operator: operator().public(),
            currency: currency(),
            brands: brands.iter().map(|brand| (Digest(*brand.key_id()), brand.clone())).collect(),
            logs: (0..2).map(|log| (log_key(log).public(), log_identity(log))).collect(),
            locks: LockLimits { min: Duration::seconds(60), max: Duration::seconds(1_000) },
            chains: ChainLimits {
                min: Duration::seconds(60),
                max: Duration::seconds(2_000),
                grace: Duration::seconds(100),
            },
            deliveries: Default::default(),
            keepers: Default::default(),
        };
        World { rules, brands, tokens }
    }

    pub fn brand_id(&self, brand: usize) -> Digest {
        Digest(*self.brands[brand].key_id())
    }

    pub fn value(&self, token: usize) -> u64 {
        self.brands[self.tokens[token].brand].brand().denomination.micros() / UNIT
    }

    pub fn token_input(&self, token: usize) -> Input {
        self.part_input(token, None)
    }

    /// This much of the token, or all of it.
    pub fn part_input(&self, token: usize, part: Option<u64>) -> Input {
        let Coined { token, key, .. } = &self.tokens[token];
        Input::Token { token: *token, key: *key, part: part.map(units) }
    }

    /// Q: the key that spends the token.
    pub fn spending_key(&self, token: usize) -> PublicKey {
        self.tokens[token].q.public()
    }

    pub fn token_output(&self, token: usize) -> Output {
        let coined = &self.tokens[token];
        Output::Blinded { brand: self.brand_id(coined.brand), message: coined.blinded }
    }
}

fn brand((denomination, dates): &(u64, [u64; 4]), secret: &IssuerSecret) -> KnownBrand {
    let [issue_from, withdraw_until, spend_until, redeem_until] = dates.map(seconds);
    let brand = Brand {
        bank: bank(),
        currency: currency(),
        denomination: units(*denomination),
        method: Method::BlindRsa2048,
        purpose: Purpose::Money,
        issue_from,
        withdraw_until,
        spend_until,
        redeem_until,
        key: *secret.public().spki(),
    };
    KnownBrand::new(brand).expect("a sound brand")
}

fn coin(secret: &IssuerSecret, brand: &KnownBrand, index: usize, number: usize) -> Coined {
    let secrets = TokenSecrets::derive(&[index as u8; 64], brand.key_id(), number as u32);
    let shared = reusable_key(&[9; 64], &bank(), 0);
    let s = serial_number(&[index as u8; 64], brand.key_id(), number as u32);
    let key = (number >= OWN_KEYS).then(|| ReusedKey { q: shared.public(), s });
    let q = if key.is_some() { shared } else { secrets.secret_key() };
    let input = brand.token_input(key.map_or(q.public().0, |key| key.nonce()));
    let (blinded, unblinder): (_, Unblinder) =
        input.blind(brand.issuer_key(), secrets.salt(), secrets.r()).expect("blinds");
    let signature = secret.blind_sign(&blinded).expect("signs");
    let token = input.finalize(brand.issuer_key(), &signature, &unblinder).expect("a token");
    Coined { brand: index, q, key, blinded, token }
}

/// Logs 0 and 1 are heeded, log 2 is not.
pub fn log_key(log: usize) -> SecretKey {
    key(100 + log as u8)
}

fn checkpoint_signer(log: usize) -> CheckpointSigner {
    CheckpointSigner::new(&format!("log.example/{log}"), &[110 + log as u8; 32]).expect("a name")
}

pub fn log_identity(log: usize) -> LogIdentity {
    LogIdentity { key: log_key(log).public(), checkpoints: checkpoint_signer(log).verifier().clone() }
}

/// A decision as this log would prove it, in a tree of its own.
pub fn prove(log: usize, decision: LogDecision) -> UnverifiedDecision {
    let signed = Signed::sign(&log_key(log), decision);
    let leaf = leaf_hash(&LogEntry::plain(&signed).bytes);
    let (mut tree, mut store) = (Tree::default(), Vec::<Hash>::new());
    store.extend(tree.append(&[leaf_hash(b"before"), leaf, leaf_hash(b"after")]).into_iter().map(|(_, hash)| hash));
    let inclusion =
        InclusionProof { index: 1, size: tree.size(), path: inclusion_proof(tree.size(), 1, &store).expect("a proof") };
    let signer = checkpoint_signer(log);
    let origin = signer.verifier().origin().to_owned();
    let checkpoint = Checkpoint { origin, size: tree.size(), root: tree.root() };
    let checkpoint = signer.sign(&checkpoint).expect("its own checkpoint").into_string();
    UnverifiedDecision { decision: LogWord::from(&signed), inclusion, checkpoint, header: None }
}

/// The commit of an honest log.
pub fn commit(header: &Header) -> LogDecision {
    let k = merchandise_key(&header.n);
    LogDecision::on(header, Timestamp(header.expiry.0 - 1), Outcome::Commit { k })
}

/// The abort of an honest log.
pub fn abort(header: &Header) -> LogDecision {
    LogDecision::on(header, header.expiry, Outcome::Abort)
}

/// An exchange of these inputs and outputs.
pub fn exchange(inputs: Vec<Input>, outputs: Vec<Output>, condition: Option<Condition>) -> Exchange {
    Exchange { bank: bank(), currency: currency(), inputs, outputs, condition, seal_to: None }
}

/// A purchase from this account: n is a small number.
pub fn condition(merchant: usize, n: u8, expiry: Timestamp, log: usize, q: Option<PublicKey>) -> Condition {
    let n = [n; 16];
    let c = key_commitment(&n, &merchandise_key(&n));
    let (entry, carrier) = (Entry::Plain, Carrier::Wallet);
    Condition { n, merchant: account(merchant).public(), expiry, log: log_key(log).public(), c, q, entry, carrier }
}

/// Signed by every key that an input names.
pub fn sign(body: Exchange) -> Joint<Exchange> {
    static OTHERS: OnceLock<Vec<(PublicKey, SecretKey)>> = OnceLock::new();
    let others = OTHERS.get_or_init(|| {
        let keys = (0..ACCOUNTS).map(account).chain([operator()]).chain((0..CHECKS).map(refund_key));
        keys.map(|key| (key.public(), key)).collect()
    });
    let signer = |input: &Input| match input {
        Input::Outside { .. } => operator().public(),
        Input::Account { account, .. } => *account,
        Input::Token { token, key, .. } => spending_key(token, key.as_ref()),
        Input::Chain { check, .. } => check.payee,
        Input::Remainder { refund, .. } => *refund,
        Input::Purse { signer, .. } => *signer,
    };
    let signers: Vec<PublicKey> = body.inputs.iter().map(signer).collect();
    let of_tokens = world().tokens.iter().map(|coined| (coined.q.public(), &coined.q));
    let all = others.iter().map(|(public, key)| (*public, key)).chain(of_tokens);
    let keys: Vec<&SecretKey> = all.filter(|(public, _)| signers.contains(public)).map(|(_, key)| key).collect();
    Joint::sign(body, keys)
}
