//! Stores as the programs of every schema number have left them: dumps under `tests/schema`.
//!
//! `sqlite-1.sql` are empty books of schema 1, `sqlite-1-books.sql` books with something in them; likewise `postgres-…`.
//! How they come to be and when, says `naulon_durable::migration`.

#![allow(dead_code)] // Each test program uses its own part.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::cluster;

/// The dumps of this kind (`sqlite`, `postgres`), by their numbers.
pub fn numbers(kind: &str) -> Vec<i64> {
    let files = folder().read_dir().expect("a folder").map(|file| file.expect("a file").file_name());
    let number = |name: std::ffi::OsString| {
        name.to_str()?.strip_prefix(kind)?.strip_prefix('-')?.strip_suffix(".sql")?.parse().ok()
    };
    let mut numbers: Vec<i64> = files.filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// The text of a dump, such as `sqlite-1` or `postgres-1-books`.
pub fn dump(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.sql"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema")
}

/// Makes a SQLite file of a dump.
pub fn load_sqlite(name: &str, path: &Path) {
    Connection::open(path).expect("opens").execute_batch(&dump(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Makes a database of a dump, and gives its address.
pub fn load_postgres(name: &str) -> String {
    let url = cluster::database();
    cluster::run(&url, &dump(name));
    url
}

/// A SQLite file as text: its marks, what made its tables, and, if wanted, their rows.
pub fn dump_sqlite(path: &Path, with_rows: bool) -> String {
    let file = Connection::open(path).expect("opens");
    let list = |sql: &str| -> Vec<[String; 2]> {
        let mut select = file.prepare(sql).expect("a statement");
        let rows = select.query_map([], |row| Ok([row.get(0)?, row.get(1)?])).expect("answers");
        rows.collect::<Result<_, _>>().expect("texts")
    };
    let mut text = String::new();
    for mark in ["application_id", "user_version"] {
        let value: i64 = file.pragma_query_value(None, mark, |row| row.get(0)).expect("a number");
        text += &format!("PRAGMA {mark} = {value};\n");
    }
    let made = list("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid");
    for [_, sql] in &made {
        text += &format!("{sql};\n");
    }
    let tables = list("SELECT name, name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid");
    for [table, _] in tables.iter().filter(|_| with_rows) {
        let columns = list(&format!("SELECT name, 'quote(\"' || name || '\")' FROM pragma_table_info('{table}')"));
        let quoted: Vec<&str> = columns.iter().map(|[_, quoted]| quoted.as_str()).collect();
        let sql = format!("SELECT {}, '' FROM \"{table}\"", quoted.join(" || ', ' || "));
        for [row, _] in list(&sql) {
            text += &format!("INSERT INTO \"{table}\" VALUES ({row});\n");
        }
    }
    text
}

/// What the tables of a database are like, from its catalogue: columns, constraints and indexes.
pub fn catalogue(url: &str) -> Vec<String> {
    let sql = "
        SELECT 'column ' || c.relname || ' ' || a.attnum || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
            || ' ' || a.attnotnull || ' ' || a.attidentity::text || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS line
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'naulon_bank'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'naulon_bank'::regnamespace
        UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'naulon_bank'
        UNION ALL SELECT 'schema ' || number FROM naulon_bank.schema
        ORDER BY line";
    cluster::texts(url, sql)
}
