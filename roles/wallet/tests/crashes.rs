//! The process dies at every write, on either side of it; every message is doubled or lost; answers are tampered with.
//! Whatever happens, all money is accounted for and every operation ends.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod world;

use naulon_durable::StoreError;
use naulon_durable::fault::{Faults, When};
use naulon_exchange::Outcome;
use naulon_money::Amount;
use naulon_purchase::Ending;
use naulon_statement::{SecretKey, Signed, Timestamp, Unverified};
use naulon_wallet::*;
use naulon_wire::{AnyReply, Ask, BankReply, CallError, LogReply, Piece, PublicFile, PublicKind, ShopReply};
use world::*;

const WITHDRAWN: &str = "20";
const PRICE: &str = "3.50";

/// What a person wants, from nothing to the goods. She withdraws a single token, so that the purchase needs change. Every wish is repeated until it is fulfilled, as a person would who
/// finds the process dead.
fn live(world: &mut World, wallet: &mut Wallet<MemoryStore>) -> Result<(), WalletError> {
    world.provide(wallet)?;
    let bank = world.bank.key.public();
    let begun = |wallet: &mut Wallet<MemoryStore>, kind| {
        wallet.history(START).map(|history| history.iter().any(|entry| entry.kind == kind))
    };
    if !begun(wallet, OperationKind::Withdraw)? {
        let entropy = world.entropy();
        wallet.withdraw(bank, eur(WITHDRAWN), world.now, &entropy)?;
    }
    world.settle(wallet)?;
    if !begun(wallet, OperationKind::Purchase)? {
        wallet.accept_description(world.bank.description(), world.now)?;
        let keep_remainder = world.keep_remainder;
        world.buy(wallet, PRICE, BuyOptions { two_sided: true, keep_remainder, ..BuyOptions::default() })?;
    }
    world.settle(wallet)?;
    if !begun(wallet, OperationKind::Refresh)? {
        let entropy = world.entropy();
        wallet.refresh(bank, world.now, &entropy)?;
    }
    world.settle(wallet)?;
    Ok(())
}

fn open(world: &World, store: &MemoryStore, goods: &MemoryGoods) -> Result<Wallet<MemoryStore>, WalletError> {
    match Wallet::open(store.clone(), world.peers(), goods.clone()) {
        Err(WalletError::NoWallet) => Wallet::create(store.clone(), &seed(), world.peers(), goods.clone()),
        opened => opened,
    }
}

/// Lives through a crash, if there is one; returns the wallet as it is in the end, and whether there was.
fn live_through(
    world: &mut World,
    faults: &Faults,
    store: &MemoryStore,
    goods: &MemoryGoods,
) -> (Wallet<MemoryStore>, bool) {
    let mut crashed = false;
    loop {
        let outcome = open(world, store, goods).and_then(|mut wallet| live(world, &mut wallet).map(|()| wallet));
        match outcome {
            Ok(wallet) => return (wallet, crashed),
            Err(WalletError::Store(StoreError::Crashed)) if !crashed => crashed = true,
            Err(error) => panic!("{error}"),
        }
        faults.restart();
    }
}

/// All money is accounted for: what the person has and what the bank says agree, and the shop has its price or nothing.
fn check(world: &World, wallet: &mut Wallet<MemoryStore>, goods: &MemoryGoods, ending: Ending, what: &str) {
    let bought = ending == Ending::Bought;
    let paid = if bought { eur(PRICE) } else { Amount::ZERO };
    let left = eur(WITHDRAWN).checked_sub(paid).expect("less");
    let balance = wallet.balance()[&world.bank.key.public()].clone();
    assert_eq!((balance.free, balance.reserved), (left, Amount::ZERO), "{what}");
    assert_eq!(world.bank.outstanding(), left, "{what}: what the bank owes for tokens is what the wallet has");
    assert_eq!(world.bank.balance(&world.shop.key.public()), Some(paid), "{what}");
    let account = world.bank.balance(&wallet.account(&world.bank.key.public()));
    assert_eq!(account, eur(PAID_IN).checked_sub(eur(WITHDRAWN)), "{what}");
    let purchases = wallet.purchases(world.now).expect("read");
    assert_eq!(purchases.iter().map(Entry::ending).collect::<Vec<_>>(), [Some(ending)], "{what}");
    let plain: Vec<Vec<u8>> = goods.all().into_values().collect();
    assert_eq!(plain, if bought { vec![world.shop.plain.clone()] } else { Vec::new() }, "{what}");
    assert_eq!(wallet.history(world.now).expect("read").len(), 4, "{what}");
}

