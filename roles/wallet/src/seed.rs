//! The 24 words, the seed, and what is derived from it.

use bip39::{Language, Mnemonic};
use naulon_blind::{BlindedMessage, ReusedKey, SEED_LEN, TokenSecrets, reusable_key, serial_number};
use naulon_exchange::Order;
use naulon_statement::{BoxSecretKey, Digest, PublicKey, SecretKey, derive_secret};
use naulon_tick::ChainId;
use zeroize::Zeroizing;

/// How many words there are.
pub const WORD_COUNT: usize = 24;

/// Separates account keys from everything else that is derived from a seed.
const ACCOUNT_DOMAIN: &[u8] = b"naulon/account/1";
/// The domain of the numbers of orders for other clients' tokens.
const TOKEN_ORDER_DOMAIN: &[u8] = b"naulon/token-order/1";

/// Separates the keys that refunds are sealed to.
const REFUND_DOMAIN: &[u8] = b"naulon/refund/1";

/// Separates what a check is made of.
const CHECK_DOMAIN: &[u8] = b"naulon/wallet-check/1";

/// What a check is made of: HKDF-SHA256(seed, "naulon/wallet-check/1" ‖ bank ‖ the chain's id ‖ what for).
pub(crate) struct CheckSecrets {
    /// The end of its ticks.
    pub ticks: Zeroizing<[u8; 32]>,
    pub salt: [u8; 16],
    pub refund: SecretKey,
}

/// A wallet's 24 words (BIP-39, English). They are wiped when dropped and cannot be printed by accident.
pub struct Words(Mnemonic);

/// Why a text is not 24 words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// More or fewer.
    #[error("there are {0} words, not {WORD_COUNT}")]
    Count(usize),
    /// A word that is not on the list, or words whose checksum does not hold.
    #[error("not words of a wallet: check the spelling and the order")]
    Wrong,
}

impl Words {
    /// The words of 32 bytes of fresh entropy.
    pub fn new(entropy: &[u8; 32]) -> Self {
        match Mnemonic::from_entropy_in(Language::English, entropy) {
            Ok(mnemonic) => Words(mnemonic),
            // 32 bytes is one of the lengths that BIP-39 allows.
            Err(never) => unreachable!("32 bytes make 24 words: {never}"),
        }
    }

    /// Reads 24 words, separated by white space.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() != WORD_COUNT {
            return Err(WordsError::Count(words.len()));
        }
        let line = Zeroizing::new(words.join(" ").to_lowercase());
        Mnemonic::parse_in_normalized(Language::English, &line).map(Words).map_err(|_| WordsError::Wrong)
    }

    /// The words in one line, to be written down on paper.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string())
    }

    /// The seed of these words, without a BIP-39 passphrase.
    pub fn seed(&self) -> Seed {
        Seed(Zeroizing::new(self.0.to_seed_normalized("")))
    }
}

/// A wallet's BIP-39 seed. Whoever has it has the money. It is wiped when dropped and cannot be printed.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; SEED_LEN]>);

impl Seed {
    /// The seed with these bytes.
    pub fn from_bytes(bytes: [u8; SEED_LEN]) -> Self {
        Seed(Zeroizing::new(bytes))
    }

    /// The bytes, for the store.
    pub(crate) fn as_bytes(&self) -> &[u8; SEED_LEN] {
        &self.0
    }

    /// The key of the wallet's account at this bank: HKDF-SHA256(seed, "naulon/account/1" ‖ bank). Each bank sees
    /// another key.
    pub fn account(&self, bank: &PublicKey) -> SecretKey {
        let mut key = Zeroizing::new([0; 32]);
        derive_secret(self.0.as_slice(), &[ACCOUNT_DOMAIN, bank.as_bytes()], key.as_mut_slice());
        SecretKey::from_seed(&key)
    }

    /// The number of the order that pays for a token which another client blinds: the same for the same token.
    pub(crate) fn token_order(&self, bank: &PublicKey, brand: &Digest, message: &BlindedMessage) -> Order {
        let mut order = Order::default();
        let labels = [TOKEN_ORDER_DOMAIN, bank.as_bytes(), brand.as_bytes(), message.as_bytes()];
        derive_secret(self.0.as_slice(), &labels, &mut order);
        order
    }

