//! The bank: a synchronous service over its store, and its HTTP front.
//!
//! A [`Bank`] turns instruments into instruments (`naulon-exchange` decides) and never forgets that it did:
//!
//! 1. [`Desk::authenticate`] checks signatures, tokens and proofs. It needs no state, so many threads do it at once.
//! 2. [`Bank::apply`] reads what a batch of calls touches, decides, and writes what it accepts in one transaction. Whoever
//!    loses to another call of the batch is decided again.
//! 3. [`Desk::complete`] signs the reply, by the brand's RSA key and the bank's Ed25519 key, *after* the write. All that it
//!    says is recomputed from the stored request, so the same request gets the same bytes, however often it is asked.
//!
//! [`Bank::handle`] is the three in a row: what the simulator drives. [`BankFront`] runs the first and the third on
//! threads of their own, and the second on the one thread that owns the store, in groups.
//!
//! | what the bank keeps | what it costs if it is lost or wrong |
//! | --- | --- |
//! | marks ([`BankStore`]) | a token is spent twice: the bank's own money |
//! | records | a reply cannot be given again: the customer's money |
//! | balances and journal | found by [`Bank::audit`], which recomputes them from the records |
//! | brands, signed | tokens of a forgotten brand could not be redeemed |
//! | the register ([`RegisterStore`]) | another tree of the same size convicts the bank of having shown two |
//! | items of days that are over | receipts cannot be given |
//! | RSA keys ([`Signatory`]) | whoever has them makes money; without them the brand issues no more |
//! | logs' breaches of the protocol | evidence against a log |
//!
//! What it knows of people: account keys with balances and orders; of tokens given up only that they are its own.
//! Blinded messages tell it nothing about the tokens that come of them. None of it goes into log lines.
//!
//! In scope: stores ([`SqliteStore`], [`PostgresStore`], [`MemoryStore`]), keys in files and in
//! PKCS#11 tokens ([`TokenKeys`]), brands and their periods, the front. Out
//! of scope: what a request means and whether it is accepted (`naulon-exchange`), bytes on the wire (`naulon-wire`).

mod bank;
mod brands;
mod desk;
mod errands;
mod forgetting;
mod front;
mod pkcs11;
mod register;
mod signatory;
mod store;

pub use bank::{AuditError, Bank, BankKeys, MAX_REDECIDE, OpenError};
pub use brands::{BrandSettings, BrandSettingsError, BrandTerms, MAX_BRAND_DAYS, generate, missing, periods};
pub use desk::{Applied, Authenticated, BrandRefusal, Desk, MAX_QUERY_AGE};
pub use errands::{FIRST_PAUSE, GRACE, LONGEST_PAUSE, MAX_ERRANDS};
pub use front::{AddBrandsError, BankFront, FrontLimits, RegisterJobError};
pub use pkcs11::{MAX_SESSIONS, TokenError, TokenKeys};
pub use register::RegisterError;
pub use signatory::{KeyFileError, KeyRing, Keychain, MAX_KEYS_A_FILE, Signatory, SignatoryError};
pub use store::{
    BANK_FILE, BankStore, DayKey, DeliveredPlace, LogFault, MemoryStore, PostgresOpenError, PostgresStore,
    RegisterAppending, RegisterRows, RegisterStore, SqliteStore, StoredChunk, Written, audit_file, audit_url,
};
