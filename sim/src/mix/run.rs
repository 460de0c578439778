//! One run of the mixes' world: what is agreed, what fails, who cheats; and what is checked at its end.

use naulon_durable::fault::When;
use naulon_onion::Protocol;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::fault::below;

/// What somebody does who should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foul {
    /// The sender leaves its ticks out from some block on.
    StopsPaying,
    /// The sender sends a block a second time.
    Replays,
    /// The sender jumps over more ticks than the window.
    Skips,
    /// The sender makes ticks up.
    Forges,
    /// The sender pays with a tick that it paid with before.
    ReusesTick,
    /// The sender begins a second session with the same checks.
    TwoSessions,
    /// The sender sets one token aside for two checks.
    TwoChecksOneToken,
    /// The sender shows a check that the bank has not certified.
    Uncertified,
    /// A mix takes ticks and passes nothing on.
    Drops,
    /// A mix changes what it passes on.
    Alters,
    /// A mix passes blocks on twice.
    Duplicates,
    /// A mix passes blocks on in another order.
    Reorders,
    /// A mix cashes the same ticks twice.
    CashesTwice,
    /// A mix claims ticks that it has not.
    ClaimsMore,
    /// A mix keeps cashing what it was paid ahead.
    CashesAhead,
    /// The recipient keeps the ticks that it should let go.
    KeepsTicks,
}

/// All of them.
pub const FOULS: [Foul; 16] = [
    Foul::StopsPaying,
    Foul::Replays,
    Foul::Skips,
    Foul::Forges,
    Foul::ReusesTick,
    Foul::TwoSessions,
    Foul::TwoChecksOneToken,
    Foul::Uncertified,
    Foul::Drops,
    Foul::Alters,
    Foul::Duplicates,
    Foul::Reorders,
    Foul::CashesTwice,
    Foul::ClaimsMore,
    Foul::CashesAhead,
    Foul::KeepsTicks,
];

impl Foul {
    /// Whether it can be committed in this protocol.
    pub fn fits(self, protocol: Protocol) -> bool {
        use naulon_onion::{Trigger, When};
        match self {
            Foul::Skips | Foul::Forges | Foul::ReusesTick => protocol == Protocol::BEFORE_SENDER,
            Foul::StopsPaying => protocol.trigger == Trigger::Sender,
            Foul::KeepsTicks => protocol.trigger == Trigger::Recipient,
            Foul::CashesAhead => protocol.when == When::Before,
            _ => true,
        }
    }

    /// The stable codes of which one has to be seen; none where nothing is wrong with it.
    pub fn reasons(self) -> &'static [&'static str] {
        match self {
            Foul::StopsPaying => &["unpaid"],
            Foul::KeepsTicks => &["unpaid", "too_many_asks", "unconfirmed"],
            Foul::Replays | Foul::Duplicates => &["block_replayed"],
            Foul::Skips => &["tick_too_far"],
            Foul::Forges => &["tick_forged"],
            Foul::ReusesTick => &["tick_used"],
            Foul::TwoSessions => &["check_in_use"],
            Foul::TwoChecksOneToken => &["token_spent", "spent", "conflict"],
            Foul::Uncertified => &["uncertified", "check_uncertified"],
            Foul::Drops => &["unconfirmed", "block_gap"],
            Foul::Alters => &["block_altered"],
            Foul::CashesTwice => &["chain_advanced"],
            Foul::ClaimsMore => &["tick_forged"],
            Foul::Reorders | Foul::CashesAhead => &[],
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Decides the rest.
    pub seed: u64,
    /// Who pays when.
    pub protocol: Protocol,
    /// Which mix is paid for all of them (case a); none if each is (case b).
    pub paying: Option<usize>,
    /// Who cheats, and which mix if one does.
    pub foul: Option<(Foul, usize)>,
    /// At which mix, at which of its writes, and when.
    pub crash: Option<(usize, u64, When)>,
    /// Of a hundred blocks on a link so many are lost.
    pub loss: u64,
    /// How many blocks the sender wants to send.
    pub blocks: u32,
}

/// How many runs are enumerated: each foul in each protocol and case, then each crash.
pub fn enumerated(seed: u64) -> Vec<Run> {
    let cases = [None, Some(0), Some(1), Some(2)];
    let plain = |protocol, paying| Run { seed, protocol, paying, foul: None, crash: None, loss: 0, blocks: 40 };
    let mut runs = Vec::new();
    for protocol in Protocol::ALL {
        runs.extend(cases.map(|paying| plain(protocol, paying)));
        for foul in FOULS.into_iter().filter(|foul| foul.fits(protocol)) {
            // Who is not paid cannot cheat about money.
            let all_paid = plain(protocol, None);
            runs.extend((0..3).map(|mix| Run { foul: Some((foul, mix)), ..all_paid.clone() }));
            let first_paid = plain(protocol, Some(0));
            runs.push(Run { foul: Some((foul, 0)), ..first_paid });
        }
        for (mix, write) in (0..3).flat_map(|mix| (1..=8).map(move |write| (mix, write))) {
            let crashes = [When::Before, When::After].map(|when| Some((mix, write, when)));
            runs.extend(crashes.map(|crash| Run { crash, ..plain(protocol, None) }));
        }
    }
    runs
}

/// The run of this number beyond those: everything by chance.
pub fn drawn(seed: u64, number: u64) -> Run {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let protocol = Protocol::ALL[below(&mut rng, 4) as usize];
    let paying = (below(&mut rng, 3) == 0).then(|| below(&mut rng, 3) as usize);
    let foul = FOULS[below(&mut rng, FOULS.len() as u64) as usize];
    let mix = paying.unwrap_or_else(|| below(&mut rng, 3) as usize);
    let foul = (below(&mut rng, 3) > 0 && foul.fits(protocol)).then_some((foul, mix));
    let when = if below(&mut rng, 2) == 0 { When::Before } else { When::After };
    let crash = (below(&mut rng, 3) == 0).then(|| (below(&mut rng, 3) as usize, 1 + below(&mut rng, 12), when));
    let loss = if below(&mut rng, 3) == 0 { below(&mut rng, 12) } else { 0 };
    let blocks = 20 + below(&mut rng, 60) as u32;
    Run { seed: rng.next_u64(), protocol, paying, foul, crash, loss, blocks }
}
