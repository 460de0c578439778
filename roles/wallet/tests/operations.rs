//! What a person does with a wallet, and what it keeps apart.

// What helps a test may panic as the test does.
#![allow(clippy::panic)]

mod world;

use naulon_durable::fault::Faults;
use naulon_exchange::register::RegisterRefusal;
use naulon_exchange::{Exchange, Header, Input, LogDecision, Outcome, Record, State};
use naulon_money::Amount;
use naulon_purchase::{Ending, Trust, judge};
use naulon_statement::{Duration, Joint, PublicKey, SecretKey, Signed, Timestamp, Unverified, UnverifiedJoint};
use naulon_tlog::{WitnessPolicy, WitnessSigner};
use naulon_wallet::*;
use naulon_wire::{AnyCall, AnyReply, BankCall, BankReply, CallError, Circuit, Problem, ShopReply};
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
