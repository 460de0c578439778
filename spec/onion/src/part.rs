//! What a layer says to its hop.

use naulon_statement::{Digest, PublicKey};
use naulon_tick::{Front, Tick};

use crate::OpenError;
use crate::header::SessionId;
use crate::shape::{HOPS, PACKET_ROUTE_LEN, PAY_LEN, ROUTE_LEN};

/// When a block is paid (MixPay §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// A block passes when it is paid.
    Before,
    /// A block is paid when it has arrived.
    After,
}

/// Who lets a tick go (MixPay §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// The sender puts it into a block.
    Sender,
    /// The recipient opens what the sender sealed to it, and sends it back.
    Recipient,
}

/// One of the four protocols (MixPay tables 1 and 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol {
    /// When a block is paid.
    pub when: When,
    /// Who lets the tick go.
    pub trigger: Trigger,
}

impl Protocol {
    /// Paid ahead by the sender: the one that waits for nobody.
    pub const BEFORE_SENDER: Protocol = Protocol { when: When::Before, trigger: Trigger::Sender };
    /// All four.
    pub const ALL: [Protocol; 4] = [
        Protocol::BEFORE_SENDER,
        Protocol { when: When::Before, trigger: Trigger::Recipient },
        Protocol { when: When::After, trigger: Trigger::Sender },
        Protocol { when: When::After, trigger: Trigger::Recipient },
    ];

    fn byte(self) -> u8 {
        u8::from(self.when == When::After) | u8::from(self.trigger == Trigger::Recipient) << 1
    }

    fn of(byte: u8) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|protocol| protocol.byte() == byte)
    }

    /// Its name in settings, figures and log lines.
    pub fn name(self) -> &'static str {
        match (self.when, self.trigger) {
            (When::Before, Trigger::Sender) => "before/sender",
            (When::Before, Trigger::Recipient) => "before/recipient",
            (When::After, Trigger::Sender) => "after/sender",
            (When::After, Trigger::Recipient) => "after/recipient",
        }
    }
}

/// How the blocks of a session travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Traffic {
    /// At once, or as the mix batches; ticks in jumps.
    Stream = 0,
    /// One block into every batch, b sessions beginning and ending together.
    Cohort = 1,
    /// No session at the hop but the check's: every block is a packet.
    Packet = 2,
}

impl Traffic {
    /// All of them.
    pub const ALL: [Traffic; 3] = [Traffic::Stream, Traffic::Cohort, Traffic::Packet];

    fn of(byte: u8) -> Option<Traffic> {
        Traffic::ALL.into_iter().find(|traffic| *traffic as u8 == byte)
    }
}

/// Where a block goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To the mix with this key.
    Mix(PublicKey),
    /// Out of the mixes: this hop is the exit.
    Exit,
}

impl Next {
    fn bytes(&self) -> [u8; 32] {
        match self {
            Next::Mix(key) => key.0,
            Next::Exit => [0; 32],
        }
    }

    /// The last hop, and no other, is the exit.
    fn of(bytes: &[u8; 32], position: u8) -> Option<Next> {
        let next = if *bytes == [0; 32] { Next::Exit } else { Next::Mix(PublicKey(*bytes)) };
        ((next == Next::Exit) == (usize::from(position) == HOPS)).then_some(next)
    }
}

/// What a set-up block says to a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where the session's blocks go.
    pub next: Next,
    /// The session's name on the link to the next hop. The exit has none: random.
    pub next_session: SessionId,
    /// Who pays when.
    pub protocol: Protocol,
    /// How the blocks travel.
    pub traffic: Traffic,
    /// The epoch of the hop key that this was sealed to.
    pub epoch: u32,
    /// What pays this hop: a check and its funding. Empty where another member of the chain is paid (case a).
    pub fare: Vec<u8>,
}

impl Route {
    pub(crate) fn write(&self, part: &mut [u8]) {
        let mut cursor = Writer(part);
        cursor.put(&self.next.bytes());
        cursor.put(&self.next_session.0);
        cursor.put(&[self.protocol.byte(), self.traffic as u8]);
        cursor.put(&self.epoch.to_be_bytes());
        write_fare(&mut cursor, &self.fare);
    }

    pub(crate) fn read(part: &[u8], position: u8) -> Result<Route, OpenError> {
        let (route, fare) = part.split_first_chunk::<{ ROUTE_LEN - 2 }>().ok_or(OpenError::Malformed)?;
        let mut cursor = Reader(route);
        let next = Next::of(cursor.take()?, position).ok_or(OpenError::Malformed)?;
        let next_session = SessionId(*cursor.take()?);
        let [protocol, traffic] = *cursor.take()?;
        let protocol = Protocol::of(protocol).ok_or(OpenError::Malformed)?;
        let traffic = Traffic::of(traffic).ok_or(OpenError::Malformed)?;
        let epoch = u32::from_be_bytes(*cursor.take()?);
        Ok(Route { next, next_session, protocol, traffic, epoch, fare: read_fare(fare)?.to_vec() })
    }
}

/// Length, fare, zeros.
pub(crate) fn write_fare(cursor: &mut Writer<'_>, fare: &[u8]) {
    // The caller compared the length with the room, which is below MAX_BLOCK.
    cursor.put(&(fare.len() as u16).to_be_bytes());
    cursor.put(fare);
    cursor.0.fill(0);
}

/// The fare, if only zeros follow.
pub(crate) fn read_fare(bytes: &[u8]) -> Result<&[u8], OpenError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(OpenError::Malformed)?;
    let fare = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(OpenError::Malformed)?;
    if fare.1.iter().any(|byte| *byte != 0) {
        return Err(OpenError::Malformed);
    }
    Ok(fare.0)
}

