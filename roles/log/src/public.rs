//! The public files of the log: checkpoint, tiles, entry bundles (C2SP tlog-tiles), and the bodies of decisions.

use naulon_tlog::{PublicPath, read_public_tile};
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
        let size = self.head.tree.size();
        let (kind, bytes) = match PublicPath::of(path).ok_or_else(none)? {
            PublicPath::Checkpoint => (PublicKind::Checkpoint, self.newest().into_bytes()),
            PublicPath::Cosigned => {
                let cosigned = self.publisher.as_ref().and_then(|publisher| publisher.cosigned());
                (PublicKind::Checkpoint, cosigned.ok_or_else(none)?.into_bytes())
            }
            PublicPath::Tile(tile) => {
                let read = read_public_tile(size, &tile, &Stored(&self.store), |range| self.store.entries(range));
                (PublicKind::Tile, read.map_err(unsound)?.ok_or_else(none)?)
            }
            PublicPath::Body(index) if index < size => (PublicKind::Body, self.store.body(index)?.ok_or_else(none)?),
            PublicPath::Body(_) => return Err(none()),
        };
        Ok(PublicFile { kind, bytes: bytes.into() })
    }

    /// The newest checkpoint, with the cosignatures that it has.
    fn newest(&self) -> String {
        self.publisher.as_ref().map_or_else(|| self.head.checkpoint.clone(), |publisher| publisher.newest())
    }
}
