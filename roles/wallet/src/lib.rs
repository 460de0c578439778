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
//! In scope: derivation, choice of tokens, the buyer's part of a purchase, keeping goods ([`GoodsDir`]), the sealed store
//! ([`SealedStore`]). Out of scope: what a purchase is (`naulon-purchase`), what a bank takes (`naulon-exchange`), where
//! parties live and what a person types (`naulon`).

mod change;
mod error;
mod event;
mod goods;
mod operation;
mod peers;
mod seed;
mod selection;
mod store;
mod token;
mod wallet;

pub use error::WalletError;
pub use event::{Event, Watch};
pub use goods::{FolderGoods, GoodsDir, MemoryGoods};
pub use operation::{End, Ended, OperationId, OperationKind};
pub use peers::{BankTerms, BrandProof, Peers, PinnedBank};
pub use seed::{Seed, WORD_COUNT, Words, WordsError};
pub use store::{Kind, MemoryStore, Row, SealedStore, SealedStoreError, WalletStore, Write};
pub use token::TokenState;
pub use wallet::{
    Accepted, Balance, BrandRefusal, BuyOptions, DEFAULT_LOCK, DepositAmount, Entropy, Entry, MAX_FETCHES, TokenEntry,
    Wallet,
};
