//! Cells: what a payload consists of.
//!
//! ```text
//! payload = sequence u32 ‖ cell … ‖ padding
//! cell    = kind u8 ‖ stream u32 ‖ length u16 ‖ body
//! padding = kind 0, and whatever follows
//! ```

use crate::end::StreamError;
use crate::target::Target;

/// The number in front of every payload.
pub const SEQUENCE_LEN: usize = 4;

/// Kind, stream and length of a cell.
pub const CELL_HEADER_LEN: usize = 7;

const PADDING: u8 = 0;
const OPEN: u8 = 1;
const OPENED: u8 = 2;
const REFUSED: u8 = 3;
const BYTES: u8 = 4;
const WINDOW: u8 = 5;
const END: u8 = 6;
const RESET: u8 = 7;
const RECEIVED: u8 = 8;

/// Why a stream was refused or broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Something else.
    Failed = 1,
    /// The exit's policy does not allow this target.
    Policy = 2,
    /// No route to the network.
    NetworkUnreachable = 3,
    /// The name is unknown, or the host does not answer.
    HostUnreachable = 4,
    /// The host refused the connection.
    Refused = 5,
    /// The host took too long.
    TimedOut = 6,
    /// The end has as many streams as it takes.
    TooMany = 7,
    /// The party behind the end went away.
    Gone = 8,
}

impl Reason {
    fn from_byte(byte: u8) -> Self {
        use Reason::*;
        [Policy, NetworkUnreachable, HostUnreachable, Refused, TimedOut, TooMany, Gone]
            .into_iter()
            .find(|reason| *reason as u8 == byte)
            .unwrap_or(Failed)
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Open(Target),
    Opened,
    Refused(Reason),
    Bytes(&'a [u8]),
    Window(u32),
    End,
    Reset(Reason),
    /// How many payloads came in so far. The stream is 0.
    Received(u32),
}

impl Cell<'_> {
    pub(crate) fn encode(&self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        let kind = match self {
            Cell::Open(target) => {
                target.encode(&mut body);
                OPEN
            }
            Cell::Opened => OPENED,
            Cell::Refused(reason) => {
                body.push(*reason as u8);
                REFUSED
            }
            Cell::Bytes(bytes) => {
                body.extend(*bytes);
                BYTES
            }
            Cell::Window(more) => {
                body.extend(more.to_be_bytes());
                WINDOW
            }
            Cell::End => END,
            Cell::Reset(reason) => {
                body.push(*reason as u8);
                RESET
            }
            Cell::Received(count) => {
                body.extend(count.to_be_bytes());
                RECEIVED
            }
        };
        let mut cell = header(kind, stream, body.len()).to_vec();
        cell.append(&mut body);
        cell
    }
}

fn header(kind: u8, stream: u32, len: usize) -> [u8; CELL_HEADER_LEN] {
    let mut header = [0; CELL_HEADER_LEN];
    header[0] = kind;
    header[1..5].copy_from_slice(&stream.to_be_bytes());
    header[5..].copy_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    header
}

/// The header of a cell of bytes, which are written behind it without a copy in between.
pub(crate) fn bytes_header(stream: u32, len: u16) -> [u8; CELL_HEADER_LEN] {
    header(BYTES, stream, usize::from(len))
}

/// The first cell of `rest`, which is moved behind it; `None` at the padding.
pub(crate) fn next_cell<'a>(rest: &mut &'a [u8]) -> Result<Option<(u32, Cell<'a>)>, StreamError> {
    let Some((&kind, _)) = rest.split_first() else { return Ok(None) };
    if kind == PADDING {
        return Ok(None);
    }
    let (head, tail) = rest.split_first_chunk::<CELL_HEADER_LEN>().ok_or(StreamError::Malformed)?;
    let [_, s0, s1, s2, s3, l0, l1] = *head;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let (body, tail) = tail.split_at_checked(len).ok_or(StreamError::Malformed)?;
    *rest = tail;
    let cell = match kind {
        OPEN => Cell::Open(Target::decode(body).map_err(|_| StreamError::Malformed)?),
        OPENED => empty(body, Cell::Opened)?,
        REFUSED => Cell::Refused(reason(body)?),
        BYTES => Cell::Bytes(body),
        WINDOW => Cell::Window(number(body)?),
        END => empty(body, Cell::End)?,
        RESET => Cell::Reset(reason(body)?),
        RECEIVED => Cell::Received(number(body)?),
        _ => return Err(StreamError::Malformed),
    };
    Ok(Some((u32::from_be_bytes([s0, s1, s2, s3]), cell)))
}

fn empty<'a>(body: &[u8], cell: Cell<'a>) -> Result<Cell<'a>, StreamError> {
    if body.is_empty() { Ok(cell) } else { Err(StreamError::Malformed) }
}

fn reason(body: &[u8]) -> Result<Reason, StreamError> {
    match body {
        [byte] => Ok(Reason::from_byte(*byte)),
        _ => Err(StreamError::Malformed),
    }
}

fn number(body: &[u8]) -> Result<u32, StreamError> {
    Ok(u32::from_be_bytes(body.try_into().map_err(|_| StreamError::Malformed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_comes_back() {
        let target = |host| Target::parse(host, 443).expect("a target");
        for cell in [
            Cell::Open(target("example.org")),
            Cell::Open(target("192.0.2.7")),
            Cell::Open(target("[2001:db8::1]")),
            Cell::Opened,
            Cell::Refused(Reason::Policy),
            Cell::Bytes(b"bytes"),
            Cell::Window(70_000),
            Cell::End,
            Cell::Reset(Reason::Gone),
            Cell::Received(9),
        ] {
            let encoded = cell.encode(7);
            let mut rest = &encoded[..];
            assert_eq!(next_cell(&mut rest), Ok(Some((7, cell))));
            assert!(rest.is_empty());
            for cut in 1..encoded.len() {
                assert!(next_cell(&mut &encoded[..cut]).is_err(), "cut at {cut}");
            }
        }
        assert_eq!(next_cell(&mut &[0, 1, 2][..]), Ok(None), "padding is not read");
        assert_eq!(next_cell(&mut &[9, 0, 0, 0, 0, 0, 0][..]), Err(StreamError::Malformed));
    }
}
