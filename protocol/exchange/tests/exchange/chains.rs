//! Checks that are paid in ticks: every refusal by name, and generated operations beside a model that counts ticks.

use std::collections::BTreeSet;

use naulon_exchange::{
    BankTerms, Challenge, Decided, Discrepancy, EarlyClose, Exchange, Funding, Input, MAX_CHALLENGE_AGE, Output,
    VerifiedFunding, authenticate, decide, verify_funding,
};
use naulon_money::Amount;
use naulon_statement::{Joint, SecretKey, Signed, Timestamp, Unverified, UnverifiedJoint};
use naulon_tick::{ChainId, Check, Close, Front, Tick, Walker};
use proptest::prelude::*;

use super::books::Books;
use super::refusals::{bank_with_money, credit, rules, token};
use super::world::*;

/// Every check has so many ticks of one unit each.
const LENGTH: u32 = 5;
/// Until then they are paid with; the payee has 100 seconds more to cash.
const EXPIRY: u64 = 1_000;

fn payee(check: u8) -> SecretKey {
    account(if check.is_multiple_of(2) { 3 } else { 0 })
}

fn check(check: u8) -> Check {
    let id = ChainId([check; 32]);
    Check {
        id,
        root: walker(check).root(),
        length: LENGTH,
        value: units(1),
        currency: currency(),
        payee: payee(check).public(),
        salt: [check; 16],
        bank: bank(),
        expiry: seconds(EXPIRY),
        refund: refund_key(check).public(),
    }
}

fn walker(check: u8) -> Walker {
    Walker::new(ChainId([check; 32]), &[check; 32], LENGTH).expect("a length")
}

/// The tick of this number; 0 is the root.
fn front(of: u8, index: u32) -> Front {
    if index == 0 { check(of).front() } else { walker(of).advance(index).expect("within the chain") }
}

fn challenge(now: u64) -> Challenge {
    Challenge::new(&[1; 32], seconds(now))
}

fn cash(of: u8, from: u32, to: u32, now: u64) -> Exchange {
    let input = Input::Chain { check: check(of), from: front(of, from), to: front(of, to), challenge: challenge(now) };
    let index = if of.is_multiple_of(2) { 3 } else { 0 };
    exchange(vec![input], vec![credit(index, u64::from(to - from))], None)
}

fn lock(of: u8) -> Exchange {
    let input = Input::Account { account: account(0).public(), amount: units(5), order: [200 + of; 16] };
    exchange(vec![input], vec![Output::chain(&check(of)).expect("countable")], None)
}

fn close(of: u8, index: u32) -> EarlyClose {
    let close = Close { commitment: check(of).commitment(), index };
    EarlyClose { check: check(of), close: Unverified::from(&Signed::sign(&payee(of), close)) }
}

fn remainder(of: u8, returned: u64, amount: u64, early: Option<EarlyClose>) -> Exchange {
    let (commitment, refund) = (check(of).commitment(), refund_key(of).public());
    let input = Input::Remainder { commitment, refund, returned: units(returned), amount: units(amount), early };
    exchange(vec![input], vec![credit(0, amount)], None)
}

fn send(books: &mut Books, joint: Joint<Exchange>, now: u64) -> Result<&'static str, &'static str> {
    let request = authenticate(rules(), UnverifiedJoint::from(joint)).map_err(|refusal| refusal.code())?;
    let decided = decide(rules(), &books.view(&request.needs()), &request, seconds(now));
    match decided.map_err(|refusal| refusal.code())? {
        Decided::Write(plan) => books.write(&plan).map(|()| "written").map_err(|_| "lost"),
        Decided::Replay(_) => Ok("replay"),
        Decided::Nothing => Ok("nothing"),
    }
}

fn ask(books: &mut Books, body: Exchange, now: u64) -> Result<&'static str, &'static str> {
    let before = format!("{:?}", (&books.records, &books.chains, &books.balances, &books.journal));
    let answer = send(books, sign(body), now);
    if answer != Ok("written") {
        assert_eq!(format!("{:?}", (&books.records, &books.chains, &books.balances, &books.journal)), before);
    }
    answer
}

