//! The hop's side: a block comes in, and in the same bytes the next block goes out. Nothing is allocated for a data block.

use std::fmt;

use rand_core::CryptoRng;

use crate::OpenError;
use crate::header::{Header, SessionId};
use crate::key::{Direction, EphemeralMark, HopKeys, SessionKeys, open, seal};
use crate::part::{PacketPart, Pay, Route, read_fare};
use crate::shape::{HEADER_LEN, HOPS, KEM_LEN, Kind, PAY_LEN, RETURN_LEN, Shape, TAG_LEN};
use crate::window::Window;

/// A session at one hop.
pub struct HopSession {
    shape: Shape,
    position: u8,
    previous: SessionId,
    next: SessionId,
    keys: SessionKeys,
    forward: Window,
    back: Window,
    returns: Window,
}

/// What a set-up block began.
#[derive(Debug)]
pub struct Begun {
    /// What it says to this hop.
    pub route: Route,
    /// The session.
    pub session: HopSession,
    /// The ephemeral key's mark, for whoever keeps the memory over a restart.
    pub mark: EphemeralMark,
}

/// What a packet said.
#[derive(Debug)]
pub struct Passed {
    /// What it says to this hop.
    pub part: PacketPart,
    /// The ephemeral key's mark.
    pub mark: EphemeralMark,
}

