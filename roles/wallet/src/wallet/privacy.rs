//! The privacy meter: what a payment would tell, before it is made.
//!
//! A token hides among the tokens of its brand, and only as well as it was used: soon after its withdrawal, for the very
//! amount that was withdrawn, or together with its siblings it can be guessed whose it is, whatever the blind signature
//! hides. The meter names each such reason, and its verdict is that of the worst.
//!
//! How many tokens of a brand there are stands in the bank's register, in the sums of its last day. All brands are in one
//! statement, the same for everybody, so that asking for it says nothing of what is in the wallet.

use std::collections::{BTreeMap, BTreeSet};

use naulon_exchange::register::{Day, DaySummary};
use naulon_money::{Amount, Grid};
use naulon_purchase::GoodsM;
use naulon_statement::{Digest, Duration, PublicKey, Timestamp, Unverified, derive_secret};
use naulon_wire::BankCall;

use super::purchases::BuyOptions;
use super::{Entropy, Wallet, read_operation};
use crate::change::Change;
use crate::error::WalletError;
use crate::operation::{Exchanging, OperationId, OperationKind, Why, Work};
use crate::store::{Kind, WalletStore};
use crate::token::Held;

/// With fewer tokens of a brand issued the verdict is poor.
pub const FEW_ISSUED: u64 = 100;
/// With fewer the verdict is not good.
pub const MANY_ISSUED: u64 = 1_000;
/// A payment so soon after the withdrawal can be guessed by its time alone.
pub const YOUNG: Duration = Duration::seconds(10 * 60);
/// From this age on nothing is said about it.
pub const GROWN: Duration = Duration::days(1);
/// More tokens than these in one payment stand out.
pub const SOME_TOKENS: usize = 4;
/// More than these stand out plainly.
pub const MANY_TOKENS: usize = 8;
/// An amount that takes more denominations than these is odd: few others pay it.
pub const ODD_AMOUNT: usize = 4;

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrivacyLevel {
    /// Whoever sees withdrawal and payment can guess that they belong together.
    Poor,
    /// Something about it stands out.
    Fair,
    /// Nothing about it stands out.
    Good,
}

/// Something that a payment tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrivacyReason {
    /// So few tokens of a brand were issued: it hides among no more.
    FewIssued(u64),
    /// The bank does not show what it counted: perhaps only to this wallet.
    CountsWithheld,
    /// A brand is so new that no day of it is counted yet.
    NotCounted,
    /// A token was withdrawn so shortly before.
    Young(Duration),
    /// Exactly this amount was withdrawn.
    ExactAmount(Amount),
    /// The amount takes so many denominations.
    OddAmount(usize),
    /// So many tokens are given together.
    ManyTogether(usize),
    /// All tokens were withdrawn together.
    WithdrawnTogether(usize),
    /// Tokens share a key: the bank sees all its uses.
    SharedKey,
    /// A token is spent in parts: the bank sees all its uses.
    InParts,
}

impl PrivacyReason {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            PrivacyReason::FewIssued(_) => "few_issued",
            PrivacyReason::CountsWithheld => "counts_withheld",
            PrivacyReason::NotCounted => "not_counted",
            PrivacyReason::Young(_) => "young",
            PrivacyReason::ExactAmount(_) => "exact_amount",
            PrivacyReason::OddAmount(_) => "odd_amount",
            PrivacyReason::ManyTogether(_) => "many_together",
            PrivacyReason::WithdrawnTogether(_) => "withdrawn_together",
            PrivacyReason::SharedKey => "shared_key",
            PrivacyReason::InParts => "in_parts",
        }
    }

    /// How bad it is.
    pub fn level(&self) -> PrivacyLevel {
        let poor_if = |is_poor| if is_poor { PrivacyLevel::Poor } else { PrivacyLevel::Fair };
        match self {
            PrivacyReason::FewIssued(issued) => poor_if(*issued < FEW_ISSUED),
            PrivacyReason::Young(age) => poor_if(*age < YOUNG),
            PrivacyReason::ManyTogether(tokens) => poor_if(*tokens > MANY_TOKENS),
            PrivacyReason::CountsWithheld
            | PrivacyReason::ExactAmount(_)
            | PrivacyReason::SharedKey
            | PrivacyReason::InParts => PrivacyLevel::Poor,
            PrivacyReason::NotCounted | PrivacyReason::OddAmount(_) | PrivacyReason::WithdrawnTogether(_) => {
                PrivacyLevel::Fair
            }
        }
    }
}

