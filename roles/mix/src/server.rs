//! A mix with its sockets: links in and out, the store behind, the banks.
//!
//! The engine is behind one lock, which is held for some blocks at a time and never over a wait. Under it blocks are put into
//! the queues of links, so that they leave in the engine's order. Every link has a queue of bytes with a bound; whoever fills one is not read until it has emptied.

mod keeping;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use naulon_onion::Descriptor;
use naulon_statement::{PublicKey, Timestamp};
use naulon_wire::link::{self, LinkError, LinkKey, LinkReader, LinkServer, LinkWriter};
use naulon_wire::{BankCall, BankReply};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::batch::Batching;
use crate::cashier::Banks;
use crate::exit::Exit;
use crate::mix::Mix;
use crate::outbox::{Leaving, LinkId, Outbox, Posting, SessionKey};
use crate::store::TickStore;

/// The most links at a time.
pub const MAX_LINKS: usize = 8_192;
/// How many bytes may wait on one link before those who fill it are held back.
pub const MAX_QUEUE: usize = 1024 * 1024;
/// How many bytes may wait on one link in any case; beyond it the link is ended.
pub const MAX_BACKLOG: usize = 4 * 1024 * 1024;
/// How many bytes may wait on all links together.
pub const MAX_BACKLOG_ALL: usize = 512 * 1024 * 1024;
/// How long a link is waited for that does not take what it is sent.
pub const STALL: Duration = Duration::from_secs(20);
/// How long the link of a stranger stands who has no session.
pub const LINK_IDLE: Duration = Duration::from_secs(60);
/// The most links that are being made by others at a time.
pub const MAX_HANDSHAKES: usize = 1_024;
/// How long what waits on links is waited for when the mix is stopped.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How often what was earned is written down: so much of it may be lost by a crash.
pub const FLUSH_EVERY: Duration = Duration::from_millis(20);
/// How often the engine is turned at the least.
const TURN_EVERY: Duration = Duration::from_millis(500);
/// How often a posting of funding is tried.
const POSTING_TRIES: u32 = 2;

/// The clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where another mix is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Neighbour {
    address: String,
    link: PublicKey,
}

/// A mix that runs. Clones are handles on the same one.
#[derive(Clone)]
pub struct MixHandle(Arc<Inner>);

struct Inner {
    mix: Mutex<Mix>,
    block: usize,
    key: LinkKey,
    links: Mutex<HashMap<LinkId, Arc<Outgoing>>>,
    queued: AtomicUsize,
    neighbours: RwLock<BTreeMap<PublicKey, Neighbour>>,
    exit: Box<dyn Exit>,
    banks: Banks,
    clock: Clock,
    /// Whether blocks ever wait for a batch.
    is_batching: bool,
    /// Rung when a batch is due at another time than before.
    turn: Notify,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// What leaves the mixes here, in the order of the engine.
    leaving: Mutex<VecDeque<Leaving>>,
    /// Held by the one who hands it to the exit.
    handing_on: Mutex<()>,
    /// Links are not read any more.
    is_stopping: AtomicBool,
    /// Nothing more is earned: what is written next is the last.
    is_last: AtomicBool,
}

