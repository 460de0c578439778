//! `naulon mix …`

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use naulon_mix::SqliteReader;
use naulon_money::{Amount, Currency};

use serde::Serialize;

use super::mix_room::{self, KEY_FILE, KEY_LEN, MixKeys, STORE_FILE};
use super::serving::{self, Doors, Serving, settled};
use super::{PartyFolder, upkeep};
use crate::config::{MixSettings, Span};
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::{self, Output};
use crate::passphrase::PassphraseFrom;

/// `naulon mix …`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A mix forwards blocks and is paid for each. It registers with the directories that it names; their operators allow it by its
key (`naulon directory allow`). Its folder is ./mix unless --dir says otherwise.

Examples:
  naulon mix init --dir mix1 --bank bank --directory directory --price 0.000001
  naulon mix init --dir mix3 --bank bank --directory directory --exit 80 --exit 443
  naulon mix serve --dir mix1
  naulon mix status --dir mix1")]
pub enum MixCommand {
    /// Make a mix: its folder, keys, settings and identity
    Init(Box<Init>),
    /// Run the mix until Ctrl-C or SIGTERM
    Serve(Serve),
    /// Print what each bank has paid, and what is earned and not yet cashed; the mix may be running
    Status(Folder),
    /// Print who the mix is
    Show(Folder),
    /// Copy the mix's folder and its store as it is at one moment; the mix may be running
    Backup(Backup),
    /// Bring the store's tables up to date after an update of the program
    Migrate(Migrate),
}

/// The folder of a mix.
#[derive(Debug, Args)]
pub struct Folder {
    /// The mix's folder.
    #[arg(long, value_name = "DIR", default_value = "mix")]
    dir: PathBuf,
}

/// `naulon mix init`
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    folder: Folder,
    /// Where its links come in; port 0 chooses a free one now.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:21021")]
    listen: String,
    /// How others reach its links, as host:port, if that is not the address where it listens.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// A name for people.
    #[arg(long, default_value = "mix")]
    name: String,
    /// What a block costs, such as 0.000001.
    #[arg(long, default_value = "0.000001")]
    price: Amount,
    /// The currency of the price.
    #[arg(long, default_value = "EUR")]
    currency: Currency,
    /// A bank whose checks it takes: its folder, identity file or naulon: line. May be given again.
    #[arg(long, value_name = "BANK", required = true)]
    bank: Vec<String>,
    /// A directory where it registers: its folder, identity file or naulon: line. May be given again.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Vec<String>,
    /// Ports that it connects to as the last mix of a path, such as 443 or 1024-65535. May be given again.
    #[arg(long, value_name = "PORTS")]
    exit: Vec<String>,
    /// As the last mix, connect to private addresses, too: for tests and private networks.
    #[arg(long)]
    exit_private: bool,
    /// How blocks are mixed: `stream`, `threshold 8 50ms`, `pool 16 200ms`, `poisson 40ms`, `cohort 4 100`
    #[arg(long, default_value = "stream")]
    batching: String,
    /// By how many blocks a sender and the mix may be out.
    #[arg(long, default_value_t = 256)]
    window: u32,
    /// How long ticks wait at most until they are cashed, such as 1h.
    #[arg(long, default_value = "1h")]
    cash_within: Span,
}

/// `naulon mix serve`
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    serving: Serving,
}

/// `naulon mix backup`
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    backup: upkeep::Backup,
}

/// `naulon mix migrate`
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    migrating: upkeep::Migrating,
}

impl MixCommand {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        match self {
            MixCommand::Init(init) => init.run(passphrase, output),
            MixCommand::Serve(serve) => serve.run(passphrase, output),
            MixCommand::Status(folder) => folder.status(output),
            MixCommand::Show(folder) => folder.show(output),
            MixCommand::Backup(backup) => backup.run(output),
            MixCommand::Migrate(migrate) => migrate.run(output),
        }
    }
}

impl Init {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let settings = self.settings()?;
        let identity = PartyFolder::create(&self.folder.dir, |folder| {
            let secret = folder.seal_random::<KEY_LEN>(KEY_FILE, &passphrase.create("the mix's keys")?)?;
            let keys = MixKeys::of(&secret)?;
            // What could not be served is not written.
            mix_room::rules(&settings, &keys)?;
            folder.write_settings(&settings)?;
            let url = format!("mix://{}", settings.address);
            let identity = Identity::new(Role::Mix, keys.mix.public(), url);
            folder.write_identity(&identity)?;
            identity.to_string().parse()
        })?;
        super::report_init(&self.folder.dir, &identity, output)
    }

    fn settings(&self) -> anyhow::Result<MixSettings> {
        let links = settled(&self.listen)?.to_string();
        Ok(MixSettings {
            address: self.address.clone().unwrap_or_else(|| links.clone()),
            links,
            name: self.name.clone(),
            price: self.price.to_string(),
            currency: self.currency.to_string(),
            window: self.window,
            banks: identity::lines_of(&self.bank, Role::Bank)?,
            directories: identity::lines_of(&self.directory, Role::Directory)?,
            exit_ports: self.exit.clone(),
            exit_private: self.exit_private,
            batching: self.batching.clone(),
            cash_within: self.cash_within,
            ..MixSettings::default()
        })
    }
}

