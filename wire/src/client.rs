//! Typed HTTP clients with time limits, retries and circuits.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naulon_statement::PublicKey;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use crate::http::{
    BYTES, Call, CallError, HttpRequest, HttpResponse, JSON, MAX_BODY_LEN, Method, PROBLEM_JSON, Part, TEXT,
};

/// How long one attempt may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
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

/// Why there is no client for an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Not an `http://` URL.
    #[error("{0} is not an http:// address")]
    NotAnAddress(String),
    /// Not loopback, and there is no TLS yet.
    #[error("{0} is not a loopback address; without TLS only loopback is allowed")]
    NotLoopback(String),
}

/// The connections of all circuits.
#[derive(Clone, Default)]
pub struct Clients {
    circuits: Arc<Mutex<BTreeMap<Circuit, reqwest::Client>>>,
}

impl Clients {
    /// A client of the party at this address, on this circuit.
    pub fn on(&self, circuit: Circuit, address: &str) -> Result<Client, ClientError> {
        let base = loopback(address)?;
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        let http = circuits.entry(circuit).or_insert_with(connections).clone();
        Ok(Client { http, base })
    }

    /// Closes a circuit's connections: a purchase that is over needs none.
    pub fn close(&self, circuit: Circuit) {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner).remove(&circuit);
    }
}

fn connections() -> reqwest::Client {
    // No cookies, no referrer, no user agent, no redirects: nothing that could be told apart from another circuit's.
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ATTEMPT_TIMEOUT)
        .connect_timeout(Duration::from_secs(5));
    match builder.build() {
        Ok(client) => client,
        // Without TLS there is nothing to load or to configure that could fail.
        Err(never) => unreachable!("an HTTP client without TLS failed to build: {never}"),
    }
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
            let outcome = self.attempt(&request, C::REQUEST_TYPE).await;
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

    async fn attempt(&self, request: &HttpRequest, body_type: &'static str) -> Result<HttpResponse, CallError> {
        let unreachable =
            |error: reqwest::Error| CallError::Unreachable(self.base.to_string(), error.without_url().to_string());
        let mut url = self.base.clone();
        // Only the path, below the address's own: whatever it says, the request goes to this party.
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), request.path));
        let mut builder = match request.method {
            Method::Get => self.http.get(url),
            Method::Post => self.http.post(url).header(CONTENT_TYPE, body_type).body(request.body.clone()),
        };
        if let Some(range) = request.range {
            let last = range.offset.saturating_add(range.len.max(1) - 1);
            builder = builder.header(RANGE, format!("bytes={}-{last}", range.offset));
        }
        let mut response = builder.send().await.map_err(unreachable)?;
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
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            if body.len() + piece.len() > MAX_ANSWER_LEN {
                return Err(CallError::BadReply("the answer is too long".to_owned()));
            }
            body.extend_from_slice(&piece);
        }
        if status.is_redirection() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(CallError::BadReply(format!("an answer of status {status}")));
        }
        Ok(HttpResponse { retry_after, part, ..HttpResponse::bytes(status.as_u16(), content_type, body) })
    }
}

fn loopback(address: &str) -> Result<Url, ClientError> {
    let url = Url::parse(address).map_err(|_| ClientError::NotAnAddress(address.to_owned()))?;
    if url.scheme() != "http" {
        return Err(ClientError::NotAnAddress(address.to_owned()));
    }
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_loopback { Ok(url) } else { Err(ClientError::NotLoopback(address.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_called() {
        for good in ["http://127.0.0.1:9001", "http://localhost:9001/", "http://[::1]:9001"] {
            assert!(loopback(good).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1:9001", "http://example.org", "http://localhost.example.org"] {
            assert_eq!(loopback(bad), Err(ClientError::NotLoopback(bad.to_owned())));
        }
        for bad in ["127.0.0.1:9001", "https://127.0.0.1", "ftp://127.0.0.1", ""] {
            assert_eq!(loopback(bad), Err(ClientError::NotAnAddress(bad.to_owned())));
        }
    }
}
