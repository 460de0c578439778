//! A live session: its link to the first mix, and the streams inside.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use naulon_stream::{Event, OpenError, Reason, Target};
use naulon_wire::link::{LinkError, LinkReader, LinkWriter};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::carry::OpenStream;
use crate::fares::{Fare, FareError, FareWanted, Fares};
use crate::path::Path;
use crate::session::{Session, SessionError};

/// How many blocks are given to a link at once.
const BATCH: usize = 16;
/// How long the exit may take to connect.
pub const MAX_CONNECTING: Duration = Duration::from_secs(60);
/// How long a session may be silent from its beginning on: longer than an exit takes to find a host and not to reach it. A mix
/// that was sealed to with an old key says nothing at all.
pub const MAX_SILENCE: Duration = Duration::from_secs(30);
/// How long ticks may take to come back that the recipient lets go.
const SETTLING: Duration = Duration::from_millis(500);
/// How often a bank is asked for a further check, and how long between.
const FARE_ATTEMPTS: usize = 5;
const FARE_PAUSE: Duration = Duration::from_secs(2);
/// How long the last block may take to go out.
const MAX_CLOSING: Duration = Duration::from_secs(2);

/// Why a session has ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Broken {
    /// The link to the first mix.
    #[error("the link to the first mix ended: {0}")]
    Link(Arc<LinkError>),
    /// A mix on the way, or the exit, did what it must not.
    #[error("the session ended: {0}")]
    Session(SessionError),
    /// No further fare.
    #[error("the session ended for want of a fare: {0}")]
    Fare(FareError),
    /// Not one block came: a mix on the way does not know its key any more, or is gone.
    #[error("the session was silent from its beginning on")]
    Silent,
    /// It is no longer needed.
    #[error("the session was closed")]
    Closed,
}

/// Why a stream did not come about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StreamRefused {
    /// The exit says no.
    #[error("the exit did not connect: {0:?}")]
    Exit(Reason),
    /// The session has ended meanwhile.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The session takes no more streams.
    #[error(transparent)]
    Full(#[from] OpenError),
    /// Nothing came.
    #[error("the exit did not answer in time")]
    TimedOut,
}

/// What wakes the two tasks of a stream.
#[derive(Default)]
pub(crate) struct Bell {
    pub readable: Notify,
    pub writable: Notify,
    pub answer: Notify,
    /// Rung when the stream was broken off.
    pub cut: Notify,
}

pub(crate) struct Inside {
    pub session: Session,
    pub bells: HashMap<u32, Arc<Bell>>,
    pub answers: HashMap<u32, Result<(), Reason>>,
    /// Streams that the exit broke off.
    pub cut: HashSet<u32>,
    pub broken: Option<Broken>,
    /// A block has come through all mixes.
    pub has_heard: bool,
    pub last_used: Instant,
}

