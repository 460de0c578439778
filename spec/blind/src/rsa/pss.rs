//! EMSA-PSS (RFC 8017 §9.1) with SHA-384, MGF1-SHA384 and a salt of 48 bytes.
//!
//! Only for moduli of a whole number of bytes, where an encoded message is as long as the modulus and has its top bit
//! clear.

use sha2::{Digest, Sha384};
use zeroize::Zeroizing;

/// The length of the salt, which is that of the hash.
pub const SALT_LEN: usize = 48;
const HASH_LEN: usize = 48;
const TRAILER: u8 = 0xbc;
/// The encoded message is one bit shorter than the modulus.
const TOP_MASK: u8 = 0x7f;

/// EMSA-PSS-ENCODE. The result says which message a blinded message hides, so it is wiped.
pub(super) fn encode<const LEN: usize>(message: &[u8], salt: &[u8; SALT_LEN]) -> Zeroizing<[u8; LEN]> {
    const { assert!(LEN >= HASH_LEN + SALT_LEN + 2) };
    let mut encoded = Zeroizing::new([0; LEN]);
    let hash = salted_hash(message, salt);
    let (block, rest) = encoded.split_at_mut(LEN - HASH_LEN - 1);
    let (padding, salt_place) = block.split_at_mut(LEN - HASH_LEN - 1 - SALT_LEN);
    salt_place.copy_from_slice(salt);
    padding[LEN - HASH_LEN - 2 - SALT_LEN] = 1;
    mask(&hash, block);
    block[0] &= TOP_MASK;
    rest[..HASH_LEN].copy_from_slice(&hash);
    rest[HASH_LEN] = TRAILER;
    encoded
}

/// EMSA-PSS-VERIFY. Nothing here is secret.
pub(super) fn verify<const LEN: usize>(message: &[u8], encoded: &[u8; LEN]) -> bool {
    const { assert!(LEN >= HASH_LEN + SALT_LEN + 2) };
    let mut encoded = *encoded;
    let (block, rest) = encoded.split_at_mut(LEN - HASH_LEN - 1);
    let (hash, trailer) = rest.split_at(HASH_LEN);
    if trailer != [TRAILER] || block[0] & !TOP_MASK != 0 {
        return false;
    }
    mask(hash, block);
    block[0] &= TOP_MASK;
    let (padding, salt) = block.split_at(LEN - HASH_LEN - 1 - SALT_LEN);
    let (zeros, one) = padding.split_at(LEN - HASH_LEN - 2 - SALT_LEN);
    one == [1] && zeros.iter().all(|byte| *byte == 0) && salted_hash(message, salt)[..] == *hash
}

/// H = SHA-384(eight zeros ‖ SHA-384(message) ‖ salt).
fn salted_hash(message: &[u8], salt: &[u8]) -> [u8; HASH_LEN] {
    Sha384::new().chain_update([0; 8]).chain_update(Sha384::digest(message)).chain_update(salt).finalize().into()
}

/// XORs MGF1-SHA384(seed) over the block (RFC 8017 appendix B.2.1).
fn mask(seed: &[u8], block: &mut [u8]) {
    for (counter, part) in (0_u32..).zip(block.chunks_mut(HASH_LEN)) {
        let pad = Sha384::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        for (byte, pad) in part.iter_mut().zip(pad) {
            *byte ^= pad;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; SALT_LEN] = [3; SALT_LEN];

    #[test]
    fn encoded_verifies_only_for_its_message() {
        let encoded = encode::<256>(b"message", &SALT);
        assert!(verify(b"message", &encoded));
        assert!(!verify(b"massage", &encoded));
        assert_eq!(encoded[0] & 0x80, 0);
    }

    /// Each bit matters, the top one too, which the mask would hide.
    #[test]
    fn every_flipped_bit_is_refused() {
        let encoded = encode::<256>(b"message", &SALT);
        for bit in 0..2_048 {
            let mut other = *encoded;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(b"message", &other), "bit {bit}");
        }
    }

    /// A block that unmasks to garbage in the padding, while hash and trailer are right, must not pass.
    #[test]
    fn padding_is_checked() {
        let hash = salted_hash(b"message", &SALT);
        for (name, position, value) in
            [("no one", 158, 0), ("another one", 158, 2), ("not zero", 0, 1), ("not zero", 157, 1)]
        {
            let mut encoded = [0; 256];
            encoded[158] = 1;
            encoded[position] = value;
            encoded[159..207].copy_from_slice(&SALT);
            mask(&hash, &mut encoded[..207]);
            encoded[0] &= TOP_MASK;
            encoded[207..255].copy_from_slice(&hash);
            encoded[255] = TRAILER;
            assert!(!verify(b"message", &encoded), "{name}");
        }
    }
}
