//! The keys of the games' town. They are test keys: everybody can read them in `vectors/brand-keys`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use naulon_bank::{Signatory, SignatoryError};
use naulon_blind::{
    BlindSignature, BlindedMessage, Brand, IssuerKey, IssuerSecret, KnownBrand, Method, Purpose, SEED_LEN,
};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, Duration, PublicKey, SecretKey, Timestamp};
use naulon_tlog::{CheckpointSigner, WitnessSigner};

/// When every game begins: midnight.
pub const BEGINNING: Timestamp = Timestamp(1_800_057_600_000);
/// A day in milliseconds.
pub const DAY: u64 = 86_400_000;
/// What the bank's tokens are worth, in cents. The keys behind them are nobody's: a bank that cheats may use them.
pub const DENOMINATIONS: [u64; 6] = [10, 20, 50, 100, 200, 500];

static SECRETS: LazyLock<Vec<IssuerSecret>> = LazyLock::new(|| {
    let keys: [&[u8]; 16] = [
        include_bytes!("../../../vectors/brand-keys/test-only-00.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-01.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-02.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-03.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-04.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-05.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-06.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-07.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-08.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-09.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-10.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-11.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-12.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-13.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-14.pkcs8.der"),
        include_bytes!("../../../vectors/brand-keys/test-only-15.pkcs8.der"),
    ];
    keys.iter().filter_map(|key| IssuerSecret::from_der(key).ok()).collect()
});

/// The secret key of a named party.
pub fn secret_key(name: &str) -> SecretKey {
    SecretKey::from_seed(&Digest::of(&[b"naulon/game/", name.as_bytes()]).0)
}

/// What signs the checkpoints of the bank's register.
pub fn register_signer() -> CheckpointSigner {
    match CheckpointSigner::new("bank.game/register", &Digest::of(&[b"naulon/game/register"]).0) {
        Ok(signer) => signer,
        Err(never) => unreachable!("the register has a name: {never}"),
    }
}

/// A witness.
pub fn witness(number: u8) -> WitnessSigner {
    match WitnessSigner::new(&format!("witness-{number}.game"), &Digest::of(&[b"naulon/game/witness", &[number]]).0) {
        Ok(signer) => signer,
        Err(never) => unreachable!("the witness has a name: {never}"),
    }
}

/// The bank's currency.
pub fn currency() -> Currency {
    match "EUR".parse() {
        Ok(currency) => currency,
        Err(never) => unreachable!("EUR names a currency: {never}"),
    }
}

/// This many cents.
pub fn cents(cents: u64) -> Amount {
    Amount::from_micros(cents * 10_000)
}

/// The wallet's seed of a person who leaves its choice to her bank: anybody can compute it.
pub fn customer_seed(trial: u64, person: usize) -> [u8; SEED_LEN] {
    let mut seed = [0; SEED_LEN];
    let number = (person as u64).to_be_bytes();
    seed[..32].copy_from_slice(&Digest::of(&[b"naulon/game/customer", &trial.to_be_bytes(), &number]).0);
    seed
}

fn brand(bank: PublicKey, secret: &IssuerSecret, worth: u64) -> Brand {
    Brand {
        bank,
        currency: currency(),
        denomination: cents(worth),
        method: Method::BlindRsa2048,
        purpose: Purpose::Money,
        issue_from: BEGINNING.minus(Duration::days(1)),
        withdraw_until: BEGINNING.plus(Duration::days(30)),
        spend_until: BEGINNING.plus(Duration::days(60)),
        redeem_until: BEGINNING.plus(Duration::days(90)),
        key: *secret.public().spki(),
    }
}

/// The bank's brands: one period, which covers every game.
pub fn brands(bank: PublicKey) -> BTreeMap<Digest, Arc<KnownBrand>> {
    let brands = SECRETS.iter().zip(DENOMINATIONS).map(|(secret, worth)| brand(bank, secret, worth));
    brands.filter_map(|brand| known(&brand)).collect()
}

/// The brand of 1 EUR under a key of its own, for one person alone.
pub fn marked_brand(bank: PublicKey, person: usize) -> Option<Brand> {
    let secret = SECRETS.get(DENOMINATIONS.len() + person)?;
    // The bank's own books have one brand for each place, so it begins at an instant of its own.
    let issue_from = BEGINNING.minus(Duration(86_400_001 + person as u64));
    Some(Brand { issue_from, ..brand(bank, secret, 100) })
}

/// A brand, ready for use.
pub fn known(brand: &Brand) -> Option<(Digest, Arc<KnownBrand>)> {
    let known = KnownBrand::new(brand.clone()).ok()?;
    Some((Digest(*known.key_id()), Arc::new(known)))
}

/// The public key of a brand, by its token key id.
pub fn issuer_key(brand: &Digest) -> Option<&'static IssuerKey> {
    SECRETS.iter().map(IssuerSecret::public).find(|key| key.key_id() == &brand.0)
}

/// All keys at the bank's hand.
pub struct Ring;

impl Signatory for Ring {
    fn blind_sign(&self, brand: &Digest, message: &BlindedMessage) -> Result<BlindSignature, SignatoryError> {
        let secret = SECRETS.iter().find(|secret| secret.public().key_id() == &brand.0);
        Ok(secret.ok_or(SignatoryError::Missing)?.blind_sign(message)?)
    }
}
