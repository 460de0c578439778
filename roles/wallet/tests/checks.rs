//! Checks that are paid by the tick: funded, handed out once, and what is left of them comes back.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod world;

use naulon_durable::fault::Faults;
use naulon_exchange::{BankTerms, Challenge, Exchange, Input, Output, VerifiedFunding, verify_funding};
use naulon_money::Amount;
use naulon_statement::{Duration, Joint, Signed, Unverified, UnverifiedJoint};
use naulon_tick::Close;
use naulon_wallet::*;
use naulon_wire::{AnyReply, BankCall, BankReply, Circuit};
use world::*;

/// 300 ticks of 0.001 to the shop: less than the smallest token is worth.
fn wanted(world: &World) -> CheckWanted {
    CheckWanted {
        bank: world.bank.key.public(),
        payee: world.shop.key.public(),
        value: eur("0.001"),
        length: 300,
        expiry: world.now.plus(Duration::days(1)),
    }
}

fn fund(world: &mut World, wallet: &mut Wallet<impl WalletStore>, pocket: Pocket) -> u32 {
    let (wanted, entropy) = (wanted(world), world.entropy());
    let op = wallet.fund_check(&wanted, pocket, world.now, &entropy).expect("begun");
    world.settle(wallet).expect("funded");
    assert_eq!(wallet.ready_check(&wanted), wallet.check_of(op));
    wallet.check_of(op).expect("a check")
}

/// The shop cashes so many ticks of a check that it was paid with.
fn cash(world: &mut World, ready: &ReadyCheck, ticks: u32) {
    let terms = BankTerms { bank: world.bank.key.public(), currency: world.bank.rules.currency.clone() };
    let verified = verify_funding(&ready.check, &ready.funding, &terms, world.now).expect("good for it");
    assert!(matches!(verified, VerifiedFunding::Locked));
    let to = ready.walker().expect("its ticks").advance(ticks).expect("enough");
    let challenge = Challenge::new(&[1; 32], world.now);
    let input = Input::Chain { check: ready.check.clone(), from: ready.check.front(), to, challenge };
    let amount = ready.check.worth(ticks).expect("countable");
    let output = Output::Account { account: world.shop.key.public(), amount };
    let (bank, currency) = (terms.bank, terms.currency);
    let body = Exchange { bank, currency, inputs: vec![input], outputs: vec![output], condition: None, seal_to: None };
    let call = BankCall::Exchange(UnverifiedJoint::from(Joint::sign(body, [&world.shop.key])));
    world.bank.call(&call, world.now).expect("cashed");
}

fn in_checks(world: &World, wallet: &Wallet<impl WalletStore>) -> Amount {
    wallet.balance()[&world.bank.key.public()].in_checks
}

