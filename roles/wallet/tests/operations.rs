//! What a person does with a wallet, and what it keeps apart.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod world;

use naulon_exchange::Input;
use naulon_money::Amount;
use naulon_purchase::{Ending, Trust, judge};
use naulon_statement::{Duration, PublicKey, SecretKey, Signed, Timestamp, Unverified};
use naulon_wallet::*;
use naulon_wire::{AnyCall, AnyReply, BankCall, CallError, Circuit, Problem, ShopReply};
use world::*;

fn ended(wallet: &mut Wallet<impl WalletStore>, op: OperationId, now: Timestamp) -> End {
    wallet.operation(op, now).expect("read").expect("known").ended.expect("ended").how
}

#[test]
fn money_goes_out_as_tokens_and_comes_back() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("37.50");
    let bank = world.bank.key.public();
    assert_eq!(world.free(&wallet), eur("37.50"));
    assert_eq!(world.bank.outstanding(), eur("37.50"));
    assert_eq!(world.bank.balance(&wallet.account(&bank)), Some(eur("62.50")));
    let before: Vec<_> = wallet.tokens().iter().map(|token| token.value).collect();
    assert!(before.len() >= 6, "a float: {before:?}");

    let entropy = world.entropy();
    let op = wallet.refresh(bank, world.now, &entropy).expect("begun");
    assert_eq!(world.free(&wallet), Amount::ZERO, "all of it is set aside");
    world.settle(&mut wallet).expect("refreshed");
    assert_eq!(ended(&mut wallet, op, world.now), End::Done);
    assert_eq!(world.free(&wallet), eur("37.50"));

    let entropy = world.entropy();
    wallet.deposit(bank, eur("12.50"), world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("deposited");
    assert_eq!(world.free(&wallet), eur("25"));
    let entropy = world.entropy();
    wallet.deposit(bank, DepositAmount::All, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("deposited");
    assert_eq!(world.free(&wallet), Amount::ZERO);
    assert_eq!(world.bank.outstanding(), Amount::ZERO);
    assert_eq!(world.bank.balance(&wallet.account(&bank)), Some(eur(PAID_IN)));
    assert_eq!(wallet.deposit(bank, DepositAmount::All, world.now, &entropy), Err(WalletError::NothingToDo));
    assert_eq!(wallet.history(world.now).expect("history").len(), 5);
}

#[test]
fn goods_are_bought_with_change_one_sided_and_two_sided() {
    for two_sided in [false, true] {
        let mut world = World::new();
        let (mut wallet, _, goods) = world.funded("20");
        let op = world.buy(&mut wallet, "3.50", BuyOptions { two_sided, ..BuyOptions::default() }).expect("begun");
        let events = world.settle(&mut wallet).expect("bought");
        assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Bought));
        assert!(events.iter().any(|event| matches!(event, Event::Delivered { .. })));
        let entry = wallet.operation(op, world.now).expect("read").expect("known");
        assert_eq!(goods.finished(&entry.place.expect("a place")).as_deref(), Some(&world.shop.plain[..]));
        assert_eq!(world.free(&wallet), eur("16.50"));
        assert_eq!(world.bank.outstanding(), eur("16.50"));
        assert_eq!(world.bank.balance(&world.shop.key.public()), Some(eur("3.50")));

        let evidence = wallet.evidence(op).expect("evidence");
        assert_eq!(evidence.goods_q.is_some(), two_sided);
        let trust = Trust {
            banks: [world.bank.key.public()].into(),
            logs: [(world.log.key.public(), world.log.identity())].into(),
            merchants: [world.shop.key.public()].into(),
        };
        let judgement = judge(&evidence, &trust, |_, _| None);
        assert!(judgement.breaches.is_empty() && !judgement.claims.is_empty(), "{judgement:?}");
    }
}

#[test]
fn a_purchase_that_the_shop_does_not_answer_is_aborted_and_its_tokens_are_free_again() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    world.shop.is_silent = true;
    let op = world.buy(&mut wallet, "3.50", BuyOptions::default()).expect("begun");
    let begun = world.now;
    world.settle(&mut wallet).expect("aborted");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Aborted));
    assert!(world.now.since(begun) >= DEFAULT_LOCK);
    assert_eq!(world.free(&wallet), eur("20"));
    // Both ways to the decision were tried, and the same tokens pay for something else now.
    for name in ["pay", "decision", "abort", "settle"] {
        assert!(world.asked.iter().any(|(_, _, asked)| *asked == name), "{name}");
    }
    world.shop.is_silent = false;
    let op = world.buy(&mut wallet, "20", BuyOptions::default()).expect("begun");
    world.settle(&mut wallet).expect("bought");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Bought));
}

