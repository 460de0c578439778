//! Entry bundles: up to 256 entries in a row, as tlog-tiles serves them.

use crate::tile::TILE_WIDTH;

/// The longest entry, in bytes: its length is a u16.
pub const MAX_ENTRY_LEN: usize = u16::MAX as usize;

/// Encodes the entries of one bundle, each as u16be length ‖ entry.
///
/// # Errors
/// When there are none or more than [`TILE_WIDTH`] of them, or one is longer than [`MAX_ENTRY_LEN`].
pub fn encode_bundle<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, BundleError> {
    check_count(entries.len())?;
    let mut bundle = Vec::with_capacity(entries.iter().map(|entry| 2 + entry.as_ref().len()).sum());
    for entry in entries.iter().map(AsRef::as_ref) {
        let len = u16::try_from(entry.len()).map_err(|_| BundleError::EntryTooLong(entry.len()))?;
        bundle.extend_from_slice(&len.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// Splits a bundle into its entries. Whether they are those of the log, their leaf hashes must show.
///
/// # Errors
/// When there are none or more than [`TILE_WIDTH`] of them, or the last one is cut off.
pub fn decode_bundle(bundle: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let (mut entries, mut rest) = (Vec::new(), bundle);
    while !rest.is_empty() {
        let (len, tail) = rest.split_first_chunk().ok_or(BundleError::CutOff)?;
        let (entry, tail) = tail.split_at_checked(u16::from_be_bytes(*len).into()).ok_or(BundleError::CutOff)?;
        entries.push(entry);
        check_count(entries.len())?;
        rest = tail;
    }
    check_count(entries.len())?;
    Ok(entries)
}

/// Why bytes are not a bundle, or entries do not make one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A bundle has at least one entry.
    #[error("the bundle is empty")]
    Empty,
    /// A bundle has at most [`TILE_WIDTH`] entries.
    #[error("the bundle has more than {TILE_WIDTH} entries")]
    TooMany,
    /// This length does not fit into a u16.
    #[error("an entry has {0} bytes, more than {MAX_ENTRY_LEN}")]
    EntryTooLong(usize),
    /// The bundle ends within an entry.
    #[error("the last entry is cut off")]
    CutOff,
}

fn check_count(count: usize) -> Result<(), BundleError> {
    match count {
        0 => Err(BundleError::Empty),
        1..=TILE_WIDTH => Ok(()),
        _ => Err(BundleError::TooMany),
    }
}
