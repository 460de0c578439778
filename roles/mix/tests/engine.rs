//! Three engines that hand each other blocks.

mod world;

use naulon_mix::{Batching, Leaving, Posting, TickStore};
use naulon_money::Amount;
use naulon_onion::{Contract, Member, Pay, Protocol, Traffic};
use naulon_statement::{Duration, Timestamp, cbor};
use naulon_tick::Front;
use world::{NOW, Sender, WINDOW, World, fare, key, payee, price, rules};

fn text(payload: &[u8]) -> String {
    String::from_utf8(payload.iter().take_while(|byte| **byte != 0).copied().collect()).expect("text")
}

#[test]
fn blocks_pass_and_each_mix_earns_a_tick_for_each() {
    let mut world = World::new();
    let mut sender = Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
    assert!(matches!(world.leaving[..], [Leaving::Begun { .. }]));
    for number in 0..5 {
        let block = sender.data(format!("block {number}").as_bytes());
        world.send(&block);
    }
    let payloads = world.payloads();
    let texts: Vec<String> = payloads.iter().map(|(_, payload)| text(payload)).collect();
    assert_eq!(texts, ["block 0", "block 1", "block 2", "block 3", "block 4"]);
    assert_eq!((world.earned(), world.refused.len()), ([5; 3], 0));
    // Replies are paid, too: the first waits until there is a tick for it.
    let session = payloads[0].0;
    assert_eq!(world.nodes[2].mix.replies_allowed(session), 0);
    world.at(2, |mix, now, out| mix.reply(session, b"answer", now, out)).expect("replies");
    assert!(world.replies.is_empty());
    let mut pays = [Pay::default(); 3];
    for (pay, payer) in pays.iter_mut().zip(&mut sender.payers) {
        payer.received();
        *pay = payer.data().expect("pays");
    }
    let block = sender.with(pays, b"more");
    world.send(&block);
    assert_eq!(sender.reply(&mut world).map(|reply| text(&reply)), Some("answer".to_owned()));
    assert_eq!(world.earned(), [7; 3]);
}

#[test]
fn the_last_block_ends_the_session_everywhere() {
    let mut world = World::new();
    let mut sender = Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
    let mut pays = [Pay::default(); 3];
    for (pay, payer) in pays.iter_mut().zip(&mut sender.payers) {
        *pay = Pay { is_last: true, ..payer.data().expect("pays") };
    }
    let last = sender.with(pays, b"bye");
    world.send(&last);
    assert!(matches!(world.leaving[..], [Leaving::Begun { .. }, Leaving::Payload { .. }, Leaving::Ended(_)]));
    assert!(world.nodes.iter().all(|node| node.mix.sessions() == 0));
    assert!(!world.hung_up, "who ends as agreed is not hung up on");
    let late = sender.data(b"late");
    world.send(&late);
    assert_eq!(world.refused, [(0, "unknown_session")]);
}

/// What a sender or somebody on a link does wrong, and by which name it ends: each costs nobody more than the window.
#[test]
fn each_fault_has_its_name() {
    type Fault = fn(&mut World, &mut Sender);
    let faults: [(&str, Fault); 7] = [
        ("unpaid", |world, sender| {
            for _ in 0..=WINDOW {
                let block = sender.with([Pay::default(); 3], b"free");
                world.send(&block);
            }
        }),
        ("block_replayed", |world, sender| {
            let block = sender.data(b"once");
            world.send(&block);
            world.send(&block);
        }),
        ("tick_forged", |world, sender| {
            let made_up = Pay::tick(Front { index: 1, tick: naulon_tick::Tick([9; 16]) });
            let block = sender.with([made_up; 3], b"forged");
            world.send(&block);
        }),
        ("tick_too_far", |world, sender| {
            let far = Pay::tick(Front { index: WINDOW + 50, tick: naulon_tick::Tick([9; 16]) });
            let block = sender.with([far; 3], b"far");
            world.send(&block);
        }),
        ("block_gap", |world, sender| {
            for _ in 0..=WINDOW + 1 {
                sender.data(b"lost");
            }
            let block = sender.data(b"found");
            world.send(&block);
        }),
        ("block_altered", |world, sender| {
            let mut block = sender.data(b"whole");
            block[300] ^= 1;
            world.send(&block);
        }),
        ("no_such_share", |world, sender| {
            let pay = Pay { slot: 5, ..sender.payers[0].data().expect("pays") };
            let block = sender.with([pay; 3], b"slot");
            world.send(&block);
        }),
    ];
    for (code, fault) in faults {
        let mut world = World::new();
        let mut sender = Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
        fault(&mut world, &mut sender);
        assert!(world.refused.iter().any(|(at, named)| (*at, *named) == (0, code)), "{code}: {:?}", world.refused);
        assert!(world.earned().iter().all(|earned| *earned <= 1), "{code}");
    }
}

