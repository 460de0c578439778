//! What every role keeps on disk: key files, SQLite, group commit, faults.
