//! The engine: blocks in, blocks out.

mod passing;

use std::collections::{BTreeMap, HashMap};

use naulon_exchange::{BankTerms, VerifiedFunding, verify_funding};
use naulon_meter::{Chain, Expected, Meter, Replies, Terms};
use naulon_onion::{
    Begun, Header, HopKeys, Kind, MAX_EPHEMERALS, Next, OpenError, Protocol, Route, SessionId, Traffic,
};
use naulon_statement::{Digest, PublicKey, Timestamp, cbor};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::batch::{Batching, MAX_WAITING, Pool};
use crate::books::Books;
use crate::cohort::{COHORT_STALL, Cohort};
use crate::fare::Fare;
use crate::outbox::{Leaving, LinkId, Outbox, Posting, SessionKey};
use crate::refusal::MixRefusal;
use crate::rules::{
    CHECK_MARGIN, MAX_CHECK_TIME, MAX_POSTINGS, MAX_SESSIONS, MAX_SESSIONS_A_LINK, MixRules, SESSION_IDLE,
};
use crate::session::{Session, Waiting};
use crate::store::KeptCheck;

/// How often sessions in which nothing moves are looked for.
const SWEEP_EVERY: u64 = 10_000;

/// How long the tick of the last block may take, where the recipient lets it go.
const LAST_TICK: naulon_statement::Duration = naulon_statement::Duration::seconds(10);

/// A mix. It holds no socket, no clock and no file: whoever drives it carries what [`Outbox`] says.
pub struct Mix {
    pub(crate) rules: MixRules,
    pub(crate) keys: HopKeys,
    pub(crate) books: Books,
    pub(crate) sessions: HashMap<SessionKey, Session>,
    incoming: HashMap<(LinkId, SessionId), SessionKey>,
    outgoing: HashMap<(LinkId, SessionId), SessionKey>,
    /// The checks that banks are asked about, by the sessions that wait, or that have gone meanwhile.
    postings: HashMap<SessionKey, Digest>,
    links: HashMap<LinkId, LinkState>,
    to_mixes: HashMap<PublicKey, LinkId>,
    /// The mixes by their link keys.
    known: BTreeMap<PublicKey, PublicKey>,
    pool: Pool<(Destination, Vec<u8>)>,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) cohorts: BTreeMap<u64, Cohort>,
    /// The cohort that takes sessions in.
    pub(crate) gathering: Option<u64>,
    pub(crate) next_cohort: u64,
    next_link: u64,
    next_session: u64,
    swept: Timestamp,
    passed: u64,
    billed: u64,
}

/// What is known of a link.
struct LinkState {
    /// The link key that its other end has shown, or the mix that this one connects to.
    peer: PublicKey,
    /// Whether this mix made it: blocks go out on it, and replies come in.
    is_ours: bool,
    sessions: usize,
}

/// Where a block goes that leaves the mix.
#[derive(Clone, Copy)]
pub(crate) enum Destination {
    Link(LinkId),
    Exit { session: SessionKey, number: u32, is_ask: bool },
}

impl Mix {
    /// A mix with these rules, with what its store has kept. The seed is for everything that is left to chance.
    pub fn new(rules: MixRules, kept: Vec<KeptCheck>, seed: &[u8; 32], now: Timestamp) -> Self {
        let mut rng = ChaCha20Rng::from_seed(*seed);
        let books = Books::open(kept, &rules, now, &mut rng);
        Mix {
            pool: Pool::new(rules.batching),
            rules,
            keys: HopKeys::new(),
            books,
            sessions: HashMap::new(),
            incoming: HashMap::new(),
            outgoing: HashMap::new(),
            postings: HashMap::new(),
            links: HashMap::new(),
            to_mixes: HashMap::new(),
            known: BTreeMap::new(),
            rng,
            cohorts: BTreeMap::new(),
            gathering: None,
            next_cohort: 0,
            next_link: 1,
            next_session: 1,
            swept: now,
            passed: 0,
            billed: 0,
        }
    }

