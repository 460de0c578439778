//! The exit: connects to the Internet for sessions whose last mix this is, under a policy.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use naulon_meter::{Releaser, Replies};
use naulon_onion::{ExitPolicy, Kind, Protocol, RETURN_LEN, Shape, Trigger};
use naulon_stream::{End, Event, Host, Limits, Reason, StreamError, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::outbox::{Leaving, SessionKey};
use crate::server::MixHandle;

/// How long a host has to answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a name may take to be looked up.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// The most streams of all sessions that an exit connects at a time. Beyond it streams are refused.
pub const MAX_EXIT_STREAMS: usize = 4_096;
/// How many bytes are moved at once.
const PIECE: usize = 64 * 1024;
/// How many replies are made at once.
const BATCH: usize = 16;

/// What stands behind the last mix. It is told what leaves, in order, and answers through the handle.
pub trait Exit: Send + Sync + 'static {
    /// Something leaves the mixes here.
    fn leaving(&self, event: Leaving, mix: &MixHandle);
}

impl Exit for Box<dyn Exit> {
    fn leaving(&self, event: Leaving, mix: &MixHandle) {
        (**self).leaving(event, mix);
    }
}

/// No exit: this mix is never the last.
pub struct NoExit;

impl Exit for NoExit {
    fn leaving(&self, _: Leaving, _: &MixHandle) {}
}

/// Connects to hosts of the Internet.
pub struct InternetExit {
    policy: Arc<ExitPolicy>,
    shape: Shape,
    /// A permit for each stream of any session.
    room: Arc<Semaphore>,
    sessions: Mutex<HashMap<SessionKey, Arc<Inside>>>,
}

/// The streams of one session.
struct Inside {
    key: SessionKey,
    mix: MixHandle,
    policy: Arc<ExitPolicy>,
    room: Arc<Semaphore>,
    streams: Mutex<Streams>,
    /// Rung when there may be something to reply, or it may be replied.
    out: Notify,
}

struct Streams {
    end: End,
    /// Where the recipient triggers payment, this exit is the recipient: it lets ticks go.
    releaser: Option<Releaser>,
    /// In a cohort every block has so many replies, no more and no fewer; and how many are due.
    a_block: Option<u32>,
    owed: u64,
    /// One for each task that serves a stream: of a stream that was reset, until its socket is closed.
    bells: HashMap<u32, Arc<Bell>>,
    is_over: bool,
}

#[derive(Default)]
struct Bell {
    readable: Notify,
    writable: Notify,
    /// Rung once, when the client has broken the stream off or the session is over.
    cut: Notify,
}

