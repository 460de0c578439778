//! The two things about files that `std` leaves to its callers: modes and directories.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Read and write for the owner, nothing for anybody else.
const PRIVATE: u32 = 0o600;

/// Options that create files nobody else can read. The mode is given at creation, because a later chmod would leave a
/// moment in which others can open the file.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(PRIVATE);
    options
}

/// The directory a file is in; the current one for a bare name.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a created or removed name in `directory` survive a power failure. Syncing the file itself does not.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
