//! Typed HTTP clients with time limits, retries and circuits.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naulon_purchase::UnverifiedPayment;
use naulon_statement::PublicKey;
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};
use tokio::time::timeout;

use crate::http::{
    BYTES, Call, CallError, HttpRequest, HttpResponse, JSON, MAX_BODY_LEN, Method, PROBLEM_JSON, Part, TEXT,
};
use crate::payment::{Challenge, ChallengeError};
use crate::proxy::Proxy;
use crate::serve::PAYMENT_RECEIPT;
use crate::shop::{ShopCall, ShopReply};
use crate::tls::{self, Authorities};

/// How long it may take until there is a connection, with TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The same through a proxy, behind which a circuit may have to be built first.
pub const PROXIED_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take from the beginning of an attempt until its answer begins.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an answer that has begun may stand still.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one attempt may take in all: a piece of goods at 5 kB a second.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How often a call is attempted.
pub const MAX_ATTEMPTS: u32 = 3;
/// How long the client waits before it tries again, unless the party asks for more; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest that it waits, whatever the party asks for.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const MAX_ANSWER_LEN: usize =
    if MAX_BODY_LEN > crate::MAX_GOODS_PIECE as usize { MAX_BODY_LEN } else { crate::MAX_GOODS_PIECE as usize };

/// On whose behalf a connection is used. Two circuits never share one, so that a server cannot link by connection what
/// it must not link: what names an account, and what is anonymous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Circuit {
    /// Calls that name this account, or another public identity.
    Identified(PublicKey),
    /// Calls that name nobody. Each number is a circuit of its own: a purchase takes one.
    Anonymous(u64),
}

/// Where a party is, as whoever asks it has pinned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its URL: `https://`, or `http://` on loopback.
    pub url: String,
    /// Where calls go that name an account, if that is elsewhere.
    pub account: Option<String>,
    /// Whose certificates are believed.
    pub authorities: Authorities,
}

impl Address {
    /// One URL for everything, by the system's authorities.
    pub fn new(url: impl Into<String>) -> Self {
        Address { url: url.into(), account: None, authorities: Authorities::System }
    }

    /// The URL for calls on this circuit.
    fn on(&self, circuit: Circuit) -> &str {
        match circuit {
            Circuit::Identified(_) => self.account.as_deref().unwrap_or(&self.url),
            Circuit::Anonymous(_) => &self.url,
        }
    }
}

impl<T: Into<String>> From<T> for Address {
    fn from(url: T) -> Self {
        Address::new(url)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
    }
}

/// Why there is no client for an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Not a URL of HTTP.
    #[error("{0} is not an https:// or http:// address")]
    NotAnAddress(String),
    /// Neither loopback nor TLS.
    #[error("{0} is not a loopback address; without TLS (https://) only loopback is allowed")]
    NotLoopback(String),
    /// Whom to believe cannot be found out.
    #[error("{0}")]
    Tls(String),
    /// The proxy's name or password cannot be used.
    #[error("the proxy cannot be used: check its host, user and password")]
    Proxy,
}

/// The connections of all circuits.
#[derive(Clone, Default)]
pub struct Clients {
    circuits: Arc<Mutex<BTreeMap<(Circuit, Trust), reqwest::Client>>>,
    proxy: Option<Arc<Proxy>>,
}

/// Whom a client believes: nobody where there is no TLS.
type Trust = Option<Authorities>;

impl Clients {
    /// Clients that go through this proxy with everything, and nowhere without it.
    pub fn through(proxy: Proxy) -> Self {
        Clients { circuits: Arc::default(), proxy: Some(Arc::new(proxy)) }
    }

    /// A client of the party at this address, on this circuit.
    pub fn on(&self, circuit: Circuit, address: impl Into<Address>) -> Result<Client, ClientError> {
        let address = address.into();
        let base = checked(address.on(circuit))?;
        let trust = (base.scheme() == "https").then_some(address.authorities);
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        let http = match circuits.entry((circuit, trust)) {
            Entry::Occupied(client) => client.get().clone(),
            Entry::Vacant(place) => {
                let client = connections(&place.key().1, self.proxy.as_deref(), circuit)?;
                place.insert(client).clone()
            }
        };
        Ok(Client { http, base })
    }

    /// Closes a circuit's connections: a purchase that is over needs none.
    pub fn close(&self, circuit: Circuit) {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| *of != circuit);
    }
}

fn connections(trust: &Trust, proxy: Option<&Proxy>, circuit: Circuit) -> Result<reqwest::Client, ClientError> {
    let tls = trust.as_ref().map_or_else(tls::nobody, Authorities::client_config);
    let tls = tls.map_err(|error| ClientError::Tls(error.to_string()))?;
    // No cookies, no referrer, no user agent, no redirects, no TLS sessions to resume: nothing that could be told apart from
    // another circuit's, and nothing that ties one connection to the next. And no proxy of the environment's.
    let plain = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ATTEMPT_TIMEOUT);
    let builder = match proxy {
        None => plain.connect_timeout(CONNECT_TIMEOUT),
        Some(proxy) => {
            let through = reqwest::Proxy::all(proxy.url_on(circuit)).map_err(|_| ClientError::Proxy)?;
            plain.proxy(through).connect_timeout(PROXIED_TIMEOUT)
        }
    };
    builder.build().map_err(|error| ClientError::Tls(error.to_string()))
}

