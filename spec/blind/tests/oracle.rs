//! Both halves against another implementation of RFC 9474, `blind-rsa-signatures`, and against OpenSSL's own PSS.

use blind_rsa_signatures::{
    BlindMessage as TheirBlindMessage, BlindSignature as TheirBlindSignature, BlindingResult, DefaultRng,
    PublicKeySha384PSSDeterministic as TheirKey, Secret as TheirUnblinder,
    SecretKeySha384PSSDeterministic as TheirSecret, Signature as TheirSignature,
};
use naulon_blind::{BlindSignature, BlindedMessage, IssuerKey, IssuerSecret, R_LEN, Signature};
use openssl::pkey::PKey;
use openssl::sign::RsaPssSaltlen;

const DER: &[u8] = include_bytes!("../../../vectors/brand-keys/test-only-03.pkcs8.der");

fn ours() -> IssuerSecret {
    IssuerSecret::from_der(DER).expect("our key")
}

fn theirs() -> (TheirSecret, TheirKey) {
    let secret = TheirSecret::from_der(DER).expect("their key");
    let public = secret.public_key().expect("their public key");
    (secret, public)
}

fn message(round: u8) -> [u8; 98] {
    [round; 98]
}

fn r(round: u8) -> [u8; R_LEN] {
    std::array::from_fn(|i| round.wrapping_mul(31).wrapping_add(i as u8))
}

#[test]
fn the_same_encoded_key() {
    let (_, their_key) = theirs();
    let spki = their_key.to_spki().expect("their encoding");
    assert_eq!(spki, ours().public().spki().as_bytes());
    assert_eq!(IssuerKey::from_spki(&spki).expect("read"), *ours().public());
    let read = TheirKey::from_spki(ours().public().spki().as_bytes()).expect("read");
    assert_eq!(read.components().n(), their_key.components().n());
}

#[test]
fn they_blind_and_we_sign() {
    let (_, their_key) = theirs();
    for round in 0..8 {
        let blinding = their_key.blind(&mut DefaultRng, message(round)).expect("they blind");
        let blinded = BlindedMessage::try_from(&blinding.blind_message.0[..]).expect("256 bytes");
        let answer = TheirBlindSignature(ours().blind_sign(&blinded).expect("we sign").0.to_vec());
        let signature = their_key.finalize(&answer, &blinding, message(round)).expect("they finalize");
        let signature = Signature::try_from(&signature.0[..]).expect("256 bytes");
        ours().public().verify(&message(round), &signature).expect("we verify");
    }
}

#[test]
fn we_blind_and_they_sign() {
    let (their_secret, their_key) = theirs();
    let ours = ours();
    for round in 0..8 {
        let (blinded, unblinder) = ours.public().blind(&message(round), &[round; 48], &r(round)).expect("we blind");
        let answer = their_secret.blind_sign(blinded.0).expect("they sign");
        let answer = BlindSignature::try_from(&answer.0[..]).expect("256 bytes");
        assert_eq!(ours.blind_sign(&blinded), Ok(answer));
        let signature = ours.public().finalize(&message(round), &answer, &unblinder).expect("we finalize");
        their_key.verify(&TheirSignature(signature.0.to_vec()), None, message(round)).expect("they verify");
    }
}

/// What we refuse they refuse as well: a signature of another message, and an answer to another request.
#[test]
fn both_refuse_the_same() {
    let (_, their_key) = theirs();
    let ours = ours();
    let (blinded, unblinder) = ours.public().blind(&message(1), &[1; 48], &r(1)).expect("blinds");
    let answer = ours.blind_sign(&blinded).expect("signs");
    let signature = ours.public().finalize(&message(1), &answer, &unblinder).expect("holds");
    assert!(ours.public().verify(&message(2), &signature).is_err());
    assert!(their_key.verify(&TheirSignature(signature.0.to_vec()), None, message(2)).is_err());
    assert!(ours.public().finalize(&message(2), &answer, &unblinder).is_err());
    let mixed = BlindingResult {
        blind_message: TheirBlindMessage(blinded.0.to_vec()),
        secret: TheirUnblinder(vec![1; 256]),
        msg_randomizer: None,
    };
    assert!(their_key.finalize(&TheirBlindSignature(answer.0.to_vec()), &mixed, message(1)).is_err());
}

#[test]
fn openssl_pss_accepts_our_signatures() {
    let ours = ours();
    let (blinded, unblinder) = ours.public().blind(&message(1), &[1; 48], &r(1)).expect("blinds");
    let answer = ours.blind_sign(&blinded).expect("signs");
    let signature = ours.public().finalize(&message(1), &answer, &unblinder).expect("holds");

    // OpenSSL reads the parameters of RFC 9578 from our encoding, too.
    let key = PKey::public_key_from_der(ours.public().spki().as_bytes()).expect("OpenSSL reads the key");
    assert_eq!(key.id(), openssl::pkey::Id::RSA_PSS);
    let mut verifier = openssl::sign::Verifier::new(openssl::hash::MessageDigest::sha384(), &key).expect("a verifier");
    verifier.set_rsa_pss_saltlen(RsaPssSaltlen::custom(48)).expect("a salt length");
    assert!(verifier.verify_oneshot(&signature.0, &message(1)).expect("verifies"));
}
