//! The block format, from the sender through three mixes and back.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod descriptor;
mod paths;
mod tagging;
mod vectors;
mod world;
