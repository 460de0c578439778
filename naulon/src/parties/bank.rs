//! `naulon bank …`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use naulon_exchange::{Exchange, Input, Order, Output as Wanted, Retention, State};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, Joint, PublicKey, SecretKey, UnverifiedJoint};
use naulon_wire::publish::StartError;
use naulon_wire::{BankCall, BankReply, CallError, Circuit, Clients};

use super::beside::{self, WithLog};
use super::brand_keys::{self, BrandKeys};
use super::serving::{self, KnownAs, Serving};
use super::{PartyFolder, bank_room, upkeep};
use crate::clock;
use crate::config::{BankListen, BankSettings, add_to_list};
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::{Output, note};
use crate::passphrase::PassphraseFrom;
use crate::watch::{self, WatchBank};
use crate::witnesses::{self, WitnessAddress};

/// `naulon bank …`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A bank keeps accounts and issues tokens that it cannot recognise again. Its folder is ./bank unless --dir says otherwise.

Examples:
  naulon bank init --log log
  naulon bank serve
  naulon bank credit ACCOUNT 10.00 --reference 'transfer 4711'")]
pub enum BankCommand {
    /// Make a bank: its folder, keys, brands for this period and the next, settings and identity
    Init(Init),
    /// Carry promises to this shop, too, for buyers who want to be off-line (from the next start of the server on)
    TrustShop(TrustShop),
    /// Heed the decisions of this log, too (from the next start of the server on)
    TrustLog(TrustLog),
    /// Have the register cosigned by this witness, too (from the next start of the server on)
    TrustWitness(TrustWitness),
    /// Run the server until Ctrl-C or SIGTERM
    Serve(Serve),
    /// Credit an account with money that came in from outside (the operator's key signs)
    Credit(Credit),
    /// Copy the bank's folder and its store as it is at one moment; the server may be running
    Backup(Backup),
    /// Bring the store's tables up to date after an update of the program
    Migrate(Migrate),
    /// Print who the bank is and which logs it heeds
    Show(Show),
    /// Watch a bank's register from outside: find what the bank would rather not have found
    Watch(WatchBank),
}

/// The folder of a bank.
#[derive(Debug, Args)]
pub struct Folder {
    /// The bank's folder.
    #[arg(long, value_name = "DIR", default_value = "bank")]
    dir: PathBuf,
}

/// `naulon bank init`
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    folder: Folder,
    /// Where the server will listen; port 0 chooses a free one now.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:21001")]
    listen: String,
    /// Where owners of accounts will ask. The default is the next port but nine on the same address.
    #[arg(long, value_name = "ADDRESS")]
    listen_account: Option<String>,
    #[command(flatten)]
    known: KnownAs,
    /// The URL for owners of accounts, if that is not the address: `https://accounts.bank.example`
    #[arg(long, value_name = "URL")]
    account_url: Option<String>,
    /// Where the books are: sqlite, in the folder, or postgresql://USER@localhost/DATABASE.
    #[arg(long, value_name = "STORE", default_value = crate::config::SQLITE)]
    store: String,
    /// The currency of all accounts and tokens.
    #[arg(long, default_value = "EUR")]
    currency: Currency,
    /// What tokens are worth. The default is 0.01, 0.02, 0.05 and so on to 500.
    #[arg(long, value_name = "AMOUNTS", value_delimiter = ',')]
    denominations: Vec<Amount>,
    /// A log whose decisions it heeds: its folder, identity file or naulon: line. May be given again.
    #[arg(long, value_name = "LOG")]
    log: Vec<String>,
    /// Make the brands' keys in a PKCS#11 token, by this library, instead of sealing them into files.
    #[arg(long, value_name = "FILE", requires = "pkcs11_token")]
    pkcs11_module: Option<String>,
    /// The label of that token.
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    pkcs11_token: Option<String>,
    /// A file with its PIN, which nobody but its owner may read. Without one the PIN is asked for.
    #[arg(long, value_name = "FILE", requires = "pkcs11_module")]
    pkcs11_pin_file: Option<String>,
    /// Take the brands' RSA-2048 keys from the *.der files (PKCS#8) in this folder instead of making them. For tests: whoever
    /// has a brand's key can make money.
    #[arg(long, value_name = "DIR")]
    brand_keys: Option<PathBuf>,
}