/// The most shares by which the blocks of one session are paid (MixPay §6), and so the number of slots.
pub const MAX_SLOTS: u8 = 16;

/// What a block says to a hop about money: a tick, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pay {
    /// Which share of the session the tick, or the check of a fare block, belongs to.
    pub slot: u8,
    /// This block only asks the recipient for the tick that it carries sealed; the data follows when it was paid.
    pub is_ask: bool,
    /// This block only pays what has passed (paid after, by the sender). Its payload goes nowhere.
    pub is_settlement: bool,
    /// The last block of the session: the hop may forget it.
    pub is_last: bool,
    /// The tick.
    pub tick: Option<Front>,
}

const ASK: u8 = 1;
const LAST: u8 = 2;
const SETTLEMENT: u8 = 4;

impl Pay {
    /// A tick of the first share.
    pub fn tick(front: Front) -> Pay {
        Pay { tick: Some(front), ..Pay::default() }
    }

    pub(crate) fn write(&self, part: &mut [u8]) {
        let flags = [(self.is_ask, ASK), (self.is_last, LAST), (self.is_settlement, SETTLEMENT)];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
        let (index, tick) = self.tick.map_or((0, [0; 16]), |front| (front.index, front.tick.0));
        let mut cursor = Writer(part);
        cursor.put(&[flags | (self.slot % MAX_SLOTS) << 4]);
        cursor.put(&index.to_be_bytes());
        cursor.put(&tick);
    }

    pub(crate) fn read(part: &[u8]) -> Result<Pay, OpenError> {
        let mut cursor = Reader(part);
        let [first] = *cursor.take()?;
        let (flags, slot) = (first & 0x0f, first >> 4);
        let index = u32::from_be_bytes(*cursor.take()?);
        let tick = Tick(*cursor.take()?);
        let is_both = flags & (ASK | SETTLEMENT) == ASK | SETTLEMENT;
        if is_both || flags & !(ASK | LAST | SETTLEMENT) != 0 || (index == 0 && tick.0 != [0; 16]) {
            return Err(OpenError::Malformed);
        }
        let tick = (index != 0).then_some(Front { index, tick });
        let has = |flag| flags & flag != 0;
        Ok(Pay { slot, is_ask: has(ASK), is_settlement: has(SETTLEMENT), is_last: has(LAST), tick })
    }
}

/// What a packet says to a hop: where it goes, which check pays, and the tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketPart {
    /// Where the packet goes.
    pub next: Next,
    /// The commitment of the check whose tick this is.
    pub check: Digest,
    /// The tick.
    pub pay: Pay,
}

impl PacketPart {
    pub(crate) fn write(&self, part: &mut [u8]) {
        let mut cursor = Writer(part);
        cursor.put(&self.next.bytes());
        cursor.put(&self.check.0);
        self.pay.write(cursor.0);
    }

    pub(crate) fn read(part: &[u8], position: u8) -> Result<PacketPart, OpenError> {
        let (route, pay) = part.split_first_chunk::<PACKET_ROUTE_LEN>().ok_or(OpenError::Malformed)?;
        let mut cursor = Reader(route);
        let next = Next::of(cursor.take()?, position).ok_or(OpenError::Malformed)?;
        let check = Digest(*cursor.take()?);
        Ok(PacketPart { next, check, pay: Pay::read(pay)? })
    }
}

const _: () = assert!(PAY_LEN == 21 && MAX_SLOTS == 16);

/// Fills a part from its begin. The rooms are constants: what is put always fits.
pub(crate) struct Writer<'p>(pub &'p mut [u8]);

impl Writer<'_> {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let (room, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        room.copy_from_slice(bytes);
        self.0 = rest;
    }
}

struct Reader<'p>(&'p [u8]);

impl<'p> Reader<'p> {
    fn take<const N: usize>(&mut self) -> Result<&'p [u8; N], OpenError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(OpenError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shape::{Kind, Shape};

    proptest! {
        /// Whatever a layer says, what is read is written again as the same bytes.
        #[test]
        fn parts_are_written_as_they_are_read(
            mut bytes in prop::collection::vec(any::<u8>(), 1_400), position in 0..5_u8, zeros in 0..1_400_usize,
        ) {
            let from = bytes.len() - zeros;
            bytes[from..].fill(0);
            bytes[48] &= 3;
            bytes[49] &= 3;
            let shape = Shape::STANDARD;
            let check = |part: &[u8], write: &dyn Fn(&mut [u8])| {
                let mut written = vec![0; part.len()];
                write(&mut written);
                assert_eq!(written, part);
            };
            let part = &bytes[..shape.part(Kind::SetUp)];
            if let Ok(route) = Route::read(part, position) {
                check(part, &|out| route.write(out));
            }
            let part = &bytes[..shape.part(Kind::Packet)];
            if let Ok(read) = PacketPart::read(part, position) {
                check(part, &|out| read.write(out));
            }
            let part = &bytes[..PAY_LEN];
            if let Ok(pay) = Pay::read(part) {
                check(part, &|out| pay.write(out));
            }
        }
    }

    #[test]
    fn flags_that_nobody_knows_are_refused() {
        let known = (0..=u8::MAX).filter(|flags| {
            let mut part = [0; PAY_LEN];
            part[0] = *flags;
            Pay::read(&part).is_ok()
        });
        assert_eq!(known.count(), 16 * 6, "sixteen slots; ask, settlement or neither; last or not");
        assert!(Pay::read(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err(), "no number");
    }
}
