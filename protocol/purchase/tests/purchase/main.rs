//! The contract of a purchase's parties: buyer, merchant, log and judge, each against honest and cheating others.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod buyer;
mod cast;
mod entries;
mod judge;
mod log;
mod merchant;
mod vectors;
