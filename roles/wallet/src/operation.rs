//! What the wallet has under way, and how it stands in the store.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use naulon_exchange::{
    AuthorizationB, Carrier, EarlyClose, EntryMode, Exchange, Header, OpenAccount, UnverifiedDecision,
};
use naulon_money::{Amount, Currency};
use naulon_purchase::{Buyer, Ending, StoredBuyer};
use naulon_statement::cbor::{self, CborError};
use naulon_statement::{Digest, Duration, PublicKey, Timestamp, Unverified, UnverifiedJoint};

/// Names an operation of one wallet, in the order in which they were begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct OperationId(#[n(0)] pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for OperationId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(OperationId)
    }
}

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Opens the wallet's account at a bank.
    OpenAccount,
    /// Account money becomes tokens.
    Withdraw,
    /// Tokens become account money.
    Deposit,
    /// Tokens become fresh tokens.
    Refresh,
    /// Tokens become goods.
    Purchase,
    /// A shop gives something back, as tokens.
    Refund,
    /// Tokens are set aside for a check.
    FundCheck,
    /// Account money is set aside for a check.
    FundCheckFromAccount,
    /// What is left of a check is taken back, as tokens.
    ReclaimCheck,
    /// What is left of a check is given to the account.
    ReclaimCheckToAccount,
}

impl OperationKind {
    /// A word for tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationKind::OpenAccount => "open-account",
            OperationKind::Withdraw => "withdraw",
            OperationKind::Deposit => "deposit",
            OperationKind::Refresh => "refresh",
            OperationKind::Purchase => "purchase",
            OperationKind::Refund => "refund",
            OperationKind::FundCheck => "fund-check",
            OperationKind::FundCheckFromAccount => "fund-check-from-account",
            OperationKind::ReclaimCheck => "reclaim-check",
            OperationKind::ReclaimCheckToAccount => "reclaim-check-to-account",
        }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum End {
    /// The bank has done it, and what it delivered is in the wallet.
    #[n(0)]
    Done,
    /// The bank has refused it for good, with this code; its tokens are free again.
    #[n(1)]
    Refused(#[n(0)] String),
    /// The person has given it up after the bank had refused it for the time being, with this code.
    #[n(2)]
    GivenUp(#[n(0)] String),
    /// A purchase has ended.
    #[n(3)]
    Purchase(#[n(0)] Ending),
    /// A purchase that was found again from the seed: it is paid, and the shop no longer has what it sold.
    #[n(4)]
    Lost,
}

/// One output that was asked for blindly: everything else about it is derived from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Planned {
    /// The brand's token key id.
    #[n(1)]
    pub brand: Digest,
    /// Its index under the brand.
    #[n(2)]
    pub index: u32,
    /// The index of the key that it shares with other tokens, if it does (AAT §8.1).
    #[n(3)]
    pub key: Option<u32>,
}

/// An operation and the whole signed request that it is about.
#[derive(Clone)]
pub(crate) struct Operation {
    pub id: OperationId,
    pub bank: PublicKey,
    /// The number of its anonymous circuit, drawn when it was begun.
    pub circuit: u64,
    pub begun: Timestamp,
    pub work: Work,
    pub ended: Option<Ended>,
}

/// When and how an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ended {
    /// When.
    #[n(1)]
    pub at: Timestamp,
    /// How.
    #[n(2)]
    pub how: End,
}

#[derive(Clone)]
pub(crate) enum Work {
    OpenAccount(Unverified<OpenAccount>),
    Exchange(Exchanging),
    Purchase(Box<Purchase>),
    /// A purchase found again from the seed, whose offer is not there yet.
    Recovery(Box<Recovery>),
    Refund(Box<Refunding>),
    Reclaim(Box<Reclaiming>),
}

/// A purchase of which only what the bank has given back is known.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Recovery {
    #[n(1)]
    pub authorization_q: UnverifiedJoint<Exchange>,
    /// In the order of the authorization's blinded outputs; none if one of them is not known.
    #[n(2)]
    pub outputs: Vec<Planned>,
    /// The bank has settled, and tokens and change are as they are then.
    #[n(3)]
    pub settled: bool,
    #[n(4)]
    pub header: Option<Unverified<Header>>,
    #[n(5)]
    pub authorization_b: Option<Unverified<AuthorizationB>>,
    #[n(6)]
    pub decision: Option<UnverifiedDecision>,
    /// The shop has said that it knows no such sale.
    #[n(7)]
    pub unknown_to_shop: bool,
    /// The token whose key signs for the goods, if delivery is two-sided.
    #[n(8)]
    pub q: Option<Planned>,
}

