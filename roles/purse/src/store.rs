//! What a purse keeps, and what it must be able to rely on.

use std::collections::BTreeMap;

use naulon_durable::StoreError;
use naulon_exchange::LoadNumber;
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Timestamp};

/// 128 random bits by which the holder's program names a check that it wants: asked again, it gets the same one.
pub type Wish = [u8; 16];

/// A load that the purse has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its number.
    pub number: LoadNumber,
    /// For checks of this brand.
    pub brand: Digest,
    /// How much.
    pub amount: Amount,
    /// Whether the bank's word has come, and the balance was raised.
    pub is_done: bool,
}

/// A check that was made out: all that it takes to make the same one again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Its place among the purse's checks, from 0. All its secrets are derived from it.
    pub index: u32,
    /// By what the holder's program asked for it.
    pub wish: Wish,
    /// The brand that signs it.
    pub brand: Digest,
    /// What it costs: the brand's denomination.
    pub total: Amount,
    /// Who may cash it.
    pub payee: PublicKey,
    /// What each tick pays.
    pub value: Amount,
    /// How many ticks.
    pub length: u32,
    /// Until then blocks are paid with it.
    pub expiry: Timestamp,
}

/// Why a check was not written down. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpendError {
    /// The balance is below what the check costs.
    #[error("the purse holds less than that")]
    Balance,
    /// The place or the wish is taken.
    #[error("another check was made meanwhile")]
    Taken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Remembers what the purse holds. Whoever can put an old copy in its place has the money twice: that is what a tamper-proof
/// device is for, and what a purse in software cannot give.
pub trait PurseStore: Send {
    /// The balance of each brand. A balance above the true one lets the purse sign checks that nobody has paid for; the bank
    /// pays them until the brand's loads are used up, and then stops the brand.
    fn balances(&self) -> Result<BTreeMap<Digest, Amount>, StoreError>;

    /// How many checks were made: the next one's index. A lower number makes two checks of the same secrets, which the bank and
    /// their payees could link, and of which only the first is worth anything.
    fn made_count(&self) -> Result<u32, StoreError>;

    /// The check of this wish, if it was made.
    fn made(&self, wish: &Wish) -> Result<Option<Made>, StoreError>;

    /// The checks from this index on, at most so many, in order.
    fn made_from(&self, index: u32, limit: usize) -> Result<Vec<Made>, StoreError>;

    /// The load of this number.
    fn load(&self, number: &LoadNumber) -> Result<Option<Load>, StoreError>;

    /// Writes down a load that is asked for. Durable when it returns; if it is lost, the bank's word for it is refused, and the
    /// holder has paid for nothing.
    fn ask(&mut self, load: &Load) -> Result<(), StoreError>;

    /// Marks a load as done and raises its brand's balance, in one step, once. Durable when it returns; if it could happen
    /// twice, one load would be spent twice.
    fn credit(&mut self, number: &LoadNumber) -> Result<(), StoreError>;

    /// Writes the check down and lowers its brand's balance, in one step, if the balance is enough, its index is the next, and
    /// its wish is new. Durable when it returns, and only then it is signed: a check that was signed and forgotten would be
    /// paid twice by the purse's balance.
    fn spend(&mut self, made: &Made) -> Result<(), SpendError>;
}
