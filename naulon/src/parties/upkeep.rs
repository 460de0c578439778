//! What every server's operator does now and then: bring the tables up to date, and make a backup.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use naulon_durable::migration::{Migrated, Rehearsal};

use super::PartyFolder;
use crate::config::SETTINGS_FILE;
use crate::exit::Exit;
use crate::output::Output;

/// How deep folders lie in a party's folder at most.
const MAX_DEPTH: usize = 8;

/// How a store is migrated.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "\
Tables only go forward. A server refuses tables that are older or newer than it, so after an update of the program: make a
backup, stop the server (all servers that share the tables), migrate, start again. It is one transaction: a migration that
fails has changed nothing.")]
pub struct Migrating {
    /// Carry it out, see whether it succeeds, and take it back.
    #[arg(long)]
    dry_run: bool,
}

impl Migrating {
    /// Migrates and says from where to where.
    pub fn run(
        self,
        output: Output,
        migrate: impl FnOnce(Rehearsal) -> anyhow::Result<Migrated>,
    ) -> anyhow::Result<Exit> {
        let rehearsal = if self.dry_run { Rehearsal::DryRun } else { Rehearsal::ForGood };
        let migrated = migrate(rehearsal)?;
        let Migrated { from, to } = migrated;
        let report = serde_json::json!({ "from": from, "to": to, "dry_run": self.dry_run });
        output.result(&report, |_| match (from == to, self.dry_run) {
            (true, _) => format!("up to date: schema {to}"),
            (false, true) => format!("would go from {migrated}; nothing was changed"),
            (false, false) => format!("went from {migrated}"),
        })?;
        Ok(Exit::Ok)
    }
}

/// What is forgotten by hand; a running server does it by itself.
#[derive(Clone, Copy, Debug, Args)]
pub struct Pruning {
    /// Say how much there is to forget, and forget nothing.
    #[arg(long)]
    dry_run: bool,
}

/// How much is forgotten in one transaction.
const PRUNE_BATCH: usize = 1_000;

impl Pruning {
    /// Forgets all that is due, or counts it.
    pub fn run(
        self,
        output: Output,
        count: u64,
        mut forget: impl FnMut(usize) -> anyhow::Result<usize>,
    ) -> anyhow::Result<Exit> {
        let mut pruned = 0;
        let mut some = if self.dry_run { 0 } else { forget(PRUNE_BATCH)? };
        while some > 0 {
            pruned += some;
            some = forget(PRUNE_BATCH)?;
        }
        let report = serde_json::json!({ "due": count, "pruned": pruned, "dry_run": self.dry_run });
        output.result(&report, |_| match self.dry_run {
            true => format!("{count} would be forgotten"),
            false => format!("{pruned} forgotten"),
        })?;
        Ok(Exit::Ok)
    }
}

/// Where a backup goes.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The server may be running and need not be stopped: the store is copied as it was at one moment. Secrets stay sealed under
their passphrase, which the backup does not have.

To restore: stop the server, put the backup in the place of the folder, start. A server that finds itself behind what it has
signed in public since refuses to start, because going on would contradict it: restore a newer backup.")]
pub struct Backup {
    /// The folder that is made; it must not exist.
    dest: PathBuf,
}

impl Backup {
    /// Copies the party's folder, its store by `copy_store`, and says what is not in the backup. The store comes first:
    /// whatever it rests on was on the disk before, so a copy of that taken later has it.
    pub fn run(
        &self,
        output: Output,
        folder: &PartyFolder,
        store: &str,
        copy_store: impl FnOnce(&Path) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<Exit> {
        let settings = folder.path(SETTINGS_FILE);
        ensure!(settings.is_file(), "there is no party in {}", folder.as_path().display());
        let (files, left_out) = PartyFolder::create(&self.dest, |new| {
            let left_out = copy_store(&new.path(store))?;
            let files = copy_files(folder.as_path(), new.as_path(), MAX_DEPTH)?;
            Ok((files, left_out))
        })?;
        let report = serde_json::json!({ "backup": self.dest, "files": files, "left_out": left_out });
        output.result(&report, |_| {
            let made = format!("backup made in {}", self.dest.display());
            left_out.map_or(made.clone(), |words| format!("{made}\n{words}"))
        })?;
        Ok(Exit::Ok)
    }
}

/// Copies what is in a folder, but for stores and what belongs to them alone, and says how many files that were.
fn copy_files(from: &Path, to: &Path, depth: usize) -> anyhow::Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if is_of_a_store(&name.to_string_lossy()) {
            continue;
        }
        let copy = to.join(&name);
        let failed = || format!("{} cannot be copied", path.display());
        if entry.file_type()?.is_dir() {
            ensure!(depth > 0, "{} lies too deep", path.display());
            fs::create_dir(&copy).with_context(failed)?;
            files += copy_files(&path, &copy, depth - 1)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(&path, &copy).and_then(|_| fs::File::open(&copy)?.sync_all()).with_context(failed)?;
            files += 1;
        }
    }
    fs::File::open(to)?.sync_all()?;
    Ok(files)
}

/// SQLite's files, locks, and what is only on its way to its name.
fn is_of_a_store(name: &str) -> bool {
    name.starts_with('.') || [".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock"].iter().any(|end| name.ends_with(end))
}
