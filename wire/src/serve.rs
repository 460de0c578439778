//! The HTTP front of a role.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::codes::Code;
use crate::door::{Bind, Door, Patience, let_in};
use crate::http::{Call, HTML, HttpRequest, HttpResponse, MAX_BODY_LEN, Method, Part, Range, Service, TEXT};
use crate::problem::Problem;
use crate::route::{self, Listener, METRICS, Route};
use crate::{codes, openapi};

/// How long open requests may go on after the server is told to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The header with which the `Payment` scheme says that something is paid.
pub const PAYMENT_RECEIPT: &str = "payment-receipt";
/// For how long an answer that never changes may be kept.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Neither loopback nor TLS.
    #[error("{0} is not a loopback address, and has no certificate; without TLS a server listens on loopback only")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}; is another server running there?")]
    Listen(Bind, std::io::Error),
    /// The path of a Unix socket does not fit in its address.
    #[error("{0} is too long for the path of a socket; choose a shorter one, or an address like 127.0.0.1:21091")]
    LongPath(PathBuf),
}

/// Writes down all that is measured, for `GET /metrics`.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// How a server serves.
#[derive(Clone, Default)]
pub struct Terms {
    /// What it bears with.
    pub patience: Patience,
    /// What it measures.
    pub metrics: Option<Metrics>,
}

/// Listens on a loopback address. Port 0 takes a free one.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|error| ServeError::Listen(Bind::Tcp(address), error))
}

/// Answers the routes of all listeners on one loopback address, as [`serve_doors`] does on several.
pub async fn serve<C: Call, S: Service<C>>(
    listener: TcpListener,
    service: Arc<S>,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    serve_doors(vec![Door::of_all(listener)], service, Terms::default(), stop).await;
}

/// Answers calls, each route on its listener, until `stop` is done; then finishes what it has begun, for at most
/// [`STOP_TIMEOUT`].
pub async fn serve_doors<C: Call, S: Service<C>>(
    doors: Vec<Door>,
    service: Arc<S>,
    terms: Terms,
    stop: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(terms.patience.connections));
    let (stopping, stopped) = watch::channel(false);
    let mut open = JoinSet::new();
    for door in doors {
        let front = Front { service: Arc::clone(&service), on: door.on, terms: terms.clone() };
        let answer = move |request| {
            let front = front.clone();
            async move { answer::<C, S>(front, request).await }
        };
        open.spawn(let_in(door, terms.patience, Arc::clone(&places), stopped.clone(), answer));
    }
    drop(stopped);
    stop.await;
    open.shutdown().await;
    // Nobody listens if there is no connection. What is not finished by then is asked for again.
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(STOP_TIMEOUT, stopping.closed()).await;
}

/// A service behind one door.
struct Front<S> {
    service: Arc<S>,
    on: &'static [Listener],
    terms: Terms,
}

impl<S> Clone for Front<S> {
    fn clone(&self) -> Self {
        Front { service: Arc::clone(&self.service), on: self.on, terms: self.terms.clone() }
    }
}

impl<S> Front<S> {
    /// The route that is asked so, if this door has it.
    fn find<C: Call>(&self, method: Method, path: &str) -> Option<&'static Route> {
        route::find::<C>(method, path).filter(|route| self.has(route.on))
    }

    fn has(&self, listeners: &[Listener]) -> bool {
        self.on.iter().any(|listener| listeners.contains(listener))
    }
}

