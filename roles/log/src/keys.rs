//! The log's two keys.

use naulon_statement::SecretKey;
use naulon_tlog::{CheckpointSigner, KeyError};

/// The bytes of a log's secret: the seeds of its two keys.
pub const LOG_SECRET_LEN: usize = 64;

/// What a log signs with. The two keys sign different kinds of text, so they are never the same. Neither is printed.
pub struct LogKeys {
    /// Signs decisions; its public half is the log's name in statements.
    pub statements: SecretKey,
    /// Signs checkpoints (C2SP signed note).
    pub checkpoints: CheckpointSigner,
}

impl LogKeys {
    /// The keys of this secret (32 bytes of seed each), for the log with this origin.
    ///
    /// # Errors
    /// When the origin cannot be a key's name: 1 to 255 bytes without spaces, plus signs and control characters.
    pub fn from_secret(secret: &[u8; LOG_SECRET_LEN], origin: &str) -> Result<Self, KeyError> {
        let (mut statements, mut checkpoints) = (zeroize::Zeroizing::new([0; 32]), zeroize::Zeroizing::new([0; 32]));
        statements.copy_from_slice(&secret[..32]);
        checkpoints.copy_from_slice(&secret[32..]);
        Ok(LogKeys {
            statements: SecretKey::from_seed(&statements),
            checkpoints: CheckpointSigner::new(origin, &checkpoints)?,
        })
    }
}