impl InternetExit {
    /// An exit with this policy.
    pub fn new(policy: ExitPolicy, shape: Shape) -> Self {
        let room = Arc::new(Semaphore::new(MAX_EXIT_STREAMS));
        InternetExit { policy: Arc::new(policy), shape, room, sessions: Mutex::default() }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionKey, Arc<Inside>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exit for InternetExit {
    fn leaving(&self, event: Leaving, mix: &MixHandle) {
        match event {
            Leaving::Begun { session: key, terms } => {
                let mut end = End::exit(Limits::EXIT);
                if terms.protocol != Protocol::BEFORE_SENDER {
                    end.confirm_every(terms.window / 8);
                }
                let releaser = (terms.protocol.trigger == Trigger::Recipient).then(|| Releaser::new(terms));
                let a_block = match terms.replies {
                    Replies::Included(a_block) => Some(a_block),
                    Replies::Billed => None,
                };
                let streams = Streams { end, releaser, a_block, owed: 0, bells: HashMap::new(), is_over: false };
                let (mix, policy, room) = (mix.clone(), Arc::clone(&self.policy), Arc::clone(&self.room));
                let (streams, out) = (Mutex::new(streams), Notify::new());
                let inside = Arc::new(Inside { key, mix, policy, room, streams, out });
                self.sessions().insert(key, Arc::clone(&inside));
                tokio::spawn(answer(inside, self.shape.payload(Kind::Reply)));
            }
            Leaving::Payload { session, payload, is_ask, number } => {
                let inside = self.sessions().get(&session).cloned();
                if let Some(inside) = inside {
                    inside.arrived(number, is_ask, &payload);
                }
            }
            Leaving::MayReply(key) => {
                if let Some(inside) = self.sessions().get(&key) {
                    inside.out.notify_one();
                }
            }
            Leaving::Ended(key) => {
                let inside = self.sessions().remove(&key);
                if let Some(inside) = inside {
                    inside.over();
                }
            }
        }
    }
}

impl Inside {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self) {
        let mut streams = self.streams();
        streams.is_over = true;
        for bell in streams.bells.values() {
            bell.cut.notify_one();
        }
        drop(streams);
        self.out.notify_one();
    }

    /// A block has arrived. Where the recipient triggers payment, the ticks that it is to let go stand in front.
    fn arrived(self: &Arc<Self>, number: u32, is_ask: bool, payload: &[u8]) {
        let lets_go = match &mut self.streams().releaser {
            None if is_ask => return,
            None => None,
            Some(releaser) if is_ask => Some(releaser.asked()),
            Some(releaser) => Some(releaser.arrived()),
        };
        let Some(lets_go) = lets_go else { return self.take(payload) };
        let Some((onion, rest)) = payload.split_first_chunk::<RETURN_LEN>() else { return };
        if lets_go {
            self.mix.let_go(self.key, number, onion);
        }
        if !is_ask {
            self.take(rest);
        }
    }

    /// A payload of the client.
    fn take(self: &Arc<Self>, payload: &[u8]) {
        let mut streams = self.streams();
        streams.owed += u64::from(streams.a_block.unwrap_or(0));
        // A block of a cohort that only pays has no payload.
        if !payload.is_empty() && streams.end.take(payload).is_err() {
            drop(streams);
            self.mix.end(self.key);
            return self.over();
        }
        while let Some(event) = streams.end.next_event() {
            match event {
                Event::Open { stream, target } => match streams.admit(stream, &self.room) {
                    Some((bell, permit)) => {
                        tokio::spawn(serve(Arc::clone(self), bell, stream, target, permit));
                    }
                    None => streams.end.refuse(stream, Reason::TooMany),
                },
                Event::Readable { stream } => ring(&streams, stream, |bell| &bell.readable),
                Event::Writable { stream } => ring(&streams, stream, |bell| &bell.writable),
                Event::Reset { stream, .. } => ring(&streams, stream, |bell| &bell.cut),
                Event::Opened { .. } | Event::Refused { .. } | Event::Received { .. } => {}
            }
        }
        let speaks = streams.speaks();
        drop(streams);
        if speaks {
            self.out.notify_one();
        }
    }
}

impl Streams {
    /// A place for a stream, if this session and all together have one left.
    fn admit(&mut self, stream: u32, room: &Arc<Semaphore>) -> Option<(Arc<Bell>, OwnedSemaphorePermit)> {
        if self.is_over || self.bells.len() >= Limits::EXIT.streams {
            return None;
        }
        let permit = Arc::clone(room).try_acquire_owned().ok()?;
        let bell = Arc::new(Bell::default());
        self.bells.insert(stream, Arc::clone(&bell));
        Some((bell, permit))
    }

    /// Whether a reply is to be made now.
    fn speaks(&self) -> bool {
        match self.a_block {
            Some(_) => self.owed > 0,
            None => self.end.has_something_to_say(),
        }
    }

