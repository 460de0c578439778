//! The sender and the recipient of the mixes' world.

use naulon_exchange::Funding;
use naulon_meter::{Payer, Releaser, Stop, Terms};
use naulon_mix::Fare;
use naulon_money::{Amount, Currency};
use naulon_onion::{
    HOPS, LetterReader, LetterWriter, PathHop, Pay, Plan, Protocol, SealedTicks, Session, Shape, Traffic, Trigger, When,
};
use naulon_statement::{BoxSecretKey, Duration, SecretKey, Signed, Timestamp, Unverified, UnverifiedJoint, cbor};
use naulon_tick::{Certificate, ChainId, Check, Walker};
use rand_chacha::ChaCha8Rng;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::bank::{BankHouse, call, exchange, key};
use super::run::Foul;

pub const SHAPE: Shape = Shape::STANDARD;
pub const WINDOW: u32 = 8;
/// How many ticks a check has.
pub const LENGTH: u32 = 100;

/// What a block costs: a cent.
pub fn price() -> Amount {
    Amount::from_micros(10_000)
}

pub fn currency() -> Currency {
    match "EUR".parse() {
        Ok(currency) => currency,
        Err(error) => unreachable!("{error}"),
    }
}

fn bytes<const N: usize>(rng: &mut ChaCha8Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A check as its maker keeps it.
pub struct Written {
    /// The check.
    pub check: Check,
    /// Which mix it is for.
    pub mix: usize,
    /// Gets back what is not spent.
    pub refund: SecretKey,
    secret: [u8; 32],
}

impl Written {
    /// A new check.
    pub fn new(payee: &SecretKey, mix: usize, now: Timestamp, rng: &mut ChaCha8Rng) -> Written {
        let (id, secret, refund) = (ChainId(bytes(rng)), bytes(rng), SecretKey::from_seed(&bytes(rng)));
        let root = match Walker::new(id, &secret, LENGTH) {
            Ok(walker) => walker.root(),
            Err(error) => unreachable!("{error}"),
        };
        let check = Check {
            id,
            root,
            length: LENGTH,
            value: price(),
            currency: currency(),
            payee: payee.public(),
            salt: bytes(rng),
            bank: key("bank").public(),
            expiry: now.plus(Duration::days(1)),
            refund: refund.public(),
        };
        Written { check, mix, refund, secret }
    }

    /// Its chain, from the begin.
    pub fn walker(&self) -> Walker {
        match Walker::new(self.check.id, &self.secret, LENGTH) {
            Ok(walker) => walker,
            Err(error) => unreachable!("{error}"),
        }
    }

    /// The check with what the bank says about it, as the mix gets it.
    pub fn fare(&self, bank: &mut BankHouse, foul: Option<Foul>) -> Result<Vec<u8>, &'static str> {
        let funding = match foul {
            Some(Foul::Uncertified) => Funding::Certified(self.forged_certificate()),
            Some(Foul::TwoChecksOneToken) => self.spent_before(bank)?,
            _ => Funding::Certified(bank.certify(&self.check).map_err(|_| "not certified")?),
        };
        Ok(cbor::to_vec(&Fare { check: self.check.clone(), funding }))
    }

    fn forged_certificate(&self) -> Unverified<Certificate> {
        let check = &self.check;
        let certificate = Certificate {
            bank: check.bank,
            currency: check.currency.clone(),
            commitment: check.commitment(),
            maximum: check.maximum().unwrap_or(Amount::ZERO),
            expiry: check.expiry,
            payee: check.payee_digest(),
        };
        (&Signed::sign(&key("nobody's bank"), certificate)).into()
    }

    /// Funding on-line by tokens that another check was funded with already.
    fn spent_before(&self, bank: &mut BankHouse) -> Result<Funding, &'static str> {
        let coins = bank.withdraw(1);
        // A token is worth one euro, and so is a check of a hundred cents.
        let fund = |check: &Check| {
            let inputs: Vec<_> = coins.iter().map(|coin| coin.input()).collect();
            let output = naulon_exchange::Output::chain(check).ok_or("not countable")?;
            Ok::<_, &'static str>(exchange(inputs, vec![output]))
        };
        let other = Check { salt: [0xff; 16], ..self.check.clone() };
        let keys = || coins.iter().map(|coin| &coin.q);
        bank.post(call(fund(&other)?, keys())).map_err(|_| "the first check is funded")?;
        let joint = naulon_statement::Joint::sign(fund(&self.check)?, keys());
        Ok(Funding::Online(Box::new(UnverifiedJoint::from(joint))))
    }
}

