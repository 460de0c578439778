//! Refunds: as much as was granted, once, to who paid, through every crash and lost answer.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod world;

use naulon_durable::StoreError;
use naulon_durable::fault::{Faults, When};
use naulon_exchange::{Exchange, Input, Output, seal_signatures};
use naulon_money::Amount;
use naulon_statement::{BoxSecretKey, Joint, SecretKey, Signed, Timestamp, Unverified};
use naulon_wallet::*;
use naulon_wire::{AnyCall, AnyReply, Ask, BankReply, CallError, ShopCall, ShopReply};
use world::*;

const PRICE: &str = "3.50";

/// A purchase for a price, paid with tokens of these keys.
fn bought(world: &mut World, keys: Keys, options: BuyOptions) -> (Wallet<MemoryStore>, MemoryStore, OperationId) {
    let (store, goods) = (MemoryStore::new(Faults::none()), MemoryGoods::new(Faults::none()));
    let mut wallet = world.wallet(store.clone(), goods);
    wallet.accept_description(world.bank.description(), world.now).expect("accepted");
    let entropy = world.entropy();
    wallet.withdraw_with(world.bank.key.public(), eur("20"), keys, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("withdrawn");
    let op = world.buy(&mut wallet, PRICE, options).expect("begun");
    world.settle(&mut wallet).expect("bought");
    assert_eq!(world.bank.balance(&world.shop.key.public()), Some(eur(PRICE)));
    (wallet, store, op)
}

fn refund(world: &mut World, wallet: &mut Wallet<MemoryStore>, purchase: OperationId) -> End {
    let entropy = world.entropy();
    let op = wallet.refund(purchase, world.now, &entropy).expect("begun");
    world.settle(wallet).expect("ends");
    wallet.operation(op, world.now).expect("read").expect("known").ended.expect("ended").how
}

#[test]
fn refunds_come_as_tokens_and_never_exceed_the_price() {
    let options = [
        (Keys::Own, BuyOptions::default()),
        (Keys::Own, BuyOptions { two_sided: true, keep_remainder: true, ..BuyOptions::default() }),
        (Keys::Shared, BuyOptions::default()),
    ];
    for (keys, options) in options {
        let mut world = World::new();
        let (mut wallet, _, purchase) = bought(&mut world, keys, options);
        let refused = End::Refused("no_refund".to_owned());
        assert_eq!(refund(&mut world, &mut wallet, purchase), refused, "nothing is granted");
        world.shop.grants = ["1", "2", "1"].map(eur).to_vec();
        assert_eq!(refund(&mut world, &mut wallet, purchase), End::Done);
        assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("17.50"), eur("17.50")));
        assert_eq!(refund(&mut world, &mut wallet, purchase), End::Done);
        assert_eq!(refund(&mut world, &mut wallet, purchase), refused, "the third would exceed the price");
        assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("19.50"), eur("19.50")));
        assert_eq!(world.bank.balance(&world.shop.key.public()), Some(eur("0.50")));
        // They are money.
        let entropy = world.entropy();
        wallet.deposit(world.bank.key.public(), DepositAmount::All, world.now, &entropy).expect("begun");
        world.settle(&mut wallet).expect("deposited");
        assert_eq!(world.bank.outstanding(), Amount::ZERO);
    }
}

/// Two euros are granted, the wallet has begun, and the shop has signed its exchange.
fn signed(world: &mut World) -> (Wallet<MemoryStore>, OperationId, OperationId) {
    let (mut wallet, _, purchase) = bought(world, Keys::Own, BuyOptions::default());
    world.shop.grants = vec![eur("2")];
    let entropy = world.entropy();
    let op = wallet.refund(purchase, world.now, &entropy).expect("begun");
    for _ in 0..2 {
        step(world, &mut wallet, op, |_, answer| answer);
    }
    (wallet, purchase, op)
}

