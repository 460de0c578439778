//! Blind RSA signatures, Privacy Pass tokens and brands: how a bank signs money that it cannot recognise later.
//!
//! * [RFC 9474](https://www.rfc-editor.org/rfc/rfc9474): RSABSSA-SHA384-PSS-Deterministic (48 bytes of salt,
//!   PrepareIdentity) over RSA-2048 with exponent 65537: [`IssuerKey`] and [`IssuerSecret`].
//! * [RFC 9577](https://www.rfc-editor.org/rfc/rfc9577) and [RFC 9578](https://www.rfc-editor.org/rfc/rfc9578): tokens
//!   of type 0x0002: [`TokenChallenge`], [`TokenInput`], [`TokenRequest`], [`Token`]. The nonce of a token is its
//!   Ed25519 key Q.
//! * [`Brand`] says what the tokens under one RSA key are: bank, currency, denomination, purpose, dates (AAT §3.2).
//!   [`KnownBrand`] is one that was checked. One RSA key is one brand, for the bank signs blind and only the key binds
//!   the value.
//! * [`ReusedKey`] is a key that several tokens share (AAT §8.1).
//! * [`TokenSecrets`] derives a token's key, salt and blinding factor from the wallet's seed.
//!
//! The bytes are on two pages: `docs/spec/token.md`, `docs/spec/brand.md`.
//!
//! Out of scope: which brands to accept, and whether a token was spent (`naulon-exchange`); where private keys are kept
//! (`naulon-bank`); HTTP (`naulon-wire`). The crate has no clock and no randomness: salt and blinding factor are
//! arguments. The exceptions are OpenSSL's blinding inside the private operation, which does not change its result, and
//! [`IssuerSecret::generate_with_openssl_randomness`].
//!
//! Every secret is wiped when dropped and has no `Debug`. What could link a withdrawal to a payment (blinded messages,
//! signatures, tokens) does not print its bytes.
//!
//! ```
//! use naulon_blind::*;
//! use naulon_statement::{PublicKey, Timestamp};
//!
//! // Bank: a key, and the brand that says what its tokens are.
//! let der = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/brand-keys/test-only-00.pkcs8.der"));
//! let secret = IssuerSecret::from_der(der)?;
//! let brand = Brand {
//!     bank: PublicKey([7; 32]),
//!     currency: "EUR".parse()?,
//!     denomination: "5".parse()?,
//!     method: Method::BlindRsa2048,
//!     purpose: Purpose::Money,
//!     issue_from: Timestamp(0),
//!     withdraw_until: Timestamp(1_000),
//!     spend_until: Timestamp(2_000),
//!     redeem_until: Timestamp(3_000),
//!     key: *secret.public().spki(),
//! };
//!
//! // Wallet: checks the brand, makes the token's key Q, blinds.
//! let brand = KnownBrand::new(brand)?;
//! let secrets = TokenSecrets::derive(&[1; 64], brand.key_id(), 0);
//! let input = brand.token_input(secrets.secret_key().public().0);
//! let (blinded, unblinder) = input.blind(brand.issuer_key(), secrets.salt(), secrets.r())?;
//!
//! // Bank: signs what it cannot read.
//! let blind_signature = secret.blind_sign(&blinded)?;
//!
//! // Wallet: unblinds; this verifies too. Shop or bank: verify what they are shown.
//! let token = input.finalize(brand.issuer_key(), &blind_signature, &unblinder)?;
//! brand.verify(&token)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod brand;
mod bytes;
mod derive;
mod reused;
mod rsa;
mod token;

pub use brand::{Brand, BrandError, KnownBrand, Method, Purpose};
pub use derive::{SEED_LEN, TokenSecrets, reusable_key, serial_number};
pub use reused::ReusedKey;
pub use rsa::{
    BlindError, BlindSignature, BlindedMessage, EXPONENT, FinalizeError, IssuerKey, IssuerSecret, MAX_SECRET_DER_LEN,
    MODULUS_BITS, MODULUS_LEN, R_LEN, SALT_LEN, SPKI_LEN, SecretKeyError, SecretNumbers, SignError, Signature, Spki,
    SpkiError, Unblinder, VerifyError,
};
pub use token::{
    ChallengeError, MAX_ISSUER_NAME_LEN, TOKEN_INPUT_LEN, TOKEN_LEN, TOKEN_REQUEST_LEN, TOKEN_TYPE, Token,
    TokenChallenge, TokenError, TokenInput, TokenRequest, TokenRequestError, TokenVerifyError,
};
