//! What keeps payments private and money from expiring: the meter, waits, renewal.

#![allow(clippy::panic)] // What helps a test may panic as the test does.

mod world;

use naulon_durable::fault::Faults;
use naulon_exchange::register::Day;
use naulon_money::Amount;
use naulon_statement::{Duration, Timestamp, Unverified};
use naulon_wallet::*;
use naulon_wire::{AnyCall, AnyReply, BankReply};
use world::*;

const HOUR: u64 = 3_600_000;

/// What paying this price would tell.
fn assess(world: &mut World, wallet: &mut Wallet<MemoryStore>, price: &str, options: &BuyOptions) -> Privacy {
    let offer = Unverified::from(&world.shop.offer(eur(price), world.now));
    wallet.assess(&offer, options, world.now).expect("can be paid")
}

fn codes(privacy: &Privacy) -> Vec<&'static str> {
    privacy.reasons.iter().map(PrivacyReason::code).collect()
}

/// Reads the bank's register again, and the sums of its last day, as the driver does.
fn learn(world: &mut World, wallet: &mut Wallet<MemoryStore>) {
    wallet.accept_description(world.bank.description(), world.now).expect("accepted");
    let bank = world.bank.key.public();
    if let Some(call) = wallet.counts_call(&bank) {
        match world.call(&AnyCall::Bank(call)).expect("served") {
            AnyReply::Bank(BankReply::Public(file)) => assert!(wallet.accept_counts(&bank, &file.bytes)),
            other => panic!("{other:?}"),
        }
    }
}

/// The verdict of a payment that stands out by nothing but how many tokens of its brand there are.
#[test]
fn a_brand_of_few_tokens_is_refused() {
    let mut world = World::new();
    let (mut wallet, ..) = world.funded("60");
    world.now = Timestamp(world.now.0 + 2 * DAY);
    let options = BuyOptions::default();
    // No day is counted yet: nothing can be said, and nothing is refused.
    let privacy = assess(&mut world, &mut wallet, "20", &options);
    assert_eq!((codes(&privacy), privacy.level()), (vec!["not_counted"], PrivacyLevel::Fair));
    assert!(!privacy.is_refused(1_000));

    // The bank has a day, and does not show it: perhaps to this wallet alone.
    world.bank.close_day(Day::of(START), |brand| if brand.denomination == eur("20") { 99 } else { 5_000 });
    wallet.accept_description(world.bank.description(), world.now).expect("accepted");
    let privacy = assess(&mut world, &mut wallet, "20", &options);
    assert_eq!((codes(&privacy), privacy.level()), (vec!["counts_withheld"], PrivacyLevel::Poor));
    assert!(privacy.is_refused(1) && !privacy.is_refused(0));
    let bank = world.bank.key.public();
    let mut other = world.bank.days[0].bytes().to_vec();
    *other.last_mut().expect("bytes") ^= 1;
    assert!(!wallet.accept_counts(&bank, &other), "not what stands in the register");
    let forged = naulon_statement::Signed::sign(&world.shop.key, (*world.bank.days[0]).clone());
    assert!(!wallet.accept_counts(&bank, forged.bytes()), "not signed by the bank");

    learn(&mut world, &mut wallet);
    let privacy = assess(&mut world, &mut wallet, "20", &options);
    assert_eq!(privacy.reasons, [PrivacyReason::FewIssued(99)]);
    assert_eq!(
        (privacy.issued, privacy.level(), privacy.counted),
        (Some(99), PrivacyLevel::Poor, Some(Day::of(START)))
    );
    assert!(privacy.is_refused(100) && !privacy.is_refused(99));
    // Other tokens, of a brand of many.
    let privacy = assess(&mut world, &mut wallet, "5", &options);
    assert_eq!((privacy.issued, privacy.level(), codes(&privacy)), (Some(5_000), PrivacyLevel::Good, vec![]));

    // The next day there are more.
    world.bank.close_day(Day::of(START).next(), |_| 1_000);
    learn(&mut world, &mut wallet);
    assert_eq!(assess(&mut world, &mut wallet, "20", &options).level(), PrivacyLevel::Good);
    assert_eq!(wallet.countdown(&bank)[0].issued, Some(1_000));
    // After a start the sums are asked for again.
    assert!(wallet.counts_call(&bank).is_none());
}

