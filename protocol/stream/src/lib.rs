//! Several streams of bytes inside one session through the mixes.
//!
//! A session carries payloads of one fixed size each way (`naulon-onion`). This crate is what a client and the last mix
//! (the exit) say inside them: open a stream to a host, bytes, how many more bytes one takes, end, reset. MixPay (§6)
//! leaves "anonymous web access" open; this is it. `docs/spec/stream.md` has the bytes.
//!
//! Both parties hold an [`End`]. What is put in one comes out at the other byte for byte and in order, stream by stream,
//! also when the mixes' batches shuffle a session's blocks (payloads are numbered). Each stream has a window of its own, so
//! that one which is not read holds up no other, and what an end keeps for strangers is bounded by its [`Limits`].
//!
//! In scope: cells, order, windows, named faults. Out of scope: encryption and payment of blocks (`naulon-onion`,
//! `naulon-meter`), sockets and names (`naulon-proxy`, `naulon-mix`), blocks that were lost for good (the session ends, and
//! its owner makes another).
//!
//! ```
//! use naulon_stream::{End, Event, Limits, Target};
//!
//! let (mut client, mut exit) = (End::client(Limits::CLIENT), End::exit(Limits::EXIT));
//! let carry = |from: &mut End, to: &mut End| {
//!     let mut payload = [0; 1_000];
//!     while from.fill(&mut payload).unwrap() {
//!         to.take(&payload).unwrap();
//!     }
//! };
//!
//! // The client asks for a stream; the exit connects and says so.
//! let stream = client.open(Target::parse("example.org", 80).unwrap()).unwrap();
//! carry(&mut client, &mut exit);
//! assert!(matches!(exit.next_event(), Some(Event::Open { stream: 0, target }) if target.port == 80));
//! exit.accept(stream);
//!
//! // Bytes go both ways.
//! assert_eq!(exit.write(stream, b"a page"), 6);
//! exit.finish(stream);
//! carry(&mut exit, &mut client);
//! assert_eq!(client.next_event(), Some(Event::Opened { stream }));
//! assert_eq!(client.received(stream), b"a page");
//! client.consume(stream, 6);
//! assert!(client.is_ended(stream));
//! ```

mod cell;
mod end;
mod flow;
mod limits;
mod target;

pub use cell::{CELL_HEADER_LEN, Reason, SEQUENCE_LEN};
pub use end::{End, Event, OpenError, StreamError};
pub use limits::{FIRST_WINDOW, Limits, MAX_EARLY, MAX_UNSAID};
pub use target::{Host, MAX_HOST_LEN, Target, TargetError};
