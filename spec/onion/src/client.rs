//! The sender's side: builds the layers from the inside out, and opens what comes back.

use std::fmt;

use naulon_statement::{Digest, PublicKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::header::{Header, SessionId};
use crate::key::{Direction, Ephemeral, HopPublic, KEM_X25519, SessionKeys, open, seal};
use crate::part::{Next, PacketPart, Pay, Protocol, Route, Traffic, Writer, write_fare};
use crate::shape::{HEADER_LEN, HOPS, KEM_LEN, Kind, PAY_LEN, RETURN_LEN, Shape, TAG_LEN};
use crate::window::Window;
use crate::{BuildError, OpenError};

/// One mix of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathHop {
    /// The mix's key, by which the hop before knows it.
    pub mix: PublicKey,
    /// The key of the epoch.
    pub key: HopPublic,
}

/// What a session is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// First mix, middle, exit.
    pub path: [PathHop; HOPS],
    /// Who pays when.
    pub protocol: Protocol,
    /// How its blocks travel.
    pub traffic: Traffic,
    /// What pays each hop: a check with its funding, at most [`Shape::fare_room`] bytes. Empty where another mix is paid.
    pub fares: [Vec<u8>; HOPS],
}

/// A session at its sender.
pub struct Session {
    shape: Shape,
    hops: [SenderHop; HOPS],
    next: u32,
    back: Window,
}

struct SenderHop {
    id: SessionId,
    keys: SessionKeys,
}

/// A reply that does not open, and who altered it: the mix at this position (1 to 3) or the link before it towards the
/// sender. Position 0 is the sender's own link, or a block that is none of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reply was altered at hop {position}: {error}")]
pub struct ReplyError {
    /// The mix that sent what its follower had not sealed.
    pub position: u8,
    /// Why it does not open.
    pub error: OpenError,
}

fn random<const N: usize>(rng: &mut impl CryptoRng) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    rng.fill_bytes(&mut bytes[..]);
    bytes
}

impl Session {
    /// Writes the set-up block for the first mix into `block`, and gives the session that it begins.
    pub fn begin(shape: Shape, plan: &Plan, block: &mut [u8], rng: &mut impl CryptoRng) -> Result<Session, BuildError> {
        if block.len() != shape.block() || plan.fares.iter().any(|fare| fare.len() > shape.fare_room()) {
            return Err(BuildError::Room);
        }
        let ephemerals: [_; HOPS] = std::array::from_fn(|_| Ephemeral::from_seed(&random(rng)));
        let ids: [_; HOPS + 1] = std::array::from_fn(|_| SessionId(*random(rng)));
        let mut hops = Vec::with_capacity(HOPS);
        for (at, ephemeral) in ephemerals.iter().enumerate() {
            let keys = ephemeral.session(&plan.path[at].key).map_err(|_| BuildError::HopKey(at as u8 + 1))?;
            hops.push(SenderHop { id: ids[at], keys });
        }
        let hops: [SenderHop; HOPS] = hops.try_into().map_err(|_| BuildError::Room)?;
        // What no layer covers is random, as it is on every later link.
        rng.fill_bytes(block);
        for at in 0..HOPS {
            let next = plan.path.get(at + 1).map_or(Next::Exit, |hop| Next::Mix(hop.mix));
            let route = Route {
                next,
                next_session: ids[at + 1],
                protocol: plan.protocol,
                traffic: plan.traffic,
                epoch: plan.path[at].key.epoch,
                fare: plan.fares[at].clone(),
            };
            let room = part_of(shape, Kind::SetUp, at, block);
            route.write(room);
            write_lead(&ephemerals[at], shape, Kind::SetUp, at, block);
        }
        for at in (0..HOPS).rev() {
            let header = Header { kind: Kind::SetUp, session: ids[at], counter: at as u32 + 1 };
            let ephemeral = ephemerals[at].public();
            seal_layer(shape, header, at, Some(&ephemeral), block, |aad, body| {
                seal(&hops[at].keys.set_up, Direction::SetUp, 0, aad, body);
            });
        }
        Header { kind: Kind::SetUp, session: ids[0], counter: 1 }.write(block);
        Ok(Session { shape, hops, next: 0, back: Window::new(u32::MAX) })
    }

