//! Points in time.

use std::fmt;

use minicbor::{Decode, Encode};

/// Milliseconds since the Unix epoch. Windows between two of them are half-open: they include their start and not their
/// end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Timestamp(#[n(0)] pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Duration(#[n(0)] pub u64);

impl Timestamp {
    /// The end of time.
    pub const MAX: Timestamp = Timestamp(i64::MAX as u64);

    /// This much later, at most [`Timestamp::MAX`].
    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(duration.0)).min(Timestamp::MAX)
    }

    /// This much earlier, at least the epoch.
    pub fn minus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(duration.0))
    }

    /// The time from `earlier` until this, or nothing if it lies behind.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// This many seconds.
    pub const fn seconds(seconds: u64) -> Duration {
        Duration(seconds * 1_000)
    }

    /// This many days.
    pub const fn days(days: u64) -> Duration {
        Duration(days * 86_400_000)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}
