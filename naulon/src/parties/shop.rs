//! `naulon shop …`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use naulon_durable::sealed::Passphrase;
use naulon_money::{Amount, Currency};
use naulon_purchase::{MAX_DESCRIPTION_LEN, MAX_TITLE_LEN, MerchantRules};
use naulon_shop::{
    FolderShelf, SHOP_SECRET_LEN, SaleState, SaleSummary, Shop, ShopFront, ShopKeys, SqliteReader, SqliteStore, Terms,
};
use naulon_statement::Digest;
use naulon_wire::EvidenceFile;
use serde::Serialize;

use super::PartyFolder;
use super::serving::{self, Serving};
use crate::clock::utc;
use crate::config::ShopSettings;
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::{self, Output, Unit};
use crate::passphrase::PassphraseFrom;

const KEY_FILE: &str = "shop.key";
const STORE_FILE: &str = "shop.sqlite";
/// The folder of what is for sale, with its list.
const SHELF: &str = "shelf";
/// The folder of the encrypted goods.
const SEALED: &str = "sealed";
/// How often a running server looks whether the list has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many sales are listed unless more are asked for.
const SALES: usize = 20;

/// `naulon shop …`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A shop sells the files in its folder's `shelf`, which `shelf/shelf.toml` lists. Its folder is ./shop unless --dir says
otherwise.

Examples:
  naulon shop init --bank bank --log log
  naulon shop add song.flac --price 3.70 --title 'A song'
  naulon shop serve
  naulon shop sales")]
pub enum ShopCommand {
    /// Make a shop: its folder, key, settings and identity
    Init(Init),
    /// Put a file on the shelf; a running server sells it within seconds
    Add(Add),
    /// Run the server until Ctrl-C or SIGTERM
    Serve(Serve),
    /// List the newest sales, or write one's evidence
    Sales(Sales),
    /// Print who the shop is and which banks and logs it accepts
    Show(Show),
}

/// The folder of a shop.
#[derive(Debug, Args)]
pub struct Folder {
    /// The shop's folder.
    #[arg(long, value_name = "DIR", default_value = "shop")]
    dir: PathBuf,
}

/// `naulon shop init`
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    folder: Folder,
    /// Where the server will listen; port 0 chooses a free one now.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:21003")]
    listen: String,
    /// The currency of the prices.
    #[arg(long, default_value = "EUR")]
    currency: Currency,
    /// A bank whose promises it accepts: its folder, identity file or naulon: line. May be given again.
    #[arg(long, value_name = "BANK", required = true)]
    bank: Vec<String>,
    /// A log that it trusts: its folder, identity file or naulon: line. May be given again.
    #[arg(long, value_name = "LOG", required = true)]
    log: Vec<String>,
}

