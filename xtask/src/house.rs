//! The house's invariants (ARCHITECTURE.md): imports go downwards only, and the lower rooms are pure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The rooms from the ground up: a package uses only packages of rooms at or below its own.
const ROOMS: &[&str] = &["spec", "protocol", "wire", "durable", "roles", "naulon", "sim", "bench", "fuzz", "xtask"];

/// What must not be named in the sources of `spec` and `protocol`: time and randomness are arguments there.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "thread_rng",
    "OsRng",
    "getrandom",
    "tokio::",
    "async fn",
    "std::fs",
    "std::net",
    "axum",
    "rusqlite",
    "reqwest",
];

/// Checks all invariants.
pub fn check() -> Result<()> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let rooms: BTreeMap<&str, String> = packages
        .iter()
        .map(|package| Ok((text(&package["name"])?, room(text(&package["manifest_path"])?)?)))
        .collect::<Result<_>>()?;
    let mut faults = Vec::new();
    for package in packages {
        let name = text(&package["name"])?;
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = text(&dependency["name"])?;
            if let Some(fault) = rooms.get(used).and_then(|_| upward(name, used, &rooms)) {
                faults.push(fault);
            }
        }
    }
    for room in ["spec", "protocol"] {
        scan(&root().join(room), &mut faults)?;
    }
    ensure!(faults.is_empty(), "\n{}", faults.join("\n"));
    Ok(())
}

fn upward(name: &str, used: &str, rooms: &BTreeMap<&str, String>) -> Option<String> {
    let level = |package: &str| ROOMS.iter().position(|room| rooms.get(package).is_some_and(|of| of == room));
    let (own, other) = (level(name)?, level(used)?);
    let among_roles = rooms[name] == "roles" && rooms[used] == "roles";
    (other > own || among_roles).then(|| format!("{name} ({}) must not use {used} ({})", rooms[name], rooms[used]))
}

fn scan(folder: &Path, faults: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "benches" && name != "examples" {
            scan(&path, faults)?;
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let source = fs::read_to_string(&path)?;
            let code = source.lines().take_while(|line| !line.contains("#[cfg(test)]"));
            for (number, line) in code.enumerate() {
                let is_comment = line.trim_start().starts_with("//");
                if let Some(word) = IMPURE.iter().find(|word| !is_comment && line.contains(**word)) {
                    faults.push(format!("{}:{}: {word} below the roles", path.display(), number + 1));
                }
            }
        }
    }
    Ok(())
}

fn room(manifest: &str) -> Result<String> {
    let inside = Path::new(manifest).strip_prefix(root()).context("a member outside of the workspace")?;
    let first = inside.components().next().context("a manifest without a folder")?;
    let room = first.as_os_str().to_string_lossy().into_owned();
    if ROOMS.contains(&room.as_str()) { Ok(room) } else { bail!("{room} is no room of the house") }
}

fn metadata() -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("cargo metadata has a text here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upward_and_sideways_imports_are_found() {
        let rooms = BTreeMap::from([("a", "spec".to_owned()), ("b", "roles".to_owned()), ("c", "roles".to_owned())]);
        assert!(upward("a", "b", &rooms).is_some());
        assert!(upward("b", "c", &rooms).is_some());
        assert!(upward("b", "a", &rooms).is_none());
    }
}