#[test]
fn each_wrong_fare_has_its_name() {
    let good = || fare(payee(1).public(), 100, price(), 1).0;
    let mut other_bank = good();
    other_bank.check.bank = key(201).public();
    let mut uncertified = good();
    uncertified.check.length = 1_000;
    let mut expired = good();
    expired.check.expiry = NOW;
    let mut too_late = good();
    too_late.check.expiry = NOW.plus(naulon_mix::MAX_CHECK_TIME).plus(Duration(1));
    for (code, first) in [
        ("no_fare", Vec::new()),
        ("fare_malformed", b"rubbish".to_vec()),
        ("wrong_payee", cbor::to_vec(&fare(payee(2).public(), 100, price(), 1).0)),
        ("bank_not_accepted", cbor::to_vec(&other_bank)),
        ("uncertified", cbor::to_vec(&uncertified)),
        ("expiry_too_late", cbor::to_vec(&too_late)),
        ("check_expired", cbor::to_vec(&expired)),
        ("wrong_price", cbor::to_vec(&fare(payee(1).public(), 100, Amount::from_micros(11), 1).0)),
    ] {
        let mut world = World::new();
        Sender::show(&mut world, Protocol::BEFORE_SENDER, Traffic::Stream, [first, Vec::new(), Vec::new()]);
        assert_eq!(world.refused, [(0, code)]);
        assert_eq!((world.nodes[0].mix.sessions(), world.nodes[0].mix.checks()), (0, 0), "{code}");
    }
    // A second session on a check that pays one, and one on a check whose session is over.
    let mut world = World::new();
    let fares = || [1, 2, 3].map(|number| cbor::to_vec(&fare(payee(number).public(), 100, price(), number).0));
    Sender::show(&mut world, Protocol::BEFORE_SENDER, Traffic::Stream, fares());
    let path = world.path();
    let begin = |path, seed| {
        use rand_chacha::rand_core::SeedableRng;
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([seed; 32]);
        let plan =
            naulon_onion::Plan { path, protocol: Protocol::BEFORE_SENDER, traffic: Traffic::Stream, fares: fares() };
        let mut block = vec![0; world::SHAPE.block()];
        naulon_onion::Session::begin(world::SHAPE, &plan, &mut block, &mut rng).expect("a session");
        block
    };
    world.send(&begin(path, 5));
    assert_eq!(world.refused, [(0, "check_in_use")]);
    world.earned();
    world.restart(0);
    world.client = world.nodes[0].mix.link_from(key(98).public());
    let path = world.path();
    world.send(&begin(path, 6));
    assert_eq!(world.refused[1..], [(0, "check_in_use")]);
}