    /// The session's name on the link to the first mix, by which its replies are known.
    pub fn id(&self) -> SessionId {
        self.hops[0].id
    }

    /// The number that the next data or fare block gets.
    pub fn next_number(&self) -> u32 {
        self.next
    }

    /// Writes a data block with a payload of at most [`Shape::payload`] bytes (zeros follow) and what each hop is paid. Gives the
    /// block's number.
    pub fn data(&mut self, pays: &[Pay; HOPS], payload: &[u8], block: &mut [u8]) -> Result<u32, BuildError> {
        let range = self.shape.payload(Kind::Data);
        if block.len() != self.shape.block() || payload.len() > range {
            return Err(BuildError::Room);
        }
        let begin = HEADER_LEN + HOPS * PAY_LEN;
        block[begin..begin + payload.len()].copy_from_slice(payload);
        block[begin + payload.len()..begin + range].fill(0);
        for (at, pay) in pays.iter().enumerate() {
            pay.write(part_of(self.shape, Kind::Data, at, block));
        }
        self.seal_forward(Kind::Data, block)
    }

    /// Writes a fare block: a tick and one further check for each hop. It brings no payload.
    pub fn fare(&mut self, pays: &[Pay; HOPS], fares: &[Vec<u8>; HOPS], block: &mut [u8]) -> Result<u32, BuildError> {
        if block.len() != self.shape.block() || fares.iter().any(|fare| fare.len() > self.shape.fare_room()) {
            return Err(BuildError::Room);
        }
        block.fill(0);
        for at in 0..HOPS {
            let mut cursor = Writer(part_of(self.shape, Kind::Fare, at, block));
            let mut pay = [0; PAY_LEN];
            pays[at].write(&mut pay);
            cursor.put(&pay);
            write_fare(&mut cursor, &fares[at]);
        }
        self.seal_forward(Kind::Fare, block)
    }

    fn seal_forward(&mut self, kind: Kind, block: &mut [u8]) -> Result<u32, BuildError> {
        let counter = self.next;
        if counter == u32::MAX {
            return Err(BuildError::Exhausted);
        }
        self.next += 1;
        for at in (0..HOPS).rev() {
            let header = Header { kind, session: self.hops[at].id, counter };
            seal_layer(self.shape, header, at, None, block, |aad, body| {
                seal(&self.hops[at].keys.forward, Direction::Forward, counter, aad, body);
            });
        }
        Header { kind, session: self.hops[0].id, counter }.write(block);
        Ok(counter)
    }

    /// The reverse onion of ticks for the block of this number: the exit's layer is the outer one. It goes to the recipient,
    /// sealed, and comes back when the recipient lets it go.
    pub fn reverse_onion(&self, number: u32, pays: &[Pay; HOPS]) -> [u8; RETURN_LEN] {
        let mut onion = [0; RETURN_LEN];
        for (at, (hop, pay)) in self.hops.iter().zip(pays).enumerate() {
            // The layer of hop i holds that of hop i - 1 behind its own part.
            let inner = Shape::return_len(at as u8);
            onion.copy_within(..inner, PAY_LEN);
            pay.write(&mut onion[..PAY_LEN]);
            let layer = &mut onion[..inner + PAY_LEN + TAG_LEN];
            seal(&hop.keys.returns, Direction::Return, number, &[Kind::Return as u8], layer);
        }
        onion
    }

    /// Opens a reply in its place, layer by layer; the payload stands at [`Shape::payload_range`] then. Gives its number.
    pub fn open_reply(&mut self, block: &mut [u8]) -> Result<u32, ReplyError> {
        let at_link = |error| ReplyError { position: 0, error };
        let header = Header::read(self.shape, block).map_err(at_link)?;
        if header.kind != Kind::Reply || header.session != self.id() {
            return Err(at_link(OpenError::Malformed));
        }
        self.back.admit(header.counter).map_err(at_link)?;
        for (at, hop) in self.hops.iter().enumerate() {
            let end = self.shape.reply_edge(at as u8);
            let aad = [Kind::Reply as u8];
            let opened = open(&hop.keys.back, Direction::Back, header.counter, &aad, &mut block[HEADER_LEN..end]);
            opened.map_err(|error| ReplyError { position: at as u8, error })?;
        }
        self.back.mark(header.counter);
        Ok(header.counter)
    }
}

