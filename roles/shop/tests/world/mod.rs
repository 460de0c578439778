//! A bank, a log and a buyer, as far as a shop sees them, for the tests.
#![allow(dead_code)] // every test file uses its part

use naulon_durable::fault::Faults;
use naulon_exchange::{
    AuthorizationB, Header, LogDecision, LogIdentity, Outcome, ProvenDecision, State, UnverifiedDecision,
};
use naulon_money::Amount;
use naulon_purchase::goods::{MerchandiseKey, Opener, SEALED_CHUNK_LEN};
use naulon_purchase::{GoodsM, GoodsQ, MerchantRules, UnverifiedPayment};
use naulon_shop::{MemoryShelf, MemoryStore, OpenError, SaleId, Shelf, Shop, ShopKeys, ShopStore, Terms};
use naulon_statement::{Digest, Duration, SecretKey, Signed, Timestamp, Unverified};
use naulon_tlog::{Appended, Checkpoint, CheckpointSigner, InclusionProof, Tree, inclusion_proof, leaf_hash};
use naulon_wire::{AnyCall, AnyReply, Ask, BankCall, BankReply, ExchangeReply, LogCall, LogReply, Problem};
use naulon_wire::{ShopCall, ShopReply};

pub const NOW: Timestamp = Timestamp(1_000_000);
pub const EXPIRY: Timestamp = Timestamp(NOW.0 + 120_000);
pub const MARGIN: Duration = Duration::seconds(30);
pub const PRICE: Amount = Amount::from_micros(1_200_000);
pub const POEM: &[u8] = b"Shall I compare thee to a summer's day?";

pub fn bank() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

pub fn buyer() -> SecretKey {
    SecretKey::from_seed(&[5; 32])
}

pub fn keys() -> ShopKeys {
    ShopKeys::from_secret(&[3; 64])
}

pub fn rules() -> MerchantRules {
    let log = FakeLog::default().identity();
    MerchantRules {
        merchant: keys().merchant.public(),
        banks: [bank().public()].into(),
        logs: [(log.key, log)].into(),
        release_margin: MARGIN,
    }
}

pub fn terms() -> Terms {
    let entries = naulon_exchange::EntryMode::ALL.to_vec();
    Terms { currency: "EUR".parse().unwrap(), offer_valid_for: Duration::seconds(100), two_sided: false, entries }
}

pub fn shelf() -> MemoryShelf {
    let shelf = MemoryShelf::new(&keys().goods);
    shelf.add("poem", "A poem", "Fourteen lines.", PRICE, POEM);
    shelf
}

pub fn memory() -> MemoryStore {
    MemoryStore::new(Faults::none())
}

pub fn open<S: ShopStore>(store: S) -> Result<Shop<S, MemoryShelf>, OpenError> {
    Shop::open(keys(), rules(), terms(), shelf(), store)
}

/// "Random" bytes that are different each time.
pub fn entropy() -> impl FnMut(&mut [u8]) {
    let mut count = 0_u8;
    move |bytes| {
        count += 1;
        bytes.fill(count);
    }
}

pub fn offer_of<S: ShopStore, G: Shelf>(shop: &mut Shop<S, G>, item: &str, random: u8) -> Signed<GoodsM> {
    let call = ShopCall::Offer { item: item.to_owned() };
    match shop.handle(call, NOW, &mut |bytes| bytes.fill(random)).unwrap() {
        ShopReply::Offer(offer) => offer.verify(&keys().merchant.public()).unwrap(),
        other => panic!("not an offer: {other:?}"),
    }
}

/// What a bank promises for this offer, before somebody changes it.
pub fn header_for(offer: &GoodsM) -> Header {
    Header {
        bank: bank().public(),
        merchant: offer.merchant,
        n: offer.n,
        expiry: EXPIRY,
        log: FakeLog::default().identity().key,
        a: Digest::of(&[b"a", &offer.n]),
        c: offer.c,
        q: None,
        entry: naulon_exchange::Entry::Plain,
    }
}

/// The payment with this header.
pub fn payment_with(offer: &Signed<GoodsM>, header: &Header) -> UnverifiedPayment {
    let (value, currency) = (offer.price, offer.currency.clone());
    let promise = AuthorizationB { header: header.digest(), value, currency };
    let goods_q = header.q.is_some().then(|| (&Signed::sign(&buyer(), GoodsQ::to(offer))).into());
    UnverifiedPayment {
        goods_m: offer.into(),
        header: (&Signed::sign(&bank(), header.clone())).into(),
        authorization_b: (&Signed::sign(&bank(), promise)).into(),
        goods_q,
    }
}

pub fn payment_for(offer: &Signed<GoodsM>) -> UnverifiedPayment {
    payment_with(offer, &header_for(offer))
}

pub fn pay<S: ShopStore, G: Shelf>(
    shop: &mut Shop<S, G>,
    payment: UnverifiedPayment,
    now: Timestamp,
) -> Result<ShopReply, Problem> {
    shop.handle(ShopCall::Pay(Box::new(payment)), now, &mut |_| panic!("paying needs no entropy"))
}

