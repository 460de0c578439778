//! What convicts others, in files for `naulon verify`.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use naulon_statement::Digest;
use naulon_wallet::KeptEvidence;
use naulon_wire::{EvidenceFile, LogEvidenceFile, RegisterEvidenceFile};

use crate::output;

/// Puts evidence into a folder, and says so. The same evidence is one file.
pub fn keep(folder: &Path, evidence: &KeptEvidence) -> anyhow::Result<()> {
    let (about, text) = match evidence {
        KeptEvidence::Register(evidence) => ("register", RegisterEvidenceFile::write(evidence)),
        KeptEvidence::Promise(evidence) => ("promise", EvidenceFile::write(evidence)),
        KeptEvidence::Log(evidence) => ("log", LogEvidenceFile::write(evidence)),
    };
    let name: String = Digest::of(&[text.as_bytes()]).to_string().chars().take(16).collect();
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
