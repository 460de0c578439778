//! The instruments a bank knows, one file each.

mod account;
mod outside;
mod part;
pub(crate) mod purchase;
mod purpose;
mod token;

pub use account::order_mark;
pub use outside::reference_mark;
pub use part::{MAX_PARTS, part_mark};
pub(crate) use part::{draw, is_use_of, part_marks};
pub use purchase::offer_mark;
pub(crate) use purpose::check_purposes;
pub(crate) use token::brand_of;
pub use token::{nonce_mark, token_mark};

use naulon_money::Amount;
use naulon_statement::PublicKey;

use crate::refusal::Refusal;
use crate::request::{Exchange, Input, Output};
use crate::rules::Rules;
use crate::state::{LedgerAccount, Mark};

/// What one input means to a bank, found without looking at its state.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// What it is worth.
    pub value: Amount,
    /// Whose signature it needs.
    pub signer: PublicKey,
    /// The mark that makes it spendable once.
    pub mark: Mark,
    /// For a token of which only a part is given up (AAT §8.3): what the whole token was worth when it was issued.
    pub part_of: Option<Amount>,
    /// Where its value stands in the ledger.
    pub ledger: LedgerAccount,
}

/// What one output means to a bank.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// What it is worth.
    pub value: Amount,
    /// Where its value will stand in the ledger.
    pub ledger: LedgerAccount,
}

/// What each input means. Tokens are looked up, their signatures are not verified here.
pub(crate) fn all_given(rules: &Rules, exchange: &Exchange) -> Result<Vec<Given>, Refusal> {
    let given = |input: &Input| match input {
        Input::Outside { amount, reference } => outside::given(rules, *amount, reference),
        Input::Account { account, amount, order } => account::given(*account, *amount, order),
        Input::Token { token, key, part } => token::given(rules, token, key.as_ref(), *part),
    };
    exchange.inputs.iter().map(given).collect()
}

/// What each output means.
pub(crate) fn all_wanted(rules: &Rules, exchange: &Exchange) -> Result<Vec<Wanted>, Refusal> {
    let wanted = |output: &Output| match output {
        Output::Account { account, amount } => account::wanted(*account, *amount),
        Output::Blinded { brand, message } => token::wanted(rules, brand, message),
    };
    exchange.outputs.iter().map(wanted).collect()
}

fn above_zero(amount: Amount) -> Result<Amount, Refusal> {
    let fits = !amount.is_zero() && amount <= Amount::MAX;
    fits.then_some(amount).ok_or(Refusal::AmountOutOfRange)
}
