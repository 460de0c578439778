//! How goods are encrypted: once a version under a file key F, and F once a sale under k and n (docs/spec/goods.md).
//!
//! Encrypted goods are chunks of 64 KiB plain text, each AES-256-GCM under F with nonce u64be(0 ‖ counter) ‖ last flag, so
//! that chunks can be neither dropped, reordered nor cut off. The digest runs over the digests of the encrypted chunks.
//! F itself is AES-256-GCM under HKDF(k, n). Both keys are used for one message only, so the fixed nonces are safe.

use naulon_exchange::SaleNumber;
use naulon_statement::{Digest, derive_secret};
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The plain bytes in a full chunk.
pub const CHUNK_LEN: usize = 64 * 1024;
/// What encryption adds to a chunk.
pub const TAG_LEN: usize = 16;
/// A full encrypted chunk.
pub const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
/// An encrypted file key.
pub const WRAPPED_KEY_LEN: usize = 32 + TAG_LEN;

/// F: encrypts one version of a file. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct FileKey(Zeroizing<[u8; 32]>);

/// k: the merchandise key of one sale (AAT §3.3). Wiped when dropped, never printed.
#[derive(Clone)]
pub struct MerchandiseKey(Zeroizing<[u8; 32]>);

/// Why goods do not open. The merchant signed both the encrypted goods and the commitment to the key, so it answers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoodsError {
    /// The key does not open the wrapped file key, or the file key a chunk.
    #[error("the key does not open the goods")]
    DoesNotOpen,
    /// The plain goods are not of the size and digest in the contract.
    #[error("the goods are not what the contract says")]
    NotAsDescribed,
}

impl FileKey {
    /// The file key of one version of an item, from the shop's secret.
    pub fn derive(shop_secret: &[u8], item: &Digest, plain: &Digest) -> FileKey {
        let mut key = Zeroizing::new([0; 32]);
        derive_secret(shop_secret, &[b"naulon/file-key/1", item.as_bytes(), plain.as_bytes()], &mut *key);
        FileKey(key)
    }
}

impl MerchandiseKey {
    /// k = HKDF(shop secret, n): nothing has to be stored for an offer.
    pub fn derive(shop_secret: &[u8], n: &SaleNumber) -> MerchandiseKey {
        let mut key = Zeroizing::new([0; 32]);
        derive_secret(shop_secret, &[b"naulon/merchandise-key/1", n], &mut *key);
        MerchandiseKey(key)
    }

    /// The key that a log has published.
    pub fn published(k: &[u8; 32]) -> MerchandiseKey {
        MerchandiseKey(Zeroizing::new(*k))
    }

    /// The bytes, to be sent to the log.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }

    /// Encrypts the file key for the sale n.
    pub fn wrap(&self, n: &SaleNumber, file_key: &FileKey) -> [u8; WRAPPED_KEY_LEN] {
        let mut wrapped = [0; WRAPPED_KEY_LEN];
        wrapped.copy_from_slice(&seal(&self.wrapping_key(n), &[0; 12], file_key.0.as_slice()));
        wrapped
    }

    /// Opens the file key of the sale n.
    pub fn unwrap(&self, n: &SaleNumber, wrapped: &[u8; WRAPPED_KEY_LEN]) -> Result<FileKey, GoodsError> {
        let opened = Zeroizing::new(open(&self.wrapping_key(n), &[0; 12], wrapped)?);
        let key = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| GoodsError::DoesNotOpen)?;
        Ok(FileKey(Zeroizing::new(key)))
    }

    fn wrapping_key(&self, n: &SaleNumber) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        derive_secret(self.0.as_slice(), &[b"naulon/wrap/1", n], &mut *key);
        key
    }
}

/// The size of encrypted goods, by their plain size. Empty goods are one empty chunk.
pub fn sealed_len(plain: u64) -> u64 {
    let chunks = plain.div_ceil(CHUNK_LEN as u64).max(1);
    plain.saturating_add(chunks.saturating_mul(TAG_LEN as u64))
}

/// Encrypts a file chunk by chunk.
pub struct Sealer {
    key: FileKey,
    counter: u64,
}

