//! Encrypted and blind entries (AAT §8.5), and what the log forgets (§5).
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by them

mod world;

use std::collections::BTreeSet;

use naulon_durable::fault::Faults;
use naulon_exchange::{BlindMessage, Entry, EntryMode, Header, LogIdentity, ProvenDecision, UnverifiedDecision};
use naulon_log::{Log, LogStore, MemoryStore, SqliteStore};
use naulon_purchase::{BlindRules, LogRules};
use naulon_statement::{Digest, Duration, SecretKey, Signed, Timestamp};
use naulon_tlog::{InclusionProof, leaf_hash};
use naulon_wire::{LogCall, LogReply, Problem};
use world::*;

fn index_key(number: u64) -> SecretKey {
    SecretKey::from_seed(&Digest::of(&[b"index", &number.to_be_bytes()]).0)
}

fn purchase(number: u64, mode: EntryMode) -> Purchase {
    let entry = match mode {
        EntryMode::Plain => Entry::Plain,
        EntryMode::Encrypted => Entry::Encrypted,
        EntryMode::Blind => Entry::Blind { index: index_key(number).public() },
    };
    let Purchase { header, k } = Purchase::new(number, EXPIRY);
    Purchase { header: Header { entry, ..header }, k }
}

fn message(number: u64, purchase: &Purchase, k: &[u8; 32]) -> LogCall {
    let Header { log, expiry, a, .. } = &purchase.header;
    let message = BlindMessage { log: *log, expiry: *expiry, sealed: purchase.header.seal_release(a, k) };
    LogCall::BlindCommit { message: (&Signed::sign(&index_key(number), message)).into() }
}

fn commit(number: u64, purchase: &Purchase) -> LogCall {
    match purchase.header.entry {
        Entry::Blind { .. } => message(number, purchase, &purchase.k),
        Entry::Plain | Entry::Encrypted => purchase.commit(),
    }
}

fn abort(purchase: &Purchase) -> LogCall {
    match purchase.header.entry {
        Entry::Blind { index } => LogCall::BlindAbort { index, expiry: purchase.header.expiry },
        Entry::Plain | Entry::Encrypted => purchase.abort(),
    }
}

/// What a party that has the header reads.
fn read(reply: LogReply, log: &LogIdentity, header: &Header) -> ProvenDecision {
    let LogReply::Decision(decision) = reply else { panic!("not a decision: {reply:?}") };
    let proven = decision.with(header).verify(log).expect("it is proven");
    assert!(proven.fits(header));
    proven
}

fn ask(
    log: &mut Log<impl LogStore>,
    call: LogCall,
    now: Timestamp,
    header: &Header,
) -> Result<Option<[u8; 32]>, Problem> {
    let identity = log.identity();
    log.handle(call, now).map(|reply| read(reply, &identity, header).decision().key().copied())
}

fn every_mode(mut log: Log<impl LogStore>) {
    // First those that are in time: the log's clock never runs backwards.
    for (number, mode) in (0..).zip([EntryMode::ALL, EntryMode::ALL].concat()) {
        let in_time = number < 3;
        let purchase = purchase(number, mode);
        let (header, k) = (&purchase.header, purchase.k);
        let decided = LogCall::Decision(header.subject());
        assert_eq!(code(ask(&mut log, LogCall::Decision(header.subject()), BEFORE, header)), "undecided");
        if in_time {
            assert_eq!(code(ask(&mut log, abort(&purchase), BEFORE, header)), "not_expired");
            assert_eq!(ask(&mut log, commit(number, &purchase), BEFORE, header), Ok(Some(k)), "{mode}");
            assert_eq!(ask(&mut log, abort(&purchase), BEFORE, header), Ok(Some(k)), "{mode}: one decision");
            assert_eq!(ask(&mut log, decided, BEFORE, header), Ok(Some(k)), "{mode}");
        } else {
            assert_eq!(ask(&mut log, commit(number, &purchase), EXPIRY, header), Ok(None), "{mode}: too late");
            assert_eq!(ask(&mut log, commit(number, &purchase), BEFORE, header), Ok(None), "{mode}: once only");
        }
        // The public reads k in plain entries alone.
        let body = public(&mut log, &format!("/body/{number}")).unwrap();
        let shows = body.windows(32).any(|window| window == k);
        assert_eq!(shows, mode == EntryMode::Plain && in_time, "{mode}");
        assert_eq!(body.windows(32).any(|window| window == header.a.0), mode == EntryMode::Plain, "{mode}");
    }
}

