//! What one run is about.

use naulon_exchange::EntryMode;

use crate::cheat::Cheat;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::party::Want;
use crate::sabotage::Sabotage;

/// Who keeps the first log, if it is not apart from the others (AAT §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The first bank.
    BankAndLog,
    /// The first shop.
    ShopAndLog,
}

/// One run: who wants what, what goes wrong, who cheats.
#[derive(Clone, Debug)]
pub struct Run {
    /// Decides everything that is random.
    pub seed: u64,
    /// What each person wants.
    pub wants: Vec<Vec<Want>>,
    /// How many banks there are: one or two, which call their brands by the same names.
    pub banks: usize,
    /// How many logs there are: one or two. If one cheats, it is the last.
    pub logs: usize,
    /// How many shops there are.
    pub shops: usize,
    /// Whose the first log is.
    pub merged: Option<Merged>,
    /// Whether the shops want two-sided delivery.
    pub two_sided: bool,
    /// Whether the shops' list has only logs that do not cheat (AAT §7), if there is one.
    pub prudent: bool,
    /// Whether somebody watches the logs. Somebody does if a log cheats.
    pub watched: bool,
    /// How the purchases stand in the log; at random if nothing is said.
    pub mode: Option<EntryMode>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// The clocks that are wrong.
    pub clocks: Vec<Clock>,
    /// Who loses the wallet, and when (milliseconds since the beginning): it comes back from its seed.
    pub loss: Option<(usize, u64)>,
    /// Who cheats.
    pub cheat: Option<Cheat>,
    /// A bug put in on purpose.
    pub sabotage: Option<Sabotage>,
}

impl Run {
    /// These people's wants in a world of one bank, one log and one shop, in which nothing goes wrong.
    pub fn plain(seed: u64, wants: Vec<Vec<Want>>) -> Self {
        Run {
            seed,
            wants,
            banks: 1,
            logs: 1,
            shops: 1,
            merged: None,
            two_sided: false,
            prudent: false,
            watched: false,
            mode: None,
            faults: Vec::new(),
            clocks: Vec::new(),
            loss: None,
            cheat: None,
            sabotage: None,
        }
    }

    /// The number of the log that cheats, if one does.
    pub fn crooked_log(&self) -> Option<usize> {
        self.cheat.filter(Cheat::is_a_logs).map(|_| self.logs - 1)
    }

    /// The logs that the shops trust.
    pub fn trusted_logs(&self) -> Vec<usize> {
        let crooked = self.crooked_log().filter(|_| self.prudent && self.logs > 1);
        (0..self.logs).filter(|log| Some(*log) != crooked).collect()
    }
}
