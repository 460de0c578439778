//! `naulon log …`

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use naulon_durable::sealed::Passphrase;
use naulon_log::{LOG_SECRET_LEN, Log, LogFront, LogKeys, SqliteStore};
use naulon_purchase::{BlindRules, LogRules};
use naulon_statement::SecretKey;
use naulon_wire::Clients;
use naulon_wire::publish::StartError;

use super::serving::{self, KnownAs, Serving};
use super::{PartyFolder, WitnessCommand, upkeep};
use crate::clock::now;
use crate::config::{Listen, LogSettings, add_to_list, entry_modes};
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::Output;
use crate::passphrase::PassphraseFrom;
use crate::watch::{self, Watch};
use crate::witnesses::{self, WitnessAddress};

const KEY_FILE: &str = "log.key";
const STORE_FILE: &str = "log.sqlite";

/// `naulon log …`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A log decides for every purchase exactly one of commit and abort, in public. Its folder is ./log unless --dir says
otherwise.

Examples:
  naulon log init
  naulon log trust-bank bank
  naulon log trust-witness witness
  naulon log serve")]
pub enum LogCommand {
    /// Make a log: its folder, keys, settings and identity
    Init(Init),
    /// Decide on the purchases of this bank, too (from the next start of the server on)
    TrustBank(TrustBank),
    /// Have checkpoints cosigned by this witness, too (from the next start of the server on)
    TrustWitness(TrustWitness),
    /// Run the server until Ctrl-C or SIGTERM
    Serve(Serve),
    /// Copy the log's folder and its store as it is at one moment; the server may be running
    Backup(Backup),
    /// Bring the store's tables up to date after an update of the program
    Migrate(Migrate),
    /// Forget decisions past their retention, while the server is stopped; running, it does so by itself
    Prune(Prune),
    /// Print who the log is and which banks it serves
    Show(Show),
    /// A witness: cosigns the checkpoints of logs that only grow
    #[command(subcommand)]
    Witness(WitnessCommand),
    /// Watch a log from outside: find what it would rather not have found
    Watch(Watch),
}

/// The folder of a log.
#[derive(Debug, Args)]
pub struct Folder {
    /// The log's folder.
    #[arg(long, value_name = "DIR", default_value = "log")]
    dir: PathBuf,
}

/// `naulon log init`
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    folder: Folder,
    /// Where the server will listen; port 0 chooses a free one now.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:21002")]
    listen: String,
    #[command(flatten)]
    known: KnownAs,
    /// The name in its checkpoints, best one that no other log has. The default is made from the key.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// A bank on whose purchases it decides: its folder, identity file or naulon: line. May be given again.
    #[arg(long, value_name = "BANK")]
    bank: Vec<String>,
}

/// `naulon log trust-bank`
#[derive(Debug, Args)]
pub struct TrustBank {
    /// The bank: its folder, identity file or naulon: line.
    #[arg(required = true)]
    bank: Vec<String>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon log trust-witness`
#[derive(Debug, Args)]
pub struct TrustWitness {
    /// The witness: its folder, or its verifier key and address in one argument, `"NAME+ID+KEY URL"`.
    #[arg(required = true)]
    witness: Vec<String>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon log serve`
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    folder: Folder,
    /// Start although too few witnesses say where they stand. Only if this store is certainly the newest: an old copy
    /// would contradict what the log has published.
    #[arg(long)]
    unchecked_by_witnesses: bool,
    #[command(flatten)]
    serving: Serving,
}

/// `naulon log backup`
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    backup: upkeep::Backup,
}

/// `naulon log migrate`
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    migrating: upkeep::Migrating,
}

/// `naulon log prune`
#[derive(Debug, Args)]
#[command(after_help = "\
Bodies of decisions go when their purchases expired longer ago than the setting retention. Entries and hashes stay, so whoever
kept a decision with its proof still proves it.")]
pub struct Prune {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    pruning: upkeep::Pruning,
}

/// `naulon log show`
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    folder: Folder,
    /// Print a file for `naulon verify --trust`: this log and its banks.
    #[arg(long)]
    trust: bool,
}

impl LogCommand {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        match self {
            LogCommand::Init(init) => init.run(passphrase, output),
            LogCommand::TrustBank(trust) => trust.run(output),
            LogCommand::TrustWitness(trust) => trust.run(output),
            LogCommand::Serve(serve) => serve.run(passphrase, output),
            LogCommand::Backup(backup) => backup.run(output),
            LogCommand::Migrate(migrate) => migrate.run(output),
            LogCommand::Prune(prune) => prune.run(passphrase, output),
            LogCommand::Show(show) => show.run(output),
            LogCommand::Witness(command) => command.run(passphrase, output),
            LogCommand::Watch(watch) => watch::run(watch, output),
        }
    }
}

impl Init {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let banks = identity::lines_of(&self.bank, Role::Bank)?;
        let listen = Listen::at(self.known.at(&self.listen)?);
        let origin = self.origin.clone().unwrap_or_default();
        let identity = PartyFolder::create(&self.folder.dir, |folder| {
            let settings = LogSettings { listen, origin, banks, ..LogSettings::default() };
            make(folder, settings, &self.known, &passphrase.create("the log's keys")?)
        })?;
        super::report_init(&self.folder.dir, &identity, output)
    }
}

