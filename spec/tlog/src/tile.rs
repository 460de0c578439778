//! Tiles: the tree cut into static resources of up to 256 hashes, and their paths (C2SP tlog-tiles).

use std::fmt;
use std::str::FromStr;

use crate::hash::Hash;
use crate::store::{HashStore, MAX_TREE_SIZE, ReadError, read_exact, stored_index};

/// Hashes in a full tile, and entries in a full bundle.
pub const TILE_WIDTH: usize = 256;
/// The highest level a path may name (tlog-tiles). No tree here reaches above level 6.
pub const MAX_TILE_LEVEL: u8 = 63;
/// The longest path looked at, in bytes: more than any tile's of a tree of [`MAX_TREE_SIZE`] leaves.
pub const MAX_TILE_PATH_LEN: usize = 48;

/// Levels of the tree that one tile spans.
const TILE_HEIGHT: u32 = TILE_WIDTH.ilog2();

/// Which tile or entry bundle: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
///
/// Parsing takes exactly what printing gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// What the resource holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileKind {
    /// Hashes of subtrees of 256^`level` leaves each.
    Hashes {
        /// 0 for leaves, at most [`MAX_TILE_LEVEL`].
        level: u8,
    },
    /// The entries themselves, as a bundle.
    Entries,
}

impl TilePath {
    /// The `index`-th tile or bundle of its row, of which the first `width` hashes or entries are meant.
    ///
    /// # Errors
    /// When the level is above [`MAX_TILE_LEVEL`], the width is not in 1..=256, or the index lies beyond a tree of
    /// [`MAX_TREE_SIZE`] leaves.
    pub fn new(kind: TileKind, index: u64, width: usize) -> Result<Self, TilePathError> {
        if matches!(kind, TileKind::Hashes { level } if level > MAX_TILE_LEVEL) {
            return Err(TilePathError::Level);
        }
        if index >= MAX_TREE_SIZE >> TILE_HEIGHT {
            return Err(TilePathError::Index);
        }
        match u16::try_from(width) {
            Ok(narrow) if (1..=TILE_WIDTH).contains(&width) => Ok(TilePath { kind, index, width: narrow }),
            _ => Err(TilePathError::Width),
        }
    }

    /// What the resource holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Which one of its row, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries, 1..=256. Below 256 the tile is *partial*.
    pub fn width(&self) -> usize {
        self.width.into()
    }

    /// The first hash (of its level) or entry in this tile.
    pub fn start(&self) -> u64 {
        self.index << TILE_HEIGHT
    }

    /// Whether a log of `size` leaves has all of this tile or bundle.
    pub fn exists(&self, size: u64) -> bool {
        let level = match self.kind {
            TileKind::Hashes { level } => level.into(),
            TileKind::Entries => 0,
        };
        let in_row = size.checked_shr(level * TILE_HEIGHT).unwrap_or(0);
        self.start() + u64::from(self.width) <= in_row
    }
}

/// Reads the hashes of a tile out of the log of `size` leaves; served, they are joined to `32 · width` bytes.
///
/// # Errors
/// When the tree has not grown that far, the path is an entry bundle's, or the store fails.
pub fn read_tile<S: HashStore + ?Sized>(
    size: u64,
    path: &TilePath,
    store: &S,
) -> Result<Vec<Hash>, TileError<S::Error>> {
    let TileKind::Hashes { level } = path.kind else { return Err(TileError::NotHashes) };
    // The second condition keeps the places below within u64, whatever size the caller names.
    if !path.exists(size) || !path.exists(MAX_TREE_SIZE) {
        return Err(TileError::NotYet);
    }
    let row = path.start()..path.start() + u64::from(path.width);
    let places: Vec<u64> = row.map(|n| stored_index(u32::from(level) * TILE_HEIGHT, n)).collect();
    Ok(read_exact(&places, store)?)
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => write!(f, "tile/entries/")?,
        }
        write_index(self.index, f)?;
        if self.width() < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        if path.len() > MAX_TILE_PATH_LEN {
            return Err(TilePathError::Syntax);
        }
        let rest = path.strip_prefix("tile/").ok_or(TilePathError::Syntax)?;
        let (row, rest) = rest.split_once('/').ok_or(TilePathError::Syntax)?;
        let kind = match row {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes { level: level.parse().map_err(|_| TilePathError::Level)? },
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().map_err(|_| TilePathError::Width)?),
            None => (rest, TILE_WIDTH),
        };
        let tile = TilePath::new(kind, parse_index(index)?, width)?;
        // One spelling each: this refuses signs, leading zeros, `x000/`, and `.p/256`.
        if tile.to_string() == path { Ok(tile) } else { Err(TilePathError::Syntax) }
    }
}

/// Why a path names no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TilePathError {
    /// It is not of the form `tile/<L>/<N>[.p/<W>]`, or not in its one spelling.
    #[error("not a tile path in its canonical form")]
    Syntax,
    /// The level is not a number of 0..=63.
    #[error("a tile's level is 0 to {MAX_TILE_LEVEL} or `entries`")]
    Level,
    /// The index lies beyond the largest tree.
    #[error("the tile's index is too large")]
    Index,
    /// The width is not a number of 1..=256.
    #[error("a tile's width is 1 to {TILE_WIDTH}")]
    Width,
}

/// Why a tile could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError<E> {
    /// The tree has not grown that far; later it may have.
    #[error("the tree does not reach this tile yet")]
    NotYet,
    /// The path is an entry bundle's.
    #[error("the path names an entry bundle")]
    NotHashes,
    /// The hashes could not be read.
    #[error("the hashes of the tile could not be read")]
    Read(#[from] ReadError<E>),
}

/// Prints 1234067 as `x001/x234/067`, so that no directory is ever also a file.
fn write_index(index: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut thousands = index.checked_ilog10().unwrap_or(0) / 3;
    while thousands > 0 {
        write!(f, "x{:03}/", index / 1000_u64.pow(thousands) % 1000)?;
        thousands -= 1;
    }
    write!(f, "{:03}", index % 1000)
}

/// Reads an index leniently; the caller prints it again and compares.
fn parse_index(text: &str) -> Result<u64, TilePathError> {
    text.split('/').try_fold(0_u64, |index, group| {
        let group: u64 = group.trim_start_matches('x').parse().map_err(|_| TilePathError::Syntax)?;
        index.checked_mul(1000).and_then(|index| index.checked_add(group)).ok_or(TilePathError::Index)
    })
}
