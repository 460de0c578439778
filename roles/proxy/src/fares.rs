//! Where fares come from: a role never imports another, so the wallet and the purse stand behind a trait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use naulon_money::{Amount, Currency};
use naulon_statement::PublicKey;
use naulon_tick::{Check, Walker};

/// A check that is wanted.
#[derive(Clone, PartialEq, Eq)]
pub struct FareWanted {
    /// The bank that the payee accepts.
    pub bank: PublicKey,
    /// In which currency.
    pub currency: Currency,
    /// To whom it is made out.
    pub payee: PublicKey,
    /// What a tick is worth: the mix's price of a block.
    pub value: Amount,
    /// How many ticks.
    pub length: u32,
    /// Which mix of the path it pays, 1 to 3. An account may pay only the first mix of a chain, and no other.
    pub position: u8,
}

/// Whom somebody pays links them.
impl fmt::Debug for FareWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FareWanted({} ticks, hop {})", self.length, self.position)
    }
}

/// A check, what stands behind it, and its ticks.
pub struct Fare {
    /// The check.
    pub check: Check,
    /// The secret half: the ticks.
    pub walker: Walker,
    /// What the mix is shown: check and funding, CBOR. At most `Shape::fare_room` bytes.
    pub shown: Vec<u8>,
}

/// Why there is no fare.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FareError {
    /// Not enough money, or not in the right pieces.
    #[error("no fare can be paid: {0}")]
    NoMoney(String),
    /// The bank is not reached, or refuses.
    #[error("the bank gives no check: {0}")]
    Bank(String),
    /// What was made does not fit into a block, or is not a check of what was asked for.
    #[error("the fare cannot be used: {0}")]
    Unfit(String),
}

/// A future that can be sent to another thread.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes checks.
pub trait Fares: Send + Sync + 'static {
    /// The bank on which checks are drawn.
    fn bank(&self) -> PublicKey;

    /// Its currency.
    fn currency(&self) -> Currency;

    /// A check for this payee. When it returns, its money is set aside and the way to get back what will be left of it is
    /// durable: a fare that is then not used costs nothing but the wait for its remainder.
    fn fare(&self, wanted: FareWanted) -> Pending<'_, Result<Fare, FareError>>;

    /// Takes back a check that was certainly shown to nobody, to be given for the next fare that it suits. Who keeps none lets
    /// it go: what is set aside for it comes back when its time is over.
    fn give_back(&self, check: Check) -> Pending<'_, ()> {
        drop(check);
        Box::pin(async {})
    }
}
