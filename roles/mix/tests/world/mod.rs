//! Three mixes that hand each other blocks in memory, a bank's key, and a sender.

#![allow(dead_code)] // Each test program uses its own part.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use naulon_durable::fault::Faults;
use naulon_exchange::Funding;
use naulon_meter::{Payer, Replies, Terms};
use naulon_mix::{Batching, Fare, KeptCheck, Leaving, LinkId, MemoryStore, Mix, MixRules, Outbox, SessionKey};
use naulon_money::{Amount, Currency};
use naulon_onion::{Contract, HopPublic, Kind, PathHop, Pay, Plan, Protocol, Session, Shape, Traffic};
use naulon_statement::{Duration, PublicKey, SecretKey, Signed, Timestamp, Unverified, cbor};
use naulon_tick::{Certificate, ChainId, Check, Walker};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub const NOW: Timestamp = Timestamp(1_700_000_000_000);
pub const WINDOW: u32 = 16;
pub const SHAPE: Shape = Shape::STANDARD;

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn bank() -> SecretKey {
    key(200)
}

pub fn euros() -> Currency {
    "EUR".parse().expect("a currency")
}

pub fn price() -> Amount {
    Amount::from_micros(10)
}

/// The key of mix `number` at the bank.
pub fn payee(number: u8) -> SecretKey {
    key(100 + number)
}

pub fn rules(number: u8, batching: Batching, contract: Option<Contract>) -> MixRules {
    MixRules {
        mix: key(number).public(),
        shape: SHAPE,
        price: price(),
        currency: euros(),
        window: WINDOW,
        replies: 2,
        banks: BTreeMap::from([(bank().public(), Arc::new(payee(number)))]),
        contract,
        is_exit: number == 3,
        batching,
        cash_within: Duration::seconds(10),
    }
}

/// A check for this payee, with the bank's word that it is covered.
pub fn fare(payee: PublicKey, length: u32, value: Amount, number: u8) -> (Fare, Walker) {
    let id = ChainId([number; 32]);
    let walker = Walker::new(id, &[number; 32], length).expect("a chain");
    let check = Check {
        id,
        root: walker.root(),
        length,
        value,
        currency: euros(),
        payee,
        salt: [number; 16],
        bank: bank().public(),
        expiry: NOW.plus(Duration::seconds(86_400)),
        refund: key(150).public(),
    };
    let funding = Funding::Certified(certified(&check));
    (Fare { check, funding }, walker)
}

pub fn certified(check: &Check) -> Unverified<Certificate> {
    let certificate = Certificate {
        bank: check.bank,
        currency: check.currency.clone(),
        commitment: check.commitment(),
        maximum: check.maximum().expect("an amount"),
        expiry: check.expiry,
        payee: check.payee_digest(),
    };
    (&Signed::sign(&bank(), certificate)).into()
}

/// One mix with its store.
pub struct Node {
    pub mix: Mix,
    pub store: MemoryStore,
    pub key: HopPublic,
    number: u8,
}

/// Changes a block that a mix sends, or keeps it back by saying no.
pub type Meddle = Box<dyn FnMut(usize, &mut Vec<u8>) -> bool>;

/// Three mixes, and the links between them and to the sender.
pub struct World {
    pub nodes: Vec<Node>,
    pub now: Timestamp,
    /// The sender's link to the first mix.
    pub client: LinkId,
    /// What came back to the sender.
    pub replies: VecDeque<Vec<u8>>,
    pub leaving: Vec<Leaving>,
    pub refused: Vec<(usize, &'static str)>,
    pub posts: Vec<(usize, naulon_mix::Posting)>,
    pub hung_up: bool,
    /// The other end of each link: which mix, and its number there.
    ends: HashMap<(usize, LinkId), (usize, LinkId)>,
    /// What an adversary on the links does with a block.
    pub meddle: Option<Meddle>,
}

impl World {
    pub fn new() -> Self {
        World::with(|number| rules(number, Batching::Stream, None))
    }

    pub fn with(rules: impl Fn(u8) -> MixRules) -> Self {
        let nodes: Vec<Node> = (1..=3).map(|number| node(rules(number), number, Vec::new())).collect();
        let mut world = World {
            nodes,
            now: NOW,
            client: LinkId(0),
            replies: VecDeque::new(),
            leaving: Vec::new(),
            refused: Vec::new(),
            posts: Vec::new(),
            hung_up: false,
            ends: HashMap::new(),
            meddle: None,
        };
        let known: BTreeMap<_, _> = (1..=3).map(|number| (link_key(number), key(number).public())).collect();
        world.nodes.iter_mut().for_each(|node| node.mix.know(known.clone()));
        world.client = world.nodes[0].mix.link_from(key(99).public());
        world
    }

    pub fn path(&self) -> [PathHop; 3] {
        std::array::from_fn(|at| PathHop { mix: key(at as u8 + 1).public(), key: self.nodes[at].key })
    }

    /// A block of the sender.
    pub fn send(&mut self, block: &[u8]) {
        self.arrive(0, self.client, block);
    }

    pub fn arrive(&mut self, at: usize, link: LinkId, block: &[u8]) {
        let mut out = Outbox::new();
        self.nodes[at].mix.take(link, &mut block.to_vec(), self.now, &mut out);
        self.carry(at, out);
    }

    /// Does something at a mix, and carries what comes of it.
    pub fn at<T>(&mut self, at: usize, act: impl FnOnce(&mut Mix, Timestamp, &mut Outbox) -> T) -> T {
        let mut out = Outbox::new();
        let done = act(&mut self.nodes[at].mix, self.now, &mut out);
        self.carry(at, out);
        done
    }

