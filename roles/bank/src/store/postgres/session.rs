//! Connections to PostgreSQL: checked when they are made, made again when they are lost.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::maybe_done;
use naulon_durable::StoreError;
use naulon_durable::migration::{Migrated, Rehearsal};
use tokio::runtime::{self, Runtime};
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::failure::{Failure, PostgresOpenError, settled};
use super::schema::{MIGRATIONS, SCHEMA, STATEMENTS, Sql};

/// How often a transaction is tried, the first time included.
const MAX_ATTEMPTS: u32 = 7;
/// The wait before the second attempt. It doubles with each: with [`MAX_ATTEMPTS`] the last comes after 1.3 s.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// How long a connection may take to be made.
const MAX_CONNECT: Duration = Duration::from_secs(5);
/// How long the server works on a statement, waits for a lock included, or keeps a transaction whose bank is silent.
const MAX_STATEMENT: Duration = Duration::from_secs(10);
/// How long the bank waits for a server that says nothing. Above [`MAX_STATEMENT`], so that the server speaks first.
const MAX_SILENCE: Duration = Duration::from_secs(15);
/// The advisory lock under which one process at a time brings the tables up to date: "naulonBK".
const MIGRATION_LOCK: i64 = 0x6e61_756c_6f6e_424b;
/// The advisory lock that every session of a bank shares while it lives, and that a migration has alone: "naulonBU".
const IN_USE_LOCK: i64 = 0x6e61_756c_6f6e_4255;
/// The number of the schema that this program works with.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// A statement on its way, with the values for it.
pub(super) struct Step<'p> {
    sql: Sql,
    values: Vec<Box<dyn ToSql + Sync + 'p>>,
}

/// A [`Step`] of a statement and its values.
pub(super) fn step<'p>(sql: Sql, values: Vec<Box<dyn ToSql + Sync + 'p>>) -> Step<'p> {
    Step { sql, values }
}

/// A connection with its statements prepared.
pub(super) struct Session {
    client: Client,
    statements: Vec<Statement>,
    is_abandoned: Cell<bool>,
}

