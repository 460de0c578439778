//! Privacy Pass tokens of type 0x0002 (RFC 9577 §2.1 and §2.2, RFC 9578 §6).
//!
//! Naulon's tokens are ordinary ones whose nonce is the token's Ed25519 key Q: standard clients can be issued them and
//! standard verifiers accept them. Spending one needs q, so a stolen token is worthless.

use std::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use naulon_statement::Digest;

use crate::rsa::{
    BlindError, BlindSignature, BlindedMessage, FinalizeError, IssuerKey, R_LEN, SALT_LEN, Signature, Unblinder,
    VerifyError,
};

/// The token type "Blind RSA (2048-bit)" (RFC 9578 §8.2.2).
pub const TOKEN_TYPE: u16 = 0x0002;
/// The length of what the bank signs: type, nonce, challenge digest, key id.
pub const TOKEN_INPUT_LEN: usize = 98;
/// The length of a token: its input and the signature.
pub const TOKEN_LEN: usize = 354;
/// The length of a request for a token: type, truncated key id, blinded message.
pub const TOKEN_REQUEST_LEN: usize = 259;
/// The longest issuer name that we write. RFC 9577 allows 65,535 bytes; ours have 64.
pub const MAX_ISSUER_NAME_LEN: usize = 255;

/// A TokenChallenge (RFC 9577 §2.1) with a redemption context and without origin info: the same for everybody, so that
/// the challenge tells nobody apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenChallenge {
    issuer_name: String,
    redemption_context: [u8; 32],
}

/// An issuer name that cannot stand in a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an issuer name has 1 to {MAX_ISSUER_NAME_LEN} ASCII characters")]
pub struct ChallengeError;

impl TokenChallenge {
    /// The challenge of this issuer and context.
    pub fn new(issuer_name: &str, redemption_context: [u8; 32]) -> Result<Self, ChallengeError> {
        let fits = (1..=MAX_ISSUER_NAME_LEN).contains(&issuer_name.len()) && issuer_name.is_ascii();
        fits.then(|| TokenChallenge { issuer_name: issuer_name.to_owned(), redemption_context }).ok_or(ChallengeError)
    }

    /// The challenge of a bank, whose name is its key in lower-case hexadecimal.
    pub(crate) fn of_bank(bank: &naulon_statement::PublicKey, redemption_context: [u8; 32]) -> Self {
        TokenChallenge { issuer_name: hex::encode(bank.as_bytes()), redemption_context }
    }

    /// The name of the issuer.
    pub fn issuer_name(&self) -> &str {
        &self.issuer_name
    }

    /// The redemption context.
    pub fn redemption_context(&self) -> &[u8; 32] {
        &self.redemption_context
    }

    /// The encoding of RFC 9577: type, issuer name behind two bytes of length, context behind one, no origin info.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 + 2 + self.issuer_name.len() + 1 + 32 + 2);
        bytes.extend(TOKEN_TYPE.to_be_bytes());
        // The constructors keep the length below 65,536.
        bytes.extend((self.issuer_name.len() as u16).to_be_bytes());
        bytes.extend(self.issuer_name.as_bytes());
        bytes.push(32);
        bytes.extend(self.redemption_context);
        bytes.extend([0, 0]);
        bytes
    }

    /// SHA-256 of the encoding: `challenge_digest`.
    pub fn digest(&self) -> [u8; 32] {
        Digest::of(&[&self.to_bytes()]).0
    }
}

/// What the bank signs without seeing it (`token_input`, RFC 9578 §6.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenInput {
    /// The token's Ed25519 key Q.
    pub nonce: [u8; 32],
    /// The digest of the challenge, which names the brand.
    pub challenge_digest: [u8; 32],
    /// The id of the issuer's key.
    pub key_id: [u8; 32],
}

impl TokenInput {
    /// Type, nonce, challenge digest, key id.
    pub fn to_bytes(&self) -> [u8; TOKEN_INPUT_LEN] {
        let mut bytes = [0; TOKEN_INPUT_LEN];
        bytes[..2].copy_from_slice(&TOKEN_TYPE.to_be_bytes());
        bytes[2..34].copy_from_slice(&self.nonce);
        bytes[34..66].copy_from_slice(&self.challenge_digest);
        bytes[66..].copy_from_slice(&self.key_id);
        bytes
    }

    /// Blinds the input for the bank. Salt and r must be used for this input only.
    pub fn blind(
        &self,
        key: &IssuerKey,
        salt: &[u8; SALT_LEN],
        r: &[u8; R_LEN],
    ) -> Result<(BlindedMessage, Unblinder), BlindError> {
        key.blind(&self.to_bytes(), salt, r)
    }

    /// Makes the token of the bank's answer, and verifies its signature.
    pub fn finalize(
        self,
        key: &IssuerKey,
        blind: &BlindSignature,
        unblinder: &Unblinder,
    ) -> Result<Token, FinalizeError> {
        let authenticator = key.finalize(&self.to_bytes(), blind, unblinder)?;
        Ok(Token { input: self, authenticator })
    }
}

/// It does not print its bytes: they would link a payment to whoever wrote the line.
impl fmt::Debug for TokenInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenInput({TOKEN_INPUT_LEN} bytes)")
    }
}

/// A token (RFC 9577 §2.2). That it parsed says nothing about its signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    input: TokenInput,
    authenticator: Signature,
}

/// Why bytes are not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not exactly [`TOKEN_LEN`] bytes.
    #[error("a token has {TOKEN_LEN} bytes")]
    Length,
    /// Another token type.
    #[error("a token of type {0:#06x} where {TOKEN_TYPE:#06x} was expected")]
    Type(u16),
}

