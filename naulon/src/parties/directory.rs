//! `naulon directory …`

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use naulon_directory::{Directory, DirectoryFront, Rules, SqliteStore};
use naulon_statement::{PublicKey, SecretKey};

use super::PartyFolder;
use super::serving::{self, KnownAs, Serving};
use crate::config::{DirectorySettings, Listen, add_to_list};
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::{self, Output};
use crate::passphrase::PassphraseFrom;

const KEY_FILE: &str = "directory.key";
const STORE_FILE: &str = "directory.sqlite";
const KEY_LEN: usize = 32;

/// `naulon directory …`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A directory signs one list of mixes, banks and logs, the same for everybody. Mixes register themselves; its operator says
which may. Its folder is ./directory unless --dir says otherwise.

Examples:
  naulon directory init
  naulon directory allow mix1 mix2 mix3
  naulon directory list bank log
  naulon directory serve")]
pub enum DirectoryCommand {
    /// Make a directory: its folder, key, settings and identity
    Init(Init),
    /// Let this mix register (from the next start of the server on)
    Allow(Allow),
    /// List this bank or log, too (from the next start of the server on)
    List(List),
    /// Run the server until Ctrl-C or SIGTERM
    Serve(Serve),
    /// Print who the directory is, and what it lists
    Show(Folder),
}

/// The folder of a directory.
#[derive(Debug, Args)]
pub struct Folder {
    /// The directory's folder.
    #[arg(long, value_name = "DIR", default_value = "directory")]
    dir: PathBuf,
}

/// `naulon directory init`
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    folder: Folder,
    /// Where the server will listen; port 0 chooses a free one now.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:21006")]
    listen: String,
    #[command(flatten)]
    known: KnownAs,
    /// A mix that may register: its folder, identity file, naulon: line or key. May be given again.
    #[arg(long, value_name = "MIX")]
    mix: Vec<String>,
    /// A bank or log that is listed: its folder, identity file or naulon: line. May be given again.
    #[arg(long, value_name = "PARTY")]
    party: Vec<String>,
}

/// `naulon directory allow`
#[derive(Debug, Args)]
pub struct Allow {
    /// The mix: its folder, identity file, naulon: line or key.
    #[arg(required = true)]
    mix: Vec<String>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon directory list`
#[derive(Debug, Args)]
pub struct List {
    /// The bank or log: its folder, identity file or naulon: line.
    #[arg(required = true)]
    party: Vec<String>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon directory serve`
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    serving: Serving,
}

impl DirectoryCommand {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        match self {
            DirectoryCommand::Init(init) => init.run(passphrase, output),
            DirectoryCommand::Allow(allow) => allow.run(output),
            DirectoryCommand::List(list) => list.run(output),
            DirectoryCommand::Serve(serve) => serve.run(passphrase, output),
            DirectoryCommand::Show(folder) => folder.show(output),
        }
    }
}

impl Init {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let mixes = self.mix.iter().map(|mix| Ok(mix_key(mix)?.to_string())).collect::<anyhow::Result<_>>()?;
        let parties = self.party.iter().map(|party| listed(party)).collect::<anyhow::Result<_>>()?;
        let listen = Listen::at(self.known.at(&self.listen)?);
        let identity = PartyFolder::create(&self.folder.dir, |folder| {
            let settings = DirectorySettings { listen, mixes, parties, ..DirectorySettings::default() };
            let seed = folder.seal_random::<KEY_LEN>(KEY_FILE, &passphrase.create("the directory's key")?)?;
            let key = SecretKey::from_seed(&seed).public();
            folder.write_settings(&settings)?;
            let identity = Identity::new(Role::Directory, key, settings.listen.public.url());
            let identity = self.known.apply(identity)?;
            folder.write_identity(&identity)?;
            Ok(identity)
        })?;
        super::report_init(&self.folder.dir, &identity, output)
    }
}

impl Allow {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        for mix in &self.mix {
            let key = mix_key(mix)?.to_string();
            let added = add_to_list::<DirectorySettings>(&self.folder.dir, "mixes", &key)?;
            super::report_trust(&key, added, output)?;
        }
        Ok(Exit::Ok)
    }
}

impl List {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        for party in &self.party {
            let line = listed(party)?;
            let added = add_to_list::<DirectorySettings>(&self.folder.dir, "parties", &line)?;
            super::report_trust(&line, added, output)?;
        }
        Ok(Exit::Ok)
    }
}

impl Serve {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: DirectorySettings = folder.settings()?;
        serving::start_logging(&settings.log_level)?;
        let seed = folder.unseal::<KEY_LEN>(KEY_FILE, &passphrase.open("the directory's key")?)?;
        let mixes = settings.mixes.iter().map(|key| key.parse().context("the setting mixes"));
        let rules = Rules {
            mixes: mixes.collect::<anyhow::Result<_>>()?,
            parties: settings.parties.clone(),
            valid: settings.valid.0,
        };
        let store = SqliteStore::open(&folder.path(STORE_FILE))?;
        let front = DirectoryFront::start(Directory::new(SecretKey::from_seed(&seed), rules, store)?);
        serving::runtime()?.block_on(async {
            let doors = serving::doors(&folder, &settings.listen).await?;
            let (service, how) = (Arc::new(front.clone()), (self.serving, output));
            serving::serve_until_stopped(doors, service, &folder.identity()?, how, std::future::pending()).await
        })?;
        front.stop().context("the directory's store")?;
        Ok(Exit::Ok)
    }
}

impl Folder {
    fn show(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.dir);
        let settings: DirectorySettings = folder.settings()?;
        let identity = folder.identity()?.to_string();
        let shown = serde_json::json!({
            "identity": identity, "mixes": settings.mixes, "parties": settings.parties,
        });
        output.result(&shown, |_| {
            let lines = |lines: &[String]| if lines.is_empty() { "none".to_owned() } else { lines.join("\n") };
            output::list([
                ("identity", identity.clone()),
                ("mixes", lines(&settings.mixes)),
                ("parties", lines(&settings.parties)),
            ])
        })?;
        Ok(Exit::Ok)
    }
}

/// The key of a mix, by which a directory knows it.
fn mix_key(text: &str) -> anyhow::Result<PublicKey> {
    match text.parse() {
        Ok(key) => Ok(key),
        Err(_) => Ok(Identity::find(text, Role::Mix)?.key),
    }
}

/// The line of a bank or log.
fn listed(text: &str) -> anyhow::Result<String> {
    let mut found = identity::read_all(text)?;
    ensure!(found.len() == 1, "{text} names more than one party; name the one you mean by its line");
    let party = found.remove(0);
    ensure!(
        matches!(party.role, Role::Bank | Role::Log),
        "{text} is a {}, and only banks and logs are listed",
        party.role
    );
    Ok(party.to_string())
}
