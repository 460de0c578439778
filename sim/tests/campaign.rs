//! The simulator finds nothing in the program as it is, and finds every bug that is put in on purpose.

use naulon_sim::{Campaign, Sabotage};

/// Plays this many of the mixed runs.
fn violated(sabotage: Option<Sabotage>, runs: u64) -> (u64, String) {
    let campaign = Campaign::new(7, sabotage);
    let first = campaign.first_mixed();
    let outcome = campaign.play(first..first + runs, |_| {});
    assert_eq!(outcome.runs, runs);
    let first = outcome.violations.first().map(|(_, _, what)| what.join("; ")).unwrap_or_default();
    (outcome.violated, first)
}

#[test]
fn an_honest_world_violates_nothing() {
    assert_eq!(violated(None, 200), (0, String::new()));
}

#[test]
fn a_store_without_marks_is_found() {
    assert!(violated(Some(Sabotage::Unmarked), 20).0 > 0);
}

#[test]
fn a_store_without_guards_is_found() {
    let (violated, first) = violated(Some(Sabotage::Unguarded), 100);
    assert!(violated > 0 && first.contains("audit"), "{violated}: {first}");
}

#[test]
fn a_reply_before_the_commit_is_found() {
    assert!(violated(Some(Sabotage::EarlyReply), 600).0 > 0);
}

#[test]
fn a_log_that_decides_twice_is_found() {
    let (violated, first) = violated(Some(Sabotage::DecidesTwice), 100);
    assert!(violated > 0 && first.contains("the log decided"), "{violated}: {first}");
}

/// The same number means the same run, so that a violation can be played again.
#[test]
fn a_run_can_be_played_again() {
    let campaign = Campaign::new(7, None);
    let trace = |number| campaign.run(number).play(true).trace;
    assert_eq!(trace(700), trace(700));
    assert!(!trace(700).is_empty());
}
