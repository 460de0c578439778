//! Where a server is reached: an address, with or without TLS, and the limits on whoever comes.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::route::Listener;
use crate::serve::ServeError;
use crate::tls::ServerTls;

/// How many connections are open at once, on all doors of a server. More wait to be let in.
pub const MAX_CONNECTIONS: usize = 8_192;
/// How long a TLS handshake may take.
pub const MAX_HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a request's head may take, and how long a connection may wait for its next request.
pub const MAX_HEAD_TIME: Duration = Duration::from_secs(20);
/// How long a request's body may take.
pub const MAX_BODY_TIME: Duration = Duration::from_secs(30);
/// How long an answer may wait for the other side to take any more of it.
pub const MAX_STALL_TIME: Duration = Duration::from_secs(30);
/// The longest head of a request in bytes.
const MAX_HEAD_LEN: usize = 32 * 1024;
/// The longest path of a Unix socket that every system takes.
const MAX_SOCKET_PATH_LEN: usize = 100;
/// How long the server waits when it cannot take connections, as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What a server bears with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Connections that are open at once.
    pub connections: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For a request's head, and between requests.
    pub head: Duration,
    /// For a request's body.
    pub body: Duration,
    /// For an answer of which nothing is taken.
    pub stall: Duration,
}

impl Default for Patience {
    /// The constants of this module.
    fn default() -> Self {
        Patience {
            connections: MAX_CONNECTIONS,
            handshake: MAX_HANDSHAKE_TIME,
            head: MAX_HEAD_TIME,
            body: MAX_BODY_TIME,
            stall: MAX_STALL_TIME,
        }
    }
}

/// An address to listen on: `127.0.0.1:21001`, or `unix:PATH` for a socket that only its owner can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Bind {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Bind::Unix(path.into())),
            None => text.parse().map(Bind::Tcp),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address that is listened on, and which listeners' routes are answered there.
#[derive(Debug)]
pub struct Door {
    pub(crate) on: &'static [Listener],
    socket: Socket,
    tls: Option<ServerTls>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    /// Listens. Without TLS only on loopback and on Unix sockets.
    pub async fn open(on: &'static [Listener], bind: &Bind, tls: Option<ServerTls>) -> Result<Door, ServeError> {
        let failed = |error| ServeError::Listen(bind.clone(), error);
        let socket = match bind {
            Bind::Tcp(address) if tls.is_none() && !address.ip().is_loopback() => {
                return Err(ServeError::NotLoopback(*address));
            }
            Bind::Tcp(address) => Socket::Tcp(TcpListener::bind(address).await.map_err(failed)?),
            Bind::Unix(path) if path.as_os_str().len() > MAX_SOCKET_PATH_LEN => {
                return Err(ServeError::LongPath(path.clone()));
            }
            Bind::Unix(path) => {
                // A socket that nobody answers is left over from a process that was killed.
                if UnixStream::connect(path).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
                {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                let listener = UnixListener::bind(path).map_err(failed)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
                Socket::Unix(listener)
            }
        };
        Ok(Door { on, socket, tls })
    }

    /// One door for all listeners, on a loopback address that is listened on already: for tests and demonstrations.
    pub fn of_all(listener: TcpListener) -> Door {
        Door { on: Listener::ALL, socket: Socket::Tcp(listener), tls: None }
    }

    /// Where it listens.
    pub fn bind(&self) -> io::Result<Bind> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => Bind::Tcp(listener.local_addr()?),
            Socket::Unix(listener) => {
                Bind::Unix(listener.local_addr()?.as_pathname().map(Into::into).unwrap_or_default())
            }
        })
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are written whole; nothing is gained by waiting for more. Without it they only come later.
                let _ = TcpStream::set_nodelay(&stream, true);
                Ok(Box::new(stream))
            }
            Socket::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Lets connections in for as long as it is polled, and answers on each what comes.
pub(crate) async fn let_in<A, F>(
    door: Door,
    patience: Patience,
    places: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match door.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("a connection cannot be taken: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, stop, answer) = (door.tls.clone(), stop.clone(), answer.clone());
        tokio::spawn(async move {
            let _place = place;
            metrics::gauge!("naulon_connections").increment(1);
            if let Some(stream) = shaken(stream, tls, patience.handshake).await {
                talk(stream, patience, stop, answer).await;
            }
            metrics::gauge!("naulon_connections").decrement(1);
        });
    }
}

/// The stream after the handshake, if there is to be one and it succeeds in time.
async fn shaken(stream: Box<dyn Stream>, tls: Option<ServerTls>, limit: Duration) -> Option<Box<dyn Stream>> {
    let Some(tls) = tls else { return Some(stream) };
    match timeout(limit, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        // Who it was and why is nobody's business: counting is enough to see that something is wrong.
        Ok(Err(_)) | Err(_) => {
            metrics::counter!("naulon_tls_handshakes_failed_total").increment(1);
            None
        }
    }
}

async fn talk<A, F>(stream: Box<dyn Stream>, patience: Patience, mut stop: watch::Receiver<bool>, answer: A)
where
    A: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let answered = answer(request.map(Body::new));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(MAX_HEAD_LEN);
    let stream = TokioIo::new(Stalling::new(stream, patience.stall));
    let mut talk = std::pin::pin!(builder.serve_connection(stream, service));
    // A connection that fails is one that was cut; whoever used it asks again.
    tokio::select! {
        _ = talk.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => talk.as_mut().graceful_shutdown(),
    }
    let _ = talk.await;
}

/// A connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that is given up when nothing of what is written is taken for a while.
struct Stalling<T> {
    stream: T,
    limit: Duration,
    /// Rings if a write that waits has waited too long.
    alarm: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<T> Stalling<T> {
    fn new(stream: T, limit: Duration) -> Self {
        Stalling { stream, limit, alarm: Box::pin(sleep(limit)), is_waiting: false }
    }

    fn watch<R>(&mut self, outcome: Poll<io::Result<R>>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.is_waiting = false;
            return outcome;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.alarm.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stalling<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stalling<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(outcome, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(outcome, cx)
    }
}
