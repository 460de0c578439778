//! The shop's secrets.

use naulon_exchange::{Order, SaleNumber};
use naulon_statement::{Digest, SecretKey, derive_secret};
use zeroize::Zeroizing;

/// The bytes of a shop's secret: the seed of its key, and the secret of its goods.
pub const SHOP_SECRET_LEN: usize = 64;

/// What a shop signs and encrypts with. Neither is printed.
pub struct ShopKeys {
    /// Signs offers and releases keys; its public half, M, is the shop's name and its account at banks.
    pub merchant: SecretKey,
    /// From it come all file keys and merchandise keys. Who has it has the goods.
    pub goods: Zeroizing<[u8; 32]>,
}

impl ShopKeys {
    /// The one-time key under which a blind log takes the message about this sale (AAT §8.5): nothing has to be stored.
    pub fn index(&self, n: &SaleNumber) -> SecretKey {
        let mut seed = Zeroizing::new([0; 32]);
        derive_secret(self.goods.as_slice(), &[b"naulon/blind-index/1", n], &mut *seed);
        SecretKey::from_seed(&seed)
    }

    /// The order number of a sale's refund: the same every time, so that the bank carries out one exchange for it, and one
    /// that tells the bank nothing about the sale.
    pub fn refund_order(&self, sale: &Digest, number: u32) -> Order {
        let mut order = Order::default();
        derive_secret(
            self.goods.as_slice(),
            &[b"naulon/refund-order/1", sale.as_bytes(), &number.to_be_bytes()],
            &mut order,
        );
        order
    }

    /// The keys of this secret: 32 bytes of seed, 32 bytes for the goods.
    pub fn from_secret(secret: &[u8; SHOP_SECRET_LEN]) -> Self {
        let (mut seed, mut goods) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        seed.copy_from_slice(&secret[..32]);
        goods.copy_from_slice(&secret[32..]);
        ShopKeys { merchant: SecretKey::from_seed(&seed), goods }
    }
}
