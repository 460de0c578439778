//! Three mixes and an exit behind one link, as far as a client can tell: it opens every layer, counts blocks and ticks, and
//! what a stream would meet outside is played: port 7 echoes, port 80 sends a page, port 9 is refused.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use naulon_meter::{Chain, Decision, Meter, Released, Replies, Terms};
use naulon_money::Currency;
use naulon_onion::{
    Descriptor, EpochKey, ExitPolicy, HOPS, Header, HopKeys, HopSession, KEM_X25519, Kind, Pay, Payee, Ports, Protocol,
    RETURN_LEN, Shape, Trigger, When,
};
use naulon_proxy::{Fare, FareError, FareWanted, Fares, Pending, Snapshot};
use naulon_statement::{PublicKey, SecretKey, Timestamp};
use naulon_stream::{End, Event, Limits, Reason};
use naulon_tick::{ChainId, Check, Walker};
use naulon_wire::link::{Link, LinkKey, LinkServer};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tokio::net::TcpListener;

pub const PAGE: usize = 3_000_000;
pub const WINDOW: u32 = 64;

pub fn page() -> &'static [u8] {
    static PAGES: OnceLock<Vec<u8>> = OnceLock::new();
    PAGES.get_or_init(|| (0..PAGE).map(|at| (at % 251) as u8).collect())
}

pub fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn seed(epoch: u32, at: usize) -> [u8; 32] {
    [(epoch * 10) as u8 + at as u8; 32]
}

/// What was seen of one session.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Blocks that each mix billed.
    pub used: [u64; HOPS],
    /// Ticks that each mix had with the last reply.
    pub paid: [u64; HOPS],
    /// Checks that came under way.
    pub checks: u32,
    /// The session said that it ends.
    pub ended: bool,
}

#[derive(Clone)]
pub struct Mixes {
    pub seen: Arc<Mutex<Vec<Seen>>>,
    checks: Arc<Mutex<BTreeMap<Vec<u8>, Check>>>,
    keys: Arc<Mutex<[HopKeys; HOPS]>>,
    /// From then on links are dropped in the middle.
    pub is_broken: Arc<Mutex<bool>>,
    length: Arc<Mutex<Vec<u32>>>,
    protocol: Protocol,
    /// Where each mix is reached; only the first of a path is.
    addresses: [SocketAddr; HOPS],
    /// Set-up blocks for the keys of an older epoch are passed over in silence.
    epoch: Arc<Mutex<u32>>,
    /// Checks that came back unused.
    pub given_back: Arc<Mutex<Vec<Check>>>,
    /// How many checks the bank still makes.
    pub funds: Arc<Mutex<u32>>,
}

impl Mixes {
    pub async fn start(protocol: Protocol) -> Mixes {
        let mut listeners = Vec::new();
        for _ in 0..HOPS {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let mut keys = [HopKeys::new(), HopKeys::new(), HopKeys::new()];
        for (at, keys) in keys.iter_mut().enumerate() {
            keys.begin(1, &seed(1, at));
        }
        let mixes = Mixes {
            addresses: std::array::from_fn(|at| listeners[at].local_addr().unwrap()),
            epoch: Arc::new(Mutex::new(1)),
            given_back: Arc::default(),
            funds: Arc::new(Mutex::new(1_000)),
            seen: Arc::default(),
            checks: Arc::default(),
            keys: Arc::new(Mutex::new(keys)),
            is_broken: Arc::default(),
            length: Arc::default(),
            protocol,
        };
        for (at, listener) in listeners.into_iter().enumerate() {
            let server = LinkServer::new(&LinkKey::from_seed(&[at as u8 + 30; 32]).unwrap()).unwrap();
            let serving = mixes.clone();
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (_, link) = server.accept(stream).await.unwrap();
                    tokio::spawn(serving.clone().serve(link));
                }
            });
        }
        mixes
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.listed(), Timestamp(1 << 50))
    }

    pub fn listed(&self) -> Vec<Descriptor> {
        let epoch = *self.epoch.lock().unwrap();
        let listed = (0..HOPS as u8).map(|at| Descriptor {
            mix: key(at + 10).public(),
            name: format!("mix {at}"),
            address: self.addresses[usize::from(at)].to_string(),
            link: key(at + 30).public(),
            block: 4_096,
            hop_keys: vec![EpochKey {
                epoch,
                kem: KEM_X25519,
                key: HopKeys::new().begin(epoch, &seed(epoch, usize::from(at))).key,
                from: Timestamp(0),
                until: Timestamp(86_400_000),
            }],
            price: "0.001".parse().unwrap(),
            currency: currency(),
            payees: vec![Payee { bank: key(1).public(), payee: key(at + 20).public() }],
            window: WINDOW,
            replies: 1,
            exit: (at == 2).then(|| ExitPolicy { ports: vec![Ports { first: 7, last: 80 }], is_private: true }),
            contract: None,
            from: Timestamp(0),
            until: Timestamp(86_400_000),
        });
        listed.collect()
    }

    /// The mixes begin anew: with new keys, and without the old ones.
    pub fn restart(&self) {
        let mut epoch = self.epoch.lock().unwrap();
        *epoch += 1;
        for (at, keys) in self.keys.lock().unwrap().iter_mut().enumerate() {
            *keys = HopKeys::new();
            keys.begin(*epoch, &seed(*epoch, at));
        }
    }

    /// The mixes of the only path that the snapshot allows may stand in either order, so keys are tried.
    async fn serve(self, link: Link) {
        let shape = Shape::STANDARD;
        let (mut reader, mut writer) = link.split(shape.block());
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let mut session: Option<Served> = None;
        loop {
            let Ok(blocks) = reader.blocks().await else { return };
            let mut blocks = blocks.to_vec();
            if *self.is_broken.lock().unwrap() {
                return;
            }
            for block in blocks.chunks_exact_mut(shape.block()) {
                match &mut session {
                    None => session = self.begin(block, &mut rng),
                    Some(session) => session.take(block, &mut rng),
                }
            }
            let Some(session) = &mut session else { continue };
            let mut out = Vec::new();
            while let Some(block) = session.reply(&mut rng) {
                out.extend(block);
            }
            self.seen.lock().unwrap()[session.number] = session.seen.clone();
            if writer.send(&out).await.is_err() {
                return;
            }
        }
    }

    fn begin(&self, block: &mut [u8], rng: &mut ChaCha20Rng) -> Option<Served> {
        let shape = Shape::STANDARD;
        let mut keys = self.keys.lock().unwrap();
        let mut hops = Vec::new();
        for _ in 0..HOPS {
            let begun = keys.iter_mut().find_map(|keys| {
                let mut copy = block.to_vec();
                let begun = keys.open_set_up(shape, WINDOW, &mut copy, rng).ok()?;
                block.copy_from_slice(&copy);
                Some(begun)
            });
            let begun = begun?;
            let check = self.checks.lock().unwrap().remove(&begun.route.fare).expect("a check of its own at each mix");
            assert_eq!(begun.route.protocol, self.protocol);
            hops.push(Hop::new(begun.session, &check, self.protocol));
        }
        let mut seen = self.seen.lock().unwrap();
        seen.push(Seen::default());
        let number = seen.len() - 1;
        let mut end = End::exit(Limits::EXIT);
        if self.protocol != Protocol::BEFORE_SENDER {
            end.confirm_every(WINDOW / 8);
        }
        Some(Served { number, hops, end, seen: Seen::default(), pages: BTreeMap::new(), mixes: self.clone() })
    }
}

