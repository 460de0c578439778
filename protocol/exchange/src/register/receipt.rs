//! Receipts: that an item stands in its day's sum, that it will, or that it does not.

use minicbor::{Decode, Encode};
use naulon_statement::{Digest, PublicKey, Signed, Statement, StatementError, Unverified};
use naulon_tlog::{InclusionProof, ProofError, leaf_hash, verify_inclusion};

use super::day::{BrandDay, Day, DaySummary, Side};

/// The bank's word, while a day is not over, that an item will stand in that day's sum.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ItemPromise {
    /// The bank.
    #[n(1)]
    pub bank: PublicKey,
    /// The brand's token key id.
    #[n(2)]
    pub brand: Digest,
    /// The day on which it was issued or redeemed.
    #[n(3)]
    pub day: Day,
    /// Which of the two.
    #[n(4)]
    pub side: Side,
    /// The item.
    #[n(5)]
    pub item: Digest,
}

impl Statement for ItemPromise {
    const CONTENT_TYPE: &'static str = "application/naulon.item-promise+cbor";
}

/// A bank's answer on an item.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Receipt {
    /// The day is not over: a promise.
    #[n(0)]
    Promised(#[n(0)] Unverified<ItemPromise>),
    /// The item stands in the day's sum.
    #[n(1)]
    Shown {
        /// The day's sum.
        #[n(0)]
        summary: Unverified<DaySummary>,
        /// Where the item stands under the root of its brand and side.
        #[n(1)]
        proof: InclusionProof,
    },
    /// The item does not stand there: its neighbours do, one behind the other.
    #[n(2)]
    Missing {
        /// The day's sum.
        #[n(0)]
        summary: Unverified<DaySummary>,
        /// The last item below it; none if it would be the first.
        #[n(1)]
        below: Option<Neighbour>,
        /// The first item above it; none if it would be the last.
        #[n(2)]
        above: Option<Neighbour>,
    },
}

/// Another item, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Neighbour {
    /// The item.
    #[n(1)]
    pub item: Digest,
    /// Where it stands.
    #[n(2)]
    pub proof: InclusionProof,
}

/// What a receipt says of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The item stands in the day's sum.
    Kept,
    /// It does not: the bank has broken its word.
    Broken,
    /// The receipt is another promise, or about something else.
    Open,
}

/// Why a receipt says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// A statement is not the bank's.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It is about another bank, brand, day, side or item.
    #[error("the receipt is about something else")]
    Other,
    /// A proof does not lead to the day's root.
    #[error("the receipt's proof: {0}")]
    Proof(#[from] ProofError),
    /// What is shown as neighbours are none.
    #[error("what the receipt shows as neighbours of the item are none")]
    NotNeighbours,
}

impl Receipt {
    /// Checks a receipt for an item: [`Verdict::Kept`] if it stands in the sum that the receipt shows, [`Verdict::Broken`] if
    /// it does not, and [`Verdict::Open`] for a promise, whose day is over later.
    pub fn check(&self, promise: &ItemPromise) -> Result<Verdict, ReceiptError> {
        match self {
            Receipt::Promised(another) => {
                let another = another.clone().verify(&promise.bank)?;
                if *another == *promise { Ok(Verdict::Open) } else { Err(ReceiptError::Other) }
            }
            Receipt::Shown { summary, proof } => {
                let summary = of_day(summary, promise)?;
                let row = summary.brand(&promise.brand).ok_or(ReceiptError::Other)?;
                check_place(row, promise.side, &promise.item, proof)?;
                Ok(Verdict::Kept)
            }
            Receipt::Missing { summary, below, above } => {
                let summary = of_day(summary, promise)?;
                let Some(row) = summary.brand(&promise.brand) else { return Ok(Verdict::Broken) };
                check_gap(row, promise, below.as_ref(), above.as_ref())?;
                Ok(Verdict::Broken)
            }
        }
    }

    /// Judges the bank's word by a later receipt. Everything in it is signed by the bank, so nobody else can make it look
    /// broken.
    pub fn judge(&self, promise: Unverified<ItemPromise>) -> Result<(Signed<ItemPromise>, Verdict), ReceiptError> {
        let bank = promise.claimed_body().bank;
        let promise = promise.verify(&bank)?;
        let verdict = self.check(&promise)?;
        Ok((promise, verdict))
    }
}

fn of_day(summary: &Unverified<DaySummary>, promise: &ItemPromise) -> Result<Signed<DaySummary>, ReceiptError> {
    let summary = summary.clone().verify(&promise.bank)?;
    let fits = summary.bank == promise.bank && summary.day == promise.day;
    if fits { Ok(summary) } else { Err(ReceiptError::Other) }
}

fn check_place(row: &BrandDay, side: Side, item: &Digest, proof: &InclusionProof) -> Result<(), ReceiptError> {
    let (count, root) = row.side(side);
    if proof.size != count {
        return Err(ProofError::OtherTree { proof: proof.size, checkpoint: count }.into());
    }
    Ok(verify_inclusion(&leaf_hash(item.as_bytes()), proof.index, count, &root.0, &proof.path)?)
}

/// Items are sorted, so one that would stand between two neighbours and is neither is missing. (If they are not sorted, the
/// bank has broken that rule instead.)
fn check_gap(
    row: &BrandDay,
    promise: &ItemPromise,
    below: Option<&Neighbour>,
    above: Option<&Neighbour>,
) -> Result<(), ReceiptError> {
    for neighbour in below.into_iter().chain(above) {
        check_place(row, promise.side, &neighbour.item, &neighbour.proof)?;
    }
    let (count, _) = row.side(promise.side);
    let first_above = match below {
        Some(below) if below.item < promise.item => below.proof.index + 1,
        Some(_) => return Err(ReceiptError::NotNeighbours),
        None => 0,
    };
    let is_gap = match above {
        Some(above) => promise.item < above.item && above.proof.index == first_above,
        None => first_above == count,
    };
    is_gap.then_some(()).ok_or(ReceiptError::NotNeighbours)
}
