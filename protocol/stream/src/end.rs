//! One end of a session: all its streams.

use std::collections::{BTreeMap, VecDeque};

use crate::cell::{CELL_HEADER_LEN, Cell, Reason, SEQUENCE_LEN, bytes_header, next_cell};
use crate::flow::{Finish, Flow};
use crate::limits::{FIRST_WINDOW, Limits, MAX_EARLY, MAX_UNSAID};
use crate::target::Target;

/// What an end tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// (Exit) The client wants a stream: [`End::accept`] or [`End::refuse`] it.
    Open {
        /// The new stream.
        stream: u32,
        /// Where to.
        target: Target,
    },
    /// (Client) The exit has connected.
    Opened {
        /// The stream.
        stream: u32,
    },
    /// (Client) The exit did not connect. The stream is gone.
    Refused {
        /// The stream.
        stream: u32,
        /// Why.
        reason: Reason,
    },
    /// There is something to read, or the other end sends no more ([`End::is_ended`]).
    Readable {
        /// The stream.
        stream: u32,
    },
    /// There is room again after a [`End::write`] that came short.
    Writable {
        /// The stream.
        stream: u32,
    },
    /// The other end broke the stream off. It is gone, and what was not read with it.
    Reset {
        /// The stream.
        stream: u32,
        /// Why.
        reason: Reason,
    },
    /// The other end says how many of our payloads it has (MixPay's *ok*, for payment after delivery).
    Received {
        /// All payloads up to this number.
        payloads: u32,
    },
}

/// What the other end did that ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Bytes that are no payload.
    #[error("a payload that is none")]
    Malformed,
    /// A payload came twice.
    #[error("payload {0} came again")]
    Repeated(u32),
    /// A payload too far ahead of those that are missing.
    #[error("too many payloads are missing")]
    Missing,
    /// More bytes than the window allows, or bytes behind the end.
    #[error("more bytes than were allowed")]
    Window,
    /// A cell that this end, or this stream in its state, does not take.
    #[error("a cell out of turn")]
    OutOfTurn,
    /// The other end asks and does not listen.
    #[error("too much waits to be said")]
    Unsaid,
    /// All numbers are used.
    #[error("the session has no more numbers")]
    Exhausted,
}

/// Why no stream can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many as [`Limits::streams`].
    #[error("the session has as many streams as it takes")]
    TooMany,
    /// This end does not open streams, or has no number left.
    #[error("the session opens no more streams")]
    Closed,
}

/// One end of a session.
pub struct End {
    opens: bool,
    limits: Limits,
    /// The lowest number that no stream has had.
    next_stream: u32,
    streams: BTreeMap<u32, Flow>,
    /// Where the round robin goes on.
    turn: u32,
    unsaid: VecDeque<Vec<u8>>,
    sent: u32,
    taken: u32,
    early: BTreeMap<u32, Vec<u8>>,
    events: VecDeque<Event>,
    /// What all windows have grown beyond their first size.
    grown: u32,
    owes_received: bool,
    /// After how many payloads this end says what it has, unasked.
    confirm_every: Option<u32>,
    said_received: u32,
}

impl End {
    /// The client's end, which opens streams.
    pub fn client(limits: Limits) -> Self {
        End::new(true, limits)
    }

    /// The exit's end, which accepts them.
    pub fn exit(limits: Limits) -> Self {
        End::new(false, limits)
    }

    fn new(opens: bool, limits: Limits) -> Self {
        End {
            opens,
            limits,
            next_stream: 0,
            streams: BTreeMap::new(),
            turn: 0,
            unsaid: VecDeque::new(),
            sent: 0,
            taken: 0,
            early: BTreeMap::new(),
            events: VecDeque::new(),
            grown: 0,
            owes_received: false,
            confirm_every: None,
            said_received: 0,
        }
    }

    /// (Client) Asks for a stream. Bytes may be written at once.
    pub fn open(&mut self, target: Target) -> Result<u32, OpenError> {
        if self.streams.len() >= self.limits.streams {
            return Err(OpenError::TooMany);
        }
        let stream = self.next_stream;
        self.next_stream = stream.checked_add(1).filter(|_| self.opens).ok_or(OpenError::Closed)?;
        self.streams.insert(stream, Flow::new(false));
        self.unsaid.push_back(Cell::Open(target).encode(stream));
        Ok(stream)
    }

