//! What writing a server's rows costs by itself: the very rows that it has written, written again into a second file,
//! durably and in batches of the rows of 100 calls.
//!
//! The second file has the server's tables and the pragmas of every store of ours, and grows along with the first, so
//! that both write into trees of the same size. Rows that the server deleted are not deleted again; no measured call does
//! that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use naulon_durable::sqlite::{self, ApplicationId, Database};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params_from_iter};

use crate::cpu;

/// How many calls share a commit.
pub const BATCH: usize = 100;

const MIRROR: ApplicationId = ApplicationId::new(b"nlBM");
/// As much as the bank's, in KiB.
const CACHE_KIB: i64 = 64 * 1024;

/// A second file beside a server's store.
pub struct Mirror {
    database: Database,
    store: PathBuf,
    tables: Vec<Table>,
}

struct Table {
    name: String,
    columns: Vec<String>,
    /// Which of the columns are the primary key.
    key: Vec<usize>,
    /// Without a running number: the rows of a batch come from all over the table.
    is_clustered: bool,
}

/// A statement and its rows.
struct Write {
    sql: String,
    rows: Vec<Vec<Value>>,
}

impl Mirror {
    /// A file in this folder with the tables and the rows that the store has now.
    pub fn beside(store: &Path, folder: &Path) -> Result<Mirror> {
        let live = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let tables = tables(&live)?;
        let schema = schema(&live)?;
        drop(live);
        let database = sqlite::open(&folder.join("mirror.sqlite"), MIRROR, &[&schema])?;
        database.set_prepared_statement_cache_capacity(64);
        database.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // What a migration inserted is not the store's any more.
        for table in &tables {
            database.execute(&format!("DELETE FROM {}", table.name), [])?;
        }
        let mut mirror = Mirror { database, store: store.to_owned(), tables };
        mirror.write_again(BATCH)?;
        Ok(mirror)
    }

    /// Writes again what the store has got since the last time, as rows of this many calls: the processor time of it,
    /// and how many rows there were.
    pub fn write_again(&mut self, calls: usize) -> Result<(Duration, usize)> {
        let batches = batches(&self.news()?, calls.div_ceil(BATCH).max(1));
        let rows = batches.iter().flatten().map(|write| write.rows.len()).sum();
        let begun = cpu::of_this_thread();
        for batch in &batches {
            let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for write in batch {
                let mut statement = transaction.prepare_cached(&write.sql)?;
                for row in &write.rows {
                    statement.execute(params_from_iter(row))?;
                }
            }
            transaction.commit()?;
        }
        Ok((cpu::of_this_thread().saturating_sub(begun), rows))
    }

    /// For each table the rows that are new or changed.
    fn news(&self) -> Result<Vec<News<'_>>> {
        self.database.execute("ATTACH ?1 AS live", [self.store.to_string_lossy()])?;
        let news = self.tables.iter().map(|table| self.news_of(table)).collect();
        self.database.execute("DETACH live", [])?;
        news
    }

    fn news_of<'t>(&self, table: &'t Table) -> Result<News<'t>> {
        let (name, columns) = (&table.name, table.columns.join(", "));
        let order = table.key.iter().map(|place| (place + 1).to_string()).collect::<Vec<_>>().join(", ");
        let sql =
            format!("SELECT {columns} FROM live.{name} EXCEPT SELECT {columns} FROM main.{name} ORDER BY {order}");
        let mut news = News { table, new: Vec::new(), changed: Vec::new() };
        let mut known = self.database.prepare(&table.find())?;
        let mut select = self.database.prepare(&sql)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..table.columns.len()).map(|place| row.get(place)).collect::<Result<Vec<Value>, _>>()?;
            let is_known = known.exists(params_from_iter(table.key.iter().map(|place| &values[*place])))?;
            if is_known { &mut news.changed } else { &mut news.new }.push(values);
        }
        Ok(news)
    }
}

struct News<'t> {
    table: &'t Table,
    new: Vec<Vec<Value>>,
    changed: Vec<Vec<Value>>,
}

impl Table {
    fn insert(&self) -> String {
        let places = (1..=self.columns.len()).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO main.{} ({}) VALUES ({places})", self.name, self.columns.join(", "))
    }

    /// Takes a whole row, like the insert.
    fn update(&self) -> String {
        let set = |place: usize| format!("{} = ?{}", self.columns[place], place + 1);
        let (key, rest): (Vec<usize>, Vec<usize>) = (0..self.columns.len()).partition(|place| self.key.contains(place));
        let list = |places: Vec<usize>, between| places.into_iter().map(set).collect::<Vec<_>>().join(between);
        format!("UPDATE main.{} SET {} WHERE {}", self.name, list(rest, ", "), list(key, " AND "))
    }

    /// Takes the key's values.
    fn find(&self) -> String {
        let equal = |(index, place): (usize, &usize)| format!("{} = ?{}", self.columns[*place], index + 1);
        let list = self.key.iter().enumerate().map(equal).collect::<Vec<_>>().join(" AND ");
        format!("SELECT 1 FROM main.{} WHERE {list}", self.name)
    }
}