/// Books where money is set aside for check 0, and two of its ticks are cashed.
fn two_cashed() -> Books {
    let mut books = bank_with_money();
    assert_eq!(ask(&mut books, lock(0), 0), Ok("written"));
    assert_eq!(ask(&mut books, cash(0, 0, 2, 1), 1), Ok("written"));
    books
}

#[test]
fn a_check_is_cashed_in_steps_and_the_rest_goes_back() {
    let mut books = two_cashed();
    assert_eq!(ask(&mut books, cash(0, 0, 2, 1), 900), Ok("replay"), "however old the challenge is by now");
    assert_eq!(ask(&mut books, cash(0, 2, 3, 2), 2), Ok("written"));
    assert_eq!(books.audit(rules()).expect("the books agree").chains, units(2));
    assert_eq!(ask(&mut books, remainder(0, 0, 2, None), EXPIRY + 99), Err("remainder_early"));
    // In the time of grace the payee still cashes.
    assert_eq!(ask(&mut books, cash(0, 3, 4, EXPIRY + 99), EXPIRY + 99), Ok("written"));
    assert_eq!(ask(&mut books, remainder(0, 0, 2, None), EXPIRY + 100), Err("chain_exceeded"));
    assert_eq!(ask(&mut books, remainder(0, 0, 1, None), EXPIRY + 100), Ok("written"));
    assert_eq!(ask(&mut books, cash(0, 4, 5, EXPIRY + 101), EXPIRY + 101), Err("chain_exceeded"));
    assert_eq!(books.audit(rules()).expect("the books agree").chains, Amount::ZERO);
    assert_eq!(books.balances[&account(3).public()], units(4));
}

#[test]
fn tokens_fund_a_check_and_a_remainder_funds_the_next_one() {
    let mut books = bank_with_money();
    let fund = exchange(vec![token(8)], vec![Output::chain(&check(0)).expect("countable")], None);
    assert_eq!(ask(&mut books, fund.clone(), 0), Ok("written"));
    // Two checks on one token: the second one has nothing.
    let second = Exchange { outputs: vec![Output::chain(&check(2)).expect("countable")], ..fund };
    assert_eq!(ask(&mut books, second, 0), Err("spent"));
    assert_eq!(ask(&mut books, cash(0, 0, 2, 1), 1), Ok("written"));
    // What is left by the payee's word pays for the next check, with two tokens more.
    let mut next = remainder(0, 0, 3, Some(close(0, 2)));
    next.inputs.extend([token(0), token(1)]);
    next.outputs = vec![Output::chain(&check(1)).expect("countable")];
    assert_eq!(ask(&mut books, next, 2), Ok("written"));
    assert_eq!(ask(&mut books, cash(1, 0, 5, 3), 3), Ok("written"));
    assert_eq!(books.audit(rules()).expect("the books agree").chains, Amount::ZERO);
}

/// A payee who has closed a check at a tick that it has not cashed yet still gets it.
#[test]
fn what_a_closed_check_owes_stays_the_payees() {
    let mut books = two_cashed();
    assert_eq!(ask(&mut books, remainder(0, 0, 2, Some(close(0, 4))), 2), Err("chain_exceeded"));
    assert_eq!(ask(&mut books, remainder(0, 0, 1, Some(close(0, 4))), 2), Ok("written"));
    assert_eq!(ask(&mut books, remainder(0, 0, 1, Some(close(0, 3))), 2), Err("remainder_moved"));
    // It may let go of more, and what it has cashed it keeps.
    assert_eq!(ask(&mut books, remainder(0, 1, 3, Some(close(0, 1))), 2), Err("chain_exceeded"));
    assert_eq!(ask(&mut books, remainder(0, 1, 1, Some(close(0, 3))), 2), Ok("written"));
    assert_eq!(ask(&mut books, cash(0, 2, 4, 3), 3), Err("chain_exceeded"));
    assert_eq!(ask(&mut books, cash(0, 2, 3, 3), 3), Ok("written"));
    books.audit(rules()).expect("the books agree");
}

