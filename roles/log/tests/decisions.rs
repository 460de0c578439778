//! Exactly one decision a purchase, whatever is asked, and whatever dies.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

mod world;

use std::collections::BTreeMap;

use naulon_durable::fault::{Faults, When};
use naulon_exchange::Outcome;
use naulon_log::{LogStore, MemoryStore, OpenError, SqliteStore};
use naulon_purchase::log::authenticate_abort;
use naulon_purchase::{AuthorizationM, LogRequest};
use naulon_statement::{Digest, Duration, SecretKey, Signed, Timestamp, Unverified};
use naulon_wire::LogCall;
use proptest::prelude::*;
use world::*;

fn memory() -> MemoryStore {
    MemoryStore::new(Faults::none())
}

#[test]
fn the_first_request_decides_and_every_later_one_gets_its_decision() {
    let mut log = open(memory()).unwrap();
    let (bought, given_up) = (Purchase::new(1, EXPIRY), Purchase::new(2, EXPIRY));
    let first = decision(&mut log, bought.commit(), BEFORE).unwrap();
    assert!(first.fits(&bought.header));
    assert_eq!((first.outcome, first.time), (Outcome::Commit { k: bought.k }, BEFORE));
    let first_abort = decision(&mut log, given_up.abort(), EXPIRY).unwrap();
    assert!(first_abort.fits(&given_up.header));
    assert_eq!((first_abort.outcome, first_abort.time), (Outcome::Abort, EXPIRY));
    let later = EXPIRY.plus(Duration::days(400));
    for now in [BEFORE, EXPIRY, later] {
        for call in [bought.commit(), bought.abort(), bought.ask()] {
            assert_eq!(decision(&mut log, call, now), Ok(first.clone()));
        }
        for call in [given_up.commit(), given_up.abort(), given_up.ask()] {
            assert_eq!(decision(&mut log, call, now), Ok(first_abort.clone()));
        }
    }
}

#[test]
fn a_commit_that_comes_too_late_is_an_abort() {
    let mut log = open(memory()).unwrap();
    let purchase = Purchase::new(1, EXPIRY);
    assert!(!is_commit(&decision(&mut log, purchase.commit(), EXPIRY).unwrap()));
}

/// The log's time does not run backwards when its clock does, also over a restart: what has expired stays expired.
#[test]
fn log_time_never_runs_backwards() {
    let store = memory();
    let mut log = open(store.clone()).unwrap();
    assert!(!is_commit(&decision(&mut log, Purchase::new(1, EXPIRY).abort(), EXPIRY).unwrap()));
    let later = Purchase::new(2, EXPIRY);
    let set_back = decision(&mut log, later.commit(), Timestamp(5)).unwrap();
    assert_eq!((set_back.outcome, set_back.time), (Outcome::Abort, EXPIRY));
    drop(log);
    let mut log = open(store).unwrap();
    let after_restart = decision(&mut log, Purchase::new(3, EXPIRY).commit(), Timestamp(5)).unwrap();
    assert_eq!((after_restart.outcome, after_restart.time), (Outcome::Abort, EXPIRY));
}

#[test]
fn in_one_group_the_first_request_on_a_subject_wins() {
    let mut log = open(memory()).unwrap();
    let identity = log.identity();
    let (a, b) = (Purchase::new(1, BEFORE), Purchase::new(2, EXPIRY));
    let request = |call| match call {
        LogCall::Commit { header, authorization } => {
            naulon_purchase::log::authenticate_commit(&rules(), header, authorization)
        }
        LogCall::Abort { header } => authenticate_abort(&rules(), header),
        _ => panic!("not a request"),
    };
    // `a` has expired, `b` has not: its abort is refused, and its commit right behind is not.
    let calls = [a.abort(), b.abort(), a.commit(), b.commit(), b.abort(), a.abort()];
    let requests: Vec<LogRequest> = calls.map(|call| request(call).unwrap()).into();
    let answers = log.handle_batch(requests, BEFORE);
    let outcomes: Vec<String> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(reply) if is_commit(&proven_decision(&reply, &identity)) => "commit".to_owned(),
            Ok(_) => "abort".to_owned(),
            Err(problem) => problem.code,
        })
        .collect();
    assert_eq!(outcomes, ["abort", "not_expired", "abort", "commit", "commit", "abort"]);
    let checkpoint = identity.checkpoints.open(std::str::from_utf8(&public(&mut log, "/checkpoint").unwrap()).unwrap());
    assert_eq!(checkpoint.unwrap().size, 2, "two purchases, two entries");
}

