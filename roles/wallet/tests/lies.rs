//! Lies of banks, logs, shops and copies: what the wallet believes, and what it keeps.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod world;

use naulon_durable::fault::Faults;
use naulon_exchange::register::RegisterRefusal;
use naulon_exchange::{Exchange, Header, LogDecision, Outcome, Record, State};
use naulon_money::Amount;
use naulon_purchase::{Ending, Trust, judge};
use naulon_statement::{Duration, Joint, SecretKey, Signed, Timestamp, Unverified, UnverifiedJoint};
use naulon_tlog::{WitnessPolicy, WitnessSigner};
use naulon_wallet::*;
use naulon_wire::{AnyCall, AnyReply, BankCall, BankReply, Problem};
use world::*;

fn ended(wallet: &mut Wallet<impl WalletStore>, op: OperationId, now: Timestamp) -> End {
    wallet.operation(op, now).expect("read").expect("known").ended.expect("ended").how
}

#[test]
fn only_one_brand_a_denomination_and_time_comes_in_through_the_door() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("1");
    let from = START.minus(Duration::days(1));
    let known = world.bank.brands.len();
    let mut offered = |brand: naulon_blind::Brand| {
        world.bank.brands.truncate(known);
        world.bank.brands.push(Signed::sign(&world.bank.key, brand));
        let accepted = wallet.accept_description(world.bank.description(), START).expect("read");
        (accepted.brands, accepted.register.is_some())
    };
    // A second brand for the same money and time: nothing is taken from a register that has one.
    let own = world_brand(8, "1", from);
    assert_eq!(offered(own.clone()), (0, true));
    // A start that is a little later is the same trick, and so is a key for two values.
    assert_eq!(offered(world_brand(8, "1", from.plus(Duration::seconds(1)))), (0, true));
    assert_eq!(offered(world_brand(0, "50", from)), (0, true));
    // One that makes no sense, or another bank's, keeps nobody from using the rest.
    assert_eq!(
        offered(naulon_blind::Brand { withdraw_until: Timestamp(0), ..world_brand(9, "100", from) }),
        (known, false)
    );
}

/// A brand of the world's bank.
fn world_brand(key: usize, denomination: &str, from: Timestamp) -> naulon_blind::Brand {
    World::new().bank.brand(&bank::brand_key(key), denomination, from)
}

/// A wallet that knows nothing but its peers.
fn stranger(peers: Peers) -> Wallet<MemoryStore> {
    let (store, goods) = (MemoryStore::new(Faults::none()), MemoryGoods::new(Faults::none()));
    Wallet::create(store, &seed(), peers, goods).expect("created")
}

#[test]
fn a_brand_counts_only_from_a_register_that_the_witnesses_have_seen() {
    let world = World::new();
    let all = world.bank.brands.len();
    let [one, two] = [1, 2].map(|n| WitnessSigner::new(&format!("witness.example/{n}"), &[n; 32]).expect("a name"));
    let policy = WitnessPolicy::new(vec![one.verifier().clone(), two.verifier().clone()], 2).expect("a policy");
    let pinned = PinnedBank::new(world.bank.identity(), policy);
    let mut wallet = stranger(Peers::new([pinned], [], []));
    let mut shown = |brands: usize, more: bool, witnesses: &[&WitnessSigner]| {
        let mut description = world.bank.description_of(brands);
        if more {
            // Signed by the bank, and not in its register.
            description.register.brands = world.bank.register_of(all).brands;
        }
        let identity = world.bank.identity();
        let checkpoint = identity.checkpoints.open(&description.register.checkpoint).expect("signed");
        for witness in witnesses {
            description
                .register
                .checkpoint
                .push_str(witness.cosign(&checkpoint, 1_000_000_000).expect("cosigns").line());
        }
        wallet.accept_description(description, START).expect("read")
    };
    assert!(matches!(shown(2, false, &[]).register, Some(RegisterRefusal::Checkpoint(_))));
    assert!(matches!(shown(2, false, &[&two]).register, Some(RegisterRefusal::Checkpoint(_))));
    let accepted = shown(2, true, &[&one, &two]);
    assert_eq!((accepted.brands, accepted.not_yet, accepted.register), (2, all - 2, None));
    assert!(accepted.fees.expect("a table").is_free());
    let accepted = shown(all, false, &[&one, &two]);
    assert_eq!((accepted.brands, accepted.not_yet), (all, 0));
    // An older register teaches nothing, and takes nothing away.
    assert!(matches!(shown(1, false, &[&one, &two]).register, Some(RegisterRefusal::Older { .. })));
    assert_eq!(shown(all, false, &[&one, &two]).brands, all);
}

