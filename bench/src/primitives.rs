//! The raw operations: what the machine can do at best, and ours beside it.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::signature as aws;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use naulon_blind::{BlindedMessage, IssuerSecret, KnownBrand, R_LEN, SALT_LEN};
use naulon_exchange::Header;
use naulon_statement::{SecretKey, Signed, Unverified};
use openssl::pkey::{Id, PKey};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{Signer, Verifier};

use crate::cpu;
use crate::figure::{Figure, MICROSECONDS};
use crate::samples::Samples;

/// RSA-2048, one private operation: OpenSSL's own, without padding.
pub const RSA_PRIVATE: &str = "rsa2048.private";
/// RSA-2048, one public operation.
pub const RSA_PUBLIC: &str = "rsa2048.public";
/// The fastest library's verification of an Ed25519 signature by a key that was not seen before.
pub const VERIFY: &str = "ed25519.verify.fastest";
/// The fastest library's Ed25519 signature.
pub const SIGN: &str = "ed25519.sign.fastest";

const VERIFIERS: [&str; 3] = ["ed25519.verify.dalek", "ed25519.verify.openssl", "ed25519.verify.aws-lc"];
const SIGNERS: [&str; 3] = ["ed25519.sign.dalek", "ed25519.sign.openssl", "ed25519.sign.aws-lc"];
/// Ours: a name, and the raw operation that it cannot do without.
const OURS: [(&str, &str); 8] = [
    ("token.blind-sign", RSA_PRIVATE),
    ("token.verify", RSA_PUBLIC),
    ("token.blind", RSA_PRIVATE),
    ("token.finalize", RSA_PUBLIC),
    ("key.verify-strictly", VERIFY),
    ("key.sign", SIGN),
    ("statement.parse-and-verify", VERIFY),
    ("statement.sign", SIGN),
];

/// How long each operation is repeated in a round.
const SPAN: Duration = Duration::from_millis(25);
/// A statement's usual length.
const MESSAGE: [u8; 512] = [0x5a; 512];

type Operation = Box<dyn Fn() -> bool>;