impl TrustBank {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        for line in identity::lines_of(&self.bank, Role::Bank)? {
            let added = add_to_list::<LogSettings>(&self.folder.dir, "banks", &line)?;
            super::report_trust(&line, added, output)?;
        }
        Ok(Exit::Ok)
    }
}

impl TrustWitness {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        for witness in &self.witness {
            let line = WitnessAddress::find(witness)?.to_string();
            let added = add_to_list::<LogSettings>(&self.folder.dir, "witnesses", &line)?;
            super::report_trust(&line, added, output)?;
        }
        Ok(Exit::Ok)
    }
}

impl Serve {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: LogSettings = folder.settings()?;
        serving::start_logging(&settings.log_level)?;
        let passphrase = passphrase.open("the log's keys")?;
        let mut log = open(&folder, &settings, &passphrase)?;
        let addresses = witnesses::listed(&settings.witnesses)?;
        let keys: Vec<_> = addresses.iter().map(|address| address.verifier.clone()).collect();
        let publisher = log.publish_by(witnesses::policy(&keys, settings.threshold)?)?;
        let witnesses = witnesses::clients(&addresses, &Clients::default())?;
        let front = LogFront::start(log);
        let runtime = serving::runtime()?;
        runtime.block_on(async {
            match publisher.settle(&witnesses, &front).await {
                Err(error @ StartError::TooFew { .. }) if self.unchecked_by_witnesses => {
                    tracing::warn!(%error, "started all the same, as --unchecked-by-witnesses says");
                }
                settled => settled.context("the log was not started")?,
            }
            let owner = front.clone();
            let asking = tokio::spawn(async move { publisher.run(&witnesses, &owner).await });
            let forgetting = front.clone();
            let forgetting = tokio::spawn(async move { forgetting.forget().await });
            let doors = serving::doors(&folder, &settings.listen).await?;
            let identity = folder.identity()?;
            let (service, how) = (Arc::new(front.clone()), (self.serving, output));
            let served = serving::serve_until_stopped(doors, service, &identity, how, std::future::pending()).await;
            asking.abort();
            forgetting.abort();
            served
        })?;
        front.stop().context("the log's store")?;
        Ok(Exit::Ok)
    }
}

impl Backup {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let store = folder.path(STORE_FILE);
        self.backup.run(output, &folder, STORE_FILE, |copy| Ok(SqliteStore::backup(&store, copy).map(|()| None)?))
    }
}

impl Migrate {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let store = PartyFolder::open(&self.folder.dir).path(STORE_FILE);
        self.migrating.run(output, |rehearsal| Ok(SqliteStore::migrate(&store, rehearsal)?))
    }
}

impl Prune {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: LogSettings = folder.settings()?;
        let mut log = open(&folder, &settings, &passphrase.open("the log's keys")?)?;
        let due = log.prunable(now())?;
        self.pruning.run(output, due, |limit| Ok(log.prune(now(), limit)?))
    }
}

impl Show {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: LogSettings = folder.settings()?;
        let identity = folder.identity()?;
        let banks = identity::pinned(&settings.banks, Role::Bank, "banks")?;
        super::show(self.trust, &identity, &[("banks", &banks)], output)
    }
}

/// Makes a log in a folder. Without an origin it gets one from its key.
pub fn make(
    folder: &PartyFolder,
    mut settings: LogSettings,
    known: &KnownAs,
    passphrase: &Passphrase,
) -> anyhow::Result<Identity> {
    let secret = folder.seal_random::<LOG_SECRET_LEN>(KEY_FILE, passphrase)?;
    let key = SecretKey::from_seed(secret.first_chunk().context("a seed")?).public();
    if settings.origin.is_empty() {
        settings.origin = format!("naulon.log/{}", hex::encode(&key.0[..8]));
    }
    let keys = LogKeys::from_secret(&secret, &settings.origin).context("--origin")?;
    let checkpoints = Some(keys.checkpoints.verifier().clone());
    let identity = Identity { checkpoints, ..Identity::new(Role::Log, key, settings.listen.public.url()) };
    let identity = known.apply(identity)?;
    folder.write_settings(&settings)?;
    folder.write_identity(&identity)?;
    Ok(identity)
}

/// Opens the log of a folder.
pub fn open(folder: &PartyFolder, settings: &LogSettings, passphrase: &Passphrase) -> anyhow::Result<Log<SqliteStore>> {
    let secret = folder.unseal::<LOG_SECRET_LEN>(KEY_FILE, passphrase)?;
    let keys = LogKeys::from_secret(&secret, &settings.origin).context("the setting origin")?;
    let banks = identity::pinned(&settings.banks, Role::Bank, "banks")?.into_iter().map(|bank| bank.key).collect();
    let rules = LogRules {
        log: keys.statements.public(),
        banks,
        retention: settings.retention.0,
        entries: entry_modes(&settings.entries)?.into_iter().collect(),
        blind: BlindRules { per_minute: settings.blind_per_minute, horizon: settings.blind_horizon.0 },
    };
    let store = SqliteStore::open(&folder.path(STORE_FILE))?;
    Ok(Log::open(keys, rules, &settings.origin, store)?)
}
