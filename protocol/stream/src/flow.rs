//! One stream at one end.

use std::collections::VecDeque;

use crate::limits::FIRST_WINDOW;

/// Whether this end has said that it sends no more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Open,
    Asked,
    Said,
}

pub(crate) struct Flow {
    /// The exit has connected.
    pub opened: bool,
    pub outgoing: VecDeque<u8>,
    /// Bytes that the other end still takes.
    pub credit: u32,
    pub finish: Finish,
    /// A write came short: its owner waits for room.
    pub starved: bool,
    pub incoming: VecDeque<u8>,
    /// Bytes that the other end may still send.
    pub allowed: u32,
    /// Bytes that were read since the last grant.
    pub consumed: u32,
    pub window: u32,
    pub ended: bool,
}

impl Flow {
    pub(crate) fn new(opened: bool) -> Self {
        Flow {
            opened,
            outgoing: VecDeque::new(),
            credit: FIRST_WINDOW,
            finish: Finish::Open,
            starved: false,
            incoming: VecDeque::new(),
            allowed: FIRST_WINDOW,
            consumed: 0,
            window: FIRST_WINDOW,
            ended: false,
        }
    }

    /// How many bytes could be sent now.
    pub(crate) fn sendable(&self) -> usize {
        self.outgoing.len().min(usize::try_from(self.credit).unwrap_or(usize::MAX))
    }

    /// Whether its end is due: asked for, and everything before it is sent.
    pub(crate) fn end_is_due(&self) -> bool {
        self.finish == Finish::Asked && self.outgoing.is_empty()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.finish == Finish::Said && self.ended && self.incoming.is_empty()
    }

    /// Moves bytes to send into `into`, which they fill.
    pub(crate) fn send(&mut self, into: &mut [u8]) {
        let (first, second) = self.outgoing.as_slices();
        let split = first.len().min(into.len());
        into[..split].copy_from_slice(&first[..split]);
        let rest = into.len() - split;
        into[split..].copy_from_slice(&second[..rest]);
        self.outgoing.drain(..into.len());
        self.credit = self.credit.saturating_sub(u32::try_from(into.len()).unwrap_or(u32::MAX));
    }

    /// What the other end is to be granted after a read: nothing, until half of the window is gone. A window that was gone
    /// wholly grows, by `spare` at most.
    pub(crate) fn grant(&mut self, most: u32, spare: u32) -> Option<u32> {
        if self.ended || self.consumed < self.window / 2 {
            return None;
        }
        let keeps_up = self.incoming.len() < usize::try_from(self.window / 2).unwrap_or(usize::MAX);
        let growth = if keeps_up { self.window.min(spare).min(most.saturating_sub(self.window)) } else { 0 };
        let grant = self.consumed.saturating_add(growth);
        self.window = self.window.saturating_add(growth);
        self.allowed = self.allowed.saturating_add(grant);
        self.consumed = 0;
        Some(grant)
    }
}
