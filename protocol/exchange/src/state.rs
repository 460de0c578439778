//! What a decision sees of the state, and what it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use naulon_money::Amount;
use naulon_statement::{Digest, Joint, PublicKey, Timestamp, UnverifiedJoint};

use crate::chain::{ChainWrite, LockedChain};
use crate::decision::{ProvenDecision, UnverifiedDecision};
use crate::instrument::MAX_PARTS;
use crate::request::{Exchange, RequestId};

/// A unique key: at most one live request holds it. Its bytes are a digest, so that a store can keep it in a narrow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The unique key.
    pub key: Digest,
    /// What it stands for, to name the refusal.
    pub kind: MarkKind,
}

/// What a mark stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// A token given up, or opened to be spent in parts: (token key id, nonce).
    Token,
    /// One of the uses of a token that is spent in parts (AAT §8.3).
    Part,
    /// An account's order, or the operator's reference.
    Order,
    /// A merchant's offer: (M, n).
    Offer,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum State {
    /// An exchange without a condition: its outputs are delivered.
    #[n(0)]
    Done,
    /// A purchase whose inputs are locked and whose log has not decided, as far as the bank knows.
    #[n(1)]
    Locked,
    /// A purchase that happened: its outputs are delivered.
    #[n(2)]
    Committed,
    /// A purchase that will not happen: its inputs are free.
    #[n(3)]
    Aborted,
}

/// What the bank keeps of an exchange that it accepted. Its CBOR is read again as [`UnverifiedRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Record {
    /// The signed exchange: proof that it was asked for.
    #[n(1)]
    pub exchange: Joint<Exchange>,
    /// Where it stands.
    #[n(2)]
    pub state: State,
    /// The `now` of the decision to accept it.
    #[n(3)]
    pub accepted: Timestamp,
    /// The log's decision, when there is one.
    #[n(4)]
    pub decision: Option<ProvenDecision>,
    /// The `now` of the decision to settle it. It is the bank's own matter, and goes to nobody.
    #[cbor(skip)]
    pub settled: Option<Timestamp>,
}

impl Record {
    /// The request id.
    pub fn id(&self) -> RequestId {
        self.exchange.id()
    }
}

/// A record as a store or a wire carries it.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub struct UnverifiedRecord {
    /// The signed exchange.
    #[n(1)]
    pub exchange: UnverifiedJoint<Exchange>,
    /// Where it stands.
    #[n(2)]
    pub state: State,
    /// When it was accepted.
    #[n(3)]
    pub accepted: Timestamp,
    /// The log's decision.
    #[n(4)]
    pub decision: Option<UnverifiedDecision>,
}

impl UnverifiedRecord {
    /// The record, for bytes that this party wrote itself.
    pub fn from_own_store(self) -> Record {
        Record {
            exchange: self.exchange.from_own_store(),
            state: self.state,
            accepted: self.accepted,
            decision: self.decision.map(UnverifiedDecision::from_own_store),
            settled: None,
        }
    }
}

impl From<&Record> for UnverifiedRecord {
    fn from(record: &Record) -> Self {
        UnverifiedRecord {
            exchange: UnverifiedJoint::from(record.exchange.clone()),
            state: record.state,
            accepted: record.accepted,
            decision: record.decision.as_ref().map(UnverifiedDecision::from),
        }
    }
}

/// What a request touches, so that a store can fetch it for a whole batch at once.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// The request's own record (for a log's decision: the purchase's).
    pub record: Option<RequestId>,
    /// Marks it would set.
    pub marks: Vec<Mark>,
    /// Accounts it debits or credits.
    pub accounts: BTreeSet<PublicKey>,
    /// Tokens that it spends a part of, each by the key of its mark.
    pub remainders: BTreeSet<Digest>,
    /// Checks that it sets money aside for, cashes, or takes the remainder of, each by its commitment.
    pub chains: BTreeSet<Digest>,
}

/// What is left on a token that is spent in parts (AAT §8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remainder {
    /// The token's value without what its uses took that are live: done, committed or locked.
    pub left: Amount,
    /// How many uses are live.
    pub uses: u8,
}

/// How a plan changes what is left on a token that is spent in parts. Each is one conditional write of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The token, by the key of its mark.
    pub token: Digest,
    /// The change.
    pub change: DrawChange,
}