pub fn currency() -> Currency {
    "EUR".parse().unwrap()
}

struct Served {
    number: usize,
    hops: Vec<Hop>,
    end: End,
    seen: Seen,
    pages: BTreeMap<u32, usize>,
    mixes: Mixes,
}

struct Hop {
    session: HopSession,
    meter: Meter,
    held: VecDeque<(Vec<u8>, bool, Pay, u32)>,
}

impl Hop {
    fn new(session: HopSession, check: &Check, protocol: Protocol) -> Hop {
        let terms = Terms { protocol, window: WINDOW, replies: Replies::Billed };
        let mut meter = Meter::new(terms, check.value);
        meter.add(0, chain(check)).unwrap();
        Hop { session, meter, held: VecDeque::new() }
    }
}

fn chain(check: &Check) -> Chain {
    Chain::new(check.id, check.root, check.length, check.value)
}

impl Served {
    fn take(&mut self, block: &mut [u8], rng: &mut ChaCha20Rng) {
        self.pass(0, block.to_vec(), rng);
        while let Some(event) = self.end.next_event() {
            if let Event::Open { stream, target } = event {
                match target.port {
                    9 => self.end.refuse(stream, Reason::Refused),
                    80 => {
                        self.end.accept(stream);
                        self.pages.insert(stream, 0);
                    }
                    _ => self.end.accept(stream),
                }
            }
        }
        self.play();
    }

    /// A block comes to the mix at this place.
    fn pass(&mut self, at: usize, mut block: Vec<u8>, rng: &mut ChaCha20Rng) {
        let Some(hop) = self.hops.get_mut(at) else { return };
        let header = Header::read(Shape::STANDARD, &block).unwrap();
        let is_data = header.kind == Kind::Data;
        let (pay, fare) = match header.kind {
            Kind::Data => (hop.session.open(&mut block, rng).expect("opens"), Vec::new()),
            _ => hop.session.open_fare(&mut block, rng).expect("opens"),
        };
        let check = (!fare.is_empty()).then(|| self.mixes.checks.lock().unwrap().remove(&fare).expect("its check"));
        self.seen.checks += u32::from(check.is_some());
        let decision = match is_data {
            true => hop.meter.forward(header.counter, &pay),
            false => hop.meter.fare(header.counter, &pay, check.as_ref().map(chain)),
        };
        self.seen.ended |= pay.is_last;
        let decision = decision.unwrap_or_else(|refusal| panic!("hop {at}: {refusal}"));
        if decision == Decision::Hold {
            hop.held.push_back((block, is_data, pay, header.counter));
        } else {
            self.arrive(at, block, is_data, pay, header.counter, rng);
        }
        self.release(at, rng);
    }