/// `naulon bank trust-log`
#[derive(Debug, Args)]
#[command(after_help = "\
A log is best apart from everybody else in a purchase. It need not be (AAT §7):
  --own        The log is this bank's. Bank and log together could hand a key to a buyer and credit nobody, so shops that
               accept the log trust them both. Buyers are as safe as ever.
  --statement  The log is a shop's own, as the shop has stated by `naulon shop own-log`. Its buyers trust the shop to publish
               keys in time. What it has not committed to some time after the expiry is freed by this bank's own clock, and
               not credited any more.
Wallets are told, and tell their owners before they buy. One program can run both: `naulon bank serve --with-log DIR`,
`naulon shop serve --with-log DIR`.")]
pub struct TrustLog {
    /// The log: its folder, identity file or naulon: line.
    #[arg(required = true)]
    log: Vec<String>,
    /// The log is this bank's own.
    #[arg(long, conflicts_with = "statement")]
    own: bool,
    /// The log is a shop's own: the file with the shop's statement.
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon bank trust-witness`
#[derive(Debug, Args)]
pub struct TrustWitness {
    /// The witness: its folder, or its verifier key and address in one argument, `"NAME+ID+KEY URL"`.
    #[arg(required = true)]
    witness: Vec<String>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon bank trust-shop`
#[derive(Debug, Args)]
pub struct TrustShop {
    /// The shop: its folder, identity file or naulon: line.
    #[arg(required = true)]
    shop: Vec<String>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon bank serve`
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    folder: Folder,
    /// Start although too few witnesses say where they stand. Only if this store is certainly the newest: an old copy would
    /// contradict what the bank has published, and revive spent money.
    #[arg(long)]
    unchecked_by_witnesses: bool,
    #[command(flatten)]
    with_log: WithLog,
    #[command(flatten)]
    serving: Serving,
}

/// `naulon bank credit`
#[derive(Debug, Args)]
#[command(after_help = "\
Each reference is credited once: repeating the command with the same account, amount and reference changes nothing.")]
pub struct Credit {
    /// The account's key, as `naulon wallet open-account` prints it.
    // Every 64th key begins with a hyphen.
    #[arg(allow_hyphen_values = true)]
    account: PublicKey,
    /// How much came in, such as 10 or 12.50.
    amount: Amount,
    /// What names the incoming payment. Without one it is a payment that never was before.
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon bank backup`
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    backup: upkeep::Backup,
}

/// `naulon bank migrate`
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    migrating: upkeep::Migrating,
}

/// `naulon bank show`
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    folder: Folder,
    /// Print a file for `naulon verify --trust`: this bank and its logs.
    #[arg(long)]
    trust: bool,
}

impl BankCommand {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        match self {
            BankCommand::Init(init) => init.run(passphrase, output),
            BankCommand::TrustShop(trust) => trust.run(output),
            BankCommand::TrustLog(trust) => trust.run(output),
            BankCommand::TrustWitness(trust) => trust.run(output),
            BankCommand::Serve(serve) => serve.run(passphrase, output),
            BankCommand::Credit(credit) => credit.run(passphrase, output),
            BankCommand::Backup(backup) => backup.run(output),
            BankCommand::Migrate(migrate) => migrate.run(output),
            BankCommand::Show(show) => show.run(output),
            BankCommand::Watch(watch) => watch::run_bank(watch, output),
        }
    }
}

