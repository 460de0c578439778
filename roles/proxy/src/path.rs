//! Which mixes a session goes through.

use std::collections::BTreeSet;
use std::net::IpAddr;

use naulon_money::Currency;
use naulon_onion::{Contract, Descriptor, HOPS, HopPublic, PathHop, Shape};
use naulon_statement::{PublicKey, Timestamp};
use naulon_stream::{Host, Target};

/// The mixes of one whole snapshot of a directory, each verified. Nobody is asked for a single mix, ever: that would tell whom
/// one is about to use.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    mixes: Vec<Descriptor>,
    until: Timestamp,
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
    /// The list is too old: who keeps newer ones from a client must not choose its mixes.
    #[error("the list of mixes has run out, and no newer one could be fetched")]
    Over,
    /// Too few mixes.
    #[error("the directory lists {0} mixes that can be paid at this bank now; a path needs three")]
    TooFew(usize),
    /// Those that there are belong together.
    #[error("of {0} mixes no three can share a path: they must differ in provider, host, link key and payee")]
    TooAlike(usize),
    /// No exit takes the port.
    #[error("no mix lets streams out to this port")]
    NoExit,
    /// (Case a) No chain.
    #[error("no provider's chain of three mixes is complete and leads there")]
    NoChain,
}

impl Snapshot {
    /// Of verified descriptors those that make sense. Paths are drawn while the list holds: until `until`.
    pub fn new(descriptors: impl IntoIterator<Item = Descriptor>, until: Timestamp) -> Self {
        let mut seen = BTreeSet::new();
        let sound = descriptors.into_iter().filter(|mix| mix.check().is_ok() && seen.insert(mix.mix));
        Snapshot { mixes: sound.collect(), until }
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
        if now >= self.until {
            return Err(PathError::Over);
        }
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
fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local()),
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
    let mut exits: Vec<_> = usable.iter().filter(|(mix, _)| lets_out(mix, &wanted.target)).copied().collect();
    if exits.is_empty() {
        return Err(PathError::NoExit);
    }
    // One that leaves no choice for the others is followed by the next.
    while !exits.is_empty() {
        let exit = exits.swap_remove(draw(exits.len()));
        let mut firsts: Vec<_> = usable.iter().filter(|(mix, _)| may_share_path(mix, exit.0)).copied().collect();
        while !firsts.is_empty() {
            let first = firsts.swap_remove(draw(firsts.len()));
            let is_middle = |mix: &Descriptor| may_share_path(mix, exit.0) && may_share_path(mix, first.0);
            let middles: Vec<_> = usable.iter().filter(|(mix, _)| is_middle(mix)).collect();
            if let Some(middle) = middles.get(draw(middles.len().max(1))) {
                return Path::of([first, **middle, exit], [true; HOPS]).ok_or(PathError::NoExit);
            }
        }
    }
    Err(PathError::TooAlike(usable.len()))
}

/// Whether two mixes that are paid by themselves may see the same session: neither says or shows that one hand holds both.
fn may_share_path(a: &Descriptor, b: &Descriptor) -> bool {
    let provider = |mix: &Descriptor| mix.contract.as_ref().map(|contract| contract.provider);
    let is_one_provider = provider(a).is_some() && provider(a) == provider(b);
    let is_one_payee = a.payees.iter().any(|own| b.payees.iter().any(|other| own.payee == other.payee));
    let is_one = a.mix == b.mix || a.link == b.link || place(a) == place(b) || is_one_provider || is_one_payee;
    !is_one && a.block == b.block
}

/// Where a mix is: its host, and on one's own machine, where networks are tried out, the port as well.
fn place(mix: &Descriptor) -> String {
    let address = mix.address.to_ascii_lowercase();
    let Some((host, _)) = address.rsplit_once(':') else { return address };
    let host = host.trim_matches(['[', ']']);
    match host.parse::<IpAddr>().map(|host| host.to_canonical()) {
        Ok(host) if host.is_loopback() => address,
        Ok(host) => host.to_string(),
        Err(_) if host == "localhost" => address,
        Err(_) => host.trim_end_matches('.').to_owned(),
    }
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