impl Session {
    /// Sends all steps at once, in their order, and waits for all answers: one round trip. On an error, the first.
    pub(super) async fn flight<const N: usize>(&self, steps: [Step<'_>; N]) -> Result<[Vec<Row>; N], Failure> {
        let answers = self.fly(steps.into()).await?;
        answers.try_into().map_err(|_| StoreError::Other("a statement without an answer".into()).into())
    }

    /// [`flight`](Self::flight) of those that there are; the others are answered by no rows.
    pub(super) async fn flight_of<const N: usize>(
        &self,
        steps: [Option<Step<'_>>; N],
    ) -> Result<[Vec<Row>; N], Failure> {
        let are_there = steps.each_ref().map(Option::is_some);
        let mut answers = self.fly(steps.into_iter().flatten().collect()).await?.into_iter();
        Ok(are_there.map(|is_there| if is_there { answers.next().unwrap_or_default() } else { Vec::new() }))
    }

    /// [`flight`](Self::flight) of as many as there are.
    pub(super) async fn fly(&self, steps: Vec<Step<'_>>) -> Result<Vec<Vec<Row>>, Failure> {
        let under_way = |step| Box::pin(maybe_done(self.ask(step)));
        let mut flight: Vec<_> = steps.into_iter().map(under_way).collect();
        // A request is on its way as soon as its future is polled for the first time.
        for answer in &mut flight {
            poll_fn(|context| Poll::Ready(answer.as_mut().poll(context).is_ready())).await;
        }
        let landed = async {
            let mut answers = Vec::with_capacity(flight.len());
            for mut answer in flight {
                answer.as_mut().await;
                answers.extend(answer.as_mut().take_output());
            }
            answers.into_iter().collect::<Result<_, tokio_postgres::Error>>()
        };
        Ok(timeout(MAX_SILENCE, landed).await.map_err(|_| silent())??)
    }

    /// The connection, for what is not a [`Step`].
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Has another connection made for the next transaction.
    pub(super) fn abandon(&self) {
        self.is_abandoned.set(true);
    }

    /// Commits. On [`Failure::Gone`] it is not known whether it did.
    pub(super) async fn commit(&self) -> Result<(), Failure> {
        Ok(timeout(MAX_SILENCE, self.client.batch_execute("COMMIT")).await.map_err(|_| silent())??)
    }

    async fn ask(&self, step: Step<'_>) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = &self.statements[step.sql as usize];
        self.client.query_raw(statement, step.values).await?.try_collect().await
    }
}

fn silent() -> Failure {
    Failure::Gone(StoreError::Unreachable(format!("no answer within {} s", MAX_SILENCE.as_secs())))
}

/// The way to one database: a thread's own runtime, and the session that it has at present.
pub(super) struct Link {
    // Before the runtime, so that it is dropped first.
    session: Option<Session>,
    config: Config,
    runtime: Runtime,
}

impl Link {
    /// Connects, begins the tables if there are none, and prepares.
    pub(super) fn open(url: &str) -> Result<Self, PostgresOpenError> {
        let mut config = config(url)?;
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let runtime = runtime()?;
        let session = runtime.block_on(async {
            let client = connect(&config).await.map_err(settled)?;
            check_durability(&client).await?;
            begin(&client).await?;
            admit(&client).await.map_err(settled)?;
            prepare(client).await.map_err(|error| settled(error.into()))
        })?;
        Ok(Link { session: Some(session), config, runtime })
    }

    /// Runs a transaction until it ends or there is no point in trying again. An attempt that ends, by whatever failure,
    /// has written nothing, or what may be written twice.
    pub(super) fn run<T>(
        &mut self,
        mut transaction: impl AsyncFnMut(&Session) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let Link { session, config, runtime } = self;
        runtime.block_on(async {
            let mut wait = FIRST_WAIT;
            for attempt in 1.. {
                let error = match attempted(session, config, &mut transaction).await {
                    Ok(done) => return Ok(done),
                    Err(Failure::Stop(error)) => return Err(error),
                    Err(Failure::Again(error) | Failure::Gone(error)) => error,
                };
                if attempt == MAX_ATTEMPTS {
                    return Err(error);
                }
                sleep(wait).await;
                wait *= 2;
            }
            unreachable!("the last attempt returns")
        })
    }

    /// Runs what must not be run twice.
    pub(super) fn run_once<T>(
        &mut self,
        mut transaction: impl AsyncFnMut(&Session) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let Link { session, config, runtime } = self;
        runtime.block_on(attempted(session, config, &mut transaction)).map_err(Failure::into_error)
    }
}

/// One attempt, on a session that works as far as is known. It leaves none behind that does not.
async fn attempted<T>(
    session: &mut Option<Session>,
    config: &Config,
    transaction: &mut impl AsyncFnMut(&Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let current = match session.take().filter(|session| !session.client.is_closed()) {
        Some(current) => current,
        None => {
            let client = connect(config).await?;
            admit(&client).await?;
            prepare(client).await?
        }
    };
    let outcome = transaction(&current).await;
    let is_sound = match &outcome {
        Ok(_) => !current.is_abandoned.get(),
        Err(Failure::Gone(error)) => {
            tracing::warn!(%error, "the connection to the database is lost");
            false
        }
        Err(Failure::Again(_) | Failure::Stop(_)) => current.flight([step(Sql::Rollback, vec![])]).await.is_ok(),
    };
    *session = Some(current).filter(|_| is_sound);
    outcome
}

/// A thread of its own for each store, which runs only while the store is asked something.
pub(super) fn runtime() -> Result<Runtime, StoreError> {
    runtime::Builder::new_current_thread().enable_all().build().map_err(|error| StoreError::Other(error.to_string()))
}

/// The address with what every connection of a bank has.
pub(super) fn config(url: &str) -> Result<Config, PostgresOpenError> {
    let mut config: Config = url.parse().map_err(|_| PostgresOpenError::Address)?;
    if config.get_hosts().is_empty() || config.get_dbname().is_none() {
        return Err(PostgresOpenError::Address);
    }
    for host in config.get_hosts() {
        match host {
            Host::Tcp(name) if !is_loopback(name) => return Err(PostgresOpenError::NotLocal(name.clone())),
            Host::Tcp(_) | Host::Unix(_) => {}
        }
    }
    if let Some(address) = config.get_hostaddrs().iter().find(|address| !address.is_loopback()) {
        return Err(PostgresOpenError::NotLocal(address.to_string()));
    }
    let limit = MAX_STATEMENT.as_millis();
    let own = format!(
        "-c statement_timeout={limit} -c idle_in_transaction_session_timeout={limit} -c search_path={SCHEMA} \
         -c client_min_messages=warning"
    );
    // Of two settings of one name the later one holds.
    let options = config.get_options().map_or_else(|| own.clone(), |theirs| format!("{theirs} {own}"));
    config.options(options).application_name("naulon-bank").connect_timeout(MAX_CONNECT).tcp_user_timeout(MAX_SILENCE);
    Ok(config)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A connection whose commits are durable when they return, whatever the server's default is. Its other half runs on the
/// runtime of the caller.
pub(super) async fn connect(config: &Config) -> Result<Client, Failure> {
    let connected = timeout(MAX_CONNECT, config.connect(NoTls)).await.map_err(|_| silent())?;
    let (client, connection) = connected?;
    // How it ended is told by the next call on the client.
    tokio::spawn(async move { drop(connection.await) });
    client.batch_execute(DURABLE).await?;
    Ok(client)
}

/// `remote_apply` waits for more than `on` does, so it stays.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') <> 'remote_apply'";

async fn prepare(client: Client) -> Result<Session, tokio_postgres::Error> {
    let mut statements = Vec::with_capacity(STATEMENTS.len());
    for (_, text) in STATEMENTS {
        statements.push(client.prepare(text).await?);
    }
    Ok(Session { client, statements, is_abandoned: Cell::new(false) })
}

/// Refuses a server that does not sync what it commits.
async fn check_durability(client: &Client) -> Result<(), PostgresOpenError> {
    for name in ["fsync", "full_page_writes"] {
        let row = client.query_one("SELECT current_setting($1)", &[&name]).await.map_err(|e| settled(e.into()))?;
        if row.try_get::<_, &str>(0).ok() != Some("on") {
            return Err(PostgresOpenError::Unsafe(name));
        }
    }
    Ok(())
}

/// Brings the tables of this database up to date, or tries whether it could be done.
///
/// # Panics
/// On a thread that runs async code.
pub(super) fn migrate(url: &str, rehearsal: Rehearsal) -> Result<Migrated, PostgresOpenError> {
    let mut config = config(url)?;
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    runtime()?.block_on(async {
        let client = connect(&config).await.map_err(settled)?;
        check_durability(&client).await?;
        // A table may take longer than a bank's short transactions.
        client.batch_execute("SET statement_timeout = 0").await.map_err(|e| settled(e.into()))?;
        let from = match schema_number(&client).await.map_err(|e| settled(e.into()))? {
            Some(found) if found > KNOWN => return Err(PostgresOpenError::Newer { found, known: KNOWN }),
            Some(found) => found,
            None => return Err(PostgresOpenError::NoTables),
        };
        run_migrations(&client, rehearsal).await?;
        Ok(Migrated { from, to: KNOWN })
    })
}

/// Begins the tables in a new database. Of processes that start at once one does it, and the others wait for it. A
/// database with other tables than this program's is refused.
async fn begin(client: &Client) -> Result<(), PostgresOpenError> {
    if schema_number(client).await.map_err(|e| settled(e.into()))?.is_none() {
        run_migrations(client, Rehearsal::ForGood).await?;
    }
    match schema_number(client).await.map_err(|e| settled(e.into()))?.unwrap_or(0) {
        found if found > KNOWN => Err(PostgresOpenError::Newer { found, known: KNOWN }),
        found if found < KNOWN => Err(PostgresOpenError::Older { found, known: KNOWN }),
        _ => Ok(()),
    }
}

/// Runs the migrations that are missing, in one transaction with the new number, while no bank uses the tables.
async fn run_migrations(client: &Client, rehearsal: Rehearsal) -> Result<(), PostgresOpenError> {
    let migrated = async {
        let lock = format!("BEGIN; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
        client.batch_execute(&lock).await?;
        let from = schema_number(client).await?.unwrap_or(0);
        if from == KNOWN {
            return client.batch_execute("ROLLBACK").await.map(|()| true);
        }
        let alone = client.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&IN_USE_LOCK]).await?;
        if !alone.get::<_, bool>(0) {
            return client.batch_execute("ROLLBACK").await.map(|()| false);
        }
        client.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}")).await?;
        for (_, sql) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > from) {
            client.batch_execute(sql).await?;
        }
        let end = match rehearsal {
            Rehearsal::ForGood => "COMMIT",
            Rehearsal::DryRun => "ROLLBACK",
        };
        let number = format!(
            "CREATE TABLE IF NOT EXISTS schema (one smallint NOT NULL PRIMARY KEY CHECK (one = 1), number bigint NOT NULL);
             INSERT INTO schema VALUES (1, {KNOWN}) ON CONFLICT (one) DO UPDATE SET number = {KNOWN}; {end}"
        );
        client.batch_execute(&number).await.map(|()| true)
    };
    match migrated.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(PostgresOpenError::InUse),
        Err(error) => Err(settled(tokio_postgres::Error::into(error))),
    }
}

