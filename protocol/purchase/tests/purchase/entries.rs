//! Plain, encrypted and blind entries (AAT §8.5): the same outcome for everybody, whatever the log may see.

use std::collections::{BTreeMap, BTreeSet};

use naulon_exchange::{
    BlindMessage, EntryMode, Header, LogDecision, LogEntry, Outcome, SEALED_ENTRY_LEN, UnverifiedDecision,
    blind_subject,
};
use naulon_purchase::log::{authenticate_abort, authenticate_blind, authenticate_commit, decide};
use naulon_purchase::{
    BlindRules, Breach, Buyer, BuyerError, Claim, Evidence, JointBytes, LogRefusal, LogRequest, LogRules,
    MerchantRules, Party, Payment, PaymentRefusal, Ruling, Sale, Trust, UnverifiedPayment, judge,
};
use naulon_statement::{Duration, Signed, Timestamp, Unverified, cbor};

use super::cast::*;

fn log_rules() -> LogRules {
    LogRules {
        log: log_key(0).public(),
        banks: BTreeSet::from([bank().public()]),
        retention: Duration(50_000),
        entries: BTreeSet::from(EntryMode::ALL),
        blind: BlindRules { per_minute: 10, horizon: Duration(150_000) },
    }
}

fn merchant_rules() -> MerchantRules {
    MerchantRules {
        merchant: merchant().public(),
        banks: BTreeSet::from([bank().public()]),
        logs: BTreeMap::from([(log_key(0).public(), log_identity(0))]),
        release_margin: MARGIN,
    }
}

fn deal(mode: EntryMode) -> Deal {
    Plan { mode, ..Plan::default() }.deal()
}

fn commit(deal: &Deal) -> LogRequest {
    let request = match deal.header.entry.mode() {
        EntryMode::Blind => authenticate_blind(&log_rules(), Unverified::from(&deal.message(&deal.k))),
        EntryMode::Plain | EntryMode::Encrypted => {
            authenticate_commit(&log_rules(), (&deal.header).into(), (&deal.authorization_m).into())
        }
    };
    request.expect("sound")
}

fn abort(deal: &Deal) -> LogRequest {
    match deal.header.entry {
        naulon_exchange::Entry::Blind { index } => LogRequest::BlindAbort { index, expiry: deal.header.expiry },
        _ => authenticate_abort(&log_rules(), (&deal.header).into()).expect("sound"),
    }
}

fn buyer(deal: &Deal) -> Buyer {
    let mut buyer = Buyer::new(deal.goods_m.clone(), false);
    buyer.fetched(&deal.goods_m.goods).expect("in turn");
    buyer.authorize(deal.authorization_q.clone(), None).expect("in turn");
    buyer.locked((&deal.header).into(), (&deal.authorization_b).into()).expect("in turn");
    buyer
}

fn sale(deal: &Deal) -> Sale {
    let payment = UnverifiedPayment {
        goods_m: (&deal.goods_m).into(),
        header: (&deal.header).into(),
        authorization_b: (&deal.authorization_b).into(),
        goods_q: None,
    };
    let payment: Payment = payment.verify(&merchant_rules()).expect("sound");
    Sale::new(payment)
}

/// What buyer, merchant and judge make of a ruling: k, or none for an abort; and the judge's claims.
fn all_say(deal: &Deal, ruling: Ruling) -> Option<[u8; 32]> {
    let proof = || prove_ruling(0, ruling.clone());
    let (mut buyer, mut sale) = (buyer(deal), sale(deal));
    buyer.decided(proof(), &log_identity(0)).expect("the buyer takes it");
    sale.decided(&merchant_rules(), proof()).expect("the merchant takes it");
    let [of_buyer, of_merchant] = [buyer.evidence(), sale.evidence()];
    let sold = sale.decision.as_ref().and_then(|decision| decision.decision().key());
    assert_eq!(buyer.key(), sold);
    assert_eq!(buyer.key().is_some(), claims(deal, &of_merchant).iter().any(|c| matches!(c, Claim::Credit { .. })));
    let banks = Evidence {
        authorization_q: Some(JointBytes::of(&deal.authorization_q)),
        decisions: of_buyer.decisions.clone(),
        ..Evidence::default()
    };
    let expected = if buyer.key().is_some() { "spent" } else { "unlocked" };
    for evidence in [&of_buyer, &banks] {
        let claims = claims(deal, evidence);
        let spent = claims.iter().any(|claim| matches!(claim, Claim::Spent { .. }));
        let free = claims.iter().any(|claim| matches!(claim, Claim::Unlocked { .. }));
        assert_eq!((spent, free), (expected == "spent", expected == "unlocked"), "{claims:?}");
    }
    buyer.key().copied()
}

