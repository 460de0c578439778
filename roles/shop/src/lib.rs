//! The shop: sells the files of a folder.
//!
//! This is M of AAT §3.3. Every offer has a fresh number n and a fresh key k = HKDF(secret, n), so nothing is stored for
//! it. A payment is checked against the offer, the sale is written down, and only then k leaves for the log. From there on
//! the sale is seen through whatever dies: k is sent again until the log has decided, and the decision is handed to the bank
//! until that has settled.
//!
//! [`Shop`] is synchronous over a [`ShopStore`] and a [`Shelf`]. It never calls anybody: [`Shop::asks`] says what is to be
//! sent, and [`Shop::answered`] takes what came back. [`ShopFront`] carries these calls over HTTP, and answers buyers.
//! [`FolderShelf`] encrypts each version of a file once ([`naulon_purchase::goods`], `docs/spec/goods.md`).
//!
//! In scope: offers, sales, the shelf. Out of scope: what the statements mean and when a payment is good
//! (`naulon-purchase`), what the money is (the bank).
//!
//! | what is stored | label | what who can write it gains |
//! | --- | --- | --- |
//! | sales | trusted | can make the shop forget money that it has a claim to |
//! | a shelf's records of versions | trusted | can make the shop sign a wrong description, for which it answers |
//! | encrypted goods | untrusted | can keep buyers from buying: they compare the digest before they pay |
//!
//! The store knows of a sale its offer, header, value, Q if delivery is two-sided, and the log's decision; nothing of the
//! buyer. Offers that nobody paid leave no trace.
//!
//! ```
//! use naulon_durable::fault::Faults;
//! use naulon_money::Amount;
//! use naulon_purchase::MerchantRules;
//! use naulon_shop::{MemoryShelf, MemoryStore, Shop, ShopKeys, Terms};
//! use naulon_statement::{Duration, PublicKey, SecretKey, Timestamp};
//! # use naulon_exchange::LogIdentity;
//! use naulon_wire::{ShopCall, ShopReply};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bank = SecretKey::from_seed(&[1; 32]).public();
//! # let (log, checkpoints) = (bank, naulon_tlog::CheckpointVerifier::new("log.example", bank.as_bytes())?);
//! # let log = LogIdentity { key: log, checkpoints };
//! // The operator puts something on the shelf and opens the shop, with the banks and logs it trusts.
//! let keys = ShopKeys::from_secret(&[7; 64]);
//! let shelf = MemoryShelf::new(&keys.goods);
//! shelf.add("poem", "A poem", "Fourteen lines.", Amount::from_micros(1_200_000), b"Shall I compare thee ...");
//! let rules = MerchantRules {
//!     merchant: keys.merchant.public(),
//!     banks: [bank].into(),
//!     logs: [(log.key, log)].into(),
//!     release_margin: Duration::seconds(30),
//! };
//! let terms = Terms { currency: "EUR".parse()?, offer_valid_for: Duration::seconds(600), two_sided: false, entries: vec![] };
//! let mut shop = Shop::open(keys, rules, terms, shelf, MemoryStore::new(Faults::none()))?;
//!
//! // A buyer asks for an offer.
//! let call = ShopCall::Offer { item: "poem".into() };
//! let reply = shop.handle(call, Timestamp(0), &mut |random| random.fill(4))?;
//! let ShopReply::Offer(offer) = reply else { unreachable!() };
//! assert_eq!(offer.claimed_body().contract.title, "A poem");
//! # Ok(()) }
//! ```

mod folder;
mod front;
mod grants;
mod keys;
mod memory;
mod sales;
mod shelf;
mod shop;
mod sqlite;
mod store;
mod till;
mod trouble;

pub use folder::{FolderShelf, MAX_ITEMS, Progress, SETTINGS_FILE, Scan, ShelfError};
pub use front::{LIMITS, PAY_WAIT, ShopFront};
pub use grants::{FolderGrants, Grants, MemoryGrants};
pub use keys::{SHOP_SECRET_LEN, ShopKeys};
pub use memory::MemoryStore;
pub use sales::{FIRST_PAUSE, LONGEST_PAUSE};
pub use shelf::{MemoryShelf, ReadError, Shelf, Stocked};
pub use shop::{MAX_OPEN_SALES, MAX_ORDERS, OpenError, SaleState, SaleSummary, Shop, Terms};
pub use sqlite::{SqliteReader, SqliteStore};
pub use store::{CommitError, SaleId, SaleWrite, ShopStore};
