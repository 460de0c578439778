//! Settings: `NAULON_…` environment over `naulon.toml` over defaults.
//!
//! Each party has a folder, and in it `naulon.toml`, written by `init` with a comment on every key. A variable
//! `NAULON_<ROLE>_<KEY>` overrides a key, so that one environment serves all four programs. Unknown keys and variables are
//! refused, because a misspelt setting is one that silently is not in force. `NAULON_TEST_…` belongs to the tests.

mod listen;
mod mixes;
mod parties;
mod span;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use listen::{At, BankListen, Listen, Tls, WithTls};
pub use mixes::{DirectorySettings, MixSettings};
pub use parties::{BankSettings, LogSettings, SQLITE, ShopSettings, WalletSettings, WitnessSettings, entry_modes};
pub use span::Span;

use crate::identity::Role;

/// The file in a party's folder.
pub const SETTINGS_FILE: &str = "naulon.toml";
/// The longest list that stands on one line.
const MAX_LIST_LEN: usize = 90;
/// Variables with this prefix are ours.
const PREFIX: &str = "NAULON_";
/// Variables with this prefix are the tests'.
const TEST_PREFIX: &str = "NAULON_TEST_";

/// The settings of one role. Keys are at the top level, or one below it and then written `table.key`.
pub trait Settings: Serialize + DeserializeOwned + Default {
    /// Whose they are.
    const ROLE: Role;
    /// Every key and what it means, in the order of the file.
    const KEYS: &'static [(&'static str, &'static str)];
}

/// One setting in force.
#[derive(Clone, Debug, Serialize)]
pub struct InForce {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// Where the value came from.
    pub from: String,
}

/// The settings in a party's folder.
pub fn load<S: Settings>(dir: &Path) -> anyhow::Result<S> {
    Ok(read::<S>(dir)?.0)
}

/// Every setting of the party in this folder, and where its value came from.
pub fn in_force(dir: &Path) -> anyhow::Result<(Role, Vec<InForce>)> {
    let role = role_in(dir)?;
    let list = match role {
        Role::Bank => explain::<BankSettings>(dir),
        Role::Log => explain::<LogSettings>(dir),
        Role::Shop => explain::<ShopSettings>(dir),
        Role::Wallet => explain::<WalletSettings>(dir),
        Role::Witness => explain::<WitnessSettings>(dir),
        Role::Directory => explain::<DirectorySettings>(dir),
        Role::Mix => explain::<MixSettings>(dir),
    };
    Ok((role, list?))
}

/// The text of `naulon.toml` with these settings.
pub fn file<S: Settings>(settings: &S) -> anyhow::Result<String> {
    let role = S::ROLE;
    let upper = role.name().to_uppercase();
    let mut text = format!(
        "# The settings of this {role}. The variable NAULON_{upper}_<KEY> overrides a key; `naulon config show` prints what\n\
         # is in force. Times are written 500ms, 90s, 15m, 12h or 30d.\n\nrole = \"{role}\"\n"
    );
    let values = values(settings)?;
    for (key, comment) in S::KEYS {
        let value = value_of(&values, key).with_context(|| format!("the setting {key} has no value"))?;
        text.push('\n');
        for line in comment.lines() {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("{key} = {}\n", toml_value(value)?));
    }
    Ok(text)
}