#[test]
fn every_mode_is_decided_once_in_memory() {
    every_mode(open_ahead(MemoryStore::new(Faults::none())));
}

#[test]
fn every_mode_is_decided_once_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.sqlite");
    every_mode(open_ahead(SqliteStore::open(&path).unwrap()));
    drop(open_ahead(SqliteStore::open(&path).unwrap()));
}

/// A log with room for the tests' blind messages.
fn open_ahead<S: LogStore>(store: S) -> Log<S> {
    let rules = LogRules { blind: BlindRules { per_minute: 100, horizon: Duration::days(1) }, ..rules() };
    Log::open(keys(), rules, ORIGIN, store).unwrap()
}

/// Of two messages under one index and expiry the first counts, and rubbish of other keys never gets there.
#[test]
fn one_message_an_index() {
    let mut log = open(MemoryStore::new(Faults::none())).unwrap();
    let first = purchase(2, EntryMode::Blind);
    let header = &first.header;
    assert_eq!(ask(&mut log, message(2, &first, &first.k), BEFORE, header), Ok(Some(first.k)));
    assert_eq!(
        ask(&mut log, message(2, &first, &[0; 32]), BEFORE, header),
        Ok(Some(first.k)),
        "the second one changes nothing"
    );

    // Rubbish by another key stands under that key; the purchase goes on as if it were not there.
    let second = purchase(3, EntryMode::Blind);
    let LogCall::BlindCommit { message: rubbish } = message(77, &second, &[0; 32]) else { unreachable!() };
    assert!(log.handle(LogCall::BlindCommit { message: rubbish }, BEFORE).is_ok());
    assert_eq!(ask(&mut log, message(3, &second, &second.k), BEFORE, &second.header), Ok(Some(second.k)));

    // The merchant's own rubbish uses its index up, and is an abort for everybody, at once.
    let third = purchase(4, EntryMode::Blind);
    assert_eq!(ask(&mut log, message(4, &third, &[0; 32]), BEFORE, &third.header), Ok(None));
    assert_eq!(ask(&mut log, message(4, &third, &third.k), BEFORE, &third.header), Ok(None));
}

/// A header with a blind entry cannot be decided on in the open as well: that would be a second outcome.
#[test]
fn a_blind_purchase_has_no_second_subject() {
    let mut log = open(MemoryStore::new(Faults::none())).unwrap();
    let purchase = purchase(2, EntryMode::Blind);
    assert_eq!(code(log.handle(purchase.commit(), BEFORE)), "wrong_entry");
    assert_eq!(code(log.handle(purchase.abort(), EXPIRY)), "wrong_entry");
}

#[test]
fn a_log_takes_what_it_says_and_aborts_everything() {
    let only_plain = LogRules { entries: BTreeSet::from([EntryMode::Plain]), ..rules() };
    let mut log = Log::open(keys(), only_plain, ORIGIN, MemoryStore::new(Faults::none())).unwrap();
    let LogReply::Description(described) = log.handle(LogCall::Describe, BEFORE).unwrap() else { panic!() };
    assert_eq!(described.entries, [EntryMode::Plain]);
    for (number, mode) in [(2, EntryMode::Encrypted), (3, EntryMode::Blind)] {
        let purchase = purchase(number, mode);
        assert_eq!(code(ask(&mut log, commit(number, &purchase), BEFORE, &purchase.header)), "wrong_entry");
        assert_eq!(ask(&mut log, abort(&purchase), EXPIRY, &purchase.header), Ok(None), "{mode}");
    }
}

