//! Tokens that share a key (AAT §8.1), and tokens that are spent in parts (AAT §8.3).

use naulon_blind::ReusedKey;
use naulon_exchange::{Condition, Decided, Entry, Exchange, Input, MAX_PARTS, Output, authenticate, decide};
use naulon_money::Amount;
use naulon_statement::{Joint, Timestamp, UnverifiedJoint};

use super::books::Books;
use super::refusals::{bank_with_money, credit, refused, rules, token};
use super::world::*;

/// The five of this number, or a part of it.
fn five(number: usize, part: Option<u64>) -> Input {
    world().part_input(TOKENS + number, part)
}

fn paid(input: Input, amount: u64) -> Joint<Exchange> {
    sign(exchange(vec![input], vec![credit(0, amount)], None))
}

fn answer(books: &mut Books, joint: Joint<Exchange>) -> Result<(), &'static str> {
    let request = authenticate(rules(), UnverifiedJoint::from(joint)).map_err(|refusal| refusal.code())?;
    match decide(rules(), &books.view(&request.needs()), &request, Timestamp(0)).map_err(|refusal| refusal.code())? {
        Decided::Write(plan) => books.write(&plan).map_err(|_| "lost"),
        Decided::Replay(_) => Err("replay"),
        Decided::Nothing => Err("nothing"),
    }
}

#[test]
fn a_reusable_key_is_shown_with_its_serial_number() {
    let shared = OWN_KEYS;
    let Input::Token { token: shown, key: Some(key), .. } = token(shared) else { panic!("a reusable key") };
    let with_key = |key| Input::Token { token: shown, key, part: None };
    let (other_s, other_q) = (ReusedKey { s: [0; 32], ..key }, ReusedKey { q: account(0).public(), ..key });
    let q = &world().tokens[shared].q;
    for (input, signer) in [(with_key(Some(other_s)), q), (with_key(Some(other_q)), &account(0))] {
        let joint = Joint::sign(exchange(vec![input], vec![credit(0, 1)], None), [signer]);
        refused("wrong_serial", Timestamp(0), joint);
    }
    // Without Q and s the nonce itself would be the key, and nobody has its other half.
    let hidden = Joint::sign(exchange(vec![with_key(None)], vec![credit(0, 1)], None), [q]);
    refused("signature_missing", Timestamp(0), hidden);
    let several: Vec<Input> = (shared..TOKENS).map(token).collect();
    let count = several.len() as u64;
    let joint = sign(exchange(several, vec![credit(0, count)], None));
    assert_eq!(joint.signatures().len(), 1, "one signature for one key");
    assert_eq!(answer(&mut bank_with_money(), joint), Ok(()));
}

#[test]
fn the_log_shows_no_reusable_key_to_everybody() {
    let lock = |first: usize, second: usize| {
        let q = Some(world().spending_key(first));
        let inputs = vec![token(first), token(second)];
        sign(exchange(inputs, vec![credit(3, 2)], Some(condition(3, 9, seconds(100), 0, q))))
    };
    refused("reusable_q", Timestamp(0), lock(OWN_KEYS, 0));
    assert_eq!(
        answer(&mut bank_with_money(), lock(0, OWN_KEYS)),
        Ok(()),
        "only the first token's key stands in the log"
    );
    // What the parties of the purchase alone can read may name it (AAT §8.6).
    for entry in [Entry::Encrypted, Entry::Blind { index: account(7).public() }] {
        let q = Some(world().spending_key(OWN_KEYS));
        let hidden = Condition { entry, ..condition(3, 9, seconds(100), 0, q) };
        let lock = exchange(vec![token(OWN_KEYS), token(0)], vec![credit(3, 2)], Some(hidden));
        assert_eq!(answer(&mut bank_with_money(), sign(lock)), Ok(()), "{entry:?}");
    }
}

#[test]
fn parts_of_a_token_never_exceed_it() {
    let mut books = bank_with_money();
    refused("amount_out_of_range", Timestamp(0), paid(five(0, Some(0)), 1));
    refused("amount_out_of_range", Timestamp(0), paid(five(0, Some(6)), 6));
    assert_eq!(answer(&mut books, paid(five(0, Some(2)), 2)), Ok(()));
    assert_eq!(answer(&mut books, paid(five(0, Some(2)), 2)), Err("replay"));
    assert_eq!(answer(&mut books, paid(five(0, None), 5)), Err("in_parts"));
    assert_eq!(answer(&mut books, paid(five(0, Some(4)), 4)), Err("spent"));
    assert_eq!(answer(&mut books, paid(five(0, Some(3)), 3)), Ok(()));
    assert_eq!(answer(&mut books, paid(five(0, Some(1)), 1)), Err("spent"));
    let report = books.audit(rules()).expect("the books agree");
    let position = report.brands[&world().brand_id(1)];
    assert_eq!((position.redeemed, position.redeemed_in_parts), (1, units(0)), "used up, it counts as redeemed");
}

/// The bank looks up and shows a bounded number of uses, and nothing is left over that cannot be used.
#[test]
fn the_last_part_takes_all_that_is_left() {
    let mut books = bank_with_money();
    let cents = |number: u64, micros: u64| {
        let Input::Token { token, key, .. } = five(0, None) else { panic!("a token") };
        let amount = Amount::from_micros(micros);
        // Another account each time, so that no two requests are the same.
        let input = Input::Token { token, key, part: Some(amount) };
        let extra = Input::Outside { amount: units(1), reference: [number as u8 + 50; 16] };
        let total = Amount::from_micros(micros + UNIT);
        sign(exchange(vec![input, extra], vec![Output::Account { account: account(0).public(), amount: total }], None))
    };
    let before = u64::from(MAX_PARTS) - 1;
    for number in 0..before {
        assert_eq!(answer(&mut books, cents(number, 10_000)), Ok(()), "{number}");
    }
    let left = 5 * UNIT - before * 10_000;
    assert_eq!(answer(&mut books, cents(100, left - 1)), Err("too_many_parts"));
    assert_eq!(answer(&mut books, cents(100, left)), Ok(()));
    assert_eq!(answer(&mut books, cents(101, 1)), Err("spent"));
    books.audit(rules()).expect("the books agree");
}
