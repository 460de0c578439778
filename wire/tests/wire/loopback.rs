//! Server and client over real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use naulon_statement::{Digest, Unverified};
use naulon_wire::door::{Bind, Door, Patience};
use naulon_wire::serve::{ServeError, Terms, listen, serve_doors};
use naulon_wire::{
    Address, CallError, Circuit, Clients, MAX_GOODS_PIECE, Piece, Problem, Range, Service, ShopCall, ShopReply,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::samples::{goods_m, key};

/// What the party under test does with a call.
#[derive(Default)]
pub struct Party {
    /// How many calls have come.
    pub calls: AtomicU32,
    /// How many of them are answered with this code first.
    refusals: u32,
    code: &'static str,
    /// When set, an answer waits for it.
    gate: Option<Arc<Notify>>,
    /// From where on the goods cannot be read.
    broken_at: Option<u64>,
}

/// Little of it, so that the tests need little themselves.
pub const PATIENCE: Patience = Patience {
    connections: 8,
    handshake: Duration::from_millis(500),
    head: Duration::from_millis(700),
    body: Duration::from_millis(800),
    stall: Duration::from_millis(900),
};

/// More than two pieces.
pub const GOODS_LEN: u64 = 2 * MAX_GOODS_PIECE + 1_000;

/// What stands there in the goods.
fn byte_at(at: u64) -> u8 {
    (at / 251) as u8 ^ at as u8
}

impl Service<ShopCall> for Party {
    async fn call(&self, call: ShopCall) -> Result<ShopReply, Problem> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        if number < self.refusals {
            return Err(Problem::new(self.code, "not now"));
        }
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        match call {
            ShopCall::Goods { range, .. } => {
                if range.offset >= GOODS_LEN {
                    return Err(Problem::range(GOODS_LEN));
                }
                let end = range.offset.saturating_add(range.len).min(GOODS_LEN);
                let broken = self.broken_at.is_some_and(|at| range.offset >= at);
                let bytes = if broken { Bytes::new() } else { (range.offset..end).map(byte_at).collect() };
                Ok(ShopReply::Goods(Piece { offset: range.offset, bytes, of: GOODS_LEN }))
            }
            _ => Ok(ShopReply::Offer(Box::new(Unverified::from(&goods_m())))),
        }
    }
}

pub struct Running {
    pub address: SocketAddr,
    pub party: Arc<Party>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

async fn start(party: Party) -> Running {
    start_at(party, Door::of_all(loopback_listener().await))
}

pub fn start_at(party: Party, door: Door) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let Bind::Tcp(address) = door.bind().expect("an address") else { panic!("an address") };
    let party = Arc::new(party);
    let served = party.clone();
    let server = tokio::spawn(async move {
        let terms = Terms { patience: PATIENCE, ..Terms::default() };
        serve_doors(vec![door], served, terms, async move {
            let _ = stopped.await;
        })
        .await
    });
    Running { address, party, stop, server }
}

/// A free port below the ones that the system hands out.
pub async fn loopback_listener() -> TcpListener {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..2_000 {
        let offset = std::process::id().wrapping_mul(7) + NEXT.fetch_add(1, Ordering::SeqCst);
        let port = 20_000 + (offset % 10_000) as u16;
        if let Ok(listener) = listen((Ipv4Addr::LOCALHOST, port).into()).await {
            return listener;
        }
    }
    panic!("no free port")
}

fn client(running: &Running) -> naulon_wire::Client {
    Clients::default().on(Circuit::Anonymous(1), format!("http://{}", running.address)).expect("loopback")
}

/// Sends raw text and returns the whole answer.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("is answered");
    answer
}

/// Sends raw text and returns head and body of the answer, as far as they come.
async fn raw_bytes(address: SocketAddr, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("is sent");
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 65_536]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    (String::from_utf8(answer[..end].to_vec()).expect("text"), answer.split_off(end))
}

fn get(path: &str, header: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{header}\r\n")
}

