//! A bank, a log and a shop, over the memory stores of the programs, and everything that comes to their doors.
//!
//! What a party stores is a function of what it was sent and of its keys, so whoever has all that was seen at the doors, and
//! the keys, has the stores, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naulon_bank::{Bank, BankKeys};
use naulon_blind::Brand;
use naulon_durable::fault::Faults;
use naulon_exchange::register::{BankIdentity, RegisterCopy};
use naulon_exchange::{ChainLimits, EntryMode, Exchange, Input, LockLimits, LogIdentity, Output, Rules};
use naulon_log::{Log, LogKeys};
use naulon_money::Amount;
use naulon_purchase::{LogRules, MerchantRules};
use naulon_shop::{MemoryGrants, MemoryShelf, Shop, ShopKeys, Terms};
use naulon_statement::{Digest, Duration, Joint, PublicKey, Timestamp};
use naulon_wire::{
    AnyCall, AnyReply, Ask, BankCall, BankDescription, BankReply, Call, CallError, HttpRequest, HttpResponse, LogCall,
    Problem, ShopCall,
};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::keys;

const LOG_ORIGIN: &str = "log.game/purchases";

/// Whose door it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// The bank's.
    Bank,
    /// The log's.
    Log,
    /// The shop's.
    Shop,
}

/// One call as the party saw it that was called.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it came in, by the simulated clock.
    pub at: Timestamp,
    /// At whose door.
    pub door: Door,
    /// On which connection to this party. Connections to different parties have nothing in common.
    pub connection: u64,
    /// The request, as HTTP.
    pub request: HttpRequest,
    /// The answer, as HTTP. Whether it arrived a party does not see.
    pub response: HttpResponse,
}

/// The three parties, and what they have seen.
pub struct Town {
    bank: Bank<naulon_bank::MemoryStore>,
    log: Log<naulon_log::MemoryStore>,
    shop: Shop<naulon_shop::MemoryStore, MemoryShelf>,
    /// Everything that came to a door, in the order of time.
    pub seen: Vec<Seen>,
    connections: BTreeMap<(Door, Vec<u8>), u64>,
    /// The refunds that the shop's keeper grants.
    pub grants: MemoryGrants,
    /// What a bank that cheats shows for its register: to each who asks the next, and the last one from then on.
    shown: Vec<RegisterCopy>,
}

/// What the shop sells: number i costs 0.30 EUR · (i + 1), so that a price tells what was bought.
pub const ITEMS: usize = 24;

/// The price of an item.
pub fn price(item: usize) -> Amount {
    keys::cents(30 * (item as u64 + 1))
}

/// The name of an item.
pub fn item(item: usize) -> String {
    format!("item-{item}")
}

fn log_keys() -> LogKeys {
    let mut secret = [0; 64];
    secret[..32].copy_from_slice(&Digest::of(&[b"naulon/game/log statements"]).0);
    secret[32..].copy_from_slice(&Digest::of(&[b"naulon/game/log checkpoints"]).0);
    match LogKeys::from_secret(&secret, LOG_ORIGIN) {
        Ok(keys) => keys,
        Err(never) => unreachable!("the log's origin is a good one: {never}"),
    }
}

fn shop_keys() -> ShopKeys {
    let mut secret = [0; 64];
    secret[..32].copy_from_slice(&Digest::of(&[b"naulon/game/shop"]).0);
    secret[32..].copy_from_slice(&Digest::of(&[b"naulon/game/shop goods"]).0);
    ShopKeys::from_secret(&secret)
}

/// The bank's key.
pub fn bank_key() -> PublicKey {
    keys::secret_key("bank").public()
}

/// How others recognise the bank.
pub fn bank_identity() -> BankIdentity {
    BankIdentity { key: bank_key(), checkpoints: keys::register_signer().verifier().clone() }
}

/// How others recognise the log.
pub fn log_identity() -> LogIdentity {
    let keys = log_keys();
    LogIdentity { key: keys.statements.public(), checkpoints: keys.checkpoints.verifier().clone() }
}

/// The shop's key.
pub fn shop_key() -> PublicKey {
    shop_keys().merchant.public()
}

/// The operator's statement that this much came in for an account.
pub fn credit(account: PublicKey, amount: Amount) -> BankCall {
    let mut reference = [0; 16];
    reference.copy_from_slice(&Digest::of(&[b"reference", account.as_bytes()]).0[..16]);
    let exchange = Exchange {
        bank: bank_key(),
        currency: keys::currency(),
        inputs: vec![Input::Outside { amount, reference }],
        outputs: vec![Output::Account { account, amount }],
        condition: None,
        seal_to: None,
    };
    BankCall::Exchange(Joint::sign(exchange, [&keys::secret_key("operator")]).into())
}

