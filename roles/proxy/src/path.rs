//! Which mixes a session goes through.

use std::collections::BTreeSet;

use naulon_money::Currency;
use naulon_onion::{Contract, Descriptor, HOPS, HopPublic, PathHop, Shape};
use naulon_statement::{PublicKey, Timestamp};
use naulon_stream::{Host, Target};

/// The mixes of one whole snapshot of a directory, each verified. Nobody is asked for a single mix, ever: that would tell whom
/// one is about to use.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    mixes: Vec<Descriptor>,
}

/// Who is paid (MixPay §2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Billing {
    /// Case b: every mix by itself.
    #[default]
    Each,
    /// Case a: one mix of a provider's chain, and that pays the others.
    Chain,
}

/// What a path is to be.
#[derive(Clone, Debug)]
pub struct PathWanted {
    /// The bank whose checks pay.
    pub bank: PublicKey,
    /// Its currency.
    pub currency: Currency,
    /// Where the first stream goes: the exit's policy must allow it.
    pub target: Target,
    /// Who is paid.
    pub billing: Billing,
}

/// Three mixes in their order.
#[derive(Clone, Debug)]
pub struct Path {
    /// First mix, middle, exit.
    pub hops: [Descriptor; HOPS],
    /// Their keys of the epoch.
    pub keys: [HopPublic; HOPS],
    /// The length of all blocks.
    pub shape: Shape,
    /// Which of them are paid by the client.
    pub is_paid: [bool; HOPS],
}

/// Why there is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Too few mixes.
    #[error("the directory lists {0} mixes that can be paid at this bank now; a path needs three")]
    TooFew(usize),
    /// No exit takes the port.
    #[error("no mix lets streams out to this port")]
    NoExit,
    /// (Case a) No chain.
    #[error("no provider's chain of three mixes is complete and leads there")]
    NoChain,
}

impl Snapshot {
    /// Of verified descriptors those that make sense.
    pub fn new(descriptors: impl IntoIterator<Item = Descriptor>) -> Self {
        let mut seen = BTreeSet::new();
        let sound = descriptors.into_iter().filter(|mix| mix.check().is_ok() && seen.insert(mix.mix));
        Snapshot { mixes: sound.collect() }
    }

    /// How many mixes there are.
    pub fn len(&self) -> usize {
        self.mixes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.mixes.is_empty()
    }

    /// Draws a path. `draw` gives a number below its argument, each with the same chance.
    pub fn path(
        &self,
        wanted: &PathWanted,
        now: Timestamp,
        draw: &mut impl FnMut(usize) -> usize,
    ) -> Result<Path, PathError> {
        let usable: Vec<(&Descriptor, HopPublic)> =
            self.mixes.iter().filter_map(|mix| mix.usable(wanted, now)).collect();
        match wanted.billing {
            Billing::Each => each(&usable, wanted, draw),
            Billing::Chain => chain(&usable, wanted, draw),
        }
    }
}

trait Usable {
    fn usable(&self, wanted: &PathWanted, now: Timestamp) -> Option<(&Descriptor, HopPublic)>;
}

impl Usable for Descriptor {
    fn usable(&self, wanted: &PathWanted, now: Timestamp) -> Option<(&Descriptor, HopPublic)> {
        let holds = self.from <= now && now < self.until;
        let is_payable = self.currency == wanted.currency && self.payee(&wanted.bank).is_some();
        let key = self.hop_key(now)?;
        (holds && is_payable).then_some((self, key))
    }
}

fn lets_out(mix: &Descriptor, target: &Target) -> bool {
    let is_private = |policy: &naulon_onion::ExitPolicy| match &target.host {
        // Where a name leads only the exit finds out.
        Host::Name(_) => true,
        Host::Address(address) => policy.is_private || is_public(address),
    };
    mix.exit.as_ref().is_some_and(|policy| policy.takes_port(target.port) && is_private(policy))
}

/// Roughly what exits without `is_private` connect to: they decide, this only saves a refusal.
fn is_public(address: &std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(v4) => !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        std::net::IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local()),
    }
}

fn each(
    usable: &[(&Descriptor, HopPublic)],
    wanted: &PathWanted,
    draw: &mut impl FnMut(usize) -> usize,
) -> Result<Path, PathError> {
    if usable.len() < HOPS {
        return Err(PathError::TooFew(usable.len()));
    }
    let exits: Vec<_> = usable.iter().filter(|(mix, _)| lets_out(mix, &wanted.target)).collect();
    let exit = **exits.get(draw(exits.len().max(1))).ok_or(PathError::NoExit)?;
    // The others: of all that have the exit's length of blocks, without putting back.
    let mut others: Vec<_> =
        usable.iter().filter(|(mix, _)| mix.mix != exit.0.mix && mix.block == exit.0.block).copied().collect();
    if others.len() < HOPS - 1 {
        return Err(PathError::TooFew(others.len() + 1));
    }
    let first = others.swap_remove(draw(others.len()));
    let middle = others.swap_remove(draw(others.len()));
    Path::of([first, middle, exit], [true; HOPS]).ok_or(PathError::NoExit)
}

/// A provider's chain is fixed: its members in the order of the contract.
fn chain(
    usable: &[(&Descriptor, HopPublic)],
    wanted: &PathWanted,
    draw: &mut impl FnMut(usize) -> usize,
) -> Result<Path, PathError> {
    let mut contracts: Vec<&Contract> = Vec::new();
    for contract in usable.iter().filter_map(|(mix, _)| mix.contract.as_ref()) {
        if !contracts.contains(&contract) {
            contracts.push(contract);
        }
    }
    let complete = contracts.into_iter().filter_map(|contract| {
        let members: Vec<_> = contract.members.iter().take(HOPS).collect();
        let hops: Vec<_> = members
            .iter()
            .filter_map(|member| {
                usable.iter().find(|(mix, _)| mix.mix == member.mix && mix.contract.as_ref() == Some(contract)).copied()
            })
            .collect();
        let hops: [_; HOPS] = hops.try_into().ok()?;
        let is_paid = hops.map(|(mix, _)| mix.mix == contract.paying);
        let leads = lets_out(hops[HOPS - 1].0, &wanted.target) && is_paid.contains(&true);
        leads.then(|| Path::of(hops, is_paid)).flatten()
    });
    let mut complete: Vec<Path> = complete.collect();
    if complete.is_empty() {
        return Err(PathError::NoChain);
    }
    Ok(complete.swap_remove(draw(complete.len())))
}

impl Path {
    fn of(hops: [(&Descriptor, HopPublic); HOPS], is_paid: [bool; HOPS]) -> Option<Path> {
        let shape =
            hops[0].0.shape().ok().filter(|shape| hops.iter().all(|(mix, _)| mix.shape().ok() == Some(*shape)))?;
        Some(Path { keys: hops.map(|(_, key)| key), hops: hops.map(|(mix, _)| mix.clone()), shape, is_paid })
    }

    /// As a set-up block wants it.
    pub fn path_hops(&self) -> [PathHop; HOPS] {
        std::array::from_fn(|at| PathHop { mix: self.hops[at].mix, key: self.keys[at] })
    }

    /// Whether streams to this target may leave at its end.
    pub fn leads_to(&self, target: &Target) -> bool {
        lets_out(&self.hops[HOPS - 1], target)
    }
}
