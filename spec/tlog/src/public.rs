//! What a log serves by path: its checkpoint, its tiles and bundles (C2SP tlog-tiles), and the bodies that its entries name.

use std::ops::Range;

use crate::bundle::{BundleError, encode_bundle};
use crate::store::HashStore;
use crate::tile::{TileError, TileKind, TilePath, read_tile};

/// A file of a public log, named by its path with a leading slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicPath {
    /// `/checkpoint`: the newest, with whatever cosignatures it has.
    Checkpoint,
    /// `/checkpoint/cosigned`: the newest that has as many as its owner wants. It is ours, not C2SP's.
    Cosigned,
    /// `/tile/…`: hashes, or entries.
    Tile(TilePath),
    /// `/body/<index>`: what the entry of this index names. It is ours, not C2SP's.
    Body(u64),
}

impl PublicPath {
    /// The file of this path; none if no public log has one there.
    pub fn of(path: &str) -> Option<PublicPath> {
        match path {
            "/checkpoint" => return Some(PublicPath::Checkpoint),
            "/checkpoint/cosigned" => return Some(PublicPath::Cosigned),
            _ => {}
        }
        if let Some(index) = path.strip_prefix("/body/") {
            // In its one spelling: no signs, no leading zeros.
            return index.parse::<u64>().ok().filter(|n| n.to_string() == index).map(PublicPath::Body);
        }
        path.strip_prefix('/')?.parse().ok().map(PublicPath::Tile)
    }
}

/// The bytes of a tile or bundle of the log of `size` leaves; none if the tree does not reach it.
///
/// # Errors
/// When the store fails, or gives what no log can have.
pub fn read_public_tile<S: HashStore + ?Sized, E: AsRef<[u8]>>(
    size: u64,
    tile: &TilePath,
    store: &S,
    entries: impl FnOnce(Range<u64>) -> Result<Vec<E>, S::Error>,
) -> Result<Option<Vec<u8>>, PublicError<S::Error>> {
    if !tile.exists(size) {
        return Ok(None);
    }
    match tile.kind() {
        TileKind::Hashes { .. } => Ok(Some(read_tile(size, tile, store)?.into_iter().flatten().collect())),
        TileKind::Entries => {
            let entries = entries(tile.start()..tile.start() + tile.width() as u64).map_err(PublicError::Entries)?;
            Ok(Some(encode_bundle(&entries)?))
        }
    }
}

/// Why a public file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicError<E> {
    /// The hashes could not be read.
    #[error(transparent)]
    Hashes(#[from] TileError<E>),
    /// The entries could not be read.
    #[error("the entries could not be read")]
    Entries(E),
    /// The entries make no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_path() {
        assert_eq!(PublicPath::of("/checkpoint"), Some(PublicPath::Checkpoint));
        assert_eq!(PublicPath::of("/checkpoint/cosigned"), Some(PublicPath::Cosigned));
        assert_eq!(PublicPath::of("/body/0"), Some(PublicPath::Body(0)));
        assert_eq!(PublicPath::of("/body/18446744073709551615"), Some(PublicPath::Body(u64::MAX)));
        assert!(matches!(PublicPath::of("/tile/entries/000.p/3"), Some(PublicPath::Tile(_))));
        let bad = [
            "",
            "/",
            "checkpoint",
            "/checkpoint/",
            "/body/",
            "/body/00",
            "/body/+1",
            "/body/-1",
            "/body/1 ",
            "/body/0x1",
            "/body/18446744073709551616",
            "/tile/entries/000.p/0",
            "//tile/0/000",
        ];
        for bad in bad {
            assert_eq!(PublicPath::of(bad), None, "{bad}");
        }
    }
}