/// A sale that waits for the log.
pub fn sold<S: ShopStore, G: Shelf>(shop: &mut Shop<S, G>, random: u8) -> (Signed<GoodsM>, SaleId) {
    let offer = offer_of(shop, "poem", random);
    let reply = pay(shop, payment_for(&offer), NOW).unwrap();
    assert!(matches!(reply, ShopReply::Pending));
    let id = header_for(&offer).digest();
    (offer, id)
}

/// A log that decides what it is told to. (A role never imports another, so this is not the real one.)
pub struct FakeLog {
    key: SecretKey,
    signer: CheckpointSigner,
    tree: Tree,
}

impl Default for FakeLog {
    fn default() -> Self {
        let signer = CheckpointSigner::new("log.example", &[6; 32]).unwrap();
        FakeLog { key: SecretKey::from_seed(&[7; 32]), signer, tree: Tree::default() }
    }
}

impl FakeLog {
    pub fn identity(&self) -> LogIdentity {
        LogIdentity { key: self.key.public(), checkpoints: self.signer.verifier().clone() }
    }

    /// Another log, with keys of its own.
    pub fn other() -> Self {
        let signer = CheckpointSigner::new("other.example", &[8; 32]).unwrap();
        FakeLog { key: SecretKey::from_seed(&[9; 32]), signer, tree: Tree::default() }
    }

    pub fn decide(&mut self, header: &Header, time: Timestamp, outcome: Outcome) -> UnverifiedDecision {
        let decision = Signed::sign(&self.key, LogDecision::on(header, time, outcome));
        let before = self.tree.clone();
        let hashes = self.tree.append(&[leaf_hash(&decision.entry(decision.bytes()))]);
        let (index, size) = (before.size(), self.tree.size());
        let path = inclusion_proof(size, index, &Appended { before: &before, hashes: &hashes }).unwrap();
        let origin = self.signer.verifier().origin().to_owned();
        let checkpoint = self.signer.sign(&Checkpoint { origin, size, root: self.tree.root() }).unwrap();
        let inclusion = InclusionProof { index, size, path };
        (&ProvenDecision::by_own_log(decision, inclusion, checkpoint.into_string())).into()
    }

    /// Answers authorization_m as a log does, at this time.
    pub fn answer(&mut self, ask: &Ask, time: Timestamp) -> AnyReply {
        let AnyCall::Log(LogCall::Commit { header, authorization }) = &ask.call else { panic!("not for a log") };
        assert_eq!(ask.to, self.key.public());
        let header = header.clone().verify(&bank().public()).unwrap();
        let authorization = authorization.clone().verify(&header.merchant).unwrap();
        assert_eq!(authorization.a, header.a);
        assert_eq!(naulon_exchange::key_commitment(&header.n, &authorization.k), header.c);
        let outcome = if time < header.expiry { Outcome::Commit { k: authorization.k } } else { Outcome::Abort };
        AnyReply::Log(LogReply::Decision(Box::new(self.decide(&header, time, outcome))))
    }
}

/// Answers a decision as a bank does.
pub fn settle(ask: &Ask) -> AnyReply {
    let AnyCall::Bank(BankCall::Settle(decision)) = &ask.call else { panic!("not for a bank") };
    assert_eq!(ask.to, bank().public());
    let proven = decision.clone().verify(&FakeLog::default().identity()).unwrap();
    let state = if proven.decision().key().is_some() { State::Committed } else { State::Aborted };
    AnyReply::Bank(BankReply::Exchange(Box::new(exchange_reply(proven.decision().a, state))))
}

pub fn exchange_reply(request: Digest, state: State) -> ExchangeReply {
    ExchangeReply {
        request,
        state,
        signatures: Vec::new(),
        sealed: None,
        header: None,
        authorization_b: None,
        certificates: Vec::new(),
        loads: Vec::new(),
        decision: None,
    }
}

/// The goods, as the buyer gets them out of encrypted bytes with the log's key.
pub fn decrypt(offer: &GoodsM, k: &[u8; 32], sealed: &[u8]) -> Vec<u8> {
    let file_key = MerchandiseKey::published(k).unwrap(&offer.n, &offer.wrapped_key).unwrap();
    let mut hasher = naulon_purchase::goods::GoodsHasher::default();
    hasher.update(sealed);
    assert_eq!(hasher.finish(), offer.goods);
    assert_eq!(sealed.len() as u64, offer.sealed_size());
    let mut opener = Opener::new(file_key);
    let chunks: Vec<&[u8]> = sealed.chunks(SEALED_CHUNK_LEN).collect();
    let last = chunks.len() - 1;
    let plain = chunks.iter().enumerate().flat_map(|(i, chunk)| opener.open(chunk, i == last).unwrap()).collect();
    opener.finish(&offer.contract).unwrap();
    plain
}

/// The decision in a reply, proven.
pub fn proven(reply: ShopReply) -> ProvenDecision {
    let ShopReply::Decision(decision) = reply else { panic!("not a decision: {reply:?}") };
    decision.verify(&FakeLog::default().identity()).unwrap()
}

pub fn code<T>(outcome: Result<T, Problem>) -> String {
    outcome.err().map(|problem| problem.code).unwrap_or_else(|| "ok".to_owned())
}

/// A statement whose signature does not hold.
pub fn forged<T: naulon_statement::Statement>(statement: &Unverified<T>) -> Unverified<T> {
    let mut bytes = statement.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    Unverified::parse(&bytes).unwrap()
}
