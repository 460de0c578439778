//! A party as a server: listening, the ready line, stopping.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use naulon_wire::door::{Bind, Door};
use naulon_wire::serve::{self, ServeError, Terms};
use naulon_wire::tls::{CertificateFiles, ServerTls};
use naulon_wire::{Call, Listener, Service};
use serde::Serialize;
use tokio::net::TcpListener;

use super::PartyFolder;
use crate::config::{At, Listen, Tls, WithTls};
use crate::identity::Identity;
use crate::output::Output;

/// How often a server looks whether its certificate has been renewed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Where a port is looked for when any will do: below the range from which the system takes ports for connections, so
/// that it stays free between two uses.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How many ports are tried.
const MAX_PORT_TRIES: usize = 200;

/// How a server is started.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Serving {
    /// When ready, also write one line of JSON with the address to this open file descriptor.
    #[arg(long, value_name = "N")]
    ready_fd: Option<u32>,
    /// Another server of this process says that it is ready.
    #[arg(skip)]
    is_beside: bool,
}

impl Serving {
    /// For a server in the process of another, which says that both are ready.
    pub fn beside() -> Self {
        Serving { ready_fd: None, is_beside: true }
    }
}

/// How a new server is reached.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KnownAs {
    /// The URL by which others reach it, if that is not the address where it listens: `https://party.example`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Speak TLS with this chain of certificates (PEM); needed for all addresses that are not loopback.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    certificate: Option<PathBuf>,
    /// The certificate's private key (PEM), which only you may read.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    tls_key: Option<PathBuf>,
    /// If the certificate is from an authority of your own: that authority's certificate (PEM). Others need this file, too.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The URL for owners of accounts: a bank's.
    #[arg(skip)]
    account_url: Option<String>,
}

impl KnownAs {
    /// With a bank's URL for owners of accounts.
    pub fn with_account_url(self, account_url: Option<String>) -> Self {
        KnownAs { account_url, ..self }
    }

    /// A listener on this address; port 0 is settled now, so that the identity stays.
    pub fn at(&self, address: &str) -> anyhow::Result<At> {
        let address = settled(address)?.to_string();
        let (Some(certificate), Some(key)) = (&self.certificate, &self.tls_key) else { return Ok(At::Plain(address)) };
        let tls = Tls { certificate: absolute(certificate)?, key: absolute(key)? };
        Ok(At::Tls(WithTls { address, tls }))
    }

    /// The identity with what was said about it.
    pub fn apply(&self, mut identity: Identity) -> anyhow::Result<Identity> {
        if let Some(url) = &self.url {
            identity.url.clone_from(url);
        }
        if let Some(url) = &self.account_url {
            identity.account = Some(url.clone());
        }
        if let Some(ca) = &self.ca {
            identity.ca = Some(absolute(ca)?.into());
        }
        // What is written down must be read again.
        identity.to_string().parse()
    }
}

fn absolute(path: &Path) -> anyhow::Result<String> {
    let path = path.canonicalize().with_context(|| format!("{} cannot be read", path.display()))?;
    path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{} is not text", path.display()))
}

/// The open doors of a server.
pub struct Doors {
    doors: Vec<Door>,
    certificates: Vec<ServerTls>,
    /// Where each listener is reached without TLS: with it, a name is needed that only the identity knows.
    plain: BTreeMap<Listener, Bind>,
    public: Bind,
}

