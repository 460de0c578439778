//! What must hold of the logs: an honest one is never accused, and one that cheats is found in the way that AAT §7 leaves.

use std::collections::BTreeSet;

use naulon_exchange::{Header, Outcome, ProvenDecision, State};
use naulon_purchase::{Breach, Ending, Evidence, JointBytes, Party};
use naulon_statement::{Digest, Unverified};

use super::{Check, Report};
use crate::cheat::Cheat;
use crate::network::Place;
use crate::party::LogParty;
use crate::watch::Watched;
use crate::world::World;

/// Reads what everybody can read of each log.
pub fn read(world: &mut World, report: &mut Report) -> Vec<Watched> {
    let mut read = Vec::new();
    for number in 0..world.logs.len() {
        let now = world.clock(Place::Log(number));
        let watched = match world.logs[number].public(now) {
            Some(public) => Watched::read(public, LogParty::identity(number)),
            None => Err("it is dead".to_owned()),
        };
        match watched {
            Ok(watched) => read.push(watched),
            Err(why) => report.violations.push(format!("log {number}: {why}")),
        }
    }
    read
}

impl Check<'_> {
    pub(super) fn logs(&mut self) {
        let crooked = self.world.run.crooked_log();
        for number in 0..self.watched.len() {
            if Some(number) != crooked {
                self.honest_log(number);
            }
        }
        if let Some(number) = crooked {
            self.crooked_log(number);
        }
    }

    /// It has decided each subject once, the banks have done what it decided, and nothing can be proven against it.
    fn honest_log(&mut self, number: usize) {
        let breaches = self.watched[number].breaches();
        self.require(breaches.is_empty(), || format!("log {number} is honest and accused of {breaches:?}"));
        let published = self.watched[number].published();
        let decisions: Vec<_> = published
            .into_iter()
            .map(|(index, decisions)| {
                let first = decisions.first().and_then(|first| first.map(|d| (d.a, d.outcome)));
                (Digest(index.try_into().unwrap_or_default()), decisions.len(), first)
            })
            .collect();
        for (index, count, first) in decisions {
            self.require(count == 1, || format!("the log decided {index} {count} times"));
            let Some((a, outcome)) = first else { continue };
            let state = self.record(&a).map(|record| record.state);
            let expected = match outcome {
                Outcome::Commit { .. } => State::Committed,
                Outcome::Abort => State::Aborted,
            };
            self.require(state == Some(expected), || format!("the log decided {expected:?}, the bank has {state:?}"));
        }
        if self.world.watcher.is_some() {
            self.count("honest_log_watched");
        }
    }

    fn crooked_log(&mut self, number: usize) {
        let Some(log) = self.world.logs[number].crooked() else { return };
        let (guilty, has_stalled) = (log.guilty().clone(), log.has_stalled());
        let outsiders = self.watched.get(number).map(Watched::breaches).unwrap_or_default();
        match self.world.run.cheat {
            Some(Cheat::LeakingLog) => self.coalition(number),
            Some(Cheat::StallingLog) if has_stalled => {
                let found = self.world.watcher.as_ref().is_some_and(|watcher| watcher.slow().contains(&number));
                self.require(found, || "a log stalled, and whoever watched it has not seen that".to_owned());
                self.count("stalling_log_found");
            }
            Some(Cheat::BackDatingLog) if !guilty.is_empty() => {
                let convicted = outsiders.contains(&Breach::TimeWentBack);
                self.require(convicted, || format!("back-dated entries, and the tree proves {outsiders:?}"));
                self.count("back_dating_log_convicted");
            }
            Some(Cheat::TwoFacedLog) => self.convict(number, &guilty, Breach::BothOutcomes, "two_faced_log_convicted"),
            Some(Cheat::LateLog) => self.convict(number, &guilty, Breach::OutOfTime, "late_log_convicted"),
            _ => {}
        }
    }

    /// Whoever was part of a purchase about which the log broke its rules can prove it: with what she was told and what the tree
    /// says, which she alone may be able to read.
    fn convict(&mut self, number: usize, guilty: &BTreeSet<Digest>, breach: Breach, count: &str) {
        let log = Party::Log(LogParty::identity(number).key);
        let mut convicted = BTreeSet::new();
        let mut by_whom = Vec::new();
        for (_, _, evidence) in self.all_purchases() {
            by_whom.push(evidence);
        }
        for number in 0..self.world.shops.len() {
            for (id, _) in self.world.shops[number].sales() {
                by_whom.extend(self.world.shops[number].evidence(&id));
            }
        }
        by_whom.extend(self.banks_against_logs());
        for evidence in by_whom {
            let Some(header) = header_of(&evidence) else { continue };
            let in_tree = self.watched.get(number).map(|watched| watched.decisions_on(&header)).unwrap_or_default();
            let decisions = evidence.decisions.iter().cloned().chain(in_tree).collect();
            let judgement = self.judge(&Evidence { decisions, ..evidence });
            if judgement.breaches.contains(&(log, breach)) {
                convicted.insert(header.subject());
            }
        }
        for subject in guilty {
            self.require(convicted.contains(subject), || format!("the log is guilty of {breach:?}, and not convicted"));
            self.count(count);
        }
        let innocent = convicted.difference(guilty).count();
        self.require(innocent == 0, || format!("convicted of {breach:?}, and has not done it"));
    }

    /// What the banks have kept against logs, beside what they recorded.
    fn banks_against_logs(&mut self) -> Vec<Evidence> {
        let mut all = Vec::new();
        for bank in &mut self.world.banks {
            for fault in bank.log_faults() {
                let Some(record) = bank.record(&fault.purchase) else { continue };
                let decisions = record.decision.iter().chain([&fault.decision]).map(ProvenDecision::to_bytes).collect();
                let authorization_q = Some(JointBytes::of(&record.exchange));
                all.push(Evidence { authorization_q, decisions, ..Evidence::default() });
            }
        }
        self.report.tally.add_to("bank_kept_log_fault", all.len() as u64);
        all
    }

    /// Log and buyer together gain (AAT §7): the buyer has the goods, the merchant has nothing, and nothing proves it. What
    /// helps is not to trust such a log.
    fn coalition(&mut self, number: usize) {
        let mut won = 0;
        for (_, entry, evidence) in self.all_purchases() {
            let Some(header) = header_of(&evidence).filter(|header| header.log == LogParty::identity(number).key)
            else {
                continue;
            };
            let Some(k) = self.world.logs[number].crooked().and_then(|log| log.leak(&header)) else { continue };
            let offer = evidence.goods_m.as_ref().and_then(|bytes| Unverified::parse(bytes).ok());
            let opened = offer.and_then(|offer| self.open_goods(offer.claimed_body(), &k));
            let is_aborted = entry.ending() == Some(Ending::Aborted);
            let breaches = self.judge(&evidence).breaches;
            let has_won = is_aborted && matches!(opened, Some(Ok(()))) && breaches.is_empty();
            self.require(has_won, || format!("a key was passed on, and the buyer has not won: {:?}", entry.ending()));
            won += 1;
        }
        self.report.tally.add_to("log_and_buyer_win", won);
        let is_trusted = self.world.run.trusted_logs().contains(&number);
        self.require(won == 0 || is_trusted, || "a log that no shop trusts has passed on a key".to_owned());
    }
}

/// The purchase that the evidence is about: the bank's header, or the one that the authorization calls for.
fn header_of(evidence: &Evidence) -> Option<Header> {
    if let Some(header) = &evidence.header {
        return Some(Unverified::<Header>::parse(header).ok()?.claimed_body().clone());
    }
    let joint = evidence.authorization_q.as_ref()?.parse().ok()?.verify().ok()?;
    Header::of(&joint, joint.id())
}
