//! A wallet from its seed alone.

#![allow(clippy::panic)] // What helps a test may panic as the test does.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use naulon_durable::fault::{Faults, When};
use naulon_money::Amount;
use naulon_purchase::Ending;
use naulon_statement::Duration;
use naulon_wallet::*;
use naulon_wire::{AnyCall, AnyReply, BankCall, BankReply, CallError, Circuit, OutputFate, Problem, ShopCall};
use world::*;

/// Few indices, so that the tests are quick.
const GAP: u32 = INDICES_SKIPPED + 1;

/// An empty wallet on the same seed, that knows its bank.
fn empty(world: &World) -> (Wallet<MemoryStore>, MemoryStore, MemoryGoods) {
    let (store, goods) = (MemoryStore::new(Faults::none()), MemoryGoods::new(Faults::none()));
    let mut wallet = Wallet::restore(store.clone(), &seed(), world.peers(), goods.clone(), GAP).expect("made");
    wallet.accept_description(world.bank.description(), world.now).expect("accepted");
    (wallet, store, goods)
}

/// Answers every question, and what was asked on which circuit.
fn questions(world: &mut World, wallet: &mut Wallet<MemoryStore>) -> Vec<(Question, Circuit)> {
    let mut asked = Vec::new();
    loop {
        let entropy = world.entropy();
        let Some((question, ask)) = wallet.restore_question(world.now, &entropy).expect("asks") else { return asked };
        let answer = world.answer(&ask);
        assert_eq!(wallet.restore_answered(question, answer).expect("taken"), Taken::Yes);
        asked.push((question, ask.circuit));
        assert!(asked.len() < 5_000, "it does not end");
    }
}

fn restored(world: &mut World) -> (Wallet<MemoryStore>, Restored, MemoryGoods) {
    let (mut wallet, _, goods) = empty(world);
    questions(world, &mut wallet);
    let entropy = world.entropy();
    let restored = wallet.finish_restore(world.now, &entropy).expect("done");
    (wallet, restored, goods)
}

/// How many free tokens there are of each value.
fn values<S: WalletStore>(wallet: &Wallet<S>) -> BTreeMap<Amount, usize> {
    let mut values = BTreeMap::new();
    for token in wallet.tokens().iter().filter(|token| token.state == TokenState::Free) {
        *values.entry(token.value).or_default() += 1;
    }
    values
}

#[test]
fn tokens_come_back_and_are_spent_and_no_index_is_used_twice() {
    let mut world = World::new();
    let (mut old, _, _) = world.funded("37.50");
    world.buy(&mut old, "3.50", BuyOptions::default()).expect("begun");
    world.settle(&mut old).expect("bought");
    let entropy = world.entropy();
    old.refresh(world.bank.key.public(), world.now, &entropy).expect("begun");
    world.settle(&mut old).expect("refreshed");
    let (free, outstanding) = (values(&old), world.bank.outstanding());
    drop(old);

    let (mut wallet, restored, goods) = restored(&mut world);
    assert_eq!((values(&wallet), restored.free), (free, eur("34")));
    assert!(restored.spent > 0 && restored.held.is_zero() && restored.unexplained == 0);
    assert_eq!(world.bank.outstanding(), outstanding, "a signature that is given again is no issue");
    // What was bought is fetched again.
    assert_eq!(restored.purchases.len(), 1);
    world.settle(&mut wallet).expect("delivered again");
    let entry = wallet.operation(restored.purchases[0], world.now).expect("read").expect("known");
    assert_eq!(entry.ending(), Some(Ending::Bought));
    assert_eq!(goods.finished(&entry.place.expect("a place")).as_deref(), Some(&world.shop.plain[..]));
    assert_eq!(values(&wallet).values().sum::<usize>(), restored.tokens, "the change has not come in twice");
    // It goes on as any wallet; what it withdraws are new tokens.
    world.withdraw(&mut wallet, "20");
    world.buy(&mut wallet, "53.50", BuyOptions::default()).expect("begun");
    world.settle(&mut wallet).expect("bought");
    assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("0.50"), eur("0.50")));
}

