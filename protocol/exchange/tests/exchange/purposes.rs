//! Tokens are used for what their brands are for.

use std::sync::Arc;

use naulon_blind::{Brand, IssuerSecret, KnownBrand, Purpose, Token, TokenSecrets};
use naulon_exchange::{Condition, Exchange, Input, Output, Rules, authenticate};
use naulon_statement::{Digest, Joint, SecretKey, UnverifiedJoint};

use crate::refusals::{credit, token};
use crate::world::{exchange, key, sign, world};

/// The world's bank, with a brand of passage tokens and one of purse checks.
struct Scene {
    rules: Rules,
    passage: Coin,
    purse: Coin,
}

/// One token, and another message that is blinded for its brand.
struct Coin {
    brand: Digest,
    token: Token,
    q: SecretKey,
    wanted: Output,
}

fn coin(rules: &mut Rules, der: &[u8], purpose: Purpose) -> Coin {
    let secret = IssuerSecret::from_der(der).expect("a key");
    let brand = Brand { purpose, key: *secret.public().spki(), ..world().brands[0].brand().clone() };
    let known = Arc::new(KnownBrand::new(brand).expect("a sound brand"));
    let make = |index| {
        let secrets = TokenSecrets::derive(&[3; 64], known.key_id(), index);
        let input = known.token_input(secrets.secret_key().public().0);
        let (blinded, unblinder) = input.blind(known.issuer_key(), secrets.salt(), secrets.r()).expect("blinds");
        let signature = secret.blind_sign(&blinded).expect("signs");
        (secrets.secret_key(), blinded, input.finalize(known.issuer_key(), &signature, &unblinder).expect("a token"))
    };
    let brand = Digest(*known.key_id());
    rules.brands.insert(brand, known.clone());
    let ((q, _, token), (_, message, _)) = (make(0), make(1));
    Coin { brand, token, q, wanted: Output::Blinded { brand, message } }
}

fn scene() -> Scene {
    let mut rules = world().rules.clone();
    let der = |purpose| match purpose {
        Purpose::PurseCheck => &include_bytes!("../../../../vectors/brand-keys/test-only-04.pkcs8.der")[..],
        _ => &include_bytes!("../../../../vectors/brand-keys/test-only-03.pkcs8.der")[..],
    };
    let passage = coin(&mut rules, der(Purpose::Passage), Purpose::Passage);
    let purse = coin(&mut rules, der(Purpose::PurseCheck), Purpose::PurseCheck);
    Scene { rules, passage, purse }
}

fn answer(rules: &Rules, joint: Joint<Exchange>) -> Result<(), &'static str> {
    authenticate(rules, UnverifiedJoint::from(joint)).map(drop).map_err(|refusal| refusal.code())
}

#[test]
fn passage_tokens_become_neither_money_nor_goods() {
    let Scene { rules, passage, .. } = scene();
    let input = || Input::token(passage.token);
    let ask = |inputs: Vec<Input>, outputs: Vec<Output>, keys: &[&SecretKey]| {
        answer(&rules, Joint::sign(exchange(inputs, outputs, None), keys.iter().copied()))
    };
    assert_eq!(ask(vec![input()], vec![credit(0, 1)], &[&passage.q]), Err("wrong_purpose"));
    let money = world().token_output(5);
    assert_eq!(ask(vec![input()], vec![money], &[&passage.q]), Err("wrong_purpose"));
    // Beside money it is not spent either, and money does not become passage.
    let both = vec![input(), token(0)];
    let keys = [&passage.q, &world().tokens[0].q];
    assert_eq!(ask(both, vec![credit(0, 1), passage.wanted.clone()], &keys), Err("wrong_purpose"));
    assert_eq!(ask(vec![token(0)], vec![passage.wanted.clone()], &[keys[1]]), Err("wrong_purpose"));
    let part = Input::Token { token: passage.token, key: None, part: Some(crate::world::units(1)) };
    assert_eq!(ask(vec![part], vec![passage.wanted.clone()], &[&passage.q]), Err("wrong_purpose"));
    // A purchase cannot be paid with it.
    let condition = Condition {
        n: [1; 16],
        merchant: crate::world::account(0).public(),
        expiry: crate::world::seconds(500),
        log: key(100).public(),
        c: Digest([1; 32]),
        q: None,
        entry: Default::default(),
        carrier: Default::default(),
    };
    let purchase = Exchange { condition: Some(condition), ..exchange(vec![input()], vec![credit(0, 1)], None) };
    assert_eq!(answer(&rules, Joint::sign(purchase, [&passage.q])), Err("wrong_purpose"));
    // Change in tokens of the same purpose.
    assert_eq!(ask(vec![input()], vec![passage.wanted.clone()], &[&passage.q]), Ok(()));
}

#[test]
fn a_purses_signature_is_no_token_to_give_up_and_none_to_be_had() {
    let Scene { rules, purse, .. } = scene();
    let given = exchange(vec![Input::token(purse.token)], vec![credit(0, 1)], None);
    assert_eq!(answer(&rules, Joint::sign(given, [&purse.q])), Err("wrong_purpose"));
    let wanted = sign(exchange(vec![token(0)], vec![purse.wanted.clone()], None));
    assert_eq!(answer(&rules, wanted), Err("wrong_purpose"));
    assert!(rules.brands.contains_key(&purse.brand));
}