/// What a payment would tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// How many tokens would be given.
    pub tokens: usize,
    /// How many tokens of the rarest of their brands were issued, of those that are counted.
    pub issued: Option<u64>,
    /// The last day that is counted.
    pub counted: Option<Day>,
    /// How long ago the youngest was withdrawn from the account, if one was, as far as this wallet remembers.
    pub age: Option<Duration>,
    /// Everything that stands out, the worst first.
    pub reasons: Vec<PrivacyReason>,
}

impl Privacy {
    /// The verdict: the worst reason's, or good.
    pub fn level(&self) -> PrivacyLevel {
        self.reasons.iter().map(PrivacyReason::level).min().unwrap_or(PrivacyLevel::Good)
    }

    /// Whether a brand has fewer tokens than these, or the bank does not say how many, so that paying with it is refused
    /// unless the person accepts it. With zero nothing is refused.
    pub fn is_refused(&self, fewest: u64) -> bool {
        let withheld = self.reasons.contains(&PrivacyReason::CountsWithheld);
        fewest > 0 && (withheld || self.issued.is_some_and(|issued| issued < fewest))
    }

    /// Whether tokens come straight from the account: refreshing hides when and for how much they were withdrawn.
    pub fn is_straight(&self) -> bool {
        self.age.is_some()
    }
}

/// Where a token came from.
struct Origin {
    op: OperationId,
    /// When and for how much it was withdrawn from the account; none if it came of other tokens.
    withdrawn: Option<(Timestamp, Amount)>,
}

impl<S: WalletStore> Wallet<S> {
    /// How many tokens of a brand were issued until the end of its bank's last day; none if that says nothing of it.
    pub fn issued(&self, brand: &Digest) -> Option<u64> {
        let bank = self.brands.get(brand)?.brand().bank;
        Some(self.counts.get(&bank)?.brand(brand)?.issued_total)
    }

    /// What to ask a bank for the sums of its last day, anonymously; nothing if they are known, or there is no such day.
    pub fn counts_call(&self, bank: &PublicKey) -> Option<BankCall> {
        let (index, _) = self.last_days.get(bank)?;
        (!self.counts.contains_key(bank)).then(|| BankCall::Public(format!("/body/{index}")))
    }

    /// Takes the sums of a bank's last day, if they are what stands in its register. They are not written down.
    pub fn accept_counts(&mut self, bank: &PublicKey, bytes: &[u8]) -> bool {
        let entry = self.last_days.get(bank).map(|(_, entry)| entry);
        let summary = entry.and_then(|entry| DaySummary::of_entry(entry, bank, bytes));
        let taken = summary.is_some();
        self.counts.extend(summary.map(|summary| (*bank, summary)));
        taken
    }