    /// Fills a reply; in a cohort also one that says nothing.
    fn fill(&mut self, payload: &mut [u8]) -> Result<bool, StreamError> {
        if !self.speaks() {
            return Ok(false);
        }
        let is_filled = self.end.fill(payload)?;
        if self.a_block.is_some() {
            self.owed -= 1;
            if !is_filled {
                self.end.fill_dummy(payload)?;
            }
        }
        Ok(is_filled || self.a_block.is_some())
    }
}

fn ring(streams: &Streams, stream: u32, which: impl Fn(&Bell) -> &Notify) {
    if let Some(bell) = streams.bells.get(&stream) {
        which(bell).notify_one();
    }
}

/// Sends replies as they come up, as far as they are paid and the link takes them.
async fn answer(inside: Arc<Inside>, room: usize) {
    loop {
        inside.out.notified().await;
        loop {
            inside.mix.room_to_reply(inside.key).await;
            let mut payloads = Vec::new();
            {
                let mut streams = inside.streams();
                if streams.is_over {
                    return;
                }
                if !streams.speaks() {
                    break;
                }
                let allowed = inside.mix.replies_allowed(inside.key);
                let most = usize::try_from(allowed).unwrap_or(BATCH).min(BATCH);
                while payloads.len() < most {
                    let mut payload = vec![0; room];
                    match streams.fill(&mut payload) {
                        Ok(true) => payloads.push(payload),
                        Ok(false) => break,
                        Err(_) => {
                            drop(streams);
                            inside.mix.end(inside.key);
                            return inside.over();
                        }
                    }
                }
                while let Some(event) = streams.end.next_event() {
                    if let Event::Writable { stream } = event {
                        ring(&streams, stream, |bell| &bell.writable);
                    }
                }
            }
            if payloads.is_empty() {
                // Not paid yet: the mix says when.
                break;
            }
            if !inside.mix.reply(inside.key, &payloads) {
                return inside.over();
            }
        }
    }
}

/// One stream: connects, and moves bytes until both sides have ended or the client breaks it off.
async fn serve(inside: Arc<Inside>, bell: Arc<Bell>, stream: u32, target: Target, permit: OwnedSemaphorePermit) {
    // Nobody can break off a look-up: its place stays taken until it ends.
    let found = look_up(&inside.policy, &target).await;
    tokio::select! {
        () = serve_host(&inside, &bell, stream, found) => {}
        () = bell.cut.notified() => {}
    }
    inside.streams().bells.remove(&stream);
    drop(permit);
    inside.out.notify_one();
}

async fn serve_host(inside: &Arc<Inside>, bell: &Bell, stream: u32, found: Result<Vec<SocketAddr>, Reason>) {
    let connected = match found {
        Ok(addresses) => connect(addresses).await,
        Err(reason) => Err(reason),
    };
    match connected {
        Ok(socket) => {
            inside.streams().end.accept(stream);
            inside.out.notify_one();
            carry(inside, bell, stream, socket).await;
        }
        Err(reason) => inside.streams().end.refuse(stream, reason),
    }
}

/// Looks up those of the target's addresses that the policy allows.
async fn look_up(policy: &ExitPolicy, target: &Target) -> Result<Vec<SocketAddr>, Reason> {
    if !policy.takes_port(target.port) {
        return Err(Reason::Policy);
    }
    let addresses: Vec<SocketAddr> = match &target.host {
        Host::Address(address) => vec![SocketAddr::new(*address, target.port)],
        Host::Name(name) => {
            let looking = tokio::net::lookup_host((name.as_str(), target.port));
            let found = timeout(LOOKUP_TIMEOUT, looking).await.map_err(|_| Reason::TimedOut)?;
            found.map_err(|_| Reason::HostUnreachable)?.take(MAX_ADDRESSES).collect()
        }
    };
    let allowed: Vec<SocketAddr> =
        addresses.iter().filter(|address| policy.is_private || is_public(address.ip())).copied().collect();
    if allowed.is_empty() {
        return Err(if addresses.is_empty() { Reason::HostUnreachable } else { Reason::Policy });
    }
    Ok(allowed)
}

/// Connects to the first of these addresses that answers.
async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, Reason> {
    let mut last = Reason::HostUnreachable;
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Err(_) => last = Reason::TimedOut,
            Ok(Err(error)) => last = reason_of(&error),
            Ok(Ok(socket)) => {
                // Whether small pieces are sent at once changes nothing but the delay.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
        }
    }
    Err(last)
}

fn reason_of(error: &std::io::Error) -> Reason {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Reason::Refused,
        std::io::ErrorKind::NetworkUnreachable => Reason::NetworkUnreachable,
        std::io::ErrorKind::HostUnreachable => Reason::HostUnreachable,
        std::io::ErrorKind::TimedOut => Reason::TimedOut,
        _ => Reason::Failed,
    }
}

/// Whether an address is one of the public Internet: nobody reaches through an exit what only its operator should.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            let is_reserved = a == 0 || a >= 240 || (a == 192 && b == 0) || (a == 198 && (18..20).contains(&b));
            let is_local = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified();
            !(is_shared || is_reserved || is_local || v4.is_multicast() || v4.is_broadcast() || v4.is_documentation())
        }
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => is_public(IpAddr::V4(v4)),
            None => {
                let is_local = v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local();
                // Global unicast is 2000::/3; in it, 2001:db8::/32 is for documents.
                let is_global = v6.segments()[0] & 0xe000 == 0x2000;
                let is_document = v6.segments()[0] == 0x2001 && v6.segments()[1] == 0xdb8;
                is_global && !is_document && !is_local
            }
        },
    }
}

