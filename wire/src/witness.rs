//! What a witness can be asked (C2SP tlog-witness). Its bodies are lines of text, not JSON, so that stock logs and
//! witnesses understand them.

use naulon_tlog::AddCheckpoint;

use crate::bank::bad_reply;
use crate::http::{Call, CallError, HttpRequest, HttpResponse, Method, TEXT, TLOG_SIZE};
use crate::problem::Problem;
use crate::route::{Answer, Route, json_of};

const ADD_CHECKPOINT: &str = "/add-checkpoint";

/// What a witness can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessCall {
    /// Cosign this checkpoint. `POST /add-checkpoint`
    AddCheckpoint(AddCheckpoint),
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessReply {
    /// It has cosigned: the lines of its cosignatures, nothing of them verified. Status 200.
    Cosigned(String),
    /// It has cosigned last a tree of this size, or of this size another tree. Status 409.
    Known(u64),
    /// It has refused, with this status: 400, 403, 404 or 422. Ours says why in a problem, stock witnesses as they like.
    Refused(u16),
}

impl Call for WitnessCall {
    type Reply = WitnessReply;

    const PARTY: &'static str = "witness";

    const ROUTES: &'static [Route] = &[Route::post(
        "add_checkpoint",
        ADD_CHECKPOINT,
        "Cosigns a checkpoint that continues the one cosigned last (C2SP tlog-witness). 409 tells the size of that one.",
        json_of::<String>(),
    )
    .gives(&[Answer::text(), Answer::text().status(409).content_type(TLOG_SIZE)])
    .refuses(&[&["bad_signature", "unknown_origin", "inconsistent"]])];

    const REQUEST_TYPE: &'static str = TEXT;

    fn is_reply(status: u16) -> bool {
        status < 400 || matches!(status, 400 | 403 | 404 | 409 | 422)
    }

    fn to_http(&self) -> HttpRequest {
        let WitnessCall::AddCheckpoint(request) = self;
        HttpRequest::post_text(ADD_CHECKPOINT, request.text())
    }

    fn from_http(request: &HttpRequest) -> Result<Self, Problem> {
        match (request.method, request.path.as_str()) {
            (Method::Post, ADD_CHECKPOINT) => {
                let malformed = || Problem::new("malformed", "not an old size, a proof and a checkpoint");
                AddCheckpoint::parse(&request.body).map(WitnessCall::AddCheckpoint).ok_or_else(malformed)
            }
            _ => Err(request.not_found()),
        }
    }

    fn reply_to_http(reply: WitnessReply) -> HttpResponse {
        match reply {
            WitnessReply::Cosigned(lines) => HttpResponse::bytes(200, TEXT, lines),
            WitnessReply::Known(size) => HttpResponse::bytes(409, TLOG_SIZE, format!("{size}\n")),
            WitnessReply::Refused(status) => HttpResponse::bytes(status, TEXT, ""),
        }
    }

    fn reply_from_http(&self, response: &HttpResponse) -> Result<WitnessReply, CallError> {
        let text = std::str::from_utf8(&response.body).map_err(bad_reply)?;
        match response.status {
            409 => {
                let size = text.strip_suffix('\n').unwrap_or(text).parse();
                size.map(WitnessReply::Known).map_err(bad_reply)
            }
            status if status >= 400 => Ok(WitnessReply::Refused(status)),
            _ => Ok(WitnessReply::Cosigned(text.to_owned())),
        }
    }
}