fn proven_decision(reply: &naulon_wire::LogReply, log: &naulon_exchange::LogIdentity) -> naulon_exchange::LogDecision {
    let naulon_wire::LogReply::Decision(decision) = reply else { panic!("not a decision") };
    (**decision).clone().verify(log).expect("proven").decision().clone()
}

/// Each write of a run of the log crashes once before and once after; whoever then asks again finds one decision, and
/// what was answered before the crash still holds.
#[test]
fn a_crash_at_any_write_leaves_at_most_one_decision_to_be_asked_for_again() {
    // The first start and three decisions: four writes.
    for (nth, when) in (1..=4).flat_map(|nth| [(nth, When::Before), (nth, When::After)]) {
        let store = MemoryStore::new(Faults::crash_at(nth, when));
        let purchases = [1, 2, 3].map(|number| Purchase::new(number, EXPIRY));
        let mut answered = BTreeMap::new();
        let mut crashed = 0;
        let mut log = None;
        for (purchase, call) in purchases.iter().flat_map(|p| [(p, p.commit()), (p, p.abort())]) {
            if log.is_none() {
                log = open(store.clone()).ok();
            }
            let Some(running) = log.as_mut() else {
                crashed += 1;
                store.faults().restart();
                continue;
            };
            match decision(running, call, BEFORE) {
                Ok(made) => {
                    let first = answered.entry(purchase.subject()).or_insert(made.clone());
                    assert_eq!(*first, made);
                }
                Err(problem) if problem.code == "unavailable" => {
                    assert!(running.is_halted(), "after a crash nothing more is decided");
                    assert_eq!(code(running.handle(purchase.ask(), BEFORE)), "unavailable");
                    crashed += 1;
                    store.faults().restart();
                    log = None;
                }
                Err(problem) => assert_eq!(problem.code, "not_expired"),
            }
        }
        assert_eq!(crashed, 1, "crash {nth} {when:?}");
        let mut log = open(store).unwrap();
        for (number, purchase) in (1..).zip(&purchases) {
            // After the expiry an abort is what anybody would get, had the commit been lost.
            let made = decision(&mut log, purchase.abort(), EXPIRY).unwrap();
            assert!(made.fits(&purchase.header));
            if let Some(before) = answered.get(&purchase.subject()) {
                assert_eq!(made, *before, "purchase {number}, crash {nth} {when:?}");
            }
        }
        let note = public(&mut log, "/checkpoint").unwrap();
        assert_eq!(log.identity().checkpoints.open(std::str::from_utf8(&note).unwrap()).unwrap().size, 3);
    }
}

/// A write that surely did not happen leaves the log as it was, and it goes on.
#[test]
fn a_group_that_was_not_written_leaves_no_trace() {
    use naulon_durable::StoreError;
    use naulon_log::{Appending, CommitError, Entry, LogState, StoredDecision};
    struct FullOnce(MemoryStore, bool);
    impl LogStore for FullOnce {
        fn take_over(&mut self) -> Result<LogState, StoreError> {
            self.0.take_over()
        }
        fn decisions(&self, subjects: &[Digest]) -> Result<Vec<Option<StoredDecision>>, StoreError> {
            self.0.decisions(subjects)
        }
        fn prune(&mut self, time: Timestamp, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
            self.0.prune(time, before, limit)
        }

        fn prunable(&self, before: Timestamp) -> Result<u64, StoreError> {
            self.0.prunable(before)
        }

        fn body(&self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
            self.0.body(index)
        }
        fn entries(&self, range: std::ops::Range<u64>) -> Result<Vec<Entry>, StoreError> {
            self.0.entries(range)
        }
        fn hashes(&self, places: &[u64]) -> Result<Vec<[u8; 32]>, StoreError> {
            self.0.hashes(places)
        }
        fn commit(&mut self, group: &Appending) -> Result<(), CommitError> {
            if std::mem::take(&mut self.1) { Err(StoreError::Full.into()) } else { self.0.commit(group) }
        }
        fn keep_cosigned(&mut self, fence: naulon_log::Fence, note: &str) -> Result<(), CommitError> {
            self.0.keep_cosigned(fence, note)
        }
    }
    let mut log = open(FullOnce(memory(), true)).unwrap();
    let purchase = Purchase::new(1, EXPIRY);
    assert_eq!(code(log.handle(purchase.commit(), BEFORE)), "unavailable");
    assert!(!log.is_halted());
    assert_eq!(code(log.handle(purchase.ask(), BEFORE)), "undecided");
    assert!(is_commit(&decision(&mut log, purchase.commit(), BEFORE).unwrap()));
}

