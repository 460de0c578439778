//! The auditor finds what is wrong: sound books are changed in one way each, as a broken or lying bank would have them.

use std::sync::Arc;

use naulon_exchange::{
    Decided, Discrepancy, Exchange, Header, Input, LedgerAccount, LogDecision, OpenAccount, Outcome, Output, Record,
    Remainder, State, Transfer, authenticate, authenticate_account, authenticate_decision, decide,
};
use naulon_statement::{Digest, Joint, Signed, Timestamp, Unverified, UnverifiedJoint};

use super::books::Books;
use super::world::*;

/// Books with a withdrawal, a committed and an aborted purchase, and one that is locked.
fn sound() -> (Books, Vec<Joint<Exchange>>) {
    let rules = &world().rules;
    let mut books = Books::default();
    let mut write =
        |request: &naulon_exchange::Request| match decide(rules, &books.view(&request.needs()), request, Timestamp(0))
            .expect("accepted")
        {
            Decided::Write(plan) => books.write(&plan).expect("written"),
            other => panic!("{other:?}"),
        };
    for index in [0, 3] {
        let open = OpenAccount { bank: bank(), account: account(index).public() };
        write(&authenticate_account(rules, Unverified::from(&Signed::sign(&account(index), open))).expect("sound"));
    }
    let me = account(0).public();
    let (amount, order) = (units(4), [1; 16]);
    let pay_in = exchange(
        vec![Input::Outside { amount: units(9), reference: [1; 16] }],
        vec![Output::Account { account: me, amount: units(9) }],
        None,
    );
    let tokens = (0..4).map(|token| world().token_output(token)).collect();
    let withdraw = exchange(vec![Input::Account { account: me, amount, order }], tokens, None);
    let buy = |token, n| {
        let credit = Output::Account { account: account(3).public(), amount: units(1) };
        exchange(vec![world().token_input(token)], vec![credit], Some(condition(3, n, seconds(100), 0, None)))
    };
    let joints: Vec<_> = [pay_in, withdraw, buy(0, 0), buy(1, 1), buy(2, 2)].into_iter().map(sign).collect();
    for joint in &joints {
        write(&authenticate(rules, UnverifiedJoint::from(joint.clone())).expect("sound"));
    }
    let header = |index: usize| Header::of(&joints[index], joints[index].id()).expect("a purchase");
    for decision in [commit(&header(2)), abort(&header(3))] {
        write(&authenticate_decision(rules, prove(0, decision)).expect("sound"));
    }
    (books, joints)
}

/// What the auditor finds after this change.
fn finds(change: impl FnOnce(&mut Books, &[Joint<Exchange>])) -> Vec<Discrepancy> {
    let (mut books, joints) = sound();
    change(&mut books, &joints);
    books.audit(&world().rules).expect_err("something is wrong")
}

fn set(books: &mut Books, joint: &Joint<Exchange>, change: impl FnOnce(&mut Record)) {
    change(Arc::make_mut(books.records.get_mut(&joint.id()).expect("a record")));
}

#[test]
fn sound_books_agree() {
    let (books, _) = sound();
    let report = books.audit(&world().rules).expect("agrees");
    assert_eq!((report.came_in, report.accounts), (units(9), units(6)));
    assert_eq!((report.tokens, report.locked), (units(2), units(1)));
    let position = report.brands[&world().brand_id(0)];
    assert_eq!((position.issued, position.redeemed, position.locked), (4, 1, 1));
}

#[test]
fn a_purchase_is_paid_or_freed_by_its_logs_decision_only() {
    let unfounded = |found: Vec<Discrepancy>| found.iter().any(|f| matches!(f, Discrepancy::Unfounded(_)));
    assert!(unfounded(finds(|books, joints| set(books, &joints[4], |record| record.state = State::Committed))));
    assert!(unfounded(finds(|books, joints| set(books, &joints[2], |record| record.decision = None))));
    assert!(unfounded(finds(|books, joints| set(books, &joints[0], |record| record.state = State::Locked))));
    let decided = |log: usize, change: fn(&Header) -> LogDecision| {
        move |books: &mut Books, joints: &[Joint<Exchange>]| {
            let header = Header::of(&joints[2], joints[2].id()).expect("a purchase");
            let decision = prove(log, change(&header)).verify(&log_identity(log)).expect("proven");
            set(books, &joints[2], |record| record.decision = Some(decision));
        }
    };
    assert!(unfounded(finds(decided(0, abort))));
    assert!(unfounded(finds(decided(1, commit))));
    let wrong_key = |header: &Header| LogDecision { outcome: Outcome::Commit { k: [0; 32] }, ..commit(header) };
    assert!(unfounded(finds(decided(0, wrong_key))));
    assert!(unfounded(finds(decided(0, |header| LogDecision { time: header.expiry, ..commit(header) }))));
}

