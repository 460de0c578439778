//! What a wallet derives for each token from its seed. Frozen from the first version: a wallet restored from its words
//! must find the tokens that it once withdrew.

use naulon_statement::{PublicKey, SecretKey, derive_secret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::rsa::{R_LEN, SALT_LEN};

/// The length of a BIP-39 seed.
pub const SEED_LEN: usize = 64;

/// The version of the derivation.
const DOMAIN: &[u8] = b"naulon/token/1";
const PURPOSE_Q: &[u8] = b"q";
const PURPOSE_SALT: &[u8] = b"salt";
const PURPOSE_R: &[u8] = b"r";
const PURPOSE_S: &[u8] = b"s";
/// The version of the derivation of keys that several tokens share.
const REUSABLE_DOMAIN: &[u8] = b"naulon/reusable-key/1";

/// The secrets of one token: the seed of its Ed25519 key, the salt and the blinding factor. The latter two link
/// withdrawal and payment. They are wiped when dropped and cannot be printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TokenSecrets {
    q: [u8; 32],
    salt: [u8; SALT_LEN],
    r: [u8; R_LEN],
}

impl TokenSecrets {
    /// HKDF-SHA256 (RFC 5869) without salt, keyed by the BIP-39 seed, with
    /// info = "naulon/token/1" ‖ token_key_id ‖ u32be(index) ‖ purpose, and "q", "salt" and "r" as purposes.
    ///
    /// An index serves one token of a key: with the same index a second one would have the same Q, so the bank would
    /// take the two for one. The wallet writes the index down before it asks for the token.
    pub fn derive(seed: &[u8; SEED_LEN], token_key_id: &[u8; 32], index: u32) -> Self {
        let mut secrets = TokenSecrets { q: [0; 32], salt: [0; SALT_LEN], r: [0; R_LEN] };
        let index = index.to_be_bytes();
        derive_secret(seed, &[DOMAIN, token_key_id, &index, PURPOSE_Q], &mut secrets.q);
        derive_secret(seed, &[DOMAIN, token_key_id, &index, PURPOSE_SALT], &mut secrets.salt);
        derive_secret(seed, &[DOMAIN, token_key_id, &index, PURPOSE_R], &mut secrets.r);
        secrets
    }

    /// The seed of the token's Ed25519 key.
    pub fn q(&self) -> &[u8; 32] {
        &self.q
    }

    /// The token's Ed25519 key.
    pub fn secret_key(&self) -> SecretKey {
        SecretKey::from_seed(&self.q)
    }

    /// The salt of the signature's encoding.
    pub fn salt(&self) -> &[u8; SALT_LEN] {
        &self.salt
    }

    /// The blinding factor, not yet reduced modulo N.
    pub fn r(&self) -> &[u8; R_LEN] {
        &self.r
    }
}

/// The key with this index that several tokens of a bank share (AAT §8.1), whatever their brands: HKDF-SHA256 without salt,
/// keyed by the BIP-39 seed, with info = "naulon/reusable-key/1" ‖ bank ‖ u32be(index). Each bank sees other keys.
pub fn reusable_key(seed: &[u8; SEED_LEN], bank: &PublicKey, index: u32) -> SecretKey {
    let mut q = Zeroizing::new([0; 32]);
    derive_secret(seed, &[REUSABLE_DOMAIN, bank.as_bytes(), &index.to_be_bytes()], q.as_mut_slice());
    SecretKey::from_seed(&q)
}

/// The serial number s of the token with this index under a brand, if it shares its key: derived as [`TokenSecrets`], with
/// "s" as purpose.
pub fn serial_number(seed: &[u8; SEED_LEN], token_key_id: &[u8; 32], index: u32) -> [u8; 32] {
    let mut s = [0; 32];
    derive_secret(seed, &[DOMAIN, token_key_id, &index.to_be_bytes(), PURPOSE_S], &mut s);
    s
}