impl HopKeys {
    /// Opens a set-up block. The block is the next one then, for [`Route::next`], unless this hop is the exit. `window` is how many
    /// blocks of the session may be lost on the way.
    pub fn open_set_up(
        &mut self,
        shape: Shape,
        window: u32,
        block: &mut [u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Begun, OpenError> {
        let (header, position) = numbered(shape, block, Kind::SetUp)?;
        let start = HEADER_LEN + KEM_LEN;
        let edge = shape.edge(Kind::SetUp, position);
        let lead = lead(block)?;
        let sealed = &block[..edge];
        // Opening by the wrong epoch's key wipes what was to be opened, so it is done in a copy.
        let opened = self.open_session(&lead, |keys, epoch| {
            let mut layer = sealed.to_vec();
            let (aad, body) = layer.split_at_mut(start);
            open(&keys.set_up, Direction::SetUp, 0, aad, body)?;
            let route = Route::read(&body[..shape.part(Kind::SetUp)], position)?;
            let is_of_epoch = route.epoch == epoch;
            if is_of_epoch { Ok((layer, keys, route)) } else { Err(OpenError::Malformed) }
        });
        let ((layer, keys, route), mark) = opened?;
        block[..edge].copy_from_slice(&layer);
        let next = Header { kind: Kind::SetUp, session: route.next_session, counter: u32::from(position) + 1 };
        pass(shape, position, next, block, rng);
        let (previous, next) = (header.session, route.next_session);
        let window = || Window::new(window);
        // A recipient lets go what it wants to: many numbers have no return.
        let (forward, back, returns) = (window(), window(), Window::new(u32::MAX));
        let session = HopSession { shape, position, previous, next, keys, forward, back, returns };
        Ok(Begun { route, session, mark })
    }

    /// Opens a packet. The block is the next one then, or begins with the payload behind the header at the exit.
    pub fn open_packet(
        &mut self,
        shape: Shape,
        block: &mut [u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Passed, OpenError> {
        let (header, position) = numbered(shape, block, Kind::Packet)?;
        if header.session != SessionId([0; 16]) {
            return Err(OpenError::Malformed);
        }
        let start = HEADER_LEN + KEM_LEN;
        let edge = shape.edge(Kind::Packet, position);
        let lead = lead(block)?;
        let sealed = &block[..edge];
        let opened = self.open_packet_key(&lead, |key, _| {
            let mut layer = sealed.to_vec();
            let (aad, body) = layer.split_at_mut(start);
            open(&key, Direction::SetUp, 0, aad, body)?;
            let part = PacketPart::read(&body[..shape.part(Kind::Packet)], position)?;
            Ok((layer, part))
        });
        let ((layer, part), mark) = opened?;
        block[..edge].copy_from_slice(&layer);
        let next = Header { kind: Kind::Packet, session: header.session, counter: u32::from(position) + 1 };
        pass(shape, position, next, block, rng);
        Ok(Passed { part, mark })
    }
}

/// The header of a block whose counter is the position of the hop.
fn numbered(shape: Shape, block: &[u8], kind: Kind) -> Result<(Header, u8), OpenError> {
    let header = Header::read(shape, block)?;
    let position = u8::try_from(header.counter).ok().filter(|position| (1..=HOPS as u8).contains(position));
    match position {
        Some(position) if header.kind == kind => Ok((header, position)),
        _ => Err(OpenError::Malformed),
    }
}

fn lead(block: &[u8]) -> Result<[u8; KEM_LEN], OpenError> {
    block[HEADER_LEN..].first_chunk().copied().ok_or(OpenError::Malformed)
}

/// Makes the next block of one whose layer is open: what was this hop's goes, what is the next hop's moves up behind the
/// next header, and all behind it is random. What came behind the layer is nowhere any more.
fn pass(shape: Shape, position: u8, next: Header, block: &mut [u8], rng: &mut impl CryptoRng) {
    let begin = HEADER_LEN + shape.lead(next.kind) + shape.part(next.kind);
    let end = shape.edge(next.kind, position) - TAG_LEN;
    block.copy_within(begin..end, HEADER_LEN);
    next.write(block);
    rng.fill_bytes(&mut block[HEADER_LEN + end - begin..]);
}

impl HopSession {
    /// The session's name on the link that its blocks come from.
    pub fn previous(&self) -> SessionId {
        self.previous
    }

    /// The session's name on the link that its blocks go to.
    pub fn next(&self) -> SessionId {
        self.next
    }

    /// Which hop of the path this is, 1 to 3.
    pub fn position(&self) -> u8 {
        self.position
    }

    /// Whether this is the last hop.
    pub fn is_exit(&self) -> bool {
        usize::from(self.position) == HOPS
    }

    /// Opens a data block. The block is the next one then; at the exit the payload stands at [`Shape::payload_range`].
    pub fn open(&mut self, block: &mut [u8], rng: &mut impl CryptoRng) -> Result<Pay, OpenError> {
        let header = self.unseal(Kind::Data, block)?;
        let pay = Pay::read(&block[HEADER_LEN..HEADER_LEN + PAY_LEN])?;
        self.forward.mark(header.counter);
        pass(self.shape, self.position, Header { session: self.next, ..header }, block, rng);
        Ok(pay)
    }

    /// Opens a fare block: a tick, and one further check with its funding, if there is one for this hop.
    pub fn open_fare(&mut self, block: &mut [u8], rng: &mut impl CryptoRng) -> Result<(Pay, Vec<u8>), OpenError> {
        let header = self.unseal(Kind::Fare, block)?;
        let (pay, fare) = block[HEADER_LEN..][..self.shape.part(Kind::Fare)].split_at(PAY_LEN);
        let (pay, fare) = (Pay::read(pay)?, read_fare(fare)?.to_vec());
        self.forward.mark(header.counter);
        pass(self.shape, self.position, Header { session: self.next, ..header }, block, rng);
        Ok((pay, fare))
    }

    fn unseal(&self, kind: Kind, block: &mut [u8]) -> Result<Header, OpenError> {
        let header = Header::read(self.shape, block)?;
        if header.kind != kind || header.session != self.previous {
            return Err(OpenError::Malformed);
        }
        self.forward.admit(header.counter)?;
        let (aad, body) = block[..self.shape.edge(kind, self.position)].split_at_mut(HEADER_LEN);
        open(&self.keys.forward, Direction::Forward, header.counter, aad, body)?;
        Ok(header)
    }

    /// The exit's reply: puts a payload of [`Shape::payload`] bytes, or fewer and zeros, into a block for the previous hop.
    pub fn reply(&mut self, payload: &[u8], block: &mut [u8], rng: &mut impl CryptoRng) -> Result<(), OpenError> {
        let range = self.shape.payload_range(Kind::Reply);
        if !self.is_exit() || block.len() != self.shape.block() || payload.len() > range.len() {
            return Err(OpenError::Malformed);
        }
        let counter = self.back.end();
        let (room, rest) = block[range].split_at_mut(payload.len());
        room.copy_from_slice(payload);
        rest.fill(0);
        self.seal_back(counter, block, rng)
    }

    /// Adds this hop's layer to a reply that came from the next hop. The block is the one for the previous hop then.
    pub fn pass_back(&mut self, block: &mut [u8], rng: &mut impl CryptoRng) -> Result<(), OpenError> {
        let header = Header::read(self.shape, block)?;
        if header.kind != Kind::Reply || header.session != self.next || self.is_exit() {
            return Err(OpenError::Malformed);
        }
        self.seal_back(header.counter, block, rng)
    }

    /// Makes the block by which the sender learns that its session has ended here: a reply of randomness. The sender finds that
    /// it does not open, and at which hop; on the links it looks like any other.
    pub fn break_off(&mut self, block: &mut [u8], rng: &mut impl CryptoRng) -> Result<(), OpenError> {
        if block.len() != self.shape.block() {
            return Err(OpenError::Malformed);
        }
        let counter = self.back.end();
        self.back.admit(counter)?;
        self.back.mark(counter);
        Header { kind: Kind::Reply, session: self.previous, counter }.write(block);
        rng.fill_bytes(&mut block[HEADER_LEN..]);
        Ok(())
    }

    /// Makes the block by which the next hop learns that nothing more comes: one with a number that no session has, at which it
    /// ends ([`OpenError::Exhausted`]). Whoever forwards a session can end it anyway, by forwarding nothing.
    pub fn abandon(&self, block: &mut [u8], rng: &mut impl CryptoRng) -> Result<(), OpenError> {
        if block.len() != self.shape.block() || self.is_exit() {
            return Err(OpenError::Malformed);
        }
        Header { kind: Kind::Data, session: self.next, counter: u32::MAX }.write(block);
        rng.fill_bytes(&mut block[HEADER_LEN..]);
        Ok(())
    }

    fn seal_back(&mut self, counter: u32, block: &mut [u8], rng: &mut impl CryptoRng) -> Result<(), OpenError> {
        self.back.admit(counter)?;
        self.back.mark(counter);
        Header { kind: Kind::Reply, session: self.previous, counter }.write(block);
        let end = self.shape.reply_edge(self.position) + TAG_LEN;
        seal(&self.keys.back, Direction::Back, counter, &[Kind::Reply as u8], &mut block[HEADER_LEN..end]);
        rng.fill_bytes(&mut block[end..]);
        Ok(())
    }

    /// The exit's side of a return: takes its tick out of the reverse onion that the recipient let go for the block of this
    /// number, and makes the block for the previous hop.
    pub fn let_go(
        &mut self,
        number: u32,
        onion: &[u8; RETURN_LEN],
        block: &mut [u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Pay, OpenError> {
        if !self.is_exit() || block.len() != self.shape.block() {
            return Err(OpenError::Malformed);
        }
        Header { kind: Kind::Return, session: self.next, counter: number }.write(block);
        block[HEADER_LEN..HEADER_LEN + RETURN_LEN].copy_from_slice(onion);
        self.open_return(block, rng)
    }

    /// Takes this hop's tick out of a return that came from the next hop. The block is the one for the previous hop then;
    /// the first hop drops it.
    pub fn open_return(&mut self, block: &mut [u8], rng: &mut impl CryptoRng) -> Result<Pay, OpenError> {
        let header = Header::read(self.shape, block)?;
        if header.kind != Kind::Return || header.session != self.next {
            return Err(OpenError::Malformed);
        }
        self.returns.admit(header.counter)?;
        let end = HEADER_LEN + Shape::return_len(self.position);
        let aad = [Kind::Return as u8];
        open(&self.keys.returns, Direction::Return, header.counter, &aad, &mut block[HEADER_LEN..end])?;
        let pay = Pay::read(&block[HEADER_LEN..HEADER_LEN + PAY_LEN])?;
        self.returns.mark(header.counter);
        block.copy_within(HEADER_LEN + PAY_LEN..end - TAG_LEN, HEADER_LEN);
        Header { session: self.previous, ..header }.write(block);
        rng.fill_bytes(&mut block[end - TAG_LEN - PAY_LEN..]);
        Ok(pay)
    }
}

/// Makes the block by which the sender learns that a session did not begin here: the hop knows no more of it than its name on
/// the link. It is a reply of randomness, like [`HopSession::break_off`].
pub fn refuse_set_up(
    shape: Shape,
    session: SessionId,
    block: &mut [u8],
    rng: &mut impl CryptoRng,
) -> Result<(), OpenError> {
    if block.len() != shape.block() {
        return Err(OpenError::Malformed);
    }
    Header { kind: Kind::Reply, session, counter: 0 }.write(block);
    rng.fill_bytes(&mut block[HEADER_LEN..]);
    Ok(())
}

/// It must not be printed.
impl fmt::Debug for HopSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HopSession").field("position", &self.position).finish_non_exhaustive()
    }
}
