//! A party as a server: listening, the ready line, stopping.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use naulon_wire::serve::{self, ServeError};
use naulon_wire::{Call, Service};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::identity::Identity;
use crate::output::Output;

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
}

#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    role: &'a str,
    address: SocketAddr,
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
    listener: TcpListener,
    service: Arc<S>,
    identity: &Identity,
    (serving, output): (Serving, Output),
    trouble: impl Future<Output = anyhow::Error>,
) -> anyhow::Result<()> {
    // The handler is there before anybody is told that we are.
    let stop = tokio::spawn(serve::stop_signal());
    tokio::task::yield_now().await;
    announce(listener.local_addr()?, identity, serving, output)?;
    let stop = async {
        // The task cannot fail but by the runtime's end, which stops the server, too.
        let _ = stop.await;
    };
    tokio::select! {
        served = serve::serve(listener, service, stop) => served?,
        trouble = trouble => return Err(trouble),
    }
    tracing::info!("stopped");
    Ok(())
}

/// The runtime of servers and clients.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime does not start")
}

/// Logging to standard error, at the level of the settings.
pub fn start_logging(level: &str) -> anyhow::Result<()> {
    let level: tracing_subscriber::filter::LevelFilter =
        level.parse().map_err(|_| anyhow::anyhow!("log_level is error, warn, info or debug, not {level}"))?;
    // A second start in one process keeps the first.
    let log = tracing_subscriber::fmt().with_max_level(level).with_target(false);
    let _ = log.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).try_init();
    Ok(())
}

fn announce(address: SocketAddr, identity: &Identity, serving: Serving, output: Output) -> anyhow::Result<()> {
    // What is reached is where we listen now, which a setting may have moved.
    let here = Identity { url: format!("http://{address}"), ..identity.clone() };
    let ready = Ready { ready: true, role: identity.role.name(), address, identity: here.to_string() };
    output.result(&ready, |ready| format!("{} ready on http://{address}, stop with Ctrl-C", ready.role))?;
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