/// An exchange without a condition.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Exchanging {
    #[n(1)]
    pub why: Why,
    #[n(2)]
    pub amount: Amount,
    #[n(3)]
    pub request: UnverifiedJoint<Exchange>,
    /// In the order of the request's blinded outputs.
    #[n(4)]
    pub outputs: Vec<Planned>,
    /// The number of the check that it sets money aside for.
    #[n(5)]
    pub check: Option<u32>,
}

/// What is left of a check is taken back.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Reclaiming {
    /// The check's number.
    #[n(1)]
    pub number: u32,
    /// The payee's word, if it is taken early.
    #[n(2)]
    pub early: Option<EarlyClose>,
    #[n(3)]
    pub to_account: bool,
    /// How much is asked for, once the bank has said what stands of the check.
    #[n(4)]
    pub amount: Option<Amount>,
    #[n(5)]
    pub request: Option<UnverifiedJoint<Exchange>>,
    /// In the order of the request's blinded outputs.
    #[n(6)]
    pub outputs: Vec<Planned>,
}

#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Why {
    #[n(0)]
    Withdraw,
    #[n(1)]
    Deposit,
    #[n(2)]
    Refresh,
    #[n(3)]
    FundFromTokens,
    #[n(4)]
    FundFromAccount,
}

/// A purchase and what the wallet knows of it beside the buyer's state.
#[derive(Clone)]
pub(crate) struct Purchase {
    pub buyer: Buyer,
    pub log: PublicKey,
    pub lock: Duration,
    /// Whether what is paid too much is to remain on a token (AAT §8.3), and does not come back as change.
    pub keep_remainder: bool,
    /// In the order of the authorization's blinded outputs.
    pub outputs: Vec<Planned>,
    /// The bank has settled, and the change is here.
    pub settled: bool,
    /// Where the goods are.
    pub place: Option<String>,
    /// Why the bank did not lock.
    pub refused: Option<String>,
    /// It was found again from the seed.
    pub restored: bool,
    /// How the purchase is to stand in the log.
    pub mode: EntryMode,
    /// Who takes the bank's promise to the shop.
    pub carrier: Carrier,
    /// What the bank has promised instead of what was authorized: evidence.
    pub misfit: Option<(Unverified<Header>, Unverified<AuthorizationB>)>,
    /// The shop has the order, for which the bank brings the promise.
    pub ordered: bool,
}

/// A refund of a purchase that has ended.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Refunding {
    /// The sale: the digest of the bank's header.
    #[n(1)]
    pub sale: Digest,
    #[n(2)]
    pub shop: PublicKey,
    /// Which of the sale's refunds.
    #[n(3)]
    pub number: u32,
    /// The payload of the authorization that paid.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub authorization_q: Vec<u8>,
    #[n(5)]
    pub currency: Currency,
    /// Where the key of its first token comes from.
    #[n(6)]
    pub signer: Planned,
    /// How much the shop gives back, once it has said so.
    #[n(7)]
    pub amount: Option<Amount>,
    /// The outputs that were committed for it.
    #[n(8)]
    pub outputs: Vec<Planned>,
    /// The shop's exchange.
    #[n(9)]
    pub exchange: Option<UnverifiedJoint<Exchange>>,
}

impl Purchase {
    /// The digest of the signed offer: names the goods in the goods' directory.
    pub fn offer(&self) -> Digest {
        Digest::of(&[self.buyer.offer().bytes()])
    }
}

impl Operation {
    /// What it is.
    pub fn kind(&self) -> OperationKind {
        match &self.work {
            Work::OpenAccount(_) => OperationKind::OpenAccount,
            Work::Exchange(Exchanging { why: Why::Withdraw, .. }) => OperationKind::Withdraw,
            Work::Exchange(Exchanging { why: Why::Deposit, .. }) => OperationKind::Deposit,
            Work::Exchange(Exchanging { why: Why::Refresh, .. }) => OperationKind::Refresh,
            Work::Exchange(Exchanging { why: Why::FundFromTokens, .. }) => OperationKind::FundCheck,
            Work::Exchange(Exchanging { why: Why::FundFromAccount, .. }) => OperationKind::FundCheckFromAccount,
            Work::Reclaim(reclaiming) if reclaiming.to_account => OperationKind::ReclaimCheckToAccount,
            Work::Reclaim(_) => OperationKind::ReclaimCheck,
            Work::Purchase(_) | Work::Recovery(_) => OperationKind::Purchase,
            Work::Refund(_) => OperationKind::Refund,
        }
    }

    /// The purchase that it is, if it is one.
    pub fn purchase(&self) -> Option<&Purchase> {
        match &self.work {
            Work::Purchase(purchase) => Some(purchase),
            _ => None,
        }
    }