/// Why a token is not one of this brand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenVerifyError {
    /// The token names another key.
    #[error("the token names another key")]
    WrongKey,
    /// The token was issued for another challenge.
    #[error("the token answers another challenge")]
    WrongChallenge,
    /// The signature does not hold.
    #[error("the token's signature does not hold")]
    WrongSignature,
    /// OpenSSL could not calculate.
    #[error("the cryptographic library failed")]
    Library,
}

impl Token {
    /// Reads a token of exactly [`TOKEN_LEN`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        if bytes.len() != TOKEN_LEN {
            return Err(TokenError::Length);
        }
        let mut rest = bytes;
        let token_type = u16::from_be_bytes(take(&mut rest).ok_or(TokenError::Length)?);
        if token_type != TOKEN_TYPE {
            return Err(TokenError::Type(token_type));
        }
        let input = TokenInput {
            nonce: take(&mut rest).ok_or(TokenError::Length)?,
            challenge_digest: take(&mut rest).ok_or(TokenError::Length)?,
            key_id: take(&mut rest).ok_or(TokenError::Length)?,
        };
        Ok(Token { input, authenticator: Signature(take(&mut rest).ok_or(TokenError::Length)?) })
    }

    /// The encoding of RFC 9577.
    pub fn to_bytes(&self) -> [u8; TOKEN_LEN] {
        let mut bytes = [0; TOKEN_LEN];
        bytes[..TOKEN_INPUT_LEN].copy_from_slice(&self.input.to_bytes());
        bytes[TOKEN_INPUT_LEN..].copy_from_slice(self.authenticator.as_bytes());
        bytes
    }

    /// What was signed.
    pub fn input(&self) -> &TokenInput {
        &self.input
    }

    /// The token's Ed25519 key Q.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.input.nonce
    }

    /// The digest of the challenge that the token answers.
    pub fn challenge_digest(&self) -> &[u8; 32] {
        &self.input.challenge_digest
    }

    /// The id of the issuer's key, by which the brand is found.
    pub fn key_id(&self) -> &[u8; 32] {
        &self.input.key_id
    }

    /// The signature.
    pub fn authenticator(&self) -> &Signature {
        &self.authenticator
    }

    /// Verifies that the token is of this key and challenge and that its signature holds.
    pub fn verify(&self, key: &IssuerKey, challenge_digest: &[u8; 32]) -> Result<(), TokenVerifyError> {
        if self.key_id() != key.key_id() {
            return Err(TokenVerifyError::WrongKey);
        }
        if self.challenge_digest() != challenge_digest {
            return Err(TokenVerifyError::WrongChallenge);
        }
        key.verify(&self.input.to_bytes(), &self.authenticator).map_err(|error| match error {
            VerifyError::WrongSignature => TokenVerifyError::WrongSignature,
            VerifyError::Library => TokenVerifyError::Library,
        })
    }
}

/// It does not print its bytes: they would link a payment to whoever wrote the line.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({TOKEN_LEN} bytes)")
    }
}

/// In CBOR a token is a byte string of [`TOKEN_LEN`] bytes.
impl<C> Encode<C> for Token {
    fn encode<W: encode::Write>(&self, encoder: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        encoder.bytes(&self.to_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Token {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Token::parse(decoder.bytes()?).map_err(decode::Error::custom)
    }
}

/// A request for one token (RFC 9578 §6.1). The truncated key id is only a hint: the brand is chosen by the place that
/// the request is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The last byte of the key id.
    pub truncated_key_id: u8,
    /// What is to be signed.
    pub blinded: BlindedMessage,
}

/// Why bytes are not a request for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRequestError {
    /// Not exactly [`TOKEN_REQUEST_LEN`] bytes.
    #[error("a token request has {TOKEN_REQUEST_LEN} bytes")]
    Length,
    /// Another token type.
    #[error("a request for a token of type {0:#06x} where {TOKEN_TYPE:#06x} was expected")]
    Type(u16),
}

impl TokenRequest {
    /// The request to this issuer.
    pub fn new(key: &IssuerKey, blinded: BlindedMessage) -> Self {
        let [.., truncated_key_id] = *key.key_id();
        TokenRequest { truncated_key_id, blinded }
    }

    /// Reads a request of exactly [`TOKEN_REQUEST_LEN`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenRequestError> {
        if bytes.len() != TOKEN_REQUEST_LEN {
            return Err(TokenRequestError::Length);
        }
        let mut rest = bytes;
        let token_type = u16::from_be_bytes(take(&mut rest).ok_or(TokenRequestError::Length)?);
        if token_type != TOKEN_TYPE {
            return Err(TokenRequestError::Type(token_type));
        }
        let [truncated_key_id] = take(&mut rest).ok_or(TokenRequestError::Length)?;
        Ok(TokenRequest {
            truncated_key_id,
            blinded: BlindedMessage(take(&mut rest).ok_or(TokenRequestError::Length)?),
        })
    }

    /// The encoding of RFC 9578.
    pub fn to_bytes(&self) -> [u8; TOKEN_REQUEST_LEN] {
        let mut bytes = [0; TOKEN_REQUEST_LEN];
        bytes[..2].copy_from_slice(&TOKEN_TYPE.to_be_bytes());
        bytes[2] = self.truncated_key_id;
        bytes[3..].copy_from_slice(self.blinded.as_bytes());
        bytes
    }
}

/// Takes the first N bytes away.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}
