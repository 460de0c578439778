//! Tokens (AAT §3.2): a blind-certified key, spent at most once by (token key id, nonce).

use std::sync::Arc;

use naulon_blind::{BlindedMessage, KnownBrand, ReusedKey, Token};
use naulon_money::Amount;
use naulon_statement::{Digest, StatementError};

use super::{Given, Wanted, above_zero};
use crate::refusal::Refusal;
use crate::request::spending_key;
use crate::rules::Rules;
use crate::state::{LedgerAccount, Mark, MarkKind};

/// The mark of a token.
pub fn token_mark(token: &Token) -> Mark {
    nonce_mark(token.key_id(), token.nonce())
}

/// The mark of the token of this brand with this nonce.
pub fn nonce_mark(key_id: &[u8; 32], nonce: &[u8; 32]) -> Mark {
    Mark { key: Digest::of(&[b"naulon/mark/token", key_id, nonce]), kind: MarkKind::Token }
}

pub(super) fn given(
    rules: &Rules,
    token: &Token,
    key: Option<&ReusedKey>,
    part: Option<Amount>,
) -> Result<Given, Refusal> {
    let whole = brand_of(rules, token)?.brand().denomination;
    if key.is_some_and(|key| key.nonce() != *token.nonce()) {
        return Err(Refusal::WrongSerial);
    }
    let value = match part {
        Some(part) if part > whole => return Err(Refusal::AmountOutOfRange),
        Some(part) => above_zero(part)?,
        None => whole,
    };
    Ok(Given {
        value,
        signer: spending_key(token, key),
        mark: Some(token_mark(token)),
        part_of: part.map(|_| whole),
        ledger: LedgerAccount::Tokens(Digest(*token.key_id())),
        chain: None,
    })
}

pub(super) fn wanted(rules: &Rules, brand: &Digest, message: &BlindedMessage) -> Result<Wanted, Refusal> {
    let known = rules.brands.get(brand).ok_or(Refusal::UnknownBrand)?;
    // Money must not be taken for a number that the brand's key can never sign.
    if !known.issuer_key().takes(message) {
        return Err(StatementError::Malformed.into());
    }
    Ok(Wanted { value: known.brand().denomination, ledger: LedgerAccount::Tokens(*brand), chain: None })
}

/// The brand is looked up by the token's full key id, and only by it.
pub(crate) fn brand_of<'r>(rules: &'r Rules, token: &Token) -> Result<&'r Arc<KnownBrand>, Refusal> {
    rules.brands.get(&Digest(*token.key_id())).ok_or(Refusal::UnknownBrand)
}