/// A sender with one session, and the recipient whom it writes to.
pub struct Sender {
    pub session: Session,
    pub payers: Vec<Payer>,
    pub terms: Terms,
    pub checks: Vec<Written>,
    /// What each number is.
    pub numbers: Vec<What>,
    pub sent: u32,
    writer: LetterWriter,
    last: [Pay; HOPS],
    asked: u32,
}

/// What a numbered block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Data: it is paid.
    Data,
    /// An ask or a settlement.
    Other,
}

impl Sender {
    /// Begins a session that pays these mixes; gives the set-up block.
    pub fn begin(
        path: [PathHop; HOPS],
        terms: Terms,
        checks: Vec<Written>,
        fares: [Vec<u8>; HOPS],
        rng: &mut ChaCha8Rng,
    ) -> (Sender, Vec<u8>) {
        let mut crypto = ChaCha20Rng::from_seed(bytes(rng));
        let plan = Plan { path, protocol: terms.protocol, traffic: Traffic::Stream, fares };
        let mut block = vec![0; SHAPE.block()];
        let begun = Session::begin(SHAPE, &plan, &mut block, &mut crypto);
        let writer = LetterWriter::new(&recipient().public(), &bytes(rng));
        let (Ok(session), Ok(writer)) = (begun, writer) else { unreachable!("keys of our own") };
        let payer = |mix: usize| {
            let mut payer = Payer::contract(terms);
            if let Some(check) = checks.iter().find(|check| check.mix == mix) {
                payer = Payer::new(terms, 2).confirmed_by_recipient();
                let added = payer.add(0, check.walker());
                debug_assert!(added.is_ok());
            }
            payer
        };
        let payers = (0..HOPS).map(payer).collect();
        let (numbers, last) = (Vec::new(), [Pay::default(); HOPS]);
        (Sender { session, payers, terms, checks, numbers, sent: 0, writer, last, asked: 0 }, block)
    }

    fn each<T: Copy + Default>(&mut self, part: impl Fn(&mut Payer) -> Result<T, Stop>) -> Result<[T; HOPS], Stop> {
        let mut parts = [T::default(); HOPS];
        for (part_of, payer) in parts.iter_mut().zip(&mut self.payers) {
            *part_of = part(payer)?;
        }
        Ok(parts)
    }

    /// The next block, if the payers allow one.
    pub fn next(&mut self, foul: Option<Foul>) -> Result<Vec<u8>, Stop> {
        let Protocol { when, trigger } = self.terms.protocol;
        let number = self.session.next_number();
        // Who does not pay does not ask whether it may send, either.
        if foul == Some(Foul::StopsPaying) && self.sent >= 10 {
            self.sent += 1;
            return Ok(self.block([Pay::default(); HOPS], None, What::Data));
        }
        if (when, trigger) == (When::Before, Trigger::Recipient) && self.asked == self.sent {
            let parts = self.each(Payer::ask)?;
            self.asked += 1;
            let ticks = self.sealed(number, parts.map(|(_, sealed)| sealed));
            return Ok(self.block(parts.map(|(pay, _)| pay), Some(ticks), What::Other));
        }
        let block = if (when, trigger) == (When::After, Trigger::Recipient) {
            let parts = self.each(Payer::data_with_sealed)?;
            let ticks = self.sealed(number, parts.map(|(_, sealed)| sealed));
            self.block(parts.map(|(pay, _)| pay), Some(ticks), What::Data)
        } else {
            let pays = self.each(Payer::data)?;
            let pays = self.cheat(pays, foul);
            self.block(pays, None, What::Data)
        };
        self.sent += 1;
        Ok(block)
    }