/// Carries what is to be asked now, once.
fn step(
    world: &mut World,
    wallet: &mut Wallet<MemoryStore>,
    op: OperationId,
    meddle: impl Fn(&mut World, Result<AnyReply, CallError>) -> Result<AnyReply, CallError>,
) -> Vec<Event> {
    let entropy = world.entropy();
    let ask = wallet.asks_of(op, world.now).expect("asks").pop().expect("an ask");
    assert!(matches!(ask.circuit, naulon_wire::Circuit::Anonymous(_)), "nobody is named");
    let answer = world.answer(&ask);
    let answer = meddle(world, answer);
    wallet.answered(op, answer, world.now, &entropy).expect("taken")
}

/// A wallet from its words: the refunded tokens come back, and so does the right to the refunds that were not taken.
#[test]
fn a_restored_wallet_has_its_refunds_and_takes_the_next() {
    for taken in [0, 1, 2] {
        let mut world = World::new();
        let (mut wallet, _, purchase) = bought(&mut world, Keys::Own, BuyOptions::default());
        world.shop.grants = ["1", "2"].map(eur).to_vec();
        for _ in 0..taken {
            assert_eq!(refund(&mut world, &mut wallet, purchase), End::Done);
        }
        let before = world.free(&wallet);
        drop(wallet);
        let (store, goods) = (MemoryStore::new(Faults::none()), MemoryGoods::new(Faults::none()));
        let mut wallet = Wallet::restore(store, &seed(), world.peers(), goods, INDICES_SKIPPED + 1).expect("made");
        wallet.accept_description(world.bank.description(), world.now).expect("accepted");
        let restored = world.restore(&mut wallet);
        assert_eq!((restored.free, world.free(&wallet)), (before, before));
        // The purchase comes back with its goods, and with it who may ask.
        world.settle(&mut wallet).expect("delivered again");
        let purchase = restored.purchases[0];
        for amount in ["17.50", "19.50"].into_iter().skip(taken) {
            assert_eq!(refund(&mut world, &mut wallet, purchase), End::Done);
            assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur(amount), eur(amount)));
        }
        assert_eq!(refund(&mut world, &mut wallet, purchase), End::Refused("no_refund".to_owned()));
    }
}

fn set_amount(exchange: &mut Exchange, other: Amount) {
    for input in &mut exchange.inputs {
        let Input::Account { amount, .. } = input else { panic!("the shop's account") };
        *amount = other;
    }
}

/// What the shop signs must be what it granted, and what the bank seals must open and hold.
#[test]
fn answers_that_do_not_hold_change_nothing() {
    let mut world = World::new();
    let (mut wallet, _, purchase) = bought(&mut world, Keys::Own, BuyOptions::default());
    world.shop.grants = vec![eur("2")];
    let entropy = world.entropy();
    let op = wallet.refund(purchase, world.now, &entropy).expect("begun");
    step(&mut world, &mut wallet, op, |_, answer| answer);
    let shop = SecretKey::from_seed(&[3; 32]);
    type Meddle<'a> = &'a dyn Fn(&mut Exchange);
    let lies: [(Meddle, &SecretKey); 7] = [
        (&|_| (), &SecretKey::from_seed(&[77; 32])),
        (&|exchange| exchange.seal_to = None, &shop),
        (&|exchange| exchange.seal_to = Some(BoxSecretKey::from_seed(&[1; 32]).public()), &shop),
        (&|exchange| exchange.outputs.reverse(), &shop),
        (&|exchange| exchange.outputs.truncate(0), &shop),
        (&|exchange| exchange.inputs.push(exchange.inputs[0].clone()), &shop),
        (&|exchange| set_amount(exchange, eur("3")), &shop),
    ];
    for (nth, (change, key)) in lies.into_iter().enumerate() {
        let events = step(&mut world, &mut wallet, op, |_, answer| match answer {
            Ok(AnyReply::Shop(ShopReply::Refund(mut refund))) => {
                let mut exchange = refund.exchange.clone().expect("signed").claimed_body().clone();
                // Two outputs, so that their order can be turned round.
                if nth == 3 {
                    exchange.outputs.push(Output::Account { account: shop.public(), amount: eur("1") });
                }
                change(&mut exchange);
                refund.exchange = Some(Joint::sign(exchange, [key]).into());
                Ok(AnyReply::Shop(ShopReply::Refund(refund)))
            }
            other => other,
        });
        assert!(matches!(events[..], [Event::Distrusted(_)]), "lie {nth}: {events:?}");
    }
    step(&mut world, &mut wallet, op, |_, answer| answer);
    // The bank's answer: not sealed, sealed to another, or a signature that does not hold.
    for lie in 0..3 {
        let events = step(&mut world, &mut wallet, op, |_, answer| match answer {
            Ok(AnyReply::Bank(BankReply::Exchange(mut reply))) => {
                let signatures = vec![naulon_blind::BlindSignature([7; 256])];
                let own = BoxSecretKey::from_seed(&[1; 32]).public();
                reply.sealed = match lie {
                    0 => None,
                    1 => Some(seal_signatures(&own, &reply.request, &signatures, &[1; 32]).expect("sealed")),
                    _ => reply.sealed.map(|mut sealed| {
                        sealed[40] ^= 1;
                        sealed
                    }),
                };
                reply.signatures = signatures;
                Ok(AnyReply::Bank(BankReply::Exchange(reply)))
            }
            other => other,
        });
        assert!(matches!(events[..], [Event::Distrusted(_)]), "lie {lie}: {events:?}");
        assert_eq!(world.free(&wallet), eur("16.50"));
    }
    world.settle(&mut wallet).expect("refunded");
    assert_eq!(world.free(&wallet), eur("18.50"));
}

