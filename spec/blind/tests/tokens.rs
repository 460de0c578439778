//! Brands, their tokens, and what a wallet derives.

use naulon_blind::{
    Brand, BrandError, ChallengeError, IssuerSecret, KnownBrand, Method, Purpose, ReusedKey, Spki, SpkiError,
    TOKEN_LEN, TOKEN_REQUEST_LEN, Token, TokenChallenge, TokenError, TokenRequest, TokenRequestError, TokenSecrets,
    TokenVerifyError, reusable_key, serial_number,
};
use naulon_money::Amount;
use naulon_statement::{PublicKey, Timestamp, cbor};
use proptest::prelude::*;

const DER_0: &[u8] = include_bytes!("../../../vectors/brand-keys/test-only-00.pkcs8.der");
const DER_1: &[u8] = include_bytes!("../../../vectors/brand-keys/test-only-01.pkcs8.der");

fn brand(der: &[u8]) -> (IssuerSecret, Brand) {
    let secret = IssuerSecret::from_der(der).expect("a key");
    let brand = Brand {
        bank: PublicKey([7; 32]),
        currency: "EUR".parse().expect("a currency"),
        denomination: Amount::from_micros(5_000_000),
        method: Method::BlindRsa2048,
        purpose: Purpose::Money,
        issue_from: Timestamp(10),
        withdraw_until: Timestamp(20),
        spend_until: Timestamp(30),
        redeem_until: Timestamp(40),
        key: *secret.public().spki(),
    };
    (secret, brand)
}

fn issue(secret: &IssuerSecret, brand: &KnownBrand, index: u32) -> Token {
    let secrets = TokenSecrets::derive(&[9; 64], brand.key_id(), index);
    let input = brand.token_input(secrets.secret_key().public().0);
    let (blinded, unblinder) = input.blind(brand.issuer_key(), secrets.salt(), secrets.r()).expect("blinds");
    let request = TokenRequest::parse(&TokenRequest::new(brand.issuer_key(), blinded).to_bytes()).expect("parses");
    let answer = secret.blind_sign(&request.blinded).expect("signs");
    input.finalize(brand.issuer_key(), &answer, &unblinder).expect("holds")
}

fn vectors(text: &str) -> (serde_json::Value, Vec<serde_json::Value>) {
    let file: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let list = file["vectors"].as_array().expect("a list").clone();
    (file, list)
}

fn unhex<const N: usize>(value: &serde_json::Value) -> [u8; N] {
    hex::decode(value.as_str().expect("a string")).expect("hexadecimal").try_into().expect("of this length")
}

#[test]
fn brands_are_encoded_as_in_the_vectors() {
    let (_, list) = vectors(include_str!("../../../vectors/blind/brand.json"));
    for vector in list {
        let number = |name: &str| vector[name].as_u64().expect("a number");
        let brand = Brand {
            bank: PublicKey(unhex(&vector["bank"])),
            currency: vector["currency"].as_str().expect("a string").parse().expect("a currency"),
            denomination: Amount::from_micros(number("denomination_micros")),
            method: Method::BlindRsa2048,
            purpose: Purpose::Money,
            issue_from: Timestamp(number("issue_from")),
            withdraw_until: Timestamp(number("withdraw_until")),
            spend_until: Timestamp(number("spend_until")),
            redeem_until: Timestamp(number("redeem_until")),
            key: Spki(unhex(&vector["key"])),
        };
        assert_eq!(hex::encode(cbor::to_vec(&brand)), vector["cbor"]);
        assert_eq!(cbor::from_slice(&cbor::to_vec(&brand)), Ok(brand.clone()));
        assert_eq!(hex::encode(brand.key_id()), vector["key_id"]);
        assert_eq!(hex::encode(brand.redemption_context()), vector["redemption_context"]);
        assert_eq!(hex::encode(brand.challenge().to_bytes()), vector["challenge"]);
        assert_eq!(hex::encode(brand.challenge_digest()), vector["challenge_digest"]);
        let known = KnownBrand::new(brand).expect("checks");
        assert_eq!(hex::encode(known.key_id()), vector["key_id"]);
        assert_eq!(hex::encode(known.challenge_digest()), vector["challenge_digest"]);
    }
}

#[test]
fn secrets_are_derived_as_in_the_vectors() {
    let (file, list) = vectors(include_str!("../../../vectors/blind/wallet-derivation.json"));
    let seed = unhex(&file["seed"]);
    assert_eq!(list.len(), 4);
    for vector in list {
        let index = vector["index"].as_u64().and_then(|index| u32::try_from(index).ok()).expect("an index");
        let secrets = TokenSecrets::derive(&seed, &unhex(&vector["token_key_id"]), index);
        assert_eq!(hex::encode(secrets.q()), vector["q"]);
        assert_eq!(hex::encode(secrets.secret_key().public().0), vector["Q"]);
        assert_eq!(hex::encode(secrets.salt()), vector["salt"]);
        assert_eq!(hex::encode(secrets.r()), vector["r"]);
    }
}

