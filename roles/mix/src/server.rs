//! A mix with its sockets: links in and out, the store behind, the banks.
//!
//! The engine is behind one lock, which is held for some blocks at a time and never over a wait. What it wants done is done
//! outside. Every link has a queue of bytes with a bound; whoever fills one is not read until it has emptied.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use naulon_onion::Descriptor;
use naulon_statement::{PublicKey, Timestamp};
use naulon_wire::link::{self, LinkError, LinkKey, LinkReader, LinkServer, LinkWriter};
use naulon_wire::{BankCall, BankReply};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::batch::Batching;
use crate::cashier::{self, Banks, MAX_CASHED_TOGETHER};
use crate::exit::Exit;
use crate::mix::Mix;
use crate::outbox::{LinkId, Outbox, Posting, SessionKey};
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
/// How often what was earned is written down: so much of it may be lost by a crash.
pub const FLUSH_EVERY: Duration = Duration::from_millis(20);
/// How often ticks are looked for that are due to be cashed.
const CASH_EVERY: Duration = Duration::from_millis(200);
/// How often old checks are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(30);
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
    is_stopping: std::sync::atomic::AtomicBool,
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
            is_stopping: false.into(),
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

    /// Which mixes there are, by a directory.
    pub fn know(&self, descriptors: &[Descriptor]) {
        let neighbours =
            descriptors.iter().map(|mix| (mix.mix, Neighbour { address: mix.address.clone(), link: mix.link }));
        *self.0.neighbours.write().unwrap_or_else(PoisonError::into_inner) = neighbours.collect();
        self.mix().know(descriptors.iter().map(|mix| (mix.link, mix.mix)).collect());
    }

    /// How many mixes it knows.
    pub fn neighbours(&self) -> usize {
        self.0.neighbours.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes links that come in, until the mix is stopped.
    pub async fn serve(&self, listener: TcpListener) -> Result<(), LinkError> {
        let server = LinkServer::new(&self.0.key)?;
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // No more descriptors: those that are open have to end first.
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            if self.links().len() >= MAX_LINKS {
                metrics::counter!("naulon_mix_links_refused_total").increment(1);
                continue;
            }
            let (handle, server) = (self.clone(), server.clone());
            tokio::spawn(async move {
                if let Ok((peer, link)) = server.accept(stream).await {
                    let (reader, writer) = link.split(handle.0.block);
                    let id = handle.mix().link_from(peer);
                    let outgoing = Outgoing::new();
                    handle.links().insert(id, Arc::clone(&outgoing));
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
        let mut out = Outbox::new();
        self.mix().link_ended(id, self.now(), &mut out);
        self.carry_out(out);
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
            if bytes.is_empty() {
                if is_closed {
                    return writer.close().await;
                }
                outgoing.filled.notified().await;
                continue;
            }
            let sent = timeout(STALL, writer.send(&bytes)).await;
            outgoing.drained.notify_waiters();
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    async fn receive_blocks(&self, id: LinkId, outgoing: &Outgoing, mut reader: LinkReader) {
        let mut buffer = Vec::new();
        loop {
            match reader.blocks().await {
                Ok(blocks) => {
                    buffer.clear();
                    buffer.extend_from_slice(blocks);
                }
                Err(_) => return,
            }
            let mut out = Outbox::new();
            let is_full = {
                let (mut mix, now) = (self.mix(), self.now());
                buffer.chunks_exact_mut(self.0.block).for_each(|block| mix.take(id, block, now, &mut out));
                mix.is_full()
            };
            let crowded = self.carry_out(out);
            for link in crowded {
                self.wait_for(&link).await;
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

    /// Does what the engine wants, and gives the links that are full.
    fn carry_out(&self, out: Outbox) -> Vec<Arc<Outgoing>> {
        for (link, mix) in out.dials {
            self.dial(link, mix);
        }
        let mut crowded = Vec::new();
        for (link, blocks) in out.sends {
            let Some(outgoing) = self.links().get(&link).cloned() else { continue };
            let all = self.0.queued.fetch_add(blocks.len(), Ordering::Relaxed);
            let waiting = {
                let mut queue = outgoing.queue();
                if queue.is_closed {
                    self.0.queued.fetch_sub(blocks.len(), Ordering::Relaxed);
                    continue;
                }
                queue.bytes.extend_from_slice(&blocks);
                queue.bytes.len()
            };
            outgoing.filled.notify_one();
            if waiting > MAX_BACKLOG || all > MAX_BACKLOG_ALL {
                outgoing.close();
            } else if waiting > MAX_QUEUE {
                crowded.push(outgoing);
            }
        }
        for event in out.leaving {
            self.0.exit.leaving(event, self);
        }
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
        if self.0.is_batching {
            self.0.turn.notify_one();
        }
        crowded
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
        let mut out = Outbox::new();
        self.mix().funded(session, is_set_aside, self.now(), &mut out);
        self.carry_out(out);
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
        let mut out = Outbox::new();
        let sent = {
            let (mut mix, now) = (self.mix(), self.now());
            payloads.iter().all(|payload| mix.reply(session, payload, now, &mut out).is_ok())
        };
        self.carry_out(out);
        sent
    }

    /// (Exit) The recipient lets ticks go.
    pub fn let_go(&self, session: SessionKey, number: u32, onion: &[u8; naulon_onion::RETURN_LEN]) -> bool {
        let mut out = Outbox::new();
        let gone = self.mix().let_go(session, number, onion, self.now(), &mut out).is_ok();
        self.carry_out(out);
        gone
    }

    /// (Exit) Ends a session.
    pub fn end(&self, session: SessionKey) {
        let mut out = Outbox::new();
        self.mix().end(session, self.now(), &mut out);
        self.carry_out(out);
    }

    /// Lets batches go when they are due.
    async fn turning(self) {
        loop {
            let next = {
                let mut out = Outbox::new();
                let now = self.now();
                let next = {
                    let mut mix = self.mix();
                    mix.turn(now, &mut out);
                    mix.next_batch()
                };
                self.carry_out_quietly(out);
                next.map(|next| Duration::from_millis(next.since(now).0))
            };
            let pause = next.unwrap_or(TURN_EVERY).clamp(Duration::from_millis(1), TURN_EVERY);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.0.turn.notified(), if next.is_none() => {}
            }
        }
    }

    /// What the turning task itself brought about does not wake it.
    fn carry_out_quietly(&self, out: Outbox) {
        if !out.sends.is_empty() || !out.leaving.is_empty() || !out.refused.is_empty() || !out.hang_ups.is_empty() {
            self.carry_out(out);
        }
    }

    /// Writes down what was earned.
    async fn writing<S: TickStore + 'static>(self, store: Arc<Mutex<S>>) {
        loop {
            let is_last = self.0.is_stopping.load(Ordering::Acquire);
            let changes = self.mix().changes();
            if !changes.is_empty() {
                let store = Arc::clone(&store);
                let written = tokio::task::spawn_blocking(move || {
                    let outcome = store.lock().unwrap_or_else(PoisonError::into_inner).write(&changes);
                    (outcome, changes)
                });
                match written.await {
                    Ok((Ok(()), changes)) => self.mix().written(&changes),
                    Ok((Err(error), changes)) => {
                        tracing::error!(%error, "ticks cannot be written down; they are tried again");
                        metrics::counter!("naulon_mix_writes_failed_total").increment(1);
                        self.mix().not_written(changes);
                        sleep(Duration::from_millis(500)).await;
                    }
                    Err(_) => return,
                }
            }
            if is_last {
                return;
            }
            sleep(FLUSH_EVERY).await;
        }
    }

    /// Cashes what is due, and forgets what is over.
    async fn cashing(self) {
        let mut forgotten = tokio::time::Instant::now();
        loop {
            sleep(CASH_EVERY).await;
            self.cash(false).await;
            if forgotten.elapsed() >= FORGET_EVERY {
                forgotten = tokio::time::Instant::now();
                self.mix().forget(self.now());
            }
            #[allow(clippy::cast_precision_loss)] // A gauge is a float.
            metrics::gauge!("naulon_mix_uncashed_ticks").set(self.mix().uncashed() as f64);
        }
    }

    /// Cashes what is due; with `all`, everything that is earned and written down. Gives how many checks were paid.
    pub async fn cash(&self, all: bool) -> usize {
        let mut paid = 0;
        loop {
            let due = self.mix().due(self.now(), MAX_CASHED_TOGETHER, all);
            let Some(bank) = due.first().map(|due| due.check.bank) else { return paid };
            let (more, is_stuck) = self.cash_at(&bank, due).await;
            paid += more;
            if is_stuck {
                // A bank that does not answer is asked again later.
                return paid;
            }
        }
    }

    /// How many checks were paid, and whether for none of them anything has changed.
    async fn cash_at(&self, bank: &PublicKey, due: Vec<crate::books::Due>) -> (usize, bool) {
        let contract = self.mix().rules.contract.clone();
        let key = self.mix().payee(bank);
        let outcomes = match (self.0.banks.get(bank), key) {
            (Some(client), Some(key)) => cashier::cash(client, due, &key, contract.as_ref()).await,
            _ => due.into_iter().map(|due| (due, crate::books::Cashing::Later)).collect(),
        };
        let (mut paid, mut is_stuck) = (0, true);
        let now = self.now();
        let mut mix = self.mix();
        for (due, outcome) in outcomes {
            let name = match outcome {
                crate::books::Cashing::Paid => "paid",
                crate::books::Cashing::Stands(_) => "stands",
                crate::books::Cashing::Later => "later",
                crate::books::Cashing::Lost => "lost",
            };
            metrics::counter!("naulon_mix_cashings_total", "outcome" => name).increment(1);
            paid += usize::from(name == "paid");
            is_stuck &= !matches!(outcome, crate::books::Cashing::Paid | crate::books::Cashing::Lost);
            mix.cashed(&due, outcome, |amount| cashier::own_part(amount, contract.as_ref()), now);
        }
        (paid, is_stuck)
    }

    /// Ends all links, writes down what was earned, and gives up. Nothing is cashed: that goes on with the next start.
    pub async fn stop(&self) {
        let links: Vec<Arc<Outgoing>> = self.links().values().cloned().collect();
        links.iter().for_each(|link| link.close());
        self.0.is_stopping.store(true, Ordering::Release);
        let mut tasks = std::mem::take(&mut *self.tasks());
        let (turning, cashing) = (tasks.remove(0), tasks.pop());
        turning.abort();
        if let Some(cashing) = cashing {
            cashing.abort();
        }
        for writing in tasks {
            // Its end is what is waited for; if it has panicked there is nothing to wait for.
            let _ = writing.await;
        }
    }
}
