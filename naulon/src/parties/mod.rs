//! The four parties as programs: each with a folder of its own.
//!
//! | in the folder | what |
//! | --- | --- |
//! | `naulon.toml` | settings |
//! | `identity.toml` | the public identity, to hand on (not a wallet's: it has none) |
//! | `*.key` | secrets, sealed under the passphrase |
//! | `*.sqlite` | the store |

pub mod account_fares;
mod bank;
pub mod bank_room;
mod beside;
pub mod brand_keys;
mod directory;
pub mod folder;
pub mod log;
mod mix;
pub mod mix_room;
pub mod proxy;
mod purse;
pub mod serving;
mod shop;
pub mod shop_room;
mod upkeep;
pub mod wallet;
mod witness;

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

pub use bank::{BankCommand, credit};
pub use directory::DirectoryCommand;
pub use folder::PartyFolder;
pub use log::LogCommand;
pub use mix::MixCommand;
pub use proxy::ProxyCommand;
pub use purse::PurseCommand;
pub use shop::ShopCommand;
pub use wallet::WalletCommand;
pub use witness::WitnessCommand;

use crate::exit::Exit;
use crate::identity::{self, Identity};
use crate::output::{self, Output};

#[derive(Serialize)]
struct Made<'a> {
    role: &'a str,
    dir: String,
    identity: String,
}

/// Says that a party was made.
fn report_init(dir: &Path, identity: &Identity, output: Output) -> anyhow::Result<Exit> {
    let made = Made { role: identity.role.name(), dir: dir.display().to_string(), identity: identity.to_string() };
    output.result(&made, |made| {
        format!(
            "{} made in {}. It is known by {}/identity.toml, or by\n{}",
            made.role, made.dir, made.dir, made.identity
        )
    })?;
    Ok(Exit::Ok)
}

/// Says that a party is trusted.
fn report_trust(line: &str, added: bool, output: Output) -> anyhow::Result<()> {
    let report = serde_json::json!({ "trusted": line, "new": added });
    output.result(&report, |_| match added {
        true => format!("trusted from the next start of the server on: {line}"),
        false => format!("trusted already: {line}"),
    })
}

/// Prints a file for `naulon verify --trust`.
fn print_trust(parties: &[Identity], output: Output) -> anyhow::Result<Exit> {
    let lines: Vec<String> = parties.iter().map(ToString::to_string).collect();
    output.result(&serde_json::json!({ "trust": lines }), |_| identity::trust_file(parties))?;
    Ok(Exit::Ok)
}

/// Prints a party's identity and those that it deals with, or all of them as a file for `verify --trust`.
fn show(trust: bool, identity: &Identity, peers: &[(&str, &[Identity])], output: Output) -> anyhow::Result<Exit> {
    let known = peers.iter().flat_map(|(_, peers)| peers.iter());
    if trust {
        let all: Vec<Identity> = std::iter::once(identity).chain(known).cloned().collect();
        return print_trust(&all, output);
    }
    let texts = |peers: &[Identity]| peers.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut shown = Map::new();
    shown.insert("identity".to_owned(), Value::from(identity.to_string()));
    shown.insert("key".to_owned(), Value::from(identity.key.to_string()));
    for (name, peers) in peers {
        shown.insert((*name).to_owned(), Value::from(texts(peers)));
    }
    output.result(&shown, |_| {
        let mut pairs = vec![("identity", identity.to_string()), ("key", identity.key.to_string())];
        for (name, peers) in peers {
            let none = || "none".to_owned();
            pairs.push((*name, if peers.is_empty() { none() } else { texts(peers).join("\n") }));
        }
        output::list(pairs)
    })?;
    Ok(Exit::Ok)
}