impl Doors {
    /// Listens for each of these. Listeners of one address share a door.
    pub async fn open(folder: &PartyFolder, places: &[(&'static [Listener], &At)]) -> anyhow::Result<Doors> {
        let mut doors = Doors {
            doors: Vec::new(),
            certificates: Vec::new(),
            plain: BTreeMap::new(),
            public: Bind::Unix(PathBuf::new()),
        };
        for (listeners, at) in places {
            let tls = match at {
                At::Plain(_) => None,
                At::Tls(WithTls { tls, .. }) => {
                    let files =
                        CertificateFiles { certificate: folder.path(&tls.certificate), key: folder.path(&tls.key) };
                    Some(ServerTls::open(files)?)
                }
            };
            let bind: Bind = at.address().parse().with_context(|| format!("the setting listen: {at}"))?;
            let bind = match bind {
                Bind::Unix(path) => Bind::Unix(folder.as_path().join(path)),
                Bind::Tcp(address) => Bind::Tcp(address),
            };
            let door = open_free(listeners, &bind, tls.clone()).await?;
            let bind = door.bind()?;
            for listener in *listeners {
                if tls.is_none() {
                    doors.plain.insert(*listener, bind.clone());
                }
                if *listener == Listener::Public {
                    doors.public = bind.clone();
                }
            }
            doors.doors.push(door);
            doors.certificates.extend(tls);
        }
        Ok(doors)
    }

    /// A party that everybody reaches otherwise than by HTTP: there.
    pub fn with_public(self, address: SocketAddr) -> Self {
        Doors { public: Bind::Tcp(address), ..self }
    }

    /// The identity under which the party is reached now: a setting may have moved it.
    fn here(&self, identity: &Identity) -> Identity {
        let url = |listener| match self.plain.get(&listener) {
            Some(Bind::Tcp(address)) => Some(format!("http://{address}")),
            Some(Bind::Unix(_)) | None => None,
        };
        let mut here = identity.clone();
        if let Some(url) = url(Listener::Public) {
            here.url = url;
        }
        here.account = url(Listener::Account).or(here.account);
        here
    }
}

/// Listens as a log or a shop does.
pub async fn doors(folder: &PartyFolder, listen: &Listen) -> anyhow::Result<Doors> {
    Doors::open(folder, &[(&[Listener::Public], &listen.public), (&[Listener::Operator], &listen.operator)]).await
}

/// Opens a door; port 0 takes a free one below 32768.
async fn open_free(on: &'static [Listener], bind: &Bind, tls: Option<ServerTls>) -> anyhow::Result<Door> {
    let Bind::Tcp(address) = bind else { return Ok(Door::open(on, bind, tls).await?) };
    if address.port() != 0 {
        return Ok(Door::open(on, bind, tls).await?);
    }
    for _ in 0..MAX_PORT_TRIES {
        let bind = Bind::Tcp(SocketAddr::new(address.ip(), random_port()?));
        match Door::open(on, &bind, tls.clone()).await {
            Err(ServeError::Listen(..)) => {}
            outcome => return Ok(outcome?),
        }
    }
    anyhow::bail!("no free port was found")
}

/// Looks for renewed certificates now and then, and whenever the process is sent SIGHUP.
async fn renew(certificates: Vec<ServerTls>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hang_up) = signal(SignalKind::hangup()) else { return };
    loop {
        let is_asked = tokio::select! {
            asked = hang_up.recv() => asked.is_some(),
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        for certificate in &certificates {
            match certificate.reload(is_asked) {
                Ok(true) => tracing::info!("a renewed certificate is in use"),
                Ok(false) => {}
                Err(error) => tracing::warn!("a certificate is not renewed, the old one stays: {error}"),
            }
        }
    }
}

#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    role: &'a str,
    address: String,
    operator: Option<String>,
    identity: String,
}

/// Listens; port 0 takes a free one below 32768.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    if address.port() != 0 {
        return Ok(serve::listen(address).await?);
    }
    let mut last = None;
    for _ in 0..MAX_PORT_TRIES {
        let port = random_port()?;
        match serve::listen(SocketAddr::new(address.ip(), port)).await {
            Ok(listener) => return Ok(listener),
            Err(error @ ServeError::NotLoopback(_)) => return Err(error.into()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no free port was found"), Into::into))
}

/// The address of a setting, with a free port in the place of 0: settled once, so that the identity stays.
pub fn settled(address: &str) -> anyhow::Result<SocketAddr> {
    let address: SocketAddr =
        address.parse().with_context(|| format!("{address} is not an address like 127.0.0.1:21001"))?;
    runtime()?
        .block_on(async { if address.port() == 0 { Ok(listen(address).await?.local_addr()?) } else { Ok(address) } })
}

/// Serves until the process is told to stop, or `trouble` comes up. The ready line is the first that is printed.
pub async fn serve_until_stopped<C: Call, S: Service<C>>(
    doors: Doors,
    service: Arc<S>,
    identity: &Identity,
    (serving, output): (Serving, Output),
    trouble: impl Future<Output = anyhow::Error>,
) -> anyhow::Result<()> {
    // The handler is there before anybody is told that we are.
    let stop = tokio::spawn(serve::stop_signal());
    tokio::task::yield_now().await;
    announce(&doors, identity, serving, output)?;
    let renewal = tokio::spawn(renew(doors.certificates));
    let terms = Terms { metrics: Some(crate::measure::metrics()?), ..Terms::default() };
    let stop = async {
        // The task cannot fail but by the runtime's end, which stops the server, too.
        let _ = stop.await;
    };
    let served = tokio::select! {
        () = serve::serve_doors(doors.doors, service, terms, stop) => Ok(()),
        trouble = trouble => Err(trouble),
    };
    renewal.abort();
    served?;
    tracing::info!("stopped");
    Ok(())
}

/// The runtime of servers and clients.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime does not start")
}

/// Logging to standard error, at the level of the settings; and measuring, before there is anything to measure.
pub fn start_logging(level: &str) -> anyhow::Result<()> {
    crate::measure::metrics()?;
    let level: tracing_subscriber::filter::LevelFilter =
        level.parse().map_err(|_| anyhow::anyhow!("log_level is error, warn, info or debug, not {level}"))?;
    // A second start in one process keeps the first.
    let log = tracing_subscriber::fmt().with_max_level(level).with_target(false);
    let _ = log.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).try_init();
    Ok(())
}

fn announce(doors: &Doors, identity: &Identity, serving: Serving, output: Output) -> anyhow::Result<()> {
    let here = doors.here(identity);
    if serving.is_beside {
        tracing::info!("{} ready on {}", identity.role.name(), here.url);
        return Ok(());
    }
    let operator = doors.plain.get(&Listener::Operator).map(ToString::to_string);
    let (address, role) = (doors.public.to_string(), identity.role.name());
    let ready = Ready { ready: true, role, address, operator, identity: here.to_string() };
    output.result(&ready, |ready| format!("{} ready on {}, stop with Ctrl-C", ready.role, here.url))?;
    if let Some(fd) = serving.ready_fd {
        let line = serde_json::to_string(&ready)? + "\n";
        let file = OpenOptions::new().append(true).open(format!("/dev/fd/{fd}"));
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.with_context(|| format!("descriptor {fd} (--ready-fd) cannot be written"))?;
    }
    Ok(())
}

fn random_port() -> anyhow::Result<u16> {
    let random = u16::from_be_bytes(*super::folder::random::<2>()?);
    Ok(FREE_PORTS.start + random % (FREE_PORTS.end - FREE_PORTS.start))
}
