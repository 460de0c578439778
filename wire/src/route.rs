//! What can be asked, as tables: the one source of the paths that a server answers, of the listeners on which it does, of
//! the labels in its metrics, and of its OpenAPI document ([`openapi`](crate::openapi)).
//!
//! A new call is a variant of its enum, its line in [`Call::ROUTES`], and its samples in the tests.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::codes;
use crate::http::{BYTES, Call, HTML, JSON, Method, TEXT};

/// Where a server is asked. Each listener has an address of its own, so that a firewall can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// By everybody; nobody says who they are.
    Public,
    /// By those who name an account: what is signed by account keys.
    Account,
    /// By whoever runs the server.
    Operator,
}

impl Listener {
    /// All of them.
    pub const ALL: &'static [Listener] = &[Listener::Public, Listener::Account, Listener::Operator];

    /// Its name in settings and documents.
    pub fn name(self) -> &'static str {
        match self {
            Listener::Public => "public",
            Listener::Account => "account",
            Listener::Operator => "operator",
        }
    }
}

/// Something that can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its name: the operation in the OpenAPI document, the label in metrics.
    pub name: &'static str,
    /// By which method.
    pub method: Method,
    /// Where, with `{name}` for one segment of the path and, at the end, `{+name}` for all that follow.
    pub path: &'static str,
    /// What it is for, in a sentence.
    pub summary: &'static str,
    /// On which listeners it is answered.
    pub on: &'static [Listener],
    /// What is sent, as [`Call::REQUEST_TYPE`].
    pub body: Option<SchemaOf>,
    /// The media type of what is sent instead of JSON.
    pub sends: Option<&'static str>,
    /// What is answered if it is not refused.
    pub answers: &'static [Answer],
    /// Lists of the codes by which it may be refused, beside [`codes::OF_ANY_CALL`].
    pub refusals: &'static [&'static [&'static str]],
}

/// An answer that is no refusal.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The media type.
    pub content_type: &'static str,
    /// The JSON, if it is that.
    pub body: Option<SchemaOf>,
}

/// Makes the JSON Schema of a body.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of this body.
pub const fn json_of<T: JsonSchema>() -> SchemaOf {
    |generator| generator.subschema_for::<T>()
}

impl Route {
    /// A GET on the public listener.
    pub const fn get(name: &'static str, path: &'static str, summary: &'static str) -> Route {
        let (on, method) = (&[Listener::Public], Method::Get);
        Route { name, method, path, summary, on, body: None, sends: None, answers: &[], refusals: &[] }
    }

    /// A POST on the public listener.
    pub const fn post(name: &'static str, path: &'static str, summary: &'static str, body: SchemaOf) -> Route {
        Route { method: Method::Post, body: Some(body), ..Route::get(name, path, summary) }
    }

    /// A POST of bytes of this media type on the public listener.
    pub const fn post_bytes(
        name: &'static str,
        path: &'static str,
        summary: &'static str,
        sends: &'static str,
    ) -> Route {
        Route { method: Method::Post, sends: Some(sends), ..Route::get(name, path, summary) }
    }

    /// Answered on these listeners.
    pub const fn on(self, on: &'static [Listener]) -> Route {
        Route { on, ..self }
    }

    /// Answered by these.
    pub const fn gives(self, answers: &'static [Answer]) -> Route {
        Route { answers, ..self }
    }

    /// Refused by these codes, too.
    pub const fn refuses(self, refusals: &'static [&'static [&'static str]]) -> Route {
        Route { refusals, ..self }
    }

    /// Whether this is the path of the route.
    pub fn fits(&self, path: &str) -> bool {
        let (mut template, mut segments) = (self.path.split('/'), path.split('/'));
        loop {
            match (template.next(), segments.next()) {
                (None, None) => return true,
                (Some(rest), Some(first)) if rest.starts_with("{+") => return !first.is_empty(),
                (Some(name), Some(segment)) if name.starts_with('{') && !segment.is_empty() => {}
                (Some(literal), Some(segment)) if literal == segment => {}
                _ => return false,
            }
        }
    }

    /// Every code by which it may be refused.
    pub fn codes(&self) -> impl Iterator<Item = &'static str> {
        [codes::OF_ANY_CALL].into_iter().chain(self.refusals.iter().copied()).flatten().copied()
    }
}

impl Answer {
    /// JSON, status 200.
    pub const fn json<T: JsonSchema>() -> Answer {
        Answer { status: 200, content_type: JSON, body: Some(json_of::<T>()) }
    }

    /// Bytes, status 200.
    pub const fn bytes() -> Answer {
        Answer { status: 200, content_type: BYTES, body: None }
    }

    /// Text, status 200.
    pub const fn text() -> Answer {
        Answer { status: 200, content_type: TEXT, body: None }
    }

    /// With another status.
    pub const fn status(self, status: u16) -> Answer {
        Answer { status, ..self }
    }

    /// With another media type.
    pub const fn content_type(self, content_type: &'static str) -> Answer {
        Answer { content_type, ..self }
    }
}

/// What every server answers, whatever the party.
pub const OF_EVERY_SERVER: &[Route] = &[
    Route::get("openapi", "/openapi.json", "This document.").gives(&[Answer::json::<serde_json::Value>()]),
    Route::get("problem_page", "/problems/{code}", "What a refusal's code means, and what the caller should do.")
        .on(Listener::ALL)
        .gives(&[Answer::text().content_type(HTML)])
        .refuses(&[&["not_found"]]),
    Route::get("health", "/healthz", "Answers `ok` while the process is up.")
        .on(&[Listener::Operator])
        .gives(&[Answer::text()]),
    Route::get("readiness", "/readyz", "Answers `ok` while the party can answer calls.")
        .on(&[Listener::Operator])
        .gives(&[Answer::text()]),
    Route::get("metrics", "/metrics", "What is measured, as Prometheus reads it.")
        .on(&[Listener::Operator])
        .gives(&[Answer::text().content_type(METRICS)]),
];

/// The media type of metrics (Prometheus text format).
pub const METRICS: &str = "text/plain; version=0.0.4";

/// Everything that a server of these calls answers.
pub fn routes<C: Call>() -> impl Iterator<Item = &'static Route> + Clone {
    OF_EVERY_SERVER.iter().chain(C::ROUTES)
}

/// The route that is asked so.
pub fn find<C: Call>(method: Method, path: &str) -> Option<&'static Route> {
    routes::<C>().find(|route| route.method == method && route.fits(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fit_paths() {
        let fits = |template, path| Route::get("", template, "").fits(path);
        for (template, path) in [
            ("/v1/bank", "/v1/bank"),
            ("/v1/goods/{digest}", "/v1/goods/x"),
            ("/tile/{+path}", "/tile/0/x001/067.p/3"),
            ("/a/{b}/c", "/a/x/c"),
        ] {
            assert!(fits(template, path), "{template} {path}");
        }
        for (template, path) in [
            ("/v1/bank", "/v1/bank/"),
            ("/v1/bank", "/v1"),
            ("/v1/goods/{digest}", "/v1/goods/"),
            ("/v1/goods/{digest}", "/v1/goods"),
            ("/v1/goods/{digest}", "/v1/goods/x/y"),
            ("/tile/{+path}", "/tile/"),
            ("/tile/{+path}", "/tile"),
            ("/a/{b}/c", "/a/x/d"),
        ] {
            assert!(!fits(template, path), "{template} {path}");
        }
    }
}
