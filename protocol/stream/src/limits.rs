//! What an end keeps for the other one, at most.

/// How many bytes of a stream each end takes before it has said anything about it.
pub const FIRST_WINDOW: u32 = 64 * 1024;

/// How many payloads that came before their turn are kept. The mixes shuffle within their batches, not further.
pub const MAX_EARLY: usize = 256;

/// How many cells may wait to be said. Whoever asks for more without listening ends the session.
pub const MAX_UNSAID: usize = 1_024;

/// How much one end keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams that are alive at a time.
    pub streams: usize,
    /// Bytes that one stream's window may grow to, for a reader that keeps up.
    pub window: u32,
    /// Bytes that all windows together may grow to (each has [`FIRST_WINDOW`] without asking).
    pub windows: u32,
    /// Bytes that wait to be sent on one stream; [`crate::End::write`] takes no more.
    pub outgoing: usize,
}

impl Limits {
    /// A client: its own memory, its own downloads.
    pub const CLIENT: Limits = Limits { streams: 256, window: 4 << 20, windows: 32 << 20, outgoing: 256 * 1024 };

    /// An exit: a stranger's session gets at most some megabytes.
    pub const EXIT: Limits = Limits { streams: 64, window: 512 * 1024, windows: 4 << 20, outgoing: 256 * 1024 };
}
