//! An answer as its visitor takes it: whoever reads pages sees a fault as one, and a script of a page gets the part that
//! the page has a place for. Invariant: only the form of an answer changes, never its status for a reader.

use askama::Template;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
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
            led(&format!("/sign-in?to={page}"))
        }
        (Some(problem), Some(_)) => as_page(response, Fragment { problem: &problem }.render()),
        (Some(problem), None) if reads => as_page(response, Whole { problem: &problem }.render()),
        (None, Some(_)) if response.status() == StatusCode::SEE_OTHER => {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("/");
            let mut led = led(to);
            // A session may just have got another cookie.
            for cookie in response.headers().get_all(SET_COOKIE) {
                led.headers_mut().append(SET_COOKIE, cookie.clone());
            }
            led
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
    headers.remove(axum::http::header::CONTENT_LENGTH);
    headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
    response
}

fn led(to: &str) -> Response {
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::OK, [(HX_REDIRECT, to)]).into_response()
}

/// The path of the page that a script asks from, for a query.
fn left_page(headers: &HeaderMap) -> String {
    let url = headers.get(&HX_CURRENT_URL).and_then(|url| url.to_str().ok()).unwrap_or_default();
    let path =
        openidconnect::url::Url::parse(url).map_or_else(|_| "/".to_owned(), |url| url.path().to_owned());
    openidconnect::url::form_urlencoded::byte_serialize(path.as_bytes()).collect()
}
