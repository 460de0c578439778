//! Blinding, signing, finalizing and verifying as a whole, and what each step refuses.

use naulon_blind::{
    BlindError, BlindSignature, BlindedMessage, FinalizeError, IssuerKey, IssuerSecret, MAX_SECRET_DER_LEN, R_LEN,
    SALT_LEN, SPKI_LEN, SecretKeyError, SignError, Signature, Spki, SpkiError, Unblinder, VerifyError,
};
use openssl::bn::{BigNum, BigNumRef};
use openssl::pkey::PKey;
use openssl::rsa::{Padding, Rsa, RsaPrivateKeyBuilder};
use proptest::prelude::*;

const DER_0: &[u8] = include_bytes!("../../../vectors/brand-keys/test-only-00.pkcs8.der");
const DER_1: &[u8] = include_bytes!("../../../vectors/brand-keys/test-only-01.pkcs8.der");

fn secret() -> IssuerSecret {
    IssuerSecret::from_der(DER_0).expect("a key")
}

/// N of the key, as bytes.
fn modulus(key: &IssuerKey) -> [u8; 256] {
    key.spki().as_bytes()[81..337].try_into().expect("256 bytes")
}

/// r = x, with zeros in front.
fn r_of(x: &[u8]) -> [u8; R_LEN] {
    let mut r = [0; R_LEN];
    r[R_LEN - x.len()..].copy_from_slice(x);
    r
}

fn issue(secret: &IssuerSecret, message: &[u8]) -> Signature {
    let key = secret.public();
    let (blinded, unblinder) = key.blind(message, &[1; SALT_LEN], &[2; R_LEN]).expect("blinds");
    key.finalize(message, &secret.blind_sign(&blinded).expect("signs"), &unblinder).expect("finalizes")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_blinded_and_signed_verifies(
        message in proptest::collection::vec(any::<u8>(), 0..200),
        salt in proptest::array::uniform(any::<u8>()),
        r in proptest::array::uniform(any::<u8>()),
        other_r in proptest::array::uniform(any::<u8>()),
    ) {
        let secret = secret();
        let key = secret.public();
        let (blinded, unblinder) = key.blind(&message, &salt, &r).expect("blinds");
        let answer = secret.blind_sign(&blinded).expect("signs");
        prop_assert_eq!(secret.blind_sign(&blinded), Ok(answer), "signing is deterministic");
        let signature = key.finalize(&message, &answer, &unblinder).expect("finalizes");
        prop_assert_eq!(key.verify(&message, &signature), Ok(()));
        let mut other = message.clone();
        other.push(0);
        prop_assert_eq!(key.verify(&other, &signature), Err(VerifyError::WrongSignature));

        // The signature does not depend on the blinding factor, so it cannot tell which request it came from.
        let (blinded_otherwise, unblinder) = key.blind(&message, &salt, &other_r).expect("blinds");
        prop_assert_ne!(blinded_otherwise, blinded);
        let answer = secret.blind_sign(&blinded_otherwise).expect("signs");
        prop_assert_eq!(key.finalize(&message, &answer, &unblinder), Ok(signature));
    }

    #[test]
    fn reading_a_key_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert_eq!(IssuerKey::from_spki(&bytes), Err(SpkiError::Encoding));
        prop_assert!(IssuerSecret::from_der(&bytes).is_err());
    }
}

#[test]
fn a_key_of_another_brand_refuses() {
    let other = IssuerSecret::from_der(DER_1).expect("a key");
    let signature = issue(&secret(), b"message");
    assert_eq!(other.public().verify(b"message", &signature), Err(VerifyError::WrongSignature));

    let (blinded, unblinder) = secret().public().blind(b"message", &[1; SALT_LEN], &[2; R_LEN]).expect("blinds");
    // The two moduli differ, so the number may be too large for the other key; then that is what it says.
    if let Ok(answer) = other.blind_sign(&blinded) {
        assert_eq!(secret().public().finalize(b"message", &answer, &unblinder), Err(FinalizeError::WrongSignature));
    }
}

#[test]
fn the_answer_to_another_request_refuses() {
    let secret = secret();
    let (_, unblinder) = secret.public().blind(b"message", &[1; SALT_LEN], &[2; R_LEN]).expect("blinds");
    let (other, _) = secret.public().blind(b"message", &[1; SALT_LEN], &[3; R_LEN]).expect("blinds");
    let answer = secret.blind_sign(&other).expect("signs");
    assert_eq!(secret.public().finalize(b"message", &answer, &unblinder), Err(FinalizeError::WrongSignature));
}

