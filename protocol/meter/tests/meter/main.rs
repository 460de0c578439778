//! The meter, its payer and its recipient, held against a model, and every cheat by itself.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod cheats;
mod losses;
mod model;
mod replies;
mod shares;
mod world;