    /// Takes up the hop key of an epoch; what was opened by older ones is forgotten together with them.
    pub fn begin_epoch(&mut self, epoch: u32, seed: &[u8; 32]) -> naulon_onion::HopPublic {
        self.keys.begin(epoch, seed)
    }

    /// Whether so many set-ups were opened by the newest key that a new epoch should begin before its time: what is
    /// remembered of them is bounded, and beyond it no session begins.
    pub fn is_epoch_full(&self) -> bool {
        self.keys.remembered_newest() >= MAX_EPHEMERALS / 2
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many blocks have passed, forward and back.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// How many of them were billed, in all sessions so far.
    pub fn billed(&self) -> u64 {
        self.billed + self.sessions.values().map(|session| session.meter.used()).sum::<u64>()
    }

    /// Whether so much waits that no link should be read until some of it has left.
    pub fn is_full(&self) -> bool {
        self.pool.len() >= MAX_WAITING || self.books.is_failing
    }

    /// Which mixes there are, each with its key by its link key. Whoever shows another key is a stranger.
    pub fn know(&mut self, mixes: BTreeMap<PublicKey, PublicKey>) {
        self.known = mixes;
    }

    /// A link has come in, from whoever shows this key.
    pub fn link_from(&mut self, key: PublicKey) -> LinkId {
        self.new_link(key, false)
    }

    fn new_link(&mut self, peer: PublicKey, is_ours: bool) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(link, LinkState { peer, is_ours, sessions: 0 });
        link
    }

    /// Whether nobody knows who is at the other end.
    pub fn is_strangers(&self, link: LinkId) -> bool {
        self.links.get(&link).is_none_or(|state| !state.is_ours && !self.known.contains_key(&state.peer))
    }

    /// Whether that is so, and the link carries no session.
    pub fn is_idle_strangers(&self, link: LinkId) -> bool {
        self.is_strangers(link) && self.links.get(&link).is_none_or(|state| state.sessions == 0)
    }

    /// A link has ended, or could not be made. Its sessions are over: blocks that were on their way are lost, ticks are not.
    pub fn link_ended(&mut self, link: LinkId, now: Timestamp, out: &mut Outbox) {
        let Some(state) = self.links.remove(&link) else { return };
        if state.is_ours {
            self.to_mixes.remove(&state.peer);
        }
        let over: Vec<SessionKey> =
            self.sessions.iter().filter(|(_, s)| s.from.0 == link || s.to == Some(link)).map(|(key, _)| *key).collect();
        for session in over {
            self.close(session, Some(MixRefusal::LinkEnded), now, out);
        }
    }

    /// Takes a block that came over a link. It is changed in its place.
    pub fn take(&mut self, link: LinkId, block: &mut [u8], now: Timestamp, out: &mut Outbox) {
        let taken = self.sorted(link, block, now, out);
        if let Err(refusal) = taken {
            out.refused.push(refusal.code());
        }
    }

    fn sorted(&mut self, link: LinkId, block: &mut [u8], now: Timestamp, out: &mut Outbox) -> Result<(), MixRefusal> {
        let header = Header::read(self.rules.shape, block)?;
        let is_ours = self.links.get(&link).ok_or(MixRefusal::UnknownSession)?.is_ours;
        let is_backward = matches!(header.kind, Kind::Reply | Kind::Return);
        if is_backward != is_ours {
            return Err(MixRefusal::WrongWay);
        }
        if header.kind == Kind::SetUp {
            let begun = self.set_up(link, header.session, block, now, out);
            if begun.is_err() && !self.incoming.contains_key(&(link, header.session)) {
                self.tell_no_session(link, header.session, out);
            }
            return begun;
        }
        let sessions = if is_backward { &self.outgoing } else { &self.incoming };
        let key = *sessions.get(&(link, header.session)).ok_or(MixRefusal::UnknownSession)?;
        let done = match header.kind {
            Kind::Data | Kind::Fare => self.forward(key, header, block, now, out),
            Kind::Reply => self.backward(key, block, now, out),
            Kind::Return => self.returned(key, header.counter, block, now, out),
            Kind::SetUp | Kind::Packet => Err(MixRefusal::Traffic),
        };
        if let Err(refusal) = done {
            if ends_session(&refusal) {
                self.close(key, Some(refusal), now, out);
                return Ok(());
            }
            return Err(refusal);
        }
        Ok(())
    }