/// `naulon shop add`
#[derive(Debug, Args)]
pub struct Add {
    /// The file. It is copied onto the shelf.
    file: PathBuf,
    /// What it costs, such as 3.70.
    #[arg(long)]
    price: Amount,
    /// A short name; by default the file's.
    #[arg(long)]
    title: Option<String>,
    /// What the buyer gets, in words: the shop answers for it.
    #[arg(long, default_value = "")]
    description: String,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon shop serve`
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    serving: Serving,
}

/// `naulon shop sales`
#[derive(Debug, Args)]
pub struct Sales {
    #[command(flatten)]
    folder: Folder,
    /// How many, the newest first.
    #[arg(long, default_value_t = SALES)]
    limit: usize,
    /// Write the evidence of this sale instead of a list.
    #[arg(long, value_name = "SALE", requires = "out")]
    evidence: Option<Digest>,
    /// Where the evidence goes.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `naulon shop show`
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    folder: Folder,
    /// Print a file for `naulon verify --trust`: this shop, its banks and its logs.
    #[arg(long)]
    trust: bool,
}

#[derive(Serialize)]
struct SaleLine {
    sale: String,
    title: String,
    price: String,
    currency: String,
    expiry: String,
    state: &'static str,
}

impl ShopCommand {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        match self {
            ShopCommand::Init(init) => init.run(passphrase, output),
            ShopCommand::Add(add) => add.run(output),
            ShopCommand::Serve(serve) => serve.run(passphrase, output),
            ShopCommand::Sales(sales) => sales.run(output),
            ShopCommand::Show(show) => show.run(output),
        }
    }
}

impl Init {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let settings = ShopSettings {
            listen: serving::settled(&self.listen)?.to_string(),
            currency: self.currency.to_string(),
            banks: identity::lines_of(&self.bank, Role::Bank)?,
            logs: identity::lines_of(&self.log, Role::Log)?,
            ..ShopSettings::default()
        };
        let identity = PartyFolder::create(&self.folder.dir, |folder| {
            make(folder, &settings, &passphrase.create("the shop's key")?)
        })?;
        super::report_init(&self.folder.dir, &identity, output)
    }
}

impl Add {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        folder.settings::<ShopSettings>()?;
        let item = add(&folder, &self.file, self.price, self.title.as_deref(), &self.description)?;
        let report = serde_json::json!({ "item": item, "price": self.price.to_string() });
        output.result(&report, |_| format!("{item} is for sale at {}", self.price))?;
        Ok(Exit::Ok)
    }
}

impl Serve {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: ShopSettings = folder.settings()?;
        serving::start_logging(&settings.log_level)?;
        let passphrase = passphrase.open("the shop's key")?;
        let shop = open(&folder, &settings, &passphrase, output)?;
        let runtime = serving::runtime()?;
        let front = runtime.block_on(async {
            let listener = serving::listen(settings.listen.parse()?).await?;
            let restock = tokio::spawn(restock(shop.shelf().clone(), shelf_list(&folder)));
            let front = ShopFront::start(shop, addresses(&settings)?);
            let (service, how) = (Arc::new(front.clone()), (self.serving, output));
            let identity = folder.identity()?;
            let served = serving::serve_until_stopped(listener, service, &identity, how, std::future::pending()).await;
            restock.abort();
            served.map(|()| front)
        })?;
        front.stop().context("the shop's store")?;
        Ok(Exit::Ok)
    }
}

impl Sales {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let store = PartyFolder::open(&self.folder.dir).path(STORE_FILE);
        let sales = match store.is_file() {
            true => SqliteReader::open(&store).with_context(|| format!("{}", store.display()))?,
            false => bail!("there are no sales at {}; the shop has never run", store.display()),
        };
        if let (Some(id), Some(out)) = (&self.evidence, &self.out) {
            let sale = sales.sale(id)?.with_context(|| format!("there is no sale {id}"))?;
            std::fs::write(out, EvidenceFile::write(&sale.evidence()))?;
            output.result(&serde_json::json!({ "evidence": out }), |_| format!("evidence is in {}", out.display()))?;
            return Ok(Exit::Ok);
        }
        let summaries = sales.newest_sales(self.limit)?.into_iter().map(|(id, sale)| SaleSummary::of(id, &sale));
        let lines: Vec<SaleLine> = summaries
            .map(|sale| SaleLine {
                sale: sale.id.to_string(),
                title: sale.title,
                price: sale.price.to_string(),
                currency: sale.currency.to_string(),
                expiry: utc(sale.expiry),
                state: state(sale.state),
            })
            .collect();
        output.result(&lines, |lines| {
            let row = |line: &SaleLine| {
                let price = format!("{} {}", line.price, line.currency);
                vec![line.state.to_owned(), price, line.title.clone(), line.expiry.clone(), line.sale.clone()]
            };
            output::table(&["state", "price", "title", "expiry", "sale"], lines.iter().map(row), &[1])
        })?;
        Ok(Exit::Ok)
    }
}

impl Show {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: ShopSettings = folder.settings()?;
        let banks = identity::pinned(&settings.banks, Role::Bank, "banks")?;
        let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
        super::show(self.trust, &folder.identity()?, &[("banks", &banks), ("logs", &logs)], output)
    }
}

/// Makes a shop in a folder.
pub fn make(folder: &PartyFolder, settings: &ShopSettings, passphrase: &Passphrase) -> anyhow::Result<Identity> {
    let keys = ShopKeys::from_secret(&*folder.seal_random::<SHOP_SECRET_LEN>(KEY_FILE, passphrase)?);
    let url = format!("http://{}", settings.listen);
    let identity = Identity { role: Role::Shop, key: keys.merchant.public(), url, checkpoints: None };
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
    if std::fs::canonicalize(file).ok() != std::fs::canonicalize(&place).ok() {
        let arriving = folder.path(SHELF).join(format!(".{name}.new"));
        std::fs::copy(file, &arriving).with_context(|| format!("{} cannot be copied", file.display()))?;
        std::fs::rename(&arriving, &place)?;
    }
    let new = folder.path(SHELF).join(format!(".{}.new", naulon_shop::SETTINGS_FILE));
    std::fs::write(&new, text)?;
    std::fs::rename(&new, &list)?;
    Ok(name.to_owned())
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
    };
    Ok(Shop::open(keys, rules, terms, shelf, SqliteStore::open(&folder.path(STORE_FILE))?)?)
}

/// Where banks and logs are.
pub fn addresses(settings: &ShopSettings) -> anyhow::Result<BTreeMap<naulon_statement::PublicKey, String>> {
    let banks = identity::pinned(&settings.banks, Role::Bank, "banks")?;
    let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
    Ok(banks.into_iter().chain(logs).map(|party| (party.key, party.url)).collect())
}

/// Sells what is new on the shelf whenever the list has changed.
async fn restock(shelf: FolderShelf, list: PathBuf) {
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

fn shelf_list(folder: &PartyFolder) -> PathBuf {
    folder.path(SHELF).join(naulon_shop::SETTINGS_FILE)
}

fn state(state: SaleState) -> &'static str {
    match state {
        SaleState::Released => "released",
        SaleState::Committed => "committed",
        SaleState::Paid => "paid",
        SaleState::Aborting => "aborting",
        SaleState::Aborted => "aborted",
        SaleState::Lapsed => "lapsed",
    }
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
