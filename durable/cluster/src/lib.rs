//! A PostgreSQL of one's own, for tests and benchmarks: in a temporary folder, on a Unix socket only, gone when the program that
//! began it has ended, however it ends.
//!
//! In scope: servers that start, stop, and take over from one another. Out of scope: what stands in their databases.

mod sql;

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub use sql::{run, texts};

/// Two servers in one folder, which do what is said on standard input, a word a line, and are gone at its end. PostgreSQL
/// refuses to run as root.
const SERVERS: &str = r#"
trap '' INT TERM HUP
as=
if [ "$(id -u)" = 0 ]; then
    chown postgres "$FOLDER"
    as='setpriv --reuid postgres --regid postgres --init-groups'
fi
cd "$FOLDER"
run() {
    $as "$BIN/pg_ctl" -D "$FOLDER/$1" -l "$FOLDER/$1.txt" -w -t 60 \
        -o "-k $FOLDER/$1.socket -c listen_addresses= -c max_connections=100" start
}
while read -r word; do
    case "$word" in
    begin)
        $as mkdir one.socket two.socket &&
        $as "$BIN/initdb" -D "$FOLDER/one" -U bank -A trust -E UTF8 --locale=C --no-sync &&
        run one ;;
    standby)
        $as "$BIN/pg_basebackup" -h "$FOLDER/one.socket" -U bank -D "$FOLDER/two" -R -X stream -c fast &&
        run two ;;
    stop) $as "$BIN/pg_ctl" -D "$FOLDER/one" -m immediate -w stop ;;
    start) run one ;;
    promote) $as "$BIN/pg_ctl" -D "$FOLDER/two" -w promote ;;
    esac >>"$FOLDER/said.txt" 2>&1 </dev/null
    echo "$?"
done
for server in one two; do $as "$BIN/pg_ctl" -D "$FOLDER/$server" -m immediate -w stop >/dev/null 2>&1; done
cd /
rm -rf "$FOLDER"
"#;

/// Why there is no cluster, or why it did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// PostgreSQL's programs are not there.
    #[error(
        "PostgreSQL is not installed: no /usr/lib/postgresql/*/bin/initdb. Install Debian's package `postgresql`, or run \
         `cargo xtask test`, which does"
    )]
    Missing,
    /// A program of PostgreSQL failed; this is what it said.
    #[error("PostgreSQL could not {word}: {said}")]
    Failed {
        /// What it was told.
        word: &'static str,
        /// What it said.
        said: String,
    },
    /// A statement was refused.
    #[error("{statement}: {cause:?}")]
    Statement {
        /// The SQL.
        statement: String,
        /// Why.
        cause: tokio_postgres::Error,
    },
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first, which runs from the beginning.
    One,
    /// Its standby.
    Two,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::One => "one",
            Place::Two => "two",
        }
    }
}

/// A server, and perhaps its standby. They are stopped when this is dropped, or when this process ends.
pub struct Cluster {
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
    _guard: Child,
}

impl Cluster {
    /// Makes and starts the first server, with a user `bank` who may do everything.
    pub fn begin() -> Result<Cluster, ClusterError> {
        let bin = programs().ok_or(ClusterError::Missing)?;
        let folder = tempfile::Builder::new().prefix("naulon-pg-").tempdir()?.keep();
        let mut command = Command::new("sh");
        command.args(["-c", SERVERS]).env("BIN", bin).env("FOLDER", &folder);
        let mut guard = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let words = guard.stdin.take().ok_or_else(gone)?;
        let answers = BufReader::new(guard.stdout.take().ok_or_else(gone)?);
        let mut cluster = Cluster { words, answers, folder, _guard: guard };
        cluster.say("begin")?;
        Ok(cluster)
    }

    /// Makes a new, empty database at the first server, and gives its address.
    pub fn database(&self, name: &str) -> Result<String, ClusterError> {
        run(&self.url(Place::One, "postgres"), &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(Place::One, name))
    }

    /// The address of a database at one of the servers.
    pub fn url(&self, place: Place, database: &str) -> String {
        format!("postgresql:///{database}?host={}&user=bank", self.socket(place))
    }

    /// The folder of a server's socket.
    pub fn socket(&self, place: Place) -> String {
        self.folder.join(format!("{}.socket", place.name())).display().to_string()
    }

    /// The process id of the first server. All its other processes are children of this one.
    pub fn process(&self) -> Result<u32, ClusterError> {
        let file = std::fs::read_to_string(self.folder.join("one/postmaster.pid"))?;
        let id = file.lines().next().and_then(|line| line.trim().parse().ok());
        id.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData).into())
    }

    /// Stops the first server as if its power were cut.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        self.say("stop")
    }

    /// Starts the first server again.
    pub fn start(&mut self) -> Result<(), ClusterError> {
        self.say("start")
    }

    /// Makes and starts a standby of the first server.
    pub fn standby(&mut self) -> Result<(), ClusterError> {
        self.say("standby")
    }

    /// Lets the standby take over.
    pub fn promote(&mut self) -> Result<(), ClusterError> {
        self.say("promote")
    }

    fn say(&mut self, word: &'static str) -> Result<(), ClusterError> {
        writeln!(self.words, "{word}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if answer.trim() == "0" {
            return Ok(());
        }
        let said = std::fs::read_to_string(self.folder.join("said.txt")).unwrap_or_default();
        Err(ClusterError::Failed { word, said })
    }
}

/// The folder with the newest PostgreSQL's programs.
pub fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    bins.filter(|bin| Path::is_file(&bin.join("initdb"))).max()
}
