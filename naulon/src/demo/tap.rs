//! A tap on the line between two parties: it sees every message, and loses some if the weather is bad.
//!
//! Each pair of parties has one, so that it is known who speaks to whom. What passes is decoded from the very bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use naulon_statement::Digest;
use naulon_wire::{Call, CallError, HttpRequest, HttpResponse, MAX_GOODS_PIECE, Method, Part, Range};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::told::Told;
use super::trace::{Passed, Trace};
use crate::parties;

/// The longest head and the longest body of a message.
const MAX_HEAD_LEN: usize = 64 * 1024;
const MAX_LEN: usize = 2 * MAX_GOODS_PIECE as usize;

/// What the line does to messages.
#[derive(Clone, Debug, Default)]
pub enum Weather {
    /// Nothing.
    #[default]
    Fair,
    /// Of every message it loses first the answer, then the message itself; the third try gets through.
    Storm,
    /// Nothing gets through to this path.
    Down(&'static str),
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives, and so does the answer.
    Arrives,
    /// It never arrives.
    Lost,
    /// It arrives, and the answer is lost.
    Unanswered,
}

/// The weather on all lines.
#[derive(Clone, Default)]
pub struct Sky {
    state: Arc<Mutex<(Weather, BTreeMap<Digest, u32>)>>,
}

/// Who speaks to whom.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Who asks.
    pub from: &'static str,
    /// Who is asked.
    pub to: &'static str,
}

impl Sky {
    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (weather, BTreeMap::new());
    }

    fn fate(&self, line: Line, request: &HttpRequest) -> Fate {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (weather, seen) = &mut *state;
        match weather {
            Weather::Fair => Fate::Arrives,
            Weather::Down(path) if request.path.starts_with(*path) => Fate::Lost,
            Weather::Down(_) => Fate::Arrives,
            Weather::Storm => {
                let range = request.range.map_or(0, |range| range.offset);
                let what =
                    [line.from.as_bytes(), request.path.as_bytes(), &range.to_be_bytes(), &request.body].concat();
                let times = seen.entry(Digest::of(&[&what])).or_default();
                *times += 1;
                match *times {
                    1 => Fate::Unanswered,
                    2 => Fate::Lost,
                    _ => Fate::Arrives,
                }
            }
        }
    }
}

/// Puts a tap on a line. Returns the address to speak to instead of `target`.
pub async fn tap<C: Told>(line: Line, target: SocketAddr, sky: Sky, trace: Trace) -> anyhow::Result<String> {
    let listener = parties::serving::listen("127.0.0.1:0".parse()?).await?;
    let address = listener.local_addr()?;
    tokio::spawn(accept::<C>(listener, line, target, sky, trace));
    Ok(format!("http://{address}"))
}

async fn accept<C: Told>(listener: TcpListener, line: Line, target: SocketAddr, sky: Sky, trace: Trace) {
    while let Ok((client, _)) = listener.accept().await {
        let (sky, trace) = (sky.clone(), trace.clone());
        // A connection that fails is one that was cut; whoever used it tries again.
        tokio::spawn(async move { pass_on::<C>(client, line, target, &sky, &trace).await });
    }
}

/// Passes on request after request, each over a connection of its own.
async fn pass_on<C: Told>(
    mut client: TcpStream,
    line: Line,
    target: SocketAddr,
    sky: &Sky,
    trace: &Trace,
) -> anyhow::Result<()> {
    while let Some(message) = read_message(&mut client).await? {
        let request = parse_request(&message)?;
        let fate = sky.fate(line, &request);
        let call = C::from_http(&request).ok();
        if let Some(call) = &call {
            trace.passed(Passed { line, told: call.told(), fate, answer: false });
        }
        if fate == Fate::Lost {
            return Ok(());
        }
        let mut server = TcpStream::connect(target).await?;
        server.write_all(&message.bytes).await?;
        let answer = read_message(&mut server).await?.context("no answer")?;
        if let Some(call) = call {
            let back = Line { from: line.to, to: line.from };
            trace.passed(Passed { line: back, told: call.answered(reply(&call, &answer)), fate, answer: true });
        }
        if fate == Fate::Unanswered {
            return Ok(());
        }
        client.write_all(&answer.bytes).await?;
    }
    Ok(())
}

fn reply<C: Call>(call: &C, message: &Message) -> Result<C::Reply, CallError> {
    let status = message.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = message.bytes[message.body..].to_vec();
    let part = header(&message.head, "content-range").and_then(Part::from_header);
    let response = HttpResponse { part, ..HttpResponse::bytes(status, "", body) };
    match response.as_problem() {
        Some(problem) => Err(problem.into()),
        None => call.reply_from_http(&response),
    }
}

/// A request or an answer: its head, and all its bytes.
struct Message {
    head: String,
    bytes: Vec<u8>,
    /// Where the body begins.
    body: usize,
}

/// Reads one message with a Content-Length, as clients and servers of this house write them. None at the end.
async fn read_message(stream: &mut TcpStream) -> anyhow::Result<Option<Message>> {
    let mut bytes = Vec::new();
    let body = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > MAX_HEAD_LEN {
            bail!("a head that is too long");
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..body]).into_owned();
    let length: usize = header(&head, "content-length").map_or(Ok(0), str::parse)?;
    if length > MAX_LEN {
        bail!("a body that is too long");
    }
    while bytes.len() < body + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("a body that ends too early");
        }
    }
    Ok(Some(Message { head, bytes, body }))
}

fn parse_request(message: &Message) -> anyhow::Result<HttpRequest> {
    let mut words = message.head.split(' ');
    let method = match words.next() {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        _ => bail!("neither GET nor POST"),
    };
    let path = words.next().context("no path")?.to_owned();
    let range = header(&message.head, "range").and_then(|value| {
        let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
        let (offset, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some(Range { offset, len: last.checked_sub(offset)?.checked_add(1)? })
    });
    let text = |name| header(&message.head, name).map(str::to_owned);
    let (content_type, authorization) = (text("content-type"), text("authorization"));
    let body = message.bytes[message.body..].to_vec();
    Ok(HttpRequest { method, path, body, range, content_type, authorization })
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let line = |line: &'h str| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name));
    head.lines().find_map(line).map(|(_, value)| value.trim())
}