    /// (Exit) The stream is connected.
    pub fn accept(&mut self, stream: u32) {
        if let Some(flow) = self.streams.get_mut(&stream).filter(|flow| !flow.opened && !self.opens) {
            flow.opened = true;
            self.unsaid.push_back(Cell::Opened.encode(stream));
        }
    }

    /// (Exit) The stream cannot be connected. It is gone.
    pub fn refuse(&mut self, stream: u32, reason: Reason) {
        if self.streams.get(&stream).is_some_and(|flow| !flow.opened) && !self.opens {
            self.forget(stream);
            self.unsaid.push_back(Cell::Refused(reason).encode(stream));
        }
    }

    /// Takes bytes to send, and says how many; fewer than there are means to wait for [`Event::Writable`].
    pub fn write(&mut self, stream: u32, bytes: &[u8]) -> usize {
        let room = self.room(stream).min(bytes.len());
        if let Some(flow) = self.streams.get_mut(&stream) {
            flow.outgoing.extend(&bytes[..room]);
            flow.starved = room < bytes.len();
        }
        room
    }

    /// How many bytes [`End::write`] would take now.
    pub fn room(&self, stream: u32) -> usize {
        let open = self.streams.get(&stream).filter(|flow| flow.finish == Finish::Open);
        open.map_or(0, |flow| self.limits.outgoing.saturating_sub(flow.outgoing.len()))
    }

    /// As [`End::room`]; without room, [`Event::Writable`] comes when there is some.
    pub fn room_or_wait(&mut self, stream: u32) -> usize {
        let room = self.room(stream);
        if let Some(flow) = self.streams.get_mut(&stream) {
            flow.starved = room == 0;
        }
        room
    }

    /// This end sends no more on the stream; what was written goes out before.
    pub fn finish(&mut self, stream: u32) {
        if let Some(flow) = self.streams.get_mut(&stream).filter(|flow| flow.finish == Finish::Open) {
            flow.finish = Finish::Asked;
        }
    }

    /// Breaks the stream off, both ways and at once.
    pub fn reset(&mut self, stream: u32, reason: Reason) {
        if self.forget(stream) {
            self.unsaid.push_back(Cell::Reset(reason).encode(stream));
        }
    }

    /// What can be read (not always all of it: read, [`End::consume`], and look again).
    pub fn received(&self, stream: u32) -> &[u8] {
        self.streams.get(&stream).map_or(&[], |flow| flow.incoming.as_slices().0)
    }

    /// The first `len` bytes of [`End::received`] were used.
    pub fn consume(&mut self, stream: u32, len: usize) {
        let spare = self.limits.windows.saturating_sub(self.grown);
        let Some(flow) = self.streams.get_mut(&stream) else { return };
        let len = len.min(flow.incoming.len());
        flow.incoming.drain(..len);
        flow.consumed = flow.consumed.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        let before = flow.window;
        if let Some(more) = flow.grant(self.limits.window, spare) {
            self.grown = self.grown.saturating_add(flow.window - before);
            self.unsaid.push_back(Cell::Window(more).encode(stream));
        }
        self.sweep(stream);
    }

    /// Whether the other end sends no more and everything was read; also when the stream is gone.
    pub fn is_ended(&self, stream: u32) -> bool {
        self.streams.get(&stream).is_none_or(|flow| flow.ended && flow.incoming.is_empty())
    }

    /// Whether the stream is alive.
    pub fn is_alive(&self, stream: u32) -> bool {
        self.streams.contains_key(&stream)
    }

    /// How many streams are alive.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Payloads filled so far.
    pub fn payloads_sent(&self) -> u32 {
        self.sent
    }

    /// Payloads taken so far, without a gap.
    pub fn payloads_taken(&self) -> u32 {
        self.taken
    }

    /// The next payload says how many have come in.
    pub fn say_received(&mut self) {
        self.owes_received = true;
    }

    /// From now on this end says after so many payloads at the latest how many have come in, and with every payload that it
    /// sends anyway: for all protocols but the one that is paid ahead by the sender, who waits for it.
    pub fn confirm_every(&mut self, payloads: u32) {
        self.confirm_every = Some(payloads.max(1));
    }

