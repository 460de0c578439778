//! The proxy itself: takes programs in, and gives each its session.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use naulon_onion::HOPS;
use naulon_statement::Timestamp;
use naulon_stream::Target;
use naulon_wire::link::{self, LinkError, LinkKey};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::carry::OpenStream;
use crate::fares::{Fare, FareError, Fares};
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

/// How the proxy behaves.
#[derive(Clone, Debug)]
pub struct ProxyRules {
    /// Who is paid.
    pub billing: Billing,
    /// Protocol, and how long checks are.
    pub terms: Terms,
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

/// A person's proxy.
pub struct Proxy {
    rules: ProxyRules,
    fares: Arc<dyn Fares>,
    snapshot: RwLock<Arc<Snapshot>>,
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
        let snapshot = RwLock::new(Arc::new(snapshot));
        Arc::new(Proxy { rules, fares, snapshot, sessions: Mutex::default(), clock })
    }

    /// Takes up a newer snapshot. Sessions that live go on.
    pub fn take_snapshot(&self, snapshot: Snapshot) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
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
        for attempt in 1..=ATTEMPTS {
            let passage = self.passage(&wish.session, &wish.target).await.map_err(|error| {
                tracing::warn!("no session through the mixes: {error}");
                if matches!(error, ProxyError::Path(PathError::NoExit)) { Reply::NotAllowed } else { Reply::Failed }
            })?;
            match passage.open(wish.target.clone()).await {
                Ok(stream) => return Ok(stream),
                Err(StreamRefused::Exit(reason)) => return Err(reason.into()),
                Err(StreamRefused::TimedOut) => return Err(Reply::TimedOut),
                // The session went away: another one, unless that happens again and again.
                Err(error) => tracing::warn!(attempt, "a stream did not come about: {error}"),
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(PAUSE * (1 << (attempt - 1))).await;
            }
        }
        Err(Reply::Failed)
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
        let snapshot = Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner));
        let path = snapshot.path(&wanted, (self.clock)(), &mut draw)?;
        let mut fares: [Option<Fare>; HOPS] = Default::default();
        let checks = self.rules.terms.fares_wanted(&path, &wanted.bank);
        for (fare, wanted) in fares.iter_mut().zip(&checks) {
            if let Some(wanted) = wanted {
                *fare = Some(self.fares.fare(wanted.clone()).await?);
            }
        }
        let (session, set_up) = Session::begin(&path, &self.rules.terms, checks, fares)?;
        let first = &path.hops[0];
        let failed = |error| ProxyError::Link { name: first.name.clone(), error };
        let link = connect(first).await.map_err(failed)?;
        let (reader, writer) = link.split(path.shape.block());
        Ok(Passage::begin(session, path.clone(), set_up, reader, writer, Arc::clone(&self.fares)).await?)
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
