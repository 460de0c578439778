//! The shop of a folder: made, stocked, opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use naulon_durable::sealed::Passphrase;
use naulon_exchange::OwnLog;
use naulon_money::Amount;
use naulon_purchase::{MAX_DESCRIPTION_LEN, MAX_TITLE_LEN, MerchantRules};
use naulon_shop::{FolderGrants, FolderShelf, SHOP_SECRET_LEN, Shop, ShopKeys, SqliteStore, Terms};
use naulon_statement::{PublicKey, Signed};
use naulon_wire::Address;

use super::PartyFolder;
use super::serving::KnownAs;
use crate::config::{ShopSettings, entry_modes};
use crate::identity::{self, Identity, Role};
use crate::output::{Output, Unit};

const KEY_FILE: &str = "shop.key";
/// The file of the sales.
pub const STORE_FILE: &str = "shop.sqlite";
/// The folder of the refunds that were granted.
pub const REFUNDS: &str = "refunds";
/// The folder of what is for sale, with its list.
const SHELF: &str = "shelf";
/// The folder of the encrypted goods.
const SEALED: &str = "sealed";
/// How often a running server looks whether the list has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Makes a shop in a folder.
pub fn make(
    folder: &PartyFolder,
    settings: &ShopSettings,
    known: &KnownAs,
    passphrase: &Passphrase,
) -> anyhow::Result<Identity> {
    let keys = ShopKeys::from_secret(&*folder.seal_random::<SHOP_SECRET_LEN>(KEY_FILE, passphrase)?);
    let identity = known.apply(Identity::new(Role::Shop, keys.merchant.public(), settings.listen.public.url()))?;
    std::fs::create_dir(folder.path(SHELF))?;
    std::fs::write(shelf_list(folder), "# What is for sale: the files of this folder that are listed here.\n")?;
    folder.write_settings(settings)?;
    folder.write_identity(&identity)?;
    Ok(identity)
}

/// Copies a file onto the shelf and lists it; a file of that name that is listed already gets the new price, title and
/// content. Returns the item's name.
pub fn add(
    folder: &PartyFolder,
    file: &Path,
    price: Amount,
    title: Option<&str>,
    description: &str,
) -> anyhow::Result<String> {
    let name = file.file_name().and_then(|name| name.to_str()).context("the file has no name that can be listed")?;
    let title = title.unwrap_or(name);
    ensure!(!price.is_zero(), "a price is above zero");
    ensure!((1..=MAX_TITLE_LEN).contains(&title.len()), "a title has 1 to {MAX_TITLE_LEN} bytes");
    ensure!(description.len() <= MAX_DESCRIPTION_LEN, "a description has at most {MAX_DESCRIPTION_LEN} bytes");
    ensure!(name != naulon_shop::SETTINGS_FILE, "{name} is the name of the list itself");
    let list = shelf_list(folder);
    let text = listing(&std::fs::read_to_string(&list)?, name, title, description, price)
        .with_context(|| format!("{}", list.display()))?;
    let place = folder.path(SHELF).join(name);
    let from = std::fs::canonicalize(file).with_context(|| format!("{} cannot be read", file.display()))?;
    // A file that stands on the shelf already is listed as it is.
    if std::fs::canonicalize(&place).ok() != Some(from) {
        let arriving = folder.path(SHELF).join(format!(".{name}.new"));
        std::fs::copy(file, &arriving).with_context(|| format!("{} cannot be copied", file.display()))?;
        std::fs::rename(&arriving, &place)?;
    }
    let new = folder.path(SHELF).join(format!(".{}.new", naulon_shop::SETTINGS_FILE));
    std::fs::write(&new, text)?;
    std::fs::rename(&new, &list)?;
    Ok(name.to_owned())
}

/// The shop's statement to this bank that this log is its own (AAT §7).
pub fn own_log(
    folder: &PartyFolder,
    passphrase: &Passphrase,
    (bank, log): (&Identity, &Identity),
    grace: naulon_statement::Duration,
) -> anyhow::Result<Vec<u8>> {
    let keys = ShopKeys::from_secret(&*folder.unseal::<SHOP_SECRET_LEN>(KEY_FILE, passphrase)?);
    let own = OwnLog { merchant: keys.merchant.public(), bank: bank.key, log: log.key, grace };
    Ok(Signed::sign(&keys.merchant, own).bytes().to_vec())
}

