//! How long everything in a block is. Every block of a network has one length, and every kind one division of it.

use std::ops::Range;

/// How many mixes a path has. It is constant, so the length of a path tells nothing.
pub const HOPS: usize = 3;
/// A block's header: kind, session, counter.
pub const HEADER_LEN: usize = 1 + 16 + 4;
/// What authenticates a layer (AES-256-GCM).
pub const TAG_LEN: usize = 16;
/// What stands before a layer that is opened by a key agreement: KEM id and ephemeral key.
pub const KEM_LEN: usize = 1 + 32;
/// What a data block carries for each mix: flags and slot, number of the tick, tick.
pub const PAY_LEN: usize = 1 + 4 + 16;
/// A reverse onion of ticks: one layer a mix.
pub const RETURN_LEN: usize = HOPS * (PAY_LEN + TAG_LEN);
/// The longest block of any shape.
pub const MAX_BLOCK: usize = 16 * 1024;

/// What a set-up block tells each mix beside the fare: next mix, its session, protocol, traffic, epoch, length of the fare.
pub(crate) const ROUTE_LEN: usize = 32 + 16 + 1 + 1 + 4 + 2;
/// What a packet tells each mix beside the tick: next mix and check.
pub(crate) const PACKET_ROUTE_LEN: usize = 32 + 32;
/// A set-up block has room for a check with its funding at every hop, so no shape is smaller than this room needs.
const MIN_FARE: usize = 512;

/// What a block is. The first byte of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Forward: begins a session at each hop.
    SetUp = 1,
    /// Forward: payload and one tick a hop.
    Data = 2,
    /// Forward: a tick and one further check a hop.
    Fare = 3,
    /// Forward: payload and one tick a hop, opened by a key agreement of its own (per-packet mode).
    Packet = 4,
    /// Backward: what the exit answers.
    Reply = 5,
    /// Backward: ticks that the recipient lets go.
    Return = 6,
}

impl Kind {
    /// The kind of this first byte.
    pub fn of(byte: u8) -> Option<Kind> {
        use Kind::{Data, Fare, Packet, Reply, Return, SetUp};
        [SetUp, Data, Fare, Packet, Reply, Return].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The length of every block of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    block: usize,
}

impl Shape {
    /// Blocks of 4 KiB.
    pub const STANDARD: Shape = Shape { block: 4_096 };
    /// Blocks whose data has 2 KiB, as in packet formats that this one is compared with.
    pub const COMPARED: Shape = Shape { block: 2_048 + HEADER_LEN + HOPS * (PAY_LEN + TAG_LEN) };

    /// The shape with blocks of this length, if there is room for a fare at every hop.
    pub fn new(block: usize) -> Option<Shape> {
        let least = HEADER_LEN + HOPS * (KEM_LEN + TAG_LEN + ROUTE_LEN + MIN_FARE);
        (least..=MAX_BLOCK).contains(&block).then_some(Shape { block })
    }

    /// The length of a block.
    pub const fn block(&self) -> usize {
        self.block
    }

    /// How many bytes a check with its funding may have, at each hop of a set-up or fare block.
    pub const fn fare_room(&self) -> usize {
        (self.block - HEADER_LEN) / HOPS - KEM_LEN - TAG_LEN - ROUTE_LEN
    }

    /// How many bytes of payload a block of this kind brings to the exit, or back from it.
    pub const fn payload(&self, kind: Kind) -> usize {
        match kind {
            Kind::Return => 0,
            _ => self.block - HEADER_LEN - HOPS * self.layer(kind),
        }
    }

    /// Where the payload stands in a block that the exit has opened, or in a reply that the client has opened.
    pub const fn payload_range(&self, kind: Kind) -> Range<usize> {
        HEADER_LEN..HEADER_LEN + self.payload(kind)
    }

    /// What stands in clear before a layer of this kind.
    pub(crate) const fn lead(&self, kind: Kind) -> usize {
        match kind {
            Kind::SetUp | Kind::Packet => KEM_LEN,
            _ => 0,
        }
    }

    /// What a layer of this kind says to its hop.
    pub(crate) const fn part(&self, kind: Kind) -> usize {
        match kind {
            Kind::SetUp => ROUTE_LEN + self.fare_room(),
            Kind::Data | Kind::Return => PAY_LEN,
            Kind::Fare => PAY_LEN + 2 + self.fare_room(),
            Kind::Packet => PACKET_ROUTE_LEN + PAY_LEN,
            Kind::Reply => 0,
        }
    }

    /// By how much each hop shortens (forward) or lengthens (back) what is authenticated.
    pub(crate) const fn layer(&self, kind: Kind) -> usize {
        self.lead(kind) + self.part(kind) + TAG_LEN
    }

    /// Forward: how many bytes the hop at this position authenticates, counted from the block's begin. What follows is dropped.
    pub const fn edge(&self, kind: Kind, position: u8) -> usize {
        self.block - (position as usize - 1) * self.layer(kind)
    }

    /// Back: where what the hop at this position seals ends.
    pub(crate) const fn reply_edge(&self, position: u8) -> usize {
        self.block - position as usize * TAG_LEN
    }

    /// Back: how long the reverse onion is that the hop at this position opens.
    pub(crate) const fn return_len(position: u8) -> usize {
        position as usize * (PAY_LEN + TAG_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_in_the_standard_block() {
        let shape = Shape::STANDARD;
        assert_eq!(shape.payload(Kind::Data), 4_096 - 21 - 3 * 37);
        assert_eq!(Shape::COMPARED.payload(Kind::Data), 2_048);
        assert!(shape.fare_room() >= 1_200, "{}", shape.fare_room());
        assert!(Shape::COMPARED.fare_room() >= MIN_FARE);
        assert_eq!(shape.payload(Kind::Reply), 4_096 - 21 - 3 * 16);
        assert_eq!(Shape::new(shape.block()), Some(shape));
        assert_eq!(Shape::new(1_024), None);
        assert_eq!(Shape::new(MAX_BLOCK + 1), None);
    }
}
