//! A sender, three mixes and a recipient, with blocks on their way between them.

use std::collections::VecDeque;

use naulon_meter::{Chain, Decision, Meter, Payer, Refusal, Released, Releaser, Replies, Stop, Terms};
use naulon_money::Amount;
use naulon_onion::{Pay, Protocol, Trigger, When};
use naulon_tick::{ChainId, Walker};

pub const PRICE: Amount = Amount::from_micros(10);
pub const MIXES: usize = 3;

pub fn terms(protocol: Protocol, window: u32) -> Terms {
    Terms { protocol, window, replies: Replies::Included(1) }
}

/// A chain of this number for a mix: at the payer and at the payee.
pub fn chain(mix: usize, number: u8, length: u32, value: Amount) -> (Walker, Chain) {
    let id = ChainId([mix as u8 * 64 + number; 32]);
    let walker = Walker::new(id, &[number + 1; 32], length).unwrap();
    let chain = Chain::new(id, walker.root(), length, value);
    (walker, chain)
}

/// How the parties behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// This mix takes what it gets and passes nothing on, from its so many-th block on.
    pub dropping: Option<(usize, u64)>,
    /// The sender leaves its ticks out from this block on.
    pub stops_paying: Option<u32>,
    /// The recipient keeps what it should let go.
    pub keeps_ticks: bool,
    /// Nobody but the sender and this mix pays attention to money (case a).
    pub paying: Option<usize>,
}

#[derive(Clone, Debug)]
pub enum What {
    Data,
    Ask,
    Settlement,
    Fare(Box<[Option<Chain>; MIXES]>),
}

#[derive(Clone, Debug)]
pub struct Message {
    pub number: u32,
    pub what: What,
    pub pays: [Pay; MIXES],
    pub sealed: Option<[Pay; MIXES]>,
}

pub struct Mix {
    pub meter: Meter,
    pub held: VecDeque<Message>,
    pub refused: Option<Refusal>,
    pub billed: u64,
    seen: u64,
}

pub struct World {
    pub terms: Terms,
    pub manners: Manners,
    pub payers: Vec<Payer>,
    pub mixes: Vec<Mix>,
    pub releaser: Releaser,
    /// On its way to mix 0, 1, 2, and to the recipient.
    pub links: [VecDeque<Message>; MIXES + 1],
    pub returns: [VecDeque<[Pay; MIXES]>; MIXES],
    pub oks: VecDeque<u64>,
    pub delivered: u64,
    length: u32,
    chains: u8,
    number: u32,
}

impl World {
    pub fn new(terms: Terms, ahead: u32, length: u32, manners: Manners) -> World {
        let is_paid = |mix: usize| manners.paying.is_none_or(|paying| paying == mix);
        let mut payers = Vec::new();
        let mut mixes = Vec::new();
        for mix in 0..MIXES {
            let (mut payer, mut meter) = (Payer::contract(terms), Meter::contract(terms));
            if is_paid(mix) {
                (payer, meter) = (Payer::new(terms, ahead).confirmed_by_recipient(), Meter::new(terms, PRICE));
                let (walker, chain) = chain(mix, 0, length, PRICE);
                payer.add(0, walker).unwrap();
                meter.add(0, chain).unwrap();
            }
            payers.push(payer);
            mixes.push(Mix { meter, held: VecDeque::new(), refused: None, billed: 0, seen: 0 });
        }
        World {
            terms,
            manners,
            payers,
            mixes,
            releaser: Releaser::new(terms),
            links: Default::default(),
            returns: Default::default(),
            oks: VecDeque::new(),
            delivered: 0,
            length,
            chains: 1,
            number: 0,
        }
    }

    fn send(&mut self, what: What, pays: [Pay; MIXES], sealed: Option<[Pay; MIXES]>) {
        let number = self.number;
        self.number += 1;
        let stops = self.manners.stops_paying.is_some_and(|from| number >= from);
        let left_out = |pay: Pay| Pay { tick: pay.tick.filter(|_| !stops), ..pay };
        self.links[0].push_back(Message { number, what, pays: pays.map(left_out), sealed });
    }

    /// Each payer's part, if all have one.
    fn each<T>(&mut self, part: impl Fn(&mut Payer) -> Result<T, Stop>) -> Result<[T; MIXES], Stop> {
        let parts: Result<Vec<T>, Stop> = self.payers.iter_mut().map(part).collect();
        Ok(parts?.try_into().unwrap_or_else(|_| panic!("three")))
    }

    /// The sender sends a block, if its payers let it.
    pub fn data(&mut self) -> Result<(), Stop> {
        let protocol = self.terms.protocol;
        let is_after_recipient = protocol == Protocol { when: When::After, trigger: Trigger::Recipient };
        if is_after_recipient && self.manners.paying.is_none() {
            let parts = self.each(Payer::data_with_sealed)?;
            self.send(What::Data, parts.map(|(pay, _)| pay), Some(parts.map(|(_, sealed)| sealed)));
        } else if is_after_recipient {
            let parts = self.each(Payer::data_with_sealed)?;
            self.send(What::Data, [Pay::default(); MIXES], Some(parts.map(|(_, sealed)| sealed)));
        } else {
            let pays = self.each(Payer::data)?;
            self.send(What::Data, pays, None);
        }
        Ok(())
    }

    pub fn ask(&mut self) -> Result<(), Stop> {
        let parts = self.each(Payer::ask)?;
        self.send(What::Ask, parts.map(|(pay, _)| pay), Some(parts.map(|(_, sealed)| sealed)));
        Ok(())
    }

