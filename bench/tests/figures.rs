//! The program as a whole: one round of one kind of call, with real servers, and the lines that it prints.

#![allow(clippy::float_arithmetic, reason = "no money is computed here, only times and ratios")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

fn figures(arguments: &[&str]) -> BTreeMap<String, Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_naulon-bench"))
        .args(arguments)
        .args(["--rounds", "1", "--json"])
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let figure = |line: &str| {
        let figure: Value = serde_json::from_str(line).expect("each line is JSON");
        (figure["name"].as_str().expect("a name").to_owned(), figure)
    };
    text.lines().map(figure).collect()
}

fn check(figures: &BTreeMap<String, Value>, call: &str) {
    for (name, figure) in figures {
        let keys: Vec<&str> = figure.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut expected = ["name", "value", "unit", "against", "ratio", "goal", "met"];
        let mut found = keys.clone();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        assert!(figure["value"].as_f64().expect("a number") > 0.0, "{name}");
        assert_eq!(figure["against"].is_null(), figure["ratio"].is_null(), "{name}");
        assert_eq!(figure["goal"].is_null(), figure["met"].is_null(), "{name}");
    }
    let number = |name: &str, key: &str| figures[&format!("{call}.{name}")][key].as_f64().expect("a number");
    // Nobody does with less than the unavoidable: a lower ratio, beyond noise, would mean that not all is counted.
    assert!(number("cpu", "ratio") > 0.9);
    let mut parts: f64 = ["part.http", "part.crypto", "part.store"].map(|part| number(part, "value")).iter().sum();
    if figures.contains_key(&format!("{call}.part.database")) {
        parts += number("part.database", "value");
    }
    assert!((parts / number("cpu", "value") - 1.0).abs() < 0.05, "the parts are the whole");
}

#[test]
fn an_exchange() {
    let figures = figures(&["exchange.1to1", "--postgres"]);
    check(&figures, "exchange.1to1");
    check(&figures, "postgres.exchange.1to1");
    // At least what was asked for, and the mark of the token.
    assert!(figures["exchange.1to1.rows.count"]["value"].as_f64().expect("a number") >= 2.0);
}

#[test]
fn a_settled_purchase() {
    let figures = figures(&["exchange.settle"]);
    check(&figures, "exchange.lock");
    check(&figures, "exchange.settle");
}

#[test]
fn a_decision() {
    check(&figures(&["log.decision"]), "log.decision");
}

#[test]
fn a_purchase() {
    let figures = figures(&["purchase"]);
    let (whole, slowest) = (&figures["purchase.whole"], &figures["purchase.slowest"]);
    assert!(whole["value"].as_f64().expect("a number") > 0.0);
    assert!(slowest["value"].as_f64() >= whole["value"].as_f64());
    assert_eq!(whole["unit"], "ms");
    assert!(whole["met"].is_boolean() && slowest["met"].is_null());
}
