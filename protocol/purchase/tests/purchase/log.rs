//! The log: exactly one decision, at exactly the right time.

use std::collections::BTreeSet;

use naulon_exchange::{EntryMode, Header, LogDecision, Outcome};
use naulon_purchase::log::{authenticate_abort, authenticate_commit, decide};
use naulon_purchase::{AuthorizationM, BlindRules, LogRefusal, LogRequest, LogRules};
use naulon_statement::{Digest, Duration, Signed, Timestamp, Unverified};
use proptest::prelude::*;

use super::cast::*;

const RETENTION: Duration = Duration(50_000);

fn rules() -> LogRules {
    LogRules {
        log: log_key(0).public(),
        banks: BTreeSet::from([bank().public()]),
        retention: RETENTION,
        entries: BTreeSet::from(EntryMode::ALL),
        blind: BlindRules { per_minute: 1_000, horizon: Duration(200_000) },
    }
}

fn requests(deal: &Deal) -> [LogRequest; 2] {
    let header = || Unverified::from(&deal.header);
    let commit = authenticate_commit(&rules(), header(), Unverified::from(&deal.authorization_m)).expect("sound");
    [commit, authenticate_abort(&rules(), header()).expect("sound")]
}

#[test]
fn commit_before_the_expiry_abort_from_it_on_and_nothing_when_it_is_old() {
    let deal = Plan::default().deal();
    let [commit, abort] = requests(&deal);
    let at = |request: &LogRequest, time: u64| {
        decide(&rules(), request, Timestamp(time)).map(|ruling| {
            let decision = ruling.decision().expect("of a header");
            assert!(decision.fits(&deal.header), "a decision fits its header");
            assert_eq!(decision.time, Timestamp(time));
            decision.key().copied()
        })
    };
    let (expiry, old) = (EXPIRY.0, EXPIRY.0 + RETENTION.0);
    assert_eq!(at(&commit, 0), Ok(Some(deal.k)));
    assert_eq!(at(&commit, expiry - 1), Ok(Some(deal.k)));
    assert_eq!(at(&commit, expiry), Ok(None), "too late is an abort");
    assert_eq!(at(&abort, expiry - 1), Err(LogRefusal::NotExpired));
    assert_eq!(at(&abort, expiry), Ok(None));
    assert_eq!((at(&commit, old), at(&abort, old)), (Ok(None), Ok(None)));
    assert_eq!(at(&commit, old + 1), Err(LogRefusal::TooOld));
    assert_eq!(at(&abort, old + 1), Err(LogRefusal::TooOld));
}

#[test]
fn commit_and_abort_are_requests_on_the_same_subject() {
    let [commit, abort] = requests(&Plan::default().deal());
    let [other, _] = requests(&Plan { n: [8; 16], ..Plan::default() }.deal());
    assert_eq!(commit.subject(), abort.subject());
    assert_ne!(commit.subject(), other.subject());
}

/// Two banks that a log lists cannot take each other's purchases away: the subject binds the bank.
#[test]
fn another_banks_header_with_the_same_a_is_another_subject() {
    let deal = Plan::default().deal();
    let rules = LogRules { banks: BTreeSet::from([bank().public(), other_bank().public()]), ..rules() };
    let stolen = Header { bank: other_bank().public(), ..Header::clone(&deal.header) };
    let stolen = authenticate_abort(&rules, Unverified::from(&Signed::sign(&other_bank(), stolen))).expect("its own");
    assert_ne!(stolen.subject(), requests(&deal)[1].subject());
}

#[test]
fn every_refusal() {
    let deal = Plan::default().deal();
    let header = |change: &dyn Fn(&mut Header), signer: u8| {
        let mut header = Header::clone(&deal.header);
        change(&mut header);
        Unverified::from(&Signed::sign(&key(signer), header))
    };
    let abort = |header| authenticate_abort(&rules(), header).expect_err("refused").code();
    assert_eq!(abort(header(&|h| h.log = log_key(1).public(), 1)), "wrong_log");
    assert_eq!(abort(header(&|h| h.bank = other_bank().public(), 2)), "unknown_bank");
    assert_eq!(abort(header(&|_| {}, 2)), "wrong_signer");
    let commit = |header, a: Digest, k, signer: u8| {
        let authorization = Signed::sign(&key(signer), AuthorizationM { a, k });
        authenticate_commit(&rules(), header, Unverified::from(&authorization)).expect_err("refused").code()
    };
    let a = deal.header.a;
    let same = || header(&|_| {}, 1);
    assert_eq!(commit(same(), a, deal.k, 4), "wrong_signer");
    assert_eq!(commit(same(), Digest([0; 32]), deal.k, 3), "other_purchase");
    assert_eq!(commit(same(), a, [0; 32], 3), "key_mismatch");
    assert_eq!(commit(header(&|h| h.c = Digest([0; 32]), 1), a, deal.k, 3), "key_mismatch");
    assert_eq!(commit(header(&|h| h.n = [8; 16], 1), a, deal.k, 3), "key_mismatch");
    assert_eq!(commit(header(&|h| h.merchant = other_merchant().public(), 1), a, deal.k, 3), "wrong_signer");
}

#[test]
fn k_is_not_printed() {
    let deal = Plan::default().deal();
    let printed = format!("{:?} {:?}", deal.authorization_m, requests(&deal)[0]);
    let bytes = format!("{:?}", deal.k);
    assert!(!printed.contains(bytes.trim_matches(['[', ']'])), "{printed}");
}

proptest! {
    /// Whatever is asked and when: whoever checks the decision finds that it fits, and only an opening key is committed to.
    #[test]
    fn what_is_decided_is_accepted_by_all(is_commit: bool, time in 0..200_000u64, two_sided: bool) {
        let deal = Plan { two_sided, ..Plan::default() }.deal();
        let [commit, abort] = requests(&deal);
        let request = if is_commit { commit } else { abort };
        if let Ok(ruling) = decide(&rules(), &request, Timestamp(time)) {
            let decision = ruling.decision().expect("of a header").clone();
            prop_assert!(decision.fits(&deal.header));
            prop_assert_eq!(decision.key().is_some(), time < EXPIRY.0);
            let expected = match decision.outcome {
                Outcome::Commit { .. } => LogDecision { time: decision.time, ..deal.commit() },
                Outcome::Abort => LogDecision { time: decision.time, ..deal.abort() },
            };
            prop_assert_eq!(decision, expected);
        } else {
            prop_assert!(!is_commit && time < EXPIRY.0 || time > EXPIRY.0 + RETENTION.0);
        }
    }
}