/// What is wrong with this cashing of check 0, of which two ticks were cashed, at second 1.
fn refuses(code: &str, change: impl FnOnce(&mut Check, &mut Front, &mut Front)) {
    let mut body = cash(0, 2, 4, 1);
    let Input::Chain { check, from, to, .. } = &mut body.inputs[0] else { unreachable!("ticks") };
    change(check, from, to);
    let worth = check.worth(to.index.saturating_sub(from.index)).expect("countable");
    body.outputs = vec![Output::Account { account: account(3).public(), amount: worth }];
    assert_eq!(ask(&mut two_cashed(), body, 1), Err(code));
}

#[test]
fn every_refusal_to_cash() {
    refuses("wrong_bank", |check, _, _| check.bank = key(9).public());
    refuses("wrong_currency", |check, _, _| check.currency = "USD".parse().expect("a currency"));
    refuses("chain_length", |check, _, _| check.length = naulon_tick::MAX_CHAIN + 1);
    refuses("chain_length", |check, _, _| check.value = Amount::ZERO);
    refuses("chain_bounds", |_, from, to| *to = *from);
    refuses("chain_bounds", |_, _, to| to.index = LENGTH + 1);
    refuses("tick_forged", |_, _, to| to.tick = Tick([7; 16]));
    refuses("tick_forged", |_, _, to| *to = Front { index: 5, ..front(0, 4) });
    refuses("tick_forged", |_, from, _| *from = Front { index: 0, tick: Tick([1; 16]) });
    // Another check is another commitment, for which nothing is set aside; also with a salt that does not open the digest.
    refuses("unknown_chain", |check, _, _| check.value = units(2));
    refuses("unknown_chain", |check, _, _| check.salt = [9; 16]);
    refuses("chain_advanced", |_, from, _| *from = front(0, 0));
    refuses("chain_advanced", |_, from, _| *from = front(0, 1));
    refuses("chain_advanced", |_, from, _| *from = front(0, 3));
    let (fresh, limit) = (cash(0, 2, 4, 1), MAX_CHALLENGE_AGE.0 / 1_000);
    assert_eq!(ask(&mut two_cashed(), fresh.clone(), 0), Ok("written"), "made by a process whose clock is ahead");
    assert_eq!(ask(&mut two_cashed(), fresh.clone(), 2 + limit), Err("challenge_stale"));
    assert_eq!(ask(&mut two_cashed(), fresh, 1 + limit), Ok("written"));
    assert_eq!(ask(&mut bank_with_money(), cash(0, 0, 1, 1), 1), Err("unknown_chain"), "uncertified");
    let not_the_payee = Joint::sign(cash(0, 2, 4, 1), [&account(0)]);
    assert_eq!(send(&mut two_cashed(), not_the_payee, 1), Err("signature_missing"));
    let mut twice = cash(0, 2, 4, 1);
    twice.inputs.extend(cash(0, 4, 5, 1).inputs);
    twice.outputs = vec![credit(3, 3)];
    assert_eq!(ask(&mut two_cashed(), twice, 1), Err("duplicate_input"));
    // What was set aside in other words than the check's is nobody's to cash.
    let whole = check(0);
    let (payee, later) = (naulon_statement::Digest([9; 32]), Timestamp(whole.expiry.0 + 1));
    for (cashed, payee, expiry, refund) in [
        (Err("wrong_payee"), payee, whole.expiry, whole.refund),
        (Err("chain_misfit"), whole.payee_digest(), later, whole.refund),
        // A certificate covers a check whatever the refund key is, so the ticks are paid.
        (Ok("written"), whole.payee_digest(), whole.expiry, key(9).public()),
    ] {
        let mut books = bank_with_money();
        let mut other = lock(0);
        let (commitment, maximum) = (whole.commitment(), whole.maximum().expect("countable"));
        other.outputs[0] = Output::Chain { commitment, maximum, expiry, payee, refund };
        assert_eq!(ask(&mut books, other, 0), Ok("written"));
        assert_eq!(ask(&mut books, cash(0, 0, 1, 1), 1), cashed);
    }
}