/// Tokens that share a key (AAT §8.1), of two withdrawals, beside some that do not; one of them spent in parts.
#[test]
fn tokens_that_share_a_key_come_back() {
    let mut world = World::new();
    let (mut old, _, _) = world.funded("20");
    let bank = world.bank.key.public();
    for amount in ["10", "3.50"] {
        let entropy = world.entropy();
        old.withdraw_with(bank, eur(amount), Keys::Shared, world.now, &entropy).expect("begun");
        world.settle(&mut old).expect("withdrawn");
    }
    world.buy(&mut old, "31", BuyOptions::default()).expect("begun");
    world.settle(&mut old).expect("bought");
    let (free, outstanding) = (values(&old), world.bank.outstanding());
    drop(old);
    let (mut wallet, restored, _) = restored(&mut world);
    assert_eq!((values(&wallet), restored.free), (free, eur("2.50")));
    world.settle(&mut wallet).expect("delivered again");
    assert_eq!(world.bank.outstanding(), outstanding);
    let entropy = world.entropy();
    wallet.deposit(bank, DepositAmount::All, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("deposited");
    assert_eq!(world.bank.outstanding(), Amount::ZERO, "they are spent as any");
}

#[test]
fn it_may_be_restored_again_and_again() {
    let mut world = World::new();
    let (old, _, _) = world.funded("20");
    let free = values(&old);
    drop(old);
    for _ in 0..3 {
        let (mut wallet, _, _) = restored(&mut world);
        assert_eq!(values(&wallet), free);
        // A withdrawal behind the indices that a restoration leaves out is found by the next one.
        world.withdraw(&mut wallet, "0.50");
        let entropy = world.entropy();
        wallet.deposit(world.bank.key.public(), eur("0.50"), world.now, &entropy).expect("begun");
        world.settle(&mut wallet).expect("deposited");
        assert_eq!(world.free(&wallet), eur("20"));
    }
    let (wallet, _, _) = restored(&mut world);
    assert_eq!(world.free(&wallet), eur("20"));
}

#[test]
fn every_question_has_its_own_circuit_and_decoys_stand_among_the_tokens() {
    let mut world = World::new();
    let (old, _, _) = world.funded("20");
    let mut of_brand: BTreeMap<_, usize> = BTreeMap::new();
    old.tokens().iter().for_each(|token| *of_brand.entry(token.brand).or_default() += 1);
    drop(old);
    let (mut wallet, _, _) = empty(&world);
    let asked = questions(&mut world, &mut wallet);
    let circuits: BTreeSet<Circuit> = asked.iter().map(|(_, circuit)| *circuit).collect();
    assert_eq!(circuits.len(), asked.len());
    assert!(circuits.iter().all(|circuit| matches!(circuit, Circuit::Anonymous(_))));
    // Of every brand, for the bank sees of which it is: as many as there are tokens, or an equal share of the fewest.
    let mut about_tokens: BTreeMap<_, usize> = BTreeMap::new();
    for (question, _) in &asked {
        match question {
            Question::Token { brand, .. } => *about_tokens.entry(*brand).or_default() += 1,
            Question::Output { brand, .. } => drop(about_tokens.entry(*brand).or_default()),
        }
    }
    let at_least = DECOYS_AT_LEAST.div_ceil(about_tokens.len());
    for (brand, asked) in &about_tokens {
        let tokens = of_brand.get(brand).copied().unwrap_or_default();
        assert_eq!(*asked, tokens + tokens.max(at_least));
    }
    // Drawn, not in the order of the indices; and no token's key speaks before the last blinded message.
    let order: Vec<u32> =
        asked.iter().map(|(Question::Output { index, .. } | Question::Token { index, .. }, _)| *index).collect();
    assert!(!order.is_sorted());
    let first = asked.iter().position(|(question, _)| matches!(question, Question::Token { .. })).expect("asked");
    assert!(asked[first..].iter().all(|(question, _)| matches!(question, Question::Token { .. })));
}

#[test]
fn a_purchase_that_was_locked_and_not_paid_is_aborted_and_its_tokens_are_free() {
    let mut world = World::new();
    let (mut old, _, _) = world.funded("20");
    world.buy(&mut old, "3.50", BuyOptions::default()).expect("begun");
    until(&mut world, &mut old, "lock");
    drop(old);
    let (mut wallet, restored, _) = restored(&mut world);
    assert_eq!(restored.free.checked_add(restored.held), Some(eur("20")));
    assert!(!restored.held.is_zero());
    let begun = world.now;
    world.settle(&mut wallet).expect("aborted");
    assert!(world.now.since(begun) >= DEFAULT_LOCK.min(Duration::seconds(500)), "not before its expiry");
    let entry = wallet.operation(restored.purchases[0], world.now).expect("read").expect("known");
    assert_eq!(entry.ending(), Some(Ending::Aborted));
    assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("20"), eur("20")));
}

