//! A fault as HTTP says it (RFC 9457, Problem Details). Invariant: a fault has one status, and its kind travels beside
//! its words; what went wrong inside is for the log.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::console::fault::{Fault, Reason};

/// See the module's text.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    title: &'static str,
    status: u16,
    /// The fault's words.
    detail: String,
    /// Its kind, from a closed set.
    reason: &'static str,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl Problem {
    /// What a fault looks like.
    pub fn of(fault: &Fault) -> Self {
        let reason = fault.reason();
        let status = status(reason);
        if status.is_server_error() {
            tracing::error!(error = %fault.words(), "an operator's request failed");
        }
        Self {
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: fault.words(),
            reason: reason.as_str(),
            hint: fault.hint(),
            retry_after_s: fault.retry_after_s(),
        }
    }

    /// What kind of answer it is, in words.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The fault's words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::of(&fault)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let wait = self.retry_after_s.map(HeaderValue::from);
        let problem = self.clone();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        // Who looks at pages is shown it as one.
        response.extensions_mut().insert(problem);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = wait {
            headers.insert(RETRY_AFTER, wait);
        }
        if status == StatusCode::UNAUTHORIZED {
            // Spreadsheets ask for a user and a password when they are told to.
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"Seatbeat\", charset=\"UTF-8\""),
            );
        }
        response
    }
}

fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::NotLetIn => StatusCode::UNAUTHORIZED,
        // No way in of HTTP's own: a browser would ask for a name and a password by itself.
        Reason::Forbidden | Reason::SignInRefused => StatusCode::FORBIDDEN,
        Reason::Provider => StatusCode::BAD_GATEWAY,
        Reason::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::TooOften => StatusCode::TOO_MANY_REQUESTS,
        Reason::Invalid | Reason::Policy | Reason::Catalogue => StatusCode::BAD_REQUEST,
        Reason::NoSuchPage
        | Reason::UnknownCustomer
        | Reason::UnknownMachine
        | Reason::UnknownToken
        | Reason::UnknownLicence
        | Reason::UnknownBatch
        | Reason::UnknownOperator
        | Reason::NotSealed => StatusCode::NOT_FOUND,
        Reason::Exists
        | Reason::NoAddress
        | Reason::ZoneFixed
        | Reason::NotOver
        | Reason::NobodyYet
        | Reason::InGrace
        | Reason::AlreadySealed
        | Reason::Blocked
        | Reason::SeatsTaken
        | Reason::OrderRefused
        | Reason::NotSuperseded
        | Reason::DraftChanged
        | Reason::LastAdmin
        | Reason::Overtaken => StatusCode::CONFLICT,
        Reason::NotReached | Reason::NotWritten => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
