//! The public files of the log: checkpoint, tiles, entry bundles (C2SP tlog-tiles), and the bodies of decisions.

use naulon_tlog::{TileKind, TilePath, encode_bundle, read_tile};
use naulon_wire::log::COSIGNED;
use naulon_wire::{PublicFile, PublicKind};

use crate::log::{Log, Stored, unsound};
use crate::store::LogStore;
use crate::trouble::Trouble;

impl<S: LogStore> Log<S> {
    /// A public file, by its path with a leading slash: `/checkpoint`, `/checkpoint/cosigned`, `/tile/…`, and
    /// `/body/<index>`, the signed decision whose digest stands in the entry of that index.
    pub(crate) fn public(&self, path: &str) -> Result<PublicFile, Trouble> {
        self.check_running()?;
        let none = || Trouble::NoSuchFile(path.to_owned());
        let kind = PublicKind::of(path).ok_or_else(none)?;
        let bytes = match kind {
            PublicKind::Checkpoint => self.checkpoint(path).ok_or_else(none)?.into_bytes(),
            PublicKind::Tile => self.tile(path)?,
            PublicKind::Body => {
                let index = path.strip_prefix("/body/").and_then(parse_index);
                let index = index.filter(|index| *index < self.head.tree.size()).ok_or_else(none)?;
                self.store.body(index)?.ok_or_else(none)?
            }
        };
        Ok(PublicFile { kind, bytes: bytes.into() })
    }

    /// The newest checkpoint with the cosignatures that it has, or the newest with as many as the policy wants.
    fn checkpoint(&self, path: &str) -> Option<String> {
        match (path, &self.publisher) {
            (COSIGNED, publisher) => publisher.as_ref()?.cosigned(),
            (_, Some(publisher)) => Some(publisher.newest()),
            (_, None) => Some(self.head.checkpoint.clone()),
        }
    }

    fn tile(&self, path: &str) -> Result<Vec<u8>, Trouble> {
        let none = || Trouble::NoSuchFile(path.to_owned());
        let tile: TilePath = path.strip_prefix('/').and_then(|tile| tile.parse().ok()).ok_or_else(none)?;
        let size = self.head.tree.size();
        if !tile.exists(size) {
            return Err(none());
        }
        match tile.kind() {
            TileKind::Hashes { .. } => {
                Ok(read_tile(size, &tile, &Stored(&self.store)).map_err(unsound)?.into_iter().flatten().collect())
            }
            TileKind::Entries => {
                let entries = self.store.entries(tile.start()..tile.start() + tile.width() as u64)?;
                encode_bundle(&entries).map_err(unsound)
            }
        }
    }
}

/// A decimal number in its one spelling.
fn parse_index(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|index| index.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_one_spelling() {
        assert_eq!(parse_index("0"), Some(0));
        assert_eq!(parse_index("18446744073709551615"), Some(u64::MAX));
        for bad in ["", "00", "+1", "-1", "1 ", "0x1", "18446744073709551616"] {
            assert_eq!(parse_index(bad), None, "{bad}");
        }
    }
}
