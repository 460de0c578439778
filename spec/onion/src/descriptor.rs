//! What a mix says about itself: a signed statement that directories list and clients verify.

use minicbor::{Decode, Encode};
use naulon_money::{Amount, Currency};
use naulon_statement::{Duration, PublicKey, Statement, Timestamp};

use crate::key::{HopPublic, KEM_X25519};
use crate::shape::Shape;

/// The longest name of a mix, in bytes.
pub const MAX_NAME: usize = 64;
/// The longest address, in bytes.
pub const MAX_ADDRESS: usize = 255;
/// The most epochs' keys in one descriptor.
pub const MAX_HOP_KEYS: usize = 8;
/// The most banks that one mix accepts.
pub const MAX_BANKS: usize = 32;
/// The most ranges of ports in an exit policy.
pub const MAX_PORTS: usize = 64;
/// The longest time that a descriptor holds: an old one must not be kept before clients for ever.
pub const MAX_DESCRIPTOR_TIME: Duration = Duration::days(31);
/// The most mixes of one chain provider.
pub const MAX_MEMBERS: usize = 64;

/// A mix, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Descriptor {
    /// The mix: it signs the descriptor, and other mixes and clients know it by this key.
    #[n(1)]
    pub mix: PublicKey,
    /// A name for people. It proves nothing.
    #[n(2)]
    pub name: String,
    /// Where its links are: host:port.
    #[n(3)]
    pub address: String,
    /// The key that its links prove (RFC 7250).
    #[n(4)]
    pub link: PublicKey,
    /// The length of its blocks.
    #[n(5)]
    pub block: u32,
    /// The keys that layers are sealed to, by epoch, ascending.
    #[n(6)]
    pub hop_keys: Vec<EpochKey>,
    /// What a block costs: the value of a tick.
    #[n(7)]
    pub price: Amount,
    /// In which currency.
    #[n(8)]
    pub currency: Currency,
    /// The banks whose checks it takes, and to whom they are to be made out there; ascending by bank.
    #[n(9)]
    pub payees: Vec<Payee>,
    /// How many blocks sender and mix may be out by when the other stops.
    #[n(10)]
    pub window: u32,
    /// In cohort mode one tick pays one block forward and so many back.
    #[n(11)]
    pub replies: u32,
    /// What it connects to as the last hop. A mix without it is never the last.
    #[n(12)]
    pub exit: Option<ExitPolicy>,
    /// The chain that it is a member of (MixPay §4.1: the provider of the chain names the mix that is paid).
    #[n(13)]
    pub contract: Option<Contract>,
    /// From when the descriptor holds.
    #[n(14)]
    pub from: Timestamp,
    /// Until when.
    #[n(15)]
    pub until: Timestamp,
}

impl Statement for Descriptor {
    const CONTENT_TYPE: &'static str = "application/naulon.mix-descriptor+cbor";
}

/// The key of one epoch. It opens from `from` until `until`; clients seal to the newest that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EpochKey {
    /// The epoch.
    #[n(1)]
    pub epoch: u32,
    /// Which key agreement: [`KEM_X25519`].
    #[n(2)]
    pub kem: u8,
    /// The public key.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// From then on it opens.
    #[n(4)]
    pub from: Timestamp,
    /// Until then.
    #[n(5)]
    pub until: Timestamp,
}

impl EpochKey {
    /// The key, to seal to.
    pub fn public(&self) -> HopPublic {
        HopPublic { epoch: self.epoch, key: self.key }
    }
}

/// To whom checks on a bank are made out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct Payee {
    /// The bank.
    #[n(1)]
    pub bank: PublicKey,
    /// The mix's key there.
    #[n(2)]
    pub payee: PublicKey,
}

/// What an exit connects to. Addresses that are not public are refused, unless `is_private` says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ExitPolicy {
    /// The ports.
    #[n(1)]
    pub ports: Vec<Ports>,
    /// Whether addresses of private networks and of the mix's own machine are connected to: for tests and private networks.
    #[n(2)]
    pub is_private: bool,
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ports {
    /// The first.
    #[n(1)]
    pub first: u16,
    /// The last.
    #[n(2)]
    pub last: u16,
}

impl ExitPolicy {
    /// Whether the port is one of those that are connected to.
    pub fn takes_port(&self, port: u16) -> bool {
        self.ports.iter().any(|ports| (ports.first..=ports.last).contains(&port))
    }
}