#[test]
fn under_contract_one_mix_is_paid_and_the_others_forward_for_it_alone() {
    let member =
        |number| Member { mix: key(number).public(), account: payee(number).public(), share: u32::from(number) };
    let contract = Contract {
        provider: key(90).public(),
        paying: key(1).public(),
        members: vec![member(1), member(2), member(3)],
    };
    let mut world = World::with(|number| rules(number, Batching::Stream, Some(contract.clone())));
    let (first, walker) = fare(payee(1).public(), 100, price(), 1);
    let fares = [cbor::to_vec(&first), Vec::new(), Vec::new()];
    let mut sender = Sender::show(&mut world, Protocol::BEFORE_SENDER, Traffic::Stream, fares.clone());
    sender.payers[0].add(0, walker).expect("a chain");
    for _ in 0..4 {
        let pay = sender.payers[0].data().expect("pays");
        let block = sender.with([pay, Pay::default(), Pay::default()], b"contract");
        world.send(&block);
    }
    assert_eq!((world.payloads().len(), world.earned()), (4, [4, 0, 0]));
    // A stranger who brings the second mix no fare has no contract with it.
    let mut world = World::with(|number| rules(number, Batching::Stream, Some(contract.clone())));
    world.client = world.nodes[1].mix.link_from(key(99).public());
    let mut rng = <rand_chacha::ChaCha20Rng as rand_chacha::rand_core::SeedableRng>::from_seed([1; 32]);
    let path = [world.path()[1], world.path()[2], world.path()[0]];
    let plan = naulon_onion::Plan {
        path,
        protocol: Protocol::BEFORE_SENDER,
        traffic: Traffic::Stream,
        fares: [Vec::new(), Vec::new(), Vec::new()],
    };
    let mut block = vec![0; world::SHAPE.block()];
    naulon_onion::Session::begin(world::SHAPE, &plan, &mut block, &mut rng).expect("a session");
    world.arrive(1, world.client, &block);
    assert_eq!(world.refused, [(1, "no_fare")]);
}

#[test]
fn what_was_earned_survives_a_crash_and_is_due_exactly() {
    let mut world = World::new();
    let mut sender = Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
    for _ in 0..9 {
        let block = sender.data(b"paid");
        world.send(&block);
    }
    assert_eq!(world.earned(), [9; 3]);
    world.restart(1);
    assert_eq!(world.nodes[1].mix.uncashed(), 9);
    let due = world.nodes[1].mix.due(NOW, 16, true);
    assert_eq!((due.len(), due[0].from.index, due[0].to.index), (1, 0, 9));
    assert_eq!(
        due[0].to,
        due[0].check.front().clone().advance(&due[0].check.id, &due[0].to, 100).map(|_| due[0].to).expect("a tick")
    );
    // Under way it is not due a second time; when the bank has it already, it is counted once.
    assert!(world.nodes[1].mix.due(NOW, 16, true).is_empty());
    world.nodes[1].mix.cashed(&due[0], naulon_mix::Cashing::Stands(9), |amount| amount, NOW);
    world.earned();
    let earnings = world.nodes[1].store.earnings().expect("reads");
    assert_eq!((earnings[0].ticks, earnings[0].cashed), (9, Amount::from_micros(90)));
    assert_eq!(world.nodes[1].mix.uncashed(), 0);
}

#[test]
fn cashing_waits_for_a_moment_of_chance_within_its_bounds() {
    let mut moments = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let mut world = World::new();
        world.nodes[0].mix = naulon_mix::Mix::new(rules(1, Batching::Stream, None), Vec::new(), &[seed; 32], NOW);
        world.nodes[0].key = world.nodes[0].mix.begin_epoch(7, &[seed; 32]);
        world.client = world.nodes[0].mix.link_from(key(99).public());
        let mut sender = Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
        let block = sender.data(b"paid");
        world.send(&block);
        let client = world.client;
        world.at(0, |mix, now, out| mix.link_ended(client, now, out));
        world.earned();
        let mix = &mut world.nodes[0].mix;
        let first = (0..=10_000).step_by(500).find(|wait| {
            let due = mix.due(Timestamp(NOW.0 + wait), 1, false);
            !due.is_empty()
        });
        moments.insert(first.expect("within the ten seconds of the rules"));
    }
    assert!(moments.len() > 2, "{moments:?}");
}