fn judgement(deal: &Deal, evidence: &Evidence) -> naulon_purchase::Judgement {
    let trust = Trust {
        banks: [bank().public()].into(),
        logs: BTreeMap::from([(log_key(0).public(), log_identity(0))]),
        merchants: [merchant().public()].into(),
    };
    judge(evidence, &trust, |offer, k| open(&deal.sealed, offer, k))
}

fn claims(deal: &Deal, evidence: &Evidence) -> Vec<Claim> {
    let judgement = judgement(deal, evidence);
    assert_eq!(judgement.breaches, [], "nobody has broken a rule");
    judgement.claims
}

#[test]
fn in_every_mode_all_parties_derive_the_same_outcome() {
    for mode in EntryMode::ALL {
        let deal = deal(mode);
        assert_eq!(commit(&deal).subject(), deal.header.subject(), "{mode}");
        assert_eq!(abort(&deal).subject(), deal.header.subject(), "{mode}");
        let at = |request: &LogRequest, time| decide(&log_rules(), request, Timestamp(time));
        let early = at(&commit(&deal), EXPIRY.0 - 1).expect("in time");
        assert_eq!(all_say(&deal, early), Some(deal.k), "{mode}");
        assert_eq!(all_say(&deal, at(&commit(&deal), EXPIRY.0).expect("late")), None, "{mode}: too late is an abort");
        assert_eq!(all_say(&deal, at(&abort(&deal), EXPIRY.0).expect("due")), None, "{mode}");
        assert_eq!(at(&abort(&deal), EXPIRY.0 - 1).expect_err("early"), LogRefusal::NotExpired, "{mode}");
        assert_eq!(at(&abort(&deal), EXPIRY.0 + 50_001).expect_err("old"), LogRefusal::TooOld, "{mode}");
    }
}

/// The merchant's one message commits to nothing: the key is wrong, it is on another purchase, or it is rubbish. It has used
/// up its index, so for everybody, at once, this is an abort, and the merchant alone has a loss.
#[test]
fn a_blind_message_that_commits_to_nothing_is_an_abort_for_everybody() {
    let deal = deal(EntryMode::Blind);
    let other = Plan { mode: EntryMode::Blind, expiry: Timestamp(90_000), ..Plan::default() }.deal();
    let signed = |sealed| {
        let message = BlindMessage { log: deal.header.log, expiry: deal.header.expiry, sealed };
        Signed::sign(&index_key(&deal.header.n), message)
    };
    let messages = [
        deal.message(&[0; 32]),
        signed(deal.header.seal_release(&other.header.a, &deal.k)),
        signed(other.header.seal_release(&other.header.a, &deal.k)),
        signed([7; 80]),
    ];
    for message in messages {
        let request = authenticate_blind(&log_rules(), Unverified::from(&message)).expect("the log cannot tell");
        let ruling = decide(&log_rules(), &request, Timestamp(EXPIRY.0 - 1)).expect("in time");
        assert_eq!(all_say(&deal, ruling), None);
    }
}