#[test]
fn the_key_is_taken_from_the_log_when_the_shop_dies_after_releasing_it() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let op = world.buy(&mut wallet, "3.50", BuyOptions::default()).expect("begun");
    let lose = |ask: &naulon_wire::Ask, answer| match name(&ask.call) {
        "pay" => Err(CallError::Unreachable("the shop".into(), "gone".into())),
        _ => answer,
    };
    world.carry(&mut wallet, lose).expect("bought");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Bought));
    assert!(world.now.since(START) < DEFAULT_LOCK, "not only when it asked for the abort");
}

#[test]
fn circuits_never_mix_account_and_anonymous_calls() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let bank = world.bank.key.public();
    let account = Circuit::Identified(wallet.account(&bank));
    for _ in 0..2 {
        world.buy(&mut wallet, "3.50", BuyOptions::default()).expect("begun");
        world.settle(&mut wallet).expect("bought");
    }
    let entropy = world.entropy();
    wallet.refresh(bank, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("refreshed");
    let entropy = world.entropy();
    wallet.deposit(bank, eur("1"), world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("deposited");
    let (identified, anonymous): (Vec<_>, Vec<_>) = world.asked.iter().partition(|(_, circuit, _)| *circuit == account);
    assert!(identified.iter().all(|(_, _, name)| ["open", "exchange"].contains(name)));
    assert!(anonymous.iter().all(|(_, circuit, _)| matches!(circuit, Circuit::Anonymous(_))));
    let circuits: std::collections::BTreeSet<_> = anonymous.iter().map(|(_, circuit, _)| circuit).collect();
    assert_eq!(circuits.len(), 3, "two purchases and one refreshing");
}

#[test]
fn what_cannot_be_bought_is_named() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("10");
    let currency = || "EUR".parse().expect("a currency");
    let mut refused = |world: &mut World, price: &str, options: BuyOptions| {
        let before = wallet.tokens();
        let refused = world.buy(&mut wallet, price, options).expect_err("refused");
        assert_eq!(wallet.tokens(), before);
        refused
    };
    let missing = WalletError::Insufficient { missing: eur("2.50"), currency: currency() };
    assert_eq!(refused(&mut world, "12.50", BuyOptions::default()), missing);
    let off_grid = WalletError::NotPayable { amount: eur("3.70"), currency: currency() };
    assert_eq!(refused(&mut world, "3.70", BuyOptions::default()), off_grid);
    assert_eq!(off_grid.code(), "not_payable");
    let most = BuyOptions { max_price: Some(eur("3")), ..BuyOptions::default() };
    assert_eq!(refused(&mut world, "3.50", most), WalletError::TooDear { price: eur("3.50"), most: eur("3") });
    let log = BuyOptions { log: Some(PublicKey([4; 32])), ..BuyOptions::default() };
    assert_eq!(refused(&mut world, "3.50", log), WalletError::NoCommonLog);

    let mut refuse = |change: &dyn Fn(&mut naulon_purchase::GoodsM)| {
        let mut draft = world.shop.draft(eur("1"), world.now);
        change(&mut draft);
        let offer = Signed::sign(&world.shop.key, draft);
        wallet.buy(Unverified::from(&offer), BuyOptions::default(), world.now, &[1; 32]).expect_err("refused")
    };
    assert_eq!(refuse(&|offer| offer.valid_until = START), WalletError::OfferExpired);
    assert_eq!(refuse(&|offer| offer.release_margin = Duration::days(2)), WalletError::NoExpiry);
    assert_eq!(refuse(&|offer| offer.banks = vec![PublicKey([4; 32])]), WalletError::NoCommonBank(currency()));
    let stranger = SecretKey::from_seed(&[44; 32]).public();
    assert_eq!(refuse(&|offer| offer.merchant = stranger), WalletError::UnknownShop(stranger));
    let forged = {
        let draft = world.shop.draft(eur("1"), world.now);
        Signed::sign(&SecretKey::from_seed(&[44; 32]), draft)
    };
    let refused = wallet.buy(Unverified::from(&forged), BuyOptions::default(), world.now, &[1; 32]);
    assert_eq!(refused.expect_err("refused").code(), "wrong_signer");
}

#[test]
fn the_same_offer_is_bought_once() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let offer = world.shop.offer(eur("5"), world.now);
    let buy = |wallet: &mut Wallet<MemoryStore>, n| {
        wallet.buy(Unverified::from(&offer), BuyOptions::default(), START, &[n; 32]).expect("begun")
    };
    assert_eq!(buy(&mut wallet, 1), buy(&mut wallet, 2));
    world.settle(&mut wallet).expect("bought");
    assert_eq!(world.free(&wallet), eur("15"));
}