/// Deals the rows out: consecutive ones together where they have a running number, else spread, as random keys are.
fn batches(news: &[News<'_>], count: usize) -> Vec<Vec<Write>> {
    let deal = |rows: &[Vec<Value>], is_clustered: bool, batch: usize| -> Vec<Vec<Value>> {
        if is_clustered {
            rows.iter().skip(batch).step_by(count).cloned().collect()
        } else {
            rows[rows.len() * batch / count..rows.len() * (batch + 1) / count].to_vec()
        }
    };
    let batch = |batch: usize| {
        let writes = news.iter().flat_map(|News { table, new, changed }| {
            let write = |sql, rows| Write { sql, rows: deal(rows, table.is_clustered, batch) };
            [write(table.insert(), new), write(table.update(), changed)]
        });
        writes.filter(|write| !write.rows.is_empty()).collect()
    };
    (0..count).map(batch).collect()
}

fn schema(connection: &Connection) -> Result<String> {
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
    let mut select = connection.prepare(sql)?;
    let statements = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(statements.join(";\n"))
}

fn tables(connection: &Connection) -> Result<Vec<Table>> {
    let sql = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut select = connection.prepare(sql)?;
    let found = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut tables = Vec::new();
    for table in found {
        let (name, is_clustered): (String, bool) = table?;
        let mut select = connection.prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")?;
        let columns = select.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let columns = columns.collect::<Result<Vec<(String, i64)>, _>>()?;
        let key: Vec<usize> = (0..columns.len()).filter(|place| columns[*place].1 > 0).collect();
        ensure!(!key.is_empty(), "the table {name} has no primary key");
        tables.push(Table { name, columns: columns.into_iter().map(|(name, _)| name).collect(), key, is_clustered });
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "
        CREATE TABLE mark (key BLOB PRIMARY KEY, record INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE record (number INTEGER PRIMARY KEY, body BLOB NOT NULL, state INTEGER NOT NULL) STRICT;
        CREATE INDEX by_state ON record (state);
        CREATE TABLE clock (only INTEGER PRIMARY KEY, time INTEGER NOT NULL) STRICT;
        INSERT INTO clock VALUES (1, 0);";

    fn rows(connection: &Connection) -> Vec<Vec<Vec<Value>>> {
        let tables = tables(connection).expect("tables");
        let all = |table: &Table| {
            let mut select = connection.prepare(&format!("SELECT * FROM {}", table.name)).expect("SQL");
            let width = table.columns.len();
            let rows = select.query_map([], |row| (0..width).map(|place| row.get(place)).collect());
            rows.expect("rows").collect::<Result<Vec<Vec<Value>>, _>>().expect("values")
        };
        tables.iter().map(all).collect()
    }

    #[test]
    fn the_mirror_becomes_what_the_store_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.sqlite");
        let store = sqlite::open(&path, ApplicationId::new(b"test"), &[SCHEMA]).expect("opens");
        store.execute("INSERT INTO record VALUES (1, x'aa', 0)", []).expect("inserts");
        let mut mirror = Mirror::beside(&path, folder.path()).expect("mirrors");
        assert_eq!(rows(&mirror.database), rows(&store));
        assert_eq!(mirror.write_again(10).expect("nothing is new").1, 0);

        for number in 2..=1000_i64 {
            let key = [(number * 7919 % 251) as u8, (number % 256) as u8, (number / 256) as u8];
            store.execute("INSERT INTO mark VALUES (?1, ?2)", (key, number)).expect("inserts");
            store.execute("INSERT INTO record VALUES (?1, zeroblob(100), 0)", [number]).expect("inserts");
        }
        store
            .execute_batch("UPDATE record SET state = 1 WHERE number < 3; UPDATE clock SET time = 9")
            .expect("updates");
        let (used, written) = mirror.write_again(999).expect("writes");
        assert_eq!(written, 999 + 999 + 1 + 1);
        assert!(!used.is_zero());
        assert_eq!(rows(&mirror.database), rows(&store));
        let indexes: i64 = mirror
            .database
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'by_state'", [], |row| row.get(0))
            .expect("counts");
        assert_eq!(indexes, 1);
    }

    #[test]
    fn each_batch_has_its_share() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.sqlite");
        let store = sqlite::open(&path, ApplicationId::new(b"test"), &[SCHEMA]).expect("opens");
        let mirror = Mirror::beside(&path, folder.path()).expect("mirrors");
        for number in 0..250_i64 {
            store.execute("INSERT INTO mark VALUES (?1, 0)", [[number as u8]]).expect("inserts");
            store.execute("INSERT INTO record VALUES (?1, x'', 0)", [number]).expect("inserts");
        }
        let news = mirror.news().expect("compares");
        let batches = batches(&news, 3);
        assert_eq!(batches.len(), 3);
        for batch in &batches {
            let sizes: Vec<usize> = batch.iter().map(|write| write.rows.len()).collect();
            assert!(sizes.len() == 2 && sizes.iter().all(|size| (83..=84).contains(size)), "{sizes:?}");
        }
        let first_keys: Vec<&Value> = batches[0][0].rows.iter().map(|row| &row[0]).take(2).collect();
        assert_eq!(first_keys, [&Value::Blob(vec![0]), &Value::Blob(vec![3])]);
    }
}
