//! The directory: one signed list of mixes, banks and logs, the same for everybody.
//!
//! MixPay presumes that users know mixes and their prices (§2.2); this is how. A mix signs a descriptor and registers it; the
//! operator has said by their keys which mixes there may be. Clients fetch the whole list, on a schedule, and verify it as a
//! whole ([`naulon_onion::Listing::verify`]): there is no look-up by name, since that would tell a path.
//!
//! [`Directory`] is synchronous over a [`DirectoryStore`]: a descriptor is durable before it is acknowledged. [`DirectoryFront`]
//! puts it behind HTTP.
//!
//! In scope: taking descriptors, the signed list. Out of scope: whether a mix does what it says; several directories that
//! watch one another (a client may ask several and compare).
//!
//! | what is stored | label | what who can write it gains |
//! | --- | --- | --- |
//! | per mix its newest descriptor, as signed | untrusted | can leave a mix out or bring back an older descriptor of its own |
//!
//! The store knows what everybody may know. Who fetched the list is nowhere.
//!
//! ```
//! use naulon_directory::{Directory, MemoryStore, Rules};
//! use naulon_durable::fault::Faults;
//! use naulon_onion::Listing;
//! use naulon_statement::{Duration, SecretKey, Timestamp};
//! use naulon_wire::{DirectoryCall, DirectoryReply};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The operator starts a directory that lists no mix yet.
//! let key = SecretKey::from_seed(&[7; 32]);
//! let name = key.public();
//! let rules = Rules { mixes: Default::default(), parties: vec![], valid: Duration::seconds(600) };
//! let mut directory = Directory::new(key, rules, MemoryStore::new(Faults::none()))?;
//!
//! // A client fetches the list and verifies all of it.
//! let now = Timestamp(1_000_000);
//! let DirectoryReply::List(list) = directory.handle(DirectoryCall::List, now)? else { unreachable!() };
//! let (list, mixes) = Listing::verify(*list, &name, now)?;
//! assert!(mixes.is_empty() && list.parties.is_empty());
//! # Ok(()) }
//! ```

mod directory;
mod front;
mod memory;
mod sqlite;
mod store;

pub use directory::{ConfigurationError, Directory, Rules};
pub use front::{DirectoryFront, LIMITS};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use store::DirectoryStore;
