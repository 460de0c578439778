//! The mixes' world: every cheat in every protocol and case, every crash at a write, and some runs by chance.
//!
//! `cargo xtask sim mix` plays more of them.

use naulon_sim::{FOULS, MixCampaign};

#[test]
fn nobody_is_out_by_more_than_the_window_and_every_cheat_is_named() {
    let campaign = MixCampaign::new(1);
    let outcome = campaign.play(0..campaign.enumerated() + 60);
    assert!(outcome.violated == 0, "{:#?}", outcome.violations);
    let count = |what: &str| outcome.counts.get(what).copied().unwrap_or(0);
    for foul in FOULS {
        assert!(count(&format!("cheat: {foul:?}")) > 0, "{foul:?} was never tried");
    }
    for code in
        ["unpaid", "tick_forged", "tick_used", "tick_too_far", "check_in_use", "spent", "uncertified", "chain_advanced"]
    {
        assert!(count(&format!("refused: {code}")) > 0, "nothing was refused by the name {code}");
    }
    assert!(count("ticks cashed") > 10_000);
}

#[test]
fn a_number_means_the_same_run_every_time() {
    let (one, other) = (MixCampaign::new(7), MixCampaign::new(7));
    for number in [0, 40, one.enumerated() + 3] {
        let (first, second) = (one.replay(number), other.replay(number));
        assert_eq!((first.delivered, first.cashed, first.codes), (second.delivered, second.cashed, second.codes));
    }
}
