//! What the operator door answers over plain HTTP, beside gRPC. Invariant: each route says what it needs where it is
//! made, and the door asks for that before the route hears of the request.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;

use super::Console;
use super::auth::{Caller, by_token};
use super::door::Peer;
use super::fault::Fault;
use super::rights::Needs;
use problem::Problem;

mod downloads;
pub mod openapi;
pub mod operations;
pub mod problem;

/// Bytes of a request's body: a form of a page.
const BODY_LENGTH_MAX: usize = 64 * 1024;

/// What nothing here overrules: nothing is loaded from elsewhere, and no page is shown within another one's.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// One path, and what it needs.
pub struct Route {
    /// As axum matches it.
    pub path: &'static str,
    /// What who asks has to have.
    pub needs: Needs,
    /// What answers.
    pub service: MethodRouter<Web>,
}

/// What routes answer from.
#[derive(Clone)]
pub struct Web {
    /// Questions and actions.
    pub console: Console,
    needs: Arc<Vec<(&'static str, Needs)>>,
}

/// All of them.
pub fn routes() -> Vec<Route> {
    [operations::routes(), downloads::routes(), openapi::routes()].into_iter().flatten().collect()
}

/// The routes, each behind what it needs.
pub fn router(console: Console) -> Router {
    let routes = routes();
    let needs = Arc::new(routes.iter().map(|route| (route.path, route.needs)).collect());
    let web = Web { console, needs };
    let router =
        routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.service));
    let router = if web.needs.is_empty() {
        router
    } else {
        router.route_layer(from_fn_with_state(web.clone(), let_in))
    };
    router
        .fallback(async || Problem::of(&Fault::NoSuchPage).into_response())
        .layer(DefaultBodyLimit::max(BODY_LENGTH_MAX))
        .layer(from_fn(headers))
        .with_state(web)
}

/// Lets a request through to its route, with who asks.
async fn let_in(State(web): State<Web>, path: MatchedPath, mut request: Request, next: Next) -> Response {
    let needs = web.needs.iter().find(|(of, _)| *of == path.as_str()).map(|(_, needs)| *needs);
    let who = by_token(&web.console.books, request.headers());
    let checked = needs.ok_or(Fault::NotLetIn).and_then(|needs| needs.check(who.as_ref()));
    if let Err(fault) = checked {
        return Problem::of(&fault).into_response();
    }
    if let Some(let_in) = who {
        let from = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
        request.extensions_mut().insert(Caller { let_in, from });
    }
    next.run(request).await
}

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Whatever is shown is one operator's; what may be kept says so itself.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