/// One change of a [`Remainder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawChange {
    /// The first use of all, which takes the token's mark: makes the row.
    Open {
        /// What is left after it.
        left: Amount,
    },
    /// Another use.
    Take {
        /// How much it takes.
        amount: Amount,
    },
    /// A use that was aborted: what it took is there again. It never fails.
    GiveBack {
        /// How much it took.
        amount: Amount,
    },
}

impl Remainder {
    /// The remainder after a change; none if the change must not be made, because there is less left, or because as many
    /// uses are live as may be. The last of those takes all that is left, so that nothing is left that cannot be used.
    pub fn after(self, change: &DrawChange) -> Option<Remainder> {
        let Remainder { left, uses } = self;
        match change {
            DrawChange::Open { .. } => None,
            DrawChange::Take { amount } => {
                let rest = left.checked_sub(*amount)?;
                let fits = uses + 1 < MAX_PARTS || uses < MAX_PARTS && rest.is_zero();
                fits.then_some(Remainder { left: rest, uses: uses + 1 })
            }
            DrawChange::GiveBack { amount } => {
                Some(Remainder { left: left.checked_add(*amount)?, uses: uses.checked_sub(1)? })
            }
        }
    }
}

/// The state that a request touches.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The record named by [`Needs::record`].
    pub record: Option<Arc<Record>>,
    /// For each mark that is held: the record that holds it.
    pub holders: BTreeMap<Mark, Arc<Record>>,
    /// The balance of each account that is open.
    pub balances: BTreeMap<PublicKey, Amount>,
    /// What is left on each token that was opened to be spent in parts.
    pub remainders: BTreeMap<Digest, Remainder>,
    /// What stands of each check, by its commitment.
    pub chains: BTreeMap<Digest, LockedChain>,
}

/// An account of the bank's double-entry ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedgerAccount {
    /// Money that came in from outside (an asset: its balance is negative here).
    Outside,
    /// What the bank owes a customer.
    Customer(PublicKey),
    /// What the bank owes the holders of a brand's tokens.
    Tokens(Digest),
    /// What is locked for purchases.
    Locked,
    /// What is set aside for checks, and neither paid nor returned.
    Chains,
}

/// One line of the journal: the amount leaves `from` and comes to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What owes less afterwards.
    pub from: LedgerAccount,
    /// What owes more afterwards.
    pub to: LedgerAccount,
    /// How much, above zero.
    pub amount: Amount,
}

/// A condition that must still hold when the plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The account is open and holds at least this much before the plan's transfers.
    Balance {
        /// Whose balance.
        account: PublicKey,
        /// At least this.
        at_least: Amount,
    },
    /// The account is open.
    Open(PublicKey),
}

/// How a plan changes the record of its request.
#[derive(Clone, Debug)]
pub enum RecordWrite {
    /// Inserts the record; lost if one with its id exists.
    Insert(Arc<Record>),
    /// Puts this record in the place of the one with its id; lost if that one is not [`State::Locked`].
    Settle(Arc<Record>),
    /// Opens an account with nothing in it; changes nothing if it is open.
    Open(PublicKey),
}

/// What is written, all of it in one transaction or none.
///
/// Order: marks (a mark held by another request loses the whole plan), guards, record, transfers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The record's change.
    pub record: RecordWrite,
    /// Marks that the request takes.
    pub marks: Vec<Mark>,
    /// Marks that the request gives back (abort), of those that it holds: nobody holds these afterwards.
    pub freed: Vec<Mark>,
    /// Changes of what is left on tokens that are spent in parts, at most one a token.
    pub draws: Vec<Draw>,
    /// Changes of what stands of checks, at most one a check. One whose row is not as it must stand loses the whole plan.
    pub chains: Vec<ChainWrite>,
    /// Conditions that must hold.
    pub guards: Vec<Guard>,
    /// The journal's lines.
    pub transfers: Vec<Transfer>,
}

/// What comes of a request that is not refused.
#[derive(Clone, Debug)]
pub enum Decided {
    /// It was accepted before: the same reply again. For a settled purchase the record holds the log's decision.
    Replay(Arc<Record>),
    /// It is accepted once this plan is written.
    Write(Plan),
    /// There is nothing to write and nothing to deliver (an account that is open already).
    Nothing,
}
