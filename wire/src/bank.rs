//! What a bank can be asked.

mod bodies;

use std::collections::BTreeMap;

use naulon_blind::{BlindSignature, BlindedMessage};
use naulon_exchange::register::{Receipt, RegisterCopy, Side};
use naulon_exchange::{
    AuthorizationB, BalanceQuery, ChainLimits, Challenge, CheckQuery, Exchange, Header, Input, Loaded, LockLimits,
    LogKeeper, OpenAccount, RequestId, Standing, State, TokenQuery, UnverifiedDecision, UnverifiedRecord,
};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, PublicKey, Unverified, UnverifiedJoint, cbor};
use naulon_tick::Certificate;

use bodies::{
    BalanceBody, ChallengeBody, CheckBody, DescriptionBody, ExchangeReplyBody, OpenedBody, OutputBody, OutputFateBody,
    ReceiptBody, ReceiptCallBody, SideText, StatementBody, TokenFateBody, statement,
};
pub(crate) use bodies::{DecisionBody, JointBody, bad_reply, bytes_of, decision};

use crate::codes;
use crate::http::{Call, CallError, HttpRequest, HttpResponse, Method};
use crate::issuance::{
    self, DirectoryBody, ISSUER_DIRECTORY, IssueOrder, IssuerDirectory, Resource, TOKEN_REQUEST, TOKEN_RESPONSE,
};
use crate::log::{PublicFile, PublicKind};
use crate::problem::Problem;
use crate::route::{Answer, Listener, Route, json_of};
use crate::text::B64;

/// What a bank can be asked.
#[derive(Debug)]
pub enum BankCall {
    /// Who it is and what it issues. `GET /v1/bank`
    Describe,
    /// A question to sign when ticks are cashed. `GET /v1/challenge`
    Challenge,
    /// Open an account. `POST /v1/accounts`
    OpenAccount(Unverified<OpenAccount>),
    /// An account's balance. `POST /v1/balances`
    Balance(Unverified<BalanceQuery>),
    /// What stands of a check, for who has its refund key. `POST /v1/checks`
    Check(Unverified<CheckQuery>),
    /// Turn instruments into instruments, or lock a purchase. `POST /v1/exchanges`
    Exchange(UnverifiedJoint<Exchange>),
    /// The reply to an exchange that was accepted before. `GET /v1/exchanges/{id}`
    Status(RequestId),
    /// Settle a purchase by the log's decision. `POST /v1/decisions`
    Settle(UnverifiedDecision),
    /// What became of a blinded output, for a wallet that is restored. `POST /v1/outputs`
    Output {
        /// The token key id of its brand.
        brand: Digest,
        /// The blinded message.
        message: Box<BlindedMessage>,
    },
    /// What became of a token, for who has its key. `POST /v1/tokens`
    Token(Unverified<TokenQuery>),
    /// A brand's Privacy Pass directory. `GET /v1/brands/{id}/.well-known/private-token-issuer-directory`
    IssuerDirectory(Digest),
    /// One token for a stock Privacy Pass client, and what pays for it. `POST /v1/brands/{id}/token-request`
    Issue(Box<IssueOrder>),
    /// That something that an exchange issued or redeemed stands in its day's sum, or will. `POST /v1/receipts`
    Receipt {
        /// The exchange.
        request: RequestId,
        /// Whether it issued or redeemed it.
        side: Side,
        /// The item.
        item: Digest,
    },
    /// A file of the bank's register (C2SP tlog-tiles, under the prefix `/register`): `GET /register/checkpoint`,
    /// `GET /register/tile/…`; and `GET /register/body/{index}`, the statement whose digest stands in the entry of that index.
    /// The path is without the prefix.
    Public(String),
}