#[test]
fn every_refusal_to_set_aside() {
    let mut books = two_cashed();
    let again = exchange(vec![token(8)], vec![Output::chain(&check(0)).expect("countable")], None);
    assert_eq!(ask(&mut books, again, 0), Err("chain_taken"));
    let with_expiry = |expiry: u64| {
        let mut body = lock(1);
        let Output::Chain { expiry: until, .. } = &mut body.outputs[0] else { unreachable!("a check") };
        *until = seconds(expiry);
        body
    };
    assert_eq!(ask(&mut books, with_expiry(59), 0), Err("expiry_too_soon"));
    assert_eq!(ask(&mut books, with_expiry(2_001), 0), Err("expiry_too_late"));
    let mut twice = lock(1);
    twice.outputs.extend(lock(1).outputs);
    twice.inputs.extend(lock(2).inputs);
    assert_eq!(ask(&mut books, twice, 0), Err("duplicate_output"));
    let mut purchase =
        exchange(vec![token(0), token(8)], vec![credit(3, 1)], Some(condition(3, 7, seconds(100), 0, None)));
    purchase.outputs.extend(lock(1).outputs);
    assert_eq!(ask(&mut books, purchase, 0), Err("condition_outputs"));
}

#[test]
fn every_refusal_of_a_remainder() {
    let late = EXPIRY + 100;
    let of = |change: &dyn Fn(&mut Exchange)| {
        let mut body = remainder(0, 0, 3, None);
        change(&mut body);
        body
    };
    let with = |early: EarlyClose| remainder(0, 0, 3, Some(early));
    assert_eq!(ask(&mut two_cashed(), of(&|_| ()), late), Ok("written"));
    assert_eq!(ask(&mut bank_with_money(), of(&|_| ()), late), Err("unknown_chain"));
    assert_eq!(ask(&mut two_cashed(), remainder(0, 0, 4, None), late), Err("chain_exceeded"));
    assert_eq!(ask(&mut two_cashed(), remainder(0, 1, 3, None), late), Err("remainder_moved"));
    let of_another = of(&|body| {
        let Input::Remainder { refund, .. } = &mut body.inputs[0] else { unreachable!("a remainder") };
        *refund = refund_key(1).public();
    });
    assert_eq!(ask(&mut two_cashed(), of_another, late), Err("wrong_refund_key"));
    assert_eq!(ask(&mut two_cashed(), with(close(0, 2)), 1), Ok("written"));
    assert_eq!(ask(&mut two_cashed(), with(close(0, 0)), 1), Ok("written"), "what is cashed is cashed");
    assert_eq!(ask(&mut two_cashed(), with(close(0, 3)), 1), Err("chain_exceeded"));
    assert_eq!(ask(&mut two_cashed(), with(close(0, LENGTH + 1)), 1), Err("bad_close"));
    assert_eq!(ask(&mut two_cashed(), with(close(2, 2)), 1), Err("bad_close"), "of another check");
    let forged = Signed::sign(&account(0), Close { commitment: check(0).commitment(), index: 2 });
    let forged = EarlyClose { close: Unverified::from(&forged), ..close(0, 2) };
    assert_eq!(ask(&mut two_cashed(), with(forged), 1), Err("bad_close"), "not by the payee");
}

