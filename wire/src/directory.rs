//! What a directory can be asked. Everybody gets the same list, whole: to ask for one mix would tell which.

use naulon_onion::{Descriptor, Listing};
use naulon_statement::Unverified;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bank::bad_reply;
use crate::codes;
use crate::http::{BYTES, Call, CallError, HttpRequest, HttpResponse, Method};
use crate::problem::Problem;
use crate::route::{Answer, Route, json_of};
use crate::text::B64;

const LIST: &str = "/v1/directory";
const MIXES: &str = "/v1/mixes";

/// What a directory can be asked.
#[derive(Clone)]
pub enum DirectoryCall {
    /// The whole list. `GET /v1/directory`
    List,
    /// A mix describes itself. `POST /v1/mixes`
    Register(Unverified<Descriptor>),
}

/// What a directory answers.
pub enum DirectoryReply {
    /// To `List`: a COSE_Sign1 of the directory.
    List(Box<Unverified<Listing>>),
    /// To `Register`: the descriptor is in the next list.
    Registered,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    descriptor: B64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegisteredBody {
    registered: bool,
}

impl Call for DirectoryCall {
    type Reply = DirectoryReply;

    const PARTY: &'static str = "directory";

    const ROUTES: &'static [Route] = &[
        Route::get(
            "directory",
            LIST,
            "All mixes, banks and logs: one statement, signed by the directory, the same for all.",
        )
        .gives(&[Answer::bytes()]),
        Route::post("register_mix", MIXES, "Takes a mix's descriptor into the list.", json_of::<RegisterBody>())
            .gives(&[Answer::json::<RegisteredBody>()])
            .refuses(&[codes::OF_STATEMENTS, &["mix_not_allowed", "descriptor_bad", "descriptor_old"]]),
    ];

    fn to_http(&self) -> HttpRequest {
        match self {
            DirectoryCall::List => HttpRequest::get(LIST),
            DirectoryCall::Register(descriptor) => {
                HttpRequest::post(MIXES, &RegisterBody { descriptor: descriptor.bytes().into() })
            }
        }
    }

    fn from_http(request: &HttpRequest) -> Result<Self, Problem> {
        match (request.method, request.path.as_str()) {
            (Method::Get, LIST) => Ok(DirectoryCall::List),
            (Method::Post, MIXES) => {
                let body: RegisterBody = request.json()?;
                let descriptor = Unverified::parse(&body.descriptor.0);
                Ok(DirectoryCall::Register(descriptor.map_err(|error| Problem::new(error.code(), error))?))
            }
            _ => Err(request.not_found()),
        }
    }

    fn reply_to_http(reply: DirectoryReply) -> HttpResponse {
        match reply {
            DirectoryReply::List(list) => HttpResponse::bytes(200, BYTES, list.bytes().to_vec()),
            DirectoryReply::Registered => HttpResponse::json(200, &RegisteredBody { registered: true }),
        }
    }

    fn reply_from_http(&self, response: &HttpResponse) -> Result<DirectoryReply, CallError> {
        match self {
            DirectoryCall::List => {
                let list = Unverified::parse(&response.body).map_err(bad_reply)?;
                Ok(DirectoryReply::List(Box::new(list)))
            }
            DirectoryCall::Register(_) => {
                let _: RegisteredBody = response.parse()?;
                Ok(DirectoryReply::Registered)
            }
        }
    }
}
