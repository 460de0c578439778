//! The proxy itself: takes programs in, and gives each its session.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use naulon_onion::HOPS;
use naulon_statement::Timestamp;
use naulon_stream::Target;
use naulon_tick::Check;
use naulon_wire::link::{self, LinkError, LinkKey};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Mutex, Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::carry::OpenStream;
use crate::fares::{Fare, FareError, FareWanted, Fares};
use crate::passage::{Broken, Passage, StreamRefused};
use crate::path::{Billing, PathError, PathWanted, Snapshot};
use crate::session::{Session, SessionError, Terms};
use crate::socks::{self, Reply, Wish};

/// How many programs' connections are served at a time.
pub const MAX_CONNECTIONS: usize = 512;
/// How many names have sessions at a time.
pub const MAX_NAMES: usize = 64;
/// How many sessions one name has at a time: one, and more only where exits differ.
pub const MAX_SESSIONS: usize = 8;
/// A session takes no new streams when it is so old: what one does now is not to be joined with what one did before.
pub const MAX_FRESH: Duration = Duration::from_secs(600);
/// A session in which nothing is open ends after this time.
pub const MAX_IDLE: Duration = Duration::from_secs(120);
/// How often sessions are looked through for old ones.
const SWEEP: Duration = Duration::from_secs(5);
/// How many paths are tried for one stream, and how long is waited before the second; twice as long before the next.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(400);
/// How long a newer list of mixes is waited for when the one at hand may be the reason of a failure.
const MAX_LOOKING: Duration = Duration::from_secs(10);
/// The same where other attempts follow.
const MAX_LOOKING_SOON: Duration = Duration::from_secs(2);

/// How the proxy behaves.
#[derive(Clone, Debug)]
pub struct ProxyRules {
    /// Who is paid.
    pub billing: Billing,
    /// Protocol, and how long checks are.
    pub terms: Terms,
    /// How long a session may be silent from its beginning on, usually [`MAX_SILENCE`](crate::MAX_SILENCE).
    pub max_silence: Duration,
}

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Why there is no session, and so no stream.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// No fare.
    #[error(transparent)]
    Fare(#[from] FareError),
    /// The first mix is not reached, or is not the one that its descriptor says.
    #[error("the first mix, {name}: {error}")]
    Link {
        /// Its name.
        name: String,
        /// Why.
        error: LinkError,
    },
    /// The session could not be made.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The session ended at once.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Too many.
    #[error("{MAX_NAMES} user names have sessions, or this one has {MAX_SESSIONS}: close some")]
    TooMany,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Entropy(#[from] getrandom::Error),
}

/// What to do after a stream did not come about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// Nothing: the program is told.
    Final(Reply),
    /// The session went away: another one, unless that happens again and again.
    Gone,
    /// Perhaps the list is old.
    Stale,
}

impl From<&ProxyError> for Failed {
    fn from(error: &ProxyError) -> Self {
        match error {
            ProxyError::Path(PathError::NoExit) => Failed::Final(Reply::NotAllowed),
            ProxyError::Link { .. } | ProxyError::Path(PathError::Over | PathError::TooFew(_)) => Failed::Stale,
            ProxyError::Broken(_) => Failed::Gone,
            _ => Failed::Final(Reply::Failed),
        }
    }
}

/// A person's proxy.
pub struct Proxy {
    rules: ProxyRules,
    fares: Arc<dyn Fares>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// Rung when a session has failed, and an old list may be the reason.
    stale: Notify,
    sessions: Mutex<HashMap<Vec<u8>, Sessions>>,
    clock: Clock,
}

/// The sessions of one name. Whoever begins one holds the lock: two programs that begin together share it.
type Sessions = Arc<Mutex<Vec<Arc<Passage>>>>;

