//! The bank part: the one narrow door to the keys that sign a purse's checks.

use std::collections::BTreeMap;

use naulon_blind::{BlindSignature, BlindedMessage, IssuerSecret, SignError};
use naulon_statement::Digest;

/// Signs blind with a brand's key. In a device it is the part that its holder cannot open: a PKCS#11 token, a smart card.
pub trait PurseKeys: Send {
    /// The blind signature of the brand's key over the message. The same message always gets the same answer, for a purse that
    /// was killed asks again. A wrong answer costs the holder a check, so implementations check it by the public operation.
    fn blind_sign(&self, brand: &Digest, message: &BlindedMessage) -> Result<BlindSignature, KeyError>;

    /// Whether the brand's key is at hand.
    fn holds(&self, brand: &Digest) -> bool;
}

/// A message that was not signed. What it was to cost is taken; asking again later gets the same check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The brand's key is not in this purse.
    #[error("this purse has no key of that brand")]
    Missing,
    /// The device does not answer.
    #[error("the device that has the keys does not answer")]
    Unreachable,
    /// The private operation failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Keys in this process's memory. OpenSSL wipes them with the ring.
#[derive(Default)]
pub struct KeyRing(BTreeMap<Digest, IssuerSecret>);

impl KeyRing {
    /// A ring of these keys.
    pub fn new(secrets: impl IntoIterator<Item = IssuerSecret>) -> Self {
        let by_brand = |secret: IssuerSecret| (Digest(*secret.public().key_id()), secret);
        KeyRing(secrets.into_iter().map(by_brand).collect())
    }
}

impl PurseKeys for KeyRing {
    fn blind_sign(&self, brand: &Digest, message: &BlindedMessage) -> Result<BlindSignature, KeyError> {
        Ok(self.0.get(brand).ok_or(KeyError::Missing)?.blind_sign(message)?)
    }

    fn holds(&self, brand: &Digest) -> bool {
        self.0.contains_key(brand)
    }
}