/// The shop has not the money now: the refund stays under way, can be given up and taken up again, and comes once.
#[test]
fn a_shop_without_money_delays_its_refund() {
    let mut world = World::new();
    let (mut wallet, purchase, op) = signed(&mut world);
    let shop = world.shop.key.public();
    world.bank.pay_out(shop, eur(PRICE));
    step(&mut world, &mut wallet, op, |_, answer| answer);
    assert_eq!(world.free(&wallet), eur("16.50"));
    wallet.give_up(op, world.now).expect("given up");
    // Another operation for the same refund, while the shop has the first one's exchange still.
    world.bank.pay_in(shop, eur(PRICE));
    let entropy = world.entropy();
    let again = wallet.refund(purchase, world.now, &entropy).expect("begun");
    wallet.take_up(op).expect("taken up");
    world.settle(&mut wallet).expect("end");
    let how = |wallet: &mut Wallet<MemoryStore>, op, now| {
        wallet.operation(op, now).expect("read").expect("known").ended.expect("ended").how
    };
    assert_eq!(how(&mut wallet, op, world.now), End::Done);
    assert_eq!(how(&mut wallet, again, world.now), End::Refused("no_refund".to_owned()));
    assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("18.50"), eur("18.50")));
}

/// The brands of the outputs ended before the bank heard of it: it comes in those of the next period.
#[test]
fn a_refund_that_took_too_long_comes_in_other_brands() {
    let mut world = World::new();
    let (mut wallet, _, _) = signed(&mut world);
    let later = Timestamp(world.now.0 + 10 * DAY);
    world.bank.issue(6, later.minus(naulon_statement::Duration::days(1)));
    world.now = later;
    wallet.accept_description(world.bank.description(), later).expect("accepted");
    world.settle(&mut wallet).expect("refunded");
    assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("18.50"), eur("18.50")));
}