fn at_every_write(prepare: impl Fn(&mut World), ending: Ending) {
    for nth in 1.. {
        let mut crashes = 0;
        for when in [When::Before, When::After] {
            let what = format!("write {nth}, {when:?}");
            let mut world = World::new();
            prepare(&mut world);
            let faults = Faults::crash_at(nth, when);
            let (store, goods) = (MemoryStore::new(faults.clone()), MemoryGoods::new(faults.clone()));
            let (mut wallet, crashed) = live_through(&mut world, &faults, &store, &goods);
            crashes += usize::from(crashed);
            faults.plan(0, when);
            check(&world, &mut wallet, &goods, ending, &what);
            // And the money is really there, no index is used twice, and the bank takes every token.
            let entropy = world.entropy();
            wallet.refresh(world.bank.key.public(), world.now, &entropy).expect("begun");
            world.settle(&mut wallet).expect("refreshed");
            let entropy = world.entropy();
            wallet.deposit(world.bank.key.public(), DepositAmount::All, world.now, &entropy).expect("begun");
            world.settle(&mut wallet).expect("deposited");
            assert_eq!(world.bank.outstanding(), Amount::ZERO, "{what}");
        }
        if crashes == 0 {
            assert!(nth > 20, "only {nth} writes");
            return;
        }
        assert_eq!(crashes, 2, "write {nth}");
    }
}

#[test]
fn a_crash_at_any_write_of_a_withdrawal_and_a_purchase_loses_nothing() {
    at_every_write(|_| {}, Ending::Bought);
}

#[test]
fn a_crash_at_any_write_of_a_purchase_that_is_aborted_loses_nothing() {
    at_every_write(|world| world.shop.is_silent = true, Ending::Aborted);
}

#[test]
fn a_crash_at_any_write_of_a_purchase_that_keeps_a_remainder_loses_nothing() {
    at_every_write(|world| world.keep_remainder = true, Ending::Bought);
    at_every_write(
        |world| {
            world.keep_remainder = true;
            world.shop.is_silent = true;
        },
        Ending::Aborted,
    );
}

/// The first time an answer of this kind comes, the other answer is given in its place.
fn tampered(
    call: &'static str,
    mut forge: impl FnMut(&mut AnyReply),
) -> impl FnMut(&Ask, Result<AnyReply, CallError>) -> Result<AnyReply, CallError> {
    let mut done = false;
    move |ask, mut answer| {
        if let (Ok(reply), false) = (&mut answer, done || name(&ask.call) != call) {
            forge(reply);
            done = true;
        }
        answer
    }
}