/// Resolves when the process is told to stop (Ctrl-C or SIGTERM).
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => {
            // Without a handler for SIGTERM the process simply ends at one; nothing that was answered is lost by that.
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// Answers, and measures how long it took until the answer began.
async fn answer<C: Call, S: Service<C>>(front: Front<S>, request: Request) -> Response {
    let began = Instant::now();
    let route = method_of(request.method()).and_then(|method| front.find::<C>(method, request.uri().path()));
    let response = match route {
        Some(route) => answer_to::<C, S>(front, route, request).await,
        None => wrong_method::<C, S>(&front, request.uri().path()),
    };
    let name = route.map_or("none", |route| route.name);
    let status = response.status().as_u16().to_string();
    metrics::histogram!("naulon_request_seconds", "route" => name, "status" => status).record(began.elapsed());
    response
}

async fn answer_to<C: Call, S: Service<C>>(front: Front<S>, route: &'static Route, request: Request) -> Response {
    let request = match read(route.method, request, front.terms.patience.body).await {
        Ok(request) => request,
        Err(problem) => return refuse(route, &problem),
    };
    let response = match of_every_server::<C, S>(&front, &request).await {
        Some(response) => response,
        None => match ask::<C, S>(&front, &request).await {
            Ok(response) => response,
            Err(problem) => return refuse(route, &problem),
        },
    };
    match response.part {
        Some(Part { offset: Some(offset), of }) => write_parts::<C, S>(front, request, response, offset, of),
        _ => write(response),
    }
}

fn refuse(route: &'static Route, problem: &Problem) -> Response {
    // A problem may have come from another party, with a code that is not ours.
    let code = codes::find(&problem.code).unwrap_or(codes::INTERNAL).code;
    metrics::counter!("naulon_refused_total", "route" => route.name, "code" => code).increment(1);
    write(HttpResponse::problem(problem))
}

async fn ask<C: Call, S: Service<C>>(front: &Front<S>, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let call = C::from_http(request)?;
    if let Some(listener) = call.belongs_on().filter(|listener| !front.has(&[*listener])) {
        let why = format_args!("this is taken on the {} listener only", listener.name());
        return Err(Problem::new("wrong_listener", why));
    }
    front.service.call(call).await.map(C::reply_to_http)
}

/// The answer to one of [`route::OF_EVERY_SERVER`].
async fn of_every_server<C: Call, S: Service<C>>(front: &Front<S>, request: &HttpRequest) -> Option<HttpResponse> {
    if request.method != Method::Get {
        return None;
    }
    match request.path.as_str() {
        "/healthz" => Some(HttpResponse::bytes(200, TEXT, "ok\n")),
        "/readyz" => Some(match front.service.ready() {
            Ok(()) => HttpResponse::bytes(200, TEXT, "ok\n"),
            Err(why) => HttpResponse::problem(&Problem::new("unavailable", why)),
        }),
        "/metrics" => {
            let text = front.terms.metrics.as_ref().map(|write| write()).unwrap_or_default();
            Some(HttpResponse::bytes(200, METRICS, text))
        }
        "/openapi.json" => Some(HttpResponse::json(200, &openapi::document::<C>())),
        path => {
            let code = path.strip_prefix("/problems/")?;
            Some(match codes::find(code) {
                Some(page) => HttpResponse::bytes(200, HTML, problem_page(&page)),
                None => HttpResponse::problem(&Problem::new("not_found", "there is no such code")),
            })
        }
    }
}

/// The page that the `type` of a problem leads to: for the person who looks why a call was refused.
fn problem_page(page: &Code) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (title, advice) = (escape(page.title), escape(page.advice));
    let again = match (page.is_final, page.retry_after) {
        (true, _) => {
            "The very same request can never succeed at the party that it is meant for, and has not succeeded."
        }
        (false, Some(_)) => "It may pass: the same request may succeed after the time in <code>Retry-After</code>.",
        (false, None) => "It may pass: the same request may succeed later.",
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{code}</title>\n\
         <h1><code>{code}</code>: {title}</h1>\n<p>HTTP status {status}. The request has changed nothing.</p>\n\
         <h2>What to do</h2>\n<p>{advice}</p>\n<p>{again}</p>\n</html>\n",
        code = page.code,
        status = page.status,
    )
}

/// The method, if it is one that is used. `HEAD` is a `GET` whose body stays here; the server below sees to that.
fn method_of(method: &axum::http::Method) -> Option<Method> {
    match method.as_str() {
        "GET" | "HEAD" => Some(Method::Get),
        "POST" => Some(Method::Post),
        _ => None,
    }
}

async fn read(method: Method, request: Request, patience: Duration) -> Result<HttpRequest, Problem> {
    let (parts, body) = request.into_parts();
    let range = match parts.headers.get(header::RANGE).filter(|_| method == Method::Get) {
        Some(value) => parse_range(value)?,
        None => None,
    };
    let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let (content_type, authorization) = (text(header::CONTENT_TYPE), text(header::AUTHORIZATION));
    let body = tokio::time::timeout(patience, read_body(body))
        .await
        .map_err(|_| Problem::new("too_slow", "the body did not arrive in time"))??;
    Ok(HttpRequest { method, path: parts.uri.path().to_owned(), body, range, content_type, authorization })
}

