//! The list of what a folder sells: `shelf.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use naulon_money::Amount;
use naulon_purchase::{MAX_DESCRIPTION_LEN, MAX_TITLE_LEN};
use serde::Deserialize;

use super::ShelfError;

/// The list's name in the folder.
pub const SETTINGS_FILE: &str = "shelf.toml";
/// The most items of one shelf.
pub const MAX_ITEMS: usize = 10_000;

/// Something that is for sale.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) file: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) price: Amount,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    item: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    file: String,
    title: String,
    #[serde(default)]
    description: String,
    price: String,
}

/// The items of the folder's list, by their file names.
pub(super) fn read_settings(folder: &Path) -> Result<BTreeMap<String, Listed>, ShelfError> {
    let path = folder.join(SETTINGS_FILE);
    let text = fs::read_to_string(&path).map_err(ShelfError::io(&path))?;
    parse(&text).map_err(|reason| ShelfError::Settings { path, reason })
}

fn parse(text: &str) -> Result<BTreeMap<String, Listed>, String> {
    let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
    if settings.item.len() > MAX_ITEMS {
        return Err(format!("a shelf has at most {MAX_ITEMS} items"));
    }
    let mut listed = BTreeMap::new();
    for entry in settings.item {
        let item = check(&entry).map_err(|reason| format!("{}: {reason}", entry.file))?;
        if listed.insert(entry.file.clone(), item).is_some() {
            return Err(format!("{} is listed twice", entry.file));
        }
    }
    Ok(listed)
}

fn check(entry: &Entry) -> Result<Listed, String> {
    let mut parts = Path::new(&entry.file).components();
    // The name also names the item on the wire, and must not lead out of the folder.
    let is_plain =
        matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if *name == *entry.file);
    if !is_plain || entry.file == SETTINGS_FILE {
        return Err("`file` is the name of a file in this folder".to_owned());
    }
    if entry.title.is_empty() || entry.title.len() > MAX_TITLE_LEN {
        return Err(format!("a title has 1 to {MAX_TITLE_LEN} bytes"));
    }
    if entry.description.len() > MAX_DESCRIPTION_LEN {
        return Err(format!("a description has at most {MAX_DESCRIPTION_LEN} bytes"));
    }
    let price: Amount = entry.price.parse().map_err(|error| format!("{error}"))?;
    if price.is_zero() {
        return Err("a price is above zero".to_owned());
    }
    let (file, title, description) = (entry.file.clone(), entry.title.clone(), entry.description.clone());
    Ok(Listed { file, title, description, price })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(file: &str, price: &str) -> String {
        format!("[[item]]\nfile = {file:?}\ntitle = \"T\"\nprice = {price:?}\n")
    }

    #[test]
    fn a_list_is_read() {
        let listed = parse(&(item("a b.txt", "1.20") + &item("ü.bin", "3"))).expect("a good list");
        assert_eq!(listed["a b.txt"].price, Amount::from_micros(1_200_000));
        assert_eq!(listed.len(), 2);
        assert_eq!(parse(""), Ok(BTreeMap::new()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let long = format!("[[item]]\nfile = \"a\"\nprice = \"1\"\ntitle = {:?}\n", "x".repeat(MAX_TITLE_LEN + 1));
        for (text, reason) in [
            (item("../a", "1"), "in this folder"),
            (item("a/b", "1"), "in this folder"),
            (item("/a", "1"), "in this folder"),
            (item("a/", "1"), "in this folder"),
            (item("./a", "1"), "in this folder"),
            (item("..", "1"), "in this folder"),
            (item("", "1"), "in this folder"),
            (item(SETTINGS_FILE, "1"), "in this folder"),
            (item("a", "0"), "above zero"),
            (item("a", "1.2.3"), "an amount is written"),
            (item("a", "-1"), "an amount is written"),
            (item("a", "1") + &item("a", "2"), "a is listed twice"),
            (item("a", "1") + "colour = 3\n", "unknown field"),
            ("[[itme]]\n".to_owned(), "unknown field"),
            ("[[item]]\nfile = \"a\"\n".to_owned(), "missing field"),
            (long, "a title has"),
        ] {
            let error = parse(&text).expect_err(&text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