/// What a bank answers.
#[derive(Debug)]
pub enum BankReply {
    /// To `Describe`.
    Description(BankDescription),
    /// To `Challenge`.
    Challenge(Challenge),
    /// To `OpenAccount`: the account is open.
    Opened,
    /// To `Balance`.
    Balance(Amount),
    /// To `Check`.
    Check(Standing),
    /// To `Exchange`, `Status` and `Settle`.
    Exchange(Box<ExchangeReply>),
    /// To `Output`.
    Output(OutputFate),
    /// To `Token`: the accepted request that holds it; none if it is free, or never was.
    Token(Option<Box<UnverifiedRecord>>),
    /// To `IssuerDirectory`.
    IssuerDirectory(Box<IssuerDirectory>),
    /// To `Issue`: the blind signature, as raw bytes.
    Issued(BlindSignature),
    /// To `Receipt`.
    Receipt(Box<Receipt>),
    /// To `Public`.
    Public(PublicFile),
}

/// What became of a blinded output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputFate {
    /// The bank has never accepted a request for it, and does not sign it.
    Unknown,
    /// It was delivered, and here is the same signature again. That is no issue: nothing is written, nothing counted.
    Issued(Box<BlindSignature>),
    /// It is an output of a purchase that is not settled yet.
    Pending,
    /// It is an output of a purchase that was aborted, and was never signed.
    Void,
}

/// A bank's description of itself.
#[derive(Clone, Debug)]
pub struct BankDescription {
    /// Its key.
    pub bank: PublicKey,
    /// Its currency.
    pub currency: Currency,
    /// Its register: brands, this period's, the next's and old ones, and fees. All of it, the same for everybody.
    pub register: RegisterCopy,
    /// The logs that it heeds.
    pub logs: Vec<PublicKey>,
    /// How long it locks.
    pub locks: LockLimits,
    /// How long checks may last, and how long after that their payees have to cash.
    pub chains: ChainLimits,
    /// The merchants to whom it carries its promises (AAT §3.3, P3).
    pub deliveries: Vec<PublicKey>,
    /// Logs that are not apart from it and its merchants (AAT §7).
    pub keepers: BTreeMap<PublicKey, LogKeeper>,
}

/// Where an exchange stands, and what it delivered.
#[derive(Clone, Debug)]
pub struct ExchangeReply {
    /// The request id.
    pub request: RequestId,
    /// Where it stands.
    pub state: State,
    /// The blind signatures in the order of the blinded outputs, once delivered; else empty.
    pub signatures: Vec<BlindSignature>,
    /// In their place, if the request names a key for it: the same, sealed to that key.
    pub sealed: Option<Vec<u8>>,
    /// For a purchase: the bank's header, if the signed exchange itself was sent.
    pub header: Option<Unverified<Header>>,
    /// For a purchase: the bank's promise, if the signed exchange itself was sent.
    pub authorization_b: Option<Unverified<AuthorizationB>>,
    /// For each check that money was set aside for, in order: the bank's certificate, if the signed exchange itself was sent.
    pub certificates: Vec<Unverified<Certificate>>,
    /// For each load of a purse, in order: the bank's word, if the signed exchange itself was sent.
    pub loads: Vec<Unverified<Loaded>>,
    /// For a settled purchase: the log's decision.
    pub decision: Option<UnverifiedDecision>,
}

/// Where exchanges are asked for: those of an account by its owner, all others by nobody in particular.
const EXCHANGES: &[Listener] = &[Listener::Public, Listener::Account];

