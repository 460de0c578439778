//! A PostgreSQL cluster of the tests' own: in a temporary folder, on a Unix socket only, gone when the tests have ended.

#![allow(dead_code)] // Each test program uses its own part.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// Keeps the server as long as its standard input is open, which is as long as the tests run, however they end. Then it
/// stops the server, by its process id, and removes the folder. PostgreSQL refuses to run as root.
const GUARD: &str = r#"
trap '' INT TERM HUP
as=
if [ "$(id -u)" = 0 ]; then
    chown postgres "$FOLDER"
    as='setpriv --reuid postgres --regid postgres --init-groups'
fi
cd "$FOLDER"
$as "$BIN/initdb" -D "$FOLDER/data" -U bank -A trust -E UTF8 --locale=C --no-sync >"$FOLDER.txt" 2>&1 &&
    { $as "$BIN/postgres" -D "$FOLDER/data" -k "$FOLDER" -c listen_addresses= -c max_connections=100 \
        <&- >>"$FOLDER.txt" 2>&1 & }
server=$!
cat >/dev/null
[ -n "$server" ] && kill -QUIT "$server" && wait "$server"
cd /
rm -rf "$FOLDER" "$FOLDER.txt"
"#;

/// How long the cluster may take to be made and to answer.
const MAX_START: Duration = Duration::from_secs(60);

struct Cluster {
    folder: PathBuf,
    /// Its standard input is closed when this process ends.
    _guard: Child,
}

/// The address of a new, empty database.
pub fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("bank_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    run(&administration(), &format!("CREATE DATABASE {name}"));
    address(&name)
}

/// The address of the cluster's own database.
pub fn administration() -> String {
    address("postgres")
}

/// Runs statements that answer nothing.
pub fn run(url: &str, sql: &str) {
    try_run(url, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

fn address(name: &str) -> String {
    format!("postgresql:///{name}?host={}&user=bank", cluster().folder.display())
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start)
}

fn start() -> Cluster {
    let bin = installed().expect(
        "PostgreSQL is not installed: no /usr/lib/postgresql/*/bin/initdb. Install Debian's package `postgresql`, or run \
         the tests by `cargo xtask test`, which does",
    );
    let folder = tempfile::Builder::new().prefix("naulon-pg-").tempdir().expect("a folder").keep();
    let guard = Command::new("sh")
        .args(["-c", GUARD])
        .env("BIN", bin)
        .env("FOLDER", &folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let cluster = Cluster { _guard: guard, folder };
    let url = format!("postgresql:///postgres?host={}&user=bank", cluster.folder.display());
    let begun = Instant::now();
    while let Err(error) = try_run(&url, "SELECT 1") {
        let said = std::fs::read_to_string(cluster.folder.with_extension("txt")).unwrap_or_default();
        assert!(begun.elapsed() < MAX_START, "PostgreSQL does not start: {error}\n{said}");
        std::thread::sleep(Duration::from_millis(20));
    }
    cluster
}

/// The folder with the newest server's programs.
pub fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    bins.filter(|bin| Path::is_file(&bin.join("initdb"))).max()
}

/// The first column of what a query answers, as texts.
pub fn texts(url: &str, sql: &str) -> Vec<String> {
    let rows = on(url, async |client| client.query(sql, &[]).await);
    rows.unwrap_or_else(|error| panic!("{sql}: {error:?}")).iter().map(|row| row.get(0)).collect()
}

fn try_run(url: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    on(url, async |client| client.batch_execute(sql).await)
}

/// Does something on a connection of its own.
fn on<T>(
    url: &str,
    ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&format!("{url}&options=-csearch_path%3Dnaulon_bank"), NoTls).await?;
        let connection = tokio::spawn(connection);
        let done = ask(&client).await;
        drop(client);
        connection.await.expect("ends")?;
        done
    })
}
