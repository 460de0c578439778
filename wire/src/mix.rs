//! What the operator of a mix asks it by HTTP. Everybody else speaks to a mix in blocks ([`link`](crate::link)).

use naulon_onion::Descriptor;
use naulon_statement::Unverified;

use crate::bank::bad_reply;
use crate::http::{BYTES, Call, CallError, HttpRequest, HttpResponse, Method};
use crate::problem::Problem;
use crate::route::{Answer, Listener, Route};

const MIX: &str = "/v1/mix";

/// What a mix can be asked by its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixCall {
    /// What it says about itself. `GET /v1/mix`
    Describe,
}

/// What it answers.
pub enum MixReply {
    /// The descriptor in force: a COSE_Sign1 of the mix.
    Descriptor(Box<Unverified<Descriptor>>),
}

impl Call for MixCall {
    type Reply = MixReply;

    const PARTY: &'static str = "mix";

    const ROUTES: &'static [Route] = &[Route::get("mix", MIX, "The mix's signed descriptor, as it registers it.")
        .on(&[Listener::Operator])
        .gives(&[Answer::bytes()])];

    fn to_http(&self) -> HttpRequest {
        HttpRequest::get(MIX)
    }

    fn from_http(request: &HttpRequest) -> Result<Self, Problem> {
        match (request.method, request.path.as_str()) {
            (Method::Get, MIX) => Ok(MixCall::Describe),
            _ => Err(request.not_found()),
        }
    }

    fn reply_to_http(MixReply::Descriptor(descriptor): MixReply) -> HttpResponse {
        HttpResponse::bytes(200, BYTES, descriptor.bytes().to_vec())
    }

    fn reply_from_http(&self, response: &HttpResponse) -> Result<MixReply, CallError> {
        let descriptor = Unverified::parse(&response.body).map_err(bad_reply)?;
        Ok(MixReply::Descriptor(Box::new(descriptor)))
    }
}
