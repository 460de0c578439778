//! The merchant: what it refuses before it releases k, and what becomes of a sale.

use std::collections::{BTreeMap, BTreeSet};

use naulon_exchange::{AuthorizationB, Header, LogDecision, Outcome};
use naulon_purchase::{
    GoodsM, GoodsQ, MerchantRules, PaymentRefusal, Sale, SaleError, SaleStep, StoredSale, UnverifiedPayment,
};
use naulon_statement::{Digest, Signed, Timestamp, Unverified, cbor};

use super::cast::*;

fn rules() -> MerchantRules {
    MerchantRules {
        merchant: merchant().public(),
        banks: BTreeSet::from([bank().public()]),
        logs: BTreeMap::from([(log_key(0).public(), log_identity(0))]),
        release_margin: MARGIN,
    }
}

/// What the buyer hands over, with one thing changed.
struct Handed {
    goods_m: GoodsM,
    header: Header,
    promise: AuthorizationB,
    goods_q: Option<Signed<GoodsQ>>,
    /// Who signs goods_m, header and promise.
    signers: [u8; 3],
}

fn payment(two_sided: bool, change: impl FnOnce(&mut Handed)) -> UnverifiedPayment {
    let deal = Plan { two_sided, ..Plan::default() }.deal();
    let mut handed = Handed {
        goods_m: GoodsM::clone(&deal.goods_m),
        header: Header::clone(&deal.header),
        promise: AuthorizationB::clone(&deal.authorization_b),
        goods_q: deal.goods_q,
        signers: [3, 1, 1],
    };
    change(&mut handed);
    let [by_m, by_b, by_b_too] = handed.signers.map(key);
    UnverifiedPayment {
        goods_m: Unverified::from(&Signed::sign(&by_m, handed.goods_m)),
        header: Unverified::from(&Signed::sign(&by_b, handed.header)),
        authorization_b: Unverified::from(&Signed::sign(&by_b_too, handed.promise)),
        goods_q: handed.goods_q.as_ref().map(Unverified::from),
    }
}

fn refused(code: &str, two_sided: bool, change: impl FnOnce(&mut Handed)) {
    let refusal = payment(two_sided, change).verify(&rules()).expect_err(code);
    assert_eq!(refusal.code(), code, "{refusal}");
}

/// Changes the header, and lets the promise follow it.
fn header(change: impl FnOnce(&mut Header)) -> impl FnOnce(&mut Handed) {
    move |handed| {
        change(&mut handed.header);
        handed.promise.header = handed.header.digest();
    }
}

#[test]
fn every_refusal() {
    payment(false, |_| {}).verify(&rules()).expect("one-sided");
    payment(true, |_| {}).verify(&rules()).expect("two-sided");
    refused("not_my_offer", false, |handed| handed.goods_m.merchant = other_merchant().public());
    refused("wrong_signer", false, |handed| handed.signers[0] = 4);
    refused("wrong_signer", false, |handed| handed.signers[1] = 2);
    refused("wrong_signer", false, |handed| handed.signers[2] = 2);
    refused("unknown_bank", false, header(|header| header.bank = other_bank().public()));
    refused("unknown_log", false, header(|header| header.log = log_key(1).public()));
    refused("other_offer", false, header(|header| header.n = [8; 16]));
    refused("other_offer", false, header(|header| header.c = Digest([0; 32])));
    refused("other_offer", false, header(|header| header.merchant = other_merchant().public()));
    refused("other_offer", false, |handed| handed.promise.header = Digest([0; 32]));
    refused("wrong_value", false, |handed| handed.promise.value = units(3));
    refused("wrong_value", false, |handed| handed.promise.value = units(5));
    refused("wrong_value", false, |handed| handed.promise.currency = "USD".parse().expect("a currency"));
    // A merchant that wants to know what was delivered wants it from the key that pays, over this very offer.
    refused("goods_q", true, |handed| handed.goods_q = None);
    refused("goods_q", true, |handed| {
        handed.goods_q = Some(Signed::sign(&tokens()[1], GoodsQ { goods_m: handed.goods_q.as_ref().unwrap().goods_m }));
    });
    refused("goods_q", true, |handed| {
        handed.goods_q = Some(Signed::sign(&tokens()[0], GoodsQ { goods_m: Digest([0; 32]) }));
    });
    refused("goods_q", true, |handed| {
        header(|header| header.q = None)(handed);
        handed.goods_q = None;
    });
    refused("goods_q", false, header(|header| header.q = Some(tokens()[0].public())));
    refused("goods_q", false, |handed| {
        handed.goods_q = Some(Signed::sign(&tokens()[0], GoodsQ { goods_m: Digest([0; 32]) }));
    });
}

