//! `naulon shop …`

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use naulon_money::{Amount, Currency};
use naulon_purchase::refund::MAX_REFUNDS;
use naulon_shop::{FolderGrants, Grants, SaleState, SaleSummary, ShopFront, ShopStore, SqliteReader, SqliteStore};
use naulon_statement::Digest;
use naulon_wire::EvidenceFile;
use serde::Serialize;

use super::beside::{self, WithLog};
use super::serving::{self, KnownAs, Serving};
use super::{PartyFolder, shop_room, upkeep};
use crate::clock::{now, utc};
use crate::config::{Listen, ShopSettings, Span};
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::{self, Output, note};
use crate::passphrase::PassphraseFrom;

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
    /// State to a bank that a log is this shop's own
    OwnLog(OwnLog),
    /// Run the server until Ctrl-C or SIGTERM
    Serve(Serve),
    /// List the newest sales, or write one's evidence
    Sales(Sales),
    /// Grant a refund of a sale; its buyer takes it with `naulon wallet refund`
    Refund(Refund),
    /// Copy the shop's folder and its store as it is at one moment; the server may be running
    Backup(Backup),
    /// Bring the store's tables up to date after an update of the program
    Migrate(Migrate),
    /// Forget sales that are over, while the server is stopped; running, it does so by itself
    Prune(Prune),
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
    #[command(flatten)]
    known: KnownAs,
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
    with_log: WithLog,
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

/// `naulon shop backup`
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    backup: upkeep::Backup,
}

/// `naulon shop migrate`
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    migrating: upkeep::Migrating,
}

/// `naulon shop refund`
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is paid before the buyer comes for it, and then each refund once, out of the shop's account. All refunds of a sale
together are at most its price. Repeating the command grants one more.")]
pub struct Refund {
    #[command(flatten)]
    folder: Folder,
    /// The sale, as `naulon shop sales` shows it.
    sale: Digest,
    /// How much; by default what is left of the price.
    #[arg(long)]
    amount: Option<Amount>,
}

/// `naulon shop own-log`
#[derive(Debug, Args)]
#[command(after_help = "\
For a shop that keeps its log itself (AAT §7). The statement goes to the bank's operator: `naulon bank trust-log LOG --statement
FILE`. The bank then frees what the log has not committed to until the grace after the expiry, by its own clock, and credits
it no more; so be up, and bring commits in time. Your buyers' wallets tell them that you are your own log.

Example:
  naulon shop own-log log --bank bank --out own-log.txt
  naulon bank trust-log log --statement own-log.txt
  naulon shop serve --with-log log")]
pub struct OwnLog {
    /// The log: its folder, identity file or naulon: line.
    log: String,
    /// The bank that is told.
    #[arg(long)]
    bank: String,
    /// How long after the expiry a commit is still credited.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    grace: Span,
    /// Where the statement goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon shop prune`
#[derive(Debug, Args)]
#[command(after_help = "\
A sale is over when the bank has credited it or its purchase was aborted, and its offer is no longer good. It is kept for the
setting keep_sales from then on, for buyers who restore a wallet.")]
pub struct Prune {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    pruning: upkeep::Pruning,
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
            ShopCommand::OwnLog(own) => own.run(passphrase, output),
            ShopCommand::Serve(serve) => serve.run(passphrase, output),
            ShopCommand::Sales(sales) => sales.run(output),
            ShopCommand::Refund(refund) => refund.run(output),
            ShopCommand::Backup(backup) => backup.run(output),
            ShopCommand::Migrate(migrate) => migrate.run(output),
            ShopCommand::Prune(prune) => prune.run(output),
            ShopCommand::Show(show) => show.run(output),
        }
    }
}

impl Init {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let settings = ShopSettings {
            listen: Listen::at(self.known.at(&self.listen)?),
            currency: self.currency.to_string(),
            banks: identity::lines_of(&self.bank, Role::Bank)?,
            logs: identity::lines_of(&self.log, Role::Log)?,
            ..ShopSettings::default()
        };
        let identity = PartyFolder::create(&self.folder.dir, |folder| {
            shop_room::make(folder, &settings, &self.known, &passphrase.create("the shop's key")?)
        })?;
        super::report_init(&self.folder.dir, &identity, output)
    }
}

