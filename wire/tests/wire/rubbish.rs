//! Whatever arrives is taken as what it is or refused by name, and never panics.

use naulon_wire::{
    BankCall, Call, DirectoryCall, EvidenceFile, HttpRequest, HttpResponse, LogCall, Method, Problem, Range, ShopCall,
    WitnessCall, codes,
};
use proptest::prelude::*;

use super::samples;

fn paths() -> impl Strategy<Value = String> {
    let known: Vec<String> = samples::bank()
        .iter()
        .map(|(call, _)| call.to_http().path)
        .chain(samples::log().iter().map(|(call, _)| call.to_http().path))
        .chain(samples::shop().iter().map(|(call, _)| call.to_http().path))
        .chain(samples::witness().iter().map(|(call, _)| call.to_http().path))
        .collect();
    prop_oneof![
        6 => proptest::sample::select(known.clone()),
        2 => (proptest::sample::select(known), ".{0,6}").prop_map(|(path, more)| path + &more),
        1 => ".{0,40}",
    ]
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<Vec<u8>> = samples::bank()
        .iter()
        .map(|(call, _)| call.to_http().body)
        .chain(samples::log().iter().map(|(call, _)| call.to_http().body))
        .chain(samples::shop().iter().map(|(call, _)| call.to_http().body))
        .chain(samples::witness().iter().map(|(call, _)| call.to_http().body))
        .filter(|body| !body.is_empty())
        .collect();
    let field = prop_oneof!["statement", "payload", "header", "decision", "item", "goods_m", "authorization_m"];
    let torn = (proptest::sample::select(known), any::<u16>(), any::<u8>()).prop_map(|(mut body, at, byte)| {
        let at = usize::from(at) % body.len();
        body[at] = byte;
        body
    });
    prop_oneof![
        4 => torn,
        2 => (field, "[A-Za-z0-9_-]{0,80}").prop_map(|(name, value)| format!("{{\"{name}\":\"{value}\"}}").into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => Just(Vec::new()),
        1 => Just("[".repeat(100_000).into_bytes()),
    ]
}

fn requests() -> impl Strategy<Value = HttpRequest> {
    let range = proptest::option::of((any::<u64>(), 1..u64::MAX).prop_map(|(offset, len)| Range { offset, len }));
    (any::<bool>(), paths(), bodies(), range).prop_map(|(post, path, body, range)| HttpRequest {
        method: if post { Method::Post } else { Method::Get },
        path,
        body,
        range,
        ..HttpRequest::get("")
    })
}

fn refused_by_name<C: Call>(request: &HttpRequest) -> Result<(), TestCaseError> {
    match C::from_http(request) {
        Ok(call) => {
            let again = C::from_http(&call.to_http()).map(|call| call.to_http());
            prop_assert_eq!(again.ok(), Some(call.to_http()), "what is taken is taken again");
        }
        Err(Problem { code, status, .. }) => {
            prop_assert!(codes::find(&code).is_some() && (400..500).contains(&status), "{}", code);
        }
    }
    Ok(())
}

fn reads_or_refuses<C: Call>(samples: Vec<(C, Vec<C::Reply>)>, response: &HttpResponse) {
    for (call, _) in samples {
        let _ = call.reply_from_http(response);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn requests_are_taken_or_refused(request in requests()) {
        refused_by_name::<BankCall>(&request)?;
        refused_by_name::<LogCall>(&request)?;
        refused_by_name::<ShopCall>(&request)?;
        refused_by_name::<WitnessCall>(&request)?;
        refused_by_name::<DirectoryCall>(&request)?;
    }

    #[test]
    fn evidence_files_are_read_or_refused(text in "[\\[\\]{}\":,a-z_0-9-]{0,200}") {
        let _ = EvidenceFile::read(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn replies_are_read_or_refused(status in 100..600u16, body in bodies()) {
        let response = HttpResponse::bytes(status, "application/json", body);
        let _ = response.as_problem();
        reads_or_refuses(samples::bank(), &response);
        reads_or_refuses(samples::log(), &response);
        reads_or_refuses(samples::shop(), &response);
        reads_or_refuses(samples::directory(), &response);
    }
}