#[test]
fn a_purchase_that_was_paid_is_finished_one_sided_and_two_sided_with_its_change() {
    for two_sided in [false, true] {
        let mut world = World::new();
        let (mut old, _, _) = world.funded("20");
        world.buy(&mut old, "3.50", BuyOptions { two_sided, ..BuyOptions::default() }).expect("begun");
        until(&mut world, &mut old, "pay");
        drop(old);
        let (mut wallet, restored, goods) = restored(&mut world);
        world.settle(&mut wallet).expect("finished");
        let entry = wallet.operation(restored.purchases[0], world.now).expect("read").expect("known");
        assert_eq!(entry.ending(), Some(Ending::Bought));
        assert_eq!(goods.finished(&entry.place.expect("a place")).as_deref(), Some(&world.shop.plain[..]));
        assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("16.50"), eur("16.50")));
        assert_eq!(wallet.evidence(restored.purchases[0]).expect("evidence").goods_q.is_some(), two_sided);
    }
}

/// The bank hears of the commit between the question about the change and the one about the token that paid.
#[test]
fn change_that_is_delivered_while_the_wallet_asks_is_not_lost() {
    let mut world = World::new();
    let (mut old, _, _) = world.funded("20");
    world.buy(&mut old, "3.50", BuyOptions::default()).expect("begun");
    until(&mut world, &mut old, "pay");
    let (mut wallet, _, _) = empty(&world);
    let mut settled = Some(old);
    loop {
        let entropy = world.entropy();
        let Some((question, ask)) = wallet.restore_question(world.now, &entropy).expect("asks") else { break };
        if let (Question::Token { .. }, Some(mut old)) =
            (question, settled.take_if(|_| matches!(question, Question::Token { .. })))
        {
            world.settle(&mut old).expect("bought");
        }
        let answer = world.answer(&ask);
        assert_eq!(wallet.restore_answered(question, answer).expect("taken"), Taken::Yes);
    }
    let entropy = world.entropy();
    wallet.finish_restore(world.now, &entropy).expect("done");
    world.settle(&mut wallet).expect("finished");
    assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("16.50"), eur("16.50")));
}

#[test]
fn goods_that_the_shop_no_longer_has_are_said_and_the_money_is_right() {
    for forgotten in ["offer", "goods"] {
        let mut world = World::new();
        let (mut old, _, _) = world.funded("20");
        world.buy(&mut old, "3.50", BuyOptions::default()).expect("begun");
        world.settle(&mut old).expect("bought");
        drop(old);
        let (mut wallet, restored, _) = restored(&mut world);
        world
            .carry(&mut wallet, |ask, answer| match &ask.call {
                AnyCall::Shop(ShopCall::Taken(_)) if forgotten == "offer" => {
                    Err(CallError::Problem(Problem::new("unknown_purchase", "forgotten")))
                }
                AnyCall::Shop(ShopCall::Goods { .. }) if forgotten == "goods" => {
                    Err(CallError::Problem(Problem::new("not_found", "pruned")))
                }
                _ => answer,
            })
            .expect("ends");
        let entry = wallet.operation(restored.purchases[0], world.now).expect("read").expect("known");
        assert_eq!(entry.ended.expect("ended").how, End::Lost, "{forgotten}");
        assert_eq!(world.free(&wallet), eur("16.50"));
        // Should the shop find it again, the person can ask once more.
        wallet.take_up(restored.purchases[0]).expect("taken up");
        world.settle(&mut wallet).expect("delivered");
        let entry = wallet.operation(restored.purchases[0], world.now).expect("read").expect("known");
        assert_eq!(entry.ending(), Some(Ending::Bought), "{forgotten}");
    }
}

#[test]
fn it_goes_on_where_it_was_killed_and_begins_nothing_before_it_is_done() {
    let mut world = World::new();
    let (old, _, _) = world.funded("20");
    let free = values(&old);
    drop(old);
    let (mut wallet, store, goods) = empty(&world);
    let mut answered = 0;
    loop {
        let entropy = world.entropy();
        let bank = world.bank.key.public();
        assert_eq!(wallet.withdraw(bank, eur("1"), world.now, &entropy), Err(WalletError::Restoring));
        assert_eq!(wallet.refresh(bank, world.now, &entropy), Err(WalletError::Restoring));
        let Some((question, ask)) = wallet.restore_question(world.now, &entropy).expect("asks") else { break };
        let answer = world.answer(&ask);
        assert_eq!(wallet.restore_answered(question, answer).expect("taken"), Taken::Yes);
        answered += 1;
        assert_eq!(wallet.restore_progress(world.now).answered, answered);
        if answered % 17 == 0 {
            drop(wallet);
            wallet = Wallet::open(store.clone(), world.peers(), goods.clone()).expect("opened");
        }
    }
    // The last write of all fails once: nothing is half done.
    store.faults().plan(1, When::Before);
    let entropy = world.entropy();
    wallet.finish_restore(world.now, &entropy).expect_err("the process dies");
    drop(wallet);
    store.faults().restart();
    let mut wallet = Wallet::open(store, world.peers(), goods).expect("opened");
    assert!(wallet.is_restoring());
    wallet.finish_restore(world.now, &entropy).expect("done");
    assert_eq!(values(&wallet), free);
    assert!(!wallet.is_restoring());
}

