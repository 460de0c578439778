//! `naulon wallet evidence`, and what convicts others as it is met: files for `naulon verify`.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use naulon_exchange::register::RegisterEvidence;
use naulon_purchase::LogEvidence;
use naulon_statement::Digest;
use naulon_wallet::{KeptEvidence, OperationId};
use naulon_wire::{EvidenceFile, LogEvidenceFile, RegisterEvidenceFile};

use super::Folder;
use super::room::Room;
use crate::exit::Exit;
use crate::output::{self, Output};

/// `naulon wallet evidence`
#[derive(Debug, Args)]
pub struct Evidence {
    /// The purchase, by the number that `naulon wallet history` shows.
    pub(super) operation: u64,
    /// Where the evidence goes.
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) folder: Folder,
}

impl Evidence {
    pub(super) fn run(&self, room: &mut Room, output: Output) -> anyhow::Result<Exit> {
        let evidence = room.wallet().evidence(OperationId(self.operation))?;
        // It names what was bought and by which tokens: nobody else's business.
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.out)
            .with_context(|| format!("{}", self.out.display()))?;
        file.write_all(EvidenceFile::write(&evidence).as_bytes())?;
        output.result(&serde_json::json!({ "evidence": self.out }), |_| {
            format!("evidence is in {}", self.out.display())
        })?;
        Ok(Exit::Ok)
    }
}

/// Puts evidence into a folder, and says so. The same finding is one file.
pub fn keep(folder: &Path, evidence: &KeptEvidence) -> anyhow::Result<()> {
    let (about, text) = match evidence {
        KeptEvidence::Register(evidence) => ("register", RegisterEvidenceFile::write(evidence)),
        KeptEvidence::Promise(evidence) => ("promise", EvidenceFile::write(evidence)),
        KeptEvidence::Log(evidence) => ("log", LogEvidenceFile::write(evidence)),
    };
    // Who shows another tree goes on with it: all that contradicts one checkpoint is one finding.
    let seen = match evidence {
        KeptEvidence::Register(RegisterEvidence { checkpoints, .. })
        | KeptEvidence::Log(LogEvidence { checkpoints, .. }) => checkpoints.first(),
        KeptEvidence::Promise(_) => None,
    };
    let name = Digest::of(&[seen.unwrap_or(&text).as_bytes()]);
    let name: String = name.to_string().chars().take(16).collect();
    let path = folder.join(format!("{about}-{name}.evidence.json"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // A promise names what was bought and by which tokens: nobody else's business.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match file {
        Ok(mut file) => {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    }
    output::note(format_args!(
        "the {} has contradicted itself; the evidence is in {}: naulon verify FILE --trust KEYS",
        if about == "log" { "log" } else { "bank" },
        path.display()
    ));
    Ok(())
}
