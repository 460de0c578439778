//! Who does the arithmetic of blinding.

use naulon_blind::{BlindError, BlindedMessage, IssuerKey, TokenInput, TokenSecrets, Unblinder};

/// Does the arithmetic of blinding, which is most of what a wallet calculates. A wallet does it itself ([`OwnBlinding`]); a
/// simulation that plays the same seeds thousands of times remembers what came of it.
///
/// The same arguments give the same result, so a wrong answer is one that is made up: it costs the token.
pub trait Blinding: Send + Sync {
    /// Blinds the input of a token with its secrets (RFC 9474 §4.2).
    fn blind(
        &self,
        key: &IssuerKey,
        input: &TokenInput,
        secrets: &TokenSecrets,
    ) -> Result<(BlindedMessage, Unblinder), BlindError>;
}

/// The wallet itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnBlinding;

impl Blinding for OwnBlinding {
    fn blind(
        &self,
        key: &IssuerKey,
        input: &TokenInput,
        secrets: &TokenSecrets,
    ) -> Result<(BlindedMessage, Unblinder), BlindError> {
        input.blind(key, secrets.salt(), secrets.r())
    }
}
