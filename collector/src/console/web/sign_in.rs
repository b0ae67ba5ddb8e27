//! Signing in and out in a browser, and what one's own session is. Invariant: nobody is sent to another place; a cookie
//! is set by an answer to a form of ours, and never by a link.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::header::{ACCEPT, LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use seatbeat_ledger::operators::{Reach, Role};
use seatbeat_proto::ids::{ApiTokenId, CustomerId, OperatorId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::entry::{Kind, cookie_of, set_cookie};
use super::form::{Asked, Fields, NoFields};
use super::problem::Problem;
use super::{Route, Web, sign_in_page};
use crate::console::auth::Caller;
use crate::console::door::{Encrypted, Peer};
use crate::console::fault::{Fault, Reason};
use crate::console::rights::Needs;
use crate::console::sign_in::Origin;
use crate::console::sign_in::change::OwnPasswordAsked;
use crate::console::sign_in::enter::{InSession, NewSession, Tried};

/// Where who has signed in is led when they came from nowhere.
const HOME: &str = "/";

/// Longest address that somebody is led back to, in bytes.
const TARGET_LENGTH_MAX: usize = 512;

/// Longest code of a link that is filled in, in bytes: ours have 43.
const CODE_LENGTH_MAX: usize = 128;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    let route = |path, needs, service| Route { path, needs, service };
    vec![
        route("/sign-in", Needs::Nobody, get(page).post(sign_in)),
        route("/sign-in/link", Needs::Nobody, get(link_page).post(by_link)),
        route("/sign-out", Needs::SignedIn, post(sign_out)),
        route("/session", Needs::SignedIn, get(session)),
        route("/session/password", Needs::SignedIn, post(password)),
        route("/session/totp", Needs::SignedIn, post(totp)),
    ]
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Target {
    to: String,
}

/// A one-time link, as it is opened: its code is filled in, and who opened it signs in with a button.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OpenedLink {
    to: String,
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInForm {
    name: String,
    password: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkForm {
    code: String,
    #[serde(default)]
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordForm {
    #[serde(default)]
    current: String,
    #[serde(default)]
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TotpForm {
    act: TotpAct,
    #[serde(default)]
    password: String,
    #[serde(default)]
    code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum TotpAct {
    Begin,
    Confirm,
    Remove,
}

/// Who is asking, as they are told.
#[derive(Serialize)]
struct Told {
    operator: OperatorId,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_token: Option<ApiTokenId>,
    roles: Vec<Role>,
    /// Empty without `all_customers`: nobody's.
    customers: Vec<CustomerId>,
    all_customers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<ToldSession>,
}

#[derive(Serialize)]
struct ToldSession {
    means: &'static str,
    csrf: String,
    expires_at: Timestamp,
}

async fn page(State(web): State<Web>, Asked(target): Asked<Target>) -> Html<String> {
    Html(sign_in_page::password(local(&target.to), None, web.console.has_provider()))
}

/// Opening a link signs nobody in: programs open links that they come across, and others may have made one.
async fn link_page(Asked(opened): Asked<OpenedLink>) -> Response {
    let code = Zeroizing::new(opened.code);
    let is_one = code.len() <= CODE_LENGTH_MAX;
    let page = sign_in_page::link(local(&opened.to), if is_one { &code } else { "" }, None);
    // The code stands in the address, which goes nowhere from here.
    ([(REFERRER_POLICY, HeaderValue::from_static("strict-origin"))], Html(page)).into_response()
}

async fn sign_in(State(web): State<Web>, visit: Visit, Fields(form): Fields<SignInForm>) -> Response {
    let password = Zeroizing::new(form.password);
    let tried = Tried { name: form.name, password, code: form.code };
    let to = local(&form.to).to_owned();
    match web.console.sign_in(tried, visit.origin()).await {
        Ok(begun) => visit.led_to(&to, &begun),
        Err(fault) => {
            let page = |words: &str| sign_in_page::password(&to, Some(words), web.console.has_provider());
            visit.refused(&fault, page)
        }
    }
}

async fn by_link(State(web): State<Web>, visit: Visit, Fields(form): Fields<LinkForm>) -> Response {
    let code = Zeroizing::new(form.code);
    let to = local(&form.to).to_owned();
    match web.console.sign_in_by_link(&code, visit.origin()).await {
        Ok(begun) => visit.led_to(&to, &begun),
        Err(fault) => visit.refused(&fault, |words| sign_in_page::link(&to, "", Some(words))),
    }
}

async fn sign_out(
    State(web): State<Web>,
    session: Option<Extension<InSession>>,
    visit: Visit,
    Fields(_): Fields<NoFields>,
) -> Result<Response, Problem> {
    if let Some(Extension(session)) = session {
        web.console.sign_out(&session).await.map_err(|fault| Problem::of(&fault))?;
    }
    Ok(visit.led_with("/sign-in", set_cookie(Kind::Session, "", visit.encrypted)))
}

async fn session(Extension(caller): Extension<Caller>, session: Option<Extension<InSession>>) -> Response {
    let customers = match caller.reach() {
        Reach::House => None,
        Reach::Customers(customers) => Some(customers.into_iter().collect()),
    };
    let told = Told {
        operator: caller.operator().clone(),
        roles: caller.let_in.grants.iter().map(|grant| grant.role).collect(),
        all_customers: customers.is_none(),
        customers: customers.unwrap_or_default(),
        api_token: caller.let_in.api_token,
        session: session.map(|Extension(InSession { session, .. })| ToldSession {
            means: session.means.as_str(),
            csrf: session.csrf(),
            expires_at: session.expires_at(),
        }),
    };
    Json(told).into_response()
}

async fn password(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    session: Option<Extension<InSession>>,
    visit: Visit,
    Fields(form): Fields<PasswordForm>,
) -> Result<Response, Problem> {
    let session = in_session(session)?;
    let (current, password) = (Zeroizing::new(form.current), Zeroizing::new(form.password));
    let asked = OwnPasswordAsked { current, login: form.name, password };
    let renewed = web.console.set_own_password(&caller, &session, asked).await;
    let renewed = renewed.map_err(|fault| Problem::of(&fault))?;
    let cookie = set_cookie(Kind::Session, &renewed.cookie, visit.encrypted);
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, header(&cookie))]).into_response())
}

async fn totp(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    session: Option<Extension<InSession>>,
    Fields(form): Fields<TotpForm>,
) -> Result<Response, Problem> {
    in_session(session)?;
    let (console, password) = (&web.console, Zeroizing::new(form.password));
    let done = match form.act {
        TotpAct::Begin => {
            console.begin_totp(&caller, password).await.map(|enrolment| Json(enrolment).into_response())
        }
        TotpAct::Confirm => {
            console.confirm_totp(&caller, &form.code).await.map(|_| StatusCode::NO_CONTENT.into_response())
        }
        TotpAct::Remove => {
            let removed = console.remove_own_totp(&caller, password, &form.code).await;
            removed.map(|_| StatusCode::NO_CONTENT.into_response())
        }
    };
    done.map_err(|fault| Problem::of(&fault))
}

/// The session of a request that is about one.
///
/// # Errors
/// When it comes with a token.
pub fn in_session(session: Option<Extension<InSession>>) -> Result<InSession, Problem> {
    let fault = Fault::Forbidden("it is about a session: sign in at /sign-in");
    session.map(|Extension(session)| session).ok_or_else(|| Problem::of(&fault))
}

/// Where a request comes from, and how it can be answered.
pub struct Visit {
    from: Option<std::net::IpAddr>,
    cookie: Option<Zeroizing<String>>,
    /// Whether the cookie travels in TLS.
    pub encrypted: bool,
    reads_pages: bool,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Visit {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let request = Request::from_parts(parts.clone(), axum::body::Body::empty());
        Ok(Self {
            from: parts.extensions.get::<Peer>().map(|peer| peer.0.ip()),
            cookie: cookie_of(&request, Kind::Session),
            encrypted: parts.extensions.get::<Encrypted>().is_some(),
            reads_pages: reads_pages(&parts.headers),
        })
    }
}

impl Visit {
    /// For the console.
    pub fn origin(&self) -> Origin<'_> {
        Origin { from: self.from, cookie: self.cookie.as_ref().map(|cookie| cookie.as_str()) }
    }

    /// Leads somebody on who has signed in.
    pub fn led_to(&self, to: &str, begun: &NewSession) -> Response {
        self.led_with(to, set_cookie(Kind::Session, &begun.cookie, self.encrypted))
    }

    fn led_with(&self, to: &str, cookie: String) -> Response {
        (StatusCode::SEE_OTHER, [(LOCATION, header(to)), (SET_COOKIE, header(&cookie))]).into_response()
    }

    /// Says that somebody is not let in: on the page where they may try again, or as a problem.
    pub fn refused(&self, fault: &Fault, page: impl FnOnce(&str) -> String) -> Response {
        let problem = Problem::of(fault).into_response();
        if !self.reads_pages || fault.reason() == Reason::Failed {
            return problem;
        }
        let mut response = (problem.status(), Html(page(&fault.words()))).into_response();
        if let Some(wait) = problem.headers().get(RETRY_AFTER) {
            response.headers_mut().insert(RETRY_AFTER, wait.clone());
        }
        response
    }
}

/// Whether who asks is a browser that shows what it gets.
pub fn reads_pages(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains("text/html"))
}

/// An address of this place: whatever else is asked for is home.
pub fn local(to: &str) -> &str {
    let is_path = to.starts_with('/') && !to.starts_with("//");
    let is_plain = to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path && is_plain && to.len() <= TARGET_LENGTH_MAX { to } else { HOME }
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(HOME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_place() {
        assert_eq!(local("/v1/usage?period=2026-10"), "/v1/usage?period=2026-10");
        for elsewhere in [
            "",
            "//other.example",
            "/\\other.example",
            "https://other.example",
            "other",
            "javascript:1",
            "/\t/other.example",
            "/a\r\nset-cookie: x",
            &format!("/{}", "x".repeat(600)),
        ] {
            assert_eq!(local(elsewhere), HOME, "{elsewhere:?}");
        }
    }
}