/// Adds a value to a list in a party's `naulon.toml`, and keeps everything else as it is. False if it is there already.
pub fn add_to_list<S: Settings>(dir: &Path, key: &str, value: &str) -> anyhow::Result<bool> {
    // What is added must find a sound file, and leave one.
    read::<S>(dir)?;
    let path = dir.join(SETTINGS_FILE);
    let text = std::fs::read_to_string(&path)?;
    let mut document: toml_edit::DocumentMut = text.parse()?;
    let item = document.entry(key).or_insert(toml_edit::value(toml_edit::Array::new()));
    let list = item.as_array_mut().with_context(|| format!("{key} in {} is not a list", path.display()))?;
    if list.iter().any(|line| line.as_str() == Some(value)) {
        return Ok(false);
    }
    let mut line = toml_edit::Value::from(value);
    line.decor_mut().set_prefix("\n    ");
    list.push_formatted(line);
    list.set_trailing("\n");
    list.set_trailing_comma(true);
    let new = dir.join(format!("{SETTINGS_FILE}.new"));
    std::fs::write(&new, document.to_string())?;
    std::fs::rename(&new, &path)?;
    read::<S>(dir)?;
    Ok(true)
}

/// Refuses variables of ours that no setting has.
pub fn check_environment() -> anyhow::Result<()> {
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if !name.starts_with(TEST_PREFIX) && !is_setting(name) {
            bail!(
                "the environment variable {name} is no setting; `naulon config show` lists them, as NAULON_<ROLE>_<KEY>"
            );
        }
    }
    Ok(())
}

fn is_setting(name: &str) -> bool {
    Role::ALL.into_iter().any(|role| {
        let keys = keys_of(role);
        let key = name.strip_prefix(&prefix(role)).map(str::to_ascii_lowercase);
        key.is_some_and(|key| keys.iter().any(|(known, _)| known.replace('.', "_") == key))
    })
}

fn keys_of(role: Role) -> &'static [(&'static str, &'static str)] {
    match role {
        Role::Bank => BankSettings::KEYS,
        Role::Log => LogSettings::KEYS,
        Role::Shop => ShopSettings::KEYS,
        Role::Wallet => WalletSettings::KEYS,
        Role::Witness => WitnessSettings::KEYS,
        Role::Directory => DirectorySettings::KEYS,
        Role::Mix => MixSettings::KEYS,
    }
}

fn prefix(role: Role) -> String {
    format!("{PREFIX}{}_", role.name().to_uppercase())
}

/// Whose folder this is, by its settings file.
fn role_in(dir: &Path) -> anyhow::Result<Role> {
    let path = existing(dir)?;
    let document: toml_edit::DocumentMut = std::fs::read_to_string(&path)?.parse()?;
    let role = document.get("role").and_then(|role| role.as_str()).unwrap_or_default();
    Role::named(role).with_context(|| format!("{} does not say `role = …` of a party that there is", path.display()))
}

fn existing(dir: &Path) -> anyhow::Result<PathBuf> {
    let path = dir.join(SETTINGS_FILE);
    ensure!(path.is_file(), "there is no {}; make the folder with `init`, or name another by --dir", path.display());
    Ok(path)
}

fn read<S: Settings>(dir: &Path) -> anyhow::Result<(S, Figment)> {
    let path = existing(dir)?;
    let figment = Figment::from(Serialized::defaults(S::default()))
        .merge(Toml::file_exact(&path))
        .merge(Env::prefixed(&prefix(S::ROLE)).map(|name| setting::<S>(name.as_str()).into()));
    let role: String = figment.extract_inner("role").unwrap_or_default();
    ensure!(role == S::ROLE.name(), "{} is of a {role}, not of a {}", path.display(), S::ROLE);
    let settings = figment.extract().with_context(|| format!("the settings of {}", dir.display()))?;
    Ok((settings, figment))
}

fn explain<S: Settings>(dir: &Path) -> anyhow::Result<Vec<InForce>> {
    let (settings, figment) = read::<S>(dir)?;
    let values = values(&settings)?;
    let list = S::KEYS.iter().map(|(key, _)| {
        let from = match figment.find_metadata(key) {
            Some(metadata) if metadata.name.contains("environment") => {
                format!("{}{}", prefix(S::ROLE), key.to_uppercase().replace('.', "_"))
            }
            Some(metadata) => match metadata.source.as_ref().and_then(|source| source.file_path()) {
                Some(path) => path.display().to_string(),
                None => "default".to_owned(),
            },
            None => "default".to_owned(),
        };
        Ok(InForce { key, value: value_of(&values, key).cloned().unwrap_or(Value::Null), from })
    });
    list.collect()
}