/// A live session.
pub struct Passage {
    path: Path,
    begun: Instant,
    max_silence: Duration,
    inside: Mutex<Inside>,
    /// Rung when there may be something to send.
    pub(crate) out: Notify,
    /// Rung when the session wants fares.
    hungry: Notify,
    /// Rung at the end.
    over: Notify,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Passage {
    /// Sends the set-up block and sees to everything from then on.
    pub(crate) async fn begin(
        session: Session,
        path: Path,
        set_up: &[u8],
        (reader, mut writer): (LinkReader, LinkWriter),
        fares: Arc<dyn Fares>,
        max_silence: Duration,
    ) -> Result<Arc<Passage>, Broken> {
        writer.send(set_up).await.map_err(|error| Broken::Link(Arc::new(error)))?;
        let inside = Inside {
            session,
            bells: HashMap::new(),
            answers: HashMap::new(),
            cut: HashSet::new(),
            broken: None,
            has_heard: false,
            last_used: Instant::now(),
        };
        let passage = Arc::new(Passage {
            path,
            begun: Instant::now(),
            max_silence,
            inside: Mutex::new(inside),
            out: Notify::new(),
            hungry: Notify::new(),
            over: Notify::new(),
            tasks: Mutex::default(),
        });
        let sending = tokio::spawn(send_blocks(Arc::clone(&passage), writer));
        let receiving = tokio::spawn(receive_blocks(Arc::clone(&passage), reader));
        let paying = tokio::spawn(renew_fares(Arc::clone(&passage), fares));
        *passage.tasks.lock().unwrap_or_else(PoisonError::into_inner) = vec![sending, receiving, paying];
        Ok(passage)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long ago it began.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// For how long nothing has been open in it; `None` while something is.
    pub fn idle(&self) -> Option<Duration> {
        let inside = self.inside();
        inside.bells.is_empty().then(|| inside.last_used.elapsed())
    }

    /// Why it has ended, if it has.
    pub fn broken(&self) -> Option<Broken> {
        self.inside().broken.clone()
    }

    /// Ends the session: pays what is owed, tells the mixes that no block will follow, and closes the link.
    pub async fn close(&self) {
        let is_slow = {
            let mut inside = self.inside();
            inside.session.settle();
            inside.session.settles_slowly()
        };
        self.out.notify_one();
        if is_slow {
            tokio::time::sleep(SETTLING).await;
        }
        self.inside().session.finish();
        self.out.notify_one();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let handle = task.abort_handle();
            if timeout(MAX_CLOSING, task).await.is_err() {
                handle.abort();
            }
        }
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn break_off(&self, why: Broken) {
        let mut inside = self.inside();
        if inside.broken.is_none() {
            tracing::debug!(why = %why, "a session has ended");
            inside.broken = Some(why);
        }
        for bell in inside.bells.values() {
            bell.readable.notify_one();
            bell.writable.notify_one();
            bell.answer.notify_one();
            bell.cut.notify_one();
        }
        drop(inside);
        self.over.notify_waiters();
        self.hungry.notify_one();
        self.out.notify_one();
    }

    /// Opens a stream, and waits until the exit has connected.
    pub async fn open(self: &Arc<Self>, target: Target) -> Result<OpenStream, StreamRefused> {
        let bell = Arc::new(Bell::default());
        let stream = {
            let mut inside = self.inside();
            if let Some(broken) = &inside.broken {
                return Err(broken.clone().into());
            }
            let stream = inside.session.end().open(target)?;
            inside.bells.insert(stream, Arc::clone(&bell));
            stream
        };
        let open = OpenStream::new(Arc::clone(self), bell, stream);
        self.out.notify_one();
        let silence = if self.inside().has_heard { MAX_CONNECTING } else { self.max_silence };
        let is_answered = match timeout(silence, open.answered()).await {
            Ok(answer) => Some(answer),
            // Somebody is there, and slow.
            Err(_) if self.inside().has_heard => {
                timeout(MAX_CONNECTING.saturating_sub(silence), open.answered()).await.ok()
            }
            Err(_) => {
                // Streams that come later must not wait for it, too.
                self.break_off(Broken::Silent);
                return Err(Broken::Silent.into());
            }
        };
        is_answered.ok_or(StreamRefused::TimedOut)??;
        Ok(open)
    }
}

async fn send_blocks(passage: Arc<Passage>, mut writer: LinkWriter) {
    let mut blocks = Vec::new();
    loop {
        let rung = passage.out.notified();
        let is_over = {
            let mut inside = passage.inside();
            if inside.broken.is_some() {
                break;
            }
            blocks.clear();
            let made = inside.session.next_blocks(&mut blocks, BATCH);
            let is_over = inside.session.is_finished();
            drop(inside);
            if let Err(error) = made {
                passage.break_off(Broken::Session(error));
                break;
            }
            is_over
        };
        if !blocks.is_empty()
            && let Err(error) = writer.send(&blocks).await
        {
            passage.break_off(Broken::Link(Arc::new(error)));
            break;
        }
        if is_over {
            passage.break_off(Broken::Closed);
            break;
        }
        if blocks.is_empty() {
            rung.await;
        }
    }
    writer.close().await;
}

async fn receive_blocks(passage: Arc<Passage>, mut reader: LinkReader) {
    let block = passage.path.shape.block();
    let mut blocks = Vec::new();
    loop {
        let over = passage.over.notified();
        if passage.inside().broken.is_some() {
            return;
        }
        let read = tokio::select! {
            read = reader.blocks() => read,
            () = over => return,
        };
        match read {
            Ok(read) => {
                blocks.clear();
                blocks.extend_from_slice(read);
            }
            Err(error) => return passage.break_off(Broken::Link(Arc::new(error))),
        }
        if let Err(error) = passage.take(&mut blocks, block) {
            return passage.break_off(Broken::Session(error));
        }
    }
}

impl Passage {
    fn take(&self, blocks: &mut [u8], block: usize) -> Result<(), SessionError> {
        let mut inside = self.inside();
        for block in blocks.chunks_exact_mut(block) {
            inside.session.take(block)?;
            inside.has_heard = true;
        }
        while let Some(event) = inside.session.end().next_event() {
            inside.ring(event);
        }
        let (has_out, is_hungry) = (inside.session.has_blocks(), inside.session.wants_fares());
        drop(inside);
        if has_out {
            self.out.notify_one();
        }
        if is_hungry {
            self.hungry.notify_one();
        }
        Ok(())
    }
}

impl Passage {
    /// Takes a further check, unless the session is over: then nobody is shown it.
    fn add_fare(&self, at: usize, fare: Fare) -> Result<(), Broken> {
        let mut inside = self.inside();
        match &inside.broken {
            Some(broken) => Err(broken.clone()),
            None => inside.session.add_fare(at, fare).map_err(Broken::Session),
        }
    }
}

impl Inside {
    /// Nobody asks for this stream any more.
    pub(crate) fn forget(&mut self, stream: u32) {
        self.bells.remove(&stream);
        self.answers.remove(&stream);
        self.cut.remove(&stream);
    }

    fn ring(&mut self, event: Event) {
        let (stream, bell): (u32, fn(&Bell) -> &Notify) = match event {
            Event::Opened { stream } => {
                self.answers.insert(stream, Ok(()));
                (stream, |bell| &bell.answer)
            }
            Event::Refused { stream, reason } => {
                self.answers.insert(stream, Err(reason));
                (stream, |bell| &bell.answer)
            }
            Event::Readable { stream } => (stream, |bell| &bell.readable),
            Event::Writable { stream } => (stream, |bell| &bell.writable),
            Event::Reset { stream, .. } => {
                self.cut.insert(stream);
                if let Some(bell) = self.bells.get(&stream) {
                    bell.readable.notify_one();
                    bell.writable.notify_one();
                }
                (stream, |bell| &bell.cut)
            }
            Event::Received { payloads } => return self.session.confirm(payloads),
            Event::Open { .. } => return,
        };
        match self.bells.get(&stream) {
            Some(rung) => bell(rung).notify_one(),
            // Its owner has given up meanwhile.
            None => self.forget(stream),
        }
    }
}

/// Gets further checks before those in use run out.
async fn renew_fares(passage: Arc<Passage>, fares: Arc<dyn Fares>) {
    loop {
        let rung = passage.hungry.notified();
        let wanted = {
            let mut inside = passage.inside();
            if inside.broken.is_some() {
                return;
            }
            inside.session.take_wanted()
        };
        for (at, wanted) in wanted.into_iter().enumerate() {
            let Some(wanted) = wanted else { continue };
            let taken = match given(&*fares, wanted).await {
                Ok(fare) => {
                    let check = fare.check.clone();
                    let added = passage.add_fare(at, fare);
                    if added.is_err() {
                        fares.give_back(check).await;
                    }
                    added
                }
                Err(error) => Err(Broken::Fare(error)),
            };
            if let Err(broken) = taken {
                return passage.break_off(broken);
            }
            passage.out.notify_one();
        }
        rung.await;
    }
}

/// A fare; a bank that does not answer is asked again some times, while the ticks in hand last.
async fn given(fares: &dyn Fares, wanted: FareWanted) -> Result<Fare, FareError> {
    for _ in 1..FARE_ATTEMPTS {
        match fares.fare(wanted.clone()).await {
            Err(FareError::Bank(why)) => tracing::warn!("a further check is asked for again: {why}"),
            other => return other,
        }
        tokio::time::sleep(FARE_PAUSE).await;
    }
    fares.fare(wanted).await
}
