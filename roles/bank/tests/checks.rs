//! Checks that are paid in ticks, through the bank's HTTP messages: money set aside, certified, cashed, given back.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use std::collections::BTreeSet;

use naulon_bank::{Bank, BankStore, MemoryStore, SqliteStore};
use naulon_durable::fault::Faults;
use naulon_exchange::{
    BankTerms, Challenge, CheckQuery, EarlyClose, Exchange, Funding, Input, MAX_CHALLENGE_AGE, Output, Standing,
    VerifiedFunding, verify_funding,
};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, Joint, SecretKey, Signed, Timestamp, Unverified, UnverifiedJoint};
use naulon_tick::{ChainId, Check, Close, Front, Tick, Walker};
use naulon_wire::{BankCall, BankReply, Call, ExchangeReply, Problem, codes};
use world::*;

/// The check of this number: five ticks of 0.20, for the shop.
fn check(number: u8) -> Check {
    Check {
        id: ChainId([number; 32]),
        root: walker(number).root(),
        length: 5,
        value: amount("0.20"),
        currency: rules().currency,
        payee: key("shop").public(),
        salt: [number; 16],
        bank: key("bank").public(),
        expiry: NOW.plus(Duration::seconds(1_000)),
        refund: refund(number).public(),
    }
}

fn walker(number: u8) -> Walker {
    Walker::new(ChainId([number; 32]), &[number; 32], 5).expect("a length")
}

fn refund(number: u8) -> SecretKey {
    SecretKey::from_seed(&[100 + number; 32])
}

fn front(number: u8, index: u32) -> Front {
    if index == 0 { check(number).front() } else { walker(number).advance(index).expect("a tick") }
}

fn to(account: &SecretKey, value: &str) -> Output {
    Output::Account { account: account.public(), amount: amount(value) }
}

/// When the remainder is free.
fn over() -> Timestamp {
    check(0).expiry.plus(rules().chains.grace)
}

/// One unit of a token for this check.
fn fund(number: u8, coin: &Coin) -> Exchange {
    exchange(vec![coin.input()], vec![Output::chain(&check(number)).expect("countable")])
}

fn cash(number: u8, from: u32, to: u32, challenge: Challenge) -> Exchange {
    let input = Input::Chain { check: check(number), from: front(number, from), to: front(number, to), challenge };
    let worth = check(number).worth(to - from).expect("countable");
    exchange(vec![input], vec![Output::Account { account: key("shop").public(), amount: worth }])
}

fn remainder(number: u8, returned: &str, taken: &str, early: Option<EarlyClose>) -> Exchange {
    let (commitment, refund) = (check(number).commitment(), refund(number).public());
    let (returned, amount) = (amount(returned), amount(taken));
    let input = Input::Remainder { commitment, refund, returned, amount, early };
    exchange(vec![input], vec![Output::Account { account: key("alice").public(), amount }])
}

fn close(number: u8, index: u32, by: &SecretKey) -> EarlyClose {
    let close = Close { commitment: check(number).commitment(), index };
    EarlyClose { check: check(number), close: Unverified::from(&Signed::sign(by, close)) }
}

/// As a client sends it and reads the answer: through HTTP messages both ways.
fn send<S: BankStore>(bank: &mut Bank<S>, call: BankCall, now: Timestamp) -> Result<BankReply, Problem> {
    let reply = bank.handle(BankCall::from_http(&call.to_http())?, now)?;
    Ok(call.reply_from_http(&BankCall::reply_to_http(reply)).expect("reads"))
}

fn post<S: BankStore>(
    bank: &mut Bank<S>,
    body: Exchange,
    by: &SecretKey,
    now: Timestamp,
) -> Result<ExchangeReply, Problem> {
    match send(bank, call(body, [by]), now)? {
        BankReply::Exchange(reply) => Ok(*reply),
        other => panic!("{other:?}"),
    }
}