    fn confirmation_is_due(&self) -> bool {
        let unsaid = self.taken - self.said_received;
        self.owes_received || self.confirm_every.is_some_and(|every| unsaid >= every)
    }

    /// What happened, one by one.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether a payload would hold more than padding.
    pub fn has_something_to_say(&self) -> bool {
        self.confirmation_is_due()
            || !self.unsaid.is_empty()
            || self.streams.values().any(|flow| flow.sendable() > 0 || flow.end_is_due())
    }

    /// Fills a payload, whole; `false` (and nothing is used up) when there is nothing to say.
    pub fn fill(&mut self, payload: &mut [u8]) -> Result<bool, StreamError> {
        if !self.has_something_to_say() {
            return Ok(false);
        }
        let mut at = self.number(payload)?;
        if self.owes_received || self.confirm_every.is_some() && self.taken > self.said_received {
            at = put(payload, at, &Cell::Received(self.taken).encode(0)).ok_or(StreamError::Malformed)?;
            self.owes_received = false;
            self.said_received = self.taken;
        }
        while let Some(cell) = self.unsaid.front() {
            let Some(next) = put(payload, at, cell) else { break };
            at = next;
            self.unsaid.pop_front();
        }
        // A cell that found no room comes first next time, and nothing overtakes it.
        if self.unsaid.is_empty() {
            at = self.fill_bytes(payload, at);
        }
        payload[at..].fill(0);
        Ok(true)
    }

    /// Fills a payload that says nothing: a dummy, or the carrier of a tick.
    pub fn fill_dummy(&mut self, payload: &mut [u8]) -> Result<(), StreamError> {
        let at = self.number(payload)?;
        payload[at..].fill(0);
        Ok(())
    }

    /// Takes a payload of the other end; afterwards look at [`End::next_event`]. An error ends the session.
    pub fn take(&mut self, payload: &[u8]) -> Result<(), StreamError> {
        let (sequence, cells) = payload.split_first_chunk::<SEQUENCE_LEN>().ok_or(StreamError::Malformed)?;
        let sequence = u32::from_be_bytes(*sequence);
        if sequence < self.taken || self.early.contains_key(&sequence) {
            return Err(StreamError::Repeated(sequence));
        }
        if sequence > self.taken {
            if self.early.len() >= MAX_EARLY {
                return Err(StreamError::Missing);
            }
            self.early.insert(sequence, cells.to_vec());
            return Ok(());
        }
        self.take_cells(cells)?;
        while let Some(cells) = self.early.remove(&self.taken) {
            self.take_cells(&cells)?;
        }
        Ok(())
    }

    fn number(&mut self, payload: &mut [u8]) -> Result<usize, StreamError> {
        let head = payload.get_mut(..SEQUENCE_LEN).ok_or(StreamError::Malformed)?;
        let next = self.sent.checked_add(1).ok_or(StreamError::Exhausted)?;
        head.copy_from_slice(&self.sent.to_be_bytes());
        self.sent = next;
        Ok(SEQUENCE_LEN)
    }

    /// Bytes and ends, each stream in its turn.
    fn fill_bytes(&mut self, payload: &mut [u8], mut at: usize) -> usize {
        let order: Vec<u32> = self
            .streams
            .range(self.turn..)
            .chain(self.streams.range(..self.turn))
            .filter(|(_, flow)| flow.sendable() > 0 || flow.end_is_due())
            .map(|(stream, _)| *stream)
            .collect();
        for stream in order {
            let Some(flow) = self.streams.get_mut(&stream) else { continue };
            let space = payload.len().saturating_sub(at + CELL_HEADER_LEN).min(usize::from(u16::MAX));
            let len = flow.sendable().min(space);
            if let Some(short) = u16::try_from(len).ok().filter(|len| *len > 0) {
                payload[at..at + CELL_HEADER_LEN].copy_from_slice(&bytes_header(stream, short));
                flow.send(&mut payload[at + CELL_HEADER_LEN..at + CELL_HEADER_LEN + len]);
                at += CELL_HEADER_LEN + len;
                self.turn = stream.wrapping_add(1);
                if flow.starved && flow.outgoing.len() <= self.limits.outgoing / 2 {
                    flow.starved = false;
                    self.events.push_back(Event::Writable { stream });
                }
            }
            if flow.end_is_due() {
                let Some(next) = put(payload, at, &Cell::End.encode(stream)) else { break };
                at = next;
                flow.finish = Finish::Said;
                self.sweep(stream);
            }
        }
        at
    }