impl Town {
    /// A town with empty stores. Besides its brands the bank has these, which it shows in these registers, the next one to
    /// each who asks. None if its parties refuse their own settings.
    pub fn new(marked: &[Brand], shown: &[RegisterCopy]) -> Option<Self> {
        let (log, log_keys) = (log_identity(), log_keys());
        let rules = Rules {
            bank: bank_key(),
            operator: keys::secret_key("operator").public(),
            currency: keys::currency(),
            brands: keys::brands(bank_key()).into_iter().chain(marked.iter().filter_map(keys::known)).collect(),
            logs: BTreeMap::from([(log.key, log.clone())]),
            locks: LockLimits::default(),
            chains: ChainLimits::default(),
            deliveries: Default::default(),
            keepers: Default::default(),
        };
        let bank_keys = BankKeys { bank: keys::secret_key("bank"), checkpoints: keys::register_signer() };
        let bank = Bank::open(bank_keys, rules, Arc::new(keys::Ring), naulon_bank::MemoryStore::new(Faults::none()));
        let log_rules = LogRules::of(log.key, BTreeSet::from([bank_key()]), Duration::days(90));
        let store = naulon_log::MemoryStore::new(Faults::none());
        let opened = Log::open(log_keys, log_rules, LOG_ORIGIN, store);
        let grants = MemoryGrants::default();
        Some(Town {
            bank: bank.ok()?,
            log: opened.ok()?,
            shop: shop(log)?.with_grants(grants.clone()),
            grants,
            seen: Vec::new(),
            connections: BTreeMap::new(),
            shown: shown.iter().rev().cloned().collect(),
        })
    }

    /// Carries a call to its party and back. `line` is what the connection is made of on the caller's side: calls with the
    /// same line reach the party on one connection.
    pub fn carry(&mut self, ask: &Ask, line: Vec<u8>, now: Timestamp, rng: &mut ChaCha8Rng) -> Carried {
        let (door, request) = match &ask.call {
            AnyCall::Bank(call) => (Door::Bank, call.to_http()),
            AnyCall::Log(call) => (Door::Log, call.to_http()),
            AnyCall::Shop(call) => (Door::Shop, call.to_http()),
        };
        let response = match door {
            Door::Bank => {
                let response = respond::<BankCall>(&request, |call| self.bank.handle(call, now));
                self.falsified(&ask.call).unwrap_or(response)
            }
            Door::Log => respond::<LogCall>(&request, |call| self.log.handle(call, now)),
            Door::Shop => {
                respond::<ShopCall>(&request, |call| self.shop.handle(call, now, &mut |bytes| rng.fill_bytes(bytes)))
            }
        };
        let next = self.connections.len() as u64;
        let connection = *self.connections.entry((door, line)).or_insert(next);
        self.seen.push(Seen { at: now, door, connection, request, response: response.clone() });
        if let Some(problem) = response.as_problem() {
            return Err(problem.into());
        }
        match &ask.call {
            AnyCall::Bank(call) => call.reply_from_http(&response).map(AnyReply::Bank),
            AnyCall::Log(call) => call.reply_from_http(&response).map(AnyReply::Log),
            AnyCall::Shop(call) => call.reply_from_http(&response).map(AnyReply::Shop),
        }
    }

    /// The description of a bank that shows somebody a register of her own.
    fn falsified(&mut self, call: &AnyCall) -> Option<HttpResponse> {
        let AnyCall::Bank(BankCall::Describe) = call else { return None };
        let register = if self.shown.len() > 1 { self.shown.pop() } else { self.shown.last().cloned() }?;
        let description = BankDescription { register, ..self.bank.desk().describe() };
        Some(BankCall::reply_to_http(BankReply::Description(description)))
    }

    /// Lets the shop open its account.
    pub fn open_the_shop(&mut self, now: Timestamp, rng: &mut ChaCha8Rng) {
        for ask in self.shop.openings() {
            let _ = self.carry(&ask, b"shop".to_vec(), now, rng);
        }
    }

    /// Lets the shop ask log and bank for everything that it waits for. True if it has more to ask.
    pub fn let_the_shop_ask(&mut self, now: Timestamp, rng: &mut ChaCha8Rng) -> bool {
        let asks = self.shop.asks(now);
        for (sale, ask) in &asks {
            let answer = self.carry(ask, b"shop".to_vec(), now, rng);
            // A refusal leaves the sale as it was; it is asked about again.
            let _ = self.shop.answered(*sale, answer, now);
        }
        !self.shop.asks(now).is_empty()
    }
}

/// What came of a call.
pub type Carried = Result<AnyReply, CallError>;

fn shop(log: LogIdentity) -> Option<Shop<naulon_shop::MemoryStore, MemoryShelf>> {
    let keys = shop_keys();
    let shelf = MemoryShelf::new(&keys.goods);
    for number in 0..ITEMS {
        shelf.add(&item(number), &item(number), "goods of the game's shop", price(number), item(number).as_bytes());
    }
    let rules = MerchantRules {
        merchant: keys.merchant.public(),
        banks: BTreeSet::from([bank_key()]),
        logs: BTreeMap::from([(log.key, log)]),
        release_margin: Duration::seconds(10),
    };
    let terms = Terms {
        currency: keys::currency(),
        offer_valid_for: Duration::seconds(3_600),
        two_sided: false,
        entries: EntryMode::ALL.to_vec(),
    };
    Shop::open(keys, rules, terms, shelf, naulon_shop::MemoryStore::new(Faults::none())).ok()
}

fn respond<C: Call>(request: &HttpRequest, handle: impl FnOnce(C) -> Result<C::Reply, Problem>) -> HttpResponse {
    match C::from_http(request).and_then(handle) {
        Ok(reply) => C::reply_to_http(reply),
        Err(problem) => HttpResponse::problem(&problem),
    }
}