fn challenge<S: BankStore>(bank: &mut Bank<S>, now: Timestamp) -> Challenge {
    match send(bank, BankCall::Challenge, now) {
        Ok(BankReply::Challenge(challenge)) => challenge,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_check_from_its_funding_to_its_remainder() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bank.sqlite");
    let mut bank = furnished(SqliteStore::open(&path).expect("opens"));
    let coins = withdraw(&mut bank, 1, &[ONE, ONE]);
    // The payer sets a token aside, and shows the payee the certificate.
    let funded = post(&mut bank, fund(1, &coins[0]), &coins[0].q, NOW).expect("set aside");
    let funding = Funding::Certified(funded.certificates[0].clone());
    let terms = BankTerms { bank: key("bank").public(), currency: rules().currency };
    assert!(matches!(verify_funding(&check(1), &funding, &terms, NOW), Ok(VerifiedFunding::Locked)));
    // Whoever has lost the reply gets the same certificate again, from another process too.
    drop(bank);
    let mut bank = open(SqliteStore::open(&path).expect("opens"));
    let again = post(&mut bank, fund(1, &coins[0]), &coins[0].q, NOW).expect("known");
    assert_eq!(again.certificates, funded.certificates);
    // The payee posts another check's funding itself: on-line encashment.
    let online = Funding::Online(Box::new(UnverifiedJoint::from(Joint::sign(fund(2, &coins[1]), [&coins[1].q]))));
    let Ok(VerifiedFunding::Post(joint)) = verify_funding(&check(2), &online, &terms, NOW) else { panic!("post it") };
    let Ok(BankReply::Exchange(reply)) = send(&mut bank, BankCall::Exchange(*joint), NOW) else { panic!("accepted") };
    let certified = Funding::Certified(reply.certificates[0].clone());
    assert!(matches!(verify_funding(&check(2), &certified, &terms, NOW), Ok(VerifiedFunding::Locked)));
    // Ticks of both are cashed in one exchange; its reply is the same again, however old the challenge is by then.
    let question = challenge(&mut bank, NOW);
    let mut both = cash(1, 0, 3, question);
    both.inputs.extend(cash(2, 0, 5, question).inputs);
    both.outputs = vec![to(&key("shop"), "1.60")];
    let paid = post(&mut bank, both.clone(), &key("shop"), NOW).expect("cashed");
    assert_eq!(bank.store().balance(&key("shop").public()), Ok(Some(amount("1.60"))));
    assert_eq!(bank.audit().expect("agrees").chains, amount("0.40"));
    // Later ones are cashed from there; what was not spent goes back when the time is over.
    let question = challenge(&mut bank, NOW);
    post(&mut bank, cash(1, 3, 4, question), &key("shop"), NOW).expect("cashed");
    post(&mut bank, remainder(1, "0", "0.20", None), &refund(1), over()).expect("given back");
    assert_eq!(bank.audit().expect("agrees").chains, Amount::ZERO);
    // What was accepted is answered when the challenge is old, and the check over.
    assert_eq!(post(&mut bank, both, &key("shop"), over()).expect("known").request, paid.request);
    let again = post(&mut bank, fund(1, &coins[0]), &coins[0].q, over()).expect("known");
    assert_eq!(again.certificates, funded.certificates);
}

/// A bank where money is set aside for check 1, of which two ticks are cashed, and a token that is free.
fn scene() -> (MemoryStore, Challenge, Coin) {
    let store = MemoryStore::new(Faults::none());
    let mut bank = furnished(store.clone());
    let mut coins = withdraw(&mut bank, 1, &[ONE, ONE]);
    let free = coins.remove(1);
    post(&mut bank, fund(1, &coins[0]), &coins[0].q, NOW).expect("set aside");
    let question = challenge(&mut bank, NOW);
    post(&mut bank, cash(1, 0, 2, question), &key("shop"), NOW).expect("cashed");
    (store, question, free)
}

/// What comes back is asked for by the check's maker, whom the bank does not know.
#[test]
fn the_maker_learns_what_stands_of_a_check_and_nobody_else_does() {
    let (store, _, _) = scene();
    let mut bank = open(store);
    let mut ask = |number: u8, by: u8, at: Timestamp| {
        let (bank_key, commitment) = (key("bank").public(), check(number).commitment());
        let query = CheckQuery { bank: bank_key, commitment, refund: refund(by).public(), at };
        send(&mut bank, BankCall::Check(Unverified::from(&Signed::sign(&refund(by), query))), NOW)
    };
    let Ok(BankReply::Check(standing)) = ask(1, 1, NOW) else { panic!("it stands") };
    assert_eq!(standing, Standing { maximum: amount("1"), paid: amount("0.40"), returned: Amount::ZERO });
    for (number, by, at, code) in [
        (1, 2, NOW, "wrong_refund_key"),
        (2, 2, NOW, "unknown_chain"),
        (1, 1, NOW.plus(Duration::seconds(301)), "stale"),
    ] {
        assert_eq!(ask(number, by, at).expect_err(code).code, code);
    }
}

#[test]
fn every_refusal_has_its_code_and_changes_nothing() {
    let (store, question, coin) = scene();
    let (shop, one, nine) = (key("shop"), refund(1), refund(9));
    let cashing = |change: &dyn Fn(&mut Check, &mut Front, &mut Front, &mut Challenge)| {
        let mut body = cash(1, 2, 3, question);
        let Input::Chain { check, from, to, challenge } = &mut body.inputs[0] else { panic!("ticks") };
        change(check, from, to, challenge);
        let amount = check.worth(to.index.saturating_sub(from.index)).expect("countable");
        body.outputs = vec![Output::Account { account: key("shop").public(), amount }];
        body
    };
    let stranger = Challenge::new(&[7; 32], NOW);
    let stale = NOW.plus(MAX_CHALLENGE_AGE).plus(Duration(1));
    let by = |who: &str| close(1, 2, &key(who));
    let setting_aside = |change: &dyn Fn(&mut Output)| {
        let mut body = fund(2, &coin);
        change(&mut body.outputs[0]);
        body
    };
    let other_key = |body: Exchange| {
        let mut body = body;
        let Input::Remainder { refund: key, .. } = &mut body.inputs[0] else { panic!("a remainder") };
        *key = refund(9).public();
        body
    };
    let cases: Vec<(&str, &str, Exchange, &SecretKey, Timestamp)> = vec![
        ("an uncertified check", "unknown_chain", cash(3, 0, 1, question), &shop, NOW),
        ("cashed twice", "chain_advanced", cash(1, 0, 3, question), &shop, NOW),
        ("a stale front", "chain_advanced", cash(1, 1, 3, question), &shop, NOW),
        ("ticks that one has not", "tick_forged", cashing(&|_, _, to, _| to.tick = Tick([9; 16])), &shop, NOW),
        ("a tick by another number", "tick_forged", cashing(&|_, _, to, _| to.index = 4), &shop, NOW),
        ("backwards", "chain_bounds", cashing(&|_, from, to, _| *to = *from), &shop, NOW),
        ("without ticks", "chain_length", cashing(&|check, _, _, _| check.length = 0), &shop, NOW),
        ("a salt that does not open", "unknown_chain", cashing(&|check, _, _, _| check.salt = [0; 16]), &shop, NOW),
        ("another's challenge", "challenge_forged", cashing(&|_, _, _, challenge| *challenge = stranger), &shop, NOW),
        ("an old challenge", "challenge_stale", cash(1, 2, 3, question), &shop, stale),
        ("the wrong payee", "signature_missing", cash(1, 2, 3, question), &coin.q, NOW),
        ("the remainder before its time", "remainder_early", remainder(1, "0", "0.60", None), &one, NOW),
        ("beyond the rest", "chain_exceeded", remainder(1, "0", "0.61", None), &one, over()),
        ("as if some were taken", "remainder_moved", remainder(1, "0.10", "0.10", None), &one, over()),
        ("by another key", "wrong_refund_key", other_key(remainder(1, "0", "0.60", None)), &nine, over()),
        ("a forged close", "bad_close", remainder(1, "0", "0.60", Some(by("alice"))), &one, NOW),
        ("beyond the close", "chain_exceeded", remainder(1, "0", "0.60", Some(close(1, 3, &shop))), &one, NOW),
        ("for a check that has it", "chain_taken", fund(1, &coin), &coin.q, NOW),
        ("an expiry too near", "expiry_too_soon", fund(2, &coin), &coin.q, check(2).expiry),
        (
            "an expiry too far",
            "expiry_too_late",
            {
                setting_aside(&|output| {
                    let Output::Chain { expiry, .. } = output else { panic!("a check") };
                    *expiry = NOW.plus(rules().chains.max).plus(Duration(1));
                })
            },
            &coin.q,
            NOW,
        ),
    ];
    let refuse = |store: &MemoryStore,
                  (name, code, body, by, now): (&str, &'static str, Exchange, &SecretKey, Timestamp)| {
        let copy = store.copy();
        let mut bank = open(copy.clone());
        let problem = post(&mut bank, body, by, now).expect_err(name);
        assert_eq!(problem.code, code, "{name}: {problem}");
        assert_eq!(problem.status, codes::find(code).expect("a known code").status, "{name}");
        assert!(copy.has_same_books(store), "{name} has changed the books");
        bank.audit().expect("the books agree");
        code
    };
    let mut seen: BTreeSet<&str> = cases.into_iter().map(|case| refuse(&store, case)).collect();
    // Money that was set aside in other words than the check's.
    let (commitment, expiry) = (check(2).commitment(), check(2).expiry);
    let (refund, later) = (check(2).refund, expiry.plus(Duration::seconds(1)));
    let of = |payee: Digest, expiry| Output::Chain { commitment, maximum: amount("1"), expiry, payee, refund };
    for (name, code, output) in [
        ("for another payee", "wrong_payee", of(Digest([9; 32]), expiry)),
        ("for another time", "chain_misfit", of(check(2).payee_digest(), later)),
    ] {
        let copy = store.copy();
        let lock = exchange(vec![coin.input()], vec![output]);
        post(&mut open(copy.clone()), lock, &coin.q, NOW).expect("set aside");
        seen.insert(refuse(&copy, (name, code, cash(2, 0, 1, question), &shop, NOW)));
    }
    assert_eq!(seen.len(), 18, "{seen:?}");
    // Two checks on one token: the second one is told so, with the first as evidence.
    let mut bank = open(store.copy());
    post(&mut bank, fund(2, &coin), &coin.q, NOW).expect("set aside");
    let second = post(&mut bank, fund(3, &coin), &coin.q, NOW).expect_err("is spent");
    assert_eq!((second.code.as_str(), second.records().len()), ("spent", 1));
}