    fn release(&mut self, at: usize, rng: &mut ChaCha20Rng) {
        while self.hops[at].meter.release() == Some(Released::Forward) {
            let (block, is_data, pay, number) = self.hops[at].held.pop_front().unwrap();
            self.arrive(at, block, is_data, pay, number, rng);
        }
    }

    fn arrive(&mut self, at: usize, block: Vec<u8>, is_data: bool, pay: Pay, number: u32, rng: &mut ChaCha20Rng) {
        self.count(at);
        if at + 1 < HOPS {
            self.pass(at + 1, block, rng);
        } else if is_data && !pay.is_settlement {
            let mut payload = &block[Shape::STANDARD.payload_range(Kind::Data)];
            if self.mixes.protocol.trigger == Trigger::Recipient {
                let (onion, rest) = payload.split_first_chunk::<RETURN_LEN>().unwrap();
                if pay.is_ask || self.mixes.protocol.when == When::After {
                    self.let_go(number, onion, rng);
                }
                payload = rest;
            }
            if !pay.is_ask {
                self.end.take(payload).expect("a payload");
            }
        }
    }

    /// The exit lets ticks go.
    fn let_go(&mut self, number: u32, onion: &[u8; RETURN_LEN], rng: &mut ChaCha20Rng) {
        let mut block = vec![0; 4_096];
        let mut pay = self.hops[2].session.let_go(number, onion, &mut block, rng).expect("opens");
        for at in (0..HOPS).rev() {
            if at < 2 {
                pay = self.hops[at].session.open_return(&mut block, rng).expect("opens");
            }
            self.hops[at].meter.returned(&pay).unwrap_or_else(|refusal| panic!("hop {at}: {refusal}"));
            self.release(at, rng);
            self.count(at);
        }
    }

    fn count(&mut self, at: usize) {
        let meter = &self.hops[at].meter;
        self.seen.used[at] = meter.used();
        self.seen.paid[at] = meter.claims().map(|claim| u64::from(claim.front.index)).sum();
    }

    fn play(&mut self) {
        let page = page();
        for (stream, at) in &mut self.pages {
            *at += self.end.write(*stream, &page[*at..]);
            if *at == PAGE {
                self.end.finish(*stream);
            }
        }
        for stream in 0..32 {
            while !self.end.received(stream).is_empty() && !self.pages.contains_key(&stream) {
                let bytes = self.end.received(stream).to_vec();
                let len = self.end.write(stream, &bytes);
                self.end.consume(stream, len);
                if len == 0 {
                    break;
                }
            }
            if self.end.is_alive(stream) && self.end.is_ended(stream) {
                self.end.finish(stream);
            }
        }
    }

    fn reply(&mut self, rng: &mut ChaCha20Rng) -> Option<Vec<u8>> {
        let may = self.hops.iter().all(|hop| hop.meter.replies_allowed() > 0);
        let mut payload = vec![0; Shape::STANDARD.payload(Kind::Reply)];
        if !may || !self.end.fill(&mut payload).unwrap() {
            return None;
        }
        self.play();
        let mut block = vec![0; 4_096];
        self.hops[2].session.reply(&payload, &mut block, rng).unwrap();
        self.hops[1].session.pass_back(&mut block, rng).unwrap();
        self.hops[0].session.pass_back(&mut block, rng).unwrap();
        for hop in &mut self.hops {
            assert_eq!(hop.meter.reply(), Ok(Decision::Pass));
        }
        (0..HOPS).for_each(|at| self.count(at));
        Some(block)
    }
}

impl Fares for Mixes {
    fn bank(&self) -> PublicKey {
        key(1).public()
    }

    fn currency(&self) -> Currency {
        currency()
    }

    fn give_back(&self, check: Check) -> Pending<'_, ()> {
        self.given_back.lock().unwrap().push(check);
        Box::pin(async {})
    }

    fn fare(&self, wanted: FareWanted) -> Pending<'_, Result<Fare, FareError>> {
        Box::pin(async move {
            {
                let mut funds = self.funds.lock().unwrap();
                *funds = funds.checked_sub(1).ok_or(FareError::NoMoney("nothing is left".to_owned()))?;
            }
            let mut bytes = [0; 64];
            getrandom::fill(&mut bytes).unwrap();
            let (id, secret) = (bytes[..32].try_into().unwrap(), bytes[32..].try_into().unwrap());
            let walker = Walker::new(ChainId(id), &secret, wanted.length).unwrap();
            let check = Check {
                id: ChainId(id),
                root: walker.root(),
                length: wanted.length,
                value: wanted.value,
                currency: wanted.currency,
                payee: wanted.payee,
                salt: [0; 16],
                bank: wanted.bank,
                expiry: Timestamp(1 << 50),
                refund: key(5).public(),
            };
            let mut rng = ChaCha20Rng::from_seed(id);
            let mut shown = vec![0; 600];
            rng.fill_bytes(&mut shown);
            self.checks.lock().unwrap().insert(shown.clone(), check.clone());
            self.length.lock().unwrap().push(wanted.length);
            Ok(Fare { check, walker, shown })
        })
    }
}
