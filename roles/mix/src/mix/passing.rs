//! Blocks of sessions that have begun: forward, back, and the ticks that recipients let go.

use naulon_meter::{Decision, Released};
use naulon_onion::{Header, Kind, Pay, Protocol, Trigger, When};
use naulon_statement::Timestamp;

use super::{Destination, Mix};
use crate::outbox::{Leaving, Outbox, SessionKey};
use crate::refusal::MixRefusal;
use crate::session::HeldBlock;

const AFTER_RECIPIENT: Protocol = Protocol { when: When::After, trigger: Trigger::Recipient };

impl Mix {
    pub(super) fn forward(
        &mut self,
        key: SessionKey,
        header: Header,
        block: &mut [u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), MixRefusal> {
        let window = self.rules.window as usize;
        let session = self.sessions.get_mut(&key).ok_or(MixRefusal::UnknownSession)?;
        session.touched = now;
        if let Some(waiting) = &mut session.waiting {
            if waiting.blocks.len() >= window {
                return Err(MixRefusal::TooEarly);
            }
            waiting.blocks.push(block.to_vec());
            return Ok(());
        }
        let number = header.counter;
        let (pay, decision) = if header.kind == Kind::Data {
            let pay = session.hop.open(block, &mut self.rng)?;
            (pay, session.meter.forward(number, &pay)?)
        } else {
            let (pay, fare) = session.hop.open_fare(block, &mut self.rng)?;
            (pay, self.further_fare(key, number, &pay, &fare, now)?)
        };
        self.mark(key);
        match decision {
            Decision::Pass => self.pass(key, number, header.kind, &pay, block, now, out),
            Decision::Hold => {
                if let Some(session) = self.sessions.get_mut(&key) {
                    session.held.push_back(HeldBlock { number, kind: header.kind, pay, block: block.to_vec() });
                }
            }
            Decision::Drop if pay.is_last => self.close(key, None, now, out),
            Decision::Drop => {}
        }
        self.release(key, now, out);
        Ok(())
    }

    /// A fare block: for this mix it brings a further check, or it is for another mix of the path.
    fn further_fare(
        &mut self,
        key: SessionKey,
        number: u32,
        pay: &Pay,
        fare: &[u8],
        now: Timestamp,
    ) -> Result<Decision, MixRefusal> {
        let chain = match fare {
            [] => None,
            fare => Some(self.take_fare(key, fare, now)?),
        };
        // A check that is not set aside yet cannot follow: the session would have to stop in its midst.
        if let Some((_, commitment, Some(_))) = &chain {
            self.books.drop_unused(commitment);
            return Err(naulon_meter::Refusal::Uncertified.into());
        }
        let session = self.sessions.get_mut(&key).ok_or(MixRefusal::UnknownSession)?;
        let Some((chain, commitment, _)) = chain else { return Ok(session.meter.fare(number, pay, None)?) };
        for claim in session.meter.retire() {
            let Some(at) = session.checks.iter().position(|(id, _)| *id == claim.id) else { continue };
            let (_, commitment) = session.checks.swap_remove(at);
            self.books.earned(&commitment, &claim);
            self.books.over(&commitment, now, &self.rules, &mut self.rng);
        }
        let id = chain.id();
        match session.meter.fare(number, pay, Some(chain)) {
            Ok(decision) => {
                session.checks.push((id, commitment));
                Ok(decision)
            }
            Err(refusal) => {
                self.books.drop_unused(&commitment);
                Err(refusal.into())
            }
        }
    }

    /// A block goes on. What only pays has no payload for anybody.
    #[allow(clippy::too_many_arguments)] // What a block says is in three places.
    fn pass(
        &mut self,
        key: SessionKey,
        number: u32,
        kind: Kind,
        pay: &Pay,
        block: &[u8],
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get(&key) else { return };
        match session.to {
            Some(link) => self.put_forward(key, Destination::Link(link), block, now, out),
            None if kind == Kind::Data && !pay.is_settlement && session.is_exit() => {
                let to = Destination::Exit { session: key, number, is_ask: pay.is_ask };
                self.put_forward(key, to, &block[self.rules.shape.payload_range(Kind::Data)], now, out);
            }
            // It has its place in the batch like any other, and replies of its own.
            None if session.place.is_some() && session.is_exit() => {
                self.put_forward(key, Destination::Exit { session: key, number, is_ask: false }, &[], now, out);
            }
            None => {}
        }
        if pay.is_last {
            self.last_passed(key, number, now, out);
        }
    }

    /// The last block has passed. Where its tick is let go by the recipient afterwards, the session stays until that has come.
    fn last_passed(&mut self, key: SessionKey, number: u32, now: Timestamp, out: &mut Outbox) {
        match self.sessions.get_mut(&key) {
            // A cohort ends when its batches are over, all of it at once.
            Some(session) if session.place.is_some() => {}
            Some(session) if session.meter.terms().protocol == AFTER_RECIPIENT => session.last = Some(number),
            _ => self.close(key, None, now, out),
        }
    }

    /// Lets go what is paid now, oldest first.
    fn release(&mut self, key: SessionKey, now: Timestamp, out: &mut Outbox) {
        loop {
            let Some(session) = self.sessions.get_mut(&key) else { return };
            match session.meter.release() {
                None => break,
                Some(Released::Forward) => {
                    let Some(held) = session.held.pop_front() else { break };
                    self.pass(key, held.number, held.kind, &held.pay, &held.block, now, out);
                }
                Some(Released::Reply) => {
                    let Some(block) = session.held_replies.pop_front() else { break };
                    let link = session.from.0;
                    self.put_back(key, Destination::Link(link), &block, now, out);
                }
            }
            self.mark(key);
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.is_starved && session.meter.replies_allowed() > 0 {
            session.is_starved = false;
            out.leaving.push(Leaving::MayReply(key));
        }
    }

    /// A reply from the next mix.
    pub(super) fn backward(
        &mut self,
        key: SessionKey,
        block: &mut [u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), MixRefusal> {
        let session = self.sessions.get_mut(&key).ok_or(MixRefusal::UnknownSession)?;
        session.touched = now;
        session.hop.pass_back(block, &mut self.rng)?;
        self.send_back(key, block, now, out)
    }

    fn send_back(&mut self, key: SessionKey, block: &[u8], now: Timestamp, out: &mut Outbox) -> Result<(), MixRefusal> {
        let session = self.sessions.get_mut(&key).ok_or(MixRefusal::UnknownSession)?;
        let link = session.from.0;
        match session.meter.reply()? {
            Decision::Pass => self.put_back(key, Destination::Link(link), block, now, out),
            Decision::Hold => session.held_replies.push_back(block.to_vec()),
            Decision::Drop => {}
        }
        self.mark(key);
        Ok(())
    }

    /// A tick that the recipient let go, from the next mix.
    pub(super) fn returned(
        &mut self,
        key: SessionKey,
        number: u32,
        block: &mut [u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), MixRefusal> {
        let session = self.sessions.get_mut(&key).ok_or(MixRefusal::UnknownSession)?;
        session.touched = now;
        let pay = session.hop.open_return(block, &mut self.rng)?;
        self.tick_came_back(key, number, &pay, block, now, out)
    }

    fn tick_came_back(
        &mut self,
        key: SessionKey,
        number: u32,
        pay: &Pay,
        block: &[u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), MixRefusal> {
        let session = self.sessions.get_mut(&key).ok_or(MixRefusal::UnknownSession)?;
        session.meter.returned(pay)?;
        // The first mix is the last whom a return concerns.
        let is_first = session.hop.position() == 1;
        let link = session.from.0;
        let is_over = session.last == Some(number);
        if !is_first {
            self.put(Destination::Link(link), block, now, out);
        }
        self.mark(key);
        self.release(key, now, out);
        if is_over {
            self.close(key, None, now, out);
        }
        Ok(())
    }

    /// (Exit) How many replies could go back now. If none, [`Leaving::MayReply`] says when some may.
    pub fn replies_allowed(&mut self, key: SessionKey) -> u64 {
        let Some(session) = self.sessions.get_mut(&key) else { return 0 };
        let allowed = session.meter.replies_allowed();
        session.is_starved = allowed == 0;
        allowed
    }

    /// (Exit) Sends a payload back. It waits if it is not paid yet, and so many at most.
    ///
    /// # Errors
    /// When the session is over: also because too many replies wait.
    pub fn reply(
        &mut self,
        key: SessionKey,
        payload: &[u8],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), MixRefusal> {
        let mut block = vec![0; self.rules.shape.block()];
        let session = self.sessions.get_mut(&key).ok_or(MixRefusal::UnknownSession)?;
        session.touched = now;
        session.hop.reply(payload, &mut block, &mut self.rng)?;
        let sent = self.send_back(key, &block, now, out);
        if let Err(refusal) = sent {
            self.close(key, Some(refusal), now, out);
        }
        sent
    }

    /// (Exit) The recipient lets the ticks go that came sealed with the block of this number.
    ///
    /// # Errors
    /// When they are none, or the session is over.
    pub fn let_go(
        &mut self,
        key: SessionKey,
        number: u32,
        onion: &[u8; naulon_onion::RETURN_LEN],
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), MixRefusal> {
        let mut block = vec![0; self.rules.shape.block()];
        let session = self.sessions.get_mut(&key).ok_or(MixRefusal::UnknownSession)?;
        session.touched = now;
        let pay = session.hop.let_go(number, onion, &mut block, &mut self.rng)?;
        self.tick_came_back(key, number, &pay, &block, now, out)
    }
}
