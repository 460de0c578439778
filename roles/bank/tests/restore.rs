//! What a restored wallet asks: blinded outputs are signed again, and only those; tokens tell who holds them.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use naulon_bank::{Bank, MemoryStore};
use naulon_durable::fault::Faults;
use naulon_exchange::{Outcome, State, TokenQuery, UnverifiedRecord};
use naulon_statement::{Duration, SecretKey, Signed, Timestamp, Unverified};
use naulon_wire::{BankCall, BankReply, OutputFate, Problem};
use world::*;

fn fate(bank: &mut Bank<MemoryStore>, blind: &Blind) -> OutputFate {
    let call = BankCall::Output { brand: brand_id(blind.which), message: Box::new(blind.message) };
    match ask(bank, call).expect("answered") {
        BankReply::Output(fate) => fate,
        other => panic!("no fate: {other:?}"),
    }
}

fn query(signer: &SecretKey, coin: &Coin, at: Timestamp) -> BankCall {
    let (bank, q) = (key("bank").public(), coin.q.public());
    let query = TokenQuery { bank, brand: naulon_statement::Digest(*coin.token.key_id()), q, at, s: None };
    BankCall::Token(Unverified::from(&Signed::sign(signer, query)))
}

fn holder(bank: &mut Bank<MemoryStore>, coin: &Coin) -> Option<UnverifiedRecord> {
    match ask(bank, query(&coin.q, coin, NOW)).expect("answered") {
        BankReply::Token(holder) => holder.map(|record| *record),
        other => panic!("no holder: {other:?}"),
    }
}

#[test]
fn an_output_is_signed_again_for_nothing_and_an_unknown_one_never() {
    let mut bank = furnished(MemoryStore::new(Faults::none()));
    let (alice, mine) = (key("alice"), Blind::new(FIVE, 7));
    assert_eq!(fate(&mut bank, &mine), OutputFate::Unknown);
    let withdrawn = ask_exchange(&mut bank, order(&alice, amount("5"), 1, vec![mine.output()])).expect("withdrawn");
    let (books, before) = (bank.audit().expect("agrees"), bank.store().copy());
    for _ in 0..3 {
        let OutputFate::Issued(signature) = fate(&mut bank, &mine) else { panic!("it was issued") };
        assert_eq!(*signature, withdrawn.signatures[0]);
        mine.coin(&signature);
    }
    // Another index of the same seed, and the same message under another brand.
    assert_eq!(fate(&mut bank, &Blind::new(FIVE, 8)), OutputFate::Unknown);
    let other_brand = BankCall::Output { brand: brand_id(ONE), message: Box::new(mine.message) };
    assert!(matches!(ask(&mut bank, other_brand), Ok(BankReply::Output(OutputFate::Unknown))));
    // A request that was refused has asked for nothing.
    let dear = Blind::new(FIVE, 9);
    ask(&mut bank, order(&key("bob"), amount("5"), 2, vec![dear.output()])).expect_err("no account");
    assert_eq!(fate(&mut bank, &dear), OutputFate::Unknown);
    assert_eq!(bank.audit().expect("agrees"), books, "it counts nowhere as issue");
    assert!(bank.store().has_same_books(&before), "and nothing is written");
}

#[test]
fn change_is_pending_until_the_log_decides() {
    for outcome in [Outcome::Commit { k: K }, Outcome::Abort] {
        let mut bank = furnished(MemoryStore::new(Faults::none()));
        let coins = withdraw(&mut bank, 1, &[FIVE]);
        let change = Blind::new(TWO, 7);
        assert!(holder(&mut bank, &coins[0]).is_none(), "free");
        let locked = ask_exchange(&mut bank, lock(&[&coins[0]], amount("3"), &[&change], condition(1)));
        let locked = locked.expect("locked");
        assert_eq!(fate(&mut bank, &change), OutputFate::Pending);
        let record = holder(&mut bank, &coins[0]).expect("held");
        assert_eq!((record.exchange.id(), record.state), (locked.request, State::Locked));
        let time = if outcome == Outcome::Abort { condition(1).expiry } else { NOW };
        ask(&mut bank, settle(&TestLog::default().decide(&header(&locked), time, outcome))).expect("settled");
        match outcome {
            Outcome::Commit { .. } => {
                assert!(matches!(fate(&mut bank, &change), OutputFate::Issued(_)));
                let record = holder(&mut bank, &coins[0]).expect("held");
                assert_eq!(record.state, State::Committed);
                assert!(record.decision.is_some(), "spent comes with proof");
            }
            Outcome::Abort => {
                assert_eq!(fate(&mut bank, &change), OutputFate::Void);
                assert!(holder(&mut bank, &coins[0]).is_none(), "free again");
            }
        }
    }
}

#[test]
fn only_a_tokens_key_is_told_about_it_and_only_a_fresh_question_answered() {
    let mut bank = furnished(MemoryStore::new(Faults::none()));
    let coins = withdraw(&mut bank, 1, &[ONE, ONE]);
    let code = |refused: Result<BankReply, Problem>| refused.expect_err("refused").code;
    assert_eq!(code(ask(&mut bank, query(&coins[1].q, &coins[0], NOW))), "wrong_signer");
    let old = NOW.minus(Duration::seconds(301));
    assert_eq!(code(ask(&mut bank, query(&coins[0].q, &coins[0], old))), "stale");
    ask(&mut bank, query(&coins[0].q, &coins[0], NOW.minus(Duration::seconds(60)))).expect("whole minutes will do");
}

#[test]
fn a_closed_brand_is_signed_no_more() {
    let mut bank = furnished(MemoryStore::new(Faults::none()));
    let mine = Blind::new(ONE, 7);
    ask(&mut bank, order(&key("alice"), amount("1"), 1, vec![mine.output()])).expect("withdrawn");
    let closed = brand(ONE).brand().redeem_until;
    let call = || BankCall::Output { brand: brand_id(ONE), message: Box::new(mine.message) };
    bank.handle(call(), closed.minus(Duration(1))).expect("open");
    let refused = bank.handle(call(), closed).expect_err("closed");
    assert!(refused.code == "brand_closed" && refused.is_final());
    assert_eq!(bank.handle(call(), NOW).expect_err("closed").code, "brand_closed", "the clock does not run backwards");
}
