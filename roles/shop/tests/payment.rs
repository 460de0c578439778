//! An item for any HTTP client: 402 with a challenge, and the same sale as by a direct call.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

mod world;

use naulon_exchange::Outcome;
use naulon_money::Amount;
use naulon_shop::{MemoryShelf, MemoryStore, Shop};
use naulon_statement::Timestamp;
use naulon_wire::payment::{CHALLENGE_GRID, Challenge};
use naulon_wire::{Call, HttpResponse, Problem, ShopCall, ShopReply};
use world::*;

type MemoryShop = Shop<MemoryStore, MemoryShelf>;

fn get(shop: &mut MemoryShop, item: &str, credential: Option<String>, now: Timestamp) -> Result<ShopReply, Problem> {
    let call = ShopCall::Item { item: item.to_owned(), authorization: credential };
    shop.handle(call, now, &mut |_| panic!("a challenge needs no entropy"))
}

/// What the shop asks for this item.
fn challenge(shop: &mut MemoryShop, item: &str, now: Timestamp) -> Challenge {
    let problem = get(shop, item, None, now).unwrap_err();
    assert_eq!((problem.code.as_str(), problem.status), ("payment_required", 402));
    let response = HttpResponse::problem(&problem);
    assert_eq!(response.content_type, "application/problem+json");
    Challenge::parse(&response.challenge.unwrap()).unwrap()
}

#[test]
fn an_item_is_paid_for_by_a_credential() {
    let mut shop = open(memory()).unwrap();
    let asked = challenge(&mut shop, "poem", NOW);
    let charge = asked.charge().unwrap();
    let offer = offer_of(&mut shop, "poem", 1);
    assert_eq!((charge.amount, charge.merchant, charge.goods), (PRICE, offer.merchant, offer.goods));
    assert_eq!((&charge.banks, &charge.logs), (&offer.banks, &offer.logs));
    assert_eq!(challenge(&mut shop, "poem", NOW), asked, "it tells nobody apart");
    assert_eq!(code(get(&mut shop, "novel", None, NOW)), "unknown_item");

    // Nothing is written before there is a payment; then the log is asked, and the goods are handed over.
    assert!(shop.asks(NOW).is_empty());
    let credential = asked.credential(&payment_for(&offer));
    assert!(matches!(get(&mut shop, "poem", Some(credential.clone()), NOW), Ok(ShopReply::Pending)));
    let (id, ask) = shop.asks(NOW).pop().unwrap();
    shop.answered(id, Ok(FakeLog::default().answer(&ask, NOW)), NOW).unwrap();
    let reply = get(&mut shop, "poem", Some(credential.clone()), NOW).unwrap();
    let ShopReply::Delivered { decision, goods, .. } = &reply else { panic!("{reply:?}") };
    assert_eq!(goods, &offer.goods);
    let decided = decision.as_ref().clone().verify(&FakeLog::default().identity()).unwrap().decision().clone();
    assert!(matches!(decided.outcome, Outcome::Commit { .. }));
    let response = ShopCall::reply_to_http(reply);
    assert_eq!(response.receipt, Some(naulon_wire::payment::receipt(&id, decided.time)));

    // The same sale by the direct call; and with a fresh challenge, when the first has expired.
    assert_eq!(proven(pay(&mut shop, payment_for(&offer), NOW).unwrap()).decision().a, decided.a);
    let later = Timestamp(NOW.0 + 2 * CHALLENGE_GRID.0);
    let problem = get(&mut shop, "poem", Some(credential), later).unwrap_err();
    assert_eq!(problem.code, "challenge_expired");
    let fresh = Challenge::parse(&problem.challenge.unwrap()).unwrap().credential(&payment_for(&offer));
    assert!(matches!(get(&mut shop, "poem", Some(fresh), later), Ok(ShopReply::Delivered { .. })));
    assert_eq!(shop.sales(10).unwrap().len(), 1);
}

#[test]
fn what_the_log_aborts_is_not_handed_over() {
    let mut shop = open(memory()).unwrap();
    let offer = offer_of(&mut shop, "poem", 1);
    let credential = challenge(&mut shop, "poem", NOW).credential(&payment_for(&offer));
    assert!(matches!(get(&mut shop, "poem", Some(credential.clone()), NOW), Ok(ShopReply::Pending)));
    let (id, ask) = shop.asks(NOW).pop().unwrap();
    shop.answered(id, Ok(FakeLog::default().answer(&ask, EXPIRY)), EXPIRY).unwrap();
    let problem = get(&mut shop, "poem", Some(credential), EXPIRY).unwrap_err();
    assert_eq!((problem.code.as_str(), problem.status), ("not_committed", 402));
    assert!(problem.decision().is_some() && problem.challenge.is_some());
}

/// A credential is good for its own route, at its own price; whatever is refused leaves nothing behind.
#[test]
fn a_credential_is_good_for_its_own_route_only() {
    let store = memory();
    let shelf = shelf();
    shelf.add("novel", "A novel", "", PRICE, b"It was a dark and stormy night.");
    let mut shop = Shop::open(keys(), rules(), terms(), shelf.clone(), store.clone()).unwrap();
    let offer = offer_of(&mut shop, "poem", 1);
    let [for_poem, for_novel] = ["poem", "novel"].map(|item| challenge(&mut shop, item, NOW));
    let payment = || payment_for(&offer);
    let other_route = for_poem.credential(&payment());
    assert_eq!(code(get(&mut shop, "novel", Some(other_route), NOW)), "other_item");
    let other_goods = for_novel.credential(&payment());
    assert_eq!(code(get(&mut shop, "novel", Some(other_goods), NOW)), "other_item");
    // The payment's own refusals are as ever.
    let mut header = header_for(&offer);
    header.n = [9; 16];
    let other_offer = for_poem.credential(&payment_with(&offer, &header));
    let problem = get(&mut shop, "poem", Some(other_offer), NOW).unwrap_err();
    assert_eq!((problem.code.as_str(), problem.challenge), ("other_offer", None));
    // A new price is another challenge.
    shelf.add("poem", "A poem", "Fourteen lines.", Amount::from_micros(9), POEM);
    let old_price = for_poem.credential(&payment());
    assert_eq!(code(get(&mut shop, "poem", Some(old_price), NOW)), "other_item");
    assert_eq!(store.faults().writes(), 0);
}
