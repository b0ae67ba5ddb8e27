//! The house's own pages, asked with operators' tokens. Invariant of these tests: what is looked for is what an operator
//! reads, and whatever somebody typed in is text there.

use axum::body::{Body as HttpBody, to_bytes};
use axum::http::{HeaderMap, StatusCode};

use super::super::*;

mod account;
mod alerts;
mod audit;
mod operators;
mod orders;
mod overview;
mod settings;

/// A name that would run if it were not text.
const MARKUP: &str = "<script>alert(1)</script>";

/// A page, or where it leads.
#[derive(Debug)]
struct Shown {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Shown {
    fn has(&self, words: &str) -> bool {
        self.body.contains(words)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// That it is a page, with what was typed in as text.
    fn checked(self) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        assert!(!self.has(MARKUP), "{}", self.body);
        assert_eq!(self.body.matches("<h1>").count(), 1, "one heading of a page");
        self
    }
}

async fn sent(house: &House, request: http::Request<HttpBody>) -> Shown {
    let response = Service::<http::Request<HttpBody>>::call(&mut house.server(), request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 1 << 22).await.unwrap();
    Shown { status: head.status, headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() }
}

fn as_browser(request: http::request::Builder, token: &str) -> http::request::Builder {
    request
        .header("host", "seats.example")
        .header("accept", "text/html")
        .header("authorization", format!("Bearer {token}"))
}

async fn get(house: &House, path: &str, token: &str) -> Shown {
    sent(house, as_browser(http::Request::get(path), token).body(HttpBody::empty()).unwrap()).await
}

/// A page of who founded the house.
async fn page(house: &House, path: &str) -> Shown {
    get(house, path, &house.token).await.checked()
}

async fn post_as(house: &House, path: &str, token: &str, fields: &[(&str, &str)]) -> Shown {
    let request = as_browser(http::Request::post(path), token)
        .header("content-type", "application/x-www-form-urlencoded");
    let mut form = openidconnect::url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        form.append_pair(name, value);
    }
    sent(house, request.body(HttpBody::from(form.finish())).unwrap()).await
}

/// A form that who founded the house sends.
async fn post(house: &House, path: &str, fields: &[(&str, &str)]) -> Shown {
    post_as(house, path, &house.token, fields).await
}

/// That an act led on, to where its page says what was done.
fn led(shown: &Shown, to: &str) {
    assert_eq!((shown.status, shown.header("location")), (StatusCode::SEE_OTHER, to), "{}", shown.body);
}
