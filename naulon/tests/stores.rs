//! docs/stores.md says of every column of every table what it tells; this test holds it against the schemas.

use std::collections::BTreeSet;
use std::path::Path;

/// The parts of docs/stores.md and where their tables are made.
const STORES: [(&str, &str); 8] = [
    ("## Bank", "roles/bank/src/store/schema.rs"),
    ("## Purse", "roles/purse/src/sqlite.rs"),
    ("## Log", "roles/log/src/sqlite.rs"),
    ("## Shop", "roles/shop/src/sqlite.rs"),
    ("## Wallet", "roles/wallet/src/store/sealed.rs"),
    ("## Witness", "roles/witness/src/sqlite.rs"),
    ("## Mix", "roles/mix/src/sqlite.rs"),
    ("## Directory", "roles/directory/src/sqlite.rs"),
];

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(path)).expect("reads")
}

/// `table.column` for every column that the migrations in this source make.
fn columns(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let plain: String =
        source.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join(" ");
    for made in plain.split("CREATE TABLE ").skip(1) {
        let (table, rest) = made.split_once('(').expect("columns");
        let body = rest.split(") STRICT").next().expect("columns");
        let mut depth = 0;
        let parts = body.split(|letter| {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            letter == ',' && depth == 0
        });
        for part in parts {
            let name = part.split_whitespace().next().unwrap_or_default();
            if !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_') {
                found.insert(format!("{}.{name}", table.trim()));
            }
        }
    }
    for altered in plain.split("ALTER TABLE ").skip(1) {
        let words: Vec<&str> = altered.split_whitespace().take(4).collect();
        if let [table, "ADD", "COLUMN", name] = words[..] {
            found.insert(format!("{table}.{name}"));
        }
    }
    found
}

#[test]
fn every_column_is_told() {
    let page = read("docs/stores.md");
    for (title, source) in STORES {
        let part = page.split("\n## ").find(|part| format!("## {part}").starts_with(title)).expect("a part");
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let told: BTreeSet<String> = rows.map(|(column, _)| column.to_owned()).collect();
        let made = columns(&read(source));
        assert!(!made.is_empty(), "{source}: no tables were found");
        assert_eq!(told, made, "{title}");
    }
}
