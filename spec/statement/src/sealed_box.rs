//! Sealed boxes: bytes that only the holder of one X25519 key can read.
//!
//! HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305. A box is the
//! encapsulated key (32 bytes) with the ciphertext behind it; `info` says what the box is for, `aad` what it belongs to.

use std::convert::Infallible;
use std::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use minicbor::{Decode, Encode};

/// How much longer a box is than what is in it.
pub const BOX_OVERHEAD: usize = 32 + 16;

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;

/// Whom a box is sealed to: an X25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct BoxPublicKey(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

impl BoxPublicKey {
    /// Whether boxes can be sealed to it: a point of small order takes none.
    pub fn takes_boxes(&self) -> bool {
        seal_to(self, b"", b"", b"", &[0; 32]).is_ok()
    }
}

/// It does not print its bytes: they would link whoever seals with whoever opens.
impl fmt::Debug for BoxPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxPublicKey(32 bytes)")
    }
}

/// The key that opens boxes. It is wiped when dropped and cannot be printed.
pub struct BoxSecretKey {
    private: PrivateKey,
    public: BoxPublicKey,
}

/// Why bytes were not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoxError {
    /// The recipient's key is none that a box can be sealed to: a point of small order.
    #[error("nothing can be sealed to that key")]
    Recipient,
    /// The box is another key's, for another purpose, or changed.
    #[error("the sealed box does not open")]
    Closed,
}

impl BoxSecretKey {
    /// The key of a seed, by DeriveKeyPair (RFC 9180 §7.1.3).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(seed);
        BoxSecretKey { private, public: BoxPublicKey(public.to_bytes().into()) }
    }

    /// Whom to seal to.
    pub fn public(&self) -> BoxPublicKey {
        self.public
    }

    /// What is in a box.
    pub fn open(&self, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, BoxError> {
        let (encapsulated, ciphertext) = sealed.split_at_checked(32).ok_or(BoxError::Closed)?;
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated);
        let encapsulated = encapsulated.map_err(|_| BoxError::Closed)?;
        single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &encapsulated,
            info,
            ciphertext,
            aad,
        )
        .map_err(|_| BoxError::Closed)
    }
}

/// Seals bytes to a key. The entropy must be secret and used for this box only; the same entropy gives the same box, so a
/// box that is made again from the same secret is the same bytes.
pub fn seal_to(
    recipient: &BoxPublicKey,
    info: &[u8],
    aad: &[u8],
    plain: &[u8],
    entropy: &[u8; 32],
) -> Result<Vec<u8>, BoxError> {
    let recipient = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&recipient.0).map_err(|_| BoxError::Recipient)?;
    let mode = OpModeS::Base;
    let mut given = Given(entropy);
    let sealed = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &mode, &recipient, info, plain, aad, &mut given,
    );
    let (encapsulated, ciphertext) = sealed.map_err(|_| BoxError::Recipient)?;
    Ok([&encapsulated.to_bytes()[..], &ciphertext].concat())
}

/// Entropy that the caller gave. HPKE draws once, 32 bytes, which it derives the ephemeral key of.
struct Given<'e>(&'e [u8; 32]);

impl TryRng for Given<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.iter_mut().zip(self.0.iter().cycle()).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

impl TryCryptoRng for Given<'_> {}