#[test]
fn every_other_change_is_found() {
    let found = finds(|books, _| {
        books.marks.pop_first();
    });
    assert!(matches!(found[..], [Discrepancy::MarkMissing(_)]), "{found:?}");
    let found = finds(|books, joints| {
        books.marks.insert(Digest([0; 32]), joints[0].id());
    });
    assert!(matches!(found[..], [Discrepancy::MarkExtra(_)]), "{found:?}");
    let found = finds(|books, _| {
        books.journal.pop();
    });
    assert!(found.iter().all(|f| matches!(f, Discrepancy::Journal { .. })) && found.len() == 2, "{found:?}");
    let found = finds(|books, _| {
        books.balances.insert(account(0).public(), units(6));
    });
    assert!(matches!(found[..], [Discrepancy::Balance { .. }]), "{found:?}");
    let found = finds(|books, _| {
        books.balances.remove(&account(3).public());
    });
    assert!(matches!(found[..], [Discrepancy::Balance { .. }]), "{found:?}");

    // A bank that makes money for a friend, with books to match.
    let found = finds(|books, _| {
        let (from, to) = (LedgerAccount::Outside, LedgerAccount::Customer(account(3).public()));
        books.journal.push(Transfer { from, to, amount: units(1) });
        books.balances.insert(account(3).public(), units(2));
    });
    assert!(matches!(found[..], [Discrepancy::Journal { .. }, Discrepancy::Journal { .. }]), "{found:?}");

    // A record whose sums do not agree, one of a brand that is none, and a token that two requests gave up.
    let forge = |books: &mut Books, body: Exchange| {
        let joint = sign(body);
        let record = Record {
            exchange: joint.clone(),
            state: State::Done,
            accepted: Timestamp(0),
            decision: None,
            settled: None,
        };
        books.records.insert(joint.id(), Arc::new(record));
    };
    let credit = |amount| vec![Output::Account { account: account(3).public(), amount: units(amount) }];
    let found = finds(|books, _| forge(books, exchange(vec![world().token_input(3)], credit(2), None)));
    assert!(found.iter().any(|f| matches!(f, Discrepancy::Unbalanced(_))), "{found:?}");
    let unknown = Output::Blinded { brand: Digest([0; 32]), message: world().tokens[0].blinded };
    let found = finds(|books, _| forge(books, exchange(vec![world().token_input(3)], vec![unknown], None)));
    assert!(found.iter().any(|f| matches!(f, Discrepancy::UnknownBrand(_))), "{found:?}");
    let found = finds(|books, _| forge(books, exchange(vec![world().token_input(0)], credit(1), None)));
    assert!(found.iter().any(|f| matches!(f, Discrepancy::DoubleSpend(..))), "{found:?}");
    // A part more than was written as taken from the token, with a journal to match; a token that is spent as a whole, too.
    let part = |part| exchange(vec![world().part_input(3, Some(part))], credit(part), None);
    let found = finds(|books, _| forge(books, part(1)));
    assert!(found.iter().any(|f| matches!(f, Discrepancy::Remainder { stored: None, .. })), "{found:?}");
    let found = finds(|books, _| {
        books.remainders.insert(Digest([0; 32]), Remainder { left: units(1), uses: 1 });
    });
    assert!(matches!(found[..], [Discrepancy::Remainder { records: None, .. }]), "{found:?}");
    let found = finds(|books, _| forge(books, exchange(vec![world().part_input(0, Some(1))], credit(1), None)));
    assert!(found.iter().any(|f| matches!(f, Discrepancy::DoubleSpend(..))), "{found:?}");
    // More tokens given up than were ever issued.
    let found =
        finds(|books, _| forge(books, exchange((3..8).map(|t| world().token_input(t)).collect(), credit(5), None)));
    assert!(found.iter().any(|f| matches!(f, Discrepancy::BelowZero(LedgerAccount::Tokens(_)))), "{found:?}");
}
