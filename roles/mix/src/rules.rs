//! What a mix's operator has settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use naulon_money::{Amount, Currency};
use naulon_onion::{Contract, Next, Shape};
use naulon_statement::{Duration, PublicKey, SecretKey};

use crate::batch::Batching;

/// The most sessions at a time.
pub const MAX_SESSIONS: usize = 16_384;
/// The most sessions that one link of a stranger brings.
pub const MAX_SESSIONS_A_LINK: usize = 64;
/// The most checks that are kept, in use or waiting to be cashed.
pub const MAX_CHECKS_KEPT: usize = 1 << 17;
/// A session in which nothing moves for so long is closed.
pub const SESSION_IDLE: Duration = Duration::seconds(600);
/// How long a check must be usable when a session begins with it.
pub const CHECK_MARGIN: Duration = Duration::seconds(60);
/// The longest time until a check expires: it is remembered until then, so that nobody comes with it again.
pub const MAX_CHECK_TIME: Duration = Duration::days(60);
/// The most exchanges that are under way at banks (on-line encashment). Beyond it only checks are taken that are certified.
pub const MAX_POSTINGS: usize = 512;

/// What a mix's operator has settled.
pub struct MixRules {
    /// The mix's key.
    pub mix: PublicKey,
    /// The length of its blocks.
    pub shape: Shape,
    /// What a block costs.
    pub price: Amount,
    /// In which currency.
    pub currency: Currency,
    /// By how many blocks sender and mix may be out.
    pub window: u32,
    /// How many replies a tick includes in cohort mode.
    pub replies: u32,
    /// The banks that are accepted, and with which key the mix is known there.
    pub banks: BTreeMap<PublicKey, Arc<SecretKey>>,
    /// The chain that it is a member of.
    pub contract: Option<Contract>,
    /// Whether it is ever the last mix.
    pub is_exit: bool,
    /// How blocks are mixed.
    pub batching: Batching,
    /// How long ticks wait at most until they are cashed.
    pub cash_within: Duration,
}

impl MixRules {
    /// From which mix sessions may come that bring this mix no fare (case a), and where they go: along the chain. The first
    /// member takes them from everybody, if it is not the one that is paid.
    pub(crate) fn contract_way(&self) -> Option<(Option<PublicKey>, Next)> {
        let contract = self.contract.as_ref().filter(|contract| contract.paying != self.mix)?;
        let at = contract.members.iter().position(|member| member.mix == self.mix)?;
        let before = at.checked_sub(1).map(|before| contract.members[before].mix);
        Some((before, contract.members.get(at + 1).map_or(Next::Exit, |member| Next::Mix(member.mix))))
    }
}