fn values<S: Settings>(settings: &S) -> anyhow::Result<serde_json::Map<String, Value>> {
    match serde_json::to_value(settings)? {
        Value::Object(values) => Ok(values),
        _ => bail!("settings are a table"),
    }
}

/// The setting that a variable names, without its prefix: a point cannot stand in a variable's name.
fn setting<S: Settings>(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let known = S::KEYS.iter().map(|(key, _)| *key).find(|key| key.replace('.', "_") == name);
    known.map_or(name, str::to_owned)
}

/// The value of a key, which may be one of a table.
fn value_of<'v>(values: &'v serde_json::Map<String, Value>, key: &str) -> Option<&'v Value> {
    match key.split_once('.') {
        Some((table, key)) => values.get(table)?.get(key),
        None => values.get(key),
    }
}

fn toml_value(value: &Value) -> anyhow::Result<String> {
    Ok(match value {
        Value::Array(list) if list.is_empty() => "[]".to_owned(),
        Value::Array(list) => {
            let items = list.iter().map(toml_value).collect::<anyhow::Result<Vec<_>>>()?;
            let together = items.join(", ");
            let a_line = if items.iter().any(|item| item.len() > MAX_LIST_LEN / 10) { 1 } else { 10 };
            let lines: Vec<String> = items.chunks(a_line).map(|items| items.join(", ")).collect();
            let fits = together.len() <= MAX_LIST_LEN && a_line > 1;
            if fits { format!("[{together}]") } else { format!("[\n    {},\n]", lines.join(",\n    ")) }
        }
        Value::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Object(table) => {
            let pairs = table.iter().map(|(key, value)| Ok(format!("{key} = {}", toml_value(value)?)));
            format!("{{ {} }}", pairs.collect::<anyhow::Result<Vec<_>>>()?.join(", "))
        }
        Value::Null => bail!("a setting is a text, a number, a yes or no, a list or a table"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trips<S: Settings>() {
        let dir = tempfile::tempdir().unwrap();
        let text = file(&S::default()).unwrap();
        std::fs::write(dir.path().join(SETTINGS_FILE), &text).unwrap();
        let settings: S = load(dir.path()).unwrap();
        assert_eq!(file(&settings).unwrap(), text);
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
        // Every key has its comment, and no comment stands for nothing.
        let values = values(&S::default()).unwrap();
        let table = |key: &'static str| key.split_once('.').map_or(key, |(table, _)| table);
        let mut keys: Vec<&str> = S::KEYS.iter().map(|(key, _)| table(key)).chain(["role"]).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(values.keys().collect::<Vec<_>>(), keys);
    }

    #[test]
    fn what_init_writes_is_what_load_reads() {
        round_trips::<BankSettings>();
        round_trips::<LogSettings>();
        round_trips::<ShopSettings>();
        round_trips::<WalletSettings>();
        round_trips::<WitnessSettings>();
        round_trips::<DirectorySettings>();
        round_trips::<MixSettings>();
    }

    #[test]
    fn a_list_grows_and_comments_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SETTINGS_FILE);
        std::fs::write(&path, file(&BankSettings::default()).unwrap() + "# mine\n").unwrap();
        assert!(add_to_list::<BankSettings>(dir.path(), "logs", "naulon:log:x").unwrap());
        assert!(!add_to_list::<BankSettings>(dir.path(), "logs", "naulon:log:x").unwrap());
        assert!(add_to_list::<BankSettings>(dir.path(), "logs", "naulon:log:y").unwrap());
        let settings: BankSettings = load(dir.path()).unwrap();
        assert_eq!(settings.logs, ["naulon:log:x", "naulon:log:y"]);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("# mine\n"));
    }
}