#[test]
fn a_payee_takes_a_check_only_with_the_money_behind_it() {
    let (bank_key, terms) = (key(1), BankTerms { bank: bank(), currency: currency() });
    let certificate = lock(0).certificates().next().expect("one check");
    let signed = |by: &SecretKey| Funding::Certified(Unverified::from(&Signed::sign(by, certificate.clone())));
    let verify = |check: &Check, funding: &Funding, now: u64| {
        verify_funding(check, funding, &terms, seconds(now)).map_err(|error| error.code())
    };
    assert!(matches!(verify(&check(0), &signed(&bank_key), 0), Ok(VerifiedFunding::Locked)));
    let refused =
        |check: &Check, funding: &Funding, now| verify(check, funding, now).map(drop).expect_err("is refused");
    assert_eq!(refused(&check(0), &signed(&account(0)), 0), "uncertified");
    assert_eq!(refused(&check(0), &signed(&bank_key), EXPIRY), "check_expired");
    assert_eq!(refused(&Check { bank: key(9).public(), ..check(0) }, &signed(&bank_key), 0), "wrong_bank");
    assert_eq!(refused(&Check { length: 0, ..check(0) }, &signed(&bank_key), 0), "chain_length");
    for other in [Check { length: 6, ..check(0) }, Check { salt: [9; 16], ..check(0) }, check(2)] {
        assert_eq!(refused(&other, &signed(&bank_key), 0), "uncertified");
    }
    let online = |body: Exchange| Funding::Online(Box::new(UnverifiedJoint::from(sign(body))));
    let fund = exchange(vec![token(8)], vec![Output::chain(&check(0)).expect("countable")], None);
    let VerifiedFunding::Post(post) = verify(&check(0), &online(fund.clone()), 0).expect("funds it") else {
        panic!("post")
    };
    assert_eq!(post.claimed_body(), &fund);
    assert_eq!(refused(&check(2), &online(fund.clone()), 0), "not_funding");
    assert_eq!(refused(&check(0), &online(lock(0)), 0), "not_funding", "an account names its owner");
    let nothing = Exchange { inputs: Vec::new(), ..fund.clone() };
    assert_eq!(refused(&check(0), &online(nothing), 0), "not_funding", "gives nothing up");
    let nobody: [&SecretKey; 0] = [];
    let unsigned = Funding::Online(Box::new(UnverifiedJoint::from(Joint::sign(fund.clone(), nobody))));
    assert_eq!(refused(&check(0), &unsigned, 0), "not_funding", "nobody has signed it");
    let mut more = fund;
    more.outputs.push(credit(3, 1));
    assert_eq!(refused(&check(0), &online(more), 0), "not_funding");
}

#[test]
fn the_auditor_finds_what_is_wrong_with_checks() {
    let finds = |change: &dyn Fn(&mut Books)| {
        let mut books = two_cashed();
        change(&mut books);
        books.audit(rules()).expect_err("something is wrong")
    };
    let commitment = check(0).commitment();
    let is_chain =
        |found: &Discrepancy| matches!(found, Discrepancy::Chain { commitment: of, .. } if *of == commitment);
    for change in [
        &(|books: &mut Books| books.chains.clear()) as &dyn Fn(&mut Books),
        &|books| books.chains.values_mut().for_each(|chain| chain.paid = units(1)),
        &|books| books.chains.values_mut().for_each(|chain| chain.returned = units(1)),
        &|books| books.chains.values_mut().for_each(|chain| chain.maximum = units(9)),
        &|books| books.chains.values_mut().for_each(|chain| chain.front = Some(front(0, 1))),
    ] {
        assert!(finds(change).iter().any(is_chain));
    }
    let journal = finds(&|books| {
        books.journal.pop();
    });
    assert!(journal.iter().any(|found| matches!(found, Discrepancy::Journal { .. })), "{journal:?}");
}

