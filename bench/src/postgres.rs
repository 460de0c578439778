//! A bank's rows in PostgreSQL, written again by themselves: the very rows that the bank has written, into a second schema of the
//! same database, durably and in batches of the rows of 100 calls, each table's rows as arrays in one statement. That is the
//! cheapest way of writing them that there is over a connection.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use naulon_cluster::Cluster;
use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row};

use crate::cpu::{self, Usage};
use crate::rows::BATCH;

const DATABASE: &str = "bank";
/// The schema of the bank's tables.
const LIVE: &str = "naulon_bank";
/// The schema of the rows that are written again.
const MIRROR: &str = "mirror";

/// A cluster with an empty database for one bank.
pub struct Database {
    cluster: Cluster,
    /// Where a bank and a mirror find it.
    pub url: String,
}

impl Database {
    /// Begins a cluster.
    pub fn begin() -> Result<Database> {
        let cluster = Cluster::begin()?;
        let url = cluster.database(DATABASE)?;
        Ok(Database { cluster, url })
    }

    /// What all of the cluster's processes that live now have used so far.
    pub fn used(&self) -> Result<Duration> {
        let server = self.cluster.process()?;
        let mut used = Usage::of(server)?.all();
        for entry in fs::read_dir("/proc")? {
            let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // A process may end between the listing and the reading.
            let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
            if parent(&stat) == Some(server) {
                used += Usage::of(process).map(|usage| usage.all()).unwrap_or_default();
            }
        }
        Ok(used)
    }
}

/// Field 4. The name, field 2, may contain anything, so the fields are counted from its closing bracket.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The second schema of a bank's database.
pub struct Mirror {
    runtime: Runtime,
    client: Client,
    tables: Vec<Table>,
}

struct Table {
    name: String,
    columns: Vec<(String, Type)>,
    key: Vec<String>,
}

/// The rows of a table, column by column.
enum Column {
    Bytes(Vec<Option<Vec<u8>>>),
    Long(Vec<Option<i64>>),
    Int(Vec<Option<i32>>),
    Short(Vec<Option<i16>>),
    Text(Vec<Option<String>>),
    Truth(Vec<Option<bool>>),
}

/// A statement and its arrays.
struct Write {
    sql: String,
    columns: Vec<Column>,
}

impl Mirror {
    /// A schema with the tables and the rows that the bank has now.
    pub fn beside(database: &Database) -> Result<Mirror> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&database.url, NoTls).await?;
            tokio::spawn(connection);
            anyhow::Ok(client)
        })?;
        let tables = runtime.block_on(tables(&client))?;
        let mut schema = format!("CREATE SCHEMA {MIRROR};");
        for Table { name, .. } in &tables {
            schema += &format!(
                "CREATE TABLE {MIRROR}.{name} (LIKE {LIVE}.{name} INCLUDING DEFAULTS INCLUDING INDEXES INCLUDING CONSTRAINTS);"
            );
        }
        runtime.block_on(client.batch_execute(&schema))?;
        let mut mirror = Mirror { runtime, client, tables };
        mirror.write_again(BATCH, || Ok(Duration::ZERO))?;
        Ok(mirror)
    }

    /// Writes again what the bank has written since the last time, as rows of this many calls: the processor time of it at
    /// both ends of the connection, and how many rows there were. `cluster` tells that of the other end.
    pub fn write_again(&mut self, calls: usize, cluster: impl Fn() -> Result<Duration>) -> Result<(Duration, usize)> {
        let count = calls.div_ceil(BATCH).max(1);
        let (runtime, client) = (&self.runtime, &mut self.client);
        runtime.block_on(async {
            let mut batches: Vec<Vec<Write>> = (0..count).map(|_| Vec::new()).collect();
            let mut written = 0;
            for table in &self.tables {
                for (sql, rows) in [
                    (table.insert(), client.query(&table.news(false), &[]).await?),
                    (table.update(), client.query(&table.news(true), &[]).await?),
                ] {
                    written += rows.len();
                    for (number, batch) in batches.iter_mut().enumerate() {
                        let rows: Vec<&Row> = rows.iter().skip(number).step_by(count).collect();
                        if !rows.is_empty() {
                            batch.push(Write { sql: sql.clone(), columns: table.values(&rows)? });
                        }
                    }
                }
            }
            let (here, there) = (cpu::of_this_thread(), cluster()?);
            for batch in &batches {
                let transaction = client.transaction().await?;
                for write in batch {
                    let values: Vec<&(dyn ToSql + Sync)> = write.columns.iter().map(Column::value).collect();
                    transaction.execute(write.sql.as_str(), &values).await?;
                }
                transaction.commit().await?;
            }
            let used = cpu::of_this_thread().saturating_sub(here) + cluster()?.saturating_sub(there);
            Ok((used, written))
        })
    }
}

impl Table {
    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn arrays(&self) -> String {
        let array = |(place, (_, kind)): (usize, &(String, Type))| format!("${}::{}[]", place + 1, kind.name());
        self.columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ")
    }

    /// The rows that are new, or those that are changed.
    fn news(&self, changed: bool) -> String {
        let (name, names) = (&self.name, self.names());
        let equal = |column: &String| format!("known.{column} = news.{column}");
        let same = self.key.iter().map(equal).collect::<Vec<_>>().join(" AND ");
        let not = if changed { "" } else { "NOT " };
        format!(
            "SELECT {names} FROM (SELECT {names} FROM {LIVE}.{name} EXCEPT SELECT {names} FROM {MIRROR}.{name}) AS news \
             WHERE {not}EXISTS (SELECT 1 FROM {MIRROR}.{name} AS known WHERE {same}) ORDER BY {}",
            self.key.join(", ")
        )
    }

