//! To the identity provider and back. Invariant: whoever comes back gets a session only in the browser that was sent.

use axum::extract::{Request, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Deserialize;

use super::entry::{Kind, cookie_of, set_cookie};
use super::form::Asked;
use super::problem::Problem;
use super::sign_in::{Visit, local};
use super::{Route, Web, sign_in_page};
use crate::console::fault::Fault;
use crate::console::rights::Needs;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/sign-in/oidc", needs: Needs::Nobody, service: get(send_away) },
        Route { path: "/sign-in/oidc/callback", needs: Needs::Nobody, service: get(come_back) },
    ]
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Target {
    to: String,
}

/// What a provider sends along; providers add what they like.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SentBack {
    state: String,
    code: Option<String>,
}

async fn send_away(
    State(web): State<Web>,
    visit: Visit,
    Asked(target): Asked<Target>,
) -> Result<Response, Problem> {
    let sent = web.console.send_to_provider(local(&target.to), visit.origin()).await;
    let sent = sent.map_err(|fault| Problem::of(&fault))?;
    let unusable = |_| Problem::of(&Fault::Provider("its address cannot be used".to_owned()));
    let url = HeaderValue::from_str(&sent.url).map_err(unusable)?;
    let cookie = set_cookie(Kind::Away, &sent.cookie, visit.encrypted);
    let cookie = HeaderValue::from_str(&cookie).map_err(unusable)?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, url), (SET_COOKIE, cookie)]).into_response())
}

async fn come_back(
    State(web): State<Web>,
    visit: Visit,
    Asked(sent): Asked<SentBack>,
    request: Request,
) -> Response {
    let browser = cookie_of(&request, Kind::Away);
    let browser = browser.as_ref().map(|cookie| cookie.as_str());
    let begun = web.console.sign_in_by_provider(&sent.state, sent.code.as_deref(), browser, visit.origin());
    let mut response = match begun.await {
        Ok((begun, to)) => visit.led_to(&to, &begun),
        Err(fault) => visit.refused(&fault, |words| sign_in_page::password("/", Some(words), true)),
    };
    if let Ok(gone) = HeaderValue::from_str(&set_cookie(Kind::Away, "", visit.encrypted)) {
        response.headers_mut().append(SET_COOKIE, gone);
    }
    response
}