#[test]
fn tokens_of_an_old_brand_are_refreshed_or_pay_exactly() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("10");
    // The first period's brands are no longer issued, but can be spent; the second period's are not known yet.
    world.now = Timestamp(world.now.0 + 12 * DAY);
    let refused = world.buy(&mut wallet, "9.70", BuyOptions::default()).expect_err("refused");
    assert_eq!(refused.code(), "not_payable");
    let op = world.buy(&mut wallet, "3.50", BuyOptions::default()).expect("exact");
    world.settle(&mut wallet).expect("bought");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Bought));
    world.bank.issue(6, world.now);
    wallet.accept_description(world.bank.description(), world.now).expect("accepted");
    // Past the spend-until a token pays nothing, but can be exchanged.
    world.now = Timestamp(world.now.0 + 8 * DAY);
    assert_eq!(world.buy(&mut wallet, "1", BuyOptions::default()).expect_err("refused").code(), "insufficient");
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    wallet.refresh(bank, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("refreshed");
    assert_eq!(world.free(&wallet), eur("6.50"));
    let op = world.buy(&mut wallet, "1", BuyOptions::default()).expect("begun");
    world.settle(&mut wallet).expect("bought");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Bought));
}

#[test]
fn a_refused_withdrawal_waits_can_be_given_up_and_taken_up_again() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("1");
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    let op = wallet.withdraw(bank, eur("150"), world.now, &entropy).expect("begun");
    assert_eq!(wallet.give_up(op, world.now), Err(WalletError::NotNow(op)), "the bank has said nothing yet");
    let asks = wallet.asks(world.now).expect("asks");
    let answer = world.answer(&asks[0].1);
    let events = wallet.answered(op, answer, world.now, &entropy).expect("answered");
    assert!(matches!(&events[..], [Event::Refused(problem)] if problem.code == "insufficient_funds"), "{events:?}");
    wallet.give_up(op, world.now).expect("given up");
    assert_eq!(ended(&mut wallet, op, world.now), End::GivenUp("insufficient_funds".into()));
    assert!(wallet.asks(world.now).expect("asks").is_empty());
    // A copy of the request was held up on the way, and succeeds later.
    world.bank.pay_in(wallet.account(&bank), eur("100"));
    world.answer(&asks[0].1).expect("accepted");
    wallet.take_up(op).expect("taken up");
    world.settle(&mut wallet).expect("withdrawn");
    assert_eq!(world.free(&wallet), eur("151"));
}

/// Encrypted goods are as large as goods: those of a purchase that came to nothing are not left behind.
#[test]
fn a_purchase_that_is_given_up_leaves_no_goods_behind() {
    let mut world = World::new();
    let (mut wallet, _, mut goods) = world.funded("10");
    let op = world.buy(&mut wallet, "1", BuyOptions::default()).expect("begun");
    let asks = wallet.asks(world.now).expect("asks");
    assert_eq!(name(&asks[0].1.call), "goods");
    let piece = naulon_wire::Piece { offset: 0, bytes: bytes::Bytes::from_static(b"a piece"), of: 1_000_000 };
    let reply = AnyReply::Shop(ShopReply::Goods(piece));
    wallet.answered(op, Ok(reply), world.now, &world.entropy()).expect("answered");
    let offers = goods.encrypted();
    assert_eq!(offers.len(), 1, "a piece is kept");
    assert_eq!(goods.kept(&offers[0]).expect("read"), 7);
    wallet.give_up(op, world.now).expect("given up");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::GivenUp));
    assert!(goods.encrypted().is_empty());
}

#[test]
fn a_final_refusal_ends_the_operation_and_frees_its_tokens() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("10");
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    let op = wallet.refresh(bank, world.now, &entropy).expect("begun");
    let refuse = |_: &naulon_wire::Ask, _| Err(Problem::new("brand_closed", "closed").into());
    world.carry(&mut wallet, refuse).expect("refused");
    assert_eq!(ended(&mut wallet, op, world.now), End::Refused("brand_closed".into()));
    assert_eq!(world.free(&wallet), eur("10"));
    // A withdrawal whose brands are over, and which the bank does not know, can never succeed.
    let op = wallet.withdraw(bank, eur("5"), world.now, &entropy).expect("begun");
    world.now = Timestamp(world.now.0 + 10 * DAY);
    world.settle(&mut wallet).expect("refused");
    assert_eq!(ended(&mut wallet, op, world.now), End::Refused("brand_not_issuing".into()));
}

