//! The wallet: tokens, purchases under way, and what was bought.
//!
//! [`Wallet`] is an engine without sockets and clocks over a [`WalletStore`]. An operation (withdraw, deposit, refresh,
//! buy) is written down with its whole signed request before anything is sent. [`Wallet::asks`] says what to send now for
//! everything that is unfinished, [`Wallet::answered`] takes what came of it and writes before it returns. So the process
//! can be killed anywhere: after a restart the same asks come again, and the same request gets the same reply.
//!
//! ```text
//!  person ─ buy ─▶ Wallet ─ commit ─▶ store          Wallet ─ asks ─▶ driver ─ HTTP ─▶ bank, shop, log
//!                    ▲                                 ▲                                    │
//!                    └─ events ◀─ commit ◀─────────────┴───────────── answered ◀────────────┘
//! ```
//!
//! Everything about a token is derived from the 24 words ([`Words`]) and its index, which is committed before the request
//! that uses it (docs/spec/wallet.md). Account operations go out on the account's own circuit; refreshing and each
//! purchase on an anonymous one of its own.
//!
//! ```
//! use naulon_durable::fault::Faults;
//! use naulon_exchange::register::BankIdentity;
//! use naulon_statement::{SecretKey, Timestamp};
//! use naulon_tlog::{CheckpointVerifier, WitnessPolicy};
//! use naulon_wallet::{MemoryGoods, MemoryStore, Peers, PinnedBank, Wallet, Words};
//!
//! // Person: a bank she trusts, by its keys, and 24 words that she writes down. For a trial no witness is wanted.
//! let bank = SecretKey::from_seed(&[1; 32]).public();
//! let checkpoints = CheckpointVerifier::new("bank.example/register", bank.as_bytes()).unwrap();
//! let identity = BankIdentity { key: bank, checkpoints };
//! let peers = Peers::new([PinnedBank::new(identity, WitnessPolicy::unwitnessed())], [], []);
//! let words = Words::new(&[7; 32]); // in a program: fresh from the system
//! let store = MemoryStore::new(Faults::none());
//! let goods = MemoryGoods::new(Faults::none());
//! let mut wallet = Wallet::create(store.clone(), &words.seed(), peers.clone(), goods.clone())?;
//! let operation = wallet.open_account(bank, Timestamp(0))?;
//! drop(wallet); // the process is killed
//!
//! // Driver: after a restart the same request comes again.
//! let mut wallet = Wallet::open(store, peers, goods)?;
//! let asks = wallet.asks(Timestamp(1))?;
//! assert_eq!((asks.len(), asks[0].0, asks[0].1.to), (1, operation, bank));
//! # Ok::<(), naulon_wallet::WalletError>(())
//! ```
//!
//! In scope: derivation, choice of tokens, the buyer's part of a purchase, keeping goods ([`GoodsDir`]), the sealed store
//! ([`SealedStore`]). Out of scope: what a purchase is (`naulon-purchase`), what a bank takes (`naulon-exchange`), where
//! parties live and what a person types (`naulon`).

mod blinding;
mod change;
mod check;
pub mod driver;
mod error;
mod event;
mod goods;
mod operation;
mod peers;
mod restoring;
mod seed;
mod selection;
mod store;
mod token;
mod wallet;

pub use blinding::{Blinding, OwnBlinding};
pub use check::{CheckEntry, CheckState, CheckWanted, Pocket, ReadyCheck};
pub use driver::{Driver, DriverError, Outcome};
pub use error::WalletError;
pub use event::{Event, Watch};
pub use goods::{FolderGoods, GoodsDir, MemoryGoods};
pub use operation::{End, Ended, OperationId, OperationKind};
pub use peers::{BankTerms, Peers, PinnedBank};
pub use restoring::{DECOYS_AT_LEAST, GAP_LIMIT, INDICES_SKIPPED, restore_begins};
pub use seed::{Seed, WORD_COUNT, Words, WordsError};
pub use store::{Kind, MemoryStore, Row, SealedStore, SealedStoreError, WalletStore, Write};
pub use token::TokenState;
pub use wallet::{
    Accepted, Balance, BrandRefusal, BuyOptions, Contents, Countdown, DEFAULT_LOCK, DepositAmount, Differences,
    Entropy, Entry, FEW_ISSUED, Found, KeptEvidence, Keys, MANY_ISSUED, MAX_FETCHES, Privacy, PrivacyLevel,
    PrivacyReason, Question, RENEWAL_WINDOW, Restored, Taken, TokenEntry, Wallet,
};