/// The IPv4 address inside, by which a host behind a translator is reached all the same.
fn embedded(v6: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let segments = v6.segments();
    let [.., a, b, c, d] = v6.octets();
    let is_nat64 = segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let is_6to4 = segments[0] == 0x2002;
    if is_6to4 {
        let [_, _, a, b, c, d, ..] = v6.octets();
        return Some(std::net::Ipv4Addr::new(a, b, c, d));
    }
    v6.to_ipv4_mapped().or_else(|| is_nat64.then(|| std::net::Ipv4Addr::new(a, b, c, d)))
}

async fn carry(inside: &Arc<Inside>, bell: &Bell, stream: u32, mut socket: TcpStream) {
    let (mut from_host, mut to_host) = socket.split();
    let downwards = async {
        let mut piece = vec![0; PIECE];
        loop {
            let room = room(inside, bell, stream).await;
            if room == 0 {
                return;
            }
            match from_host.read(&mut piece[..room.min(PIECE)]).await {
                Ok(0) => {
                    inside.streams().end.finish(stream);
                    inside.out.notify_one();
                    return;
                }
                Ok(len) => {
                    // There was room, and nobody else writes: it takes all.
                    inside.streams().end.write(stream, &piece[..len]);
                    inside.out.notify_one();
                }
                Err(_) => {
                    inside.streams().end.reset(stream, Reason::Gone);
                    bell.cut.notify_one();
                    return;
                }
            }
        }
    };
    let upwards = async {
        let mut piece = Vec::with_capacity(PIECE);
        loop {
            received(inside, bell, stream, &mut piece).await;
            if piece.is_empty() {
                // The host may not care; then there is nobody to tell.
                let _ = to_host.shutdown().await;
                return;
            }
            if to_host.write_all(&piece).await.is_err() {
                inside.streams().end.reset(stream, Reason::Gone);
                bell.cut.notify_one();
                return;
            }
        }
    };
    tokio::join!(downwards, upwards);
}

/// How many bytes can be written towards the client; waits for some. 0 means that the stream is over.
async fn room(inside: &Inside, bell: &Bell, stream: u32) -> usize {
    loop {
        let rung = bell.writable.notified();
        {
            let mut streams = inside.streams();
            if streams.is_over || !streams.end.is_alive(stream) {
                return 0;
            }
            let room = streams.end.room_or_wait(stream);
            if room > 0 {
                return room;
            }
        }
        rung.await;
    }
}

/// Waits for bytes of the client, and moves them to `piece`; none at the end.
async fn received(inside: &Inside, bell: &Bell, stream: u32, piece: &mut Vec<u8>) {
    piece.clear();
    loop {
        let rung = bell.readable.notified();
        {
            let mut streams = inside.streams();
            while piece.len() < PIECE {
                let received = streams.end.received(stream);
                if received.is_empty() {
                    break;
                }
                let len = received.len().min(PIECE - piece.len());
                piece.extend_from_slice(&received[..len]);
                streams.end.consume(stream, len);
            }
            if !piece.is_empty() || streams.end.is_ended(stream) || streams.is_over {
                break;
            }
        }
        rung.await;
    }
    inside.out.notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that opens and breaks off in turn has no more sockets than one that does not, nor have all together.
    #[test]
    fn streams_count_until_their_task_has_ended() {
        let end = End::exit(Limits::EXIT);
        let mut streams =
            Streams { end, releaser: None, a_block: None, owed: 0, bells: HashMap::new(), is_over: false };
        let room = Arc::new(Semaphore::new(MAX_EXIT_STREAMS));
        let most = u32::try_from(Limits::EXIT.streams).expect("a number");
        let mut permits: Vec<_> = (0..most).filter_map(|stream| streams.admit(stream, &room)).collect();
        assert_eq!(permits.len(), Limits::EXIT.streams);
        assert!(streams.admit(most, &room).is_none());
        streams.bells.remove(&0);
        permits.pop();
        assert_eq!(room.available_permits(), MAX_EXIT_STREAMS + 1 - Limits::EXIT.streams);
        assert!(
            streams.admit(most, &Arc::new(Semaphore::new(0))).is_none(),
            "all together have as many as there may be"
        );
        assert!(streams.admit(most, &room).is_some());
    }

    #[test]
    fn only_public_addresses_are_public() {
        for public in ["8.8.8.8", "1.1.1.1", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.1.1",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::127.0.0.1",
        ] {
            assert!(!is_public(private.parse().expect("an address")), "{private}");
        }
    }
}
