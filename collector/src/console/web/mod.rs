//! What the operator door answers over plain HTTP, beside gRPC. Invariant: each route says what it needs where it is
//! made, and the door asks for that before the route hears of the request.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::MethodRouter;
use openidconnect::url::form_urlencoded;

use super::Console;
use super::auth::Caller;
use super::door::{Encrypted, Peer};
use super::fault::Fault;
use super::rights::Needs;
use entry::{FETCH_SITE, Kind, came, set_cookie};
use problem::Problem;
use sign_in::reads_pages;

pub mod assets;
mod downloads;
pub mod entry;
pub mod form;
pub mod live;
pub mod openapi;
pub mod operations;
pub mod pages;
pub mod problem;
pub mod sign_in;
pub mod sign_in_oidc;
mod sign_in_page;
mod visitor;

/// Bytes of a request's body: a form of a page.
const BODY_LENGTH_MAX: usize = 64 * 1024;

/// Says that a page of ours is asked from, and no more than that to others. With none at all browsers would not say
/// that a form is of this place.
const REFERRER: &str = "same-origin";

/// What nothing here overrules: nothing is loaded from elsewhere, and no page is shown within another one's.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
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
    let rooms = [
        operations::routes(),
        downloads::routes(),
        openapi::routes(),
        sign_in::routes(),
        sign_in_oidc::routes(),
        assets::routes(),
        live::routes(),
        pages::routes(),
    ];
    rooms.into_iter().flatten().collect()
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
        .layer(from_fn(visitor::shown))
        .layer(from_fn(headers))
        .with_state(web)
}

/// Lets a request through to its route, with who asks.
async fn let_in(State(web): State<Web>, path: MatchedPath, request: Request, next: Next) -> Response {
    let needs = web.needs.iter().find(|(of, _)| *of == path.as_str()).map(|(_, needs)| *needs);
    let Some(needs) = needs else { return Problem::of(&Fault::NotLetIn).into_response() };
    let (came, mut request) = match came(&web, needs, request).await {
        Ok(came) => came,
        Err(fault) => return Problem::of(&fault).into_response(),
    };
    let encrypted = request.extensions().get::<Encrypted>().is_some();
    let checked = came.fault.map_or_else(|| needs.check(came.let_in.as_ref()), Err);
    let mut response = match checked {
        Err(fault) => refused(&fault, &request),
        Ok(()) => {
            let from = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
            if let Some(let_in) = came.let_in {
                request.extensions_mut().insert(Caller { let_in, from });
            }
            if let Some(session) = came.session {
                request.extensions_mut().insert(session);
            }
            next.run(request).await
        }
    };
    let cookie = came.cookie.map(|cookie| set_cookie(Kind::Session, &cookie, encrypted));
    // What answers may have set one itself: it is the newer one.
    if let Some(Ok(cookie)) = cookie.map(|cookie| HeaderValue::from_str(&cookie)) {
        response.headers_mut().entry(SET_COOKIE).or_insert(cookie);
    }
    response
}

/// Says that somebody is not let in; who looks at pages is led to where they can sign in.
fn refused(fault: &Fault, request: &Request) -> Response {
    let is_page = request.method() == Method::GET && reads_pages(request.headers());
    if !matches!(fault, Fault::NotLetIn) || !is_page || request.headers().contains_key(AUTHORIZATION) {
        let mut response = Problem::of(fault).into_response();
        if request.headers().contains_key(FETCH_SITE) {
            // A script of a page asks: its browser would open a window for name and password by itself.
            response.headers_mut().remove(WWW_AUTHENTICATE);
        }
        return response;
    }
    let to: String = form_urlencoded::byte_serialize(request.uri().path().as_bytes()).collect();
    Redirect::to(&format!("/sign-in?to={to}")).into_response()
}

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A page whose address is nobody's to know says so itself.
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static(REFERRER));
    // Whatever is shown is one operator's; what may be kept says so itself.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