/// Buys with one answer tampered with: it must be distrusted, and everything goes on with the true one.
fn survives(call: &'static str, forge: impl FnMut(&mut AnyReply)) {
    let mut world = World::new();
    let faults = Faults::none();
    let (store, goods) = (MemoryStore::new(faults.clone()), MemoryGoods::new(faults));
    let mut wallet = Wallet::create(store.clone(), &seed(), world.peers(), goods.clone()).expect("created");
    world.provide(&mut wallet).expect("provided");
    let mut meddle = tampered(call, forge);
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    wallet.withdraw(bank, eur(WITHDRAWN), world.now, &entropy).expect("begun");
    let mut events = world.carry(&mut wallet, &mut meddle).expect("withdrawn");
    wallet.accept_description(world.bank.description(), world.now).expect("accepted");
    world.buy(&mut wallet, PRICE, BuyOptions::default()).expect("begun");
    events.extend(world.carry(&mut wallet, &mut meddle).expect("bought"));
    let distrusted = events.iter().filter(|event| matches!(event, Event::Distrusted(_) | Event::OtherGoods)).count();
    assert_eq!(distrusted, 1, "{call}: {events:?}");
    let entropy = world.entropy();
    wallet.refresh(bank, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("refreshed");
    check(&world, &mut wallet, &goods, Ending::Bought, call);
}

fn exchange_reply(reply: &mut AnyReply) -> &mut naulon_wire::ExchangeReply {
    match reply {
        AnyReply::Bank(BankReply::Exchange(reply)) => reply,
        _ => panic!("not an exchange's reply"),
    }
}

#[test]
fn wrong_blind_signatures_are_refused() {
    survives("exchange", |reply| exchange_reply(reply).signatures[0].0[9] ^= 1);
    survives("exchange", |reply| exchange_reply(reply).signatures.truncate(0));
    survives("exchange", |reply| exchange_reply(reply).request.0[0] ^= 1);
    survives("exchange", |reply| exchange_reply(reply).state = naulon_exchange::State::Locked);
    survives("settle", |reply| exchange_reply(reply).signatures[0].0[9] ^= 1);
    survives("settle", |reply| exchange_reply(reply).signatures.clear());
    survives("settle", |reply| exchange_reply(reply).state = naulon_exchange::State::Aborted);
    survives("settle", |reply| exchange_reply(reply).decision = None);
}

#[test]
fn foreign_headers_and_promises_are_refused() {
    let stranger = SecretKey::from_seed(&[44; 32]);
    let bank = SecretKey::from_seed(&[1; 32]);
    let resign = |key: &SecretKey, reply: &mut AnyReply, change: &dyn Fn(&mut naulon_exchange::Header)| {
        let reply = exchange_reply(reply);
        let mut header = reply.header.clone().expect("a header").from_own_store().into_body();
        change(&mut header);
        reply.header = Some(Unverified::from(&Signed::sign(key, header)));
    };
    survives("lock", |reply| resign(&stranger, reply, &|_| {}));
    survives("lock", |reply| resign(&bank, reply, &|header| header.n[0] ^= 1));
    survives("lock", |reply| resign(&bank, reply, &|header| header.expiry = Timestamp(header.expiry.0 + 1)));
    survives("lock", |reply| exchange_reply(reply).header = None);
    survives("lock", |reply| exchange_reply(reply).authorization_b = None);
    survives("lock", |reply| exchange_reply(reply).state = naulon_exchange::State::Committed);
    survives("lock", |reply| exchange_reply(reply).state = naulon_exchange::State::Done);
    survives("lock", |reply| *reply = AnyReply::Bank(BankReply::Opened));
}

#[test]
fn decisions_that_do_not_hold_are_refused() {
    let forge = |signer: [u8; 32], outcome: Outcome| {
        move |reply: &mut AnyReply| {
            let AnyReply::Shop(ShopReply::Decision(decision)) = reply else { panic!("a decision") };
            let bank = SecretKey::from_seed(&[1; 32]).public();
            let log = Log::new(SecretKey::from_seed(&signer), bank);
            let mut body = (**decision).clone().from_own_store().decision().clone();
            body.outcome = outcome;
            **decision = (&log.sign(body)).into();
        }
    };
    // Signed by another than the log, committing to a wrong key, and an abort before the expiry.
    survives("pay", forge([44; 32], Outcome::Commit { k: [0; 32] }));
    survives("pay", forge([2; 32], Outcome::Commit { k: [0; 32] }));
    survives("pay", forge([2; 32], Outcome::Abort));
    survives("pay", |reply| {
        let AnyReply::Shop(ShopReply::Decision(decision)) = reply else { panic!("a decision") };
        decision.checkpoint.push('x');
    });
    survives("pay", |reply| *reply = AnyReply::Log(LogReply::Public(checkpoint(b""))));
}

#[test]
fn tampered_goods_are_refused() {
    let replace = |reply: &mut AnyReply, change: &dyn Fn(&mut Vec<u8>)| {
        let AnyReply::Shop(ShopReply::Goods(piece)) = reply else { panic!("goods") };
        let mut changed = piece.bytes.to_vec();
        change(&mut changed);
        piece.bytes = changed.into();
    };
    survives("goods", |reply| replace(reply, &|bytes| bytes[70_000] ^= 1));
    survives("goods", |reply| replace(reply, &|bytes| bytes.clear()));
    survives("goods", |reply| replace(reply, &|bytes| bytes.push(0)));
}

#[test]
fn doubled_and_late_answers_change_nothing() {
    let mut world = World::new();
    let (mut wallet, mut store, goods) = world.funded(WITHDRAWN);
    world.buy(&mut wallet, PRICE, BuyOptions::default()).expect("begun");
    let mut late: Vec<(OperationId, Ask)> = Vec::new();
    while !wallet.under_way(world.now).is_empty() {
        for (op, ask) in wallet.asks(world.now).expect("asks") {
            let answer = world.answer(&ask);
            wallet.answered(op, answer, world.now, &[0; 32]).expect("answered");
            let before = rows(&mut store);
            let mut again = vec![(op, ask)];
            again.append(&mut late);
            for (op, ask) in &again {
                // What the other side says to a repetition, at any later time.
                let answer = world.answer(ask);
                wallet.answered(*op, answer, world.now, &[0; 32]).expect("answered");
            }
            late = again;
            // A doubled answer may be the next step's answer too, but never takes anything back.
            if rows(&mut store) != before {
                assert!(wallet.under_way(world.now).len() <= 1);
            }
        }
        world.now = Timestamp(world.now.0 + 1_000);
    }
    let before = rows(&mut store);
    for (op, ask) in &late {
        let answer = world.answer(ask);
        assert_eq!(wallet.answered(*op, answer, world.now, &[0; 32]), Ok(Vec::new()));
        let gone = Err(CallError::Unreachable("it".into(), "gone".into()));
        assert_eq!(wallet.answered(*op, gone, world.now, &[0; 32]), Ok(Vec::new()));
    }
    assert_eq!(rows(&mut store), before);
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    wallet.refresh(bank, world.now, &entropy).expect("begun");
    world.settle(&mut wallet).expect("refreshed");
    check(&world, &mut wallet, &goods, Ending::Bought, "doubled");
}

#[test]
fn answers_to_nothing_that_was_asked_are_refused() {
    let mut world = World::new();
    let (mut wallet, mut store, _) = world.funded(WITHDRAWN);
    let op = world.buy(&mut wallet, PRICE, BuyOptions::default()).expect("begun");
    let before = rows(&mut store);
    let strange: Vec<AnyReply> = vec![
        AnyReply::Bank(BankReply::Opened),
        AnyReply::Bank(BankReply::Balance(eur("1"))),
        AnyReply::Log(LogReply::Public(checkpoint(b"1"))),
        AnyReply::Shop(ShopReply::Pending),
        AnyReply::Shop(ShopReply::Goods(Piece { offset: 0, bytes: bytes::Bytes::from_static(b"unasked"), of: 7 })),
    ];
    for reply in strange {
        let events = wallet.answered(op, Ok(reply), world.now, &[0; 32]).expect("answered");
        assert!(events.iter().all(|event| !event.is_progress()), "{events:?}");
    }
    for code in ["malformed", "spent", "expiry_too_soon", "too_late", "log_contradiction", "no such code"] {
        let problem = naulon_wire::Problem::new(code, "out of turn");
        wallet.answered(op, Err(problem.into()), world.now, &[0; 32]).expect("answered");
    }
    assert_eq!(rows(&mut store), before);
    let unknown = wallet.answered(OperationId(999), Ok(AnyReply::Bank(BankReply::Opened)), world.now, &[0; 32]);
    assert_eq!(unknown, Ok(Vec::new()));
}

#[test]
fn after_a_write_of_unknown_fate_the_wallet_wants_to_be_opened_again() {
    let mut world = World::new();
    let faults = Faults::none();
    let (store, goods) = (MemoryStore::new(faults.clone()), MemoryGoods::default());
    let mut wallet = world.wallet(store.clone(), goods.clone());
    faults.plan(1, When::After);
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    let refused = wallet.withdraw(bank, eur("1"), world.now, &entropy);
    assert_eq!(refused, Err(WalletError::Store(StoreError::Crashed)));
    faults.restart();
    assert_eq!(wallet.withdraw(bank, eur("1"), world.now, &entropy), Err(WalletError::Reopen));
    assert!(matches!(wallet.asks(world.now), Err(WalletError::Reopen)));
    drop(wallet);
    let mut wallet = Wallet::open(store, world.peers(), goods).expect("opened");
    world.settle(&mut wallet).expect("withdrawn");
    assert_eq!(world.free(&wallet), eur("1"));
}

#[test]
fn a_wallet_is_created_once_and_opened_only_where_it_is() {
    let world = World::new();
    let store = MemoryStore::new(Faults::none());
    let open = |store: &MemoryStore| Wallet::open(store.clone(), world.peers(), MemoryGoods::default()).err();
    assert_eq!(open(&store), Some(WalletError::NoWallet));
    Wallet::create(store.clone(), &seed(), world.peers(), MemoryGoods::default()).expect("created");
    let again = Wallet::create(store.clone(), &seed(), world.peers(), MemoryGoods::default());
    assert_eq!(again.err(), Some(WalletError::Exists));
    assert_eq!(open(&store), None);
    for kind in [Kind::Seed, Kind::Brand, Kind::Token, Kind::Operation, Kind::Index, Kind::Bank] {
        let mut damaged = store.copy(Faults::none());
        let key = if kind == Kind::Seed { Vec::new() } else { vec![1; 8] };
        damaged.commit(&[Write::Put { kind, key, value: vec![1, 2, 3] }]).expect("written");
        assert!(matches!(open(&damaged), Some(WalletError::Damaged(_))), "{kind:?}");
    }
}

fn checkpoint(bytes: &'static [u8]) -> PublicFile {
    PublicFile { kind: PublicKind::Checkpoint, bytes: bytes::Bytes::from_static(bytes) }
}