impl Sealer {
    /// From the first chunk on.
    pub fn new(key: FileKey) -> Self {
        Sealer { key, counter: 0 }
    }

    /// Encrypts the next chunk: [`CHUNK_LEN`] bytes, or fewer if it is the last.
    pub fn seal(&mut self, plain: &[u8], last: bool) -> Vec<u8> {
        let nonce = nonce(self.counter, last);
        self.counter += 1;
        seal(&self.key.0, &nonce, plain)
    }
}

/// Decrypts a file chunk by chunk, and checks the plain goods against the contract at the end.
pub struct Opener {
    key: FileKey,
    counter: u64,
    plain: Sha256,
    size: u64,
}

impl Opener {
    /// From the first chunk on.
    pub fn new(key: FileKey) -> Self {
        Opener { key, counter: 0, plain: Sha256::new(), size: 0 }
    }

    /// Decrypts the next chunk: [`SEALED_CHUNK_LEN`] bytes, or fewer if it is the last.
    pub fn open(&mut self, sealed: &[u8], last: bool) -> Result<Vec<u8>, GoodsError> {
        let plain = open(&self.key.0, &nonce(self.counter, last), sealed)?;
        self.counter += 1;
        self.size += plain.len() as u64;
        self.plain.update(&plain);
        Ok(plain)
    }

    /// Checks that all chunks together were what the contract describes.
    pub fn finish(self, contract: &crate::Contract) -> Result<(), GoodsError> {
        let digest = Digest(self.plain.finalize().into());
        let as_described = digest == contract.digest && self.size == contract.size;
        as_described.then_some(()).ok_or(GoodsError::NotAsDescribed)
    }
}

/// The digest of encrypted goods: SHA-256("naulon/goods" ‖ SHA-256(chunk 0) ‖ SHA-256(chunk 1) ‖ …). Takes the bytes in
/// pieces of any length.
#[derive(Clone)]
pub struct GoodsHasher {
    outer: Sha256,
    chunk: Sha256,
    in_chunk: usize,
    total: u64,
}

impl Default for GoodsHasher {
    fn default() -> Self {
        let outer = Sha256::new_with_prefix(b"naulon/goods");
        GoodsHasher { outer, chunk: Sha256::new(), in_chunk: 0, total: 0 }
    }
}

impl GoodsHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(SEALED_CHUNK_LEN - self.in_chunk));
            self.chunk.update(now);
            self.in_chunk += now.len();
            bytes = later;
            if self.in_chunk == SEALED_CHUNK_LEN {
                self.close_chunk();
            }
        }
    }

    /// How many bytes it has taken.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The digest of all bytes.
    pub fn finish(mut self) -> Digest {
        if self.in_chunk > 0 {
            self.close_chunk();
        }
        Digest(self.outer.finalize().into())
    }

    fn close_chunk(&mut self) {
        self.outer.update(self.chunk.finalize_reset());
        self.in_chunk = 0;
    }
}

fn nonce(counter: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&counter.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

fn seal(key: &[u8; 32], nonce: &[u8; 12], plain: &[u8]) -> Vec<u8> {
    let mut tag = [0; TAG_LEN];
    match encrypt_aead(Cipher::aes_256_gcm(), key, Some(nonce), &[], plain, &mut tag) {
        Ok(mut sealed) => {
            sealed.extend_from_slice(&tag);
            sealed
        }
        // Key, nonce and tag have their fixed lengths, so OpenSSL has nothing to refuse.
        Err(never) => unreachable!("AES-256-GCM failed to encrypt: {never}"),
    }
}

fn open(key: &[u8; 32], nonce: &[u8; 12], sealed: &[u8]) -> Result<Vec<u8>, GoodsError> {
    let split = sealed.len().checked_sub(TAG_LEN).ok_or(GoodsError::DoesNotOpen)?;
    let (body, tag) = sealed.split_at(split);
    decrypt_aead(Cipher::aes_256_gcm(), key, Some(nonce), &[], body, tag).map_err(|_| GoodsError::DoesNotOpen)
}

#[cfg(test)]
mod tests;
