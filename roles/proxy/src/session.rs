//! One paid session at its sender: blocks out, blocks in, and who is paid how much. Synchronous; nothing is sent here.

use naulon_meter::{Payer, Replies, Stop};
use naulon_onion::{
    BuildError, HOPS, Kind, Pay, Plan, Protocol, RETURN_LEN, ReplyError, Shape, Traffic, Trigger, When,
};
use naulon_statement::PublicKey;
use naulon_stream::{End, Limits, StreamError};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use crate::fares::{Fare, FareWanted};
use crate::path::Path;

/// The slot of the only share: the sender pays alone.
const SLOT: u8 = 0;

/// What a tick that the recipient lets go after delivery pays beyond what came: the exit's confirmation, and the last block.
const PAID_WITH_RETURN: u32 = 2;

/// How a client wants its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who lets ticks go, and when.
    pub protocol: Protocol,
    /// How many ticks a check has.
    pub check_length: u32,
}

/// What ends a session, or keeps one from beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// A block cannot be made.
    #[error("a block cannot be made: {0}")]
    Build(#[from] BuildError),
    /// A reply does not open: somebody on the way altered it.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The exit speaks nonsense.
    #[error("the exit does not keep to the protocol: {0}")]
    Stream(#[from] StreamError),
    /// There is no tick for the next block.
    #[error("a mix cannot be paid: {0}")]
    Stop(#[from] Stop),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Entropy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// What is owed is to be paid.
    Settling,
    /// It is, as far as this end sees to it; the last block waits for [`Session::finish`].
    Settled,
    Asked,
    Done,
}

/// The protocol in which what came is paid by blocks that do nothing else.
const AFTER_SENDER: Protocol = Protocol { when: When::After, trigger: Trigger::Sender };
const BEFORE_RECIPIENT: Protocol = Protocol { when: When::Before, trigger: Trigger::Recipient };

/// A session at its sender.
pub struct Session {
    shape: Shape,
    onion: naulon_onion::Session,
    end: End,
    protocol: Protocol,
    payers: [Payer; HOPS],
    /// The smallest window of the three.
    window: u32,
    /// What further checks are to be, of each mix that is paid.
    wanted: [Option<FareWanted>; HOPS],
    /// A further check was asked for and has not come.
    is_asked: [bool; HOPS],
    /// Further checks that are to be shown to their mixes.
    unsent: [Option<Vec<u8>>; HOPS],
    ending: Ending,
    /// Blocks with a payload for the exit that were sent, and that the exit has confirmed.
    sent: u64,
    confirmed: u64,
    /// Before/recipient: how many of them were asked for.
    asked: u64,
    /// By how much the blocks that are not confirmed must stay below the window.
    ahead: u64,
    payload: Vec<u8>,
}

/// Whether everything that passed is paid.
fn is_settled(payer: &Payer) -> bool {
    payer.paid().all(|(_, paid)| paid >= payer.used())
}

fn meter_terms(terms: &Terms, window: u32) -> naulon_meter::Terms {
    naulon_meter::Terms { protocol: terms.protocol, window, replies: Replies::Billed }
}

/// What is paid ahead of blocks that are known to have passed, so that replies on their way are paid; the block itself is
/// paid, too.
fn ahead_of(terms: &naulon_meter::Terms, window: u32) -> u32 {
    match (terms.protocol.when, terms.protocol.trigger) {
        (When::Before, Trigger::Sender) => window.saturating_sub(1),
        (When::Before, Trigger::Recipient) => window / 2,
        (When::After, _) => PAID_WITH_RETURN.min(window / 2),
    }
}

impl Terms {
    /// The checks that a session on this path needs, one for each mix that is paid.
    pub fn fares_wanted(&self, path: &Path, bank: &PublicKey) -> [Option<FareWanted>; HOPS] {
        std::array::from_fn(|at| {
            let mix = &path.hops[at];
            let payee = mix.payee(bank).filter(|_| path.is_paid[at])?;
            Some(FareWanted {
                bank: *bank,
                currency: mix.currency.clone(),
                payee,
                value: mix.price,
                length: self.check_length,
                position: u8::try_from(at + 1).unwrap_or(u8::MAX),
            })
        })
    }
}

impl Session {
    /// A session on this path, and the set-up block that begins it. `fares` are those that were `wanted`
    /// ([`Terms::fares_wanted`]).
    pub fn begin(
        path: &Path,
        terms: &Terms,
        wanted: [Option<FareWanted>; HOPS],
        fares: [Option<Fare>; HOPS],
    ) -> Result<(Session, Vec<u8>), SessionError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut seed[..]).map_err(|_| SessionError::Entropy)?;
        let mut rng = ChaCha20Rng::from_seed(*seed);
        let shape = path.shape;
        let shown = std::array::from_fn(|at| fares[at].as_ref().map_or_else(Vec::new, |fare| fare.shown.clone()));
        let plan = Plan { path: path.path_hops(), protocol: terms.protocol, traffic: Traffic::Stream, fares: shown };
        let mut set_up = vec![0; shape.block()];
        let onion = naulon_onion::Session::begin(shape, &plan, &mut set_up, &mut rng)?;
        let window = path.hops.iter().map(|mix| mix.window).min().unwrap_or(1);
        let mut payers = Vec::with_capacity(HOPS);
        for (fare, mix) in fares.into_iter().zip(&path.hops) {
            let terms = naulon_meter::Terms { protocol: terms.protocol, window: mix.window, replies: Replies::Billed };
            payers.push(match fare {
                Some(fare) => {
                    let mut payer = Payer::new(terms, ahead_of(&terms, window));
                    payer.add(SLOT, fare.walker)?;
                    payer
                }
                None => Payer::contract(terms),
            });
        }
        let is_let_go = terms.protocol.trigger == Trigger::Recipient;
        let ahead = if is_let_go { u64::from(ahead_of(&meter_terms(terms, window), window)) } else { 0 };
        let payers = payers.try_into().map_err(|_| BuildError::Room)?;
        let session = Session {
            shape,
            onion,
            end: End::client(Limits::CLIENT),
            protocol: terms.protocol,
            payers,
            window,
            wanted,
            is_asked: [false; HOPS],
            unsent: Default::default(),
            ending: Ending::No,
            sent: 0,
            confirmed: 0,
            asked: 0,
            ahead,
            payload: vec![0; shape.payload(Kind::Data)],
        };
        Ok((session, set_up))
    }

    /// The streams inside.
    pub fn end(&mut self) -> &mut End {
        &mut self.end
    }

    /// Pays what is still owed. Where the recipient triggers that takes a moment, before [`Session::finish`].
    pub fn settle(&mut self) {
        if self.ending == Ending::No {
            let has_debts = self.protocol.when == When::After;
            self.ending = if has_debts { Ending::Settling } else { Ending::Settled };
        }
    }

    /// Whether [`Session::settle`] needs a moment until ticks have come back.
    pub fn settles_slowly(&self) -> bool {
        self.protocol == Protocol { when: When::After, trigger: Trigger::Recipient }
    }

    /// The mixes are told with the next block that it is the last.
    pub fn finish(&mut self) {
        if self.ending != Ending::Done {
            self.ending = Ending::Asked;
        }
    }

    /// Whether the last block was made.
    pub fn is_finished(&self) -> bool {
        self.ending == Ending::Done
    }

    /// Whether a block could be made now.
    pub fn has_blocks(&self) -> bool {
        match self.ending {
            Ending::Done | Ending::Settled => false,
            Ending::Asked => true,
            Ending::Settling => self.may_pay(),
            Ending::No => {
                let is_due = self.end.has_something_to_say() || self.payers.iter().any(Payer::is_low);
                self.fares_are_complete() || self.may_send_asked() || is_due && self.may_pay()
            }
        }
    }

    /// Whether every mix can be paid for one more block, and takes it.
    fn may_pay(&self) -> bool {
        // After delivery replies, and with them confirmations, pass only while half of the window is not used up.
        let most = match self.protocol {
            Protocol::BEFORE_SENDER => u64::MAX,
            AFTER_SENDER => u64::from(self.window.div_ceil(4)),
            _ => u64::from(self.window),
        };
        let is_open = self.asked.max(self.sent) - self.confirmed + self.ahead < most;
        is_open && self.payers.iter().all(|payer| payer.needs_fare(2).is_none())
    }

    /// Whether all checks that were asked for have come, so that one block shows them.
    fn fares_are_complete(&self) -> bool {
        self.unsent.iter().any(Option::is_some) && self.is_asked == [false; HOPS]
    }

    /// Makes the blocks that are due, `most` of them at most, behind one another.
    pub fn next_blocks(&mut self, blocks: &mut Vec<u8>, most: usize) -> Result<(), SessionError> {
        for _ in 0..most {
            if !self.has_blocks() {
                break;
            }
            let begin = blocks.len();
            blocks.resize(begin + self.shape.block(), 0);
            self.next_block(&mut blocks[begin..])?;
        }
        Ok(())
    }

    fn next_block(&mut self, block: &mut [u8]) -> Result<(), SessionError> {
        match self.ending {
            Ending::No if self.fares_are_complete() => self.fare_block(block),
            Ending::No if self.protocol == AFTER_SENDER && !self.end.has_something_to_say() => {
                self.settlement(false, block)
            }
            Ending::No if self.protocol == BEFORE_RECIPIENT && !self.may_send_asked() => self.ask(block),
            Ending::No => self.data(false, block),
            Ending::Settling => {
                self.ending = Ending::Settled;
                self.data(false, block)
            }
            Ending::Asked => self.last(block),
            Ending::Settled | Ending::Done => Ok(()),
        }
    }

    /// Before/recipient: whether a block is to follow an ask. One always does, so that asks are confirmed.
    fn may_send_asked(&self) -> bool {
        self.sent < self.asked
    }

    /// The last block. What the sender pays after delivery is paid by it, also what was not confirmed: nobody is left to say so.
    fn last(&mut self, block: &mut [u8]) -> Result<(), SessionError> {
        if self.protocol == BEFORE_RECIPIENT && self.sent >= self.asked {
            return self.ask(block);
        }
        let sent = self.sent;
        self.payers.iter_mut().for_each(|payer| payer.confirm(sent));
        if self.protocol == AFTER_SENDER && self.payers.iter().all(is_settled) {
            // A block that only pays must pay something.
            return self.data(false, block);
        }
        self.ending = Ending::Done;
        if self.protocol == AFTER_SENDER { self.settlement(true, block) } else { self.data(true, block) }
    }

    /// A block with a payload for the exit; in front of it, where the recipient triggers, the ticks that it lets go.
    fn data(&mut self, is_last: bool, block: &mut [u8]) -> Result<(), SessionError> {
        let mut pays = [Pay::default(); HOPS];
        let mut sealed = [Pay::default(); HOPS];
        let is_sealed = self.protocol == Protocol { when: When::After, trigger: Trigger::Recipient };
        for (at, payer) in self.payers.iter_mut().enumerate() {
            let paid = match is_sealed {
                true => payer.data_with_sealed(),
                false => payer.data().map(|pay| (pay, Pay::default())),
            };
            // A last block that no tick is left for says only that it is.
            (pays[at], sealed[at]) = match paid {
                Err(Stop::NeedsFare(_) | Stop::Unconfirmed) if is_last => Default::default(),
                paid => paid?,
            };
            pays[at].is_last = is_last;
        }
        self.sent += 1;
        let room = self.onion_room();
        let (onion, payload) = self.payload.split_at_mut(room);
        onion.fill(0);
        if is_sealed {
            onion.copy_from_slice(&self.onion.reverse_onion(self.onion.next_number(), &sealed));
        }
        if !self.end.fill(payload)? {
            self.end.fill_dummy(payload)?;
        }
        self.onion.data(&pays, &self.payload, block)?;
        Ok(())
    }

    /// How many bytes of a payload belong to the ticks that the recipient lets go.
    fn onion_room(&self) -> usize {
        if self.protocol.trigger == Trigger::Recipient { RETURN_LEN } else { 0 }
    }

    /// A block that asks the recipient for the next tick.
    fn ask(&mut self, block: &mut [u8]) -> Result<(), SessionError> {
        let mut pays = [Pay::default(); HOPS];
        let mut sealed = [Pay::default(); HOPS];
        for (at, payer) in self.payers.iter_mut().enumerate() {
            (pays[at], sealed[at]) = payer.ask()?;
        }
        self.asked += 1;
        let onion = self.onion.reverse_onion(self.onion.next_number(), &sealed);
        self.onion.data(&pays, &onion, block)?;
        Ok(())
    }

    /// A block that only pays what was confirmed.
    fn settlement(&mut self, is_last: bool, block: &mut [u8]) -> Result<(), SessionError> {
        let mut pays = [Pay { is_settlement: true, is_last, ..Pay::default() }; HOPS];
        for (payer, pay) in self.payers.iter_mut().zip(&mut pays) {
            if let Some(paid) = payer.settle()? {
                *pay = Pay { is_last, ..paid };
            }
        }
        self.onion.data(&pays, &[], block)?;
        Ok(())
    }

    /// A block that shows further checks.
    fn fare_block(&mut self, block: &mut [u8]) -> Result<(), SessionError> {
        let mut pays = [Pay::default(); HOPS];
        let fares = std::mem::take(&mut self.unsent).map(Option::unwrap_or_default);
        for (at, fare) in fares.iter().enumerate() {
            // Whoever is brought a check passes the block for nothing; for the others it is a block like any other.
            pays[at] = if fare.is_empty() { self.payers[at].data()? } else { self.payers[at].fare(SLOT)? };
        }
        self.onion.fare(&pays, &fares, block)?;
        Ok(())
    }

    /// Takes a block that came over the link.
    pub fn take(&mut self, block: &mut [u8]) -> Result<(), SessionError> {
        self.onion.open_reply(block)?;
        self.end.take(&block[self.shape.payload_range(Kind::Reply)])?;
        self.payers.iter_mut().for_each(Payer::received);
        Ok(())
    }

    /// The exit has so many of the payloads.
    pub fn confirm(&mut self, payloads: u32) {
        self.confirmed = self.confirmed.max(u64::from(payloads)).min(self.sent);
        self.payers.iter_mut().for_each(|payer| payer.confirm(u64::from(payloads)));
    }

    /// Whether a check runs out soon.
    pub fn wants_fares(&self) -> bool {
        (0..HOPS).any(|at| self.wants_fare(at))
    }

    fn wants_fare(&self, at: usize) -> bool {
        let is_needed = || self.payers[at].needs_fare(self.margin(at)).is_some();
        self.wanted[at].is_some() && !self.is_asked[at] && self.ending == Ending::No && is_needed()
    }

    /// With so many ticks left the next check is asked for: a bank takes a moment, and blocks are fast.
    fn margin(&self, at: usize) -> u32 {
        self.wanted[at].as_ref().map_or(0, |wanted| wanted.length / 4)
    }

    /// The checks that are wanted now; each is asked for once.
    pub fn take_wanted(&mut self) -> [Option<FareWanted>; HOPS] {
        std::array::from_fn(|at| {
            let is_wanted = self.wants_fare(at);
            self.is_asked[at] |= is_wanted;
            self.wanted[at].clone().filter(|_| is_wanted)
        })
    }

    /// A further check for the mix at this place. It is shown with the next block.
    pub fn add_fare(&mut self, at: usize, fare: Fare) -> Result<(), SessionError> {
        self.payers[at].add(SLOT, fare.walker)?;
        self.unsent[at] = Some(fare.shown);
        self.is_asked[at] = false;
        Ok(())
    }
}
