//! Why the wallet does not do what it was asked for.

use naulon_durable::StoreError;
use naulon_exchange::EntryMode;
use naulon_money::{Amount, Currency};
use naulon_purchase::OfferError;
use naulon_statement::{Digest, PublicKey, StatementError};

use crate::operation::OperationId;

/// Why the wallet does not do what it was asked for. Nothing has been written, unless it is about the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalletError {
    /// A row could not be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// After a failed write it is not known what is on the disk.
    #[error("the wallet's last write may or may not have happened: open the wallet again")]
    Reopen,
    /// The store holds no wallet.
    #[error("there is no wallet here: create one first")]
    NoWallet,
    /// The store holds a wallet already.
    #[error("there is a wallet here already, and it is not overwritten")]
    Exists,
    /// A row does not read.
    #[error("a row of the wallet ({0}) is damaged: restore a backup")]
    Damaged(&'static str),
    /// The bank is not pinned.
    #[error("the bank {0} is not one of this wallet's: pin its key first")]
    UnknownBank(PublicKey),
    /// The bank's description has not been fetched.
    #[error("the bank's description is not known yet: fetch it first")]
    NoTerms,
    /// The bank says it has another currency than the one that was pinned.
    #[error("the bank keeps {found}, and {pinned} was expected")]
    WrongCurrency {
        /// What was pinned.
        pinned: Currency,
        /// What the bank says.
        found: Currency,
    },
    /// The bank has not stated that brand, or not to this wallet.
    #[error("the brand {0} is none that this wallet knows")]
    UnknownBrand(Digest),
    /// A request for a token that is not one for that brand.
    #[error("the request is not one for a token of that brand")]
    OtherBrandsRequest,
    /// The shop is not pinned.
    #[error("the shop {0} is not one of this wallet's: pin its key first")]
    UnknownShop(PublicKey),
    /// The tokens are worth less.
    #[error("{missing} {currency} are missing: withdraw them first")]
    Insufficient {
        /// By how much.
        missing: Amount,
        /// In which currency.
        currency: Currency,
    },
    /// The amount, or the change that it needs, cannot be made of the bank's denominations.
    #[error("{amount} {currency} cannot be made of the bank's tokens")]
    NotPayable {
        /// Which amount.
        amount: Amount,
        /// In which currency.
        currency: Currency,
    },
    /// More tokens than one exchange takes.
    #[error("that takes more tokens than one exchange may have: do it in parts, or refresh first")]
    TooManyTokens,
    /// There are no tokens to do it with.
    #[error("there are no tokens for that")]
    NothingToDo,
    /// All indices of a brand are used up.
    #[error("all indices of a brand are used up: wait for the next period's brands")]
    IndicesUsedUp,
    /// The offer's signature does not hold.
    #[error("the offer: {0}")]
    OfferSignature(#[from] StatementError),
    /// The offer is not one that can be taken.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The offer is no longer valid.
    #[error("the offer is no longer valid: ask for a fresh one")]
    OfferExpired,
    /// The price is above what the person wants to pay.
    #[error("the price is {price}, and at most {most} was to be paid")]
    TooDear {
        /// The offer's price.
        price: Amount,
        /// The most that was to be paid.
        most: Amount,
    },
    /// The shop takes no bank of this wallet in the offer's currency.
    #[error("the shop takes none of this wallet's banks in {0}")]
    NoCommonBank(Currency),
    /// Shop, bank and wallet have no log in common, or not the one that was asked for.
    #[error("shop, bank and wallet have no log in common")]
    NoCommonLog,
    /// Delivery is two-sided, and only tokens that share a key could pay: the log would show all its uses to everybody.
    #[error("the log would show the uses of a reusable key to everybody: refresh tokens, or buy one-sided")]
    ReusableQ,
    /// The bank does not carry promises to that shop.
    #[error("the bank does not carry promises to that shop: carry it yourself")]
    NoDelivery,
    /// The shop does not offer that kind of log entry.
    #[error("the shop does not offer {0} log entries")]
    NoSuchEntry(EntryMode),
    /// No expiry satisfies bank and shop.
    #[error("no expiry suits both the bank's limits and the shop's margin")]
    NoExpiry,
    /// So many indices of a brand went into requests that the bank did not do, that a restored wallet would not find what
    /// comes after them.
    #[error(
        "too many withdrawals in a row were not done: take one of them up again (`naulon wallet resume --again`), or a \
         wallet restored from its words would not find new tokens"
    )]
    IndexGap,
    /// The wallet is being restored, and does nothing new until that is done.
    #[error("the wallet is being restored: let `naulon wallet restore` finish first")]
    Restoring,
    /// The check has no ticks, too many, or is worth nothing.
    #[error("a check has 1 to 1048576 ticks that are worth something")]
    BadCheck,
    /// No check has this number.
    #[error("there is no check {0}")]
    UnknownCheck(u32),
    /// The check was handed out, or is not funded yet.
    #[error("check {0} is not ready: it was handed out, or is not funded")]
    CheckNotReady(u32),
    /// Nothing of the check can be taken back now.
    #[error("nothing of check {0} comes back now: its time is not over, or it is under way or over")]
    CheckNotFree(u32),
    /// No operation has this number.
    #[error("there is no operation {0}")]
    UnknownOperation(OperationId),
    /// The operation is not at a point where this can be done.
    #[error("operation {0} is not at a point where this can be done")]
    NotNow(OperationId),
}

impl WalletError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            WalletError::Store(_) => "store",
            WalletError::Reopen => "reopen",
            WalletError::NoWallet => "no_wallet",
            WalletError::Exists => "exists",
            WalletError::Damaged(_) => "damaged",
            WalletError::UnknownBank(_) => "unknown_bank",
            WalletError::NoTerms => "no_terms",
            WalletError::WrongCurrency { .. } => "wrong_currency",
            WalletError::UnknownBrand(_) => "unknown_brand",
            WalletError::OtherBrandsRequest => "bad_token_request",
            WalletError::UnknownShop(_) => "unknown_shop",
            WalletError::Insufficient { .. } => "insufficient",
            WalletError::NotPayable { .. } => "not_payable",
            WalletError::TooManyTokens => "too_many_tokens",
            WalletError::NothingToDo => "nothing_to_do",
            WalletError::IndicesUsedUp => "indices_used_up",
            WalletError::OfferSignature(error) => error.code(),
            WalletError::Offer(_) => "bad_offer",
            WalletError::OfferExpired => "offer_expired",
            WalletError::TooDear { .. } => "too_dear",
            WalletError::NoCommonBank(_) => "no_common_bank",
            WalletError::NoCommonLog => "no_common_log",
            WalletError::ReusableQ => "reusable_q",
            WalletError::NoDelivery => "no_delivery",
            WalletError::NoSuchEntry(_) => "wrong_entry",
            WalletError::NoExpiry => "no_expiry",
            WalletError::IndexGap => "index_gap",
            WalletError::Restoring => "restoring",
            WalletError::BadCheck => "bad_check",
            WalletError::UnknownCheck(_) => "unknown_check",
            WalletError::CheckNotReady(_) => "check_not_ready",
            WalletError::CheckNotFree(_) => "check_not_free",
            WalletError::UnknownOperation(_) => "unknown_operation",
            WalletError::NotNow(_) => "not_now",
        }
    }
}