/// Nobody but the merchant gets anything in under an index, and nobody can have it aborted before its time.
#[test]
fn an_index_cannot_be_squatted_on() {
    let deal = deal(EntryMode::Blind);
    let index = index_key(&deal.header.n).public();
    let sealed = deal.header.seal_release(&deal.header.a, &deal.k);
    let message = |log, expiry| BlindMessage { log, expiry, sealed };
    let post = |message: &Signed<BlindMessage>| authenticate_blind(&log_rules(), message.into());
    // Signed by another key it stands under that key, and is another subject.
    let foreign = post(&Signed::sign(&key(77), message(deal.header.log, EXPIRY))).expect("anybody may post");
    assert_ne!(foreign.subject(), deal.header.subject());
    // A signature of the right key over another message does not hold for this one.
    let mut forged = Signed::sign(&key(77), message(deal.header.log, EXPIRY)).bytes().to_vec();
    let at = forged.windows(32).position(|window| window == key(77).public().as_bytes()).expect("the signer");
    forged[at..at + 32].copy_from_slice(index.as_bytes());
    let forged = Unverified::parse(&forged).expect("parses");
    assert_eq!(authenticate_blind(&log_rules(), forged).expect_err("forged").code(), "bad_signature");
    let elsewhere = Signed::sign(&index_key(&deal.header.n), message(log_key(1).public(), EXPIRY));
    assert_eq!(post(&elsewhere).expect_err("another log's").code(), "wrong_log");
    let far = post(&Signed::sign(&index_key(&deal.header.n), message(deal.header.log, Timestamp(200_000))));
    assert_eq!(decide(&log_rules(), &far.expect("sound"), Timestamp(0)).expect_err("far").code(), "expiry_too_late");
    // An abort with an earlier expiry is on another subject, and says nothing about this purchase.
    let early = LogRequest::BlindAbort { index, expiry: Timestamp(5) };
    assert_eq!(early.subject(), blind_subject(&index, Timestamp(5)));
    let ruling = decide(&log_rules(), &early, Timestamp(10)).expect("its time has come");
    let taken = buyer(&deal).decided(prove_ruling(0, ruling), &log_identity(0));
    assert_eq!(taken, Err(BuyerError::DecisionMisfit));
}

/// What everybody may read of an encrypted or blind entry is opaque, and of one length, whatever was decided.
#[test]
fn the_public_reads_nothing_of_a_hidden_entry() {
    for mode in [EntryMode::Encrypted, EntryMode::Blind] {
        let deal = deal(mode);
        let early = decide(&log_rules(), &commit(&deal), Timestamp(9)).expect("in time").sign(&log_key(0));
        let late = decide(&log_rules(), &abort(&deal), EXPIRY).expect("due").sign(&log_key(0));
        let Header { a, n, merchant, c, bank, .. } = Header::clone(&deal.header);
        let known = [&a.0[..], &n, merchant.as_bytes(), &c.0, bank.as_bytes(), &deal.k, &deal.header.digest().0];
        for LogEntry { published, .. } in [&early.entry, &late.entry] {
            for part in known {
                assert!(!published.windows(part.len()).any(|window| window == part), "{mode}");
            }
        }
        assert_eq!(early.entry.bytes[8..40], late.entry.bytes[8..40], "two outcomes of one purchase stay visible");
        if mode == EntryMode::Encrypted {
            assert_eq!((early.entry.published.len(), late.entry.published.len()), (SEALED_ENTRY_LEN, SEALED_ENTRY_LEN));
            assert_eq!(deal.header.open_entry(&early.entry.published), Some(early.statement));
        }
    }
}

#[test]
fn an_entry_of_another_kind_than_the_header_asks_for_says_nothing() {
    for mode in EntryMode::ALL {
        let ours = deal(mode);
        for other in EntryMode::ALL.into_iter().filter(|other| *other != mode) {
            // The log signs on our header, but enters it as if it were the other kind.
            let theirs = Header { entry: deal(other).header.entry, ..Header::clone(&ours.header) };
            let decision =
                LogDecision { header: ours.header.digest(), ..LogDecision::on(&theirs, Timestamp(9), Outcome::Abort) };
            let ruling = match deal(other).ruling(decision.clone()) {
                Ruling::Open { .. } => Ruling::Open { header: theirs, decision },
                blind @ Ruling::Blind(_) => blind,
            };
            let proof: UnverifiedDecision = prove_ruling(0, ruling);
            assert!(buyer(&ours).decided(proof.clone(), &log_identity(0)).is_err(), "{mode}, {other}");
            let evidence = Evidence { decisions: vec![cbor::to_vec(&proof)], ..buyer(&ours).evidence() };
            assert_eq!(claims(&ours, &evidence), [], "{mode}, {other}");
        }
        let blind = (mode == EntryMode::Blind).then(|| authenticate_abort(&log_rules(), (&ours.header).into()));
        assert!(blind.is_none_or(|refused| refused.expect_err("blind") == LogRefusal::WrongEntry));
    }
}

