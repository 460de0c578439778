//! The contract of the bank's one operation: a reference model beside it, every refusal by name, an auditor that finds what
//! is wrong.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod auditor;
mod books;
mod chains;
mod model;
mod parts;
mod purposes;
mod refusals;
mod register;
mod world;