/// Opens the shop of a folder, and encrypts what is new on its shelf.
pub fn open(
    folder: &PartyFolder,
    settings: &ShopSettings,
    passphrase: &Passphrase,
    output: Output,
) -> anyhow::Result<Shop<SqliteStore, FolderShelf>> {
    let keys = ShopKeys::from_secret(&*folder.unseal::<SHOP_SECRET_LEN>(KEY_FILE, passphrase)?);
    let shelf = FolderShelf::open(&folder.path(SHELF), &folder.path(SEALED), &keys.goods)?;
    let bar = output.bar(0, "encrypting", Unit::Bytes);
    shelf.scan(&mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    })?;
    bar.finish_and_clear();
    let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
    let rules = MerchantRules {
        merchant: keys.merchant.public(),
        banks: identity::pinned(&settings.banks, Role::Bank, "banks")?.iter().map(|bank| bank.key).collect(),
        logs: logs.iter().map(|log| Ok((log.key, log.log()?))).collect::<anyhow::Result<_>>()?,
        release_margin: settings.release_margin.0,
    };
    let terms = Terms {
        currency: settings.currency.parse().context("the setting currency")?,
        offer_valid_for: settings.offer_valid.0,
        two_sided: settings.two_sided,
        entries: entry_modes(&settings.entries)?,
    };
    let shop = Shop::open(keys, rules, terms, shelf, SqliteStore::open(&folder.path(STORE_FILE))?)?;
    Ok(shop.with_grants(FolderGrants::new(&folder.path(REFUNDS))))
}

/// Where banks and logs are.
pub fn addresses(settings: &ShopSettings) -> anyhow::Result<BTreeMap<PublicKey, Address>> {
    let banks = identity::pinned(&settings.banks, Role::Bank, "banks")?;
    let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
    banks.into_iter().chain(logs).map(|party| Ok((party.key, party.address()?))).collect()
}

/// Sells what is new on the shelf whenever the list has changed.
pub async fn restock(shelf: FolderShelf, list: PathBuf) {
    let changed = |list: &Path| std::fs::metadata(list).and_then(|list| list.modified()).ok();
    let mut known: Option<SystemTime> = changed(&list);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = changed(&list);
        if now == known {
            continue;
        }
        known = now;
        let shelf = shelf.clone();
        match tokio::task::spawn_blocking(move || shelf.scan(&mut |_| {})).await {
            Ok(Ok(scan)) => {
                tracing::info!(new = scan.sealed.len(), of = scan.sealed.len() + scan.kept.len(), "stocked")
            }
            // What is sold is as it was; the next change is looked at again.
            Ok(Err(error)) => tracing::warn!("the shelf is not restocked: {error}"),
            Err(error) => tracing::warn!("the shelf is not restocked: {error}"),
        }
    }
}

/// The list with this item in it: changed where it stands, or added at the end.
fn listing(text: &str, name: &str, title: &str, description: &str, price: Amount) -> anyhow::Result<String> {
    let mut document: toml_edit::DocumentMut = text.parse()?;
    let price = price.to_string();
    let values = [("file", name), ("title", title), ("description", description), ("price", &price)];
    if let Some(items) = document.get_mut("item") {
        let Some(items) = items.as_array_of_tables_mut() else { bail!("`item` is not a list") };
        let known = items.iter_mut().find(|item| item.get("file").and_then(|file| file.as_str()) == Some(name));
        if let Some(item) = known {
            for (key, value) in values {
                item.insert(key, toml_edit::value(value));
            }
            return Ok(document.to_string());
        }
    }
    let mut item = toml_edit::Table::new();
    for (key, value) in values {
        item.insert(key, toml_edit::value(value));
    }
    Ok(format!("{text}\n[[item]]\n{item}"))
}

/// The list of what is for sale.
pub fn shelf_list(folder: &PartyFolder) -> PathBuf {
    folder.path(SHELF).join(naulon_shop::SETTINGS_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_what_people_wrote() {
        let price = |text: &str| text.parse::<Amount>().expect("an amount");
        let one = listing("# Mine.\n", "a.bin", "A", "", price("1")).expect("lists");
        let two = listing(&one, "b \"c\".bin", "B", "two\nlines", price("2.50")).expect("lists");
        let dearer = listing(&two, "a.bin", "A", "", price("3")).expect("lists");
        assert!(dearer.starts_with("# Mine.\n\n[[item]]\nfile = \"a.bin\"\n"), "{dearer}");
        assert_eq!(dearer.matches("[[item]]").count(), 2);
        assert!(dearer.contains("price = \"3.00\"") && dearer.contains("price = \"2.50\""), "{dearer}");
        assert!(listing("item = 3\n", "a", "A", "", price("1")).is_err());
    }
}