/// Nobody vouches for a blind message, so all of them together have a measure. What is decided is answered beyond it, and
/// the other kinds are not touched by it.
#[test]
fn blind_messages_have_a_measure() {
    let measured = LogRules { blind: BlindRules { per_minute: 3, horizon: Duration::days(1) }, ..rules() };
    let mut log = Log::open(keys(), measured, ORIGIN, MemoryStore::new(Faults::none())).unwrap();
    let mut post = |number: u64, now| {
        let purchase = purchase(number, EntryMode::Blind);
        code(ask(&mut log, message(number, &purchase, &purchase.k), now, &purchase.header))
    };
    let start = Timestamp(EXPIRY.0 - 120_000);
    assert_eq!([1, 2, 3, 4].map(|number| post(number, start)), ["ok", "ok", "ok", "busy"]);
    assert_eq!(post(3, start), "ok", "that one is decided");
    assert_eq!(post(4, start.plus(Duration::seconds(60))), "ok", "another minute");
    let plain = purchase(8, EntryMode::Plain);
    for number in [5, 6] {
        post(number, start.plus(Duration::seconds(61)));
    }
    assert_eq!(post(7, start.plus(Duration::seconds(62))), "busy");
    assert!(log.handle(plain.commit(), BEFORE).is_ok());
    let mut far = purchase(9, EntryMode::Blind);
    far.header.expiry = EXPIRY.plus(Duration::days(2));
    assert_eq!(code(log.handle(message(9, &far, &far.k), BEFORE.plus(Duration::seconds(600)))), "expiry_too_late");
}

/// After the retention bodies go. Whoever kept a proof still holds one, of every later tree; the log never decides again.
#[test]
fn what_is_forgotten_is_still_proven_and_never_decided_again() {
    for mode in EntryMode::ALL {
        let store = MemoryStore::new(Faults::none());
        let mut log = open(store.clone()).unwrap();
        let identity = log.identity();
        let purchase = purchase(2, mode);
        let reply = log.handle(commit(2, &purchase), BEFORE).unwrap();
        let LogReply::Decision(kept) = &reply else { panic!() };
        let entry = public(&mut log, "/tile/entries/000.p/1").unwrap();
        let kept: UnverifiedDecision = (**kept).clone();
        let last = EXPIRY.plus(RETENTION);
        assert_eq!((log.prunable(last), log.prune(last, 10)), (Ok(0), Ok(0)), "{mode}: not yet");
        let gone = Timestamp(last.0 + 1);
        assert_eq!((log.prunable(gone), log.prune(gone, 10)), (Ok(1), Ok(1)), "{mode}");
        assert_eq!(code(public(&mut log, "/body/0")), "not_found", "{mode}");
        assert_eq!(public(&mut log, "/tile/entries/000.p/1").unwrap(), entry, "{mode}: the entry stays");
        assert_eq!(
            code(ask(&mut log, LogCall::Decision(purchase.header.subject()), gone, &purchase.header)),
            "undecided"
        );
        // The clock is set back, and the log started again: it stays as it is.
        drop(log);
        let mut log = open(store).unwrap();
        for call in [commit(2, &purchase), abort(&purchase)] {
            assert_eq!(code(ask(&mut log, call, BEFORE, &purchase.header)), "too_old", "{mode}");
        }
        // The old proof holds, and the leaf stands in a later tree.
        let key = kept.clone().with(&purchase.header).verify(&identity).unwrap().decision().key().copied();
        assert_eq!(key, Some(purchase.k), "{mode}");
        let next = Purchase::new(4, Timestamp(gone.0 + 10));
        log.handle(next.commit(), gone).unwrap();
        let checkpoint = String::from_utf8(public(&mut log, "/checkpoint").unwrap()).unwrap();
        let checkpoint = identity.checkpoints.open(&checkpoint).unwrap();
        let entries = public(&mut log, "/tile/entries/000.p/2").unwrap();
        let other = leaf_hash(&entries[2 + 72 + 2..]);
        let proof = InclusionProof { index: 0, size: 2, path: vec![other] };
        proof.verify(&leaf_hash(&entry[2..]), &checkpoint).unwrap();
    }
}

/// A crash at either write of the job loses nothing that is not due, and the next one goes on.
#[test]
fn pruning_survives_crashes() {
    use naulon_durable::fault::When;
    for when in [When::Before, When::After] {
        // The start, one decision, the job.
        let store = MemoryStore::new(Faults::crash_at(3, when));
        let mut log = open(store.clone()).unwrap();
        log.handle(Purchase::new(1, EXPIRY).commit(), BEFORE).unwrap();
        let due = Timestamp(EXPIRY.plus(RETENTION).0 + 1);
        assert!(log.prune(due, 10).is_err());
        store.faults().restart();
        let mut log = open(store).unwrap();
        log.prune(due, 10).unwrap();
        assert_eq!(log.prunable(due), Ok(0));
        assert_eq!(code(log.handle(Purchase::new(1, EXPIRY).abort(), due)), "too_old");
    }
}