    fn take_cells(&mut self, mut rest: &[u8]) -> Result<(), StreamError> {
        self.taken = self.taken.checked_add(1).ok_or(StreamError::Exhausted)?;
        while let Some((stream, cell)) = next_cell(&mut rest)? {
            self.take_cell(stream, cell)?;
            if self.unsaid.len() > MAX_UNSAID {
                return Err(StreamError::Unsaid);
            }
        }
        Ok(())
    }

    fn take_cell(&mut self, stream: u32, cell: Cell<'_>) -> Result<(), StreamError> {
        match cell {
            Cell::Open(target) => return self.asked(stream, target),
            Cell::Received(payloads) if payloads <= self.sent => {
                self.events.push_back(Event::Received { payloads });
                return Ok(());
            }
            Cell::Received(_) => return Err(StreamError::OutOfTurn),
            _ if stream >= self.next_stream => return Err(StreamError::OutOfTurn),
            _ => {}
        }
        // What concerns a stream that is gone was on its way when it went.
        let Some(flow) = self.streams.get_mut(&stream) else { return Ok(()) };
        match cell {
            Cell::Opened | Cell::Refused(_) if flow.opened || !self.opens => return Err(StreamError::OutOfTurn),
            Cell::Opened => {
                flow.opened = true;
                self.events.push_back(Event::Opened { stream });
            }
            Cell::Refused(reason) => {
                self.forget(stream);
                self.events.push_back(Event::Refused { stream, reason });
            }
            Cell::Bytes(bytes) => {
                let len = u32::try_from(bytes.len()).map_err(|_| StreamError::Window)?;
                flow.allowed = flow.allowed.checked_sub(len).filter(|_| !flow.ended).ok_or(StreamError::Window)?;
                if flow.incoming.is_empty() && len > 0 {
                    self.events.push_back(Event::Readable { stream });
                }
                flow.incoming.extend(bytes);
            }
            Cell::Window(more) => flow.credit = flow.credit.checked_add(more).ok_or(StreamError::Window)?,
            Cell::End if flow.ended => return Err(StreamError::OutOfTurn),
            Cell::End => {
                flow.ended = true;
                self.events.push_back(Event::Readable { stream });
                self.sweep(stream);
            }
            Cell::Reset(reason) => {
                self.forget(stream);
                self.events.push_back(Event::Reset { stream, reason });
            }
            Cell::Open(_) | Cell::Received(_) => {}
        }
        Ok(())
    }

    /// (Exit) The client asks for a stream.
    fn asked(&mut self, stream: u32, target: Target) -> Result<(), StreamError> {
        if self.opens || stream < self.next_stream {
            return Err(StreamError::OutOfTurn);
        }
        self.next_stream = stream.checked_add(1).ok_or(StreamError::Exhausted)?;
        if self.streams.len() >= self.limits.streams {
            self.unsaid.push_back(Cell::Refused(Reason::TooMany).encode(stream));
            return Ok(());
        }
        self.streams.insert(stream, Flow::new(false));
        self.events.push_back(Event::Open { stream, target });
        Ok(())
    }

    fn sweep(&mut self, stream: u32) {
        if self.streams.get(&stream).is_some_and(Flow::is_over) {
            self.forget(stream);
        }
    }

    fn forget(&mut self, stream: u32) -> bool {
        let gone = self.streams.remove(&stream);
        self.grown -= gone.as_ref().map_or(0, |flow| flow.window - FIRST_WINDOW).min(self.grown);
        gone.is_some()
    }
}

/// Writes a cell, and says where the next one goes; `None` when there is no room.
fn put(payload: &mut [u8], at: usize, cell: &[u8]) -> Option<usize> {
    let next = at.checked_add(cell.len())?;
    payload.get_mut(at..next)?.copy_from_slice(cell);
    Some(next)
}