/// The codes by which a request for a token is refused, beside those of its order.
const OF_ISSUANCE: &[&str] = &["wrong_media_type", "bad_token_request", "order_missing", "order_misfit"];
/// The codes by which an exchange or its settlement is refused.
const OF_EXCHANGES: &[&str] = &[
    "wrong_listener",
    "wrong_bank",
    "wrong_currency",
    "exchange_size",
    "signature_missing",
    "signature_unneeded",
    "unknown_brand",
    "brand_not_issuing",
    "brand_closed",
    "bad_token",
    "duplicate_input",
    "duplicate_output",
    "account_full",
    "amount_out_of_range",
    "unbalanced",
    "condition_inputs",
    "reusable_q",
    "wrong_serial",
    "wrong_purpose",
    "purse_brand",
    "purse_value",
    "purse_dates",
    "purse_signature",
    "purse_overdrawn",
    "purse_stopped",
    "in_parts",
    "too_many_parts",
    "condition_outputs",
    "unknown_log",
    "expiry_too_soon",
    "expiry_too_late",
    "no_delivery",
    "unknown_account",
    "insufficient_funds",
    "spent",
    "locked",
    "order_used",
    "offer_taken",
    "chain_length",
    "tick_forged",
    "unknown_chain",
    "chain_taken",
    "chain_misfit",
    "wrong_payee",
    "chain_bounds",
    "chain_advanced",
    "chain_exceeded",
    "challenge_forged",
    "challenge_stale",
    "remainder_early",
    "remainder_moved",
    "wrong_refund_key",
    "bad_close",
];
/// The codes by which a log's decision is refused.
const OF_DECISIONS: &[&str] =
    &["bad_decision", "decision_misfit", "key_mismatch", "lapsed", "log_contradiction", "unknown_log"];
/// The code for what is not known.
const OF_LOOK_UPS: &[&str] = &["unknown_purchase"];
/// The codes by which the look-up of an output is refused.
const OF_OUTPUTS: &[&str] = &["unknown_brand", "brand_closed"];
/// The codes by which the look-up of a token is refused.
const OF_TOKENS: &[&str] = &["wrong_bank", "stale"];
/// Where the files of the register are, so that a bank can share its address with a log.
pub const REGISTER: &str = "/register";

/// The path of a file of the register, without the prefix.
fn register_path(path: &str) -> Option<&str> {
    path.strip_prefix(REGISTER).filter(|path| PublicKind::of(path).is_some())
}

/// The codes by which the look-up of a check is refused.
const OF_CHECKS: &[&str] = &["wrong_bank", "unknown_chain", "wrong_refund_key", "stale"];
/// The codes by which an account's owner is refused.
const OF_ACCOUNTS: &[&str] = &["wrong_bank", "unknown_account", "stale"];

impl Call for BankCall {
    type Reply = BankReply;

    const PARTY: &'static str = "bank";

