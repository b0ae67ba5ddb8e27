//! Who a request over plain HTTP is from: a token or a session's cookie, never both. Invariant: what a browser sends by
//! itself changes nothing: a request that is more than a question comes from a page of ours and proves it.

use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::extract::{Form, FromRequest as _, FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use cookie::{Cookie, SameSite};
use seatbeat_ledger::operators::LetIn;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{BODY_LENGTH_MAX, Web, live};
use crate::console::auth::by_token;
use crate::console::door::Encrypted;
use crate::console::fault::Fault;
use crate::console::rights::Needs;
use crate::console::sign_in::enter::InSession;

/// Carries what a request of a session has to prove; a form may carry it in its field `csrf`.
pub const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// Where a browser says from where it was sent.
pub const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Says that a page asks by itself, because something has happened: nobody has touched it.
pub const BY_ITSELF: HeaderName = HeaderName::from_static("x-seatbeat-by-itself");

/// Who a request is from.
#[derive(Default)]
pub struct Came {
    /// Who; nobody: neither a token nor a session.
    pub let_in: Option<LetIn>,
    /// The session, if it was one.
    pub session: Option<InSession>,
    /// The cookie that takes the place of theirs, if one does: also where they are refused.
    pub cookie: Option<Zeroizing<String>>,
    /// Why a request of a session is refused.
    pub fault: Option<Fault>,
}

#[derive(Deserialize)]
struct CsrfField {
    #[serde(default)]
    csrf: String,
}

/// Who a request is from, and the request as it was.
///
/// # Errors
/// When it does not come from a page of ours and is more than a question, or the vault fails.
pub async fn came(web: &Web, needs: Needs, request: Request) -> Result<(Came, Request), Fault> {
    let asks_only = matches!(*request.method(), Method::GET | Method::HEAD);
    if !asks_only && !is_of_this_place(&request) {
        return Err(Fault::Forbidden("the request comes from a page of another place"));
    }
    // Who shows a token comes by it, right or wrong: a cookie says nothing then.
    if request.headers().contains_key(AUTHORIZATION) {
        let let_in = by_token(&web.console.books, request.headers());
        return Ok((Came { let_in, ..Came::default() }, request));
    }
    // A page that stays open would keep its session for ever.
    let by_itself =
        asks_only && (request.headers().contains_key(&BY_ITSELF) || request.uri().path() == live::PATH);
    let Some(cookie) = cookie_of(&request, Kind::Session) else { return Ok((Came::default(), request)) };
    let Some(entered) = web.console.by_cookie(&cookie, by_itself).await? else {
        return Ok((Came::default(), request));
    };
    let session = entered.session.session.clone();
    let came = Came {
        let_in: Some(entered.let_in),
        session: Some(entered.session),
        cookie: entered.cookie,
        fault: None,
    };
    if asks_only || needs == Needs::Nobody {
        return Ok((came, request));
    }
    let (proof, request) = proof(request).await;
    let fault = match proof {
        Ok(proof) if session.has_csrf(&proof) => None,
        Ok(_) => Some(Fault::Forbidden("the request does not carry its session's CSRF token")),
        Err(fault) => Some(fault),
    };
    Ok((Came { fault, ..came }, request))
}

/// What a request carries of what it has to prove.
async fn proof(request: Request) -> (Result<String, Fault>, Request) {
    if let Some(value) = request.headers().get(&CSRF) {
        return (Ok(value.to_str().unwrap_or_default().to_owned()), request);
    }
    let form = "application/x-www-form-urlencoded";
    let has_form = |value: &str| value.split(';').next().is_some_and(|kind| kind.trim() == form);
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(has_form) {
        return (Ok(String::new()), request);
    }
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LENGTH_MAX).await else {
        return (Err(Fault::BodyTooLong(BODY_LENGTH_MAX)), Request::from_parts(head, Body::empty()));
    };
    let looked_at = Request::from_parts(head.clone(), Body::from(body.clone()));
    let field = Form::<CsrfField>::from_request(looked_at, &()).await;
    let proof = field.map(|Form(field)| field.csrf).unwrap_or_default();
    (Ok(proof), Request::from_parts(head, Body::from(body)))
}

/// Whether a browser, if it is one, sends this from a page of this very place.
fn is_of_this_place(request: &Request) -> bool {
    let headers = request.headers();
    let site = single(headers, &FETCH_SITE);
    let is_same_site = match site {
        Ok(None) => false,
        Ok(Some("same-origin" | "none")) => true,
        _ => return false,
    };
    match single(headers, &ORIGIN) {
        Ok(None) => true,
        // A browser that was told to hide where it was says so with this; then the other header has to say it.
        Ok(Some("null")) => is_same_site,
        Ok(Some(origin)) => {
            let host = single(headers, &HOST).ok().flatten();
            let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
            let of_origin = origin.split_once("://");
            of_origin.zip(host).is_some_and(|((scheme, place), host)| {
                let port = if scheme == "https" { ":443" } else { ":80" };
                let bare = |place: &str| place.strip_suffix(port).unwrap_or(place).to_ascii_lowercase();
                bare(place) == bare(host)
            })
        }
        Err(()) => false,
    }
}

