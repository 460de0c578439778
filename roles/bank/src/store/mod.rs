//! What a bank must not forget, and the three places that keep it.

mod changes;
mod memory;
mod postgres;
mod register;
mod schema;
mod sqlite;

pub use memory::MemoryStore;
pub use postgres::{PostgresOpenError, PostgresStore, audit_url};
pub use register::{DayKey, DeliveredPlace, RegisterAppending, RegisterRows, RegisterStore, StoredChunk};
pub use sqlite::{BANK_FILE, SqliteStore, audit_file};

use std::collections::BTreeSet;

use naulon_blind::Brand;
use naulon_durable::StoreError;
use naulon_exchange::{Audit, Forgotten, Needs, Plan, ProvenDecision, Record, RequestId, State, View, output_key};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Signed, Timestamp};

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All of it is durable.
    Yes,
    /// Nothing of it was written: a mark is held, a guard does not hold, or the record is not as the plan has it.
    /// Decide the request again on a fresh view.
    Lost,
    /// Either of the two, and nobody can say which: the connection to the database was lost at the commit. Decide the
    /// request again on a fresh view: there it is found if it was written, and it is safe to write it if not.
    Unknown,
}

/// A log's decision that breaks the protocol, kept for the judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFault {
    /// The purchase.
    pub purchase: RequestId,
    /// The code of the refusal: `log_contradiction`, `key_mismatch` or `decision_misfit`.
    pub code: String,
    /// The decision that was refused.
    pub decision: ProvenDecision,
}

/// What a bank must not forget: spent marks, accepted requests, balances, the journal, its brands, its clock.
///
/// A store in memory or in a file has one owner at a time; a database may have many, each of which takes for true only
/// what it has just read. After an error whose [`StoreError::retry`] is
/// [`AfterReopening`](naulon_durable::Retry::AfterReopening) its owner opens it again before it uses or believes it.
pub trait BankStore: RegisterStore + Send + 'static {
    /// The state that each of these requests touches, all from one moment. What it leaves out, the bank takes for free
    /// to give away: a mark that is held but not seen costs the bank a token's value (the commit then still refuses
    /// it).
    fn view(&mut self, needs: &[Needs]) -> Result<Vec<View>, StoreError>;

    /// Writes plans in one transaction. When it returns, every plan that is [`Written::Yes`] is durable, whatever
    /// happens to the machine; a [`Written::Lost`] one has changed nothing, and has not kept the others from being
    /// written. After an error none is written, unless the error says that this is not known.
    ///
    /// A plan is lost if a mark of it is held already (by a stored request or by another plan of this batch), if a
    /// guard does not hold, if a balance would leave 0..=[`Amount::MAX`], if what is left on a token does not allow a draw
    /// ([`naulon_exchange::Remainder::after`]), if a check's row is not as a [`naulon_exchange::ChainWrite`] must find it, if the record it inserts is there, or the one it settles is not locked. In a
    /// store of many owners it is also lost if its record is accepted or settled before a time that one of them has kept
    /// ([`keep_time`](Self::keep_time)): its bank's clock is behind. Only a plan that inserts a
    /// record takes marks, and one that opens an account does nothing else. Of plans that conflict among themselves at
    /// least one is written, unless it loses otherwise.
    ///
    /// A `Yes` that is not durable, or one for a mark that another request holds, lets the same token be spent twice.
    fn commit(&mut self, plans: &[Plan]) -> Result<Vec<Written>, StoreError>;

    /// The record of an accepted request.
    fn record(&mut self, id: &RequestId) -> Result<Option<Record>, StoreError>;

    /// Where each accepted request stands that has one of these blinded outputs, by the output's key
    /// ([`naulon_exchange::output_key`]). One that is found is signed again for nothing, so a request that was never
    /// accepted must not be found: it would be money for nothing. One that is not found costs a customer who restores a
    /// wallet the token.
    fn outputs(&mut self, keys: &[Digest]) -> Result<Vec<(Digest, State)>, StoreError>;

    /// Purchases that are locked, at most so many, in an order of the store's own: those that come after this one, or from the
    /// first. One that is missing here stays locked until somebody else brings the log's decision.
    fn locked(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// All requests, at most so many, in an order of the store's own: those that come after this one, which is there, or from
    /// the first. One that is missing here is never forgotten.
    fn records(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Forgets these requests with their marks, outputs and decisions, and carries forward what they did to the ledger, all in
    /// one transaction. The journal stays whole. One that is not there, or locked, is left out, with what it would have carried.
    /// Says how many there were.
    ///
    /// Before, its owner has kept the time ([`keep_time`](Self::keep_time)) by which every brand of them is closed for good. A
    /// mark of a brand that can still be spent, and is forgotten, lets the token be spent twice.
    fn forget(&mut self, forgotten: &[Forgotten]) -> Result<usize, StoreError>;

    /// What an account holds; none if it is not open.
    fn balance(&mut self, account: &PublicKey) -> Result<Option<Amount>, StoreError>;

    /// All brands that were ever stated, in the order in which they were.
    fn brands(&mut self) -> Result<Vec<Signed<Brand>>, StoreError>;

    /// States a brand. Durable when it returns. Stating the same brand again changes nothing and is [`Written::Yes`].
    /// Lost if another brand has its key, or its place: there is exactly one of each currency, denomination, purpose
    /// and first day. A second one would let the bank know its holders apart.
    fn add_brand(&mut self, brand: &Signed<Brand>) -> Result<Written, StoreError>;

    /// The latest time the store knows of: of the last record, or of [`keep_time`](Self::keep_time).
    fn latest_time(&mut self) -> Result<Timestamp, StoreError>;

    /// Keeps a time that the bank has told somebody. Durable when it returns, and by then every commit of an earlier time
    /// has ended. A time that is forgotten could let a request succeed that was refused for good, or change a day whose
    /// sum is told.
    fn keep_time(&mut self, now: Timestamp) -> Result<(), StoreError>;

    /// Keeps a log's decision that breaks the protocol, once a purchase and code. Durable when it returns.
    fn keep_log_fault(&mut self, fault: &LogFault) -> Result<(), StoreError>;

    /// All that was kept of that kind.
    fn log_faults(&mut self) -> Result<Vec<LogFault>, StoreError>;

    /// Reads the whole books to an auditor: records, what forgotten ones have carried forward, journal, balances, marks, remainders and checks of one moment. What it leaves out is
    /// found by the auditor as a discrepancy, or, if it is left out everywhere, not at all.
    fn audit(&mut self, audit: &mut Audit<'_>) -> Result<(), StoreError>;
}

/// The keys of a record's blinded outputs, sorted, each once.
fn output_keys(record: &Record) -> BTreeSet<Digest> {
    record.exchange.blinded().map(|(brand, message)| output_key(brand, message)).collect()
}