/// It knows where its owner goes.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy over these mixes, paid by these fares.
    pub fn new(rules: ProxyRules, fares: Arc<dyn Fares>, snapshot: Snapshot, clock: Clock) -> Arc<Proxy> {
        let snapshot = watch::Sender::new(Arc::new(snapshot));
        Arc::new(Proxy { rules, fares, snapshot, stale: Notify::new(), sessions: Mutex::default(), clock })
    }

    /// Takes up a newer snapshot. Sessions that live go on.
    pub fn take_snapshot(&self, snapshot: Snapshot) {
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    /// Waits until a session has failed, as one does that is sealed to keys of a mix before its restart. The list should be
    /// fetched anew then: whole as always, and at most every few seconds.
    pub async fn wants_snapshot(&self) {
        self.stale.notified().await;
    }

    /// Serves programs until `stop` is ready; then open streams are broken off, sessions are closed, and the links with them.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, stop: impl Future<Output = ()>) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut programs = JoinSet::new();
        let mut sweep = tokio::time::interval(SWEEP);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = sweep.tick() => self.sweep().await,
                Some(_) = programs.join_next() => {}
                accepted = listener.accept() => {
                    let Ok((program, _)) = accepted else { continue };
                    let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
                    let proxy = Arc::clone(self);
                    programs.spawn(async move {
                        proxy.serve_one(program).await;
                        drop(permit);
                    });
                }
            }
        }
        programs.shutdown().await;
        self.close().await;
    }

    /// Ends all sessions.
    pub async fn close(&self) {
        let sessions = std::mem::take(&mut *self.sessions.lock().await);
        let mut closing = JoinSet::new();
        for own in sessions.into_values() {
            for passage in std::mem::take(&mut *own.lock().await) {
                closing.spawn(async move { passage.close().await });
            }
        }
        closing.join_all().await;
    }

    async fn serve_one(self: Arc<Self>, mut program: TcpStream) {
        let Ok(()) = program.set_nodelay(true) else { return };
        let Ok(wish) = socks::greet(&mut program).await else { return };
        match self.connect(&wish).await {
            Ok(stream) => {
                if socks::answer(&mut program, Reply::Connected).await.is_ok() {
                    stream.carry(&mut program).await;
                }
            }
            Err(reply) => drop(socks::answer(&mut program, reply).await),
        }
    }

    async fn connect(&self, wish: &Wish) -> Result<OpenStream, Reply> {
        let mut has_looked = false;
        for attempt in 1..=ATTEMPTS {
            let failed = match self.open(wish).await {
                Ok(stream) => return Ok(stream),
                Err(Failed::Final(reply)) => return Err(reply),
                Err(failed) => failed,
            };
            if failed == Failed::Stale {
                // Another path, out of a newer list: once.
                if has_looked {
                    break;
                }
                has_looked = true;
                self.look_again(MAX_LOOKING).await;
            } else if attempt < ATTEMPTS {
                // Every attempt costs checks, so the next one waits for the list, too.
                let pause = tokio::time::sleep(PAUSE * (1 << (attempt - 1)));
                tokio::join!(pause, self.look_again(MAX_LOOKING_SOON));
            }
        }
        Err(Reply::Failed)
    }

    async fn open(&self, wish: &Wish) -> Result<OpenStream, Failed> {
        let passage = self.passage(&wish.session, &wish.target).await.map_err(|error| {
            tracing::warn!("no session through the mixes: {error}");
            Failed::from(&error)
        })?;
        passage.open(wish.target.clone()).await.map_err(|error| match error {
            StreamRefused::Exit(reason) => Failed::Final(reason.into()),
            StreamRefused::TimedOut => Failed::Final(Reply::TimedOut),
            error => {
                tracing::warn!("a stream did not come about: {error}");
                if matches!(error, StreamRefused::Broken(Broken::Silent)) { Failed::Stale } else { Failed::Gone }
            }
        })
    }

    /// Has the list fetched anew. Without a newer one the next path is drawn from the old one, and may be another.
    async fn look_again(&self, wait: Duration) {
        let mut newer = self.snapshot.subscribe();
        self.stale.notify_one();
        let _ = timeout(wait, newer.changed()).await;
    }

    /// The session of this name that leads there, or a new one.
    async fn passage(&self, name: &[u8], target: &Target) -> Result<Arc<Passage>, ProxyError> {
        let own = {
            let mut sessions = self.sessions.lock().await;
            if sessions.len() >= MAX_NAMES && !sessions.contains_key(name) {
                return Err(ProxyError::TooMany);
            }
            Arc::clone(sessions.entry(name.to_vec()).or_default())
        };
        let mut own = own.lock().await;
        own.retain(|passage| passage.broken().is_none());
        if let Some(passage) = own.iter().find(|one| one.age() < MAX_FRESH && one.path().leads_to(target)) {
            return Ok(Arc::clone(passage));
        }
        if own.len() >= MAX_SESSIONS {
            return Err(ProxyError::TooMany);
        }
        let passage = self.begin(target).await?;
        own.push(Arc::clone(&passage));
        Ok(passage)
    }

    async fn begin(&self, target: &Target) -> Result<Arc<Passage>, ProxyError> {
        let wanted = PathWanted {
            bank: self.fares.bank(),
            currency: self.fares.currency(),
            target: target.clone(),
            billing: self.rules.billing,
        };
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let path = snapshot.path(&wanted, (self.clock)(), &mut draw)?;
        // First the link: a mix that is not reached costs no check.
        let first = &path.hops[0];
        let failed = |error| ProxyError::Link { name: first.name.clone(), error };
        let link = connect(first).await.map_err(failed)?;
        let wanted = self.rules.terms.fares_wanted(&path, &wanted.bank);
        let fares = self.funded(&wanted).await?;
        let checks: Vec<Check> = fares.iter().flatten().map(|fare| fare.check.clone()).collect();
        let (session, set_up) = match Session::begin(&path, &self.rules.terms, wanted, fares) {
            Ok(begun) => begun,
            Err(error) => {
                self.give_back(checks).await;
                return Err(error.into());
            }
        };
        // From here on the mixes may have seen the checks.
        let link = link.split(path.shape.block());
        let (fares, max_silence) = (Arc::clone(&self.fares), self.rules.max_silence);
        Ok(Passage::begin(session, path, &set_up, link, fares, max_silence).await?)
    }

    /// All the fares, or none: those that were made come to nobody's eyes then, and are given back.
    async fn funded(&self, wanted: &[Option<FareWanted>; HOPS]) -> Result<[Option<Fare>; HOPS], FareError> {
        let mut fares: [Option<Fare>; HOPS] = Default::default();
        for (at, wanted) in wanted.iter().enumerate() {
            let Some(wanted) = wanted else { continue };
            match self.fares.fare(wanted.clone()).await {
                Ok(fare) => fares[at] = Some(fare),
                Err(error) => {
                    self.give_back(fares.into_iter().flatten().map(|fare| fare.check)).await;
                    return Err(error);
                }
            }
        }
        Ok(fares)
    }

    async fn give_back(&self, checks: impl IntoIterator<Item = Check>) {
        for check in checks {
            self.fares.give_back(check).await;
        }
    }

    async fn sweep(&self) {
        let mut sessions = self.sessions.lock().await;
        sessions.retain(|_, own| {
            // A name whose session is just beginning is looked at next time; one that somebody holds is not forgotten.
            let is_held = Arc::strong_count(own) > 1;
            let Ok(mut own) = own.try_lock() else { return true };
            own.retain(|passage| {
                let is_old = passage.idle().is_some_and(|idle| idle > MAX_IDLE || passage.age() > MAX_FRESH);
                if is_old {
                    let passage = Arc::clone(passage);
                    tokio::spawn(async move { passage.close().await });
                }
                !is_old && passage.broken().is_none()
            });
            is_held || !own.is_empty()
        });
    }
}

/// A link with a key that was never seen before and will never be seen again.
async fn connect(mix: &naulon_onion::Descriptor) -> Result<link::Link, LinkError> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut seed[..]).map_err(std::io::Error::other)?;
    let key = LinkKey::from_seed(&seed)?;
    let mut addresses = lookup_host(&mix.address).await?;
    let address: SocketAddr =
        addresses.next().ok_or(std::io::ErrorKind::AddrNotAvailable).map_err(std::io::Error::from)?;
    link::connect(address, &mix.link, &key).await
}

/// A number below `n`, each as likely as the others.
fn draw(n: usize) -> usize {
    let n = u64::try_from(n.max(1)).unwrap_or(u64::MAX);
    let fair = u64::MAX - u64::MAX % n;
    loop {
        // Without random bytes nothing that follows works either; the path's keys are drawn from the same source.
        let drawn = getrandom::u64().unwrap_or(0);
        if drawn < fair {
            return usize::try_from(drawn % n).unwrap_or(0);
        }
    }
}