#[test]
fn a_bank_that_lies_is_not_believed() {
    let mut world = World::new();
    let (mut old, _, _) = world.funded("20");
    let entropy = world.entropy();
    old.refresh(world.bank.key.public(), world.now, &entropy).expect("begun");
    let mut spent = None;
    world
        .carry(&mut old, |ask, answer| {
            if let AnyCall::Bank(BankCall::Exchange(request)) = &ask.call {
                spent = Some(request.clone());
            }
            answer
        })
        .expect("refreshed");
    drop(old);
    let (mut wallet, _, _) = empty(&world);
    let mut lies = BTreeSet::new();
    loop {
        let entropy = world.entropy();
        let Some((question, ask)) = wallet.restore_question(world.now, &entropy).expect("asks") else { break };
        let answer = world.answer(&ask).expect("answered");
        let lie = match (&answer, &spent) {
            (AnyReply::Bank(BankReply::Output(OutputFate::Issued(signature))), _) => {
                let mut wrong = **signature;
                wrong.0[0] ^= 1;
                Some(("signature", BankReply::Output(OutputFate::Issued(Box::new(wrong)))))
            }
            // Somebody else's spending, shown for this token.
            (AnyReply::Bank(BankReply::Token(None)), Some(request)) => {
                let record = naulon_exchange::UnverifiedRecord {
                    exchange: request.clone(),
                    state: naulon_exchange::State::Done,
                    accepted: world.now,
                    decision: None,
                };
                Some(("spent", BankReply::Token(Some(Box::new(record)))))
            }
            _ => None,
        };
        if let Some((what, lie)) = lie {
            // Decoys believe anything: nothing hangs on them.
            if let Taken::No(_) = wallet.restore_answered(question, Ok(AnyReply::Bank(lie))).expect("no write") {
                lies.insert(what);
            }
        }
        assert_eq!(wallet.restore_answered(question, Ok(answer)).expect("taken"), Taken::Yes);
    }
    assert_eq!(lies, BTreeSet::from(["signature", "spent"]));
    let entropy = world.entropy();
    assert_eq!(wallet.finish_restore(world.now, &entropy).expect("done").free, eur("20"));
}

#[test]
fn closed_brands_are_said_and_not_asked_about() {
    let mut world = World::new();
    let (old, _, _) = world.funded("20");
    drop(old);
    world.now = world.now.plus(Duration::days(40));
    let (mut wallet, _, _) = empty(&world);
    assert!(questions(&mut world, &mut wallet).is_empty());
    let entropy = world.entropy();
    let restored = wallet.finish_restore(world.now, &entropy).expect("done");
    assert_eq!((restored.closed_brands, restored.tokens), (bank::DENOMINATIONS.len(), 0));
}

/// Whoever withdraws in vain again and again is stopped before a restored wallet would lose sight of its tokens.
#[test]
fn no_wallet_leaves_more_indices_behind_than_a_restoration_looks_at() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("1");
    let bank = world.bank.key.public();
    for round in 0.. {
        assert!(round < 200, "never refused");
        let entropy = world.entropy();
        let op = match wallet.withdraw(bank, eur("99.50"), world.now, &entropy) {
            Ok(op) => op,
            Err(error) => {
                assert_eq!(error, WalletError::IndexGap);
                break;
            }
        };
        let asks = wallet.asks(world.now).expect("asks");
        for (op, ask) in asks {
            let refused = Err(CallError::Problem(Problem::new("insufficient_funds", "nothing there")));
            drop(ask);
            wallet.answered(op, refused, world.now, &entropy).expect("taken");
        }
        wallet.give_up(op, world.now).expect("given up");
    }
}

/// Goes on until the first call of this name has been answered, and the wallet has lost the answer.
fn until(world: &mut World, wallet: &mut Wallet<MemoryStore>, last: &str) {
    for _ in 0..100 {
        for (op, ask) in wallet.asks(world.now).expect("asks") {
            let answer = world.answer(&ask);
            if name(&ask.call) == last {
                return;
            }
            let entropy = world.entropy();
            wallet.answered(op, answer, world.now, &entropy).expect("taken");
        }
    }
    panic!("{last} was never asked");
}
