//! Reusable keys (AAT §8.1), several tokens (§8.2) and remainders (§8.3) in every combination, one-sided and two-sided, bought
//! and aborted: what the wallet has, what the bank owes, and what a judge says.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod world;

use naulon_durable::fault::Faults;
use naulon_exchange::{Exchange, Input};
use naulon_money::Amount;
use naulon_purchase::{Ending, Trust, judge};
use naulon_statement::{Joint, UnverifiedJoint};
use naulon_wallet::*;
use naulon_wire::{AnyCall, Ask, BankCall};
use world::*;

/// A wallet with tokens that share a key, or that do not, or some of each.
fn funded(world: &mut World, amount: &str, keys: &[Keys]) -> (Wallet<MemoryStore>, MemoryStore, MemoryGoods) {
    let (store, goods) = (MemoryStore::new(Faults::none()), MemoryGoods::new(Faults::none()));
    let mut wallet = world.wallet(store.clone(), goods.clone());
    wallet.accept_description(world.bank.description(), world.now).expect("accepted");
    for keys in keys {
        let entropy = world.entropy();
        wallet.withdraw_with(world.bank.key.public(), eur(amount), *keys, world.now, &entropy).expect("begun");
        world.settle(&mut wallet).expect("withdrawn");
    }
    (wallet, store, goods)
}

fn ending(wallet: &mut Wallet<MemoryStore>, op: OperationId, world: &World) -> Option<Ending> {
    wallet.operation(op, world.now).expect("read").expect("known").ending()
}

/// The authorizations that went to the bank.
fn carry(world: &mut World, wallet: &mut Wallet<MemoryStore>) -> Vec<Joint<Exchange>> {
    let mut locks: Vec<Joint<Exchange>> = Vec::new();
    let note = |ask: &Ask, answer| {
        if let AnyCall::Bank(BankCall::Exchange(request)) = &ask.call
            && request.claimed_body().condition.is_some()
        {
            locks.push(UnverifiedJoint::clone(request).verify().expect("signed"));
        }
        answer
    };
    world.carry(wallet, note).expect("ends");
    locks
}

fn parts(lock: &Exchange) -> usize {
    lock.inputs.iter().filter(|input| matches!(input, Input::Token { part: Some(_), .. })).count()
}

#[test]
fn every_combination_ends_with_the_books_in_order() {
    let mut tried = 0;
    for keys in [&[Keys::Own][..], &[Keys::Shared], &[Keys::Own, Keys::Shared]] {
        for keep_remainder in [false, true] {
            for two_sided in [false, true] {
                for is_silent in [false, true] {
                    for price in ["0.70", "3.50", "9.10"] {
                        tried += 1;
                        combination(keys, keep_remainder, two_sided, is_silent, price);
                    }
                }
            }
        }
    }
    assert_eq!(tried, 72);
}