/// All operations, ready to be repeated. Each says whether it did what it should.
pub struct Primitives(Vec<(&'static str, Operation)>);

impl Primitives {
    /// Prepares keys and inputs.
    pub fn new(brand: &KnownBrand, secret: &IssuerSecret, header: &Header) -> Result<Primitives> {
        let mut operations = rsa(secret)?;
        operations.extend(ed25519()?);
        operations.extend(tokens(brand, secret)?);
        operations.extend(statements(header));
        for (name, operation) in &operations {
            ensure!(operation(), "{name} does not work");
        }
        Ok(Primitives(operations))
    }

    /// One sample of each, in microseconds.
    pub fn measure(&self, samples: &mut Samples) {
        for (name, operation) in &self.0 {
            samples.add(*name, time(operation));
        }
        for (fastest, all) in [(VERIFY, VERIFIERS), (SIGN, SIGNERS)] {
            let best = all.iter().map(|name| samples.last(name)).fold(f64::INFINITY, f64::min);
            samples.add(fastest, best);
        }
    }
}

/// The figures of the raw operations, then ours against them.
pub fn figures(samples: &Samples) -> Vec<Figure> {
    let bare = |name: &&'static str| Figure::new(*name, samples.median(name), MICROSECONDS);
    let mut figures: Vec<Figure> = [RSA_PRIVATE, RSA_PUBLIC].iter().map(bare).collect();
    for (fastest, all) in [(VERIFY, VERIFIERS), (SIGN, SIGNERS)] {
        figures.push(bare(&fastest));
        figures.extend(all.iter().map(|name| bare(name).against(fastest, samples.ratio(name, &[fastest]))));
    }
    figures.extend(OURS.iter().map(|(name, raw)| bare(name).against(*raw, samples.ratio(name, &[raw]))));
    figures
}

/// The mean over places of the stack: vector and multi-word code can take twice as long where its stores and its loads
/// happen to lie a multiple of 4 KiB apart, which is chance in one place, and in a server is different in every thread.
fn time(operation: &Operation) -> f64 {
    let begun = cpu::of_this_thread();
    let mut count = 0_u32;
    loop {
        for depth in 0..DEPTHS {
            repeat_at(depth, operation);
            count += REPETITIONS;
        }
        let used = cpu::of_this_thread() - begun;
        if used >= SPAN {
            return used.as_secs_f64() * 1e6 / f64::from(count);
        }
    }
}

/// How many places of the stack, a little more than 256 bytes apart: together more than 4 KiB.
const DEPTHS: usize = 16;
/// How often the operation is repeated in each.
const REPETITIONS: u32 = 4;

#[inline(never)]
fn repeat_at(depth: usize, operation: &Operation) {
    let room = black_box([0_u8; 256]);
    match depth.checked_sub(1) {
        Some(less) => repeat_at(less, operation),
        None => (0..REPETITIONS).for_each(|_| {
            black_box(operation());
        }),
    }
    black_box(&room);
}

fn rsa(secret: &IssuerSecret) -> Result<Vec<(&'static str, Operation)>> {
    let key = PKey::private_key_from_der(&secret.to_der()?)?.rsa()?;
    let public = Rsa::from_public_components(key.n().to_owned()?, key.e().to_owned()?)?;
    let input = [0x3c; 256];
    let private = move || key.private_encrypt(&input, &mut [0; 256], Padding::NONE).is_ok();
    let public = move || public.public_decrypt(&input, &mut [0; 256], Padding::NONE).is_ok();
    Ok(vec![(RSA_PRIVATE, Box::new(private)), (RSA_PUBLIC, Box::new(public))])
}

fn ed25519() -> Result<Vec<(&'static str, Operation)>> {
    let seed = [9; 32];
    let dalek = SigningKey::from_bytes(&seed);
    let (key, signature) = (dalek.verifying_key().to_bytes(), dalek.sign(&MESSAGE).to_bytes());
    let openssl = PKey::private_key_from_raw_bytes(&seed, Id::ED25519)?;
    let aws = aws::Ed25519KeyPair::from_seed_unchecked(&seed).ok().context("a seed is a key")?;

    let by_dalek = move || {
        let verified = VerifyingKey::from_bytes(&key)
            .and_then(|key| key.verify_strict(&MESSAGE, &Signature::from_bytes(&signature)));
        verified.is_ok()
    };
    let by_openssl = move || {
        let verified = PKey::public_key_from_raw_bytes(&key, Id::ED25519).and_then(|key| {
            let mut verifier = Verifier::new_without_digest(&key)?;
            verifier.verify_oneshot(&signature, &MESSAGE)
        });
        verified.unwrap_or(false)
    };
    let by_aws = move || aws::UnparsedPublicKey::new(&aws::ED25519, key).verify(&MESSAGE, &signature).is_ok();
    let dalek_signs = move || dalek.sign(&MESSAGE).to_bytes() == signature;
    let openssl_signs = move || {
        let signed = Signer::new_without_digest(&openssl).and_then(|mut signer| signer.sign_oneshot_to_vec(&MESSAGE));
        signed.is_ok_and(|signed| signed == signature)
    };
    let aws_signs = move || aws.sign(&MESSAGE).as_ref() == signature;
    let operations: [(&str, Operation); 6] = [
        (VERIFIERS[0], Box::new(by_dalek)),
        (VERIFIERS[1], Box::new(by_openssl)),
        (VERIFIERS[2], Box::new(by_aws)),
        (SIGNERS[0], Box::new(dalek_signs)),
        (SIGNERS[1], Box::new(openssl_signs)),
        (SIGNERS[2], Box::new(aws_signs)),
    ];
    Ok(operations.into())
}

fn tokens(brand: &KnownBrand, secret: &IssuerSecret) -> Result<Vec<(&'static str, Operation)>> {
    let input = brand.token_input([7; 32]);
    let (salt, r) = ([1; SALT_LEN], [2; R_LEN]);
    let (blinded, unblinder) = input.blind(brand.issuer_key(), &salt, &r)?;
    let blind_signature = secret.blind_sign(&blinded)?;
    let token = input.finalize(brand.issuer_key(), &blind_signature, &unblinder)?;

    let (signing, blinding, finalizing, verifying) = (secret.clone(), brand.clone(), brand.clone(), brand.clone());
    let sign = move || signing.blind_sign(&BlindedMessage(*blinded.as_bytes())).is_ok();
    let verify = move || verifying.verify(&token).is_ok();
    let blind = move || input.blind(blinding.issuer_key(), &salt, &r).is_ok();
    let finalize = move || input.finalize(finalizing.issuer_key(), &blind_signature, &unblinder).is_ok();
    let operations: [(&str, Operation); 4] = [
        ("token.blind-sign", Box::new(sign)),
        ("token.verify", Box::new(verify)),
        ("token.blind", Box::new(blind)),
        ("token.finalize", Box::new(finalize)),
    ];
    Ok(operations.into())
}

fn statements(header: &Header) -> Vec<(&'static str, Operation)> {
    let key = || SecretKey::from_seed(&[9; 32]);
    let public = key().public();
    let signature = key().sign(&MESSAGE);
    let statement = Signed::sign(&key(), header.clone()).bytes().to_vec();
    let header = header.clone();

    let (signer, stating) = (key(), key());
    let verify = move || public.verify(&MESSAGE, &signature).is_ok();
    let sign = move || signer.sign(&MESSAGE) == signature;
    let parse_and_verify =
        move || Unverified::<Header>::parse(&statement).is_ok_and(|parsed| parsed.verify(&public).is_ok());
    let state = move || !Signed::sign(&stating, header.clone()).bytes().is_empty();
    let operations: [(&str, Operation); 4] = [
        ("key.verify-strictly", Box::new(verify)),
        ("key.sign", Box::new(sign)),
        ("statement.parse-and-verify", Box::new(parse_and_verify)),
        ("statement.sign", Box::new(state)),
    ];
    operations.into()
}