/// Makes the session one of those that use the tables, which are as this program knows them: nobody migrates them before
/// it has ended.
async fn admit(client: &Client) -> Result<(), Failure> {
    let admitted = client.query_one("SELECT pg_try_advisory_lock_shared($1)", &[&IN_USE_LOCK]).await?;
    if !admitted.get::<_, bool>(0) {
        return Err(Failure::Gone(StoreError::Unreachable("its tables are being migrated".into())));
    }
    match schema_number(client).await? {
        Some(KNOWN) => Ok(()),
        // The program ends by this error, and its next start says what to do.
        _ => Err(StoreError::Other("its tables have been migrated: start the program that they are for".into()).into()),
    }
}

/// The number of the schema; none if the database is new.
pub(super) async fn schema_number(client: &Client) -> Result<Option<i64>, tokio_postgres::Error> {
    // By a look into the catalogue: a function on names answers from a session's cache, which after the wait for the lock
    // does not know yet what the one before it has made.
    let sql = "SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'schema'";
    if client.query_opt(sql, &[&SCHEMA]).await?.is_none() {
        return Ok(None);
    }
    let sql = format!("SELECT number FROM {SCHEMA}.schema");
    Ok(client.query_opt(&sql, &[]).await?.map(|row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked() {
        let refused = |url: &str| config(url).expect_err("is refused").to_string();
        for url in
            ["postgresql://bank@db.example/bank", "postgresql://localhost,10.0.0.7/bank", "host=10.0.0.7 dbname=b"]
        {
            assert!(refused(url).contains("is not this machine"), "{url}: {}", refused(url));
        }
        let elsewhere = "host=localhost hostaddr=192.0.2.1 dbname=b";
        assert!(refused(elsewhere).contains("192.0.2.1"));
        for url in ["sqlite", "postgresql://:secret@/", "postgresql://localhost", "postgresql:///bank"] {
            let said = refused(url);
            assert!(said.starts_with("not a PostgreSQL address") && !said.contains("secret"), "{url}: {said}");
        }
        for url in [
            "postgresql://bank@localhost/bank",
            "postgresql://[::1]:5433/bank",
            "postgresql://127.0.0.2/bank",
            "postgresql:///bank?host=/run/postgresql&user=bank",
        ] {
            assert!(config(url).is_ok(), "{url}");
        }
    }
}
