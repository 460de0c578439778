//! The instruments a bank knows, one file each.

mod account;
pub(crate) mod chain;
mod outside;
mod part;
pub(crate) mod purchase;
mod purpose;
pub(crate) mod purse;
mod token;

pub use account::order_mark;
pub use outside::reference_mark;
pub use part::{MAX_PARTS, part_mark};
pub(crate) use part::{draw, is_use_of, part_marks};
pub use purchase::offer_mark;
pub(crate) use purpose::check_purposes;
pub use purse::{purse_account, purse_stop};
pub(crate) use token::brand_of;
pub use token::{nonce_mark, token_mark};

use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey};

use crate::chain::LockedChain;
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
    /// The mark that makes it spendable once; none for what changes a check's row.
    pub mark: Option<Mark>,
    /// For a token of which only a part is given up (AAT §8.3): what the whole token was worth when it was issued.
    pub part_of: Option<Amount>,
    /// Where its value stands in the ledger.
    pub ledger: LedgerAccount,
    /// How it changes a check's row.
    pub chain: Option<chain::ChainUse>,
}

/// What one output means to a bank.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// What it is worth.
    pub value: Amount,
    /// Where its value will stand in the ledger.
    pub ledger: LedgerAccount,
    /// The row of a check that is set aside, and its commitment.
    pub chain: Option<(Digest, LockedChain)>,
}

/// What each input means. Tokens are looked up, their signatures are not verified here.
pub(crate) fn all_given(rules: &Rules, exchange: &Exchange) -> Result<Vec<Given>, Refusal> {
    let given = |input: &Input| match input {
        Input::Outside { amount, reference } => outside::given(rules, *amount, reference),
        Input::Account { account, amount, order } => account::given(*account, *amount, order),
        Input::Token { token, key, part } => token::given(rules, token, key.as_ref(), *part),
        Input::Chain { check, from, to, challenge } => chain::cashed(rules, check, from, to, challenge),
        Input::Remainder { commitment, refund, returned, amount, early } => {
            chain::returned(rules, commitment, refund, (*returned, *amount), early.as_ref())
        }
        Input::Purse { check, token, signer } => purse::given(rules, check, token, signer),
    };
    exchange.inputs.iter().map(given).collect()
}

/// What each output means.
pub(crate) fn all_wanted(rules: &Rules, exchange: &Exchange) -> Result<Vec<Wanted>, Refusal> {
    let wanted = |output: &Output| match output {
        Output::Account { account, amount } => account::wanted(*account, *amount),
        Output::Blinded { brand, message } => token::wanted(rules, brand, message),
        Output::Chain { .. } => {
            let (commitment, chain) = chain::locked(output).ok_or(Refusal::ChainMisfit)?;
            chain::wanted(commitment, chain)
        }
        Output::Load { brand, amount, .. } => purse::wanted(rules, brand, *amount),
    };
    exchange.outputs.iter().map(wanted).collect()
}

fn above_zero(amount: Amount) -> Result<Amount, Refusal> {
    let fits = !amount.is_zero() && amount <= Amount::MAX;
    fits.then_some(amount).ok_or(Refusal::AmountOutOfRange)
}