#[test]
fn numbers_not_below_n_are_refused() {
    let secret = secret();
    let n = modulus(secret.public());
    let mut below = n;
    below[255] -= 1;
    assert!(secret.blind_sign(&BlindedMessage(below)).is_ok());
    for (name, number) in [("N", n), ("2^2048 - 1", [0xff; 256])] {
        assert_eq!(secret.blind_sign(&BlindedMessage(number)), Err(SignError::OutOfRange), "{name}");
        assert_eq!(secret.public().verify(b"m", &Signature(number)), Err(VerifyError::WrongSignature), "{name}");
        let (_, unblinder) = secret.public().blind(b"m", &[1; SALT_LEN], &[2; R_LEN]).expect("blinds");
        let refused = secret.public().finalize(b"m", &BlindSignature(number), &unblinder);
        assert_eq!(refused, Err(FinalizeError::WrongSignature), "{name}");
    }
}

/// s and s + N are the same modulo N. Only s is a signature: a second form would be a second, unspent token.
#[test]
fn a_signature_has_one_form() {
    let secret = secret();
    let n = BigNum::from_slice(&modulus(secret.public())).expect("a number");
    let shifted = (0_u32..).find_map(|message| {
        let message = message.to_be_bytes();
        let signature = BigNum::from_slice(&issue(&secret, &message).0).expect("a number");
        let sum = &signature + &n;
        Signature::try_from(&sum.to_vec()[..]).ok().map(|shifted| (message, shifted))
    });
    let (message, shifted) = shifted.expect("one in a few sums has 2,048 bits");
    assert_eq!(secret.public().verify(&message, &shifted), Err(VerifyError::WrongSignature));
}

/// The same holds for the bank's answers.
#[test]
fn a_blind_signature_has_one_form() {
    let secret = secret();
    let n = BigNum::from_slice(&modulus(secret.public())).expect("a number");
    let shifted = (0_u8..=255).find_map(|r| {
        let (blinded, unblinder) = secret.public().blind(b"message", &[1; SALT_LEN], &[r; R_LEN]).ok()?;
        let answer = BigNum::from_slice(&secret.blind_sign(&blinded).expect("signs").0).expect("a number");
        let sum = &answer + &n;
        BlindSignature::try_from(&sum.to_vec()[..]).ok().map(|shifted| (unblinder, shifted))
    });
    let (unblinder, shifted) = shifted.expect("one in a few sums has 2,048 bits");
    let refused = secret.public().finalize(b"message", &shifted, &unblinder);
    assert_eq!(refused, Err(FinalizeError::WrongSignature));
}

#[test]
fn a_factor_that_is_not_invertible_is_refused() {
    let key = secret();
    let rsa = Rsa::private_key_from_der(DER_0).or_else(|_| PKey::private_key_from_der(DER_0)?.rsa()).expect("a key");
    let p = rsa.p().expect("a factor").to_vec();
    for (name, r) in [("zero", [0; R_LEN]), ("N", r_of(&modulus(key.public()))), ("p", r_of(&p))] {
        let refused = key.public().blind(b"message", &[1; SALT_LEN], &r).map(|_| ()).err();
        assert_eq!(refused, Some(BlindError::NotInvertible), "{name}");
    }
}

#[test]
fn a_public_key_has_one_encoding() {
    let spki = *secret().public().spki();
    for length in 0..SPKI_LEN {
        assert_eq!(IssuerKey::from_spki(&spki.0[..length]), Err(SpkiError::Encoding), "truncated to {length}");
    }
    let longer = [&spki.0[..], &[0]].concat();
    assert_eq!(IssuerKey::from_spki(&longer), Err(SpkiError::Encoding));
    for position in (0..81).chain(337..SPKI_LEN) {
        let Spki(mut other) = spki;
        other[position] ^= 1;
        assert_eq!(IssuerKey::from_spki(&other), Err(SpkiError::Encoding), "byte {position}");
    }
    let Spki(mut short) = spki;
    short[81] &= 0x7f;
    assert_eq!(IssuerKey::from_spki(&short), Err(SpkiError::Modulus));
    let Spki(mut even) = spki;
    even[336] &= 0xfe;
    assert_eq!(IssuerKey::from_spki(&even), Err(SpkiError::Modulus));
}

#[test]
fn a_private_key_survives_its_encodings() {
    let secret = secret();
    let pkcs8 = secret.to_der().expect("encodes");
    assert_eq!(&pkcs8[..], DER_0);
    let pkcs1 = PKey::private_key_from_der(DER_0).and_then(|key| key.rsa()?.private_key_to_der()).expect("PKCS#1");
    assert_eq!(IssuerSecret::from_der(&pkcs1).expect("reads").public(), secret.public());
}

