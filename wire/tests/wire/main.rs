//! The contract of the wire: every call and reply is read back as it was written, every refusal has its page, rubbish is
//! refused by name, and server and client keep their promises over real sockets.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod calls;
mod codes;
mod link;
mod listeners;
mod loopback;
mod openapi;
mod payment;
mod publish;
mod rubbish;
mod samples;
mod tls;
