//! Every call and every reply, written as HTTP and read again.

use std::collections::BTreeSet;
use std::mem::discriminant;

use naulon_exchange::{Record, Refusal, UnverifiedRecord};
use naulon_purchase::{Evidence, JointBytes};
use naulon_statement::cbor;
use naulon_wire::{
    Call, CallError, EvidenceFile, EvidenceFileError, HttpResponse, MAX_BODY_LEN, MAX_EVIDENCE_LEN, Problem,
};

use super::samples;

/// Writes, reads and writes again: the two texts are the same, so nothing was lost on the way.
fn round_trip<C: Call>(samples: Vec<(C, Vec<C::Reply>)>) -> usize {
    let mut kinds = Vec::new();
    for (call, replies) in samples {
        let request = call.to_http();
        assert!(request.body.len() <= MAX_BODY_LEN);
        let read = C::from_http(&request).expect("reads back");
        assert_eq!((read.to_http(), discriminant(&read)), (request, discriminant(&call)));
        kinds.push(discriminant(&call));
        for reply in replies {
            let kind = discriminant(&reply);
            let response = C::reply_to_http(reply);
            assert!(C::is_reply(response.status) && response.status < 500);
            let read = read.reply_from_http(&response).expect("reads back");
            assert_eq!((discriminant(&read), C::reply_to_http(read)), (kind, response));
        }
    }
    kinds.dedup();
    kinds.len()
}

#[test]
fn calls_and_replies_are_read_back() {
    assert_eq!(round_trip(samples::bank()), 14);
    assert_eq!(round_trip(samples::log()), 7);
    assert_eq!(round_trip(samples::shop()), 9);
    assert_eq!(round_trip(samples::witness()), 1);
    assert_eq!(round_trip(samples::directory()), 2);
    assert_eq!(round_trip(samples::mix()), 1);
}

/// No two calls share method and path, and a party takes no other party's calls for its own.
#[test]
fn paths_are_distinct() {
    let requests: Vec<_> = samples::bank()
        .iter()
        .map(|(call, _)| call.to_http())
        .chain(samples::log().iter().map(|(call, _)| call.to_http()))
        .chain(samples::shop().iter().map(|(call, _)| call.to_http()))
        .chain(samples::witness().iter().map(|(call, _)| call.to_http()))
        .chain(samples::directory().iter().map(|(call, _)| call.to_http()))
        .chain(samples::mix().iter().map(|(call, _)| call.to_http()))
        .collect();
    let fixed: BTreeSet<_> = requests.iter().map(|request| format!("{:?} {}", request.method, request.path)).collect();
    assert_eq!(fixed.len(), requests.len() - 3, "only two payments, two refunds, and two orders are one path");
    for request in &requests {
        let taken = [
            naulon_wire::BankCall::from_http(request).is_ok(),
            naulon_wire::LogCall::from_http(request).is_ok(),
            naulon_wire::ShopCall::from_http(request).is_ok(),
            naulon_wire::WitnessCall::from_http(request).is_ok(),
            naulon_wire::DirectoryCall::from_http(request).is_ok(),
            naulon_wire::MixCall::from_http(request).is_ok(),
        ];
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "{} {taken:?}", request.path);
    }
}

#[test]
fn problems_travel_with_their_evidence() {
    let record = samples::record();
    for refusal in [Refusal::Spent(record.clone()), Refusal::Locked(record.clone())] {
        let response = HttpResponse::problem(&Problem::from(refusal));
        let problem = response.as_problem().expect("a problem");
        let shown = problem.record().expect("a record").from_own_store();
        assert_eq!(shown, *record);
    }
    let left = "1".parse().expect("an amount");
    for count in [0, 1, 3] {
        let problem = Problem::from(Refusal::PartSpent { left, uses: vec![record.clone(); count] });
        let shown = problem.records().into_iter().map(UnverifiedRecord::from_own_store).collect::<Vec<_>>();
        assert_eq!(shown, vec![Record::clone(&record); count]);
    }
    let contradiction = Problem::from(Refusal::Contradiction(samples::decision().into()));
    let shown = contradiction.decision().expect("a decision");
    assert_eq!(cbor::to_vec(&shown), samples::decision().to_bytes());
    assert!(contradiction.record().is_none() && Problem::new("busy", "").decision().is_none());
}

#[test]
fn an_answer_that_is_no_problem_detail_is_an_internal_one() {
    let response = HttpResponse::bytes(502, "text/html", "<h1>Bad gateway</h1>");
    let problem = response.as_problem().expect("a problem");
    assert_eq!((problem.code.as_str(), problem.is_final()), ("internal", false));
    assert!(HttpResponse::bytes(200, "text/html", "").as_problem().is_none());
    let unknown = HttpResponse::problem(&Problem { code: "from_the_future".to_owned(), ..Problem::new("spent", "") });
    assert!(!unknown.as_problem().expect("a problem").is_final(), "who does not know a code does not give up");
}

#[test]
fn amounts_are_strings_of_digits() {
    let (call, _) = samples::bank().into_iter().nth(3).expect("the balance");
    let parse = |text: &str| {
        let response = HttpResponse::bytes(200, "application/json", format!("{{\"balance\":{text}}}"));
        call.reply_from_http(&response).map(|_| ())
    };
    assert_eq!(parse("\"0\""), Ok(()));
    assert_eq!(parse("\"9223372036854775807\""), Ok(()));
    for bad in
        ["5", "5.0", "\"05\"", "\"\"", "\"+5\"", "\"-5\"", "\" 5\"", "\"5e3\"", "\"9223372036854775808\"", "null"]
    {
        assert!(matches!(parse(bad), Err(CallError::BadReply(_))), "{bad}");
    }
}

#[test]
fn evidence_files_are_read_back() {
    let full = Evidence {
        goods_m: Some(vec![1]),
        goods_q: Some(vec![2]),
        authorization_q: Some(JointBytes { payload: vec![3], signatures: vec![vec![4], vec![5]] }),
        header: Some(vec![6]),
        authorization_b: Some(vec![7]),
        decisions: vec![vec![8], vec![9]],
    };
    for evidence in [full.clone(), Evidence::default()] {
        assert_eq!(EvidenceFile::read(&EvidenceFile::write(&evidence)), Ok(evidence));
    }
    let text = EvidenceFile::write(&full);
    let other_format = text.replace("naulon-evidence-1", "naulon-evidence-2");
    let unknown_field = text.replacen("{", "{\"more\":1,", 1);
    for bad in ["", "{}", "[]", &other_format, &unknown_field, &text[..text.len() / 2]] {
        assert!(matches!(EvidenceFile::read(bad), Err(EvidenceFileError::Malformed(_))), "{bad}");
    }
    assert_eq!(EvidenceFile::read(&" ".repeat(MAX_EVIDENCE_LEN + 1)), Err(EvidenceFileError::TooLong));
}
