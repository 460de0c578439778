//! The checks that a mix was paid with: what came, what is earned, what the bank has paid.

use std::collections::{BTreeSet, HashMap};

use naulon_meter::Claim;
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, Timestamp, cbor};
use naulon_tick::{Check, Front};
use rand_core::CryptoRng;

use crate::batch::below;
use crate::fare::Fare;
use crate::mix::Mix;
use crate::outbox::SessionKey;
use crate::refusal::MixRefusal;
use crate::rules::{MAX_CHECKS_KEPT, MixRules};
use crate::store::{Change, KeptCheck, TickStore};

/// How long a check is remembered beyond its expiry, so that nobody comes with it a second time.
const MEMORY: Duration = Duration::seconds(600);
/// How long a session lasts at least before ticks of it are cashed while it goes on.
const LIVE: Duration = Duration::seconds(30);
/// How long after a failure the bank is asked again, at least.
const PAUSE: Duration = Duration::seconds(2);

/// One check.
struct Book {
    check: Check,
    funding: Vec<u8>,
    front: Front,
    earned: u32,
    /// What of it is durable: no more than that is cashed, else a restart would come behind the bank.
    written: (Front, u32),
    cashed: Front,
    /// The bank has set its money aside. Until then nothing of it is written down.
    is_funded: bool,
    /// Its session is over: nothing more is earned.
    is_over: bool,
    is_under_way: bool,
    /// When it is cashed next.
    due: Timestamp,
}

/// All checks.
#[derive(Default)]
pub(crate) struct Books {
    checks: HashMap<Digest, Book>,
    /// Sessions whose ticks have moved since they were noted last.
    pub(crate) moved: Vec<SessionKey>,
    dirty: BTreeSet<Digest>,
    pending: Vec<Change>,
    /// What has changed last could not be written.
    pub(crate) is_failing: bool,
}

/// Ticks that are due to be cashed.
#[derive(Clone, Debug)]
pub struct Due {
    /// The check.
    pub check: Check,
    /// Its name.
    pub commitment: Digest,
    /// What it is funded by.
    pub funding: Vec<u8>,
    /// As far as the bank has paid.
    pub from: Front,
    /// As far as it is earned.
    pub to: Front,
}

/// What came of cashing one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cashing {
    /// The bank has paid as far as was asked.
    Paid,
    /// The bank had paid so far already: the answer to an earlier request was lost.
    Stands(u32),
    /// Not now. It is tried again.
    Later,
    /// Never: the bank will not pay for this check.
    Lost,
}

impl Books {
    /// What was kept. No session has survived, so everything is to be cashed.
    pub(crate) fn open(kept: Vec<KeptCheck>, rules: &MixRules, now: Timestamp, rng: &mut impl CryptoRng) -> Self {
        let mut books = Books::default();
        for KeptCheck { check, funding, front, earned, cashed } in kept {
            let due = moment(&check, rules, now, rng);
            let book = Book {
                funding,
                front,
                earned,
                written: (front, earned),
                cashed,
                is_funded: true,
                is_over: true,
                is_under_way: false,
                due,
                check,
            };
            books.checks.insert(book.check.commitment(), book);
        }
        books
    }

    pub(crate) fn has(&self, commitment: &Digest) -> bool {
        self.checks.contains_key(commitment)
    }

    /// Takes a check, of which nobody knows yet whether its money is set aside ([`Books::funded`]).
    pub(crate) fn take(
        &mut self,
        commitment: Digest,
        fare: Fare,
        rules: &MixRules,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), MixRefusal> {
        if self.checks.len() >= MAX_CHECKS_KEPT {
            return Err(MixRefusal::TooManyChecks);
        }
        let (root, funding) = (fare.check.front(), cbor::to_vec(&fare.funding));
        let (check, front, cashed) = (fare.check, root, root);
        let (is_funded, is_over, is_under_way) = (false, false, false);
        let (written, due) = ((root, 0), moment(&check, rules, now.plus(LIVE), rng));
        let book = Book { check, funding, front, earned: 0, written, cashed, is_funded, is_over, is_under_way, due };
        self.checks.insert(commitment, book);
        Ok(())
    }

