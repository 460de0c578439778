//! Tokens (AAT §3.2): a blind-certified key, spent at most once by (token key id, nonce).

use std::sync::Arc;

use naulon_blind::{BlindedMessage, KnownBrand, Token};
use naulon_statement::{Digest, PublicKey, StatementError};

use super::{Given, Wanted};
use crate::refusal::Refusal;
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

pub(super) fn given(rules: &Rules, token: &Token) -> Result<Given, Refusal> {
    Ok(Given {
        value: brand_of(rules, token)?.brand().denomination,
        signer: PublicKey(*token.nonce()),
        mark: token_mark(token),
        ledger: LedgerAccount::Tokens(Digest(*token.key_id())),
    })
}

pub(super) fn wanted(rules: &Rules, brand: &Digest, message: &BlindedMessage) -> Result<Wanted, Refusal> {
    let known = rules.brands.get(brand).ok_or(Refusal::UnknownBrand)?;
    // Money must not be taken for a number that the brand's key can never sign.
    if !known.issuer_key().takes(message) {
        return Err(StatementError::Malformed.into());
    }
    Ok(Wanted { value: known.brand().denomination, ledger: LedgerAccount::Tokens(*brand) })
}

/// The brand is looked up by the token's full key id, and only by it.
pub(crate) fn brand_of<'r>(rules: &'r Rules, token: &Token) -> Result<&'r Arc<KnownBrand>, Refusal> {
    rules.brands.get(&Digest(*token.key_id())).ok_or(Refusal::UnknownBrand)
}
