//! Keys, hashes, times and signed statements.
//!
//! Every message of the papers that somebody may later be held to is a *statement*: a COSE_Sign1 (RFC 9052) with Ed25519
//! over deterministic CBOR (RFC 8949 §4.2). The protected header carries algorithm, content type and the signer's key;
//! the unprotected header is empty; so any COSE library can check our evidence. The content type separates domains: a
//! signature made for one kind of statement is worth nothing for another.
//!
//! What was parsed but not verified is [`Unverified<T>`]; only verifying it yields a [`Signed<T>`]. A payload that several
//! keys sign is [`Joint<T>`], with one detached COSE_Sign1 a key, sorted by key.
//!
//! What only one party may read is sealed to its key ([`seal_to`], HPKE).
//!
//! In scope: encoding, hashing, signing, strict verification, sealed boxes. Out of scope: what a statement means (`naulon-exchange`,
//! `naulon-purchase`), blind signatures (`naulon-blind`), the wire's JSON (`naulon-wire`).
//!
//! ```
//! use minicbor::{Decode, Encode};
//! use naulon_statement::{SecretKey, Signed, Statement, Unverified};
//!
//! #[derive(Encode, Decode, Debug)]
//! #[cbor(map)]
//! struct Greeting { #[n(1)] words: String }
//! impl Statement for Greeting { const CONTENT_TYPE: &'static str = "application/naulon.greeting+cbor"; }
//!
//! let alice = SecretKey::from_seed(&[7; 32]);
//! let signed = Signed::sign(&alice, Greeting { words: "good day".into() });
//! let received = Unverified::<Greeting>::parse(signed.bytes()).unwrap();
//! assert_eq!(received.verify(&alice.public()).unwrap().words, "good day");
//! ```

pub mod cbor;
mod digest;
mod joint;
mod key;
mod sealed_box;
mod sign1;
mod text;
mod time;

pub use digest::{Digest, derive_secret};
pub use joint::{Joint, MAX_SIGNATURES, UnverifiedJoint};
pub use key::{KeyError, PublicKey, SecretKey, SignatureError};
pub use sealed_box::{BOX_OVERHEAD, BoxError, BoxPublicKey, BoxSecretKey, seal_to};
pub use sign1::{Detached, MAX_STATEMENT_LEN, Signed, Statement, StatementError, Unverified};
pub use text::{TextError, base64url_decode, base64url_encode};
pub use time::{Duration, Timestamp};