#[test]
fn private_keys_of_the_wrong_kind_are_refused() {
    let refused = |rsa: Rsa<openssl::pkey::Private>| {
        let der = rsa.private_key_to_der().expect("encodes");
        IssuerSecret::from_der(&der).map(|_| ()).err()
    };
    assert_eq!(refused(Rsa::generate(1_024).expect("a key")), Some(SecretKeyError::Parameters));
    let three = BigNum::from_u32(3).expect("a number");
    assert_eq!(refused(Rsa::generate_with_e(2_048, &three).expect("a key")), Some(SecretKeyError::Parameters));

    // The CRT values of another key, and none.
    let key = |der| PKey::private_key_from_der(der).and_then(|key| key.rsa()).expect("a key");
    let (a, b) = (key(DER_0), key(DER_1));
    let own = |number: &BigNumRef| number.to_owned().expect("a number");
    let with_dmp1 = |dmp1: BigNum| {
        RsaPrivateKeyBuilder::new(own(a.n()), own(a.e()), own(a.d()))
            .and_then(|key| key.set_factors(own(a.p().expect("p")), own(a.q().expect("q"))))
            .and_then(|key| key.set_crt_params(dmp1, own(a.dmq1().expect("dq")), own(a.iqmp().expect("qi"))))
            .expect("builds")
            .build()
    };
    assert_eq!(refused(with_dmp1(own(a.dmp1().expect("dp")))), None);
    assert_eq!(refused(with_dmp1(own(b.dmp1().expect("dp")))), Some(SecretKeyError::Inconsistent));
    assert_eq!(refused(with_dmp1(BigNum::new().expect("zero"))), Some(SecretKeyError::Inconsistent));

    let mut long = DER_0.to_vec();
    long.resize(MAX_SECRET_DER_LEN + 1, 0);
    assert_eq!(IssuerSecret::from_der(&long).map(|_| ()).err(), Some(SecretKeyError::Encoding));
}

/// A fault in one CRT half would give the key away. OpenSSL finds it and signs without CRT, so the signature is right.
#[test]
fn a_faulty_half_does_not_leave_the_library() {
    let key = |der| PKey::private_key_from_der(der).and_then(|key| key.rsa()).expect("a key");
    let (a, b) = (key(DER_0), key(DER_1));
    let own = |number: &BigNumRef| number.to_owned().expect("a number");
    let faulty = RsaPrivateKeyBuilder::new(own(a.n()), own(a.e()), own(a.d()))
        .and_then(|key| key.set_factors(own(a.p().expect("p")), own(a.q().expect("q"))))
        .and_then(|key| {
            key.set_crt_params(own(b.dmp1().expect("dp")), own(a.dmq1().expect("dq")), own(a.iqmp().expect("qi")))
        })
        .expect("builds")
        .build();
    for first in 1..=20 {
        let mut message = [first; 256];
        message[0] = 0;
        let sign = |key: &Rsa<openssl::pkey::Private>| {
            let mut signature = [0; 256];
            key.private_encrypt(&message, &mut signature, Padding::NONE).expect("signs");
            signature
        };
        let signature = sign(&faulty);
        assert_eq!(signature, sign(&a));
        let blinded = BlindedMessage(message);
        assert_eq!(secret().blind_sign(&blinded).expect("signs").0, signature);
        assert!(secret().public().check_blind_signature(&blinded, signature).is_ok());
    }
}

#[test]
fn generated_keys_work() {
    let secret = IssuerSecret::generate_with_openssl_randomness().expect("generates");
    let again = IssuerSecret::from_der(&secret.to_der().expect("encodes")).expect("reads");
    let signature = issue(&secret, b"message");
    assert_eq!(again.public().verify(b"message", &signature), Ok(()));
}

#[test]
fn keys_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<IssuerSecret>();
    crosses::<IssuerKey>();
    crosses::<Unblinder>();
}

/// One key serves many threads at once.
#[test]
fn a_private_key_is_shared_by_threads() {
    let secret = secret();
    let expected = issue(&secret, b"message");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let shared = &secret;
            scope.spawn(move || (0..20).for_each(|_| assert_eq!(issue(&shared.clone(), b"message"), expected)));
        }
    });
}

#[test]
fn numbers_are_cbor_byte_strings_of_their_length() {
    let signature = issue(&secret(), b"message");
    let bytes = minicbor::to_vec(signature).expect("encodes");
    assert_eq!(bytes[..3], [0x59, 0x01, 0x00]);
    assert_eq!(minicbor::decode::<Signature>(&bytes).expect("decodes"), signature);
    for length in [0, 255, 257] {
        let other = minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![0; length])).expect("encodes");
        assert!(minicbor::decode::<BlindedMessage>(&other).is_err(), "{length}");
    }
}

#[test]
fn nothing_that_links_is_printed() {
    assert_eq!(format!("{:?}", issue(&secret(), b"message")), "Signature(256 bytes)");
}