/// A body that breaks off is not one that is wrong: the same bytes, sent again, may be taken.
async fn read_body(body: Body) -> Result<Vec<u8>, Problem> {
    let (mut pieces, mut bytes) = (body.into_data_stream(), Vec::new());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Problem::new("too_slow", "the body broke off"))?;
        if bytes.len() + piece.len() > MAX_BODY_LEN {
            return Err(Problem::new("too_long", format_args!("a body has at most {MAX_BODY_LEN} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// One range of the form `bytes=first-last` or `bytes=first-`. Other forms that RFC 9110 §14 knows are ignored, as it allows:
/// the answer is then the whole.
fn parse_range(value: &HeaderValue) -> Result<Option<Range>, Problem> {
    let refused = || Problem::new("range", "a range is written bytes=first-last");
    let text = value.to_str().map_err(|_| refused())?;
    let Some(range) = text.strip_prefix("bytes=").filter(|range| !range.contains(',') && !range.starts_with('-'))
    else {
        return Ok(None);
    };
    let (first, last) = range.split_once('-').ok_or_else(refused)?;
    let offset: u64 = first.parse().map_err(|_| refused())?;
    let last: u64 = if last.is_empty() { u64::MAX } else { last.parse().map_err(|_| refused())? };
    let len = last.checked_sub(offset).ok_or_else(refused)?.saturating_add(1);
    Ok(Some(Range { offset, len }))
}

/// The answer to a method that is not the path's, or to a path that leads nowhere.
fn wrong_method<C: Call, S>(front: &Front<S>, path: &str) -> Response {
    let is_asked_by = |method| front.find::<C>(method, path).is_some();
    let allowed = match (is_asked_by(Method::Get), is_asked_by(Method::Post)) {
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        (false, true) => "POST",
        (false, false) => {
            let problem = Problem::new("not_found", format_args!("there is no {path}"));
            return write(HttpResponse::problem(&problem));
        }
    };
    let problem = Problem::new("wrong_method", format_args!("{path} is asked by {allowed}"));
    let mut written = write(HttpResponse::problem(&problem));
    written.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    written
}

/// A part of a whole. If more was asked for than the service gives at once, it is asked for the rest while the answer is
/// sent; if it fails then, the answer breaks off before its length.
fn write_parts<C: Call, S: Service<C>>(
    front: Front<S>,
    request: HttpRequest,
    mut first: HttpResponse,
    offset: u64,
    of: u64,
) -> Response {
    let is_whole = request.range.is_none();
    let end = request.range.map_or(of, |range| range.offset.saturating_add(range.len).min(of));
    let beginning = std::mem::take(&mut first.body);
    let at = offset.saturating_add(beginning.len() as u64);
    let rest = stream::try_unfold(at, move |at| {
        let (front, request) = (front.clone(), request.clone());
        async move {
            if at >= end {
                return Ok(None);
            }
            let next = HttpRequest { range: Some(Range { offset: at, len: end - at }), ..request };
            let asked = ask::<C, S>(&front, &next).await;
            let HttpResponse { part, body, .. } = asked.map_err(|_| std::io::Error::other("a part is missing"))?;
            let fits = part == Some(Part { offset: Some(at), of }) && !body.is_empty() && body.len() as u64 <= end - at;
            let after = at.saturating_add(body.len() as u64);
            if fits { Ok(Some((body, after))) } else { Err(std::io::Error::other("a part is missing")) }
        }
    });
    let len = end.max(at).saturating_sub(offset);
    let mut written = write(HttpResponse { status: if is_whole { 200 } else { first.status }, part: None, ..first });
    *written.body_mut() = Body::from_stream(stream::iter([Ok(beginning)]).chain(rest));
    let headers = written.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    if !is_whole {
        insert(headers, header::CONTENT_RANGE, Part { offset: Some(offset), of }.to_header(len));
    }
    written
}

fn write(response: HttpResponse) -> Response {
    let mut written = Response::new(Body::from(response.body));
    *written.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = written.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    let cache = if response.is_immutable { FOR_EVER } else { "no-store" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Some(seconds) = response.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(part) = response.part {
        insert(headers, header::CONTENT_RANGE, part.to_header(0));
    }
    if let Some(challenge) = response.challenge {
        insert(headers, header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(receipt) = response.receipt {
        insert(headers, HeaderName::from_static(PAYMENT_RECEIPT), receipt);
    }
    written
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // Only ASCII without control characters is ever written so.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
