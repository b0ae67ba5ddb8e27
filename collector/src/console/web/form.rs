//! What a form or an address says. Invariant: a field that nobody knows is refused, and nothing that was typed in is
//! repeated in a refusal.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
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

/// Ids that were typed into one field: between spaces, commas or lines.
pub fn ids(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| c.is_whitespace() || c == ',');
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn fault(rejection: &FormRejection) -> Fault {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Fault::BodyTooLong(BODY_LENGTH_MAX),
        _ => Fault::value("the form", format!("is not right: {}", rejection.body_text())),
    }
}