    /// After/sender: a block that only pays, if something is due.
    pub fn settle(&mut self, foul: Option<Foul>) -> Option<Vec<u8>> {
        if foul == Some(Foul::StopsPaying) && self.sent >= 10 {
            return None;
        }
        let pays = self.each(Payer::settle).ok()?;
        pays.iter().any(Option::is_some).then(|| {
            let pays = pays.map(|pay| pay.unwrap_or(Pay { is_settlement: true, ..Pay::default() }));
            self.block(pays, None, What::Other)
        })
    }

    fn sealed(&mut self, number: u32, pays: [Pay; HOPS]) -> SealedTicks {
        SealedTicks { number, onion: self.session.reverse_onion(number, &pays) }
    }

    fn block(&mut self, pays: [Pay; HOPS], ticks: Option<SealedTicks>, what: What) -> Vec<u8> {
        let mut block = vec![0; SHAPE.block()];
        let letter = self.writer.seal(ticks.as_ref(), b"text").unwrap_or_default();
        let length = (letter.len() as u16).to_be_bytes();
        let made = self.session.data(&pays, &[&length[..], &letter].concat(), &mut block);
        debug_assert!(made.is_ok());
        self.numbers.push(what);
        self.last = pays;
        block
    }

    fn cheat(&mut self, pays: [Pay; HOPS], foul: Option<Foul>) -> [Pay; HOPS] {
        if self.sent < 10 {
            return pays;
        }
        let mut pays = pays;
        for (mix, (pay, last)) in pays.iter_mut().zip(self.last).enumerate() {
            let Some(check) = self.checks.iter().find(|check| check.mix == mix) else { continue };
            match foul {
                Some(Foul::Forges) => {
                    if let Some(tick) = &mut pay.tick {
                        tick.tick.0[3] ^= 1;
                    }
                }
                // The same tick again and again: the advance runs out, and then the tick is named.
                Some(Foul::ReusesTick) => {
                    pay.tick = last.tick.or_else(|| check.walker().advance(self.sent).ok());
                }
                Some(Foul::Skips) => pay.tick = check.walker().advance(self.sent + 4 * WINDOW).ok(),
                _ => {}
            }
        }
        pays
    }
}

fn recipient() -> BoxSecretKey {
    BoxSecretKey::from_seed(&[0x52; 32])
}

/// The recipient: opens letters, lets ticks go, says *ok*.
pub struct Recipient {
    reader: Option<LetterReader>,
    pub releaser: Releaser,
}

/// What a letter makes the recipient do.
pub enum Done {
    /// It lets these ticks go, and has so many blocks.
    Took(Option<SealedTicks>),
    /// It does not open: a stable code.
    Refused(&'static str),
}

impl Recipient {
    /// Nothing came yet.
    pub fn new(terms: Terms) -> Self {
        Recipient { reader: None, releaser: Releaser::new(terms) }
    }

    /// A payload comes out of the mixes.
    pub fn take(&mut self, payload: &[u8], is_ask: bool, keeps: bool) -> Done {
        let letter =
            payload.split_first_chunk().and_then(|(length, rest)| rest.get(..usize::from(u16::from_be_bytes(*length))));
        let Some(letter) = letter else { return Done::Refused("block_altered") };
        if self.reader.is_none() {
            self.reader = LetterReader::begin(&recipient(), letter).ok();
        }
        let Some(reader) = &mut self.reader else { return Done::Refused("block_altered") };
        match reader.open(letter) {
            Err(naulon_onion::OpenError::Replayed) => Done::Refused("block_replayed"),
            Err(_) => Done::Refused("block_altered"),
            Ok(letter) => {
                let lets_go = if is_ask { self.releaser.asked() } else { self.releaser.arrived() };
                Done::Took(letter.ticks.filter(|_| lets_go && !keeps))
            }
        }
    }
}
