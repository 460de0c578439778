//! What tokens of each purpose may be used for. The bank signs blind, so the brand is all that says it.

use naulon_blind::Purpose;
use naulon_statement::Digest;

use super::brand_of;
use crate::refusal::Refusal;
use crate::request::{Exchange, Input, Output};
use crate::rules::Rules;

/// Checks that no token is used for what its brand is not for.
pub(crate) fn check_purposes(rules: &Rules, exchange: &Exchange) -> Result<(), Refusal> {
    let mut passages = 0;
    for token in exchange.tokens() {
        match brand_of(rules, token)?.brand().purpose {
            Purpose::Money => {}
            Purpose::Passage => passages += 1,
            // Whoever was shown a purse's check has the token, and its nonce is no key.
            Purpose::PurseCheck => return Err(Refusal::WrongPurpose),
        }
    }
    // What begins as passage stays passage: beside money it could buy what it is not for.
    let is_passage = passages > 0;
    let is_pure = exchange.condition.is_none() && exchange.inputs.iter().all(is_whole_token);
    if is_passage && !(is_pure && passages == exchange.inputs.len()) {
        return Err(Refusal::WrongPurpose);
    }
    exchange.outputs.iter().try_for_each(|output| check_output(rules, output, is_passage))
}

fn check_output(rules: &Rules, output: &Output, is_passage: bool) -> Result<(), Refusal> {
    let fits = match output {
        Output::Account { .. } | Output::Load { .. } => !is_passage,
        Output::Blinded { brand, .. } => match purpose_of(rules, brand)? {
            Purpose::Money => !is_passage,
            Purpose::Passage => is_passage,
            // Its key signs in purses alone.
            Purpose::PurseCheck => false,
        },
        // Passage is what they are for. The payee is paid money, and so is whoever takes the remainder: it could as well have
        // been its own payee.
        Output::Chain { .. } => true,
    };
    fits.then_some(()).ok_or(Refusal::WrongPurpose)
}

fn purpose_of(rules: &Rules, brand: &Digest) -> Result<Purpose, Refusal> {
    rules.brands.get(brand).map(|known| known.brand().purpose).ok_or(Refusal::UnknownBrand)
}

fn is_whole_token(input: &Input) -> bool {
    matches!(input, Input::Token { part: None, .. })
}
