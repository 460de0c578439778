//! `naulon proxy`: the mixes' client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use naulon_onion::{Descriptor, Listing, Protocol};
use naulon_proxy::{Billing, Fares, MAX_SILENCE, Proxy, ProxyRules, Snapshot, Terms};
use naulon_statement::Signed;
use naulon_wallet::Pocket;
use naulon_wire::{Circuit, Clients, DirectoryCall, DirectoryReply};
use tokio::signal::unix::{SignalKind, signal};

use super::wallet::fares::WalletFares;
use super::wallet::room;
use super::{PartyFolder, serving};
use crate::clock::now;
use crate::config::{Span, WalletSettings};
use crate::exit::Exit;
use crate::identity::{Identity, Role};
use crate::output::Output;
use crate::passphrase::PassphraseFrom;

/// How often the whole list of mixes is fetched again, whether it is needed or not.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How long is waited at least from one fetch to the next, when sessions fail.
const LOOK_PAUSE: Duration = Duration::from_secs(4);
/// For how long a directory is waited for that lists too few mixes, as it does while they start.
const LOOK_FIRST: Duration = Duration::from_secs(20);

/// How streams are paid.
#[derive(Clone, Debug, Args)]
pub struct Paying {
    /// Who lets a tick go and when, of MixPay's four: before/sender is the fastest; after delivery a mix is out, not you; where
    /// the recipient triggers, a mix is paid only when the exit has the block.
    #[arg(long, value_enum, default_value_t = ProtocolName::BeforeSender)]
    protocol: ProtocolName,
    /// Who is paid: each mix by itself, or one for a provider's whole chain.
    #[arg(long, value_enum, default_value_t = BillingName::Each)]
    billing: BillingName,
    /// How many blocks a check pays; what is not used comes back when the check is over. Standard lengths tell less.
    #[arg(long, value_name = "BLOCKS", default_value_t = 8_192)]
    check: u32,
}

/// MixPay's four protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// Paid before delivery, by the sender
    BeforeSender,
    /// Paid before delivery, when the recipient lets the tick go
    BeforeRecipient,
    /// Paid after delivery, when the recipient has confirmed
    AfterSender,
    /// Paid after delivery, when the recipient lets the tick go
    AfterRecipient,
}

/// MixPay's two cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BillingName {
    /// Every mix (case b)
    Each,
    /// One mix of a provider's chain, which pays the others (case a)
    Chain,
}

impl Paying {
    /// As the proxy wants it.
    pub fn rules(&self) -> ProxyRules {
        let protocol = match self.protocol {
            ProtocolName::BeforeSender => Protocol::ALL[0],
            ProtocolName::BeforeRecipient => Protocol::ALL[1],
            ProtocolName::AfterSender => Protocol::ALL[2],
            ProtocolName::AfterRecipient => Protocol::ALL[3],
        };
        let billing = match self.billing {
            BillingName::Each => Billing::Each,
            BillingName::Chain => Billing::Chain,
        };
        ProxyRules { billing, terms: Terms { protocol, check_length: self.check }, max_silence: MAX_SILENCE }
    }
}

/// The whole list of a directory, verified.
pub async fn snapshot(directory: &Identity, clients: &Clients) -> anyhow::Result<Snapshot> {
    let client = clients.on(Circuit::Anonymous(getrandom::u64()?), directory.address()?)?;
    let DirectoryReply::List(list) = client.call(&DirectoryCall::List).await? else {
        bail!("the directory answers another question")
    };
    let (list, mixes) = Listing::verify(*list, &directory.key, now()).context("the directory's list")?;
    let mixes: Vec<Descriptor> = mixes.into_iter().map(Signed::into_body).collect();
    Ok(Snapshot::new(mixes, list.until))
}