#[test]
fn a_bank_that_shows_another_register_than_before_is_refused_with_both_checkpoints() {
    let mut world = World::new();
    let (mut wallet, store, goods) = world.funded("1");
    let peers = world.peers();
    let seen = world.bank.description().register.checkpoint;
    let own = world_brand(9, "5", START.minus(Duration::days(1)));
    let place = world.bank.brands.iter().position(|brand| brand.denomination == eur("5")).expect("a brand");
    world.bank.brands[place] = Signed::sign(&world.bank.key, own);
    let description = world.bank.description();
    let shown = description.register.checkpoint.clone();
    let forked = RegisterRefusal::Forked { seen, shown };
    for _ in 0..2 {
        let accepted = wallet.accept_description(description.clone(), START).expect("read");
        assert_eq!((accepted.brands, accepted.register.as_ref()), (0, Some(&forked)));
        // It is remembered over a restart; what the wallet knew it knows still.
        wallet = Wallet::open(store.clone(), peers.clone(), goods.clone()).expect("opens");
        assert_eq!(world.free(&wallet), eur("1"));
    }
    // Somebody who has not seen the other one cannot know; that is what witnesses are for.
    assert_eq!(stranger(peers).accept_description(description, START).expect("read").register, None);
}

/// The bank has done it and the reply was lost; then somebody else answers at its address. Who gave the operation up by that
/// would lose what the bank has delivered.
#[test]
fn nothing_is_given_up_on_the_word_of_a_wrong_party() {
    for code in ["not_found", "wrong_method", "wrong_bank", "internal", "from_the_future"] {
        let mut world = World::new();
        let (mut wallet, _, _) = world.funded("10");
        let (bank, entropy) = (world.bank.key.public(), world.entropy());
        let op = wallet.refresh(bank, world.now, &entropy).expect("begun");
        let asks = wallet.asks(world.now).expect("asks");
        world.answer(&asks[0].1).expect("done, and the reply is lost");
        let problem = Problem { code: code.to_owned(), ..Problem::new("not_found", "who are you?") };
        wallet.answered(op, Err(problem.into()), world.now, &entropy).expect("answered");
        assert_eq!(wallet.give_up(op, world.now), Err(WalletError::NotNow(op)), "{code}");
        world.settle(&mut wallet).expect("refreshed");
        assert_eq!((ended(&mut wallet, op, world.now), world.free(&wallet)), (End::Done, eur("10")), "{code}");
    }
}

#[test]
fn tokens_that_a_copy_has_spent_are_marked_when_the_bank_proves_it() {
    let mut world = World::new();
    let (mut wallet, store, goods) = world.funded("10");
    let copy = store.copy(Faults::none());
    world.buy(&mut wallet, "5", BuyOptions::default()).expect("begun");
    world.settle(&mut wallet).expect("bought");

    let mut restored = Wallet::open(copy, world.peers(), goods.clone()).expect("opened");
    assert_eq!(world.free(&restored), eur("10"));
    let op = world.buy(&mut restored, "5", BuyOptions::default()).expect("begun");
    let events = world.settle(&mut restored).expect("refused");
    assert_eq!(ended(&mut restored, op, world.now), End::Purchase(Ending::NotLocked));
    assert!(events.iter().any(|event| matches!(event, Event::SpentElsewhere { .. })));
    let balance = restored.balance()[&world.bank.key.public()].clone();
    assert_eq!((balance.free, balance.reserved, balance.spent), (eur("5"), Amount::ZERO, eur("5")));
    // The rest of the money is the same in both; whoever comes first has it.
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    restored.refresh(bank, world.now, &entropy).expect("begun");
    world.settle(&mut restored).expect("refreshed");
    let op = world.buy(&mut wallet, "5", BuyOptions::default()).expect("begun");
    world.settle(&mut wallet).expect("refused");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::NotLocked));
    assert_eq!(world.free(&wallet), Amount::ZERO);
    assert_eq!((world.free(&restored), world.bank.outstanding()), (eur("5"), eur("5")));
}