#[test]
fn batches_leave_shuffled_and_late() {
    let pool = Batching::Threshold { count: 8, wait: Duration(50) };
    let mut world = World::with(|number| rules(number, if number == 1 { pool } else { Batching::Stream }, None));
    let mut sender = Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
    world.now = Timestamp(NOW.0 + 50);
    world.at(0, |mix, now, out| mix.turn(now, out));
    let blocks: Vec<Vec<u8>> = (0..7).map(|number| sender.data(format!("{number}").as_bytes())).collect();
    blocks.iter().for_each(|block| world.send(block));
    assert!(world.payloads().is_empty());
    assert_eq!(world.nodes[0].mix.next_batch(), Some(Timestamp(NOW.0 + 100)));
    let last = sender.data(b"7");
    world.send(&last);
    let texts: Vec<String> = world.payloads().iter().map(|(_, payload)| text(payload)).collect();
    let mut sorted = texts.clone();
    sorted.sort();
    assert_eq!(sorted, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_ne!(texts, sorted, "one order in 40,320 is the one they came in");
}

#[test]
fn a_mix_that_ends_takes_its_sessions_with_it_and_the_sender_learns_it() {
    let mut world = World::new();
    Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
    // The first mix's link to the second ends.
    let link = naulon_mix::LinkId(2);
    world.at(0, |mix, now, out| mix.link_ended(link, now, out));
    assert_eq!(world.refused, [(0, "link_ended")]);
    assert!(world.hung_up);
    // When the sender goes without a word, every mix learns it, and what was earned is cashed.
    let mut world = World::new();
    let mut sender = Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
    let block = sender.data(b"one");
    world.send(&block);
    let client = world.client;
    world.at(0, |mix, now, out| mix.link_ended(client, now, out));
    assert!(world.nodes.iter().all(|node| node.mix.sessions() == 0));
    assert_eq!(world.earned(), [1; 3]);
    let late = Timestamp(NOW.0 + 10_000);
    assert!(world.nodes.iter_mut().all(|node| node.mix.due(late, 16, false).len() == 1));
    let mut world = World::new();
    Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
    world.at(0, |mix, now, out| mix.link_ended(naulon_mix::LinkId(2), now, out));
    assert_eq!(world.nodes[0].mix.sessions(), 0);
}

/// Three sessions on one path, in cohorts of three that last two batches.
#[test]
fn a_cohort_begins_goes_and_ends_together() {
    let (mut world, mut senders) = cohort();
    assert_eq!(world.leaving.len(), 3, "all have begun at the exit");
    assert!(world.nodes.iter().all(|node| node.mix.sessions() == 3));
    let mut sessions = Vec::new();
    for batch in 0..2 {
        // Two of three: nothing leaves. A block ahead of its batch waits.
        for sender in [0, 1] {
            let block = senders[sender].data(format!("{batch}{sender}").as_bytes());
            world.send(&block);
        }
        assert!(world.payloads().is_empty());
        let block = senders[2].data(format!("{batch}2").as_bytes());
        world.send(&block);
        let payloads = world.payloads();
        let mut texts: Vec<String> = payloads.iter().map(|(_, payload)| text(payload)).collect();
        texts.sort();
        assert_eq!(texts, [format!("{batch}0"), format!("{batch}1"), format!("{batch}2")]);
        sessions = payloads.into_iter().map(|(session, _)| session).collect();
        // Two replies a block, of each session one in a batch.
        for _ in 0..2 {
            for (at, session) in sessions.iter().enumerate() {
                assert_eq!(world.replies.len() % 3, 0);
                world.at(2, |mix, now, out| mix.reply(*session, b"so", now, out)).expect("replies");
                assert_eq!(world.replies.len() % 3, 0, "{at}");
            }
        }
    }
    assert_eq!(world.replies.len(), 12);
    assert!(world.nodes.iter().all(|node| node.mix.sessions() == 0), "all end together");
    assert_eq!((world.earned(), sessions.len(), world.refused.len()), ([6; 3], 3, 0));
}

#[test]
fn one_that_fails_ends_its_cohort() {
    let (mut world, mut senders) = cohort();
    let block = senders[0].with([Pay::tick(Front { index: 1, tick: naulon_tick::Tick([9; 16]) }); 3], b"forged");
    world.send(&block);
    assert_eq!(world.nodes[0].mix.sessions(), 0);
    assert!(world.nodes.iter().all(|node| node.mix.sessions() == 0), "at every mix");
    // What the second mix says of the other two is not news.
    let first = world.refused.iter().filter(|(at, code)| *at == 0 && *code != "unknown_session");
    let mut codes: Vec<&str> = first.map(|(_, code)| *code).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["cohort_failed", "cohort_failed", "tick_forged"]);
    // Where there are no cohorts, that kind of traffic is not forwarded.
    let mut world = World::new();
    let shown = [1, 2, 3].map(|number| cbor::to_vec(&fare(payee(number).public(), 100, price(), number).0));
    Sender::show(&mut world, Protocol::BEFORE_SENDER, Traffic::Cohort, shown);
    assert_eq!(world.refused, [(0, "wrong_traffic")]);
}