#[test]
fn a_lock_that_the_bank_refuses_for_good_frees_the_tokens_and_other_refusals_do_not() {
    for (code, is_final) in
        [("offer_taken", false), ("locked", false), ("expiry_too_soon", true), ("range", false), ("wrong_bank", false)]
    {
        let mut world = World::new();
        let (mut wallet, _, _) = world.funded("10");
        let op = world.buy(&mut wallet, "3.50", BuyOptions::default()).expect("begun");
        let mut refusals = 0;
        let refuse = |ask: &naulon_wire::Ask, answer| {
            let refuse = name(&ask.call) == "lock" && refusals < 3;
            refusals += usize::from(refuse);
            if refuse { Err(CallError::from(Problem::new(code, "no"))) } else { answer }
        };
        world.carry(&mut wallet, refuse).expect("ended");
        let expected = if is_final { Ending::NotLocked } else { Ending::Bought };
        assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(expected), "{code}");
        let left = if is_final { "10" } else { "6.50" };
        assert_eq!(world.free(&wallet), eur(left), "{code}");
    }
}

#[test]
fn a_bank_that_never_answers_locks_nothing_and_says_so_after_the_expiry() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("10");
    let op = world.buy(&mut wallet, "3.50", BuyOptions::default()).expect("begun");
    // Every lock request is lost, so the bank first hears of it when it is too late.
    for _ in 0..700 {
        for (op, ask) in wallet.asks(world.now).expect("asks") {
            let answer = match name(&ask.call) {
                "lock" => Err(CallError::Unreachable("bank".into(), "lost".into())),
                _ => world.answer(&ask),
            };
            wallet.answered(op, answer, world.now, &[0; 32]).expect("answered");
        }
        world.now = Timestamp(world.now.0 + 1_000);
    }
    world.settle(&mut wallet).expect("ended");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::NotLocked));
    assert_eq!(world.free(&wallet), eur("10"));
    assert_eq!(world.bank.accepted(), 1, "the withdrawal alone");
}

#[test]
fn goods_that_are_lost_after_they_were_paid_are_fetched_again() {
    let mut world = World::new();
    let (mut wallet, _, goods) = world.funded("20");
    let offer = world.shop.offer(eur("3.50"), world.now);
    let op = wallet.buy(Unverified::from(&offer), BuyOptions::default(), world.now, &[5; 32]).expect("begun");
    let digest = naulon_statement::Digest::of(&[offer.bytes()]);
    let mut damaged = false;
    let mut shelf = goods.clone();
    let damage = |ask: &naulon_wire::Ask, answer| {
        if name(&ask.call) == "pay" && !damaged {
            damaged = true;
            shelf.discard(&digest).expect("discarded");
            shelf.append(&digest, 0, &[7; 1000]).expect("appended");
        }
        answer
    };
    world.carry(&mut wallet, damage).expect("bought");
    assert!(damaged);
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Bought));
    assert_eq!(world.free(&wallet), eur("16.50"));
}

#[test]
fn two_purchases_at_once_use_different_tokens() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let a = world.buy(&mut wallet, "7.50", BuyOptions::default()).expect("begun");
    let b = world.buy(&mut wallet, "7.50", BuyOptions::default()).expect("begun");
    let refused = world.buy(&mut wallet, "7.50", BuyOptions::default()).expect_err("refused");
    assert_eq!(refused.code(), "insufficient");
    world.settle(&mut wallet).expect("bought");
    for op in [a, b] {
        assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Bought));
    }
    assert_eq!(world.free(&wallet), eur("5"));
    assert_eq!(world.bank.balance(&world.shop.key.public()), Some(eur("15")));
}

#[test]
fn the_index_is_never_used_twice() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let mut keys = std::collections::BTreeSet::new();
    let mut seen = 0;
    for _ in 0..5 {
        let (bank, entropy) = (world.bank.key.public(), world.entropy());
        wallet.refresh(bank, world.now, &entropy).expect("begun");
        let asks = wallet.asks(world.now).expect("asks");
        let AnyCall::Bank(BankCall::Exchange(request)) = &asks[0].1.call else { panic!("an exchange") };
        for input in &request.claimed_body().inputs {
            let Input::Token { token, .. } = input else { panic!("a token") };
            seen += 1;
            keys.insert(*token.nonce());
        }
        world.settle(&mut wallet).expect("refreshed");
    }
    assert_eq!(keys.len(), seen);
}

#[test]
fn a_pending_payment_is_looked_for_at_the_log() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let op = world.buy(&mut wallet, "3.50", BuyOptions::default()).expect("begun");
    let pending = |ask: &naulon_wire::Ask, answer| match name(&ask.call) {
        "pay" => Ok(AnyReply::Shop(ShopReply::Pending)),
        _ => answer,
    };
    let events = world.carry(&mut wallet, pending).expect("bought");
    assert!(events.contains(&Event::Pending));
    assert!(world.now.since(START) < DEFAULT_LOCK, "not only when it asked for the abort");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Bought));
}