#[tokio::test]
async fn only_loopback_is_served() {
    let everywhere = listen((Ipv4Addr::UNSPECIFIED, 20_000).into()).await;
    assert!(matches!(everywhere, Err(ServeError::NotLoopback(_))));
    let taken = loopback_listener().await;
    let again = listen(taken.local_addr().expect("an address")).await;
    assert!(matches!(again, Err(ServeError::Listen(..))));
}

#[tokio::test]
async fn what_is_not_asked_rightly_is_refused_by_name() {
    let running = start(Party::default()).await;
    let says = |answer: &str, status: u16, code: &str| {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("application/problem+json") && answer.contains("no-store"), "{answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    };
    let at = running.address;
    assert!(raw(at, &get("/healthz", "")).await.ends_with("ok\n"));
    says(&raw(at, &get("/v1/nothing", "")).await, 404, "not_found");
    says(&raw(at, &get("/v1/bank", "")).await, 404, "not_found");
    says(&raw(at, &get("/v1/goods/short", "")).await, 400, "malformed");
    let by = |method: &str, path: &str| get(path, "").replacen("GET", method, 1);
    for (method, path, allowed) in [
        ("DELETE", "/v1/shop", "GET, HEAD"),
        ("POST", "/v1/shop", "GET, HEAD"),
        ("PUT", "/healthz", "GET, HEAD"),
        ("GET", "/v1/offers", "POST"),
        ("HEAD", "/v1/payments", "POST"),
    ] {
        let answer = raw(at, &by(method, path)).await;
        assert!(answer.contains(&format!("allow: {allowed}\r\n")), "{method} {path}: {answer}");
        if method != "HEAD" {
            says(&answer, 405, "wrong_method");
        }
    }
    says(&raw(at, &by("DELETE", "/v1/nothing")).await, 404, "not_found");
    let post = |body: &str| {
        let length = body.len();
        format!("POST /v1/offers HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    says(&raw(at, &post("{\"item\":5}")).await, 400, "malformed");
    says(&raw(at, &post("{\"item\":\"a\",\"more\":1}")).await, 400, "malformed");
    assert!(raw(at, &post("{\"item\":\"a\"}")).await.starts_with("HTTP/1.1 200 "));
    let goods = format!("/v1/goods/{}", Digest([0; 32]));
    for bad in ["bytes=5", "bytes=5-4", "bytes=x-y"] {
        says(&raw(at, &get(&goods, &format!("Range: {bad}\r\n"))).await, 416, "range");
    }
    assert_eq!(running.party.calls.load(Ordering::SeqCst), 1, "only one of them was a call");
}

/// The `type` of every problem leads to a page that says what to do, at the very server that refused.
#[tokio::test]
async fn every_code_has_its_page() {
    let running = start(Party::default()).await;
    for code in naulon_wire::codes::CODES {
        let problem = Problem::new(code.code, "so it is");
        let page = raw(running.address, &get(&problem.kind, "")).await;
        assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("text/html"), "{page}");
        let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        assert!(page.contains(code.code) && page.contains(&plain(code.title)), "{page}");
        assert!(page.contains(&plain(code.advice)), "{page}");
    }
    assert!(raw(running.address, &get("/problems/nobody_knows", "")).await.starts_with("HTTP/1.1 404 "));
    let document = raw(running.address, &get("/openapi.json", "")).await;
    assert!(document.contains("application/json") && document.contains("\"openapi\":\"3.1.0\""), "{document}");
}

#[tokio::test]
async fn goods_come_in_pieces() {
    let running = start(Party::default()).await;
    let ask = |offset, len| ShopCall::Goods { digest: Digest([0; 32]), range: Range { offset, len } };
    let client = client(&running);
    for (offset, len) in [(7, 1), (9, 1_000), (3, MAX_GOODS_PIECE), (3, MAX_GOODS_PIECE * 2)] {
        let Ok(ShopReply::Goods(piece)) = client.call(&ask(offset, len)).await else { panic!("goods") };
        let len = len.min(MAX_GOODS_PIECE);
        assert_eq!((piece.offset, piece.bytes.len() as u64, piece.of), (offset, len, GOODS_LEN));
        assert!(piece.bytes.iter().zip(offset..).all(|(byte, at)| *byte == byte_at(at)));
    }
    let Err(CallError::Problem(problem)) = client.call(&ask(GOODS_LEN, 1)).await else { panic!("no goods") };
    assert_eq!((problem.code.as_str(), problem.size), ("range", Some(GOODS_LEN)));
}

