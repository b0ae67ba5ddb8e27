//! Requests to a far side, and what became of them. Invariant: what is said of an answer is the far side's words, cut
//! to a sentence; headers with secrets are marked so (`HeaderValue::set_sensitive`) and are never shown.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use serde_json::Value;

/// Longest sentence of a far side's that is passed on, in characters.
const SAID_MAX: usize = 300;

/// Longest a far side may have us wait: it is asked again the next day at the latest.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Fields of an error's body that say what is wrong, of all far sides.
const WORDS: [&str; 10] = [
    "error_message",
    "error_description",
    "message",
    "error",
    "errors",
    "detail",
    "details",
    "title",
    "error_subject",
    "error_code",
];

/// A request that brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It never left: the far side knows nothing of it.
    #[error("nobody was reached: {0}")]
    NotReached(String),
    /// Nobody knows whether it was carried out.
    #[error("no answer came: {0}")]
    NoAnswer(String),
}

/// Carries requests to a far side.
pub trait Transport: Send + Sync {
    /// Sends one and waits for its answer, for as long as a request may take.
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, CallError>>;
}

/// Why something was not done at a far side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It will pass: to be tried again.
    #[error("{why}")]
    Again {
        /// What happened.
        why: String,
        /// No sooner than this, when the far side said so.
        after: Option<Duration>,
    },
    /// It stays so until a person has changed something.
    #[error("{why}")]
    Stop {
        /// What happened.
        why: String,
        /// What to change.
        hint: String,
    },
}

impl SendError {
    /// It stays so.
    pub fn stop(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Stop { why: why.into(), hint: hint.into() }
    }

    /// It will pass.
    pub fn again(why: impl Into<String>) -> Self {
        Self::Again { why: why.into(), after: None }
    }

    /// What an answer other than the wanted one means; `act` is what was asked for (`the order`).
    pub fn of(act: &str, answer: &Response<Bytes>) -> Self {
        let status = answer.status();
        let why = format!(
            "{act} was answered with {status}{}",
            said(answer.body()).map(|said| format!(": {said}")).unwrap_or_default()
        );
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
                Self::Again { why, after: retry_after(answer) }
            }
            _ if status.is_server_error() => Self::Again { why, after: retry_after(answer) },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::stop(
                why,
                "renew the destination's secrets file, or what its secrets command gives; the far side lets these \
                 credentials do no such thing",
            ),
            StatusCode::NOT_FOUND => Self::stop(
                why,
                "see that the ids in the mapping, and the destination's options, are the far side's",
            ),
            _ => Self::stop(
                why,
                "the far side's words say what it does not take; mend that, then `seatbeat upload retry`",
            ),
        }
    }
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        Self::again(error.to_string())
    }
}

/// How long the far side wants to be left alone; a date there is left out of account.
pub fn retry_after(answer: &Response<Bytes>) -> Option<Duration> {
    let seconds: u64 = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// What an answer's body says, where it is JSON with a field that does.
pub fn said(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let mut words = Vec::new();
    gather(&value, &mut words);
    words.dedup();
    let words = words.join("; ");
    (!words.is_empty()).then(|| words.chars().filter(|c| !c.is_control()).take(SAID_MAX).collect())
}

fn gather(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::String(text) => words.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| gather(value, words)),
        Value::Object(fields) => {
            WORDS.iter().filter_map(|name| fields.get(*name)).for_each(|value| gather(value, words));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry: Option<&str>, body: &str) -> Response<Bytes> {
        let mut answer = Response::builder().status(status);
        if let Some(retry) = retry {
            answer = answer.header(RETRY_AFTER, retry);
        }
        answer.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    #[test]
    fn what_passes_is_tried_again_and_no_sooner_than_was_said() {
        let after = |error| match error {
            SendError::Again { after, .. } => after,
            SendError::Stop { why, .. } => panic!("{why}"),
        };
        let of = |status, retry| after(SendError::of("it", &answer(status, retry, "")));
        assert_eq!(of(429, Some("120")), Some(Duration::from_secs(120)));
        assert_eq!(of(503, Some("99999999")), Some(RETRY_AFTER_MAX));
        assert_eq!(of(500, Some("Fri, 31 Dec 1999 23:59:59 GMT")), None);
        assert_eq!(of(408, None), None);
    }

    #[test]
    fn what_stays_stops_with_what_to_do() {
        for (status, words) in [(401, "secrets"), (403, "secrets"), (404, "mapping"), (400, "retry")] {
            let error = SendError::of("the order", &answer(status, None, ""));
            assert!(matches!(&error, SendError::Stop { hint, .. } if hint.contains(words)), "{error:?}");
        }
    }

    #[test]
    fn of_an_answer_only_its_words_are_passed_on() {
        let body = r#"{"error_code":"VAL_001","errors":["asset: is not known","x\ny"],"token":"s3cret"}"#;
        assert_eq!(said(body.as_bytes()).unwrap(), "asset: is not known; xy; VAL_001");
        let nested = r#"{"error":{"message":"no","code":7}}"#;
        assert_eq!(said(nested.as_bytes()).unwrap(), "no");
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(5_000));
        assert_eq!(said(long.as_bytes()).unwrap().len(), SAID_MAX);
        assert_eq!((said(b"<html>"), said(b"{}")), (None, None));
    }
}