    /// Its row.
    pub fn to_row(&self) -> Vec<u8> {
        let work = match &self.work {
            Work::OpenAccount(request) => WorkRow::OpenAccount(request.clone()),
            Work::Exchange(exchanging) => WorkRow::Exchange(exchanging.clone()),
            Work::Purchase(purchase) => WorkRow::Purchase(PurchaseRow::of(purchase)),
            Work::Recovery(recovery) => WorkRow::Recovery(recovery.as_ref().clone()),
            Work::Refund(refund) => WorkRow::Refund(refund.as_ref().clone()),
            Work::Reclaim(reclaiming) => WorkRow::Reclaim(reclaiming.as_ref().clone()),
        };
        cbor::to_vec(&Row {
            bank: self.bank,
            circuit: self.circuit,
            begun: self.begun,
            work,
            ended: self.ended.clone(),
        })
    }

    /// Reads its row.
    pub fn from_row(id: OperationId, bytes: &[u8]) -> Result<Self, CborError> {
        let row: Row = cbor::from_slice(bytes)?;
        let work = match row.work {
            WorkRow::OpenAccount(request) => Work::OpenAccount(request),
            WorkRow::Exchange(exchanging) => Work::Exchange(exchanging),
            WorkRow::Purchase(purchase) => Work::Purchase(Box::new(purchase.read()?)),
            WorkRow::Recovery(recovery) => Work::Recovery(Box::new(recovery)),
            WorkRow::Refund(refund) => Work::Refund(Box::new(refund)),
            WorkRow::Reclaim(reclaiming) => Work::Reclaim(Box::new(reclaiming)),
        };
        Ok(Operation { id, bank: row.bank, circuit: row.circuit, begun: row.begun, work, ended: row.ended })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Row {
    #[n(1)]
    bank: PublicKey,
    #[n(2)]
    circuit: u64,
    #[n(3)]
    begun: Timestamp,
    #[n(4)]
    work: WorkRow,
    #[n(5)]
    ended: Option<Ended>,
}

#[derive(Encode, Decode)]
enum WorkRow {
    #[n(0)]
    OpenAccount(#[n(0)] Unverified<OpenAccount>),
    #[n(1)]
    Exchange(#[n(0)] Exchanging),
    #[n(2)]
    Purchase(#[n(0)] PurchaseRow),
    #[n(10)]
    Recovery(#[n(0)] Recovery),
    #[n(11)]
    Refund(#[n(0)] Refunding),
    #[n(12)]
    Reclaim(#[n(0)] Reclaiming),
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct PurchaseRow {
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    buyer: Vec<u8>,
    #[n(2)]
    log: PublicKey,
    #[n(3)]
    lock: Duration,
    #[n(4)]
    outputs: Vec<Planned>,
    #[n(5)]
    settled: bool,
    #[n(6)]
    place: Option<String>,
    #[n(7)]
    refused: Option<String>,
    #[n(8)]
    keep_remainder: bool,
    #[n(20)]
    restored: bool,
    #[n(11)]
    mode: EntryMode,
    #[n(12)]
    carrier: Carrier,
    #[n(13)]
    misfit_header: Option<Unverified<Header>>,
    #[n(14)]
    misfit_promise: Option<Unverified<AuthorizationB>>,
    #[n(15)]
    ordered: bool,
}

impl PurchaseRow {
    fn of(purchase: &Purchase) -> Self {
        PurchaseRow {
            buyer: cbor::to_vec(&purchase.buyer),
            log: purchase.log,
            lock: purchase.lock,
            outputs: purchase.outputs.clone(),
            settled: purchase.settled,
            place: purchase.place.clone(),
            refused: purchase.refused.clone(),
            keep_remainder: purchase.keep_remainder,
            restored: purchase.restored,
            mode: purchase.mode,
            carrier: purchase.carrier,
            misfit_header: purchase.misfit.as_ref().map(|(header, _)| header.clone()),
            misfit_promise: purchase.misfit.as_ref().map(|(_, promise)| promise.clone()),
            ordered: purchase.ordered,
        }
    }

    fn read(self) -> Result<Purchase, CborError> {
        let buyer: StoredBuyer = cbor::from_slice(&self.buyer)?;
        Ok(Purchase {
            buyer: buyer.from_own_store(),
            log: self.log,
            lock: self.lock,
            outputs: self.outputs,
            settled: self.settled,
            place: self.place,
            refused: self.refused,
            keep_remainder: self.keep_remainder,
            restored: self.restored,
            mode: self.mode,
            carrier: self.carrier,
            misfit: self.misfit_header.zip(self.misfit_promise),
            ordered: self.ordered,
        })
    }
}
