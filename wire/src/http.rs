//! Calls as HTTP messages, without sockets.

use std::future::Future;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::route::{Listener, Route};

/// The longest JSON body in bytes.
pub const MAX_BODY_LEN: usize = 1024 * 1024;

/// The methods that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads; has no body.
    Get,
    /// Asks for something to be done; may be repeated like everything else.
    Post,
}

/// A range of bytes, `offset..offset + len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub offset: u64,
    /// How many, above zero.
    pub len: u64,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The path, without host and query.
    pub path: String,
    /// Nothing, or what [`content_type`](Self::content_type) says: JSON almost everywhere.
    pub body: Vec<u8>,
    /// The `Range` header; none asks for the whole.
    pub range: Option<Range>,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// The `Authorization` header: what pays for the call.
    pub authorization: Option<String>,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// The media type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// After how many seconds a repetition may succeed.
    pub retry_after: Option<u64>,
    /// Which part of a whole the body is (RFC 9110 §14.4); with status 416, how large the whole is.
    pub part: Option<Part>,
    /// The `WWW-Authenticate` header: with 402, what must be paid.
    pub challenge: Option<String>,
    /// The `Payment-Receipt` header.
    pub receipt: Option<String>,
    /// Whether the answer to this request is the same for ever and for everybody, so that it may be kept. Else nobody may.
    pub is_immutable: bool,
}

/// What `Content-Range` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where the body begins in the whole; none if there is no body of it.
    pub offset: Option<u64>,
    /// The size of the whole in bytes.
    pub of: u64,
}

/// The media type of JSON.
pub const JSON: &str = "application/json";
/// The media type of problem details (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The media type of raw bytes.
pub const BYTES: &str = "application/octet-stream";
/// The media type of pages for people.
pub const HTML: &str = "text/html; charset=utf-8";
/// The media type of text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// The media type of the size of a tree, by which a witness says where it stands (C2SP tlog-witness).
pub const TLOG_SIZE: &str = "text/x.tlog.size";

/// What one kind of party can be asked.
pub trait Call: Sized + Send + 'static {
    /// What it answers.
    type Reply: Send + 'static;

    /// What the party is called, in its OpenAPI document.
    const PARTY: &'static str;

    /// Everything that it can be asked. A server answers these paths and no others.
    const ROUTES: &'static [Route];

    /// The media type of its requests' bodies.
    const REQUEST_TYPE: &'static str = JSON;

    /// Whether a response of this status is a reply of this kind of party; else it is a problem.
    fn is_reply(status: u16) -> bool {
        status < 400
    }

    /// The one listener that this call is taken on, whatever its route says: for a path whose calls differ in whom they
    /// name.
    fn belongs_on(&self) -> Option<Listener> {
        None
    }

    /// The call as a request.
    fn to_http(&self) -> HttpRequest;

    /// The call of a request; a request that is none is the sender's fault.
    fn from_http(request: &HttpRequest) -> Result<Self, Problem>;

    /// The reply as a response.
    fn reply_to_http(reply: Self::Reply) -> HttpResponse;

    /// The reply to this call, of a response that is not a problem.
    fn reply_from_http(&self, response: &HttpResponse) -> Result<Self::Reply, CallError>;
}

/// A party that answers calls, over whatever store it has.
pub trait Service<C: Call>: Send + Sync + 'static {
    /// Answers one call. When the answer is there, everything it says is durable.
    fn call(&self, call: C) -> impl Future<Output = Result<C::Reply, Problem>> + Send;

    /// Whether it is able to answer now; else what is the matter, for the operator.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The party refused.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The party could not be reached, or did not answer in time. It may have acted all the same: ask again.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// The answer is not one to this call.
    #[error("an answer that cannot be understood: {0}")]
    BadReply(String),
}

impl HttpRequest {
    /// A GET without a body.
    pub fn get(path: impl Into<String>) -> Self {
        let (method, path) = (Method::Get, path.into());
        HttpRequest { method, path, body: Vec::new(), range: None, content_type: None, authorization: None }
    }

    /// A POST of JSON.
    pub fn post(path: impl Into<String>, body: &impl Serialize) -> Self {
        let content_type = Some(JSON.to_owned());
        HttpRequest { method: Method::Post, body: json(body), content_type, ..HttpRequest::get(path) }
    }

    /// A POST of text.
    pub fn post_text(path: impl Into<String>, text: String) -> Self {
        let content_type = Some(TEXT.to_owned());
        HttpRequest { method: Method::Post, body: text.into_bytes(), content_type, ..HttpRequest::get(path) }
    }

    /// The body's JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body).map_err(|error| Problem::new("malformed", error))
    }

    /// The problem of a path that leads nowhere.
    pub fn not_found(&self) -> Problem {
        Problem::new("not_found", format_args!("there is no {:?} {}", self.method, self.path))
    }
}

impl HttpResponse {
    /// JSON.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        HttpResponse::bytes(status, JSON, json(body))
    }

    /// Bytes.
    pub fn bytes(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        HttpResponse {
            status,
            content_type,
            body: body.into(),
            retry_after: None,
            part: None,
            challenge: None,
            receipt: None,
            is_immutable: false,
        }
    }

    /// A part of a whole of `of` bytes, which begins at `offset`.
    pub fn part(content_type: &'static str, offset: u64, body: impl Into<Bytes>, of: u64) -> Self {
        let part = Some(Part { offset: Some(offset), of });
        HttpResponse { part, ..HttpResponse::bytes(206, content_type, body) }
    }

    /// A problem.
    pub fn problem(problem: &Problem) -> Self {
        let part = problem.size.map(|of| Part { offset: None, of });
        let (retry_after, challenge) = (problem.retry_after, problem.challenge.clone());
        HttpResponse {
            retry_after,
            part,
            challenge,
            ..HttpResponse::bytes(problem.status, PROBLEM_JSON, json(problem))
        }
    }

    /// The body's JSON.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(|error| CallError::BadReply(error.to_string()))
    }

    /// The problem that this response is, if its status says that it is one.
    pub fn as_problem(&self) -> Option<Problem> {
        let parse = || serde_json::from_slice(&self.body).ok();
        let bare = || Problem::new("internal", format_args!("the answer has status {}", self.status));
        let problem = (self.status >= 400).then(|| parse().unwrap_or_else(bare));
        problem.map(|problem: Problem| Problem { challenge: self.challenge.clone(), ..problem })
    }
}

impl Part {
    /// As the value of `Content-Range`, for a body of this length.
    pub fn to_header(self, len: u64) -> String {
        match self.offset {
            Some(offset) if len > 0 => format!("bytes {offset}-{}/{}", offset.saturating_add(len - 1), self.of),
            _ => format!("bytes */{}", self.of),
        }
    }

    /// Reads the value of `Content-Range`; nothing if it is not one, or the size is not said.
    pub fn from_header(value: &str) -> Option<Part> {
        let (range, of) = value.strip_prefix("bytes ")?.split_once('/')?;
        let of = of.parse().ok()?;
        let offset = match range {
            "*" => None,
            range => Some(range.split_once('-')?.0.parse().ok()?),
        };
        Some(Part { offset, of })
    }
}

pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes,
        // Our bodies are structs of strings, numbers and lists, all of which have a JSON form.
        Err(never) => unreachable!("writing JSON into memory failed: {never}"),
    }
}
