//! What the shop gives back: what its keeper granted, to who paid, by one exchange each.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

mod world;

use naulon_blind::{BlindedMessage, Token};
use naulon_exchange::{Exchange, Header, Input, Outcome, Output};
use naulon_money::Amount;
use naulon_purchase::refund::{MAX_REFUNDS, RefundRequest};
use naulon_purchase::{GoodsM, UnverifiedRefund};
use naulon_shop::{MemoryGrants, MemoryShelf, MemoryStore, SaleId, Shop};
use naulon_statement::{BoxSecretKey, Digest, SecretKey, Signed, Unverified, cbor};
use naulon_wire::{Problem, Refund, ShopCall, ShopReply};
use world::*;

type MemoryShop = Shop<MemoryStore, MemoryShelf>;

/// The payload of an authorization that gives up a token of this key.
fn authorization(q: &SecretKey) -> Vec<u8> {
    let nonce = q.public().0;
    let token = Token::parse(&[&[0, 2][..], &nonce, &[1; 32], &[2; 32], &[3; 256]].concat()).unwrap();
    cbor::to_vec(&Exchange {
        bank: bank().public(),
        currency: "EUR".parse().unwrap(),
        inputs: vec![Input::token(token)],
        outputs: Vec::new(),
        condition: None,
        seal_to: None,
    })
}

/// The header of a sale that was paid with that token.
fn header(offer: &GoodsM) -> Header {
    Header { a: Digest::of(&[&authorization(&buyer())]), ..header_for(offer) }
}

/// A shop with a sale that the log has decided so, and that the bank has settled.
fn settled(outcome: Outcome) -> (MemoryShop, MemoryGrants, SaleId) {
    let grants = MemoryGrants::default();
    let mut shop = open(memory()).unwrap().with_grants(grants.clone());
    let offer = offer_of(&mut shop, "poem", 1);
    let header = header(&offer);
    pay(&mut shop, payment_with(&offer, &header), NOW).unwrap();
    let (id, mut log) = (header.digest(), FakeLog::default());
    let mut asks = shop.asks(NOW);
    let ask = asks.pop().unwrap().1;
    let decided = match outcome {
        Outcome::Abort => log.answer(&ask, EXPIRY),
        Outcome::Commit { .. } => log.answer(&ask, NOW),
    };
    shop.answered(id, Ok(decided), NOW).unwrap();
    for (id, ask) in shop.asks(NOW) {
        shop.answered(id, Ok(settle(&ask)), NOW).unwrap();
    }
    (shop, grants, id)
}

fn seal_to() -> naulon_statement::BoxPublicKey {
    BoxSecretKey::from_seed(&[8; 32]).public()
}

fn blinded(byte: u8) -> Vec<Output> {
    vec![Output::Blinded { brand: Digest([2; 32]), message: BlindedMessage([byte; 256]) }]
}

fn request(sale: SaleId, number: u32, outputs: Vec<Output>) -> RefundRequest {
    RefundRequest { sale, number, outputs, seal_to: seal_to() }
}

fn ask_with(
    shop: &mut MemoryShop,
    by: &SecretKey,
    request: RefundRequest,
    authorization_q: Vec<u8>,
) -> Result<Refund, Problem> {
    let request = Unverified::from(&Signed::sign(by, request));
    let call = ShopCall::Refund(Box::new(UnverifiedRefund { request, authorization_q }));
    match shop.handle(call, NOW, &mut |_| panic!("a refund needs no entropy"))? {
        ShopReply::Refund(refund) => Ok(*refund),
        other => panic!("not a refund: {other:?}"),
    }
}

fn ask(shop: &mut MemoryShop, request: RefundRequest) -> Result<Refund, Problem> {
    ask_with(shop, &buyer(), request, authorization(&buyer()))
}

fn euros(text: &str) -> Amount {
    text.parse().unwrap()
}

#[test]
fn a_refund_is_one_order_of_the_shop_however_often_it_is_signed() {
    let (mut shop, grants, id) = settled(Outcome::Commit { k: [0; 32] });
    assert_eq!(code(ask(&mut shop, request(id, 0, Vec::new()))), "no_refund");
    grants.grant(id, euros("0.70"));
    let told = ask(&mut shop, request(id, 0, Vec::new())).unwrap();
    assert_eq!((told.bank, told.amount, told.exchange.is_none()), (bank().public(), euros("0.70"), true));

    let signed = |shop: &mut MemoryShop, number, byte| {
        let refund = ask(shop, request(id, number, blinded(byte))).unwrap();
        let exchange = refund.exchange.unwrap().verify().unwrap();
        assert!(exchange.is_signed_by(&keys().merchant.public()));
        assert_eq!((&exchange.outputs, exchange.seal_to), (&blinded(byte), Some(seal_to())));
        let Input::Account { account, amount, order } = exchange.inputs[0] else { panic!("not from an account") };
        assert_eq!((exchange.inputs.len(), account), (1, keys().merchant.public()));
        (amount, order)
    };
    // Another output, the same order: the bank carries out one of them.
    assert_eq!(signed(&mut shop, 0, 1), signed(&mut shop, 0, 2));
    assert_eq!(signed(&mut shop, 0, 1).0, euros("0.70"));
    grants.grant(id, euros("0.50"));
    assert_ne!(signed(&mut shop, 0, 1).1, signed(&mut shop, 1, 1).1, "another refund, another order");
    // The price is given back by now.
    grants.grant(id, euros("0.10"));
    for number in [2, 3, MAX_REFUNDS, u32::MAX] {
        assert_eq!(code(ask(&mut shop, request(id, number, blinded(1)))), "no_refund");
    }
}

#[test]
fn nothing_is_given_to_others_or_for_what_was_not_paid() {
    let (mut shop, grants, id) = settled(Outcome::Commit { k: [0; 32] });
    grants.grant(id, PRICE);
    let thief = SecretKey::from_seed(&[77; 32]);
    let asked = |shop: &mut MemoryShop, by: &SecretKey, authorization| {
        code(ask_with(shop, by, request(id, 0, blinded(1)), authorization))
    };
    assert_eq!(asked(&mut shop, &thief, authorization(&buyer())), "not_the_buyer");
    assert_eq!(asked(&mut shop, &thief, authorization(&thief)), "not_the_buyer");
    assert_eq!(asked(&mut shop, &buyer(), authorization(&thief)), "not_the_buyer");
    assert_eq!(asked(&mut shop, &buyer(), Vec::new()), "not_the_buyer");
    assert_eq!(asked(&mut shop, &buyer(), authorization(&buyer())), "ok");
    assert_eq!(code(ask(&mut shop, request(Digest([9; 32]), 0, blinded(1)))), "unknown_purchase");
    // Into an account it would name the buyer, and could be the shop's own.
    let account = vec![Output::Account { account: buyer().public(), amount: PRICE }];
    assert_eq!(code(ask(&mut shop, request(id, 0, account))), "refund_outputs");

    let (mut shop, grants, id) = settled(Outcome::Abort);
    grants.grant(id, PRICE);
    assert_eq!(code(ask(&mut shop, request(id, 0, blinded(1)))), "no_refund", "it was never paid");
    let mut shop = open(memory()).unwrap().with_grants(grants.clone());
    let offer = offer_of(&mut shop, "poem", 1);
    pay(&mut shop, payment_with(&offer, &header(&offer)), NOW).unwrap();
    assert_eq!(code(ask(&mut shop, request(id, 0, blinded(1)))), "no_refund", "it is not settled");
}