impl Add {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        folder.settings::<ShopSettings>()?;
        let item = shop_room::add(&folder, &self.file, self.price, self.title.as_deref(), &self.description)?;
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
        let shop = shop_room::open(&folder, &settings, &passphrase, output)?;
        let runtime = serving::runtime()?;
        let front = runtime.block_on(async {
            let log = self.with_log.start(&passphrase, output).await?;
            let doors = serving::doors(&folder, &settings.listen).await?;
            let restock = tokio::spawn(shop_room::restock(shop.shelf().clone(), shop_room::shelf_list(&folder)));
            let front = ShopFront::start(shop, shop_room::addresses(&settings)?);
            front.forget_after(settings.keep_sales.0);
            let (service, how) = (Arc::new(front.clone()), (self.serving, output));
            let identity = folder.identity()?;
            let served = serving::serve_until_stopped(doors, service, &identity, how, std::future::pending()).await;
            restock.abort();
            if let Some(log) = log {
                log.stop(served.is_err()).await?;
            }
            served.map(|()| front)
        })?;
        front.stop().context("the shop's store")?;
        Ok(Exit::Ok)
    }
}

impl OwnLog {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let (log, bank) = (Identity::find(&self.log, Role::Log)?, Identity::find(&self.bank, Role::Bank)?);
        let statement = shop_room::own_log(&folder, &passphrase.open("the shop's key")?, (&bank, &log), self.grace.0)?;
        std::fs::write(&self.out, beside::to_text(&statement) + "\n")
            .with_context(|| format!("{}", self.out.display()))?;
        note(beside::OF_MERCHANT);
        output.result(&serde_json::json!({ "statement": self.out }), |_| {
            format!("the statement for {} is in {}", self.bank, self.out.display())
        })?;
        Ok(Exit::Ok)
    }
}

impl Prune {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: ShopSettings = folder.settings()?;
        let mut store = SqliteStore::open(&folder.path(shop_room::STORE_FILE))?;
        let (now, before) = (now(), now().minus(settings.keep_sales.0));
        let due = store.prunable(before, now)?;
        self.pruning.run(output, due, |limit| Ok(store.prune(before, now, limit)?))
    }
}

impl Sales {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let store = PartyFolder::open(&self.folder.dir).path(shop_room::STORE_FILE);
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

impl Backup {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let store = folder.path(shop_room::STORE_FILE);
        self.backup.run(output, &folder, shop_room::STORE_FILE, |copy| {
            // A shop that has never run has sold nothing yet.
            if store.is_file() {
                SqliteStore::backup(&store, copy)?;
            }
            Ok(None)
        })
    }
}

impl Migrate {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let store = PartyFolder::open(&self.folder.dir).path(shop_room::STORE_FILE);
        self.migrating.run(output, |rehearsal| Ok(SqliteStore::migrate(&store, rehearsal)?))
    }
}

impl Refund {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let store = folder.path(shop_room::STORE_FILE);
        let sales = SqliteReader::open(&store).with_context(|| format!("{}", store.display()))?;
        let sale = sales.sale(&self.sale)?.with_context(|| format!("there is no sale {}", self.sale))?;
        let summary = SaleSummary::of(self.sale, &sale);
        ensure!(summary.state == SaleState::Paid, "the sale is not paid, so there is nothing to give back");
        let grants = FolderGrants::new(&folder.path(shop_room::REFUNDS));
        let granted = grants.granted(&self.sale)?;
        let before = Amount::checked_sum(granted.iter().copied()).context("the refunds cannot be counted")?;
        let left = summary.price.checked_sub(before).unwrap_or(Amount::ZERO);
        let amount = self.amount.unwrap_or(left);
        ensure!(!amount.is_zero() && amount <= left, "of this sale {left} {} can be given back", summary.currency);
        ensure!(granted.len() < MAX_REFUNDS as usize, "a sale has at most {MAX_REFUNDS} refunds");
        grants.grant(&self.sale, amount)?;
        let report = serde_json::json!({ "sale": self.sale.to_string(), "amount": amount.to_string() });
        output.result(&report, |_| format!("{amount} {} are granted", summary.currency))?;
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