/// What waits to be sent on one link.
struct Outgoing {
    queue: Mutex<Queue>,
    filled: Notify,
    drained: Notify,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Outgoing {
    fn new() -> Arc<Self> {
        Arc::new(Outgoing { queue: Mutex::default(), filled: Notify::new(), drained: Notify::new() })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.queue().is_closed = true;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }
}

impl MixHandle {
    /// Puts a mix behind sockets. `store` is written to from now on; nobody else must have it.
    pub fn start(
        mix: Mix,
        store: impl TickStore + 'static,
        key: LinkKey,
        exit: impl Exit,
        banks: Banks,
        clock: Clock,
    ) -> Self {
        let block = mix.rules.shape.block();
        let is_batching = mix.rules.batching != Batching::Stream;
        let handle = MixHandle(Arc::new(Inner {
            mix: Mutex::new(mix),
            block,
            key,
            links: Mutex::default(),
            queued: AtomicUsize::new(0),
            neighbours: RwLock::default(),
            exit: Box::new(exit),
            banks,
            clock,
            is_batching,
            turn: Notify::new(),
            tasks: Mutex::default(),
            leaving: Mutex::default(),
            handing_on: Mutex::default(),
            is_stopping: false.into(),
            is_last: false.into(),
        }));
        let tasks = vec![
            tokio::spawn(handle.clone().turning()),
            tokio::spawn(handle.clone().writing(Arc::new(Mutex::new(store)))),
            tokio::spawn(handle.clone().cashing()),
        ];
        *handle.tasks() = tasks;
        handle
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine. No code panics under this lock.
    pub fn mix(&self) -> MutexGuard<'_, Mix> {
        self.0.mix.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, HashMap<LinkId, Arc<Outgoing>>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Which mixes there are, by a directory. Nobody has proved a link key by naming it: one that several name stays with the
    /// mix that was known by it before, else with none of them.
    pub fn know(&self, descriptors: &[Descriptor]) {
        let neighbours = {
            let before = self.0.neighbours.read().unwrap_or_else(PoisonError::into_inner);
            let mut named: BTreeMap<PublicKey, BTreeSet<PublicKey>> = BTreeMap::new();
            for mix in descriptors {
                named.entry(mix.link).or_default().insert(mix.mix);
            }
            let is_its_own = |mix: &&Descriptor| {
                let is_alone = named.get(&mix.link).is_some_and(|mixes| mixes.len() == 1);
                is_alone || before.get(&mix.mix).is_some_and(|known| known.link == mix.link)
            };
            let own = descriptors.iter().filter(is_its_own);
            own.map(|mix| (mix.mix, Neighbour { address: mix.address.clone(), link: mix.link })).collect()
        };
        self.know_neighbours(neighbours);
    }

    fn know_neighbours(&self, neighbours: BTreeMap<PublicKey, Neighbour>) {
        let by_link = neighbours.iter().map(|(mix, known)| (known.link, *mix)).collect();
        *self.0.neighbours.write().unwrap_or_else(PoisonError::into_inner) = neighbours;
        self.mix().know(by_link);
    }

    /// How many mixes it knows.
    pub fn neighbours(&self) -> usize {
        self.0.neighbours.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes links that come in, until the mix is stopped.
    pub async fn serve(&self, listener: TcpListener) -> Result<(), LinkError> {
        let server = LinkServer::new(&self.0.key)?;
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        loop {
            let handshake = Arc::clone(&handshakes).acquire_owned().await;
            let Ok((stream, _)) = listener.accept().await else {
                // No more descriptors: those that are open have to end first.
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            if self.links().len() >= MAX_LINKS || self.0.is_stopping.load(Ordering::Acquire) {
                metrics::counter!("naulon_mix_links_refused_total").increment(1);
                continue;
            }
            let (handle, server) = (self.clone(), server.clone());
            tokio::spawn(async move {
                let accepted = server.accept(stream).await;
                drop(handshake);
                if let Ok((peer, link)) = accepted {
                    let (reader, writer) = link.split(handle.0.block);
                    let id = handle.mix().link_from(peer);
                    let outgoing = Outgoing::new();
                    handle.links().insert(id, Arc::clone(&outgoing));
                    if handle.0.is_stopping.load(Ordering::Acquire) {
                        outgoing.close();
                    }
                    handle.run_link(id, outgoing, reader, writer).await;
                } else {
                    metrics::counter!("naulon_mix_links_failed_total").increment(1);
                }
            });
        }
    }

    /// Moves blocks both ways until either end has enough.
    async fn run_link(&self, id: LinkId, outgoing: Arc<Outgoing>, reader: LinkReader, writer: LinkWriter) {
        metrics::gauge!("naulon_mix_links").increment(1);
        let sending = self.send_blocks(&outgoing, writer);
        tokio::select! {
            () = sending => {}
            () = self.receive_blocks(id, &outgoing, reader) => {}
        }
        metrics::gauge!("naulon_mix_links").decrement(1);
        self.forget_link(id, &outgoing);
    }

    fn forget_link(&self, id: LinkId, outgoing: &Outgoing) {
        outgoing.close();
        self.0.queued.fetch_sub(outgoing.queue().bytes.len(), Ordering::Relaxed);
        outgoing.queue().bytes.clear();
        self.links().remove(&id);
        self.drive(|mix, now, out| mix.link_ended(id, now, out));
    }

    async fn send_blocks(&self, outgoing: &Outgoing, mut writer: LinkWriter) {
        let mut bytes = Vec::new();
        loop {
            let is_closed = {
                let mut queue = outgoing.queue();
                bytes.clear();
                std::mem::swap(&mut bytes, &mut queue.bytes);
                queue.is_closed
            };
            self.0.queued.fetch_sub(bytes.len(), Ordering::Relaxed);
            outgoing.drained.notify_waiters();
            if bytes.is_empty() {
                if is_closed {
                    return writer.close().await;
                }
                outgoing.filled.notified().await;
                continue;
            }
            let sent = timeout(STALL, writer.send(&bytes)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    async fn receive_blocks(&self, id: LinkId, outgoing: &Outgoing, mut reader: LinkReader) {
        let mut buffer = Vec::new();
        let mut useful = Instant::now();
        loop {
            match timeout(LINK_IDLE, reader.blocks()).await {
                Ok(Ok(blocks)) => {
                    buffer.clear();
                    buffer.extend_from_slice(blocks);
                }
                Ok(Err(_)) => return,
                Err(_) => buffer.clear(),
            }
            if self.0.is_stopping.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
            let ((is_full, is_strangers, is_idle), crowded) = self.drive(|mix, now, out| {
                buffer.chunks_exact_mut(self.0.block).for_each(|block| mix.take(id, block, now, out));
                (mix.is_full(), mix.is_strangers(id), mix.is_idle_strangers(id))
            });
            if !is_idle {
                useful = Instant::now();
            } else if useful.elapsed() >= LINK_IDLE {
                outgoing.close();
            }
            for (link, is_crowded_strangers) in crowded {
                // Many share a link of mixes: none of them waits for a stranger who does not read. His link ends at
                // [`MAX_BACKLOG`].
                if is_strangers || !is_crowded_strangers {
                    self.wait_for(&link).await;
                }
            }
            if is_full {
                self.wait_for_batch().await;
            }
            if outgoing.queue().is_closed {
                // It was ended from within; what still waits goes out first.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until a link has taken enough of what waits for it.
    async fn wait_for(&self, link: &Arc<Outgoing>) {
        let emptied = async {
            loop {
                let drained = link.drained.notified();
                {
                    let queue = link.queue();
                    if queue.is_closed || queue.bytes.len() < MAX_QUEUE {
                        return;
                    }
                }
                drained.await;
            }
        };
        if timeout(STALL, emptied).await.is_err() {
            link.close();
        }
    }

    async fn wait_for_batch(&self) {
        while self.mix().is_full() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has the engine do something, and does what it wants: under its lock what must stay in its order, then the rest. Gives
    /// also the links that are full, and whether each is a stranger's.
    fn drive<T>(&self, act: impl FnOnce(&mut Mix, Timestamp, &mut Outbox) -> T) -> (T, Vec<(Arc<Outgoing>, bool)>) {
        let mut out = Outbox::new();
        let (done, crowded) = {
            let mut mix = self.mix();
            let done = act(&mut mix, self.now(), &mut out);
            (done, self.carry_out(&mix, out))
        };
        self.hand_on();
        (done, crowded)
    }

    /// Locks are taken in this order: the engine, links, a queue. Nothing here waits.
    fn carry_out(&self, mix: &Mix, out: Outbox) -> Vec<(Arc<Outgoing>, bool)> {
        for (link, mix) in out.dials {
            self.dial(link, mix);
        }
        let mut crowded = Vec::new();
        for (link, blocks) in out.sends {
            let Some(outgoing) = self.links().get(&link).cloned() else { continue };
            if self.push(&outgoing, &blocks) {
                crowded.push((outgoing, mix.is_strangers(link)));
            }
        }
        self.leaving().extend(out.leaving);
        for posting in out.posts {
            tokio::spawn(self.clone().post(posting));
        }
        for link in out.hang_ups {
            let outgoing = self.links().get(&link).cloned();
            if let Some(outgoing) = outgoing {
                outgoing.close();
            }
        }
        for code in out.refused {
            metrics::counter!("naulon_mix_refused_total", "code" => code).increment(1);
        }
        if self.0.is_batching && mix.next_batch().is_some() {
            self.0.turn.notify_one();
        }
        crowded
    }

    /// Puts blocks behind what waits on a link, and says whether it is full.
    fn push(&self, outgoing: &Outgoing, blocks: &[u8]) -> bool {
        let all = self.0.queued.fetch_add(blocks.len(), Ordering::Relaxed);
        let waiting = {
            let mut queue = outgoing.queue();
            if queue.is_closed {
                self.0.queued.fetch_sub(blocks.len(), Ordering::Relaxed);
                return false;
            }
            queue.bytes.extend_from_slice(blocks);
            queue.bytes.len()
        };
        outgoing.filled.notify_one();
        let is_over = waiting > MAX_BACKLOG || all > MAX_BACKLOG_ALL;
        if is_over {
            outgoing.close();
        }
        !is_over && waiting > MAX_QUEUE
    }

    fn leaving(&self) -> MutexGuard<'_, VecDeque<Leaving>> {
        self.0.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what leaves to the exit, one at a time. Whoever comes while somebody does so leaves it to him: also the exit
    /// itself, which answers from within.
    fn hand_on(&self) {
        while !self.leaving().is_empty() {
            let _one = match self.0.handing_on.try_lock() {
                Ok(one) => one,
                Err(TryLockError::Poisoned(one)) => one.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            loop {
                let Some(event) = self.leaving().pop_front() else { break };
                self.0.exit.leaving(event, self);
            }
        }
    }

    /// Connects to another mix; what is for it waits meanwhile.
    fn dial(&self, id: LinkId, mix: PublicKey) {
        let outgoing = Outgoing::new();
        self.links().insert(id, Arc::clone(&outgoing));
        let known = self.0.neighbours.read().unwrap_or_else(PoisonError::into_inner).get(&mix).cloned();
        let handle = self.clone();
        tokio::spawn(async move {
            match handle.connected(known).await {
                Some(link) => {
                    let (reader, writer) = link.split(handle.0.block);
                    handle.run_link(id, outgoing, reader, writer).await;
                }
                None => {
                    metrics::counter!("naulon_mix_links_failed_total").increment(1);
                    handle.forget_link(id, &outgoing);
                }
            }
        });
    }

    async fn connected(&self, known: Option<Neighbour>) -> Option<link::Link> {
        let Neighbour { address, link } = known?;
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(&address).await.ok()?.collect();
        for address in addresses {
            if let Ok(made) = link::connect(address, &link, &self.0.key).await {
                return Some(made);
            }
        }
        None
    }

    /// On-line encashment: the check's money is set aside before the first block passes.
    async fn post(self, posting: Posting) {
        let Posting { session, bank, exchange } = posting;
        let mut is_set_aside = false;
        if let Some(client) = self.0.banks.get(&bank) {
            for _ in 0..POSTING_TRIES {
                match client.call(&BankCall::Exchange((*exchange).clone())).await {
                    Ok(BankReply::Exchange(_)) => {
                        is_set_aside = true;
                        break;
                    }
                    Err(naulon_wire::CallError::Problem(_)) | Ok(_) => break,
                    Err(_) => {}
                }
            }
        }
        self.drive(|mix, now, out| mix.funded(session, is_set_aside, now, out));
    }

    /// (Exit) How many replies could go back now.
    pub fn replies_allowed(&self, session: SessionKey) -> u64 {
        self.mix().replies_allowed(session)
    }

    /// (Exit) Waits until the link that a session's replies go to has room.
    pub async fn room_to_reply(&self, session: SessionKey) {
        let link = self.mix().back_link(session);
        let outgoing = link.and_then(|link| self.links().get(&link).cloned());
        if let Some(outgoing) = outgoing {
            self.wait_for(&outgoing).await;
        }
    }

    /// (Exit) Sends payloads back. False if the session is over.
    pub fn reply(&self, session: SessionKey, payloads: &[Vec<u8>]) -> bool {
        self.drive(|mix, now, out| payloads.iter().all(|payload| mix.reply(session, payload, now, out).is_ok())).0
    }

    /// (Exit) The recipient lets ticks go.
    pub fn let_go(&self, session: SessionKey, number: u32, onion: &[u8; naulon_onion::RETURN_LEN]) -> bool {
        self.drive(|mix, now, out| mix.let_go(session, number, onion, now, out).is_ok()).0
    }

    /// (Exit) Ends a session.
    pub fn end(&self, session: SessionKey) {
        self.drive(|mix, now, out| mix.end(session, now, out));
    }

    /// Lets batches go when they are due.
    async fn turning(self) {
        loop {
            let (next, _) = self.drive(|mix, now, out| {
                mix.turn(now, out);
                mix.next_batch().map(|next| Duration::from_millis(next.since(now).0))
            });
            let pause = next.unwrap_or(TURN_EVERY).clamp(Duration::from_millis(1), TURN_EVERY);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.0.turn.notified(), if next.is_none() => {}
            }
        }
    }

    /// Reads no link any more, lets go what waits, ends all links, writes down what was earned, and gives up. Nothing is
    /// cashed: that goes on with the next start.
    pub async fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
        let mut tasks = std::mem::take(&mut *self.tasks());
        if tasks.is_empty() {
            return;
        }
        let (turning, cashing) = (tasks.remove(0), tasks.pop());
        turning.abort();
        if let Some(cashing) = cashing {
            cashing.abort();
        }
        self.drive(|mix, _, out| mix.empty(out));
        let links: Vec<Arc<Outgoing>> = self.links().values().cloned().collect();
        // What waits on them goes out first, as far as it is taken.
        links.iter().for_each(|link| link.close());
        let ended = async {
            while !self.links().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        // Whoever takes nothing is not waited for.
        let _ = timeout(STOP_WAIT, ended).await;
        self.0.is_last.store(true, Ordering::Release);
        for writing in tasks {
            // Its end is what is waited for; if it has panicked there is nothing to wait for.
            let _ = writing.await;
        }
    }
}