#[test]
fn tokens_pay_by_the_tick_and_what_is_left_comes_back() {
    let mut world = World::new();
    let (mut wallet, store, _) = world.funded("20");
    let number = fund(&mut world, &mut wallet, Pocket::Tokens);
    // The smallest token is worth 0.50.
    assert_eq!((world.free(&wallet), in_checks(&world, &wallet)), (eur("19.50"), eur("0.50")));
    let ready = wallet.hand_out(number).expect("ready");
    assert!(matches!(wallet.hand_out(number).err(), Some(WalletError::CheckNotReady(_))), "once");
    drop(wallet);
    let mut wallet = Wallet::open(store, world.peers(), MemoryGoods::new(Faults::none())).expect("opened");
    assert!(wallet.hand_out(number).is_err(), "also after a crash");
    cash(&mut world, &ready, 200);
    assert_eq!(world.bank.balance(&world.shop.key.public()), Some(eur("0.2")));
    // Before its time only by the payee's word.
    let entropy = world.entropy();
    let refused = wallet.reclaim_check(number, None, Pocket::Tokens, world.now, &entropy);
    assert_eq!(refused, Err(WalletError::CheckNotFree(number)));
    let entry = &wallet.checks()[0];
    assert_eq!((entry.state, entry.maximum), (CheckState::Out, eur("0.50")));
    world.now = entry.free_from;
    assert_eq!(wallet.free_checks(world.now), [number]);
    // 0.30 is left: less than a token. All of it can be had by the account, in one piece.
    let entropy = world.entropy();
    wallet.reclaim_check(number, None, Pocket::Tokens, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("asked");
    assert_eq!(in_checks(&world, &wallet), eur("0.50"), "nothing could come back yet");
    let before = world.bank.balance(&wallet.account(&world.bank.key.public())).expect("open");
    let entropy = world.entropy();
    wallet.reclaim_check(number, None, Pocket::Account, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("given back");
    let after = world.bank.balance(&wallet.account(&world.bank.key.public())).expect("open");
    assert_eq!(after, before.checked_add(eur("0.3")).expect("countable"));
    assert_eq!((wallet.checks()[0].state, in_checks(&world, &wallet)), (CheckState::Over, Amount::ZERO));
    let entropy = world.entropy();
    assert!(wallet.reclaim_check(number, None, Pocket::Account, world.now, &entropy).is_err(), "it is over");
}

/// A check that nobody was shown is ready again, also after a crash; one that is ready or unknown is not put back.
#[test]
fn a_check_that_nobody_was_shown_is_put_back() {
    let mut world = World::new();
    let (mut wallet, store, _) = world.funded("20");
    let number = fund(&mut world, &mut wallet, Pocket::Tokens);
    let unused = wallet.hand_out(number).expect("ready");
    let wanted = CheckWanted { expiry: unused.check.expiry, ..wanted(&world) };
    assert_eq!(wallet.ready_check(&wanted), None);
    wallet.put_back(&unused.check).expect("put back");
    assert!(matches!(wallet.put_back(&unused.check), Err(WalletError::CheckNotReady(_))), "it is ready");
    let other = naulon_tick::Check { salt: [9; 16], ..unused.check.clone() };
    assert_eq!(wallet.put_back(&other), Err(WalletError::BadCheck));
    drop(wallet);
    let mut wallet = Wallet::open(store, world.peers(), MemoryGoods::new(Faults::none())).expect("opened");
    assert_eq!(wallet.ready_check(&wanted), Some(number));
    let ready = wallet.hand_out(number).expect("ready again");
    assert!(ready.check == unused.check);
    cash(&mut world, &ready, 300);
}

/// The payee closes a check that was hardly used: what it lets go comes back at once, as tokens, and unlinked to the funding.
#[test]
fn a_closed_check_comes_back_early() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let number = fund(&mut world, &mut wallet, Pocket::Tokens);
    let ready = wallet.hand_out(number).expect("ready");
    let close = Close { commitment: ready.check.commitment(), index: 0 };
    let close = Unverified::from(&Signed::sign(&world.shop.key, close));
    let entropy = world.entropy();
    wallet.reclaim_check(number, Some(close), Pocket::Tokens, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("given back");
    assert_eq!((world.free(&wallet), in_checks(&world, &wallet)), (eur("20"), Amount::ZERO));
    let circuits: Vec<&Circuit> =
        world.asked.iter().filter(|(_, _, name)| ["exchange", "check"].contains(name)).map(|(_, c, _)| c).collect();
    let last = &circuits[circuits.len() - 3..];
    assert!(matches!(last, [Circuit::Anonymous(a), Circuit::Anonymous(b), Circuit::Anonymous(c)] if a != b && b == c));
}

#[test]
fn an_account_funds_a_check_exactly() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let before = world.bank.balance(&wallet.account(&world.bank.key.public())).expect("open");
    let number = fund(&mut world, &mut wallet, Pocket::Account);
    assert_eq!((world.free(&wallet), in_checks(&world, &wallet)), (eur("20"), eur("0.3")));
    let ready = wallet.hand_out(number).expect("ready");
    cash(&mut world, &ready, 300);
    let after = world.bank.balance(&wallet.account(&world.bank.key.public())).expect("open");
    assert_eq!(after.checked_add(eur("0.3")), Some(before));
    world.now = wallet.checks()[0].free_from;
    let entropy = world.entropy();
    wallet.reclaim_check(number, None, Pocket::Tokens, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("asked");
    assert_eq!(wallet.checks()[0].state, CheckState::Over);
}

/// A certificate that does not cover the check is none: the wallet asks again, and hands nothing out.
#[test]
fn a_check_without_its_certificate_is_not_handed_out() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let (wanted, entropy) = (wanted(&world), world.entropy());
    let op = wallet.fund_check(&wanted, Pocket::Tokens, world.now, &entropy).expect("begun");
    let number = wallet.check_of(op).expect("a check");
    assert!(matches!(wallet.hand_out(number).err(), Some(WalletError::CheckNotReady(_))));
    let asks = wallet.asks_of(op, world.now).expect("asks");
    let Ok(AnyReply::Bank(BankReply::Exchange(mut reply))) = world.answer(&asks[0]) else { panic!("a reply") };
    let good = reply.certificates.clone();
    let mut other = good[0].claimed_body().clone();
    other.maximum = eur("0.299");
    for bad in [vec![], vec![Unverified::from(&Signed::sign(&world.bank.key, other))]] {
        reply.certificates = bad;
        let answer = Ok(AnyReply::Bank(BankReply::Exchange(reply.clone())));
        let events = wallet.answered(op, answer, world.now, &[0; 32]).expect("taken");
        assert!(events.iter().any(|event| matches!(event, Event::Distrusted(_))), "{events:?}");
        assert_eq!(wallet.checks()[0].state, CheckState::Funding);
    }
    world.settle(&mut wallet).expect("asked again");
    assert_eq!(wallet.checks()[0].state, CheckState::Ready);
    // Two checks do not share tokens, and a refused one is void.
    let poor = CheckWanted { length: 300_000, ..wanted.clone() };
    let refused = wallet.fund_check(&poor, Pocket::Tokens, world.now, &[1; 32]);
    assert!(matches!(refused, Err(WalletError::Insufficient { .. })));
    let past = CheckWanted { expiry: world.now, ..wanted };
    let op = wallet.fund_check(&past, Pocket::Tokens, world.now, &[2; 32]).expect("begun");
    world.settle(&mut wallet).expect("refused");
    assert_eq!(wallet.checks()[1].state, CheckState::Void);
    assert_eq!(wallet.check_of(op), Some(1));
    assert_eq!(world.free(&wallet), eur("19.50"), "its tokens are free again");
}