#[test]
fn a_log_that_was_overtaken_decides_nothing_more() {
    let store = memory();
    let (first, second) = (Purchase::new(1, EXPIRY), Purchase::new(2, EXPIRY));
    let mut old = open(store.clone()).unwrap();
    let kept = decision(&mut old, first.commit(), BEFORE).unwrap();
    let mut new = open(store).unwrap();
    assert_eq!(code(old.handle(second.commit(), BEFORE)), "unavailable");
    assert!(old.is_halted());
    assert_eq!(code(old.handle(first.ask(), BEFORE)), "unavailable", "nor does it answer");
    assert_eq!(decision(&mut new, first.abort(), EXPIRY), Ok(kept));
    assert!(!is_commit(&decision(&mut new, second.commit(), EXPIRY).unwrap()));
}

#[test]
fn a_log_does_not_start_on_another_tree_or_with_other_keys() {
    let mut store = memory();
    let mut log = open(store.clone()).unwrap();
    decision(&mut log, Purchase::new(1, EXPIRY).commit(), BEFORE).unwrap();
    let other = || naulon_log::LogKeys::from_secret(&[4; 64], ORIGIN).unwrap();
    let other_rules = naulon_purchase::LogRules { log: other().statements.public(), ..rules() };
    let open_with = |keys, rules, origin: &str, store: MemoryStore| {
        naulon_log::Log::open(keys, rules, origin, store).map(drop).unwrap_err()
    };
    assert!(matches!(open_with(other(), rules(), ORIGIN, store.clone()), OpenError::OtherRules));
    assert!(matches!(open_with(keys(), rules(), "other", store.clone()), OpenError::OtherOrigin { .. }));
    assert!(matches!(open_with(other(), other_rules.clone(), ORIGIN, store.clone()), OpenError::OtherKeys));
    let mut half = [3; 64];
    half[..32].fill(4);
    let other_statements = naulon_log::LogKeys::from_secret(&half, ORIGIN).unwrap();
    assert!(matches!(open_with(other_statements, other_rules, ORIGIN, store.clone()), OpenError::OtherKeys));

    // Somebody has appended to the store without a checkpoint that covers it.
    let state = store.take_over().unwrap();
    let forged = naulon_log::Appending {
        fence: state.fence,
        before: 1,
        decisions: vec![naulon_log::NewDecision {
            subject: Digest([1; 32]),
            body: vec![1],
            published: None,
            expiry: EXPIRY,
            entry: [1; 72],
        }],
        hashes: vec![(1, [1; 32]), (2, [2; 32])],
        checkpoint: state.checkpoint.unwrap(),
        time: state.time,
    };
    store.commit(&forged).unwrap();
    assert!(matches!(open_with(keys(), rules(), ORIGIN, store), OpenError::OtherTree { size: 2 }));
}

/// Every bad request has a code of its own, and changes nothing.
#[test]
fn bad_requests_are_refused_by_name() {
    let purchase = Purchase::new(1, EXPIRY);
    let old = Purchase::new(2, Timestamp(0));
    let header = |change: fn(&mut naulon_exchange::Header)| {
        let mut changed = Purchase::new(1, EXPIRY);
        change(&mut changed.header);
        changed
    };
    let by = |key: &SecretKey, body: AuthorizationM, purchase: &Purchase| LogCall::Commit {
        header: purchase.signed_header(),
        authorization: (&Signed::sign(key, body)).into(),
    };
    let authorization = |a, k| AuthorizationM { a, k };
    let (a, k) = (purchase.header.a, purchase.k);
    let stranger = SecretKey::from_seed(&[8; 32]);
    let header_by = |key: &SecretKey, purchase: &Purchase| -> Unverified<naulon_exchange::Header> {
        (&Signed::sign(key, purchase.header.clone())).into()
    };
    let forged = {
        let mut bytes = purchase.signed_header().bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Unverified::parse(&bytes).unwrap()
    };
    let table: Vec<(&str, LogCall, &str)> = vec![
        ("another log", header(|h| h.log.0[0] ^= 1).commit(), "wrong_log"),
        ("an unknown bank", header(|h| h.bank.0[0] ^= 1).abort(), "unknown_bank"),
        ("a header not by its bank", LogCall::Abort { header: header_by(&stranger, &purchase) }, "wrong_signer"),
        ("a forged header", LogCall::Abort { header: forged }, "bad_signature"),
        ("not by the merchant", by(&stranger, authorization(a, k), &purchase), "wrong_signer"),
        ("a small-order merchant", header(|h| h.merchant.0 = [0; 32]).commit(), "wrong_signer"),
        ("another purchase's a", by(&merchant(), authorization(Digest([0; 32]), k), &purchase), "other_purchase"),
        ("a key that does not open c", by(&merchant(), authorization(a, [0; 32]), &purchase), "key_mismatch"),
        ("another purchase's key", by(&merchant(), authorization(a, old.k), &purchase), "key_mismatch"),
        ("an abort too early", purchase.abort(), "not_expired"),
        ("nothing decided", purchase.ask(), "undecided"),
        ("no such purchase", LogCall::Decision(Digest([7; 32])), "undecided"),
        ("no such file", LogCall::Public("/tile/0/000".into()), "not_found"),
        ("a path outside", LogCall::Public("/tile/../checkpoint".into()), "not_found"),
        ("no slash", LogCall::Public("checkpoint".into()), "not_found"),
        ("no such body", LogCall::Public("/body/0".into()), "not_found"),
    ];
    let store = memory();
    let mut log = open(store.clone()).unwrap();
    let writes = store.faults().writes();
    for (name, call, expected) in table {
        assert_eq!(code(log.handle(call, BEFORE)), expected, "{name}");
    }
    let past_retention = Timestamp(RETENTION.0 + 1);
    assert_eq!(code(log.handle(old.commit(), past_retention)), "too_old");
    assert_eq!(code(log.handle(old.abort(), past_retention)), "too_old");
    assert_eq!(store.faults().writes(), writes, "nothing was written");
    // The very same purchase still goes through.
    assert!(is_commit(&decision(&mut log, purchase.commit(), BEFORE).unwrap()));
}

