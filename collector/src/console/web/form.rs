//! What a form or an address says. Invariant: a field that nobody knows is refused, and nothing that was typed in is
//! repeated in a refusal. What a form proves (its field `csrf`) the door has looked at: no form has to name it.

use axum::body::{Body, to_bytes};
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::BODY_LENGTH_MAX;
use super::problem::Problem;
use crate::console::fault::Fault;

/// The fields of a form.
pub struct Fields<T>(pub T);

/// What stands behind the `?` of an address.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Fields<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let Ok(body) = to_bytes(body, BODY_LENGTH_MAX).await else {
            return Err(Problem::of(&Fault::BodyTooLong(BODY_LENGTH_MAX)));
        };
        let request = Request::from_parts(head, Body::from(without_proof(&body)));
        match Form::<T>::from_request(request, state).await {
            Ok(Form(fields)) => Ok(Self(fields)),
            Err(rejection) => Err(Problem::of(&fault(&rejection))),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(Problem::of(&Fault::value(
                "the address",
                format!("is not right: {}", rejection.body_text()),
            ))),
        }
    }
}

/// A form that says nothing but what the door has looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

/// Why somebody does what the address of the form names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonForm {
    /// As it was typed; the console refuses one that is missing where there has to be one.
    #[serde(default)]
    pub reason: String,
}

/// Ids that were typed into one field: between spaces, commas or lines.
pub fn ids(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| c.is_whitespace() || c == ',');
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn without_proof(form: &[u8]) -> Vec<u8> {
    let fields = form.split(|byte| *byte == b'&').filter(|field| !field.starts_with(b"csrf="));
    fields.collect::<Vec<_>>().join(&b'&')
}

fn fault(rejection: &FormRejection) -> Fault {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Fault::BodyTooLong(BODY_LENGTH_MAX),
        _ => Fault::value("the form", format!("is not right: {}", rejection.body_text())),
    }
}