    fn insert(&self) -> String {
        format!("INSERT INTO {MIRROR}.{} ({}) SELECT * FROM unnest({})", self.name, self.names(), self.arrays())
    }

    fn update(&self) -> String {
        let set = |(name, _): &(String, Type)| format!("{name} = news.{name}");
        let all = self.columns.iter().map(set).collect::<Vec<_>>().join(", ");
        let same = self.key.iter().map(|name| format!("old.{name} = news.{name}")).collect::<Vec<_>>().join(" AND ");
        format!(
            "UPDATE {MIRROR}.{} AS old SET {all} FROM unnest({}) AS news ({}) WHERE {same}",
            self.name,
            self.arrays(),
            self.names()
        )
    }

    fn values(&self, rows: &[&Row]) -> Result<Vec<Column>> {
        self.columns.iter().enumerate().map(|(place, (_, kind))| Column::of(rows, place, kind)).collect()
    }
}

impl Column {
    fn of(rows: &[&Row], place: usize, kind: &Type) -> Result<Column> {
        macro_rules! all {
            ($variant:ident) => {
                Column::$variant(rows.iter().map(|row| row.try_get(place)).collect::<Result<_, _>>()?)
            };
        }
        Ok(match *kind {
            Type::BYTEA => all!(Bytes),
            Type::INT8 => all!(Long),
            Type::INT4 => all!(Int),
            Type::INT2 => all!(Short),
            Type::TEXT => all!(Text),
            Type::BOOL => all!(Truth),
            ref other => bail!("no column of a bank has the type {other}"),
        })
    }

    fn value(&self) -> &(dyn ToSql + Sync) {
        match self {
            Column::Bytes(values) => values,
            Column::Long(values) => values,
            Column::Int(values) => values,
            Column::Short(values) => values,
            Column::Text(values) => values,
            Column::Truth(values) => values,
        }
    }
}

async fn tables(client: &Client) -> Result<Vec<Table>> {
    let names =
        client.query("SELECT tablename::text FROM pg_tables WHERE schemaname = $1 ORDER BY 1", &[&LIVE]).await?;
    let mut tables = Vec::new();
    for row in names {
        let name: String = row.try_get(0)?;
        let described = client.prepare(&format!("SELECT * FROM {LIVE}.{name}")).await?;
        let columns = described.columns().iter().map(|column| (column.name().to_owned(), column.type_().clone()));
        let sql = "SELECT attname::text FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) \
                   WHERE indisprimary AND indrelid = $1::text::regclass";
        let key = client.query(sql, &[&format!("{LIVE}.{name}")]).await?;
        let key = key.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        // A table of one row without a key, such as the number of the schema, is not written by any call.
        if key.is_empty() {
            ensure!(name == "schema", "the table {name} has no primary key");
            continue;
        }
        tables.push(Table { name, columns: columns.collect(), key });
    }
    (!tables.is_empty()).then_some(tables).context("the bank has made its tables")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_becomes_what_the_bank_has() {
        let database = Database::begin().expect("PostgreSQL runs");
        let schema = format!(
            "CREATE SCHEMA {LIVE}; SET search_path = {LIVE}; CREATE TABLE schema (number bigint); \
             CREATE TABLE mark (key bytea PRIMARY KEY, holder bytea); \
             CREATE TABLE record (id bytea PRIMARY KEY, state smallint, line integer, settles boolean, said text, time bigint); \
             INSERT INTO mark VALUES ('a', 'b')"
        );
        naulon_cluster::run(&database.url, &schema).expect("runs");
        let mut mirror = Mirror::beside(&database).expect("mirrors");
        let count = |table: &str| {
            let sql = format!(
                "SELECT count(*)::text FROM {LIVE}.{table} NATURAL JOIN {MIRROR}.{table} UNION ALL SELECT count(*)::text FROM {MIRROR}.{table}"
            );
            naulon_cluster::texts(&database.url, &sql).expect("answers")
        };
        assert_eq!(count("mark"), ["1", "1"]);
        let more = "INSERT INTO mark SELECT int4send(n), 'x' FROM generate_series(1, 500) n; \
                    INSERT INTO record SELECT int4send(n), 1, n, true, 'so', n FROM generate_series(1, 500) n; \
                    UPDATE mark SET holder = 'c' WHERE key = 'a'";
        naulon_cluster::run(&database.url, more).expect("runs");
        let (used, rows) = mirror.write_again(500, || database.used()).expect("writes");
        assert_eq!(rows, 1_001);
        assert!(!used.is_zero());
        assert_eq!(
            (count("mark"), count("record")),
            (vec!["501".into(), "501".into()], vec!["500".into(), "500".into()])
        );
        assert_eq!(mirror.write_again(500, || database.used()).expect("nothing is new").1, 0);
    }

    #[test]
    fn the_cluster_is_seen_working() {
        let database = Database::begin().expect("PostgreSQL runs");
        let before = database.used().expect("the kernel tells");
        // A statement that keeps a process of the cluster busy, looked at while its process lives.
        let busy = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                naulon_cluster::run(
                    &database.url,
                    "SELECT count(*) FROM generate_series(1, 5000000); SELECT pg_sleep(0.5)",
                )
            });
            let mut most = Duration::ZERO;
            while !worker.is_finished() {
                most = most.max(database.used().expect("the kernel tells"));
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        assert!(busy > before + Duration::from_millis(50), "{before:?} {busy:?}");
        assert_eq!(parent("9 (a) b) (c) S 7 1 2"), Some(7));
    }
}
