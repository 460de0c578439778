//! How parties talk: JSON bodies, paths, stable error codes, typed clients and the HTTP front.
//!
//! A party is asked by a [`Call`] and answers with its reply or a [`Problem`] (RFC 9457). How a call is written as an HTTP
//! request and read again is one pure conversion, used by the [`Client`] and by [`serve`](serve::serve) alike; a role only
//! implements [`Service`]. Statements travel as base64url strings of their COSE_Sign1 (docs/spec/http.md).
//!
//! Every call may be repeated: the same request gets the same reply.
//!
//! In scope: HTTP, JSON, codes, time limits, retries, circuits. Out of scope: what a call means (the protocols), what is
//! stored (the roles). Servers and clients refuse addresses that are neither loopback nor TLS.

mod ask;
pub mod bank;
mod client;
pub mod codes;
pub mod directory;
pub mod door;
mod evidence;
mod http;
mod issuance;
pub mod link;
pub mod log;
mod log_evidence;
mod mix;
pub mod openapi;
pub mod payment;
mod problem;
mod proxy;
pub mod publish;
mod register_evidence;
pub mod route;
pub mod serve;
pub mod shop;
mod text;
pub mod tls;
pub mod witness;

pub use ask::{AnyCall, AnyReply, Ask};
pub use bank::{BankCall, BankDescription, BankReply, ExchangeReply, OutputFate};
pub use client::{Address, Circuit, Client, ClientError, Clients};
pub use directory::{DirectoryCall, DirectoryReply};
pub use evidence::{EvidenceFile, EvidenceFileError, MAX_EVIDENCE_LEN};
pub use http::{Call, CallError, HttpRequest, HttpResponse, MAX_BODY_LEN, Method, Part, Range, Service};
pub use issuance::{
    ISSUER_DIRECTORY, IssueOrder, IssuerDirectory, MAX_ORDER_LEN, NotAnOrder, ORDER_SCHEME, TOKEN_REQUEST,
    TOKEN_RESPONSE,
};
pub use log::{LogCall, LogDescription, LogReply, PublicFile, PublicKind};
pub use log_evidence::LogEvidenceFile;
pub use mix::{MixCall, MixReply};
pub use problem::Problem;
pub use proxy::{Proxy, ProxyError};
pub use register_evidence::RegisterEvidenceFile;
pub use route::{Answer, Listener, Route};
pub use shop::{Item, MAX_GOODS_PIECE, Piece, Refund, ShopCall, ShopDescription, ShopReply};
pub use text::B64;
pub use witness::{WitnessCall, WitnessReply};