/// The wallet dies at every write, and every answer is lost once: the refund comes, and it comes once.
#[test]
fn a_crash_at_any_write_of_a_refund_loses_nothing() {
    for nth in 1.. {
        let mut crashes = 0;
        for when in [When::Before, When::After] {
            let mut world = World::new();
            let (mut wallet, store, purchase) = bought(&mut world, Keys::Own, BuyOptions::default());
            world.shop.grants = vec![eur(PRICE)];
            let faults = store.faults().clone();
            faults.plan(nth, when);
            loop {
                let entropy = world.entropy();
                let free = world.free(&wallet);
                let done = match free == eur("20") {
                    true => Ok(()),
                    false => {
                        wallet.refund(purchase, world.now, &entropy).and_then(|_| world.settle(&mut wallet)).map(drop)
                    }
                };
                match done {
                    Ok(()) => break,
                    Err(WalletError::Store(StoreError::Crashed) | WalletError::Reopen) => {
                        crashes += 1;
                        faults.restart();
                        let goods = MemoryGoods::new(Faults::none());
                        wallet = Wallet::open(store.clone(), world.peers(), goods).expect("opened");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            faults.plan(0, when);
            let what = format!("write {nth}, {when:?}");
            assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("20"), eur("20")), "{what}");
            assert_eq!(world.bank.balance(&world.shop.key.public()), Some(Amount::ZERO), "{what}");
        }
        if crashes == 0 {
            assert!(nth > 4, "only {nth} writes");
            return;
        }
    }
}

#[test]
fn every_answer_may_be_lost_once() {
    for lost in 1..=3 {
        let mut world = World::new();
        let (mut wallet, _, purchase) = bought(&mut world, Keys::Own, BuyOptions::default());
        world.shop.grants = vec![eur("2")];
        let entropy = world.entropy();
        wallet.refund(purchase, world.now, &entropy).expect("begun");
        let mut count = 0;
        let lose = |_: &Ask, answer| {
            count += 1;
            if count == lost { Err(CallError::Unreachable("it".into(), "lost".into())) } else { answer }
        };
        world.carry(&mut wallet, lose).expect("refunded");
        assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("18.50"), eur("18.50")), "answer {lost}");
    }
}

/// Header and offer are known to others; only q makes a request the buyer's. And the bank's reply is the buyer's alone.
#[test]
fn only_who_paid_is_refunded() {
    let mut world = World::new();
    let (mut wallet, _, purchase) = bought(&mut world, Keys::Own, BuyOptions::default());
    world.shop.grants = vec![eur("2")];
    let entropy = world.entropy();
    let op = wallet.refund(purchase, world.now, &entropy).expect("begun");
    let mut sealed = 0;
    let watch = |ask: &Ask, answer: Result<AnyReply, CallError>| {
        if let Ok(AnyReply::Bank(BankReply::Exchange(reply))) = &answer {
            assert!(reply.signatures.is_empty(), "not for whoever asks");
            sealed += reply.sealed.as_ref().map_or(0, Vec::len);
        }
        let _ = ask;
        answer
    };
    let stolen = wallet.asks(world.now).expect("asks").into_iter().find(|(of, _)| *of == op).expect("an ask").1;
    let AnyCall::Shop(ShopCall::Refund(request)) = &stolen.call else { panic!("asks the shop") };
    let forge = |body: &dyn Fn(&mut naulon_purchase::UnverifiedRefund)| {
        let mut forged = request.as_ref().clone();
        body(&mut forged);
        AnyCall::Shop(ShopCall::Refund(Box::new(forged)))
    };
    let thief = SecretKey::from_seed(&[77; 32]);
    let signed = |by: &SecretKey| Unverified::from(&Signed::sign(by, request.request.claimed_body().clone()));
    let by_another = forge(&|refund| refund.request = signed(&thief));
    let by_the_shop = SecretKey::from_seed(&[3; 32]);
    let by_the_shop = forge(&|refund| refund.request = signed(&by_the_shop));
    let without_proof = forge(&|refund| refund.authorization_q.clear());
    let of_another_sale = forge(&|refund| refund.authorization_q[40] ^= 1);
    for call in [by_another, by_the_shop, without_proof, of_another_sale] {
        assert_eq!(world.call(&call).expect_err("refused").code, "not_the_buyer");
    }
    world.carry(&mut wallet, watch).expect("refunded");
    assert!(sealed > 256);
    assert_eq!(world.free(&wallet), eur("18.50"));
}
