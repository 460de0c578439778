//! AES-256-GCM by OpenSSL, in the one shape this module needs: ciphertext ‖ tag.

use openssl::symm::{Cipher, Crypter, Mode, encrypt_aead};
use zeroize::Zeroizing;

pub(super) const KEY_LEN: usize = 32;
pub(super) const NONCE_LEN: usize = 12;
pub(super) const TAG_LEN: usize = 16;

/// Ciphertext ‖ tag. A key and nonce must never meet twice.
pub(super) fn seal(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut tag = [0; TAG_LEN];
    // With these lengths OpenSSL fails only when it has no memory, at which allocating in Rust aborts as well.
    let mut sealed = encrypt_aead(Cipher::aes_256_gcm(), key, Some(nonce), aad, plaintext, &mut tag)
        .expect("AES-256-GCM takes a key of 32 bytes, a nonce of 12 and any plaintext");
    sealed.extend_from_slice(&tag);
    sealed
}

/// The plaintext, if key, nonce, `aad` and every byte of `sealed` are those of [`seal`].
pub(super) fn open(
    key: &[u8; KEY_LEN],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
    let cipher = Cipher::aes_256_gcm();
    // `decrypt_aead` would do all this in one call, but drops the plaintext unzeroized when the tag is wrong.
    let mut plaintext = Zeroizing::new(vec![0; ciphertext.len() + cipher.block_size()]);
    let mut crypter = Crypter::new(cipher, Mode::Decrypt, key, Some(nonce)).ok()?;
    crypter.aad_update(aad).ok()?;
    crypter.set_tag(tag).ok()?;
    let mut len = crypter.update(ciphertext, &mut plaintext).ok()?;
    len += crypter.finalize(&mut plaintext[len..]).ok()?;
    plaintext.truncate(len);
    Some(plaintext)
}
