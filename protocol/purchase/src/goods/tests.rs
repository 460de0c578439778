use super::*;
use crate::Contract;

fn contract(plain: &[u8]) -> Contract {
    let (title, description) = ("title".into(), "description".into());
    Contract { title, description, size: plain.len() as u64, digest: Digest::of(&[plain]) }
}

fn file_key() -> FileKey {
    FileKey::derive(b"secret", &Digest::of(&[b"item"]), &Digest::of(&[b"plain"]))
}

fn seal_all(plain: &[u8]) -> Vec<Vec<u8>> {
    let mut sealer = Sealer::new(file_key());
    let mut chunks: Vec<&[u8]> = plain.chunks(CHUNK_LEN).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    let last = chunks.len() - 1;
    chunks.iter().enumerate().map(|(i, chunk)| sealer.seal(chunk, i == last)).collect()
}

fn open_all(chunks: &[Vec<u8>], contract: &Contract) -> Result<Vec<u8>, GoodsError> {
    let mut opener = Opener::new(file_key());
    let mut plain = Vec::new();
    for (i, chunk) in chunks.iter().enumerate() {
        plain.extend(opener.open(chunk, i + 1 == chunks.len())?);
    }
    opener.finish(contract).map(|()| plain)
}

#[test]
fn goods_of_every_length_open_again() {
    for length in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 3 * CHUNK_LEN] {
        let plain: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
        let sealed = seal_all(&plain);
        let size: usize = sealed.iter().map(Vec::len).sum();
        assert_eq!(size as u64, sealed_len(length as u64), "{length}");
        assert_eq!(open_all(&sealed, &contract(&plain)), Ok(plain), "{length}");
    }
}

#[test]
fn chunks_can_be_neither_changed_reordered_nor_cut_off() {
    let plain = vec![5; 3 * CHUNK_LEN];
    let contract = contract(&plain);
    let sealed = seal_all(&plain);
    let mut changed = sealed.clone();
    changed[1][9] ^= 1;
    let mut swapped = sealed.clone();
    swapped.swap(0, 1);
    for wrong in [changed, swapped, sealed[..2].to_vec(), sealed[1..].to_vec()] {
        assert_eq!(open_all(&wrong, &contract), Err(GoodsError::DoesNotOpen));
    }
}

#[test]
fn goods_that_are_not_as_described_are_found_out() {
    let sealed = seal_all(b"lead");
    assert_eq!(open_all(&sealed, &contract(b"gold")), Err(GoodsError::NotAsDescribed));
}

#[test]
fn only_the_key_and_number_of_the_sale_open_the_file_key() {
    let (n, m) = ([1; 16], [2; 16]);
    let k = MerchandiseKey::derive(b"secret", &n);
    let wrapped = k.wrap(&n, &file_key());
    assert!(k.unwrap(&n, &wrapped).is_ok_and(|key| *key.0 == *file_key().0));
    assert!(k.unwrap(&m, &wrapped).is_err());
    assert!(MerchandiseKey::derive(b"secret", &m).unwrap(&n, &wrapped).is_err());
}

#[test]
fn the_digest_does_not_depend_on_the_pieces() {
    let bytes: Vec<u8> = (0..2 * SEALED_CHUNK_LEN + 77).map(|i| (i % 253) as u8).collect();
    let digest = |piece: usize| {
        let mut hasher = GoodsHasher::default();
        bytes.chunks(piece).for_each(|piece| hasher.update(piece));
        hasher.finish()
    };
    let by_chunk: Vec<u8> = bytes.chunks(SEALED_CHUNK_LEN).flat_map(|c| Digest::of(&[c]).0).collect();
    assert_eq!(digest(bytes.len()), Digest::of(&[b"naulon/goods", &by_chunk]));
    assert_eq!(digest(1000), digest(bytes.len()));
    assert_eq!(digest(SEALED_CHUNK_LEN), digest(bytes.len()));
}