    pub fn settle(&mut self) {
        let pays = self.each(Payer::settle).unwrap();
        if pays.iter().any(Option::is_some) {
            let pays = pays.map(|pay| pay.unwrap_or(Pay { is_settlement: true, ..Pay::default() }));
            self.send(What::Settlement, pays, None);
        }
    }

    pub fn fare(&mut self) {
        if self.chains >= 60 || self.payers.iter().any(|payer| payer.needs_fare(u32::MAX).is_none()) {
            return;
        }
        let mut chains = [None, None, None];
        for (mix, payer) in self.payers.iter_mut().enumerate() {
            let (walker, chain) = chain(mix, self.chains, self.length, PRICE);
            payer.add(0, walker).unwrap();
            chains[mix] = Some(chain);
        }
        self.chains += 1;
        let pays = self.each(|payer| payer.fare(0)).unwrap();
        self.send(What::Fare(Box::new(chains)), pays, None);
    }

    /// The nth message of those on the way to this mix, or to the recipient, arrives.
    pub fn deliver(&mut self, link: usize, nth: usize) {
        let count = self.links[link].len();
        let Some(message) = (count > 0).then(|| self.links[link].remove(nth % count)).flatten() else { return };
        if link == MIXES {
            return self.arrive(message);
        }
        let mix = &mut self.mixes[link];
        if mix.refused.is_some() {
            return;
        }
        let pay = message.pays[link];
        let decision = match &message.what {
            What::Fare(chains) => mix.meter.fare(message.number, &pay, chains[link].clone()),
            _ => mix.meter.forward(message.number, &pay),
        };
        match decision {
            Ok(Decision::Pass) => self.pass(link, message),
            Ok(Decision::Hold) => mix.held.push_back(message),
            Ok(Decision::Drop) => assert!(matches!(message.what, What::Settlement)),
            Err(refusal) => mix.refused = Some(refusal),
        }
        self.release(link);
    }

    fn pass(&mut self, link: usize, message: Message) {
        let mix = &mut self.mixes[link];
        mix.seen += 1;
        let drops = self.manners.dropping.is_some_and(|(who, from)| who == link && mix.seen > from);
        mix.billed += u64::from(matches!(message.what, What::Data));
        if !drops {
            self.links[link + 1].push_back(message);
        }
    }

    fn release(&mut self, link: usize) {
        while let Some(released) = self.mixes[link].meter.release() {
            assert_eq!(released, Released::Forward);
            let message = self.mixes[link].held.pop_front().unwrap();
            self.pass(link, message);
        }
    }

    fn arrive(&mut self, message: Message) {
        let lets_go = match message.what {
            What::Ask => self.releaser.asked(),
            What::Data => {
                self.delivered += 1;
                self.oks.push_back(self.delivered);
                self.releaser.arrived()
            }
            _ => false,
        };
        if let Some(sealed) = message.sealed.filter(|_| lets_go && !self.manners.keeps_ticks) {
            self.returns[MIXES - 1].push_back(sealed);
        }
    }

    /// The nth return on its way to this mix arrives.
    pub fn give_back(&mut self, link: usize, nth: usize) {
        let count = self.returns[link].len();
        let Some(pays) = (count > 0).then(|| self.returns[link].remove(nth % count)).flatten() else { return };
        let mix = &mut self.mixes[link];
        if mix.refused.is_some() {
            return;
        }
        match mix.meter.returned(&pays[link]) {
            Ok(()) if link > 0 => self.returns[link - 1].push_back(pays),
            Ok(()) => {}
            Err(refusal) => mix.refused = Some(refusal),
        }
        self.release(link);
    }

    pub fn confirm(&mut self) {
        if let Some(count) = self.oks.pop_front() {
            self.payers.iter_mut().for_each(|payer| payer.confirm(count));
        }
    }

    /// Everything that is on its way arrives, in order.
    pub fn settle_down(&mut self) {
        for _ in 0..200 {
            for link in 0..=MIXES {
                (0..self.links[link].len()).for_each(|_| self.deliver(link, 0));
            }
            for link in (0..MIXES).rev() {
                (0..self.returns[link].len()).for_each(|_| self.give_back(link, 0));
            }
            while !self.oks.is_empty() {
                self.confirm();
            }
        }
    }

    /// What this mix could cash if it were dishonest, and what it has earned.
    pub fn ticks(&self, mix: usize) -> (u64, u64) {
        let claims = self.mixes[mix].meter.claims();
        claims
            .fold((0, 0), |(all, earned), claim| (all + u64::from(claim.front.index), earned + u64::from(claim.earned)))
    }

    /// Nobody is out by more than the window.
    pub fn check(&self) {
        let window = u64::from(self.terms.window);
        for (number, mix) in self.mixes.iter().enumerate() {
            if self.manners.paying.is_some_and(|paying| paying != number) {
                continue;
            }
            let (ticks, earned) = self.ticks(number);
            assert_eq!(mix.billed, mix.meter.used(), "mix {number}");
            assert!(earned <= mix.billed, "mix {number} earned {earned} for {} blocks", mix.billed);
            assert!(mix.billed <= earned + window, "mix {number} is out by {}", mix.billed - earned);
            assert!(ticks <= self.delivered + window, "the sender is out by {}", ticks - self.delivered);
            assert!(mix.held.len() as u64 <= window);
        }
    }
}
