//! AAT §4 as a table: who may claim what from which messages, and who has broken the protocol.

use std::collections::BTreeMap;

use naulon_blind::ReusedKey;
use naulon_exchange::{AuthorizationB, EntryMode, Exchange, Header, Input, LogDecision, Outcome, UnverifiedDecision};
use naulon_purchase::{Breach, Claim, Evidence, GoodsM, JointBytes, Judgement, Party, Ruling, Standing, Trust, judge};
use naulon_statement::{Digest, Joint, PublicKey, SecretKey, Signed, Timestamp, cbor};

use super::cast::*;

fn trust() -> Trust {
    Trust {
        banks: [bank(), other_bank()].map(|key| key.public()).into(),
        logs: (0..2).map(|log| (log_key(log).public(), log_identity(log))).collect::<BTreeMap<_, _>>(),
        merchants: [merchant(), other_merchant()].map(|key| key.public()).into(),
    }
}

/// The messages that can be shown, by name; the decision and the encrypted goods are two more.
const MESSAGES: [&str; 5] = ["goods_m", "goods_q", "authorization_q", "header", "authorization_b"];

fn evidence(deal: &Deal, decisions: &[LogDecision]) -> Evidence {
    Evidence {
        goods_m: Some(deal.goods_m.bytes().to_vec()),
        goods_q: deal.goods_q.as_ref().map(|statement| statement.bytes().to_vec()),
        authorization_q: Some(JointBytes::of(&deal.authorization_q)),
        header: Some(deal.header.bytes().to_vec()),
        authorization_b: Some(deal.authorization_b.bytes().to_vec()),
        decisions: decisions.iter().map(|decision| cbor::to_vec(&deal.prove(decision.clone()))).collect(),
    }
}

fn without(mut evidence: Evidence, message: &str) -> Evidence {
    match message {
        "goods_m" => evidence.goods_m = None,
        "goods_q" => evidence.goods_q = None,
        "authorization_q" => evidence.authorization_q = None,
        "header" => evidence.header = None,
        "authorization_b" => evidence.authorization_b = None,
        "decision" => evidence.decisions.clear(),
        other => panic!("no message {other}"),
    }
    evidence
}

fn judge_with(evidence: &Evidence, sealed: &[u8]) -> Judgement {
    judge(evidence, &trust(), |offer, k| open(sealed, offer, k))
}

fn credit() -> Claim {
    Claim::Credit { merchant: merchant().public(), bank: bank().public(), value: units(4), currency: euros() }
}

fn spent() -> Claim {
    Claim::Spent { bank: bank().public(), tokens: 2 }
}

fn unlocked() -> Claim {
    Claim::Unlocked { bank: bank().public(), tokens: 2 }
}

fn contents() -> Claim {
    Claim::Contents { merchant: merchant().public(), goods: Digest::of(&[PLAIN]) }
}

fn delivered() -> Claim {
    Claim::Delivered { q: tokens()[0].public(), goods: Digest::of(&[PLAIN]) }
}

/// Every subset of the messages, with commit, abort or neither, with and without the encrypted goods.
#[test]
fn every_subset_of_the_messages_gives_the_claims_of_the_paper() {
    EntryMode::ALL.into_iter().for_each(every_subset);
}