#[derive(Clone, Debug)]
enum Op {
    Lock(u8),
    Cash { check: u8, from: u32, to: u32, old: bool },
    Return { check: u8, returned: u64, amount: u64, close: Option<u32> },
    Again(usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let check = || 0..CHECKS;
    let step = (check(), 0..=LENGTH, 1..=3u32, prop_oneof![9 => Just(false), 1 => Just(true)]);
    let back = (check(), 0..3u64, 1..=LENGTH as u64, prop::option::of(0..=LENGTH));
    prop_oneof![
        2 => check().prop_map(Op::Lock),
        6 => step.prop_map(|(check, from, more, old)| {
            Op::Cash { check, from: from.min(LENGTH - 1), to: (from.min(LENGTH - 1) + more).min(LENGTH), old }
        }),
        4 => back.prop_map(|(check, returned, amount, close)| Op::Return { check, returned, amount, close }),
        1 => any::<usize>().prop_map(Op::Again),
        2 => (0..400u64).prop_map(Op::Wait),
    ]
}

/// What one check has come to, counted in ticks, which are units.
#[derive(Clone, Copy, Default)]
struct Counted {
    is_locked: bool,
    paid: u64,
    returned: u64,
}

/// Every reason to refuse.
fn reasons(counted: &Counted, op: &Op, now: u64) -> BTreeSet<&'static str> {
    let mut reasons = BTreeSet::new();
    let rest = u64::from(LENGTH).saturating_sub(counted.paid + counted.returned);
    match op {
        Op::Lock(_) => {
            if counted.is_locked {
                // The same order for the same check is the same request, which is looked up before.
                reasons.insert("replay");
            } else if now + 60 > EXPIRY {
                reasons.insert("expiry_too_soon");
            }
        }
        Op::Cash { .. } | Op::Return { .. } if !counted.is_locked => {
            reasons.insert("unknown_chain");
        }
        Op::Cash { from, to, old, .. } => {
            if *old {
                reasons.insert("challenge_stale");
            }
            if u64::from(*from) != counted.paid {
                reasons.insert("chain_advanced");
            }
            if u64::from(to - from) > rest {
                reasons.insert("chain_exceeded");
            }
        }
        Op::Return { returned, amount, close, .. } => {
            let is_over = now >= EXPIRY + 100;
            if *returned != counted.returned {
                reasons.insert("remainder_moved");
            }
            if !is_over && close.is_none() {
                reasons.insert("remainder_early");
            }
            let kept = close.filter(|_| !is_over).map_or(0, u64::from).max(counted.paid);
            if kept + counted.returned + amount > u64::from(LENGTH) {
                reasons.insert("chain_exceeded");
            }
        }
        Op::Again(_) | Op::Wait(_) => {}
    }
    reasons
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_bank_counts_as_the_model_does(ops in prop::collection::vec(op(), 1..60)) {
        let mut books = bank_with_money();
        let mut counted = [Counted::default(); CHECKS as usize];
        let (mut now, mut accepted) = (1_000_u64 - EXPIRY, Vec::new());
        for op in ops {
            let (of, body) = match &op {
                Op::Wait(more) => {
                    now += more;
                    continue;
                }
                Op::Again(index) if accepted.is_empty() => {
                    prop_assert!(index.checked_add(0).is_some());
                    continue;
                }
                Op::Again(index) => {
                    let again: &Exchange = &accepted[index % accepted.len()];
                    prop_assert_eq!(ask(&mut books, again.clone(), now), Ok("replay"));
                    continue;
                }
                Op::Lock(of) => (*of, lock(*of)),
                Op::Cash { check, from, to, old } => {
                    // Distinct by its moment from whatever was sent before.
                    let at = if *old { now.saturating_sub(601) } else { now };
                    if *old && now < 601 {
                        continue;
                    }
                    (*check, cash(*check, *from, *to, at))
                }
                Op::Return { check, returned, amount, close: index } => {
                    (*check, remainder(*check, *returned, *amount, index.map(|index| close(*check, index))))
                }
            };
            if accepted.contains(&body) {
                prop_assert_eq!(ask(&mut books, body, now), Ok("replay"));
                continue;
            }
            let state = &mut counted[usize::from(of)];
            let reasons = reasons(state, &op, now);
            match ask(&mut books, body.clone(), now) {
                Ok(answer) => {
                    prop_assert_eq!(answer, "written");
                    prop_assert!(reasons.is_empty(), "{:?} was accepted in spite of {:?}", op, reasons);
                    match op {
                        Op::Lock(_) => state.is_locked = true,
                        Op::Cash { to, .. } => state.paid = u64::from(to),
                        Op::Return { amount, .. } => state.returned += amount,
                        Op::Again(_) | Op::Wait(_) => {}
                    }
                    accepted.push(body);
                }
                Err(code) => prop_assert!(reasons.contains(code), "{:?}: {} is not among {:?}", op, code, reasons),
            }
            let standing: u64 = counted.iter().filter(|c| c.is_locked).map(|c| 5 - c.paid - c.returned).sum();
            prop_assert_eq!(books.audit(rules()).expect("the books agree").chains, units(standing));
        }
    }
}

#[test]
fn an_exchange_that_was_accepted_is_known_by_its_id() {
    let mut books = two_cashed();
    let joint = sign(cash(0, 2, 3, 5));
    assert_eq!(send(&mut books, joint.clone(), 5), Ok("written"));
    assert!(books.records.contains_key(&joint.id()));
    assert_eq!(books.records[&joint.id()].accepted, Timestamp(5_000));
}