    /// A check's money is set aside: from now on it is kept over a restart.
    pub(crate) fn funded(&mut self, commitment: &Digest) {
        let Some(book) = self.checks.get_mut(commitment).filter(|book| !book.is_funded) else { return };
        book.is_funded = true;
        let Book { check, funding, front, earned, cashed, .. } = &*book;
        let (check, funding) = (check.clone(), funding.clone());
        let kept = KeptCheck { check, funding, front: *front, earned: *earned, cashed: *cashed };
        self.pending.push(Change::Taken(Box::new(kept)));
    }

    /// A check was refused after it had been taken: nothing was earned with it.
    pub(crate) fn drop_unused(&mut self, commitment: &Digest) {
        let Some(book) = self.checks.get(commitment).filter(|book| book.earned == 0) else { return };
        if book.is_funded {
            self.pending.push(Change::Forgotten(*commitment));
        }
        self.checks.remove(commitment);
        self.dirty.remove(commitment);
    }

    pub(crate) fn earned(&mut self, commitment: &Digest, claim: &Claim) {
        let Some(book) = self.checks.get_mut(commitment) else { return };
        if book.front.index < claim.front.index || book.earned < claim.earned {
            (book.front, book.earned) = (claim.front, claim.earned);
            self.dirty.insert(*commitment);
        }
    }

    /// Whether the bank will pay no further ticks of a check: its time is over, or the bank has said so. One that is used up is
    /// none of them.
    pub(crate) fn pays_no_more(&self, commitment: &Digest, now: Timestamp) -> bool {
        self.checks.get(commitment).is_some_and(|book| {
            let is_given_up = book.cashed.index > book.earned;
            (now >= book.check.expiry || is_given_up) && book.earned < book.check.length
        })
    }

    pub(crate) fn over(&mut self, commitment: &Digest, now: Timestamp, rules: &MixRules, rng: &mut impl CryptoRng) {
        if let Some(book) = self.checks.get_mut(commitment).filter(|book| !book.is_over) {
            book.is_over = true;
            book.due = moment(&book.check, rules, now, rng);
        }
    }
}

/// A moment of chance until which ticks wait, before the check expires.
fn moment(check: &Check, rules: &MixRules, now: Timestamp, rng: &mut impl CryptoRng) -> Timestamp {
    let wait = Duration(below(rules.cash_within.0.saturating_add(1), rng));
    now.plus(wait).min(check.expiry.max(now))
}

impl Mix {
    /// What has changed since it was asked last: to be written, and then said to be [`Mix::written`].
    pub fn changes(&mut self) -> Vec<Change> {
        for key in std::mem::take(&mut self.books.moved) {
            self.note(key);
        }
        let mut changes = std::mem::take(&mut self.books.pending);
        for commitment in std::mem::take(&mut self.books.dirty) {
            if let Some(book) = self.books.checks.get(&commitment) {
                changes.push(Change::Earned { commitment, front: book.front, earned: book.earned });
            }
        }
        changes
    }

    /// These changes are durable.
    pub fn written(&mut self, changes: &[Change]) {
        self.books.is_failing = false;
        for change in changes {
            if let Change::Earned { commitment, front, earned } = change
                && let Some(book) = self.books.checks.get_mut(commitment)
            {
                book.written = (*front, *earned);
            }
        }
    }

    /// These changes could not be written: they come again.
    ///
    /// Until they are, the mix is full: what it forwards now would be lost with it.
    pub fn not_written(&mut self, changes: Vec<Change>) {
        self.books.is_failing = true;
        let newer = std::mem::replace(&mut self.books.pending, changes);
        self.books.pending.extend(newer);
    }