impl Serve {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: MixSettings = folder.settings()?;
        serving::start_logging(&settings.log_level)?;
        let secret = folder.unseal::<KEY_LEN>(KEY_FILE, &passphrase.open("the mix's keys")?)?;
        let keys = MixKeys::of(&secret)?;
        serving::runtime()?.block_on(async {
            let room = mix_room::open(&folder, &settings, keys).await?;
            let doors = Doors::open(&folder, &[(&[naulon_wire::Listener::Operator], &settings.operator)]).await?;
            let doors = doors.with_public(room.address);
            let (service, how) = (Arc::new(room.front.clone()), (self.serving, output));
            let trouble = room.run();
            let served = serving::serve_until_stopped(doors, service, &folder.identity()?, how, trouble).await;
            room.handle.stop().await;
            served
        })?;
        Ok(Exit::Ok)
    }
}

#[derive(Serialize)]
struct BankStatus {
    bank: String,
    currency: String,
    checks: usize,
    cashed_ticks: u64,
    cashed: String,
    uncashed_ticks: u64,
    uncashed: String,
}

impl Folder {
    fn status(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.dir);
        let settings: MixSettings = folder.settings()?;
        let banks = identity::pinned(&settings.banks, Role::Bank, "banks")?;
        let path = folder.path(STORE_FILE);
        let (kept, earnings) = if path.exists() {
            let reader = SqliteReader::open(&path)?;
            (reader.all()?, reader.earnings()?)
        } else {
            Default::default()
        };
        let status: Vec<BankStatus> = banks
            .iter()
            .map(|bank| {
                let earned = earnings.iter().find(|earned| earned.bank == bank.key);
                let of_bank = || kept.iter().filter(|kept| kept.check.bank == bank.key);
                let left = |kept: &naulon_mix::KeptCheck| kept.earned.saturating_sub(kept.cashed.index);
                let worth = of_bank().filter_map(|kept| kept.check.worth(left(kept)));
                BankStatus {
                    bank: bank.key.to_string(),
                    currency: settings.currency.clone(),
                    checks: of_bank().count(),
                    cashed_ticks: earned.map_or(0, |earned| earned.ticks),
                    cashed: earned.map_or(Amount::ZERO, |earned| earned.cashed).to_string(),
                    uncashed_ticks: of_bank().map(|kept| u64::from(left(kept))).sum(),
                    uncashed: Amount::checked_sum(worth).unwrap_or(Amount::MAX).to_string(),
                }
            })
            .collect();
        output.result(&status, |status| {
            let rows = status.iter().map(|bank| {
                let numbers = [bank.checks as u64, bank.cashed_ticks, bank.uncashed_ticks].map(|n| n.to_string());
                let [checks, cashed, uncashed] = numbers;
                vec![bank.bank.clone(), checks, cashed, bank.cashed.clone(), uncashed, bank.uncashed.clone()]
            });
            let headings = ["bank", "checks", "cashed ticks", "cashed", "uncashed ticks", "uncashed"];
            output::table(&headings, rows, &[1, 2, 3, 4, 5])
        })?;
        Ok(Exit::Ok)
    }

    fn show(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.dir);
        let settings: MixSettings = folder.settings()?;
        let banks = identity::pinned(&settings.banks, Role::Bank, "banks")?;
        let directories = identity::pinned(&settings.directories, Role::Directory, "directories")?;
        super::show(false, &folder.identity()?, &[("banks", &banks), ("directories", &directories)], output)
    }
}

impl Backup {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let store = folder.path(STORE_FILE);
        let copy_to = |copy: &std::path::Path| Ok(naulon_mix::SqliteStore::backup(&store, copy).map(|()| None)?);
        self.backup.run(output, &folder, STORE_FILE, copy_to)
    }
}

impl Migrate {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let store = PartyFolder::open(&self.folder.dir).path(STORE_FILE);
        self.migrating.run(output, |rehearsal| Ok(naulon_mix::SqliteStore::migrate(&store, rehearsal)?))
    }
}