    const ROUTES: &'static [Route] = &[
        Route::get("describe", "/v1/bank", "Who it is and what it issues.")
            .on(EXCHANGES)
            .gives(&[Answer::json::<DescriptionBody>()]),
        Route::get("challenge", "/v1/challenge", "A question to sign when ticks are cashed.")
            .on(EXCHANGES)
            .gives(&[Answer::json::<ChallengeBody>()]),
        Route::post("open_account", "/v1/accounts", "Opens an account.", json_of::<StatementBody>())
            .on(&[Listener::Account])
            .gives(&[Answer::json::<OpenedBody>()])
            .refuses(&[codes::OF_STATEMENTS, OF_ACCOUNTS]),
        Route::post("balance", "/v1/balances", "What an account holds.", json_of::<StatementBody>())
            .on(&[Listener::Account])
            .gives(&[Answer::json::<BalanceBody>()])
            .refuses(&[codes::OF_STATEMENTS, OF_ACCOUNTS]),
        Route::post(
            "check",
            "/v1/checks",
            "What stands of a check, for who has its refund key.",
            json_of::<StatementBody>(),
        )
        .on(EXCHANGES)
        .gives(&[Answer::json::<CheckBody>()])
        .refuses(&[codes::OF_STATEMENTS, OF_CHECKS]),
        Route::post(
            "exchange",
            "/v1/exchanges",
            "Turns instruments into instruments, or locks a purchase.",
            json_of::<JointBody>(),
        )
        .on(EXCHANGES)
        .gives(&[Answer::json::<ExchangeReplyBody>()])
        .refuses(&[codes::OF_STATEMENTS, OF_EXCHANGES]),
        Route::get("status", "/v1/exchanges/{id}", "The reply to an exchange that was accepted before.")
            .on(EXCHANGES)
            .gives(&[Answer::json::<ExchangeReplyBody>()])
            .refuses(&[OF_LOOK_UPS]),
        Route::post("settle", "/v1/decisions", "Settles a purchase by the log's decision.", json_of::<DecisionBody>())
            .on(EXCHANGES)
            .gives(&[Answer::json::<ExchangeReplyBody>()])
            .refuses(&[codes::OF_STATEMENTS, OF_LOOK_UPS, OF_DECISIONS]),
        Route::post("output", "/v1/outputs", "What became of a blinded output.", json_of::<OutputBody>())
            .gives(&[Answer::json::<OutputFateBody>()])
            .refuses(&[OF_OUTPUTS]),
        Route::post("token", "/v1/tokens", "What became of a token, for who has its key.", json_of::<StatementBody>())
            .gives(&[Answer::json::<TokenFateBody>()])
            .refuses(&[codes::OF_STATEMENTS, OF_TOKENS]),
        Route::get(
            "issuer_directory",
            "/v1/brands/{id}/.well-known/private-token-issuer-directory",
            "A brand's Privacy Pass directory (RFC 9578 §4).",
        )
        .on(EXCHANGES)
        .gives(&[Answer::json::<DirectoryBody>().content_type(ISSUER_DIRECTORY)])
        .refuses(&[&["unknown_brand"]]),
        Route::post_bytes(
            "issue",
            "/v1/brands/{id}/token-request",
            "One token for a Privacy Pass client (RFC 9578 §6), paid for by the order in `Authorization`.",
            TOKEN_REQUEST,
        )
        .on(EXCHANGES)
        .gives(&[Answer::bytes().content_type(TOKEN_RESPONSE)])
        .refuses(&[codes::OF_STATEMENTS, OF_ISSUANCE, OF_EXCHANGES]),
        Route::post(
            "receipt",
            "/v1/receipts",
            "That something that was issued or redeemed stands in its day's sum, or will.",
            json_of::<ReceiptCallBody>(),
        )
        .on(EXCHANGES)
        .gives(&[Answer::json::<ReceiptBody>()])
        .refuses(&[OF_LOOK_UPS]),
        Route::get("checkpoint", "/register/checkpoint", "The register's newest checkpoint (C2SP tlog-checkpoint).")
            .on(EXCHANGES)
            .gives(&[Answer::text()]),
        Route::get("cosigned", "/register/checkpoint/cosigned", "The newest that enough witnesses have cosigned.")
            .on(EXCHANGES)
            .gives(&[Answer::text()])
            .refuses(&[&["not_found"]]),
        Route::get("tile", "/register/tile/{+tile}", "The register's hashes and entries (C2SP tlog-tiles).")
            .on(EXCHANGES)
            .gives(&[Answer::bytes()])
            .refuses(&[&["not_found"]]),
        Route::get("body", "/register/body/{index}", "The statement whose digest stands in the entry of that index.")
            .on(EXCHANGES)
            .gives(&[Answer::bytes()])
            .refuses(&[&["not_found"]]),
    ];

    /// An order of an account, and money from outside, name somebody: they are not taken where everybody is nobody. But who
    /// brings an exchange with a sealed reply is not who is named: a refund names the shop, and its buyer brings it.
    fn belongs_on(&self) -> Option<Listener> {
        let names_somebody = |input: &Input| matches!(input, Input::Account { .. } | Input::Outside { .. });
        let exchange = match self {
            BankCall::Exchange(joint) => joint,
            BankCall::Issue(order) => order.exchange(),
            _ => return None,
        };
        let Exchange { inputs, seal_to, .. } = exchange.claimed_body();
        (seal_to.is_none() && inputs.iter().any(names_somebody)).then_some(Listener::Account)
    }

    fn to_http(&self) -> HttpRequest {
        let statement = |bytes: Vec<u8>| StatementBody { statement: B64(bytes) };
        match self {
            BankCall::Describe => HttpRequest::get("/v1/bank"),
            BankCall::Challenge => HttpRequest::get("/v1/challenge"),
            BankCall::OpenAccount(open) => HttpRequest::post("/v1/accounts", &statement(bytes_of(open))),
            BankCall::Balance(query) => HttpRequest::post("/v1/balances", &statement(bytes_of(query))),
            BankCall::Check(query) => HttpRequest::post("/v1/checks", &statement(bytes_of(query))),
            BankCall::Exchange(joint) => HttpRequest::post("/v1/exchanges", &JointBody::from(joint)),
            BankCall::Status(id) => HttpRequest::get(format!("/v1/exchanges/{id}")),
            BankCall::Settle(decision) => {
                HttpRequest::post("/v1/decisions", &DecisionBody { decision: B64(cbor::to_vec(decision)) })
            }
            BankCall::Output { brand, message } => {
                let body = OutputBody { brand: *brand, message: B64(message.as_bytes().to_vec()) };
                HttpRequest::post("/v1/outputs", &body)
            }
            BankCall::Token(query) => HttpRequest::post("/v1/tokens", &statement(bytes_of(query))),
            BankCall::IssuerDirectory(brand) => HttpRequest::get(issuance::directory_path(brand)),
            BankCall::Issue(order) => order.to_http(),
            BankCall::Receipt { request, side, item } => {
                let side = match side {
                    Side::Issued => SideText::Issued,
                    Side::Redeemed => SideText::Redeemed,
                };
                HttpRequest::post("/v1/receipts", &ReceiptCallBody { request: *request, side, item: *item })
            }
            BankCall::Public(path) => HttpRequest::get(format!("{REGISTER}{path}")),
        }
    }

    fn from_http(request: &HttpRequest) -> Result<Self, Problem> {
        match (request.method, request.path.as_str()) {
            (Method::Get, "/v1/bank") => Ok(BankCall::Describe),
            (Method::Get, "/v1/challenge") => Ok(BankCall::Challenge),
            (Method::Post, "/v1/accounts") => Ok(BankCall::OpenAccount(statement(request)?)),
            (Method::Post, "/v1/balances") => Ok(BankCall::Balance(statement(request)?)),
            (Method::Post, "/v1/checks") => Ok(BankCall::Check(statement(request)?)),
            (Method::Post, "/v1/exchanges") => Ok(BankCall::Exchange(request.json::<JointBody>()?.read()?)),
            (Method::Post, "/v1/decisions") => {
                let body: DecisionBody = request.json()?;
                Ok(BankCall::Settle(decision(&body.decision)?))
            }
            (Method::Post, "/v1/outputs") => {
                let OutputBody { brand, message } = request.json()?;
                let message = <[u8; 256]>::try_from(message.0.as_slice());
                let message = message.map_err(|_| Problem::new("malformed", "a blinded message has 256 bytes"))?;
                Ok(BankCall::Output { brand, message: Box::new(BlindedMessage(message)) })
            }
            (Method::Post, "/v1/tokens") => Ok(BankCall::Token(statement(request)?)),
            (Method::Post, "/v1/receipts") => {
                let ReceiptCallBody { request, side, item } = request.json()?;
                let side = match side {
                    SideText::Issued => Side::Issued,
                    SideText::Redeemed => Side::Redeemed,
                };
                Ok(BankCall::Receipt { request, side, item })
            }
            (Method::Get, path) if register_path(path).is_some() => {
                register_path(path).map(|path| BankCall::Public(path.to_owned())).ok_or_else(|| request.not_found())
            }
            (Method::Get, path) => match path.strip_prefix("/v1/exchanges/").map(str::parse) {
                Some(Ok(id)) => Ok(BankCall::Status(id)),
                Some(Err(error)) => Err(Problem::new("malformed", error)),
                None => match issuance::resource(path) {
                    Some(Resource::Directory(brand)) => Ok(BankCall::IssuerDirectory(brand)),
                    Some(Resource::Request(_)) | None => Err(request.not_found()),
                },
            },
            (Method::Post, path) => match issuance::resource(path) {
                Some(Resource::Request(brand)) => Ok(BankCall::Issue(Box::new(IssueOrder::from_http(brand, request)?))),
                Some(Resource::Directory(_)) | None => Err(request.not_found()),
            },
        }
    }

    fn reply_to_http(reply: BankReply) -> HttpResponse {
        match reply {
            BankReply::Description(description) => HttpResponse::json(200, &DescriptionBody::from(description)),
            BankReply::Challenge(challenge) => HttpResponse::json(200, &ChallengeBody::from(challenge)),
            BankReply::Opened => HttpResponse::json(200, &OpenedBody { open: true }),
            BankReply::Balance(balance) => HttpResponse::json(200, &BalanceBody { balance }),
            BankReply::Check(standing) => HttpResponse::json(200, &CheckBody::from(standing)),
            BankReply::Exchange(reply) => HttpResponse::json(200, &ExchangeReplyBody::from(*reply)),
            BankReply::Output(fate) => HttpResponse::json(200, &OutputFateBody::from(fate)),
            BankReply::Token(holder) => {
                let holder = holder.map(|record| B64(cbor::to_vec(&*record)));
                HttpResponse::json(200, &TokenFateBody { holder })
            }
            BankReply::IssuerDirectory(directory) => directory.to_http(),
            BankReply::Issued(signature) => HttpResponse::bytes(200, TOKEN_RESPONSE, signature.0.to_vec()),
            BankReply::Receipt(receipt) => {
                HttpResponse::json(200, &ReceiptBody { receipt: B64(cbor::to_vec(&*receipt)) })
            }
            BankReply::Public(file) => file.into(),
        }
    }

    fn reply_from_http(&self, response: &HttpResponse) -> Result<BankReply, CallError> {
        match self {
            BankCall::Describe => response.parse::<DescriptionBody>()?.read().map(BankReply::Description),
            BankCall::Challenge => response.parse::<ChallengeBody>()?.read().map(BankReply::Challenge),
            BankCall::OpenAccount(_) => response.parse::<OpenedBody>().map(|_| BankReply::Opened),
            BankCall::Balance(_) => response.parse::<BalanceBody>().map(|body| BankReply::Balance(body.balance)),
            BankCall::Check(_) => response.parse::<CheckBody>().map(|body| BankReply::Check(body.read())),
            BankCall::IssuerDirectory(brand) => {
                let directory = IssuerDirectory::from_http(*brand, response)?;
                Ok(BankReply::IssuerDirectory(Box::new(directory)))
            }
            BankCall::Issue(_) => issuance::signature_from_http(response).map(BankReply::Issued),
            BankCall::Exchange(_) | BankCall::Status(_) | BankCall::Settle(_) => {
                response.parse::<ExchangeReplyBody>()?.read().map(|reply| BankReply::Exchange(Box::new(reply)))
            }
            BankCall::Output { .. } => response.parse::<OutputFateBody>()?.read().map(BankReply::Output),
            BankCall::Token(_) => {
                let TokenFateBody { holder } = response.parse()?;
                let record = holder.map(|bytes| cbor::from_slice(&bytes.0)).transpose().map_err(bad_reply)?;
                Ok(BankReply::Token(record.map(Box::new)))
            }
            BankCall::Receipt { .. } => {
                let body: ReceiptBody = response.parse()?;
                Ok(BankReply::Receipt(Box::new(cbor::from_slice(&body.receipt.0).map_err(bad_reply)?)))
            }
            BankCall::Public(path) => PublicFile::from_response(path, response).map(BankReply::Public),
        }
    }
}