    /// How long to wait before a call that names the account, or before one that does not, so that it is not tied to the
    /// last one of the other kind by its time: until a moment that is drawn within `most` after that.
    pub fn apart(
        &mut self,
        names_account: bool,
        most: Duration,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Duration, WalletError> {
        let history = self.history(now)?;
        let others = history.iter().filter(|entry| is_identified(entry.kind) != names_account);
        let last = others.map(|entry| entry.ended.as_ref().map_or(now, |ended| ended.at));
        let last = last.chain(self.named.filter(|_| !names_account)).max();
        let mut drawn = [0; 8];
        derive_secret(entropy, &[b"naulon/wallet/apart"], &mut drawn);
        let wait = u64::from_be_bytes(drawn) % most.0.saturating_add(1);
        Ok(last.map_or(Duration(0), |last| last.plus(Duration(wait)).since(now)))
    }

    /// What buying this would tell, if it were begun now. Nothing is begun.
    pub fn assess(
        &mut self,
        offer: &Unverified<GoodsM>,
        options: &BuyOptions,
        now: Timestamp,
    ) -> Result<Privacy, WalletError> {
        let offer = offer.claimed_body();
        let (bank, _, tokens) = self.choose_bank(offer, options, now)?;
        let origins = self.origins(&tokens)?;
        let grid = self.grid(&bank, now);
        let parts = options.keep_remainder || tokens.iter().any(|held| held.left.is_some());
        Ok(self.meter(&tokens, &origins, offer.price, grid.as_ref(), parts, now))
    }

    /// Takes note that the account is named now by what is no operation: an order of a token for another client, say.
    pub fn account_named(&mut self, now: Timestamp) -> Result<(), WalletError> {
        self.check_usable()?;
        self.commit(vec![Change::Named(now)])
    }

    fn meter(
        &self,
        tokens: &[Held],
        origins: &BTreeMap<(Digest, u32), Origin>,
        price: Amount,
        grid: Option<&Grid>,
        in_parts: bool,
        now: Timestamp,
    ) -> Privacy {
        let brands: BTreeSet<Digest> = tokens.iter().map(Held::brand).collect();
        let banks = brands.iter().filter_map(|brand| Some(self.brands.get(brand)?.brand().bank));
        let banks: BTreeSet<PublicKey> = banks.collect();
        let issued = brands.iter().filter_map(|brand| self.issued(brand)).min();
        let counted = banks.iter().filter_map(|bank| Some(self.counts.get(bank)?.day)).min();
        let of_tokens: Vec<&Origin> =
            tokens.iter().filter_map(|held| origins.get(&(held.brand(), held.index))).collect();
        let withdrawals: Vec<(Timestamp, Amount)> = of_tokens.iter().filter_map(|origin| origin.withdrawn).collect();
        let age = withdrawals.iter().map(|(at, _)| now.since(*at)).min();
        let mut reasons = Vec::new();
        let withheld = |bank| self.last_days.contains_key(bank) && !self.counts.contains_key(bank);
        if banks.iter().any(withheld) {
            reasons.push(PrivacyReason::CountsWithheld);
        } else if brands.iter().any(|brand| self.issued(brand).is_none()) {
            reasons.push(PrivacyReason::NotCounted);
        }
        reasons.extend(issued.filter(|issued| *issued < MANY_ISSUED).map(PrivacyReason::FewIssued));
        reasons.extend(age.filter(|age| *age < GROWN).map(PrivacyReason::Young));
        if withdrawals.iter().any(|(_, amount)| *amount == price) {
            reasons.push(PrivacyReason::ExactAmount(price));
        }
        let denominations = grid.and_then(|grid| grid.split(price).ok()).map_or(0, |values| values.len());
        if denominations > ODD_AMOUNT {
            reasons.push(PrivacyReason::OddAmount(denominations));
        }
        if tokens.len() > SOME_TOKENS {
            reasons.push(PrivacyReason::ManyTogether(tokens.len()));
        }
        let together: BTreeSet<OperationId> = of_tokens.iter().map(|origin| origin.op).collect();
        let all_withdrawn = tokens.len() > 1 && withdrawals.len() == tokens.len();
        if all_withdrawn && together.len() == 1 {
            reasons.push(PrivacyReason::WithdrawnTogether(tokens.len()));
        }
        if tokens.iter().any(|held| held.key.is_some()) {
            reasons.push(PrivacyReason::SharedKey);
        }
        if in_parts {
            reasons.push(PrivacyReason::InParts);
        }
        reasons.sort_by_key(|reason| (reason.level(), *reason));
        Privacy { tokens: tokens.len(), issued, counted, age, reasons }
    }

    /// Where these tokens came from, as far as this wallet remembers.
    fn origins(&mut self, tokens: &[Held]) -> Result<BTreeMap<(Digest, u32), Origin>, WalletError> {
        let wanted: BTreeSet<(Digest, u32)> = tokens.iter().map(|held| (held.brand(), held.index)).collect();
        let mut origins = BTreeMap::new();
        for (key, row) in self.store.list(Kind::Past)? {
            let operation = read_operation(&key, &row)?;
            let at = operation.ended.as_ref().map_or(operation.begun, |ended| ended.at);
            let (outputs, withdrawn) = match &operation.work {
                Work::Exchange(Exchanging { why, amount, outputs, .. }) => {
                    (outputs, (*why == Why::Withdraw).then_some((at, *amount)))
                }
                Work::Purchase(purchase) => (&purchase.outputs, None),
                Work::Refund(refund) => (&refund.outputs, None),
                Work::Reclaim(reclaiming) => (&reclaiming.outputs, None),
                Work::OpenAccount(_) | Work::Recovery(_) => continue,
            };
            for at in outputs.iter().map(|planned| (planned.brand, planned.index)).filter(|at| wanted.contains(at)) {
                origins.insert(at, Origin { op: operation.id, withdrawn });
            }
        }
        Ok(origins)
    }
}

/// Whether such an operation names the account.
fn is_identified(kind: OperationKind) -> bool {
    match kind {
        OperationKind::OpenAccount | OperationKind::Withdraw | OperationKind::Deposit => true,
        OperationKind::FundCheckFromAccount | OperationKind::ReclaimCheckToAccount => true,
        OperationKind::Refresh | OperationKind::Purchase | OperationKind::Refund => false,
        OperationKind::FundCheck | OperationKind::ReclaimCheck => false,
    }
}