impl Init {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let mut settings = BankSettings {
            logs: identity::lines_of(&self.log, Role::Log)?,
            listen: BankListen::at(self.known.at(&self.listen)?, self.known.at(&self.listen_account()?)?),
            store: self.store.clone(),
            pkcs11_module: self.pkcs11_module.clone().unwrap_or_default(),
            pkcs11_token: self.pkcs11_token.clone().unwrap_or_default(),
            pkcs11_pin_file: self.pkcs11_pin_file.clone().unwrap_or_default(),
            currency: self.currency.to_string(),
            ..BankSettings::default()
        };
        if !self.denominations.is_empty() {
            settings.denominations = self.denominations.iter().map(ToString::to_string).collect();
        }
        let known = self.known.clone().with_account_url(self.account_url.clone());
        let keys = self.brand_keys.as_deref().map_or(BrandKeys::New, BrandKeys::From);
        let identity = PartyFolder::create(&self.folder.dir, |folder| {
            bank_room::make(folder, settings, &known, &passphrase.create("the bank's keys")?, keys, output)
        })?;
        super::report_init(&self.folder.dir, &identity, output)
    }
}

impl Init {
    /// Where owners of accounts will ask.
    fn listen_account(&self) -> anyhow::Result<String> {
        if let Some(address) = &self.listen_account {
            return Ok(address.clone());
        }
        let mut address: SocketAddr = self.listen.parse().with_context(|| format!("{} is no address", self.listen))?;
        if address.port() != 0 {
            address.set_port(address.port().checked_add(10).context("name --listen-account: the port is too high")?);
        }
        Ok(address.to_string())
    }
}

impl TrustShop {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        for line in identity::lines_of(&self.shop, Role::Shop)? {
            let added = add_to_list::<BankSettings>(&self.folder.dir, "shops", &line)?;
            super::report_trust(&line, added, output)?;
        }
        Ok(Exit::Ok)
    }
}

impl TrustLog {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        for line in identity::lines_of(&self.log, Role::Log)? {
            let added = add_to_list::<BankSettings>(&self.folder.dir, "logs", &line)?;
            super::report_trust(&line, added, output)?;
            if self.own {
                add_to_list::<BankSettings>(&self.folder.dir, "own_logs", &line)?;
                note(beside::OF_BANK);
            }
        }
        if let Some(file) = &self.statement {
            self.take_statement(file)?;
            note(beside::OF_MERCHANT);
        }
        Ok(Exit::Ok)
    }

    fn take_statement(&self, file: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let own = beside::read_own_log(&text, &PartyFolder::open(&self.folder.dir).identity()?.key)
            .with_context(|| format!("{}", file.display()))?;
        let named = identity::pinned(&identity::lines_of(&self.log, Role::Log)?, Role::Log, "logs")?;
        anyhow::ensure!(named.iter().any(|log| log.key == own.log), "{} is about another log", file.display());
        add_to_list::<BankSettings>(&self.folder.dir, "merchant_logs", text.trim())?;
        Ok(())
    }
}

impl TrustWitness {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        for witness in &self.witness {
            let line = WitnessAddress::find(witness)?.to_string();
            let added = add_to_list::<BankSettings>(&self.folder.dir, "witnesses", &line)?;
            super::report_trust(&line, added, output)?;
        }
        Ok(Exit::Ok)
    }
}

