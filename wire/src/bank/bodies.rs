//! The bodies of a bank's calls and replies, and what they mean.

use naulon_blind::BlindSignature;
use naulon_exchange::register::{REGISTER_ENTRY_LEN, RegisterCopy, RegisterEntry};
use naulon_exchange::{
    ChainLimits, Challenge, Exchange, LockLimits, LogKeeper, OwnLog, RequestId, Standing, State, UnverifiedDecision,
};
use naulon_money::{Amount, Currency};
use naulon_statement::{
    Digest, Duration, PublicKey, Statement, StatementError, Timestamp, Unverified, UnverifiedJoint, cbor,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BankDescription, ExchangeReply, OutputFate};
use crate::http::{CallError, HttpRequest};
use crate::problem::Problem;
use crate::text::{AmountText, B64, CurrencyText, KeyText, amount, as_text, as_texts};

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementBody {
    pub(super) statement: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JointBody {
    pub(super) payload: B64,
    pub(super) signatures: Vec<B64>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionBody {
    pub(crate) decision: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChallengeBody {
    /// When the bank made it.
    pub(super) at_ms: u64,
    /// By what it knows it again.
    pub(super) tag: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckBody {
    /// What was set aside for it.
    #[serde(with = "amount")]
    #[schemars(with = "AmountText")]
    pub(super) maximum: Amount,
    /// What was paid for its ticks.
    #[serde(with = "amount")]
    #[schemars(with = "AmountText")]
    pub(super) paid: Amount,
    /// What was given back of it.
    #[serde(with = "amount")]
    #[schemars(with = "AmountText")]
    pub(super) returned: Amount,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenedBody {
    pub(super) open: bool,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BalanceBody {
    #[serde(with = "amount")]
    #[schemars(with = "AmountText")]
    pub(super) balance: Amount,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DescriptionBody {
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    pub(super) bank: PublicKey,
    #[serde(with = "as_text")]
    #[schemars(with = "CurrencyText")]
    pub(super) currency: Currency,
    /// Statements, in the order of their entries.
    pub(super) brands: Vec<B64>,
    /// Statements, in the order of their entries.
    pub(super) fees: Vec<B64>,
    /// All entries of the register, 33 bytes each, one behind the other.
    pub(super) entries: B64,
    /// Its newest checkpoint, with the witnesses' lines.
    pub(super) checkpoint: String,
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<KeyText>")]
    pub(super) logs: Vec<PublicKey>,
    pub(super) lock_min_ms: u64,
    pub(super) lock_max_ms: u64,
    /// The shortest and the longest time from the funding of a check to its expiry.
    pub(super) chain_min_ms: u64,
    pub(super) chain_max_ms: u64,
    /// How long after the expiry of a check its payee has to cash.
    pub(super) chain_grace_ms: u64,
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<KeyText>")]
    pub(super) deliveries: Vec<PublicKey>,
    /// Logs that the bank keeps itself.
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<KeyText>")]
    pub(super) own_logs: Vec<PublicKey>,
    /// Logs that merchants keep themselves.
    pub(super) merchant_logs: Vec<MerchantLogBody>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MerchantLogBody {
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    pub(super) log: PublicKey,
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    pub(super) merchant: PublicKey,
    /// How long after the expiry a commit is still credited.
    pub(super) grace_ms: u64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExchangeReplyBody {
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    pub(super) request: RequestId,
    pub(super) state: StateText,
    pub(super) signatures: Vec<B64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<B64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) header: Option<B64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authorization_b: Option<B64>,
    /// Of checks that money was set aside for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) certificates: Vec<B64>,
    /// Of loads of purses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) loads: Vec<B64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<B64>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputBody {
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    pub(super) brand: Digest,
    pub(super) message: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputFateBody {
    pub(super) fate: FateText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<B64>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FateText {
    Unknown,
    Issued,
    Pending,
    Void,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptCallBody {
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    pub(super) request: RequestId,
    pub(super) side: SideText,
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    pub(super) item: Digest,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SideText {
    Issued,
    Redeemed,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenFateBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) holder: Option<B64>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptBody {
    pub(super) receipt: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateText {
    Done,
    Locked,
    Committed,
    Aborted,
}

impl From<Standing> for CheckBody {
    fn from(Standing { maximum, paid, returned }: Standing) -> Self {
        CheckBody { maximum, paid, returned }
    }
}

impl CheckBody {
    pub(super) fn read(self) -> Standing {
        Standing { maximum: self.maximum, paid: self.paid, returned: self.returned }
    }
}

impl From<Challenge> for ChallengeBody {
    fn from(challenge: Challenge) -> Self {
        ChallengeBody { at_ms: challenge.at.0, tag: B64(challenge.tag.to_vec()) }
    }
}

impl ChallengeBody {
    pub(super) fn read(self) -> Result<Challenge, CallError> {
        let tag = self.tag.0.as_slice().try_into().map_err(|_| bad_reply("the tag of a challenge has 16 bytes"))?;
        Ok(Challenge { at: Timestamp(self.at_ms), tag })
    }
}

impl From<BankDescription> for DescriptionBody {
    fn from(description: BankDescription) -> Self {
        let own = |(log, keeper): (&PublicKey, &LogKeeper)| (*keeper == LogKeeper::Bank).then_some(*log);
        let of_merchant = |keeper: &LogKeeper| match keeper {
            LogKeeper::Merchant(OwnLog { merchant, log, grace, .. }) => {
                Some(MerchantLogBody { log: *log, merchant: *merchant, grace_ms: grace.0 })
            }
            LogKeeper::Bank => None,
        };
        DescriptionBody {
            own_logs: description.keepers.iter().filter_map(own).collect(),
            merchant_logs: description.keepers.values().filter_map(of_merchant).collect(),
            bank: description.bank,
            currency: description.currency,
            brands: description.register.brands.iter().map(|brand| B64(bytes_of(brand))).collect(),
            fees: description.register.fees.iter().map(|table| B64(bytes_of(table))).collect(),
            entries: B64(description.register.entries.iter().flat_map(|entry| *entry.as_bytes()).collect()),
            checkpoint: description.register.checkpoint,
            logs: description.logs,
            lock_min_ms: description.locks.min.0,
            lock_max_ms: description.locks.max.0,
            chain_min_ms: description.chains.min.0,
            chain_max_ms: description.chains.max.0,
            chain_grace_ms: description.chains.grace.0,
            deliveries: description.deliveries,
        }
    }
}

impl DescriptionBody {
    pub(super) fn read(self) -> Result<BankDescription, CallError> {
        let brands = self.brands.iter().map(|brand| Unverified::parse(&brand.0)).collect::<Result<_, _>>();
        let fees = self.fees.iter().map(|table| Unverified::parse(&table.0)).collect::<Result<_, _>>();
        let (entries, rest) = self.entries.0.as_chunks::<REGISTER_ENTRY_LEN>();
        if !rest.is_empty() {
            return Err(bad_reply("the register's entries have 33 bytes each"));
        }
        let register = RegisterCopy {
            checkpoint: self.checkpoint,
            entries: entries.iter().copied().map(RegisterEntry::from_bytes).collect(),
            brands: brands.map_err(bad_reply)?,
            fees: fees.map_err(bad_reply)?,
        };
        let bank = self.bank;
        let own = self.own_logs.into_iter().map(|log| (log, LogKeeper::Bank));
        let of_merchants = self.merchant_logs.into_iter().map(|body| {
            let grace = Duration(body.grace_ms);
            (body.log, LogKeeper::Merchant(OwnLog { merchant: body.merchant, bank, log: body.log, grace }))
        });
        Ok(BankDescription {
            keepers: own.chain(of_merchants).collect(),
            bank,
            currency: self.currency,
            register,
            logs: self.logs,
            locks: LockLimits { min: Duration(self.lock_min_ms), max: Duration(self.lock_max_ms) },
            chains: ChainLimits {
                min: Duration(self.chain_min_ms),
                max: Duration(self.chain_max_ms),
                grace: Duration(self.chain_grace_ms),
            },
            deliveries: self.deliveries,
        })
    }
}

impl From<ExchangeReply> for ExchangeReplyBody {
    fn from(reply: ExchangeReply) -> Self {
        ExchangeReplyBody {
            request: reply.request,
            state: match reply.state {
                State::Done => StateText::Done,
                State::Locked => StateText::Locked,
                State::Committed => StateText::Committed,
                State::Aborted => StateText::Aborted,
            },
            signatures: reply.signatures.iter().map(|signature| B64(signature.as_bytes().to_vec())).collect(),
            sealed: reply.sealed.map(B64),
            header: reply.header.as_ref().map(|header| B64(bytes_of(header))),
            authorization_b: reply.authorization_b.as_ref().map(|promise| B64(bytes_of(promise))),
            certificates: reply.certificates.iter().map(|certificate| B64(bytes_of(certificate))).collect(),
            loads: reply.loads.iter().map(|load| B64(bytes_of(load))).collect(),
            decision: reply.decision.as_ref().map(|decision| B64(cbor::to_vec(decision))),
        }
    }
}

impl From<OutputFate> for OutputFateBody {
    fn from(fate: OutputFate) -> Self {
        let (fate, signature) = match fate {
            OutputFate::Unknown => (FateText::Unknown, None),
            OutputFate::Issued(signature) => (FateText::Issued, Some(B64(signature.as_bytes().to_vec()))),
            OutputFate::Pending => (FateText::Pending, None),
            OutputFate::Void => (FateText::Void, None),
        };
        OutputFateBody { fate, signature }
    }
}

impl OutputFateBody {
    pub(super) fn read(self) -> Result<OutputFate, CallError> {
        match (self.fate, self.signature) {
            (FateText::Issued, Some(bytes)) => Ok(OutputFate::Issued(Box::new(signature(bytes)?))),
            (FateText::Unknown, None) => Ok(OutputFate::Unknown),
            (FateText::Pending, None) => Ok(OutputFate::Pending),
            (FateText::Void, None) => Ok(OutputFate::Void),
            _ => Err(bad_reply("exactly what was issued has a signature")),
        }
    }
}

fn signature(bytes: B64) -> Result<BlindSignature, CallError> {
    let bytes = <[u8; 256]>::try_from(bytes.0.as_slice());
    bytes.map(BlindSignature).map_err(|_| bad_reply("a blind signature has 256 bytes"))
}

impl ExchangeReplyBody {
    pub(super) fn read(self) -> Result<ExchangeReply, CallError> {
        Ok(ExchangeReply {
            request: self.request,
            state: match self.state {
                StateText::Done => State::Done,
                StateText::Locked => State::Locked,
                StateText::Committed => State::Committed,
                StateText::Aborted => State::Aborted,
            },
            signatures: self.signatures.into_iter().map(signature).collect::<Result<_, _>>()?,
            sealed: self.sealed.map(|B64(bytes)| bytes),
            header: self.header.map(|bytes| Unverified::parse(&bytes.0)).transpose().map_err(bad_reply)?,
            authorization_b: self.authorization_b.map(|b| Unverified::parse(&b.0)).transpose().map_err(bad_reply)?,
            certificates: self
                .certificates
                .iter()
                .map(|b| Unverified::parse(&b.0))
                .collect::<Result<_, _>>()
                .map_err(bad_reply)?,
            loads: self.loads.iter().map(|b| Unverified::parse(&b.0)).collect::<Result<_, _>>().map_err(bad_reply)?,
            decision: self.decision.map(|bytes| cbor::from_slice(&bytes.0)).transpose().map_err(bad_reply)?,
        })
    }
}

/// The COSE_Sign1 of a statement.
pub(crate) fn bytes_of<T>(statement: &Unverified<T>) -> Vec<u8> {
    statement.bytes().to_vec()
}

pub(crate) fn bad_reply(error: impl std::fmt::Display) -> CallError {
    CallError::BadReply(error.to_string())
}

pub(crate) fn decision(bytes: &B64) -> Result<UnverifiedDecision, Problem> {
    cbor::from_slice(&bytes.0).map_err(|error| StatementError::from(error).into())
}

pub(super) fn statement<T: Statement>(request: &HttpRequest) -> Result<Unverified<T>, Problem> {
    let body: StatementBody = request.json()?;
    Ok(Unverified::parse(&body.statement.0)?)
}

impl From<&UnverifiedJoint<Exchange>> for JointBody {
    fn from(joint: &UnverifiedJoint<Exchange>) -> Self {
        JointBody {
            payload: B64(joint.payload().to_vec()),
            signatures: joint.signatures().iter().map(|signature| B64(signature.bytes().to_vec())).collect(),
        }
    }
}

impl JointBody {
    pub(crate) fn read(self) -> Result<UnverifiedJoint<Exchange>, StatementError> {
        let signatures: Vec<Vec<u8>> = self.signatures.into_iter().map(|signature| signature.0).collect();
        UnverifiedJoint::parse(&self.payload.0, &signatures)
    }
}
