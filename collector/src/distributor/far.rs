//! Asking a far side that speaks JSON. Invariant: what a mapping or an answer says stands encoded in an address, so
//! that no id leads elsewhere; a token is kept in memory for as long as it lasts, is never shown, and one that is
//! refused is asked for anew once.

use std::fmt::Write as _;
use std::future::Future;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::call::SendError;
use super::connector::Tools;

/// How long before its end a token is given up: a request and its answer take no longer.
const TOKEN_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// A text as one segment of a path, or one value of a query or a form.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A whole number, which some write as a text.
pub fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// An id, which some write as a number; empty where there is none.
pub fn id(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// A request to an address, with a body or an empty one.
///
/// # Errors
/// When it is no address.
pub fn request(method: Method, address: &str, body: Option<&Value>) -> Result<Request<Bytes>, SendError> {
    let mut request = Request::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default());
    *request.method_mut() = method;
    *request.uri_mut() = address.parse().map_err(|_| {
        SendError::stop(format!("`{address}` is no address"), "see that the ids in the mapping are right")
    })?;
    if body.is_some() {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(request)
}

/// What an answer holds; `act` is what was asked for.
///
/// # Errors
/// When the far side refused, or what it says is not what it should be.
pub fn read<T: DeserializeOwned>(act: &str, answer: &Response<Bytes>) -> Result<T, SendError> {
    if !answer.status().is_success() {
        return Err(SendError::of(act, answer));
    }
    serde_json::from_slice(answer.body())
        .map_err(|error| SendError::again(format!("{act}: the answer cannot be read: {error}")))
}

/// A token of a far side's.
pub struct Token {
    /// What stands behind `Bearer`.
    pub value: Zeroizing<String>,
    /// How long it lasts.
    pub lasts_s: u64,
}

/// The token that is in use.
#[derive(Default)]
pub struct Session {
    kept: Mutex<Option<(Zeroizing<String>, Timestamp)>>,
}

impl Session {
    /// Sends a request under the token in use, or under a new one when there is none, or it is refused.
    ///
    /// # Errors
    /// When nobody answers, or there is no new token.
    pub async fn ask<Renewed>(
        &self,
        tools: &Tools,
        request: Request<Bytes>,
        renew: impl Fn() -> Renewed,
    ) -> Result<Response<Bytes>, SendError>
    where
        Renewed: Future<Output = Result<Token, SendError>>,
    {
        let (token, is_new) = self.token(tools, &renew).await?;
        let answer = tools.transport.call(bearing(&request, &token)?).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || is_new {
            return Ok(answer);
        }
        self.forget(&token).await;
        let (token, _) = self.token(tools, &renew).await?;
        Ok(tools.transport.call(bearing(&request, &token)?).await?)
    }

    /// The token in use, and whether it is a new one. Who comes while it is renewed waits for the same.
    async fn token<Renewed>(
        &self,
        tools: &Tools,
        renew: impl Fn() -> Renewed,
    ) -> Result<(Zeroizing<String>, bool), SendError>
    where
        Renewed: Future<Output = Result<Token, SendError>>,
    {
        let mut kept = self.kept.lock().await;
        let now = tools.clock.now();
        if let Some((token, until)) = &*kept
            && now < *until
        {
            return Ok((token.clone(), false));
        }
        let Token { value, lasts_s } = renew().await?;
        let lasts = SignedDuration::from_secs(i64::try_from(lasts_s).unwrap_or(i64::MAX));
        let until = now.checked_add(lasts.saturating_sub(TOKEN_MARGIN)).unwrap_or(Timestamp::MAX);
        *kept = Some((value.clone(), until));
        Ok((value, true))
    }

    async fn forget(&self, token: &str) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|(kept, _)| kept.as_str() == token) {
            *kept = None;
        }
    }
}

/// A secret as a header's value, which is not shown.
///
/// # Errors
/// When it is none.
pub fn secret_header(text: &str) -> Result<HeaderValue, SendError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        SendError::stop(
            "a secret of the destination's has characters that no header can carry",
            "see that its secrets file has neither line breaks nor control characters inside a value",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearing(request: &Request<Bytes>, token: &str) -> Result<Request<Bytes>, SendError> {
    let mut request = request.clone();
    let bearer = Zeroizing::new(format!("Bearer {token}"));
    request.headers_mut().insert(AUTHORIZATION, secret_header(&bearer)?);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment_whatever_it_says() {
        assert_eq!(encoded("bd369fc5-61ad_4d40.8d68~1"), "bd369fc5-61ad_4d40.8d68~1");
        assert_eq!(encoded("../a b?c#d&e=é"), "..%2Fa%20b%3Fc%23d%26e%3D%C3%A9");
    }

    #[test]
    fn numbers_and_ids_are_read_however_they_are_written() {
        let value: Value = serde_json::from_str(r#"["40",40,4.5,"x",null,-1]"#).unwrap();
        let wholes: Vec<Option<u64>> = value.as_array().unwrap().iter().map(whole).collect();
        assert_eq!(wholes, [Some(40), Some(40), None, None, None, None]);
        let ids: Vec<String> = value.as_array().unwrap().iter().map(id).collect();
        assert_eq!(ids, ["40", "40", "4.5", "x", "", "-1"]);
    }

    #[test]
    fn a_secret_in_a_header_is_not_shown() {
        let request = bearing(&Request::new(Bytes::new()), "s3cret").unwrap();
        assert!(!format!("{request:?}").contains("s3cret"));
        let error = secret_header("s3\ncret").unwrap_err();
        assert!(!format!("{error:?}").contains("s3"), "{error:?}");
    }
}
