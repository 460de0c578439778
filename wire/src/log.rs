//! What a log can be asked.

use bytes::Bytes;
use naulon_exchange::{BlindMessage, EntryMode, Header, UnverifiedDecision};
use naulon_purchase::AuthorizationM;
use naulon_statement::{Digest, PublicKey, Timestamp, Unverified, cbor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bank::{DecisionBody, bad_reply, bytes_of};
use crate::codes;
use crate::http::{BYTES, Call, CallError, HttpRequest, HttpResponse, Method, TEXT};
use crate::problem::Problem;
use crate::route::{Answer, Route, json_of};
use crate::text::{B64, EntryText, KeyText, as_text, as_texts};

/// Where the newest checkpoint is that has as many cosignatures as the log's policy wants.
pub const COSIGNED: &str = "/checkpoint/cosigned";

/// What a log can be asked.
#[derive(Debug)]
pub enum LogCall {
    /// Who it is. `GET /v1/log`
    Describe,
    /// Commit, with the merchant's key. `POST /v1/commits`
    Commit {
        /// The bank's header.
        header: Unverified<Header>,
        /// The merchant's authorization.
        authorization: Unverified<AuthorizationM>,
    },
    /// Abort, after the expiry. `POST /v1/aborts`
    Abort {
        /// The bank's header.
        header: Unverified<Header>,
    },
    /// Publish a merchant's message blindly (AAT §8.5). `POST /v1/blind-messages`
    BlindCommit {
        /// The message, signed by its index.
        message: Unverified<BlindMessage>,
    },
    /// State that nothing came under an index in time. `POST /v1/blind-aborts`
    BlindAbort {
        /// The index.
        index: PublicKey,
        /// Until when something could come.
        expiry: Timestamp,
    },
    /// The decision on this subject: the digest of a header, or of an index and expiry. `GET /v1/decisions/{digest}`
    Decision(Digest),
    /// A file of the public log (C2SP tlog-tiles): `GET /checkpoint`, `GET /checkpoint/cosigned`, `GET /tile/…`; and `GET /body/{index}`, the signed
    /// decision whose digest stands in the entry of that index.
    Public(String),
}

/// What a log answers.
#[derive(Debug)]
pub enum LogReply {
    /// To `Describe`.
    Description(LogDescription),
    /// To `Commit`, `Abort`, `BlindCommit`, `BlindAbort` and `Decision`: what was decided, which may be the other one.
    Decision(Box<UnverifiedDecision>),
    /// To `Public`.
    Public(PublicFile),
}

/// A file of the public log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicFile {
    /// What it is.
    pub kind: PublicKind,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What a file of the public log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKind {
    /// The newest checkpoint: text that changes.
    Checkpoint,
    /// A tile or bundle of entries: bytes that never change.
    Tile,
    /// The statement that an entry names. It never changes either, but a log forgets its own in the end, and so are others
    /// to.
    Body,
}

/// A log's description of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDescription {
    /// Signs decisions.
    pub log: PublicKey,
    /// Verifies checkpoints (C2SP verifier key).
    pub checkpoints: String,
    /// The banks whose headers it takes.
    pub banks: Vec<PublicKey>,
    /// Nothing is decided for an expiry further back than this, in milliseconds.
    pub retention_ms: u64,
    /// As what it takes commits.
    pub entries: Vec<EntryMode>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CommitBody {
    header: B64,
    authorization_m: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AbortBody {
    header: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BlindCommitBody {
    message: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BlindAbortBody {
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    index: PublicKey,
    expiry_ms: u64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DescriptionBody {
    #[serde(with = "as_text")]
    #[schemars(with = "KeyText")]
    log: PublicKey,
    checkpoints: String,
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<KeyText>")]
    banks: Vec<PublicKey>,
    retention_ms: u64,
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<EntryText>")]
    entries: Vec<EntryMode>,
}

/// The codes by which a commit or abort is refused.
const OF_DECIDING: &[&str] =
    &["wrong_log", "unknown_bank", "other_purchase", "key_mismatch", "not_expired", "too_old", "wrong_entry"];
/// The codes by which a blind commit or abort is refused.
const OF_BLIND: &[&str] = &["wrong_log", "expiry_too_late", "not_expired", "too_old", "wrong_entry", "busy"];
/// The code for what is not there.
const OF_FILES: &[&str] = &["not_found"];

impl Call for LogCall {
    type Reply = LogReply;

    const PARTY: &'static str = "log";

    const ROUTES: &'static [Route] = &[
        Route::get("describe", "/v1/log", "Who it is.").gives(&[Answer::json::<DescriptionBody>()]),
        Route::post("commit", "/v1/commits", "Commits a purchase, with the merchant's key.", json_of::<CommitBody>())
            .gives(&[Answer::json::<DecisionBody>()])
            .refuses(&[codes::OF_STATEMENTS, OF_DECIDING]),
        Route::post("abort", "/v1/aborts", "Aborts a purchase, after its expiry.", json_of::<AbortBody>())
            .gives(&[Answer::json::<DecisionBody>()])
            .refuses(&[codes::OF_STATEMENTS, OF_DECIDING]),
        Route::post(
            "blind_commit",
            "/v1/blind-messages",
            "Publishes a merchant's message under its index, before its expiry.",
            json_of::<BlindCommitBody>(),
        )
        .gives(&[Answer::json::<DecisionBody>()])
        .refuses(&[codes::OF_STATEMENTS, OF_BLIND]),
        Route::post(
            "blind_abort",
            "/v1/blind-aborts",
            "States that nothing came under an index before its expiry.",
            json_of::<BlindAbortBody>(),
        )
        .gives(&[Answer::json::<DecisionBody>()])
        .refuses(&[OF_BLIND]),
        Route::get(
            "decision",
            "/v1/decisions/{digest}",
            "The decision on the purchase of the header with this digest; for a blind entry, of its index and expiry.",
        )
        .gives(&[Answer::json::<DecisionBody>()])
        .refuses(&[&["undecided"]]),
        Route::get("checkpoint", "/checkpoint", "The newest checkpoint (C2SP tlog-checkpoint).")
            .gives(&[Answer::text()]),
        Route::get(
            "cosigned_checkpoint",
            COSIGNED,
            "The newest checkpoint that as many witnesses have cosigned as the log wants (C2SP tlog-cosignature).",
        )
        .gives(&[Answer::text()])
        .refuses(&[OF_FILES]),
        Route::get("tile", "/tile/{+path}", "A tile of hashes or entries (C2SP tlog-tiles).")
            .gives(&[Answer::bytes()])
            .refuses(&[OF_FILES]),
        Route::get("body", "/body/{index}", "The signed decision whose digest stands in the entry of this index.")
            .gives(&[Answer::bytes()])
            .refuses(&[OF_FILES]),
    ];

    fn to_http(&self) -> HttpRequest {
        match self {
            LogCall::Describe => HttpRequest::get("/v1/log"),
            LogCall::Commit { header, authorization } => {
                let body = CommitBody { header: B64(bytes_of(header)), authorization_m: B64(bytes_of(authorization)) };
                HttpRequest::post("/v1/commits", &body)
            }
            LogCall::Abort { header } => HttpRequest::post("/v1/aborts", &AbortBody { header: B64(bytes_of(header)) }),
            LogCall::BlindCommit { message } => {
                HttpRequest::post("/v1/blind-messages", &BlindCommitBody { message: B64(bytes_of(message)) })
            }
            LogCall::BlindAbort { index, expiry } => {
                HttpRequest::post("/v1/blind-aborts", &BlindAbortBody { index: *index, expiry_ms: expiry.0 })
            }
            LogCall::Decision(subject) => HttpRequest::get(format!("/v1/decisions/{subject}")),
            LogCall::Public(path) => HttpRequest::get(path.clone()),
        }
    }

    fn from_http(request: &HttpRequest) -> Result<Self, Problem> {
        match (request.method, request.path.as_str()) {
            (Method::Get, "/v1/log") => Ok(LogCall::Describe),
            (Method::Post, "/v1/commits") => {
                let body: CommitBody = request.json()?;
                let header = Unverified::parse(&body.header.0)?;
                Ok(LogCall::Commit { header, authorization: Unverified::parse(&body.authorization_m.0)? })
            }
            (Method::Post, "/v1/aborts") => {
                let body: AbortBody = request.json()?;
                Ok(LogCall::Abort { header: Unverified::parse(&body.header.0)? })
            }
            (Method::Post, "/v1/blind-messages") => {
                let body: BlindCommitBody = request.json()?;
                Ok(LogCall::BlindCommit { message: Unverified::parse(&body.message.0)? })
            }
            (Method::Post, "/v1/blind-aborts") => {
                let BlindAbortBody { index, expiry_ms } = request.json()?;
                Ok(LogCall::BlindAbort { index, expiry: Timestamp(expiry_ms) })
            }
            (Method::Get, path) if PublicKind::of(path).is_some() => Ok(LogCall::Public(path.to_owned())),
            (Method::Get, path) => match path.strip_prefix("/v1/decisions/").map(str::parse) {
                Some(Ok(subject)) => Ok(LogCall::Decision(subject)),
                Some(Err(error)) => Err(Problem::new("malformed", error)),
                None => Err(request.not_found()),
            },
            _ => Err(request.not_found()),
        }
    }

    fn reply_to_http(reply: LogReply) -> HttpResponse {
        match reply {
            LogReply::Description(description) => {
                let LogDescription { log, checkpoints, banks, retention_ms, entries } = description;
                HttpResponse::json(200, &DescriptionBody { log, checkpoints, banks, retention_ms, entries })
            }
            LogReply::Decision(decision) => {
                HttpResponse::json(200, &DecisionBody { decision: B64(cbor::to_vec(&*decision)) })
            }
            LogReply::Public(file) => file.into(),
        }
    }

    fn reply_from_http(&self, response: &HttpResponse) -> Result<LogReply, CallError> {
        match self {
            LogCall::Describe => {
                let DescriptionBody { log, checkpoints, banks, retention_ms, entries } = response.parse()?;
                Ok(LogReply::Description(LogDescription { log, checkpoints, banks, retention_ms, entries }))
            }
            LogCall::Commit { .. }
            | LogCall::Abort { .. }
            | LogCall::BlindCommit { .. }
            | LogCall::BlindAbort { .. }
            | LogCall::Decision(_) => {
                let body: DecisionBody = response.parse()?;
                let decision = cbor::from_slice(&body.decision.0).map_err(bad_reply)?;
                Ok(LogReply::Decision(Box::new(decision)))
            }
            LogCall::Public(path) => PublicFile::from_response(path, response).map(LogReply::Public),
        }
    }
}

impl PublicFile {
    /// The file of this path in an answer.
    pub(crate) fn from_response(path: &str, response: &HttpResponse) -> Result<Self, CallError> {
        let kind = PublicKind::of(path).ok_or_else(|| bad_reply("no file of a public log has that path"))?;
        Ok(PublicFile { kind, bytes: response.body.clone() })
    }
}

impl From<PublicFile> for HttpResponse {
    fn from(PublicFile { kind, bytes }: PublicFile) -> Self {
        let content_type = if kind == PublicKind::Checkpoint { TEXT } else { BYTES };
        let is_immutable = kind == PublicKind::Tile;
        HttpResponse { is_immutable, ..HttpResponse::bytes(200, content_type, bytes) }
    }
}

impl PublicKind {
    /// What the file of this path is, if a public log can have one there.
    pub fn of(path: &str) -> Option<PublicKind> {
        match path {
            "/checkpoint" | COSIGNED => Some(PublicKind::Checkpoint),
            path if path.starts_with("/tile/") => Some(PublicKind::Tile),
            path if path.starts_with("/body/") => Some(PublicKind::Body),
            _ => None,
        }
    }
}