    fn set_up(
        &mut self,
        link: LinkId,
        name: SessionId,
        block: &mut [u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), MixRefusal> {
        let state = self.links.get(&link).ok_or(MixRefusal::UnknownSession)?;
        let peer = self.known.get(&state.peer).copied();
        if self.sessions.len() >= MAX_SESSIONS || (peer.is_none() && state.sessions >= MAX_SESSIONS_A_LINK) {
            return Err(MixRefusal::TooManySessions);
        }
        if self.incoming.contains_key(&(link, name)) {
            return Err(MixRefusal::SessionTaken);
        }
        let begun = self.keys.open_set_up(self.rules.shape, self.rules.window, block, &mut self.rng);
        let Begun { route, session: hop, .. } = begun?;
        if route.next == Next::Exit && !self.rules.is_exit {
            return Err(MixRefusal::NotAnExit);
        }
        let replies = match route.traffic {
            Traffic::Stream => Replies::Billed,
            // Under other protocols blocks wait for ticks, and a batch for every one of them.
            Traffic::Cohort if route.protocol != Protocol::BEFORE_SENDER => return Err(MixRefusal::CohortProtocol),
            Traffic::Cohort if matches!(self.rules.batching, Batching::Cohort { .. }) => {
                Replies::Included(self.rules.replies)
            }
            Traffic::Cohort | Traffic::Packet => return Err(MixRefusal::Traffic),
        };
        let terms = Terms { protocol: route.protocol, window: self.rules.window, replies };
        let key = SessionKey(self.next_session);
        let (meter, checks, posting) = self.paid_by(key, &route, peer, terms, now)?;
        self.next_session += 1;
        let mut session = Session {
            hop,
            meter,
            from: (link, name),
            to: None,
            checks,
            held: Default::default(),
            held_replies: Default::default(),
            waiting: None,
            place: None,
            last: None,
            is_starved: false,
            is_dirty: false,
            touched: now,
        };
        if let Some(posting) = posting {
            session.waiting = Some(Waiting { set_up: block.to_vec(), blocks: Vec::new(), next: route.next });
            self.postings.extend(session.checks.iter().map(|(_, commitment)| (key, *commitment)));
            out.posts.push(posting);
        }
        let is_waiting = session.waiting.is_some();
        self.sessions.insert(key, session);
        self.incoming.insert((link, name), key);
        if let Some(state) = self.links.get_mut(&link) {
            state.sessions += 1;
        }
        if !is_waiting {
            self.begin(key, route.next, block, now, out);
        }
        Ok(())
    }

    /// A session did not begin. What is dropped in silence would be waited for: another mix passes on that there is none, by a
    /// reply that does not open; a stranger who has no other session is hung up on.
    fn tell_no_session(&mut self, link: LinkId, name: SessionId, out: &mut Outbox) {
        if self.is_strangers(link) {
            if self.links.get(&link).is_some_and(|state| state.sessions == 0) {
                out.hang_ups.push(link);
            }
            return;
        }
        let mut block = vec![0; self.rules.shape.block()];
        if naulon_onion::refuse_set_up(self.rules.shape, name, &mut block, &mut self.rng).is_ok() {
            out.send(link, &block);
        }
    }

    /// A session is paid for: its set-up block goes on, at once or with its cohort.
    fn begin(&mut self, key: SessionKey, next: Next, block: &[u8], now: Timestamp, out: &mut Outbox) {
        let Some(session) = self.sessions.get(&key) else { return };
        match session.meter.terms().replies {
            Replies::Included(_) => self.join_cohort(key, next, block, now, out),
            Replies::Billed => self.send_on(key, next, block, now, out),
        }
    }

    /// What pays a session: a check of this mix's own, or a contract with the mix that sends it on.
    #[allow(clippy::type_complexity)] // It is taken apart at once.
    fn paid_by(
        &mut self,
        key: SessionKey,
        route: &Route,
        peer: Option<PublicKey>,
        terms: Terms,
        now: Timestamp,
    ) -> Result<(Meter, Vec<(naulon_tick::ChainId, Digest)>, Option<Posting>), MixRefusal> {
        if route.fare.is_empty() {
            let (before, next) = self.rules.contract_way().ok_or(MixRefusal::NoFare)?;
            if before.is_some() && before != peer || route.next != next {
                return Err(MixRefusal::NoFare);
            }
            return Ok((Meter::contract(terms), Vec::new(), None));
        }
        let (chain, commitment, posting) = self.take_fare(key, &route.fare, now)?;
        let mut meter = Meter::new(terms, self.rules.price);
        let id = chain.id();
        if let Err(refusal) = meter.add(0, chain) {
            self.books.drop_unused(&commitment);
            return Err(refusal.into());
        }
        Ok((meter, vec![(id, commitment)], posting))
    }

    /// Reads and verifies a check with its funding, and takes it into the books.
    fn take_fare(
        &mut self,
        key: SessionKey,
        fare: &[u8],
        now: Timestamp,
    ) -> Result<(Chain, Digest, Option<Posting>), MixRefusal> {
        let fare: Fare = cbor::from_slice(fare).map_err(|_| MixRefusal::FareMalformed)?;
        let check = &fare.check;
        let payee = self.rules.banks.get(&check.bank).ok_or(naulon_meter::Refusal::WrongBank)?.public();
        let expected = Expected {
            payee: &payee,
            bank: &check.bank,
            currency: &self.rules.currency,
            usable_until: now.plus(CHECK_MARGIN),
        };
        let chain = Chain::of(check, &expected)?;
        if check.expiry > now.plus(MAX_CHECK_TIME) {
            return Err(MixRefusal::ExpiryTooLate);
        }
        let commitment = check.commitment();
        if self.books.has(&commitment) {
            return Err(naulon_meter::Refusal::CheckInUse.into());
        }
        let terms = BankTerms { bank: check.bank, currency: check.currency.clone() };
        let posting = match verify_funding(check, &fare.funding, &terms, now)? {
            VerifiedFunding::Locked => None,
            VerifiedFunding::Post(_) if self.postings.len() >= MAX_POSTINGS => return Err(MixRefusal::TooManyPostings),
            VerifiedFunding::Post(exchange) => Some(Posting { session: key, bank: check.bank, exchange }),
        };
        self.books.take(commitment, fare, &self.rules, now, &mut self.rng)?;
        if posting.is_none() {
            self.books.funded(&commitment);
        }
        Ok((chain, commitment, posting))
    }

    /// The bank has answered the posting of a session's funding. To be called once for each, whatever became of the session.
    pub fn funded(&mut self, key: SessionKey, is_set_aside: bool, now: Timestamp, out: &mut Outbox) {
        let Some(commitment) = self.postings.remove(&key) else { return };
        let waiting = self.sessions.get_mut(&key).and_then(|session| session.waiting.take());
        let Some(waiting) = waiting.filter(|_| is_set_aside) else {
            // Nothing was earned by it: it may be shown again.
            self.books.drop_unused(&commitment);
            return self.close(key, Some(MixRefusal::NotSetAside), now, out);
        };
        self.books.funded(&commitment);
        let Some(from) = self.sessions.get(&key).map(|session| session.from.0) else { return };
        self.begin(key, waiting.next, &waiting.set_up, now, out);
        for mut block in waiting.blocks {
            self.take(from, &mut block, now, out);
        }
    }

    /// Sends a set-up block on, and notes where the session goes.
    pub(crate) fn send_on(&mut self, key: SessionKey, next: Next, block: &[u8], now: Timestamp, out: &mut Outbox) {
        let link = match next {
            Next::Exit => {
                let Some(session) = self.sessions.get(&key) else { return };
                out.leaving.push(Leaving::Begun { session: key, terms: *session.meter.terms() });
                return;
            }
            Next::Mix(mix) => match self.to_mixes.get(&mix) {
                Some(link) => *link,
                None => {
                    let link = self.new_link(mix, true);
                    self.to_mixes.insert(mix, link);
                    out.dials.push((link, mix));
                    link
                }
            },
        };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.to = Some(link);
        self.outgoing.insert((link, session.hop.next()), key);
        self.put(Destination::Link(link), block, now, out);
    }

    /// The link that a session's replies go to.
    pub fn back_link(&self, key: SessionKey) -> Option<LinkId> {
        self.sessions.get(&key).map(|session| session.from.0)
    }

    /// The key by which the mix is known at a bank.
    pub fn payee(&self, bank: &PublicKey) -> Option<std::sync::Arc<naulon_statement::SecretKey>> {
        self.rules.banks.get(bank).cloned()
    }

    /// (Exit) Ends a session, because its client did something that no exit takes.
    pub fn end(&mut self, key: SessionKey, now: Timestamp, out: &mut Outbox) {
        self.close(key, Some(MixRefusal::Overloaded), now, out);
    }

    /// Lets go what has waited for its batch, and closes what has been still for too long. To be called when
    /// [`Mix::next_batch`] says, and every second.
    pub fn turn(&mut self, now: Timestamp, out: &mut Outbox) {
        for (to, block) in self.pool.leaving(now, &mut self.rng) {
            self.leave(to, &block, out);
        }
        if now.since(self.swept).0 < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        let limit = |session: &Session| match (&session.place, session.last) {
            (Some(_), _) => COHORT_STALL,
            (None, Some(_)) => LAST_TICK,
            (None, None) => SESSION_IDLE,
        };
        let idle = self.sessions.iter().filter(|(_, session)| now.since(session.touched) >= limit(session));
        let idle: Vec<SessionKey> = idle.map(|(key, _)| *key).collect();
        for key in idle {
            self.close(key, Some(MixRefusal::Idle), now, out);
        }
        // Ticks that no bank will pay must not go on paying for blocks.
        let is_unpaid =
            |session: &&Session| session.checks.iter().any(|(_, check)| self.books.pays_no_more(check, now));
        let unpaid = self.sessions.iter().filter(|(_, session)| is_unpaid(session));
        let unpaid: Vec<SessionKey> = unpaid.map(|(key, _)| *key).collect();
        for key in unpaid {
            self.close(key, Some(naulon_meter::Refusal::Expired.into()), now, out);
        }
    }

    /// Lets everything go that waits: nothing comes after it.
    pub fn empty(&mut self, out: &mut Outbox) {
        for (to, block) in self.pool.all(&mut self.rng) {
            self.leave(to, &block, out);
        }
    }

    /// When the next batch is due, if something waits.
    pub fn next_batch(&self) -> Option<Timestamp> {
        self.pool.next()
    }

    fn put_forward(&mut self, key: SessionKey, to: Destination, block: &[u8], now: Timestamp, out: &mut Outbox) {
        match self.sessions.get(&key).is_some_and(|session| session.place.is_some()) {
            true => self.put_in_cohort(key, to, false, block, now, out),
            false => self.put(to, block, now, out),
        }
    }

    fn put_back(&mut self, key: SessionKey, to: Destination, block: &[u8], now: Timestamp, out: &mut Outbox) {
        match self.sessions.get(&key).is_some_and(|session| session.place.is_some()) {
            true => self.put_in_cohort(key, to, true, block, now, out),
            false => self.put(to, block, now, out),
        }
    }

    fn put(&mut self, to: Destination, block: &[u8], now: Timestamp, out: &mut Outbox) {
        if self.pool.is_immediate() {
            return self.leave(to, block, out);
        }
        self.pool.put((to, block.to_vec()), now);
        for (to, block) in self.pool.leaving(now, &mut self.rng) {
            self.leave(to, &block, out);
        }
    }

    pub(crate) fn leave(&mut self, to: Destination, block: &[u8], out: &mut Outbox) {
        self.passed += 1;
        match to {
            Destination::Link(link) => out.send(link, block),
            Destination::Exit { session, number, is_ask } => {
                out.leaving.push(Leaving::Payload { session, number, is_ask, payload: block.to_vec() });
            }
        }
    }

    /// The session's ticks have moved.
    fn mark(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(&key).filter(|session| !session.is_dirty) else { return };
        session.is_dirty = true;
        self.books.moved.push(key);
    }

    /// Notes what stands of a session's chains.
    pub(crate) fn note(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.is_dirty = false;
        for claim in session.meter.claims() {
            if let Some((_, commitment)) = session.checks.iter().find(|(id, _)| *id == claim.id) {
                self.books.earned(commitment, &claim);
            }
        }
    }

    /// The other mixes and the sender learn that a session has failed here: the next mix by a block at which it ends, the
    /// sender by a reply that does not open. The first mix hangs up instead.
    fn tell_others(&mut self, session: &mut Session, why: &MixRefusal, out: &mut Outbox) {
        let mut block = vec![0; self.rules.shape.block()];
        if let Some(link) = session.to.filter(|link| self.links.contains_key(link))
            && session.hop.abandon(&mut block, &mut self.rng).is_ok()
        {
            out.send(link, &block);
        }
        // Whoever has said so itself need not be told.
        let is_told = *why == MixRefusal::Block(OpenError::Exhausted);
        let is_reached = session.hop.position() > 1 && !is_told && self.links.contains_key(&session.from.0);
        if is_reached && session.hop.break_off(&mut block, &mut self.rng).is_ok() {
            out.send(session.from.0, &block);
        }
    }

    /// Ends a session: with its last block, or for a reason.
    pub(crate) fn close(&mut self, key: SessionKey, why: Option<MixRefusal>, now: Timestamp, out: &mut Outbox) {
        self.note(key);
        let Some(mut session) = self.sessions.remove(&key) else { return };
        self.billed += session.meter.used();
        if let Some(why) = &why {
            out.refused.push(why.code());
            self.tell_others(&mut session, why, out);
        }
        for (_, commitment) in &session.checks {
            self.books.over(commitment, now, &self.rules, &mut self.rng);
        }
        self.incoming.remove(&session.from);
        if let Some(link) = session.to {
            self.outgoing.remove(&(link, session.hop.next()));
        }
        if session.is_exit() {
            out.leaving.push(Leaving::Ended(key));
        }
        if let Some(place) = &session.place {
            self.cohort_failed(place.cohort, now, out);
        }
        let is_strangers = self.is_strangers(session.from.0);
        let Some(state) = self.links.get_mut(&session.from.0) else { return };
        state.sessions = state.sessions.saturating_sub(1);
        if state.sessions == 0 && is_strangers && why.is_some() {
            // A stranger whose last session has failed learns it by the end of the link.
            out.hang_ups.push(session.from.0);
        }
    }
}

/// Whether nothing that comes after it can be right. A block that does not open is dropped alone: anybody on the path before
/// may have made it up, and must not end somebody else's session by it.
fn ends_session(refusal: &MixRefusal) -> bool {
    match refusal {
        MixRefusal::Block(error) => error.ends_session(),
        MixRefusal::Meter(_) | MixRefusal::Funding(_) | MixRefusal::FareMalformed | MixRefusal::TooEarly => true,
        _ => false,
    }
}