fn every_subset(mode: EntryMode) {
    let deal = Plan { two_sided: true, mode, ..Plan::default() }.deal();
    for outcome in [None, Some(deal.commit()), Some(deal.abort())] {
        let all = evidence(&deal, outcome.as_slice());
        for (subset, goods) in (0..32).flat_map(|subset| [(subset, false), (subset, true)]) {
            let has = |message| subset >> MESSAGES.iter().position(|name| *name == message).expect("a name") & 1 == 1;
            let shown = MESSAGES.iter().filter(|name| !has(**name)).fold(all.clone(), |rest, name| without(rest, name));
            let judgement = judge_with(&shown, if goods { &deal.sealed } else { b"" });

            // Which purchase a decision is on is known from the bank's header, or from what the buyer authorized.
            let known = has("header") || has("authorization_q");
            let commit = known && outcome.as_ref().is_some_and(|decision| decision.key().is_some());
            let abort = known && outcome.as_ref().is_some_and(|decision| decision.key().is_none());
            let opened = commit && has("goods_m") && goods;
            let expected = [
                (commit && has("authorization_b"), credit()),
                (commit && has("authorization_q"), spent()),
                (abort && has("authorization_q"), unlocked()),
                (opened, contents()),
                (opened && has("goods_q"), delivered()),
            ];
            let expected: Vec<Claim> =
                expected.into_iter().filter_map(|(holds, claim)| holds.then_some(claim)).collect();
            let what = format!("{subset:05b} of {MESSAGES:?}, {outcome:?}, goods {goods}");
            let standing = if expected.is_empty() { Standing::NotEnough } else { Standing::Consistent };
            assert_eq!(judgement.claims, expected, "{what}");
            assert_eq!((&judgement.breaches[..], &judgement.dismissed[..]), (&[][..], &[][..]), "{what}");
            assert_eq!(judgement.standing(), standing, "{what}");
        }
    }
}

