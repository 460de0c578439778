//! Privacy Pass issuance (RFC 9578 §6) as a stock client speaks it: a URL for each brand, raw bytes both ways
//! (docs/spec/privacy-pass.md).
//!
//! A token costs money, so the request carries an order in its `Authorization` header: an ordinary signed exchange whose
//! one output is the blinded message in the body. It is no second way to get tokens, but the same exchange in other clothes.

use naulon_blind::{BlindSignature, BlindedMessage, SPKI_LEN, Spki, TOKEN_TYPE, TokenRequest};
use naulon_exchange::{Exchange, Output};
use naulon_statement::{Digest, Timestamp, UnverifiedJoint, base64url_decode, base64url_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bank::{JointBody, bad_reply};
use crate::http::{CallError, HttpRequest, HttpResponse, Method, json};
use crate::problem::Problem;

/// The media type of a request for a token.
pub const TOKEN_REQUEST: &str = "application/private-token-request";
/// The media type of a blind signature.
pub const TOKEN_RESPONSE: &str = "application/private-token-response";
/// The media type of an issuer directory.
pub const ISSUER_DIRECTORY: &str = "application/private-token-issuer-directory";
/// The scheme of the `Authorization` header that carries an order.
pub const ORDER_SCHEME: &str = "Naulon-Order";
/// The longest `Authorization` header with an order that is read.
pub const MAX_ORDER_LEN: usize = 16 * 1024;

/// Below it each brand has its two resources.
const BRANDS: &str = "/v1/brands/";
const DIRECTORY_PATH: &str = ".well-known/private-token-issuer-directory";
const REQUEST_PATH: &str = "token-request";

/// A request for one token of one brand, and the exchange that pays for it.
#[derive(Clone, Debug)]
pub struct IssueOrder {
    exchange: UnverifiedJoint<Exchange>,
    brand: Digest,
    message: BlindedMessage,
}

/// An exchange that is not the order of exactly one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order of a token is an exchange with one blinded output, without a condition and without a sealed reply")]
pub struct NotAnOrder;

impl IssueOrder {
    /// The order that this exchange is. Nothing is verified.
    pub fn new(exchange: UnverifiedJoint<Exchange>) -> Result<Self, NotAnOrder> {
        match exchange.claimed_body() {
            Exchange { outputs, condition: None, seal_to: None, .. } => match outputs.as_slice() {
                [Output::Blinded { brand, message }] => {
                    let (brand, message) = (*brand, *message);
                    Ok(IssueOrder { exchange, brand, message })
                }
                _ => Err(NotAnOrder),
            },
            _ => Err(NotAnOrder),
        }
    }

    /// The exchange.
    pub fn exchange(&self) -> &UnverifiedJoint<Exchange> {
        &self.exchange
    }

    /// The exchange, as a bank decides it.
    pub fn into_exchange(self) -> UnverifiedJoint<Exchange> {
        self.exchange
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> String {
        format!("{ORDER_SCHEME} {}", base64url_encode(&json(&JointBody::from(&self.exchange))))
    }

    pub(crate) fn to_http(&self) -> HttpRequest {
        let [.., truncated_key_id] = self.brand.0;
        let request = TokenRequest { truncated_key_id, blinded: self.message };
        HttpRequest {
            method: Method::Post,
            body: request.to_bytes().to_vec(),
            content_type: Some(TOKEN_REQUEST.to_owned()),
            authorization: Some(self.authorization()),
            ..HttpRequest::get(request_path(&self.brand))
        }
    }

    /// Reads a request to a brand's URL. The URL alone says which brand: one byte of a key id would not do for that.
    pub(crate) fn from_http(brand: Digest, request: &HttpRequest) -> Result<Self, Problem> {
        if request.content_type.as_deref() != Some(TOKEN_REQUEST) {
            return Err(Problem::new("wrong_media_type", format_args!("a token is asked for by {TOKEN_REQUEST}")));
        }
        let refused = |error: &dyn std::fmt::Display| Problem::new("bad_token_request", error);
        let asked = TokenRequest::parse(&request.body).map_err(|error| refused(&error))?;
        let [.., truncated_key_id] = brand.0;
        if asked.truncated_key_id != truncated_key_id {
            return Err(refused(&"the request is for a key that is not this brand's"));
        }
        let order = read_order(request.authorization.as_deref())?;
        if order.brand != brand || order.message != asked.blinded {
            return Err(misfit(&"the order is for another token than the one that is asked for"));
        }
        Ok(order)
    }
}

/// What a brand's issuer directory says (RFC 9578 §4): where to ask, and the one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerDirectory {
    /// The brand, by its token key id.
    pub brand: Digest,
    /// Its key.
    pub key: Spki,
    /// From then on tokens are issued.
    pub issue_from: Timestamp,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct DirectoryBody {
    issuer_request_uri: String,
    token_keys: [KeyBody; 1],
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct KeyBody {
    token_type: u16,
    token_key: String,
    /// In seconds.
    not_before: u64,
}

impl IssuerDirectory {
    /// A brand never changes, so anybody may keep its directory, and the bank need not hear who asks.
    pub(crate) fn to_http(&self) -> HttpResponse {
        let key = KeyBody {
            token_type: TOKEN_TYPE,
            // 342 bytes need no padding, so that this is the form with padding, too, which the RFC wants.
            token_key: base64url_encode(self.key.as_bytes()),
            not_before: self.issue_from.0 / 1_000,
        };
        let body = DirectoryBody { issuer_request_uri: request_path(&self.brand), token_keys: [key] };
        HttpResponse { content_type: ISSUER_DIRECTORY, is_immutable: true, ..HttpResponse::json(200, &body) }
    }

    pub(crate) fn from_http(brand: Digest, response: &HttpResponse) -> Result<Self, CallError> {
        let DirectoryBody { issuer_request_uri, token_keys: [key] } = response.parse()?;
        let spki = base64url_decode(&key.token_key).map_err(bad_reply)?;
        let spki = <[u8; SPKI_LEN]>::try_from(spki.as_slice()).map_err(|_| bad_reply("a key of another length"))?;
        let fits = issuer_request_uri == request_path(&brand)
            && key.token_type == TOKEN_TYPE
            && Digest::of(&[&spki]) == brand
            && key.not_before <= Timestamp::MAX.0 / 1_000;
        let directory = IssuerDirectory { brand, key: Spki(spki), issue_from: Timestamp(key.not_before * 1_000) };
        fits.then_some(directory).ok_or_else(|| bad_reply("the directory of another brand"))
    }
}

/// A brand's resources.
pub(crate) enum Resource {
    Directory(Digest),
    Request(Digest),
}

/// The resource of this path, if it is one of a brand's.
pub(crate) fn resource(path: &str) -> Option<Resource> {
    let (brand, name) = path.strip_prefix(BRANDS)?.split_once('/')?;
    let brand = brand.parse().ok()?;
    match name {
        DIRECTORY_PATH => Some(Resource::Directory(brand)),
        REQUEST_PATH => Some(Resource::Request(brand)),
        _ => None,
    }
}

pub(crate) fn directory_path(brand: &Digest) -> String {
    format!("{BRANDS}{brand}/{DIRECTORY_PATH}")
}

fn request_path(brand: &Digest) -> String {
    format!("{BRANDS}{brand}/{REQUEST_PATH}")
}

/// A blind signature as the raw bytes that the RFC wants.
pub(crate) fn signature_from_http(response: &HttpResponse) -> Result<BlindSignature, CallError> {
    let bytes = <[u8; 256]>::try_from(&response.body[..]);
    bytes.map(BlindSignature).map_err(|_| bad_reply("a blind signature has 256 bytes"))
}

fn read_order(authorization: Option<&str>) -> Result<IssueOrder, Problem> {
    let missing = || Problem::new("order_missing", format_args!("there is no `Authorization: {ORDER_SCHEME} …`"));
    let header = authorization.ok_or_else(missing)?;
    if header.len() > MAX_ORDER_LEN {
        return Err(Problem::new("too_long", format_args!("an order has at most {MAX_ORDER_LEN} bytes")));
    }
    let (scheme, text) = header.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case(ORDER_SCHEME) {
        return Err(missing());
    }
    let bytes = base64url_decode(text).map_err(|error| Problem::new("malformed", error))?;
    let body: JointBody = serde_json::from_slice(&bytes).map_err(|error| Problem::new("malformed", error))?;
    IssueOrder::new(body.read()?).map_err(|error| misfit(&error))
}

fn misfit(why: &dyn std::fmt::Display) -> Problem {
    Problem::new("order_misfit", why)
}
