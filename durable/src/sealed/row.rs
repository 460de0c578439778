//! Rows sealed under a key, and found again by a keyed hash.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::aead;

/// Bytes of fresh entropy for each sealed row.
pub const ROW_NONCE_LEN: usize = aead::NONCE_LEN;

/// A row that did not open. Operator: the database was changed or belongs to another key; restore a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Shorter than any sealed row.
    #[error("a sealed row is cut short: restore a backup")]
    Truncated,
    /// Another key, another context, or changed bytes.
    #[error("a sealed row does not open with this key at this place: restore a backup")]
    Refused,
}

/// The key of a wallet's rows. It has no Debug and is zeroized.
///
/// Two subkeys are derived from it, one that seals and one that looks up, so that neither use tells about the other.
pub struct RowKey {
    sealing: Zeroizing<[u8; aead::KEY_LEN]>,
    lookup: Zeroizing<[u8; 32]>,
}

impl RowKey {
    /// The row key of a uniformly random `secret`, for example the content of a [`SealedFile`](super::SealedFile).
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let derived = Hkdf::<Sha256>::new(None, secret);
        let subkey = |info: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            derived.expand(info, key.as_mut_slice()).expect("HKDF-SHA256 gives 32 bytes");
            key
        };
        Self { sealing: subkey(b"naulon/row/seal/1"), lookup: subkey(b"naulon/row/lookup/1") }
    }

    /// nonce ‖ ciphertext ‖ tag. The row opens only with the same `row_context`: name the table, the column and the row's
    /// number in it, so that rows cannot be exchanged for one another.
    ///
    /// `nonce` is fresh from the system's entropy for each call; with random nonces a key is good for 2^32 rows.
    #[must_use]
    pub fn seal(&self, row_context: &[u8], plaintext: &[u8], nonce: &[u8; ROW_NONCE_LEN]) -> Vec<u8> {
        let mut row = nonce.to_vec();
        row.extend(aead::seal(&self.sealing, nonce, row_context, plaintext));
        row
    }

    /// What [`seal`](Self::seal) sealed in this context.
    ///
    /// # Errors
    /// [`RowError`] when any byte of the row or the context is not the one that was sealed.
    pub fn open(&self, row_context: &[u8], row: &[u8]) -> Result<Zeroizing<Vec<u8>>, RowError> {
        let (nonce, sealed) = row.split_first_chunk().ok_or(RowError::Truncated)?;
        if sealed.len() < aead::TAG_LEN {
            return Err(RowError::Truncated);
        }
        aead::open(&self.sealing, nonce, row_context, sealed).ok_or(RowError::Refused)
    }

    /// HMAC-SHA256 of `value`: a column by which the row can be found without the disk telling the value. Who reads the
    /// disk sees only which values are equal; start `value` with the column's name, so that not even columns compare.
    #[must_use]
    pub fn lookup(&self, value: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.lookup.as_slice()).expect("HMAC takes a key of any length");
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; ROW_NONCE_LEN] = [9; ROW_NONCE_LEN];

    #[test]
    fn a_row_opens_with_its_key_and_context_only() {
        let key = RowKey::new(&[1; 32]);
        let row = key.seal(b"token/7", b"q", &NONCE);
        assert_eq!(key.open(b"token/7", &row).expect("opens").as_slice(), b"q");
        assert_eq!(key.open(b"token/8", &row), Err(RowError::Refused));
        assert_eq!(RowKey::new(&[2; 32]).open(b"token/7", &row), Err(RowError::Refused));
    }

    #[test]
    fn each_flipped_bit_and_each_cut_is_refused() {
        let key = RowKey::new(&[1; 32]);
        let row = key.seal(b"token/7", b"some coin", &NONCE);
        for bit in 0..row.len() * 8 {
            let mut changed = row.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(b"token/7", &changed), Err(RowError::Refused), "bit {bit}");
        }
        for len in 0..row.len() {
            let expected = if len < ROW_NONCE_LEN + 16 { RowError::Truncated } else { RowError::Refused };
            assert_eq!(key.open(b"token/7", &row[..len]), Err(expected), "length {len}");
        }
        assert!(key.open(b"token/7", &[&row[..], &[0]].concat()).is_err());
    }

    #[test]
    fn an_empty_plaintext_is_a_row_too() {
        let key = RowKey::new(&[1; 32]);
        let row = key.seal(b"", b"", &NONCE);
        assert_eq!(row.len(), ROW_NONCE_LEN + 16);
        assert_eq!(key.open(b"", &row).expect("opens").as_slice(), b"");
    }

    #[test]
    fn look_ups_depend_on_value_and_key() {
        let key = RowKey::new(&[1; 32]);
        assert_eq!(key.lookup(b"q"), RowKey::new(&[1; 32]).lookup(b"q"));
        assert_ne!(key.lookup(b"q"), key.lookup(b"Q"));
        assert_ne!(key.lookup(b"q"), RowKey::new(&[2; 32]).lookup(b"q"));
    }

    /// Frozen: written rows must open and be found for ever. `vectors/make.py` wrote them, without our code.
    #[test]
    fn the_format_is_frozen() {
        let key = RowKey::new(&[1; 32]);
        assert_eq!(key.seal(b"token/7", b"q", &NONCE), include_bytes!("../../vectors/row-seal.bin"));
        assert_eq!(&key.lookup(b"q"), include_bytes!("../../vectors/row-lookup.bin"));
    }
}
