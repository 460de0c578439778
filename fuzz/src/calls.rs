//! HTTP messages: `G` or `P` for the method, the path to the end of the line, then the body.

use bytes::Bytes;
use naulon_wire::{BankCall, Call, HttpRequest, HttpResponse, LogCall, Method, ShopCall};

use crate::samples;

/// A request to a bank.
pub fn bank(bytes: &[u8]) {
    request::<BankCall>(bytes);
}

/// A request to a log.
pub fn log(bytes: &[u8]) {
    request::<LogCall>(bytes);
}

/// A request to a shop.
pub fn shop(bytes: &[u8]) {
    request::<ShopCall>(bytes);
}

thread_local! {
    // Making the samples takes longer than reading a response.
    static BANK: Vec<BankCall> = samples::bank().into_iter().map(|(call, _)| call).collect();
    static LOG: Vec<LogCall> = samples::log().into_iter().map(|(call, _)| call).collect();
    static SHOP: Vec<ShopCall> = samples::shop().into_iter().map(|(call, _)| call).collect();
}

/// A bank's response, to each of the calls.
pub fn bank_reply(bytes: &[u8]) {
    BANK.with(|calls| calls.iter().for_each(|call| response(call, bytes)));
}

/// A log's response.
pub fn log_reply(bytes: &[u8]) {
    LOG.with(|calls| calls.iter().for_each(|call| response(call, bytes)));
}

/// A shop's response.
pub fn shop_reply(bytes: &[u8]) {
    SHOP.with(|calls| calls.iter().for_each(|call| response(call, bytes)));
}

/// A request as bytes of a corpus.
pub fn as_bytes(request: &HttpRequest) -> Vec<u8> {
    let method = if request.method == Method::Get { b'G' } else { b'P' };
    [&[method], request.path.as_bytes(), b"\n", &request.body].concat()
}

/// What is understood is sent on as something that is understood in the same way.
fn request<C: Call>(bytes: &[u8]) {
    let Some((method, rest)) = bytes.split_first() else { return };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let Ok(path) = std::str::from_utf8(&rest[..end]) else { return };
    let body = rest.get(end + 1..).unwrap_or_default().to_vec();
    let method = if method & 1 == 1 { Method::Get } else { Method::Post };
    let Ok(call) = C::from_http(&HttpRequest { method, body, ..HttpRequest::get(path) }) else { return };
    let sent = call.to_http();
    let understood = C::from_http(&sent).expect("our own request is understood");
    assert_eq!(understood.to_http(), sent);
}

/// What is understood is answered in the same words again.
fn response<C: Call>(call: &C, body: &[u8]) {
    let mut http = HttpResponse::bytes(200, "application/json", body.to_vec());
    for content_type in ["application/json", "application/octet-stream", "text/plain; charset=utf-8"] {
        http.content_type = content_type;
        http.body = Bytes::copy_from_slice(body);
        let Ok(reply) = call.reply_from_http(&http) else { continue };
        let written = C::reply_to_http(reply);
        let again = call.reply_from_http(&written).expect("our own response is understood");
        assert_eq!(C::reply_to_http(again).body, written.body);
    }
}
