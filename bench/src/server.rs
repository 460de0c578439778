//! The measured servers: child processes of this program, so that their processor time is theirs alone.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::post;
use naulon_wire::serve;
use tokio::net::TcpListener;

use crate::cpu::Usage;
use crate::house;

/// Below the ports that the system hands out by itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// The longest body that the echo answers with.
const MAX_ECHO_LEN: usize = 256 * 1024;
/// The bodies of all echoes are pieces of this.
static ECHO_BODY: [u8; MAX_ECHO_LEN] = [b' '; MAX_ECHO_LEN];

/// What a child process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads a body whole and answers with as many bytes as the path says: HTTP and nothing else.
    Echo,
    /// A bank over its SQLite store, or over a PostgreSQL database.
    Bank,
    /// A log over its SQLite store.
    Log,
    /// A shop over its SQLite store.
    Shop,
}

impl Role {
    const ALL: [(Role, &'static str); 4] =
        [(Role::Echo, "echo"), (Role::Bank, "bank"), (Role::Log, "log"), (Role::Shop, "shop")];

    /// The role of this name.
    pub fn of(name: &str) -> Option<Role> {
        Role::ALL.iter().find(|(_, known)| *known == name).map(|(role, _)| *role)
    }

    fn name(self) -> &'static str {
        Role::ALL.iter().find(|(role, _)| *role == self).map_or("", |(_, name)| name)
    }
}

/// A running child. It ends when this is dropped, or when this process ends.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    /// Its end tells the child to stop.
    stdin: Option<ChildStdin>,
}

impl Server {
    /// Starts a child with its store in the folder.
    pub fn start(role: Role, folder: &Path) -> Result<Server> {
        Self::start_with(role, &[folder.as_os_str()])
    }

    /// Starts a bank with its store in this PostgreSQL database.
    pub fn start_bank_at(url: &str) -> Result<Server> {
        Self::start_with(Role::Bank, &[OsStr::new(url)])
    }

    /// Starts a shop in the folder, which deals with this bank and this log.
    pub fn start_shop(folder: &Path, bank: SocketAddr, log: SocketAddr) -> Result<Server> {
        let [bank, log] = [bank, log].map(|address| format!("http://{address}"));
        Self::start_with(Role::Shop, &[folder.as_os_str(), OsStr::new(&bank), OsStr::new(&log)])
    }

    fn start_with(role: Role, arguments: &[&OsStr]) -> Result<Server> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        command.arg("serve").arg(role.name()).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("the child has an output")?);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let Ok(address) = line.trim().parse() else { bail!("the {} did not start", role.name()) };
        Ok(Server { address, child, stdin })
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// What its threads have used so far.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It finishes what it has begun. What it was asked is answered, so there is nothing to learn from its end.
        let _ = self.child.wait();
    }
}

/// The child's side: serves until its input ends. The first line of its output is its address.
#[allow(clippy::print_stdout)] // The parent reads it.
pub fn run(role: Role, store: &str, others: &[&str]) -> Result<()> {
    let names = AtomicUsize::new(0);
    // The runtime starts its workers first; the threads for blocking work come later, on demand.
    let workers = std::thread::available_parallelism()?.get();
    let name = move || match names.fetch_add(1, Ordering::Relaxed) {
        worker if worker < workers => format!("http-{worker}"),
        other => format!("blocking-{other}"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name_fn(name)
        .enable_all()
        .build()?;
    let listener = runtime.block_on(free_port())?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = stop.send(());
    })?;
    let stopped = async move {
        let _ = stopped.await;
    };
    match role {
        Role::Echo => {
            Ok(runtime.block_on(async { axum::serve(listener, echo()).with_graceful_shutdown(stopped).await })?)
        }
        Role::Bank => house::serve_bank(&runtime, listener, store, stopped),
        Role::Log => house::serve_log(&runtime, listener, Path::new(store), stopped),
        Role::Shop => {
            let [bank, log] = others else { bail!("a shop deals with a bank and a log") };
            house::serve_shop(&runtime, listener, Path::new(store), [bank, log], stopped)
        }
    }
}

/// A port that was free just now, for a program that takes a number.
pub fn free_port_number() -> Result<u16> {
    free_port_numbers(1)?.pop().context("one was asked for")
}

/// So many different ports that were free just now.
pub fn free_port_numbers(count: usize) -> Result<Vec<u16>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // All are held until all are found.
    let held = (0..count).map(|_| runtime.block_on(free_port())).collect::<Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

async fn free_port() -> Result<TcpListener> {
    // Children that start together look from different places.
    let first = std::process::id() % u32::from(PORTS.end - PORTS.start);
    let ports = PORTS.cycle().skip(first as usize).take(PORTS.len());
    for port in ports {
        if let Ok(listener) = serve::listen(([127, 0, 0, 1], port).into()).await {
            return Ok(listener);
        }
    }
    bail!("no port of {PORTS:?} is free")
}

fn echo() -> Router {
    let answer = async |path: axum::extract::Path<usize>, body: Bytes| {
        let _ = std::hint::black_box(body);
        let body = Bytes::from_static(&ECHO_BODY[..path.min(MAX_ECHO_LEN)]);
        ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body)
    };
    Router::new().route("/echo/{len}", post(answer))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An echo in this process.
    pub struct Echo {
        pub address: SocketAddr,
        _runtime: tokio::runtime::Runtime,
    }

    pub fn echo() -> Echo {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runs");
        let listener = runtime.block_on(free_port()).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move { axum::serve(listener, super::echo()).await });
        Echo { address, _runtime: runtime }
    }

    #[test]
    fn roles_have_names() {
        for (role, name) in Role::ALL {
            assert_eq!((Role::of(name), role.name()), (Some(role), name));
        }
        assert_eq!(Role::of("mix"), None);
    }
}
