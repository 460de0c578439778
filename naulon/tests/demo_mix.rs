//! `naulon demo mix --json`, small.

use std::process::Command;

use serde_json::Value;

#[test]
fn every_block_is_paid_in_all_protocols_and_cases() {
    let output = Command::new(env!("CARGO_BIN_EXE_naulon"))
        .args(["demo", "mix", "--json", "--bytes", "300000"])
        .env_clear()
        .output()
        .expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout).expect("text");
    let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{error}\n{last}");
    assert_eq!((&last["scenario"], &last["ok"]), (&Value::from("mix"), &Value::from(true)));
    let runs = last["figures"]["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 8, "four protocols, two cases");
    for run in runs {
        // 300,000 bytes are at least so many payloads, and each of them is a block.
        let blocks = run["blocks"][0].as_u64().expect("a number");
        assert!(blocks >= 75, "{run}");
        assert_eq!(run["blocks"][0], run["ticks"][0], "{run}");
        let is_each = run["paid"] == "every mix";
        assert_eq!(run["ticks"][2] == run["blocks"][2], is_each, "{run}");
        assert_ne!(run["returned"], "0.00", "{run}");
        assert_ne!(run["earned"][1], "0.00", "who is under contract gets its share, too: {run}");
    }
    assert_eq!(last["figures"]["conserved"], true);
}