    pub fn carry(&mut self, at: usize, out: Outbox) {
        for (link, mix) in out.dials {
            let to = (0..3).find(|to| key(*to as u8 + 1).public() == mix).expect("a mix that there is");
            let there = self.nodes[to].mix.link_from(link_key(at as u8 + 1));
            self.ends.insert((at, link), (to, there));
            self.ends.insert((to, there), (at, link));
        }
        self.refused.extend(out.refused.into_iter().map(|code| (at, code)));
        self.leaving.extend(out.leaving);
        self.posts.extend(out.posts.into_iter().map(|post| (at, post)));
        for (link, blocks) in out.sends {
            for block in blocks.chunks_exact(SHAPE.block()) {
                let mut block = block.to_vec();
                if self.meddle.as_mut().is_some_and(|meddle| !meddle(at, &mut block)) {
                    continue;
                }
                match self.ends.get(&(at, link)).copied() {
                    Some((to, there)) => self.arrive(to, there, &block),
                    None => self.replies.push_back(block),
                }
            }
        }
        self.hung_up |= at == 0 && out.hang_ups.contains(&self.client);
    }

    /// Payloads that have left so far.
    pub fn payloads(&mut self) -> Vec<(SessionKey, Vec<u8>)> {
        let leaving = std::mem::take(&mut self.leaving);
        leaving
            .into_iter()
            .filter_map(|event| match event {
                Leaving::Payload { session, payload, .. } => Some((session, payload)),
                _ => None,
            })
            .collect()
    }

    /// How many ticks are earned at each mix, by what is written down.
    pub fn earned(&mut self) -> [u32; 3] {
        use naulon_mix::TickStore;
        std::array::from_fn(|at| {
            let Node { mix, store, .. } = &mut self.nodes[at];
            mix.flush(store).expect("writes");
            store.all().expect("reads").iter().map(|kept| kept.earned).sum()
        })
    }

    /// The mix dies, and starts again from its store.
    pub fn restart(&mut self, at: usize) {
        use naulon_mix::TickStore;
        let number = at as u8 + 1;
        let store = self.nodes[at].store.clone();
        store.faults().restart();
        let kept = store.all().expect("reads");
        self.nodes[at] = Node { store, ..node(rules(number, Batching::Stream, None), number, kept) };
    }
}

fn link_key(number: u8) -> PublicKey {
    key(50 + number).public()
}

fn node(rules: MixRules, number: u8, kept: Vec<KeptCheck>) -> Node {
    let mut mix = Mix::new(rules, kept, &[number; 32], NOW);
    let key = mix.begin_epoch(7, &[number; 32]);
    Node { mix, store: MemoryStore::new(Faults::none()), key, number }
}

/// A sender with its session.
pub struct Sender {
    pub session: Session,
    pub payers: Vec<Payer>,
    pub protocol: Protocol,
}

pub fn terms(protocol: Protocol) -> Terms {
    Terms { protocol, window: WINDOW, replies: Replies::Billed }
}

impl Sender {
    /// Begins a session that pays each mix by a check of its own.
    pub fn begin(world: &mut World, protocol: Protocol, length: u32) -> Sender {
        let fares = [1, 2, 3].map(|number| fare(payee(number).public(), length, price(), number));
        let shown = fares.each_ref().map(|(fare, _)| cbor::to_vec(fare));
        let mut sender = Sender::show(world, protocol, Traffic::Stream, shown);
        for (payer, (_, walker)) in sender.payers.iter_mut().zip(fares) {
            payer.add(0, walker).expect("a chain");
        }
        sender
    }

    /// Begins a session with these fares.
    pub fn show(world: &mut World, protocol: Protocol, traffic: Traffic, fares: [Vec<u8>; 3]) -> Sender {
        Sender::show_by(world, protocol, traffic, fares, 77)
    }

    /// The same, by a sender with this seed.
    pub fn show_by(world: &mut World, protocol: Protocol, traffic: Traffic, fares: [Vec<u8>; 3], seed: u8) -> Sender {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let plan = Plan { path: world.path(), protocol, traffic, fares };
        let mut block = vec![0; SHAPE.block()];
        let session = Session::begin(SHAPE, &plan, &mut block, &mut rng).expect("a session");
        world.send(&block);
        let replies = if traffic == Traffic::Cohort { Replies::Included(2) } else { Replies::Billed };
        let payers = (0..3).map(|_| Payer::new(Terms { replies, ..terms(protocol) }, 0)).collect();
        Sender { session, payers, protocol }
    }

    /// A data block with the ticks that are due.
    pub fn data(&mut self, payload: &[u8]) -> Vec<u8> {
        let pays: Vec<Pay> = self.payers.iter_mut().map(|payer| payer.data().expect("pays")).collect();
        self.with(pays.try_into().expect("three"), payload)
    }

    pub fn with(&mut self, pays: [Pay; 3], payload: &[u8]) -> Vec<u8> {
        let mut block = vec![0; SHAPE.block()];
        self.session.data(&pays, payload, &mut block).expect("a block");
        block
    }

    /// What the next reply says.
    pub fn reply(&mut self, world: &mut World) -> Option<Vec<u8>> {
        let mut block = world.replies.pop_front()?;
        self.session.open_reply(&mut block).expect("opens");
        self.payers.iter_mut().for_each(Payer::received);
        Some(block[SHAPE.payload_range(Kind::Reply)].to_vec())
    }
}
