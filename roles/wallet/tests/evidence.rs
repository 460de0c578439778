//! What convicts others is kept: two registers, two trees, and a promise that was not authorized.

#![allow(clippy::panic)] // What helps a test may panic as the test does.

mod world;

use std::collections::BTreeMap;

use naulon_exchange::register::{RegisterBreach, RegisterRefusal};
use naulon_exchange::{AuthorizationB, Header};
use naulon_purchase::{Breach, Evidence, Party, Trust, judge, judge_log};
use naulon_statement::{Duration, Signed, Unverified};
use naulon_wallet::*;
use naulon_wire::{AnyReply, Ask, BankReply, CallError};
use world::*;

#[test]
fn two_registers_convict_their_bank() {
    let mut world = World::new();
    let (mut wallet, ..) = world.funded("20");
    let bank = world.bank.identity();
    assert_eq!(wallet.kept_evidence(), [], "an honest bank");
    // The same bank shows another person other brands, and then this wallet those.
    let mut other = Bank::new(naulon_statement::SecretKey::from_seed(&[1; 32]), world.log.identity(), world.now);
    other.brands.clear();
    other.issue(6, START.minus(Duration::days(2)));
    other.issue(0, START.plus(Duration::days(20)));
    let accepted = wallet.accept_description(other.description(), world.now).expect("read");
    assert!(matches!(accepted.register, Some(RegisterRefusal::Forked { .. })), "{accepted:?}");
    let kept = wallet.kept_evidence();
    let [KeptEvidence::Register(evidence)] = &kept[..] else { panic!("{kept:?}") };
    let banks = BTreeMap::from([(bank.key, bank.clone())]);
    assert_eq!(evidence.judge(&banks).breaches, [(bank.key, RegisterBreach::TwoRegisters)]);
    // It is met again, also after a start.
    wallet.accept_description(other.description(), world.now).expect("read");
    assert_eq!(wallet.kept_evidence(), kept);
}

#[test]
fn two_trees_of_one_size_convict_their_log() {
    let mut world = World::new();
    let (mut wallet, store, goods) = world.funded("20");
    for _ in 0..3 {
        world.buy(&mut wallet, "1", BuyOptions::default()).expect("begun");
        world.settle(&mut wallet).expect("bought");
    }
    assert_eq!(wallet.kept_evidence(), [], "an honest log");
    let seen = wallet.seen_trees().map(|(log, _)| *log).collect::<Vec<_>>();
    assert_eq!(seen, [world.log.key.public()]);
    drop(wallet);

    let mut wallet = Wallet::open(store, world.peers(), goods).expect("opened");
    world.log.forks_at = Some(3);
    world.buy(&mut wallet, "1", BuyOptions::default()).expect("begun");
    world.settle(&mut wallet).expect("bought: the decision is one");
    let kept = wallet.kept_evidence();
    let [KeptEvidence::Log(evidence)] = &kept[..] else { panic!("{kept:?}") };
    let log = world.log.identity();
    assert_eq!(judge_log(evidence, &log).breaches, [(Party::Log(log.key), Breach::TwoTrees)]);
}

/// The bank's answer to an authorization, with a header of its own making.
fn misfitting(world: &World, answer: Result<AnyReply, CallError>) -> Result<AnyReply, CallError> {
    let Ok(AnyReply::Bank(BankReply::Exchange(mut reply))) = answer else { return answer };
    if let Some(header) = &reply.header {
        let header = Header { expiry: header.claimed_body().expiry.plus(Duration(1)), ..header.claimed_body().clone() };
        let before = reply.authorization_b.as_ref().expect("a promise").claimed_body().clone();
        let promise = AuthorizationB { header: header.digest(), ..before };
        reply.header = Some(Unverified::from(&Signed::sign(&world.bank.key, header)));
        reply.authorization_b = Some(Unverified::from(&Signed::sign(&world.bank.key, promise)));
    }
    Ok(AnyReply::Bank(BankReply::Exchange(reply)))
}

fn breaches(world: &World, evidence: &Evidence) -> Vec<(Party, Breach)> {
    let trust = Trust { banks: [world.bank.key.public()].into(), ..Trust::default() };
    judge(evidence, &trust, |_, _| None).breaches
}

#[test]
fn a_promise_that_was_not_authorized_convicts_its_bank() {
    let mut world = World::new();
    let (mut wallet, store, goods) = world.funded("20");
    let op = world.buy(&mut wallet, "1", BuyOptions::default()).expect("begun");
    let is_lock = |ask: &Ask| name(&ask.call) == "lock";
    let mut events = Vec::new();
    for _ in 0..20 {
        let entropy = world.entropy();
        let Some(ask) = wallet.asks_of(op, world.now).expect("asks").pop() else { break };
        let answer = world.answer(&ask);
        let lied = is_lock(&ask);
        let answer = if lied { misfitting(&world, answer) } else { answer };
        events.extend(wallet.answered(op, answer, world.now, &entropy).expect("taken"));
        if lied {
            break;
        }
    }
    assert!(matches!(events.last(), Some(Event::Distrusted(_))), "{events:?}");
    let kept = wallet.kept_evidence();
    let [KeptEvidence::Promise(evidence)] = &kept[..] else { panic!("{kept:?}") };
    let convicted = [(Party::Bank(world.bank.key.public()), Breach::PromiseMisfit)];
    assert_eq!(breaches(&world, evidence), convicted);
    drop(wallet);

    // It is written down with the purchase, until the bank promises what was authorized.
    let mut wallet = Wallet::open(store, world.peers(), goods).expect("opened");
    let written = wallet.evidence(op).expect("evidence");
    assert_eq!(breaches(&world, &written), convicted);
    // What somebody else signed is no evidence against the bank.
    let mut forged = written.clone();
    let header = Unverified::<Header>::parse(forged.header.as_ref().expect("a header")).expect("parses");
    let by_another = Signed::sign(&world.shop.key, header.claimed_body().clone());
    forged.header = Some(by_another.bytes().to_vec());
    forged.authorization_b = None;
    assert_eq!(breaches(&world, &forged), []);
    world.settle(&mut wallet).expect("bought");
    assert_eq!(breaches(&world, &wallet.evidence(op).expect("evidence")), []);
}
