//! The area `scale` as a program, in small. How long anything takes is not looked at.

use std::process::Command;

#[test]
fn a_small_run_gives_its_figures() {
    let output = Command::new(env!("CARGO_BIN_EXE_naulon-bench"))
        .args(["scale", "--spent", "20000", "--exchanges", "4000", "--rounds", "1", "--json"])
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let figures: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let names: Vec<&str> = figures.iter().filter_map(|figure| figure["name"].as_str()).collect();
    assert_eq!(names, ["scale.exchange.10000", "scale.exchange.20000", "scale.memory.4000"]);
    // A bank that kept every exchange in memory would grow by several KiB with each, on top of a few tens of MiB.
    let memory = &figures[2];
    assert!(memory["value"].as_f64().is_some_and(|mib| mib > 1.0 && mib < 300.0), "{memory}");
    assert!(figures.iter().all(|figure| figure["value"].as_f64().is_some_and(|value| value > 0.0)), "{text}");
}