/// Writes a packet: a block that belongs to no session. `checks` are the commitments of the checks that pay it.
pub fn packet(
    shape: Shape,
    path: &[PathHop; HOPS],
    checks: &[Digest; HOPS],
    pays: &[Pay; HOPS],
    payload: &[u8],
    block: &mut [u8],
    rng: &mut impl CryptoRng,
) -> Result<(), BuildError> {
    let room = shape.payload(Kind::Packet);
    if block.len() != shape.block() || payload.len() > room {
        return Err(BuildError::Room);
    }
    let begin = HEADER_LEN + HOPS * (shape.layer(Kind::Packet) - TAG_LEN);
    block[begin..begin + payload.len()].copy_from_slice(payload);
    block[begin + payload.len()..begin + room].fill(0);
    for at in (0..HOPS).rev() {
        let ephemeral = Ephemeral::from_seed(&random(rng));
        let key = ephemeral.packet(&path[at].key).map_err(|_| BuildError::HopKey(at as u8 + 1))?;
        let next = path.get(at + 1).map_or(Next::Exit, |hop| Next::Mix(hop.mix));
        PacketPart { next, check: checks[at], pay: pays[at] }.write(part_of(shape, Kind::Packet, at, block));
        write_lead(&ephemeral, shape, Kind::Packet, at, block);
        let header = Header { kind: Kind::Packet, session: SessionId([0; 16]), counter: at as u32 + 1 };
        seal_layer(shape, header, at, Some(&ephemeral.public()), block, |aad, body| {
            seal(&key, Direction::SetUp, 0, aad, body);
        });
    }
    Header { kind: Kind::Packet, session: SessionId([0; 16]), counter: 1 }.write(block);
    Ok(())
}

/// Where the layer of the hop at this index begins in a block that holds all layers.
fn layer_begin(shape: Shape, kind: Kind, at: usize) -> usize {
    HEADER_LEN + at * (shape.lead(kind) + shape.part(kind))
}

/// Where the part of the hop at this index stands in a block that holds all layers.
fn part_of(shape: Shape, kind: Kind, at: usize, block: &mut [u8]) -> &mut [u8] {
    let begin = layer_begin(shape, kind, at) + shape.lead(kind);
    &mut block[begin..begin + shape.part(kind)]
}

fn write_lead(ephemeral: &Ephemeral, shape: Shape, kind: Kind, at: usize, block: &mut [u8]) {
    let lead = &mut block[layer_begin(shape, kind, at)..][..KEM_LEN];
    lead[0] = KEM_X25519;
    lead[1..].copy_from_slice(&ephemeral.public());
}

/// Seals the layer of the hop at this index in its place: what is authenticated is the header that this hop will see, the
/// ephemeral key if there is one, part, inner layers.
fn seal_layer(
    shape: Shape,
    header: Header,
    at: usize,
    ephemeral: Option<&[u8; 32]>,
    block: &mut [u8],
    seal: impl FnOnce(&[u8], &mut [u8]),
) {
    let lead = shape.lead(header.kind);
    let begin = layer_begin(shape, header.kind, at) + lead;
    let end = layer_begin(shape, header.kind, at) + shape.edge(header.kind, at as u8 + 1) - HEADER_LEN;
    let mut aad = [0; HEADER_LEN + KEM_LEN];
    header.write(&mut aad);
    if let Some(ephemeral) = ephemeral {
        aad[HEADER_LEN] = KEM_X25519;
        aad[HEADER_LEN + 1..].copy_from_slice(ephemeral);
    }
    seal(&aad[..HEADER_LEN + lead], &mut block[begin..end]);
}

/// It must not be printed.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