fn cohort() -> (World, Vec<Sender>) {
    let batching = Batching::Cohort { count: 3, length: 2 };
    let mut world = World::with(|number| rules(number, batching, None));
    let mut senders = Vec::new();
    for sender in 0..3 {
        let fares = [1, 2, 3].map(|number| fare(payee(number).public(), 100, price(), 10 * sender + number));
        let shown = fares.each_ref().map(|(fare, _)| cbor::to_vec(fare));
        let mut sender = Sender::show_by(&mut world, Protocol::BEFORE_SENDER, Traffic::Cohort, shown, sender);
        for (payer, (_, walker)) in sender.payers.iter_mut().zip(fares) {
            payer.add(0, walker).expect("a chain");
        }
        senders.push(sender);
    }
    (world, senders)
}

#[test]
fn a_sender_learns_at_which_mix_its_session_has_failed() {
    let mut world = World::new();
    let mut sender = Sender::begin(&mut world, Protocol::BEFORE_SENDER, 100);
    // Paid at the first mix and at the third, not at the second: it holds a window of blocks, and no more.
    for _ in 0..=WINDOW {
        let mut pays = [Pay::default(); 3];
        for (at, payer) in sender.payers.iter_mut().enumerate() {
            let pay = payer.data().expect("pays");
            pays[at] = if at == 1 { Pay::default() } else { pay };
        }
        let block = sender.with(pays, b"half paid");
        world.send(&block);
    }
    assert_eq!(world.refused, [(1, "unpaid"), (2, "session_exhausted")], "the third mix learns it, too");
    // What it says comes back as a reply, which the first mix is paid for like any other.
    let mut pays = [Pay::default(); 3];
    sender.payers[0].received();
    pays[0] = sender.payers[0].data().expect("pays");
    let block = sender.with(pays, b"");
    world.send(&block);
    let mut reply = world.replies.pop_front().expect("a reply");
    let error = sender.session.open_reply(&mut reply).expect_err("it does not open");
    assert_eq!(error.position, 1, "the first mix is the last that has sealed it");
    assert_eq!(world.earned()[1], 0);
}

/// A sender whose first mix has to ask the bank, with a block that comes too early.
fn asks_the_bank(world: &mut World) -> Posting {
    use naulon_exchange::{Exchange, Funding, Input, Output};
    let (mut first, walker) = fare(payee(1).public(), 100, price(), 1);
    let mut token = [0; naulon_blind::TOKEN_LEN];
    token[..2].copy_from_slice(&naulon_blind::TOKEN_TYPE.to_be_bytes());
    token[2..34].copy_from_slice(key(150).public().as_bytes());
    let exchange = Exchange {
        bank: world::bank().public(),
        currency: world::euros(),
        inputs: vec![Input::token(naulon_blind::Token::parse(&token).expect("a token"))],
        outputs: vec![Output::chain(&first.check).expect("a check")],
        condition: None,
        seal_to: None,
    };
    let joint = naulon_statement::Joint::sign(exchange, [&key(150)]);
    first.funding = Funding::Online(Box::new(joint.into()));
    let [second, third] = [2, 3].map(|number| cbor::to_vec(&fare(payee(number).public(), 100, price(), number).0));
    let shown = [cbor::to_vec(&first), second, third];
    let mut sender = Sender::show(world, Protocol::BEFORE_SENDER, Traffic::Stream, shown);
    sender.payers[0].add(0, walker).expect("a chain");
    let pays = [sender.payers[0].data().expect("pays"), Pay::default(), Pay::default()];
    let block = sender.with(pays, b"early");
    world.send(&block);
    assert!(world.leaving.is_empty() && world.refused.is_empty(), "all waits for the bank: {:?}", world.refused);
    let (at, posting) = world.posts.pop().expect("a posting");
    assert_eq!((at, posting.bank), (0, world::bank().public()));
    posting
}