/// Asks one party on one circuit.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// Asks, and repeats on a connection that fails, and on `too_slow`, `busy` and `unavailable`. Safe, because every call
    /// may be repeated.
    pub async fn call<C: Call>(&self, call: &C) -> Result<C::Reply, CallError> {
        let request = call.to_http();
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let outcome = self.attempt(&request).await;
            let (again, asked) = match &outcome {
                Ok(response) => (matches!(response.status, 408 | 429 | 503), response.retry_after),
                Err(CallError::Unreachable(..)) => (true, None),
                Err(_) => (false, None),
            };
            if !again || attempt == MAX_ATTEMPTS {
                let response = outcome?;
                return match response.as_problem().filter(|_| !C::is_reply(response.status)) {
                    Some(problem) => Err(problem.into()),
                    None => call.reply_from_http(&response),
                };
            }
            tokio::time::sleep(pause.max(Duration::from_secs(asked.unwrap_or(0))).min(MAX_PAUSE)).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    /// Pays for an item by the `Payment` scheme: asks for it, and once more with a credential that answers the challenge.
    /// Repeating it is safe: the same payment is the same sale, whatever the challenge.
    pub async fn pay_for(&self, item: &str, payment: &UnverifiedPayment) -> Result<ShopReply, CallError> {
        let item = item.to_owned();
        let bare = ShopCall::Item { item: item.clone(), authorization: None };
        let Err(CallError::Problem(problem)) = self.call(&bare).await else {
            return Err(CallError::BadReply("it was given for nothing".to_owned()));
        };
        let Some(challenge) = &problem.challenge else { return Err(problem.into()) };
        let bad = |error: ChallengeError| CallError::BadReply(error.to_string());
        let challenge = Challenge::parse(challenge).map_err(bad)?;
        let (charge, offer) = (challenge.charge().map_err(bad)?, payment.goods_m.claimed_body());
        if (charge.merchant, charge.amount) != (offer.merchant, offer.price) {
            return Err(CallError::BadReply("it wants another price, or is another shop".to_owned()));
        }
        let authorization = Some(challenge.credential(payment));
        match self.call(&ShopCall::Item { item, authorization }).await? {
            ShopReply::Delivered { decision, .. } => Ok(ShopReply::Decision(decision)),
            other => Ok(other),
        }
    }

    async fn attempt(&self, request: &HttpRequest) -> Result<HttpResponse, CallError> {
        let unreachable = |error: reqwest::Error| {
            let why = tls::disbelief(&error).unwrap_or_else(|| error.without_url().to_string());
            CallError::Unreachable(self.base.to_string(), why)
        };
        let silent = |_| CallError::Unreachable(self.base.to_string(), "it does not answer".to_owned());
        let mut url = self.base.clone();
        // Only the path, below the address's own: whatever it says, the request goes to this party.
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), request.path));
        let mut builder = match request.method {
            Method::Get => self.http.get(url),
            Method::Post => self.http.post(url).body(request.body.clone()),
        };
        if let Some(content_type) = &request.content_type {
            builder = builder.header(CONTENT_TYPE, content_type);
        }
        if let Some(authorization) = &request.authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some(range) = request.range {
            let last = range.offset.saturating_add(range.len.max(1) - 1);
            builder = builder.header(RANGE, format!("bytes={}-{last}", range.offset));
        }
        let mut response = timeout(ANSWER_TIMEOUT, builder.send()).await.map_err(silent)?.map_err(unreachable)?;
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = match header(CONTENT_TYPE) {
            Some(JSON) => JSON,
            Some(PROBLEM_JSON) => PROBLEM_JSON,
            Some(TEXT) => TEXT,
            _ => BYTES,
        };
        let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        let part = header(CONTENT_RANGE).and_then(Part::from_header);
        let challenge = header(WWW_AUTHENTICATE).map(str::to_owned);
        let receipt = header(HeaderName::from_static(PAYMENT_RECEIPT)).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(piece) = timeout(IDLE_TIMEOUT, response.chunk()).await.map_err(silent)?.map_err(unreachable)? {
            if body.len() + piece.len() > MAX_ANSWER_LEN {
                return Err(CallError::BadReply("the answer is too long".to_owned()));
            }
            body.extend_from_slice(&piece);
        }
        if status.is_redirection() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(CallError::BadReply(format!("an answer of status {status}")));
        }
        Ok(HttpResponse {
            retry_after,
            part,
            challenge,
            receipt,
            ..HttpResponse::bytes(status.as_u16(), content_type, body)
        })
    }
}

/// An address that may be called: by TLS, or without it on loopback.
fn checked(address: &str) -> Result<Url, ClientError> {
    let refused = || ClientError::NotAnAddress(address.to_owned());
    let url = Url::parse(address).map_err(|_| refused())?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback() => Ok(url),
        "http" => Err(ClientError::NotLoopback(address.to_owned())),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_called_without_tls() {
        for good in [
            "http://127.0.0.1:9001",
            "http://localhost:9001/",
            "http://[::1]:9001",
            "https://127.0.0.1",
            "https://example.org",
        ] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1:9001", "http://example.org", "http://localhost.example.org"] {
            assert_eq!(checked(bad), Err(ClientError::NotLoopback(bad.to_owned())));
        }
        for bad in ["127.0.0.1:9001", "ftp://127.0.0.1", "https://", ""] {
            assert_eq!(checked(bad), Err(ClientError::NotAnAddress(bad.to_owned())));
        }
    }

    #[test]
    fn the_account_address_is_for_identified_circuits() {
        let address = Address { account: Some("https://b".to_owned()), ..Address::new("https://a") };
        let account = Circuit::Identified(PublicKey([1; 32]));
        assert_eq!((address.on(Circuit::Anonymous(1)), address.on(account)), ("https://a", "https://b"));
        assert_eq!(Address::new("https://a").on(account), "https://a");
    }
}
