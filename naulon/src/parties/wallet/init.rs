//! `naulon wallet init` and `show`: whom a wallet deals with.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;

use super::lines::show_words;
use super::{Folder, room};
use crate::config::{WalletSettings, add_to_list};
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::{self, Output};
use crate::parties::{PartyFolder, print_trust};
use crate::passphrase::PassphraseFrom;

/// `naulon wallet init`
#[derive(Debug, Args)]
pub struct Init {
    /// The wallet's folder.
    #[arg(long, value_name = "DIR", default_value = "wallet")]
    pub(super) dir: PathBuf,
    /// The bank that keeps the account: its folder, identity file or naulon: line.
    #[arg(long)]
    pub(super) bank: String,
    /// A witness that watches the bank's register, by its verifier key (name+id+key). May be given again. Without one the
    /// bank must be on this machine.
    #[arg(long, value_name = "KEY")]
    pub(super) witness: Vec<String>,
    /// How many of the witnesses must have seen the register; 0 means more than half.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(super) threshold: usize,
    /// A log that may decide on purchases: its folder, identity file or naulon: line. May be given again.
    #[arg(long, value_name = "LOG", required = true)]
    pub(super) log: Vec<String>,
    /// A shop to buy from: its folder, identity file or naulon: line. May be given again, also later (`buy --shop`).
    #[arg(long, value_name = "SHOP")]
    pub(super) shop: Vec<String>,
}

impl Init {
    pub(super) fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let settings = WalletSettings {
            bank: Identity::find(&self.bank, Role::Bank)?.to_string(),
            witnesses: self.witness.clone(),
            threshold: self.threshold,
            logs: identity::lines_of(&self.log, Role::Log)?,
            shops: identity::lines_of(&self.shop, Role::Shop)?,
            ..room::settings_for(&self.bank)?
        };
        let words =
            PartyFolder::create(&self.dir, |folder| room::make(folder, &settings, &passphrase.create("the wallet")?))?;
        show_words(&self.dir, &words, output)?;
        Ok(Exit::Ok)
    }
}

/// `naulon wallet show`
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Print a file for `naulon verify --trust`: bank, logs and shops.
    #[arg(long)]
    pub(super) trust: bool,
}

impl Show {
    pub(super) fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let settings: WalletSettings = PartyFolder::open(&self.folder.dir).settings()?;
        let bank = Identity::find(&settings.bank, Role::Bank).context("the setting bank")?;
        let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
        let shops = identity::pinned(&settings.shops, Role::Shop, "shops")?;
        if self.trust {
            let all: Vec<Identity> = std::iter::once(bank).chain(logs).chain(shops).collect();
            return print_trust(&all, output);
        }
        let texts = |parties: &[Identity]| parties.iter().map(ToString::to_string).collect::<Vec<_>>();
        let shown = serde_json::json!({ "bank": bank.to_string(), "logs": texts(&logs), "shops": texts(&shops) });
        output.result(&shown, |_| {
            let lines = |parties: &[Identity]| texts(parties).join("\n");
            output::list([("bank", bank.to_string()), ("logs", lines(&logs)), ("shops", lines(&shops))])
        })?;
        Ok(Exit::Ok)
    }
}

/// Pins a shop that an option names, so that what is under way with it can go on later.
pub(super) fn learn_shop(folder: &Folder, shop: &str) -> anyhow::Result<Identity> {
    let shop = Identity::find(shop, Role::Shop)?;
    let settings: WalletSettings = PartyFolder::open(&folder.dir).settings()?;
    let known = identity::pinned(&settings.shops, Role::Shop, "shops")?;
    match known.iter().find(|known| known.key == shop.key) {
        Some(known) => ensure!(
            known.url == shop.url,
            "the wallet knows this shop at {}; if it has moved, change the setting shops",
            known.url
        ),
        None => {
            add_to_list::<WalletSettings>(&folder.dir, "shops", &shop.to_string())?;
        }
    }
    Ok(shop)
}