/// A client that knows nothing of Naulon: it fetches the whole, a part, and goes on where it was cut off (RFC 9110 §14).
#[tokio::test]
async fn goods_can_be_fetched_by_any_client() {
    let running = start(Party::default()).await;
    let path = format!("/v1/goods/{}", Digest([0; 32]));
    let last = GOODS_LEN - 1;
    for (range, status, from, to) in [
        (None, 200, 0, last),
        (Some("bytes=-5".to_owned()), 200, 0, last),
        (Some("bytes=0-1,3-4".to_owned()), 200, 0, last),
        (Some("lines=0-1".to_owned()), 200, 0, last),
        (Some("bytes=0-".to_owned()), 206, 0, last),
        (Some(format!("bytes={}-", MAX_GOODS_PIECE + 7)), 206, MAX_GOODS_PIECE + 7, last),
        (Some("bytes=5-9".to_owned()), 206, 5, 9),
        (Some(format!("bytes=1-{}", 2 * MAX_GOODS_PIECE)), 206, 1, 2 * MAX_GOODS_PIECE),
        (Some("bytes=3-99999999999".to_owned()), 206, 3, last),
    ] {
        let header = range.as_ref().map(|range| format!("Range: {range}\r\n")).unwrap_or_default();
        let (head, body) = raw_bytes(running.address, &get(&path, &header)).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{range:?}: {head}");
        assert!(head.contains("accept-ranges: bytes\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", to - from + 1)), "{head}");
        let content_range = format!("content-range: bytes {from}-{to}/{GOODS_LEN}\r\n");
        assert_eq!(head.contains(&content_range), status == 206, "{range:?}: {head}");
        assert_eq!(body.len() as u64, to - from + 1, "{range:?}");
        assert!(body.iter().zip(from..).all(|(byte, at)| *byte == byte_at(at)), "{range:?}");
    }
    let (head, _) = raw_bytes(running.address, &get(&path, &format!("Range: bytes={GOODS_LEN}-\r\n"))).await;
    assert!(
        head.starts_with("HTTP/1.1 416 ") && head.contains(&format!("content-range: bytes */{GOODS_LEN}")),
        "{head}"
    );
    let calls = running.party.calls.load(Ordering::SeqCst);
    let (head, body) = raw_bytes(running.address, &get(&path, "").replacen("GET", "HEAD", 1)).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains(&format!("content-length: {GOODS_LEN}")), "{head}");
    assert_eq!(
        (body.len(), running.party.calls.load(Ordering::SeqCst)),
        (0, calls + 1),
        "one piece is looked at, no more"
    );
}