    /// Writes everything that has changed.
    ///
    /// # Errors
    /// When the store fails; nothing is forgotten then.
    pub fn flush(&mut self, store: &mut impl TickStore) -> Result<(), naulon_durable::StoreError> {
        let changes = self.changes();
        if changes.is_empty() {
            return Ok(());
        }
        match store.write(&changes) {
            Ok(()) => {
                self.written(&changes);
                Ok(())
            }
            Err(error) => {
                self.not_written(changes);
                Err(error)
            }
        }
    }

    /// Ticks that are due to be cashed, of one bank, in an order that tells nothing; with `all`, also those whose time has
    /// not come.
    pub fn due(&mut self, now: Timestamp, most: usize, all: bool) -> Vec<Due> {
        let is_due =
            |book: &&Book| !book.is_under_way && book.written.1 > book.cashed.index && (all || book.due <= now);
        let mut ready: Vec<Digest> =
            self.books.checks.iter().filter(|(_, book)| is_due(book)).map(|(commitment, _)| *commitment).collect();
        crate::batch::shuffle(&mut ready, &mut self.rng);
        let mut due = Vec::new();
        let mut bank = None;
        for commitment in ready {
            let Some(book) = self.books.checks.get_mut(&commitment) else { continue };
            if due.len() >= most || *bank.get_or_insert(book.check.bank) != book.check.bank {
                continue;
            }
            let (front, earned) = book.written;
            let Ok(to) = front.lower(&book.check.id, earned) else { continue };
            book.is_under_way = true;
            let (check, funding, from) = (book.check.clone(), book.funding.clone(), book.cashed);
            due.push(Due { check, commitment, funding, from, to });
        }
        due
    }

    /// What came of cashing. Gives what the mix itself was paid, of the whole `amount` of one check.
    pub fn cashed(&mut self, due: &Due, cashing: Cashing, mine: impl Fn(Amount) -> Amount, now: Timestamp) {
        let Some(book) = self.books.checks.get_mut(&due.commitment) else { return };
        book.is_under_way = false;
        let to = match cashing {
            Cashing::Paid => Some(due.to),
            Cashing::Stands(index) => book.front.lower(&book.check.id, index).ok(),
            Cashing::Later => {
                book.due = now.plus(PAUSE);
                return;
            }
            Cashing::Lost => None,
        };
        let Some(to) = to else {
            // Nothing of it will ever be paid: it stays until its expiry so that nobody comes with it again.
            book.cashed = Front { index: book.check.length, ..book.front };
            return;
        };
        if to.index <= book.cashed.index {
            // The bank stands behind what it has paid: nothing helps but to ask again later.
            book.due = now.plus(PAUSE);
            return;
        }
        let worth = book.check.worth(to.index - book.cashed.index).unwrap_or(Amount::ZERO);
        let (commitment, from) = (due.commitment, book.cashed.index);
        book.cashed = to;
        if !book.is_over {
            book.due = moment(&book.check, &self.rules, now.plus(LIVE), &mut self.rng);
        }
        self.books.pending.push(Change::Cashed { commitment, from, to, amount: mine(worth) });
    }

    /// Forgets checks that are over, and whose expiry is.
    pub fn forget(&mut self, now: Timestamp) {
        let is_done = |book: &Book| {
            let (earned, is_old) = (book.earned, now >= book.check.expiry.plus(MEMORY));
            book.is_over && !book.is_under_way && is_old && book.cashed.index >= earned
        };
        let done: Vec<Digest> =
            self.books.checks.iter().filter(|(_, book)| is_done(book)).map(|(commitment, _)| *commitment).collect();
        for commitment in done {
            self.books.checks.remove(&commitment);
            self.books.pending.push(Change::Forgotten(commitment));
        }
    }

    /// How many ticks are earned and not yet cashed.
    pub fn uncashed(&self) -> u64 {
        self.books.checks.values().map(|book| u64::from(book.earned.saturating_sub(book.cashed.index))).sum()
    }

    /// How many checks are kept.
    pub fn checks(&self) -> usize {
        self.books.checks.len()
    }
}
