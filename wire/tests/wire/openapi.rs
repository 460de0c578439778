//! The OpenAPI documents: made from the routes, kept in docs/api, and held against what really travels.

use std::collections::BTreeSet;
use std::path::Path;

use naulon_wire::{
    BankCall, Call, DirectoryCall, HttpResponse, LogCall, Method, MixCall, ShopCall, WitnessCall, codes, openapi, route,
};
use serde_json::{Value, json};

use super::samples;

/// docs/api holds these very documents. `NAULON_TEST_WRITE_API=1` writes them.
#[test]
fn the_documents_are_kept() {
    for (name, document) in [
        ("bank", openapi::document::<BankCall>()),
        ("log", openapi::document::<LogCall>()),
        ("shop", openapi::document::<ShopCall>()),
        ("witness", openapi::document::<WitnessCall>()),
        ("directory", openapi::document::<DirectoryCall>()),
        ("mix", openapi::document::<MixCall>()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/api/{name}.json"));
        if std::env::var_os("NAULON_TEST_WRITE_API").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("is made");
            let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
            std::fs::write(&path, text).expect("writes");
        }
        let kept: Value = serde_json::from_slice(&std::fs::read(&path).expect("reads")).expect("JSON");
        assert!(kept == document, "docs/api/{name}.json is old: run this test with NAULON_TEST_WRITE_API=1");
    }
}

/// Every sample goes by exactly one route, every route has a sample, and every body fits the schema of its route.
fn walk<C: Call>(samples: Vec<(C, Vec<C::Reply>)>) {
    let document = openapi::document::<C>();
    let mut seen = BTreeSet::new();
    for (call, replies) in samples {
        let request = call.to_http();
        let fitting: Vec<_> =
            route::routes::<C>().filter(|route| route.method == request.method && route.fits(&request.path)).collect();
        let [route] = fitting[..] else { panic!("{} has {} routes", request.path, fitting.len()) };
        seen.insert(route.name);
        let operation = operation(&document, route.method, route.path);
        assert_eq!(operation["operationId"], route.name);
        match route.body {
            Some(_) if C::REQUEST_TYPE != "application/json" => {
                assert!(!operation["requestBody"]["content"][C::REQUEST_TYPE].is_null())
            }
            Some(_) => {
                fits(&document, &operation["requestBody"]["content"]["application/json"]["schema"], &request.body)
            }
            None => assert_eq!(request.content_type.as_deref(), route.sends),
        }
        for reply in replies {
            let response = C::reply_to_http(reply);
            let answer = &operation["responses"][response.status.to_string()]["content"][response.content_type];
            assert!(!answer.is_null(), "{}: {} {}", route.name, response.status, response.content_type);
            if response.content_type == "application/json" {
                fits(&document, &answer["schema"], &response.body);
            }
        }
    }
    let all: BTreeSet<_> = C::ROUTES.iter().map(|route| route.name).collect();
    assert_eq!(seen, all, "every route has a sample");
}

fn operation<'d>(document: &'d Value, method: Method, path: &str) -> &'d Value {
    let method = if method == Method::Get { "get" } else { "post" };
    &document["paths"][path.replace("{+", "{")][method]
}

/// Fits the schema; and does not, with a field that nobody knows.
fn fits(document: &Value, schema: &Value, body: &[u8]) {
    assert!(!schema.is_null());
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::validator_for(&whole).expect("a schema");
    let mut body: Value = serde_json::from_slice(body).expect("JSON");
    if let Err(error) = validator.validate(&body) {
        panic!("{error}: {body}");
    }
    body["nobody_knows"] = json!(1);
    assert!(!validator.is_valid(&body), "{schema}");
}

#[test]
fn bodies_fit_their_schemas() {
    walk(samples::bank());
    walk(samples::log());
    walk(samples::shop());
    walk(samples::witness());
    walk(samples::directory());
    walk(samples::mix());
}

/// Every code is one by which some call may be refused, and problems fit their schema.
#[test]
fn every_code_belongs_to_a_call() {
    fn of<C: Call>() -> impl Iterator<Item = &'static str> {
        route::routes::<C>().flat_map(|route| route.codes())
    }
    let listed = of::<BankCall>().chain(of::<LogCall>()).chain(of::<ShopCall>()).chain(of::<WitnessCall>());
    let listed: BTreeSet<_> = listed.chain(of::<DirectoryCall>()).collect();
    let known: BTreeSet<_> = codes::CODES.iter().map(|page| page.code).collect();
    assert_eq!(listed, known);

    let document = openapi::document::<BankCall>();
    let schema = &document["components"]["schemas"]["Problem"];
    for code in codes::CODES {
        let problem = naulon_wire::Problem::new(code.code, "so it is");
        fits(&document, schema, &HttpResponse::problem(&problem).body);
    }
}
