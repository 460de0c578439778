//! Cohorts: sessions that begin together, each with exactly one block in every batch, and end together (DESIGN §4).
//!
//! This is what the claim of anonymity is about: whoever sees all links finds in each batch one block of each session, and in
//! each batch of replies one reply of each. A session that fails takes its cohort with it: else the others would be one fewer
//! from then on, and everybody could count.

use std::collections::VecDeque;

use naulon_onion::Next;
use naulon_statement::{Duration, Timestamp};

use crate::batch::{Batching, shuffle};
use crate::mix::{Destination, Mix};
use crate::outbox::{Outbox, SessionKey};
use crate::refusal::MixRefusal;

/// How long a cohort waits for the block of one of its sessions.
pub const COHORT_STALL: Duration = Duration::seconds(60);

/// Sessions under way together.
pub(crate) struct Cohort {
    members: Vec<SessionKey>,
    /// Set-up blocks that wait until all are there.
    set_ups: Vec<(SessionKey, Next, Vec<u8>)>,
    /// Batches that have left.
    batches: u32,
    reply_batches: u64,
}

/// A session's place in its cohort.
pub(crate) struct Place {
    pub cohort: u64,
    pub forward: VecDeque<(Destination, Vec<u8>)>,
    pub back: VecDeque<(Destination, Vec<u8>)>,
}

impl Mix {
    /// How many sessions make a cohort here, and how many batches it lasts.
    fn cohort_of(&self) -> Option<(usize, u32)> {
        match self.rules.batching {
            Batching::Cohort { count, length } => Some((count, length)),
            _ => None,
        }
    }

    /// Takes a session into the cohort that gathers; when it is complete, its set-up blocks go on together.
    pub(crate) fn join_cohort(&mut self, key: SessionKey, next: Next, block: &[u8], now: Timestamp, out: &mut Outbox) {
        let Some((count, _)) = self.cohort_of() else { return };
        let number = *self.gathering.get_or_insert_with(|| {
            self.next_cohort += 1;
            self.next_cohort
        });
        let cohort = self.cohorts.entry(number).or_insert_with(|| Cohort {
            members: Vec::new(),
            set_ups: Vec::new(),
            batches: 0,
            reply_batches: 0,
        });
        cohort.members.push(key);
        cohort.set_ups.push((key, next, block.to_vec()));
        let is_complete = cohort.members.len() >= count;
        if let Some(session) = self.sessions.get_mut(&key) {
            session.place = Some(Place { cohort: number, forward: VecDeque::new(), back: VecDeque::new() });
        }
        if is_complete {
            self.gathering = None;
            let mut set_ups = self.cohorts.get_mut(&number).map(|c| std::mem::take(&mut c.set_ups)).unwrap_or_default();
            shuffle(&mut set_ups, &mut self.rng);
            for (key, next, block) in set_ups {
                self.send_on(key, next, &block, now, out);
            }
            // Blocks that came while the cohort gathered.
            self.leave_together(number, now, out);
        }
    }

    /// Puts a block of a cohort's session into its batch, and lets batches go that are complete.
    pub(crate) fn put_in_cohort(
        &mut self,
        key: SessionKey,
        to: Destination,
        is_back: bool,
        block: &[u8],
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let most = self.rules.window.saturating_mul(self.rules.replies.max(1)) as usize;
        let Some(place) = self.sessions.get_mut(&key).and_then(|session| session.place.as_mut()) else { return };
        let queue = if is_back { &mut place.back } else { &mut place.forward };
        queue.push_back((to, block.to_vec()));
        let (is_over, number) = (queue.len() > most, place.cohort);
        if is_over {
            return self.close(key, Some(MixRefusal::Overloaded), now, out);
        }
        self.leave_together(number, now, out);
    }

    fn leave_together(&mut self, number: u64, now: Timestamp, out: &mut Outbox) {
        let Some((_, length)) = self.cohort_of() else { return };
        for is_back in [false, true] {
            while let Some(mut batch) = self.complete_batch(number, is_back, length) {
                shuffle(&mut batch, &mut self.rng);
                for (to, block) in batch {
                    self.leave(to, &block, out);
                }
            }
        }
        let replies = u64::from(length) * u64::from(self.rules.replies);
        let is_over = |cohort: &Cohort| cohort.batches >= length && cohort.reply_batches >= replies;
        if self.cohorts.get(&number).is_some_and(is_over) {
            let members = self.cohorts.remove(&number).map(|cohort| cohort.members).unwrap_or_default();
            for key in members {
                self.close(key, None, now, out);
            }
        }
    }

    /// One block of each session, if each has one.
    fn complete_batch(&mut self, number: u64, is_back: bool, length: u32) -> Option<Vec<(Destination, Vec<u8>)>> {
        let cohort = self.cohorts.get_mut(&number).filter(|cohort| cohort.set_ups.is_empty())?;
        if !is_back && cohort.batches >= length {
            return None;
        }
        let sessions = &mut self.sessions;
        let has_one = |key: &SessionKey| {
            let place = sessions.get(key).and_then(|session| session.place.as_ref());
            place.is_some_and(|place| !if is_back { &place.back } else { &place.forward }.is_empty())
        };
        if !cohort.members.iter().all(has_one) {
            return None;
        }
        match is_back {
            true => cohort.reply_batches += 1,
            false => cohort.batches += 1,
        }
        let mut batch = Vec::with_capacity(cohort.members.len());
        for key in &cohort.members {
            let place = sessions.get_mut(key).and_then(|session| session.place.as_mut());
            batch.extend(
                place.and_then(|place| if is_back { place.back.pop_front() } else { place.forward.pop_front() }),
            );
        }
        Some(batch)
    }

    /// A session of a cohort has failed: all of them end.
    pub(crate) fn cohort_failed(&mut self, number: u64, now: Timestamp, out: &mut Outbox) {
        if self.gathering == Some(number) {
            self.gathering = None;
        }
        let members = self.cohorts.remove(&number).map(|cohort| cohort.members).unwrap_or_default();
        for key in members {
            self.close(key, Some(MixRefusal::CohortFailed), now, out);
        }
    }
}
