//! The header that a block has on one link: in clear inside the link's TLS.

use std::fmt;

use crate::OpenError;
use crate::shape::{HEADER_LEN, Kind, Shape};

/// Names a session on one link. It is random, different on every link, and told only to the two ends of that link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// It would link the blocks of a session.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}

/// Kind, session and counter of a block on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the block is.
    pub kind: Kind,
    /// Whose it is on this link. Zero in a packet, which belongs to no session.
    pub session: SessionId,
    /// The number of the block in its session and direction; in a set-up block or a packet the position of the hop that it
    /// goes to, 1 to 3; in a return the number of the block that is paid.
    pub counter: u32,
}

impl Header {
    /// The header of a block of this shape.
    pub fn read(shape: Shape, block: &[u8]) -> Result<Header, OpenError> {
        if block.len() != shape.block() {
            return Err(OpenError::Malformed);
        }
        let (kind, rest) = block.split_first().ok_or(OpenError::Malformed)?;
        let (session, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let counter = rest.first_chunk().ok_or(OpenError::Malformed)?;
        let kind = Kind::of(*kind).ok_or(OpenError::Malformed)?;
        Ok(Header { kind, session: SessionId(*session), counter: u32::from_be_bytes(*counter) })
    }

    /// Writes it into the first bytes of a block.
    pub(crate) fn write(&self, block: &mut [u8]) {
        block[0] = self.kind as u8;
        block[1..17].copy_from_slice(&self.session.0);
        block[17..HEADER_LEN].copy_from_slice(&self.counter.to_be_bytes());
    }
}