/// What the wallet marks when a bank says `spent` and shows this record of an authorization that a copy of the wallet has
/// really signed.
fn marked(forge: impl FnOnce(Joint<Exchange>) -> Record) -> Amount {
    let mut world = World::new();
    let (mut wallet, store, goods) = world.funded("10");
    let mut copy = Wallet::open(store.copy(Faults::none()), world.peers(), goods).expect("opened");
    world.buy(&mut copy, "10", BuyOptions::default()).expect("begun");
    let mut locks = None;
    while locks.is_none() {
        for (op, ask) in copy.asks(world.now).expect("asks") {
            match &ask.call {
                AnyCall::Bank(BankCall::Exchange(request)) => locks = Some(request.clone().verify().expect("signed")),
                _ => drop(copy.answered(op, world.answer(&ask), world.now, &[0; 32]).expect("answered")),
            }
        }
    }
    let record = forge(locks.expect("an authorization"));
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    let op = wallet.refresh(bank, world.now, &entropy).expect("begun");
    let refusal = naulon_exchange::Refusal::Spent(record.into());
    wallet.answered(op, Err(Problem::from(refusal).into()), world.now, &entropy).expect("answered");
    assert_eq!(ended(&mut wallet, op, world.now), End::Refused("spent".into()));
    let balance = wallet.balance()[&bank].clone();
    assert_eq!(balance.free.checked_add(balance.spent), Some(eur("10")), "all others are free");
    balance.spent
}

#[test]
fn a_refusal_as_spent_without_proof_marks_nothing() {
    let record = |exchange, state, decision| Record { exchange, state, accepted: START, decision, settled: None };
    let decided = |joint: &Joint<Exchange>, log: u8, outcome| {
        let header = Header::of(joint, joint.id()).expect("a purchase");
        let log = Log::new(SecretKey::from_seed(&[log; 32]), header.bank);
        let time = if outcome == Outcome::Abort { header.expiry } else { START };
        Some(log.sign(LogDecision::on(&header, time, outcome)))
    };
    // The world's first sale.
    let first = 1u128 << 64;
    let commit = Outcome::Commit { k: shop::key_of(&first.to_be_bytes()) };
    let nothing = Amount::ZERO;
    assert_eq!(marked(|joint| record(joint, State::Done, None)), nothing, "it is a purchase");
    assert_eq!(marked(|joint| record(joint, State::Locked, None)), nothing, "it may be aborted");
    assert_eq!(marked(|joint| record(joint, State::Committed, None)), nothing, "where is the decision?");
    let aborted = marked(|joint| record(joint.clone(), State::Committed, decided(&joint, 2, Outcome::Abort)));
    assert_eq!(aborted, nothing, "it was aborted");
    let stranger = marked(|joint| record(joint.clone(), State::Committed, decided(&joint, 44, commit)));
    assert_eq!(stranger, nothing, "by another log");
    let wrong = Outcome::Commit { k: [0; 32] };
    let wrong = marked(|joint| record(joint.clone(), State::Committed, decided(&joint, 2, wrong)));
    assert_eq!(wrong, nothing, "the key opens nothing");
    let forged = marked(|joint| {
        let mut signatures: Vec<Vec<u8>> = joint.signatures().iter().map(|s| s.bytes().to_vec()).collect();
        *signatures[0].last_mut().expect("bytes") ^= 1;
        let forged = UnverifiedJoint::parse(joint.payload(), &signatures).expect("parses").from_own_store();
        record(forged, State::Committed, decided(&joint, 2, commit))
    });
    assert_eq!(forged, nothing, "not signed by the tokens' keys");
    let by_another = marked(|joint| {
        let body = Exchange { condition: None, ..Exchange::clone(&joint) };
        record(Joint::sign(body, [&SecretKey::from_seed(&[44; 32])]), State::Done, None)
    });
    assert_eq!(by_another, nothing, "signed by another key");
    // And the same with everything as it should be.
    let proven = marked(|joint| record(joint.clone(), State::Committed, decided(&joint, 2, commit)));
    assert_eq!(proven, eur("10"));
}

#[test]
fn a_copy_waits_for_tokens_that_the_other_has_locked() {
    let mut world = World::new();
    let (mut wallet, store, goods) = world.funded("10");
    let copy = store.copy(Faults::none());
    world.shop.is_silent = true;
    world.buy(&mut wallet, "10", BuyOptions::default()).expect("begun");
    for _ in 0..3 {
        for (op, ask) in wallet.asks(world.now).expect("asks") {
            wallet.answered(op, world.answer(&ask), world.now, &[0; 32]).expect("answered");
        }
    }
    let mut restored = Wallet::open(copy, world.peers(), goods).expect("opened");
    let (bank, entropy) = (world.bank.key.public(), world.entropy());
    let op = restored.refresh(bank, world.now, &entropy).expect("begun");
    for _ in 0..3 {
        for (op, ask) in restored.asks(world.now).expect("asks") {
            let events = restored.answered(op, world.answer(&ask), world.now, &[0; 32]).expect("answered");
            assert!(matches!(&events[..], [Event::Refused(problem)] if problem.code == "locked"), "{events:?}");
        }
    }
    world.settle(&mut wallet).expect("aborted");
    world.settle(&mut restored).expect("refreshed");
    assert_eq!(ended(&mut restored, op, world.now), End::Done);
}