#[test]
fn a_log_that_signs_both_is_convicted_in_every_mode() {
    for mode in EntryMode::ALL {
        let deal = deal(mode);
        let decisions = [deal.commit(), deal.abort()].map(|decision| cbor::to_vec(&deal.prove(decision)));
        let evidence = Evidence { decisions: decisions.to_vec(), ..buyer(&deal).evidence() };
        let log = Party::Log(log_key(0).public());
        assert_eq!(judgement(&deal, &evidence).breaches, [(log, Breach::BothOutcomes)], "{mode}");
        let late = LogDecision { time: EXPIRY, ..deal.commit() };
        let evidence = Evidence { decisions: vec![cbor::to_vec(&deal.prove(late))], ..buyer(&deal).evidence() };
        assert_eq!(judgement(&deal, &evidence).breaches, [(log, Breach::OutOfTime)], "{mode}");
    }
}

/// The buyer chooses among what the merchant offers, and the log among what it takes.
#[test]
fn a_kind_that_is_not_offered_is_refused() {
    let ours = deal(EntryMode::Blind);
    let offer = |change: &dyn Fn(&mut naulon_purchase::GoodsM)| {
        let mut offer = naulon_purchase::GoodsM::clone(&ours.goods_m);
        change(&mut offer);
        Signed::sign(&merchant(), offer)
    };
    for offer in [
        offer(&|offer| offer.entries = vec![EntryMode::Plain, EntryMode::Encrypted]),
        offer(&|offer| offer.entries = Vec::new()),
        offer(&|offer| offer.index = Some(key(66).public())),
        offer(&|offer| offer.index = None),
    ] {
        let payment = UnverifiedPayment {
            goods_m: (&offer).into(),
            header: (&ours.header).into(),
            authorization_b: (&ours.authorization_b).into(),
            goods_q: None,
        };
        assert_eq!(payment.verify(&merchant_rules()).expect_err("not offered"), PaymentRefusal::WrongEntry);
        let mut buyer = Buyer::new(offer.clone(), false);
        buyer.fetched(&offer.goods).expect("in turn");
        let taken = buyer.authorize(ours.authorization_q.clone(), None);
        assert_eq!(taken, Err(BuyerError::OtherAuthorization));
    }
    let rules = LogRules { entries: BTreeSet::from([EntryMode::Plain]), ..log_rules() };
    let refused = authenticate_blind(&rules, Unverified::from(&ours.message(&ours.k))).expect_err("not taken");
    assert_eq!(refused, LogRefusal::WrongEntry);
    let sealed = deal(EntryMode::Encrypted);
    let (header, release) = (|| (&sealed.header).into(), (&sealed.authorization_m).into());
    assert_eq!(authenticate_commit(&rules, header(), release).expect_err("not taken"), LogRefusal::WrongEntry);
    assert!(authenticate_abort(&rules, header()).is_ok(), "an abort is made for every kind: nobody stays locked");
}

/// A shop that uses one n and index for two purchases gives each its own end, and no buyer another's goods for nothing.
#[test]
fn a_reused_number_gives_two_subjects() {
    for mode in EntryMode::ALL {
        let first = deal(mode);
        let second = Plan { mode, expiry: Timestamp(EXPIRY.0 - 1_000), ..Plan::default() }.deal();
        assert_eq!(first.header.n, second.header.n);
        assert_ne!(first.header.subject(), second.header.subject(), "{mode}");
        let on_first = first.prove(first.commit());
        assert!(buyer(&second).decided(on_first, &log_identity(0)).is_err(), "{mode}");
    }
}