/// A chain of mixes under one provider (case a): one of them is paid, and pays the others by their shares.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Contract {
    /// The provider.
    #[n(1)]
    pub provider: PublicKey,
    /// Which member is paid; the first by default.
    #[n(2)]
    pub paying: PublicKey,
    /// The members.
    #[n(3)]
    pub members: Vec<Member>,
}

/// A member of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Member {
    /// The mix.
    #[n(1)]
    pub mix: PublicKey,
    /// Its account at the bank.
    #[n(2)]
    pub account: PublicKey,
    /// Its part of what the chain is paid, in parts of the sum of all.
    #[n(3)]
    pub share: u32,
}

/// Why a descriptor makes no sense: always the fault of the mix that signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// A list or text that is empty or too long.
    #[error("a list or text in the descriptor is empty or too long")]
    Length,
    /// Dates or epochs that are not in order.
    #[error("dates or epochs in the descriptor are not in order")]
    Order,
    /// A time that is too long.
    #[error("the descriptor holds for more than 31 days")]
    Time,
    /// No length of blocks that there is.
    #[error("blocks of that length have no room for fares")]
    Block,
    /// A price of nothing, or more than can be counted.
    #[error("the descriptor's price is not an amount above zero")]
    Price,
    /// An unknown key agreement.
    #[error("a hop key of an unknown kind")]
    Kem,
    /// A contract whose paying mix or whose mix itself is no member, or whose shares are none.
    #[error("the descriptor's contract does not fit")]
    Contract,
}

impl Descriptor {
    /// Checks what can be checked without asking anybody.
    pub fn check(&self) -> Result<(), DescriptorError> {
        self.check_lengths()?;
        let epochs = self.hop_keys.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].from <= pair[1].from);
        let banks = self.payees.windows(2).all(|pair| pair[0].bank < pair[1].bank);
        let dates = self.hop_keys.iter().all(|key| key.from < key.until) && self.from < self.until;
        if !(epochs && banks && dates) {
            return Err(DescriptorError::Order);
        }
        if self.until.since(self.from) > MAX_DESCRIPTOR_TIME {
            return Err(DescriptorError::Time);
        }
        if self.hop_keys.iter().any(|key| key.kem != KEM_X25519) {
            return Err(DescriptorError::Kem);
        }
        self.shape()?;
        if self.price.is_zero() || self.price > Amount::MAX {
            return Err(DescriptorError::Price);
        }
        self.contract.as_ref().map_or(Ok(()), |contract| contract.check(&self.mix))
    }

    fn check_lengths(&self) -> Result<(), DescriptorError> {
        let policy = self.exit.as_ref().is_none_or(|exit| exit.ports.len() <= MAX_PORTS);
        let texts = (1..=MAX_NAME).contains(&self.name.len()) && (1..=MAX_ADDRESS).contains(&self.address.len());
        let lists = (1..=MAX_HOP_KEYS).contains(&self.hop_keys.len()) && (1..=MAX_BANKS).contains(&self.payees.len());
        let printable = self.name.chars().chain(self.address.chars()).all(|c| !c.is_control());
        let window = (1..=crate::REPLAY_WINDOW).contains(&self.window);
        if policy && texts && lists && printable && window { Ok(()) } else { Err(DescriptorError::Length) }
    }

    /// The shape of the mix's blocks.
    pub fn shape(&self) -> Result<Shape, DescriptorError> {
        usize::try_from(self.block).ok().and_then(Shape::new).ok_or(DescriptorError::Block)
    }

    /// The hop key to seal to at this time: the newest that has begun.
    pub fn hop_key(&self, now: Timestamp) -> Option<HopPublic> {
        let live = self.hop_keys.iter().rev().find(|key| key.from <= now && now < key.until);
        live.map(EpochKey::public)
    }

    /// To whom checks on this bank are made out.
    pub fn payee(&self, bank: &PublicKey) -> Option<PublicKey> {
        self.payees.iter().find(|payee| payee.bank == *bank).map(|payee| payee.payee)
    }
}

impl Contract {
    fn check(&self, mix: &PublicKey) -> Result<(), DescriptorError> {
        let is_member = |key: &PublicKey| self.members.iter().any(|member| member.mix == *key);
        let lengths = (1..=MAX_MEMBERS).contains(&self.members.len());
        let shares = self.members.iter().all(|member| member.share > 0);
        let fits = lengths && shares && is_member(mix) && is_member(&self.paying);
        if fits { Ok(()) } else { Err(DescriptorError::Contract) }
    }
}