fn kept(world: &mut World) -> usize {
    world.earned();
    world.nodes[0].store.all().expect("reads").len()
}

#[test]
fn a_check_that_is_not_set_aside_yet_is_posted_before_the_first_block_passes() {
    for is_set_aside in [true, false] {
        let mut world = World::new();
        let posting = asks_the_bank(&mut world);
        assert_eq!(kept(&mut world), 0, "nothing is written down before the bank has answered");
        world.at(0, |mix, now, out| mix.funded(posting.session, is_set_aside, now, out));
        if is_set_aside {
            assert!(matches!(world.leaving[..], [Leaving::Begun { .. }]));
            assert_eq!((world.earned()[0], kept(&mut world)), (1, 1));
        } else {
            assert_eq!(world.refused, [(0, "not_set_aside")]);
            assert_eq!((world.nodes[0].mix.sessions(), world.nodes[0].mix.checks(), world.hung_up), (0, 0, true));
        }
    }
}

#[test]
fn nothing_stays_of_a_session_that_goes_before_its_bank_answers() {
    for is_set_aside in [true, false] {
        let mut world = World::new();
        let posting = asks_the_bank(&mut world);
        let client = world.client;
        world.at(0, |mix, now, out| mix.link_ended(client, now, out));
        world.at(0, |mix, now, out| mix.funded(posting.session, is_set_aside, now, out));
        assert_eq!((world.nodes[0].mix.checks(), kept(&mut world)), (0, 0));
    }
}

#[test]
fn a_session_that_does_not_begin_is_not_waited_for() {
    let fares = || [1, 2, 3].map(|number| cbor::to_vec(&fare(payee(number).public(), 100, price(), number).0));
    // The first mix has started again, and its old key opens nothing any more.
    let mut world = World::new();
    let stale = world.nodes[0].key;
    world.nodes[0].mix = naulon_mix::Mix::new(rules(1, Batching::Stream, None), Vec::new(), &[9; 32], NOW);
    world.nodes[0].mix.begin_epoch(8, &[9; 32]);
    world.client = world.nodes[0].mix.link_from(key(99).public());
    world.nodes[0].key = stale;
    Sender::show(&mut world, Protocol::BEFORE_SENDER, Traffic::Stream, fares());
    assert_eq!((&world.refused[..], world.hung_up), (&[(0, "block_altered")][..], true));
    // The second takes no such fare: a reply that does not open says so, as soon as it is paid.
    let mut world = World::new();
    let mut shown = fares();
    shown[1] = b"rubbish".to_vec();
    let mut sender = Sender::show(&mut world, Protocol::BEFORE_SENDER, Traffic::Stream, shown);
    assert_eq!(world.refused, [(1, "fare_malformed")]);
    let (_, walker) = fare(payee(1).public(), 100, price(), 1);
    sender.payers[0].add(0, walker).expect("a chain");
    sender.payers[0].received();
    let pays = [sender.payers[0].data().expect("pays"), Pay::default(), Pay::default()];
    let block = sender.with(pays, b"");
    world.send(&block);
    let mut reply = world.replies.pop_front().expect("a reply");
    assert!(sender.session.open_reply(&mut reply).is_err());
}

#[test]
fn a_cohort_takes_only_what_it_can_batch() {
    let mut world = World::with(|number| rules(number, Batching::Cohort { count: 3, length: 2 }, None));
    let shown = [1, 2, 3].map(|number| cbor::to_vec(&fare(payee(number).public(), 100, price(), number).0));
    let after = Protocol { when: naulon_onion::When::After, ..Protocol::BEFORE_SENDER };
    Sender::show(&mut world, after, Traffic::Cohort, shown);
    assert_eq!(world.refused, [(0, "cohort_protocol")]);
}
