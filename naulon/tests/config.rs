//! Settings: what is over what, and what is refused.

use std::path::Path;
use std::process::{Command, Output};

fn naulon(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_naulon"));
    command.args(args).env_clear().envs(environment.iter().copied());
    command.output().expect("runs")
}

/// What is in force for one key: its value and where it came from.
fn in_force(dir: &Path, key: &str, environment: &[(&str, &str)]) -> (String, String) {
    let output = naulon(&["--json", "config", "show", "--dir", dir.to_str().expect("a path")], environment);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let one = list.as_array().expect("a list").iter().find(|one| one["key"] == key).expect("the key").clone();
    let text = |value: &serde_json::Value| value.as_str().map_or(value.to_string(), str::to_owned);
    (text(&one["value"]), text(&one["from"]))
}

fn refusal(dir: &Path, environment: &[(&str, &str)]) -> String {
    let output = naulon(&["config", "show", "--dir", dir.to_str().expect("a path")], environment);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn environment_over_file_over_default() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("naulon.toml");
    std::fs::write(&file, "role = \"shop\"\ntwo_sided = true\n").expect("writes");

    let default = in_force(dir.path(), "release_margin", &[]);
    assert_eq!(default, ("10s".to_owned(), "default".to_owned()));
    let from_file = in_force(dir.path(), "two_sided", &[]);
    assert_eq!(from_file, ("true".to_owned(), file.to_str().expect("a path").to_owned()));
    let over = [("NAULON_SHOP_TWO_SIDED", "false"), ("NAULON_SHOP_RELEASE_MARGIN", "3s")];
    let from_environment = in_force(dir.path(), "two_sided", &over);
    assert_eq!(from_environment, ("false".to_owned(), "NAULON_SHOP_TWO_SIDED".to_owned()));
    assert_eq!(in_force(dir.path(), "release_margin", &over).0, "3s");
    // Another party's settings are not this one's, and no mistake either.
    assert_eq!(in_force(dir.path(), "two_sided", &[("NAULON_WALLET_TWO_SIDED", "false")]).0, "true");
}

#[test]
fn lists_come_from_the_environment_too() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("naulon.toml"), "role = \"bank\"\n").expect("writes");
    let over = [("NAULON_BANK_DENOMINATIONS", "[\"1.00\", \"2.00\"]")];
    assert_eq!(in_force(dir.path(), "denominations", &over).0, "[\"1.00\",\"2.00\"]");
}

#[test]
fn what_is_not_known_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("naulon.toml");
    for (content, named) in [
        ("role = \"shop\"\ntwo_side = true\n", "two_side"),
        ("role = \"shop\"\n[logs]\n", "logs"),
        ("role = \"shop\"\nrelease_margin = \"10\"\n", "is not a time"),
        ("role = \"shop\"\nrelease_margin = 10\n", "release_margin"),
        ("role = \"teller\"\n", "role"),
        ("two_sided = true\n", "role"),
        ("role = \"shop\n", "naulon.toml"),
    ] {
        std::fs::write(&file, content).expect("writes");
        let said = refusal(dir.path(), &[]);
        assert!(said.contains(named) || named == "naulon.toml", "{content}: {said}");
    }
    std::fs::write(&file, "role = \"shop\"\n").expect("writes");
    for variable in ["NAULON_SHOP_TWO_SIDE", "NAULON_TWO_SIDED", "NAULON_PASSPHRASE", "NAULON_SHOP_"] {
        let said = refusal(dir.path(), &[(variable, "true")]);
        assert!(said.contains(variable), "{said}");
    }
    assert!(refusal(dir.path(), &[("NAULON_SHOP_ROLE", "bank")]).contains("NAULON_SHOP_ROLE"));
    assert_eq!(in_force(dir.path(), "two_sided", &[("NAULON_TEST_CITUS", "x")]).0, "false");
}

#[test]
fn usage_is_two_and_verify_fails_by_one() {
    assert_eq!(naulon(&["purchase"], &[]).status.code(), Some(2));
    assert_eq!(naulon(&["verify"], &[]).status.code(), Some(1));
    assert_eq!(naulon(&["--help"], &[]).status.code(), Some(0));
    assert_eq!(naulon(&["verify", "--help"], &[]).status.code(), Some(0));
}