/// The first list: a directory that lists fewer than three mixes is asked again for a while.
pub async fn first_snapshot(directory: &Identity, clients: &Clients) -> anyhow::Result<Snapshot> {
    let until = tokio::time::Instant::now() + LOOK_FIRST;
    loop {
        let snapshot = snapshot(directory, clients).await?;
        if snapshot.len() >= naulon_onion::HOPS {
            return Ok(snapshot);
        }
        let is_late = tokio::time::Instant::now() > until;
        ensure!(!is_late, "{directory} lists {} mixes, and a path needs three", snapshot.len());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[derive(serde::Serialize)]
struct Ready {
    ready: bool,
    role: &'static str,
    address: String,
    mixes: usize,
}

/// How a proxy is started.
#[derive(Clone, Debug, Args)]
pub struct Front {
    /// The directory of mixes: its folder, identity file or naulon: line.
    #[arg(long, value_name = "DIRECTORY")]
    directory: String,
    /// Where programs of this machine connect to it; port 0 chooses a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:21080")]
    listen: SocketAddr,
    #[command(flatten)]
    paying: Paying,
    /// What is told: error, warn, info or debug. Never where anybody goes.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: String,
}

impl Front {
    /// Serves until Ctrl-C or SIGTERM; then sessions are closed, so that mixes cash exactly what was used.
    pub async fn serve(&self, fares: Arc<dyn Fares>, clients: Clients, output: Output) -> anyhow::Result<Exit> {
        serving::start_logging(&self.log_level)?;
        let directory = Identity::find(&self.directory, Role::Directory)?;
        let snapshot = first_snapshot(&directory, &clients).await?;
        let mixes = snapshot.len();
        let proxy = Proxy::new(self.paying.rules(), fares, snapshot, Arc::new(now));
        let listener = serving::listen(self.listen).await?;
        let (mut stop, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let ready = Ready { ready: true, role: "proxy", address: listener.local_addr()?.to_string(), mixes };
        output.result(&ready, |ready| {
            let address = &ready.address;
            format!("proxy ready on socks5h://{address} over {mixes} mixes, stop with Ctrl-C\nTry: curl --socks5-hostname {address} http://example.org/")
        })?;
        let looking = tokio::spawn(look(Arc::clone(&proxy), directory, clients));
        let stopped = async {
            tokio::select! {
                _ = stop.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        proxy.serve(listener, stopped).await;
        looking.abort();
        Ok(Exit::Ok)
    }
}

/// Fetches the whole list again and again, and when a session has failed. One that cannot be had leaves the old one, as long as
/// that holds.
async fn look(proxy: Arc<Proxy>, directory: Identity, clients: Clients) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = proxy.wants_snapshot() => {}
        }
        match snapshot(&directory, &clients).await {
            Ok(snapshot) => proxy.take_snapshot(snapshot),
            Err(error) => tracing::warn!("the list of mixes stays as it was: {error:#}"),
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// `naulon proxy`
#[derive(Debug, Args)]
#[command(after_help = "\
Programs reach it by SOCKS5, with names looked up by the exit (curl: --socks5-hostname; browsers: a SOCKS5 host with remote
DNS). Each SOCKS user name is a session of its own: two names share no mix session, no check and no link. UDP is refused.
Every block that a mix forwards is paid by a tick of a check that the wallet makes; what is not used comes back when the check is
over, with the next start of the proxy or by `naulon wallet checks --reclaim`. While the proxy runs the wallet is in use by it:
other commands of the same wallet, such as `naulon wallet checks`, work after it has stopped.

Examples:
  naulon proxy --directory directory
  curl --socks5-hostname 127.0.0.1:21080 https://example.org/
  curl --socks5-hostname 127.0.0.1:21080 --proxy-user news: https://example.net/
  naulon wallet balance --dir other-wallet --proxy socks5h://127.0.0.1:21080")]
pub struct ProxyCommand {
    /// The wallet's folder.
    #[arg(long, value_name = "DIR", default_value = "wallet")]
    dir: PathBuf,
    /// Pay from the account: the bank sees whose checks the mixes cash. For trials, or for the first mix of a provider's chain.
    #[arg(long)]
    from_account: bool,
    /// How long a bank that does not answer is waited for.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    patience: Span,
    #[command(flatten)]
    front: Front,
}

impl ProxyCommand {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let party = PartyFolder::open(&self.dir);
        let settings: WalletSettings = party.settings()?;
        let clients = room::clients(&settings)?;
        let room = room::open(&party, settings, &passphrase.open("the wallet")?, output)?;
        serving::runtime()?.block_on(async {
            let pocket = if self.from_account { Pocket::Account } else { Pocket::Tokens };
            let fares = WalletFares::open(room, pocket, Duration::from_millis(self.patience.0.0)).await?;
            self.front.serve(Arc::new(fares), clients, output).await
        })
    }
}