#[test]
fn a_shop_that_cheats_is_convicted_and_the_change_comes_all_the_same() {
    for trick in ["key", "contract"] {
        let mut world = World::new();
        let (mut wallet, _, goods) = world.funded("20");
        let mut draft = world.shop.draft(eur("3.50"), world.now);
        match trick {
            "key" => draft.wrapped_key[0] ^= 1,
            _ => draft.contract.digest.0[0] ^= 1,
        }
        let offer = Signed::sign(&world.shop.key, draft);
        let op = wallet.buy(Unverified::from(&offer), BuyOptions::default(), world.now, &[5; 32]).expect("begun");
        let events = world.settle(&mut wallet).expect("cheated");
        assert!(events.contains(&Event::Cheated));
        assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Cheated), "{trick}");
        assert_eq!(world.free(&wallet), eur("16.50"), "{trick}");
        assert!(goods.all().is_empty(), "no goods are presented as bought");
        assert_eq!(
            goods.clone().kept(&naulon_statement::Digest::of(&[offer.bytes()])),
            Ok(world.shop.sealed.len() as u64)
        );
        let trust = Trust {
            banks: [world.bank.key.public()].into(),
            logs: [(world.log.key.public(), world.log.identity())].into(),
            merchants: [world.shop.key.public()].into(),
        };
        let open =
            |_: &naulon_purchase::GoodsM, _: &[u8; 32]| Some(Err(naulon_purchase::goods::GoodsError::DoesNotOpen));
        let judgement = judge(&wallet.evidence(op).expect("evidence"), &trust, open);
        assert!(!judgement.breaches.is_empty(), "{trick}: {judgement:?}");
    }
}

#[test]
fn other_goods_than_those_of_the_offer_are_never_paid_for() {
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let op = world.buy(&mut wallet, "3.50", BuyOptions::default()).expect("begun");
    world.shop.sealed[5] ^= 1;
    world.settle(&mut wallet).expect("given up");
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::GivenUp));
    assert_eq!(world.free(&wallet), eur("20"));
    assert_eq!(world.bank.accepted(), 1, "nothing was locked");
    assert_eq!(world.asked.iter().filter(|(_, _, name)| *name == "goods").count(), MAX_FETCHES as usize);
}

#[test]
fn a_log_that_decides_twice_gives_evidence_against_itself_and_no_token_is_lost() {
    // The bank hears of an abort, the wallet of the commit.
    let mut world = World::new();
    let (mut wallet, _, _) = world.funded("20");
    let op = world.buy(&mut wallet, "3.50", BuyOptions::default()).expect("begun");
    let mut header = None;
    let mut waiting = 0;
    while header.is_none() {
        waiting += 1;
        assert!(waiting < 20);
        for (op, ask) in wallet.asks(world.now).expect("asks") {
            let answer = world.answer(&ask);
            if let Ok(AnyReply::Bank(BankReply::Exchange(reply))) = &answer {
                header = reply.header.clone();
            }
            wallet.answered(op, answer, world.now, &[0; 32]).expect("answered");
        }
    }
    let header = header.expect("locked").from_own_store();
    let abort = world.log.also(&header, Outcome::Abort, header.expiry);
    world.bank.call(&BankCall::Settle(abort), world.now).expect("settled");
    world.settle(&mut wallet).expect("ended");
    // The bank's outcome is the one that counts.
    assert_eq!(ended(&mut wallet, op, world.now), End::Purchase(Ending::Aborted));
    assert_eq!(world.free(&wallet), eur("20"));
    let trust = Trust {
        banks: [world.bank.key.public()].into(),
        logs: [(world.log.key.public(), world.log.identity())].into(),
        merchants: [world.shop.key.public()].into(),
    };
    let judgement = judge(&wallet.evidence(op).expect("evidence"), &trust, |_, _| None);
    assert!(judgement.breaches.iter().any(|(_, breach)| *breach == naulon_purchase::Breach::BothOutcomes));
}
