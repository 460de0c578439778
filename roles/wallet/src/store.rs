//! The wallet's rows.

mod memory;
mod sealed;

pub use memory::MemoryStore;
pub use sealed::{SealedStore, SealedStoreError};

use naulon_durable::StoreError;

/// What a row holds. The numbers are part of the stored format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The BIP-39 seed; one row.
    Seed = 1,
    /// The next operation's number; one row.
    Counter = 2,
    /// What a bank has said of itself, by its key.
    Bank = 3,
    /// A brand as its bank signed it, by token key id.
    Brand = 4,
    /// The next index of a brand, by token key id.
    Index = 5,
    /// A token and its state, by its key Q.
    Token = 6,
    /// An operation under way, by its number.
    Operation = 7,
    /// An operation that has ended, by its number.
    Past = 8,
    /// The next index of a key that several tokens share, by bank.
    Key = 9,
    /// What was seen of a bank's register, by the bank's key.
    Register = 10,
    /// The newest checkpoint of a log that came with a decision, by the log's key.
    Tree = 11,
    /// When the account was last named by what is no operation: its balance asked for, say; one row.
    Named = 12,
    /// A check and where it stands, by its number. None is removed, so the next number is one more than the last.
    Check = 13,
    /// How far the bank certainly knows a brand's indices, by token key id.
    Known = 16,
    /// What a restoration has found out so far; gone when it is done.
    Restoring = 17,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 15] = [
        Kind::Seed,
        Kind::Counter,
        Kind::Bank,
        Kind::Brand,
        Kind::Index,
        Kind::Token,
        Kind::Operation,
        Kind::Past,
        Kind::Key,
        Kind::Register,
        Kind::Tree,
        Kind::Named,
        Kind::Check,
        Kind::Known,
        Kind::Restoring,
    ];
}

/// One row's change.
#[derive(Clone)]
pub enum Write {
    /// Puts the row, in the place of the one with its key if there is one.
    Put {
        /// What it holds.
        kind: Kind,
        /// Its key within the kind.
        key: Vec<u8>,
        /// Its content.
        value: Vec<u8>,
    },
    /// Removes the row; one that is not there is no error.
    Remove {
        /// What it holds.
        kind: Kind,
        /// Its key within the kind.
        key: Vec<u8>,
    },
}

/// A row's key and content.
pub type Row = (Vec<u8>, Vec<u8>);

/// Durable key-value rows.
///
/// The wallet relies on two guarantees, and loses money without them: a commit that returned is on the disk, and a commit
/// is whole or not at all. Nothing is sent before the commit that describes it has returned.
pub trait WalletStore: Send {
    /// The row with this key. A row that was committed and is not found costs the money in it: a token row that is
    /// missing is a token lost (until it is restored from the seed), an index that is missing makes two tokens one.
    fn load(&mut self, kind: Kind, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// All rows of a kind with their keys, in the order of the keys. As [`load`](Self::load).
    fn list(&mut self, kind: Kind) -> Result<Vec<Row>, StoreError>;

    /// Writes all of it, in order, in one transaction: when it returns, all of it is durable; on an error nothing is,
    /// or (as the error says) it is not known. A commit that says it is durable and is not costs tokens: the wallet sends
    /// requests whose outputs it could not unblind after a crash.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError>;
}
