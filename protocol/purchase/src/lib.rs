//! Anonymous atomic purchase (AAT, Camp, Harkavy, Tygar, Yee 1996).
//!
//! | message | §3.3 | two-sided, §8.6 | type |
//! | --- | --- | --- | --- |
//! | *goods_m* | P1 M → C | CD1 | [`GoodsM`] |
//! | *goods_q* | – | CD2 C → M | [`GoodsQ`] |
//! | *authorization_q* | P2 C → B | CD3 | `naulon_exchange::Exchange` with a condition |
//! | *authorization_b* | P3 B → M | CD4 | `naulon_exchange::{Header, AuthorizationB}` |
//! | *authorization_m* | P4 M → L | CD5 | [`AuthorizationM`] |
//! | *commit*, *abort* | P5 L | CD6 | `naulon_exchange::LogDecision` |
//!
//! Each party is a pure state machine: the [`Buyer`] says its next [`Step`], the merchant checks a [`Payment`] and drives
//! its [`Sale`], the log makes exactly one decision ([`log::decide`]). [`judge`] tells from the messages alone who may
//! claim what (§4). Time and randomness are arguments.
//!
//! In scope: statements, checks, state machines, the encryption of goods, evidence. Out of scope: the bank's side
//! (`naulon-exchange`), stores and sockets (the roles), JSON (`naulon-wire`).

pub mod buyer;
mod decision;
mod evidence;
pub mod goods;
mod judge;
pub mod log;
mod log_evidence;
pub mod merchant;
mod offer;
pub mod refund;

pub use buyer::{Buyer, BuyerError, Ending, Step, StoredBuyer};
pub use evidence::{Evidence, JointBytes};
pub use judge::{Breach, Claim, Judgement, Party, Standing, Trust, judge};
pub use log::{AuthorizationM, BlindRules, LogRefusal, LogRequest, LogRules, Ruling, Signature};
pub use log_evidence::{LogEvidence, ShownEntry, judge_keeper, judge_log};
pub use merchant::{
    MerchantRules, Order, Payment, PaymentRefusal, Sale, SaleError, SaleStep, StoredSale, UnverifiedPayment,
};
pub use offer::{Contract, GoodsM, GoodsQ, MAX_DESCRIPTION_LEN, MAX_OFFERED_LOGS, MAX_TITLE_LEN, OfferError};
pub use refund::{RefundRefusal, RefundRequest, UnverifiedRefund};
