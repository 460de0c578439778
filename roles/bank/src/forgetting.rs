//! The bank forgets what nobody needs any more (AAT §5).

use naulon_durable::StoreError;
use naulon_exchange::register::Day;
use naulon_exchange::{Forgotten, Record, Retention};
use naulon_statement::Timestamp;

use crate::bank::Bank;
use crate::store::BankStore;

impl<S: BankStore> Bank<S> {
    /// Looks through the next requests, at most so many, and forgets those that are over ([`Forgotten::of`]). Says how many it
    /// has forgotten. Called again and again it goes through all, and begins anew; so no index is needed on the way in.
    ///
    /// The time is durable before anything is forgotten: from then on no bank on these books accepts what needs a brand that was
    /// closed by it, whatever its clock says, so a brand that is forgotten is closed for ever. A day's sum is made before any
    /// of its requests is forgotten.
    pub fn forget(&mut self, retention: &Retention, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let now = self.desk().advance_clock(now);
        let Some(next_day) = self.next_day() else { return Ok(0) };
        let rulebook = self.desk().rulebook();
        let after = self.looked_through;
        let page = self.sound()?.records(after.as_ref(), limit)?;
        let is_summed = |record: &Record| Day::of(record.settled.unwrap_or(record.accepted)) < next_day;
        let mut over = Vec::new();
        let mut last_kept = after;
        for record in &page {
            match Forgotten::of(&rulebook.rules, record, retention, now).filter(|_| is_summed(record)) {
                Some(forgotten) => over.push(forgotten),
                None => last_kept = Some(record.id()),
            }
        }
        // The place is kept by one that stays: after one that is gone nothing could be found.
        self.looked_through = last_kept.filter(|_| page.len() == limit);
        if over.is_empty() {
            return Ok(0);
        }
        self.keep_time(now)?;
        let gone = self.sound()?.forget(&over);
        gone.inspect_err(|error| self.note(error))
    }
}
