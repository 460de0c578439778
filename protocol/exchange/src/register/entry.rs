//! What stands in the register: an entry is small and fixed, and the statement that it names is served beside.

use std::fmt;

use minicbor::{Decode, Encode};
use naulon_blind::Brand;
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, PublicKey, Signed, Statement, Timestamp};
use naulon_tlog::{Hash, leaf_hash};

use super::day::DaySummary;

/// The length of an entry in bytes.
pub const REGISTER_ENTRY_LEN: usize = 33;

/// What kind of statement an entry names. It stands in the entry, so that whoever has all entries knows which of them are
/// brands without fetching the days. An entry that lies about it names nothing: a brand under another kind is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A [`Brand`].
    Brand = 1,
    /// A [`FeeTable`].
    Fees = 2,
    /// A [`DaySummary`].
    Day = 3,
}

impl EntryKind {
    /// The kind of this number.
    pub fn of(number: u8) -> Option<EntryKind> {
        [EntryKind::Brand, EntryKind::Fees, EntryKind::Day].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A statement that stands in a register.
pub trait Registered: Statement {
    /// Its kind.
    const KIND: EntryKind;
}

impl Registered for Brand {
    const KIND: EntryKind = EntryKind::Brand;
}

impl Registered for FeeTable {
    const KIND: EntryKind = EntryKind::Fees;
}

impl Registered for DaySummary {
    const KIND: EntryKind = EntryKind::Day;
}

/// An entry: u8 kind ‖ SHA-256(signed statement).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegisterEntry([u8; REGISTER_ENTRY_LEN]);

impl RegisterEntry {
    /// The entry of a signed statement.
    pub fn of<T: Registered>(statement: &Signed<T>) -> Self {
        Self::new(T::KIND, statement.bytes())
    }

    /// The entry of the statement with these bytes (its COSE_Sign1).
    pub fn new(kind: EntryKind, statement: &[u8]) -> Self {
        let mut entry = [0; REGISTER_ENTRY_LEN];
        entry[0] = kind as u8;
        entry[1..].copy_from_slice(&Digest::of(&[statement]).0);
        RegisterEntry(entry)
    }

    /// An entry as it was read; any bytes are one.
    pub fn from_bytes(bytes: [u8; REGISTER_ENTRY_LEN]) -> Self {
        RegisterEntry(bytes)
    }

    /// Its bytes, as they stand in the log's entry bundles.
    pub fn as_bytes(&self) -> &[u8; REGISTER_ENTRY_LEN] {
        &self.0
    }

    /// What kind of statement it names; none of a kind that is not known here.
    pub fn kind(&self) -> Option<EntryKind> {
        EntryKind::of(self.0[0])
    }

    /// Its leaf in the tree.
    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.0)
    }
}

impl fmt::Debug for RegisterEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisterEntry({:?}, ", self.kind())?;
        self.0[1..5].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "…)")
    }
}

/// What a bank charges for a request, the same for everybody, from a time on until the next table's. A wallet takes fees
/// from nowhere else, so nobody can be told a price of her own, and known by it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FeeTable {
    /// The bank.
    #[n(1)]
    pub bank: PublicKey,
    /// The currency of the amounts.
    #[n(2)]
    pub currency: Currency,
    /// From then on.
    #[n(3)]
    pub from: Timestamp,
    /// For turning account money into tokens.
    #[n(4)]
    pub withdraw: Amount,
    /// For turning tokens into tokens.
    #[n(5)]
    pub exchange: Amount,
    /// For turning tokens into account money.
    #[n(6)]
    pub deposit: Amount,
    /// For a purchase, when it is locked.
    #[n(7)]
    pub purchase: Amount,
}

impl Statement for FeeTable {
    const CONTENT_TYPE: &'static str = "application/naulon.fees+cbor";
}

impl FeeTable {
    /// The table of a bank that charges nothing.
    pub fn free(bank: PublicKey, currency: Currency, from: Timestamp) -> Self {
        let zero = Amount::ZERO;
        FeeTable { bank, currency, from, withdraw: zero, exchange: zero, deposit: zero, purchase: zero }
    }

    /// Whether nothing is charged.
    pub fn is_free(&self) -> bool {
        [self.withdraw, self.exchange, self.deposit, self.purchase].iter().all(|fee| fee.is_zero())
    }

    /// Whether another table charges the same.
    pub fn charges_as(&self, other: &FeeTable) -> bool {
        FeeTable { from: other.from, ..self.clone() } == *other
    }
}
