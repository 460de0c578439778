//! Tiles and entry bundles.

use naulon_tlog::*;
use proptest::prelude::*;

fn tree(count: u64) -> (Vec<Hash>, Vec<Hash>) {
    let leaves: Vec<Hash> = (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect();
    let store = Tree::default().append(&leaves).into_iter().map(|(_, hash)| hash).collect();
    (leaves, store)
}

fn hashes(level: u8, index: u64, width: usize) -> TilePath {
    TilePath::new(TileKind::Hashes { level }, index, width).expect("a tile")
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    tree.append(leaves);
    tree.root()
}

/// The example of tlog-tiles: which tiles a tree of 70,000 leaves has, and what is in them.
#[test]
fn the_tiles_of_a_tree_of_70_000() {
    let (leaves, store) = tree(70_000);
    let read = |tile: &TilePath| read_tile(70_000, tile, &store);
    assert_eq!(read(&hashes(0, 0, 256)).as_deref(), Ok(&leaves[..256]));
    assert_eq!(read(&hashes(0, 272, 256)).as_deref(), Ok(&leaves[272 * 256..273 * 256]));
    assert_eq!(read(&hashes(0, 273, 112)).as_deref(), Ok(&leaves[273 * 256..]));
    let level_1: Vec<Hash> = leaves.chunks_exact(256).map(root).collect();
    assert_eq!(read(&hashes(1, 0, 256)).as_deref(), Ok(&level_1[..256]));
    assert_eq!(read(&hashes(1, 1, 17)).as_deref(), Ok(&level_1[256..]));
    assert_eq!(read(&hashes(2, 0, 1)).as_deref(), Ok(&[root(&leaves[..65_536])][..]));
    assert_eq!(
        read(&hashes(0, 273, 1)).as_deref(),
        Ok(&leaves[273 * 256..273 * 256 + 1]),
        "narrower, of an older tree"
    );

    let not_yet = [(0, 273, 113), (0, 273, 256), (0, 274, 1), (1, 1, 18), (2, 0, 2), (3, 0, 1), (8, 0, 1), (63, 0, 1)];
    for (level, index, width) in not_yet {
        assert_eq!(read(&hashes(level, index, width)), Err(TileError::NotYet));
        assert!(read_tile(u64::MAX, &hashes(level, index, width), &store).is_err(), "not even if the size lies");
    }
    for size in [u64::MAX, MAX_TREE_SIZE + 1] {
        assert_eq!(read_tile(size, &hashes(7, 0, 255), &store), Err(TileError::NotYet), "beyond any tree");
    }
    let bundle = TilePath::new(TileKind::Entries, 273, 112).expect("a bundle");
    assert_eq!(read(&bundle), Err(TileError::NotHashes));
    assert!(bundle.exists(70_000) && !bundle.exists(69_999) && bundle.start() == 273 * 256);
    let missing = read_tile(70_256, &hashes(0, 273, 256), &store);
    assert!(matches!(missing, Err(TileError::Read(ReadError::Store(MissingHash(_))))), "the store is behind");
}

#[test]
fn tiles_have_limits() {
    let new = |level, index, width| TilePath::new(TileKind::Hashes { level }, index, width);
    assert_eq!(new(64, 0, 1), Err(TilePathError::Level));
    assert_eq!(new(0, MAX_TREE_SIZE / 256, 1), Err(TilePathError::Index));
    assert_eq!(new(0, 0, 0), Err(TilePathError::Width));
    assert_eq!(new(0, 0, 257), Err(TilePathError::Width));
    let longest = TilePath::new(TileKind::Entries, MAX_TREE_SIZE / 256 - 1, 255).expect("a tile").to_string();
    assert!(longest.len() <= MAX_TILE_PATH_LEN, "{longest}");
    assert!(longest.parse::<TilePath>().is_ok());
    let parse = |path: &str| path.parse::<TilePath>();
    assert_eq!(parse("tile/0/x018/x446/x744/x073/x709/x551/616"), Err(TilePathError::Index), "2^64");
    assert_eq!(parse(&format!("tile/0/{}001", "x001/".repeat(1000))), Err(TilePathError::Syntax), "not even looked at");
}

#[test]
fn bundles() {
    let fares = [&[0x11_u8; 72][..], &[0x22; 72], b""];
    let bundle = encode_bundle(&fares).expect("a bundle");
    assert_eq!(bundle.len(), 2 + 72 + 2 + 72 + 2);
    assert_eq!(bundle[..3], [0, 72, 0x11]);
    assert_eq!(decode_bundle(&bundle).as_deref(), Ok(&fares[..]));
    assert_eq!(encode_bundle::<&[u8]>(&[]), Err(BundleError::Empty));
    assert_eq!(decode_bundle(&[]), Err(BundleError::Empty));
    assert_eq!(decode_bundle(&[0]), Err(BundleError::CutOff));
    assert_eq!(decode_bundle(&[0, 1]), Err(BundleError::CutOff));
    assert!(encode_bundle(&[[0; 1]; 256]).is_ok());
    assert_eq!(encode_bundle(&[[0; 1]; 257]), Err(BundleError::TooMany));
    assert_eq!(decode_bundle(&[0; 2 * 257]), Err(BundleError::TooMany));
    assert_eq!(decode_bundle(&[0; 2 * 257 + 1]), Err(BundleError::TooMany), "it stops at the limit");
    assert_eq!(decode_bundle(&[0; 2 * 256]).map(|entries| entries.len()), Ok(256));
    assert_eq!(encode_bundle(&[vec![0; MAX_ENTRY_LEN + 1]]), Err(BundleError::EntryTooLong(MAX_ENTRY_LEN + 1)));
    let largest = encode_bundle(&[vec![0; MAX_ENTRY_LEN]]).expect("a bundle");
    assert_eq!(decode_bundle(&largest).map(|entries| entries[0].len()), Ok(MAX_ENTRY_LEN));
}

proptest! {
    #[test]
    fn bundles_have_one_spelling(bytes in prop::collection::vec(0_u8..4, 0..60)) {
        if let Ok(entries) = decode_bundle(&bytes) {
            prop_assert_eq!(encode_bundle(&entries), Ok(bytes));
        }
    }

    #[test]
    fn paths_have_one_spelling(
        level in 0_u8..64, index in 0..MAX_TREE_SIZE / 256, shift in 0_u32..40, width in 1_usize..=256,
    ) {
        for kind in [TileKind::Hashes { level }, TileKind::Entries] {
            let tile = TilePath::new(kind, index >> shift, width).expect("a tile");
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
        }
    }

    #[test]
    fn what_parses_prints_the_same(path in "tile/([0-9]{1,2}|entries)/(x[0-9]{3}/){0,2}[0-9]{3}(.p/[0-9]{1,3})?") {
        if let Ok(tile) = path.parse::<TilePath>() {
            prop_assert_eq!(tile.to_string(), path);
        }
    }

    #[test]
    fn nothing_panics(path in "\\PC{0,60}", tail in "[x0-9/.p]{0,40}") {
        let _ = path.parse::<TilePath>();
        let _ = format!("tile/0/{tail}").parse::<TilePath>();
    }
}
