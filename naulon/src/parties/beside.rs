//! A log that is not apart from another party (AAT §7): run in that party's process, and stated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use naulon_durable::sealed::Passphrase;
use naulon_exchange::OwnLog;
use naulon_log::LogFront;
use naulon_statement::{PublicKey, Unverified};
use naulon_wire::Clients;
use tokio::task::JoinHandle;

use super::serving::{self, Serving};
use super::{PartyFolder, log};
use crate::config::LogSettings;
use crate::output::Output;
use crate::witnesses;

/// What a bank's own log means.
pub const OF_BANK: &str = "This log is the bank's own: the bank can hand a key to the buyer without recording it, and credit nobody. A shop \
     that accepts this log trusts the bank and the log together; a buyer is as safe as ever.";
/// What a merchant's own log means.
pub const OF_MERCHANT: &str = "This log is the shop's own: nobody but the shop says whether it has released the key in time. A buyer who agrees to \
     this log trusts the shop to publish the key in time; if the bank hears of no commit until the grace after the expiry, it \
     frees the buyer's tokens by its own clock, and the shop is not paid.";

/// The log that a server runs in its own process.
#[derive(Clone, Debug, clap::Args)]
pub struct WithLog {
    /// Also run the log of this folder, under the same passphrase: one program for a party that is its own log. `--help` of
    /// `naulon bank trust-log` says whom that makes others trust.
    #[arg(long, value_name = "DIR")]
    with_log: Option<PathBuf>,
}

/// A log that runs beside a party.
pub struct Beside {
    front: LogFront,
    task: JoinHandle<anyhow::Result<()>>,
}

impl WithLog {
    /// Starts the log, if there is to be one. When it returns, the log listens.
    pub async fn start(&self, passphrase: &Passphrase, output: Output) -> anyhow::Result<Option<Beside>> {
        match &self.with_log {
            Some(dir) => Ok(Some(Beside::start(dir, passphrase, output).await.context("the log beside it")?)),
            None => Ok(None),
        }
    }
}

impl Beside {
    async fn start(dir: &Path, passphrase: &Passphrase, output: Output) -> anyhow::Result<Self> {
        let folder = PartyFolder::open(dir);
        let settings: LogSettings = folder.settings()?;
        let mut log = log::open(&folder, &settings, passphrase)?;
        let addresses = witnesses::listed(&settings.witnesses)?;
        let keys: Vec<_> = addresses.iter().map(|address| address.verifier.clone()).collect();
        let publisher = log.publish_by(witnesses::policy(&keys, settings.threshold)?)?;
        let witnesses = witnesses::clients(&addresses, &Clients::default())?;
        let front = LogFront::start(log);
        publisher.settle(&witnesses, &front).await.context("the log was not started")?;
        let doors = serving::doors(&folder, &settings.listen).await?;
        let identity = folder.identity()?;
        let (owner, forgetting, service) = (front.clone(), front.clone(), Arc::new(front.clone()));
        let task = tokio::spawn(async move {
            let asking = tokio::spawn(async move { publisher.run(&witnesses, &owner).await });
            let forgetting = tokio::spawn(async move { forgetting.forget().await });
            let how = (Serving::beside(), output);
            let served = serving::serve_until_stopped(doors, service, &identity, how, std::future::pending()).await;
            asking.abort();
            forgetting.abort();
            served
        });
        Ok(Beside { front, task })
    }

    /// Ends it: it has had the same signal, or its party has failed.
    pub async fn stop(self, party_failed: bool) -> anyhow::Result<()> {
        if party_failed {
            self.task.abort();
        }
        // What was aborted has nothing to say.
        let served = self.task.await.unwrap_or(Ok(()));
        self.front.stop().context("the log's store")?;
        served
    }
}

/// A merchant's statement as text.
pub fn to_text(statement: &[u8]) -> String {
    hex::encode(statement)
}

/// The statement of a merchant to this bank that a log is its own.
pub fn read_own_log(text: &str, bank: &PublicKey) -> anyhow::Result<OwnLog> {
    let bytes = hex::decode(text.trim()).context("it is not a statement by `naulon shop own-log`")?;
    let statement: Unverified<OwnLog> = Unverified::parse(&bytes)?;
    let merchant = statement.claimed_body().merchant;
    let own = *statement.verify(&merchant).context("its signature does not hold")?;
    ensure!(own.bank == *bank, "it was made for another bank");
    Ok(own)
}
