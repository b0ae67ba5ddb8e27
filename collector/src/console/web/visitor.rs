//! An answer as its visitor takes it: whoever reads pages sees a fault as one, and a script of a page gets the part that
//! the page has a place for. Invariant: only the form of an answer changes, never its status for a reader.

use askama::Template;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Response};

use super::problem::Problem;
use super::sign_in::reads_pages;

/// Set by htmx on whatever it sends.
pub const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");

/// Has htmx go to another page.
const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");

/// The page that htmx sends from.
const HX_CURRENT_URL: HeaderName = HeaderName::from_static("hx-current-url");

#[derive(Template)]
#[template(path = "problem.html")]
struct Whole<'a> {
    problem: &'a Problem,
}

#[derive(Template)]
#[template(path = "problem_fragment.html")]
struct Fragment<'a> {
    problem: &'a Problem,
}

/// Answers a visitor.
pub async fn shown(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let from_script = headers.contains_key(&HX_REQUEST);
    let (reads, left) = (reads_pages(headers), from_script.then(|| left_page(headers)));
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    match (problem, left) {
        (Some(_), Some(page)) if response.status() == StatusCode::UNAUTHORIZED => {
            led(response, &format!("/sign-in?to={page}"))
        }
        (Some(problem), Some(_)) => as_page(response, Fragment { problem: &problem }.render()),
        (Some(problem), None) if reads => as_page(response, Whole { problem: &problem }.render()),
        (None, Some(_)) if response.status() == StatusCode::SEE_OTHER => {
            let to = response.headers_mut().remove(LOCATION);
            let to = to.as_ref().and_then(|to| to.to_str().ok()).unwrap_or("/").to_owned();
            led(response, &to)
        }
        _ => response,
    }
}

/// Keeps the status and what else stands in the head.
fn as_page(mut response: Response, text: askama::Result<String>) -> Response {
    let Ok(text) = text else { return response };
    let page = Html(text).into_response();
    let kind = page.headers().get(CONTENT_TYPE).cloned();
    *response.body_mut() = page.into_body();
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
    response
}

/// Leads a script to another page; what else stands in the head, a cookie above all, stays.
fn led(mut response: Response, to: &str) -> Response {
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = Body::empty();
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(HX_REDIRECT, to);
    response
}

/// The path of the page that a script asks from, for a query.
fn left_page(headers: &HeaderMap) -> String {
    let url = headers.get(&HX_CURRENT_URL).and_then(|url| url.to_str().ok()).unwrap_or_default();
    let path =
        openidconnect::url::Url::parse(url).map_or_else(|_| "/".to_owned(), |url| url.path().to_owned());
    openidconnect::url::form_urlencoded::byte_serialize(path.as_bytes()).collect()
}
