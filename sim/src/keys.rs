//! The fixed keys of the simulated world. They are test keys: everybody can read them in `vectors/brand-keys`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use naulon_bank::{Signatory, SignatoryError};
use naulon_blind::{
    BlindError, BlindSignature, BlindedMessage, Brand, IssuerKey, IssuerSecret, KnownBrand, Method, Purpose,
    TokenInput, TokenSecrets, Unblinder,
};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, Duration, SecretKey, Timestamp};
use naulon_tlog::CheckpointSigner;
use naulon_wallet::{Blinding, OwnBlinding};

use crate::party::BankParty;

/// When every simulated world begins.
pub const BEGINNING: Timestamp = Timestamp(1_800_000_000_000);

/// What a bank's tokens are worth, in cents.
const DENOMINATIONS: [u64; 8] = [10, 20, 50, 100, 200, 500, 1_000, 2_000];

/// The RSA keys of the first bank's brands, then those of the second's.
static SECRETS: LazyLock<Vec<IssuerSecret>> = LazyLock::new(|| {
    let keys: [&[u8]; 16] = [
        include_bytes!("../../vectors/brand-keys/test-only-00.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-01.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-02.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-03.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-04.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-05.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-06.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-07.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-08.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-09.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-10.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-11.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-12.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-13.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-14.pkcs8.der"),
        include_bytes!("../../vectors/brand-keys/test-only-15.pkcs8.der"),
    ];
    keys.iter().filter_map(|key| IssuerSecret::from_der(key).ok()).collect()
});

/// The secret key of a named party.
pub fn secret_key(name: &str) -> SecretKey {
    SecretKey::from_seed(&Digest::of(&[b"naulon/sim/", name.as_bytes()]).0)
}

/// What signs the checkpoints of this bank's register.
pub fn register_signer(bank: usize) -> CheckpointSigner {
    let seed = Digest::of(&[b"naulon/sim/register", &[bank as u8]]).0;
    match CheckpointSigner::new(&format!("bank{bank}.sim/register"), &seed) {
        Ok(signer) => signer,
        Err(never) => unreachable!("the register has a name: {never}"),
    }
}

/// The banks' currency.
pub fn currency() -> Currency {
    match "EUR".parse() {
        Ok(currency) => currency,
        Err(never) => unreachable!("EUR names a currency: {never}"),
    }
}

/// A bank's brands: one period, which covers every run. The two banks call theirs by the same names: currency, values and
/// dates are the same, and only bank and key tell them apart.
pub fn brands(bank: usize) -> BTreeMap<Digest, Arc<KnownBrand>> {
    static BRANDS: LazyLock<[BTreeMap<Digest, Arc<KnownBrand>>; 2]> = LazyLock::new(|| [0, 1].map(make_brands));
    BRANDS[bank.min(1)].clone()
}

fn make_brands(bank: usize) -> BTreeMap<Digest, Arc<KnownBrand>> {
    let brand = |(secret, cents): (&IssuerSecret, u64)| {
        let known = KnownBrand::new(Brand {
            bank: BankParty::key(bank),
            currency: currency(),
            denomination: Amount::from_micros(cents * 10_000),
            method: Method::BlindRsa2048,
            purpose: Purpose::Money,
            issue_from: BEGINNING.minus(Duration::days(1)),
            withdraw_until: BEGINNING.plus(Duration::days(30)),
            spend_until: BEGINNING.plus(Duration::days(60)),
            redeem_until: BEGINNING.plus(Duration::days(90)),
            key: *secret.public().spki(),
        })
        .ok()?;
        Some((Digest(*known.key_id()), Arc::new(known)))
    };
    SECRETS.iter().skip(bank * DENOMINATIONS.len()).zip(DENOMINATIONS).filter_map(brand).collect()
}

/// Signs like a bank's key ring, and remembers what it has signed: the runs repeat the same withdrawals, and a blind
/// signature is a function of key and message.
pub struct RememberingSignatory {
    keys: BTreeMap<Digest, IssuerSecret>,
    signed: Mutex<BTreeMap<(Digest, BlindedMessage), BlindSignature>>,
}

/// The most signatures that are remembered; beyond it they are made anew.
const MAX_REMEMBERED: usize = 200_000;

/// The one signatory of all banks and runs of this process.
pub fn signatory() -> Arc<RememberingSignatory> {
    static SIGNATORY: LazyLock<Arc<RememberingSignatory>> = LazyLock::new(|| {
        let keys = SECRETS.iter().map(|secret| (Digest(*secret.public().key_id()), secret.clone())).collect();
        Arc::new(RememberingSignatory { keys, signed: Mutex::default() })
    });
    SIGNATORY.clone()
}

impl Signatory for RememberingSignatory {
    fn blind_sign(&self, brand: &Digest, message: &BlindedMessage) -> Result<BlindSignature, SignatoryError> {
        let known = || self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signature) = known().get(&(*brand, *message)) {
            return Ok(*signature);
        }
        let secret = self.keys.get(brand).ok_or(SignatoryError::Missing)?;
        let signature = secret.blind_sign(message)?;
        let mut signed = known();
        if signed.len() < MAX_REMEMBERED {
            signed.insert((*brand, *message), signature);
        }
        Ok(signature)
    }
}

/// What is blinded: the token's own secret, from which salt and r come too, and its input.
type BlindName = ([u8; 32], TokenInput);

/// Blinds like a wallet, and remembers what it has blinded: the runs play the same seeds.
#[derive(Default)]
pub struct RememberingBlinding {
    known: Mutex<BTreeMap<BlindName, (BlindedMessage, Unblinder)>>,
}

/// The most blinded messages that are remembered; beyond it they are made anew.
const MAX_BLINDED: usize = 100_000;

/// The one blinding of all wallets of all runs of this process.
pub fn blinding() -> Arc<RememberingBlinding> {
    static BLINDING: LazyLock<Arc<RememberingBlinding>> = LazyLock::new(Arc::default);
    BLINDING.clone()
}

impl Blinding for RememberingBlinding {
    fn blind(
        &self,
        key: &IssuerKey,
        input: &TokenInput,
        secrets: &TokenSecrets,
    ) -> Result<(BlindedMessage, Unblinder), BlindError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Salt and r belong to Q also where a token's nonce is another one, for a key that is shared.
        let name = (*secrets.q(), *input);
        if let Some((message, unblinder)) = known().get(&name) {
            return Ok((*message, unblinder.clone()));
        }
        let (message, unblinder) = OwnBlinding.blind(key, input, secrets)?;
        let mut known = known();
        if known.len() < MAX_BLINDED {
            known.insert(name, (message, unblinder.clone()));
        }
        Ok((message, unblinder))
    }
}