/// Goods that cannot be read to their end are cut off, and never look whole.
#[tokio::test]
async fn goods_that_end_too_early_do_not_look_whole() {
    let running = start(Party { broken_at: Some(MAX_GOODS_PIECE), ..Party::default() }).await;
    let path = format!("/v1/goods/{}", Digest([0; 32]));
    let (head, body) = raw_bytes(running.address, &get(&path, "")).await;
    assert!(head.contains(&format!("content-length: {GOODS_LEN}\r\n")), "{head}");
    assert!(body.len() as u64 <= MAX_GOODS_PIECE, "{}", body.len());
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_and_not_kept() {
    let running = start(Party::default()).await;
    let outcome = client(&running).call(&ShopCall::Offer { item: "x".repeat(3 * 1024 * 1024) }).await;
    let Err(CallError::Problem(problem)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((problem.code.as_str(), problem.status), ("too_long", 413));
    assert_eq!(running.party.calls.load(Ordering::SeqCst), 0);
}

/// Who sends half a body and stops is told so after a while, by a code that is not final: the rest may be on its way.
#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let running = start(Party::default()).await;
    let began = std::time::Instant::now();
    let half = "POST /v1/offers HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 90\r\n\r\n{\"item\":";
    let answer = raw(running.address, half).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"too_slow\""), "{answer}");
    assert!(began.elapsed() >= PATIENCE.body);
    assert_eq!(running.party.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_client_repeats_what_may_pass_and_nothing_else() {
    for (code, refusals, expected) in [("busy", 1, 2), ("unavailable", 9, 3), ("offer_taken", 9, 1), ("internal", 9, 1)]
    {
        let running = start(Party { refusals, code, ..Party::default() }).await;
        let outcome = client(&running).call(&ShopCall::Offer { item: "a".to_owned() }).await;
        assert_eq!(running.party.calls.load(Ordering::SeqCst), expected, "{code}");
        match outcome {
            Ok(ShopReply::Offer(_)) => assert_eq!(code, "busy"),
            Err(CallError::Problem(problem)) => assert_eq!(problem.code, code),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_party_that_is_away_is_unreachable() {
    let listener = loopback_listener().await;
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let client = Clients::default().on(Circuit::Anonymous(1), format!("http://{address}")).expect("loopback");
    let outcome = client.call(&ShopCall::Describe).await;
    assert!(matches!(outcome, Err(CallError::Unreachable(..))), "{outcome:?}");
}

#[tokio::test]
async fn a_graceful_stop_finishes_what_it_has_begun() {
    let gate = Arc::new(Notify::new());
    let running = start(Party { gate: Some(gate.clone()), ..Party::default() }).await;
    let client = client(&running);
    let call = tokio::spawn(async move { client.call(&ShopCall::Offer { item: "a".to_owned() }).await });
    while running.party.calls.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop.send(()).expect("the server runs");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!running.server.is_finished(), "a call is still open");
    assert!(TcpStream::connect(running.address).await.is_err(), "nobody new is let in");
    gate.notify_one();
    assert!(matches!(call.await.expect("runs"), Ok(ShopReply::Offer(_))));
    running.server.await.expect("stops cleanly");
}

/// Answers every request on every connection, and counts the connections.
async fn count_connections(listener: TcpListener, accepted: Arc<AtomicU32>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let mut buffer = [0; 4_096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                let ends = buffer[..length].windows(4).filter(|window| window == b"\r\n\r\n").count();
                for _ in 0..ends {
                    let answer = "HTTP/1.1 206 Partial Content\r\nContent-Type: application/octet-stream\r\n\
                                  Content-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok";
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// Two circuits never share a connection; one circuit keeps its own; a closed circuit's is gone.
#[tokio::test]
async fn circuits_have_connections_of_their_own() {
    let (listener, accepted) = (loopback_listener().await, Arc::new(AtomicU32::new(0)));
    let address = Address::new(format!("http://{}", listener.local_addr().expect("an address")));
    let server = tokio::spawn(count_connections(listener, accepted.clone()));
    let clients = Clients::default();
    let call = ShopCall::Goods { digest: Digest([0; 32]), range: Range { offset: 0, len: 2 } };
    let circuits = [
        Circuit::Anonymous(1),
        Circuit::Anonymous(2),
        Circuit::Identified(key(1).public()),
        Circuit::Identified(key(2).public()),
    ];
    for _ in 0..3 {
        for circuit in circuits {
            let client = clients.on(circuit, &address).expect("loopback");
            assert!(matches!(client.call(&call).await, Ok(ShopReply::Goods(_))));
        }
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 4, "one connection a circuit");
    clients.close(Circuit::Anonymous(1));
    let client = clients.on(Circuit::Anonymous(1), &address).expect("loopback");
    client.call(&call).await.expect("answered");
    assert_eq!(accepted.load(Ordering::SeqCst), 5, "a closed circuit's connection is not used again");
    server.abort();
}