fn combination(keys: &[Keys], keep_remainder: bool, two_sided: bool, is_silent: bool, price: &str) {
    let what = format!("{keys:?}, keep {keep_remainder}, two-sided {two_sided}, silent {is_silent}, {price}");
    let mut world = World::new();
    let (mut wallet, _, _) = funded(&mut world, "20", keys);
    let had = world.free(&wallet);
    world.shop.is_silent = is_silent;
    let options = BuyOptions { two_sided, keep_remainder, ..BuyOptions::default() };
    let price = eur(price);
    // With denominations from 0.50 on, only a remainder can pay this to the cent.
    let off_grid = !price.micros().is_multiple_of(500_000) && !keep_remainder;
    let offer = world.shop.offer(price, world.now);
    let entropy = world.entropy();
    let begun = wallet.buy((&offer).into(), options, world.now, &entropy);
    if off_grid {
        assert!(matches!(begun, Err(WalletError::NotPayable { .. })), "{what}: {begun:?}");
        return;
    }
    let op = begun.expect("begun");
    let locks = carry(&mut world, &mut wallet);
    let ended = ending(&mut wallet, op, &world);
    // The log would show a reusable key to everybody.
    if two_sided && keys == [Keys::Shared] {
        assert_eq!((ended, locks.len()), (Some(Ending::GivenUp), 0), "{what}");
        assert_eq!(world.free(&wallet), had, "{what}");
        return;
    }
    let expected = if is_silent { Ending::Aborted } else { Ending::Bought };
    assert_eq!(ended, Some(expected), "{what}");
    let paid = if is_silent { Amount::ZERO } else { price };
    let left = had.checked_sub(paid).expect("less");
    assert_eq!((world.free(&wallet), world.bank.outstanding()), (left, left), "{what}");
    assert_eq!(world.bank.balance(&world.shop.key.public()), Some(paid), "{what}");
    for lock in &locks {
        assert!(parts(lock) <= usize::from(keep_remainder), "{what}");
        if keys == [Keys::Shared] {
            assert_eq!(lock.signatures().len(), 1, "{what}: one signature for one key");
        }
        assert!(!keep_remainder || lock.blinded().next().is_none(), "{what}: no change where the rest remains");
    }
    let trust = Trust {
        banks: [world.bank.key.public()].into(),
        logs: [(world.log.key.public(), world.log.identity())].into(),
        merchants: [world.shop.key.public()].into(),
    };
    let judgement = judge(&wallet.evidence(op).expect("evidence"), &trust, |_, _| None);
    assert!(judgement.breaches.is_empty() && !judgement.claims.is_empty(), "{what}: {judgement:?}");

    // What is left pays again, remainders too, and is worth all of it when it is given back.
    world.shop.is_silent = false;
    let again = BuyOptions { keep_remainder, ..BuyOptions::default() };
    let op = world.buy(&mut wallet, "1.50", again).expect("begun");
    carry(&mut world, &mut wallet);
    assert_eq!(ending(&mut wallet, op, &world), Some(Ending::Bought), "{what}");
    let entropy = world.entropy();
    wallet.deposit(world.bank.key.public(), DepositAmount::All, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("deposited");
    assert_eq!((world.free(&wallet), world.bank.outstanding()), (Amount::ZERO, Amount::ZERO), "{what}");
}

/// A remainder is seen, is used by payments that keep remainders and by no others, and is exchanged for fresh tokens.
#[test]
fn a_remainder_is_used_up_or_exchanged() {
    let mut world = World::new();
    let (mut wallet, _, _) = funded(&mut world, "0.50", &[Keys::Own]);
    let keeping = BuyOptions { keep_remainder: true, ..BuyOptions::default() };
    world.buy(&mut wallet, "0.17", keeping.clone()).expect("begun");
    world.settle(&mut wallet).expect("bought");
    let balance = |wallet: &Wallet<MemoryStore>, world: &World| wallet.balance()[&world.bank.key.public()].clone();
    assert_eq!((balance(&wallet, &world).free, balance(&wallet, &world).remainders), (eur("0.33"), eur("0.33")));
    let plain = world.buy(&mut wallet, "0.33", BuyOptions::default());
    assert!(matches!(plain, Err(WalletError::Insufficient { .. } | WalletError::NotPayable { .. })), "{plain:?}");
    world.buy(&mut wallet, "0.33", keeping.clone()).expect("begun");
    world.settle(&mut wallet).expect("bought");
    assert_eq!((wallet.tokens().len(), world.bank.outstanding()), (0, Amount::ZERO), "used up, it is gone");

    world.withdraw(&mut wallet, "20");
    world.buy(&mut wallet, "2.50", keeping).expect("begun");
    world.settle(&mut wallet).expect("bought");
    assert!(wallet.tokens().iter().any(|token| token.in_parts));
    let entropy = world.entropy();
    wallet.refresh(world.bank.key.public(), world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("refreshed");
    assert_eq!((world.free(&wallet), balance(&wallet, &world).remainders), (eur("17.50"), Amount::ZERO));
}

/// Another copy of the wallet has used a part of the token: the bank's proof says how much is left.
#[test]
fn what_a_copy_has_taken_from_a_token_is_learnt_from_the_banks_proof() {
    let mut world = World::new();
    let (mut wallet, store, goods) = funded(&mut world, "0.50", &[Keys::Own]);
    let mut copy = Wallet::open(store.copy(Faults::none()), world.peers(), goods).expect("opened");
    let keeping = BuyOptions { keep_remainder: true, ..BuyOptions::default() };
    world.buy(&mut copy, "0.40", keeping.clone()).expect("begun");
    world.settle(&mut copy).expect("bought");

    // As a whole it is not to be had: the proof is the request that took the first part.
    world.buy(&mut wallet, "0.50", BuyOptions::default()).expect("begun");
    world.settle(&mut wallet).expect("refused");
    assert!(wallet.tokens().iter().all(|token| token.in_parts));
    assert_eq!(world.free(&wallet), eur("0.10"));
    // Then another part is taken, and more than is left is not to be had: the proof is both of them.
    world.buy(&mut copy, "0.07", keeping.clone()).expect("begun");
    world.settle(&mut copy).expect("bought");
    world.buy(&mut wallet, "0.04", keeping.clone()).expect("begun");
    world.settle(&mut wallet).expect("refused");
    assert_eq!(world.free(&wallet), eur("0.03"));
    let op = world.buy(&mut wallet, "0.03", keeping).expect("begun");
    world.settle(&mut wallet).expect("bought");
    assert_eq!(ending(&mut wallet, op, &world), Some(Ending::Bought));
    assert_eq!((wallet.tokens().len(), world.bank.outstanding()), (0, Amount::ZERO));
}
