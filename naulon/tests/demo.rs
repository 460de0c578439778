//! `naulon demo --json` is what everything is checked by.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_demonstration_goes_as_it_must() {
    let dir = tempfile::tempdir().expect("a folder");
    let town = dir.path().join("town");
    let output = Command::new(env!("CARGO_BIN_EXE_naulon"))
        .args(["demo", "purchase", "--json", "--dir", town.to_str().expect("a path")])
        .env_clear()
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["scenario"], &last["ok"]), (&Value::from("purchase"), &Value::from(true)));
    let figures = &last["figures"];
    assert_eq!((figures["bought"].as_u64(), figures["aborted"].as_u64()), (Some(3), Some(1)));
    assert!(figures["lost"].as_u64() >= Some(10), "{figures}");
    // What it keeps is whole: the bank can be audited, and the last purchase's evidence shows the abort.
    let naulon = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_naulon")).args(args).env_clear().output();
    let bank = town.join("bank");
    assert!(naulon(&["audit", "--dir", bank.to_str().expect("a path")]).expect("runs").status.success());
    let evidence = town.join("purchase-4.evidence.json");
    let found = naulon(&["inspect", evidence.to_str().expect("a path")]).expect("runs");
    assert!(String::from_utf8_lossy(&found.stdout).contains("abort: the log's decision"));
}
