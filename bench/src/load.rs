//! Load: prepared requests over keep-alive connections.
//!
//! The clients share the processors with the server, so they do as little as they can: one thread, bytes that were made
//! beforehand, and of a response only status and length are looked at.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// How many clients there are at once.
pub const CLIENTS: usize = 64;
/// The same where a peer is put beside the bank, for both: with more, the peer's swaps block one another for seconds.
pub const CLIENTS_BESIDE_PEER: usize = 32;
/// How long a server is given to accept connections.
const SETTLING: Duration = Duration::from_millis(20);
/// How often a request is sent again to a server that says that it is busy.
pub const MAX_RETRIES: usize = 100;
/// The longest response that is read.
const MAX_RESPONSE_LEN: usize = 1024 * 1024;

/// What came of a load.
pub struct Loaded {
    /// From the first request to the last response.
    pub elapsed: Duration,
    /// The body of the first response.
    pub first_body: Vec<u8>,
    /// How many answers said that the server was busy; the request was sent again.
    pub retries: usize,
}

/// A POST of JSON as it goes over a connection that is kept.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A GET as it goes over a connection that is kept.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\n\r\n").into_bytes()
}

/// What says that a server is only busy, and the request may be sent again: status and body of an answer.
pub type IsBusy = fn(u16, &[u8]) -> bool;

/// Sends each request once, by [`CLIENTS`] clients, and takes nothing but 200 for an answer. `watch` is called when the
/// connections stand and when all is answered.
pub fn send<T>(address: SocketAddr, requests: Vec<Vec<u8>>, watch: impl Fn() -> Result<T>) -> Result<(Loaded, T, T)> {
    send_by(CLIENTS, address, requests, watch, |_, _| false)
}

/// The same by so many clients, to a server that may be busy: then the request is sent again, at once, up to
/// [`MAX_RETRIES`] times.
pub fn send_by<T>(
    clients: usize,
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    watch: impl Fn() -> Result<T>,
    is_busy: IsBusy,
) -> Result<(Loaded, T, T)> {
    ensure!(!requests.is_empty(), "there is nothing to send");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let requests = Rc::new(requests);
    LocalSet::new().block_on(&runtime, async {
        let (next, retries) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let mut connections = Vec::new();
        for _ in 0..clients.min(requests.len()) {
            let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
            stream.set_nodelay(true)?;
            connections.push(stream);
        }
        // The server accepts them in its own time.
        std::thread::sleep(SETTLING);
        let before = watch()?;
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for stream in connections {
            let client = Client { stream, requests: Rc::clone(&requests), next: Rc::clone(&next), is_busy };
            clients.spawn_local(client.run(Rc::clone(&retries)));
        }
        let mut first_body = None;
        while let Some(client) = clients.join_next().await {
            first_body = client??.or(first_body);
        }
        let elapsed = begun.elapsed();
        let after = watch()?;
        let first_body = first_body.context("nobody sent the first request")?;
        Ok((Loaded { elapsed, first_body, retries: retries.get() }, before, after))
    })
}

/// One client.
struct Client {
    stream: TcpStream,
    requests: Rc<Vec<Vec<u8>>>,
    next: Rc<Cell<usize>>,
    is_busy: IsBusy,
}

impl Client {
    /// Takes the next request until there is none. Gives the body of the first response if it got that one.
    async fn run(mut self, retries: Rc<Cell<usize>>) -> Result<Option<Vec<u8>>> {
        let mut buffer = Vec::with_capacity(16 * 1024);
        let mut first = None;
        let requests = Rc::clone(&self.requests);
        loop {
            let index = self.next.get();
            let Some(request) = requests.get(index) else { return Ok(first) };
            self.next.set(index + 1);
            let mut left = MAX_RETRIES;
            let body = loop {
                let (status, body) = self.ask(request, &mut buffer).await?;
                if status == 200 {
                    break body;
                }
                if left == 0 || !(self.is_busy)(status, body) {
                    bail!("request {index} was answered {status}: {}", String::from_utf8_lossy(body));
                }
                left -= 1;
                retries.set(retries.get() + 1);
            };
            if index == 0 {
                first = Some(body.to_vec());
            }
        }
    }

    /// Status and body of the answer.
    async fn ask<'b>(&mut self, request: &[u8], buffer: &'b mut Vec<u8>) -> Result<(u16, &'b [u8])> {
        self.stream.write_all(request).await?;
        buffer.clear();
        let head = loop {
            ensure!(self.stream.read_buf(buffer).await? > 0, "the server has closed the connection");
            match head(buffer)? {
                Some(head) if buffer.len() >= head.len + head.body_len => break head,
                _ => ensure!(buffer.len() < MAX_RESPONSE_LEN, "a response without end"),
            }
        };
        ensure!(buffer.len() == head.len + head.body_len, "a response longer than it says");
        Ok((head.status, &buffer[head.len..]))
    }
}

struct Head {
    status: u16,
    len: usize,
    body_len: usize,
}

/// Status and lengths, once the empty line is there. Only lengths that are said beforehand are understood.
fn head(response: &[u8]) -> Result<Option<Head>> {
    let Some(end) = response.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&response[..end])?;
    let status = text.split(' ').nth(1).context("a response without a status")?.parse()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
    });
    let body_len = length.context("a response without its length")??;
    Ok(Some(Head { status, len: end + 4, body_len }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_response() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 3\r\n\r\nok\n";
        let parsed = head(text).expect("a head").expect("whole");
        assert_eq!((parsed.status, parsed.body_len, parsed.len), (200, 3, text.len() - 3));
        assert!(head(&text[..30]).expect("no head yet").is_none());
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 okay\r\ncontent-length: 0\r\n\r\n").is_err());
    }

    #[test]
    fn every_request_is_sent_once_and_the_first_body_comes_back() {
        let echo = crate::server::tests::echo();
        let requests: Vec<_> = (0..300).map(|i| post(&format!("/echo/{}", 10 + i), b"{}")).collect();
        let (loaded, ..) = send(echo.address, requests, || Ok(())).expect("answered");
        assert_eq!(loaded.first_body.len(), 10);
    }

    #[test]
    fn another_status_ends_the_load() {
        let echo = crate::server::tests::echo();
        let requests = vec![post("/echo/1", b"{}"), get("/nowhere")];
        let error = send(echo.address, requests, || Ok(())).err().expect("refused").to_string();
        assert!(error.contains("request 1 was answered 404"), "{error}");
    }

    #[test]
    fn a_busy_server_is_asked_again_but_not_for_ever() {
        let echo = crate::server::tests::echo();
        let error = send_by(1, echo.address, vec![get("/nowhere")], || Ok(()), |status, _| status == 404).err();
        assert!(error.expect("given up").to_string().contains("was answered 404"));
        let (loaded, ..) = send(echo.address, vec![post("/echo/1", b"{}")], || Ok(())).expect("answered");
        assert_eq!(loaded.retries, 0);
    }
}
