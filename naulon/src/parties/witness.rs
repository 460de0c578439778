//! `naulon log witness …`

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use naulon_statement::{PublicKey, SecretKey};
use naulon_tlog::{CheckpointVerifier, WitnessSigner, WitnessVerifier};
use naulon_witness::{SqliteStore, Witness, WitnessFront, WitnessStore};

use super::PartyFolder;
use super::serving::{self, KnownAs, Serving};
use crate::config::{Listen, WitnessSettings, add_to_list};
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::{self, Output};
use crate::passphrase::PassphraseFrom;
use crate::witnesses::WitnessAddress;

const KEY_FILE: &str = "witness.key";
const STORE_FILE: &str = "witness.sqlite";
const KEY_LEN: usize = 32;

/// `naulon log witness …`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A witness cosigns the checkpoints of logs that only grow (C2SP tlog-witness), so that no log can show different people
different trees. It sees sizes and hashes, never an entry. Best it is run by somebody else than the log. Its folder is
./witness unless --dir says otherwise.

Examples:
  naulon log witness init --log log
  naulon log witness serve
  naulon log trust-witness witness          # the log's operator, before the log's next start")]
pub enum WitnessCommand {
    /// Make a witness: its folder, key and settings
    Init(Init),
    /// Cosign for this log, too (from the next start of the server on)
    TrustLog(TrustLog),
    /// Run the server until Ctrl-C or SIGTERM
    Serve(Serve),
    /// Print who the witness is, and what it has cosigned last of each log
    Show(Folder),
}

/// The folder of a witness.
#[derive(Debug, Args)]
pub struct Folder {
    /// The witness's folder.
    #[arg(long, value_name = "DIR", default_value = "witness")]
    dir: PathBuf,
}

/// `naulon log witness init`
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    folder: Folder,
    /// Where the server will listen; port 0 chooses a free one now.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:21005")]
    listen: String,
    #[command(flatten)]
    known: KnownAs,
    /// Its name in cosignatures, best one that no other witness has. The default is made from the key.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A log that it cosigns for: its folder, identity file, naulon: line, or C2SP verifier key. May be given again.
    #[arg(long, value_name = "LOG")]
    log: Vec<String>,
}

/// `naulon log witness trust-log`
#[derive(Debug, Args)]
pub struct TrustLog {
    /// The log: its folder, identity file, naulon: line, or C2SP verifier key.
    #[arg(required = true)]
    log: Vec<String>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon log witness serve`
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    serving: Serving,
}

impl WitnessCommand {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        match self {
            WitnessCommand::Init(init) => init.run(passphrase, output),
            WitnessCommand::TrustLog(trust) => trust.run(output),
            WitnessCommand::Serve(serve) => serve.run(passphrase, output),
            WitnessCommand::Show(folder) => folder.show(output),
        }
    }
}

impl Init {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let logs = self.log.iter().map(|log| Ok(checkpoint_key(log)?.to_string())).collect::<anyhow::Result<_>>()?;
        let listen = Listen::at(self.known.at(&self.listen)?);
        let name = self.name.clone().unwrap_or_default();
        PartyFolder::create(&self.folder.dir, |folder| {
            let mut settings = WitnessSettings { listen, name, logs, ..WitnessSettings::default() };
            let seed = folder.seal_random::<KEY_LEN>(KEY_FILE, &passphrase.create("the witness's key")?)?;
            let key = SecretKey::from_seed(&seed).public();
            if settings.name.is_empty() {
                settings.name = format!("naulon.witness/{}", hex::encode(&key.0[..8]));
            }
            WitnessVerifier::new(&settings.name, key.as_bytes()).context("--name")?;
            folder.write_settings(&settings)?;
            folder.write_identity(&self.known.apply(identity(key, &settings))?)
        })?;
        let address = WitnessAddress::find(&self.folder.dir.to_string_lossy())?;
        let made = serde_json::json!({
            "role": Role::Witness.name(), "dir": self.folder.dir.display().to_string(), "witness": address.to_string(),
        });
        output.result(&made, |_| {
            let dir = self.folder.dir.display();
            format!("witness made in {dir}. `naulon log trust-witness` and others know it by {dir}, or by\n{address}")
        })?;
        Ok(Exit::Ok)
    }
}

impl TrustLog {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        for log in &self.log {
            let key = checkpoint_key(log)?.to_string();
            let added = add_to_list::<WitnessSettings>(&self.folder.dir, "logs", &key)?;
            super::report_trust(&key, added, output)?;
        }
        Ok(Exit::Ok)
    }
}

impl Serve {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let settings: WitnessSettings = folder.settings()?;
        serving::start_logging(&settings.log_level)?;
        let seed = folder.unseal::<KEY_LEN>(KEY_FILE, &passphrase.open("the witness's key")?)?;
        let signer = WitnessSigner::new(&settings.name, &seed).context("the setting name")?;
        let logs = settings.logs.iter().map(|key| key.parse().context("the setting logs"));
        let logs = logs.collect::<anyhow::Result<Vec<CheckpointVerifier>>>()?;
        let store = SqliteStore::open(&folder.path(STORE_FILE))?;
        let front = WitnessFront::start(Witness::new(signer, logs, store)?);
        serving::runtime()?.block_on(async {
            let doors = serving::doors(&folder, &settings.listen).await?;
            let (service, how) = (Arc::new(front.clone()), (self.serving, output));
            serving::serve_until_stopped(doors, service, &folder.identity()?, how, std::future::pending()).await
        })?;
        front.stop().context("the witness's store")?;
        Ok(Exit::Ok)
    }
}

impl Folder {
    fn show(&self, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.dir);
        let settings: WitnessSettings = folder.settings()?;
        let address = WitnessAddress::find(&self.dir.to_string_lossy())?;
        // A server that runs has the store to itself; then there is only the identity to show.
        let seen = match SqliteStore::open(&folder.path(STORE_FILE)) {
            Ok(store) => store.all()?,
            Err(error) => {
                output::note(format_args!("what was cosigned cannot be read now: {error}"));
                Vec::new()
            }
        };
        let lines: Vec<_> = seen.iter().map(|(origin, seen)| (origin.as_str(), seen.size, seen.time)).collect();
        let shown = serde_json::json!({
            "witness": address.to_string(),
            "logs": settings.logs,
            "cosigned": lines.iter().map(|(origin, size, time)| {
                serde_json::json!({ "origin": origin, "size": size, "time": time })
            }).collect::<Vec<_>>(),
        });
        output.result(&shown, |_| {
            let rows = lines.iter().map(|(origin, size, time)| {
                let at = crate::clock::utc(naulon_statement::Timestamp(time.saturating_mul(1_000)));
                vec![(*origin).to_owned(), size.to_string(), at]
            });
            format!("{address}\n\n{}", output::table(&["log", "entries", "cosigned at"], rows, &[1]))
        })?;
        Ok(Exit::Ok)
    }
}

fn identity(key: PublicKey, settings: &WitnessSettings) -> Identity {
    Identity::new(Role::Witness, key, settings.listen.public.url())
}

/// The checkpoint key of a log, or of whoever else keeps one.
fn checkpoint_key(text: &str) -> anyhow::Result<CheckpointVerifier> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let mut found = identity::read_all(text)?.into_iter().filter_map(|identity| identity.checkpoints);
    found.next().with_context(|| format!("{text} names nobody who signs checkpoints"))
}
