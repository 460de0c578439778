//! The proxy: a person's own way into the mixes.
//!
//! A browser, curl or the wallet asks for a host by SOCKS5; the proxy draws three mixes out of one whole snapshot of the
//! directory, pays each of them by a check of its own (MixPay §4, figure 5) or one for all of a provider's chain (figure 4), and
//! carries the bytes in blocks of one size. A SOCKS user name is a session: two names share no mix session, no check, no link.
//!
//! | module | what |
//! | --- | --- |
//! | `socks` | what programs ask for (RFC 1928, 1929) |
//! | `path` | which mixes: one whole snapshot, verified before |
//! | `fares` | where checks come from: the wallet or the purse, behind a trait |
//! | `session` | one paid session at its sender: synchronous, no sockets |
//! | `passage`, `carry` | its link, its streams, further checks while it runs |
//! | `server` | programs in, sessions by name, clean end |
//!
//! In scope: the client's side of everything above. Out of scope: making checks (`naulon-wallet`, `naulon-purse`), what a mix
//! does (`naulon-mix`), fetching the directory (`naulon`). Nothing is stored. A session that breaks is followed by another for
//! the streams that come after; streams inside are cut, and programs see it. What was paid ahead is at most the mixes' window.
//!
//! ```
//! use naulon_proxy::{Reply, answer, greet};
//! use tokio::io::AsyncWriteExt;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! // A program asks for a host, by its name, in the session "work".
//! let (mut program, mut proxy) = tokio::io::duplex(256);
//! program.write_all(b"\x05\x01\x02\x01\x04work\x01x\x05\x01\x00\x03\x0bexample.org\x01\xbb").await.unwrap();
//! // The proxy understands it, and here has no mixes.
//! let wish = greet(&mut proxy).await.unwrap();
//! assert_eq!((wish.session.as_slice(), wish.target.port), (&b"work"[..], 443));
//! answer(&mut proxy, Reply::Failed).await.unwrap();
//! # });
//! ```

mod carry;
mod fares;
mod passage;
mod path;
mod server;
mod session;
mod socks;

pub use carry::OpenStream;
pub use fares::{Fare, FareError, FareWanted, Fares, Pending};
pub use passage::{Broken, MAX_CONNECTING, MAX_SILENCE, Passage, StreamRefused};
pub use path::{Billing, Path, PathError, PathWanted, Snapshot};
pub use server::{Clock, MAX_CONNECTIONS, MAX_FRESH, MAX_IDLE, MAX_NAMES, MAX_SESSIONS, Proxy, ProxyError, ProxyRules};
pub use session::{Session, SessionError, Terms};
pub use socks::{MAX_GREETING, Reply, SocksError, Wish, answer, greet};
