//! Brands come and go while a bank serves, and no token is lost.

#![allow(clippy::panic)] // In what the tests share; they may.

mod cluster;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use naulon_bank::{Bank, BankStore, BrandSettings, KeyRing, MemoryStore, PostgresStore, missing, periods};
use naulon_blind::{Brand, KnownBrand, TokenSecrets};
use naulon_exchange::{Input, Output, Rules};
use naulon_statement::{Digest, SecretKey, Timestamp};
use naulon_wire::{BankCall, BankReply, Problem};
use world::*;

const DAY: u64 = 86_400_000;

fn day(day: u64) -> Timestamp {
    Timestamp(day * DAY + 1)
}

/// A new brand of ones every 10 days, spent within 20, redeemed within 30.
fn settings() -> BrandSettings {
    let denominations = vec![amount("1")];
    BrandSettings { denominations, purse_checks: Vec::new(), period_days: 10, spend_days: 20, redeem_days: 30 }
}

/// What a running bank does when it looks whether brands are due; each takes the next of the test keys.
fn renew<S: BankStore>(bank: &mut Bank<S>, ring: &KeyRing, next: &mut usize, now: Timestamp) -> usize {
    let rules = bank.desk().rules();
    let due = periods(&settings(), &rules.currency, now).expect("sound settings");
    let made: Vec<Brand> = missing(due, rules.brands.values().map(|known| known.brand()))
        .iter()
        .map(|terms| {
            let secret = &issuer_secrets()[*next];
            *next += 1;
            ring.add(secret.clone());
            terms.brand(rules.bank, secret.public())
        })
        .collect();
    bank.add_brands(&made).expect("adds");
    made.len()
}

fn opened<S: BankStore>(ring: &Arc<KeyRing>, store: S) -> Bank<S> {
    let rules = Rules { brands: BTreeMap::new(), ..rules() };
    Bank::open(keys(), rules, ring.clone(), store).expect("opens")
}

/// The brand that is issued at this time.
fn issued_at<S: BankStore>(bank: &Bank<S>, now: Timestamp) -> Arc<KnownBrand> {
    let rules = bank.desk().rules();
    let mut issued = rules.brands.values().filter(|known| known.issues_at(now));
    let one = issued.next().expect("there is always one").clone();
    assert!(issued.next().is_none(), "and never two");
    one
}

/// Gets a token of this brand for these inputs.
fn token<S: BankStore>(
    bank: &mut Bank<S>,
    known: &KnownBrand,
    (inputs, signer): (Vec<Input>, &SecretKey),
    index: u32,
    now: Timestamp,
) -> Result<Coin, Problem> {
    let secrets = TokenSecrets::derive(&[8; 64], known.key_id(), index);
    let q = secrets.secret_key();
    let input = known.token_input(q.public().0);
    let (message, unblinder) = input.blind(known.issuer_key(), secrets.salt(), secrets.r()).expect("blinds");
    let output = Output::Blinded { brand: Digest(*known.key_id()), message };
    let reply = bank.handle(call(exchange(inputs, vec![output]), [signer]), now)?;
    let BankReply::Exchange(reply) = reply else { panic!("another reply") };
    let signature = &reply.signatures[0];
    Ok(Coin { token: input.finalize(known.issuer_key(), signature, &unblinder).expect("holds"), q })
}

fn account(number: u8) -> Vec<Input> {
    vec![Input::Account { account: key("alice").public(), amount: amount("1"), order: [number; 16] }]
}