#[test]
fn k_is_released_with_time_to_spare_only() {
    let payment = payment(false, |_| {}).verify(&rules()).expect("sound");
    let with_margin = |margin: u64| MerchantRules { release_margin: naulon_statement::Duration(margin), ..rules() };
    let margin = |margin, now| payment.check_margin(&with_margin(margin), Timestamp(now));
    assert_eq!(margin(30_000, 70_000), Ok(()), "exactly the margin is left");
    assert_eq!(margin(30_000, 70_001), Err(PaymentRefusal::TooLate));
    assert_eq!(margin(10_000, VALID_UNTIL.0 - 1), Ok(()));
    assert_eq!(margin(10_000, VALID_UNTIL.0), Err(PaymentRefusal::TooLate), "the offer is no longer valid");
    assert_eq!(margin(u64::MAX, 0), Err(PaymentRefusal::TooLate));
}

fn sale(deal: &Deal) -> Sale {
    let payment = UnverifiedPayment {
        goods_m: Unverified::from(&deal.goods_m),
        header: Unverified::from(&deal.header),
        authorization_b: Unverified::from(&deal.authorization_b),
        goods_q: deal.goods_q.as_ref().map(Unverified::from),
    };
    Sale::new(payment.verify(&rules()).expect("sound"))
}

fn restarted(sale: &Sale) -> Sale {
    let stored: StoredSale = cbor::from_slice(&cbor::to_vec(sale)).expect("reads back");
    stored.from_own_store()
}

#[test]
fn a_sale_is_released_settled_and_done() {
    for two_sided in [false, true] {
        let deal = Plan { two_sided, ..Plan::default() }.deal();
        for decision in [deal.commit(), deal.abort()] {
            let mut sale = sale(&deal);
            assert_eq!((sale.next(), restarted(&sale) == sale), (SaleStep::Release, true));
            for _ in 0..2 {
                sale.decided(&rules(), deal.prove(decision.clone())).expect("the log's");
                assert_eq!((sale.next(), restarted(&sale) == sale), (SaleStep::Settle, true));
            }
            sale.settled = true;
            assert_eq!((sale.next(), restarted(&sale) == sale), (SaleStep::Done, true));
            assert_eq!(sale.evidence().goods_q.is_some(), two_sided);
        }
    }
    let mut lapsed = sale(&Plan::default().deal());
    lapsed.settled = true;
    assert_eq!(lapsed.next(), SaleStep::Done, "a log that refuses for ever leaves nothing to do");
}

#[test]
fn only_a_decision_on_this_sale_is_taken() {
    let (deal, other) = (Plan::default().deal(), Plan { n: [8; 16], ..Plan::default() }.deal());
    let mut sale = sale(&deal);
    let before = sale.clone();
    assert_eq!(sale.decided(&rules(), other.prove(other.commit())), Err(SaleError::NotForThisSale));
    assert_eq!(sale.decided(&rules(), prove(1, &deal, deal.commit())), Err(SaleError::NotForThisSale));
    let mut torn = deal.prove(deal.commit());
    torn.inclusion.path.clear();
    assert_eq!(sale.decided(&rules(), torn), Err(SaleError::NotForThisSale));
    assert_eq!(sale, before);
}

#[test]
fn a_log_that_breaks_its_rules_gives_evidence() {
    let deal = Plan::default().deal();
    let wrong_key = LogDecision { outcome: Outcome::Commit { k: [0; 32] }, ..deal.commit() };
    let mut sale = sale(&deal);
    assert_eq!(sale.decided(&rules(), deal.prove(wrong_key)), Err(SaleError::KeyMismatch));
    assert_eq!((sale.next(), sale.evidence().decisions.len()), (SaleStep::Release, 1));
    sale.decided(&rules(), deal.prove(deal.commit())).expect("a right one is still taken");

    let mut sale = Sale::new(sale.payment);
    sale.decided(&rules(), deal.prove(deal.commit())).expect("the first");
    assert_eq!(sale.decided(&rules(), deal.prove(deal.abort())), Err(SaleError::Contradiction));
    assert_eq!((sale.next(), sale.evidence().decisions.len()), (SaleStep::Settle, 2));
    sale.overruled(&rules(), deal.prove(deal.abort())).expect("the bank's");
    assert_eq!((sale.next(), sale.evidence().decisions.len()), (SaleStep::Done, 2));
    assert_eq!(restarted(&sale), sale);
    assert_eq!(sale.decision.as_ref().map(|proven| proven.decision().outcome), Some(Outcome::Abort));
}