    /// The key that the bank's reply to a refund is sealed to: HKDF-SHA256(seed, "naulon/refund/1" ‖ sale ‖ u32be number).
    pub(crate) fn refund(&self, sale: &Digest, number: u32) -> BoxSecretKey {
        let mut key = Zeroizing::new([0; 32]);
        let labels: [&[u8]; 3] = [REFUND_DOMAIN, sale.as_bytes(), &number.to_be_bytes()];
        derive_secret(self.0.as_slice(), &labels, key.as_mut_slice());
        BoxSecretKey::from_seed(&key)
    }

    /// What the check with this id is made of. The id is fresh, and kept with the check: one derived from a number would be the
    /// same again in a wallet that was restored, whose payee has its ticks already.
    pub(crate) fn check(&self, bank: &PublicKey, id: &ChainId) -> CheckSecrets {
        let derive = |what: &[u8], out: &mut [u8]| {
            derive_secret(self.0.as_slice(), &[CHECK_DOMAIN, bank.as_bytes(), &id.0, what], out);
        };
        let mut salt = [0; 16];
        let (mut ticks, mut refund) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        derive(b"salt", &mut salt);
        derive(b"ticks", ticks.as_mut_slice());
        derive(b"refund", refund.as_mut_slice());
        CheckSecrets { ticks, salt, refund: SecretKey::from_seed(&refund) }
    }

    /// The secrets of the token with this index under a brand.
    pub(crate) fn token(&self, brand: &Digest, index: u32) -> TokenSecrets {
        TokenSecrets::derive(&self.0, brand.as_bytes(), index)
    }

    /// The key that spends the token with this index under a brand of this bank: one of its own, or one that it shares.
    pub(crate) fn spending_key(&self, bank: &PublicKey, brand: &Digest, index: u32, key: Option<u32>) -> SecretKey {
        match key {
            None => self.token(brand, index).secret_key(),
            Some(key) => reusable_key(&self.0, bank, key),
        }
    }

    /// Q and s of a token that shares its key.
    pub(crate) fn reused_key(&self, bank: &PublicKey, brand: &Digest, index: u32, key: u32) -> ReusedKey {
        let q = reusable_key(&self.0, bank, key).public();
        ReusedKey { q, s: serial_number(&self.0, brand.as_bytes(), index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIP-39's own test vector for 32 zero bytes, with the empty passphrase (computed with Python's `hashlib`).
    #[test]
    fn the_words_are_those_of_bip_39() {
        let words = Words::new(&[0; 32]);
        let text = format!("{}art", "abandon ".repeat(23));
        assert_eq!(*words.reveal(), text);
        let seed = words.seed();
        assert_eq!(hex(&seed.as_bytes()[..16]), SEED_HEX);
        assert_eq!(Words::parse(&text.to_uppercase()).expect("24 words").seed().as_bytes(), seed.as_bytes());
    }

    const SEED_HEX: &str = "408b285c123836004f4b8842c89324c1";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_is_not_24_words_is_refused() {
        let right = Words::new(&[7; 32]).reveal();
        assert_eq!(Words::parse("abandon").err(), Some(WordsError::Count(1)));
        assert_eq!(Words::parse(&format!("{} art", *right)).err(), Some(WordsError::Count(25)));
        let misspelt = right.replacen(right.split(' ').next().expect("a word"), "naulon", 1);
        assert_eq!(Words::parse(&misspelt).err(), Some(WordsError::Wrong));
        let checksum = "abandon ".repeat(24);
        assert_eq!(Words::parse(&checksum).err(), Some(WordsError::Wrong));
    }

    #[test]
    fn each_bank_sees_another_account() {
        let seed = Words::new(&[7; 32]).seed();
        let [a, b] = [1, 2].map(|n| seed.account(&PublicKey([n; 32])).public());
        assert_ne!(a, b);
        assert_eq!(a, seed.clone().account(&PublicKey([1; 32])).public());
    }
}
