//! The HTTP front of a role.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use tokio::net::TcpListener;

use crate::http::{Call, HttpRequest, HttpResponse, MAX_BODY_LEN, Method, Range, Service};
use crate::problem::Problem;

/// How long a request may take to arrive whole.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may go on after the server is told to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Not loopback, and there is no TLS yet.
    #[error("{0} is not a loopback address; without TLS a server listens on loopback only")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}; is another server running there?")]
    Listen(SocketAddr, std::io::Error),
    /// Accepting connections failed.
    #[error("the server stopped: {0}")]
    Accept(std::io::Error),
}

/// Listens on a loopback address. Port 0 takes a free one.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|error| ServeError::Listen(address, error))
}

/// Answers calls, and `GET /healthz`, until `stop` is done; then finishes what it has begun, for at most [`STOP_TIMEOUT`].
pub async fn serve<C: Call, S: Service<C>>(
    listener: TcpListener,
    service: Arc<S>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let router = Router::new().fallback(answer::<C, S>).with_state(service);
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let graceful = async move {
        stop.await;
        // The receiver waits for this or for the end of the server, whichever is first.
        let _ = stopping.send(());
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(graceful);
    tokio::select! {
        outcome = async { server.await } => outcome.map_err(ServeError::Accept),
        () = async {
            if stopped.await.is_ok() {
                tokio::time::sleep(STOP_TIMEOUT).await;
            } else {
                std::future::pending::<()>().await;
            }
        } => Ok(()),
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

async fn answer<C: Call, S: Service<C>>(State(service): State<Arc<S>>, request: Request) -> Response {
    let response = match read(request).await {
        Ok(request) if request.path == "/healthz" => HttpResponse::bytes(200, "text/plain", "ok\n"),
        Ok(request) => match C::from_http(&request) {
            Ok(call) => match service.call(call).await {
                Ok(reply) => C::reply_to_http(reply),
                Err(problem) => HttpResponse::problem(&problem),
            },
            Err(problem) => HttpResponse::problem(&problem),
        },
        Err(problem) => HttpResponse::problem(&problem),
    };
    write(response)
}

async fn read(request: Request) -> Result<HttpRequest, Problem> {
    let (parts, body) = request.into_parts();
    let method = match parts.method.as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        other => return Err(Problem::new("not_found", format_args!("the method {other} is not used"))),
    };
    let range = match parts.headers.get(header::RANGE) {
        Some(value) => Some(parse_range(value)?),
        None => None,
    };
    let body = tokio::time::timeout(BODY_TIMEOUT, read_body(body))
        .await
        .map_err(|_| Problem::new("too_slow", "the body did not arrive in time"))??;
    Ok(HttpRequest { method, path: parts.uri.path().to_owned(), body, range })
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

/// One range of the form `bytes=first-last` or `bytes=first-`; others (RFC 9110 §14) are not needed and refused.
fn parse_range(value: &HeaderValue) -> Result<Range, Problem> {
    let refused = || Problem::new("range", "a range is written bytes=first-last");
    let text = value.to_str().map_err(|_| refused())?;
    let (first, last) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(refused)?;
    let offset: u64 = first.parse().map_err(|_| refused())?;
    let last: u64 = if last.is_empty() { u64::MAX } else { last.parse().map_err(|_| refused())? };
    let len = last.checked_sub(offset).ok_or_else(refused)?.saturating_add(1);
    Ok(Range { offset, len })
}

fn write(response: HttpResponse) -> Response {
    let mut written = Response::new(Body::from(response.body));
    *written.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = written.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = response.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    written
}