/// This place as a browser names it: `https://seats.example`; empty where that is not known.
pub struct Place(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // What a browser says of itself is right behind a proxy, too; that it is this place was looked at before.
        let origin = single(&parts.headers, &ORIGIN).ok().flatten().filter(|origin| *origin != "null");
        let host = single(&parts.headers, &HOST).ok().flatten();
        let host = host.or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
        let scheme = if parts.extensions.get::<Encrypted>().is_some() { "https" } else { "http" };
        let by_host = || host.map(|host| format!("{scheme}://{host}"));
        Ok(Self(origin.map(str::to_owned).or_else(by_host).unwrap_or_default()))
    }
}

/// A header that stands there once, or not at all.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        _ => Err(()),
    }
}

/// What a cookie is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A session.
    Session,
    /// The way to the identity provider and back.
    Away,
}

impl Kind {
    /// With TLS the name keeps other hosts from setting it, and nothing sends it in clear.
    fn name(self, encrypted: bool) -> &'static str {
        match (self, encrypted) {
            (Self::Session, true) => "__Host-seatbeat",
            (Self::Session, false) => "seatbeat",
            (Self::Away, true) => "__Host-seatbeat-away",
            (Self::Away, false) => "seatbeat-away",
        }
    }
}

/// The cookie of a request. Of several of its name none is taken: another host may have set one.
pub fn cookie_of(request: &Request, kind: Kind) -> Option<Zeroizing<String>> {
    let name = kind.name(request.extensions().get::<Encrypted>().is_some());
    let headers = request.headers().get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let all = headers.flat_map(|header| Cookie::split_parse(header.to_owned()).flatten());
    let mut found = all.filter(|cookie| cookie.name() == name);
    match (found.next(), found.next()) {
        (Some(cookie), None) => Some(Zeroizing::new(cookie.value().to_owned())),
        _ => None,
    }
}

/// The header that sets a cookie; an empty value takes it away.
pub fn set_cookie(kind: Kind, value: &str, encrypted: bool) -> String {
    let mut cookie = Cookie::build((kind.name(encrypted), value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(encrypted)
        .build();
    if value.is_empty() {
        cookie.make_removal();
    }
    cookie.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::post("/session").header("host", "seats.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn what_a_browser_sends_from_elsewhere_is_known() {
        let here = |headers: &[(&str, &str)]| is_of_this_place(&request(headers));
        assert!(here(&[]), "no browser, or an old one");
        assert!(
            here(&[("origin", "https://seats.example")]) && here(&[("origin", "http://SEATS.example:80")])
        );
        assert!(here(&[("origin", "null"), ("sec-fetch-site", "same-origin")]));
        for elsewhere in [
            &[("origin", "https://other.example")][..],
            &[("origin", "https://seats.example:8443")],
            &[("origin", "https://seats.example.other.example")],
            &[("origin", "null")],
            &[("origin", "https://seats.example"), ("origin", "https://other.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site"), ("origin", "https://seats.example")],
        ] {
            assert!(!here(elsewhere), "{elsewhere:?}");
        }
    }

    #[test]
    fn a_cookie_is_for_this_place_alone_and_no_script_reads_it() {
        let plain = set_cookie(Kind::Session, "x", false);
        assert_eq!(plain, "seatbeat=x; HttpOnly; SameSite=Lax; Path=/");
        let tls = set_cookie(Kind::Session, "x", true);
        assert_eq!(tls, "__Host-seatbeat=x; HttpOnly; SameSite=Lax; Secure; Path=/");
        assert!(set_cookie(Kind::Session, "", true).contains("Max-Age=0"));
    }

    #[test]
    fn of_two_cookies_of_a_name_none_is_taken() {
        let of = |value| cookie_of(&request(&[("cookie", value)]), Kind::Session);
        assert_eq!(of("a=b; seatbeat=x").as_deref().map(String::as_str), Some("x"));
        assert!(of("seatbeat=x; seatbeat=y").is_none() && of("__Host-seatbeat=x").is_none());
        assert!(
            cookie_of(&request(&[("cookie", "seatbeat=x"), ("cookie", "seatbeat=y")]), Kind::Session)
                .is_none()
        );
    }
}