#[test]
fn reusable_keys_are_derived_as_in_the_vectors() {
    let (file, list) = vectors(include_str!("../../../vectors/blind/reusable-keys.json"));
    let seed = unhex(&file["seed"]);
    assert_eq!(list.len(), 4);
    for vector in list {
        let number = |name: &str| vector[name].as_u64().and_then(|n| u32::try_from(n).ok()).expect("a number");
        let bank = PublicKey(unhex(&vector["bank"]));
        let q = reusable_key(&seed, &bank, number("key_index")).public();
        let s = serial_number(&seed, &unhex(&vector["token_key_id"]), number("index"));
        assert_eq!((hex::encode(q.0), hex::encode(s)), (text(&vector["Q"]), text(&vector["s"])));
        assert_eq!(hex::encode(ReusedKey { q, s }.nonce()), vector["nonce"]);
    }
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[test]
fn a_token_verifies_for_its_brand_only() {
    let (secret, mine) = brand(DER_0);
    let known = KnownBrand::new(mine.clone()).expect("checks");
    let token = issue(&secret, &known, 0);
    assert_eq!(known.verify(&token), Ok(()));
    assert_eq!(token.key_id(), &mine.key_id());
    assert_eq!(token.challenge_digest(), &mine.challenge_digest());

    let (_, other) = brand(DER_1);
    let other = KnownBrand::new(other).expect("checks");
    assert_eq!(other.verify(&token), Err(TokenVerifyError::WrongKey));

    // The same key under a brand that says something else: the token answers another challenge.
    let dearer = Brand { denomination: Amount::from_micros(500_000_000), ..mine };
    let dearer = KnownBrand::new(dearer).expect("checks");
    assert_eq!(dearer.verify(&token), Err(TokenVerifyError::WrongChallenge));
}

#[test]
fn every_flipped_bit_of_a_token_is_refused() {
    let (secret, mine) = brand(DER_0);
    let known = KnownBrand::new(mine).expect("checks");
    let bytes = issue(&secret, &known, 0).to_bytes();
    for bit in 0..8 * TOKEN_LEN {
        let mut other = bytes;
        other[bit / 8] ^= 1 << (bit % 8);
        let refused = match Token::parse(&other) {
            Err(TokenError::Type(_)) => bit < 16,
            Err(TokenError::Length) => false,
            Ok(token) => match known.verify(&token) {
                Err(TokenVerifyError::WrongSignature) => (16..272).contains(&bit) || bit >= 784,
                Err(TokenVerifyError::WrongChallenge) => (272..528).contains(&bit),
                Err(TokenVerifyError::WrongKey) => (528..784).contains(&bit),
                Err(TokenVerifyError::Library) | Ok(()) => false,
            },
        };
        assert!(refused, "bit {bit}");
    }
}

#[test]
fn truncated_and_oversized_are_refused() {
    let (secret, mine) = brand(DER_0);
    let known = KnownBrand::new(mine).expect("checks");
    let token = issue(&secret, &known, 0);
    let long = [&token.to_bytes()[..], &[0; 2]].concat();
    for length in (0..TOKEN_LEN).chain([TOKEN_LEN + 1, TOKEN_LEN + 2]) {
        assert_eq!(Token::parse(&long[..length]), Err(TokenError::Length), "{length}");
    }
    let request = [&[0, 2][..], &[0; 300]].concat();
    for length in (0..TOKEN_REQUEST_LEN).chain(TOKEN_REQUEST_LEN + 1..302) {
        assert_eq!(TokenRequest::parse(&request[..length]), Err(TokenRequestError::Length), "{length}");
    }
    let mut other = request[..TOKEN_REQUEST_LEN].to_vec();
    other[1] = 1;
    assert_eq!(TokenRequest::parse(&other), Err(TokenRequestError::Type(1)));
}

#[test]
fn a_token_is_a_cbor_byte_string() {
    let (secret, mine) = brand(DER_0);
    let token = issue(&secret, &KnownBrand::new(mine).expect("checks"), 0);
    let bytes = cbor::to_vec(&token);
    assert_eq!(bytes[..3], [0x59, 0x01, 0x62]);
    assert_eq!(cbor::from_slice(&bytes), Ok(token));
    assert!(cbor::from_slice::<Token>(&[0x41, 0]).is_err());
    assert!(cbor::from_slice::<Token>(&bytes[..300]).is_err());
    assert_eq!(format!("{token:?} {:?}", token.input()), "Token(354 bytes) TokenInput(98 bytes)");
}

#[test]
fn a_brand_that_makes_no_sense_is_refused() {
    let (_, good) = brand(DER_0);
    assert_eq!(good.check(), Ok(()));
    let cases = [
        (Brand { withdraw_until: Timestamp(10), ..good.clone() }, BrandError::Dates),
        (Brand { spend_until: Timestamp(19), ..good.clone() }, BrandError::Dates),
        (Brand { redeem_until: Timestamp(29), ..good.clone() }, BrandError::Dates),
        (Brand { redeem_until: Timestamp(u64::MAX), ..good.clone() }, BrandError::Dates),
        (Brand { denomination: Amount::ZERO, ..good.clone() }, BrandError::Denomination),
        (Brand { denomination: Amount::from_micros(u64::MAX), ..good.clone() }, BrandError::Denomination),
        (Brand { key: Spki([0; 342]), ..good.clone() }, BrandError::Key(SpkiError::Encoding)),
    ];
    for (bad, error) in cases {
        assert_eq!(bad.check(), Err(error));
        assert_eq!(KnownBrand::new(bad).map(|_| ()).err(), Some(error));
    }
    let shortest = Brand { spend_until: Timestamp(20), redeem_until: Timestamp(20), ..good };
    assert_eq!(shortest.check(), Ok(()));
}

#[test]
fn windows_are_half_open() {
    let (_, brand) = brand(DER_0);
    let known = KnownBrand::new(brand).expect("checks");
    let at = |now: u64| {
        [known.issues_at(Timestamp(now)), known.spendable_at(Timestamp(now)), known.redeemable_at(Timestamp(now))]
    };
    for (now, expected) in [
        (9, [false; 3]),
        (10, [true; 3]),
        (19, [true; 3]),
        (20, [false, true, true]),
        (29, [false, true, true]),
        (30, [false, false, true]),
        (39, [false, false, true]),
        (40, [false; 3]),
    ] {
        assert_eq!(at(now), expected, "{now}");
    }
}

/// Each thing a brand says is bound into its tokens.
#[test]
fn the_redemption_context_covers_every_field() {
    let (_, good) = brand(DER_0);
    let (_, other) = brand(DER_1);
    let variants = [
        Brand { bank: PublicKey([8; 32]), ..good.clone() },
        Brand { currency: "USD".parse().expect("a currency"), ..good.clone() },
        Brand { denomination: Amount::from_micros(1), ..good.clone() },
        Brand { issue_from: Timestamp(11), ..good.clone() },
        Brand { withdraw_until: Timestamp(21), ..good.clone() },
        Brand { spend_until: Timestamp(31), ..good.clone() },
        Brand { redeem_until: Timestamp(41), ..good.clone() },
        Brand { key: other.key, ..good.clone() },
    ];
    for variant in variants {
        assert_ne!(variant.redemption_context(), good.redemption_context());
        assert_ne!(variant.challenge_digest(), good.challenge_digest());
    }
}

#[test]
fn numbers_of_other_methods_and_purposes_are_refused() {
    let (_, good) = brand(DER_0);
    let bytes = cbor::to_vec(&good);
    let key = bytes.windows(4).position(|window| window == [4, 2, 5, 1]).expect("method and purpose");
    for (position, value) in [(key + 1, 1), (key + 1, 3), (key + 3, 0), (key + 3, 2)] {
        let mut other = bytes.clone();
        other[position] = value;
        assert!(cbor::from_slice::<Brand>(&other).is_err(), "{position} {value}");
    }
}

#[test]
fn indices_keys_and_seeds_give_different_secrets() {
    let secrets = TokenSecrets::derive(&[1; 64], &[2; 32], 3);
    for other in [
        TokenSecrets::derive(&[0; 64], &[2; 32], 3),
        TokenSecrets::derive(&[1; 64], &[0; 32], 3),
        TokenSecrets::derive(&[1; 64], &[2; 32], 4),
    ] {
        assert!(secrets.q() != other.q() && secrets.salt() != other.salt() && secrets.r() != other.r());
    }
}

#[test]
fn issuer_names_are_bounded() {
    assert!(TokenChallenge::new(&"a".repeat(255), [0; 32]).is_ok());
    for name in [String::new(), "a".repeat(256), "ναῦλον".to_owned()] {
        assert_eq!(TokenChallenge::new(&name, [0; 32]), Err(ChallengeError));
    }
}

proptest! {
    #[test]
    fn parsing_never_panics_and_is_exact(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        token_type in 0_u8..4,
    ) {
        for length in [bytes.len(), TOKEN_LEN, TOKEN_REQUEST_LEN] {
            let mut bytes = bytes.clone();
            bytes.resize(length.max(2), 0xa5);
            bytes[..2].copy_from_slice(&[0, token_type]);
            if let Ok(token) = Token::parse(&bytes) {
                prop_assert_eq!(&token.to_bytes()[..], &bytes[..]);
            }
            if let Ok(request) = TokenRequest::parse(&bytes) {
                prop_assert_eq!(&request.to_bytes()[..], &bytes[..]);
            }
            prop_assert_eq!(Token::parse(&bytes).is_ok(), bytes.len() == TOKEN_LEN && token_type == 2);
        }
    }
}