/// Several periods on an injected clock: the bank renews while it serves; tokens of old brands are exchanged for those of
/// the newest until the last moment of their redeem-until, and refused by name from then on.
#[test]
fn tokens_of_old_brands_are_exchanged_until_their_redeem_until() {
    let ring = Arc::new(KeyRing::default());
    let mut next = 0;
    let mut bank = opened(&ring, MemoryStore::default());
    for (first, call) in [open_account(&key("alice")), credit(&key("alice"), amount("100"), 1)].into_iter().enumerate()
    {
        bank.handle(call, day(1_000 + first as u64)).expect("accepted");
    }
    let mut held: Vec<(Arc<KnownBrand>, [Coin; 2])> = Vec::new();
    for (number, at) in (0_u8..).zip((1_001..1_025).step_by(10)) {
        let made = renew(&mut bank, &ring, &mut next, day(at));
        assert_eq!(made, if number == 0 { 2 } else { 1 }, "this period's first, then the next one's ahead");
        assert_eq!(renew(&mut bank, &ring, &mut next, day(at)), 0, "once");
        let known = issued_at(&bank, day(at));
        let coins = [0, 1].map(|which| {
            let from = (account(2 * number + which), &key("alice"));
            token(&mut bank, &known, from, u32::from(which), day(at)).expect("withdrawn")
        });
        held.push((known, coins));
    }
    // The first brand is redeemed until day 1,030, the second until 1,040.
    let now = Timestamp(1_030 * DAY - 1);
    let newest = issued_at(&bank, now);
    let (_, [old, too_late]) = &held[0];
    let renewed = token(&mut bank, &newest, (vec![old.input()], &old.q), 50, now).expect("until the last moment");
    let closed = token(&mut bank, &newest, (vec![too_late.input()], &too_late.q), 51, Timestamp(1_030 * DAY));
    assert_eq!(closed.err().map(|problem| problem.code.to_string()), Some("brand_closed".into()));
    assert_eq!(renew(&mut bank, &ring, &mut next, day(1_030)), 1, "the bank goes on renewing");
    let newest = issued_at(&bank, day(1_030));
    let (_, [second, _]) = &held[1];
    token(&mut bank, &newest, (vec![second.input()], &second.q), 52, day(1_030)).expect("is not closed");
    // The same order of the first period gets the same token again, by a key that is not destroyed.
    let (first, [_, withdrawn]) = &held[0];
    let again = token(&mut bank, first, (account(1), &key("alice")), 1, day(1_030)).expect("is known");
    assert_eq!(again.token.to_bytes(), withdrawn.token.to_bytes());
    bank.handle(deposit_of(&renewed), day(1_030)).expect("deposited");
    bank.audit().expect("the books agree");
}

fn deposit_of(coin: &Coin) -> BankCall {
    let output = Output::Account { account: key("alice").public(), amount: amount("1") };
    call(exchange(vec![coin.input()], vec![output]), [&coin.q])
}

/// Two processes on one database: a brand that one has made is found by the other, which issues it and takes its tokens as
/// soon as it has the key.
#[test]
fn a_brand_made_by_one_process_is_found_by_the_other() {
    let url = cluster::database();
    let store = || PostgresStore::open(&url).expect("opens");
    let rings = [Arc::new(KeyRing::default()), Arc::new(KeyRing::default())];
    let [mut one, mut other] = [opened(&rings[0], store()), opened(&rings[1], store())];
    for call in [open_account(&key("alice")), credit(&key("alice"), amount("100"), 1)] {
        one.handle(call, day(1_001)).expect("accepted");
    }
    let mut next = 0;
    assert_eq!(renew(&mut one, &rings[0], &mut next, day(1_001)), 2);
    let known = issued_at(&one, day(1_001));
    let coin = token(&mut one, &known, (account(1), &key("alice")), 1, day(1_001)).expect("withdrawn");

    // Without their keys the other one leaves them alone, and says so.
    assert_eq!(other.refresh_brands().expect("reads").len(), 2);
    let refused = other.handle(deposit_of(&coin), day(1_001)).expect_err("does not know it");
    assert_eq!(refused.code, "unknown_brand");
    issuer_secrets()[..2].iter().for_each(|secret| rings[1].add(secret.clone()));
    assert_eq!(other.refresh_brands().expect("reads"), []);
    other.handle(deposit_of(&coin), day(1_001)).expect("deposited");
    token(&mut other, &known, (account(2), &key("alice")), 2, day(1_001)).expect("withdrawn");
    // Nothing is due here that is there already.
    assert_eq!(renew(&mut other, &rings[1], &mut next, day(1_001)), 0);
    other.audit().expect("the books agree");
}