/// What may happen to a log.
#[derive(Clone, Debug)]
enum Event {
    Commit(u64),
    Abort(u64),
    Ask(u64),
    Clock(u64),
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let number = 0_u64..8;
    let event = prop_oneof![
        4 => number.clone().prop_map(Event::Commit),
        4 => number.clone().prop_map(Event::Abort),
        2 => number.prop_map(Event::Ask),
        2 => (0_u64..900).prop_map(Event::Clock),
        1 => Just(Event::Restart),
    ];
    proptest::collection::vec(event, 0..40)
}

/// Drives a log beside a model that knows only: the first request after or before the expiry decides, and the log's
/// time is the latest of its clock's at a decision.
fn exactly_one<S: LogStore>(events: Vec<Event>, mut reopen: impl FnMut() -> S) {
    let purchases: Vec<Purchase> = (0..8).map(|number| Purchase::new(number, Timestamp(100 * (number + 1)))).collect();
    let mut log = Some(open(reopen()).unwrap());
    let mut model: BTreeMap<u64, (bool, Timestamp)> = BTreeMap::new();
    let (mut clock, mut last) = (Timestamp(0), Timestamp(0));
    for event in events {
        let running = log.as_mut().unwrap();
        let time = last.max(clock);
        let (number, call) = match event {
            Event::Clock(to) => {
                clock = Timestamp(to);
                continue;
            }
            Event::Restart => {
                drop(log.take());
                log = Some(open(reopen()).unwrap());
                continue;
            }
            Event::Commit(number) => {
                let committed = time < purchases[number as usize].header.expiry;
                model.entry(number).or_insert_with(|| (committed, time));
                (number, purchases[number as usize].commit())
            }
            Event::Abort(number) => {
                if time >= purchases[number as usize].header.expiry {
                    model.entry(number).or_insert((false, time));
                }
                (number, purchases[number as usize].abort())
            }
            Event::Ask(number) => (number, purchases[number as usize].ask()),
        };
        let asked = matches!(call, LogCall::Decision(_));
        match (decision(running, call, clock), model.get(&number)) {
            (Ok(made), Some((committed, at))) => {
                assert_eq!((is_commit(&made), made.time), (*committed, *at));
                assert!(made.fits(&purchases[number as usize].header));
                last = last.max(*at);
            }
            (Err(problem), None) => assert_eq!(problem.code, if asked { "undecided" } else { "not_expired" }),
            (made, expected) => panic!("{made:?} where {expected:?} is expected"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn exactly_one_decision_in_memory(events in events()) {
        let store = memory();
        exactly_one(events, || store.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 15, ..ProptestConfig::default() })]
    #[test]
    fn exactly_one_decision_in_a_file(events in events()) {
        let directory = tempfile::tempdir().unwrap();
        exactly_one(events, || SqliteStore::open(&directory.path().join("log.sqlite")).unwrap());
    }
}