#[test]
fn time_amount_and_number_tell_and_refreshing_helps() {
    let mut world = World::new();
    let (mut wallet, ..) = world.funded("8.50");
    world.bank.close_day(Day::of(START), |_| 5_000);
    learn(&mut world, &mut wallet);
    let options = BuyOptions::default();
    // At once after the withdrawal, and the very amount: by both it can be guessed.
    let privacy = assess(&mut world, &mut wallet, "8.50", &options);
    assert!(privacy.reasons.contains(&PrivacyReason::ExactAmount(eur("8.50"))), "{privacy:?}");
    assert!(codes(&privacy).contains(&"young") && codes(&privacy).contains(&"withdrawn_together"));
    assert!(privacy.is_straight() && privacy.level() == PrivacyLevel::Poor);
    // Hours later it is no longer poor for its age; a day later its age says nothing.
    world.now = Timestamp(world.now.0 + HOUR);
    let privacy = assess(&mut world, &mut wallet, "2", &options);
    assert_eq!((codes(&privacy), privacy.level()), (vec!["young"], PrivacyLevel::Fair));
    world.now = Timestamp(world.now.0 + DAY);
    assert_eq!(assess(&mut world, &mut wallet, "2", &options).level(), PrivacyLevel::Good);
    assert!(codes(&assess(&mut world, &mut wallet, "8.50", &options)).contains(&"exact_amount"));

    // Fresh tokens tell neither when nor for how much they were withdrawn.
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    wallet.refresh(bank, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("refreshed");
    let privacy = assess(&mut world, &mut wallet, "8.50", &options);
    assert!(!privacy.is_straight(), "{privacy:?}");
    assert!(codes(&privacy).iter().all(|code| ["many_together", "odd_amount"].contains(code)), "{privacy:?}");
    // An amount of many denominations, or a token that is used again and again, stand out by themselves.
    let keeps = BuyOptions { keep_remainder: true, ..BuyOptions::default() };
    assert!(codes(&assess(&mut world, &mut wallet, "1", &keeps)).contains(&"in_parts"));
    let entropy = world.entropy();
    wallet.withdraw_with(bank, eur("40"), Keys::Shared, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("withdrawn");
    assert!(codes(&assess(&mut world, &mut wallet, "40", &options)).contains(&"shared_key"));
    assert!(codes(&assess(&mut world, &mut wallet, "18.50", &options)).contains(&"odd_amount"));
}

#[test]
fn what_names_the_account_and_what_does_not_are_kept_apart() {
    let mut world = World::new();
    let (store, goods) = (MemoryStore::new(Faults::none()), MemoryGoods::new(Faults::none()));
    let mut wallet = Wallet::create(store.clone(), &seed(), world.peers(), goods.clone()).expect("created");
    let most = Duration(HOUR);
    let entropy = world.entropy();
    assert_eq!(wallet.apart(false, most, world.now, &entropy), Ok(Duration(0)), "there was nothing yet");
    world.provide(&mut wallet).expect("provided");
    wallet.accept_description(world.bank.description(), world.now).expect("accepted");
    world.withdraw(&mut wallet, "10");
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let entropy = world.entropy();
        let wait = wallet.apart(false, most, world.now, &entropy).expect("drawn");
        assert!(wait <= most);
        waits.insert(wait.0);
        assert_eq!(wallet.apart(true, most, world.now, &entropy), Ok(Duration(0)), "of the same kind as the last");
    }
    assert!(waits.len() > 40, "they are drawn");
    // What has passed already is not waited for again.
    let entropy = world.entropy();
    let later = Timestamp(world.now.0 + HOUR);
    assert_eq!(wallet.apart(false, most, later, &entropy), Ok(Duration(0)));
    assert_eq!(wallet.apart(false, Duration(0), world.now, &entropy), Ok(Duration(0)), "switched off");
    // To ask for the balance names the account, too; that is remembered over a start.
    wallet.balance_ask(world.bank.key.public(), later).expect("a question");
    let mut wallet = Wallet::open(store, world.peers(), goods).expect("opened");
    let waits: Vec<Duration> = (0..20)
        .map(|_| {
            let entropy = world.entropy();
            wallet.apart(false, most, later, &entropy).expect("drawn")
        })
        .collect();
    assert!(waits.iter().any(|wait| wait.0 > 0), "{waits:?}");
}

/// Sees through what renewing begins, and says how often it did.
fn renew(world: &mut World, wallet: &mut Wallet<MemoryStore>) -> usize {
    let bank = world.bank.key.public();
    for times in 0..20 {
        let entropy = world.entropy();
        if wallet.renew(bank, world.now, &entropy).expect("renews").is_none() {
            return times;
        }
        world.settle(wallet).expect("renewed");
    }
    panic!("it does not end");
}

#[test]
fn tokens_are_renewed_before_they_end() {
    let mut world = World::new();
    let (mut wallet, ..) = world.funded("8.50");
    let bank = world.bank.key.public();
    let first = wallet.countdown(&bank);
    assert!(!first.is_empty());
    for entry in &first {
        // Brands of ten days' issue and ten more to be spent: within the last five.
        let from = entry.spend_until.0 - 5 * DAY;
        assert!((from..entry.spend_until.0).contains(&entry.renewed_from.0), "{entry:?}");
        assert_eq!(entry.redeem_until.0, entry.spend_until.0 + 10 * DAY);
    }
    let moments: std::collections::BTreeSet<Timestamp> = first.iter().map(|entry| entry.renewed_from).collect();
    assert!(moments.len() > 1, "not all at one time, by which the wallet could be known");
    assert_eq!(renew(&mut world, &mut wallet), 0, "nothing is due");

    // Just before the end, with the next period's brands: all are renewed, for nothing.
    let end = first[0].spend_until;
    world.bank.issue(6, end.minus(Duration::days(5)));
    world.now = end.minus(Duration(1_000));
    wallet.accept_description(world.bank.description(), world.now).expect("accepted");
    world.asked.clear();
    assert!(renew(&mut world, &mut wallet) >= 1);
    assert!(world.asked.iter().all(|(_, circuit, _)| matches!(circuit, naulon_wire::Circuit::Anonymous(_))));
    assert_eq!((world.free(&wallet), world.bank.outstanding()), (eur("8.50"), eur("8.50")));
    assert!(wallet.countdown(&bank).iter().all(|entry| entry.spend_until > end));
    assert_eq!(renew(&mut world, &mut wallet), 0);
}

/// The bank issues nothing any more: what can no longer be spent goes to the account, and what nobody took in time is shown.
#[test]
fn what_cannot_be_renewed_goes_to_the_account_and_nothing_ends_silently() {
    let mut world = World::new();
    let (mut wallet, store, goods) = world.funded("8.50");
    let bank = world.bank.key.public();
    let before = world.bank.balance(&wallet.account(&bank)).expect("an account");
    let entry = wallet.countdown(&bank)[0].clone();
    world.now = entry.spend_until.minus(Duration(1_000));
    assert_eq!(renew(&mut world, &mut wallet), 0, "it can be spent still, so it waits");
    let copy = store.clone();
    world.now = entry.spend_until.plus(Duration(1_000));
    // Another copy of the wallet that nobody opened in time.
    world.now = entry.redeem_until;
    let mut late = Wallet::open(copy, world.peers(), goods).expect("opened");
    assert_eq!(renew(&mut world, &mut late), 0);
    let over = late.countdown(&bank);
    assert!(over.iter().all(|entry| entry.redeem_until <= world.now) && !over.is_empty(), "they are shown as over");
    drop(late);

    world.now = entry.spend_until.plus(Duration(1_000));
    assert_eq!(renew(&mut world, &mut wallet), 1);
    assert_eq!(world.bank.outstanding(), Amount::ZERO);
    let after = world.bank.balance(&wallet.account(&bank)).expect("an account");
    assert_eq!(after.checked_sub(before), Some(eur("8.50")));
    assert!(wallet.countdown(&bank).is_empty());
}
