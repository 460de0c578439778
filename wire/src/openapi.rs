//! The OpenAPI 3.1 document of a party, made from its routes and the schemas of its bodies. The documents are kept in
//! docs/api, and a test compares.

use std::collections::{BTreeMap, BTreeSet};

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::codes;
use crate::http::{Call, Method, PROBLEM_JSON};
use crate::problem::Problem;
use crate::route::{Answer, Route, json_of, routes};

/// The document of a party that answers these calls.
pub fn document<C: Call>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in routes::<C>() {
        let method = match route.method {
            Method::Get => "get",
            Method::Post => "post",
        };
        paths.entry(shown(route.path)).or_default().insert(method.to_owned(), operation::<C>(route, &mut generator));
    }
    let description = "Made from the routes of Naulon's crate `wire`. What the values mean: docs/spec/http.md. \
                       Every call may be repeated: the same request gets the same answer.";
    json!({
        "openapi": "3.1.0",
        "info": { "title": format!("A Naulon {}", C::PARTY), "version": "1", "description": description },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn operation<C: Call>(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let parameters = route.path.split('/').filter_map(parameter);
    let mut responses: BTreeMap<String, Value> =
        route.answers.iter().map(|answer| (answer.status.to_string(), response(answer, generator))).collect();
    let mut by_status: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    for page in route.codes().filter_map(codes::find) {
        by_status.entry(page.status).or_default().insert(page.code);
    }
    let problem = json_of::<Problem>()(generator);
    for (status, codes) in by_status {
        let names: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
        let refusal = json!({
            "description": format!("Refused: {}.", names.join(", ")),
            "content": { PROBLEM_JSON: { "schema": problem } },
            "x-codes": codes,
        });
        responses.insert(status.to_string(), refusal);
    }
    let listeners: Vec<&str> = route.on.iter().map(|listener| listener.name()).collect();
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "tags": listeners,
        "parameters": parameters.collect::<Vec<_>>(),
        "responses": responses,
    });
    if let Some(body) = route.body {
        operation["requestBody"] =
            json!({ "required": true, "content": { C::REQUEST_TYPE: { "schema": body(generator) } } });
    }
    if let Some(sends) = route.sends {
        operation["requestBody"] = json!({ "required": true, "content": { sends: {} } });
    }
    operation
}

fn response(answer: &Answer, generator: &mut SchemaGenerator) -> Value {
    let content = match answer.body {
        Some(body) => json!({ "schema": body(generator) }),
        None => json!({}),
    };
    let description = match answer.status {
        200 => "Done.",
        202 => "Taken; ask again for the outcome.",
        206 => "The part that was asked for.",
        _ => "An answer.",
    };
    json!({ "description": description, "content": { answer.content_type: content } })
}

/// The path as OpenAPI writes it. It has no way to say that a parameter may hold slashes.
fn shown(path: &str) -> String {
    path.replace("{+", "{")
}

fn parameter(segment: &str) -> Option<Value> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let (name, note) = match name.strip_prefix('+') {
        Some(name) => (name, json!("It may hold slashes.")),
        None => (name, Value::Null),
    };
    let mut parameter = json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    if !note.is_null() {
        parameter["description"] = note;
    }
    Some(parameter)
}
