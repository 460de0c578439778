//! What one run is about.

use naulon_exchange::EntryMode;

use crate::cheat::Cheat;
use crate::fault::Fault;
use crate::party::Want;
use crate::sabotage::Sabotage;

/// One run: who wants what, what goes wrong, who cheats.
#[derive(Clone, Debug)]
pub struct Run {
    /// Decides everything that is random.
    pub seed: u64,
    /// What each person wants.
    pub wants: Vec<Vec<Want>>,
    /// How many shops there are.
    pub shops: usize,
    /// Whether the shops want two-sided delivery.
    pub two_sided: bool,
    /// How the purchases stand in the log; at random if nothing is said.
    pub mode: Option<EntryMode>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Who cheats.
    pub cheat: Option<Cheat>,
    /// A bug put in on purpose.
    pub sabotage: Option<Sabotage>,
}
