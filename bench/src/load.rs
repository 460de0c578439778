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
/// How long a server is given to accept connections.
const SETTLING: Duration = Duration::from_millis(20);
/// The longest response that is read.
const MAX_RESPONSE_LEN: usize = 1024 * 1024;

/// What came of a load.
pub struct Loaded {
    /// From the first request to the last response.
    pub elapsed: Duration,
    /// The body of the first response.
    pub first_body: Vec<u8>,
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

/// Sends each request once, [`CLIENTS`] at a time, and takes nothing but 200 for an answer. `watch` is called when the
/// connections stand and when all is answered.
pub fn send<T>(address: SocketAddr, requests: Vec<Vec<u8>>, watch: impl Fn() -> Result<T>) -> Result<(Loaded, T, T)> {
    ensure!(!requests.is_empty(), "there is nothing to send");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let requests = Rc::new(requests);
    LocalSet::new().block_on(&runtime, async {
        let next = Rc::new(Cell::new(0));
        let mut connections = Vec::new();
        for _ in 0..CLIENTS.min(requests.len()) {
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
            clients.spawn_local(client(stream, Rc::clone(&requests), Rc::clone(&next)));
        }
        let mut first_body = None;
        while let Some(client) = clients.join_next().await {
            first_body = client??.or(first_body);
        }
        let elapsed = begun.elapsed();
        let after = watch()?;
        Ok((Loaded { elapsed, first_body: first_body.context("nobody sent the first request")? }, before, after))
    })
}

/// One client: takes the next request until there is none. Gives the body of the first response if it got that one.
async fn client(mut stream: TcpStream, requests: Rc<Vec<Vec<u8>>>, next: Rc<Cell<usize>>) -> Result<Option<Vec<u8>>> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut first = None;
    loop {
        let index = next.get();
        let Some(request) = requests.get(index) else { return Ok(first) };
        next.set(index + 1);
        stream.write_all(request).await?;
        buffer.clear();
        let head = loop {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "the server has closed the connection");
            match head(&buffer)? {
                Some(head) if buffer.len() >= head.len + head.body_len => break head,
                _ => ensure!(buffer.len() < MAX_RESPONSE_LEN, "a response without end"),
            }
        };
        ensure!(buffer.len() == head.len + head.body_len, "a response longer than it says");
        let body = &buffer[head.len..];
        if head.status != 200 {
            bail!("request {index} was answered {}: {}", head.status, String::from_utf8_lossy(body));
        }
        if index == 0 {
            first = Some(body.to_vec());
        }
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
}
