//! The simulator finds nothing in the program as it is, finds every bug that is put in on purpose, and every cheat leads to what
//! the papers say.

use naulon_sim::{Campaign, Cheat, Outcome, Place, Run, Sabotage};

/// Plays this many of the mixed runs.
fn violated(sabotage: Option<Sabotage>, runs: u64) -> (u64, String) {
    let campaign = Campaign::new(7, sabotage);
    let first = campaign.first_mixed();
    let outcome = campaign.play(first..first + runs, |_| {});
    assert_eq!(outcome.runs, runs);
    (outcome.violated, first_of(&outcome))
}

fn first_of(outcome: &Outcome) -> String {
    outcome.violations.first().map(|(number, _, what)| format!("{number}: {}", what.join("; "))).unwrap_or_default()
}

#[test]
fn an_honest_world_violates_nothing() {
    assert_eq!(violated(None, 300), (0, String::new()));
}

#[test]
fn a_store_without_marks_is_found() {
    assert!(violated(Some(Sabotage::Unmarked), 40).0 > 0);
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

#[test]
fn each_cheat_leads_to_what_the_papers_say() {
    let campaign = Campaign::new(7, None);
    let outcome = campaign.play(campaign.cheats(), |_| {});
    assert_eq!((outcome.violated, first_of(&outcome)), (0, String::new()));
    // Each of them in a run of its own for each kind of log entry.
    for count in [
        "log_and_buyer_win",
        "two_faced_log_convicted",
        "late_log_convicted",
        "back_dating_log_convicted",
        "stalling_log_found",
        "buyer_proves_cheating",
        "bank_gave_k",
        "restored_tokens",
        "restored_purchases",
        "two_banks: wrong_bank",
        "two_banks: locked",
        "own_log_lapsed",
    ] {
        assert!(outcome.tally.of(count) >= 3, "{count}: {:?}", outcome.tally);
    }
    // The shop's list of logs prevents what nothing proves.
    assert!(outcome.tally.of("crooked_log_refused") > 0, "{:?}", outcome.tally);
}

/// What is violated in the enumerated runs of this kind, with this bug put in.
fn violations(sabotage: Sabotage, of_kind: fn(&Run) -> bool) -> Vec<String> {
    let campaign = Campaign::new(7, Some(sabotage));
    let runs = campaign.cheats().map(|number| campaign.run(number)).filter(of_kind);
    runs.flat_map(|run| run.play(false).violations).collect()
}

#[test]
fn a_log_that_forgets_its_time_is_found() {
    let found = violations(Sabotage::ForgetsTime, |run| run.clocks.iter().any(|clock| clock.place == Place::Log(0)));
    assert!(found.iter().any(|what| what.contains("TimeWentBack")), "{found:?}");
}

#[test]
fn a_bank_that_forgets_what_it_has_signed_is_found() {
    let found = violations(Sabotage::ForgetsOutputs, |run| run.loss.is_some());
    assert!(found.iter().any(|what| what.contains("the wallets hold")), "{found:?}");
}

#[test]
fn a_bank_that_shows_no_decision_is_found() {
    assert!(!violations(Sabotage::ShowsNoDecision, |run| run.cheat == Some(Cheat::Vanished)).is_empty());
}

/// The same number means the same run, so that a violation can be played again.
#[test]
fn a_run_can_be_played_again() {
    let campaign = Campaign::new(7, None);
    for number in [700, campaign.pairs().start + 7, campaign.cheats().start + 7, campaign.first_mixed() + 7] {
        let trace = || campaign.run(number).play(true).trace;
        assert_eq!(trace(), trace());
        assert!(!trace().is_empty());
    }
}