impl Serve {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: BankSettings = folder.settings()?;
        serving::start_logging(&settings.log_level)?;
        let passphrase = passphrase.open("the bank's keys")?;
        let runtime = serving::runtime()?;
        let log = runtime.block_on(self.with_log.start(&passphrase, output))?;
        let running = bank_room::start(&folder, &settings, &passphrase, output)?;
        let addresses = bank_room::addresses(&settings)?;
        let retention = Retention { brands: settings.keep_closed.0, claims: settings.claims.0 };
        let served = runtime.block_on(async {
            let witnesses = witnesses::clients(&witnesses::listed(&settings.witnesses)?, &Clients::default())?;
            match running.publisher.settle(&witnesses, &*running.front).await {
                Err(error @ StartError::TooFew { .. }) if self.unchecked_by_witnesses => {
                    tracing::warn!(%error, "started all the same, as --unchecked-by-witnesses says");
                }
                settled => settled.context("the bank was not started")?,
            }
            let (publisher, owner) = (running.publisher.clone(), Arc::clone(&running.front));
            let asking = tokio::spawn(async move { publisher.run(&witnesses, &*owner).await });
            let doors = bank_room::doors(&folder, &settings.listen).await?;
            let identity = folder.identity()?;
            let front = Arc::clone(&running.front);
            let renewal = tokio::spawn(brand_keys::renew(running.clone(), folder.clone(), settings, passphrase));
            let closing = tokio::spawn(bank_room::close_days(running.clone(), clock::now));
            let forgetting = Arc::clone(&running.front);
            let forgetting = tokio::spawn(async move { forgetting.forget(retention).await });
            let errands = Arc::clone(&running.front);
            let errands = tokio::spawn(async move { errands.run_errands(Clients::default(), addresses).await });
            let broken = async { anyhow::Error::new(front.broken().await).context("the bank's store; start again") };
            let how = (self.serving, output);
            let served = serving::serve_until_stopped(doors, Arc::clone(&front), &identity, how, broken).await;
            renewal.abort();
            closing.abort();
            asking.abort();
            errands.abort();
            forgetting.abort();
            if let Some(log) = log {
                log.stop(served.is_err()).await?;
            }
            served
        });
        running.front.stop().context("the bank's store")?;
        served.map(|()| Exit::Ok)
    }
}

impl Credit {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: BankSettings = folder.settings()?;
        let bank = folder.identity()?;
        let operator = bank_room::operator(&folder, &passphrase.open("the operator's key")?)?;
        let reference = match &self.reference {
            Some(text) => text.clone(),
            None => hex::encode(*super::folder::random::<16>()?),
        };
        let credited = credit(&bank, &operator, &settings.currency, (self.account, self.amount), &reference);
        serving::runtime()?.block_on(credited)?;
        let report = serde_json::json!({
            "account": self.account.to_string(), "credited": self.amount.to_string(), "currency": settings.currency,
            "reference": reference,
        });
        output
            .result(&report, |_| format!("credited {} {} (reference {reference})", self.amount, settings.currency))?;
        Ok(Exit::Ok)
    }
}

impl Backup {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        bank_room::backup(&PartyFolder::open(&self.folder.dir), &self.backup, output)
    }
}

impl Migrate {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        self.migrating.run(output, |rehearsal| bank_room::migrate(&folder, rehearsal))
    }
}

impl Show {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: BankSettings = folder.settings()?;
        let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
        super::show(self.trust, &folder.identity()?, &[("logs", &logs)], output)
    }
}

/// Has a running bank credit an account with money that came in from outside.
pub async fn credit(
    bank: &Identity,
    operator: &SecretKey,
    currency: &str,
    (account, amount): (PublicKey, Amount),
    reference: &str,
) -> anyhow::Result<()> {
    let exchange = Exchange {
        bank: bank.key,
        currency: currency.parse()?,
        inputs: vec![Input::Outside { amount, reference: order(reference) }],
        outputs: vec![Wanted::Account { account, amount }],
        condition: None,
        seal_to: None,
    };
    let call = BankCall::Exchange(UnverifiedJoint::from(Joint::sign(exchange, [operator])));
    let client = Clients::default().on(Circuit::Identified(operator.public()), bank.address()?)?;
    let reply = client.call(&call).await.map_err(|error| match error {
        CallError::Problem(problem) => anyhow::Error::new(CallError::Problem(problem)),
        unsure => anyhow::Error::new(unsure).context(format!(
            "it is not known whether the account was credited; repeat with --reference '{reference}', and it is once"
        )),
    })?;
    match reply {
        BankReply::Exchange(reply) if reply.state == State::Done => Ok(()),
        _ => anyhow::bail!("the bank gave another answer than expected"),
    }
}

/// The reference of an incoming payment as the bank keeps it.
fn order(reference: &str) -> Order {
    let mut order = Order::default();
    order.copy_from_slice(&Digest::of(&[b"naulon/reference", reference.as_bytes()]).0[..16]);
    order
}
