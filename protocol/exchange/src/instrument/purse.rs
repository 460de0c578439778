//! Purses at the bank (MixPay §5.2–5.3): loads, and the checks that purses make out.
//!
//! What is loaded for a brand's checks stands on one account, which has no key: nobody can order from it. A load credits it, and
//! a purse's check takes its total from it, under the same guard as any account: so of a brand's checks the bank never pays more
//! than was loaded. Who comes when it is used up shows that a key of the brand is out, and the brand is stopped: no more loads,
//! no more checks.

use naulon_blind::{KnownBrand, Purpose, Token};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Timestamp};
use naulon_tick::Check;

use super::{Given, Wanted, above_zero, brand_of, token_mark};
use crate::purse::{check_shape, verify_purse_check};
use crate::refusal::Refusal;
use crate::request::{Exchange, Input, Output};
use crate::rules::Rules;
use crate::state::{Guard, LedgerAccount, View};

/// The account of what is loaded for a brand's checks. It is a digest and no key, so nothing signs for it.
pub fn purse_account(brand: &Digest) -> PublicKey {
    PublicKey(Digest::of(&[b"naulon/purse-account", brand.as_bytes()]).0)
}

/// The account that is open when a brand of purse checks is stopped; it never holds anything.
pub fn purse_stop(brand: &Digest) -> PublicKey {
    PublicKey(Digest::of(&[b"naulon/purse-stop", brand.as_bytes()]).0)
}

/// What a purse's check means: its total, which goes to the check's own row in the same exchange.
pub(super) fn given(rules: &Rules, check: &Check, token: &Token, signer: &PublicKey) -> Result<Given, Refusal> {
    let known = brand_of(rules, token)?;
    check_shape(check, token, known).map_err(Refusal::PurseCheck)?;
    // Payee and maker have the same row made, so it does not matter which of them comes.
    if *signer != check.payee && *signer != check.refund {
        return Err(Refusal::WrongPayee);
    }
    Ok(Given {
        value: known.brand().denomination,
        signer: *signer,
        mark: Some(token_mark(token)),
        part_of: None,
        ledger: LedgerAccount::Customer(purse_account(&Digest(*token.key_id()))),
        chain: None,
    })
}

/// What a load means.
pub(super) fn wanted(rules: &Rules, brand: &Digest, amount: Amount) -> Result<Wanted, Refusal> {
    let known = rules.brands.get(brand).ok_or(Refusal::UnknownBrand)?.brand();
    if known.purpose != Purpose::PurseCheck {
        return Err(Refusal::WrongPurpose);
    }
    let value = above_zero(amount)?;
    if !amount.micros().is_multiple_of(known.denomination.micros()) {
        return Err(Refusal::AmountOutOfRange);
    }
    Ok(Wanted { value, ledger: LedgerAccount::Customer(purse_account(brand)), chain: None })
}

/// Verifies the purses' signatures: what costs more than to look.
pub(crate) fn verify(rules: &Rules, exchange: &Exchange) -> Result<(), Refusal> {
    for (check, token) in checks(exchange) {
        verify_purse_check(check, token, brand_of(rules, token)?).map_err(Refusal::PurseCheck)?;
    }
    Ok(())
}

/// A purse's check becomes the row of this very check, and nothing else.
pub(crate) fn check_form(exchange: &Exchange) -> Result<(), Refusal> {
    let is_opened = |check: &Check| Output::chain(check).is_some_and(|row| exchange.outputs.contains(&row));
    let fits = exchange.condition.is_none() && checks(exchange).all(|(check, _)| is_opened(check));
    if fits || checks(exchange).next().is_none() { Ok(()) } else { Err(Refusal::WrongPurpose) }
}

/// The dates of the brands: checks are taken until their brand's redeem-until, loads as long as it issues.
pub(crate) fn check_dates(rules: &Rules, exchange: &Exchange, now: Timestamp) -> Result<(), Refusal> {
    for (_, token) in checks(exchange) {
        let known = brand_of(rules, token)?;
        if now >= known.brand().redeem_until {
            return Err(Refusal::BrandClosed);
        }
        if now < known.brand().issue_from {
            return Err(Refusal::BrandNotIssuing);
        }
    }
    let issues = |brand: &Digest| rules.brands.get(brand).is_some_and(|known| KnownBrand::issues_at(known, now));
    if loads(exchange).all(issues) { Ok(()) } else { Err(Refusal::BrandNotIssuing) }
}

/// The brands whose purses an exchange touches.
pub(crate) fn brands(exchange: &Exchange) -> impl Iterator<Item = Digest> {
    checks(exchange).map(|(_, token)| Digest(*token.key_id())).chain(loads(exchange).copied())
}

/// Refuses what has to do with a brand that is stopped.
pub(crate) fn check_stopped(view: &View, exchange: &Exchange) -> Result<(), Refusal> {
    let stopped = brands(exchange).find(|brand| view.balances.contains_key(&purse_stop(brand)));
    stopped.map_or(Ok(()), |brand| Err(Refusal::PurseStopped(brand)))
}

/// What it means that an account has not enough: if it is a brand's, more was made out than was loaded.
pub(crate) fn overdrawn(exchange: &Exchange, guard: &Guard, refusal: Refusal) -> Refusal {
    let Guard::Balance { account, .. } = guard else { return refusal };
    let brand = checks(exchange).map(|(_, token)| Digest(*token.key_id())).find(|b| purse_account(b) == *account);
    brand.map_or(refusal, Refusal::PurseOverdrawn)
}

/// Whether this check's row is made from a purse's signature. It may be made after the expiry, for it was good without a row.
pub(crate) fn opens(exchange: &Exchange, commitment: &Digest) -> bool {
    checks(exchange).any(|(_, token)| token.nonce() == commitment.as_bytes())
}

fn checks(exchange: &Exchange) -> impl Iterator<Item = (&Check, &Token)> {
    exchange.inputs.iter().filter_map(|input| match input {
        Input::Purse { check, token, .. } => Some((check, token)),
        _ => None,
    })
}

fn loads(exchange: &Exchange) -> impl Iterator<Item = &Digest> {
    exchange.outputs.iter().filter_map(|output| match output {
        Output::Load { brand, .. } => Some(brand),
        _ => None,
    })
}