/// Messages belong together only if they agree on n, expiry, M and L (goods_m on n and M), and on the commitment c. For each
/// of these, another purchase that differs in it alone; each of its messages in turn stands in the place of the right one.
#[test]
fn messages_of_another_purchase_do_not_count() {
    let plan = Plan { two_sided: true, ..Plan::default() };
    let deal = plan.deal();
    let others = [
        ("n", Plan { n: [8; 16], ..plan.clone() }),
        ("expiry", Plan { expiry: Timestamp(EXPIRY.0 + 1), ..plan.clone() }),
        ("M", Plan { merchant: 4, ..plan.clone() }),
        ("L", Plan { log: 1, ..plan.clone() }),
        ("c", Plan { secret: b"another", ..plan.clone() }),
    ];
    for (field, other) in others {
        let other = other.deal();
        for outcome in [Deal::commit, Deal::abort] {
            let (right, wrong) = (evidence(&deal, &[outcome(&deal)]), evidence(&other, &[outcome(&other)]));
            for message in [&MESSAGES[..], &["decision"]].concat() {
                let mut shown = right.clone();
                match message {
                    "goods_m" => shown.goods_m = wrong.goods_m.clone(),
                    "goods_q" => shown.goods_q = wrong.goods_q.clone(),
                    "authorization_q" => shown.authorization_q = wrong.authorization_q.clone(),
                    "header" => shown.header = wrong.header.clone(),
                    "authorization_b" => shown.authorization_b = wrong.authorization_b.clone(),
                    _ => shown.decisions = wrong.decisions.clone(),
                }
                let what = format!("{message} of another {field}");
                let judgement = judge_with(&shown, &deal.sealed);
                assert_eq!(judgement.breaches, [], "{what}");
                // The offer names neither expiry nor log, so the very same one may stand in both purchases.
                let agrees = ["goods_m", "goods_q"].contains(&message) && ["expiry", "L"].contains(&field);
                // Without the offer nobody can tell that an answer is to another one; so only both together count.
                let dismissed: Vec<&str> = judgement.dismissed.iter().map(|(part, _)| *part).collect();
                match message {
                    _ if agrees => assert_eq!(judgement, judge_with(&right, &deal.sealed), "{what}"),
                    "header" => assert_eq!((&judgement.claims[..], dismissed.is_empty()), (&[][..], false), "{what}"),
                    _ => {
                        let expected = judge_with(&without(right.clone(), message), &deal.sealed);
                        assert_eq!(judgement.claims, expected.claims, "{what}");
                        assert!(dismissed.contains(&message), "{what}: {dismissed:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn only_trusted_keys_count() {
    let deal = Plan { two_sided: true, ..Plan::default() }.deal();
    let shown = evidence(&deal, &[deal.commit()]);
    let judged = |trust: &Trust| {
        let judgement = judge(&shown, trust, |offer, k| open(&deal.sealed, offer, k));
        (judgement.claims, judgement.dismissed.into_iter().map(|(part, _)| part).collect::<Vec<_>>())
    };
    assert_eq!(judged(&trust()), (vec![credit(), spent(), contents(), delivered()], vec![]));
    let no_bank = Trust { banks: Default::default(), ..trust() };
    assert_eq!(judged(&no_bank), (vec![spent(), contents(), delivered()], vec!["header", "authorization_b"]));
    let no_merchant = Trust { merchants: Default::default(), ..trust() };
    assert_eq!(judged(&no_merchant), (vec![credit(), spent()], vec!["goods_m"]));
    let no_log = Trust { logs: Default::default(), ..trust() };
    assert_eq!(judged(&no_log), (vec![], vec!["decision"]));
    assert_eq!(judged(&Trust::default()).0, []);
}

/// One who is trusted speaks for itself alone: it cannot bind another, and cannot make another look like a cheat.
#[test]
fn nobody_is_bound_by_anothers_word() {
    let deal = Plan { two_sided: true, ..Plan::default() }.deal();
    let right = evidence(&deal, &[deal.commit()]);
    let sealed = &deal.sealed;
    let dismisses = |shown: Evidence, part: &str| {
        let judgement = judge_with(&shown, sealed);
        assert_eq!(judgement.breaches, [], "{part}");
        assert!(judgement.dismissed.iter().any(|(dismissed, _)| *dismissed == part), "{part}");
        judgement.claims
    };
    // A header that says bank and is signed by the other bank, with another expiry for the same a.
    let header = Header { expiry: Timestamp(1), ..Header::clone(&deal.header) };
    let header = Some(Signed::sign(&other_bank(), header).bytes().to_vec());
    dismisses(Evidence { header, ..right.clone() }, "header");
    let promise = AuthorizationB { value: units(400), ..AuthorizationB::clone(&deal.authorization_b) };
    let promise = Some(Signed::sign(&other_bank(), promise).bytes().to_vec());
    let claims = dismisses(Evidence { authorization_b: promise, ..right.clone() }, "authorization_b");
    assert!(!claims.iter().any(|claim| matches!(claim, Claim::Credit { .. })));
    // An offer that says merchant, of goods that do not open, signed by the other merchant.
    let offer = GoodsM { wrapped_key: [0; 48], ..GoodsM::clone(&deal.goods_m) };
    let offer = Some(Signed::sign(&other_merchant(), offer).bytes().to_vec());
    dismisses(Evidence { goods_m: offer, ..right.clone() }, "goods_m");
    // An answer by another key than the one that paid.
    let answer = Signed::sign(&tokens()[1], naulon_purchase::GoodsQ::to(&deal.goods_m));
    let claims = dismisses(Evidence { goods_q: Some(answer.bytes().to_vec()), ..right.clone() }, "goods_q");
    assert!(!claims.contains(&delivered()));
    // An authorization that only one of the two tokens' keys has signed holds nobody to anything.
    let half = Joint::sign(naulon_exchange::Exchange::clone(&deal.authorization_q), [&tokens()[0]]);
    let half = Some(JointBytes::of(&half));
    assert!(!dismisses(Evidence { authorization_q: half, ..right.clone() }, "authorization_q").contains(&spent()));
    // Bytes that are not the offer's goods say nothing against the merchant.
    assert_eq!(judge_with(&right, b"rubbish").claims, [credit(), spent()]);
}

fn breaches<const N: usize>(deal: &Deal, decisions: [&LogDecision; N]) -> Vec<(Party, Breach)> {
    let judgement = judge_with(&evidence(deal, &decisions.map(LogDecision::clone)), &deal.sealed);
    assert_eq!(judgement.standing() == Standing::Breach, !judgement.breaches.is_empty());
    judgement.breaches
}

#[test]
fn a_log_is_convicted_by_its_own_word() {
    let deal = Plan::default().deal();
    let log = Party::Log(log_key(0).public());
    let (commit, abort) = (deal.commit(), deal.abort());
    let wrong_key = LogDecision { outcome: Outcome::Commit { k: [0; 32] }, ..commit.clone() };
    let late = LogDecision { time: EXPIRY, ..commit.clone() };
    let early = LogDecision { time: Timestamp(EXPIRY.0 - 1), ..abort.clone() };
    assert_eq!(breaches(&deal, [&commit]), []);
    assert_eq!(breaches(&deal, [&abort]), []);
    assert_eq!(breaches(&deal, [&commit, &commit]), [], "the same twice is the same");
    assert_eq!(breaches(&deal, [&wrong_key]), [(log, Breach::WrongKey)]);
    assert_eq!(breaches(&deal, [&late]), [(log, Breach::OutOfTime)]);
    assert_eq!(breaches(&deal, [&early]), [(log, Breach::OutOfTime)]);
    for order in [[commit.clone(), abort.clone()], [abort.clone(), commit.clone()]] {
        let judgement = judge_with(&evidence(&deal, &order), &deal.sealed);
        assert_eq!(judgement.breaches, [(log, Breach::BothOutcomes)]);
        assert_eq!(judgement.claims, [credit(), spent(), unlocked(), contents()], "in any order");
    }
    // What a log may not sign entitles nobody to anything.
    for decision in [wrong_key, late, early] {
        assert_eq!(judge_with(&evidence(&deal, &[decision]), &deal.sealed).claims, []);
    }
    // A decision that names this header and misstates the purchase is on no purchase at all.
    let misstated = LogDecision { a: Digest([0; 32]), ..commit };
    let judgement = judge_with(&evidence(&deal, &[misstated]), &deal.sealed);
    assert_eq!((judgement.claims.len(), judgement.breaches.len(), judgement.dismissed.len()), (0, 0, 1));
}

#[test]
fn a_bank_is_held_to_what_was_authorized() {
    let deal = Plan::default().deal();
    let bank_is_convicted = vec![(Party::Bank(bank().public()), Breach::PromiseMisfit)];
    let sign = |header: Header, value| {
        let promise = AuthorizationB { header: header.digest(), value: units(value), currency: euros() };
        (Signed::sign(&bank(), header), Signed::sign(&bank(), promise))
    };
    let honest = || Header::clone(&deal.header);
    let changed = [
        (Header { n: [8; 16], ..honest() }, 4),
        (Header { expiry: Timestamp(EXPIRY.0 * 2), ..honest() }, 4),
        (Header { merchant: other_merchant().public(), ..honest() }, 4),
        (Header { log: log_key(1).public(), ..honest() }, 4),
        (Header { c: Digest([0; 32]), ..honest() }, 4),
        (honest(), 5),
        (honest(), 3),
    ];
    for (header, value) in changed {
        let (header, promise) = sign(header, value);
        let mut shown = evidence(&deal, &[]);
        shown.header = Some(header.bytes().to_vec());
        shown.authorization_b = Some(promise.bytes().to_vec());
        assert_eq!(judge_with(&shown, &[]).breaches, bank_is_convicted, "{header:?}");
    }
    // A commit on a header that nobody authorized makes the bank owe the merchant what it promised, and no token spent.
    let (header, promise) = sign(Header { merchant: other_merchant().public(), ..honest() }, 4);
    let commit = LogDecision::on(&header, Timestamp(0), Outcome::Commit { k: deal.k });
    let mut shown = evidence(&deal, &[commit]);
    shown.header = Some(header.bytes().to_vec());
    shown.authorization_b = Some(promise.bytes().to_vec());
    let judgement = judge_with(&shown, &[]);
    let owed = Claim::Credit {
        merchant: other_merchant().public(),
        bank: bank().public(),
        value: units(4),
        currency: euros(),
    };
    assert_eq!((judgement.claims, judgement.breaches), (vec![owed.clone()], bank_is_convicted));
    // The same without any authorization: the merchant relied on the bank, and the bank cannot name a buyer.
    let judgement = judge_with(&without(shown, "authorization_q"), &[]);
    assert_eq!((judgement.claims, judgement.breaches), (vec![owed], vec![]));
}

#[test]
fn a_merchant_answers_for_its_goods() {
    let convicted = |plan: Plan, breach| {
        let deal = plan.deal();
        let judgement = judge_with(&evidence(&deal, &[deal.commit()]), &deal.sealed);
        assert_eq!(judgement.breaches, [(Party::Merchant(merchant().public()), breach)]);
        assert!(
            !judgement.claims.iter().any(|claim| matches!(claim, Claim::Contents { .. } | Claim::Delivered { .. }))
        );
        assert_eq!(breaches(&deal, [&deal.abort()]), [], "nothing was bought");
        assert_eq!(judge_with(&evidence(&deal, &[deal.commit()]), b"other bytes").breaches, []);
    };
    for two_sided in [false, true] {
        let plan = Plan { two_sided, ..Plan::default() };
        convicted(Plan { wrong_file_key: true, ..plan.clone() }, Breach::DoesNotOpen);
        convicted(Plan { described: b"gold", ..plan.clone() }, Breach::NotAsDescribed);
        convicted(Plan { described: b"what is paid", ..plan }, Breach::NotAsDescribed);
    }
}

/// Whatever stands in a file, the judge comes to a finding.
#[test]
fn rubbish_is_dismissed() {
    let rubbish = || Some(vec![0xff; 40]);
    let shown = Evidence {
        goods_m: rubbish(),
        goods_q: rubbish(),
        authorization_q: Some(JointBytes { payload: vec![0xff; 40], signatures: vec![vec![1]] }),
        header: rubbish(),
        authorization_b: rubbish(),
        decisions: vec![vec![0xff; 40], vec![]],
    };
    let judgement = judge_with(&shown, &[]);
    assert_eq!((judgement.standing(), judgement.dismissed.len()), (Standing::NotEnough, 7));
    assert_eq!(judge_with(&Evidence::default(), &[]), Judgement::default());
    // A decision whose proof leads nowhere.
    let deal = Plan::default().deal();
    let mut torn: UnverifiedDecision = deal.prove(deal.commit());
    torn.inclusion.path[0][0] ^= 1;
    let shown = Evidence { decisions: vec![cbor::to_vec(&torn)], ..evidence(&deal, &[]) };
    let judgement = judge_with(&shown, &deal.sealed);
    assert_eq!((judgement.claims.len(), judgement.dismissed.len()), (0, 1));
}

/// Tokens that share a key (AAT §8.1), of which a part is given up (§8.3), are spent by an authorization as others are; one
/// that shows a key which its tokens were not made for is nobody's.
#[test]
fn tokens_that_share_a_key_are_spent_by_its_signature() {
    let plan = Plan::default();
    let deal = plan.deal();
    let [shared, stranger] = tokens();
    let reused = |s: u8, q: &SecretKey| ReusedKey { q: q.public(), s: [s; 32] };
    let authorized = |shown: [ReusedKey; 2], made_for: [ReusedKey; 2], by: &SecretKey| {
        let inputs = shown.into_iter().zip(made_for).map(|(key, made_for)| Input::Token {
            token: token(&PublicKey(made_for.nonce())),
            key: Some(key),
            part: Some(units(1)),
        });
        let body = Exchange { inputs: inputs.collect(), ..plan.authorization(&deal.goods_m) };
        let authorization_q = Joint::sign(body, [by]);
        let header = Header::of(&authorization_q, authorization_q.id()).expect("a purchase");
        let commit = LogDecision::on(&header, Timestamp(header.expiry.0 - 1), Outcome::Commit { k: deal.k });
        let header = Signed::sign(&bank(), header);
        let ruling = Ruling::Open { header: Header::clone(&header), decision: commit };
        let evidence = Evidence {
            authorization_q: Some(JointBytes::of(&authorization_q)),
            header: Some(header.bytes().to_vec()),
            decisions: vec![cbor::to_vec(&prove_ruling(deal.log, ruling).with(&header))],
            ..Evidence::default()
        };
        judge_with(&evidence, &deal.sealed).claims.contains(&spent())
    };
    let own = [reused(1, &shared), reused(2, &shared)];
    assert!(authorized(own, own, &shared));
    // Whoever would give up another's tokens by a key of its own.
    assert!(!authorized([reused(1, &stranger), reused(2, &stranger)], own, &stranger));
    assert!(!authorized(own, own, &stranger));
}
