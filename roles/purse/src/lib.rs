//! The electronic purse (MixPay §5.2–5.3): loaded on-line, it makes checks and ticks off-line, never beyond its balance.
//!
//! A purse stands for a tamper-proof device, and has the paper's two parts, which meet only in [`Purse`]:
//!
//! - the **user part** ([`user`]) makes a check's chain, salt and refund key, and blinds its commitment;
//! - the **bank part** ([`keys`]) has the keys of the bank's brands of purse checks, and signs what it cannot read: one key
//!   signs checks of exactly one total value, so what the check says of itself cannot cost more than the balance was lowered.
//!
//! Between them stands the store: the balance is lowered on the disk *before* the bank part signs. A purse that is killed in
//! between makes the very same check when it is asked for it again.
//!
//! The host (`naulon purse`) reaches it over a socket. It can spend what was loaded, and nothing more; it can link its own
//! checks, which it pays with. In software this is a demonstration: whoever copies the file has the money twice, and what that
//! costs is bounded by the bank alone, which pays no more for a brand than was loaded into its purses.
//!
//! In scope: balance, checks, their secrets. Out of scope: the order that pays for a load, and cashing (`naulon-bank`); which
//! brand to load (the holder); taking remainders back, for which a purse gives its holder the refund keys (`naulon-wallet`).
//!
//! | what is stored | label | what who can write it gains |
//! | --- | --- | --- |
//! | balances, loads, checks | trusted | the money that was loaded, once more |
//! | seed, keys (sealed) | trusted | as many checks as the bank pays: all loads of the brand |
//!
//! ```
//! # use naulon_blind::{Brand, IssuerSecret, KnownBrand, Method, Purpose};
//! # use naulon_statement::{Digest, PublicKey, SecretKey, Signed, Timestamp};
//! use naulon_durable::fault::Faults;
//! use naulon_exchange::{Loaded, verify_purse_check};
//! use naulon_purse::{CheckWanted, KeyRing, MemoryStore, Purse};
//!
//! # let der = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/brand-keys/test-only-00.pkcs8.der"));
//! # let secret = IssuerSecret::from_der(der)?;
//! # let bank = SecretKey::from_seed(&[7; 32]);
//! # let brand = KnownBrand::new(Brand {
//! #     bank: bank.public(), currency: "EUR".parse()?, denomination: "10".parse()?, method: Method::BlindRsa2048,
//! #     purpose: Purpose::PurseCheck, issue_from: Timestamp(0), withdraw_until: Timestamp(1 << 40),
//! #     spend_until: Timestamp(1 << 40), redeem_until: Timestamp(1 << 41), key: *secret.public().spki(),
//! # })?;
//! // The maker of the device: the bank's brand of checks over 10, and its key.
//! let keys = KeyRing::new([secret]);
//! let mut purse = Purse::open([1; 64], vec![brand.clone()], Box::new(keys), MemoryStore::new(Faults::none()))?;
//!
//! // Its holder: asks for a load, pays the bank for it, and brings the bank's word.
//! let load = purse.ask_load(&Digest(*brand.key_id()), "20".parse()?, &[9; 16])?;
//! let word = Signed::sign(&bank, load);
//! purse.credit((&word).into())?;
//!
//! // Off-line: a check over a thousand ticks of 0.01 to a mix. The mix knows it for a purse's.
//! let wanted = CheckWanted { wish: [3; 16], payee: PublicKey([5; 32]), value: "0.01".parse()?, length: 1_000 };
//! let fare = purse.make(&wanted, Timestamp(60_000))?;
//! verify_purse_check(&fare.check, &fare.token, &brand)?;
//! assert_eq!(purse.balance(&Digest(*brand.key_id()))?, "10".parse()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod keys;
mod memory;
mod purse;
mod sqlite;
mod store;
pub mod user;

pub use keys::{KeyError, KeyRing, PurseKeys};
pub use memory::MemoryStore;
pub use purse::{CheckWanted, Fare, MAX_LISTED, Purse, PurseError};
pub use sqlite::SqliteStore;
pub use store::{Load, Made, PurseStore, SpendError, Wish};
