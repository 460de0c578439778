//! RFC 9578, appendix A.2: issuance and tokens of type 0x0002.

use naulon_blind::{
    BlindSignature, IssuerKey, IssuerSecret, R_LEN, Token, TokenChallenge, TokenInput, TokenRequest, TokenVerifyError,
};
use openssl::pkey::PKey;
use sha2::{Digest, Sha256};

struct Vector(serde_json::Value);

impl Vector {
    fn field(&self, name: &str) -> Vec<u8> {
        hex::decode(self.0[name].as_str().expect("a string")).expect("hexadecimal")
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.field(name).try_into().expect("of this length")
    }

    /// The RFC's r has the length of N; ours has zeros in front.
    fn r(&self) -> [u8; R_LEN] {
        let mut r = [0; R_LEN];
        r[R_LEN - 256..].copy_from_slice(&self.field("blind"));
        r
    }

    fn token_input(&self, key: &IssuerKey) -> TokenInput {
        TokenInput {
            nonce: self.array("nonce"),
            challenge_digest: Sha256::digest(self.field("token_challenge")).into(),
            key_id: *key.key_id(),
        }
    }
}

fn load() -> (IssuerSecret, Vec<u8>, Vec<Vector>) {
    let text = include_str!("../../../vectors/blind/rfc9578-type2.json");
    let mut file: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let secret = PKey::private_key_from_pem(file["skS_pem"].as_str().expect("PEM").as_bytes()).expect("a key");
    let secret = secret.private_key_to_pkcs8().expect("DER");
    let public = hex::decode(file["pkS"].as_str().expect("a string")).expect("hexadecimal");
    let vectors: Vec<_> = file["vectors"].as_array_mut().expect("a list").drain(..).map(Vector).collect();
    assert_eq!(vectors.len(), 5);
    (IssuerSecret::from_der(&secret).expect("an issuer's key"), public, vectors)
}

#[test]
fn the_public_key_is_encoded_as_in_the_rfc() {
    let (secret, public, _) = load();
    assert_eq!(secret.public().spki().as_bytes()[..], public);
    assert_eq!(IssuerKey::from_spki(&public).expect("a key"), *secret.public());
}

#[test]
fn requests_responses_and_tokens_are_those_of_the_rfc() {
    let (secret, _, vectors) = load();
    let key = secret.public();
    for vector in vectors {
        let input = vector.token_input(key);
        let (blinded, unblinder) = input.blind(key, &vector.array("salt"), &vector.r()).expect("blinds");
        let request = TokenRequest::new(key, blinded);
        assert_eq!(request.to_bytes(), vector.array("token_request"));
        assert_eq!(TokenRequest::parse(&vector.field("token_request")), Ok(request));

        let answer = secret.blind_sign(&blinded).expect("signs");
        assert_eq!(answer, BlindSignature(vector.array("token_response")));

        let token = input.finalize(key, &answer, &unblinder).expect("holds");
        assert_eq!(token.to_bytes(), vector.array("token"));
        assert_eq!(Token::parse(&vector.field("token")), Ok(token));
        assert_eq!(token.verify(key, &input.challenge_digest), Ok(()));
        assert_eq!(token.verify(key, &[0; 32]), Err(TokenVerifyError::WrongChallenge));
    }
}

/// Vector 5 has what ours have: a context and no origin.
#[test]
fn the_challenge_is_encoded_as_in_the_rfc() {
    let (_, _, vectors) = load();
    let challenge = vectors[4].field("token_challenge");
    let context = challenge[19..51].try_into().expect("32 bytes");
    let ours = TokenChallenge::new("issuer.example", context).expect("a challenge");
    assert_eq!(ours.to_bytes(), challenge);
    assert_eq!(ours.digest()[..], vectors[4].field("token")[34..66]);
}
